import { Annotations, Fn, Lazy, Stack, Token } from 'aws-cdk-lib';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as rds from 'aws-cdk-lib/aws-rds';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import type { TrackingAccessOptions } from './access';
import { grantTokens, roleArnOf } from './auth/aws-roles';
import type { AuthProviderConfig } from './auth/config';
import { TokenIssuer } from './auth/token-issuer';
import { toolsAnswer } from './auth/tools';
import { grantProblems, warningsAboutAccess } from './checks/access';
import { ruleProblems, shadowProblems, warningsAboutListener } from './checks/listener';
import { referenceProblems } from './checks/names';
import { throwProblems } from './checks/problems';
import { taskSizeProblems, warningsAboutQuotas } from './checks/quotas';
import { validateProps, validateProvider } from './checks/validation';
import {
  Deployment, insightsProblems, nameOfBucket, Warnings, warningsAboutInsights, warningsAboutJobs, warningsAboutNames, warningsAboutOthers,
  warningsAboutPeople, warningsAboutSessions, warningsAboutSnapshots,
} from './checks/warnings';
import { Settings, withDefaults } from './defaults';
import { ImportedSecureMlflow, ISecureMlflow, SecureMlflowAttributes } from './imported';
import { SecureMlflowMetrics } from './metrics';
import { MonitoringOptions, SecureMlflowMonitoring } from './monitoring-options';
import { ArtifactStore } from './parts/artifact-store';
import { CleanUp } from './parts/clean-up';
import { Database } from './parts/database';
import { Ingress } from './parts/ingress';
import { Monitoring, validateMonitoring } from './parts/monitoring';
import { Network } from './parts/network';
import { containerInsightsOf, Service } from './parts/service';
import { sharedListener } from './parts/shared-listener';
import type { SecureMlflowProps } from './props';
import type { SessionServer } from './session-store';
import { accessPolicy, Grant, namesGroups } from './settings/access';
import { cleanUpEnvironment, mlflowEnvironment } from './settings/mlflow';
import { networkProxyEnvironment } from './settings/network-proxy';
import { proxyEnvironment, redirectUrl, signOutUrl } from './settings/oauth2-proxy';

/**
 * An MLflow tracking server behind your company's sign-in. People use it in the browser after signing in, programs send a bearer token. Unauthenticated
 * requests are rejected.
 *
 * Fails if a prop cannot work. The message lists every prop that needs a change, its value, what is allowed and what to do.
 *
 * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow#readme
 * @example
 *
 * const mlflow = new SecureMlflow(this, 'Mlflow', {
 *   domainName: 'mlflow.example.com',
 *   hostedZone: zone,
 *   authProvider: AuthProvider.google({
 *     clientId: '1234.apps.googleusercontent.com',
 *     clientSecret: ecs.Secret.fromSecretsManager(secretsmanager.Secret.fromSecretNameV2(this, 'OAuth', 'mlflow/oauth'), 'clientSecret'),
 *   }),
 *   emailDomains: ['example.com'],
 * });
 * new CfnOutput(this, 'MlflowUri', { value: mlflow.url });
 */
export class SecureMlflow extends Construct implements ISecureMlflow, ec2.IConnectable, iam.IGrantable {
  /**
   * Refers to a server that another app deploys, or a stack that this one must not depend on. Use it for jobs that need access to that server.
   *
   * Its `grantTrackingAccess` gives a role the same policy, but cannot change the server. The app of the server must list the role's ARN in
   * `machineIdentities` and set `awsIdentityIssuer`.
   *
   * Fails if `url` is not `https://` and a host name.
   *
   * @example
   *
   * const server = SecureMlflow.fromSecureMlflowAttributes(this, 'Mlflow', { url: 'https://mlflow.example.com' });
   * const trainingRole = new iam.Role(this, 'TrainingRole', { roleName: 'training', assumedBy: new iam.ServicePrincipal('ecs-tasks.amazonaws.com') });
   * server.grantTrackingAccess(trainingRole);
   */
  public static fromSecureMlflowAttributes(scope: Construct, id: string, attrs: SecureMlflowAttributes): ISecureMlflow {
    return new ImportedSecureMlflow(scope, id, attrs);
  }

  /** The URL of the server, for the browser and for `MLFLOW_TRACKING_URI`. */
  public readonly url: string;

  /**
   * The URL that signs a person out. Whether the session at the sign-in provider also ends depends on the provider. If it does not end, the next visit
   * signs the person in again without a prompt.
   */
  public readonly signOutUrl: string;

