import type * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';

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

/**
 * When each alarm rings. None of them does on an idle system with a paused database.
 *
 * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/monitoring.md#alarms
 */
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
   * Requests within 5 minutes that the inner door refused with status 403, mostly because `access` gives the caller too low a level.
   *
   * @default - 20: a page that a reader opens causes a few at most; a program with too low a level causes more, and so does somebody who tries
   */
  readonly refusedRequests?: AlarmThreshold;

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
   * @default - 100 for each task there may be, for 15 minutes: a task with two workers holds up to 90
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
   * What happens when an alarm is over. Pagers want the actions of `alarmActions` here, too, to close what they opened.
   *
   * @default - nothing
   */
  readonly okActions?: cloudwatch.IAlarmAction[];

  /**
   * When each alarm rings.
   *
   * @default - as said at each
   */
  readonly thresholds?: MonitoringThresholds;
}

/** What `addMonitoring` made, to build upon: alarms elsewhere, widgets of your own, composite alarms. */
export interface SecureMlflowMonitoring {
  /** The dashboard. */
  readonly dashboard: cloudwatch.Dashboard;

  /** The alarms by the names of `thresholds`, such as `latency`. One that is not enabled, or has nothing to measure, is not there. */
  readonly alarms: { [name: string]: cloudwatch.Alarm };
}
