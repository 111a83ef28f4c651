import { Annotations, Duration, Fn, Lazy, RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as rds from 'aws-cdk-lib/aws-rds';
import * as route53 from 'aws-cdk-lib/aws-route53';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { ArtifactStore } from './artifact-store';
import { AuthProvider } from './auth-provider';
import { Database } from './database';
import { Ingress } from './ingress';
import { Network } from './network';
import { mlflowEnvironment } from './private/mlflow';
import { proxyEnvironment, redirectUrl, signOutUrl } from './private/oauth2-proxy';
import { validateProps, validateProvider } from './private/validation';
import { Service } from './service';
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

/** What to deploy. Three props and a zone or a certificate are enough. */
export interface SecureMlflowProps {
  /** The public name of the server: one host, lower case, no scheme, such as `mlflow.example.com`. */
  readonly domainName: string;

  /** Where people sign in. */
  readonly authProvider: AuthProvider;

  /**
   * Domains whose verified e-mail addresses may sign in or send tokens; subdomains are domains of their own.
   *
   * `['*']` lets in whoever has an account at the provider. Where that is anybody in the world, synthesis warns.
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
   * Needs refresh tokens; most OpenID Connect providers give them for the scope `offline_access`. Without one, people sign in again at this interval.
   *
   * @default - not before the session ends
   */
  readonly sessionRefresh?: Duration;

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
   * Subnets of `vpc` for the database, on two zones at least.
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
   * How far the database scales and when it pauses.
   *
   * @default - 0 to 2 capacity units, pausing after 10 minutes
   */
  readonly databaseCapacity?: DatabaseCapacity;

  /**
   * Options for gunicorn, such as `--timeout 300 --threads 4`: MLflow then runs under gunicorn and not under uvicorn.
   *
   * The plain API is faster so, but MLflow serves less: no OpenTelemetry traces, no AI gateway, no streamed artifacts. Synthesis warns of that.
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
   * MLflow's image. It must hold the drivers for PostgreSQL (psycopg2) and S3 (boto3), and uvloop.
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
   * Number of tasks.
   *
   * @default 1
   */
  readonly desiredCount?: number;

  /**
   * How much of `desiredCount` must keep running during a deployment, in percent.
   *
   * Above 0 old and new tasks overlap. MLflow does not support that across versions: use it for changes of settings, not for upgrades.
   *
   * @default 0 - old tasks stop, then new ones start
   */
  readonly minHealthyPercent?: number;

  /**
   * More environment variables for MLflow. Names that the construct sets for safety are refused.
   *
   * @default - none
   */
  readonly environment?: { [name: string]: string };

  /**
   * More environment variables for oauth2-proxy. Names that the construct sets for safety are refused.
   *
   * @default - none
   */
  readonly proxyEnvironment?: { [name: string]: string };

  /**
   * How long logs are kept.
   *
   * @default logs.RetentionDays.ONE_MONTH
   */
  readonly logRetention?: logs.RetentionDays;

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

  /** The task: containers `prepare`, `mlflow` and `oauth2-proxy`. */
  public readonly taskDefinition: ecs.FargateTaskDefinition;

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

  /** Who may reach the load balancer. */
  public readonly connections: ec2.Connections;

  /** The role of the tasks: grant it what MLflow itself should be able to do. */
  public readonly grantPrincipal: iam.IPrincipal;

  private readonly awsIdentityIssuer?: string;
  private readonly machineIdentities: string[];

  /**
   * @throws if a prop cannot work; the message lists every one that needs a change
   */
  public constructor(scope: Construct, id: string, props: SecureMlflowProps) {
    super(scope, id);
    validateProps(this.node.path, props);
    this.url = `https://${props.domainName}`;
    const internetFacing = props.internetFacing ?? true;
    const logRetention = props.logRetention ?? logs.RetentionDays.ONE_MONTH;
    const removalPolicy = props.removalPolicy ?? RemovalPolicy.RETAIN;

    const trustedTokenIssuers = [
      ...props.trustedTokenIssuers ?? [],
      ...props.awsIdentityIssuer === undefined ? [] : [TokenIssuer.oidc({ issuerUrl: props.awsIdentityIssuer, audience: this.url })],
    ];
    const provider = props.authProvider.bind(this, { url: this.url, redirectUrl: redirectUrl(this.url) });
    validateProvider(this.node.path, props, provider);
    this.signOutUrl = signOutUrl(this.url, provider.signOutUrl);
    this.awsIdentityIssuer = props.awsIdentityIssuer;
    this.machineIdentities = [...entriesOf(props.machineIdentities), ...entriesOf(provider.machineIdentities)];
    this.warn(props, provider.openToPublic === true || trustedTokenIssuers.some(issuer => issuer.openToPublic));

    const network = new Network(this, 'Network', {
      vpc: props.vpc,
      natGateways: props.natGateways ?? 1,
      internetFacing,
      serviceSubnets: props.serviceSubnets,
      databaseSubnets: props.databaseSubnets,
      loadBalancerSubnets: props.loadBalancerSubnets,
      logRetention,
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
    });

    const database = new Database(this, 'Database', {
      vpc: network.vpc,
      vpcSubnets: network.databaseSubnets,
      minAcus: props.databaseCapacity?.minAcus ?? 0,
      maxAcus: props.databaseCapacity?.maxAcus ?? 2,
      pauseAfter: props.databaseCapacity?.pauseAfter ?? Duration.minutes(10),
      deletionProtection: props.deletionProtection ?? true,
      removalPolicy: props.removalPolicy ?? RemovalPolicy.SNAPSHOT,
    });

    const artifacts = new ArtifactStore(this, 'Artifacts', {
      bucket: props.artifactBucket,
      path: props.artifactPath ?? 'mlflow',
      removalPolicy,
    });

    const service = new Service(this, 'Service', {
      vpc: network.vpc,
      vpcSubnets: network.serviceSubnets,
      assignPublicIp: network.assignPublicIp,
      database,
      mlflowImage: props.mlflowImage,
      mlflowEnvironment: mlflowEnvironment({
        url: this.url,
        region: Stack.of(this).region,
        artifactsUri: artifacts.uri,
        workers: props.workers ?? 2,
        gunicornOpts: props.gunicornOpts,
        environment: props.environment,
      }),
      oauth2ProxyImage: props.oauth2ProxyImage,
      proxyEnvironment: proxyEnvironment({
        url: this.url,
        clientId: provider.clientId,
        providerEnvironment: provider.environment,
        bearerTokens: provider.bearerTokens ?? true,
        signOutUrl: provider.signOutUrl,
        emailDomains: props.emailDomains,
        trustedTokenIssuers,
        sessionDuration: props.sessionDuration ?? Duration.hours(12),
        sessionRefresh: props.sessionRefresh,
        environment: props.proxyEnvironment,
      }),
      clientSecret: provider.clientSecret,
      machineIdentities: Lazy.string({ produce: () => this.machineIdentities.join('\n') }), // grants come later
      cpu: props.cpu ?? 1024,
      memoryLimitMiB: props.memoryLimitMiB ?? 3072,
      ephemeralStorageGiB: props.ephemeralStorageGiB ?? 21,
      cpuArchitecture: props.cpuArchitecture ?? ecs.CpuArchitecture.ARM64,
      desiredCount: props.desiredCount ?? 1,
      minHealthyPercent: props.minHealthyPercent ?? 0,
      logRetention,
      removalPolicy,
    });
    artifacts.grantUse(service.taskDefinition.taskRole);
    ingress.targetGroup.addTarget(service.target);

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

  private warn({ emailDomains, gunicornOpts }: SecureMlflowProps, openToPublic: boolean): void {
    if (openToPublic && emailDomains.includes('*')) {
      Annotations.of(this).addWarningV2('cdk-secure-mlflow:openToEveryone',
        '`emailDomains` is ["*"] and anybody in the world can have an account at the provider or a token of a trusted issuer, so anybody gets in: name your domains');
    }
    if (gunicornOpts !== undefined) {
      Annotations.of(this).addWarningV2('cdk-secure-mlflow:gunicornServesLess',
        '`gunicornOpts` makes MLflow run under gunicorn, where OpenTelemetry traces (/v1/traces), the AI gateway (/gateway) and streamed artifacts are missing: leave it out to have them');
    }
  }
}

/** A list that is only known at deployment counts as one entry, of several lines. */
function entriesOf(identities: string[] = []): string[] {
  return Token.isUnresolved(identities) ? [Fn.join('\n', identities)] : identities;
}
