import { isStandIn, known } from './problems';
import type { SecureMlflowProps } from '../props';

/** Problems of resources that were passed and must be in the region of the stack. */
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
    .map(([name, own]) => `\`${name}\` must be in ${region}, the region of the stack, got one in ${own}: pass one in ${region}, or set \`env: { region: '${own}' }\` of the stack`);
}

/** The region in the ARN, if it is known. Otherwise the region of the stack, which the CDK assumes for imported resources. */
function regionOf(arn: string, region: string): string | undefined {
  return known(arn) ? arn.split(':')[3] : isStandIn(arn) ? undefined : region;
}
