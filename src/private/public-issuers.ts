import { Token } from 'aws-cdk-lib';

/**
 * CI systems that sign tokens for anybody and let outsiders choose a part of the subject, such as the name of a branch.
 *
 * oauth2-proxy takes the subject of a token without an e-mail address for the address, so a subject that ends in
 * `@example.com` would pass the rule for `example.com`. Sources: each system's page on OpenID Connect tokens.
 */
const PUBLIC_ISSUERS: Record<string, RegExp> = {
  'GitHub Actions': /^https:\/\/token\.actions\.githubusercontent\.com(\/|$)/,
  'GitLab.com': /^https:\/\/gitlab\.com(\/|$)/,
  'Bitbucket Pipelines': /^https:\/\/api\.bitbucket\.org\//,
  'Buildkite': /^https:\/\/agent\.buildkite\.com(\/|$)/,
  'CircleCI': /^https:\/\/oidc\.circleci\.com(\/|$)/,
  'Codefresh': /^https:\/\/oidc\.codefresh\.io(\/|$)/,
  'Azure Pipelines': /^https:\/\/vstoken\.dev\.azure\.com(\/|$)/,
  'HCP Terraform': /^https:\/\/app\.terraform\.io(\/|$)/,
  'Semaphore': /^https:\/\/[^/]+\.semaphoreci\.com(\/|$)/,
  'Spacelift': /^https:\/\/[^/]+\.spacelift\.io(\/|$)/,
  'Vercel': /^https:\/\/oidc\.vercel\.com(\/|$)/,
};

/** Throws if strangers can choose the subjects of an issuer's tokens. */
export function refusePublicIssuer(option: string, issuerUrl: string): void {
  if (Token.isUnresolved(issuerUrl)) {
    return;
  }
  const [name] = Object.entries(PUBLIC_ISSUERS).find(([, pattern]) => pattern.test(issuerUrl.toLowerCase())) ?? [];
  if (name !== undefined) {
    throw new Error(`${option} must not be the issuer of ${name}, got ${JSON.stringify(issuerUrl)}: anybody can have it sign a token whose subject ends in one of your domains, and would get in; let the job assume an AWS role and pass the role to \`grantTrackingAccess\``);
  }
}
