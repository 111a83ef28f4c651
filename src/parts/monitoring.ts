import { Duration, Token } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { HttpCodeElb, HttpCodeTarget } from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import type * as logs from 'aws-cdk-lib/aws-logs';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { AlarmDefinition, ALARMS, fiveMinutes, fullest, Measurements } from './alarms';
import { countLines, logPatterns, TELLING_WORDS } from './log-lines';
import { throwProblems, wholeNumberProblems } from '../checks/problems';
import type { SecureMlflowMetrics } from '../metrics';
import type { AlarmThreshold, MonitoringOptions, MonitoringThresholds } from '../monitoring-options';

export interface MonitoringProps extends MonitoringOptions {
  readonly url: string;
  readonly metrics: SecureMlflowMetrics;
  readonly logGroup: logs.ILogGroup;
  readonly artifactBucket: s3.IBucket;
  /** Maximum number of tasks. */
  readonly maxTasks: number;
  /** Whether the cluster has the metrics of Container Insights. */
  readonly containerInsights: boolean;
  /** Whether no other service uses the load balancer. */
  readonly ownLoadBalancer: boolean;
  /** Failed attempts of EventBridge Scheduler to start the clean-up, if there is one. */
  readonly cleanUpErrors?: cloudwatch.IMetric;
}

const GIB = 1024 ** 3;
/** Storage types of objects without and with `artifactTiering`. */
const STORAGE_TYPES = {
  standard: 'StandardStorage',
  frequent: 'IntelligentTieringFAStorage',
  infrequent: 'IntelligentTieringIAStorage',
  archived: 'IntelligentTieringAIAStorage',
};

/** The dashboard and the alarms. */
export class Monitoring extends Construct {
  public readonly dashboard: cloudwatch.Dashboard;
  public readonly alarms: Record<string, cloudwatch.Alarm>;

  public constructor(scope: Construct, id: string, private readonly props: MonitoringProps) {
    super(scope, id);
    const measured = this.measure();
    this.alarms = Object.fromEntries(Object.entries(ALARMS).flatMap(([name, definition]) => {
      const alarm = this.alarm(name as keyof MonitoringThresholds, definition, measured);
      return alarm ? [[name, alarm]] : [];
    }));
    this.dashboard = new cloudwatch.Dashboard(this, 'Dashboard', {
      widgets: [
        [new cloudwatch.AlarmStatusWidget({ title: props.url, alarms: Object.values(this.alarms), width: 24, height: 4 })],
        ...graphs(measured),
        [newestFailures(props.logGroup)],
      ],
    });
  }

  private measure(): Measurements {
    const { metrics, cleanUpErrors, containerInsights, ownLoadBalancer } = this.props;
    return {
      metrics,
      refusedSignIns: this.countLines('RefusedSignIns', logPatterns.refusedSignIns, Duration.minutes(5)),
      refusedRequests: metrics.refusedRequests(fiveMinutes),
      taskStarts: this.countLines('TaskStarts', logPatterns.taskStarts, Duration.hours(1)),
      failedPreparations: this.countLines('FailedPreparations', logPatterns.failedPreparations, Duration.minutes(5)),
      ...(cleanUpErrors && {
        failedCleanUps: this.countLines('FailedCleanUps', logPatterns.failedCleanUps, Duration.minutes(5)),
        unstartedCleanUps: cleanUpErrors,
      }),
      ...(containerInsights && {
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
      }),
      databaseStorage: new cloudwatch.MathExpression({
        expression: `bytes / ${GIB}`,
        usingMetrics: { bytes: metrics.volumeBytesUsed({ period: Duration.hours(1) }) },
        label: 'Database',
        period: Duration.hours(1),
      }),
      artifactStorage: this.artifactStorage(),
      targetErrors: metrics.httpCodeTarget(HttpCodeTarget.TARGET_5XX_COUNT, fiveMinutes),
      // The errors of a shared load balancer may belong to any service.
      ...(ownLoadBalancer && { loadBalancerErrors: metrics.httpCodeElb(HttpCodeElb.ELB_5XX_COUNT, fiveMinutes) }),
      latency: metrics.targetResponseTime({ ...fiveMinutes, statistic: 'p99' }),
    };
  }