  /** The VPC: the one that you passed, or the new one. */
  public readonly vpc: ec2.IVpc;

  /** The ECS cluster: the one that you passed, or the new one. */
  public readonly cluster: ecs.ICluster;

  /** The ECS service that keeps the tasks running. With its `connections` you can allow the tasks to reach other ports than 443. */
  public readonly service: ecs.FargateService;

  /** The task definition of the service: containers `prepare`, `mlflow` and `oauth2-proxy`, and with IAM authentication also `database-token`. */
  public readonly taskDefinition: ecs.FargateTaskDefinition;

  /** The task definition of the clean-up: containers `prepare` and `clean-up`. Undefined without `cleanUp`. */
  public readonly cleanUpTaskDefinition?: ecs.FargateTaskDefinition;

  /** The load balancer: the one of the `listener` that you passed, or the new one. */
  public readonly loadBalancer: elbv2.IApplicationLoadBalancer;

  /** The new load balancer, for example to set attributes. Undefined with `listener`. */
  public readonly createdLoadBalancer?: elbv2.ApplicationLoadBalancer;

  /**
   * The HTTPS listener: the one that you passed, or the new one. Rules that you add to the new one must not have the priorities 1 (the rule that closes MLflow's
   * assistant) and 2 (the rule that tells tools how to sign in).
   */
  public readonly listener: elbv2.IApplicationListener;

  /** The target group. Its targets are port 4180 of the tasks, where oauth2-proxy listens. */
  public readonly targetGroup: elbv2.ApplicationTargetGroup;

  /** The certificate: the one that you passed, or the new one. */
  public readonly certificate: acm.ICertificate;

  /** The Aurora PostgreSQL cluster. */
  public readonly database: rds.DatabaseCluster;

  /** The bucket for artifacts: the one that you passed, or the new one. */
  public readonly artifactBucket: s3.IBucket;

  /** The new bucket for artifacts, for example to add lifecycle rules or replication. Undefined with the prop `artifactBucket`. */
  public readonly createdBucket?: s3.Bucket;

  /** The log group of all containers. Each container writes to its own log streams. */
  public readonly logGroup: logs.ILogGroup;

  /** CloudWatch metrics of requests, tasks, database, bucket and certificate. */
  public readonly metrics: SecureMlflowMetrics;

  /** Connections of the load balancer, on port 443 by default. Use it to allow more sources. */
  public readonly connections: ec2.Connections;

  /** The task role. Grant it what MLflow itself must be able to do. */
  public readonly grantPrincipal: iam.IPrincipal;

  private readonly cleanUpErrors?: cloudwatch.IMetric;
  private readonly maxTasks: number;
  private readonly awsIdentityIssuer?: string;
  private readonly machineIdentities: string[] = [];
  private readonly access: Settings['access'];
  private readonly grants: Grant[] = [];
  private readonly deployment: Deployment;

  public constructor(scope: Construct, id: string, props: SecureMlflowProps) {
    super(scope, id);
    const defaults = withDefaults(props);
    validateProps(this.node.path, Stack.of(this).region, props, defaults);
    const encryption = props.encryptionKey && { encryptionKey: this.openKeyToLogs(props.encryptionKey) };
    const settings = { ...defaults, ...encryption };
    this.url = `https://${props.domainName}`;
    this.maxTasks = settings.scaling?.maxCount ?? settings.desiredCount;
    this.awsIdentityIssuer = props.awsIdentityIssuer;
    this.access = settings.access;
    const signIn = this.bindProvider(props, settings);
    this.signOutUrl = signOutUrl(this.url, signIn.provider.signOutUrl);

    const network = new Network(this, 'Network', settings);
    const { vpc, databaseSubnets: vpcSubnets } = network;
    const ingress = this.defineIngress(props, settings, network, signIn.provider);
    const database = new Database(this, 'Database', {
      ...settings, ...settings.databaseCapacity, ...settings.databaseOptions, vpc, vpcSubnets, removalPolicy: settings.databaseRemovalPolicy,
    });
    const sessionServer = props.sessionStore?._bind(this, { vpc, vpcSubnets, ...encryption });
    const artifacts = new ArtifactStore(this, 'Artifacts', {
      ...settings,
      bucket: props.artifactBucket,
      path: settings.artifactPath,
      tiering: settings.artifactTiering,
      keepVersionsFor: settings.cleanUp?.keepVersionsFor,
    });
    const { artifactPath } = settings;
    this.deployment = { path: this.node.path, bucketName: nameOfBucket(artifacts.bucket), artifactPath, provider: signIn.provider };
    this.warn(warningsAboutOthers(this.deployment, this.others()));
    const service = this.defineService(settings, signIn, { network, database, artifacts, ...(sessionServer && { sessionServer }) });
    const cleanUp = this.defineCleanUp(settings, network, service, artifacts);
    this.cleanUpTaskDefinition = cleanUp?.taskDefinition;
    this.cleanUpErrors = cleanUp?.errors;
    ingress.targetGroup.addTarget(service.target);
    service.scaleWith(ingress.targetGroup);

    this.vpc = network.vpc;
    this.cluster = service.cluster;
    this.service = service.service;
    this.taskDefinition = service.taskDefinition;
    this.loadBalancer = ingress.loadBalancer;
    this.createdLoadBalancer = ingress.createdLoadBalancer;
    this.listener = ingress.listener;
    this.targetGroup = ingress.targetGroup;
    this.certificate = ingress.certificate;
    this.database = database.cluster;
    this.artifactBucket = artifacts.bucket;
    this.createdBucket = artifacts.created;
    this.logGroup = service.logGroup;
    this.metrics = SecureMlflowMetrics._of(this);
    this.connections = ingress.connections;
    this.grantPrincipal = service.taskDefinition.taskRole;
  }

