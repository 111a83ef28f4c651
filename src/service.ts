import { readFileSync } from 'fs';
import { join } from 'path';
import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import { Database } from './database';
import { DATABASE_PORT, databaseEnvironment, MLFLOW_HEALTH_CHECK, prepareEnvironment, CONFIG_DIRECTORY, TEMPORARY_DIRECTORY } from './private/mlflow';
import { PROXY_PORT } from './private/oauth2-proxy';

/** MLflow with database drivers, boto3 and uvloop; the plain image has none of them. */
const MLFLOW_IMAGE = 'ghcr.io/mlflow/mlflow:v3.17.2-full';
/** Not below 7.15.5, which fixes GHSA-63jm-59jj-478j and GHSA-wr5q-7wxw-x568. */
const OAUTH2_PROXY_IMAGE = 'quay.io/oauth2-proxy/oauth2-proxy:v7.15.6';

export interface ServiceProps {
  readonly vpc: ec2.IVpc;
  readonly vpcSubnets: ec2.SubnetSelection;
  readonly assignPublicIp: boolean;
  readonly database: Database;

  readonly mlflowImage?: ecs.ContainerImage;
  readonly mlflowEnvironment: Record<string, string>;
  readonly oauth2ProxyImage?: ecs.ContainerImage;
  readonly proxyEnvironment: Record<string, string>;
  readonly clientSecret: ecs.Secret;
  /** One a line. */
  readonly machineIdentities: string;

  readonly cpu: number;
  readonly memoryLimitMiB: number;
  readonly ephemeralStorageGiB: number;
  readonly cpuArchitecture: ecs.CpuArchitecture;
  readonly desiredCount: number;
  readonly minHealthyPercent: number;
  readonly logRetention: logs.RetentionDays;
  readonly removalPolicy: RemovalPolicy;
}

/** One task: `prepare` runs to its end, then MLflow on loopback, then oauth2-proxy, the only one with a port. */
export class Service extends Construct {
  public readonly cluster: ecs.Cluster;
  public readonly taskDefinition: ecs.FargateTaskDefinition;
  public readonly service: ecs.FargateService;
  /** Where the load balancer sends requests. */
  public readonly target: ecs.IEcsLoadBalancerTarget;

  public constructor(scope: Construct, id: string, props: ServiceProps) {
    super(scope, id);
    const { vpc, database } = props;

    this.taskDefinition = new ecs.FargateTaskDefinition(this, 'TaskDefinition', {
      cpu: props.cpu,
      memoryLimitMiB: props.memoryLimitMiB,
      ephemeralStorageGiB: props.ephemeralStorageGiB,
      runtimePlatform: { operatingSystemFamily: ecs.OperatingSystemFamily.LINUX, cpuArchitecture: props.cpuArchitecture },
      volumes: [{ name: 'tmp' }, { name: 'config' }],
    });
    this.defineContainers(props);

    // Made here and not by the FargateService: the database's rules refer to it, and the service waits for all of the database.
    const securityGroup = new ec2.SecurityGroup(this, 'SecurityGroup', { vpc, description: 'MLflow tasks', allowAllOutbound: false });
    securityGroup.addEgressRule(ec2.Peer.anyIpv4(), ec2.Port.tcp(443), 'AWS, images, the sign-in provider');
    database.cluster.connections.allowFrom(securityGroup, ec2.Port.tcp(DATABASE_PORT), 'MLflow tasks');

    this.cluster = new ecs.Cluster(this, 'Cluster', { vpc, containerInsightsV2: ecs.ContainerInsights.ENABLED });
    this.service = new ecs.FargateService(this, 'Service', {
      cluster: this.cluster,
      taskDefinition: this.taskDefinition,
      platformVersion: ecs.FargatePlatformVersion.VERSION1_4,
      vpcSubnets: props.vpcSubnets,
      assignPublicIp: props.assignPublicIp,
      securityGroups: [securityGroup],
      desiredCount: props.desiredCount,
      minHealthyPercent: props.minHealthyPercent,
      maxHealthyPercent: props.minHealthyPercent === 0 ? 100 : 200,
      circuitBreaker: { enable: true, rollback: false }, // an older MLflow cannot run on a schema that a newer one has migrated
      healthCheckGracePeriod: Duration.minutes(10), // a database that wakes, a first migration
      enableExecuteCommand: false,
      propagateTags: ecs.PropagatedTagSource.SERVICE,
    });
    this.target = this.service.loadBalancerTarget({ containerName: 'oauth2-proxy', containerPort: PROXY_PORT });
    // Neither is implied: without the database `prepare` waits in vain, without the policy no secret can be read.
    this.service.node.addDependency(database, this.taskDefinition.obtainExecutionRole());
  }

