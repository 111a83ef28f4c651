import { CfnParameter, Duration, Fn, Lazy, RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as route53 from 'aws-cdk-lib/aws-route53';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { bindOptions, broughtVpc, clientSecret, define, environmentOf, newStack, one, only, Overrides, refusal, synthesise } from './fixtures';
import { AuthProvider, AuthProviderConfig, TokenIssuer } from '../src';
import { GUNICORN_OPTIONS } from '../src/checks/gunicorn';

const secretStack = newStack();

/** Without a zone, so that only the name is checked. */
function named(domainName: string) {
  return (stack: Stack): Overrides => ({
    domainName,
    hostedZone: undefined,
    certificate: acm.Certificate.fromCertificateArn(stack, 'Certificate', 'arn:aws:acm:eu-west-1:111122223333:certificate/1'),
  });
}

function inZone(zoneName: string, domainName = 'mlflow.example.com') {
  return (stack: Stack): Overrides => ({
    domainName,
    hostedZone: route53.HostedZone.fromHostedZoneAttributes(stack, 'OtherZone', { zoneName, hostedZoneId: 'OTHER' }),
  });
}

const LABEL_63 = 'a'.repeat(63);
const NAME_253 = `${LABEL_63}.${LABEL_63}.${LABEL_63}.${'a'.repeat(61)}`;

describe('domainName', () => {
  test.each([
    '', 'mlflow', 'a.b', 'https://mlflow.example.com', 'mlflow.example.com/ui', 'mlflow.example.com:443', 'Mlflow.example.com', 'ml_flow.example.com',
    '-mlflow.example.com', 'mlflow-.example.com', 'mlflow..com', '.example.com', 'mlflow.example.com.', '*.example.com', 'mlflow.example.com\n',
    'mlflow.example.com,evil.example.org', `${LABEL_63}a.com`, `${NAME_253}a`,
  ])('fails for %j', domainName => {
    expect(refusal(named(domainName)))
      .toBe(one(`\`domainName\` must be one host name in lower case such as "mlflow.example.com", got ${JSON.stringify(domainName)}: leave out scheme, port and path`));
  });

  test.each(['a.bc', 'mlflow.example.com', '1.2.3.example', 'xn--bcher-kva.example', 'm-l.example', `${LABEL_63}.com`, NAME_253])('may be %s', domainName => {
    expect(define(named(domainName)).mlflow.url).toBe(`https://${domainName}`);
  });

  test('fails above 64 characters if a certificate is to be issued', () => {
    const domainName = `${'a'.repeat(53)}.example.com`;
    expect(refusal({ domainName }))
      .toBe(one('`domainName` must have at most 64 characters where no `certificate` is given, got 65: pass a certificate, or use a shorter name'));
    expect(define({ domainName: domainName.slice(1) }).mlflow.url).toBe(`https://${domainName.slice(1)}`);
  });

  test.each([
    ['mlflow.example.org', 'example.com'],
    ['mlflow.evilexample.com', 'example.com'],
    ['example.com', 'mlflow.example.com'],
  ])('fails for %s in the zone %s', (domainName, zone) => {
    expect(refusal(inZone(zone, domainName)))
      .toBe(one(`\`domainName\` must be in \`hostedZone\`, got "${domainName}" and the zone "${zone}": use a name that ends in ".${zone}", or the zone of the name`));
  });

  test('reports a URL as domainName once, although it does not end like the zone', () => {
    expect(refusal(inZone('example.com', 'https://mlflow.example.com/')))
      .toBe(one('`domainName` must be one host name in lower case such as "mlflow.example.com", got "https://mlflow.example.com/": leave out scheme, port and path'));
  });

  test.each([['example.com', 'example.com'], ['a.b.example.com', 'example.com'], ['mlflow.example.com', 'example.com.']])('may be %s in the zone %s', (domainName, zone) => {
    expect(only(synthesise(inZone(zone, domainName)).template, 'AWS::Route53::RecordSet').Properties).toMatchObject({ Name: `${domainName}.`, HostedZoneId: 'OTHER' });
  });
});

test('fails with neither a certificate nor a zone', () => {
  expect(refusal({ hostedZone: undefined })).toBe(one(
    '`certificate` or `hostedZone` must be given, got neither: without them there is no TLS; pass the zone to get a new certificate, or pass an existing certificate'));
});

describe('emailDomains', () => {
  test.each(['', '@example.com', 'someone@example.com', 'Example.com', 'example.com,evil.example', 'https://example.com', '.example.com', '*.example.com', 'example.com ', 'localhost'])(
    'fails for %j', entry => {
      expect(refusal({ emailDomains: ['example.com', entry] }))
        .toBe(one(`\`emailDomains\`: each entry must be a domain in lower case such as "example.com", got ${JSON.stringify(entry)}: leave out "@", scheme and commas, and write one domain in each entry`));
    });

  test('fails for an empty list', () => {
    expect(refusal({ emailDomains: [] }))
      .toBe(one('`emailDomains` must contain at least one entry, got []: list the domains whose addresses may sign in; ["*"] means all'));
  });

  test.each([[['*', 'example.com']], [['example.com', '*']]])('fails for %j', emailDomains => {
    expect(refusal({ emailDomains })).toBe(one(`\`emailDomains\` must not contain "*" and other entries, got ${JSON.stringify(emailDomains)}: leave out the other entries, or "*"`));
  });

  test('each wrong entry is listed', () => {
    expect(refusal({ emailDomains: ['@a.com', 'b.com', 'C.com'] }).match(/got "(@a|C)\.com"/g)).toHaveLength(2);
  });

  test.each([[['*']], [['example.com']], [['example.com', 'mail.example.org']]])('may be %j', emailDomains => {
    expect(environmentOf(synthesise({ emailDomains }).template, 'oauth2-proxy').OAUTH2_PROXY_EMAIL_DOMAINS).toBe(emailDomains.join(','));
  });
});

describe('machines', () => {
  const awsIdentityIssuer = 'https://1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d.tokens.sts.global.api.aws';
  const machineIdentities = ['client'];
  const trustedTokenIssuers = [TokenIssuer.gcloud()];

  test.each([
    '', 'http://1a2b.tokens.sts.global.api.aws', '1a2b.tokens.sts.global.api.aws', 'https://tokens.sts.global.api.aws', 'https://.tokens.sts.global.api.aws', `${awsIdentityIssuer}/`, `${awsIdentityIssuer}/x`,
    `${awsIdentityIssuer}\n`, `${awsIdentityIssuer}.example.com`, `${awsIdentityIssuer},https://evil.example`, 'https://1A2B.tokens.sts.global.api.aws', 'https://a.1a2b.tokens.sts.global.api.aws',
    'https://evil.example/1a2b.tokens.sts.global.api.aws', 'https://1a2bXtokens.sts.global.api.aws', 'https://1a2b.tokensXsts.global.api.aws', 'https://1a2b.tokens.stsXglobal.api.aws',
    'https://1a2b.tokens.sts.globalXapi.aws', 'https://1a2b.tokens.sts.global.apiXaws', 'https://sts.amazonaws.com',
  ])('awsIdentityIssuer fails for %j', issuer => {
    expect(refusal({ awsIdentityIssuer: issuer })).toBe(one(
      `\`awsIdentityIssuer\` must be like "https://<id>.tokens.sts.global.api.aws", got ${JSON.stringify(issuer)}: use the issuer that \`aws iam enable-outbound-web-identity-federation\` prints`));
  });

  test.each(['', ' ', 'a b', ' a', 'a\n', 'a\nb', 'a\tb', 'a,b', '"a"', 'a"', '#a', 'a#b', '*', '*@example.com'])('machineIdentities fails for %j', identity => {
    expect(refusal({ machineIdentities: ['client', identity] })).toBe(one(
      `\`machineIdentities\`: each entry must be one exact subject without spaces, commas, quotes, "#" and "*", got ${JSON.stringify(identity)}: use the \`sub\` claim of the bearer token, or its verified address`));
  });

  test('each wrong entry is listed', () => {
    expect(refusal({ machineIdentities: ['a,', 'b', '#c'] }).match(/got "(a,|#c)"/g)).toHaveLength(2);
  });

  test.each(['1a2b3c', 'job@project.iam.gserviceaccount.com', 'auth0|1', 'id@clients', 'system:serviceaccount:ml:train', 'arn:aws:iam::111122223333:role/a/b', 'Mixed_Case-1.2+x=y'])(
    'machineIdentities may hold %s', identity => {
      expect(environmentOf(synthesise({ machineIdentities: [identity] }).template, 'prepare').PREPARE_MACHINE_IDENTITIES).toBe(identity);
    });

  const everyone = (name: string) => `\`${name}\` must be left out where \`emailDomains\` is ["*"], which admits every subject and not only those on the list: list your domains in \`emailDomains\``;

  test.each<[string, Overrides]>([['awsIdentityIssuer', { awsIdentityIssuer }], ['machineIdentities', { machineIdentities }]])('%s fails with emailDomains: ["*"]', (name, props) => {
    expect(refusal({ ...props, emailDomains: ['*'] })).toBe(one(everyone(name)));
  });

  test('both fail with emailDomains: ["*"], other issuers do not', () => {
    expect(refusal({ awsIdentityIssuer, machineIdentities, trustedTokenIssuers, emailDomains: ['*'] }))
      .toBe(['Stack/Mlflow: 2 props need a change', everyone('awsIdentityIssuer'), everyone('machineIdentities')].join('\n  - '));
    expect(() => define({ trustedTokenIssuers, emailDomains: ['*'] })).not.toThrow();
  });

  const all = { awsIdentityIssuer, machineIdentities, trustedTokenIssuers };
  const noTokens = (name: string) => `\`${name}\` must be left out with this \`authProvider\`, which accepts no bearer tokens: use another provider for programs`;
  const groups = (name: string) => `\`${name}\` must be left out where \`authProvider\` has allowed groups or roles, because oauth2-proxy also requires them of machines, whose bearer tokens contain none: have the provider decide who may use the client, and leave out the groups`;
  const client = () => ({ clientId: 'client', clientSecret: clientSecret(secretStack) });
  const keycloak = (allowed: object) => AuthProvider.keycloak({ ...client(), realmUrl: 'https://id.example.com/realms/ml', ...allowed });

  test.each(Object.entries(all))('%s fails with a provider that accepts no bearer tokens', (name, value) => {
    for (const options of [{}, { allowedGroups: ['ml'] }]) {
      expect(refusal({ authProvider: AuthProvider.gitlab({ ...client(), ...options }), [name]: value })).toBe(one(noTokens(name)));
    }
  });

  test('all contradictions with the provider are listed', () => {
    expect(refusal({ ...all, authProvider: AuthProvider.gitlab(client()) }))
      .toBe(['Stack/Mlflow: 3 props need a change', noTokens('awsIdentityIssuer'), noTokens('machineIdentities'), noTokens('trustedTokenIssuers')].join('\n  - '));
    expect(refusal({ ...all, authProvider: oidc({ allowedGroups: ['ml'] }) }))
      .toBe(['Stack/Mlflow: 2 props need a change', groups('awsIdentityIssuer'), groups('machineIdentities')].join('\n  - '));
  });

  test.each(Object.entries({ awsIdentityIssuer, machineIdentities }))('%s fails with groups or roles, which machines do not have', (name, value) => {
    for (const authProvider of [oidc({ allowedGroups: ['ml'] }), keycloak({ allowedGroups: ['ml'] }), keycloak({ allowedRoles: ['ml'] })]) {
      expect(refusal({ authProvider, [name]: value })).toBe(one(groups(name)));
    }
  });

  test.each(['OAUTH2_PROXY_OIDC_GROUPS_CLAIM', 'OAUTH2_PROXY_ALLOWED_GROUPS', 'OAUTH2_PROXY_ALLOWED_ROLES'])('a provider fails with hosted domains and %s', name => {
    class Own extends AuthProvider {
      public bind(): AuthProviderConfig {
        return { ...client(), hostedDomains: ['example.com'], environment: { OAUTH2_PROXY_PROVIDER: 'oidc', [name]: 'x' } };
      }
    }
    expect(refusal({ authProvider: new Own() })).toBe(one('`authProvider` must not have `hostedDomains` together with settings for groups, because oauth2-proxy compares them as groups: leave one of them out'));
  });

  test.each<[string, AuthProvider, Overrides]>([
    ['hosted domains go with everything', AuthProvider.google(client()), all],
    ['groups go with tokens of people', oidc({ allowedGroups: ['ml'] }), { trustedTokenIssuers }],
    ['a provider without groups goes with everything', oidc({}), all],
    ['members of an organization are asked for at the sign-in alone', AuthProvider.github({ ...client(), organization: 'example', teams: ['ml'] }), all],
    ['a provider that takes no bearer tokens goes alone', AuthProvider.gitlab({ ...client(), allowedGroups: ['ml'] }), {}],
  ])('%s', (_, authProvider, props) => {
    expect(() => define({ ...props, authProvider })).not.toThrow();
  });
});

describe('network', () => {
  test('natGateways fails with a VPC', () => {
    expect(refusal(stack => ({ vpc: broughtVpc(stack), natGateways: 0 })))
      .toBe(one('`natGateways` must be left out where `vpc` is given, got 0: it applies only to a new VPC'));
  });

  test('natGateways fails where it is a CDK token: it decides which subnets are defined', () => {
    expect(refusal(stack => ({ natGateways: new CfnParameter(stack, 'Number', { type: 'Number' }).valueAsNumber })))
      .toBe(one('`natGateways` must be known at synthesis, got a CDK token: use a number'));
  });

  test('subnets that refer to constructs are described in words', () => {
    expect(refusal(stack => ({ serviceSubnets: { subnets: [ec2.Subnet.fromSubnetId(stack, 'Subnet', 'subnet-1')] } })))
      .toBe(one('`serviceSubnets` must be left out where `vpc` is left out, got constructs: pass the VPC that the subnets belong to'));
  });

  test.each(['serviceSubnets', 'databaseSubnets', 'loadBalancerSubnets'])('%s fails without a VPC', name => {
    expect(refusal({ [name]: { subnetType: ec2.SubnetType.PUBLIC } }))
      .toBe(one(`\`${name}\` must be left out where \`vpc\` is left out, got {"subnetType":"Public"}: pass the VPC that the subnets belong to`));
  });
});

describe('artifactPath', () => {
  test.each(['', '/', '.', 'a/./b', 'a..b', '/mlflow', 'mlflow/', 'a//b', '..', '../other', 'a/../b', 'ml flow', 'a*', 'a?', 'a\\b', '${aws:username}', 'müller', 's3://bucket/a', 'a\n'])('fails for %j', artifactPath => {
    expect(refusal({ artifactPath })).toBe(one(
      `\`artifactPath\` must be folder names joined by "/", of letters, digits and "_=.-", such as "mlflow" or "teams/ml", got ${JSON.stringify(artifactPath)}: leave out "//", ".." and slashes at the beginning and the end`));
  });

  test.each(['m', 'teams/ml', 'Team_1/env=prod/v1.2-a'])('may be %s', artifactPath => {
    expect(JSON.stringify(environmentOf(synthesise({ artifactPath }).template, 'mlflow').MLFLOW_ARTIFACTS_DESTINATION)).toContain(`"/${artifactPath}"`);
  });
});

describe('databaseCapacity', () => {
  test.each([
    ['minAcus', -0.5, 0], ['minAcus', 0.25, 0], ['minAcus', 256.5, 0], ['minAcus', Infinity, 0],
    ['maxAcus', 0.5, 1], ['maxAcus', 0, 1], ['maxAcus', 1.25, 1], ['maxAcus', 256.5, 1],
  ])('%s fails for %d', (name, value, least) => {
    const both = name === 'minAcus' ? { minAcus: value, maxAcus: 256 } : { maxAcus: value };
    expect(refusal({ databaseCapacity: both }).split('\n')[1])
      .toBe(`  - \`databaseCapacity.${name}\` must be ${least} to 256 in steps of 0.5, got ${value}`);
  });

  test('may be CDK tokens; Aurora then pauses after its own default', () => {
    const { template } = synthesise(stack => {
      const acus = (id: string) => new CfnParameter(stack, id, { type: 'Number' }).valueAsNumber;
      return { databaseCapacity: { minAcus: acus('Least'), maxAcus: acus('Most') } };
    });
    expect(only(template, 'AWS::RDS::DBCluster').Properties.ServerlessV2ScalingConfiguration).toEqual({ MinCapacity: { Ref: 'Least' }, MaxCapacity: { Ref: 'Most' } });
  });

  test('a known minimum is accepted with a maximum that is a CDK token', () => {
    const { template } = synthesise(stack => ({ databaseCapacity: { minAcus: 8, maxAcus: new CfnParameter(stack, 'Most', { type: 'Number' }).valueAsNumber } }));
    expect(only(template, 'AWS::RDS::DBCluster').Properties.ServerlessV2ScalingConfiguration).toEqual({ MinCapacity: 8, MaxCapacity: { Ref: 'Most' } });
  });

  test.each([[{ minAcus: 2.5 }, '2 and 2.5'], [{ minAcus: 8, maxAcus: 4 }, '4 and 8']])('fails for %j, where the maximum is lower than the minimum', (databaseCapacity, got) => {
    expect(refusal({ databaseCapacity }))
      .toBe(one(`\`databaseCapacity.maxAcus\` must not be lower than \`minAcus\`, got ${got}: raise it (the default is 2), or lower \`minAcus\``));
  });

  test('pauseAfter fails with a minimum', () => {
    expect(refusal({ databaseCapacity: { minAcus: 0.5, pauseAfter: Duration.minutes(10) } }))
      .toBe(one('`databaseCapacity.pauseAfter` needs `minAcus: 0`, got 0.5: a database with a minimum never pauses; leave one of them out'));
  });

  test.each([[Duration.seconds(299), '4 minutes 59 seconds'], [Duration.seconds(86401), '1 day 1 second'], [Duration.millis(299_999), '4 minutes 59 seconds']])(
    'pauseAfter fails for %s', (pauseAfter, got) => {
      expect(refusal({ databaseCapacity: { pauseAfter } })).toBe(one(`\`databaseCapacity.pauseAfter\` must be 5 minutes to 24 hours, got ${got}`));
    });

  test.each([
    [{ minAcus: 0, maxAcus: 1 }, { MinCapacity: 0, MaxCapacity: 1, SecondsUntilAutoPause: 600 }],
    [{ minAcus: 2 }, { MinCapacity: 2, MaxCapacity: 2 }],
    [{ minAcus: 0.5, maxAcus: 1.5 }, { MinCapacity: 0.5, MaxCapacity: 1.5 }],
    [{ minAcus: 256, maxAcus: 256 }, { MinCapacity: 256, MaxCapacity: 256 }],
    [{ pauseAfter: Duration.minutes(5) }, { MinCapacity: 0, MaxCapacity: 2, SecondsUntilAutoPause: 300 }],
    [{ minAcus: 0, pauseAfter: Duration.hours(24) }, { MinCapacity: 0, MaxCapacity: 2, SecondsUntilAutoPause: 86400 }],
  ])('may be %j', (databaseCapacity, scaling) => {
    expect(only(synthesise({ databaseCapacity }).template, 'AWS::RDS::DBCluster').Properties.ServerlessV2ScalingConfiguration).toEqual(scaling);
  });
});

describe('numbers', () => {
  test.each<[string, number, string]>([
    ['natGateways', -1, '0 or more'], ['natGateways', 1.5, '0 or more'],
    ['workers', 0, '1 or more'], ['workers', 1.5, '1 or more'],
    ['desiredCount', -1, '0 or more'], ['desiredCount', 0.5, '0 or more'],
    ['minHealthyPercent', -1, '0 to 100'], ['minHealthyPercent', 101, '0 to 100'], ['minHealthyPercent', 50.5, '0 to 100'],
    ['ephemeralStorageGiB', 20, '21 to 200'], ['ephemeralStorageGiB', 201, '21 to 200'], ['ephemeralStorageGiB', 21.5, '21 to 200'],
  ])('%s fails for %d', (name, value, allowed) => {
    expect(refusal({ [name]: value })).toBe(one(`\`${name}\` must be a whole number, ${allowed}, got ${value}`));
  });

  test.each<[string, number]>([
    ['natGateways', 0], ['natGateways', 2], ['workers', 1], ['desiredCount', 0], ['minHealthyPercent', 0], ['minHealthyPercent', 100],
    ['ephemeralStorageGiB', 21], ['ephemeralStorageGiB', 200],
  ])('%s may be %d', (name, value) => {
    const { template } = synthesise({ [name]: value });
    const service = only(template, 'AWS::ECS::Service').Properties;
    expect({
      natGateways: Object.keys(template.findResources('AWS::EC2::NatGateway')).length,
      workers: Number(environmentOf(template, 'mlflow').MLFLOW_WORKERS),
      desiredCount: service.DesiredCount,
      minHealthyPercent: service.DeploymentConfiguration.MinimumHealthyPercent,
      ephemeralStorageGiB: only(template, 'AWS::ECS::TaskDefinition').Properties.EphemeralStorage.SizeInGiB,
    }).toMatchObject({ [name]: value });
  });

  test.each([0, 100, 1000, 1025, 65536, NaN])('cpu fails for %d', cpu => {
    expect(refusal({ cpu })).toBe(one(`\`cpu\` must be one of 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, got ${cpu}`));
  });

  // CPU units; memory that is allowed with them; memory that is not
  const sizes: [cpu: number, fits: number[], doesNot: number[]][] = [
    [256, [512, 1024, 2048], [256, 768, 1536, 3072]],
    [512, [1024, 2048, 3072, 4096], [512, 1536, 5120]],
    [1024, [2048, 3072, 8192], [1024, 2560, 9216]],
    [2048, [4096, 5120, 16384], [3072, 4608, 17408]],
    [4096, [8192, 9216, 30720], [7168, 8704, 31744]],
    [8192, [16384, 20480, 61440], [12288, 17408, 65536]],
    [16384, [32768, 40960, 122880], [24576, 36864, 131072]],
    [32768, [61440, 122880, 249856], [65536, 131072, 245760, 262144]],
  ];

  test.each(sizes.flatMap(([cpu, , doesNot]) => doesNot.map(memory => [cpu, memory])))('cpu %d with %d MiB fails', (cpu, memoryLimitMiB) => {
    expect(refusal({ cpu, memoryLimitMiB })).toMatch(
      new RegExp(`\`memoryLimitMiB\` must be one of [\\d, ]+ where \`cpu\` is ${cpu}, got ${memoryLimitMiB}: change one of them \\(the defaults are 1024 and 3072\\)$`));
  });

  test('the message lists the allowed amounts', () => {
    expect(refusal({ cpu: 16384 })).toContain('must be one of 32768, 40960, 49152, 57344, 65536, 73728, 81920, 90112, 98304, 106496, 114688, 122880 where `cpu` is 16384, got 3072:');
  });

  test.each(sizes.flatMap(([cpu, fits]) => fits.map(memory => [cpu, memory])))('cpu may be %d with %d MiB', (cpu, memoryLimitMiB) => {
    const { cpu: cpuUnits, memoryMiB } = define({ cpu, memoryLimitMiB }).mlflow.taskDefinition;
    expect([cpuUnits, memoryMiB]).toEqual([cpu, memoryLimitMiB]);
  });
});

describe('sessions', () => {
  test.each([['sessionDuration', Duration.seconds(59), '59 seconds'], ['sessionRefresh', Duration.seconds(59), '59 seconds'], ['sessionDuration', Duration.seconds(0), '0 seconds']])(
    '%s fails for %s', (name, value, got) => {
      expect(refusal({ [name]: value })).toBe(one(`\`${name}\` must be at least a minute, got ${got}`));
    });

  test.each([
    [{ sessionRefresh: Duration.hours(12) }, '12 hours and 12 hours'],
    [{ sessionRefresh: Duration.minutes(61), sessionDuration: Duration.hours(1) }, '1 hour 1 minute and 1 hour'],
  ])('sessionRefresh fails if it is not shorter than sessionDuration: %s', (props, got) => {
    expect(refusal(props)).toBe(one(`\`sessionRefresh\` must be shorter than \`sessionDuration\`, got ${got}`));
  });

  test('both may be at their limits', () => {
    expect(environmentOf(synthesise({ authProvider: oidc({}), sessionRefresh: Duration.minutes(1), sessionDuration: Duration.seconds(61) }).template, 'oauth2-proxy'))
      .toMatchObject({ OAUTH2_PROXY_COOKIE_REFRESH: '60s', OAUTH2_PROXY_COOKIE_EXPIRE: '61s' });
    expect(environmentOf(synthesise({ sessionDuration: Duration.minutes(1) }).template, 'oauth2-proxy').OAUTH2_PROXY_COOKIE_EXPIRE).toBe('60s');
  });
});

describe('cleanUp', () => {
  const olderThan = Duration.days(30);

  test.each([[Duration.hours(23), '23 hours'], [Duration.minutes(1439), '23 hours 59 minutes'], [Duration.days(0), '0 days']])('fails for the age %s', (age, got) => {
    expect(refusal({ cleanUp: { olderThan: age } })).toBe(one(`\`cleanUp.olderThan\` must be at least a day, got ${got}: people need time to notice that they deleted something by mistake`));
  });

  test.each([[Duration.hours(23), '23 hours'], [Duration.hours(36), '1 day 12 hours'], [Duration.days(0), '0 days']])('fails where versions are kept for %s', (keepVersionsFor, got) => {
    expect(refusal({ cleanUp: { olderThan, keepVersionsFor } })).toBe(one(`\`cleanUp.keepVersionsFor\` must be whole days, 1 or more, got ${got}: S3 counts in whole days`));
  });

  test('may have the minimum of both', () => {
    expect(define({ cleanUp: { olderThan: Duration.hours(24), keepVersionsFor: Duration.hours(24) } }).mlflow.cleanUpTaskDefinition).toBeDefined();
  });

  test.each<[string, Overrides]>([
    ['cleanUp.keepVersionsFor', { cleanUp: { olderThan, keepVersionsFor: Duration.days(30) } }],
    ['artifactTiering', { artifactTiering: true }],
    ['artifactTiering', { artifactTiering: false }],
  ])('%s fails with an existing bucket: %j', (name, props) => {
    expect(refusal(stack => ({ ...props, artifactBucket: s3.Bucket.fromBucketName(stack, 'Brought', 'brought') })))
      .toBe(one(`\`${name}\` must be left out where \`artifactBucket\` is given: the construct does not change that bucket; add lifecycle rules to it yourself`));
  });

  test('fails with workspaces', () => {
    const environment = { MLFLOW_ENABLE_WORKSPACES: 'true' };
    expect(refusal({ cleanUp: { olderThan }, environment }))
      .toBe(one('`cleanUp` must be left out where `environment` contains MLFLOW_ENABLE_WORKSPACES: the clean-up has only been tested without workspaces'));
    expect(define({ environment }).mlflow.cleanUpTaskDefinition).toBeUndefined();
  });

  test('CDK tokens are not checked', () => {
    const lazy = Lazy.number({ produce: () => 1 });
    expect(() => synthesise({ cleanUp: { olderThan: Duration.seconds(lazy), keepVersionsFor: Duration.days(lazy) } })).not.toThrow();
  });
});

describe('gunicornOpts', () => {
  const notTuning = (word: string) => `\`gunicornOpts\` must contain only options that tune gunicorn, got ${JSON.stringify(word)}: leave it out (for the number of workers use \`workers\`), or use one of ${Object.keys(GUNICORN_OPTIONS).join(', ')}`;

  test.each([
    '-b', '-b0.0.0.0:80', '-Db', '-Rhvw4', '-c', '-cevil.py', '-e', '-eFORWARDED_ALLOW_IPS=*', '-w', '-w4', '-w=4', '-R', '-D', '-', '--',
    '--bind', '--bind=0.0.0.0:80', '--bi', '--config', '--conf=evil.py', '--env', '--env=A=b', '--forwarded-allow-ips=*', '--forwarder-headers', '--proxy-allow-from',
    '--proxy-protocol', '--proxy-prot', '--secure-scheme-headers', '--workers', '--workers=4', '--worker', '--thread', '--time=3', '--Threads',
    '--paste=f.ini', '--pythonpath=/tmp', '--chdir=/tmp', '--logger-class=evil.Logger', '--dirty-app=evil:App', '--certfile=/tmp/x', '--keyfile=/tmp/x', '--protocol=uwsgi', '--daemon',
    '--statsd-host=h:1', '--header-map=dangerous', '--log-config=/tmp/x', '--user=0', '--error-logfile=/dev/null', '--strip-header-spaces', '--permit-obsolete-folding', '--uwsgi-allow-from=*',
    '--print-config', '--check-config', 'other:app',
    '-k', '-kgthread', '--worker-class=gthread', '--worker-connections=9', '--no-sendfile', '--limit-request-line=9', '--access-logformat=x', // of other kinds of workers
  ])('fails for %s', word => {
    expect(refusal({ gunicornOpts: `--timeout 300\t${word} --threads 4` })).toBe(one(notTuning(word)));
  });

  test('the values after a refused option are not checked separately', () => {
    expect(refusal({ gunicornOpts: '--bind 0.0.0.0:80 --threads 4 -c a b' })).toBe(['Stack/Mlflow: 2 props need a change', notTuning('--bind'), notTuning('-c')].join('\n  - '));
  });

  test.each(['"--bind" 0.0.0.0', "--b'in'd 0.0.0.0", '"--bind', "--access-logfile '-' --bind"])('fails for %s, which quotes do not hide', gunicornOpts => {
    expect(refusal({ gunicornOpts })).toMatch(/got "\\?"?--bind"/);
  });

  test.each(['--b\\ind 0.0.0.0', '--access-logfile \\" --bind 0.0.0.0:80 \\"', '--access-logfile a\\'])('fails for %s, which contains a backslash', gunicornOpts => {
    expect(refusal({ gunicornOpts })).toBe(one(`\`gunicornOpts\` must not contain a backslash, got ${JSON.stringify(gunicornOpts)}: use quotes around a value with blanks`));
  });

  test.each([
    ...['', 'x', '-1', '0', '41', '100', '4 --bind x'].map(value => [`--threads "${value}"`, '--threads', 'a whole number from 1 to 40', value]),
    ...['', '2', '90'].map(value => [`--keep-alive=${value}`, '--keep-alive', 'a whole number above 90', value]),
    ['-t --threads', '-t', 'a whole number', '--threads'], ['-tb', '-t', 'a whole number', 'b'], ['--timeout 1.5', '--timeout', 'a whole number', '1.5'], ['--log-level -', '--log-level', 'a name', '-'],
    ['--access-logfile --bind', '--access-logfile', 'a value', '--bind'], ['--access-logfile', '--access-logfile', 'a value', ''], ['--preload=x', '--preload', 'no value', 'x'],
  ])('fails for %s', (gunicornOpts, option, kind, got) => {
    expect(refusal({ gunicornOpts })).toBe(one(`\`gunicornOpts\`: ${option} must have ${kind}, got ${JSON.stringify(got)}`));
  });

  test.each(['', '  '])('fails for %j', gunicornOpts => {
    expect(refusal({ gunicornOpts })).toBe(one(`\`gunicornOpts\` must contain at least one option, got ${JSON.stringify(gunicornOpts)}: leave it out`));
  });

  test.each([
    '--timeout 300 --threads 4', '-t 300', '-t300', '-t=300', '--worker-tmp-dir /dev/shm', '--max-requests=1000', '--graceful-timeout 30 --backlog 64', '--preload --capture-output',
    '--access-logfile \'/tmp/a b --bind\' --threads "40"', ' --threads\n1 ', '--keep-alive 91',
  ])(
    'may be %s', gunicornOpts => {
      expect(environmentOf(synthesise({ gunicornOpts }).template, 'mlflow').MLFLOW_GUNICORN_OPTS).toMatch(new RegExp(` ${gunicornOpts}$`));
    });
});

describe('aiGateway', () => {
  const notSo = (entry: string, todo: string) => one(
    `\`aiGateway.privateProviders\`: each entry must be the scheme, the host in lower case and, if needed, the port of a server outside the task, such as "http://vllm.internal:8000", got ${JSON.stringify(entry)}: ${todo}`);
  const gateway = (privateProviders: string[]) => ({ aiGateway: { privateProviders } });

  test.each([false, true, null, 'on'])('fails for %j, of callers without types', aiGateway => {
    expect(refusal({ aiGateway } as unknown as Overrides)).toBe(one(`\`aiGateway\` must be an object such as {}, got ${JSON.stringify(aiGateway)}: leave it out to keep the AI gateway off`));
  });

  test('privateProviders fails for an empty list', () => {
    expect(refusal(gateway([]))).toBe(one('`aiGateway.privateProviders` must contain at least one address, got []: leave it out to allow public addresses only'));
  });

  test.each([
    ['vllm.internal:8000', 'begin with "http://" or "https://"'], ['', 'begin with "http://" or "https://"'], ['ftp://vllm.internal', 'begin with "http://" or "https://"'], ['HTTP://vllm.internal', 'begin with "http://" or "https://"'],
    ['http://VLLM.internal', 'write the host in lower case'],
    ['*', 'list each host; "*" is not supported'], ['http://*.internal', 'list each host; "*" is not supported'],
    ['http://[::1]:11434', 'use a host name; IPv6 addresses are not supported'],
    ['http://vllm.internal/', 'leave out path and trailing slash'], ['http://vllm.internal:8000/v1', 'leave out path and trailing slash'], ['http://vllm.internal?x', 'leave out path and trailing slash'], ['http://vllm.internal#x', 'leave out path and trailing slash'],
    ['http://me:a5f0@vllm.internal', 'leave out user and password'],
    ['http://10.0.0.1:99999', 'the port must be 1 to 65535'], ['http://10.0.0.1:0', 'the port must be 1 to 65535'], ['http://10.0.0.1:', 'the port must be 1 to 65535'], ['http://10.0.0.1:x', 'the port must be 1 to 65535'],
    ['http://10.0.0.1:08000', 'the port must be 1 to 65535'],
    ['http://a..b', 'use a host name or an IPv4 address'], ['http://', 'use a host name or an IPv4 address'], ['http://a_b', 'use a host name or an IPv4 address'], ['http://-a', 'use a host name or an IPv4 address'],
    ['http://vllm .internal', 'use a host name or an IPv4 address'], ['http://a\n', 'use a host name or an IPv4 address'], ['http://vllm.internal.', 'use a host name or an IPv4 address'], ['http://localhost.:5000', 'use a host name or an IPv4 address'],
    ['http://256.0.0.1', 'use a host name or an IPv4 address'], [`http://${LABEL_63}a`, 'use a host name or an IPv4 address'], [`http://${NAME_253}a`, 'use a host name or an IPv4 address'], ['http://a,b', 'use a host name or an IPv4 address'],
    ['http://2130706433:5000', 'write the IPv4 address as "127.0.0.1"'], ['http://0x7f.1:5000', 'write the IPv4 address as "127.0.0.1"'], ['http://0177.0.0.1:5000', 'write the IPv4 address as "127.0.0.1"'],
    ['http://2852039166', 'write the IPv4 address as "169.254.169.254"'], ['http://10.1', 'write the IPv4 address as "10.0.0.1"'], ['http://0', 'write the IPv4 address as "0.0.0.0"'],
    ...['localhost', 'localhost:5000', 'x.localhost', '127.0.0.1:5000', '127.1.2.3', '0.0.0.0', '0.1.2.3', '169.254.169.254', '169.254.170.2:80'].map(place => [`http://${place}`, 'do not use the task itself or a link-local address']),
  ])('privateProviders fails for %j: %s', (entry, todo) => {
    expect(refusal(gateway(['http://vllm.internal:8000', entry]))).toBe(notSo(entry, todo));
  });

  test.each(['http://vllm', 'https://vllm.internal', 'http://vllm.internal:8000', 'http://vllm.internal:80', 'https://10.0.0.1:65535', 'http://10.0.0.1:1', 'http://169.253.1.1', 'http://128.0.0.1', 'http://127.example.com',
    'http://localhost.example.com', 'http://xlocalhost', 'http://0x.example.com', `https://${LABEL_63}`, `https://${NAME_253}`])('privateProviders may contain %s', entry => {
    expect(environmentOf(synthesise(gateway([entry])).template, 'mlflow').SECURE_MLFLOW_PRIVATE_PROVIDERS).toBe(entry);
  });
});

test.each(['apiMiB', 'tracesMiB'].flatMap(name => [0, 1025, 1.5].map(value => [name, value] as const)))('requestLimits.%s fails for %d', (name, value) => {
  expect(refusal({ requestLimits: { [name]: value } }))
    .toBe(one(`\`requestLimits.${name}\` must be a whole number, 1 to 1024, got ${value}: log larger data as artifacts, which are not limited, or in several requests`));
});

test('removalPolicy fails for SNAPSHOT', () => {
  expect(refusal({ removalPolicy: RemovalPolicy.SNAPSHOT })).toBe(one(
    '`removalPolicy` must be RETAIN, RETAIN_ON_UPDATE_OR_DELETE or DESTROY, got "snapshot": leave it out, and the database leaves a final snapshot while everything else is kept'));
});

test('all problems are listed in one error, with the path of the construct', () => {
  const message = refusal({
    domainName: 'MLFLOW',
    emailDomains: [],
    awsIdentityIssuer: 'aws',
    machineIdentities: ['*'],
    natGateways: -1,
    artifactPath: '/',
    databaseCapacity: { minAcus: 3 },
    workers: 0,
    sessionDuration: Duration.seconds(1),
    gunicornOpts: '-w 4',
    environment: { MLFLOW_HOST: '0.0.0.0' },
    proxyEnvironment: { OAUTH2_PROXY_PROVIDER: 'github' },
    removalPolicy: RemovalPolicy.SNAPSHOT,
  });
  const [head, ...problems] = message.split('\n');
  expect(head).toBe('Stack/Mlflow: 13 props need a change');
  expect(problems.map(problem => /^ {2}- `([\w.]+)`/.exec(problem)?.[1])).toEqual([
    'domainName', 'emailDomains', 'awsIdentityIssuer', 'machineIdentities', 'natGateways', 'artifactPath', 'databaseCapacity.maxAcus', 'workers', 'sessionDuration', 'gunicornOpts', 'environment',
    'proxyEnvironment', 'removalPolicy',
  ]);
});

test('artifactPath fails where it is a CDK token: it becomes part of policies', () => {
  expect(refusal({ artifactPath: Lazy.string({ produce: () => 'mlflow' }) })).toBe(one('`artifactPath` must be known at synthesis, got a CDK token: it becomes part of policies, which a "*" would widen; write it out'));
});

describe('CDK tokens are not checked', () => {
  const text = (stack: Stack) => new CfnParameter(stack, 'Text').valueAsString;
  const number = (stack: Stack) => new CfnParameter(stack, 'Number', { type: 'Number' }).valueAsNumber;
  const list = (stack: Stack) => new CfnParameter(stack, 'List', { type: 'CommaDelimitedList' }).valueAsList;

  const mlflow = (name: string) => (template: Template) => environmentOf(template, 'mlflow')[name];
  const proxy = (name: string) => (template: Template) => environmentOf(template, 'oauth2-proxy')[name];
  const task = (template: Template) => only(template, 'AWS::ECS::TaskDefinition').Properties;
  const service = (template: Template) => only(template, 'AWS::ECS::Service').Properties;

  test.each<[string, (stack: Stack) => Overrides, (template: Template) => unknown, unknown]>([
    ['domainName', stack => ({ domainName: text(stack) }), mlflow('MLFLOW_SERVER_CORS_ALLOWED_ORIGINS'), { 'Fn::Join': ['', ['https://', { Ref: 'Text' }]] }],
    ['domainName, joined', stack => ({ domainName: Fn.join('.', [text(stack), 'Example.com']) }), certificateName, { 'Fn::Join': ['.', [{ Ref: 'Text' }, 'Example.com']] }],
    ['the name of the zone', stack => inZone(text(stack))(stack), template => only(template, 'AWS::Route53::RecordSet').Properties.Name, 'mlflow.example.com.'],
    ['machineIdentities', stack => ({ machineIdentities: list(stack) }), template => environmentOf(template, 'prepare').PREPARE_MACHINE_IDENTITIES, { 'Fn::Join': ['\n', { Ref: 'List' }] }],
    ['emailDomains', stack => ({ emailDomains: list(stack) }), proxy('OAUTH2_PROXY_EMAIL_DOMAINS'), { 'Fn::Join': [',', { Ref: 'List' }] }],
    ['an entry of emailDomains', stack => ({ emailDomains: ['a.org', text(stack)] }), proxy('OAUTH2_PROXY_EMAIL_DOMAINS'), { 'Fn::Join': [',', ['a.org', { Ref: 'Text' }]] }],
    ['databaseCapacity.pauseAfter', stack => ({ databaseCapacity: { pauseAfter: Duration.seconds(number(stack)) } }),
      template => only(template, 'AWS::RDS::DBCluster').Properties.ServerlessV2ScalingConfiguration.SecondsUntilAutoPause, { Ref: 'Number' }],
    ['workers', stack => ({ workers: number(stack) }), mlflow('MLFLOW_WORKERS'), { Ref: 'Number' }],
    ['desiredCount', stack => ({ desiredCount: number(stack) }), template => service(template).DesiredCount, { Ref: 'Number' }],
    ['desiredCount, lazily', () => ({ desiredCount: Lazy.number({ produce: () => 3 }) }), template => service(template).DesiredCount, 3],
    ['desiredCount, as a separate token', () => ({ desiredCount: Token.asNumber({ resolve: () => 4 }) }), template => service(template).DesiredCount, 4],
    ['minHealthyPercent', stack => ({ minHealthyPercent: number(stack) }), template => service(template).DeploymentConfiguration.MinimumHealthyPercent, { Ref: 'Number' }],
    ['ephemeralStorageGiB', stack => ({ ephemeralStorageGiB: number(stack) }), template => task(template).EphemeralStorage.SizeInGiB, { Ref: 'Number' }],
    ['cpu', stack => ({ cpu: number(stack) }), template => task(template).Cpu, { Ref: 'Number' }],
    ['memoryLimitMiB', stack => ({ memoryLimitMiB: number(stack) }), template => task(template).Memory, { Ref: 'Number' }],
    ['sessionDuration', stack => ({ sessionDuration: Duration.seconds(number(stack)) }), proxy('OAUTH2_PROXY_COOKIE_EXPIRE'), { 'Fn::Join': ['', [{ Ref: 'Number' }, 's']] }],
    ['sessionRefresh', stack => ({ authProvider: oidc({}), sessionRefresh: Duration.seconds(number(stack)) }), proxy('OAUTH2_PROXY_COOKIE_REFRESH'), { 'Fn::Join': ['', [{ Ref: 'Number' }, 's']] }],
    ['requestLimits.apiMiB', stack => ({ requestLimits: { apiMiB: number(stack) } }), mlflow('SECURE_MLFLOW_API_LIMIT_MIB'), { Ref: 'Number' }],
    ['requestLimits.tracesMiB', stack => ({ requestLimits: { tracesMiB: number(stack) } }), mlflow('SECURE_MLFLOW_TRACES_LIMIT_MIB'), { Ref: 'Number' }],
    ['privateProviders', stack => ({ aiGateway: { privateProviders: list(stack) } }), mlflow('SECURE_MLFLOW_PRIVATE_PROVIDERS'), { 'Fn::Join': [' ', { Ref: 'List' }] }],
    ['an entry of privateProviders', stack => ({ aiGateway: { privateProviders: ['http://a:1', text(stack)] } }), mlflow('SECURE_MLFLOW_PRIVATE_PROVIDERS'),
      { 'Fn::Join': [' ', ['http://a:1', { Ref: 'Text' }]] }],
    ['gunicornOpts', stack => ({ gunicornOpts: text(stack) }), mlflow('MLFLOW_GUNICORN_OPTS'), { 'Fn::Join': ['', [expect.stringMatching(/^--worker-class .* $/), { Ref: 'Text' }]] }],
    ['a value of environment', stack => ({ environment: { MLFLOW_LOGGING_LEVEL: text(stack) } }), mlflow('MLFLOW_LOGGING_LEVEL'), { Ref: 'Text' }],
    ['a name of environment', () => ({ environment: { [Lazy.string({ produce: () => 'MLFLOW_LAZY' })]: 'x' } }), mlflow('MLFLOW_LAZY'), 'x'],
    ['a name of proxyEnvironment', () => ({ proxyEnvironment: { [Lazy.string({ produce: () => 'OAUTH2_PROXY_LAZY' })]: 'x' } }), proxy('OAUTH2_PROXY_LAZY'), 'x'],
    ['awsIdentityIssuer', stack => ({ awsIdentityIssuer: text(stack) }), proxy('OAUTH2_PROXY_EXTRA_JWT_ISSUERS'), { 'Fn::Join': ['', [{ Ref: 'Text' }, '=https://mlflow.example.com']] }],
    ['an entry of machineIdentities', stack => ({ machineIdentities: ['a', text(stack)] }), template => environmentOf(template, 'prepare').PREPARE_MACHINE_IDENTITIES,
      { 'Fn::Join': ['', ['a\n', { Ref: 'Text' }]] }],
    ['issuerUrl', stack => ({ authProvider: oidc({ issuerUrl: text(stack) }) }), proxy('OAUTH2_PROXY_OIDC_ISSUER_URL'), { Ref: 'Text' }],
    ['clientId', stack => ({ authProvider: oidc({ clientId: text(stack) }) }), proxy('OAUTH2_PROXY_CLIENT_ID'), { Ref: 'Text' }],
    ['allowedGroups', stack => ({ authProvider: oidc({ allowedGroups: list(stack) }) }), proxy('OAUTH2_PROXY_ALLOWED_GROUPS'),
      { 'Fn::Join': [',', [{ 'Fn::Join': [',', { Ref: 'List' }] }, 'nobody:nobody']] }],
    ['an entry of allowedGroups', stack => ({ authProvider: oidc({ allowedGroups: ['ml', text(stack)] }) }), proxy('OAUTH2_PROXY_ALLOWED_GROUPS'),
      { 'Fn::Join': [',', ['ml', { Ref: 'Text' }, 'nobody:nobody']] }],
    ['hostedDomains', stack => ({ emailDomains: list(stack) }), proxy('OAUTH2_PROXY_ALLOWED_GROUPS'), { 'Fn::Join': [',', [{ 'Fn::Join': [',', { Ref: 'List' }] }, 'nobody:nobody']] }],
    ['hostedDomains where machines may come', stack => ({ emailDomains: list(stack), machineIdentities: ['a'] }), mlflow('SECURE_MLFLOW_HOSTED_DOMAINS'),
      { 'Fn::Join': [',', [{ 'Fn::Join': [',', { Ref: 'List' }] }, 'nobody:nobody']] }],
    ['extraAudiences', stack => ({ authProvider: oidc({ extraAudiences: list(stack) }) }), proxy('OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES'), { 'Fn::Join': [',', { Ref: 'List' }] }],
  ])('%s', (_, overrides, rendered, expected) => {
    expect(rendered(synthesise(overrides).template)).toEqual(expected);
  });

  test('but other entries of the same list are', () => {
    expect(refusal({ emailDomains: [Lazy.string({ produce: () => 'example.com' }), '@example.com'] })).toContain('got "@example.com"');
    expect(refusal({ machineIdentities: [Lazy.string({ produce: () => 'client' }), 'a,b'] })).toContain('got "a,b"');
  });
});

describe('AuthProvider', () => {
  test.each(['', 'http://id.example.com', 'id.example.com', 'https://', 'https://id.example.com?x=1', 'https://id.example.com#x', 'https://id.example.com,https://evil.example', 'https://id .example.com', 'https://a.example\n'])(
    'oidc fails for the issuer %j', issuerUrl => {
      expect(() => oidc({ issuerUrl })).toThrow(new Error(
        `AuthProvider.oidc: \`issuerUrl\` must be an https URL without query, got ${JSON.stringify(issuerUrl)}: use the \`issuer\` in the provider's /.well-known/openid-configuration`));
    });

  test.each(['https://id.example.com', 'https://id.example.com/', 'https://id.example.com:8443/realms/ml'])('oidc accepts the issuer %s', issuerUrl => {
    expect(oidc({ issuerUrl }).bind(secretStack, bindOptions).environment.OAUTH2_PROXY_OIDC_ISSUER_URL).toBe(issuerUrl);
  });

  test.each([
    ['AuthProvider.google', '', () => AuthProvider.google({ clientId: '', clientSecret: clientSecret(secretStack) })],
    ['AuthProvider.google', '  ', () => AuthProvider.google({ clientId: '  ', clientSecret: clientSecret(secretStack) })],
    ['AuthProvider.oidc', '', () => oidc({ clientId: '' })],
  ])('%s fails for the client id %j', (factory, clientId, make) => {
    expect(make).toThrow(new Error(`${factory}: \`clientId\` must not be empty, got ${JSON.stringify(clientId)}: use the id of the OAuth client that you registered at the provider`));
  });

  test.each(['allowedGroups', 'extraAudiences'].flatMap(name => [[], [''], ['ml', ' '], ['ml,admins']].map(entries => [name, entries] as const)))('oidc fails where %s is %j', (name, entries) => {
    expect(() => oidc({ [name]: entries }))
      .toThrow(new Error(`AuthProvider.oidc: \`${name}\` must contain at least one entry, each without a comma, got ${JSON.stringify(entries)}: leave it out for no restriction`));
  });
});

function certificateName(template: Template): unknown {
  return only(template, 'AWS::CertificateManager::Certificate').Properties.DomainName;
}

function oidc(options: Partial<Parameters<typeof AuthProvider.oidc>[0]>): AuthProvider {
  return AuthProvider.oidc({ issuerUrl: 'https://id.example.com', clientId: 'client', clientSecret: clientSecret(secretStack), ...options });
}
