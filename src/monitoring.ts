import { Duration, Token } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { HttpCodeElb, HttpCodeTarget } from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { validateMonitoring } from './private/validation';
import type { SecureMlflow } from './secure-mlflow';

/** When one alarm rings, where it differs from the default. */
export interface AlarmThreshold {
  /**
   * The alarm rings at this value and beyond. The unit is that of the alarm.
   *
   * @default - that of the alarm
   */
  readonly threshold?: number;

  /**
   * How many periods in a row must be so.
   *
   * @default - that of the alarm
   */
  readonly evaluationPeriods?: number;

  /**
   * Whether there is this alarm at all.
   *
   * @default true
   */
  readonly enabled?: boolean;
}

/** When each alarm rings. None of them does on an idle system with a paused database. Reasons and what to do are in docs/monitoring.md. */
export interface MonitoringThresholds {
  /**
   * Targets that fail the health check of the load balancer.
   *
   * @default - 1, for 5 minutes: two failed checks make a target unhealthy, and ECS replaces the task well before
   */
  readonly unhealthyTargets?: AlarmThreshold;

  /**
   * Tasks that should run and do not.
   *
   * @default - 1, for 20 minutes: a new task is given 10 minutes until it must be healthy
   */
  readonly missingTasks?: AlarmThreshold;

  /**
   * Starts of tasks within an hour.
   *
   * @default - 4 for each task that there may be: three deployments within an hour stay silent, a task that keeps failing does not
   */
  readonly taskStarts?: AlarmThreshold;

  /**
   * Failures of `prepare`, such as of a migration.
   *
   * @default - 1, within 5 minutes: it has waited for the database already, so it does not heal by itself
   */
  readonly failedPreparations?: AlarmThreshold;

  /**
   * Failures of the clean-up. With `cleanUp`.
   *
   * @default - 1, within 5 minutes: the next clean-up may be a week away
   */
  readonly failedCleanUps?: AlarmThreshold;

  /**
   * Failed attempts of the scheduler to start the clean-up. With `cleanUp`.
   *
   * @default - 1, within 5 minutes: a role or a quota that is wrong stays so
   */
  readonly unstartedCleanUps?: AlarmThreshold;

  /**
   * Answers 5xx of the tasks within 5 minutes.
   *
   * @default - 10, twice in a row: a restart of the database is over in one period
   */
  readonly targetErrors?: AlarmThreshold;

  /**
   * Answers 5xx of the load balancer itself within 5 minutes.
   *
   * @default - 10, three times in a row: a deployment stops the old task first, and the new one may take 10 minutes
   */
  readonly loadBalancerErrors?: AlarmThreshold;

  /**
   * What 99 of 100 answers take at most, in seconds. An upload counts until S3 has all of it.
   *
   * @default - 30, for 15 minutes: a database wakes in 15 seconds, and an upload of 1 GiB was measured to take 22
   */
  readonly latency?: AlarmThreshold;

  /**
   * Sign-ins and tokens refused within 5 minutes.
   *
   * @default - 20: nobody mistypes so often; a program with an expired token does, and so does somebody who tries
   */
  readonly refusedSignIns?: AlarmThreshold;

  /**
   * Average CPU of the tasks, in percent.
   *
   * @default - 90, for 15 minutes: the start of a task and a burst of requests are shorter
   */
  readonly cpu?: AlarmThreshold;

  /**
   * Memory of the fullest task, in percent. Above 100 the task is killed.
   *
   * @default - 90, for 15 minutes: an idle task of the default size needs about 26
   */
  readonly memory?: AlarmThreshold;

  /**
   * Disk of the fullest task in use, in percent. When it is full, uploads fail.
   *
   * @default - 80, for 5 minutes: what is left still holds a large artifact
   */
  readonly ephemeralStorage?: AlarmThreshold;

  /**
   * Capacity units of the database, in percent of `maxAcus`.
   *
   * @default - 95, for 30 minutes: scaling up is meant to happen, staying at the ceiling is not
   */
  readonly databaseCapacity?: AlarmThreshold;

  /**
   * Connections to the database.
   *
   * @default - 150, for 15 minutes: a task of the default size was measured with 8
   */
  readonly databaseConnections?: AlarmThreshold;

  /**
   * Size of the database in GiB.
   *
   * @default - 50: it holds metrics and parameters, no artifacts; so much says that runs are never cleaned up
   */
  readonly databaseStorage?: AlarmThreshold;

  /**
   * Size of the bucket for artifacts in GiB, old versions of objects included.
   *
   * @default - 1024: a size at which somebody should know what it costs
   */
  readonly artifactStorage?: AlarmThreshold;

  /**
   * Days until the certificate expires. This alarm rings at this value and below.
   *
   * @default - 30: ACM has been trying to renew it for 30 days then; a certificate that was imported nobody renews
   */
  readonly certificateExpiry?: AlarmThreshold;
}

