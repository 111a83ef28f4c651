import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as rds from 'aws-cdk-lib/aws-rds';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import { broughtVpc, clientSecret, Overrides, resources, synthesise } from './fixtures';
import { AccessLevel, ArtifactTransfer, AuthProvider, DatabaseAuthentication, FargateCapacity, SecureMlflowProps, SessionStore, TokenIssuer } from '../src';

/** The resources without the Python programs, which have separate tests. */
function snapshot(template: Template): Record<string, unknown> {
  const all = resources(template, 'AWS::ECS::TaskDefinition').flatMap(([, { Properties }]) => Properties.ContainerDefinitions);
  all.filter(({ Name }) => Name === 'prepare').forEach(({ Command }) => {
    Command.splice(2, 2, '<unpack.py>', '<packed>');
  });
  return Object.fromEntries(resources(template));
}

test('the default app', () => {
  expect(snapshot(synthesise().template)).toMatchSnapshot();
});

test('an app with every prop', () => {
  const everyProp = (stack: Stack): Overrides => ({
    authProvider: AuthProvider.oidc({
      issuerUrl: 'https://id.example.com/',
      clientId: 'client',
      clientSecret: clientSecret(stack),
      scope: 'openid email offline_access',
      emailClaim: 'upn',
      groupsClaim: 'roles',
      extraAudiences: ['ci'],
    }),
    emailDomains: ['example.com', 'example.org'],
    trustedTokenIssuers: [TokenIssuer.gcloud()],
    machineIdentities: ['client', 'job@project.iam.gserviceaccount.com'],
    awsIdentityIssuer: 'https://1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d.tokens.sts.global.api.aws',
    access: {
      admins: { groups: ['ml-admins'], people: ['ada@example.com'] },
      editors: { groups: ['data-science'] },
      readers: { machines: ['client'] },
      everybody: AccessLevel.READER,
      machines: AccessLevel.NONE,
    },
    sessionDuration: Duration.hours(8),
    sessionRefresh: Duration.hours(1),
    sessionStore: SessionStore.valkey(),
    certificate: acm.Certificate.fromCertificateArn(stack, 'Certificate', 'arn:aws:acm:eu-west-1:111122223333:certificate/1'),
    vpc: broughtVpc(stack),
    serviceSubnets: { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
    databaseSubnets: { subnetType: ec2.SubnetType.PRIVATE_ISOLATED },
    loadBalancerSubnets: { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
    internetFacing: false,
    allowedSources: [ec2.Peer.ipv4('10.0.0.0/8'), ec2.Peer.prefixList('pl-1')],
    artifactBucket: s3.Bucket.fromBucketAttributes(stack, 'Bucket', {
      bucketArn: 'arn:aws:s3:::brought',
      encryptionKey: kms.Key.fromKeyArn(stack, 'Key', 'arn:aws:kms:eu-west-1:111122223333:key/1'),
    }),
    artifactPath: 'teams/ml',
    artifactTransfer: ArtifactTransfer.THROUGH_SERVER,
    cleanUp: { olderThan: Duration.days(30), schedule: ScheduleExpression.rate(Duration.days(1)) },
    databaseCapacity: { minAcus: 0, maxAcus: 8, pauseAfter: Duration.hours(1) },
    databaseOptions: {
      engineVersion: rds.AuroraPostgresEngineVersion.VER_17_9,
      parameters: { log_min_duration_statement: '1000' },
      backupRetention: Duration.days(35),
      databaseInsightsMode: rds.DatabaseInsightsMode.ADVANCED,
    },
    databaseAuthentication: DatabaseAuthentication.IAM,
    containerInsights: ecs.ContainerInsights.ENHANCED,
    capacity: FargateCapacity.SPOT,
    gunicornOpts: '--timeout 300 --threads 4',
    requestLimits: { apiMiB: 16, tracesMiB: 128 },
    aiGateway: { privateProviders: ['http://vllm.internal:8000'] },
    workers: 4,
    mlflowImage: ecs.ContainerImage.fromRegistry('example.com/mlflow:1'),
    oauth2ProxyImage: ecs.ContainerImage.fromRegistry('example.com/proxy:1'),
    cpu: 2048,
    memoryLimitMiB: 8192,
    ephemeralStorageGiB: 100,
    cpuArchitecture: ecs.CpuArchitecture.X86_64,
    desiredCount: 2,
    scaling: { maxCount: 6, cpuUtilizationPercent: 70, requestsPerTarget: 1000 },
    minHealthyPercent: 50,
    environment: { MLFLOW_LOGGING_LEVEL: 'DEBUG' },
    secrets: { OPENAI_API_KEY: clientSecret(stack) },
    proxyEnvironment: { OAUTH2_PROXY_CUSTOM_SIGN_IN_LOGO: '-' },
    proxySecrets: { OAUTH2_PROXY_SIGNATURE_KEY: clientSecret(stack) },
    logRetention: logs.RetentionDays.ONE_WEEK,
    encryptionKey: kms.Key.fromKeyArn(stack, 'EncryptionKey', 'arn:aws:kms:eu-west-1:111122223333:key/2'),
    removalPolicy: RemovalPolicy.DESTROY,
    deletionProtection: false,
  } satisfies Required<Omit<SecureMlflowProps, 'domainName' | 'hostedZone' | 'natGateways' | 'artifactTiering' | 'accessLogsBucket' | 'listener' | 'loadBalancer' | 'listenerPriority' | 'cluster' | 'networkProxy'>>); // The first two are in the minimal props, the next two are not allowed with `vpc` and `artifactBucket`, access logs need a region. Other tests cover them.
  expect(snapshot(synthesise(everyProp).template)).toMatchSnapshot();
});
