import { App, CfnParameter, Lazy, Stack, Token } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as ssm from 'aws-cdk-lib/aws-ssm';
import { bindOptions, clientSecret, containers, define, environmentOf, newApp, newStack, one, Overrides, OverridesOf, refusal, resources, synthesise, warningsIn } from './fixtures';
import {
  AccessLevel, AccessMembers, AccessOptions, AuthProvider, AuthProviderBindOptions, AuthProviderConfig, IAuthProvider, OidcAuthProviderOptions,
  SecureMlflow, TokenIssuer,
} from '../src';

const awsIdentityIssuer = 'https://1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d.tokens.sts.global.api.aws';
const arn = 'arn:aws:iam::111122223333:role/job';
const { NONE, READER, EDITOR, ADMIN } = AccessLevel;
const ada: AccessOptions = { admins: { people: ['ada@example.com'] } };
const mlAdmins: AccessOptions = { admins: { groups: ['ml-admins'] } };
const tenantId = '11111111-2222-3333-4444-555555555555';
const gitlabSecret = newStack();

const client = (stack: Stack) => ({ clientId: 'client', clientSecret: clientSecret(stack) });
const oidc = (stack: Stack, options: Partial<OidcAuthProviderOptions> = {}) => AuthProvider.oidc({ issuerUrl: 'https://id.example.com', ...client(stack), ...options });
/** A provider whose ID tokens contain groups. */
const withGroups = (access: AccessOptions, more: Overrides = {}) => (stack: Stack): Overrides => ({ authProvider: oidc(stack, { groupsClaim: 'groups' }), access, ...more });

/** The policy that the inner door gets. */
const told = (template: Template) => environmentOf(template, 'mlflow').SECURE_MLFLOW_ACCESS;
const policyOf = (overrides: OverridesOf) => JSON.parse(told(synthesise(overrides).template));
const list = (level: AccessLevel, groups: string[], names: string[]) => ({ level, groups, names });

/** The policy of a server with roles that were granted access. */
function granted(access: AccessOptions, calls: (AccessLevel | undefined)[], role = (stack: Stack) => iam.Role.fromRoleArn(stack, 'Job', arn, { mutable: false })) {
  const { stack, mlflow } = define({ awsIdentityIssuer, access });
  const grantee = role(stack);
  calls.forEach(level => mlflow.grantTrackingAccess(grantee, level && { level }));
  return Template.fromStack(stack);
}

/** A custom provider. */
class Own implements IAuthProvider {
  public readonly bound: AuthProviderBindOptions[] = [];

  public constructor(private readonly config: Partial<AuthProviderConfig> = {}) {}

  public bind(_scope: unknown, options: AuthProviderBindOptions): AuthProviderConfig {
    this.bound.push(options);
    return { ...client(gitlabSecret), environment: { OAUTH2_PROXY_PROVIDER: 'adfs' }, ...this.config };
  }
}

describe('without access', () => {
  test('the inner door gets no levels, but the URL for signing out', () => {
    expect(environmentOf(synthesise().template, 'mlflow')).toMatchObject({ SECURE_MLFLOW_SIGN_OUT_URL: 'https://mlflow.example.com/oauth2/sign_out' });
    expect(told(synthesise().template)).toBeUndefined();
  });

  test('a role may be granted access, but no level', () => {
    const { stack, mlflow } = define({ awsIdentityIssuer });
    const role = iam.Role.fromRoleArn(stack, 'Job', arn, { mutable: false });
    expect(() => mlflow.grantTrackingAccess(role, { level: READER })).toThrow(new Error(one(
      '`level` of grantTrackingAccess needs the prop `access`, got "reader" without it: set at least `access.admins`, or leave the level out')));
    expect(environmentOf(Template.fromStack(stack), 'prepare').PREPARE_MACHINE_IDENTITIES).toBe('');
    const again = define({ awsIdentityIssuer });
    again.mlflow.grantTrackingAccess(iam.Role.fromRoleArn(again.stack, 'Job', arn, { mutable: false }), {});
    expect(environmentOf(Template.fromStack(again.stack), 'prepare').PREPARE_MACHINE_IDENTITIES).toBe(arn);
  });
});

