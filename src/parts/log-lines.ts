import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';

/** Of oauth2-proxy. Terms and not fields: an address with a space or a line break in it would shift the fields, and hide. */
const REFUSED_SIGN_IN = ['[AuthFailure]', 'Error retrieving session from token'];

/** Patterns of the log lines that are counted. All containers write to one log group, so each pattern names the program. */
export const logPatterns = {
  refusedSignIns: logs.FilterPattern.anyTerm(...REFUSED_SIGN_IN),
  /** Of the inner door. Fields from the first on, so that no other container can print such a line. */
  refusedRequests: logs.FilterPattern.literal('[program = "secure-mlflow", result = "refused", status = "403", ...]'),
  /** Of `prepare`, once at every start of a task. */
  taskStarts: logs.FilterPattern.literal('[program = "prepare", first = "machine", second = "identities", third = "written:", ...]'),
  failedPreparations: logs.FilterPattern.literal('[program = "prepare", result = "FAILED:", ...]'),
  failedCleanUps: logs.FilterPattern.literal('[program = "clean-up", result = "FAILED:", ...]'),
};

/** Words of the lines that say whose sign-in or request was refused, and what failed. */
export const TELLING_WORDS = [...REFUSED_SIGN_IN, 'secure-mlflow refused 403', 'FAILED:'];

/** Where a deployment logs, and its address, which tells its metrics from those of others. */
export interface Logged {
  readonly url: string;
  readonly logGroup: logs.ILogGroup;
}

/** A filter that counts the lines that match. Its metric has no data where none does. */
export function countLines(scope: Construct, metricName: string, { url, logGroup }: Logged, filterPattern: logs.IFilterPattern): logs.MetricFilter {
  return new logs.MetricFilter(scope, `${metricName}Lines`, {
    logGroup,
    filterPattern,
    metricNamespace: `SecureMlflow/${url.replace('https://', '')}`, // filters of text give no dimensions, so the name tells deployments apart
    metricName,
    unit: cloudwatch.Unit.COUNT,
  });
}
