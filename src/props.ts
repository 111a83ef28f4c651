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

/** How far the database scales, in Aurora capacity units (ACU, 2 GiB of memory each), and when it pauses. */
export interface DatabaseCapacity {
  /**
   * Minimum capacity in ACU, 0 to 256 in steps of 0.5.
   *
   * @default 0 - the database pauses when it has had no connection for `pauseAfter`
   */
  readonly minAcus?: number;

  /**
   * Maximum capacity in ACU, 1 to 256 in steps of 0.5.
   *
   * @default 2
   */
  readonly maxAcus?: number;

  /**
   * How long the database must be without a connection before it pauses, 5 minutes to 24 hours. Only with `minAcus: 0`.
   *
   * MLflow's own connections close after a minute without use. The first request after a pause takes about 15 seconds longer.
   *
   * @default Duration.minutes(10)
   */
  readonly pauseAfter?: Duration;
}

/** Options of the database other than its capacity. */
export interface DatabaseOptions {
  /**
   * Engine version: 17.7 or a newer minor version of 17. RDS installs newer minor versions automatically and never goes back to an older one.
   *
   * @default rds.AuroraPostgresEngineVersion.VER_17_7
   */
  readonly engineVersion?: rds.AuroraPostgresEngineVersion;

  /**
   * Additional cluster parameters, such as `{ log_min_duration_statement: '1000' }`. Parameters that the construct sets are refused.
   *
   * RDS applies some parameters only when the database restarts.
   *
   * @default - only `rds.force_ssl` and `idle_session_timeout` are set
   */
  readonly parameters?: { [name: string]: string };

  /**
   * How long backups are kept, 1 to 35 whole days. The database can be restored to any second of that time.
   *
   * @default Duration.days(14)
   */
  readonly backupRetention?: Duration;

  /**
   * Turns on Performance Insights, which shows what queries wait for. `STANDARD` keeps a week of data without charge, `ADVANCED` keeps 15 months and is charged.
   *
   * @default - off
   * @see https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_DatabaseInsights.html
   */
  readonly databaseInsightsMode?: rds.DatabaseInsightsMode;

  /**
   * Snapshot to restore the database from: the name or ARN of a snapshot of a database of this construct, in the region of the stack.
   *
   * Do not change or remove it as long as the database exists. If you remove it, CloudFormation replaces the database with an empty one. If you change it,
   * or add it to an existing deployment, CloudFormation replaces the database with the content of the snapshot.
   *
   * @default - an empty database
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/backup-and-restore.md#in-a-new-stack-needs-aws
   */
  readonly snapshotIdentifier?: string;
}

/** How the server authenticates to the database. */
export enum DatabaseAuthentication {
  /** With the password in the generated secret, which ECS reads when a task starts. The password must not change while tasks run. */
  PASSWORD = 'password',

  /**
   * With IAM authentication: the task role signs a new RDS authentication token every ten minutes. The server has no database password, so a change of the
   * password does not affect running tasks. Only `prepare`, which migrates the database when a task starts, and the clean-up task use the password.
   *
   * A fourth container, `database-token`, creates the RDS authentication tokens.
   *
   * @see https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.html
   */
  IAM = 'iam',
}

/** How artifacts travel between clients and S3. */
export enum ArtifactTransfer {
  /**
   * The server signs URLs, and clients use them to reach S3 directly: for all downloads, and for uploads from 500 MB. The load on the server is small, but
   * clients and browsers must reach `https://<bucket>.s3.<region>.amazonaws.com`.
   *
   * If they cannot, a download with MLflow's client fails after minutes, and the download button opens an error page of the browser.
   */
  DIRECT = 'direct',

  /**
   * The server signs no URLs, tells clients so, and transfers all artifacts itself. Clients only have to reach the server and need no settings.
   *
   * Every file passes through the disk of a task (`ephemeralStorageGiB`). A transfer may take at most 15 minutes.
   */
  THROUGH_SERVER = 'through-server',
}

/** Kind of Fargate capacity on which the tasks run. */
export enum FargateCapacity {
  /** Fargate at the on-demand price. A task runs until it is stopped. */
  ON_DEMAND = 'on-demand',

  /**
   * Spare capacity, up to 70 percent cheaper. AWS may stop a task at any time, two minutes after a notice. ECS starts another task when AWS has capacity.
   * With one task this is an outage of some minutes. There is no fallback to on-demand capacity.
   *
   * @see https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html
   */
  SPOT = 'spot',
}

