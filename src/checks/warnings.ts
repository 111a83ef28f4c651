import { Token } from 'aws-cdk-lib';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { unknownProxyNames } from './names';
import { known } from './problems';
import { AuthProviderConfig } from '../auth/config';
import { isGoogle } from '../auth/public-issuers';
import { TokenIssuer } from '../auth/token-issuer';
import type { MonitoringThresholds } from '../monitoring-options';
import { SecureMlflowProps } from '../props';

/** Warnings about settings that work but are rarely intended. The keys are stable ids with which a warning can be acknowledged; the values say what to do. */
export type Warnings = Record<string, string>;

/** Warnings about who gets in. CDK tokens are not checked. */
export function warningsAboutPeople(props: SecureMlflowProps, provider: AuthProviderConfig, trustedTokenIssuers: TokenIssuer[]): Warnings {
  const { emailDomains } = props;
  const everyone = emailDomains.includes('*');
  // With such rules, oauth2-proxy rejects every bearer token without an allowed value, regardless of its issuer.
  const groups = provider.hostedDomains !== undefined || ['OAUTH2_PROXY_ALLOWED_GROUPS', 'OAUTH2_PROXY_ALLOWED_ROLES'].some(name => name in provider.environment);
  const openIssuers = groups ? [] : trustedTokenIssuers.filter(issuer => issuer.openToPublic).map(({ issuerUrl }) => issuerUrl);
  const openIssuer = openIssuers.length > 0;
  // If machines are listed, the issuer may be for machines, and bearer tokens of machines need no such claim.
  const machines = [...props.machineIdentities ?? [], ...provider.machineIdentities ?? []].length > 0;
  const withoutHd = provider.hostedDomains === undefined || machines ? []
    : (props.trustedTokenIssuers ?? []).map(({ issuerUrl }) => issuerUrl).filter(url => known(url) && !isGoogle(url));
  const { OAUTH2_PROXY_PROVIDER: kind, OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim = 'email' } = provider.environment;
  const publicDomains = emailDomains.filter(domain => known(domain) && PUBLIC_DOMAINS.some(pattern => pattern.test(domain)));
  return {
    ...(everyone && (provider.openToPublic === true || openIssuer) && {
      openToEveryone: '`emailDomains` is ["*"] and anyone in the world can get an account at the provider or a token of a trusted issuer, so anyone gets in: list your domains',
    }),
    ...(everyone && provider.openToPublic === undefined && !groups && !openIssuer && {
      everyAccount: '`emailDomains` is ["*"], so every account at the provider gets in: check there that people cannot sign up by themselves, that social accounts (Google, Microsoft …) are not accepted, and who is a guest; or list your domains, or set allowed groups',
    }),
    ...(publicDomains.length > 0 && {
      publicEmailDomains: provider.hostedDomains === undefined
        ? `\`emailDomains\` contains ${publicDomains.join(', ')}, where anyone can get an address, or where there are no addresses: list your own domains`
        : `\`emailDomains\` contains ${publicDomains.join(', ')}, but no account there gets in: private accounts do not belong to a Google Workspace, which \`hostedDomains\` requires; list your own domains, or allow every address there with \`hostedDomains: ["*"]\` of \`AuthProvider.google\``,
    }),
    // In Entra ID, administrators set the names of members: docs/sign-in-entra-id.md.
    ...(!everyone && !groups && emailClaim !== 'email' && known(emailClaim) && kind !== 'entra-id' && {
      unverifiedAddresses: `\`emailDomains\` decides who gets in based on the claim \`${emailClaim}\`, which oauth2-proxy does not check (it checks only addresses in \`email\` for being verified): make sure that people can neither choose nor change the claim, or set allowed groups`,
    }),
    // With `AuthProvider.google` the claim `hd` distinguishes the accounts. If every Google account is allowed there, no warning is needed here.
    ...(!everyone && openIssuer && provider.openToPublic !== true && {
      consumerAccounts: `\`trustedTokenIssuers\` contains ${openIssuers.join(', ')}, which also issues ID tokens for accounts that people created themselves with an address in \`emailDomains\`, and that they keep when they leave: only \`AuthProvider.google\` can tell such Google accounts from those of your Workspace; leave the issuer out, and have people send ID tokens of the sign-in provider`,
    }),
    ...(withoutHd.length > 0 && {
      noHostedDomain: `\`trustedTokenIssuers\` contains ${withoutHd.join(', ')}, but \`hostedDomains\` of \`authProvider\` requires the claim \`hd\` in tokens of people, which only Google issues: tokens of people from that issuer are rejected; list machines in \`machineIdentities\`, have the issuer add the claim, or leave the issuer out`,
    }),
  };
}