/** Who hears the alarms, and when they ring. */
export interface MonitoringOptions {
  /** What happens when an alarm rings, such as `new SnsAction(topic)` of `aws-cdk-lib/aws-cloudwatch-actions`. */
  readonly alarmActions: cloudwatch.IAlarmAction[];

  /**
   * When each alarm rings.
   *
   * @default - as said at each
   */
  readonly thresholds?: MonitoringThresholds;
}

export interface MonitoringProps extends MonitoringOptions {
  readonly mlflow: SecureMlflow;
  /** The most tasks that there may be at once. */
  readonly maxTasks: number;
  /** Errors of the scheduler in starting the clean-up, if there is one. */
  readonly cleanUpErrors?: cloudwatch.IMetric;
}

interface AlarmDefaults {
  readonly metric: cloudwatch.IMetric;
  readonly threshold: number;
  readonly evaluationPeriods: number;
  /** What is so, and what to look at first. */
  readonly alarmDescription: string;
  readonly comparisonOperator?: cloudwatch.ComparisonOperator;
  /** What is measured once a day keeps its state in between; of the rest, no data means that nothing happens. */
  readonly treatMissingData?: cloudwatch.TreatMissingData;
}

const GIB = 1024 ** 3;
/** What `artifactTiering` can make of objects, and what they are without. */
const STORAGE_TYPES = {
  standard: 'StandardStorage',
  frequent: 'IntelligentTieringFAStorage',
  infrequent: 'IntelligentTieringIAStorage',
  archived: 'IntelligentTieringAIAStorage',
};
const fiveMinutes = { period: Duration.minutes(5) };

/** What lines of the log count. In the log group that all containers write to, so each pattern says whose lines it means. */
const logPatterns = {
  /** Of oauth2-proxy. Terms and not fields: an address with a space or a line break in it would shift the fields, and hide. */
  refusedSignIns: logs.FilterPattern.anyTerm('[AuthFailure]', 'Error retrieving session from token'),
  /** Of `prepare`, once at every start of a task. Fields from the first on, so that no other container can print such a line. */
  taskStarts: logs.FilterPattern.literal('[program = "prepare", clock, first = "machine", second = "identities", third = "written:", ...]'),
  /** Of `prepare`. */
  failedPreparations: logs.FilterPattern.literal('[program = "prepare", clock, result = "FAILED:", ...]'),
  /** Of the clean-up. */
  failedCleanUps: logs.FilterPattern.literal('[program = "clean-up", result = "FAILED:", ...]'),
};

/** A dashboard, and an alarm for each thing that somebody should know of. */
export class Monitoring extends Construct {
  private readonly alarms: cloudwatch.Alarm[] = [];