/**
 * How the number of tasks follows the load. There are two targets; the one that needs more tasks decides.
 *
 * Tasks share only the database, the bucket and the secrets, so any task can answer any request. A task takes one to two minutes to start.
 */
export interface ScalingOptions {
  /** Maximum number of tasks, at least `desiredCount`. */
  readonly maxCount: number;

  /**
   * Target for the average CPU utilization of the tasks, in percent.
   *
   * @default 60 - leaves room for the requests that arrive while another task starts
   */
  readonly cpuUtilizationPercent?: number;

  /**
   * Target for the number of requests per task and minute.
   *
   * @default 3000 - less than half of what one task [was measured to answer](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/scaling.md)
   */
  readonly requestsPerTarget?: number;
}

/**
 * Options of MLflow's AI gateway. People store keys of AI providers on the server and call the providers through the server.
 *
 * Everybody who gets in can then use every key that is stored there, and what people write is sent to the AI providers. No part of a sign-in is sent.
 * A key is sent only to the provider and the address that it was stored for.
 *
 * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/ai-gateway.md
 */
export interface AiGatewayOptions {
  /**
   * AI providers without a public address, or on another port than 443, such as `http://vllm.internal:8000`. Give the scheme, the host (a name or an IPv4
   * address) and the port, if it is not the default port of the scheme.
   *
   * The security group of the tasks allows outbound connections to port 443 only. For any other port also call `mlflow.service.connections.allowTo(…)`;
   * otherwise calls time out. List only providers that you trust: everybody who gets in can call them.
   *
   * @default - only public addresses on port 443
   */
  readonly privateProviders?: string[];
}

/** Maximum size of requests. Larger requests are rejected with status 413. Artifacts that clients upload with PUT are not limited. */
export interface RequestLimits {
  /**
   * Maximum size of the body of a request, in MiB, 1 to 1024.
   *
   * @default 32
   */
  readonly apiMiB?: number;

  /**
   * Maximum size of the OpenTelemetry traces in one request after decompression, in MiB, 1 to 1024. Clients compress traces, so a small request can contain a lot.
   *
   * @default 64
   */
  readonly tracesMiB?: number;
}

/** An HTTP proxy of your network that forwards HTTP and HTTPS requests (method CONNECT) and requires no password. */
export interface NetworkProxyOptions {
  /** Host name or IPv4 address, without scheme. */
  readonly host: string;

  /** Port, 1 to 65535, except 443. */
  readonly port: number;

  /**
   * Hosts that are reached without the proxy. Leave out scheme and port. A host includes all its subdomains. The task itself and the address of its AWS
   * credentials never go through the proxy. Connections to the database and the session store do not either, because they do not use HTTP.
   *
   * @default - S3 in the region, which the tasks reach through a gateway endpoint or a NAT gateway. With `[]` artifacts go through the proxy, too
   */
  readonly noProxy?: string[];

  /**
   * Destination of the outbound rule for `port` in the security group of the tasks: an address range, or the security group of the proxy.
   *
   * @default - every IPv4 address
   */
  readonly peer?: ec2.IPeer;
}

/**
 * What the clean-up removes permanently, and when it runs.
 *
 * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/clean-up.md
 */
export interface CleanUpOptions {
  /**
   * How long ago a run, a model or an experiment must have been deleted before it is removed with its files. At least a day.
   *
   * Files that a registered model still needs are never removed.
   */
  readonly olderThan: Duration;

  /**
   * When the clean-up runs. A paused database resumes each time.
   *
   * @default - Sundays at 3:00 UTC
   */
  readonly schedule?: scheduler.ScheduleExpression;

  /**
   * How long the new bucket keeps the versions of files that were deleted or overwritten, in whole days. Until then a file can be restored.
   *
   * Not with `artifactBucket`, because the construct changes nothing in a bucket that you pass.
   *
   * @default Duration.days(30)
   */
  readonly keepVersionsFor?: Duration;
}

/** Props of `SecureMlflow`. Three props, and a zone or a certificate, are enough. */
export interface SecureMlflowProps {
  /** The public name of the server: one host name in lower case, without scheme, such as `mlflow.example.com`. */
  readonly domainName: string;

