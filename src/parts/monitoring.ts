import { Duration, Token } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { HttpCodeElb, HttpCodeTarget } from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as logs from 'aws-cdk-lib/aws-logs';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { AlarmDefinition, ALARMS, fiveMinutes, fullest, Measurements } from './alarms';
import { throwProblems, wholeNumberProblems } from '../checks/problems';
import type { SecureMlflowMetrics } from '../metrics';
import type { AlarmThreshold, MonitoringOptions, MonitoringThresholds } from '../monitoring-options';

export interface MonitoringProps extends MonitoringOptions {
  readonly url: string;
  readonly metrics: SecureMlflowMetrics;
  readonly logGroup: logs.ILogGroup;
  readonly artifactBucket: s3.IBucket;
  /** The most tasks that there may be at once. */
  readonly maxTasks: number;
  /** Errors of the scheduler in starting the clean-up, if there is one. */
  readonly cleanUpErrors?: cloudwatch.IMetric;
}

const GIB = 1024 ** 3;
/** What `artifactTiering` can make of objects, and what they are without. */
const STORAGE_TYPES = {
  standard: 'StandardStorage',
  frequent: 'IntelligentTieringFAStorage',
  infrequent: 'IntelligentTieringIAStorage',
  archived: 'IntelligentTieringAIAStorage',
};

/** Of oauth2-proxy. Terms and not fields: an address with a space or a line break in it would shift the fields, and hide. */
const REFUSED_SIGN_IN = ['[AuthFailure]', 'Error retrieving session from token'];

/** Patterns of the log lines that are counted. All containers write to one log group, so each pattern names the program. */
const logPatterns = {
  refusedSignIns: logs.FilterPattern.anyTerm(...REFUSED_SIGN_IN),
  /** Of `prepare`, once at every start of a task. Fields from the first on, so that no other container can print such a line. */
  taskStarts: logs.FilterPattern.literal('[program = "prepare", first = "machine", second = "identities", third = "written:", ...]'),
  failedPreparations: logs.FilterPattern.literal('[program = "prepare", result = "FAILED:", ...]'),
  failedCleanUps: logs.FilterPattern.literal('[program = "clean-up", result = "FAILED:", ...]'),
};

/** A dashboard and alarms. */
export class Monitoring extends Construct {
  public constructor(scope: Construct, id: string, private readonly props: MonitoringProps) {
    super(scope, id);
    const measured = this.measure();
    const alarms = Object.entries(ALARMS).flatMap(([name, definition]) => this.alarm(name as keyof MonitoringThresholds, definition, measured) ?? []);
    new cloudwatch.Dashboard(this, 'Dashboard', {
      widgets: [
        [new cloudwatch.AlarmStatusWidget({ title: props.url, alarms, width: 24, height: 4 })],
        ...graphs(measured),
        [newestFailures(props.logGroup)],
      ],
    });
  }

  private measure(): Measurements {
    const { metrics, cleanUpErrors } = this.props;
    return {
      metrics,
      refusedSignIns: this.countLines('RefusedSignIns', logPatterns.refusedSignIns, Duration.minutes(5)),
      taskStarts: this.countLines('TaskStarts', logPatterns.taskStarts, Duration.hours(1)),
      failedPreparations: this.countLines('FailedPreparations', logPatterns.failedPreparations, Duration.minutes(5)),
      ...(cleanUpErrors && {
        failedCleanUps: this.countLines('FailedCleanUps', logPatterns.failedCleanUps, Duration.minutes(5)),
        unstartedCleanUps: cleanUpErrors,
      }),
      missingTasks: new cloudwatch.MathExpression({
        expression: 'desired - running',
        usingMetrics: { desired: metrics.desiredTaskCount(fiveMinutes), running: metrics.runningTaskCount(fiveMinutes) },
        label: 'Missing tasks',
        ...fiveMinutes,
      }),
      ephemeralStorage: new cloudwatch.MathExpression({
        expression: '100 * used / reserved',
        usingMetrics: { used: metrics.ephemeralStorageUtilized(fullest), reserved: metrics.ephemeralStorageReserved(fullest) },
        label: 'Disk',
        ...fiveMinutes,
      }),
      databaseStorage: new cloudwatch.MathExpression({
        expression: `bytes / ${GIB}`,
        usingMetrics: { bytes: metrics.volumeBytesUsed({ period: Duration.hours(1) }) },
        label: 'Database',
        period: Duration.hours(1),
      }),
      artifactStorage: this.artifactStorage(),
      targetErrors: metrics.httpCodeTarget(HttpCodeTarget.TARGET_5XX_COUNT, fiveMinutes),
      loadBalancerErrors: metrics.httpCodeElb(HttpCodeElb.ELB_5XX_COUNT, fiveMinutes),
      latency: metrics.targetResponseTime({ ...fiveMinutes, statistic: 'p99' }),
    };
  }

