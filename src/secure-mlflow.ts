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
import * as route53 from 'aws-cdk-lib/aws-route53';
import * as s3 from 'aws-cdk-lib/aws-s3';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { Construct } from 'constructs';
import { ArtifactStore } from './artifact-store';
import { AuthProvider } from './auth-provider';
import { CleanUp } from './clean-up';
import { Database } from './database';
import { Ingress } from './ingress';
import { Monitoring, MonitoringOptions } from './monitoring';
import { Network } from './network';
import { cleanUpEnvironment, mlflowEnvironment, networkProxyEnvironment, uvicornEnvironment } from './private/mlflow';
import { referenceProblems } from './private/names';
import { proxyEnvironment, redirectUrl, signOutUrl } from './private/oauth2-proxy';
import { validateProps, validateProvider } from './private/validation';
import { Deployment, nameOfBucket, Warnings, warningsAboutJobs, warningsAboutNames, warningsAboutOthers, warningsAboutPeople } from './private/warnings';
import { Service } from './service';
import { SessionStore } from './session-store';
import { TokenIssuer } from './token-issuer';

/** How far the database scales, in Aurora capacity units (ACU: 2 GiB of memory each) and when it pauses. */
export interface DatabaseCapacity {
  /**
   * The least it scales down to, 0 to 256 in steps of 0.5.
   *
   * @default 0 - the database pauses when nobody has been connected for `pauseAfter`
   */
  readonly minAcus?: number;

  /**
   * The most it scales up to, 1 to 256 in steps of 0.5.
   *
   * @default 2
   */
  readonly maxAcus?: number;

  /**
   * How long nobody must have been connected before it pauses, 5 minutes to 24 hours. Only with `minAcus: 0`.
   *
   * MLflow's own connections end after a minute without use. The first request after a pause takes about 15 seconds longer.
   *
   * @default Duration.minutes(10)
   */
  readonly pauseAfter?: Duration;
}

/** How the server proves to the database who it is. */
export enum DatabaseAuthentication {
  /** With the password of the generated secret, which ECS reads when a task starts. It must not change while tasks run. */
  PASSWORD = 'password',

  /**
   * With tokens of RDS, signed by the role of the task, a new one every ten minutes. The server has no password, and whenever that of the database
   * changes, nothing happens to running tasks: only `prepare`, which migrates at the start of a task, and a clean-up task use it.
   *
   * A fourth container, `database-token`, makes the tokens.
   *
   * @see https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.html
   */
  IAM = 'iam',
}

/**
 * How the number of tasks follows the load: as many as keep the two targets, whichever needs more.
 *
 * Tasks share nothing but the database, the bucket and the secrets, so any request may go to any task. A task takes one to two minutes to start.
 */
export interface ScalingOptions {
  /** The most tasks, at least `desiredCount`. */
  readonly maxCount: number;

  /**
   * Average CPU of the tasks to aim at, in percent.
   *
   * @default 60 - what comes in while another task starts still finds room
   */
  readonly cpuUtilizationPercent?: number;

  /**
   * Requests a minute and task to aim at.
   *
   * @default 3000 - less than half of what one task was measured to answer (docs/scaling.md)
   */
  readonly requestsPerTarget?: number;
}

/**
 * MLflow's AI gateway: people store keys of AI providers on the server, and call the providers through it.
 *
 * Whoever is in can then spend every key that is stored there, and what people write leaves for the providers. Nothing of a sign-in goes along.
 * A key goes only where the person who stored it has sent it. See docs/ai-gateway.md.
 */
export interface AiGatewayOptions {
  /**
   * Providers that have no public address or another port than 443, such as `http://vllm.internal:8000`: scheme, host (a name, or an address of IPv4) and, if it
   * is another than that of the scheme, port.
   *
   * The security group of the tasks lets them out to port 443 alone. For any other port also call `mlflow.service.connections.allowTo(…)`, or calls end in
   * a timeout. To name a provider here is to trust it: everybody who is in can call it.
   *
   * @default - public addresses on port 443 alone
   */
  readonly privateProviders?: string[];
}

/** How large requests may be. What is larger is refused with status 413. Artifacts are not limited: they pass through as they come. */
export interface RequestLimits {
  /**
   * The body of a request, in MiB.
   *
   * @default 32
   */
  readonly apiMiB?: number;

  /**
   * OpenTelemetry traces of one request, unpacked, in MiB. Clients compress them, and a small request can hold much.
   *
   * @default 64
   */
  readonly tracesMiB?: number;
}

