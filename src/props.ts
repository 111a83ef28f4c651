import type { Duration, RemovalPolicy } from 'aws-cdk-lib';
import type * as acm from 'aws-cdk-lib/aws-certificatemanager';
import type * as ec2 from 'aws-cdk-lib/aws-ec2';
import type * as ecs from 'aws-cdk-lib/aws-ecs';
import type * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as logs from 'aws-cdk-lib/aws-logs';
import type * as rds from 'aws-cdk-lib/aws-rds';
import type * as route53 from 'aws-cdk-lib/aws-route53';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import type { AccessOptions } from './access';
import type { IAuthProvider } from './auth/auth-provider';
import type { TokenIssuer } from './auth/token-issuer';
import type { SessionStore } from './session-store';

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

/** What else of the database may differ. */
export interface DatabaseOptions {
  /**
   * Version of the engine: 17.7 or newer of major version 17. RDS applies newer minor ones by itself, and never goes back to an older one.
   *
   * @default rds.AuroraPostgresEngineVersion.VER_17_7
   */
  readonly engineVersion?: rds.AuroraPostgresEngineVersion;

  /**
   * More parameters of the cluster, such as `{ log_min_duration_statement: '1000' }`. Those that the construct sets are refused.
   *
   * RDS applies some of them only when the database restarts.
   *
   * @default - `rds.force_ssl` and `idle_session_timeout` alone
   */
  readonly parameters?: { [name: string]: string };

  /**
   * How long backups are kept, 1 to 35 whole days. The database can be restored to any second of them.
   *
   * @default Duration.days(14)
   */
  readonly backupRetention?: Duration;

  /**
   * Switches on Performance Insights, which shows what queries wait for: `STANDARD` keeps a week without charge, `ADVANCED` 15 months for a price.
   *
   * @default - off
   * @see https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_DatabaseInsights.html
   */
  readonly databaseInsightsMode?: rds.DatabaseInsightsMode;

  /**
   * Snapshot to restore the database from: the name or ARN of one that a database of this construct left, in the region of the stack.
   *
   * It must stay as it is for as long as the database lives: CloudFormation replaces a database whose snapshot is removed from the template by an empty
   * one, and one whose snapshot is changed by what is in that. So it also replaces a database that is there already.
   *
   * @default - an empty database
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/backup-and-restore.md#in-a-new-stack-needs-aws
   */
  readonly snapshotIdentifier?: string;
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

/** Which way artifacts go between clients and S3. */
export enum ArtifactTransfer {
  /**
   * The server signs URLs, and clients use them: all downloads, and uploads from 500 MB on, go straight from and to S3. The load on the server is small, but clients
   * must reach `https://<bucket>.s3.<region>.amazonaws.com`, browsers too.
   *
   * Without a way there a download by MLflow's client fails after minutes, and the download button leads to an error page of the browser.
   */
  DIRECT = 'direct',

  /**
   * The server signs no URLs, says so, and passes everything on. Clients need a way to the server alone, and no settings of their own.
   *
   * Every file passes through the disk of a task (`ephemeralStorageGiB`), and a transfer may take 15 minutes.
   */
  THROUGH_SERVER = 'through-server',
}

/** What the tasks run on. */
export enum FargateCapacity {
  /** Fargate at its usual price. A task runs until it is stopped. */
  ON_DEMAND = 'on-demand',

  /**
   * Spare capacity, up to 70 percent cheaper. AWS may end a task at any time, with a notice of two minutes, and starts another when it has capacity.
   * With one task that is an outage of some minutes; there is no fallback to the usual price.
   *
   * @see https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html
   */
  SPOT = 'spot',
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
   * @default 3000 - less than half of what one task [was measured to answer](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/scaling.md)
   */
  readonly requestsPerTarget?: number;
}

/**
 * MLflow's AI gateway: people store keys of AI providers on the server, and call the providers through it.
 *
 * Whoever is in can then spend every key that is stored there, and what people write leaves for the providers. Nothing of a sign-in goes along.
 * A key goes only where the person who stored it has sent it.
 *
 * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/ai-gateway.md
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

/** A proxy of the network for requests of HTTP and HTTPS (the method CONNECT), which asks for no password. */
export interface NetworkProxyOptions {
  /** Host name or IPv4 address, without scheme. */
  readonly host: string;

  /** Port, 1 to 65535, but 443. */
  readonly port: number;