/** Warnings about settings that have no effect. */
export function warningsAboutNames(props: SecureMlflowProps, { environment: authProvider }: AuthProviderConfig): Warnings {
  const { proxyEnvironment, proxySecrets } = props;
  const unknown = Object.entries({ proxyEnvironment, proxySecrets, authProvider })
    .map(([prop, variables]) => [prop, unknownProxyNames(variables)] as const).filter(([, names]) => names.length > 0);
  return {
    ...(unknown.length > 0 && {
      unknownNames: `${unknown.map(([prop, names]) => `\`${prop}\` contains ${names.join(', ')}`).join(' and ')}, which the oauth2-proxy of this release does not know and ignores without a message: correct the name (names of lists are plural, such as OAUTH2_PROXY_PROVIDER_CA_FILES), or leave it out`,
    }),
  };
}

/** Warnings about sessions that end too early. */
export function warningsAboutSessions({ sessionRefresh }: SecureMlflowProps, { refreshTokens }: AuthProviderConfig): Warnings {
  return {
    ...(sessionRefresh !== undefined && refreshTokens === undefined && {
      noRefreshToken: '`sessionRefresh` is set, but `authProvider` may issue no refresh token, and then every session ends when its ID token expires, often after an hour: add the scope for which the provider issues refresh tokens, mostly `offline_access`; or acknowledge this warning if the provider issues them anyway',
    }),
  };
}

/** Warnings about actions that every signed-in person can trigger on the server. */
export function warningsAboutJobs({ environment = {} }: SecureMlflowProps): Warnings {
  const jobs = environment.MLFLOW_SERVER_ENABLE_JOB_EXECUTION;
  return {
    ...(known(jobs) && !/^(false|0)$/i.test(jobs) && {
      serverJobs: '`environment` turns on jobs of MLflow (MLFLOW_SERVER_ENABLE_JOB_EXECUTION): everybody who is signed in can then make the server run judges, evaluations and prompt optimisation, which call language models with the keys of the server; jobs query the database every minute, so it never pauses, and jobs that call the server itself fail, because they have no sign-in; leave the variable out, or acknowledge this warning',
    }),
  };
}

/** Warnings about the effect of a later change of the app. */
export function warningsAboutSnapshots({ databaseOptions }: SecureMlflowProps): Warnings {
  return {
    ...(databaseOptions?.snapshotIdentifier !== undefined && {
      databaseFromSnapshot: '`databaseOptions.snapshotIdentifier` must not be changed or removed as long as the database exists: if it is removed, CloudFormation replaces the database with an empty one; if it is changed, with the content of the other snapshot; newer data are then only in the old database; keep it, and acknowledge this warning',
    }),
  };
}

/** Warnings about alarms whose metrics do not exist. `insights` is undefined if the setting cannot be read. */
export function warningsAboutInsights(insights?: string, thresholds: MonitoringThresholds = {}): Warnings {
  const alarms = (['missingTasks', 'ephemeralStorage'] as const).filter(name => thresholds[name]?.enabled !== false).map(name => `\`${name}\``).join(', ');
  return alarms === '' ? {} : {
    ...(insights === 'disabled' && { noContainerInsights: `Container Insights is off, so addMonitoring leaves out these alarms: ${alarms}` }),
    ...(insights === undefined && { unseenContainerInsights: `Container Insights of \`cluster\` cannot be read at synthesis, and these alarms require it: ${alarms}; turn it on, or disable the alarms in \`thresholds\`` }),
  };
}

