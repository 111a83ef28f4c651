import type { IPeer } from 'aws-cdk-lib/aws-ec2';
import type { Warnings } from './warnings';

/** https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups, which AWS raises on request. */
const RULES_OF_A_GROUP = 60;

/** Warnings about what AWS may refuse because it is too much. */
export function warningsAboutQuotas(allowedSources: IPeer[]): Warnings {
  const rules = new Set(allowedSources.map(({ uniqueId }) => uniqueId)).size;
  return {
    ...(rules > RULES_OF_A_GROUP && {
      manySources: `\`allowedSources\` holds ${rules} sources, a rule each, and a security group takes ${RULES_OF_A_GROUP} where AWS has not raised that for your account: the deployment would fail; use larger ranges, or let people come through a security group or a network of their own`,
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