  private artifactStorage(): cloudwatch.IMetric {
    const { metrics, artifactBucket: { bucketName: BucketName } } = this.props;
    return new cloudwatch.MathExpression({
      expression: `SUM([${Object.keys(STORAGE_TYPES).join()}]) / ${GIB}`, // not `+`, which returns no data if one metric is missing
      usingMetrics: Object.fromEntries(Object.entries(STORAGE_TYPES).map(([name, StorageType]) =>
        [name, metrics.bucketSizeBytes({ dimensionsMap: { BucketName, StorageType } })])),
      label: 'Artifacts',
      period: Duration.days(1),
    });
  }

  private countLines(metricName: string, filterPattern: logs.IFilterPattern, period: Duration): cloudwatch.Metric {
    return countLines(this, metricName, this.props, filterPattern).metric({ statistic: 'Sum', period });
  }

  private alarm(name: keyof MonitoringThresholds, alarmDefinition: AlarmDefinition, measured: Measurements): cloudwatch.Alarm | undefined {
    const { metric: metricOf, forEachTask = false, ...definition } = alarmDefinition;
    const { maxTasks, alarmActions, okActions = [], thresholds } = this.props;
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
    alarm.addOkAction(...okActions);
    return alarm;
  }
}

function graphs(measured: Measurements): cloudwatch.IWidget[][] {
  const { metrics, targetErrors, loadBalancerErrors, ephemeralStorage, failedPreparations, failedCleanUps, unstartedCleanUps } = measured;
  const failures = [failedPreparations, failedCleanUps, unstartedCleanUps].filter(metric => metric !== undefined);
  return [
    [
      graph('Requests', [metrics.requestCount(fiveMinutes)]),
      graph('Answers 5xx', [targetErrors.with({ label: 'from the tasks' }), ...loadBalancerErrors === undefined ? [] : [loadBalancerErrors.with({ label: 'from the load balancer' })]]),
      graph('Response time, seconds', [measured.latency, metrics.targetResponseTime({ ...fiveMinutes, statistic: 'p50' })]),
      graph('Refused sign-ins and requests', [measured.refusedSignIns, measured.refusedRequests]),
    ],
    [
      graph('Tasks', [...measured.missingTasks === undefined ? [] : [metrics.runningTaskCount(fiveMinutes), metrics.desiredTaskCount(fiveMinutes)], measured.taskStarts]),
      graph('CPU and memory of the tasks, percent', [metrics.cpuUtilization(fiveMinutes), metrics.memoryUtilization(fiveMinutes)]),
      ...ephemeralStorage === undefined ? [] : [graph('Disk of the tasks, percent', [ephemeralStorage])],
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
    title: 'Newest refused sign-ins, refused requests and failures',
    logGroupNames: [logGroupName],
    queryLines: [
      'fields @timestamp, @logStream, @message',
      `filter ${TELLING_WORDS.map(text => `@message like "${text}"`).join(' or ')}`,
      'sort @timestamp desc',
      'limit 50',
    ],
    width: 24,
    height: 8,
  });
}

/** Throws if the alarms have no action, or if an alarm could never ring. */
export function validateMonitoring(path: string, { alarmActions, thresholds = {} }: MonitoringOptions): void {
  const problems = Object.entries(thresholds).flatMap(([name, { evaluationPeriods }]: [string, AlarmThreshold]) =>
    wholeNumberProblems(`thresholds.${name}.evaluationPeriods`, evaluationPeriods, 1));
  if (alarmActions.length === 0) {
    problems.push('`alarmActions` must contain at least one action, got []: pass one, such as `new SnsAction(topic)`, because alarms without an action notify no one');
  }
  throwProblems(path, problems);
}
