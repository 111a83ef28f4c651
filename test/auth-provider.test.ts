import { CfnParameter, Duration, Lazy, SecretValue, Stack, Token } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import * as cognito from 'aws-cdk-lib/aws-cognito';
import { Construct } from 'constructs';
import { bindOptions, clientSecret, define, environmentOf, newStack, only, resources, secretsOf, synthesise } from './fixtures';
import {
  AuthProvider, AuthProviderConfig, CognitoAuthProviderOptions, EntraIdAuthProviderOptions, GithubAuthProviderOptions,
  GitlabAuthProviderOptions, KeycloakAuthProviderOptions, OidcAuthProviderOptions, TokenIssuer,
} from '../src';

const stack = newStack();
const client = { clientId: 'client', clientSecret: clientSecret(stack) };
const tenantId = '11111111-2222-3333-4444-555555555555';
const realmUrl = 'https://keycloak.example.com/realms/company';
const signOutBack = 'https%3A%2F%2Fmlflow.example.com';
const token = Lazy.string({ produce: () => 'known later' });
const tokens = Token.asList({ Ref: 'List' });

const oidc = (options: Partial<OidcAuthProviderOptions>) => AuthProvider.oidc({ ...client, issuerUrl: 'https://id.example.com', ...options });
const entraId = (options: Partial<EntraIdAuthProviderOptions> = {}) => AuthProvider.entraId({ ...client, tenantId, ...options });
const keycloak = (options: Partial<KeycloakAuthProviderOptions> = {}) => AuthProvider.keycloak({ ...client, realmUrl, ...options });
const github = (options: Partial<GithubAuthProviderOptions> = {}) => AuthProvider.github({ ...client, ...options });
const gitlab = (options: Partial<GitlabAuthProviderOptions> = {}) => AuthProvider.gitlab({ ...client, ...options });

function bound(provider: AuthProvider): AuthProviderConfig {
  const { clientSecret: _, ...config } = provider.bind(stack, bindOptions);
  return stack.resolve(config);
}

describe('Google', () => {
  const google = (hostedDomains?: string[]) => AuthProvider.google({ ...client, ...hostedDomains && { hostedDomains } });
  const domainsOf = (hostedDomains: string[] | undefined, emailDomains: string[]) => {
    const { hostedDomains: domains, openToPublic } = google(hostedDomains).bind(stack, { ...bindOptions, emailDomains });
    return [domains, openToPublic];
  };

  test.each<[string[] | undefined, string[], unknown[]]>([
    [undefined, ['example.com', 'ml.example.com'], [['example.com', 'ml.example.com'], false]],
    [['example.org'], ['example.com'], [['example.org'], false]],
    [['example.org'], ['*'], [['example.org'], false]],
    [undefined, ['*'], [undefined, true]],
    [['*'], ['example.com'], [undefined, true]],
  ])('with the hosted domains %j and the e-mail domains %j', (hostedDomains, emailDomains, expected) => {
    expect(domainsOf(hostedDomains, emailDomains)).toEqual(expected);
  });

  test('accepts hosted domains that are CDK tokens', () => {
    expect(domainsOf([token], ['example.com'])).toEqual([[token], false]);
    expect(domainsOf(undefined, tokens)).toEqual([tokens, false]);
  });

  test.each([['Example.com'], ['@example.com'], ['example'], [''], ['*', 'example.com'], ['example.com', '*'], ['example.com,example.org']])('fails for the hosted domains %j, …', (...hostedDomains) => {
    expect(() => google(hostedDomains)).toThrow(/^AuthProvider\.google: `hostedDomains` must contain domains in lower case such as "example\.com", or "\*" alone, got ".*": use the domains of your Google Workspace$/);
  });

  test('fails for an empty list of hosted domains, and for an empty client id', () => {
    expect(() => google([])).toThrow(new Error('AuthProvider.google: `hostedDomains` must contain at least one domain, got []: leave it out for `emailDomains`, or use ["*"] for every Google account'));
    expect(() => AuthProvider.google({ ...client, clientId: ' ' })).toThrow(/^AuthProvider\.google: `clientId` must not be empty/);
  });
});