describe('what the inner door gets', () => {
  test('a list may repeat the level of everybody', () => {
    expect(policyOf({ access: { ...ada, readers: { people: ['eve@example.com'] }, everybody: READER } }).lists.at(-1)).toEqual(list(READER, [], ['eve@example.com']));
  });

  test('with the minimum: admins', () => {
    expect(told(synthesise({ access: ada }).template)).toBe('{"everybody":"none","machines":"editor","lists":[{"level":"admin","groups":[],"names":["ada@example.com"]}]}');
  });

  test('with everything', () => {
    expect(policyOf(withGroups({
      readers: { groups: ['guests'], people: ['eve@example.com'] },
      editors: { groups: ['data-science', 'Data Ops'], machines: ['ci'] },
      admins: { groups: ['ml-admins'], people: ['Ada@example.com'], machines: ['Deploy'] },
      everybody: NONE,
      machines: READER,
    }, { machineIdentities: ['ci', 'deploy'] }))).toEqual({
      everybody: 'none',
      machines: 'reader',
      lists: [
        list(ADMIN, ['ml-admins'], ['Ada@example.com', 'Deploy']),
        list(EDITOR, ['data-science', 'Data Ops'], ['ci']),
        list(READER, ['guests'], ['eve@example.com']),
      ],
    });
  });

  test('a list of machines may be at the level of everybody, which is for people', () => {
    expect(policyOf({ machineIdentities: ['ci'], access: { ...ada, readers: { machines: ['ci'] }, everybody: READER } }))
      .toEqual({ everybody: 'reader', machines: 'editor', lists: [list(ADMIN, [], ['ada@example.com']), list(READER, [], ['ci'])] });
  });

  test('only the server gets it', () => {
    const { template } = synthesise({ access: ada });
    expect(environmentOf(template, 'mlflow').SECURE_MLFLOW_SIGN_OUT_URL).toBe('https://mlflow.example.com/oauth2/sign_out');
    const others = containers(template).filter(({ Name }) => !Name.startsWith('mlflow'));
    expect(others.length).toBeGreaterThan(0);
    expect(JSON.stringify(others.map(({ Environment }) => Environment))).not.toContain('ada@example.com');
  });

  test('it is one line, whatever it contains, and adds no resource', () => {
    const { template } = synthesise(withGroups({ admins: { groups: ['a "quoted" \\ name', 'Zoë'] } }));
    expect(told(template)).not.toContain('\n');
    expect(JSON.parse(told(template)).lists[0].groups).toEqual(['a "quoted" \\ name', 'Zoë']);
    expect(resources(template)).toHaveLength(resources(synthesise(stack => ({ authProvider: oidc(stack) })).template).length);
  });

  test('names may be CDK tokens', () => {
    const { template } = synthesise(stack => withGroups({ admins: { groups: ['ml-admins', new CfnParameter(stack, 'Group').valueAsString], people: [new CfnParameter(stack, 'Person').valueAsString] } })(stack));
    expect(told(template)).toEqual({
      'Fn::Join': ['', ['{"everybody":"none","machines":"editor","lists":[{"level":"admin","groups":["ml-admins","', { Ref: 'Group' }, '"],"names":["', { Ref: 'Person' }, '"]}]}']],
    });
  });

  test('with the URL for signing out of Cognito', () => {
    const { template, stack, mlflow } = synthesise({ authProvider: AuthProvider.cognito() });
    expect(environmentOf(template, 'mlflow').SECURE_MLFLOW_SIGN_OUT_URL).toEqual(stack.resolve(mlflow.signOutUrl));
  });
});