  /** The sign-in provider: one of the factories of `AuthProvider`, or your own `IAuthProvider`. */
  readonly authProvider: IAuthProvider;

  /**
   * E-mail domains. People may sign in and send bearer tokens with an address in one of these domains. A subdomain must be listed separately. An address
   * that the ID token marks as unverified is rejected, unless the provider has another `emailClaim`: oauth2-proxy does not check such an address.
   *
   * `['*']` allows every account at the provider. Synthesis warns if anyone in the world can, or might, have such an account. It also warns about domains
   * that give an address to anyone.
   */
  readonly emailDomains: string[];

  /**
   * Additional issuers whose signed tokens are accepted as bearer tokens (`Authorization: Bearer`). Those of the sign-in provider for its client are accepted anyway.
   *
   * @default - only those of the sign-in provider
   */
  readonly trustedTokenIssuers?: TokenIssuer[];

  /**
   * Exact subjects of bearer tokens that are accepted regardless of `emailDomains`: the id of a machine client, or the address of a service account.
   * The bearer tokens must come from the sign-in provider or from an issuer in `trustedTokenIssuers`. Letter case does not matter.
   *
   * For AWS roles use `grantTrackingAccess`.
   *
   * @default - none
   */
  readonly machineIdentities?: string[];

  /**
   * The issuer of the AWS account's identity tokens, `https://<id>.tokens.sts.global.api.aws`. `grantTrackingAccess` requires it.
   *
   * Run `aws iam enable-outbound-web-identity-federation` once for each account; it prints the issuer.
   *
   * @default - AWS identity tokens are not accepted
   * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_getting_started.html
   */
  readonly awsIdentityIssuer?: string;

  /**
   * Who may do what: readers, editors and admins, by group, address and machine.
   *
   * With `access`, `grantTrackingAccess` accepts a `level`, and jobs of the server must be off, because they call the server without a sign-in. Every run shows
   * who created it, with and without `access`.
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
   * How long a session in the browser lasts, at least a minute.
   *
   * @default Duration.hours(12)
   */
  readonly sessionDuration?: Duration;

  /**
   * How often a session is refreshed at the provider, which then confirms that the person may still sign in. At least a minute, and shorter than `sessionDuration`.
   *
   * Requires refresh tokens. Cognito, Entra ID, GitLab and Keycloak issue them. Most other providers issue them for the scope `offline_access`, which
   * `AuthProvider.oidc` requests. Google and GitHub issue none to oauth2-proxy; there the prop is refused. Without a refresh token the session ends when the
   * ID token expires (often after an hour) or after the first interval, whichever is later.
   *
   * @default - sessions are not refreshed
   */
  readonly sessionRefresh?: Duration;

  /**
   * Where the sessions of people are stored. With `SessionStore.valkey()` or `SessionStore.existing(…)` they are stored on a server: signing out ends the
   * session for every copy of the cookie, and the cookie stays small.
   *
   * @default SessionStore.cookie() - in the cookie: a copy of the cookie is accepted until `sessionDuration` ends, even after signing out
   */
  readonly sessionStore?: SessionStore;

  /**
   * Public hosted zone that contains `domainName`. The construct creates the A record in the zone. Without `certificate` it also requests a certificate that is
   * validated by DNS. A private zone also needs `certificate`, because ACM cannot read its records.
   *
   * @default - no record is created: point the name to `loadBalancer` yourself
   */
  readonly hostedZone?: route53.IHostedZone;

  /**
   * Certificate for `domainName`, in the region of the stack.
   *
   * @default - a new one, validated by DNS in `hostedZone`
   */
  readonly certificate?: acm.ICertificate;

  /**
   * HTTPS listener of an Application Load Balancer that several services share. It forwards requests for `domainName` to this server. Requires the `vpc` of the load balancer.
   *
   * The construct adds up to three listener rules, the certificate, and a security group rule from the load balancer to the tasks. The owner of the load
   * balancer decides who may connect. The load balancer should have an idle timeout of 15 minutes and drop invalid header fields. The listener should send
   * Strict-Transport-Security and refuse TLS versions below 1.2. Synthesis warns if a setting is missing or cannot be read.
   *
   * @default - a new load balancer for this server only
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/shared-load-balancer.md
   * @example
   *
   * declare const listener: elbv2.IApplicationListener; // such as `loadBalancer.addListener('Https', …)`
   * declare const vpc: ec2.IVpc;
   * new SecureMlflow(this, 'Mlflow', { domainName: 'mlflow.example.com', hostedZone: zone, authProvider, emailDomains: ['example.com'], vpc, listener });
   */
  readonly listener?: elbv2.IApplicationListener;

