import type { IPeer } from 'aws-cdk-lib/aws-ec2';
import type { Warnings } from './warnings';

/** https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups, which AWS raises on request. */
const RULES_OF_A_GROUP = 60;

/**
 * A prefix list counts as the most entries that it may have, which cannot be seen here: CloudFront's as 55.
 * https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/LocationsOfEdgeServers.html
 */
const PREFIX_LIST = 55;

/** Warnings about what AWS may refuse because it is too much. */
export function warningsAboutQuotas(allowedSources: IPeer[]): Warnings {
  const rules = Math.max(rulesFor(allowedSources, 'cidrIpv6'), rulesFor(allowedSources, 'cidrIp'));
  return {
    ...(rules > RULES_OF_A_GROUP && {
      manySources: `\`allowedSources\` takes up to ${rules} rules of a security group, one for a source and ${PREFIX_LIST} for a prefix list as large as that of CloudFront, and AWS allows ${RULES_OF_A_GROUP} where it has not raised that for your account: the deployment may fail; use larger ranges, or let people come through a security group or a network of their own`,
    }),
  };
}

/** AWS counts rules of IPv4 and of IPv6 apart, and those of groups and lists in both. */
function rulesFor(sources: IPeer[], other: 'cidrIp' | 'cidrIpv6'): number {
  const counted = new Map(sources.filter(source => source.toIngressRuleConfig()[other] === undefined).map(({ uniqueId }) => [uniqueId, uniqueId.startsWith('pl-') ? PREFIX_LIST : 1]));
  return [...counted.values()].reduce((sum, count) => sum + count, 0);
}

/** In bytes, for good: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html */
const LARGEST_TASK_DEFINITION = 65_536;

/** What is wrong with the containers of a task, to be called when every value is known. References count as they are written. */
export function taskSizeProblems(containerDefinitions: unknown): string[] {
  const size = Buffer.byteLength(JSON.stringify(containerDefinitions));
  return size <= LARGEST_TASK_DEFINITION ? []
    : [`the task definition must have at most ${LARGEST_TASK_DEFINITION} bytes, which is all that ECS takes, got about ${size}: put less into \`environment\`, \`access\`, \`proxyEnvironment\`, \`emailDomains\` and \`machineIdentities\`, where each role of \`grantTrackingAccess\` stands, too`];
}
