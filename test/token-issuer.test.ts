import { Lazy } from 'aws-cdk-lib';
import { clientSecret, environmentOf, newStack, synthesise } from './fixtures';
import { AuthProvider, TokenIssuer } from '../src';

const audience = 'https://mlflow.example.com';
const token = Lazy.string({ produce: () => 'known later' });

describe('TokenIssuer.oidc', () => {
  test('has the given values, and is not open to the public', () => {
    const { issuerUrl, openToPublic, ...rest } = TokenIssuer.oidc({ issuerUrl: 'https://id.example.com/', audience });
    expect({ issuerUrl, openToPublic, ...rest }).toEqual({ issuerUrl: 'https://id.example.com/', audience, openToPublic: false });
  });

  test.each([
    '', 'http://id.example.com', 'id.example.com', 'https://', 'https://id.example.com?x', 'https://id.example.com#x', 'https://id.example.com,https://evil.example',
    'https://id.example.com=evil', 'https://id .example.com', 'https://id.example.com\n', ' https://id.example.com',
  ])('fails for the issuer %j', issuerUrl => {
    expect(() => TokenIssuer.oidc({ issuerUrl, audience })).toThrow(new Error(
      `TokenIssuer.oidc: \`issuerUrl\` must be an https URL without query, got ${JSON.stringify(issuerUrl)}: use the value of the \`iss\` claim`));
  });

  test.each(['', ' ', 'a,b', ','])('fails for the audience %j', wrong => {
    expect(() => TokenIssuer.oidc({ issuerUrl: 'https://id.example.com', audience: wrong })).toThrow(new Error(
      `TokenIssuer.oidc: \`audience\` must not be empty or contain a comma, got ${JSON.stringify(wrong)}: use a value for this server only, such as its URL`));
  });

  test.each([['https://id.example.com:8443/realms/ml', 'mlflow'], ['https://id.example.com', 'api://a=b c']])('accepts the issuer %s and the audience %s', (issuerUrl, aud) => {
    const { template } = synthesise({ trustedTokenIssuers: [TokenIssuer.oidc({ issuerUrl, audience: aud })] });
    expect(environmentOf(template, 'oauth2-proxy').OAUTH2_PROXY_EXTRA_JWT_ISSUERS).toBe(`${issuerUrl}=${aud}`);
  });

  test('does not check CDK tokens', () => {
    const { template } = synthesise({ trustedTokenIssuers: [TokenIssuer.oidc({ issuerUrl: token, audience: token })] });
    expect(environmentOf(template, 'oauth2-proxy').OAUTH2_PROXY_EXTRA_JWT_ISSUERS).toBe('known later=known later');
  });
});

describe('TokenIssuer.oidc, for an issuer where anyone can get an account', () => {
  test.each([
    'https://accounts.google.com', 'https://accounts.google.com/', 'https://appleid.apple.com', 'https://login.microsoftonline.com/common/v2.0', 'https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0',
  ])('%s is open to the public', issuerUrl => {
    expect(TokenIssuer.oidc({ issuerUrl, audience }).openToPublic).toBe(true);
  });

  test.each(['https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0', 'https://accounts.google.com.example.com', token])('%s is not, or is not known to be', issuerUrl => {
    expect(TokenIssuer.oidc({ issuerUrl, audience }).openToPublic).toBe(false);
  });
});