  /**
   * Load balancer of `listener`. Required if the listener is imported.
   *
   * @default - the load balancer of the listener, if this app defines it
   */
  readonly loadBalancer?: elbv2.IApplicationLoadBalancer;

  /**
   * Priority of the first of up to three rules in `listener`; the others get the next two numbers. Required if the listener is imported. Set it if other
   * services are added and removed: a priority that changes may still be in use in the middle of a deployment.
   *
   * @default - the three numbers after the highest priority that this app has used so far
   */
  readonly listenerPriority?: number;

  /**
   * VPC for all parts, in the region of the stack. The tasks must reach S3, the image registries and the sign-in provider.
   *
   * @default - a new one in two zones, with a gateway endpoint for S3 and a log of rejected connections
   */
  readonly vpc?: ec2.IVpc;

  /**
   * Number of NAT gateways of the new VPC.
   *
   * With 0 the tasks run in public subnets with public addresses, which only the load balancer can reach. This is cheaper and has one layer of protection less.
   *
   * @default 1
   */
  readonly natGateways?: number;

  /**
   * Subnets of `vpc` for the tasks, in zones of the load balancer. In public subnets the tasks get public addresses.
   *
   * @default - the private subnets with egress; if there are none, the public ones. Never subnets in local zones
   */
  readonly serviceSubnets?: ec2.SubnetSelection;

  /**
   * Subnets of `vpc` for the database and for `SessionStore.valkey()`, in at least two zones.
   *
   * @default - the isolated subnets; if there are none, the private ones. One in each zone, never in local zones
   */
  readonly databaseSubnets?: ec2.SubnetSelection;

  /**
   * Subnets of `vpc` for the load balancer, in at least two zones. It accepts one subnet in each zone: if the VPC has several subnet groups of a kind, add `onePerAz: true`.
   *
   * @default - the public subnets; with `internetFacing: false` the private or isolated ones. One in each zone, never in local zones
   */
  readonly loadBalancerSubnets?: ec2.SubnetSelection;

  /**
   * The proxy through which the tasks reach the internet. `prepare` uses it to download the CA certificates of the database, oauth2-proxy to reach the sign-in provider.
   *
   * Not with `aiGateway`. Images, secrets and logs do not go through the proxy: a task must reach them another way.
   *
   * @default - none: the tasks must reach the internet directly
   * @example
   *
   * const networkProxy = { host: 'proxy.example.com', port: 3128, peer: ec2.Peer.ipv4('10.0.0.0/16') };
   */
  readonly networkProxy?: NetworkProxyOptions;

  /**
   * Whether the load balancer has public addresses.
   *
   * With `false` pass the `vpc` from which people and programs connect. A new VPC cannot be reached until you connect it to your network.
   *
   * @default true
   */
  readonly internetFacing?: boolean;

  /**
   * Sources that may connect to the load balancer. People and programs must still authenticate to use MLflow.
   *
   * Listed sources may use port 443 only. Port 80, which redirects to 443, is open only if everyone is allowed. A security group allows 60 rules, and each
   * source needs one. A prefix list counts as its maximum number of entries; the list of CloudFront counts as 55. Synthesis warns if there may be too many.
   *
   * @default - everyone. With `[]` no connection is allowed until you call `connections.allowFrom(…)`
   */
  readonly allowedSources?: ec2.IPeer[];

  /**
   * Bucket for artifacts, in the account and region of the stack. The bucket itself is not changed. The tasks get the permissions that MLflow needs for
   * `artifactPath` and for the key of the bucket.
   *
   * @default - a new one: encrypted, versioned, TLS only, never public
   */
  readonly artifactBucket?: s3.IBucket;

  /**
   * Folder in the bucket for artifacts. The tasks have no permissions outside it.
   *
   * @default 'mlflow'
   */
  readonly artifactPath?: string;