/** What is removed for good, and when. See docs/clean-up.md. */
export interface CleanUpOptions {
  /**
   * How long ago a run, a model or an experiment must have been deleted to be removed, with its files. At least a day.
   *
   * What a registered model still needs is never removed.
   */
  readonly olderThan: Duration;

  /**
   * When it runs. The database wakes each time.
   *
   * @default - Sundays at 3:00 UTC
   */
  readonly schedule?: scheduler.ScheduleExpression;

  /**
   * How long the new bucket keeps the versions of files that were deleted or overwritten, in days. A file can be brought back until then.
   *
   * Not with `artifactBucket`, of which nothing is changed.
   *
   * @default Duration.days(30)
   */
  readonly keepVersionsFor?: Duration;
}

/** What to deploy. Three props and a zone or a certificate are enough. */
export interface SecureMlflowProps {
  /** The public name of the server: one host, lower case, no scheme, such as `mlflow.example.com`. */
  readonly domainName: string;

  /** Where people sign in. */
  readonly authProvider: AuthProvider;

  /**
   * Domains whose e-mail addresses may sign in or send tokens; subdomains are domains of their own. An address that its token marks as unverified is
   * refused, unless the provider has an `emailClaim` of its own: then the provider alone answers for the address.
   *
   * `['*']` lets in whoever has an account at the provider. Synthesis warns where that is, or may be, anybody in the world, and of domains where
   * anybody can have an address.
   */
  readonly emailDomains: string[];

  /**
   * Whose identity tokens are accepted as `Authorization: Bearer`, beside those that the provider made for its client.
   *
   * @default - the provider's alone
   */
  readonly trustedTokenIssuers?: TokenIssuer[];

  /**
   * Exact subjects of tokens that are let in whatever `emailDomains` says: a machine client's id, the address of a service account.
   * Their tokens must be the provider's or those of an issuer in `trustedTokenIssuers`. Letter case does not matter.
   *
   * For AWS roles use `grantTrackingAccess`.
   *
   * @default - none
   */
  readonly machineIdentities?: string[];

  /**
   * The issuer of the account's identity tokens, `https://<id>.tokens.sts.global.api.aws`: what `grantTrackingAccess` needs.
   *
   * `aws iam enable-outbound-web-identity-federation` prints it, once for each account.
   *
   * @default - tokens of AWS roles are not accepted
   * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_getting_started.html
   */
  readonly awsIdentityIssuer?: string;

  /**
   * How long a sign-in in the browser lasts.
   *
   * @default Duration.hours(12)
   */
  readonly sessionDuration?: Duration;

  /**
   * How often, within a session, the provider is asked again whether the person may still enter.
   *
   * Needs refresh tokens; most OpenID Connect providers give them for the scope `offline_access`, Google gives none this way. Without one the session ends
   * with the ID token, which often lasts an hour, but not before the first interval is over.
   *
   * @default - not before the session ends
   */
  readonly sessionRefresh?: Duration;

  /**
   * Where the sessions of people are stored. With `SessionStore.valkey()` or `SessionStore.existing(…)` they are on the server: signing out ends a session,
   * whoever has a copy of the cookie, and the cookie stays small.
   *
   * @default SessionStore.cookie() - in the cookie: a copy of it is accepted until `sessionDuration` is over, even after signing out
   */
  readonly sessionStore?: SessionStore;

  /**
   * Public hosted zone that `domainName` lies in. The A record is made there and, without `certificate`, a certificate validated by DNS.
   *
   * @default - no record is made: point the name at `loadBalancer`
   */
  readonly hostedZone?: route53.IHostedZone;

  /**
   * Certificate for `domainName`, in the region of the stack.
   *
   * @default - one is issued by means of `hostedZone`
   */
  readonly certificate?: acm.ICertificate;

  /**
   * VPC to live in. Its tasks need a way out to S3, the image registries and the sign-in provider.
   *
   * @default - a new one on two zones, with a gateway endpoint for S3 and a log of refused connections
   */
  readonly vpc?: ec2.IVpc;

  /**
   * NAT gateways of the new VPC.
   *
   * With 0 the tasks get public addresses in public subnets, which only the load balancer can reach: cheaper, one wall less.
   *
   * @default 1
   */
  readonly natGateways?: number;