  private defineContainers(props: ServiceProps): void {
    const { database, removalPolicy } = props;
    const mlflowImage = props.mlflowImage ?? ecs.ContainerImage.fromRegistry(MLFLOW_IMAGE);
    const databaseSettings = databaseEnvironment(database.cluster.clusterEndpoint.hostname);
    const password = ecs.Secret.fromSecretsManager(database.secret, 'password');
    const encryptionPassphrase = new secretsmanager.Secret(this, 'EncryptionPassphrase', {
      description: 'MLflow: encrypts the API keys that people store in it. Never change it: they would be lost.',
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
      removalPolicy,
    });
    const cookieSecret = new secretsmanager.Secret(this, 'CookieSecret', {
      description: 'MLflow: encrypts session cookies. After a change and a new deployment everybody signs in again.',
      generateSecretString: { passwordLength: 43, excludePunctuation: true }, // they decode to the 32 bytes of an AES-256 key
      removalPolicy,
    });
    const common = {
      readonlyRootFilesystem: true,
      linuxParameters: new ecs.LinuxParameters(this, 'LinuxParameters'),
      stopTimeout: Duration.seconds(120), // the longest that Fargate grants; uploads in flight end
      logging: ecs.LogDriver.awsLogs({
        logGroup: new logs.LogGroup(this, 'LogGroup', { retention: props.logRetention, removalPolicy }),
        streamPrefix: 'task',
      }),
    };
    common.linuxParameters.dropCapabilities(ecs.Capability.ALL);

    const prepare = this.taskDefinition.addContainer('prepare', {
      ...common,
      image: mlflowImage,
      essential: false,
      user: '0:0', // to open the volumes, which belong to root, for the others
      command: ['python', '-c', readFileSync(join(__dirname, '..', 'prepare', 'prepare.py'), 'utf8')],
      environment: { ...databaseSettings, ...prepareEnvironment(Stack.of(this).region, props.machineIdentities) },
      secrets: { PGPASSWORD: password },
      // No start timeout: Fargate allows two minutes at most, and a migration may take longer.
    });
    prepare.addMountPoints(tmp, { ...config, readOnly: false });

    const mlflow = this.taskDefinition.addContainer('mlflow', {
      ...common,
      image: mlflowImage,
      user: '10001:10001',
      command: ['mlflow', 'server'],
      environment: { ...databaseSettings, ...props.mlflowEnvironment },
      secrets: {
        PGPASSWORD: password,
        MLFLOW_CRYPTO_KEK_PASSPHRASE: ecs.Secret.fromSecretsManager(encryptionPassphrase),
      },
      healthCheck: {
        command: MLFLOW_HEALTH_CHECK,
        interval: Duration.seconds(10),
        timeout: Duration.seconds(5),
        retries: 6,
        startPeriod: Duration.minutes(5),
      },
    });
    mlflow.addMountPoints(tmp, config);
    mlflow.addContainerDependencies({ container: prepare, condition: ecs.ContainerDependencyCondition.SUCCESS });

    const proxy = this.taskDefinition.addContainer('oauth2-proxy', {
      ...common,
      image: props.oauth2ProxyImage ?? ecs.ContainerImage.fromRegistry(OAUTH2_PROXY_IMAGE),
      user: '65532:65532',
      portMappings: [{ containerPort: PROXY_PORT }],
      environment: props.proxyEnvironment,
      secrets: {
        OAUTH2_PROXY_CLIENT_SECRET: props.clientSecret,
        OAUTH2_PROXY_COOKIE_SECRET: ecs.Secret.fromSecretsManager(cookieSecret),
      },
    });
    proxy.addMountPoints(config);
    proxy.addContainerDependencies({ container: mlflow, condition: ecs.ContainerDependencyCondition.HEALTHY });
  }
}

const tmp: ecs.MountPoint = { sourceVolume: 'tmp', containerPath: TEMPORARY_DIRECTORY, readOnly: false };
const config: ecs.MountPoint = { sourceVolume: 'config', containerPath: CONFIG_DIRECTORY, readOnly: true };
