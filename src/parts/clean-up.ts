import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import * as targets from 'aws-cdk-lib/aws-scheduler-targets';
import { Construct } from 'constructs';
import { ArtifactStore } from './artifact-store';
import type { Service } from './service';
import { CONFIG, MLFLOW_USER, program, TMP, VOLUMES } from './task-kit';
import { prepareEnvironment } from '../settings/mlflow';

export interface CleanUpProps {
  readonly vpcSubnets: ec2.SubnetSelection;
  readonly assignPublicIp: boolean;
  readonly service: Service;
  readonly artifacts: ArtifactStore;
  readonly environment: Record<string, string>;
  readonly cpuArchitecture: ecs.CpuArchitecture;
  readonly schedule: scheduler.ScheduleExpression;
}

/** A separate task on a schedule: `prepare` without migration, then `clean-up`. It listens on no port and stops when it is done. */
export class CleanUp extends Construct {
  public readonly taskDefinition: ecs.FargateTaskDefinition;
  /** Failed attempts of EventBridge Scheduler to start the task. */
  public readonly errors: cloudwatch.IMetric;

  public constructor(scope: Construct, id: string, props: CleanUpProps) {
    super(scope, id);
    const { service } = props;
    const { account, region } = Stack.of(this);
    const logStream = 'clean-up';

    this.taskDefinition = new ecs.FargateTaskDefinition(this, 'TaskDefinition', {
      cpu: 512,
      memoryLimitMiB: 1024,
      runtimePlatform: { operatingSystemFamily: ecs.OperatingSystemFamily.LINUX, cpuArchitecture: props.cpuArchitecture },
      volumes: VOLUMES,
    });
    const prepare = service.kit.addPrepare(this.taskDefinition, 'clean-up', logStream, { ...prepareEnvironment(region, ''), PREPARE_SCHEMA: 'leave' });
    const cleanUp = this.taskDefinition.addContainer('clean-up', {
      ...service.kit.passwordOptions(logStream, props.environment),
      user: MLFLOW_USER,
      command: program('clean_up.py'),
    });
    cleanUp.addMountPoints(TMP, CONFIG);
    cleanUp.addContainerDependencies({ container: prepare, condition: ecs.ContainerDependencyCondition.SUCCESS });
    service.kit.grantSecretsKey(this.taskDefinition);
    props.artifacts.grantRemove(this.taskDefinition.taskRole);

    // The scheduler counts its errors for each group. The group contains no data. Its name is fixed, so a group that is kept would block the next deployment.
    const scheduleGroup = new scheduler.ScheduleGroup(this, 'ScheduleGroup', { removalPolicy: RemovalPolicy.DESTROY });
    this.errors = scheduleGroup.metricTargetErrors({ statistic: 'Sum', period: Duration.minutes(5) });
    const schedule = new scheduler.Schedule(this, 'Schedule', {
      description: 'MLflow: permanently removes what was deleted long ago',
      schedule: props.schedule,
      scheduleGroup,
      target: new targets.EcsRunFargateTask(service.cluster, {
        taskDefinition: this.taskDefinition,
        propagateTags: true, // so that the tags of the app show the costs of this task
        platformVersion: ecs.FargatePlatformVersion.VERSION1_4,
        vpcSubnets: props.vpcSubnets,
        securityGroups: service.service.connections.securityGroups,
        // The default role would be in the stack, and two of these constructs would have to share it.
        role: new iam.Role(this, 'ScheduleRole', {
          assumedBy: new iam.ServicePrincipal('scheduler.amazonaws.com', {
            conditions: { StringEquals: { 'aws:SourceAccount': account, 'aws:SourceArn': scheduleGroup.scheduleGroupArn } },
          }),
        }),
      }),
    });
    if (props.assignPublicIp) {
      // The target of the CDK accepts it only for public subnets that are selected by `subnetType`.
      (schedule.node.defaultChild as scheduler.CfnSchedule).addPropertyOverride('Target.EcsParameters.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp', 'ENABLED');
    }
    // A newer MLflow must not clean up before the service has migrated the database. The policy of the execution role is not an implicit dependency either.
    schedule.node.addDependency(service, this.taskDefinition.obtainExecutionRole());
  }
}
