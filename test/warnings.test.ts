import { Duration, Lazy, Stack, Stage } from 'aws-cdk-lib';
import * as cognito from 'aws-cdk-lib/aws-cognito';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { clientSecret, define, newApp, newStack, Overrides, OverridesOf, warningsIn } from './fixtures';
import { AuthProvider, AuthProviderConfig, OidcAuthProviderOptions, SecureMlflow, TokenIssuer } from '../src';

const token = Lazy.string({ produce: () => 'known later' });
const tenantId = '11111111-2222-3333-4444-555555555555';
const client = (stack: Stack) => ({ clientId: 'client', clientSecret: clientSecret(stack) });
const oidc = (stack: Stack, options: Partial<OidcAuthProviderOptions> = {}) => AuthProvider.oidc({ issuerUrl: 'https://id.example.com', ...client(stack), ...options });
const google = (stack: Stack, hostedDomains: string[]) => AuthProvider.google({ ...client(stack), hostedDomains });
const gcloud = { trustedTokenIssuers: [TokenIssuer.gcloud()] };
const everybody = { emailDomains: ['*'] };

const idsOf = (overrides: OverridesOf) => warningsIn(define(overrides).stack).map(([id]) => id);

/** A custom provider without known properties. */
class Own extends AuthProvider {
  public constructor(private readonly environment: Record<string, string> = {}) {
    super();
  }

  public bind(): AuthProviderConfig {
    return { ...client(newStack()), environment: { OAUTH2_PROXY_PROVIDER: 'adfs', ...this.environment } };
  }
}

test('there are none with the defaults', () => {
  expect(idsOf({})).toEqual([]);
});

describe('emailDomains: ["*"]', () => {
  test.each<[string, OverridesOf, string[]]>([
    ['Google', {}, ['openToEveryone']],
    ['Google and a Workspace, gcloud included', stack => ({ ...gcloud, authProvider: google(stack, ['example.com']) }), []],
    ['Google by OpenID Connect', stack => ({ authProvider: oidc(stack, { issuerUrl: 'https://accounts.google.com' }) }), ['openToEveryone']],
    ['any provider with unknown accounts', stack => ({ authProvider: oidc(stack) }), ['everyAccount']],
    ['such a provider and gcloud', stack => ({ ...gcloud, authProvider: oidc(stack) }), ['openToEveryone']],
    ['such a provider with groups, and gcloud, whose tokens hold none', stack => ({ ...gcloud, authProvider: oidc(stack, { allowedGroups: ['ml'] }) }), []],
    ['such a provider with roles', stack => ({ authProvider: AuthProvider.keycloak({ ...client(stack), realmUrl: 'https://id.example.com/realms/ml', allowedRoles: ['ml'] }) }), []],
    ['one of the user\'s own', { authProvider: new Own() }, ['everyAccount']],
    ['one of the user\'s own with groups', { authProvider: new Own({ OAUTH2_PROXY_ALLOWED_GROUPS: 'ml' }) }, []],
    ['a tenant of Entra ID', stack => ({ authProvider: AuthProvider.entraId({ ...client(stack), tenantId }) }), []],
    ['a new user pool', { authProvider: AuthProvider.cognito() }, []],
    ['a user pool with self sign-up', stack => ({ authProvider: AuthProvider.cognito({ userPool: new cognito.UserPool(stack, 'Pool', { selfSignUpEnabled: true }) }) }), ['openToEveryone']],
    ['GitHub', stack => ({ authProvider: AuthProvider.github(client(stack)) }), ['openToEveryone']],
    ['an organization of GitHub', stack => ({ authProvider: AuthProvider.github({ ...client(stack), organization: 'example' }) }), []],
    ['a self-managed GitLab', stack => ({ authProvider: AuthProvider.gitlab({ ...client(stack), baseUrl: 'https://gitlab.example.com' }) }), ['everyAccount']],
  ])('%s', (_, overrides, expected) => {
    expect(idsOf(stack => ({ ...everybody, ...typeof overrides === 'function' ? overrides(stack) : overrides }))).toEqual(expected);
  });

  test('they say what to do', () => {
    expect(warningsIn(define(everybody).stack)[0][1]).toMatch(/^`emailDomains` is \["\*"\] .* so anyone gets in: list your domains$/);
    expect(warningsIn(define({ ...everybody, authProvider: new Own() }).stack)[0][1]).toMatch(/so every account at the provider gets in: check .* sign up .* social accounts .* guest; or list your domains, or set allowed groups$/);
  });
});