  /**
   * Subnets of `vpc` for the tasks. In public ones they get public addresses.
   *
   * @default - the private ones with a way out; the public ones where there are none
   */
  readonly serviceSubnets?: ec2.SubnetSelection;

  /**
   * Subnets of `vpc` for the database and for `SessionStore.valkey()`, on two zones at least.
   *
   * @default - the isolated ones; the private ones where there are none
   */
  readonly databaseSubnets?: ec2.SubnetSelection;

  /**
   * Subnets of `vpc` for the load balancer, on two zones at least.
   *
   * @default - the public ones; inside the VPC with `internetFacing: false`
   */
  readonly loadBalancerSubnets?: ec2.SubnetSelection;

  /**
   * Whether the load balancer has public addresses.
   *
   * With `false` bring the `vpc` that people and programs come through: one made here has no way in for them until you connect it to your network.
   *
   * @default true
   */
  readonly internetFacing?: boolean;

  /**
   * Who may open a connection to the load balancer. Everybody has to sign in all the same.
   *
   * @default - everyone; `[]` is nobody until `connections.allowFrom(…)`
   */
  readonly allowedSources?: ec2.IPeer[];

  /**
   * Bucket for artifacts, of this account. What MLflow does is granted on `artifactPath`, on its key too; nothing of the bucket is changed.
   *
   * @default - a new one: encrypted, versioned, over TLS only, never public
   */
  readonly artifactBucket?: s3.IBucket;

  /**
   * Folder of the bucket for artifacts. The tasks have no rights outside it.
   *
   * @default 'mlflow'
   */
  readonly artifactPath?: string;

  /**
   * Whether files of the new bucket are stored in S3 Intelligent-Tiering: cheaper when nobody has read them for a month, no slower and nothing to
   * pay when somebody does, a small charge for each file above 128 KB. Not with `artifactBucket`, of which nothing is changed.
   *
   * @default false
   * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/intelligent-tiering-overview.html
   */
  readonly artifactTiering?: boolean;

  /**
   * Removes for good what people deleted long ago, on a schedule.
   *
   * @default - nothing is removed: deleted runs, their files and old versions of files stay
   */
  readonly cleanUp?: CleanUpOptions;

  /**
   * How far the database scales and when it pauses.
   *
   * @default - 0 to 2 capacity units, pausing after 10 minutes
   */
  readonly databaseCapacity?: DatabaseCapacity;

  /**
   * How the server proves to the database who it is. See docs/rotation.md.
   *
   * @default DatabaseAuthentication.PASSWORD
   */
  readonly databaseAuthentication?: DatabaseAuthentication;

  /**
   * Options for gunicorn, such as `--threads 8`: MLflow then runs under gunicorn, which answers the plain API and the pages with less
   * processor time, and beside it under uvicorn for what gunicorn does not serve: OpenTelemetry traces, AI gateway, streamed artifacts.
   *
   * The second server takes some 350 MiB. MLflow advises against gunicorn. See docs/benchmarks.md for what is gained.
   *
   * @default - uvicorn serves everything
   */
  readonly gunicornOpts?: string;

  /**
   * Processes that serve requests, 250 MiB each.
   *
   * @default 2
   */
  readonly workers?: number;

  /**
   * Switches on MLflow's AI gateway: `{}` is enough.
   *
   * @default - off: MLflow refuses everything that belongs to it
   */
  readonly aiGateway?: AiGatewayOptions;

  /**
   * How large requests may be.
   *
   * @default - 32 MiB, traces 64 MiB after they are unpacked
   */
  readonly requestLimits?: RequestLimits;

  /**
   * MLflow's image, of 3.17.x.
   *
   * With any other `prepare` stops the task before it migrates anything, because the inner door does not know it. The image must hold the drivers for
   * PostgreSQL (psycopg2) and S3 (boto3), and uvloop. See docs/upgrades.md.
   *
   * @default - the official full image of 3.17.2
   */
  readonly mlflowImage?: ecs.ContainerImage;

  /**
   * oauth2-proxy's image, 7.15.5 at least.
   *
   * @default - the official image of 7.15.6
   */
  readonly oauth2ProxyImage?: ecs.ContainerImage;

  /**
   * CPU units of a task; 1024 are one vCPU.
   *
   * @default 1024
   */
  readonly cpu?: number;

  /**
   * Memory of a task in MiB. Fargate offers certain amounts for each `cpu`.
   *
   * @default 3072
   */
  readonly memoryLimitMiB?: number;

