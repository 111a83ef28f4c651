import { CfnParameter, Duration, Stack, Token } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import { define, environmentOf, one, only, OverridesOf, refusal, resources, rulesOf, synthesise } from './fixtures';
import { DatabaseAuthentication, NetworkProxyOptions } from '../src';

const networkProxy = { host: 'proxy.example.com', port: 3128 };
const url = 'http://proxy.example.com:3128';
const within = '127.0.0.1,localhost,169.254.170.2';
const withRegion = (stack: Stack) => ({ 'Fn::Join': ['', [`${within},s3.`, stack.resolve(stack.region), '.amazonaws.com,s3.amazonaws.com']] });

const environmentsOf = (template: ReturnType<typeof synthesise>['template']) => resources(template, 'AWS::ECS::TaskDefinition')
  .flatMap(([, { Properties }]) => Properties.ContainerDefinitions as { Name: string; Environment: { Name: string; Value: unknown }[] }[])
  .map(({ Name, Environment }) => [Name, Object.fromEntries(Environment.map(variable => [variable.Name, variable.Value]))] as const);

const egress = (overrides: OverridesOf) => {
  const { template } = synthesise(overrides);
  return rulesOf(template, only(template, 'AWS::EC2::SecurityGroup', 'ServiceSecurityGroup').id, 'Egress')
    .filter(rule => rule.FromPort !== 5432).map(rule => [rule.CidrIp ?? rule.DestinationSecurityGroupId, rule.FromPort, rule.ToPort]);
};

test('reaches every container of both tasks', () => {
  const { template, stack } = synthesise({
    networkProxy, databaseAuthentication: DatabaseAuthentication.IAM, cleanUp: { olderThan: Duration.days(30) },
  });
  const all = environmentsOf(template);
  expect(all.map(([name]) => name).sort()).toEqual(['clean-up', 'database-token', 'mlflow', 'oauth2-proxy', 'prepare', 'prepare']);
  for (const [, environment] of all) {
    expect(environment).toMatchObject({ HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: withRegion(stack) });
  }
});

test('without it no container has such a variable', () => {
  for (const [, environment] of environmentsOf(synthesise({ cleanUp: { olderThan: Duration.days(30) } }).template)) {
    expect(Object.keys(environment).filter(name => /_proxy$/i.test(name))).toEqual([]);
  }
});

test.each<[string, (stack: Stack) => string[], unknown]>([
  ['other hosts, in place of S3', () => ['example.com', '10.0.0.0'], `${within},example.com,10.0.0.0`],
  ['none', () => [], within],
  ['hosts that are CDK tokens', stack => new CfnParameter(stack, 'Hosts', { type: 'CommaDelimitedList' }).valueAsList,
    { 'Fn::Join': ['', [`${within},`, { 'Fn::Join': [',', { Ref: 'Hosts' }] }]] }],
])('noProxy may contain %s', (_, noProxy, expected) => {
  const { template } = synthesise(stack => ({ networkProxy: { ...networkProxy, noProxy: noProxy(stack) } }));
  expect(environmentOf(template, 'oauth2-proxy').NO_PROXY).toEqual(expected);
});

test('host and port may be CDK tokens', () => {
  const { template } = synthesise(stack => ({
    networkProxy: { host: new CfnParameter(stack, 'Host').valueAsString, port: new CfnParameter(stack, 'Port', { type: 'Number' }).valueAsNumber },
  }));
  expect(environmentOf(template, 'prepare').HTTPS_PROXY).toEqual({ 'Fn::Join': ['', ['http://', { Ref: 'Host' }, ':', { Ref: 'Port' }]] });
});

test('the tasks may connect to it', () => {
  const https = ['0.0.0.0/0', 443, 443];
  expect(egress({})).toEqual([https]);
  expect(egress({ networkProxy })).toEqual([https, ['0.0.0.0/0', 3128, 3128]]);
  expect(egress({ networkProxy: { ...networkProxy, peer: ec2.Peer.ipv4('10.0.0.0/16') } })).toEqual([https, ['10.0.0.0/16', 3128, 3128]]);
  expect(egress(stack => ({ networkProxy: { ...networkProxy, peer: ec2.SecurityGroup.fromSecurityGroupId(stack, 'Proxy', 'sg-1') } })))
    .toEqual([https, ['sg-1', 3128, 3128]]);
});

describe('fails for', () => {
  const problem = (overrides: OverridesOf) => refusal(overrides).replace(one(''), '');
  const of = (options: Partial<NetworkProxyOptions>) => problem({ networkProxy: { ...networkProxy, ...options } });

  test.each(['http://proxy.example.com', 'me:a5f0@proxy.example.com', 'proxy.example.com:3128', 'Proxy.example.com', '10.0.0.256', ''])('the host %j', host => {
    const got = host.includes('@') ? 'one with a password' : JSON.stringify(host); // which must not be written to a log
    expect(of({ host })).toBe(`\`networkProxy.host\` must be a host name with a dot, in lower case, or an IPv4 address, got ${got}: leave out scheme, port and password; a proxy that requires a password is not supported`);
  });

  test.each(['127.0.0.1', '169.254.170.2'])('the host %s, which is the task itself', host => {
    expect(of({ host })).toBe(`\`networkProxy.host\` must be a host in the network, got "${host}": do not use the task itself or a link-local address`);
  });

  test('the port 443, to which the inner door allows calls of people', () => {
    expect(of({ port: 443 })).toBe('`networkProxy.port` must not be 443, because the inner door allows requests of people to port 443 of public addresses: have the proxy listen on another port, too');
  });

  test.each([0, 65536, 1.5])('the port %d', port => {
    expect(of({ port })).toBe(`\`networkProxy.port\` must be a whole number, 1 to 65535, got ${port}`);
  });

  test.each(['https://example.com', 'example.com,example.org', 'example.com:443', 'a b', '', '*', '*.example.com', '10.0.0.0/8'])('the entry %j of noProxy', entry => {
    expect(of({ noProxy: [entry] })).toBe(`\`networkProxy.noProxy\`: each entry must be a host or an address, got ${JSON.stringify(entry)}: leave out scheme, port, path, ranges and "*"; a host includes its subdomains`);
  });

  test('the AI gateway with it', () => {
    expect(problem({ networkProxy, aiGateway: {} })).toBe('`networkProxy` must be left out where `aiGateway` is given: the inner door could not check which addresses people call through that proxy; leave out one of them');
  });

  test('not for a valid proxy', () => {
    const options = { host: '10.0.0.1', port: 65535, noProxy: ['.example.com', Token.asString({ Ref: 'Host' })] };
    expect(() => define({ networkProxy: options })).not.toThrow();
  });
});
