import type * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';

/** When an alarm rings. Leave a field out for the default of the alarm. */
export interface AlarmThreshold {
  /**
   * The alarm rings when the metric reaches or passes this value. Each alarm has its own unit.
   *
   * @default - the default of the alarm
   */
  readonly threshold?: number;

  /**
   * Number of periods in a row in which the threshold must be reached, 1 or more.
   *
   * @default - the default of the alarm
   */
  readonly evaluationPeriods?: number;

  /**
   * Whether to create the alarm.
   *
   * @default true
   */
  readonly enabled?: boolean;
}

/**
 * When each alarm rings. No alarm rings on an idle system with a paused database.
 *
 * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/monitoring.md#alarms
 */
export interface MonitoringThresholds {
  /**
   * Number of targets that fail the health check of the load balancer.
   *
   * @default - 1, for 5 minutes: a target is unhealthy after six failed checks, and ECS normally replaces the task before 5 minutes have passed
   */
  readonly unhealthyTargets?: AlarmThreshold;

  /**
   * Number of tasks that should be running and are not.
   *
   * @default - 1, for 20 minutes: a new task has 10 minutes to become healthy
   */
  readonly missingTasks?: AlarmThreshold;

  /**
   * Number of task starts within an hour.
   *
   * @default - 4 for each task of the maximum number: three deployments within an hour do not reach it, a task that keeps failing does
   */
  readonly taskStarts?: AlarmThreshold;

  /**
   * Number of failures of `prepare`, for example of a migration.
   *
   * @default - 1, within 5 minutes: `prepare` has already waited for the database, so the failure does not resolve itself
   */
  readonly failedPreparations?: AlarmThreshold;

  /**
   * Number of failures of the clean-up. Only with `cleanUp`.
   *
   * @default - 1, within 5 minutes: the next clean-up may be a week away
   */
  readonly failedCleanUps?: AlarmThreshold;

  /**
   * Number of failed attempts of EventBridge Scheduler to start the clean-up. Only with `cleanUp`.
   *
   * @default - 1, within 5 minutes: a wrong role or quota does not correct itself
   */
  readonly unstartedCleanUps?: AlarmThreshold;

  /**
   * Number of answers of the tasks with status 5xx within 5 minutes.
   *
   * @default - 10, in two periods in a row: a restart of the database takes only one
   */
  readonly targetErrors?: AlarmThreshold;

  /**
   * Number of answers of the load balancer itself with status 5xx within 5 minutes. Not with `listener`, because such answers could belong to any service.
   *
   * @default - 10, in three periods in a row: a deployment stops the old task first, and the new one may take 10 minutes
   */
  readonly loadBalancerErrors?: AlarmThreshold;

  /**
   * The time within which 99 of 100 requests are answered (p99), in seconds. The time of an upload ends when S3 has stored the whole file.
   *
   * @default - 30, for 15 minutes: a paused database resumes in 15 seconds, and an upload of 1 GiB took 22 seconds when measured
   */
  readonly latency?: AlarmThreshold;

  /**
   * Number of sign-ins and bearer tokens that were refused within 5 minutes.
   *
   * @default - 20: typing errors do not reach it; a program with an expired bearer token does, and so does an attacker
   */
  readonly refusedSignIns?: AlarmThreshold;

  /**
   * Number of requests that the inner door refused with status 403 within 5 minutes, mostly because the level that `access` gives the caller is too low.
   *
   * @default - 20: a page that a reader opens causes few or none; a program whose level is too low causes more, and so does an attacker
   */
  readonly refusedRequests?: AlarmThreshold;

  /**
   * Average CPU utilization of the tasks, in percent.
   *
   * @default - 90, for 15 minutes: the start of a task and bursts of requests are shorter
   */
  readonly cpu?: AlarmThreshold;

  /**
   * Memory utilization of the task that uses most, in percent. Above 100 the task is killed.
   *
   * @default - 90, for 15 minutes: an idle task of the default size uses about 14 percent
   */
  readonly memory?: AlarmThreshold;

  /**
   * Disk utilization of the task that uses most, in percent. When the disk is full, uploads fail.
   *
   * @default - 80, for 5 minutes: the rest is still enough for a large artifact
   */
  readonly ephemeralStorage?: AlarmThreshold;

  /**
   * Capacity of the database, in percent of `maxAcus`.
   *
   * @default - 95, for 30 minutes: reaching the maximum for a short time is normal, staying there is not
   */
  readonly databaseCapacity?: AlarmThreshold;

  /**
   * Number of connections to the database.
   *
   * @default - 100 for each task of the maximum number, for 15 minutes: a task with two workers has up to 90
   */
  readonly databaseConnections?: AlarmThreshold;

  /**
   * Size of the database, in GiB.
   *
   * @default - 50: the database contains metrics and parameters, but no artifacts; this size means that runs are never cleaned up
   */
  readonly databaseStorage?: AlarmThreshold;

  /**
   * Size of the bucket for artifacts, in GiB, old versions of objects included.
   *
   * @default - 1024: at this size its cost should be checked
   */
  readonly artifactStorage?: AlarmThreshold;

  /**
   * Number of days until the certificate expires. This alarm rings at this value and below.
   *
   * @default - 30: ACM has then tried to renew it for 30 days; imported certificates are not renewed automatically
   */
  readonly certificateExpiry?: AlarmThreshold;
}

/** Options of `addMonitoring`: when alarms ring, and what happens then. */
export interface MonitoringOptions {
  /** What happens when an alarm rings, such as `new SnsAction(topic)` of `aws-cdk-lib/aws-cloudwatch-actions`. */
  readonly alarmActions: cloudwatch.IAlarmAction[];

  /**
   * What happens when an alarm returns to OK. For a pager pass the actions of `alarmActions` here, too, so that it closes its incident.
   *
   * @default - no action
   */
  readonly okActions?: cloudwatch.IAlarmAction[];

  /**
   * When each alarm rings.
   *
   * @default - the default of each alarm
   */
  readonly thresholds?: MonitoringThresholds;
}

/** The resources that `addMonitoring` created, for example to add actions, widgets and composite alarms. */
export interface SecureMlflowMonitoring {
  /** The dashboard. */
  readonly dashboard: cloudwatch.Dashboard;

  /** The alarms by their names in `thresholds`, such as `latency`. An alarm that is not enabled, or whose metric does not exist, is missing. */
  readonly alarms: { [name: string]: cloudwatch.Alarm };
}