describe('grantTrackingAccess', () => {
  const admins = list(ADMIN, [], ['ada@example.com']);

  test.each<[string, AccessOptions, (AccessLevel | undefined)[], unknown[]]>([
    ['without a level adds nothing: `machines` holds', ada, [undefined], [admins]],
    ['with a level puts the role on its list', ada, [READER], [admins, list(READER, [], [arn])]],
    ['several times: the highest counts', ada, [READER, ADMIN, EDITOR], [list(ADMIN, [], ['ada@example.com', arn])]],
    ['several times, the same', ada, [EDITOR, EDITOR], [admins, list(EDITOR, [], [arn])]],
    ['with a level and without: `machines` counts where it is higher', ada, [READER, undefined], [admins, list(EDITOR, [], [arn])]],
    ['without a level and with a higher one', ada, [undefined, ADMIN], [list(ADMIN, [], ['ada@example.com', arn])]],
    ['is added to the members of the list', { ...ada, readers: { people: ['eve@example.com'] } }, [READER], [admins, list(READER, [], ['eve@example.com', arn])]],
  ])('%s', (_, access, calls, expected) => {
    const template = granted(access, calls);
    expect(JSON.parse(told(template)).lists).toEqual(expected);
    expect(environmentOf(template, 'prepare').PREPARE_MACHINE_IDENTITIES).toBe(arn);
  });

  test('includes a role of this app that is defined later', () => {
    const template = granted(ada, [READER], stack => new iam.Role(stack, 'Job', { assumedBy: new iam.ServicePrincipal('ecs-tasks.amazonaws.com') }));
    expect(told(template)).toEqual({
      'Fn::Join': ['', [
        '{"everybody":"none","machines":"editor","lists":[{"level":"admin","groups":[],"names":["ada@example.com"]},{"level":"reader","groups":[],"names":["',
        { 'Fn::GetAtt': ['JobB9D00F9F', 'Arn'] },
        '"]}]}',
      ]],
    });
  });

  test('each role has its level', () => {
    const { stack, mlflow } = define({ awsIdentityIssuer, access: ada });
    for (const [name, level] of [['one', READER], ['other', EDITOR]] as const) {
      mlflow.grantTrackingAccess(iam.Role.fromRoleArn(stack, name, `arn:aws:iam::111122223333:role/${name}`, { mutable: false }), { level });
    }
    expect(JSON.parse(told(Template.fromStack(stack))).lists.slice(1)).toEqual([
      list(EDITOR, [], ['arn:aws:iam::111122223333:role/other']), list(READER, [], ['arn:aws:iam::111122223333:role/one']),
    ]);
  });

  test('fails for a level outside an object, as callers without types may write it', () => {
    const { stack, mlflow } = define({ awsIdentityIssuer, access: ada });
    const role = iam.Role.fromRoleArn(stack, 'Job', arn, { mutable: false });
    expect(() => mlflow.grantTrackingAccess(role, READER as never)).toThrow(new Error(one('the options of grantTrackingAccess must be an object, got "reader": pass { level: … }')));
    expect(() => mlflow.grantTrackingAccess(role, null as never)).toThrow('must be an object, got null');
  });

  test.each<[unknown, AccessOptions, string]>([
    [NONE, ada, '`level` of grantTrackingAccess must be "reader", "editor" or "admin", got "none": use a value of `AccessLevel`'],
    ['boss', ada, '`level` of grantTrackingAccess must be "reader", "editor" or "admin", got "boss": use a value of `AccessLevel`'],
    [undefined, { ...ada, machines: NONE }, '`level` of grantTrackingAccess must be given where `access.machines` is "none", got no value: the role would have no access; use "reader", "editor" or "admin"'],
  ])('fails for %j, and adds nothing', (level, access, problem) => {
    const { stack, mlflow } = define({ awsIdentityIssuer, access });
    const role = iam.Role.fromRoleArn(stack, 'Job', arn, { mutable: false });
    expect(() => mlflow.grantTrackingAccess(role, { level: level as AccessLevel })).toThrow(new Error(one(problem)));
    expect(environmentOf(Template.fromStack(stack), 'prepare').PREPARE_MACHINE_IDENTITIES).toBe('');
  });

  test('needs no level if the role is on a list', () => {
    const access = { ...ada, machines: NONE, editors: { machines: [arn] } };
    const { stack, mlflow } = define({ awsIdentityIssuer, machineIdentities: [arn], access });
    mlflow.grantTrackingAccess(iam.Role.fromRoleArn(stack, 'Job', arn, { mutable: false }));
    expect(JSON.parse(told(Template.fromStack(stack))).lists.at(-1)).toEqual(list(EDITOR, [], [arn]));
  });

  test('refuses a level for a server of another app', () => {
    const stack = newStack();
    const server = SecureMlflow.fromSecureMlflowAttributes(stack, 'Server', { url: 'https://mlflow.example.com' });
    const role = iam.Role.fromRoleArn(stack, 'Job', arn);
    expect(() => server.grantTrackingAccess(role, { level: READER })).toThrow(new Error(
      'Stack/Server: `level` of grantTrackingAccess must be left out for a server of another app, got "reader": in the app of the server, add the role\'s ARN to `machineIdentities` and to a list of `access`'));
    expect(stack.node.findAll().filter(construct => construct instanceof iam.Policy)).toEqual([]);
    server.grantTrackingAccess(role, {});
    expect(resources(Template.fromStack(stack), 'AWS::IAM::Policy')).toHaveLength(1);
  });
});

