import type { IPeer } from 'aws-cdk-lib/aws-ec2';
import type { Warnings } from './warnings';

/** https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups, which AWS raises on request. */
const RULES_OF_A_GROUP = 60;

/** The largest number of entries of CloudFront's prefix list: https://docs.aws.amazon.com/vpc/latest/userguide/working-with-aws-managed-prefix-lists.html */
const PREFIX_LIST = 55;

/** Warnings about what AWS may refuse because it is too much. */
export function warningsAboutQuotas(allowedSources: IPeer[]): Warnings {
  const sources = [...new Set(allowedSources.map(({ uniqueId }) => uniqueId))];
  const rules = sources.map(id => id.startsWith('pl-') ? PREFIX_LIST : 1).reduce((sum, count) => sum + count, 0);
  return {
    ...(rules > RULES_OF_A_GROUP && {
      manySources: `\`allowedSources\` takes ${rules} rules, one for each source and for a prefix list its largest number of entries, here taken as ${PREFIX_LIST}, and a security group takes ${RULES_OF_A_GROUP} where AWS has not raised that for your account: the deployment would fail; use larger ranges, or let people come through a security group or a network of their own`,
    }),
  };
}

/** In bytes, for good: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html */
const LARGEST_TASK_DEFINITION = 65_536;

/** What is wrong with the containers of a task, to be called when every value is known. References count as they are written. */
export function taskSizeProblems(containerDefinitions: unknown): string[] {
  const size = Buffer.byteLength(JSON.stringify(containerDefinitions));
  return size <= LARGEST_TASK_DEFINITION ? []
    : [`the task definition must have at most ${LARGEST_TASK_DEFINITION} bytes, which is all that ECS takes, got about ${size}: put less into \`environment\` (twice with \`gunicornOpts\`), \`proxyEnvironment\`, \`emailDomains\` and \`machineIdentities\`, where each role of \`grantTrackingAccess\` stands, too`];
}
