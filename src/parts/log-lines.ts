import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';

/** Of oauth2-proxy. Terms and not fields: an address with a space or a line break in it would shift the fields, and hide. */
const REFUSED_SIGN_IN = ['[AuthFailure]', 'Error retrieving session from token'];

/** Of the inner door, with status 403. */
const REFUSED_REQUEST = ['secure-mlflow', 'refused', '403'];

/** Patterns of the log lines that are counted. All containers write to one log group, so each pattern names the program. */
export const logPatterns = {
  refusedSignIns: logs.FilterPattern.anyTerm(...REFUSED_SIGN_IN),
  /** Fields from the first on, so that no other container can print such a line. */
  refusedRequests: beginningWith({ program: REFUSED_REQUEST[0], result: REFUSED_REQUEST[1], status: REFUSED_REQUEST[2] }),
  /** Of `prepare`, once at every start of a task. */
  taskStarts: beginningWith({ program: 'prepare', first: 'machine', second: 'identities', third: 'written:' }),
  failedPreparations: beginningWith({ program: 'prepare', result: 'FAILED:' }),
  failedCleanUps: beginningWith({ program: 'clean-up', result: 'FAILED:' }),
};

/** Words of the lines that say whose sign-in or request was refused, and what failed. */
export const TELLING_WORDS = [...REFUSED_SIGN_IN, REFUSED_REQUEST.join(' '), 'FAILED:'];

function beginningWith(fields: Record<string, string>): logs.IFilterPattern {
  return logs.FilterPattern.literal(`[${Object.entries(fields).map(([name, value]) => `${name} = "${value}"`).join(', ')}, ...]`);
}

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