describe('machine clients of Cognito', () => {
  test('have levels by their ids', () => {
    const authProvider = AuthProvider.cognito({ machineClients: ['ci', 'dashboard'] });
    const { template } = synthesise({ authProvider, access: { ...mlAdmins, readers: { machines: [authProvider.machineClientId('dashboard')] } } });
    expect(told(template)).toEqual({
      'Fn::Join': ['', [
        '{"everybody":"none","machines":"editor","lists":[{"level":"admin","groups":["ml-admins"],"names":[]},{"level":"reader","groups":[],"names":["',
        { Ref: expect.stringMatching('MachinesdashboardClient') },
        '"]}]}',
      ]],
    });
  });

  test('fails for an unknown name', () => {
    expect(() => AuthProvider.cognito({ machineClients: ['ci'] }).machineClientId('dashboard')).toThrow(new Error(
      'AuthProvider.cognito: the name of a machine client must be one of ["ci"], got "dashboard": add it to `machineClients`'));
    expect(() => AuthProvider.cognito().machineClientId('ci')).toThrow(new Error(
      'AuthProvider.cognito: the name of a machine client must be one of [], got "ci": add it to `machineClients`'));
  });
});

describe('fails', () => {
  const editors = (members: AccessMembers): AccessOptions => ({ ...ada, editors: members });

  test.each<[string, unknown, string]>([
    ['not an object', true, '`access` must be an object with `admins`, got true: list the admins, or leave it out, and everybody who gets in is an admin'],
    ['null', null, '`access` must be an object with `admins`, got null: list the admins, or leave it out, and everybody who gets in is an admin'],
    ['no admins', {}, '`access.admins` must contain at least one group or person, got {}: only admins can delete experiments and models, and manage webhooks and keys; add `people` or `groups`'],
    ['machines for admins', { admins: { machines: ['ci'] } }, '`access.admins` must contain at least one group or person, got {"machines":["ci"]}: only admins can delete experiments and models, and manage webhooks and keys; add `people` or `groups`'],
    ['an empty list', editors({ groups: [] }), '`access.editors.groups` must contain at least one entry, got []: leave it out for none'],
    ['a level without members', editors({}), '`access.editors` must contain `groups`, `people` or `machines`, got {}: add one of them, or leave it out'],
    ['an unknown level', { ...ada, everybody: 'boss' }, '`access.everybody` must be "none", "reader", "editor" or "admin", got "boss": use a value of `AccessLevel`; for single people and groups use `admins`, `editors` and `readers`'],
    ['a level that is a CDK token', { ...ada, machines: Lazy.string({ produce: () => 'reader' }) }, '`access.machines` must be "none", "reader", "editor" or "admin", got a CDK token: use a value of `AccessLevel`; for single machines use `machines` of a list'],
    ['readers where everybody is an editor', { ...ada, readers: { people: ['eve@example.com'] }, everybody: EDITOR },
      '`access.readers` must not have a lower level than `access.everybody`, got groups or people where that is "editor": the list would have no effect; leave out its `groups` and `people`, or lower `everybody`'],
    ['a list without members', { admins: { people: [undefined] } }, '`access.admins.people`: each entry must be an e-mail address, got undefined: it is not a string; an environment variable may not be set'],
    ['a group that is a number', editors({ groups: [7] } as never), '`access.editors.groups`: each entry must be a name without commas, control characters and surrounding blanks, got 7: it is not a string; an environment variable may not be set'],
    ['no list', editors({ people: 'eve@example.com' } as never), '`access.editors.people` must be a list, got "eve@example.com": write ["eve@example.com"]'],
    ['null in place of a list', { ...ada, editors: null }, '`access.editors` must be an object with `groups`, `people` or `machines`, got null: add one of them, or leave it out'],
    ['an unknown list', { ...ada, viewers: {} }, '`access` must contain only admins, editors, readers, everybody, machines, got "viewers": use one of these names'],
    ['unknown members', { admins: { ...ada.admins, users: ['x'] } }, '`access.admins` must contain only groups, people, machines, got "users": use one of these names'],
    ['a person as a machine', editors({ machines: ['eve@example.com'] }),
      '`access.editors.machines`: each entry must be one of `machineIdentities`, got "eve@example.com": for a person use `people`; add a machine to `machineIdentities`, too; for a machine client of Cognito use `machineClientId(…)` of its provider, for an AWS role the `level` of `grantTrackingAccess`'],
    ['a list that is a CDK token', editors({ people: Token.asList({ Ref: 'List' }) }), '`access.editors.people` must be a list that is written out, got a CDK token: the entries may be CDK tokens, the list itself may not'],
    ['an address outside', editors({ people: ['Eve@ml.example.com'] }),
      '`access.editors.people`: each address must be in `emailDomains`, got "Eve@ml.example.com" and the domains ["example.com"]: this person cannot sign in; add the domain, or leave the address out'],
    ['a machine that is on no list', editors({ machines: ['ci'] }),
      '`access.editors.machines`: each entry must be one of `machineIdentities`, got "ci": add it to `machineIdentities`, too; for a machine client of Cognito use `machineClientId(…)` of its provider, for an AWS role the `level` of `grantTrackingAccess`'],
    ['groups with Google', editors({ groups: ['data-science'] }),
      '`access.editors.groups` must be left out with this `authProvider`, whose ID tokens and sign-ins contain no groups, got ["data-science"]: list `people`'],
  ])('for %s', (_, access, problem) => {
    expect(refusal({ access: access as AccessOptions })).toBe(one(problem));
  });

  test.each(['', ' ', '*', 'a,ml-admins', 'ml-admins ', ' ml-admins', 'ml\nadmins', 'ml\u0000', 'ml\u0085admins'])('for the group %j', group => {
    expect(refusal(withGroups({ admins: { groups: ['ml-admins', group] } }))).toBe(one(
      `\`access.admins.groups\`: each entry must be a name without commas, control characters and surrounding blanks, got ${JSON.stringify(group)}: oauth2-proxy joins groups with commas and trims them, so the name would mean another group; use the name that /oauth2/userinfo shows, or \`everybody\` for all people`));
  });

  test.each(['', 'ada', '*@example.com', '@example.com', 'ada@', 'ada@example', 'ada@example.com@example.com', 'ada @example.com', 'ada@example.com,eve@example.com', 'ada@example.com\n', 'ada@example.com.', arn])('for the person %j', person => {
    expect(refusal({ access: { admins: { people: [person] } }, emailDomains: ['*'] })).toBe(one(
      `\`access.admins.people\`: each entry must be an e-mail address, got ${JSON.stringify(person)}: for a group use \`groups\`, for a program \`machines\`, for all people \`everybody\``));
  });

  test.each(['true', 'True', '1'])('for jobs of the server: %s', value => {
    expect(refusal({ access: ada, environment: { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: value } })).toBe(one(
      `\`environment\` must not turn on MLFLOW_SERVER_ENABLE_JOB_EXECUTION where \`access\` is given, got "${value}": jobs call the server without a sign-in and therefore without a level, and are rejected; leave one of them out`));
  });

  test.each<[string | undefined, string, string]>([
    [undefined, 'ml-admins', ''],
    ['example', 'ml-admins', ', or "example"'],
    ['example', 'Example', ', or "example"'],
  ])('for an organization of GitHub that anyone could create: of %s, %s', (organization, group, too) => {
    expect(refusal(stack => ({ authProvider: AuthProvider.github({ ...client(stack), ...organization && { organization } }), access: { admins: { groups: ['example:ml', group] } } }))).toBe(one(
      `\`access.admins.groups\`: each entry must be "organization:team" with GitHub${too}, got "${group}": anyone can create an organization with any unused name; use the slug of a team, or the \`organization\` of \`AuthProvider.github\``));
  });

  test('for several problems at the same time', () => {
    expect(refusal({ access: { admins: { people: ['ada', 'eve'] }, editors: {}, readers: { groups: [] } } }).split('\n')).toHaveLength(5);
  });

  test('for an unknown machine client of Cognito', () => {
    const authProvider = AuthProvider.cognito({ machineClients: ['ci'] });
    expect(() => define({ authProvider, access: { ...mlAdmins, readers: { machines: ['ci'] } } })).toThrow(/`access\.readers\.machines`: each entry must be one of `machineIdentities`, got "ci"/);
  });
});

