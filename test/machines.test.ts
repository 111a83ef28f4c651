import { CfnParameter, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import * as codebuild from 'aws-cdk-lib/aws-codebuild';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as iam from 'aws-cdk-lib/aws-iam';
import { define, environmentOf, minimalProps, newApp, newStack, Overrides, resources, synthesise } from './fixtures';
import { AuthProvider, ISecureMlflow, SecureMlflow, TokenIssuer } from '../src';

const awsIdentityIssuer = 'https://1a2b3c4d-5e6f-7a8b-9c0d-1e2f3a4b5c6d.tokens.sts.global.api.aws';
const ecsTasks = new iam.ServicePrincipal('ecs-tasks.amazonaws.com');

/** The list that `prepare` writes for oauth2-proxy. */
const listIn = (template: Template) => environmentOf(template, 'prepare').PREPARE_MACHINE_IDENTITIES;

/** The policies for requesting AWS identity tokens. */
const granted = (template: Template) => resources(template, 'AWS::IAM::Policy')
  .map(([, { Properties }]) => [Properties.Roles, Properties.PolicyDocument.Statement.filter(({ Action }: { Action: unknown }) => [Action].flat().includes('sts:GetWebIdentityToken'))])
  .filter(([, statements]) => statements.length > 0);

const statementFor = (url: unknown) => ({
  Effect: 'Allow',
  Action: 'sts:GetWebIdentityToken',
  Resource: '*',
  Condition: {
    'ForAnyValue:StringEquals': { 'sts:IdentityTokenAudience': url },
    'ForAllValues:StringEquals': { 'sts:IdentityTokenAudience': url },
    'NumericLessThanEquals': { 'sts:DurationSeconds': 3600 },
    'StringEquals': { 'sts:SigningAlgorithm': 'RS256' },
    'StringEqualsIfExists': { 'sts:SubjectMode': 'AWSIdentity' },
  },
});
const statement = statementFor('https://mlflow.example.com');

/** A stack with a known account, so that the CDK can recognize roles of other accounts. */
function ofAccount(): Stack {
  return new Stack(newApp(), 'Stack', { env: { account: '111122223333', region: 'eu-west-1' } });
}

describe('machineIdentities', () => {
  const machineClient = AuthProvider.cognito({ machineClients: ['training'] });

  test.each<[string, Overrides, unknown]>([
    ['there are none by default', {}, ''],
    ['one', { machineIdentities: ['client'] }, 'client'],
    ['several', { machineIdentities: ['client', 'job@project.iam.gserviceaccount.com'] }, 'client\njob@project.iam.gserviceaccount.com'],
    ['with those of the provider', { authProvider: machineClient, machineIdentities: ['client'] },
      { 'Fn::Join': ['', ['client\n', { Ref: expect.stringMatching('MachinestrainingClient') }]] }],
  ])('%s: prepare gets them', (_, overrides, expected) => {
    expect(listIn(synthesise(overrides).template)).toEqual(expected);
  });

  test('the props that were passed are not changed', () => {
    const machineIdentities = ['client'];
    const { stack, mlflow } = define({ machineIdentities, awsIdentityIssuer });
    mlflow.grantTrackingAccess(new iam.Role(stack, 'Job', { assumedBy: ecsTasks }));
    expect(machineIdentities).toEqual(['client']);
  });
});

describe('which program distinguishes people from machines', () => {
  // A hosted domain is checked by oauth2-proxy for everyone, or by the inner door for everyone except the machines.
  test.each<[string, Overrides, 'oauth2-proxy' | 'mlflow']>([
    ['without machines', {}, 'oauth2-proxy'],
    ['some are listed', { machineIdentities: ['client'] }, 'mlflow'],
    ['AWS roles may be granted access later', { awsIdentityIssuer }, 'mlflow'],
  ])('%s', (_, overrides, asks) => {
    const { template } = synthesise(overrides);
    const { OAUTH2_PROXY_OIDC_GROUPS_CLAIM: claim, OAUTH2_PROXY_ALLOWED_GROUPS: proxy } = environmentOf(template, 'oauth2-proxy');
    const { SECURE_MLFLOW_HOSTED_DOMAINS: door } = environmentOf(template, 'mlflow');
    expect([claim, proxy, door]).toEqual(['hd', asks === 'oauth2-proxy' ? 'example.com' : undefined, asks === 'mlflow' ? 'example.com' : undefined]);
  });

  test.each([[['example.com'], 'true'], [['*'], 'false']])('where the domains are %j, only machines may have no address: %s', (emailDomains, expected) => {
    expect(environmentOf(synthesise({ emailDomains }).template, 'mlflow').SECURE_MLFLOW_ADDRESSES_ONLY).toBe(expected);
  });
});

describe('awsIdentityIssuer', () => {
  const issuers = (overrides: Overrides) => environmentOf(synthesise(overrides).template, 'oauth2-proxy').OAUTH2_PROXY_EXTRA_JWT_ISSUERS;
  const aws = `${awsIdentityIssuer}=https://mlflow.example.com`;
  const gcloud = 'https://accounts.google.com=32555940559.apps.googleusercontent.com';

  test.each<[string, Overrides, string | undefined]>([
    ['neither', {}, undefined],
    ['it alone', { awsIdentityIssuer }, aws],
    ['with gcloud', { awsIdentityIssuer, trustedTokenIssuers: [TokenIssuer.gcloud()] }, `${gcloud},${aws}`],
    ['of another server', { awsIdentityIssuer, domainName: 'ml.example.com' }, `${awsIdentityIssuer}=https://ml.example.com`],
  ])('tokens for the server alone are taken: %s', (_, overrides, expected) => {
    expect(issuers(overrides)).toBe(expected);
  });

  test('does not allow any role by itself', () => {
    const { template } = synthesise({ awsIdentityIssuer });
    expect([listIn(template), granted(template)]).toEqual(['', []]);
  });

  test('brings no warning: only the account issues such tokens', () => {
    expect(Annotations.fromStack(synthesise({ awsIdentityIssuer }).stack).findWarning('*', Match.anyValue())).toEqual([]);
  });
});

describe('grantTrackingAccess', () => {
  const job = (stack: Stack) => new iam.Role(stack, 'Job', { assumedBy: ecsTasks });
  const imported = 'arn:aws:iam::111122223333:role/teams/job';

  test.each<[string, (stack: Stack) => iam.IGrantable, unknown, unknown]>([
    ['a role of the stack', job, { 'Fn::GetAtt': ['JobB9D00F9F', 'Arn'] }, { Ref: 'JobB9D00F9F' }],
    ['a construct with a role', stack => new codebuild.Project(stack, 'Build', { buildSpec: codebuild.BuildSpec.fromObject({}), role: job(stack) }),
      { 'Fn::GetAtt': ['JobB9D00F9F', 'Arn'] }, { Ref: 'JobB9D00F9F' }],
    ['a role that is imported', stack => iam.Role.fromRoleArn(stack, 'Job', imported), imported, 'job'],
  ])('%s gets on the list and may request AWS identity tokens for this server only', (_, grantee, arn, role) => {
    const stack = ofAccount();
    const { mlflow } = define({ awsIdentityIssuer }, stack);
    const grant = mlflow.grantTrackingAccess(grantee(stack));
    grant.assertSuccess();
    const template = Template.fromStack(stack);
    expect(listIn(template)).toEqual(arn);
    expect(granted(template)).toEqual([[[role], [statement]]]);
    expect(grant.principalStatement?.toStatementJson()).toEqual(statement);
  });

  test.each<[string, (jobs: Stack) => iam.IGrantable, string]>([
    ['a role', job, 'JobB9D00F9F'],
    ['the role of an ECS task', jobs => new ecs.FargateTaskDefinition(jobs, 'Task').taskRole, 'TaskTaskRoleE98524A1'],
  ])('%s of another stack of the app gets its policy in that stack', (_, grantee, id) => {
    const app = newApp();
    const stack = new Stack(app, 'Stack');
    const jobs = new Stack(app, 'Jobs');
    const { mlflow } = define({ awsIdentityIssuer }, stack);
    mlflow.grantTrackingAccess(grantee(jobs));
    expect(listIn(Template.fromStack(stack))).toEqual({ 'Fn::ImportValue': expect.stringMatching(`^Jobs:ExportsOutputFnGetAtt${id}Arn`) });
    expect(granted(Template.fromStack(stack))).toEqual([]);
    expect(granted(Template.fromStack(jobs))).toEqual([[[{ Ref: id }], [statement]]]);
  });

  // The CDK reports success for every grant to such a role, and does not say whether there is a policy.
  test.each<[string, string, (stack: Stack) => iam.IRole]>([
    ['of another account', 'arn:aws:iam::999999999999:role/job', stack => iam.Role.fromRoleArn(stack, 'Job', 'arn:aws:iam::999999999999:role/job')],
    ['that must not be changed', imported, stack => iam.Role.fromRoleArn(stack, 'Job', imported, { mutable: false })],
  ])('a role %s gets on the list and no policy', (_, arn, role) => {
    const stack = ofAccount();
    const { mlflow } = define({ awsIdentityIssuer }, stack);
    const grant = mlflow.grantTrackingAccess(role(stack));
    const template = Template.fromStack(stack);
    expect([listIn(template), granted(template)]).toEqual([arn, []]);
    expect([grant.success, grant.principalStatement?.toStatementJson()]).toEqual([true, statement]);
  });

  test('a second call adds no duplicates', () => {
    const { stack, mlflow } = define({ awsIdentityIssuer, machineIdentities: [imported] });
    const role = job(stack);
    for (const grantee of [role, role, iam.Role.fromRoleArn(stack, 'Once', imported), iam.Role.fromRoleArn(stack, 'Twice', imported, { mutable: false })]) {
      mlflow.grantTrackingAccess(grantee);
    }
    const template = Template.fromStack(stack);
    expect(listIn(template)).toEqual({ 'Fn::Join': ['', [`${imported}\n`, { 'Fn::GetAtt': ['JobB9D00F9F', 'Arn'] }]] });
    expect(granted(template)).toEqual([[[{ Ref: 'JobB9D00F9F' }], [statement]], [['job'], [statement]]]);
  });

  test('earlier entries stay: subjects, those of the provider, then roles, one per line', () => {
    const { stack, mlflow } = define({ awsIdentityIssuer, machineIdentities: ['client'], authProvider: AuthProvider.cognito({ machineClients: ['training'] }) });
    for (const name of ['one', 'other']) {
      mlflow.grantTrackingAccess(iam.Role.fromRoleArn(stack, name, `arn:aws:iam::111122223333:role/${name}`));
    }
    expect(listIn(Template.fromStack(stack))).toEqual({
      'Fn::Join': ['', ['client\n', { Ref: expect.stringMatching('MachinestrainingClient') }, '\narn:aws:iam::111122223333:role/one\narn:aws:iam::111122223333:role/other']],
    });
  });

  test('one role may use two servers, with an AWS identity token for each', () => {
    const { stack, mlflow } = define({ awsIdentityIssuer });
    const second = new SecureMlflow(stack, 'Second', { ...minimalProps(stack), awsIdentityIssuer, domainName: 'second.example.com' });
    const role = job(stack);
    mlflow.grantTrackingAccess(role);
    second.grantTrackingAccess(role);
    expect(granted(Template.fromStack(stack))).toEqual([[[{ Ref: 'JobB9D00F9F' }], [statement, statementFor('https://second.example.com')]]]);
  });

  test('the name of the server may be a CDK token', () => {
    const stack = newStack();
    const { mlflow } = define({ awsIdentityIssuer, domainName: new CfnParameter(stack, 'Name').valueAsString }, stack);
    mlflow.grantTrackingAccess(job(stack));
    expect(granted(Template.fromStack(stack))).toEqual([[[{ Ref: 'JobB9D00F9F' }], [statementFor({ 'Fn::Join': ['', ['https://', { Ref: 'Name' }]] })]]]);
  });

  test.each<[string, (stack: Stack) => iam.IGrantable, string]>([
    ['a user', stack => new iam.User(stack, 'User'), 'Stack/User'],
    ['a group', stack => new iam.Group(stack, 'Group'), 'Stack/Group'],
    ['a service', () => ecsTasks, 'ServicePrincipal(ecs-tasks.amazonaws.com)'],
    ['an account', () => new iam.AccountPrincipal('111122223333'), 'AccountPrincipal(111122223333)'],
  ])('fails for %s', (_, grantee, got) => {
    const { stack, mlflow } = define({ awsIdentityIssuer });
    expect(() => mlflow.grantTrackingAccess(grantee(stack))).toThrow(new Error(
      `Stack/Mlflow: grantTrackingAccess must be given a role, got ${got}: pass an iam.Role, or a construct that has one`));
    const template = Template.fromStack(stack);
    expect([listIn(template), granted(template), resources(template, 'AWS::IAM::UserPolicy')]).toEqual(['', [], []]);
  });

  test('fails without awsIdentityIssuer, and adds nothing', () => {
    const { stack, mlflow } = define();
    const role = job(stack);
    expect(() => mlflow.grantTrackingAccess(role)).toThrow(new Error(
      'Stack/Mlflow: `awsIdentityIssuer` must be set for grantTrackingAccess, got no value: use the issuer that `aws iam enable-outbound-web-identity-federation` prints'));
    const template = Template.fromStack(stack);
    expect([listIn(template), granted(template)]).toEqual(['', []]);
  });
});

describe('a server of another app', () => {
  const arn = 'arn:aws:iam::111122223333:role/job';
  const url = 'https://mlflow.example.com';
  const from = (stack: Stack, address = url) => SecureMlflow.fromSecureMlflowAttributes(stack, 'Server', { url: address });
  const role = (stack: Stack) => new iam.Role(stack, 'Job', { assumedBy: ecsTasks, roleName: 'job' });

  test('gives a role the same policy as the server itself, and nothing else', () => {
    const jobs = newStack();
    const server: ISecureMlflow = from(jobs);
    const grant = server.grantTrackingAccess(role(jobs));
    const { stack, mlflow } = define({ awsIdentityIssuer });
    mlflow.grantTrackingAccess(role(stack));
    const there = Template.fromStack(jobs);
    expect(granted(there)).toEqual(granted(Template.fromStack(stack)));
    expect(granted(there)).toEqual([[[{ Ref: 'JobB9D00F9F' }], [statement]]]);
    expect(grant.principalStatement?.toStatementJson()).toEqual(statement);
    expect(resources(there)).toHaveLength(2);
    expect(server.url).toBe(url);
  });

  test('the role has access if its ARN is in machineIdentities: the template is the same as with a grant', () => {
    const listed = synthesise({ awsIdentityIssuer, machineIdentities: [arn] }).template;
    const { stack, mlflow } = define({ awsIdentityIssuer });
    mlflow.grantTrackingAccess(iam.Role.fromRoleArn(stack, 'Job', arn, { mutable: false }));
    expect(listed.toJSON()).toEqual(Template.fromStack(stack).toJSON());
    expect(listIn(listed)).toBe(arn);
  });

  test('may have a URL that is a CDK token', () => {
    const jobs = newStack();
    from(jobs, new CfnParameter(jobs, 'Url').valueAsString).grantTrackingAccess(role(jobs));
    expect(granted(Template.fromStack(jobs))).toEqual([[[{ Ref: 'JobB9D00F9F' }], [statementFor({ Ref: 'Url' })]]]);
  });

  test.each(['', 'mlflow.example.com', 'http://mlflow.example.com', 'https://mlflow.example.com/', 'https://mlflow.example.com:443', 'https://Mlflow.example.com', 'https://mlflow', 'https://*', 'https://a.example.com://b.example.com'])('fails for the address %j', address => {
    expect(() => from(newStack(), address)).toThrow(new Error(
      `Stack/Server: a prop needs a change\n  - \`url\` must be like "https://mlflow.example.com", got ${JSON.stringify(address)}: use the \`url\` of the server, in lower case, without port, path and trailing slash`));
  });

  test('fails for a user', () => {
    const jobs = newStack();
    expect(() => from(jobs).grantTrackingAccess(new iam.User(jobs, 'User'))).toThrow(new Error(
      'Stack/Server: grantTrackingAccess must be given a role, got Stack/User: pass an iam.Role, or a construct that has one'));
    expect(resources(Template.fromStack(jobs), 'AWS::IAM::UserPolicy')).toEqual([]);
  });
});
