import { known } from '../checks/problems';

/**
 * CI systems and similar services that sign tokens for anyone, or allow anyone to choose a part of the subject, such as the name of a branch.
 *
 * oauth2-proxy accepts the subject of a token without an e-mail address as the address, so a subject that ends in `@example.com` would pass the rule for
 * `example.com`. The patterns match host and path. Sources: each system's page on OpenID Connect tokens.
 */
const PUBLIC_ISSUERS: Record<string, RegExp> = {
  'GitHub Actions': /^token\.actions\.githubusercontent\.com(\/|$)/,
  'GitHub Enterprise Server': /^[^/]+\/_services\/token(\/|$)/, // https://docs.github.com/en/enterprise-server@3.19/actions/reference/security/oidc
  'GHE.com': /^token\.actions\.[^/.]+\.ghe\.com(\/|$)/, // https://docs.github.com/enterprise-cloud@latest/admin/data-residency
  'GitLab.com': /^gitlab\.com(\/|$)/,
  'a GitLab': /^([^/]+\.)?gitlab\.[^/]+(\/|$)/, // any other GitLab with the usual host name: https://docs.gitlab.com/ci/secrets/id_token_authentication
  'Bitbucket Pipelines': /^api\.bitbucket\.org\//,
  'Bitrise': /^token\.builds\.bitrise\.io(\/|$)/, // https://github.com/tuist/tuist/blob/main/server/lib/tuist/oidc.ex
  'Buildkite': /^agent\.buildkite\.com(\/|$)/,
  'CircleCI': /^oidc\.circleci\.com(\/|$)/,
  'Cirrus CI': /^oidc\.cirrus-ci\.com(\/|$)/, // https://cirrus-ci.org/guide/writing-tasks/#environment-variables
  'Codefresh': /^oidc\.codefresh\.io(\/|$)/,
  'Azure Pipelines': /^vstoken\.dev\.azure\.com(\/|$)/,
  'Fly.io': /^oidc\.fly\.io(\/|$)/, // https://fly.io/docs/security/openid-connect/
  'Gitpod': /^([^/]+\.)?gitpod\.(io|cloud)(\/|$)/, // its tokens contain a verified address: https://www.gitpod.io/docs/configure/workspaces/oidc
  'Harness': /^([^/]+\.)?harness\.io(\/|$)/, // https://developer.harness.io/kb/reference-architectures/platform/aws-oidc-role-connector
  'HCP Terraform': /^app\.terraform\.io(\/|$)/,
  'Pulumi': /^api\.pulumi\.com(\/|$)/, // https://www.pulumi.com/docs/guides/oidc/
  'Semaphore': /^[^/]+\.semaphoreci\.com(\/|$)/,
  'Spacelift': /^[^/]+\.spacelift\.io(\/|$)/,
  'Vercel': /^oidc\.vercel\.com(\/|$)/,
};

/**
 * Sign-in providers where anyone in the world can have an account.
 *
 * https://developers.google.com/identity/openid-connect/reference,
 * https://developer.apple.com/documentation/signinwithapple/verifying-a-user,
 * https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc
 */
const GOOGLE = /^accounts\.google\.com(\/|$)/;
const OPEN_ISSUERS = [
  GOOGLE,
  /^appleid\.apple\.com(\/|$)/,
  /^login\.microsoftonline\.com\/(common|organizations|consumers|9188040d-6c67-4c5b-b112-36a304b66dad)(\/|$)/,
];

/** Host and path in lower case, without parts that make no difference: a dot after the host, and the default port of https. */
function placeOf(issuerUrl: string): string {
  return issuerUrl.toLowerCase().replace(/^https:\/\//, '').replace(/^([^/]*?)\.?(:443)?(?=\/|$)/, '$1');
}

/** The name of a system that signs tokens whose subjects strangers can choose. */
function publicIssuer(issuerUrl: string): string | undefined {
  return Object.entries(PUBLIC_ISSUERS).find(([, pattern]) => pattern.test(placeOf(issuerUrl)))?.[0];
}

/** Throws if strangers can choose the subjects of an issuer's tokens. */
export function refusePublicIssuer(option: string, issuerUrl: string): void {
  const name = known(issuerUrl) ? publicIssuer(issuerUrl) : undefined;
  if (name !== undefined) {
    throw new Error(`${option} must not be the issuer of ${name}, got ${JSON.stringify(issuerUrl)}: anyone can get a token from it whose subject ends in one of your domains, and would get in; let the job assume an AWS role and pass the role to \`grantTrackingAccess\``);
  }
}

/** Whether it is the issuer of a GitLab, judged by its host name. */
export function isGitlab(issuerUrl: string): boolean {
  return known(issuerUrl) && publicIssuer(issuerUrl)?.includes('GitLab') === true;
}

/** Whether it is Google, the only provider whose tokens contain the claim `hd`. */
export function isGoogle(issuerUrl: string): boolean {
  return GOOGLE.test(placeOf(issuerUrl));
}

/** Whether it is the issuer of an AWS account. In its tokens, the claims of AWS and of the caller are all inside one claim. */
export function isAwsAccount(issuerUrl: string): boolean {
  return /^https:\/\/[a-z0-9-]+\.tokens\.sts\.global\.api\.aws$/.test(issuerUrl);
}

/** Whether anyone in the world can have an account there. */
export function isOpenIssuer(issuerUrl: string): boolean {
  return known(issuerUrl) && OPEN_ISSUERS.some(pattern => pattern.test(placeOf(issuerUrl)));
}

/** Cognito and Apple reject a sign-in that requests the scope `offline_access`, and issue refresh tokens without it. */
const WITHOUT_OFFLINE_ACCESS = [/^cognito-idp\.[a-z0-9-]+\.amazonaws\.com(\/|$)/, /^appleid\.apple\.com(\/|$)/];

export function refusesOfflineAccess(issuerUrl: string): boolean {
  return known(issuerUrl) && WITHOUT_OFFLINE_ACCESS.some(pattern => pattern.test(placeOf(issuerUrl)));
}
