import { Annotations, Duration, Fn, Lazy, RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
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
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { Construct } from 'constructs';
import { TokenIssuer } from './auth/token-issuer';
import { referenceProblems } from './checks/names';
import { validateProps, validateProvider } from './checks/validation';
import { Deployment, nameOfBucket, Warnings, warningsAboutJobs, warningsAboutNames, warningsAboutOthers, warningsAboutPeople } from './checks/warnings';
import { SecureMlflowMetrics } from './metrics';
import { MonitoringOptions } from './monitoring-options';
import { ArtifactStore } from './parts/artifact-store';
import { CleanUp } from './parts/clean-up';
import { Database } from './parts/database';
import { Ingress } from './parts/ingress';
import { Monitoring } from './parts/monitoring';
import { Network } from './parts/network';
import { Service } from './parts/service';
import { DatabaseAuthentication, SecureMlflowProps } from './props';
import { cleanUpEnvironment, mlflowEnvironment, networkProxyEnvironment, uvicornEnvironment } from './settings/mlflow';
import { proxyEnvironment, redirectUrl, signOutUrl } from './settings/oauth2-proxy';

/**
 * An MLflow tracking server that people reach in the browser after signing in with the company account,
 * and programs with a token. Nothing of it can be reached without.
 */
export class SecureMlflow extends Construct implements ec2.IConnectable, iam.IGrantable {
  /** The address of the server, for the browser and for `MLFLOW_TRACKING_URI`. */
  public readonly url: string;

  /**
   * The address that signs a person out. Whether the provider's own session ends too depends on the provider; if not, the next visit
   * signs in again without a question.
   */
  public readonly signOutUrl: string;

  /** The VPC, brought or made. */
  public readonly vpc: ec2.IVpc;

  /** The ECS cluster. */
  public readonly cluster: ecs.ICluster;

  /** The service that keeps the tasks running. Use its `connections` for what the tasks may reach, beside port 443. */
  public readonly service: ecs.FargateService;

  /** The task: containers `prepare`, `mlflow` and `oauth2-proxy`, with IAM authentication `database-token` too. */
  public readonly taskDefinition: ecs.FargateTaskDefinition;

  /** The task that cleans up: containers `prepare` and `clean-up`. Only with `cleanUp`. */
  public readonly cleanUpTaskDefinition?: ecs.FargateTaskDefinition;

  /** The load balancer. */
  public readonly loadBalancer: elbv2.ApplicationLoadBalancer;

  /** The HTTPS listener. */
  public readonly listener: elbv2.ApplicationListener;

  /** The target group: port 4180 of the tasks, where oauth2-proxy listens. */
  public readonly targetGroup: elbv2.ApplicationTargetGroup;

  /** The certificate, brought or issued. */
  public readonly certificate: acm.ICertificate;

  /** The database. */
  public readonly database: rds.DatabaseCluster;

  /** The bucket for artifacts, brought or made. */
  public readonly artifactBucket: s3.IBucket;

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
  private readonly machineIdentities: string[];
  private readonly deployment: Deployment;

  /**
   * @throws if a prop cannot work; the message lists every one that needs a change
   */
  public constructor(scope: Construct, id: string, props: SecureMlflowProps) {
    super(scope, id);
    validateProps(this.node.path, Stack.of(this).region, props);
    // References hide in values that are only known now.
    this.node.addValidation({ validate: () => referenceProblems(props, value => Stack.of(this).resolve(value)) });
    this.maxTasks = props.scaling?.maxCount ?? props.desiredCount ?? 1;
    this.url = `https://${props.domainName}`;
    const internetFacing = props.internetFacing ?? true;
    const logRetention = props.logRetention ?? logs.RetentionDays.ONE_MONTH;
    const removalPolicy = props.removalPolicy ?? RemovalPolicy.RETAIN;

    const trustedTokenIssuers = [
      ...props.trustedTokenIssuers ?? [],
      ...props.awsIdentityIssuer === undefined ? [] : [TokenIssuer.oidc({ issuerUrl: props.awsIdentityIssuer, audience: this.url })],
    ];
    const encryption = props.encryptionKey && { encryptionKey: this.useKey(props.encryptionKey) };
    const { emailDomains } = props;
    const provider = props.authProvider.bind(this, { url: this.url, redirectUrl: redirectUrl(this.url), emailDomains, ...encryption });
    validateProvider(this.node.path, props, provider);
    this.signOutUrl = signOutUrl(this.url, provider.signOutUrl);
    this.awsIdentityIssuer = props.awsIdentityIssuer;
    this.machineIdentities = [...entriesOf(props.machineIdentities), ...entriesOf(provider.machineIdentities)];
    const machines = this.machineIdentities.length > 0 || props.awsIdentityIssuer !== undefined;
    this.warn({ ...warningsAboutPeople(props, provider, trustedTokenIssuers), ...warningsAboutNames(props, provider), ...warningsAboutJobs(props) });

    const network = new Network(this, 'Network', {
      vpc: props.vpc,
      natGateways: props.natGateways ?? 1,
      internetFacing,
      serviceSubnets: props.serviceSubnets,
      databaseSubnets: props.databaseSubnets,
      loadBalancerSubnets: props.loadBalancerSubnets,
      logRetention,
      ...encryption,
      removalPolicy,
    });

    const ingress = new Ingress(this, 'Ingress', {
      domainName: props.domainName,
      hostedZone: props.hostedZone,
      certificate: props.certificate,
      vpc: network.vpc,
      vpcSubnets: network.loadBalancerSubnets,
      internetFacing,
      allowedSources: props.allowedSources ?? [ec2.Peer.anyIpv4()],
      accessLogsBucket: props.accessLogsBucket,
    });

    const database = new Database(this, 'Database', {
      vpc: network.vpc,
      vpcSubnets: network.databaseSubnets,
      minAcus: props.databaseCapacity?.minAcus ?? 0,
      maxAcus: props.databaseCapacity?.maxAcus ?? 2,
      pauseAfter: props.databaseCapacity?.pauseAfter ?? Duration.minutes(10),
      ...encryption,
      deletionProtection: props.deletionProtection ?? true,
      removalPolicy: props.removalPolicy ?? RemovalPolicy.SNAPSHOT,
    });

    const sessionServer = props.sessionStore?._bind(this, { vpc: network.vpc, vpcSubnets: network.databaseSubnets, ...encryption });

    const artifacts = new ArtifactStore(this, 'Artifacts', {
      bucket: props.artifactBucket,
      path: props.artifactPath ?? 'mlflow',
      ...encryption,
      removalPolicy,
      ...(props.cleanUp && { keepVersionsFor: props.cleanUp.keepVersionsFor ?? Duration.days(30) }),
      tiering: props.artifactTiering ?? false,
    });

    this.deployment = { path: this.node.path, bucketName: nameOfBucket(artifacts.bucket), artifactPath: props.artifactPath ?? 'mlflow', provider };
    this.warn(warningsAboutOthers(this.deployment, this.others()));

    const cpuArchitecture = props.cpuArchitecture ?? ecs.CpuArchitecture.ARM64;
    const mlflowOptions = {
      url: this.url,
      region: Stack.of(this).region,
      artifactsUri: artifacts.uri,
      workers: props.workers ?? 2,
      gunicornOpts: props.gunicornOpts,
      apiLimit: props.requestLimits?.apiMiB ?? 32,
      tracesLimit: props.requestLimits?.tracesMiB ?? 64,
      addressesOnly: !emailDomains.includes('*'),
      ...(machines && provider.hostedDomains && { hostedDomains: provider.hostedDomains }),
      aiGateway: props.aiGateway,
      environment: props.environment,
    };
    const service = new Service(this, 'Service', {
      vpc: network.vpc,
      vpcSubnets: network.serviceSubnets,
      assignPublicIp: network.assignPublicIp,
      database,
      iamAuthentication: props.databaseAuthentication === DatabaseAuthentication.IAM,
      mlflowImage: props.mlflowImage,
      mlflowEnvironment: mlflowEnvironment(mlflowOptions),
      ...(props.gunicornOpts !== undefined && { uvicornEnvironment: uvicornEnvironment(mlflowOptions) }),
      oauth2ProxyImage: props.oauth2ProxyImage,
      proxyEnvironment: proxyEnvironment({
        url: this.url,
        clientId: provider.clientId,
        providerEnvironment: provider.environment,
        bearerTokens: provider.bearerTokens ?? true,
        signOutUrl: provider.signOutUrl,
        emailDomains,
        ...(provider.hostedDomains && { hostedDomains: provider.hostedDomains }),
        machines,
        trustedTokenIssuers,
        uvicornBesideGunicorn: props.gunicornOpts !== undefined,
        sessionDuration: props.sessionDuration ?? Duration.hours(12),
        sessionRefresh: props.sessionRefresh,
        sessionServer,
        environment: props.proxyEnvironment,
      }),
      secrets: props.secrets ?? {},
      proxySecrets: { ...props.proxySecrets, OAUTH2_PROXY_CLIENT_SECRET: provider.clientSecret },
      networkProxyEnvironment: networkProxyEnvironment(props.environment),
      ...(sessionServer && { sessionServer }),
      machineIdentities: Lazy.string({ produce: () => this.machineIdentities.join('\n') }), // grants come later
      cpu: props.cpu ?? 1024,
      memoryLimitMiB: props.memoryLimitMiB ?? 3072,
      ephemeralStorageGiB: props.ephemeralStorageGiB ?? 21,
      cpuArchitecture,
      desiredCount: props.desiredCount ?? 1,
      scaling: props.scaling,
      minHealthyPercent: props.minHealthyPercent ?? 0,
      logRetention,
      ...encryption,
      removalPolicy,
    });
    artifacts.grantUse(service.taskDefinition.taskRole);
    if (props.cleanUp) {
      const cleanUp = new CleanUp(this, 'CleanUp', {
        vpcSubnets: network.serviceSubnets,
        assignPublicIp: network.assignPublicIp,
        service,
        artifacts,
        environment: cleanUpEnvironment({
          region: Stack.of(this).region,
          artifactsUri: artifacts.uri,
          olderThan: props.cleanUp.olderThan,
          environment: props.environment,
        }),
        cpuArchitecture,
        // A quiet hour, and seldom: what was deleted long ago can wait some days more, and the database sleeps on.
        schedule: props.cleanUp.schedule ?? scheduler.ScheduleExpression.cron({ weekDay: 'SUN', hour: '3', minute: '0' }),
      });
      this.cleanUpTaskDefinition = cleanUp.taskDefinition;
      this.cleanUpErrors = cleanUp.errors;
    }
    ingress.targetGroup.addTarget(service.target);
    service.scaleWith(ingress.targetGroup);

    this.vpc = network.vpc;
    this.cluster = service.cluster;
    this.service = service.service;
    this.taskDefinition = service.taskDefinition;
    this.loadBalancer = ingress.loadBalancer;
    this.listener = ingress.listener;
    this.targetGroup = ingress.targetGroup;
    this.certificate = ingress.certificate;
    this.database = database.cluster;
    this.artifactBucket = artifacts.bucket;
    this.logGroup = service.logGroup;
    this.metrics = SecureMlflowMetrics._of(this);
    this.connections = ingress.connections;
    this.grantPrincipal = service.taskDefinition.taskRole;
  }

  /**
   * Lets an AWS role in: with its identity tokens, which it may ask AWS for, for this server alone and an hour at most.
   *
   * The role's ARN goes on the list of exact subjects, so the role of a task that is already running gets in after the next deployment.
   * A role that is imported with `mutable: false`, as one of another account should be, gets no policy by this call: see docs/tokens.md
   * for what to do there.
   *
   * @param grantee the role, or what has one, such as a function
   * @throws if `awsIdentityIssuer` is not set or the grantee is no role
   */
  public grantTrackingAccess(grantee: iam.IGrantable): iam.Grant {
    const { roleArn } = grantee.grantPrincipal as iam.IRole;
    if (this.awsIdentityIssuer === undefined) {
      throw new Error(`${this.node.path}: \`awsIdentityIssuer\` must be set for grantTrackingAccess, got nothing: use the address that \`aws iam enable-outbound-web-identity-federation\` prints`);
    }
    if (roleArn === undefined) {
      throw new Error(`${this.node.path}: grantTrackingAccess must be given a role, got ${grantee.grantPrincipal}: pass an iam.Role, or something that runs with one`);
    }
    if (!this.machineIdentities.includes(roleArn)) {
      this.machineIdentities.push(roleArn);
    }
    return iam.Grant.addToPrincipal({
      grantee,
      actions: ['sts:GetWebIdentityToken'],
      resourceArns: ['*'], // the action knows no resource; the conditions name what the token is for
      conditions: {
        'ForAnyValue:StringEquals': { 'sts:IdentityTokenAudience': this.url },
        'ForAllValues:StringEquals': { 'sts:IdentityTokenAudience': this.url }, // no second audience in the same token
        'NumericLessThanEquals': { 'sts:DurationSeconds': 3600 },
        'StringEquals': { 'sts:SigningAlgorithm': 'RS256' },
        'StringEqualsIfExists': { 'sts:SubjectMode': 'AWSIdentity' }, // in the other mode the subject is not the role but who assumed it
      },
    });
  }

  /**
   * Defines a dashboard and alarms, from unhealthy targets to refused sign-ins. None of them rings on an idle system with a paused database.
   *
   * At most once. docs/monitoring.md says what to do when one rings.
   *
   * @throws if `alarmActions` is empty
   */
  public addMonitoring(options: MonitoringOptions): void {
    const { url, metrics, logGroup, artifactBucket, maxTasks, cleanUpErrors } = this;
    new Monitoring(this, 'Monitoring', { ...options, url, metrics, logGroup, artifactBucket, maxTasks, ...(cleanUpErrors && { cleanUpErrors }) });
  }

  /**
   * Lets CloudWatch Logs use the key, which takes its policy. All else is allowed by the policies of roles: so the parts know the key
   * by its ARN alone, and it may live in another stack, which must not depend on this one.
   */
  private useKey(key: kms.IKey): kms.IKey {
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

/** A list that is only known at deployment counts as one entry, of several lines. */
function entriesOf(identities: string[] = []): string[] {
  return Token.isUnresolved(identities) ? [Fn.join('\n', identities)] : identities;
}