describe('a claim for the address', () => {
  test.each<[string, OverridesOf, string[]]>([
    ['that oauth2-proxy does not check', stack => ({ authProvider: oidc(stack, { emailClaim: 'upn' }) }), ['unverifiedAddresses']],
    ['that it checks', stack => ({ authProvider: oidc(stack, { emailClaim: 'email' }) }), []],
    ['where groups decide', stack => ({ authProvider: oidc(stack, { emailClaim: 'upn', allowedGroups: ['ml'] }) }), []],
    ['where every account gets in', stack => ({ ...everybody, authProvider: oidc(stack, { emailClaim: 'upn' }) }), ['everyAccount']],
    ['that is a CDK token', stack => ({ authProvider: oidc(stack, { emailClaim: token }) }), []],
    ['of Entra ID, where administrators set it', stack => ({ authProvider: AuthProvider.entraId({ ...client(stack), tenantId, emailClaim: 'preferred_username' }) }), []],
    ['of a provider of the user\'s own', { authProvider: new Own({ OAUTH2_PROXY_OIDC_EMAIL_CLAIM: 'upn' }) }, ['unverifiedAddresses']],
  ])('%s', (_, overrides, expected) => {
    expect(idsOf(overrides)).toEqual(expected);
  });

  test('the warning names it', () => {
    expect(warningsIn(define(stack => ({ authProvider: oidc(stack, { emailClaim: 'upn' }) })).stack)[0][1]).toMatch(/based on the claim `upn`, .*: make sure that people can neither choose nor change the claim, or set allowed groups$/);
  });
});

describe('the ID tokens of gcloud', () => {
  test.each<[string, OverridesOf, string[]]>([
    ['with Google, which tells accounts of the company', {}, []],
    ['with Google and every account', stack => ({ authProvider: google(stack, ['*']) }), []],
    ['with another provider, which cannot', stack => ({ authProvider: oidc(stack) }), ['consumerAccounts']],
    ['with another provider and groups', stack => ({ authProvider: oidc(stack, { allowedGroups: ['ml'] }) }), []],
  ])('%s', (_, overrides, expected) => {
    expect(idsOf(stack => ({ ...gcloud, ...typeof overrides === 'function' ? overrides(stack) : overrides }))).toEqual(expected);
  });
});

describe('issuers where anyone can have an account', () => {
  const issuers = ['https://accounts.google.com', 'https://appleid.apple.com', 'https://login.microsoftonline.com/common/v2.0'];
  const trusted = (issuerUrl: string) => ({ trustedTokenIssuers: [TokenIssuer.oidc({ issuerUrl, audience: '32555940559.apps.googleusercontent.com' })] });

  test.each(issuers)('%s, with emailDomains: ["*"] and with domains', issuerUrl => {
    expect(idsOf({ ...everybody, ...trusted(issuerUrl), authProvider: AuthProvider.cognito() })).toEqual(['openToEveryone']);
    const { stack } = define({ ...trusted(issuerUrl), authProvider: AuthProvider.cognito() });
    expect(warningsIn(stack)).toEqual([['consumerAccounts', `\`trustedTokenIssuers\` contains ${issuerUrl}, which also issues ID tokens for accounts that people created themselves with an address in \`emailDomains\`, and that they keep when they leave: `
      + 'only `AuthProvider.google` can tell such Google accounts from those of your Workspace; leave the issuer out, and have people send ID tokens of the sign-in provider']]);
  });
});