  /**
   * Allows an AWS role to use the server: the role may request AWS identity tokens from STS, for this server only and valid for one hour at most.
   *
   * The role's ARN is added to the list of exact subjects, so the role has access after the next deployment. A role that is imported with `mutable: false`,
   * as a role of another account should be, gets no policy from this call: see
   * [what to do there](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/tokens.md#another-account).
   *
   * Fails if `awsIdentityIssuer` is not set, if the grantee is not a role, if a level is given without the prop `access`, and if the level would be `NONE`.
   *
   * @param grantee the role, or a construct that has one, such as a function
   * @param options the level of the role, if the server has `access`
   * @example
   *
   * const trainingRole = new iam.Role(this, 'TrainingRole', { assumedBy: new iam.ServicePrincipal('ecs-tasks.amazonaws.com') });
   * mlflow.grantTrackingAccess(trainingRole);
   *
   * // With the prop `access` a role can have its own level.
   * const reportRole = new iam.Role(this, 'ReportRole', { assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com') });
   * mlflow.grantTrackingAccess(reportRole, { level: AccessLevel.READER });
   */
  public grantTrackingAccess(grantee: iam.IGrantable, options: TrackingAccessOptions = {}): iam.Grant {
    if (this.awsIdentityIssuer === undefined) {
      throw new Error(`${this.node.path}: \`awsIdentityIssuer\` must be set for grantTrackingAccess, got no value: use the issuer that \`aws iam enable-outbound-web-identity-federation\` prints`);
    }
    const roleArn = roleArnOf(this.node.path, grantee);
    throwProblems(this.node.path, grantProblems(roleArn, options, this.access));
    const { level } = options;
    this.grants.push({ roleArn, ...(level && { level }) });
    if (!this.machineIdentities.includes(roleArn)) {
      this.machineIdentities.push(roleArn);
    }
    return grantTokens(this.url, grantee);
  }

  /**
   * Creates a dashboard and alarms and returns them. The alarms cover targets, tasks, errors, refused sign-ins and requests, the database, storage and the
   * certificate. No alarm rings on an idle system with a paused database.
   *
   * See [what to do](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/monitoring.md#alarms) when an alarm rings.
   *
   * Fails if `alarmActions` is empty, if an `evaluationPeriods` is not a whole number above 0, and when it is called a second time.
   *
   * @example
   *
   * const pager = new SnsAction(new sns.Topic(this, 'Alarms'));
   * const monitoring = mlflow.addMonitoring({ alarmActions: [pager], okActions: [pager], thresholds: { latency: { threshold: 60 } } });
   * monitoring.dashboard.addWidgets(new cloudwatch.TextWidget({ markdown: 'On call: see the wiki' }));
   */
  public addMonitoring(options: MonitoringOptions): SecureMlflowMonitoring {
    if (this.node.tryFindChild('Monitoring') !== undefined) {
      throw new Error(`${this.node.path}: addMonitoring must be called once, got a second call: pass all \`alarmActions\` and \`thresholds\` in one call`);
    }
    validateMonitoring(this.node.path, options);
    const { url, metrics, logGroup, artifactBucket, maxTasks, cleanUpErrors } = this;
    const insights = containerInsightsOf(this.cluster);
    this.warn(warningsAboutInsights(insights, options.thresholds));
    this.node.addValidation({ validate: () => insightsProblems(insights, containerInsightsOf(this.cluster)) });
    const { dashboard, alarms } = new Monitoring(this, 'Monitoring', {
      ...options,
      ...{ url, metrics, logGroup, artifactBucket, maxTasks },
      containerInsights: insights !== ecs.ContainerInsights.DISABLED,
      ownLoadBalancer: this.createdLoadBalancer !== undefined,
      ...(cleanUpErrors && { cleanUpErrors }),
    });
    return { dashboard, alarms };
  }

