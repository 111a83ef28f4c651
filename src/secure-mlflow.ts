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
 * An MLflow tracking server that people reach in the browser after signing in with the company account,
 * and programs with a token. Nothing of it can be reached without.
 *
 * Fails if a prop cannot work: the message names every one that needs a change, what it got and what to do.
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
   * A server of another app, or of a stack that this one must not refer to, for jobs that use it.
   *
   * Its `grantTrackingAccess` gives a role the same policy, but cannot put it on the server's list. So the app of the server names the role's ARN in
   * `machineIdentities`, and has an `awsIdentityIssuer`.
   *
   * Fails if `url` is no `https://` and host name.
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

  /** The address of the server, for the browser and for `MLFLOW_TRACKING_URI`. */
  public readonly url: string;

  /**
   * The address that signs a person out. Whether the provider's own session ends too depends on the provider; if not, the next visit
   * signs in again without a question.
   */
  public readonly signOutUrl: string;

  /** The VPC, brought or made. */
  public readonly vpc: ec2.IVpc;

  /** The ECS cluster, brought or made. */
  public readonly cluster: ecs.ICluster;

  /** The service that keeps the tasks running. Use its `connections` for what the tasks may reach, beside port 443. */
  public readonly service: ecs.FargateService;

  /** The task: containers `prepare`, `mlflow` and `oauth2-proxy`, with IAM authentication `database-token` too. */
  public readonly taskDefinition: ecs.FargateTaskDefinition;

  /** The task that cleans up: containers `prepare` and `clean-up`. Only with `cleanUp`. */
  public readonly cleanUpTaskDefinition?: ecs.FargateTaskDefinition;

  /** The load balancer, brought or made. */
  public readonly loadBalancer: elbv2.IApplicationLoadBalancer;

  /** The load balancer that was made, for attributes and the like. Only without `listener`. */
  public readonly createdLoadBalancer?: elbv2.ApplicationLoadBalancer;

  /** The HTTPS listener, brought or made. Rules that you add to one that was made need other priorities than 1, which closes MLflow's assistant, and 2, which tells tools how to sign in. */
  public readonly listener: elbv2.IApplicationListener;

  /** The target group: port 4180 of the tasks, where oauth2-proxy listens. */
  public readonly targetGroup: elbv2.ApplicationTargetGroup;

  /** The certificate, brought or issued. */
  public readonly certificate: acm.ICertificate;

  /** The database. */
  public readonly database: rds.DatabaseCluster;

  /** The bucket for artifacts, brought or made. */
  public readonly artifactBucket: s3.IBucket;

  /** The bucket for artifacts, if it was made here, for lifecycle rules, replication and the like. Not with `artifactBucket` among the props. */
  public readonly createdBucket?: s3.Bucket;

  /** What the containers print, each in streams of its own. */
  public readonly logGroup: logs.ILogGroup;

  /** What CloudWatch measures: requests, tasks, database, bucket and certificate. */
  public readonly metrics: SecureMlflowMetrics;

  /** Who may reach the load balancer. */
  public readonly connections: ec2.Connections;

  /** The role of the tasks: grant it what MLflow itself should be able to do. */
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
   * Lets an AWS role in: with its identity tokens, which it may ask AWS for, for this server alone and an hour at most.
   *
   * The role's ARN goes on the list of exact subjects, so the role of a task that is already running gets in after the next deployment.
   * A role that is imported with `mutable: false`, as one of another account should be, gets no policy by this call: see
   * [what to do there](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/tokens.md#another-account).
   *
   * Fails if `awsIdentityIssuer` is not set or the grantee is no role, for a level without `access`, and for a role that could do nothing.
   *
   * @param grantee the role, or what has one, such as a function
   * @param options what it may do, where the server has `access`
   * @example
   *
   * const trainingRole = new iam.Role(this, 'TrainingRole', { assumedBy: new iam.ServicePrincipal('ecs-tasks.amazonaws.com') });
   * mlflow.grantTrackingAccess(trainingRole);
   *
   * // With `access` among the props a role may have a level of its own.
   * const reportRole = new iam.Role(this, 'ReportRole', { assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com') });
   * mlflow.grantTrackingAccess(reportRole, { level: AccessLevel.READER });
   */
  public grantTrackingAccess(grantee: iam.IGrantable, options: TrackingAccessOptions = {}): iam.Grant {
    if (this.awsIdentityIssuer === undefined) {
      throw new Error(`${this.node.path}: \`awsIdentityIssuer\` must be set for grantTrackingAccess, got nothing: use the address that \`aws iam enable-outbound-web-identity-federation\` prints`);
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
   * Defines a dashboard and alarms, from unhealthy targets to refused sign-ins and requests, and returns them. None of them rings on an idle system with a
   * paused database.
   *
   * [What to do](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/monitoring.md#alarms) when one rings.
   *
   * Fails if `alarmActions` is empty or a threshold cannot work, or at a second call.
   *
   * @example
   *
   * const pager = new SnsAction(new sns.Topic(this, 'Alarms'));
   * const monitoring = mlflow.addMonitoring({ alarmActions: [pager], okActions: [pager], thresholds: { latency: { threshold: 60 } } });
   * monitoring.dashboard.addWidgets(new cloudwatch.TextWidget({ markdown: 'On call: see the wiki' }));
   */
  public addMonitoring(options: MonitoringOptions): SecureMlflowMonitoring {
    if (this.node.tryFindChild('Monitoring') !== undefined) {
      throw new Error(`${this.node.path}: addMonitoring must be called once, got a second call: name all \`alarmActions\` and \`thresholds\` in one`);
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
    // References hide in values that are only known when all is defined.
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
      machineIdentities: Lazy.string({ produce: () => this.machineIdentities.join('\n') }), // grants come later
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

  /** Of the containers that run MLflow's server and oauth2-proxy. */
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
        ...(access && { accessPolicy: Lazy.string({ produce: () => Stack.of(this).toJsonString(accessPolicy(access, this.grants)) }) }), // grants come later
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
   * Lets CloudWatch Logs use the key, which takes its policy. All else is allowed by the policies of roles: so the parts know the key
   * by its ARN alone, and it may live in another stack, which must not depend on this one.
   */
  private openKeyToLogs(key: kms.IKey): kms.IKey {
    const { account, region, partition } = Stack.of(this);
    const { statementAdded } = key.addToResourcePolicy(new iam.PolicyStatement({
      principals: [new iam.ServicePrincipal(`logs.${region}.amazonaws.com`)],
      actions: ['kms:Encrypt', 'kms:Decrypt', 'kms:ReEncrypt*', 'kms:GenerateDataKey*', 'kms:DescribeKey'],
      resources: ['*'], // in the policy of a key: the key
      conditions: { ArnLike: { 'kms:EncryptionContext:aws:logs:arn': `arn:${partition}:logs:${region}:${account}:log-group:*` } },
    }));
    if (!statementAdded) {
      Annotations.of(this).addWarningV2('cdk-secure-mlflow:keyPolicyUnchanged',
        '`encryptionKey` is imported, so its policy cannot be changed here, and log groups cannot be made before it lets in CloudWatch Logs: add the statement of docs/encryption.md to it');
    }
    return kms.Key.fromKeyArn(this, 'EncryptionKey', key.keyArn);
  }

  private warn(warnings: Warnings): void {
    for (const [id, text] of Object.entries(warnings)) {
      Annotations.of(this).addWarningV2(`cdk-secure-mlflow:${id}`, text);
    }
  }

  /** Those of the app that were defined before this one. */
  private others(): Deployment[] {
    const all = this.node.root.node.findAll().filter((construct): construct is SecureMlflow => construct instanceof SecureMlflow);
    return all.filter(other => other !== this && other.deployment !== undefined).map(other => other.deployment); // one whose constructor threw has none
  }
}

/** Who may get in, beside the addresses. */
interface SignIn {
  readonly provider: AuthProviderConfig;
  readonly trustedTokenIssuers: TokenIssuer[];
  /** Whether programs of their own identity may come. */
  readonly machines: boolean;
}

/** What a task needs around it. */
interface Parts {
  readonly network: Network;
  readonly database: Database;
  readonly artifacts: ArtifactStore;
  readonly sessionServer?: SessionServer;
}

/** A list that is only known at deployment counts as one entry, of several lines. */
function entriesOf(identities: string[] = []): string[] {
  return Token.isUnresolved(identities) ? [Fn.join('\n', identities)] : identities;
}
