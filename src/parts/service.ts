import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import { Database } from './database';
import { CONFIG, MLFLOW_USER, OAUTH2_PROXY_IMAGE, program, TaskKit, TMP, VOLUMES } from './task-kit';
import { FargateCapacity, NetworkProxyOptions, ScalingOptions } from '../props';
import type { SessionServer } from '../session-store';
import { DATABASE_IAM_USER, DATABASE_PORT, TOKEN_HEALTH_CHECK, tokenEnvironment } from '../settings/database';
import { DOOR, MLFLOW_HEALTH_CHECK, prepareEnvironment } from '../settings/mlflow';
import { PROXY_PORT } from '../settings/oauth2-proxy';

export interface ServiceProps {
  readonly vpc: ec2.IVpc;
  readonly vpcSubnets: ec2.SubnetSelection;
  readonly assignPublicIp: boolean;
  readonly database: Database;
  /** Whether the server authenticates to the database with IAM. */
  readonly iamAuthentication: boolean;

  readonly mlflowImage?: ecs.ContainerImage;
  readonly mlflowEnvironment: Record<string, string>;
  readonly oauth2ProxyImage?: ecs.ContainerImage;
  readonly proxyEnvironment: Record<string, string>;
  /** Secrets of the container that runs the server. */
  readonly secrets: Record<string, ecs.Secret>;
  readonly proxySecrets: Record<string, ecs.Secret>;
  /** The proxy of the network, if there is one. */
  readonly networkProxy?: NetworkProxyOptions;
  /** Environment variables of every container. */
  readonly networkProxyEnvironment: Record<string, string>;
  /** The server that stores sessions. Undefined if they are in the cookie. */
  readonly sessionServer?: SessionServer;
  /** One subject per line. */
  readonly machineIdentities: string;

  readonly cluster?: ecs.ICluster;
  readonly containerInsights: ecs.ContainerInsights;
  readonly capacity: FargateCapacity;
  readonly cpu: number;
  readonly memoryLimitMiB: number;
  readonly ephemeralStorageGiB: number;
  readonly cpuArchitecture: ecs.CpuArchitecture;
  readonly desiredCount: number;
  readonly scaling?: Required<ScalingOptions>;
  readonly minHealthyPercent: number;
  readonly logRetention: logs.RetentionDays;
  readonly encryptionKey?: kms.IKey;
  readonly removalPolicy: RemovalPolicy;
}

/** The setting for Container Insights. Undefined if it is not known: for an imported cluster, or if the setting of the account applies. */
export function containerInsightsOf(cluster: ecs.ICluster): string | undefined {
  const resource = cluster.node.defaultChild;
  const settings: ecs.CfnCluster.ClusterSettingsProperty[] = resource instanceof ecs.CfnCluster
    ? Stack.of(cluster).resolve(resource.clusterSettings) ?? [] : [];
  return settings.find(({ name }) => name === 'containerInsights')?.value;
}

/** The name of the capacity provider of AWS. */
const SPOT = 'FARGATE_SPOT';

/** Problems of a cluster in this app that must run tasks on Spot. */
function capacityProblems(cluster: ecs.ICluster): string[] {
  const associations = cluster.node.root.node.findAll().filter((construct): construct is ecs.CfnClusterCapacityProviderAssociations =>
    construct instanceof ecs.CfnClusterCapacityProviderAssociations && construct.cluster === cluster.clusterName);
  return !(cluster instanceof ecs.Cluster) || associations.some(({ capacityProviders }) => capacityProviders?.includes(SPOT)) ? []
    : [`\`cluster\` must have the capacity provider ${SPOT} where \`capacity\` is SPOT, got ${cluster.node.path} without it: create the cluster with \`enableFargateCapacityProviders: true\``];
}

/** The task and its service. In the task `prepare` runs first and exits, then MLflow starts on loopback, then oauth2-proxy, the only container with a port. */
export class Service extends Construct {
  public readonly cluster: ecs.ICluster;
  public readonly taskDefinition: ecs.FargateTaskDefinition;
  /** The log group of all containers. */
  public readonly logGroup: logs.LogGroup;
  public readonly service: ecs.FargateService;
  /** The target of the load balancer. */
  public readonly target: ecs.IEcsLoadBalancerTarget;
  /** Shared parts for other tasks. */
  public readonly kit: TaskKit;

