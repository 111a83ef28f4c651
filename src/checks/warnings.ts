import { Token } from 'aws-cdk-lib';
import { AuthProviderConfig } from '../auth/config';
import { TokenIssuer } from '../auth/token-issuer';
import { SecureMlflowProps } from '../props';

/** What works and is seldom meant: stable ids, by which a warning can be acknowledged, and what to do. */
export type Warnings = Record<string, string>;

/** Warnings about who gets in. A value that is only known at deployment is never judged. */
export function warningsAboutPeople({ emailDomains }: SecureMlflowProps, provider: AuthProviderConfig, trustedTokenIssuers: TokenIssuer[]): Warnings {
  const everyone = emailDomains.includes('*');
  // Where there are such, a token without the right one is refused, whoever made it.
  const groups = provider.hostedDomains !== undefined || ['OAUTH2_PROXY_ALLOWED_GROUPS', 'OAUTH2_PROXY_ALLOWED_ROLES'].some(name => name in provider.environment);
  const openIssuer = !groups && trustedTokenIssuers.some(issuer => issuer.openToPublic);
  const { OAUTH2_PROXY_PROVIDER: kind, OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim = 'email' } = provider.environment;
  const publicDomains = emailDomains.filter(domain => !Token.isUnresolved(domain) && PUBLIC_DOMAINS.some(pattern => pattern.test(domain)));
  return {
    ...(everyone && (provider.openToPublic === true || openIssuer) && {
      openToEveryone: '`emailDomains` is ["*"] and anybody in the world can have an account at the provider or a token of a trusted issuer, so anybody gets in: name your domains',
    }),
    ...(everyone && provider.openToPublic === undefined && !groups && !openIssuer && {
      everyAccount: '`emailDomains` is ["*"], so every account at the provider gets in: check there that people cannot sign up by themselves, that nobody comes by a social account (Google, Microsoft …), and who is a guest; or name your domains, or allowed groups',
    }),
    ...(publicDomains.length > 0 && {
      publicEmailDomains: `\`emailDomains\` holds ${publicDomains.join(', ')}, where anybody can have an address, or nobody has one: name domains of your own`,
    }),
    // In Entra ID administrators set the names of members: docs/sign-in-entra-id.md.
    ...(!everyone && !groups && emailClaim !== 'email' && !Token.isUnresolved(emailClaim) && kind !== 'entra-id' && {
      unverifiedAddresses: `\`emailDomains\` decides who gets in by the claim \`${emailClaim}\`, which oauth2-proxy takes as it stands, for only addresses in \`email\` are checked for being verified: see to it that people can neither choose nor change it, or name allowed groups`,
    }),
    // With Google itself the claim `hd` tells them apart; who lets in every Google account there wants no more here.
    ...(!everyone && openIssuer && provider.openToPublic !== true && {
      consumerAccounts: '`TokenIssuer.gcloud()` also lets in Google accounts that people have made by themselves on an address of `emailDomains`, and keep when they leave: only `AuthProvider.google` can tell them from those of your Workspace; leave it out, and let people send tokens of the sign-in provider',
    }),
  };
}

/** Warnings about what everybody who is in can have the server do. */
export function warningsAboutJobs({ environment = {} }: SecureMlflowProps): Warnings {
  const jobs = environment.MLFLOW_SERVER_ENABLE_JOB_EXECUTION;
  return {
    ...(jobs !== undefined && !Token.isUnresolved(jobs) && !/^(false|0)$/i.test(jobs) && {
      serverJobs: '`environment` switches on jobs of MLflow (MLFLOW_SERVER_ENABLE_JOB_EXECUTION): everybody who is signed in can then have the server run judges, evaluations and prompt optimisation, which call language models with the keys that the server has; jobs query the database every minute, so it never pauses, and those that call the server itself fail, because they have no sign-in',
    }),
  };
}

/**
 * Domains where anybody can have an address (the best known, as in https://github.com/jgillich/free-email-domains), and where
 * nobody has one: registries that sell names below it (https://publicsuffix.org), whose customers have domains of their own.
 */
const PUBLIC_DOMAINS = [
  /^(gmail|googlemail|icloud|me|mac|ymail|rocketmail|proton|protonmail|tutanota|fastmail|zohomail|mail|inbox|hey|qq|163|126|sina|naver|hanmail|rediffmail)\.com$/,
  /^(aol|gmx|hotmail|live|msn|outlook|yahoo|yandex)\.(com|net|[a-z]{2}|com?\.[a-z]{2})$/,
  /^(proton|pm)\.me$|^(mail|bk|list|inbox)\.ru$|^(web|freenet|t-online)\.de$|^(free|laposte|orange|wanadoo)\.fr$/,
  /^(libero|virgilio)\.it$|^(wp|o2|onet)\.pl$|^seznam\.cz$|^tuta\.io$/,
  /^(ac|co|com|edu|gov|net|org)\.[a-z]{2}$/,
];

export interface Deployment {
  /** Of the place in the app. */
  readonly path: string;
  readonly bucketName: string;
  readonly artifactPath: string;
  readonly provider: AuthProviderConfig;
}

/** Warnings about what two deployments of an app share. */
export function warningsAboutOthers(own: Deployment, others: Deployment[]): Warnings {
  const artifacts = others.find(other => other.bucketName === own.bucketName && overlap(other.artifactPath, own.artifactPath));
  const issuer = issuerOf(own);
  const client = others.find(other => issuer !== undefined && issuerOf(other) === issuer && other.provider.clientId === own.provider.clientId);
  return {
    ...(artifacts !== undefined && {
      sharedArtifacts: `its artifacts are in the folder of ${artifacts.path}, or one is in the other's: who gets into one reads and deletes what belongs to the other; give each an \`artifactPath\` or a bucket of its own`,
    }),
    ...(client !== undefined && {
      sharedClient: `it has the OAuth client of ${client.path}: a token made for one is good at the other, where only \`emailDomains\` and groups stand before it; register a client for each`,
    }),
  };
}

function overlap(one: string, other: string): boolean {
  return `${one}/`.startsWith(`${other}/`) || `${other}/`.startsWith(`${one}/`);
}

/** None where the provider's tokens are no bearer tokens. */
function issuerOf({ provider: { environment, bearerTokens } }: Deployment): string | undefined {
  return bearerTokens === false ? undefined : environment.OAUTH2_PROXY_OIDC_ISSUER_URL;
}
