import { readdirSync, readFileSync } from 'fs';
import { join } from 'path';
import { inflateSync } from 'zlib';
import { Duration, Lazy, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as ssm from 'aws-cdk-lib/aws-ssm';
import { container, containers, define, environmentOf, newStack, only, Overrides, OverridesOf, resources, rulesOf, secretsOf, statementsOf, synthesise } from './fixtures';
import { ArtifactTransfer, AuthProvider, DatabaseAuthentication, TokenIssuer } from '../src';

const attribute = (id: string, name: string) => ({ 'Fn::GetAtt': [id, name] });

describe('by default', () => {
  const { stack, mlflow, template } = synthesise();
  const idOf = (construct: { node: { defaultChild?: unknown } }) => stack.getLogicalId(construct.node.defaultChild as never);

  test('there are 64 resources, of these kinds', () => {
    const kinds: Record<string, number> = {};
    resources(template).forEach(([, { Type }]) => { kinds[Type] = (kinds[Type] ?? 0) + 1; });
    expect(kinds).toEqual({
      'AWS::EC2::VPC': 1,
      'AWS::EC2::Subnet': 6,
      'AWS::EC2::RouteTable': 6,
      'AWS::EC2::SubnetRouteTableAssociation': 6,
      'AWS::EC2::Route': 4,
      'AWS::EC2::EIP': 1,
      'AWS::EC2::NatGateway': 1,
      'AWS::EC2::InternetGateway': 1,
      'AWS::EC2::VPCGatewayAttachment': 1,
      'AWS::EC2::VPCEndpoint': 1,
      'AWS::EC2::FlowLog': 1,
      'AWS::EC2::SecurityGroup': 3,
      'AWS::EC2::SecurityGroupIngress': 2,
      'AWS::EC2::SecurityGroupEgress': 2,
      'AWS::IAM::Role': 3,
      'AWS::IAM::Policy': 3,
      'AWS::Logs::LogGroup': 2,
      'AWS::ElasticLoadBalancingV2::LoadBalancer': 1,
      'AWS::ElasticLoadBalancingV2::Listener': 2,
      'AWS::ElasticLoadBalancingV2::ListenerRule': 1,
      'AWS::ElasticLoadBalancingV2::TargetGroup': 1,
      'AWS::CertificateManager::Certificate': 1,
      'AWS::Route53::RecordSet': 1,
      'AWS::SecretsManager::Secret': 3,
      'AWS::SecretsManager::SecretTargetAttachment': 1,
      'AWS::RDS::DBClusterParameterGroup': 1,
      'AWS::RDS::DBSubnetGroup': 1,
      'AWS::RDS::DBCluster': 1,
      'AWS::RDS::DBInstance': 1,
      'AWS::S3::Bucket': 1,
      'AWS::S3::BucketPolicy': 1,
      'AWS::ECS::TaskDefinition': 1,
      'AWS::ECS::Cluster': 1,
      'AWS::ECS::Service': 1,
    });
  });

  test('every part is exposed', () => {
    expect({
      vpc: idOf(mlflow.vpc),
      cluster: idOf(mlflow.cluster),
      service: stack.getLogicalId(mlflow.service.node.findChild('Service') as never),
      taskDefinition: idOf(mlflow.taskDefinition),
      loadBalancer: idOf(mlflow.loadBalancer),
      listener: idOf(mlflow.listener),
      targetGroup: idOf(mlflow.targetGroup),
      certificate: idOf(mlflow.certificate),
      database: idOf(mlflow.database),
      artifactBucket: idOf(mlflow.artifactBucket),
    }).toEqual({
      vpc: only(template, 'AWS::EC2::VPC').id,
      cluster: only(template, 'AWS::ECS::Cluster').id,
      service: only(template, 'AWS::ECS::Service').id,
      taskDefinition: only(template, 'AWS::ECS::TaskDefinition').id,
      loadBalancer: only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').id,
      listener: only(template, 'AWS::ElasticLoadBalancingV2::Listener', 'Https').id,
      targetGroup: only(template, 'AWS::ElasticLoadBalancingV2::TargetGroup').id,
      certificate: only(template, 'AWS::CertificateManager::Certificate').id,
      database: only(template, 'AWS::RDS::DBCluster').id,
      artifactBucket: only(template, 'AWS::S3::Bucket').id,
    });
    expect(mlflow.createdBucket).toBe(mlflow.artifactBucket);
    expect(mlflow.url).toBe('https://mlflow.example.com');
    expect(mlflow.signOutUrl).toBe('https://mlflow.example.com/oauth2/sign_out');
    expect(mlflow.grantPrincipal).toBe(mlflow.taskDefinition.taskRole);
    expect(mlflow.connections.securityGroups).toEqual(mlflow.loadBalancer.connections.securityGroups);
  });

  test('the VPC has two zones with large subnets, and assigns no public addresses on launch', () => {
    const subnets = resources(template, 'AWS::EC2::Subnet').map(([, { Properties }]) => [
      Properties.Tags.find(({ Key }: { Key: string }) => Key === 'aws-cdk:subnet-name').Value, Properties.CidrBlock, Properties.MapPublicIpOnLaunch,
    ]);
    expect(subnets).toEqual([
      ['Public', '10.0.0.0/20', false], ['Public', '10.0.16.0/20', false],
      ['Database', '10.0.32.0/20', false], ['Database', '10.0.48.0/20', false],
      ['Service', '10.0.64.0/20', false], ['Service', '10.0.80.0/20', false],
    ]);
  });

  test('the VPC has a gateway endpoint for S3 and logs rejected connections for a month', () => {
    expect(only(template, 'AWS::EC2::VPCEndpoint').Properties).toMatchObject({ VpcEndpointType: 'Gateway', ServiceName: { 'Fn::Join': ['', ['com.amazonaws.', { Ref: 'AWS::Region' }, '.s3']] } });
    const group = only(template, 'AWS::Logs::LogGroup', 'FlowLog');
    expect(only(template, 'AWS::EC2::FlowLog').Properties).toMatchObject({ TrafficType: 'REJECT', LogDestinationType: 'cloud-watch-logs', LogGroupName: { Ref: group.id } });
    expect(group.Properties.RetentionInDays).toBe(30);
  });

  test('the load balancer is public and has the timeout of oauth2-proxy', () => {
    const { Scheme, Subnets, LoadBalancerAttributes } = only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').Properties;
    expect(Scheme).toBe('internet-facing');
    expect(Subnets.map(({ Ref }: { Ref: string }) => Ref)).toEqual([expect.stringContaining('PublicSubnet1'), expect.stringContaining('PublicSubnet2')]);
    expect(Object.fromEntries(LoadBalancerAttributes.map(({ Key, Value }: { Key: string; Value: string }) => [Key, Value]))).toMatchObject({
      'idle_timeout.timeout_seconds': '900',
      'routing.http.drop_invalid_header_fields.enabled': 'true',
      'routing.http.desync_mitigation_mode': 'defensive',
    });
    expect(environmentOf(template, 'oauth2-proxy').OAUTH2_PROXY_UPSTREAM_TIMEOUT).toBe('900s');
  });

  test('everyone may connect, on 443 and 80', () => {
    expect(rulesOf(template, only(template, 'AWS::EC2::SecurityGroup', 'Ingress').id, 'Ingress').map(({ CidrIp, FromPort, ToPort }) => [CidrIp, FromPort, ToPort]))
      .toEqual([['0.0.0.0/0', 443, 443], ['0.0.0.0/0', 80, 80]]);
  });

  test('the HTTPS listener forwards to oauth2-proxy, except for the assistant', () => {
    const listener = only(template, 'AWS::ElasticLoadBalancingV2::Listener', 'Https');
    expect(listener.Properties).toEqual({
      LoadBalancerArn: { Ref: only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').id },
      Port: 443,
      Protocol: 'HTTPS',
      SslPolicy: 'ELBSecurityPolicy-TLS13-1-2-Res-2021-06',
      Certificates: [{ CertificateArn: { Ref: only(template, 'AWS::CertificateManager::Certificate').id } }],
      DefaultActions: [{ Type: 'forward', TargetGroupArn: { Ref: only(template, 'AWS::ElasticLoadBalancingV2::TargetGroup').id } }],
      ListenerAttributes: [{ Key: 'routing.http.response.strict_transport_security.header_value', Value: 'max-age=31536000' }],
    });
    expect(only(template, 'AWS::ElasticLoadBalancingV2::ListenerRule').Properties).toEqual({
      ListenerArn: { Ref: listener.id },
      Priority: 1,
      Conditions: [{ Field: 'path-pattern', PathPatternConfig: { Values: ['/ajax-api/3.0/mlflow/assistant*'] } }],
      Actions: [{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '403', ContentType: 'text/plain', MessageBody: 'The assistant is closed.' } }],
    });
  });

  test('the HTTP listener redirects permanently', () => {
    expect(only(template, 'AWS::ElasticLoadBalancingV2::Listener', 'Http7B8FEEFF').Properties).toMatchObject({
      Port: 80,
      Protocol: 'HTTP',
      DefaultActions: [{ Type: 'redirect', RedirectConfig: { Protocol: 'HTTPS', Port: '443', StatusCode: 'HTTP_301' } }],
    });
  });

  test('the targets are addresses that answer on /ping', () => {
    expect(only(template, 'AWS::ElasticLoadBalancingV2::TargetGroup').Properties).toMatchObject({
      TargetType: 'ip',
      Port: 4180,
      Protocol: 'HTTP',
      HealthCheckPath: '/ping',
      HealthCheckIntervalSeconds: 10,
      UnhealthyThresholdCount: 6,
      Matcher: { HttpCode: '200' },
      TargetGroupAttributes: expect.arrayContaining([{ Key: 'deregistration_delay.timeout_seconds', Value: '120' }]),
    });
  });

  test('the record and the certificate use the zone', () => {
    expect(only(template, 'AWS::CertificateManager::Certificate').Properties).toMatchObject({
      DomainName: 'mlflow.example.com',
      ValidationMethod: 'DNS',
      DomainValidationOptions: [{ DomainName: 'mlflow.example.com', HostedZoneId: 'ZONE' }],
    });
    const loadBalancer = only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').id;
    expect(only(template, 'AWS::Route53::RecordSet').Properties).toEqual({
      Name: 'mlflow.example.com.',
      Type: 'A',
      HostedZoneId: 'ZONE',
      AliasTarget: {
        DNSName: { 'Fn::Join': ['', ['dualstack.', attribute(loadBalancer, 'DNSName')]] },
        HostedZoneId: attribute(loadBalancer, 'CanonicalHostedZoneID'),
      },
    });
  });

  test('the database is encrypted, pauses, is backed up for two weeks and leaves a snapshot', () => {
    const credentials = only(template, 'AWS::SecretsManager::Secret', 'Credentials').id;
    const reference = (key: string) => ({ 'Fn::Join': ['', ['{{resolve:secretsmanager:', { Ref: credentials }, `:SecretString:${key}::}}`]] });
    const cluster = only(template, 'AWS::RDS::DBCluster');
    expect(cluster.Properties).toEqual({
      Engine: 'aurora-postgresql',
      EngineVersion: '17.7',
      DatabaseName: 'mlflow',
      Port: 5432,
      MasterUsername: reference('username'),
      MasterUserPassword: reference('password'),
      ServerlessV2ScalingConfiguration: { MinCapacity: 0, MaxCapacity: 2, SecondsUntilAutoPause: 600 },
      StorageEncrypted: true,
      EnableIAMDatabaseAuthentication: true,
      BackupRetentionPeriod: 14,
      CopyTagsToSnapshot: true,
      DeletionProtection: true,
      DBClusterParameterGroupName: { Ref: only(template, 'AWS::RDS::DBClusterParameterGroup').id },
      DBSubnetGroupName: { Ref: only(template, 'AWS::RDS::DBSubnetGroup').id },
      VpcSecurityGroupIds: [attribute(only(template, 'AWS::EC2::SecurityGroup', 'Database').id, 'GroupId')],
    });
    expect(cluster).toMatchObject({ DeletionPolicy: 'Snapshot', UpdateReplacePolicy: 'Snapshot' });
  });

  test('the database accepts TLS only and closes idle sessions', () => {
    expect(only(template, 'AWS::RDS::DBClusterParameterGroup').Properties).toMatchObject({
      Family: 'aurora-postgresql17',
      Parameters: { 'rds.force_ssl': '1', 'idle_session_timeout': '60000' },
    });
  });

  test('the one instance of the database is serverless, not public, in isolated subnets', () => {
    expect(only(template, 'AWS::RDS::DBInstance').Properties).toMatchObject({
      DBInstanceClass: 'db.serverless',
      PubliclyAccessible: false,
      AutoMinorVersionUpgrade: true,
      DBClusterIdentifier: { Ref: only(template, 'AWS::RDS::DBCluster').id },
    });
    expect(only(template, 'AWS::RDS::DBSubnetGroup').Properties.SubnetIds.map(({ Ref }: { Ref: string }) => Ref))
      .toEqual([expect.stringContaining('DatabaseSubnet1'), expect.stringContaining('DatabaseSubnet2')]);
  });

  test('the bucket is encrypted, versioned, never public, and aborts incomplete uploads', () => {
    const bucket = only(template, 'AWS::S3::Bucket');
    expect(bucket.Properties).toEqual({
      BucketEncryption: { ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }] },
      VersioningConfiguration: { Status: 'Enabled' },
      PublicAccessBlockConfiguration: { BlockPublicAcls: true, BlockPublicPolicy: true, IgnorePublicAcls: true, RestrictPublicBuckets: true },
      OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
      LifecycleConfiguration: { Rules: [{ Status: 'Enabled', AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 } }] },
    });
    expect(only(template, 'AWS::S3::BucketPolicy').Properties.PolicyDocument.Statement.map(({ Effect, Action, Condition }: Record<string, unknown>) => [Effect, Action, Condition])).toEqual([
      ['Deny', 's3:*', { Bool: { 'aws:SecureTransport': 'false' } }],
      ['Deny', 's3:*', { NumericLessThan: { 's3:TlsVersion': 1.2 } }],
    ]);
  });

  test('the tasks have the permissions that MLflow needs, in its folder, while the bucket belongs to this account', () => {
    const arn = attribute(only(template, 'AWS::S3::Bucket').id, 'Arn');
    const ofItsAccount = { StringEquals: { 'aws:ResourceAccount': { Ref: 'AWS::AccountId' } } };
    expect(statementsOf(template, 'TaskRole')).toEqual([
      { Effect: 'Allow', Action: 's3:ListBucket', Resource: arn, Condition: { ...ofItsAccount, StringLike: { 's3:prefix': ['mlflow', 'mlflow/*'] } } },
      {
        Effect: 'Allow',
        Action: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload'],
        Resource: { 'Fn::Join': ['', [arn, '/mlflow/*']] },
        Condition: ofItsAccount,
      },
    ]);
  });

  test('one task runs, and the old one stops before the new one starts', () => {
    expect(only(template, 'AWS::ECS::Service').Properties).toMatchObject({
      Cluster: { Ref: only(template, 'AWS::ECS::Cluster').id },
      LaunchType: 'FARGATE',
      PlatformVersion: '1.4.0',
      DesiredCount: 1,
      DeploymentConfiguration: { MinimumHealthyPercent: 0, MaximumPercent: 100, DeploymentCircuitBreaker: { Enable: true, Rollback: false } },
      HealthCheckGracePeriodSeconds: 600,
      EnableExecuteCommand: false,
      PropagateTags: 'SERVICE',
      LoadBalancers: [{ ContainerName: 'oauth2-proxy', ContainerPort: 4180, TargetGroupArn: { Ref: only(template, 'AWS::ElasticLoadBalancingV2::TargetGroup').id } }],
      NetworkConfiguration: { AwsvpcConfiguration: { AssignPublicIp: 'DISABLED', Subnets: [{ Ref: expect.stringContaining('ServiceSubnet1') }, { Ref: expect.stringContaining('ServiceSubnet2') }] } },
    });
    expect(only(template, 'AWS::ECS::Cluster').Properties.ClusterSettings).toEqual([{ Name: 'containerInsights', Value: 'enabled' }]);
  });

  test('the task has this size and two volumes', () => {
    expect(only(template, 'AWS::ECS::TaskDefinition').Properties).toMatchObject({
      Cpu: '1024',
      Memory: '3072',
      EphemeralStorage: { SizeInGiB: 21 },
      NetworkMode: 'awsvpc',
      RequiresCompatibilities: ['FARGATE'],
      RuntimePlatform: { CpuArchitecture: 'ARM64', OperatingSystemFamily: 'LINUX' },
      Volumes: [{ Name: 'tmp' }, { Name: 'config' }],
    });
    expect(containers(template).map(({ Name }) => Name)).toEqual(['prepare', 'mlflow', 'oauth2-proxy']);
  });

  test.each(['prepare', 'mlflow', 'oauth2-proxy'])('%s has no capabilities, a read-only root, two minutes to stop, and logs', name => {
    expect(container(template, name)).toMatchObject({
      ReadonlyRootFilesystem: true,
      LinuxParameters: { Capabilities: { Drop: ['ALL'] } },
      StopTimeout: 120,
      LogConfiguration: { LogDriver: 'awslogs', Options: { 'awslogs-group': { Ref: only(template, 'AWS::Logs::LogGroup', 'Service').id }, 'awslogs-stream-prefix': 'task' } },
    });
  });

  test('prepare runs once, as root, and gets the packed programs', () => {
    const source = (file: string) => readFileSync(join(__dirname, '..', 'containers', file), 'utf8');
    const prepare = container(template, 'prepare');
    expect(prepare).toMatchObject({
      Image: 'ghcr.io/mlflow/mlflow:v3.17.2-full',
      Essential: false,
      User: '0:0',
      Command: [
        'python', '-c', source('unpack.py'),
        source('service.packed'),
      ],
      MountPoints: [
        { SourceVolume: 'tmp', ContainerPath: '/tmp', ReadOnly: false },
        { SourceVolume: 'config', ContainerPath: '/run/secure-mlflow', ReadOnly: false },
      ],
    });
    expect(prepare.DependsOn).toBeUndefined();
    expect(prepare.StartTimeout).toBeUndefined();
    expect(Object.keys(environmentOf(template, 'prepare'))).toEqual([
      'MLFLOW_BACKEND_STORE_URI', 'PGSSLMODE', 'PGSSLROOTCERT', 'PGCONNECT_TIMEOUT', 'PREPARE_CA_BUNDLE_URL', 'PREPARE_WRITABLE_DIRECTORY',
      'PREPARE_MACHINE_IDENTITIES', 'PREPARE_MACHINE_IDENTITIES_FILE', 'PREPARE_PROGRAMS_DIRECTORY', 'PYTHONUNBUFFERED',
    ]);
  });

  test('the packed programs are the current ones', () => {
    const files = JSON.parse(inflateSync(Buffer.from(container(template, 'prepare').Command[3], 'base64')).toString());
    const folder = join(__dirname, '..', 'containers');
    const door = readdirSync(join(folder, 'secure_mlflow'), { recursive: true, encoding: 'utf8' }).filter(name => /^[^/]+\.py$|^pages\/.*\.html$/.test(name));
    const names = ['prepare.py', 'database_token.py', 'health.py', ...door.map(name => `secure_mlflow/${name}`)];
    expect(files).toEqual(Object.fromEntries(names.map(name => [name, readFileSync(join(folder, name), 'utf8')])));
  });

  // The limit of ECS is 64 KiB: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
  test('with everything on, the task definition leaves 7 KiB of the limit of ECS to users', () => {
    const { template: full } = synthesise({ gunicornOpts: '--threads 4', databaseAuthentication: DatabaseAuthentication.IAM, aiGateway: {} });
    expect(JSON.stringify(only(full, 'AWS::ECS::TaskDefinition').Properties).length).toBeLessThan((64 - 7) * 1024);
  });

  test('mlflow runs unprivileged after prepare succeeded', () => {
    expect(container(template, 'mlflow')).toMatchObject({
      Image: 'ghcr.io/mlflow/mlflow:v3.17.2-full',
      Essential: true,
      User: '10001:10001',
      Command: ['mlflow', 'server', '--app-name', 'secure-mlflow'],
      DependsOn: [{ ContainerName: 'prepare', Condition: 'SUCCESS' }],
      MountPoints: [
        { SourceVolume: 'tmp', ContainerPath: '/tmp', ReadOnly: false },
        { SourceVolume: 'config', ContainerPath: '/run/secure-mlflow', ReadOnly: true },
      ],
      HealthCheck: { Command: ['CMD', 'python', '/run/secure-mlflow/python/health.py', '127.0.0.1:5000'], Interval: 5, Timeout: 5, Retries: 10, StartPeriod: 300 },
    });
  });

  test('mlflow gets the settings of the database and the bucket, and no others', () => {
    const database = attribute(only(template, 'AWS::RDS::DBCluster').id, 'Endpoint.Address');
    expect(environmentOf(template, 'mlflow')).toMatchObject({
      MLFLOW_BACKEND_STORE_URI: { 'Fn::Join': ['', ['postgresql+psycopg2://mlflow@', database, expect.stringMatching(/^:5432\/mlflow\?/)]] },
      MLFLOW_ARTIFACTS_DESTINATION: { 'Fn::Join': ['', ['s3://', { Ref: only(template, 'AWS::S3::Bucket').id }, '/mlflow']] },
      MLFLOW_SERVER_CORS_ALLOWED_ORIGINS: 'https://mlflow.example.com',
      AWS_REGION: { Ref: 'AWS::Region' },
    });
  });

  test('the images have the versions that local/ runs', () => {
    const version = (file: string, pattern: RegExp) => pattern.exec(readFileSync(join(__dirname, '..', 'local', file), 'utf8'))![1];
    expect(container(template, 'mlflow').Image).toContain(`:v${version('requirements/mlflow.txt', /^mlflow==(.+)$/m)}-`);
    expect(container(template, 'oauth2-proxy').Image).toMatch(new RegExp(`:${version('oauth2-proxy/go.mod', /oauth2-proxy\/v7 (\S+)/)}$`));
  });

  test('oauth2-proxy runs unprivileged once mlflow is healthy', () => {
    const proxy = container(template, 'oauth2-proxy');
    expect(proxy).toMatchObject({
      Image: 'quay.io/oauth2-proxy/oauth2-proxy:v7.15.6',
      Essential: true,
      User: '65532:65532',
      DependsOn: [{ ContainerName: 'mlflow', Condition: 'HEALTHY' }],
      PortMappings: [{ ContainerPort: 4180, Protocol: 'tcp' }],
      MountPoints: [{ SourceVolume: 'config', ContainerPath: '/run/secure-mlflow', ReadOnly: true }],
    });
    expect(proxy.Command).toBeUndefined();
    expect(environmentOf(template, 'oauth2-proxy')).toMatchObject({
      OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://accounts.google.com',
      OAUTH2_PROXY_CLIENT_ID: '1234.apps.googleusercontent.com',
      OAUTH2_PROXY_EMAIL_DOMAINS: 'example.com',
      OAUTH2_PROXY_REDIRECT_URL: 'https://mlflow.example.com/oauth2/callback',
      OAUTH2_PROXY_COOKIE_EXPIRE: '43200s',
    });
    expect(environmentOf(template, 'oauth2-proxy')).not.toHaveProperty('OAUTH2_PROXY_COOKIE_REFRESH');
    expect(environmentOf(template, 'oauth2-proxy')).not.toHaveProperty('OAUTH2_PROXY_EXTRA_JWT_ISSUERS');
    expect(environmentOf(template, 'oauth2-proxy')).not.toHaveProperty('OAUTH2_PROXY_WHITELIST_DOMAINS');
  });

  test('secrets reach the containers by reference', () => {
    const password = { 'Fn::Join': ['', [{ Ref: only(template, 'AWS::SecretsManager::SecretTargetAttachment').id }, ':password::']] };
    expect(secretsOf(template, 'prepare')).toEqual({ PGPASSWORD: password });
    expect(secretsOf(template, 'mlflow')).toEqual({
      PGPASSWORD: password,
      MLFLOW_CRYPTO_KEK_PASSPHRASE: { Ref: only(template, 'AWS::SecretsManager::Secret', 'EncryptionPassphrase').id },
    });
    expect(secretsOf(template, 'oauth2-proxy')).toEqual({
      OAUTH2_PROXY_CLIENT_SECRET: { 'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, ':secretsmanager:', { Ref: 'AWS::Region' }, ':', { Ref: 'AWS::AccountId' }, ':secret:mlflow/oauth:clientSecret::']] },
      OAUTH2_PROXY_COOKIE_SECRET: { Ref: only(template, 'AWS::SecretsManager::Secret', 'CookieSecret').id },
    });
  });

  test('generated secrets have the required form', () => {
    const generated = (part: string) => only(template, 'AWS::SecretsManager::Secret', part).Properties.GenerateSecretString;
    expect(generated('EncryptionPassphrase')).toEqual({ PasswordLength: 64, ExcludePunctuation: true });
    expect(generated('CookieSecret')).toEqual({ PasswordLength: 43, ExcludePunctuation: true });
    expect(generated('Credentials')).toMatchObject({ SecretStringTemplate: '{"username":"mlflow"}', GenerateStringKey: 'password' });
  });

  test('there is no warning and no error', () => {
    const annotations = Annotations.fromStack(stack);
    expect([...annotations.findWarning('*', Match.anyValue()), ...annotations.findError('*', Match.anyValue())]).toEqual([]);
  });
});