  /**
   * Hosts that are reached past it, without scheme and port; one stands for all hosts below it, too. Those of the task itself and of its credentials
   * always are, and the database and the session store, which are not asked by HTTP.
   *
   * @default - S3 of the region: a gateway endpoint or a NAT gateway leads there, without which no image could be pulled. With `[]` artifacts go through it, too
   */
  readonly noProxy?: string[];

  /**
   * Where the security group of the tasks lets them out to `port`: addresses, or the security group of the proxy.
   *
   * @default - every IPv4 address
   */
  readonly peer?: ec2.IPeer;
}

/**
 * What is removed for good, and when.
 *
 * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/clean-up.md
 */
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
  readonly authProvider: IAuthProvider;

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
   * Who may do what: readers, editors and admins, by group, address and machine.
   *
   * With it `grantTrackingAccess` takes a `level`, and jobs of the server must be off, because they call it without a sign-in. Runs say who made them with it
   * and without it.
   *
   * @default - everybody who gets in may do everything
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/access.md
   * @example
   *
   * const access: AccessOptions = {
   *   admins: { groups: ['ml-admins'], people: ['ada@example.com'] },
   *   editors: { groups: ['data-science'] },
   *   everybody: AccessLevel.READER,
   * };
   */
  readonly access?: AccessOptions;

  /**
   * How long a sign-in in the browser lasts.
   *
   * @default Duration.hours(12)
   */
  readonly sessionDuration?: Duration;

  /**
   * How often, within a session, the provider is asked again whether the person may still enter.
   *
   * It needs refresh tokens, which Cognito, Entra ID, GitLab and Keycloak give. `AuthProvider.oidc` asks for the scope `offline_access`, for which most others
   * give them. Google and GitHub give oauth2-proxy none: there it is refused. Without a refresh token the session ends with the ID token, which often lasts an
   * hour, but not before the first interval is over.
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
   * A private zone needs `certificate`, too: ACM cannot see into it.
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
   * HTTPS listener of an Application Load Balancer that several services share: requests for `domainName` come here. Needs the `vpc` of the load balancer.
   *
   * Two rules, the certificate and a rule from the load balancer's security group to the tasks are added; who may connect is up to the owner. The load
   * balancer should have an idle timeout of 15 minutes and drop invalid header fields; the listener should send Strict-Transport-Security and refuse TLS
   * older than 1.2. Synthesis warns where that is not so, or cannot be seen.
   *
   * @default - a load balancer of its own
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/shared-load-balancer.md
   * @example
   *
   * declare const listener: elbv2.IApplicationListener; // such as `loadBalancer.addListener('Https', …)`
   * declare const vpc: ec2.IVpc;
   * new SecureMlflow(this, 'Mlflow', { domainName: 'mlflow.example.com', hostedZone: zone, authProvider, emailDomains: ['example.com'], vpc, listener });
   */
  readonly listener?: elbv2.IApplicationListener;

  /**
   * Load balancer of `listener`. It must be given where the listener is imported.
   *
   * @default - the one that the listener of this app belongs to
   */
  readonly loadBalancer?: elbv2.IApplicationLoadBalancer;

  /**
   * Priority of the first of up to three rules in `listener`; the others have the next two numbers. It must be given where the listener is imported. Name it
   * where other services come and go, because a priority that changes may be taken in the middle of a deployment.
   *
   * @default - the three after the highest that this app uses so far
   */
  readonly listenerPriority?: number;

  /**
   * VPC to live in, of the region of the stack. Its tasks need a way out to S3, the image registries and the sign-in provider.
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
   * Subnets of `vpc` for the tasks, in zones of the load balancer. In public ones they get public addresses.
   *
   * @default - the private ones with a way out; the public ones where there are none. None in local zones
   */
  readonly serviceSubnets?: ec2.SubnetSelection;

  /**
   * Subnets of `vpc` for the database and for `SessionStore.valkey()`, on two zones at least.
   *
   * @default - the isolated ones; the private ones where there are none. One of each zone, none in local zones
   */
  readonly databaseSubnets?: ec2.SubnetSelection;

  /**
   * Subnets of `vpc` for the load balancer, on two zones at least. It takes one subnet of a zone: where a VPC has several groups of a kind, add `onePerAz: true`.
   *
   * @default - the public ones; inside the VPC with `internetFacing: false`. One of each zone, none in local zones
   */
  readonly loadBalancerSubnets?: ec2.SubnetSelection;

