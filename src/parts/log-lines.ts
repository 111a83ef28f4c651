import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';

/** Terms in log lines of oauth2-proxy. Fields are not used: an address with a space or a line break would shift the fields and hide the line. */
const REFUSED_SIGN_IN = ['[AuthFailure]', 'Error retrieving session from token'];

/** Patterns of the log lines that metric filters count. All containers share one log group, so each pattern names the program. */
export const logPatterns = {
  refusedSignIns: logs.FilterPattern.anyTerm(...REFUSED_SIGN_IN),
  /** Lines of the inner door. The pattern starts with the first field, so that no other container can print a matching line. */
  refusedRequests: logs.FilterPattern.literal('[program = "secure-mlflow", result = "refused", status = "403", ...]'),
  /** A line that `prepare` prints once for each start of a task. */
  taskStarts: logs.FilterPattern.literal('[program = "prepare", first = "machine", second = "identities", third = "written:", ...]'),
  failedPreparations: logs.FilterPattern.literal('[program = "prepare", result = "FAILED:", ...]'),
  failedCleanUps: logs.FilterPattern.literal('[program = "clean-up", result = "FAILED:", ...]'),
};

/** Words in the log lines that say whose sign-in or request was refused, and what failed. */
export const TELLING_WORDS = [...REFUSED_SIGN_IN, 'secure-mlflow refused 403', 'FAILED:'];

/** The log group of a deployment, and its URL, which distinguishes its metrics from those of other deployments. */
export interface Logged {
  readonly url: string;
  readonly logGroup: logs.ILogGroup;
}

/** Creates a metric filter that counts the matching lines. Its metric has no data while no line matches. */
export function countLines(scope: Construct, metricName: string, { url, logGroup }: Logged, filterPattern: logs.IFilterPattern): logs.MetricFilter {
  return new logs.MetricFilter(scope, `${metricName}Lines`, {
    logGroup,
    filterPattern,
    metricNamespace: `SecureMlflow/${url.replace('https://', '')}`, // filters for text support no dimensions, so the namespace distinguishes deployments
    metricName,
    unit: cloudwatch.Unit.COUNT,
  });
}
