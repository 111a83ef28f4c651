import type { IPeer } from 'aws-cdk-lib/aws-ec2';
import type { Warnings } from './warnings';

/** https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups. AWS raises it on request. */
const RULES_OF_A_GROUP = 60;

/**
 * A prefix list counts as its maximum number of entries, which cannot be read here. The list of CloudFront counts as 55.
 * https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/LocationsOfEdgeServers.html
 */
const PREFIX_LIST = 55;

/** Warnings about quotas that AWS may enforce at deployment. */
export function warningsAboutQuotas(allowedSources: IPeer[]): Warnings {
  const rules = Math.max(rulesFor(allowedSources, 'cidrIpv6'), rulesFor(allowedSources, 'cidrIp'));
  return {
    ...(rules > RULES_OF_A_GROUP && {
      manySources: `\`allowedSources\` needs up to ${rules} rules in a security group (one for each source, ${PREFIX_LIST} for a prefix list as large as that of CloudFront), and AWS allows ${RULES_OF_A_GROUP} unless the quota of your account was raised: the deployment may fail; use larger ranges, or a security group as the source`,
    }),
  };
}

/** AWS counts IPv4 rules and IPv6 rules separately, and counts rules of security groups and prefix lists in both. */
function rulesFor(sources: IPeer[], other: 'cidrIp' | 'cidrIpv6'): number {
  const counted = new Map(sources.filter(source => source.toIngressRuleConfig()[other] === undefined).map(({ uniqueId }) => [uniqueId, uniqueId.startsWith('pl-') ? PREFIX_LIST : 1]));
  return [...counted.values()].reduce((sum, count) => sum + count, 0);
}

/** In bytes. AWS does not raise this quota: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html */
const LARGEST_TASK_DEFINITION = 65_536;

/** Problems of the containers of a task. It must be called when every value is known. References count with the length of their text. */
export function taskSizeProblems(containerDefinitions: unknown): string[] {
  const size = Buffer.byteLength(JSON.stringify(containerDefinitions));
  return size <= LARGEST_TASK_DEFINITION ? []
    : [`the task definition must have at most ${LARGEST_TASK_DEFINITION} bytes, the limit of ECS, got about ${size}: shorten \`environment\`, \`access\`, \`proxyEnvironment\`, \`emailDomains\` and \`machineIdentities\`, which also contains each role of \`grantTrackingAccess\``];
}