describe('trusted issuers with Google', () => {
  const company = { trustedTokenIssuers: [TokenIssuer.oidc({ issuerUrl: 'https://id.example.com', audience: 'mlflow' })] };

  test.each<[string, OverridesOf, string[]]>([
    ['whose tokens hold no hosted domain', company, ['noHostedDomain']],
    ['where every Google account may sign in', stack => ({ ...company, authProvider: google(stack, ['*']) }), []],
    ['for machines', { ...company, machineIdentities: ['client'] }, []],
    ['with another provider', stack => ({ ...company, authProvider: oidc(stack) }), []],
    ['that are Google itself', { trustedTokenIssuers: [TokenIssuer.oidc({ issuerUrl: 'https://accounts.google.com', audience: 'mlflow' })] }, []],
    ['that are CDK tokens', { trustedTokenIssuers: [TokenIssuer.oidc({ issuerUrl: token, audience: 'mlflow' })] }, []],
    ['of AWS', { awsIdentityIssuer: 'https://1a2b.tokens.sts.global.api.aws' }, []],
    ['none', { trustedTokenIssuers: [] }, []],
  ])('%s', (_, overrides, expected) => {
    expect(idsOf(overrides)).toEqual(expected);
  });

  test('the warning lists them and says what to do', () => {
    expect(warningsIn(define({ trustedTokenIssuers: [...company.trustedTokenIssuers, ...gcloud.trustedTokenIssuers] }).stack)[0][1]).toBe(
      '`trustedTokenIssuers` contains https://id.example.com, but `hostedDomains` of `authProvider` requires the claim `hd` in tokens of people, which only Google issues: tokens of people from that issuer are rejected; list machines in `machineIdentities`, have the issuer add the claim, or leave the issuer out');
  });
});

describe('sessionRefresh', () => {
  const sessionRefresh = Duration.minutes(30);
  const given = (refreshTokens: boolean) => Object.assign(new Own(), { bind: () => ({ ...new Own().bind(), refreshTokens }) });

  test.each<[string, OverridesOf, string[]]>([
    ['with a provider that may give no refresh token', stack => ({ sessionRefresh, authProvider: oidc(stack, { scope: 'openid email' }) }), ['noRefreshToken']],
    ['with one that gives it', stack => ({ sessionRefresh, authProvider: oidc(stack) }), []],
    ['with one of the user\'s own', { sessionRefresh, authProvider: new Own() }, ['noRefreshToken']],
    ['with one of the user\'s own that says that it gives it', { sessionRefresh, authProvider: given(true) }, []],
    ['left out', stack => ({ authProvider: oidc(stack, { scope: 'openid email' }) }), []],
  ])('%s', (_, overrides, expected) => {
    expect(idsOf(overrides)).toEqual(expected);
  });

  test('the warning says what to do', () => {
    expect(warningsIn(define({ sessionRefresh, authProvider: new Own() }).stack)[0][1]).toBe(
      '`sessionRefresh` is set, but `authProvider` may issue no refresh token, and then every session ends when its ID token expires, often after an hour: add the scope for which the provider issues refresh tokens, mostly `offline_access`; or acknowledge this warning if the provider issues them anyway');
  });
});

describe('names that oauth2-proxy does not know', () => {
  const text = (prop: string, name: string) => `\`${prop}\` contains ${name}, which the oauth2-proxy of this release does not know and ignores without a message: correct the name (names of lists are plural, such as OAUTH2_PROXY_PROVIDER_CA_FILES), or leave it out`;

  test.each(['OAUTH2_PROXY_EMAIL_DOMAIN', 'OAUTH2_PROXY_UPSTREAM', 'OAUTH2_PROXY_NONSENSE', 'OAUTH2_PROXY_OIDC', 'OAUTH2_PROXY_BANNERS'])('%s', name => {
    expect(warningsIn(define({ proxyEnvironment: { [name]: 'x' } }).stack)).toEqual([['unknownNames', text('proxyEnvironment', name)]]);
    expect(warningsIn(define(stack => ({ proxySecrets: { [name]: clientSecret(stack) } })).stack)).toEqual([['unknownNames', text('proxySecrets', name)]]);
    expect(warningsIn(define({ authProvider: new Own({ [name]: 'x' }) }).stack)).toEqual([['unknownNames', text('authProvider', name)]]);
  });

  test('several of them are listed in one warning', () => {
    expect(warningsIn(define({ proxyEnvironment: { OAUTH2_PROXY_A: 'x', OAUTH2_PROXY_B: 'x' } }).stack)[0][1]).toMatch(/contains OAUTH2_PROXY_A, OAUTH2_PROXY_B, which/);
  });

  test.each(['HTTPS', 'OAUTH2_PROXY_BANNER', `${token}_NAME`, `OAUTH2_PROXY_${token}`])('%s is known', name => {
    expect(idsOf({ proxyEnvironment: { [name]: 'x' } })).toEqual([]);
  });

  test.each(['OAUTH2_PROXY_GITHUB_TOKEN', 'OAUTH2_PROXY_SIGNATURE_KEY'])('%s is known, as a secret', name => {
    expect(idsOf(stack => ({ proxySecrets: { [name]: clientSecret(stack) } }))).toEqual([]);
  });
});