  private artifactStorage(): cloudwatch.IMetric {
    const { metrics, artifactBucket: { bucketName: BucketName } } = this.props;
    return new cloudwatch.MathExpression({
      expression: `SUM([${Object.keys(STORAGE_TYPES).join()}]) / ${GIB}`, // not `+`, which gives nothing where one of them is missing
      usingMetrics: Object.fromEntries(Object.entries(STORAGE_TYPES).map(([name, StorageType]) =>
        [name, metrics.bucketSizeBytes({ dimensionsMap: { BucketName, StorageType } })])),
      label: 'Artifacts',
      period: Duration.days(1),
    });
  }

  /** A metric of the lines of the log that match. There are no data where none does. */
  private countLines(metricName: string, filterPattern: logs.IFilterPattern, period: Duration): cloudwatch.Metric {
    const filter = new logs.MetricFilter(this, `${metricName}Lines`, {
      logGroup: this.props.logGroup,
      filterPattern,
      metricNamespace: `SecureMlflow/${this.props.url.replace('https://', '')}`, // filters of text give no dimensions, so the name tells deployments apart
      metricName,
      unit: cloudwatch.Unit.COUNT,
    });
    return filter.metric({ statistic: 'Sum', period });
  }

  private alarm(name: keyof MonitoringThresholds, alarmDefinition: AlarmDefinition, measured: Measurements): cloudwatch.Alarm | undefined {
    const { metric: metricOf, forEachTask = false, ...definition } = alarmDefinition;
    const { maxTasks, alarmActions, thresholds } = this.props;
    const { enabled = true, threshold, evaluationPeriods } = thresholds?.[name] ?? {};
    const metric = metricOf(measured);
    if (!enabled || metric === undefined) {
      return undefined;
    }
    const tasks = forEachTask && !Token.isUnresolved(maxTasks) ? Math.max(1, maxTasks) : 1;
    const alarm = new cloudwatch.Alarm(this, name[0].toUpperCase() + name.slice(1), {
      comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
      ...definition,
      metric,
      threshold: threshold ?? definition.threshold * tasks,
      evaluationPeriods: evaluationPeriods ?? definition.evaluationPeriods,
    });
    alarm.addAlarmAction(...alarmActions);
    return alarm;
  }
}

function graphs(measured: Measurements): cloudwatch.IWidget[][] {
  const { metrics, targetErrors, loadBalancerErrors, failedPreparations, failedCleanUps, unstartedCleanUps } = measured;
  const failures = [failedPreparations, failedCleanUps, unstartedCleanUps].filter(metric => metric !== undefined);
  return [
    [
      graph('Requests', [metrics.requestCount(fiveMinutes)]),
      graph('Answers 5xx', [targetErrors.with({ label: 'of the tasks' }), loadBalancerErrors.with({ label: 'of the load balancer' })]),
      graph('Seconds until the answer', [measured.latency, metrics.targetResponseTime({ ...fiveMinutes, statistic: 'p50' })]),
      graph('Refused sign-ins', [measured.refusedSignIns]),
    ],
    [
      graph('Tasks', [metrics.runningTaskCount(fiveMinutes), metrics.desiredTaskCount(fiveMinutes), measured.taskStarts]),
      graph('CPU and memory of the tasks, percent', [metrics.cpuUtilization(fiveMinutes), metrics.memoryUtilization(fiveMinutes)]),
      graph('Disk of the tasks, percent', [measured.ephemeralStorage]),
      graph('Failures of prepare and clean-up', failures),
    ],
    [
      graph('Capacity of the database, ACU', [metrics.serverlessDatabaseCapacity(fiveMinutes)]),
      graph('Connections to the database', [metrics.databaseConnections(fiveMinutes)]),
      graph('Size of the database, GiB', [measured.databaseStorage]),
      graph('Size of the bucket, GiB', [measured.artifactStorage]),
    ],
  ];
}

function graph(title: string, left: cloudwatch.IMetric[]): cloudwatch.GraphWidget {
  return new cloudwatch.GraphWidget({ title, left, leftYAxis: { min: 0, showUnits: false } });
}

function newestFailures({ logGroupName }: logs.ILogGroup): cloudwatch.LogQueryWidget {
  return new cloudwatch.LogQueryWidget({
    title: 'Refused sign-ins and failures, the newest',
    logGroupNames: [logGroupName],
    queryLines: [
      'fields @timestamp, @logStream, @message',
      `filter ${[...REFUSED_SIGN_IN, 'FAILED:'].map(text => `@message like "${text}"`).join(' or ')}`,
      'sort @timestamp desc',
      'limit 50',
    ],
    width: 24,
    height: 8,
  });
}

/** Throws if nobody would hear the alarms, or if one could never ring. */
export function validateMonitoring(path: string, { alarmActions, thresholds = {} }: MonitoringOptions): void {
  const problems = Object.entries(thresholds).flatMap(([name, { evaluationPeriods }]: [string, AlarmThreshold]) =>
    wholeNumberProblems(`thresholds.${name}.evaluationPeriods`, evaluationPeriods, 1));
  if (alarmActions.length === 0) {
    problems.push('`alarmActions` must hold at least one action, got []: pass one, such as `new SnsAction(topic)`, or nobody hears the alarms');
  }
  throwProblems(path, problems);
}