  /**
   * Disk of a task in GiB, 21 to 200. Uploads below 500 MB pass through it, as many as travel at once, and all that a browser or an older client downloads.
   *
   * @default 21
   */
  readonly ephemeralStorageGiB?: number;

  /**
   * Processor of the tasks. Images of your own must be built for it.
   *
   * @default ecs.CpuArchitecture.ARM64
   */
  readonly cpuArchitecture?: ecs.CpuArchitecture;

  /**
   * Number of tasks. With `scaling` the least number.
   *
   * @default 1
   */
  readonly desiredCount?: number;

  /**
   * How the number of tasks follows the load.
   *
   * @default - it does not: `desiredCount` tasks
   */
  readonly scaling?: ScalingOptions;

  /**
   * How much of `desiredCount` must keep running during a deployment, in percent.
   *
   * Above 0 old and new tasks overlap. MLflow does not support that across versions: use it for changes of settings, not for upgrades.
   *
   * @default 0 - old tasks stop, then new ones start
   */
  readonly minHealthyPercent?: number;

  /**
   * More environment variables for MLflow. Names that the construct sets for safety are refused, and so are secrets: see `secrets`.
   *
   * A proxy of the network (`HTTPS_PROXY` …) is used by `prepare`, too. oauth2-proxy needs it in `proxyEnvironment`, and `service` must be let out to it.
   * Not with `aiGateway`. See docs/settings.md.
   *
   * @default - none
   */
  readonly environment?: { [name: string]: string };

  /**
   * Secrets that MLflow's server gets as environment variables, such as the key of an AI provider. Names that `environment` must not hold are refused here, too.
   *
   * Every container that runs the server gets them when it starts; the execution role may read them. Who is signed in cannot read them, but use what they
   * open, as far as MLflow lets them.
   *
   * @default - none but those of the construct
   * @example
   *
   * declare const key: secretsmanager.ISecret;
   * const secrets = { OPENAI_API_KEY: ecs.Secret.fromSecretsManager(key) };
   */
  readonly secrets?: { [name: string]: ecs.Secret };

  /**
   * More environment variables for oauth2-proxy. Names that the construct sets for safety are refused, and so are secrets: see `proxySecrets`.
   *
   * It gets nothing of `environment`: name a proxy of the network (`HTTPS_PROXY` …) here, too.
   *
   * @default - none
   */
  readonly proxyEnvironment?: { [name: string]: string };

  /**
   * Secrets that oauth2-proxy gets as environment variables. Names that `proxyEnvironment` must not hold are refused here, too.
   *
   * @default - none but those of the construct and the client secret of `authProvider`
   * @example
   *
   * declare const key: secretsmanager.ISecret;
   * const proxySecrets = { OAUTH2_PROXY_SIGNATURE_KEY: ecs.Secret.fromSecretsManager(key) };
   */
  readonly proxySecrets?: { [name: string]: ecs.Secret };

  /**
   * Bucket for the access logs of the load balancer: in the region of the stack, encrypted with keys of S3 (SSE-S3), the only encryption that they can have.
   *
   * They say which client asked for what; the log of oauth2-proxy knows the load balancer's address alone. The policy of an imported bucket is not changed here:
   * see docs/monitoring.md for what it must allow.
   *
   * @default - no access logs
   */
  readonly accessLogsBucket?: s3.IBucket;

  /**
   * How long logs are kept.
   *
   * @default logs.RetentionDays.ONE_MONTH
   */
  readonly logRetention?: logs.RetentionDays;

  /**
   * Key for bucket, database, secrets, logs and `SessionStore.valkey()`: symmetric, of this account and region, with AWS's default policy at least. It costs 1 USD a month and its requests.
   *
   * Decide before the first deployment: CloudFormation replaces a database whose key changes by an empty one. docs/encryption.md says
   * what the key is used for and what an imported key needs in its policy.
   *
   * @default - keys that AWS manages, without charge
   * @see https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
   */
  readonly encryptionKey?: kms.IKey;

  /**
   * What becomes of bucket, database, secrets and logs when the stack is deleted. `DESTROY` deletes them, if the
   * bucket is empty and `deletionProtection` has been off before.
   *
   * @default - nothing is lost: bucket, secrets and logs stay, the database leaves a final snapshot
   */
  readonly removalPolicy?: RemovalPolicy;