  private bindProvider(props: SecureMlflowProps, settings: Settings): SignIn {
    const { emailDomains, sessionRefresh, encryptionKey } = settings;
    const provider = props.authProvider.bind(this, {
      url: this.url,
      redirectUrl: redirectUrl(this.url),
      emailDomains,
      ...(sessionRefresh && { sessionRefresh }),
      ...(namesGroups(props.access) && { needsGroups: true }),
      ...(encryptionKey && { encryptionKey }),
    });
    validateProvider(this.node.path, props, provider);
    // A value can contain references that can only be resolved when the whole app is defined.
    this.node.addValidation({ validate: () => referenceProblems(props, value => Stack.of(this).resolve(value)) });
    this.machineIdentities.push(...entriesOf(props.machineIdentities), ...entriesOf(provider.machineIdentities));
    const trustedTokenIssuers = this.trustedTokenIssuers(props);
    this.warn({
      ...warningsAboutPeople(props, provider, trustedTokenIssuers),
      ...warningsAboutAccess(props, provider),
      ...warningsAboutNames(props, provider),
      ...warningsAboutSessions(props, provider),
      ...warningsAboutJobs(props),
      ...warningsAboutQuotas(settings.allowedSources),
      ...warningsAboutSnapshots(props),
    });
    return { provider, trustedTokenIssuers, machines: this.machineIdentities.length > 0 || props.awsIdentityIssuer !== undefined };
  }

  private defineIngress(props: SecureMlflowProps, settings: Settings, network: Network, { toolsClient }: AuthProviderConfig): Ingress {
    const { vpc, loadBalancerSubnets } = network;
    const shared = sharedListener(this, props);
    if (shared !== undefined) {
      this.warn(warningsAboutListener(shared));
      this.node.addValidation({ validate: () => shadowProblems(this, shared, props.domainName) });
    }
    const ingress = new Ingress(this, 'Ingress', {
      ...settings,
      vpc,
      vpcSubnets: loadBalancerSubnets,
      ...(toolsClient && { toolsAnswer: Stack.of(this).toJsonString(toolsAnswer(toolsClient)) }),
      ...(shared && { shared }),
    });
    this.node.addValidation({ validate: () => ruleProblems(this, ingress.listener) });
    return ingress;
  }

  private defineService(settings: Settings, signIn: SignIn, { network, database, artifacts, sessionServer }: Parts): Service {
    const service = new Service(this, 'Service', {
      ...settings,
      vpc: network.vpc,
      vpcSubnets: network.serviceSubnets,
      assignPublicIp: network.assignPublicIp,
      database,
      ...this.environments(settings, signIn, artifacts.uri, sessionServer),
      secrets: settings.secrets ?? {},
      proxySecrets: { ...settings.proxySecrets, OAUTH2_PROXY_CLIENT_SECRET: signIn.provider.clientSecret },
      ...(sessionServer && { sessionServer }),
      machineIdentities: Lazy.string({ produce: () => this.machineIdentities.join('\n') }), // grants are added later
    });
    const { containerDefinitions } = service.taskDefinition.node.defaultChild as ecs.CfnTaskDefinition;
    this.node.addValidation({ validate: () => taskSizeProblems(Stack.of(this).resolve(containerDefinitions)) });
    artifacts.grantUse(service.taskDefinition.taskRole);
    return service;
  }

  private defineCleanUp(settings: Settings, network: Network, service: Service, artifacts: ArtifactStore): CleanUp | undefined {
    return settings.cleanUp && new CleanUp(this, 'CleanUp', {
      ...settings,
      vpcSubnets: network.serviceSubnets,
      assignPublicIp: network.assignPublicIp,
      service,
      artifacts,
      schedule: settings.cleanUp.schedule,
      environment: cleanUpEnvironment({ ...this.place(artifacts.uri), olderThan: settings.cleanUp.olderThan, environment: settings.environment }),
    });
  }