  public constructor(scope: Construct, id: string, private readonly props: MonitoringProps) {
    super(scope, id);
    validateMonitoring(this.node.path, props);
    const { mlflow, maxTasks, cleanUpErrors } = props;
    const refusedSignIns = this.countLines('RefusedSignIns', logPatterns.refusedSignIns, Duration.minutes(5));
    const taskStarts = this.countLines('TaskStarts', logPatterns.taskStarts, Duration.hours(1));
    const failedPreparations = this.countLines('FailedPreparations', logPatterns.failedPreparations, Duration.minutes(5));
    const cleanUps = cleanUpErrors && {
      failed: this.countLines('FailedCleanUps', logPatterns.failedCleanUps, Duration.minutes(5)),
      unstarted: cleanUpErrors,
    };
    const missingTasks = new cloudwatch.MathExpression({
      expression: 'desired - running',
      usingMetrics: { desired: mlflow.metricDesiredTaskCount(fiveMinutes), running: mlflow.metricRunningTaskCount(fiveMinutes) },
      label: 'Missing tasks',
      ...fiveMinutes,
    });
    const fullest = { ...fiveMinutes, statistic: 'Maximum' }; // each task is a sample
    const ephemeralStorage = new cloudwatch.MathExpression({
      expression: '100 * used / reserved',
      usingMetrics: { used: mlflow.metricEphemeralStorageUtilized(fullest), reserved: mlflow.metricEphemeralStorageReserved(fullest) },
      label: 'Disk',
      ...fiveMinutes,
    });
    const databaseStorage = new cloudwatch.MathExpression({
      expression: `bytes / ${GIB}`,
      usingMetrics: { bytes: mlflow.metricVolumeBytesUsed({ period: Duration.hours(1) }) },
      label: 'Database',
      period: Duration.hours(1),
    });
    const artifactStorage = new cloudwatch.MathExpression({
      expression: `SUM([${Object.keys(STORAGE_TYPES).join()}]) / ${GIB}`, // not `+`, which gives nothing where one of them is missing
      usingMetrics: Object.fromEntries(Object.entries(STORAGE_TYPES).map(([name, StorageType]) =>
        [name, mlflow.metricBucketSizeBytes({ dimensionsMap: { BucketName: mlflow.artifactBucket.bucketName, StorageType } })])),
      label: 'Artifacts',
      period: Duration.days(1),
    });
    const targetErrors = mlflow.metricHttpCodeTarget(HttpCodeTarget.TARGET_5XX_COUNT, fiveMinutes);
    const loadBalancerErrors = mlflow.metricHttpCodeElb(HttpCodeElb.ELB_5XX_COUNT, fiveMinutes);
    const latency = mlflow.metricTargetResponseTime({ ...fiveMinutes, statistic: 'p99' });

    this.alarm('unhealthyTargets', {
      metric: mlflow.metricUnhealthyHostCount({ period: Duration.minutes(1), statistic: 'Maximum' }),
      threshold: 1,
      evaluationPeriods: 5,
      alarmDescription: 'MLflow: a task does not answer the health check of the load balancer. Look at the log of oauth2-proxy.',
    });
    this.alarm('missingTasks', {
      metric: missingTasks,
      threshold: 1,
      evaluationPeriods: 4,
      alarmDescription: 'MLflow: fewer tasks run than should. Look at the events of the service, then at the log of prepare.',
    });
    this.alarm('taskStarts', {
      metric: taskStarts,
      threshold: 4 * (Token.isUnresolved(maxTasks) ? 1 : Math.max(1, maxTasks)),
      evaluationPeriods: 1,
      alarmDescription: 'MLflow: tasks start again and again. Look at why the stopped tasks of the service stopped.',
    });
    this.alarm('failedPreparations', {
      metric: failedPreparations,
      threshold: 1,
      evaluationPeriods: 1,
      alarmDescription: 'MLflow: prepare failed, so a task did not start. Its line in the log with FAILED says why.',
    });
    if (cleanUps !== undefined) {
      this.alarm('failedCleanUps', {
        metric: cleanUps.failed,
        threshold: 1,
        evaluationPeriods: 1,
        alarmDescription: 'MLflow: the clean-up failed. Its line in the log with FAILED says why.',
      });
      this.alarm('unstartedCleanUps', {
        metric: cleanUps.unstarted,
        threshold: 1,
        evaluationPeriods: 1,
        alarmDescription: 'MLflow: the scheduler could not start the clean-up. Look at the role of the schedule and at the quota of tasks.',
      });
    }
    this.alarm('targetErrors', {
      metric: targetErrors,
      threshold: 10,
      evaluationPeriods: 2,
      alarmDescription: 'MLflow: requests fail in the task. Look at the log of mlflow, then at the database.',
    });
    this.alarm('loadBalancerErrors', {
      metric: loadBalancerErrors,
      threshold: 10,
      evaluationPeriods: 3,
      alarmDescription: 'MLflow: the load balancer finds no task that answers. Look at the events of the service.',
    });
    this.alarm('latency', {
      metric: latency,
      threshold: 30,
      evaluationPeriods: 3,
      alarmDescription: 'MLflow: answers are slow. Look at the CPU of the tasks and at the capacity of the database.',
    });
    this.alarm('refusedSignIns', {
      metric: refusedSignIns,
      threshold: 20,
      evaluationPeriods: 1,
      alarmDescription: 'MLflow: many sign-ins or tokens are refused. The log of oauth2-proxy says whose: a program with an expired token, or somebody who tries.',
    });
    this.alarm('cpu', {
      metric: mlflow.metricCpuUtilization(fiveMinutes),
      threshold: 90,
      evaluationPeriods: 3,
      alarmDescription: 'MLflow: the tasks have no CPU left. Raise cpu and workers, or the number of tasks.',
    });
    this.alarm('memory', {
      metric: mlflow.metricMemoryUtilization(fullest),
      threshold: 90,
      evaluationPeriods: 3,
      alarmDescription: 'MLflow: a task has little memory left. Raise memoryLimitMiB, or lower workers.',
    });
    this.alarm('ephemeralStorage', {
      metric: ephemeralStorage,
      threshold: 80,
      evaluationPeriods: 1,
      alarmDescription: 'MLflow: the disk of the tasks fills up. Raise ephemeralStorageGiB, or send fewer large artifacts at once.',
    });
    this.alarm('databaseCapacity', {
      metric: mlflow.metricAcuUtilization(fiveMinutes),
      threshold: 95,
      evaluationPeriods: 6,
      alarmDescription: 'MLflow: the database stays at its ceiling. Raise databaseCapacity.maxAcus.',
    });
    this.alarm('databaseConnections', {
      metric: mlflow.metricDatabaseConnections(fullest),
      threshold: 150,
      evaluationPeriods: 3,
      alarmDescription: 'MLflow: the database has many connections. Look at who holds them; with more tasks or workers, raise the threshold.',
    });
    this.alarm('databaseStorage', {
      metric: databaseStorage,
      threshold: 50,
      evaluationPeriods: 1,
      treatMissingData: cloudwatch.TreatMissingData.IGNORE,
      alarmDescription: 'MLflow: the database has grown large. Delete old runs and clean up, or raise the threshold.',
    });
    this.alarm('artifactStorage', {
      metric: artifactStorage,
      threshold: 1024,
      evaluationPeriods: 1,
      treatMissingData: cloudwatch.TreatMissingData.IGNORE,
      alarmDescription: 'MLflow: the bucket for artifacts has grown large. Delete old runs and clean up, expire old versions, or raise the threshold.',
    });
    this.alarm('certificateExpiry', {
      metric: mlflow.metricDaysToExpiry(),
      threshold: 30,
      evaluationPeriods: 1,
      comparisonOperator: cloudwatch.ComparisonOperator.LESS_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: cloudwatch.TreatMissingData.IGNORE, // an expired certificate is no longer measured
      alarmDescription: 'MLflow: the certificate is about to expire. Look at its status in ACM: the DNS record that proves the name may be missing.',
    });

    new cloudwatch.Dashboard(this, 'Dashboard', {
      widgets: [
        [new cloudwatch.AlarmStatusWidget({ title: mlflow.url, alarms: this.alarms, width: 24, height: 4 })],
        [
          graph('Requests', [mlflow.metricRequestCount(fiveMinutes)]),
          graph('Answers 5xx', [targetErrors.with({ label: 'of the tasks' }), loadBalancerErrors.with({ label: 'of the load balancer' })]),
          graph('Seconds until the answer', [latency, mlflow.metricTargetResponseTime({ ...fiveMinutes, statistic: 'p50' })]),
          graph('Refused sign-ins', [refusedSignIns]),
        ],
        [
          graph('Tasks', [mlflow.metricRunningTaskCount(fiveMinutes), mlflow.metricDesiredTaskCount(fiveMinutes), taskStarts]),
          graph('CPU and memory of the tasks, percent', [mlflow.metricCpuUtilization(fiveMinutes), mlflow.metricMemoryUtilization(fiveMinutes)]),
          graph('Disk of the tasks, percent', [ephemeralStorage]),
          graph('Failures of prepare and clean-up', [failedPreparations, ...Object.values(cleanUps ?? {})]),
        ],
        [
          graph('Capacity of the database, ACU', [mlflow.metricServerlessDatabaseCapacity(fiveMinutes)]),
          graph('Connections to the database', [mlflow.metricDatabaseConnections(fiveMinutes)]),
          graph('Size of the database, GiB', [databaseStorage]),
          graph('Size of the bucket, GiB', [artifactStorage]),
        ],
        [new cloudwatch.LogQueryWidget({
          title: 'Refused sign-ins and failures, the newest',
          logGroupNames: [mlflow.logGroup.logGroupName],
          queryLines: [
            'fields @timestamp, @logStream, @message',
            'filter @message like "[AuthFailure]" or @message like "Error retrieving session from token" or @message like "FAILED:"',
            'sort @timestamp desc',
            'limit 50',
          ],
          width: 24,
          height: 8,
        })],
      ],
    });
  }