  public constructor(scope: Construct, id: string, private readonly props: ServiceProps) {
    super(scope, id);
    this.taskDefinition = new ecs.FargateTaskDefinition(this, 'TaskDefinition', {
      cpu: props.cpu,
      memoryLimitMiB: props.memoryLimitMiB,
      ephemeralStorageGiB: props.ephemeralStorageGiB,
      runtimePlatform: { operatingSystemFamily: ecs.OperatingSystemFamily.LINUX, cpuArchitecture: props.cpuArchitecture },
      volumes: VOLUMES,
    });
    this.logGroup = new logs.LogGroup(this, 'LogGroup', {
      retention: props.logRetention,
      ...(props.encryptionKey && { encryptionKey: props.encryptionKey }),
      removalPolicy: props.removalPolicy,
    });
    this.kit = new TaskKit(this, { ...props, logGroup: this.logGroup });
    this.defineContainers(props);
    this.kit.grantSecretsKey(this.taskDefinition);

    const securityGroup = this.defineSecurityGroup(props);
    this.cluster = props.cluster ?? new ecs.Cluster(this, 'Cluster', { vpc: props.vpc, containerInsightsV2: props.containerInsights });
    this.service = this.defineService(props, securityGroup);
    this.target = this.service.loadBalancerTarget({ containerName: 'oauth2-proxy', containerPort: PROXY_PORT });
  }

  /** Scales the number of tasks with the load, if `scaling` is set. The metrics of `targetGroup` contain the number of requests. */
  public scaleWith(targetGroup: elbv2.ApplicationTargetGroup): void {
    const { scaling, desiredCount } = this.props;
    if (scaling === undefined) {
      return;
    }
    const { maxCount, cpuUtilizationPercent, requestsPerTarget } = scaling;
    // Scales out quickly and in slowly: a stopped task loses its caches, and a new one needs minutes to start.
    const cooldowns = { scaleOutCooldown: Duration.minutes(2), scaleInCooldown: Duration.minutes(10) };
    const count = this.service.autoScaleTaskCount({ minCapacity: desiredCount, maxCapacity: maxCount });
    count.scaleOnCpuUtilization('Cpu', { targetUtilizationPercent: cpuUtilizationPercent, ...cooldowns });
    count.scaleOnRequestCount('Requests', { targetGroup, requestsPerTarget, ...cooldowns });
  }

  private defineSecurityGroup({ vpc, database, sessionServer, networkProxy }: ServiceProps): ec2.SecurityGroup {
    // Created here and not by the FargateService: the rules of the database refer to it, and the service depends on the whole database.
    const securityGroup = new ec2.SecurityGroup(this, 'SecurityGroup', { vpc, description: 'MLflow tasks', allowAllOutbound: false });
    securityGroup.addEgressRule(ec2.Peer.anyIpv4(), ec2.Port.tcp(443), 'AWS, images, the sign-in provider');
    if (networkProxy !== undefined) {
      securityGroup.addEgressRule(networkProxy.peer ?? ec2.Peer.anyIpv4(), ec2.Port.tcp(networkProxy.port), 'The proxy of the network');
    }
    database.cluster.connections.allowFrom(securityGroup, ec2.Port.tcp(DATABASE_PORT), 'MLflow tasks');
    sessionServer?.connectable?.connections.allowFrom(securityGroup, ec2.Port.tcp(sessionServer.port), 'MLflow tasks');
    return securityGroup;
  }

  private defineService(props: ServiceProps, securityGroup: ec2.ISecurityGroup): ecs.FargateService {
    const { database, sessionServer, cluster } = props;
    const spot = props.capacity === FargateCapacity.SPOT;
    const service = new ecs.FargateService(this, 'Service', {
      cluster: this.cluster,
      taskDefinition: this.taskDefinition,
      platformVersion: ecs.FargatePlatformVersion.VERSION1_4,
      vpcSubnets: props.vpcSubnets,
      assignPublicIp: props.assignPublicIp,
      securityGroups: [securityGroup],
      ...(props.scaling === undefined && { desiredCount: props.desiredCount }), // with a number, every deployment would undo the scaling
      minHealthyPercent: props.minHealthyPercent,
      maxHealthyPercent: props.minHealthyPercent === 0 ? 100 : 200, // with 0 the old tasks stop first, and two versions never run at the same time
      circuitBreaker: { enable: true, rollback: false }, // an older MLflow cannot use a schema that a newer version has migrated
      healthCheckGracePeriod: Duration.minutes(10), // time for a database that resumes, and for a first migration
      enableExecuteCommand: false,
      propagateTags: ecs.PropagatedTagSource.SERVICE,
      ...(spot && { capacityProviderStrategies: [{ capacityProvider: SPOT, weight: 1 }] }),
    });
    if (spot && cluster !== undefined) {
      service.node.addDependency(cluster); // includes the constructs below it: the capacity provider, if this app defines it
      this.node.addValidation({ validate: () => capacityProblems(cluster) }); // the cluster adds the capacity provider when the app is synthesized
    } else if (spot) {
      // The cluster would add it without a dependency, but ECS rejects a service whose capacity provider does not exist yet or was already deleted.
      service.node.addDependency(new ecs.CfnClusterCapacityProviderAssociations(this, 'CapacityProviders', {
        cluster: this.cluster.clusterName, capacityProviders: [SPOT], defaultCapacityProviderStrategy: [],
      }));
    }
    // These dependencies are not implicit. Without the database `prepare` times out, without the policy ECS cannot read secrets, without its session store oauth2-proxy exits.
    const sessionStore = sessionServer?.dependency ? [sessionServer.dependency] : [];
    service.node.addDependency(database, this.taskDefinition.obtainExecutionRole(), ...sessionStore);
    return service;
  }

