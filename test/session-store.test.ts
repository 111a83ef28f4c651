import { CfnParameter, RemovalPolicy, SecretValue, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { broughtVpc, define, environmentOf, minimalProps, newStack, only, OverridesOf, resources, rulesOf, secretsOf, statementsOf, synthesise } from './fixtures';
import { ExistingSessionStoreOptions, SecureMlflow, SessionStore } from '../src';

const made: OverridesOf = { sessionStore: SessionStore.valkey() };
const password = (stack: Stack) => ecs.Secret.fromSecretsManager(secretsmanager.Secret.fromSecretNameV2(stack, 'StorePassword', 'store/password'));
const brought = (options: Partial<ExistingSessionStoreOptions> = {}) => (stack: Stack) =>
  ({ sessionStore: SessionStore.existing({ host: 'valkey.example.com', password: password(stack), ...options }) });

const group = (id: string) => ({ 'Fn::GetAtt': [id, 'GroupId'] });
const groupOf = (template: Template, part: string) => only(template, 'AWS::EC2::SecurityGroup', part).id;
const cacheOf = (template: Template) => only(template, 'AWS::ElastiCache::ServerlessCache');
/** Settings of oauth2-proxy for sessions, except those of the cookie itself. */
const settings = (template: Template) => Object.fromEntries(
  Object.entries(environmentOf(template, 'oauth2-proxy')).filter(([name]) => /SESSION_STORE|REDIS/.test(name)));
const egressOfTasks = (template: Template) => rulesOf(template, groupOf(template, 'Service'), 'Egress')
  .map(({ CidrIp, DestinationSecurityGroupId, FromPort }) => [CidrIp ?? DestinationSecurityGroupId, FromPort]);

test.each<[string, OverridesOf]>([
  ['by default', {}],
  ['SessionStore.cookie()', { sessionStore: SessionStore.cookie() }],
])('%s: sessions are in the cookie, and there are no resources or settings for them', (_, overrides) => {
  const { template } = synthesise(overrides);
  expect(resources(template).filter(([, { Type }]) => Type.startsWith('AWS::ElastiCache::'))).toEqual([]);
  expect(settings(template)).toEqual({});
  expect(secretsOf(template, 'oauth2-proxy')).not.toHaveProperty('OAUTH2_PROXY_REDIS_PASSWORD');
  expect(template.toJSON()).toEqual(synthesise().template.toJSON());
});

describe('SessionStore.valkey()', () => {
  const { template } = synthesise(made);
  const cache = cacheOf(template);
  const user = only(template, 'AWS::ElastiCache::User');
  const sessions = groupOf(template, 'Sessions');

  test('adds resources and changes only the task, the service and the permission to read its password', () => {
    const before = synthesise().template;
    const { Resources } = template.toJSON();
    const changed = resources(before).filter(([id, resource]) => JSON.stringify(resource) !== JSON.stringify(Resources[id])).map(([id]) => id);
    expect(changed.sort()).toEqual([
      only(before, 'AWS::ECS::Service').id,
      only(before, 'AWS::ECS::TaskDefinition').id,
      only(before, 'AWS::IAM::Policy', 'ExecutionRole').id,
    ].sort());
    expect(resources(template).filter(([id]) => !(id in before.toJSON().Resources)).map(([, { Type }]) => Type).sort()).toEqual([
      'AWS::EC2::SecurityGroup', 'AWS::EC2::SecurityGroupEgress', 'AWS::EC2::SecurityGroupIngress',
      'AWS::ElastiCache::ServerlessCache', 'AWS::ElastiCache::User', 'AWS::ElastiCache::UserGroup', 'AWS::SecretsManager::Secret',
    ]);
  });

  test('is a serverless cache of at most 1 GB in the subnets of the database', () => {
    expect(cache.Properties).toMatchObject({ Engine: 'valkey', MajorEngineVersion: '8', CacheUsageLimits: { DataStorage: { Unit: 'GB', Maximum: 1 } } });
    expect(cache.Properties).not.toHaveProperty('KmsKeyId');
    expect(cache.Properties.SubnetIds).toEqual(only(template, 'AWS::RDS::DBSubnetGroup').Properties.SubnetIds);
  });

  test('uses one subnet of each zone', () => {
    const vpc = (stack: Stack) => ec2.Vpc.fromVpcAttributes(stack, 'Vpc', {
      vpcId: 'vpc-1',
      availabilityZones: ['eu-west-1a', 'eu-west-1b'],
      isolatedSubnetIds: ['subnet-1a', 'subnet-1b', 'subnet-2a', 'subnet-2b'],
      isolatedSubnetNames: ['One', 'Two'],
      isolatedSubnetRouteTableIds: ['rtb-1', 'rtb-2', 'rtb-3', 'rtb-4'],
      publicSubnetIds: ['subnet-pa', 'subnet-pb'],
      publicSubnetRouteTableIds: ['rtb-5', 'rtb-6'],
    });
    const databaseSubnets = { subnetType: ec2.SubnetType.PRIVATE_ISOLATED }; // an RDS subnet group may contain two subnets of a zone
    expect(cacheOf(synthesise(stack => ({ ...made, vpc: vpc(stack), databaseSubnets })).template).Properties.SubnetIds).toEqual(['subnet-1a', 'subnet-1b']);
  });

  test('uses subnets that are listed one by one unchanged, because their zones may not be known', () => {
    const { template: chosen } = synthesise(stack => ({
      ...made,
      vpc: broughtVpc(stack),
      databaseSubnets: { subnets: ['subnet-1', 'subnet-2'].map(id => ec2.Subnet.fromSubnetAttributes(stack, id, { subnetId: id, routeTableId: `rtb-${id}` })) },
    }));
    expect(cacheOf(chosen).Properties.SubnetIds).toEqual(['subnet-1', 'subnet-2']);
  });

  test('only the tasks can reach it, on 6379, and it can reach no other part', () => {
    expect(cache.Properties.SecurityGroupIds).toEqual([group(sessions)]);
    expect(rulesOf(template, sessions, 'Ingress')).toEqual([
      { Description: expect.anything(), IpProtocol: 'tcp', FromPort: 6379, ToPort: 6379, GroupId: group(sessions), SourceSecurityGroupId: group(groupOf(template, 'Service')) },
    ]);
    expect(rulesOf(template, sessions, 'Egress').map(({ CidrIp }) => CidrIp)).toEqual(['255.255.255.255/32']);
    expect(egressOfTasks(template)).toEqual([['0.0.0.0/0', 443], [group(groupOf(template, 'Database')), 5432], [group(sessions), 6379]]);
  });

  test('requires a password, and its only user may use the keys of sessions and no administrative commands', () => {
    const secret = only(template, 'AWS::SecretsManager::Secret', 'Sessions');
    expect(secret.Properties.GenerateSecretString).toEqual({ PasswordLength: 64, ExcludePunctuation: true });
    expect(user.Properties).toMatchObject({
      Engine: 'valkey',
      UserName: 'oauth2-proxy',
      AccessString: `on ~${environmentOf(template, 'oauth2-proxy').OAUTH2_PROXY_COOKIE_NAME}-* +@all -@dangerous`,
      Passwords: [{ 'Fn::Join': ['', ['{{resolve:secretsmanager:', { Ref: secret.id }, ':SecretString:::}}']] }],
    });
    const userGroup = only(template, 'AWS::ElastiCache::UserGroup');
    expect(userGroup.Properties).toMatchObject({ Engine: 'valkey', UserIds: [{ Ref: user.id }] });
    expect(cache.Properties.UserGroupId).toEqual({ Ref: userGroup.id });
    expect(secretsOf(template, 'oauth2-proxy').OAUTH2_PROXY_REDIS_PASSWORD).toEqual({ Ref: secret.id });
    expect(JSON.stringify(statementsOf(template, 'ExecutionRole'))).toContain(secret.id);
  });

  test('oauth2-proxy stores sessions there, over TLS, without the password in the URL', () => {
    expect(settings(template)).toEqual({
      OAUTH2_PROXY_SESSION_STORE_TYPE: 'redis',
      OAUTH2_PROXY_REDIS_CONNECTION_URL: { 'Fn::Join': ['', ['rediss://', { 'Fn::GetAtt': [cache.id, 'Endpoint.Address'] }, ':6379?dial_timeout=1s']] },
      OAUTH2_PROXY_REDIS_USERNAME: 'oauth2-proxy',
      OAUTH2_PROXY_REDIS_CONNECTION_IDLE_TIMEOUT: '120',
    });
  });

  test('the service depends on the whole store', () => {
    const { DependsOn } = only(template, 'AWS::ECS::Service');
    expect(DependsOn).toEqual(expect.arrayContaining([
      cache.id, user.id, only(template, 'AWS::ElastiCache::UserGroup').id, only(template, 'AWS::EC2::SecurityGroupIngress', 'SessionsSecurityGroupfrom').id,
    ]));
  });

  test('is deleted with the stack, regardless of removalPolicy', () => {
    for (const removalPolicy of [undefined, RemovalPolicy.RETAIN]) {
      const { template: kept } = synthesise({ ...made, ...(removalPolicy && { removalPolicy }) });
      const secret = only(kept, 'AWS::SecretsManager::Secret', 'Sessions');
      expect([secret.DeletionPolicy, cacheOf(kept).DeletionPolicy ?? 'Delete']).toEqual(['Delete', 'Delete']);
    }
  });

  test('its names are unique for the stack and the construct, and short enough for ElastiCache', () => {
    const { stack } = define(made);
    new SecureMlflow(stack, 'Second', { ...minimalProps(stack), domainName: 'second.example.com', sessionStore: SessionStore.valkey() });
    const both = Template.fromStack(stack);
    const names = ([['ServerlessCache', 'ServerlessCacheName'], ['User', 'UserId'], ['UserGroup', 'UserGroupId']] as const)
      .map(([type, property]) => resources(both, `AWS::ElastiCache::${type}`).map(([, { Properties }]) => Properties[property]));
    expect(names[1]).toEqual(names[0]);
    expect(names[2]).toEqual(names[0]);
    const [first, second] = names[0].map(name => name['Fn::Join'][1]);
    expect([first[0], second[0]]).toEqual([expect.stringMatching(/^mlflow-[0-9a-f]{8}-$/), expect.stringMatching(/^mlflow-[0-9a-f]{8}-$/)]);
    expect(first[0]).not.toBe(second[0]);
    // The last group of the UUID with which the ARN of a stack ends, 12 characters.
    expect(first[1]).toEqual({ 'Fn::Select': [4, { 'Fn::Split': ['-', { 'Fn::Select': [2, { 'Fn::Split': ['/', { Ref: 'AWS::StackId' }] }] }] }] });
  });
});

describe('SessionStore.existing()', () => {
  test('no resources are created, and oauth2-proxy stores sessions there, over TLS', () => {
    const { template } = synthesise(brought());
    expect(resources(template).filter(([, { Type }]) => Type.startsWith('AWS::ElastiCache::'))).toEqual([]);
    expect(resources(template)).toHaveLength(resources(synthesise().template).length);
    expect(settings(template)).toEqual({
      OAUTH2_PROXY_SESSION_STORE_TYPE: 'redis',
      OAUTH2_PROXY_REDIS_CONNECTION_URL: 'rediss://valkey.example.com:6379?dial_timeout=1s',
      OAUTH2_PROXY_REDIS_CONNECTION_IDLE_TIMEOUT: '120',
    });
    expect(JSON.stringify(secretsOf(template, 'oauth2-proxy').OAUTH2_PROXY_REDIS_PASSWORD)).toContain('store/password');
    expect(egressOfTasks(template)).toEqual(egressOfTasks(synthesise().template));
  });

  test('with another user and port', () => {
    expect(settings(synthesise(brought({ username: 'sessions', port: 6380 })).template)).toMatchObject({
      OAUTH2_PROXY_REDIS_CONNECTION_URL: 'rediss://valkey.example.com:6380?dial_timeout=1s',
      OAUTH2_PROXY_REDIS_USERNAME: 'sessions',
    });
  });

  test('with its security group: each side gets one rule, for that port', () => {
    const { template } = synthesise(stack => brought({ port: 6380, securityGroup: ec2.SecurityGroup.fromSecurityGroupId(stack, 'Store', 'sg-store') })(stack));
    const rule = { IpProtocol: 'tcp', FromPort: 6380, ToPort: 6380 };
    const tasks = groupOf(template, 'Service');
    const ofStore = resources(template, 'AWS::EC2::SecurityGroupIngress').map(([, { Properties }]) => Properties).filter(({ GroupId }) => GroupId === 'sg-store');
    expect(ofStore).toEqual([{ ...rule, Description: expect.anything(), GroupId: 'sg-store', SourceSecurityGroupId: group(tasks) }]);
    expect(egressOfTasks(template).at(-1)).toEqual(['sg-store', 6380]);
  });

  test('CDK tokens are passed on', () => {
    const stack = newStack();
    const host = new CfnParameter(stack, 'Host').valueAsString;
    const port = new CfnParameter(stack, 'Port', { type: 'Number' }).valueAsNumber;
    const username = new CfnParameter(stack, 'Username').valueAsString;
    const { template } = synthesise(brought({ host, port, username, securityGroup: ec2.SecurityGroup.fromSecurityGroupId(stack, 'Store', 'sg-store') })(stack), stack);
    expect(settings(template)).toMatchObject({
      OAUTH2_PROXY_REDIS_CONNECTION_URL: { 'Fn::Join': ['', ['rediss://', { Ref: 'Host' }, ':', { Ref: 'Port' }, '?dial_timeout=1s']] },
      OAUTH2_PROXY_REDIS_USERNAME: { Ref: 'Username' },
    });
    expect(egressOfTasks(template).at(-1)).toEqual(['sg-store', { Ref: 'Port' }]);
  });

  const secret = password(newStack());
  const existing = (options: Partial<ExistingSessionStoreOptions>) => () => SessionStore.existing({ host: 'valkey.example.com', password: secret, ...options });

  test.each([
    '', ' ', 'rediss://valkey.example.com', 'valkey.example.com:6379', 'user:password@valkey.example.com', 'valkey.example.com/0',
    'valkey.example.com?skip_verify=true', '.example.com', 'a b', 'valkey.example.com\n', 'a..b', 'localhost', 'Valkey.example.com', 'valkey.example.com.', '256.0.0.1', '10.1', '10.0.0.0.1', '-a.example.com',
  ])('fails for the host %j', host => {
    expect(existing({ host })).toThrow(new Error(`SessionStore.existing: \`host\` must be a host name in lower case or an IPv4 address, got ${JSON.stringify(host)}: leave out scheme, port and password`));
  });

  test.each(['10.0.0.1', '1.1.1.1', '1.2.3.example', 'master.sessions.abc123.euc1.cache.amazonaws.com'])('accepts the host %s', host => {
    expect(existing({ host })).not.toThrow();
  });

  test.each([0, 65536, 1.5, NaN])('fails for the port %d', port => {
    expect(existing({ port })).toThrow(new Error(`SessionStore.existing: \`port\` must be a whole number, 1 to 65535, got ${JSON.stringify(port)}`));
  });

  test.each([1, 65535])('accepts the port %d', port => {
    expect(existing({ port })).not.toThrow();
  });

  test.each(['', 'a b', ' ', 'a\n'])('fails for the user %j', username => {
    expect(existing({ username }))
      .toThrow(new Error(`SessionStore.existing: \`username\` must not be empty or contain blanks, got ${JSON.stringify(username)}: leave it out for the user \`default\``));
  });

  test.each([undefined, 'a5f0', SecretValue.unsafePlainText('a5f0')])('fails for a password that is not an ecs.Secret, and does not show it', value => {
    expect(existing({ password: value as unknown as ecs.Secret }))
      .toThrow(new Error(`SessionStore.existing: \`password\` must be an ecs.Secret, got a value of type ${typeof value}: use \`ecs.Secret.fromSecretsManager(…)\` or \`fromSsmParameter(…)\``));
  });
});

test.each([
  'OAUTH2_PROXY_SESSION_STORE_TYPE', 'OAUTH2_PROXY_REDIS_CONNECTION_URL', 'OAUTH2_PROXY_REDIS_INSECURE_SKIP_TLS_VERIFY', 'OAUTH2_PROXY_REDIS_PASSWORD',
])('%s is refused with the prop to use instead', name => {
  expect(() => define({ proxyEnvironment: { [name]: 'x' } })).toThrow(`\`proxyEnvironment\` must not contain ${name}: use \`sessionStore\``);
});