describe('the client of people\'s tools', () => {
  const minimal = { issuerUrl: 'https://id.example.com', scope: 'openid email profile offline_access' };

  test.each<[string, AuthProvider, object]>([
    ['OpenID Connect', oidc({ toolsClientId: 'tools' }), minimal],
    ['OpenID Connect with a scope', oidc({ toolsClientId: 'tools', scope: 'openid email groups' }), { ...minimal, scope: 'openid email groups offline_access' }],
    ['OpenID Connect with a scope that has all', oidc({ toolsClientId: 'tools', scope: 'offline_access openid' }), { ...minimal, scope: 'offline_access openid' }],
    ['a provider that refuses offline_access', oidc({ toolsClientId: 'tools', issuerUrl: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_1' }), {
      issuerUrl: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_1', scope: 'openid email profile',
    }],
    ['Entra ID', entraId({ toolsClientId: 'tools' }), { ...minimal, issuerUrl: `https://login.microsoftonline.com/${tenantId}/v2.0` }],
    ['Keycloak', keycloak({ toolsClientId: 'tools' }), { issuerUrl: realmUrl, scope: 'openid email profile' }],
  ])('of %s', (_, provider, expected) => {
    expect(bound(provider).toolsClient).toEqual({ ...expected, clientId: 'tools' });
  });

  test('there is none by default', () => {
    expect([oidc({}), entraId(), keycloak(), github(), gitlab()].map(provider => bound(provider).toolsClient)).toEqual(Array(5).fill(undefined));
  });

  test('the load balancer publishes it, and its ID tokens are accepted', () => {
    const { template } = synthesise(() => ({ authProvider: oidc({ toolsClientId: 'tools', extraAudiences: ['api'] }) }));
    const { Conditions, Actions } = resources(template, 'AWS::ElasticLoadBalancingV2::ListenerRule').map(([, { Properties }]) => Properties).find(({ Priority }) => Priority === 2)!;
    expect(Conditions).toEqual([{ Field: 'path-pattern', PathPatternConfig: { Values: ['/.well-known/mlflow-secure-tracking'] } }]);
    expect(Actions).toEqual([{ Type: 'fixed-response', FixedResponseConfig: { StatusCode: '200', ContentType: 'application/json', MessageBody: expect.any(String) } }]);
    expect(JSON.parse(Actions[0].FixedResponseConfig.MessageBody)).toEqual({ issuer: 'https://id.example.com', client_id: 'tools', scope: minimal.scope });
    expect(environmentOf(template, 'oauth2-proxy').OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES).toBe('api,tools');
  });

  test('without it the path is closed like any other', () => {
    const { template } = synthesise(() => ({ authProvider: oidc({}) }));
    expect(resources(template, 'AWS::ElasticLoadBalancingV2::ListenerRule')).toHaveLength(1);
    expect(environmentOf(template, 'oauth2-proxy')).not.toHaveProperty('OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES');
  });

  test.each<[string, () => AuthProvider, string]>([
    ['no id', () => entraId({ toolsClientId: ' ' }), 'AuthProvider.entraId: `toolsClientId` must not be empty, got " ": use the id of the OAuth client that you registered at the provider'],
    ['two ids', () => keycloak({ toolsClientId: 'a,b' }), 'AuthProvider.keycloak: `toolsClientId` must be one client id without commas and spaces, got "a,b": use the id of the public client that you registered at the provider'],
    ['a pasted space', () => keycloak({ toolsClientId: ' a' }), 'AuthProvider.keycloak: `toolsClientId` must be one client id without commas and spaces, got " a": use the id of the public client that you registered at the provider'],
    ['Google', () => oidc({ issuerUrl: 'https://accounts.google.com', toolsClientId: 'x' }), 'AuthProvider.oidc: `toolsClientId` must be left out for Google, which does not support clients without a secret, got "x": use `TokenIssuer.gcloud()`'],
  ])('fails for %s', (_, make, message) => {
    expect(make).toThrow(new Error(message));
  });

  test('may be a CDK token', () => {
    expect(bound(oidc({ toolsClientId: token })).toolsClient).toMatchObject({ clientId: 'known later' });
  });

  test.each<[string, Partial<AuthProviderConfig>, string]>([
    ['the client with a secret', { clientId: 'tools' }, '`authProvider` must have different clients for tools and for the browser, got "tools" for both: register a second client, without a secret, for `toolsClientId`'],
    ['a provider without bearer tokens', { bearerTokens: false }, '`authProvider` must not have a client for tools if it accepts no bearer tokens, which those tools send: leave the client out'],
    ['a scope without openid', { toolsClient: { issuerUrl: 'https://id.example.com', clientId: 'tools', scope: 'email' } },
      '`authProvider` must request the scope "openid" with its client for tools, got "email": without this scope the tools get no ID token to send; add it to `scope`'],
    ['more scopes than fit', { toolsClient: { issuerUrl: 'https://id.example.com', clientId: 'tools', scope: `openid ${'x'.repeat(993)}` } },
      '`authProvider` must have issuer, id and scope of the client for tools with at most 1024 characters, got 1066: request fewer scopes'],
  ])('%s fails', (_, changes, message) => {
    const provider = { bind: (...args: Parameters<AuthProvider['bind']>) => ({ ...oidc({ toolsClientId: 'tools' }).bind(...args), ...changes }) };
    expect(() => synthesise(() => ({ authProvider: provider }))).toThrow(message);
  });
});

describe('who can have an account', () => {
  const pool = (own: Stack, props: cognito.UserPoolProps = {}) => new cognito.UserPool(own, 'Pool', props);
  const withGoogle = (own: Stack) => {
    const userPool = pool(own);
    new cognito.UserPoolIdentityProviderGoogle(own, 'Google', { userPool, clientId: 'x', clientSecretValue: SecretValue.unsafePlainText('x') });
    return userPool;
  };
  const ofL1 = (own: Stack, adminCreateUserConfig?: object) => {
    const userPool = pool(own);
    Object.assign(userPool.node.defaultChild!, { adminCreateUserConfig });
    return userPool;
  };
  const saml = cognito.UserPoolClientIdentityProvider.custom('CompanySaml');
  const { COGNITO, GOOGLE } = cognito.UserPoolClientIdentityProvider;

  test.each<[string, (own: Stack) => AuthProvider, boolean | undefined]>([
    ['any OpenID Connect provider', () => oidc({}), undefined],
    ['one with allowed groups', () => oidc({ allowedGroups: ['ml'] }), false],
    ['Google by OpenID Connect', () => oidc({ issuerUrl: 'https://accounts.google.com' }), true],
    ['Google by OpenID Connect, spelt otherwise', () => oidc({ issuerUrl: 'https://Accounts.Google.com:443/' }), true],
    ['Apple', () => oidc({ issuerUrl: 'https://appleid.apple.com' }), true],
    ['every tenant of Entra ID', () => oidc({ issuerUrl: 'https://login.microsoftonline.com/common/v2.0' }), true],
    ['every company of Entra ID', () => oidc({ issuerUrl: 'https://login.microsoftonline.com/organizations/v2.0' }), true],
    ['personal accounts of Microsoft', () => oidc({ issuerUrl: 'https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0' }), true],
    ['one tenant of Entra ID', () => oidc({ issuerUrl: `https://login.microsoftonline.com/${tenantId}/v2.0` }), undefined],
    ['a host that begins like Google\'s', () => oidc({ issuerUrl: 'https://accounts.google.com.example.com' }), undefined],
    ['an issuer that is a CDK token', () => oidc({ issuerUrl: token }), undefined],
    ['Entra ID', () => entraId(), false],
    ['Keycloak', () => keycloak(), undefined],
    ['Keycloak with groups', () => keycloak({ allowedGroups: ['/ml'] }), false],
    ['Keycloak with roles', () => keycloak({ allowedRoles: ['ml'] }), false],
    ['a new user pool', () => AuthProvider.cognito(), false],
    ['a new one with Google', () => AuthProvider.cognito({ identityProviders: [COGNITO, GOOGLE] }), true],
    ['one of the app', own => AuthProvider.cognito({ userPool: pool(own) }), false],
    ['one of the app with sign-up', own => AuthProvider.cognito({ userPool: pool(own, { selfSignUpEnabled: true }) }), true],
    ['one of the app with sign-up and groups', own => AuthProvider.cognito({ userPool: pool(own, { selfSignUpEnabled: true }), allowedGroups: ['ml'] }), false],
    ['one of the app with sign-up, of which the client takes the company\'s SAML alone', own => AuthProvider.cognito({ userPool: pool(own, { selfSignUpEnabled: true }), identityProviders: [saml] }), false],
    ['one of the app with Google', own => AuthProvider.cognito({ userPool: withGoogle(own) }), true],
    ['one of the app with Google, which the client does not accept', own => AuthProvider.cognito({ userPool: withGoogle(own), identityProviders: [COGNITO] }), false],
    ['one without the setting, for which Cognito allows sign-up', own => AuthProvider.cognito({ userPool: ofL1(own) }), true],
    ['one with fewer settings', own => AuthProvider.cognito({ userPool: ofL1(own, {}) }), true],
    ['one whose settings are CDK tokens', own => AuthProvider.cognito({ userPool: ofL1(own, Lazy.any({ produce: () => ({}) })) }), undefined],
    ['one with a setting that is a CDK token', own => AuthProvider.cognito({ userPool: ofL1(own, { allowAdminCreateUserOnly: Lazy.any({ produce: () => true }) }) }), undefined],
    ['one that is imported', own => AuthProvider.cognito({ userPool: cognito.UserPool.fromUserPoolId(own, 'Pool', 'eu-west-1_x') }), undefined],
  ])('%s', (_, make, expected) => {
    const own = newStack();
    expect(make(own).bind(new Construct(own, 'Mlflow'), bindOptions).openToPublic).toBe(expected);
  });
});

describe('sessionRefresh', () => {
  const refreshed = { ...bindOptions, sessionRefresh: Duration.minutes(30) };
  const asked = (provider: AuthProvider, options = refreshed) => {
    const own = newStack();
    const { environment, refreshTokens } = provider.bind(new Construct(own, 'Mlflow'), options);
    return [environment.OAUTH2_PROXY_SCOPE, refreshTokens];
  };

  test.each<[string, AuthProvider, unknown[]]>([
    ['Google', AuthProvider.google(client), ['openid email profile', false]],
    ['Google by OpenID Connect', oidc({ issuerUrl: 'https://accounts.google.com', scope: 'openid email offline_access' }), ['openid email offline_access', false]],
    ['any OpenID Connect provider', oidc({}), ['openid email profile offline_access', true]],
    ['Cognito by OpenID Connect', oidc({ issuerUrl: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x' }), ['openid email profile', true]],
    ['one with scopes of the user\'s own', oidc({ scope: 'openid email groups offline_access' }), ['openid email groups offline_access', true]],
    ['one whose scopes lack it', oidc({ scope: 'openid email' }), ['openid email', undefined]],
    ['one with another scope of a similar name', oidc({ scope: 'openid email not_offline_access' }), ['openid email not_offline_access', undefined]],
    ['one whose scopes are CDK tokens', oidc({ scope: token }), [token, true]],
    ['Cognito, which rejects the scope', AuthProvider.cognito(), ['openid email profile', true]],
    ['Entra ID', entraId(), ['openid email profile offline_access', true]],
    ['Entra ID with groups', entraId({ allowedGroups: ['a'] }), ['openid email profile User.Read offline_access', true]],
    ['Keycloak', keycloak(), ['openid email profile', true]],
    ['GitHub', github(), ['user:email read:org', false]],
    ['GitLab, which rejects the scope', gitlab(), ['openid email', true]],
  ])('%s', (_, provider, expected) => {
    expect(asked(provider)).toEqual(expected);
  });

  test('without it no additional scope is requested', () => {
    expect([oidc({}), entraId()].map(provider => asked(provider, bindOptions as typeof refreshed)[0])).toEqual(Array(2).fill('openid email profile'));
  });

  test.each([['Google', AuthProvider.google(client)], ['GitHub', github()]])('is refused with %s', (_, authProvider) => {
    expect(() => define({ authProvider, sessionRefresh: Duration.minutes(30) })).toThrow(new Error('Stack/Mlflow: a prop needs a change\n'
      + '  - `sessionRefresh` must be left out with this `authProvider`, which issues no refresh token to oauth2-proxy: use a shorter `sessionDuration`, after which people sign in at the provider again'));
    expect(() => define({ authProvider })).not.toThrow();
  });

  test('reaches the provider', () => {
    const { template } = synthesise({ authProvider: entraId(), sessionRefresh: Duration.minutes(30) });
    expect(environmentOf(template, 'oauth2-proxy').OAUTH2_PROXY_SCOPE).toBe('openid email profile offline_access');
  });
});

describe('Entra ID', () => {
  test('with the minimum', () => {
    expect(bound(entraId())).toEqual({
      clientId: 'client',
      signOutUrl: `https://login.microsoftonline.com/${tenantId}/oauth2/v2.0/logout?post_logout_redirect_uri=${signOutBack}`,
      openToPublic: false,
      groups: true,
      refreshTokens: true,
      environment: {
        OAUTH2_PROXY_PROVIDER: 'entra-id',
        OAUTH2_PROXY_OIDC_ISSUER_URL: `https://login.microsoftonline.com/${tenantId}/v2.0`,
        OAUTH2_PROXY_SCOPE: 'openid email profile',
      },
    });
  });

  test('with every option', () => {
    expect(bound(entraId({ emailClaim: 'preferred_username', allowedGroups: ['a', 'b'] })).environment).toEqual({
      OAUTH2_PROXY_PROVIDER: 'entra-id',
      OAUTH2_PROXY_OIDC_ISSUER_URL: `https://login.microsoftonline.com/${tenantId}/v2.0`,
      OAUTH2_PROXY_SCOPE: 'openid email profile User.Read',
      OAUTH2_PROXY_OIDC_EMAIL_CLAIM: 'preferred_username',
      OAUTH2_PROXY_ALLOWED_GROUPS: 'a,b',
    });
  });

  test.each([
    'common', 'organizations', 'consumers', '9188040d-6c67-4c5b-b112-36a304b66dad', 'example.onmicrosoft.com', '', tenantId.replace('1', 'A'), `${tenantId}/v2.0`, `${tenantId}\n`,
  ])('fails for the tenant %j', id => {
    expect(() => entraId({ tenantId: id })).toThrow(`AuthProvider.entraId: \`tenantId\` must be the id of one tenant, a GUID in lower case, got ${JSON.stringify(id)}: use the directory (tenant) id`);
  });
});

describe('Keycloak', () => {
  const minimal = {
    OAUTH2_PROXY_PROVIDER: 'keycloak-oidc',
    OAUTH2_PROXY_OIDC_ISSUER_URL: realmUrl,
    OAUTH2_PROXY_SCOPE: 'openid email profile',
  };

  test('with the minimum', () => {
    expect(bound(keycloak({ clientId: 'ml flow' }))).toEqual({
      clientId: 'ml flow',
      signOutUrl: `${realmUrl}/protocol/openid-connect/logout?client_id=ml%20flow&post_logout_redirect_uri=${signOutBack}`,
      groups: true,
      refreshTokens: true,
      environment: minimal,
    });
  });

  test('with every option', () => {
    expect(bound(keycloak({ allowedGroups: ['/ml', '/data'], allowedRoles: ['user', 'mlflow:user'] })).environment).toEqual({
      ...minimal,
      OAUTH2_PROXY_ALLOWED_GROUPS: '/ml,/data',
      OAUTH2_PROXY_ALLOWED_ROLES: 'user,mlflow:user',
    });
  });

  test.each([
    'https://keycloak.example.com', 'http://keycloak.example.com/realms/company', `${realmUrl}/`, `${realmUrl}/account`, 'https://keycloak.example.com/realms/', `${realmUrl}?x`, `${realmUrl},x`, '',
  ])('fails for the realm %j', url => {
    expect(() => keycloak({ realmUrl: url })).toThrow(new Error(
      `AuthProvider.keycloak: \`realmUrl\` must be https://<host>/realms/<name>, got ${JSON.stringify(url)}: use the issuer in the realm's OpenID endpoint configuration`));
  });

  test('may be below a path, as in older versions', () => {
    expect(bound(keycloak({ realmUrl: 'https://example.com/auth/realms/ml' })).environment.OAUTH2_PROXY_OIDC_ISSUER_URL).toBe('https://example.com/auth/realms/ml');
  });
});

describe('GitHub', () => {
  const minimal = { OAUTH2_PROXY_PROVIDER: 'github', OAUTH2_PROXY_SCOPE: 'user:email read:org' };
  const config = { clientId: 'client', groups: true, refreshTokens: false, environment: minimal };

  test('with the minimum', () => {
    expect(bound(github())).toEqual({ ...config, openToPublic: true });
  });

  test('with an organization and its teams', () => {
    expect(bound(github({ organization: 'Example', teams: ['ml-team', 'data.team'] }))).toEqual({
      ...config,
      openToPublic: false,
      environment: { ...minimal, OAUTH2_PROXY_GITHUB_ORG: 'Example', OAUTH2_PROXY_GITHUB_TEAM: 'ml-team,data.team' },
    });
  });

  test('with teams of several organizations', () => {
    expect(bound(github({ teams: ['one:ml', 'other:ml'] }))).toEqual({
      ...config,
      openToPublic: false,
      environment: { ...minimal, OAUTH2_PROXY_GITHUB_TEAM: 'one:ml,other:ml' },
    });
  });

  test('Enterprise Server', () => {
    expect(bound(github({ enterpriseUrl: 'https://github.example.com' }))).toEqual({
      ...config,
      environment: {
        ...minimal,
        OAUTH2_PROXY_LOGIN_URL: 'https://github.example.com/login/oauth/authorize',
        OAUTH2_PROXY_REDEEM_URL: 'https://github.example.com/login/oauth/access_token',
        OAUTH2_PROXY_VALIDATE_URL: 'https://github.example.com/api/v3',
      },
    });
  });

  test('fails where the organization is a CDK token: an empty one would admit everybody', () => {
    expect(() => github({ organization: token })).toThrow(new Error(
      'AuthProvider.github: `organization` must be known at synthesis, got a CDK token, which could be empty and then admit every account of GitHub: write the name, or use `teams`'));
  });

  test.each(['', 'one,other', 'one:team', 'https://github.com/one', 'a b'])('fails for the organization %j', organization => {
    expect(() => github({ organization })).toThrow(new Error(
      `AuthProvider.github: \`organization\` must be the name of one organization, got ${JSON.stringify(organization)}: use the name in its address on GitHub`));
  });

  test.each([
    [undefined, 'ml', '"organization:slug" where `organization` is left out'],
    [undefined, 'one:ml:x', '"organization:slug" where `organization` is left out'],
    ['one', 'one:ml', 'the slugs of teams where `organization` is given'],
    ['one', 'ML Team', 'the slugs of teams where `organization` is given'],
  ])('fails where the organization is %j and a team %j', (organization, team, allowed) => {
    const options = { ...organization && { organization }, teams: [team] };
    expect(() => github(options)).toThrow(new Error(`AuthProvider.github: \`teams\` must contain ${allowed}, got ${JSON.stringify(team)}: use the name in the team's address on GitHub`));
  });
});

describe('GitLab', () => {
  const minimal = {
    OAUTH2_PROXY_PROVIDER: 'gitlab',
    OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://gitlab.com',
    OAUTH2_PROXY_SCOPE: 'openid email',
  };

  test('with the minimum', () => {
    expect(bound(gitlab())).toEqual({ clientId: 'client', openToPublic: true, bearerTokens: false, groups: true, refreshTokens: true, environment: minimal });
  });

  test('with every option', () => {
    expect(bound(gitlab({ baseUrl: 'https://gitlab.example.com:8443', allowedGroups: ['ml', 'ml/team'], allowedProjects: ['ml/models', 'ml/data/raw=30'] }))).toEqual({
      clientId: 'client',
      openToPublic: false,
      bearerTokens: false,
      groups: true,
      refreshTokens: true,
      environment: {
        OAUTH2_PROXY_PROVIDER: 'gitlab',
        OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://gitlab.example.com:8443',
        OAUTH2_PROXY_SCOPE: 'openid email read_api',
        OAUTH2_PROXY_GITLAB_GROUPS: 'ml,ml/team',
        OAUTH2_PROXY_GITLAB_PROJECTS: 'ml/models,ml/data/raw=30',
      },
    });
  });

  test.each<[Partial<GitlabAuthProviderOptions>, boolean | undefined]>([
    [{ allowedGroups: ['ml'] }, false],
    [{ allowedProjects: ['ml/models'] }, false],
    [{ baseUrl: 'https://gitlab.example.com', allowedGroups: ['ml'] }, false],
    [{ baseUrl: 'https://gitlab.example.com' }, undefined], // where people may be able to sign up
    [{ baseUrl: token }, undefined],
  ])('with %j: open to the public is %j', (options, expected) => {
    expect(bound(gitlab(options)).openToPublic).toBe(expected);
  });

  test('no bearer token is accepted: strangers can choose a part of the subjects of tokens for CI jobs', () => {
    for (const provider of [gitlab(), gitlab({ baseUrl: 'https://gitlab.example.com', allowedGroups: ['ml'] })]) {
      expect(environmentOf(synthesise({ authProvider: provider }).template, 'oauth2-proxy').OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS).toBe('false');
    }
  });

  test('fails together with props that need bearer tokens', () => {
    expect(() => define({ authProvider: gitlab(), trustedTokenIssuers: [TokenIssuer.gcloud()] })).toThrow(/trustedTokenIssuers/);
  });

  test.each(['models', '/ml/models', 'ml/models/', 'ml/models=50', 'ml/models=', 'ml/mo dels'])('fails for the project %j', project => {
    expect(() => gitlab({ allowedProjects: [project] })).toThrow(`AuthProvider.gitlab: \`allowedProjects\` must contain full paths, optionally with "=" and one of the levels 10, 20, 30 and 40, such as "ml/models=30", got ${JSON.stringify(project)}: use`);
  });

  test.each(['https://gitlab.com', 'https://gitlab.com/', 'https://GitLab.com', 'https://gitlab.com:443', 'https://gitlab.com./x', 'https://gitlab.example.com', 'https://my.gitlab.example.com:8443'])('fails as the issuer %s of AuthProvider.oidc', issuerUrl => {
    expect(() => oidc({ issuerUrl })).toThrow(new Error(
      `AuthProvider.oidc: \`issuerUrl\` must not be the issuer of a GitLab, which also signs tokens for CI jobs, got ${JSON.stringify(issuerUrl)}: use \`AuthProvider.gitlab\`, which accepts no bearer tokens`));
  });
});

test.each([
  ['github', 'enterpriseUrl', (url: string) => github({ enterpriseUrl: url })],
  ['gitlab', 'baseUrl', (url: string) => gitlab({ baseUrl: url })],
])('AuthProvider.%s fails where %s is not an https origin', (factory, option, make) => {
  for (const url of ['http://git.example.com', 'https://git.example.com/', 'https://git.example.com/sub', 'git.example.com', 'https://Git.example.com', 'https://a.example,https://b.example', '']) {
    expect(() => make(url)).toThrow(new Error(
      `AuthProvider.${factory}: \`${option}\` must be https:// and a host in lower case, such as "https://${factory}.example.com", got ${JSON.stringify(url)}: leave out the path and the trailing slash`));
  }
});

test('AuthProvider.oidc fails for the issuer of a public CI system', () => {
  expect(() => oidc({ issuerUrl: 'https://token.actions.githubusercontent.com' })).toThrow(/^AuthProvider\.oidc: `issuerUrl` must not be the issuer of GitHub Actions, got /);
});

describe.each<[string, string, (options: object) => AuthProvider]>([
  ['oidc', 'allowedGroups', oidc],
  ['entraId', 'allowedGroups', entraId],
  ['keycloak', 'allowedGroups', keycloak],
  ['keycloak', 'allowedRoles', keycloak],
  ['github', 'teams', github],
  ['gitlab', 'allowedGroups', gitlab],
  ['gitlab', 'allowedProjects', gitlab],
  ['cognito', 'allowedGroups', AuthProvider.cognito],
])('AuthProvider.%s', (factory, option, make) => {
  test.each([[[]], [['']], [['ml', ' ']], [['ml,admins']]])(`fails where ${option} is %j`, entries => {
    expect(() => make({ [option]: entries })).toThrow(new Error(
      `AuthProvider.${factory}: \`${option}\` must contain at least one entry, each without a comma, got ${JSON.stringify(entries)}: leave it out for no restriction`));
  });

  // An empty list would mean no rule. local/checks/providers.mts shows that the added name changes nothing else.
  test.each([
    ['one', [token, token], 'known later,known later,nobody:nobody'],
    ['all', tokens, { 'Fn::Join': [',', [{ 'Fn::Join': [',', { Ref: 'List' }] }, 'nobody:nobody']] }],
  ])(`no one gets in where %s of ${option} could be empty at deployment`, (_, entries, expected) => {
    const own = newStack();
    const { environment } = make({ [option]: entries }).bind(new Construct(own, 'Mlflow'), bindOptions);
    expect(Object.values(own.resolve(environment))).toContainEqual(expected);
  });
});

test.each([['entraId', entraId], ['keycloak', keycloak], ['github', github], ['gitlab', gitlab]])('AuthProvider.%s fails for an empty client id', (factory, make) => {
  expect(() => make({ clientId: ' ' })).toThrow(new Error(`AuthProvider.${factory}: \`clientId\` must not be empty, got " ": use the id of the OAuth client that you registered at the provider`));
});

test.each([['oidc', oidc({})], ['entraId', entraId()], ['keycloak', keycloak()], ['github', github()], ['gitlab', gitlab()]])('AuthProvider.%s returns the client secret that it got', (_, provider) => {
  expect(provider.bind(stack, bindOptions).clientSecret).toBe(client.clientSecret);
});

test('CDK tokens are not checked', () => {
  expect(bound(oidc({ issuerUrl: token, clientId: token })).environment.OAUTH2_PROXY_OIDC_ISSUER_URL).toBe('known later');
  expect(bound(entraId({ tenantId: token, clientId: token })).environment.OAUTH2_PROXY_OIDC_ISSUER_URL).toBe('https://login.microsoftonline.com/known later/v2.0');
  expect(bound(keycloak({ realmUrl: token, clientId: token })).signOutUrl).toBe(`known later/protocol/openid-connect/logout?client_id=known later&post_logout_redirect_uri=${signOutBack}`);
  expect(bound(github({ organization: 'example', teams: [token], enterpriseUrl: token, clientId: token })).environment.OAUTH2_PROXY_GITHUB_TEAM).toBe('known later,nobody:nobody');
  expect(bound(gitlab({ baseUrl: token, allowedProjects: [token], clientId: token })).environment.OAUTH2_PROXY_GITLAB_PROJECTS).toBe('known later,nobody:nobody');
});

test.each([
  ['github', github(), github({ organization: 'example' })],
  ['gitlab', gitlab(), gitlab({ allowedGroups: ['ml'] })],
])('AuthProvider.%s warns where everybody gets in', (_, open, closed) => {
  const warning = Match.stringLikeRegexp('anyone in the world');
  Annotations.fromStack(synthesise({ authProvider: open, emailDomains: ['*'] }).stack).hasWarning('/Stack/Mlflow', warning);
  Annotations.fromStack(synthesise({ authProvider: closed, emailDomains: ['*'] }).stack).hasNoWarning('/Stack/Mlflow', warning);
});

describe('with AuthProvider.oidc', () => {
  test('Okta, with groups of a custom authorization server', () => {
    expect(bound(oidc({ issuerUrl: 'https://example.okta.com/oauth2/default', scope: 'openid email profile groups', allowedGroups: ['ml-team'] })).environment).toEqual({
      OAUTH2_PROXY_PROVIDER: 'oidc',
      OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://example.okta.com/oauth2/default',
      OAUTH2_PROXY_SCOPE: 'openid email profile groups',
      OAUTH2_PROXY_ALLOWED_GROUPS: 'ml-team',
    });
  });

  test('Auth0, with groups in a custom claim', () => {
    expect(bound(oidc({ issuerUrl: 'https://example.eu.auth0.com/', groupsClaim: 'https://example.com/groups', allowedGroups: ['ml-team'] })).environment).toEqual({
      OAUTH2_PROXY_PROVIDER: 'oidc',
      OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://example.eu.auth0.com/',
      OAUTH2_PROXY_SCOPE: 'openid email profile',
      OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'https://example.com/groups',
      OAUTH2_PROXY_ALLOWED_GROUPS: 'ml-team',
    });
  });
});

describe('Cognito', () => {
  /** The settings of the pool, in a separate stack. */
  function withCognito(options: CognitoAuthProviderOptions | ((own: Stack) => CognitoAuthProviderOptions) = {}, own = newStack()) {
    const provider = AuthProvider.cognito(typeof options === 'function' ? options(own) : options);
    const { template, mlflow } = synthesise({ authProvider: provider }, own);
    const settings = environmentOf(template, 'oauth2-proxy');
    return { provider, template, mlflow, settings, own };
  }

  const broughtPool = (own: Stack) => cognito.UserPool.fromUserPoolId(own, 'Pool', 'eu-west-1_brought');
  const idOf = (template: Template, type: string, part = '') => only(template, `AWS::Cognito::${type}`, part).id;

  const { provider: made, template: madeTemplate, settings: madeSettings, mlflow: madeMlflow } = withCognito();

  test('its settings', () => {
    const environment = (options: CognitoAuthProviderOptions) => {
      const own = newStack();
      return own.resolve(AuthProvider.cognito(options).bind(new Construct(own, 'Mlflow'), bindOptions).environment);
    };
    const minimal = {
      OAUTH2_PROXY_PROVIDER: 'oidc',
      OAUTH2_PROXY_OIDC_ISSUER_URL: { 'Fn::Join': ['', ['https://', { 'Fn::GetAtt': [idOf(madeTemplate, 'UserPool'), 'ProviderName'] }]] },
      OAUTH2_PROXY_SCOPE: 'openid email profile',
      OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'cognito:groups',
    };
    expect(environment({})).toEqual(minimal);
    expect(environment({ allowedGroups: ['ml', 'data'] })).toEqual({ ...minimal, OAUTH2_PROXY_ALLOWED_GROUPS: 'ml,data' });
    expect(environment({ machineClients: ['training', 'nightly'] })).toEqual({
      ...minimal,
      OAUTH2_PROXY_OIDC_AUDIENCE_CLAIMS: 'aud,client_id',
      OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: {
        'Fn::Join': [',', [{ Ref: expect.stringMatching('Machinestraining') }, { Ref: expect.stringMatching('Machinesnightly') }]],
      },
    });
  });

  test('the pool: only administrators create accounts, and it is kept when the stack is deleted', () => {
    const { Properties, DeletionPolicy, UpdateReplacePolicy } = only(madeTemplate, 'AWS::Cognito::UserPool');
    expect({ DeletionPolicy, UpdateReplacePolicy }).toEqual({ DeletionPolicy: 'Retain', UpdateReplacePolicy: 'Retain' });
    expect(Properties).toMatchObject({
      AdminCreateUserConfig: { AllowAdminCreateUserOnly: true },
      UserPoolTier: 'ESSENTIALS',
      UsernameAttributes: ['email'],
      UsernameConfiguration: { CaseSensitive: false },
      AutoVerifiedAttributes: ['email'],
      UserAttributeUpdateSettings: { AttributesRequireVerificationBeforeUpdate: ['email'] },
      AccountRecoverySetting: { RecoveryMechanisms: [{ Name: 'verified_email', Priority: 1 }] },
      MfaConfiguration: 'OPTIONAL',
      EnabledMfas: ['SOFTWARE_TOKEN_MFA'],
      DeletionProtection: 'ACTIVE',
      Policies: { PasswordPolicy: { MinimumLength: 12, RequireLowercase: true, RequireUppercase: true, RequireNumbers: true, RequireSymbols: true } },
    });
  });

  test('its logical id must not change', () => {
    expect(idOf(madeTemplate, 'UserPool')).toBe('MlflowCognitoUserPool10707B28');
  });

  test('the client: only the sign-in page of the pool, and only redirects to the server', () => {
    expect(only(madeTemplate, 'AWS::Cognito::UserPoolClient', 'CognitoClient').Properties).toEqual({
      UserPoolId: { Ref: idOf(madeTemplate, 'UserPool') },
      GenerateSecret: true,
      AllowedOAuthFlowsUserPoolClient: true,
      AllowedOAuthFlows: ['code'],
      AllowedOAuthScopes: ['openid', 'email', 'profile'],
      CallbackURLs: ['https://mlflow.example.com/oauth2/callback'],
      LogoutURLs: ['https://mlflow.example.com'],
      ExplicitAuthFlows: ['ALLOW_REFRESH_TOKEN_AUTH'],
      SupportedIdentityProviders: ['COGNITO'],
      PreventUserExistenceErrors: 'ENABLED',
      EnableTokenRevocation: true,
    });
    expect(madeSettings.OAUTH2_PROXY_CLIENT_ID).toEqual({ Ref: idOf(madeTemplate, 'UserPoolClient', 'CognitoClient') });
  });

  test('the client of people\'s tools: the same, but public, and only redirects to their own machine', () => {
    const { CallbackURLs: _, LogoutURLs: __, GenerateSecret: ___, ...same } = only(madeTemplate, 'AWS::Cognito::UserPoolClient', 'CognitoClient').Properties;
    const { id, Properties } = only(madeTemplate, 'AWS::Cognito::UserPoolClient', 'CognitoToolsClient');
    expect(Properties).toEqual({ ...same, CallbackURLs: [18417, 18418, 18419].map(port => `http://localhost:${port}/mlflow.example.com`) });
    expect(madeSettings.OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES).toEqual({ Ref: id });
    const [, { Properties: { Actions: [{ FixedResponseConfig: answer }] } }] = resources(madeTemplate, 'AWS::ElasticLoadBalancingV2::ListenerRule').find(([, { Properties: { Priority } }]) => Priority === 2)!;
    const pool = { 'Fn::GetAtt': [idOf(madeTemplate, 'UserPool'), 'ProviderName'] };
    expect(answer.MessageBody).toEqual({ 'Fn::Join': ['', ['{"issuer":"https://', pool, '","client_id":"', { Ref: id }, '","scope":"openid email profile"}']] });
  });

  test('the sign-in page: the newer one, with a style, which it requires', () => {
    const pool = { Ref: idOf(madeTemplate, 'UserPool') };
    expect(only(madeTemplate, 'AWS::Cognito::UserPoolDomain').Properties).toEqual({ UserPoolId: pool, Domain: 'mlflow-example-com', ManagedLoginVersion: 2 });
    expect(resources(madeTemplate, 'AWS::Cognito::ManagedLoginBranding').map(([, { Properties }]) => Properties)).toEqual(['CognitoClient', 'CognitoToolsClient']
      .map(name => ({ UserPoolId: pool, ClientId: { Ref: idOf(madeTemplate, 'UserPoolClient', name) }, UseCognitoProvidedValues: true })));
  });

  test('the client secret comes from CloudFormation, is written after the sign-in page, and goes to the task as a secret', () => {
    const secret = only(madeTemplate, 'AWS::SecretsManager::Secret', 'ClientSecret');
    expect(secret.Properties.SecretString).toEqual({ 'Fn::GetAtt': [idOf(madeTemplate, 'UserPoolClient', 'CognitoClient'), 'ClientSecret'] });
    expect(secret.DependsOn).toEqual([idOf(madeTemplate, 'UserPoolDomain')]);
    expect(secretsOf(madeTemplate, 'oauth2-proxy').OAUTH2_PROXY_CLIENT_SECRET).toEqual({ Ref: secret.id });
    expect(resources(madeTemplate).filter(([, { Type }]) => /Lambda|CustomResource|^Custom::/.test(Type))).toEqual([]);
  });

  test('signing out also ends the session at Cognito', () => {
    expect(Stack.of(madeMlflow).resolve(madeMlflow.signOutUrl)).toEqual({
      'Fn::Join': ['', [
        'https://mlflow.example.com/oauth2/sign_out?rd=https%3A%2F%2F', { Ref: idOf(madeTemplate, 'UserPoolDomain') }, '.auth.', { Ref: 'AWS::Region' },
        '.amazoncognito.com%2Flogout%3Fclient_id%3D', { Ref: idOf(madeTemplate, 'UserPoolClient', 'CognitoClient') }, '%26logout_uri%3Dhttps%253A%252F%252Fmlflow.example.com',
      ]],
    });
  });

  test('the pool is available for your own groups and triggers', () => {
    expect(made.userPool).toBe(madeMlflow.node.findChild('Cognito').node.findChild('UserPool'));
  });

  describe('machine clients', () => {
    const { provider, template, own } = withCognito({ machineClients: ['training', 'nightly'] });
    const pool = { Ref: idOf(template, 'UserPool') };

    test('each may use only the client-credentials flow, with a scope that the flow requires', () => {
      const server = only(template, 'AWS::Cognito::UserPoolResourceServer');
      expect(server.Properties).toEqual({
        UserPoolId: pool, Identifier: 'https://mlflow.example.com', Name: 'MLflow', Scopes: [{ ScopeName: 'access', ScopeDescription: 'Use the MLflow server' }],
      });
      for (const name of ['training', 'nightly']) {
        expect(only(template, 'AWS::Cognito::UserPoolClient', `Machines${name}`).Properties).toEqual({
          UserPoolId: pool,
          GenerateSecret: true,
          AllowedOAuthFlowsUserPoolClient: true,
          AllowedOAuthFlows: ['client_credentials'],
          AllowedOAuthScopes: [{ 'Fn::Join': ['', [{ Ref: server.id }, '/access']] }],
          ExplicitAuthFlows: ['ALLOW_REFRESH_TOKEN_AUTH'],
          SupportedIdentityProviders: ['COGNITO'],
          EnableTokenRevocation: true,
        });
      }
    });

    test('each gets a secret with everything it needs to request access tokens', () => {
      const id = idOf(template, 'UserPoolClient', 'Machinestraining');
      const { SecretString } = only(template, 'AWS::SecretsManager::Secret', 'Machinestraining').Properties;
      const text = (SecretString['Fn::Join'][1] as unknown[]).map(part => typeof part === 'string' ? part : `<${Object.values(part as object).flat().join('.')}>`).join('');
      expect(JSON.parse(text)).toEqual({
        tokenUrl: `https://<${idOf(template, 'UserPoolDomain')}>.auth.<AWS::Region>.amazoncognito.com/oauth2/token`,
        clientId: `<${id}>`,
        clientSecret: `<${id}.ClientSecret>`,
        scope: `<${idOf(template, 'UserPoolResourceServer')}>/access`,
      });
      expect(own.resolve(provider.machineClientSecret('training').secretArn)).toEqual({ Ref: only(template, 'AWS::SecretsManager::Secret', 'Machinestraining').id });
    });

    test('each is allowed by its id, the subject of its access tokens', () => {
      const { machineIdentities } = AuthProvider.cognito({ machineClients: ['training'] }).bind(new Construct(newStack(), 'Mlflow'), bindOptions);
      expect(stack.resolve(machineIdentities)).toEqual([{ Ref: expect.stringMatching('Machinestraining') }]);
    });

    test('fails for an unknown name', () => {
      expect(() => provider.machineClientSecret('Training')).toThrow(new Error(
        'AuthProvider.cognito: the name of a machine client must be one of ["training","nightly"], got "Training": add it to `machineClients`'));
    });

    test('there are none by default', () => {
      expect(resources(madeTemplate, 'AWS::Cognito::UserPoolResourceServer')).toEqual([]);
      expect(() => made.machineClientSecret('training')).toThrow(/must be one of \[\], got "training"/);
    });
  });

  describe('an existing pool', () => {
    test('gets two clients and a domain, and no other change', () => {
      const { provider, template, settings } = withCognito(own => ({ userPool: broughtPool(own), domainPrefix: 'of-the-team' }));
      expect(resources(template).map(([, { Type }]) => Type).filter(type => type.startsWith('AWS::Cognito::')).sort())
        .toEqual([...Array(2).fill('AWS::Cognito::ManagedLoginBranding'), ...Array(2).fill('AWS::Cognito::UserPoolClient'), 'AWS::Cognito::UserPoolDomain']);
      expect(only(template, 'AWS::Cognito::UserPoolDomain').Properties).toMatchObject({ UserPoolId: 'eu-west-1_brought', Domain: 'of-the-team' });
      expect(settings.OAUTH2_PROXY_OIDC_ISSUER_URL)
        .toEqual({ 'Fn::Join': ['', ['https://cognito-idp.', { Ref: 'AWS::Region' }, '.', { Ref: 'AWS::URLSuffix' }, '/eu-west-1_brought']] });
      expect(provider.userPool.userPoolId).toBe('eu-west-1_brought');
    });

    test.each([
      ['a host', (own: Stack) => cognito.UserPoolDomain.fromDomainName(own, 'Domain', 'login.example.com'), ['https://login.example.com/logout?client_id=']],
      ['a prefix', (own: Stack) => cognito.UserPoolDomain.fromDomainName(own, 'Domain', 'login'), ['https://login.auth.', { Ref: 'AWS::Region' }, '.amazoncognito.com/logout?client_id=']],
      ['a domain of the app', (own: Stack) => new cognito.UserPoolDomain(own, 'Domain', { userPool: broughtPool(own), cognitoDomain: { domainPrefix: 'login' } }),
        ['https://', { Ref: expect.any(String) }, '.auth.', { Ref: 'AWS::Region' }, '.amazoncognito.com/logout?client_id=']],
    ])('keeps its domain, passed as %s', (_, domain, start) => {
      const own = newStack();
      const userPoolDomain = domain(own);
      const userPool = own.node.tryFindChild('Pool') as cognito.IUserPool | undefined ?? broughtPool(own);
      const scope = new Construct(own, 'Mlflow');
      const { signOutUrl } = AuthProvider.cognito({ userPool, userPoolDomain }).bind(scope, bindOptions);
      expect(own.resolve(signOutUrl)['Fn::Join'][1].slice(0, start.length)).toEqual(start);
      expect(scope.node.findChild('Cognito').node.tryFindChild('Domain')).toBeUndefined();
    });

    test('may forward people to other providers', () => {
      const { template } = withCognito(own => ({ userPool: broughtPool(own), identityProviders: [cognito.UserPoolClientIdentityProvider.custom('Company')] }));
      expect(resources(template, 'AWS::Cognito::UserPoolClient').map(([, { Properties }]) => Properties.SupportedIdentityProviders)).toEqual([['Company'], ['Company']]);
    });

    test('fails where the name of its domain is a CDK token', () => {
      const own = newStack();
      const userPoolDomain = cognito.UserPoolDomain.fromDomainName(own, 'Domain', new CfnParameter(own, 'Name').valueAsString);
      expect(() => AuthProvider.cognito({ userPool: broughtPool(own), userPoolDomain }).bind(new Construct(own, 'Mlflow'), bindOptions))
        .toThrow(/^AuthProvider\.cognito: `userPoolDomain` must have a name that is known at synthesis, got a CDK token: /);
    });

    test('serves two servers, each with its own provider', () => {
      const own = newStack();
      const userPool = broughtPool(own);
      const userPoolDomain = cognito.UserPoolDomain.fromDomainName(own, 'Domain', 'login');
      for (const name of ['one', 'other']) {
        AuthProvider.cognito({ userPool, userPoolDomain, machineClients: ['training'] }).bind(new Construct(own, name), { ...bindOptions, url: `https://${name}.example.com` });
      }
      expect(resources(Template.fromStack(own), 'AWS::Cognito::UserPoolResourceServer').map(([, { Properties }]) => Properties.Identifier))
        .toEqual(['https://one.example.com', 'https://other.example.com']);
    });
  });

  test('one provider must not be used for a second server', () => {
    const provider = AuthProvider.cognito();
    provider.bind(new Construct(newStack(), 'One'), bindOptions);
    expect(() => provider.bind(new Construct(newStack(), 'Other'), bindOptions)).toThrow(new Error(
      'AuthProvider.cognito: one provider must be used for one SecureMlflow, got Stack/Other for the provider of Stack/One: create another provider; to share the accounts pass `userPool` to it'));
  });

  test('its members fail before there is a server', () => {
    const provider = AuthProvider.cognito({ machineClients: ['training'] });
    expect(() => provider.userPool).toThrow(new Error(
      'AuthProvider.cognito: `userPool` must be used after a SecureMlflow has been created with the provider, got a call before: move it after `new SecureMlflow(…)`'));
    expect(() => provider.machineClientSecret('training')).toThrow(/^AuthProvider\.cognito: `machineClientSecret` must be used after a SecureMlflow has been created /);
  });

  const prefixRule = 'AuthProvider.cognito: `domainPrefix` must be 1 to 63 lower-case letters, digits and inner dashes without "aws", "amazon" and "cognito", ';

  test.each(['', 'my-aws', 'amazonian', 'cognito', 'Upper', 'under_score', '-a', 'a-', 'a.b', 'a'.repeat(64)])('fails for the prefix %j', domainPrefix => {
    expect(() => AuthProvider.cognito({ domainPrefix })).toThrow(new Error(`${prefixRule}got ${JSON.stringify(domainPrefix)}: choose another that is not yet used in the region`));
  });

  test.each(['a', '1', 'a-b', 'a'.repeat(63)])('accepts the prefix %s', domainPrefix => {
    expect(() => AuthProvider.cognito({ domainPrefix })).not.toThrow();
  });

  test('fails where the prefix from the name of the server is invalid, before any construct is defined', () => {
    const scope = new Construct(newStack(), 'Mlflow');
    expect(() => AuthProvider.cognito().bind(scope, { ...bindOptions, url: 'https://laws.example.com' })).toThrow(new Error(
      `${prefixRule}derived from https://laws.example.com, got "laws-example-com": choose another that is not yet used in the region`));
    expect(scope.node.children).toEqual([]);
  });

  test('needs a prefix where the name of the server is a CDK token', () => {
    const own = newStack();
    const url = `https://${new CfnParameter(own, 'Name').valueAsString}`;
    expect(() => AuthProvider.cognito().bind(new Construct(own, 'One'), { ...bindOptions, url })).toThrow(new Error(
      'AuthProvider.cognito: `domainPrefix` must be given where `domainName` of the server is a CDK token, got no value: choose one that is not yet used in the region'));
    const { signOutUrl } = AuthProvider.cognito({ domainPrefix: token }).bind(new Construct(own, 'Other'), { ...bindOptions, url });
    expect(own.resolve(signOutUrl)['Fn::Join'][1].slice(-2)).toEqual(['&logout_uri=https%3A%2F%2F', { Ref: 'Name' }]);
  });

  test.each([[[]], [['']], [['training', 'training']], [['1st']], [['a b']], [['a'.repeat(65)]], [[token]]])('fails for the machine clients %j', machineClients => {
    expect(() => AuthProvider.cognito({ machineClients })).toThrow(
      `AuthProvider.cognito: \`machineClients\` must contain at least one name, each once, of letters, digits, "-" and "_", beginning with a letter, such as "training", got ${JSON.stringify(machineClients)}: leave it out for none`);
  });

  test('fails with groups and machine clients, whose access tokens contain no groups', () => {
    expect(() => AuthProvider.cognito({ allowedGroups: ['ml'], machineClients: ['training'] })).toThrow(
      /^AuthProvider\.cognito: `allowedGroups` must be left out where `machineClients` is given, got \["ml"\]: .* use a pool with only people who may sign in, or use `grantTrackingAccess` for programs/);
  });

  test('fails with a domain without a pool, and with a domain and a prefix', () => {
    const own = newStack();
    const userPoolDomain = cognito.UserPoolDomain.fromDomainName(own, 'Domain', 'login');
    expect(() => AuthProvider.cognito({ userPoolDomain })).toThrow(new Error(
      'AuthProvider.cognito: `userPoolDomain` needs `userPool`, got the domain "login" without it: pass the pool that the domain belongs to'));
    expect(() => AuthProvider.cognito({ userPool: broughtPool(own), userPoolDomain, domainPrefix: 'x' })).toThrow(new Error(
      'AuthProvider.cognito: `domainPrefix` must be left out where `userPoolDomain` is given, got "x": it applies only to a new domain'));
  });
});
