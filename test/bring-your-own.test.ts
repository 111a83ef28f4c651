import { App, Duration, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as cognito from 'aws-cdk-lib/aws-cognito';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as route53 from 'aws-cdk-lib/aws-route53';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { broughtVpc, define, environmentOf, newApp, newStack, one, only, Overrides, refusal, resources, rulesOf, statementsOf, SubnetKinds, synthesise } from './fixtures';
import { AuthProvider } from '../src';

const subnets = (template: Template) => ({
  loadBalancer: only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').Properties.Subnets,
  service: only(template, 'AWS::ECS::Service').Properties.NetworkConfiguration.AwsvpcConfiguration.Subnets,
  database: only(template, 'AWS::RDS::DBSubnetGroup').Properties.SubnetIds,
});
const assignPublicIp = (template: Template) => only(template, 'AWS::ECS::Service').Properties.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp;
const on = (kind: string) => [`subnet-${kind}-a`, `subnet-${kind}-b`];

describe('an existing VPC', () => {
  test('is used by every part, and is not changed', () => {
    const { template, mlflow, stack } = synthesise(own => ({ vpc: broughtVpc(own) }));
    expect(mlflow.vpc).toBe(stack.node.findChild('BroughtVpc'));
    expect(resources(template).map(([, { Type }]) => Type).filter(type => type.startsWith('AWS::EC2::')).sort()).toEqual([
      ...Array(3).fill('AWS::EC2::SecurityGroup'), ...Array(2).fill('AWS::EC2::SecurityGroupEgress'), ...Array(2).fill('AWS::EC2::SecurityGroupIngress'),
    ]);
    const vpcs = [...resources(template, 'AWS::EC2::SecurityGroup'), ...resources(template, 'AWS::ElasticLoadBalancingV2::TargetGroup')].map(([, { Properties }]) => Properties.VpcId);
    expect(vpcs).toEqual(Array(4).fill('vpc-brought'));
  });

  test.each<[string, SubnetKinds, Overrides, { loadBalancer: string[]; service: string[]; database: string[] }, string]>([
    ['of all three kinds', { public: true, private: true, isolated: true }, {}, { loadBalancer: on('public'), service: on('private'), database: on('isolated') }, 'DISABLED'],
    ['without isolated ones', { public: true, private: true }, {}, { loadBalancer: on('public'), service: on('private'), database: on('private') }, 'DISABLED'],
    ['without private ones', { public: true, isolated: true }, {}, { loadBalancer: on('public'), service: on('public'), database: on('isolated') }, 'ENABLED'],
    ['of all three kinds, internal', { public: true, private: true, isolated: true }, { internetFacing: false },
      { loadBalancer: on('private'), service: on('private'), database: on('isolated') }, 'DISABLED'],
    ['without private ones, internal', { public: true, isolated: true }, { internetFacing: false }, { loadBalancer: on('isolated'), service: on('public'), database: on('isolated') }, 'ENABLED'],
    ['only private ones, internal', { private: true }, { internetFacing: false }, { loadBalancer: on('private'), service: on('private'), database: on('private') }, 'DISABLED'],
  ])('with subnets %s: each part is in the right ones', (_, kinds, overrides, expected, publicIp) => {
    const { template } = synthesise(stack => ({ vpc: broughtVpc(stack, kinds), ...overrides }));
    expect(subnets(template)).toEqual(expected);
    expect(assignPublicIp(template)).toBe(publicIp);
  });

  test('its subnets can be chosen, and tasks in public ones get public addresses', () => {
    const chosen = (stack: Stack, part: string, ids: string[]) => ({
      subnets: ids.map((id, index) => ec2.Subnet.fromSubnetAttributes(stack, `${part}-${id}`, { subnetId: id, availabilityZone: `eu-west-1${'ab'[index]}` })),
    });
    const { template } = synthesise(stack => ({
      vpc: broughtVpc(stack),
      serviceSubnets: { subnetType: ec2.SubnetType.PUBLIC },
      databaseSubnets: chosen(stack, 'Database', ['subnet-1', 'subnet-2']),
      loadBalancerSubnets: chosen(stack, 'LoadBalancer', ['subnet-3', 'subnet-4']),
    }));
    expect(subnets(template)).toEqual({ service: on('public'), database: ['subnet-1', 'subnet-2'], loadBalancer: ['subnet-3', 'subnet-4'] });
    expect(assignPublicIp(template)).toBe('ENABLED');
  });
});

describe('natGateways: 0', () => {
  const { template } = synthesise({ natGateways: 0 });

  test('leaves out the gateway, its address and the private subnets', () => {
    expect([resources(template).length, resources(template, 'AWS::EC2::NatGateway').length, resources(template, 'AWS::EC2::EIP').length, resources(template, 'AWS::EC2::Subnet').length])
      .toEqual([54, 0, 0, 4]);
  });

  test('the tasks get public addresses in public subnets, and only the load balancer can reach them', () => {
    expect(assignPublicIp(template)).toBe('ENABLED');
    expect(subnets(template).service).toEqual(subnets(template).loadBalancer);
    const ingress = { 'Fn::GetAtt': [only(template, 'AWS::EC2::SecurityGroup', 'Ingress').id, 'GroupId'] };
    expect(rulesOf(template, only(template, 'AWS::EC2::SecurityGroup', 'Service').id, 'Ingress'))
      .toEqual([expect.objectContaining({ SourceSecurityGroupId: ingress, FromPort: 4180, ToPort: 4180, IpProtocol: 'tcp' })]);
  });

  test('does not move other subnets', () => {
    const cidrs = (of: Template) => Object.fromEntries(resources(of, 'AWS::EC2::Subnet').map(([id, { Properties }]) => [id, Properties.CidrBlock]));
    expect(cidrs(synthesise().template)).toMatchObject(cidrs(template));
  });

  test('keeps the database in isolated subnets', () => {
    expect(subnets(template).database).toEqual([{ Ref: expect.stringContaining('DatabaseSubnet1') }, { Ref: expect.stringContaining('DatabaseSubnet2') }]);
  });
});

test('internetFacing: false makes the load balancer internal, in private subnets', () => {
  const { template } = synthesise({ internetFacing: false });
  expect(only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').Properties.Scheme).toBe('internal');
  expect(subnets(template).loadBalancer).toEqual([{ Ref: expect.stringContaining('ServiceSubnet1') }, { Ref: expect.stringContaining('ServiceSubnet2') }]);
  expect(assignPublicIp(template)).toBe('DISABLED');
});

describe('an existing bucket', () => {
  const keyArn = 'arn:aws:kms:eu-west-1:111122223333:key/1';
  const ofItsAccount = { StringEquals: { 'aws:ResourceAccount': { Ref: 'AWS::AccountId' } } };
  const use = [
    { Effect: 'Allow', Action: 's3:ListBucket', Resource: 'arn:aws:s3:::brought', Condition: { ...ofItsAccount, StringLike: { 's3:prefix': ['ml', 'ml/*'] } } },
    {
      Effect: 'Allow',
      Action: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload'],
      Resource: 'arn:aws:s3:::brought/ml/*',
      Condition: ofItsAccount,
    },
  ];

  test.each<[string, (stack: Stack) => s3.IBucket, unknown[]]>([
    ['without its own key', stack => s3.Bucket.fromBucketAttributes(stack, 'Brought', { bucketArn: 'arn:aws:s3:::brought' }), use],
    ['with a key', stack => s3.Bucket.fromBucketAttributes(stack, 'Brought', { bucketArn: 'arn:aws:s3:::brought', encryptionKey: kms.Key.fromKeyArn(stack, 'Key', keyArn) }),
      [...use, { Effect: 'Allow', Action: ['kms:Decrypt', 'kms:GenerateDataKey'], Resource: keyArn }]],
  ])('%s is used: its folder and its key only', (_, bring, expected) => {
    const { template, mlflow } = synthesise(stack => ({ artifactBucket: bring(stack), artifactPath: 'ml' }));
    expect(statementsOf(template, 'TaskRole')).toEqual(expected);
    expect(environmentOf(template, 'mlflow').MLFLOW_ARTIFACTS_DESTINATION).toBe('s3://brought/ml');
    expect(mlflow.artifactBucket.bucketArn).toBe('arn:aws:s3:::brought');
    expect(mlflow.createdBucket).toBeUndefined();
    expect([resources(template, 'AWS::S3::Bucket'), resources(template, 'AWS::S3::BucketPolicy')]).toEqual([[], []]);
  });

  test('may be left out: the new one accepts rules like any other', () => {
    const { stack, mlflow } = define();
    mlflow.createdBucket?.addLifecycleRule({ id: 'Mine', noncurrentVersionExpiration: Duration.days(90) });
    const { LifecycleConfiguration: { Rules } } = only(Template.fromStack(stack), 'AWS::S3::Bucket').Properties;
    expect(Rules.map(({ Id }: { Id?: string }) => Id)).toEqual([undefined, 'Mine']);
  });

  test('is not changed, like its key, where the stack owns both', () => {
    const bring = (stack: Stack) => new s3.Bucket(stack, 'Brought', { encryptionKey: new kms.Key(stack, 'Key') });
    const alone = newStack();
    bring(alone);
    const before = Template.fromStack(alone);
    const { template } = synthesise(stack => ({ artifactBucket: bring(stack) }));
    for (const type of ['AWS::S3::Bucket', 'AWS::KMS::Key']) {
      expect(only(template, type)).toEqual(only(before, type));
    }
    expect(resources(template, 'AWS::S3::BucketPolicy')).toEqual([]);
    expect(statementsOf(template, 'TaskRole')[2].Resource).toEqual({ 'Fn::GetAtt': [only(template, 'AWS::KMS::Key').id, 'Arn'] });
  });
});

test('an existing certificate is used by the listener, and no other is requested', () => {
  const { template, mlflow } = synthesise(stack => ({ certificate: acm.Certificate.fromCertificateArn(stack, 'Certificate', 'arn:aws:acm:eu-west-1:111122223333:certificate/1') }));
  expect(only(template, 'AWS::ElasticLoadBalancingV2::Listener', 'Https').Properties.Certificates).toEqual([{ CertificateArn: 'arn:aws:acm:eu-west-1:111122223333:certificate/1' }]);
  expect(mlflow.certificate.certificateArn).toBe('arn:aws:acm:eu-west-1:111122223333:certificate/1');
  expect(resources(template, 'AWS::CertificateManager::Certificate')).toEqual([]);
});

test('a zone that the stack owns gets one record and no other change', () => {
  const { template } = synthesise(stack => ({ hostedZone: new route53.PublicHostedZone(stack, 'Own', { zoneName: 'example.com' }) }));
  const zone = only(template, 'AWS::Route53::HostedZone');
  expect(zone.Properties).toEqual({ Name: 'example.com.' });
  expect(only(template, 'AWS::Route53::RecordSet').Properties.HostedZoneId).toEqual({ Ref: zone.id });
  expect(only(template, 'AWS::CertificateManager::Certificate').Properties.DomainValidationOptions).toEqual([{ DomainName: 'mlflow.example.com', HostedZoneId: { Ref: zone.id } }]);
});

describe('a zone', () => {
  const zone = 'ZONE1';

  test.each<[string, (stack: Stack) => route53.IHostedZone]>([
    ['public', stack => route53.HostedZone.fromHostedZoneId(stack, 'ById', zone)],
    ['private', stack => route53.PrivateHostedZone.fromPrivateHostedZoneId(stack, 'ById', zone)],
  ])('that is imported only by its id works, a %s one', (_, bring) => {
    const { template } = synthesise(stack => ({ hostedZone: bring(stack) }));
    expect(only(template, 'AWS::Route53::RecordSet').Properties).toMatchObject({ Name: 'mlflow.example.com.', HostedZoneId: zone });
    expect(only(template, 'AWS::CertificateManager::Certificate').Properties.DomainValidationOptions).toEqual([{ DomainName: 'mlflow.example.com', HostedZoneId: zone }]);
  });

  const vpc = (stack: Stack) => ec2.Vpc.fromVpcAttributes(stack, 'ZoneVpc', { vpcId: 'vpc-1', availabilityZones: ['eu-west-1a'] });

  test.each<[string, (stack: Stack) => route53.IHostedZone]>([
    ['PrivateHostedZone', stack => new route53.PrivateHostedZone(stack, 'Inside', { zoneName: 'example.com', vpc: vpc(stack) })],
    ['HostedZone with a VPC', stack => new route53.HostedZone(stack, 'Inside', { zoneName: 'example.com', vpcs: [vpc(stack)] })],
  ])('that is private also needs a certificate: %s', (_, bring) => {
    expect(refusal(stack => ({ hostedZone: bring(stack) }))).toBe(one(
      '`certificate` must be given where `hostedZone` is private, got only the zone Stack/Inside: ACM validates a certificate in public DNS only, and the deployment would time out; '
      + 'pass a certificate, such as one validated in the public zone of the same name'));
    expect(() => define(stack => ({ hostedZone: bring(stack), certificate: acm.Certificate.fromCertificateArn(stack, 'Certificate', CERTIFICATE('eu-west-1')) }))).not.toThrow();
  });
});

const CERTIFICATE = (region: string) => `arn:aws:acm:${region}:111122223333:certificate/1`;

describe('resources of another region', () => {
  const inRegion = () => new Stack(newApp(), 'Stack', { env: { account: '111122223333', region: 'eu-west-1' } });
  const brought: Record<string, (stack: Stack, region: string) => Overrides> = {
    vpc: (stack, region) => ({
      vpc: ec2.Vpc.fromVpcAttributes(stack, 'Elsewhere', {
        vpcId: 'vpc-1', region, availabilityZones: ['a', 'b'], publicSubnetIds: ['1', '2'], isolatedSubnetIds: ['3', '4'],
      }),
    }),
    certificate: (stack, region) => ({ certificate: acm.Certificate.fromCertificateArn(stack, 'Elsewhere', CERTIFICATE(region)) }),
    artifactBucket: (stack, region) => ({ artifactBucket: s3.Bucket.fromBucketAttributes(stack, 'Elsewhere', { bucketName: 'brought', region }) }),
    accessLogsBucket: (stack, region) => ({ accessLogsBucket: s3.Bucket.fromBucketAttributes(stack, 'Elsewhere', { bucketName: 'logs', region }) }),
    encryptionKey: (stack, region) => ({ encryptionKey: kms.Key.fromKeyArn(stack, 'Elsewhere', `arn:aws:kms:${region}:111122223333:key/1`) }),
  };

  test.each(Object.keys(brought))('%s is refused', name => {
    expect(refusal(stack => brought[name](stack, 'us-east-1'), inRegion())).toBe(one(
      `\`${name}\` must be in eu-west-1, the region of the stack, got one in us-east-1: pass one in eu-west-1, or set \`env: { region: 'us-east-1' }\` of the stack`));
  });

  test.each(Object.keys(brought))('%s of the region of the stack is accepted', name => {
    expect(() => define(stack => brought[name](stack, 'eu-west-1'), inRegion())).not.toThrow();
  });

  test.each(Object.keys(brought).filter(name => name !== 'accessLogsBucket'))('%s is not checked where the region of the stack is not known', name => {
    expect(() => define(stack => brought[name](stack, 'us-east-1'))).not.toThrow();
  });

  test('a certificate of another stack is in the region of that stack', () => {
    const stack = inRegion();
    const elsewhere = new Stack(stack.node.root as App, 'Elsewhere', { env: { account: '111122223333', region: 'us-east-1' }, crossRegionReferences: true });
    const certificate = new acm.Certificate(elsewhere, 'Certificate', { domainName: 'mlflow.example.com' });
    expect(refusal({ certificate }, stack)).toContain('`certificate` must be in eu-west-1, the region of the stack, got one in us-east-1');
  });

  test('a user pool is also refused', () => {
    const pool = (region: string) => (stack: Stack): Overrides => ({
      authProvider: AuthProvider.cognito({
        userPool: cognito.UserPool.fromUserPoolArn(stack, 'Pool', `arn:aws:cognito-idp:${region}:111122223333:userpool/${region}_abc`),
      }),
    });
    expect(() => define(pool('us-east-1'), inRegion())).toThrow(new Error('AuthProvider.cognito: `userPool` must be in eu-west-1, the region of the stack, got one in us-east-1: '
      + 'its client and its domain are created with the stack; use `AuthProvider.oidc` with a client of that pool'));
    expect(() => define(pool('eu-west-1'), inRegion())).not.toThrow();
    expect(() => define(pool('us-east-1'))).not.toThrow();
  });
});
