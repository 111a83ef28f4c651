import { Duration } from 'aws-cdk-lib';
import type * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import type * as ecs from 'aws-cdk-lib/aws-ecs';
import type * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import type * as logs from 'aws-cdk-lib/aws-logs';
import type * as rds from 'aws-cdk-lib/aws-rds';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';
import { countLines, logPatterns } from './parts/log-lines';

/** The parts of a deployment that have metrics. */
interface Measured extends Construct {
  readonly url: string;
  readonly logGroup: logs.ILogGroup;
  readonly targetGroup: elbv2.ApplicationTargetGroup;
  readonly loadBalancer: elbv2.IApplicationLoadBalancer;
  readonly cluster: ecs.ICluster;
  readonly service: ecs.FargateService;
  readonly database: rds.DatabaseCluster;
  readonly artifactBucket: s3.IBucket;
  readonly certificate: acm.ICertificate;
}

/** The metrics of a deployment, for your own alarms and dashboards. `addMonitoring` creates the usual ones. */
export class SecureMlflowMetrics {
  /** @internal */
  public static _of(mlflow: Measured): SecureMlflowMetrics {
    return new SecureMlflowMetrics(mlflow);
  }

  private refusedRequestLines?: logs.MetricFilter;

  private constructor(private readonly mlflow: Measured) {}

  /**
   * Number of requests to the tasks.
   *
   * @default - sum over 5 minutes
   */
  public requestCount(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.targetGroup.metrics.requestCount(props);
  }

  /**
   * Time in seconds from when a request leaves the load balancer until the task starts to answer.
   *
   * @default - average over 5 minutes
   */
  public targetResponseTime(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.targetGroup.metrics.targetResponseTime(props);
  }

  /**
   * Number of answers of the tasks with a kind of status code.
   *
   * @default - sum over 5 minutes
   */
  public httpCodeTarget(code: elbv2.HttpCodeTarget, props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.targetGroup.metrics.httpCodeTarget(code, props);
  }

  /**
   * Number of requests that oauth2-proxy forwarded and the inner door refused with status 403. The level is too low, the caller has no name, or a page of
   * another site sent the request.
   * There are no data while no request is refused.
   *
   * The first call defines the metric filter that counts them in the log.
   *
   * @default - sum over 5 minutes
   */
  public refusedRequests(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    this.refusedRequestLines ??= countLines(this.mlflow, 'RefusedRequests', this.mlflow, logPatterns.refusedRequests);
    return this.refusedRequestLines.metric({ statistic: 'Sum', ...props });
  }

  /**
   * Number of answers of the load balancer itself with a kind of status code.
   *
   * @default - sum over 5 minutes
   */
  public httpCodeElb(code: elbv2.HttpCodeElb, props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.loadBalancer.metrics.httpCodeElb(code, props);
  }

  /**
   * Number of tasks that fail the health check of the load balancer.
   *
   * @default - average over 5 minutes
   */
  public unhealthyHostCount(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.targetGroup.metrics.unhealthyHostCount(props);
  }

  /**
   * CPU utilization of the tasks, in percent.
   *
   * @default - average over 5 minutes
   */
  public cpuUtilization(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.service.metricCpuUtilization(props);
  }

  /**
   * Memory utilization of the tasks, in percent.
   *
   * @default - average over 5 minutes
   */
  public memoryUtilization(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.service.metricMemoryUtilization(props);
  }

  /**
   * Number of tasks that are running. Requires Container Insights.
   *
   * @default - average over 5 minutes
   */
  public runningTaskCount(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.containerInsights('RunningTaskCount', props);
  }

  /**
   * Number of tasks that should be running. Requires Container Insights.
   *
   * @default - average over 5 minutes
   */
  public desiredTaskCount(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.containerInsights('DesiredTaskCount', props);
  }

  /**
   * Disk space that the tasks use, in GB. Requires Container Insights.
   *
   * @default - average over 5 minutes
   */
  public ephemeralStorageUtilized(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.containerInsights('EphemeralStorageUtilized', props);
  }

  /**
   * Disk space that the tasks have, in GB. Requires Container Insights.
   *
   * @default - average over 5 minutes
   */
  public ephemeralStorageReserved(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.containerInsights('EphemeralStorageReserved', props);
  }

  /**
   * Capacity of the database in ACU; 0 while it is paused.
   *
   * @default - average over 5 minutes
   */
  public serverlessDatabaseCapacity(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.database.metricServerlessDatabaseCapacity(props);
  }

  /**
   * Capacity of the database, in percent of `maxAcus`.
   *
   * @default - average over 5 minutes
   */
  public acuUtilization(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.database.metricACUUtilization(props);
  }

  /**
   * Number of connections to the database.
   *
   * @default - average over 5 minutes
   */
  public databaseConnections(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.database.metric('DatabaseConnections', props);
  }

  /**
   * Size of the database in bytes.
   *
   * @default - average over 5 minutes
   */
  public volumeBytesUsed(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.database.metric('VolumeBytesUsed', props);
  }

  /**
   * Size of the bucket for artifacts in bytes, old versions of objects included. Objects in other storage classes than Standard are not included.
   *
   * @default - average over a day: S3 measures it once a day
   */
  public bucketSizeBytes(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return new cloudwatch.Metric({
      namespace: 'AWS/S3',
      metricName: 'BucketSizeBytes',
      dimensionsMap: { BucketName: this.mlflow.artifactBucket.bucketName, StorageType: 'StandardStorage' },
      period: Duration.days(1),
      ...props,
    }).attachTo(this.mlflow);
  }

  /**
   * Number of days until the certificate expires.
   *
   * @default - minimum over a day
   */
  public daysToExpiry(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.mlflow.certificate.metricDaysToExpiry(props);
  }

  /** A metric of the service. Names and dimensions: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-ECS.html */
  private containerInsights(metricName: string, props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return new cloudwatch.Metric({
      namespace: 'ECS/ContainerInsights',
      metricName,
      dimensionsMap: { ClusterName: this.mlflow.cluster.clusterName, ServiceName: this.mlflow.service.serviceName },
      ...props,
    }).attachTo(this.mlflow);
  }
}
