import { Token } from 'aws-cdk-lib';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { unknownProxyNames } from './names';
import { known } from './problems';
import { AuthProviderConfig } from '../auth/config';
import { isGoogle } from '../auth/public-issuers';
import { TokenIssuer } from '../auth/token-issuer';
import type { MonitoringThresholds } from '../monitoring-options';
import { SecureMlflowProps } from '../props';

/** What works and is seldom meant: stable ids, by which a warning can be acknowledged, and what to do. */
export type Warnings = Record<string, string>;

/** Warnings about who gets in. A value that is only known at deployment is never judged. */
export function warningsAboutPeople(props: SecureMlflowProps, provider: AuthProviderConfig, trustedTokenIssuers: TokenIssuer[]): Warnings {
  const { emailDomains } = props;
  const everyone = emailDomains.includes('*');
  // Where there are such, a token without the right one is refused, whoever made it.
  const groups = provider.hostedDomains !== undefined || ['OAUTH2_PROXY_ALLOWED_GROUPS', 'OAUTH2_PROXY_ALLOWED_ROLES'].some(name => name in provider.environment);
  const openIssuers = groups ? [] : trustedTokenIssuers.filter(issuer => issuer.openToPublic).map(({ issuerUrl }) => issuerUrl);
  const openIssuer = openIssuers.length > 0;
  // Where machines are listed, an issuer may be theirs, and they need no such claim.
  const machines = [...props.machineIdentities ?? [], ...provider.machineIdentities ?? []].length > 0;
  const withoutHd = provider.hostedDomains === undefined || machines ? []
    : (props.trustedTokenIssuers ?? []).map(({ issuerUrl }) => issuerUrl).filter(url => known(url) && !isGoogle(url));
  const { OAUTH2_PROXY_PROVIDER: kind, OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim = 'email' } = provider.environment;
  const publicDomains = emailDomains.filter(domain => known(domain) && PUBLIC_DOMAINS.some(pattern => pattern.test(domain)));
  return {
    ...(everyone && (provider.openToPublic === true || openIssuer) && {
      openToEveryone: '`emailDomains` is ["*"] and anybody in the world can have an account at the provider or a token of a trusted issuer, so anybody gets in: name your domains',
    }),
    ...(everyone && provider.openToPublic === undefined && !groups && !openIssuer && {
      everyAccount: '`emailDomains` is ["*"], so every account at the provider gets in: check there that people cannot sign up by themselves, that nobody comes by a social account (Google, Microsoft …), and who is a guest; or name your domains, or allowed groups',
    }),
    ...(publicDomains.length > 0 && {
      publicEmailDomains: provider.hostedDomains === undefined
        ? `\`emailDomains\` holds ${publicDomains.join(', ')}, where anybody can have an address, or nobody has one: name domains of your own`
        : `\`emailDomains\` holds ${publicDomains.join(', ')}, of which nobody gets in: accounts that people make by themselves belong to no Google Workspace, and \`hostedDomains\` asks for one; name domains of your own, or let in anybody who has an address there by \`hostedDomains: ["*"]\` of \`AuthProvider.google\``,
    }),
    // In Entra ID administrators set the names of members: docs/sign-in-entra-id.md.
    ...(!everyone && !groups && emailClaim !== 'email' && known(emailClaim) && kind !== 'entra-id' && {
      unverifiedAddresses: `\`emailDomains\` decides who gets in by the claim \`${emailClaim}\`, which oauth2-proxy takes as it stands, for only addresses in \`email\` are checked for being verified: see to it that people can neither choose nor change it, or name allowed groups`,
    }),
    // With Google itself the claim `hd` tells them apart; who lets in every Google account there wants no more here.
    ...(!everyone && openIssuer && provider.openToPublic !== true && {
      consumerAccounts: `\`trustedTokenIssuers\` holds ${openIssuers.join(', ')}, which also makes tokens for accounts that people have made by themselves on an address of \`emailDomains\`, and keep when they leave: only \`AuthProvider.google\` can tell such accounts of Google from those of your Workspace; leave it out, and let people send tokens of the sign-in provider`,
    }),
    ...(withoutHd.length > 0 && {
      noHostedDomain: `\`trustedTokenIssuers\` holds ${withoutHd.join(', ')}, but \`authProvider\` asks people for the claim \`hd\` of \`hostedDomains\`, which Google alone puts into tokens: theirs of that issuer are refused; list machines in \`machineIdentities\`, have the issuer add the claim, or leave it out`,
    }),
  };
}