  /**
   * Whether the database refuses to be deleted, by this stack or by anybody.
   *
   * @default true
   */
  readonly deletionProtection?: boolean;
}

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
    new Monitoring(this, 'Monitoring', { ...options, mlflow: this, maxTasks: this.maxTasks, cleanUpErrors: this.cleanUpErrors });
  }

  /**
   * Requests that a task got.
   *
   * @default - sum over 5 minutes
   */
  public metricRequestCount(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.targetGroup.metrics.requestCount(props);
  }

  /**
   * Seconds from a request's leaving the load balancer to the beginning of the answer.
   *
   * @default - average over 5 minutes
   */
  public metricTargetResponseTime(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.targetGroup.metrics.targetResponseTime(props);
  }

  /**
   * Answers of the tasks, by kind.
   *
   * @default - sum over 5 minutes
   */
  public metricHttpCodeTarget(code: elbv2.HttpCodeTarget, props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.targetGroup.metrics.httpCodeTarget(code, props);
  }

  /**
   * Answers of the load balancer itself, by kind.
   *
   * @default - sum over 5 minutes
   */
  public metricHttpCodeElb(code: elbv2.HttpCodeElb, props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.loadBalancer.metrics.httpCodeElb(code, props);
  }

  /**
   * Tasks that fail the health check of the load balancer.
   *
   * @default - average over 5 minutes
   */
  public metricUnhealthyHostCount(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.targetGroup.metrics.unhealthyHostCount(props);
  }

  /**
   * CPU of the tasks, in percent.
   *
   * @default - average over 5 minutes
   */
  public metricCpuUtilization(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.service.metricCpuUtilization(props);
  }

  /**
   * Memory of the tasks, in percent.
   *
   * @default - average over 5 minutes
   */
  public metricMemoryUtilization(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.service.metricMemoryUtilization(props);
  }

  /**
   * Tasks that run.
   *
   * @default - average over 5 minutes
   */
  public metricRunningTaskCount(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.containerInsights('RunningTaskCount', props);
  }

  /**
   * Tasks that should run.
   *
   * @default - average over 5 minutes
   */
  public metricDesiredTaskCount(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.containerInsights('DesiredTaskCount', props);
  }

  /**
   * Disk that the tasks use, in GB.
   *
   * @default - average over 5 minutes
   */
  public metricEphemeralStorageUtilized(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.containerInsights('EphemeralStorageUtilized', props);
  }

  /**
   * Disk that the tasks have, in GB.
   *
   * @default - average over 5 minutes
   */
  public metricEphemeralStorageReserved(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.containerInsights('EphemeralStorageReserved', props);
  }

  /**
   * Capacity units of the database; 0 while it is paused.
   *
   * @default - average over 5 minutes
   */
  public metricServerlessDatabaseCapacity(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.database.metricServerlessDatabaseCapacity(props);
  }

  /**
   * Capacity units of the database, in percent of `maxAcus`.
   *
   * @default - average over 5 minutes
   */
  public metricAcuUtilization(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.database.metricACUUtilization(props);
  }

  /**
   * Connections to the database.
   *
   * @default - average over 5 minutes
   */
  public metricDatabaseConnections(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.database.metric('DatabaseConnections', props);
  }

  /**
   * Size of the database in bytes.
   *
   * @default - average over 5 minutes
   */
  public metricVolumeBytesUsed(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.database.metric('VolumeBytesUsed', props);
  }

  /**
   * Size of the bucket for artifacts in bytes, old versions of objects included, without those in other storage classes than Standard.
   *
   * @default - average over a day: S3 measures it once a day
   */
  public metricBucketSizeBytes(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return new cloudwatch.Metric({
      namespace: 'AWS/S3',
      metricName: 'BucketSizeBytes',
      dimensionsMap: { BucketName: this.artifactBucket.bucketName, StorageType: 'StandardStorage' },
      period: Duration.days(1),
      ...props,
    }).attachTo(this);
  }

  /**
   * Days until the certificate expires.
   *
   * @default - minimum over a day
   */
  public metricDaysToExpiry(props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return this.certificate.metricDaysToExpiry(props);
  }

  /** Of the service; names and dimensions: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-ECS.html */
  private containerInsights(metricName: string, props?: cloudwatch.MetricOptions): cloudwatch.Metric {
    return new cloudwatch.Metric({
      namespace: 'ECS/ContainerInsights',
      metricName,
      dimensionsMap: { ClusterName: this.cluster.clusterName, ServiceName: this.service.serviceName },
      ...props,
    }).attachTo(this);
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
