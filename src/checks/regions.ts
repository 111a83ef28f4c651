import { isStandIn, known } from './problems';
import type { SecureMlflowProps } from '../props';

/** What is brought and must stand in the region of the stack. */
export function regionProblems(region: string, props: SecureMlflowProps): string[] {
  const { vpc, listener, loadBalancer, cluster, certificate, artifactBucket, accessLogsBucket, encryptionKey } = props;
  const regions = {
    vpc: vpc?.env.region,
    listener: listener && regionOf(listener.listenerArn, listener.env.region),
    loadBalancer: loadBalancer && regionOf(loadBalancer.loadBalancerArn, loadBalancer.env.region),
    cluster: cluster?.env.region,
    certificate: certificate && regionOf(certificate.certificateArn, certificate.env.region),
    artifactBucket: artifactBucket?.env.region,
    accessLogsBucket: accessLogsBucket?.env.region,
    encryptionKey: encryptionKey?.env.region,
  };
  return Object.entries(regions).filter(([, own]) => known(region) && known(own) && own !== region)
    .map(([name, own]) => `\`${name}\` must be in ${region}, the region of the stack, got one in ${own}: pass one of that region, or give the stack \`env: { region: '${own}' }\``);
}

/** As its ARN says, where that is known: the CDK takes an imported one to be in the region of its stack. */
function regionOf(arn: string, region: string): string | undefined {
  return known(arn) ? arn.split(':')[3] : isStandIn(arn) ? undefined : region;
}