describe('issuers with subjects that strangers can choose', () => {
  const secret = clientSecret(newStack());
  const refusal = (option: string, name: string, issuerUrl: string) => new Error(
    `${option} must not be the issuer of ${name}, got ${JSON.stringify(issuerUrl)}: anyone can get a token from it whose subject ends in one of your domains, and would get in; let the job assume an AWS role and pass the role to \`grantTrackingAccess\``);

  // Listed here as well, as each system documents it.
  const issuers: [name: string, issuerUrl: string][] = [
    ['GitHub Actions', 'https://token.actions.githubusercontent.com'],
    ['GitHub Enterprise Server', 'https://github.example.com/_services/token'],
    ['GHE.com', 'https://token.actions.example.ghe.com'],
    ['GitLab.com', 'https://gitlab.com'],
    ['a GitLab', 'https://gitlab.example.com'],
    ['a GitLab', 'https://my.gitlab.example.com'],
    ['Bitbucket Pipelines', 'https://api.bitbucket.org/2.0/workspaces/example/pipelines-config/identity/oidc'],
    ['Bitrise', 'https://token.builds.bitrise.io'],
    ['Buildkite', 'https://agent.buildkite.com'],
    ['CircleCI', 'https://oidc.circleci.com/org/11111111-2222-3333-4444-555555555555'],
    ['Cirrus CI', 'https://oidc.cirrus-ci.com'],
    ['Codefresh', 'https://oidc.codefresh.io'],
    ['Azure Pipelines', 'https://vstoken.dev.azure.com/11111111-2222-3333-4444-555555555555'],
    ['Fly.io', 'https://oidc.fly.io/example'],
    ['Gitpod', 'https://api.gitpod.io/idp'],
    ['Gitpod', 'https://services.example.gitpod.cloud/idp'],
    ['Harness', 'https://app.harness.io/ng/api/oidc/account/AbCdEf'],
    ['HCP Terraform', 'https://app.terraform.io'],
    ['Pulumi', 'https://api.pulumi.com/oidc'],
    ['Semaphore', 'https://example.semaphoreci.com'],
    ['Spacelift', 'https://example.app.spacelift.io'],
    ['Vercel', 'https://oidc.vercel.com/example'],
  ];

  test.each(issuers)('%s is refused', (name, issuerUrl) => {
    const [, host, path] = /^(https:..[^/]+)(.*)$/.exec(issuerUrl)!;
    for (const spelling of [issuerUrl, issuerUrl.toUpperCase().replace('HTTPS', 'https'), `${issuerUrl}/`, `${issuerUrl}/more`, `${host}:443${path}`, `${host}.${path}`, `${host}.:443${path}`]) {
      expect(() => TokenIssuer.oidc({ issuerUrl: spelling, audience })).toThrow(refusal('TokenIssuer.oidc: `issuerUrl`', name, spelling));
    }
  });

  test.each(issuers.filter(([name]) => !name.includes('GitLab')))('%s is also refused as a sign-in provider', (name, issuerUrl) => {
    expect(() => AuthProvider.oidc({ issuerUrl, clientId: 'client', clientSecret: secret })).toThrow(refusal('AuthProvider.oidc: `issuerUrl`', name, issuerUrl));
  });

  // A dot matches only a dot, a name must match completely, and a path is not a host.
  test.each([
    'https://token.actions.githubusercontent.com.example.com', 'https://tokens-actions.githubusercontent.com', 'https://github.example.com/_services/tokens', 'https://github.example.com/x/_services/token', 'https://tokenXactions.githubusercontent.com',
    'https://my-gitlab.com', 'https://gitlabXcom.example', 'https://id.example.com/https://gitlab.com', 'https://id.example.com/gitlab.com', 'https://gitlab', 'https://token.actions.ghe.com',
    'https://a.b.ghe.com', 'https://token.actions.a.b.ghe.com', 'https://token.builds.bitrise.iota', 'https://oidc.cirrus-ci.community', 'https://oidc.fly.iota', 'https://fly.io', 'https://gitpod.example.com',
    'https://my-gitpod.io', 'https://harness.example.com', 'https://charness.io', 'https://api.pulumi.community', 'https://app.pulumi.com', 'https://api.gitlabs.example.com',
    'https://bitbucket.example.com', 'https://api.bitbucket.org.example.com/x', 'https://agent.buildkite.community', 'https://agent-buildkite.com', 'https://oidc.circleci.company',
    'https://oidc.codefresh.ion', 'https://dev.azure.com', 'https://vstoken.dev.azure.com.example.com', 'https://terraform.example.com', 'https://app.terraform.iota',
    'https://semaphoreci.com', 'https://id.example.com/a.semaphoreci.com', 'https://a.semaphoreci.com.example.com', 'https://spacelift.io', 'https://id.example.com/a.spacelift.io',
    'https://a.spacelift.iot', 'https://oidc.vercel.community', 'https://vercel.com',
  ])('%s is not such an issuer', issuerUrl => {
    expect(TokenIssuer.oidc({ issuerUrl, audience }).issuerUrl).toBe(issuerUrl);
    expect(() => AuthProvider.oidc({ issuerUrl, clientId: 'client', clientSecret: secret })).not.toThrow();
  });
});