describe('the client secret', () => {
  const readable = (template: Template, action: string) =>
    statementsOf(template, 'ExecutionRole').filter(({ Action }) => [Action].flat().includes(action)).map(({ Resource }) => JSON.stringify(Resource));

  test('from Secrets Manager can be read only by the execution role', () => {
    const { template } = synthesise();
    expect(secretsOf(template, 'oauth2-proxy').OAUTH2_PROXY_CLIENT_SECRET['Fn::Join'][1]).toContain(':secret:mlflow/oauth:clientSecret::');
    expect(readable(template, 'secretsmanager:GetSecretValue')).toContainEqual(expect.stringContaining(':secret:mlflow/oauth-??????'));
    expect(JSON.stringify(statementsOf(template, 'TaskRole'))).not.toContain('secretsmanager');
  });

  test('from SSM Parameter Store can be read only by the execution role', () => {
    const { template } = synthesise(stack => ({
      authProvider: AuthProvider.google({
        clientId: 'client',
        clientSecret: ecs.Secret.fromSsmParameter(ssm.StringParameter.fromSecureStringParameterAttributes(stack, 'Parameter', { parameterName: '/mlflow/oauth' })),
      }),
    }));
    const arn = { 'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, ':ssm:', { Ref: 'AWS::Region' }, ':', { Ref: 'AWS::AccountId' }, ':parameter/mlflow/oauth']] };
    expect(secretsOf(template, 'oauth2-proxy').OAUTH2_PROXY_CLIENT_SECRET).toEqual(arn);
    expect(readable(template, 'ssm:GetParameters')).toEqual([JSON.stringify(arn)]);
    expect(JSON.stringify(statementsOf(template, 'TaskRole'))).not.toContain('ssm:');
  });
});

describe('zone and certificate', () => {
  const certificateArn = 'arn:aws:acm:eu-west-1:111122223333:certificate/1';
  const certificate = (stack: Stack): Overrides => ({ certificate: acm.Certificate.fromCertificateArn(stack, 'Certificate', certificateArn) });

  test.each<[string, (stack: Stack) => Overrides, { issued: number; records: number }]>([
    ['only a zone gives record and certificate', () => ({}), { issued: 1, records: 1 }],
    ['both give only the record', certificate, { issued: 0, records: 1 }],
    ['only a certificate gives neither', stack => ({ ...certificate(stack), hostedZone: undefined }), { issued: 0, records: 0 }],
  ])('%s', (_, overrides, expected) => {
    const { template } = synthesise(overrides);
    expect({
      issued: resources(template, 'AWS::CertificateManager::Certificate').length,
      records: resources(template, 'AWS::Route53::RecordSet').length,
    }).toEqual(expected);
    expect(only(template, 'AWS::ElasticLoadBalancingV2::Listener', 'Https').Properties.Certificates).toEqual([
      { CertificateArn: expected.issued ? { Ref: only(template, 'AWS::CertificateManager::Certificate').id } : certificateArn },
    ]);
  });
});

describe('a prop changes only its own resource', () => {
  type Read = (template: Template) => unknown;
  const service: Read = template => only(template, 'AWS::ECS::Service').Properties;
  const task: Read = template => only(template, 'AWS::ECS::TaskDefinition').Properties;
  const mlflow: Read = template => environmentOf(template, 'mlflow');
  const proxy: Read = template => environmentOf(template, 'oauth2-proxy');
  const images: Read = template => containers(template).map(({ Image }) => Image);

  test.each<[string, OverridesOf, Read, unknown]>([
    ['desiredCount', { desiredCount: 3 }, service, { DesiredCount: 3, DeploymentConfiguration: { MinimumHealthyPercent: 0, MaximumPercent: 100 } }],
    ['minHealthyPercent, with which old and new tasks overlap', { minHealthyPercent: 50 }, service, { DeploymentConfiguration: { MinimumHealthyPercent: 50, MaximumPercent: 200 } }],
    ['cpu and memoryLimitMiB', { cpu: 2048, memoryLimitMiB: 8192 }, task, { Cpu: '2048', Memory: '8192' }],
    ['ephemeralStorageGiB', { ephemeralStorageGiB: 100 }, task, { EphemeralStorage: { SizeInGiB: 100 } }],
    ['cpuArchitecture', { cpuArchitecture: ecs.CpuArchitecture.X86_64 }, task, { RuntimePlatform: { CpuArchitecture: 'X86_64', OperatingSystemFamily: 'LINUX' } }],
    ['mlflowImage', { mlflowImage: ecs.ContainerImage.fromRegistry('example.com/mlflow:1') }, images, ['example.com/mlflow:1', 'example.com/mlflow:1', 'quay.io/oauth2-proxy/oauth2-proxy:v7.15.6']],
    ['oauth2ProxyImage', { oauth2ProxyImage: ecs.ContainerImage.fromRegistry('example.com/proxy:1') }, images,
      ['ghcr.io/mlflow/mlflow:v3.17.2-full', 'ghcr.io/mlflow/mlflow:v3.17.2-full', 'example.com/proxy:1']],
    ['workers', { workers: 5 }, mlflow, { MLFLOW_WORKERS: '5' }],
    ['workers, known at the end', { workers: Lazy.number({ produce: () => 5 }) }, mlflow, { MLFLOW_WORKERS: '5' }],
    ['environment', { environment: { MLFLOW_LOGGING_LEVEL: 'DEBUG', MLFLOW_DISABLE_TELEMETRY: 'false' } }, mlflow, { MLFLOW_LOGGING_LEVEL: 'DEBUG', MLFLOW_DISABLE_TELEMETRY: 'false' }],
    ['artifactPath', { artifactPath: 'teams/ml' }, mlflow, { MLFLOW_ARTIFACTS_DESTINATION: { 'Fn::Join': ['', ['s3://', { Ref: expect.anything() }, '/teams/ml']] } }],
    ['proxyEnvironment', { proxyEnvironment: { OAUTH2_PROXY_CUSTOM_SIGN_IN_LOGO: '-' } }, proxy, { OAUTH2_PROXY_CUSTOM_SIGN_IN_LOGO: '-' }],
    ['sessionDuration', { sessionDuration: Duration.hours(1) }, proxy, { OAUTH2_PROXY_COOKIE_EXPIRE: '3600s' }],
    ['sessionRefresh', { authProvider: AuthProvider.cognito(), sessionRefresh: Duration.minutes(10) }, proxy, { OAUTH2_PROXY_COOKIE_REFRESH: '600s' }],
    ['emailDomains', { emailDomains: ['example.com', 'example.org'] }, proxy, { OAUTH2_PROXY_EMAIL_DOMAINS: 'example.com,example.org' }],
    ['trustedTokenIssuers', { trustedTokenIssuers: [TokenIssuer.gcloud()] }, proxy, { OAUTH2_PROXY_EXTRA_JWT_ISSUERS: 'https://accounts.google.com=32555940559.apps.googleusercontent.com' }],
    ['domainName', { domainName: 'ml.example.com' }, proxy, { OAUTH2_PROXY_REDIRECT_URL: 'https://ml.example.com/oauth2/callback' }],
    ['logRetention', { logRetention: logs.RetentionDays.ONE_WEEK }, template => resources(template, 'AWS::Logs::LogGroup').map(([, { Properties }]) => Properties.RetentionInDays), [7, 7]],
    ['deletionProtection, off', { deletionProtection: false }, template => only(template, 'AWS::RDS::DBCluster').Properties, { DeletionProtection: false }],
    ['deletionProtection, on', { deletionProtection: true }, template => only(template, 'AWS::RDS::DBCluster').Properties, { DeletionProtection: true }],
    ['databaseCapacity', { databaseCapacity: { maxAcus: 16, pauseAfter: Duration.hours(1) } }, template => only(template, 'AWS::RDS::DBCluster').Properties,
      { ServerlessV2ScalingConfiguration: { MinCapacity: 0, MaxCapacity: 16, SecondsUntilAutoPause: 3600 } }],
    ['natGateways', { natGateways: 2 }, template => resources(template, 'AWS::EC2::NatGateway').length, 2],
  ])('%s', (_, overrides, read, expected) => {
    expect({ rendered: read(synthesise(overrides).template) }).toMatchObject({ rendered: expected });
  });

  test('artifactPath changes the permissions, too', () => {
    const [list, objects] = statementsOf(synthesise({ artifactPath: 'teams/ml' }).template, 'TaskRole');
    expect(list.Condition.StringLike).toEqual({ 's3:prefix': ['teams/ml', 'teams/ml/*'] });
    expect(objects.Resource['Fn::Join'][1][1]).toBe('/teams/ml/*');
  });

  test.each([[undefined, 'direct'], [ArtifactTransfer.DIRECT, 'direct'], [ArtifactTransfer.THROUGH_SERVER, 'through-server']])('artifactTransfer %s is %s', (artifactTransfer, expected) => {
    expect(environmentOf(synthesise({ artifactTransfer }).template, 'mlflow').SECURE_MLFLOW_ARTIFACT_TRANSFER).toBe(expected);
  });

  test.each([undefined, '--threads 4'])('there is one server, with gunicornOpts %s', gunicornOpts => {
    const { template } = synthesise({ gunicornOpts });
    expect(containers(template).map(({ Name }) => Name)).toEqual(['prepare', 'mlflow', 'oauth2-proxy']);
    expect(container(template, 'oauth2-proxy').DependsOn).toEqual([{ ContainerName: 'mlflow', Condition: 'HEALTHY' }]);
  });

  test.each<[string, ec2.IPeer[], unknown[]]>([
    ['no sources', [], []],
    ['a range and a prefix list', [ec2.Peer.ipv4('192.0.2.0/24'), ec2.Peer.prefixList('pl-1')], [['192.0.2.0/24', 443], ['pl-1', 443]]],
    ['everyone may also use the port that redirects', [ec2.Peer.anyIpv4(), ec2.Peer.anyIpv6()], [['0.0.0.0/0', 443], ['0.0.0.0/0', 80], ['::/0', 443], ['::/0', 80]]],
  ])('allowedSources: %s', (_, allowedSources, expected) => {
    const { template } = synthesise({ allowedSources });
    expect(rulesOf(template, only(template, 'AWS::EC2::SecurityGroup', 'Ingress').id, 'Ingress').map(rule => [rule.CidrIp ?? rule.CidrIpv6 ?? rule.SourcePrefixListId, rule.FromPort])).toEqual(expected);
  });

  test('connections allow others on 443 without a port', () => {
    const stack = newStack();
    const { mlflow: construct } = define({ allowedSources: [] }, stack);
    construct.connections.allowDefaultPortFrom(ec2.Peer.ipv4('203.0.113.0/24'));
    const template = Template.fromStack(stack);
    expect(rulesOf(template, only(template, 'AWS::EC2::SecurityGroup', 'Ingress').id, 'Ingress').map(({ CidrIp, FromPort, ToPort }) => [CidrIp, FromPort, ToPort])).toEqual([['203.0.113.0/24', 443, 443]]);
  });

  test('grants to the construct are grants to its tasks', () => {
    const stack = newStack();
    const { mlflow: construct } = define({}, stack);
    iam.Grant.addToPrincipal({ grantee: construct, actions: ['bedrock:InvokeModel'], resourceArns: ['arn:aws:bedrock:eu-west-1::foundation-model/x'] });
    expect(statementsOf(Template.fromStack(stack), 'TaskRole')).toContainEqual({ Effect: 'Allow', Action: 'bedrock:InvokeModel', Resource: 'arn:aws:bedrock:eu-west-1::foundation-model/x' });
  });
});

describe('when the stack is deleted', () => {
  const fate = (removalPolicy?: RemovalPolicy) => {
    const { template } = synthesise(removalPolicy && { removalPolicy });
    return Object.fromEntries([
      ['database', only(template, 'AWS::RDS::DBCluster')],
      ['bucket', only(template, 'AWS::S3::Bucket')],
      ['password', only(template, 'AWS::SecretsManager::Secret', 'Credentials')],
      ['passphrase', only(template, 'AWS::SecretsManager::Secret', 'EncryptionPassphrase')],
      ['cookie secret', only(template, 'AWS::SecretsManager::Secret', 'CookieSecret')],
      ['logs', only(template, 'AWS::Logs::LogGroup', 'Service')],
      ['log of refused connections', only(template, 'AWS::Logs::LogGroup', 'FlowLog')],
    ].map(([name, resource]) => [name, (resource as { DeletionPolicy?: string }).DeletionPolicy]));
  };
  const all = (policy: string) => ({ 'database': policy, 'bucket': policy, 'password': policy, 'passphrase': policy, 'cookie secret': policy, 'logs': policy, 'log of refused connections': policy });

  test.each<[string, RemovalPolicy | undefined, Record<string, string>]>([
    ['all is kept by default, the database as a snapshot', undefined, { ...all('Retain'), database: 'Snapshot' }],
    ['all is kept with RETAIN', RemovalPolicy.RETAIN, all('Retain')],
    ['all is kept with RETAIN_ON_UPDATE_OR_DELETE, unless it is new', RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE, all('RetainExceptOnCreate')],
    ['all is deleted with DESTROY', RemovalPolicy.DESTROY, all('Delete')],
  ])('%s', (_, removalPolicy, expected) => {
    expect(fate(removalPolicy)).toEqual(expected);
  });

  test('DESTROY does not turn the deletion protection off', () => {
    expect(only(synthesise({ removalPolicy: RemovalPolicy.DESTROY }).template, 'AWS::RDS::DBCluster').Properties.DeletionProtection).toBe(true);
  });
});