/** Warnings about settings that change nothing. */
export function warningsAboutNames(props: SecureMlflowProps, { environment: authProvider }: AuthProviderConfig): Warnings {
  const { proxyEnvironment, proxySecrets } = props;
  const unknown = Object.entries({ proxyEnvironment, proxySecrets, authProvider })
    .map(([prop, variables]) => [prop, unknownProxyNames(variables)] as const).filter(([, names]) => names.length > 0);
  return {
    ...(unknown.length > 0 && {
      unknownNames: `${unknown.map(([prop, names]) => `\`${prop}\` holds ${names.join(', ')}`).join(' and ')}, which oauth2-proxy of this release does not know and ignores without a word: correct the name (those of lists are plural, such as OAUTH2_PROXY_PROVIDER_CA_FILES), or leave it out`,
    }),
  };
}

/** Warnings about sessions that end too early. */
export function warningsAboutSessions({ sessionRefresh }: SecureMlflowProps, { refreshTokens }: AuthProviderConfig): Warnings {
  return {
    ...(sessionRefresh !== undefined && refreshTokens === undefined && {
      noRefreshToken: '`sessionRefresh` is set, but `authProvider` may give no refresh token, without which every session ends with its ID token, often after an hour: add to its scope what the provider gives one for, mostly `offline_access`; or acknowledge this where it gives one anyway',
    }),
  };
}

/** Warnings about what everybody who is in can have the server do. */
export function warningsAboutJobs({ environment = {} }: SecureMlflowProps): Warnings {
  const jobs = environment.MLFLOW_SERVER_ENABLE_JOB_EXECUTION;
  return {
    ...(known(jobs) && !/^(false|0)$/i.test(jobs) && {
      serverJobs: '`environment` switches on jobs of MLflow (MLFLOW_SERVER_ENABLE_JOB_EXECUTION): everybody who is signed in can then have the server run judges, evaluations and prompt optimisation, which call language models with the keys that the server has; jobs query the database every minute, so it never pauses, and those that call the server itself fail, because they have no sign-in',
    }),
  };
}

/** Warnings about what a later change of the app would do. */
export function warningsAboutSnapshots({ databaseOptions }: SecureMlflowProps): Warnings {
  return {
    ...(databaseOptions?.snapshotIdentifier !== undefined && {
      databaseFromSnapshot: '`databaseOptions.snapshotIdentifier` must stay as it is for as long as the database lives: CloudFormation replaces the database by an empty one when it is removed, and by the content of another snapshot when it is changed, and what was written since is in the old database alone; leave it in, and acknowledge this warning',
    }),
  };
}

/** Warnings about alarms that measure nothing. `insights` is undefined where the setting cannot be seen. */
export function warningsAboutInsights(insights?: string, thresholds: MonitoringThresholds = {}): Warnings {
  const alarms = (['missingTasks', 'ephemeralStorage'] as const).filter(name => thresholds[name]?.enabled !== false).map(name => `\`${name}\``).join(', ');
  return alarms === '' ? {} : {
    ...(insights === 'disabled' && { noContainerInsights: `Container Insights is off, so addMonitoring leaves out these alarms: ${alarms}` }),
    ...(insights === undefined && { unseenContainerInsights: `Container Insights of \`cluster\` cannot be seen, and these alarms need it: ${alarms}; turn it on, or disable the alarms by \`thresholds\`` }),
  };
}

/** What would leave alarms behind that measure nothing, to be called when all is defined. */
export function insightsProblems(before?: string, after?: string): string[] {
  return before === after ? []
    : [`Container Insights of the cluster must not change after addMonitoring, got ${after ?? 'the setting of the account'} in place of ${before ?? 'that of the account'}: call addMonitoring last`];
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
  const [client, id] = issuer === undefined ? [] : others.filter(other => issuerOf(other) === issuer)
    .flatMap(other => clientsOf(own).filter(each => clientsOf(other).includes(each)).map(each => [other, each] as const))[0] ?? [];
  return {
    ...(artifacts !== undefined && {
      sharedArtifacts: `\`artifactPath\` is "${own.artifactPath}" in ${Token.isUnresolved(own.bucketName) ? 'the same bucket' : `the bucket ${own.bucketName}`}, where ${artifacts.path} has "${artifacts.artifactPath}": who gets into one reads and deletes what belongs to the other; give each an \`artifactPath\` or a bucket of its own`,
    }),
    ...(client !== undefined && {
      sharedClient: `\`authProvider\` has the ${Token.isUnresolved(id) ? 'same OAuth client' : `OAuth client "${id}"`}, as ${client.path} does: a token made for one is good at the other, where only \`emailDomains\` and groups stand before it; register a client for each`,
    }),
  };
}

/** As it is known: a bucket that a stack makes refers to itself, even where its name is written out. */
export function nameOfBucket(bucket: s3.IBucket): string {
  return (bucket.node.defaultChild as s3.CfnBucket | undefined)?.bucketName ?? bucket.bucketName;
}

function overlap(one: string, other: string): boolean {
  return `${one}/`.startsWith(`${other}/`) || `${other}/`.startsWith(`${one}/`);
}

/** For which tokens are made that are accepted. */
function clientsOf({ provider: { clientId, toolsClient } }: Deployment): string[] {
  return [clientId, ...toolsClient === undefined ? [] : [toolsClient.clientId]];
}

/** None where the provider's tokens are no bearer tokens. A slash at the end makes no other provider. */
function issuerOf({ provider: { environment, bearerTokens } }: Deployment): string | undefined {
  return bearerTokens === false ? undefined : environment.OAUTH2_PROXY_OIDC_ISSUER_URL?.replace(/\/$/, '');
}