describe('domains for e-mail', () => {
  test.each([
    'gmail.com', 'googlemail.com', 'outlook.com', 'hotmail.com', 'hotmail.co.uk', 'live.nl', 'yahoo.com', 'yahoo.co.jp', 'yahoo.com.br', 'icloud.com', 'me.com', 'aol.com', 'proton.me', 'gmx.de', 'gmx.net', 'web.de',
    'mail.ru', 'yandex.ru', 'qq.com', '163.com', 'orange.fr', 'libero.it', 'seznam.cz', 'co.uk', 'com.au', 'ac.at',
  ])('%s, where anyone or no one has an address', domain => {
    expect(warningsIn(define(stack => ({ emailDomains: ['example.com', domain], authProvider: oidc(stack) })).stack)).toEqual([['publicEmailDomains', `\`emailDomains\` contains ${domain}, where anyone can get an address, or where there are no addresses: list your own domains`]]);
  });

  test.each([
    'example.com', 'gmail.example.com', 'live.example.com', 'outlook.example', 'mygmail.com', 'gmail.com.example.com', 'example.co.uk', 'co.example.com', 'mail.example.com', 'web.design', 'me.example', 'xseznam.cz',
  ])('%s belongs to a company', domain => {
    expect(idsOf({ emailDomains: [domain] })).toEqual([]);
  });

  test('with Google no one there gets in, unless every Google account may', () => {
    expect(warningsIn(define({ emailDomains: ['example.com', 'gmail.com'] }).stack)).toEqual([['publicEmailDomains',
      '`emailDomains` contains gmail.com, but no account there gets in: private accounts do not belong to a Google Workspace, which `hostedDomains` requires; list your own domains, or allow every address there with `hostedDomains: ["*"]` of `AuthProvider.google`']]);
    expect(warningsIn(define(stack => ({ emailDomains: ['gmail.com'], authProvider: google(stack, ['*']) })).stack)[0][1]).toMatch(/where anyone can get an address/);
  });

  test('CDK tokens are not checked', () => {
    expect(idsOf({ emailDomains: [token] })).toEqual([]);
  });
});