  /**
   * The proxy through which the tasks reach the internet: `prepare` the certificates of the database's CA, oauth2-proxy the sign-in provider.
   *
   * Not with `aiGateway`. Images, secrets and logs do not go through it: a task needs a way to them.
   *
   * @default - none: the tasks need a way out
   * @example
   *
   * const networkProxy = { host: 'proxy.example.com', port: 3128, peer: ec2.Peer.ipv4('10.0.0.0/16') };
   */
  readonly networkProxy?: NetworkProxyOptions;

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
   * Those that are named come on port 443 alone; only everyone also comes on port 80, which redirects to it. A security group takes 60 rules, one for
   * each source; a prefix list counts as the most entries that it may have, that of CloudFront as 55. Synthesis warns where that may be too much.
   *
   * @default - everyone; `[]` is nobody until `connections.allowFrom(…)`
   */
  readonly allowedSources?: ec2.IPeer[];

  /**
   * Bucket for artifacts, of this account and region. What MLflow does is granted on `artifactPath`, on its key too; nothing of the bucket is changed.
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
   * Which way artifacts go: straight between clients and S3 by presigned URLs, or through the server, for networks that do not reach S3.
   *
   * @default ArtifactTransfer.DIRECT
   * @example
   *
   * const props = { internetFacing: false, artifactTransfer: ArtifactTransfer.THROUGH_SERVER };
   */
  readonly artifactTransfer?: ArtifactTransfer;

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
   * Version, parameters, backups and insights of the database, or the snapshot that it is restored from.
   *
   * @default - as said at each
   */
  readonly databaseOptions?: DatabaseOptions;

  /**
   * How the server proves to the database who it is.
   *
   * @default DatabaseAuthentication.PASSWORD
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/rotation.md#the-password-of-the-database
   */
  readonly databaseAuthentication?: DatabaseAuthentication;

  /**
   * Options for gunicorn, which keeps the processes of the server; in each of them uvicorn serves.
   *
   * `--threads` is how many requests each process works on at once, 8 by default, of those that MLflow serves by Flask: most of its API. More
   * threads wait for Python's lock and hold connections of the database.
   *
   * @example '--threads 4 --max-requests 100000'
   * @default - those of the server, which docs/settings.md lists
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/settings.md#mlflow-alone
   */
  readonly gunicornOpts?: string;

  /**
   * Processes that serve requests: under load some 100 MiB each, beside 350 MiB that they share.
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
   * PostgreSQL (psycopg2) and S3 (boto3), and uvloop.
   *
   * @default - the official full image of 3.17.2
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/upgrades.md
   */
  readonly mlflowImage?: ecs.ContainerImage;

  /**
   * oauth2-proxy's image, 7.15.5 at least.
   *
   * @default - the official image of 7.15.6
   */
  readonly oauth2ProxyImage?: ecs.ContainerImage;

  /**
   * ECS cluster to run in. Needs `vpc`. With `FargateCapacity.SPOT` it must have the capacity provider `FARGATE_SPOT`.
   *
   * @default - a new one
   */
  readonly cluster?: ecs.ICluster;

  /**
   * Container Insights of the new cluster: number of tasks and their disk, in CloudWatch. Not with `cluster`, whose owner decides.
   *
   * `ContainerInsights.DISABLED` saves 11 USD a month; `addMonitoring` then has no alarms `missingTasks` and `ephemeralStorage`.
   *
   * @default ecs.ContainerInsights.ENABLED
   */
  readonly containerInsights?: ecs.ContainerInsights;

  /**
   * What the tasks run on. The clean-up runs on Fargate at its usual price.
   *
   * @default FargateCapacity.ON_DEMAND
   */
  readonly capacity?: FargateCapacity;

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
   * Disk of a task in GiB, 21 to 200. Uploads below 500 MB pass through it, as many as travel at once, the files that the page shows, and all that older clients
   * download; with `ArtifactTransfer.THROUGH_SERVER` every file.
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
   * @default - none
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/settings.md
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
   * It gets nothing of `environment`.
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
   * see [what it must allow](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/monitoring.md#access-logs-of-the-load-balancer).
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
   * Decide before the first deployment: CloudFormation replaces a database whose key changes by an empty one.
   * [What the key is used for](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/encryption.md), and what an imported key needs in its policy.
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
