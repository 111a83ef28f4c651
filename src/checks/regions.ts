import type { ICertificate } from 'aws-cdk-lib/aws-certificatemanager';
import { known } from './problems';
import type { SecureMlflowProps } from '../props';

/** What is brought and must stand in the region of the stack. */
export function regionProblems(region: string, props: SecureMlflowProps): string[] {
  const { vpc, listener, loadBalancer, cluster, certificate, artifactBucket, accessLogsBucket, encryptionKey } = props;
  const regions = {
    vpc: vpc?.env.region,
    listener: listener?.env.region,
    loadBalancer: loadBalancer?.env.region,
    cluster: cluster?.env.region,
    certificate: certificate && regionOf(certificate),
    artifactBucket: artifactBucket?.env.region,
    accessLogsBucket: accessLogsBucket?.env.region,
    encryptionKey: encryptionKey?.env.region,
  };
  return Object.entries(regions).filter(([, own]) => known(region) && known(own) && own !== region)
    .map(([name, own]) => `\`${name}\` must be in ${region}, the region of the stack, got one in ${own}: pass one of that region, or give the stack \`env: { region: '${own}' }\``);
}

/** As its ARN says, where that is known: the CDK takes an imported one to be in the region of its stack. */
function regionOf({ certificateArn, env }: ICertificate): string {
  return known(certificateArn) ? certificateArn.split(':')[3] : env.region;
}