  /** A metric of the lines of the log that match. There are no data where none does. */
  private countLines(metricName: string, filterPattern: logs.IFilterPattern, period: Duration): cloudwatch.Metric {
    const filter = new logs.MetricFilter(this, `${metricName}Lines`, {
      logGroup: this.props.mlflow.logGroup,
      filterPattern,
      metricNamespace: `SecureMlflow/${this.props.mlflow.url.replace('https://', '')}`, // filters of text give no dimensions, so the name tells deployments apart
      metricName,
      unit: cloudwatch.Unit.COUNT,
    });
    return filter.metric({ statistic: 'Sum', period });
  }

  private alarm(name: keyof MonitoringThresholds, defaults: AlarmDefaults): void {
    const { enabled = true, threshold, evaluationPeriods } = this.props.thresholds?.[name] ?? {};
    if (!enabled) {
      return;
    }
    const alarm = new cloudwatch.Alarm(this, name[0].toUpperCase() + name.slice(1), {
      comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
      ...defaults,
      threshold: threshold ?? defaults.threshold,
      evaluationPeriods: evaluationPeriods ?? defaults.evaluationPeriods,
    });
    alarm.addAlarmAction(...this.props.alarmActions);
    this.alarms.push(alarm);
  }
}

function graph(title: string, left: cloudwatch.IMetric[]): cloudwatch.GraphWidget {
  return new cloudwatch.GraphWidget({ title, left, leftYAxis: { min: 0, showUnits: false } });
}