describe('two deployments in one app', () => {
  /** The warnings of the second deployment. The first never has one. */
  function second(one: (stack: Stack) => Overrides, other: (stack: Stack, first: SecureMlflow) => Overrides, stage?: string): [string, string][] {
    const app = newApp();
    const first = define(one, new Stack(app, 'One'));
    const { stack } = define(own => other(own, first.mlflow), new Stack(stage === undefined ? app : new Stage(app, stage), 'Other'));
    expect(warningsIn(first.stack)).toEqual([]);
    return warningsIn(stack);
  }
  const withOidc = (options: Partial<OidcAuthProviderOptions> = {}) => (stack: Stack) => ({ authProvider: oidc(stack, options) });
  const inBucket = (artifactPath?: string) => (stack: Stack) => ({
    artifactBucket: s3.Bucket.fromBucketName(stack, 'Bucket', 'artifacts'), ...artifactPath && { artifactPath }, ...withOidc({ clientId: stack.node.path })(stack),
  });

  test.each<[string, (stack: Stack) => Overrides, (stack: Stack, first: SecureMlflow) => Overrides, string[]]>([
    ['that share nothing', () => ({}), withOidc(), []],
    ['in the same folder', inBucket(), inBucket(), ['sharedArtifacts']],
    ['in the same folder of a bucket that one stack makes by its name', stack => ({ artifactBucket: new s3.Bucket(stack, 'Bucket', { bucketName: 'artifacts' }), ...withOidc({ clientId: 'one' })(stack) }), inBucket(), ['sharedArtifacts']],
    ['in buckets that get their names at deployment', stack => ({ artifactBucket: new s3.Bucket(stack, 'Bucket'), ...withOidc({ clientId: 'one' })(stack) }),
      stack => ({ artifactBucket: new s3.Bucket(stack, 'Bucket'), ...withOidc({ clientId: 'other' })(stack) }), []],
    ['with the same client, a slash apart', withOidc(), withOidc({ issuerUrl: 'https://id.example.com/' }), ['sharedClient']],
    ['in the same folder of the bucket that one makes', () => ({}), (stack, { artifactBucket }) => ({ artifactBucket, ...withOidc()(stack) }), ['sharedArtifacts']],
    ['inside the folder of the other', inBucket(), inBucket('mlflow/staging'), ['sharedArtifacts']],
    ['around the folder of the other', inBucket('a/b'), inBucket('a'), ['sharedArtifacts']],
    ['in separate folders', inBucket('a'), inBucket('ab'), []],
    ['with the same client', withOidc(), withOidc(), ['sharedClient']],
    ['with the same client of Google', () => ({}), () => ({}), ['sharedClient']],
    ['with the same client of people\'s tools', withOidc({ clientId: 'one', toolsClientId: 'tools' }), withOidc({ clientId: 'other', toolsClientId: 'tools' }), ['sharedClient']],
    ['with the client of the other for people\'s tools', withOidc({ clientId: 'one' }), withOidc({ clientId: 'other', toolsClientId: 'one' }), ['sharedClient']],
    ['with separate clients for people\'s tools', withOidc({ clientId: 'one', toolsClientId: 'a' }), withOidc({ clientId: 'other', toolsClientId: 'b' }), []],
    ['with clients of other providers', withOidc(), withOidc({ issuerUrl: 'https://other.example.com' }), []],
    ['with separate clients', withOidc(), withOidc({ clientId: 'other' }), []],
    ['with a client that takes no tokens', stack => ({ authProvider: AuthProvider.gitlab(client(stack)) }), stack => ({ authProvider: AuthProvider.gitlab(client(stack)) }), []],
    ['with a client of GitHub, which makes none', stack => ({ authProvider: AuthProvider.github(client(stack)) }), stack => ({ authProvider: AuthProvider.github(client(stack)) }), []],
  ])('%s', (_, one, other, expected) => {
    expect(second(one, other).map(([id]) => id)).toEqual(expected);
  });

  test('also in separate stages', () => {
    expect(second(inBucket(), inBucket(), 'Staging').map(([id]) => id)).toEqual(['sharedArtifacts']);
  });

  test('the warnings name the other one', () => {
    expect(second(inBucket(), inBucket()).map(([, text]) => text)).toEqual([expect.stringMatching(/^`artifactPath` is "mlflow" in the bucket artifacts, where One\/Mlflow has "mlflow": .*; give each its own `artifactPath` or bucket$/)]);
    expect(second(withOidc(), withOidc()).map(([, text]) => text)).toEqual([expect.stringMatching(/^`authProvider` has the OAuth client "client", as One\/Mlflow does: .*; register a client for each$/)]);
  });

  test('the warnings show no CDK token', () => {
    const made = second(withOidc({ clientId: token }), (stack, { artifactBucket }) => ({ artifactBucket, ...withOidc({ clientId: token })(stack) }));
    expect(made.map(([, text]) => text)).toEqual([
      expect.stringMatching(/^`artifactPath` is "mlflow" in the same bucket, where One/), expect.stringMatching(/^`authProvider` has the same OAuth client, as One/),
    ]);
  });

  test('a deployment that failed does not count', () => {
    const app = newApp();
    expect(() => define({ authProvider: new Own({ OAUTH2_PROXY_COOKIE_SECURE: 'false' }) }, new Stack(app, 'One'))).toThrow();
    expect(warningsIn(define({}, new Stack(app, 'Other')).stack)).toEqual([]);
  });
});

describe('jobs of the server', () => {
  test.each([['true', ['serverJobs']], ['1', ['serverJobs']], ['false', []], ['FALSE', []], ['0', []], [token, []]])('MLFLOW_SERVER_ENABLE_JOB_EXECUTION=%s', (value, expected) => {
    expect(idsOf({ environment: { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: value } })).toEqual(expected);
  });

  test('the warning says what everybody can do', () => {
    expect(warningsIn(define({ environment: { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'true' } }).stack)[0][1]).toContain('everybody who is signed in can then make the server run judges');
  });
});

describe('a database from a snapshot', () => {
  test('would be lost with the prop', () => {
    const [[id, text], ...more] = warningsIn(define({ databaseOptions: { snapshotIdentifier: 'before' } }).stack);
    expect([id, more]).toEqual(['databaseFromSnapshot', []]);
    expect(text).toContain('if it is removed, CloudFormation replaces the database with an empty one');
  });

  test('does not apply to other options', () => {
    expect(idsOf({ databaseOptions: { parameters: { log_min_duration_statement: '1000' } } })).toEqual([]);
  });
});