  private defineContainers(props: ServiceProps): void {
    const prepare = this.kit.addPrepare(this.taskDefinition, 'service', 'task', {
      ...prepareEnvironment(Stack.of(this).region, props.machineIdentities),
      ...(props.iamAuthentication && { PREPARE_IAM_USER: DATABASE_IAM_USER }),
    });
    const server = this.addServer(props, prepare);
    if (props.iamAuthentication) {
      server.addContainerDependencies({ container: this.addDatabaseToken(prepare), condition: ecs.ContainerDependencyCondition.HEALTHY });
    }
    this.addProxy(props, server);
  }

  private addServer(props: ServiceProps, prepare: ecs.ContainerDefinition): ecs.ContainerDefinition {
    const encryptionPassphrase = new secretsmanager.Secret(this, 'EncryptionPassphrase', {
      description: 'MLflow: encrypts the API keys that people store in it. Never change it: they would be lost.',
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
      ...(props.encryptionKey && { encryptionKey: props.encryptionKey }),
      removalPolicy: props.removalPolicy,
    });
    const options = props.iamAuthentication ? this.kit.iamOptions('task', props.mlflowEnvironment) : this.kit.passwordOptions('task', props.mlflowEnvironment);
    const server = this.taskDefinition.addContainer('mlflow', {
      ...options,
      user: MLFLOW_USER,
      command: ['mlflow', 'server', '--app-name', DOOR],
      secrets: {
        ...props.secrets,
        ...options.secrets,
        MLFLOW_CRYPTO_KEK_PASSPHRASE: ecs.Secret.fromSecretsManager(encryptionPassphrase),
      },
      healthCheck: {
        command: MLFLOW_HEALTH_CHECK,
        interval: Duration.seconds(5), // the minimum of ECS
        timeout: Duration.seconds(5),
        retries: 10,
        startPeriod: Duration.minutes(5),
      },
    });
    server.addMountPoints(TMP, CONFIG);
    server.addContainerDependencies({ container: prepare, condition: ecs.ContainerDependencyCondition.SUCCESS });
    return server;
  }

  private addProxy(props: ServiceProps, server: ecs.ContainerDefinition): void {
    const cookieSecret = new secretsmanager.Secret(this, 'CookieSecret', {
      description: 'MLflow: encrypts session cookies. After a change and a new deployment everybody signs in again.',
      generateSecretString: { passwordLength: 43, excludePunctuation: true }, // 43 characters of base64 are the 32 bytes of an AES-256 key
      ...(props.encryptionKey && { encryptionKey: props.encryptionKey }),
      removalPolicy: props.removalPolicy,
    });
    const proxy = this.taskDefinition.addContainer('oauth2-proxy', {
      ...this.kit.commonOptions('task', props.proxyEnvironment),
      image: props.oauth2ProxyImage ?? ecs.ContainerImage.fromRegistry(OAUTH2_PROXY_IMAGE),
      user: '65532:65532',
      portMappings: [{ containerPort: PROXY_PORT, name: 'oauth2-proxy' }], // Service Connect requires the name
      secrets: {
        ...props.proxySecrets,
        OAUTH2_PROXY_COOKIE_SECRET: ecs.Secret.fromSecretsManager(cookieSecret),
        ...(props.sessionServer && { OAUTH2_PROXY_REDIS_PASSWORD: props.sessionServer.password }),
      },
    });
    proxy.addMountPoints(CONFIG);
    proxy.addContainerDependencies({ container: server, condition: ecs.ContainerDependencyCondition.HEALTHY });
  }

  /** Adds the container that writes the RDS authentication tokens of the server. */
  private addDatabaseToken(prepare: ecs.ContainerDefinition): ecs.ContainerDefinition {
    const databaseToken = this.taskDefinition.addContainer('database-token', {
      ...this.kit.iamOptions('task', tokenEnvironment(Stack.of(this).region)),
      user: MLFLOW_USER, // libpq reads the file only if it belongs to its own user
      command: program('database_token.py'),
      healthCheck: {
        command: TOKEN_HEALTH_CHECK,
        interval: Duration.seconds(5), // the server waits until this container is healthy
        timeout: Duration.seconds(5),
        retries: 3,
        startPeriod: Duration.minutes(1),
      },
    });
    databaseToken.addMountPoints(TMP, CONFIG);
    databaseToken.addContainerDependencies({ container: prepare, condition: ecs.ContainerDependencyCondition.SUCCESS }); // `prepare` makes the volume accessible and writes the program
    this.props.database.cluster.grantConnect(this.taskDefinition.taskRole, DATABASE_IAM_USER);
    return databaseToken;
  }
}