  /**
   * How artifacts travel: directly between clients and S3 with presigned URLs, or through the server, for networks that cannot reach S3.
   *
   * @default ArtifactTransfer.DIRECT
   * @example
   *
   * const props = { internetFacing: false, artifactTransfer: ArtifactTransfer.THROUGH_SERVER };
   */
  readonly artifactTransfer?: ArtifactTransfer;

  /**
   * Whether the new bucket stores files in S3 Intelligent-Tiering. Files that have not been read for a month become cheaper. Reading them is not slower and
   * costs nothing. There is a small charge for each file above 128 KB. Not with `artifactBucket`, because the construct changes nothing in a bucket that you pass.
   *
   * @default false
   * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/intelligent-tiering-overview.html
   */
  readonly artifactTiering?: boolean;

  /**
   * Permanently removes what people deleted long ago, on a schedule.
   *
   * @default - no clean-up: deleted runs, their files and old versions of files are kept
   */
  readonly cleanUp?: CleanUpOptions;

  /**
   * How far the database scales and when it pauses.
   *
   * @default - 0 to 2 capacity units; the database pauses after 10 minutes
   */
  readonly databaseCapacity?: DatabaseCapacity;

  /**
   * Version, parameters, backups and insights of the database, or the snapshot to restore it from.
   *
   * @default - the default of each option
   */
  readonly databaseOptions?: DatabaseOptions;

  /**
   * How the server authenticates to the database.
   *
   * @default DatabaseAuthentication.PASSWORD
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/rotation.md#the-password-of-the-database
   */
  readonly databaseAuthentication?: DatabaseAuthentication;

  /**
   * Options for gunicorn, which manages the worker processes of the server. uvicorn runs in each worker process.
   *
   * `--threads` is the number of Flask requests that each process handles at the same time, 8 by default. Flask serves most of MLflow's API. More threads
   * wait for Python's global interpreter lock and keep database connections open.
   *
   * @example '--threads 4 --max-requests 100000'
   * @default - the options that docs/settings.md lists
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/settings.md#mlflow-alone
   */
  readonly gunicornOpts?: string;

  /**
   * Number of processes that serve requests. Under load each needs about 100 MiB of memory, in addition to 350 MiB that they share.
   *
   * @default 2
   */
  readonly workers?: number;

  /**
   * Turns on MLflow's AI gateway; `{}` is enough.
   *
   * @default - off: MLflow rejects every request to the AI gateway
   */
  readonly aiGateway?: AiGatewayOptions;

  /**
   * Maximum size of requests. Larger ones are rejected with status 413.
   *
   * @default - 32 MiB, and 64 MiB of traces after decompression
   */
  readonly requestLimits?: RequestLimits;

  /**
   * Image of MLflow 3.17.x.
   *
   * With any other version `prepare` stops the task before it migrates the database, because the inner door does not support that version. The image must
   * contain psycopg2 (PostgreSQL), boto3 (S3) and uvloop.
   *
   * @default - the official full image of 3.17.2
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/upgrades.md
   */
  readonly mlflowImage?: ecs.ContainerImage;

  /**
   * Image of oauth2-proxy, version 7.15.5 or newer.
   *
   * @default - the official image of 7.15.6
   */
  readonly oauth2ProxyImage?: ecs.ContainerImage;

  /**
   * ECS cluster for the tasks. Requires `vpc`. With `FargateCapacity.SPOT` it must have the capacity provider `FARGATE_SPOT`.
   *
   * @default - a new one
   */
  readonly cluster?: ecs.ICluster;

  /**
   * Container Insights of the new cluster: metrics for the number of tasks and their disk. Not with `cluster`, because the owner of the cluster decides.
   *
   * `ContainerInsights.DISABLED` saves 11 USD a month. `addMonitoring` then leaves out the alarms `missingTasks` and `ephemeralStorage`.
   *
   * @default ecs.ContainerInsights.ENABLED
   */
  readonly containerInsights?: ecs.ContainerInsights;

  /**
   * Fargate capacity of the tasks of the service. The clean-up always uses on-demand capacity.
   *
   * @default FargateCapacity.ON_DEMAND
   */
  readonly capacity?: FargateCapacity;

  /**
   * CPU units of a task: 256 to 32768 in fixed steps. 1024 units are one vCPU.
   *
   * @default 1024
   */
  readonly cpu?: number;

  /**
   * Memory of a task in MiB. Fargate allows certain amounts for each value of `cpu`.
   *
   * @default 3072
   */
  readonly memoryLimitMiB?: number;