/** Changes after which alarms would have no metrics. It must be called when the whole app is defined. */
export function insightsProblems(before?: string, after?: string): string[] {
  return before === after ? []
    : [`Container Insights of the cluster must not change after addMonitoring, got ${after ?? 'the setting of the account'} in place of ${before ?? 'the setting of the account'}: call addMonitoring last`];
}

/**
 * Domains that give an address to anyone (the best known, as in https://github.com/jgillich/free-email-domains), and domains that have no addresses:
 * registries that sell subdomains (https://publicsuffix.org), whose customers have their own domains.
 */
const PUBLIC_DOMAINS = [
  /^(gmail|googlemail|icloud|me|mac|ymail|rocketmail|proton|protonmail|tutanota|fastmail|zohomail|mail|inbox|hey|qq|163|126|sina|naver|hanmail|rediffmail)\.com$/,
  /^(aol|gmx|hotmail|live|msn|outlook|yahoo|yandex)\.(com|net|[a-z]{2}|com?\.[a-z]{2})$/,
  /^(proton|pm)\.me$|^(mail|bk|list|inbox)\.ru$|^(web|freenet|t-online)\.de$|^(free|laposte|orange|wanadoo)\.fr$/,
  /^(libero|virgilio)\.it$|^(wp|o2|onet)\.pl$|^seznam\.cz$|^tuta\.io$/,
  /^(ac|co|com|edu|gov|net|org)\.[a-z]{2}$/,
];

export interface Deployment {
  /** Path of the construct in the app. */
  readonly path: string;
  readonly bucketName: string;
  readonly artifactPath: string;
  readonly provider: AuthProviderConfig;
}

/** Warnings about resources that two deployments of an app share. */
export function warningsAboutOthers(own: Deployment, others: Deployment[]): Warnings {
  const artifacts = others.find(other => other.bucketName === own.bucketName && overlap(other.artifactPath, own.artifactPath));
  const issuer = issuerOf(own);
  const [client, id] = issuer === undefined ? [] : others.filter(other => issuerOf(other) === issuer)
    .flatMap(other => clientsOf(own).filter(each => clientsOf(other).includes(each)).map(each => [other, each] as const))[0] ?? [];
  return {
    ...(artifacts !== undefined && {
      sharedArtifacts: `\`artifactPath\` is "${own.artifactPath}" in ${Token.isUnresolved(own.bucketName) ? 'the same bucket' : `the bucket ${own.bucketName}`}, where ${artifacts.path} has "${artifacts.artifactPath}": people with access to one can read and delete artifacts of the other; give each its own \`artifactPath\` or bucket`,
    }),
    ...(client !== undefined && {
      sharedClient: `\`authProvider\` has the ${Token.isUnresolved(id) ? 'same OAuth client' : `OAuth client "${id}"`}, as ${client.path} does: each accepts ID tokens for the other, and only \`emailDomains\` and groups decide there; register a client for each`,
    }),
  };
}

/** The name as far as it is known. A new bucket refers to itself, even if its name is written out. */
export function nameOfBucket(bucket: s3.IBucket): string {
  return (bucket.node.defaultChild as s3.CfnBucket | undefined)?.bucketName ?? bucket.bucketName;
}

function overlap(one: string, other: string): boolean {
  return `${one}/`.startsWith(`${other}/`) || `${other}/`.startsWith(`${one}/`);
}

/** The clients whose ID tokens are accepted. */
function clientsOf({ provider: { clientId, toolsClient } }: Deployment): string[] {
  return [clientId, ...toolsClient === undefined ? [] : [toolsClient.clientId]];
}

/** Undefined if the provider's tokens are not accepted as bearer tokens. A trailing slash makes no difference. */
function issuerOf({ provider: { environment, bearerTokens } }: Deployment): string | undefined {
  return bearerTokens === false ? undefined : environment.OAUTH2_PROXY_OIDC_ISSUER_URL?.replace(/\/$/, '');
}