  private trustedTokenIssuers({ trustedTokenIssuers = [], awsIdentityIssuer }: SecureMlflowProps): TokenIssuer[] {
    const aws = awsIdentityIssuer === undefined ? [] : [TokenIssuer.oidc({ issuerUrl: awsIdentityIssuer, audience: this.url })];
    return [...trustedTokenIssuers, ...aws];
  }

  private place(artifactsUri: string) {
    return { region: Stack.of(this).region, artifactsUri };
  }

  /** Environment variables of the containers that run the MLflow server and oauth2-proxy. */
  private environments(settings: Settings, signIn: SignIn, artifactsUri: string, sessionServer?: SessionServer) {
    const { provider, trustedTokenIssuers, machines } = signIn;
    const { access, emailDomains, requestLimits } = settings;
    const { hostedDomains } = provider;
    return {
      mlflowEnvironment: mlflowEnvironment({
        ...settings,
        ...this.place(artifactsUri),
        url: this.url,
        apiLimit: requestLimits.apiMiB,
        tracesLimit: requestLimits.tracesMiB,
        addressesOnly: !emailDomains.includes('*'),
        ...(machines && hostedDomains && { hostedDomains }),
        signOutUrl: this.signOutUrl,
        ...(access && { accessPolicy: Lazy.string({ produce: () => Stack.of(this).toJsonString(accessPolicy(access, this.grants)) }) }), // grants are added later
      }),
      proxyEnvironment: proxyEnvironment({
        ...settings,
        ...provider,
        providerEnvironment: provider.environment,
        environment: settings.proxyEnvironment,
        url: this.url,
        bearerTokens: provider.bearerTokens ?? true,
        machines,
        trustedTokenIssuers,
        sessionServer,
      }),
      networkProxyEnvironment: networkProxyEnvironment(Stack.of(this).region, settings.networkProxy),
    };
  }

  /**
   * Allows CloudWatch Logs to use the key, which only the key policy can do. Everything else is allowed in the policies of roles. The parts refer to the
   * key by its ARN only, so that a stack that contains the key does not depend on this one.
   */
  private openKeyToLogs(key: kms.IKey): kms.IKey {
    const { account, region, partition } = Stack.of(this);
    const { statementAdded } = key.addToResourcePolicy(new iam.PolicyStatement({
      principals: [new iam.ServicePrincipal(`logs.${region}.amazonaws.com`)],
      actions: ['kms:Encrypt', 'kms:Decrypt', 'kms:ReEncrypt*', 'kms:GenerateDataKey*', 'kms:DescribeKey'],
      resources: ['*'], // in a key policy this means the key
      conditions: { ArnLike: { 'kms:EncryptionContext:aws:logs:arn': `arn:${partition}:logs:${region}:${account}:log-group:*` } },
    }));
    if (!statementAdded) {
      Annotations.of(this).addWarningV2('cdk-secure-mlflow:keyPolicyUnchanged',
        '`encryptionKey` is imported, so its policy cannot be changed here, and log groups cannot be created until it allows CloudWatch Logs: add the statement in docs/encryption.md to the key policy');
    }
    return kms.Key.fromKeyArn(this, 'EncryptionKey', key.keyArn);
  }

  private warn(warnings: Warnings): void {
    for (const [id, text] of Object.entries(warnings)) {
      Annotations.of(this).addWarningV2(`cdk-secure-mlflow:${id}`, text);
    }
  }

  /** The deployments of the app that were defined before this one. */
  private others(): Deployment[] {
    const all = this.node.root.node.findAll().filter((construct): construct is SecureMlflow => construct instanceof SecureMlflow);
    return all.filter(other => other !== this && other.deployment !== undefined).map(other => other.deployment); // a construct whose constructor threw an error has none
  }
}

/** The settings that decide who gets in, in addition to `emailDomains`. */
interface SignIn {
  readonly provider: AuthProviderConfig;
  readonly trustedTokenIssuers: TokenIssuer[];
  /** Whether programs may authenticate with their own identity. */
  readonly machines: boolean;
}

/** The parts that a task needs. */
interface Parts {
  readonly network: Network;
  readonly database: Database;
  readonly artifacts: ArtifactStore;
  readonly sessionServer?: SessionServer;
}

/** A list that is a CDK token becomes one entry with several lines. */
function entriesOf(identities: string[] = []): string[] {
  return Token.isUnresolved(identities) ? [Fn.join('\n', identities)] : identities;
}