  /**
   * Disk of a task in GiB, 21 to 200. It temporarily stores uploads below 500 MB, files that the web page shows, and downloads of older clients. With
   * `ArtifactTransfer.THROUGH_SERVER` it stores every file. Size it for your largest file times the number of simultaneous transfers.
   *
   * @default 21
   */
  readonly ephemeralStorageGiB?: number;

  /**
   * Processor architecture of the tasks. Your own images must be built for it.
   *
   * @default ecs.CpuArchitecture.ARM64
   */
  readonly cpuArchitecture?: ecs.CpuArchitecture;

  /**
   * Number of tasks. With `scaling` it is the minimum.
   *
   * @default 1
   */
  readonly desiredCount?: number;

  /**
   * How the number of tasks follows the load.
   *
   * @default - no scaling: there are always `desiredCount` tasks
   */
  readonly scaling?: ScalingOptions;

  /**
   * Percentage of `desiredCount` that must keep running during a deployment, 0 to 100.
   *
   * Above 0 old and new tasks run at the same time. MLflow does not support this with two versions: use it for changes of settings, not for upgrades.
   *
   * @default 0 - old tasks stop before new ones start
   */
  readonly minHealthyPercent?: number;

  /**
   * Additional environment variables for MLflow. Names that the construct reserves are refused. Secrets are refused, too: use `secrets`.
   *
   * @default - none
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/settings.md
   */
  readonly environment?: { [name: string]: string };

  /**
   * Secrets that the MLflow server gets as environment variables, such as the key of an AI provider. Names that are refused in `environment` are refused here, too.
   *
   * ECS reads the secrets with the execution role when the container `mlflow` starts. People who are signed in cannot read them, but can use
   * what they give access to, as far as MLflow allows it.
   *
   * @default - only those of the construct
   * @example
   *
   * declare const key: secretsmanager.ISecret;
   * const secrets = { OPENAI_API_KEY: ecs.Secret.fromSecretsManager(key) };
   */
  readonly secrets?: { [name: string]: ecs.Secret };

  /**
   * Additional environment variables for oauth2-proxy. Names that the construct reserves are refused. Secrets are refused, too: use `proxySecrets`.
   *
   * oauth2-proxy does not get the variables in `environment`.
   *
   * @default - none
   */
  readonly proxyEnvironment?: { [name: string]: string };

  /**
   * Secrets that oauth2-proxy gets as environment variables. Names that are refused in `proxyEnvironment` are refused here, too.
   *
   * @default - only those of the construct and the client secret of `authProvider`
   * @example
   *
   * declare const key: secretsmanager.ISecret;
   * const proxySecrets = { OAUTH2_PROXY_SIGNATURE_KEY: ecs.Secret.fromSecretsManager(key) };
   */
  readonly proxySecrets?: { [name: string]: ecs.Secret };

  /**
   * Bucket for the access logs of the load balancer, in the region of the stack. It must be encrypted with SSE-S3, the only encryption that access logs support.
   *
   * Access logs show which client requested what; the log of oauth2-proxy shows only the address of the load balancer. The policy of an imported bucket
   * is not changed: see [what it must allow](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/monitoring.md#access-logs-of-the-load-balancer).
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
   * Key that encrypts bucket, database, secrets, logs and `SessionStore.valkey()`. It must be symmetric, in the account and region of the stack, and have at least
   * AWS's default key policy. A key costs 1 USD a month plus its requests.
   *
   * Decide before the first deployment: if the key changes, CloudFormation replaces the database with an empty one.
   * See [what the key is used for](https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/encryption.md) and what the policy of an imported key must allow.
   *
   * @default - keys that AWS manages, free of charge
   * @see https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
   */
  readonly encryptionKey?: kms.IKey;

  /**
   * What happens to bucket, database, secrets and logs when the stack is deleted. `DESTROY` deletes them. The bucket must be empty, and
   * `deletionProtection` must have been turned off in an earlier deployment.
   *
   * @default - no data are lost: bucket, secrets and logs are kept, and the database leaves a final snapshot
   */
  readonly removalPolicy?: RemovalPolicy;

  /**
   * Whether RDS refuses every request to delete the database, including those of this stack.
   *
   * @default true
   */
  readonly deletionProtection?: boolean;
}
