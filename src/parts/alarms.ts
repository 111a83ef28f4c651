import { Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type { SecureMlflowMetrics } from '../metrics';
import type { MonitoringThresholds } from '../monitoring-options';

/** The measurements that the alarms use: the metrics of the deployment, and values calculated from them. */
export interface Measurements {
  readonly metrics: SecureMlflowMetrics;
  /** Only with Container Insights, as well as `ephemeralStorage`. */
  readonly missingTasks?: cloudwatch.IMetric;
  readonly taskStarts: cloudwatch.IMetric;
  readonly failedPreparations: cloudwatch.IMetric;
  /** Only with `cleanUp`, as well as `unstartedCleanUps`. */
  readonly failedCleanUps?: cloudwatch.IMetric;
  readonly unstartedCleanUps?: cloudwatch.IMetric;
  readonly targetErrors: cloudwatch.Metric;
  /** Only if the load balancer is not shared. */
  readonly loadBalancerErrors?: cloudwatch.Metric;
  readonly latency: cloudwatch.IMetric;
  readonly refusedSignIns: cloudwatch.IMetric;
  readonly refusedRequests: cloudwatch.IMetric;
  readonly ephemeralStorage?: cloudwatch.IMetric;
  readonly databaseStorage: cloudwatch.IMetric;
  readonly artifactStorage: cloudwatch.IMetric;
}

export interface AlarmDefinition {
  /** Returns undefined if the metric does not exist; then there is no alarm. */
  readonly metric: (measured: Measurements) => cloudwatch.IMetric | undefined;
  readonly threshold: number;
  /** Whether the threshold applies to each task. */
  readonly forEachTask?: boolean;
  readonly evaluationPeriods: number;
  /** What happened, and where to look first. */
  readonly alarmDescription: string;
  readonly comparisonOperator?: cloudwatch.ComparisonOperator;
  /** An alarm on a metric that is not measured continuously keeps its state. For all others, missing data mean that there is no problem. */
  readonly treatMissingData?: cloudwatch.TreatMissingData;
}

export const fiveMinutes = { period: Duration.minutes(5) };
/** Each task is a sample, so the maximum is the task that uses most. */
export const fullest = { ...fiveMinutes, statistic: 'Maximum' };

/** When each alarm rings, and its description: what happened and where to look first. */
export const ALARMS: Record<keyof MonitoringThresholds, AlarmDefinition> = {
  unhealthyTargets: {
    metric: ({ metrics }) => metrics.unhealthyHostCount({ period: Duration.minutes(1), statistic: 'Maximum' }),
    threshold: 1,
    evaluationPeriods: 5,
    alarmDescription: 'MLflow: a task fails the health check of the load balancer. Look at the log of oauth2-proxy.',
  },
  missingTasks: {
    metric: measured => measured.missingTasks,
    threshold: 1,
    evaluationPeriods: 4,
    alarmDescription: 'MLflow: fewer tasks are running than should be. Look at the events of the service, then at the log of prepare.',
  },
  taskStarts: {
    metric: measured => measured.taskStarts,
    threshold: 4,
    forEachTask: true,
    evaluationPeriods: 1,
    alarmDescription: 'MLflow: tasks are started repeatedly. Look at the stop reasons of the stopped tasks of the service.',
  },
  failedPreparations: {
    metric: measured => measured.failedPreparations,
    threshold: 1,
    evaluationPeriods: 1,
    alarmDescription: 'MLflow: prepare failed, so a task did not start. Its log line with FAILED says why.',
  },
  failedCleanUps: {
    metric: measured => measured.failedCleanUps,
    threshold: 1,
    evaluationPeriods: 1,
    alarmDescription: 'MLflow: the clean-up failed. Its log line with FAILED says why.',
  },
  unstartedCleanUps: {
    metric: measured => measured.unstartedCleanUps,
    threshold: 1,
    evaluationPeriods: 1,
    alarmDescription: 'MLflow: the scheduler could not start the clean-up. Look at the role of the schedule and at the quota of tasks.',
  },
  targetErrors: {
    metric: measured => measured.targetErrors,
    threshold: 10,
    evaluationPeriods: 2,
    alarmDescription: 'MLflow: requests fail in the task. Look at the log of mlflow, then at the database.',
  },
  loadBalancerErrors: {
    metric: measured => measured.loadBalancerErrors,
    threshold: 10,
    evaluationPeriods: 3,
    alarmDescription: 'MLflow: the load balancer gets no answers from the tasks. Look at the events of the service.',
  },
  latency: {
    metric: measured => measured.latency,
    threshold: 30,
    evaluationPeriods: 3,
    alarmDescription: 'MLflow: answers are slow. Look at the CPU of the tasks and at the capacity of the database.',
  },
  refusedSignIns: {
    metric: measured => measured.refusedSignIns,
    threshold: 20,
    evaluationPeriods: 1,
    alarmDescription: 'MLflow: many sign-ins or bearer tokens were refused. The log of oauth2-proxy says whose. The cause may be a program with an expired token, or an attack.',
  },
  refusedRequests: {
    metric: measured => measured.refusedRequests,
    threshold: 20,
    evaluationPeriods: 1,
    alarmDescription: 'MLflow: many authenticated requests were refused. Log lines of mlflow with "refused 403" say whose and why. The cause may be a program whose level is too low, or an attack.',
  },
  cpu: {
    metric: ({ metrics }) => metrics.cpuUtilization(fiveMinutes),
    threshold: 90,
    evaluationPeriods: 3,
    alarmDescription: 'MLflow: the tasks use nearly all of their CPU. Raise cpu and workers, or the number of tasks.',
  },
  memory: {
    metric: ({ metrics }) => metrics.memoryUtilization(fullest),
    threshold: 90,
    evaluationPeriods: 3,
    alarmDescription: 'MLflow: a task has little memory left. Raise memoryLimitMiB, or lower workers.',
  },
  ephemeralStorage: {
    metric: measured => measured.ephemeralStorage,
    threshold: 80,
    evaluationPeriods: 1,
    alarmDescription: 'MLflow: the disk of a task is nearly full. Raise ephemeralStorageGiB, or send fewer large artifacts at the same time.',
  },
  databaseCapacity: {
    metric: ({ metrics }) => metrics.acuUtilization(fiveMinutes),
    threshold: 95,
    evaluationPeriods: 6,
    alarmDescription: 'MLflow: the database stays at its maximum capacity. Raise databaseCapacity.maxAcus.',
  },
  databaseConnections: {
    metric: ({ metrics }) => metrics.databaseConnections(fullest),
    threshold: 100,
    forEachTask: true,
    evaluationPeriods: 3,
    alarmDescription: 'MLflow: the database has many connections. Find the clients that hold them. With more workers, raise the threshold.',
  },
  databaseStorage: {
    metric: measured => measured.databaseStorage,
    threshold: 50,
    evaluationPeriods: 1,
    treatMissingData: cloudwatch.TreatMissingData.IGNORE,
    alarmDescription: 'MLflow: the database is large. Delete old runs and clean up, or raise the threshold.',
  },
  artifactStorage: {
    metric: measured => measured.artifactStorage,
    threshold: 1024,
    evaluationPeriods: 1,
    treatMissingData: cloudwatch.TreatMissingData.IGNORE,
    alarmDescription: 'MLflow: the bucket for artifacts is large. Delete old runs and clean up, expire old versions, or raise the threshold.',
  },
  certificateExpiry: {
    metric: ({ metrics }) => metrics.daysToExpiry(),
    threshold: 30,
    evaluationPeriods: 1,
    comparisonOperator: cloudwatch.ComparisonOperator.LESS_THAN_OR_EQUAL_TO_THRESHOLD,
    treatMissingData: cloudwatch.TreatMissingData.IGNORE, // there are no data for an expired certificate
    alarmDescription: 'MLflow: the certificate expires soon. Look at its status in ACM: the DNS record for its validation may be missing.',
  },
};