describe('is not checked', () => {
  const token = Lazy.string({ produce: () => 'known later' });

  test.each<[string, OverridesOf]>([
    ['an address in capital letters', { access: { admins: { people: ['ADA@EXAMPLE.COM'] } } }],
    ['an entry that is a CDK token', withGroups({ admins: { groups: [token], people: [token] } })],
    ['a machine that is a CDK token', { access: { ...ada, readers: { machines: [token] } } }],
    ['an address where a domain is a CDK token', { access: { admins: { people: ['ada@example.org'] } }, emailDomains: ['example.com', token] }],
    ['an address where the domains are a CDK token', { access: { admins: { people: ['ada@example.org'] } }, emailDomains: Token.asList({ Ref: 'List' }) }],
    ['an address where every domain gets in', stack => ({ authProvider: AuthProvider.google({ ...client(stack), hostedDomains: ['example.com'] }), access: { admins: { people: ['ada@example.org'] } }, emailDomains: ['*'] })],
    ['an address and a machine where a machine is a CDK token', { access: { admins: { people: ['ada@example.org'], machines: ['ci'] } }, machineIdentities: [token] }],
    ['an address and a machine where the machines are a CDK token', { access: { admins: { people: ['ada@example.org'], machines: ['ci'] } }, machineIdentities: Token.asList({ Ref: 'List' }) }],
    ['an address that is a machine\'s, in other letters', { access: { ...ada, editors: { people: ['Job@project.example'], machines: ['JOB@project.example'] } }, machineIdentities: ['job@Project.example'] }],
    ['a machine of the provider', { authProvider: new Own({ machineIdentities: ['Batch'] }), access: { ...ada, editors: { machines: ['batch'] } } }],
    ['a switch for jobs that is a CDK token', { access: ada, environment: { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: token } }],
    ['a switch for jobs that is off', { access: ada, environment: { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false' } }],
    ['the organization of GitHub, and teams of any', stack => ({ authProvider: AuthProvider.github({ ...client(stack), organization: 'example' }), access: { admins: { groups: ['example', 'other:ml', token] } } })],
    ['a group where the organization of GitHub is a CDK token', { authProvider: new Own({ groups: true, environment: { OAUTH2_PROXY_PROVIDER: 'github', OAUTH2_PROXY_GITHUB_ORG: token } }), access: mlAdmins }],
  ])('%s', (_, overrides) => {
    expect(() => define(overrides)).not.toThrow();
  });

  test('dummy values of lookups', () => {
    const stack = new Stack(newApp(), 'Stack', { env: { account: '111122223333', region: 'eu-west-1' } });
    const parameter = (name: string) => ssm.StringParameter.valueFromLookup(stack, name);
    define(withGroups({ admins: { groups: [`${parameter('/a')},`], people: [parameter('/b')], machines: [parameter('/c')] } }), stack);
    expect((stack.node.root as App).synth().manifest.missing).toContainEqual(expect.objectContaining({ provider: 'ssm' }));
  });
});

describe('groups', () => {
  const groupsOf = (provider: (stack: Stack) => IAuthProvider) => {
    const stack = newStack();
    return provider(stack).bind(stack, bindOptions).groups;
  };

  test.each<[string, (stack: Stack) => IAuthProvider, boolean | undefined]>([
    ['Google', stack => AuthProvider.google(client(stack)), false],
    ['Google by OpenID Connect', stack => oidc(stack, { issuerUrl: 'https://accounts.google.com', groupsClaim: 'groups' }), false],
    ['Cognito', () => AuthProvider.cognito(), true],
    ['Entra ID', stack => AuthProvider.entraId({ ...client(stack), tenantId }), true],
    ['Keycloak', stack => AuthProvider.keycloak({ ...client(stack), realmUrl: 'https://id.example.com/realms/ml' }), true],
    ['GitHub', stack => AuthProvider.github(client(stack)), true],
    ['GitLab', stack => AuthProvider.gitlab(client(stack)), true],
    ['any OpenID Connect provider', stack => oidc(stack), undefined],
    ['… with the claim', stack => oidc(stack, { groupsClaim: 'groups' }), true],
    ['… with allowed groups', stack => oidc(stack, { allowedGroups: ['ml'] }), true],
    ['… with the scope', stack => oidc(stack, { scope: 'openid email groups' }), true],
    ['… with a scope of a similar name', stack => oidc(stack, { scope: 'openid email mygroups' }), undefined],
    ['… with a scope that is a CDK token', stack => oidc(stack, { scope: Lazy.string({ produce: () => 'groups' }) }), undefined],
  ])('%s: %s', (_, provider, expected) => {
    expect(groupsOf(provider)).toBe(expected);
  });

  test.each<[string, AccessOptions | undefined, boolean | undefined]>([
    ['no access', undefined, undefined],
    ['only people', ada, undefined],
    ['groups', mlAdmins, true],
    ['groups of readers', { ...ada, readers: { groups: ['guests'] } }, true],
  ])('the provider knows whether they are needed: %s', (_, access, expected) => {
    const authProvider = new Own();
    define({ authProvider, ...access && { access } });
    expect(authProvider.bound.map(({ needsGroups }) => needsGroups)).toEqual([expected]);
  });

  test('Entra ID is asked for the permission to read groups', () => {
    const scope = (access: AccessOptions) => environmentOf(synthesise(stack => ({ authProvider: AuthProvider.entraId({ ...client(stack), tenantId }), access })).template, 'oauth2-proxy').OAUTH2_PROXY_SCOPE;
    expect([scope(ada), scope(mlAdmins)]).toEqual(['openid email profile', 'openid email profile User.Read']);
  });

  test('no other setting of a sign-in changes', () => {
    const { template: without } = synthesise(stack => ({ authProvider: oidc(stack, { groupsClaim: 'groups' }) }));
    const { template: with_ } = synthesise(withGroups(mlAdmins));
    expect(environmentOf(with_, 'oauth2-proxy')).toEqual(environmentOf(without, 'oauth2-proxy'));
  });
});

describe('warnings', () => {
  const issuer = (issuerUrl = 'https://other.example.com') => TokenIssuer.oidc({ issuerUrl, audience: 'mlflow' });
  const ids = (overrides: OverridesOf) => warningsIn(define(overrides).stack).map(([id]) => id);

  test.each<[string, OverridesOf, string[]]>([
    ['groups of a provider that sends them', withGroups(mlAdmins), []],
    ['groups of a provider that may send none', stack => ({ authProvider: oidc(stack), access: mlAdmins }), ['unknownGroups']],
    ['groups of one of the user\'s own', { authProvider: new Own(), access: mlAdmins }, ['unknownGroups']],
    ['groups of one of the user\'s own that says so', { authProvider: new Own({ groups: true }), access: mlAdmins }, []],
    ['only people', stack => ({ authProvider: oidc(stack), access: ada }), []],
    ['groups and another issuer', withGroups(mlAdmins, { trustedTokenIssuers: [issuer()] }), ['issuersNameGroups']],
    ['groups and an issuer that is a CDK token', withGroups(mlAdmins, { trustedTokenIssuers: [issuer(Lazy.string({ produce: () => 'https://x' }))] }), ['issuersNameGroups']],
    ['groups and AWS roles, whose tokens contain none', withGroups(mlAdmins, { awsIdentityIssuer }), []],
    ['groups and another AWS account', withGroups(mlAdmins, { trustedTokenIssuers: [issuer(awsIdentityIssuer)] }), []],
    ['people and another issuer', { access: ada, machineIdentities: ['job'], trustedTokenIssuers: [issuer()] }, []],
    ['people by a claim that may be anyone\'s', stack => ({ authProvider: oidc(stack, { emailClaim: 'upn', allowedGroups: ['ml'] }), access: ada }), ['unverifiedLevels']],
    ['people by a claim that is a CDK token', stack => ({ authProvider: oidc(stack, { emailClaim: Lazy.string({ produce: () => 'x' }) }), access: ada }), []],
    ['groups with such a claim', stack => ({ authProvider: oidc(stack, { emailClaim: 'upn', allowedGroups: ['ml'] }), access: mlAdmins }), []],
    ['groups of Entra ID by their names', stack => ({ authProvider: AuthProvider.entraId({ ...client(stack), tenantId }), access: mlAdmins }), ['entraGroupNames']],
    ['groups of Entra ID by their ids', stack => ({ authProvider: AuthProvider.entraId({ ...client(stack), tenantId }), access: { admins: { groups: [tenantId] } } }), []],
    ['people of Entra ID by their name', stack => ({ authProvider: AuthProvider.entraId({ ...client(stack), tenantId, emailClaim: 'preferred_username' }), access: ada }), []],
    ['no access', stack => ({ authProvider: oidc(stack, { emailClaim: 'upn', allowedGroups: ['ml'] }), trustedTokenIssuers: [issuer()] }), []],
  ])('%s', (_, overrides, expected) => {
    expect(ids(overrides)).toEqual(expected);
  });

  test('gcloud sends no groups', () => {
    expect(ids(withGroups(mlAdmins, { trustedTokenIssuers: [TokenIssuer.gcloud()] }))).not.toContain('issuersNameGroups');
  });

  test('they say what to do', () => {
    const both = define(stack => ({ authProvider: oidc(stack), access: mlAdmins, trustedTokenIssuers: [issuer()] }));
    const [[, issuers], [, unknown]] = warningsIn(both.stack);
    expect(issuers).toMatch(/^`access` contains groups and `trustedTokenIssuers` contains https:\/\/other\.example\.com, .* may contain any group, .*: make sure .*$/);
    expect(unknown).toMatch(/^`access` contains groups, but `authProvider` may send none, .*: have the provider .* `groupsClaim` .*$/);
    const [[, later]] = warningsIn(define(withGroups(mlAdmins, { trustedTokenIssuers: [issuer(Lazy.string({ produce: () => 'x' }))] })).stack);
    expect(later).toContain('contains issuers, whose tokens');
  });
});
