import { RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import * as route53 from 'aws-cdk-lib/aws-route53';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { accessProblems, accessProviderProblems } from './access';
import { databaseOptionsProblems } from './database';
import { gunicornProblems } from './gunicorn';
import { clusterProblems, listenerProblems } from './listener';
import { environmentProblems, providerProblems } from './names';
import { DAY, DOMAIN, isHost, known, LABEL, readable, secondsOf, show, throwProblems, wholeDaysProblems, wholeNumberProblems } from './problems';
import { regionProblems } from './regions';
import { subnetProblems } from './subnets';
import { AuthProviderConfig } from '../auth/config';
import { isAwsAccount } from '../auth/public-issuers';
import { toolsAnswer } from '../auth/tools';
import { DEFAULT_CPU, DEFAULT_MAX_ACUS, DEFAULT_MEMORY_MIB, Settings } from '../defaults';
import { AiGatewayOptions, DatabaseCapacity, SecureMlflowProps } from '../props';

/**
 * Throws one error that lists every problem of the props, before any construct is defined.
 *
 * A CDK token (a value that is only known at deployment) is not checked. It is refused only where a bad value would weaken the protection.
 */
export function validateProps(path: string, region: string, props: SecureMlflowProps, settings: Settings): void {
  const problems = [
    ...domainProblems(props),
    ...regionProblems(region, props),
    ...emailDomainProblems(props.emailDomains),
    ...machineProblems(props),
    ...accessProblems(props),
    ...networkProblems(props),
    ...subnetProblems(props, settings),
    ...listenerProblems(props),
    ...clusterProblems(props),
    ...artifactPathProblems(props.artifactPath),
    ...cleanUpProblems(props),
    ...accessLogsProblems(region, props.accessLogsBucket),
    ...databaseProblems(props.databaseCapacity ?? {}, settings),
    ...databaseOptionsProblems(region, settings),
    ...taskProblems(props, settings),
    ...sessionProblems(settings),
    ...gunicornProblems(props.gunicornOpts),
    ...wholeNumberProblems('requestLimits.apiMiB', props.requestLimits?.apiMiB, 1, 1024, LARGER),
    ...wholeNumberProblems('requestLimits.tracesMiB', props.requestLimits?.tracesMiB, 1, 1024, LARGER),
    ...gatewayProblems(props.aiGateway),
    ...networkProxyProblems(props),
    ...environmentProblems(props),
  ];
  if (props.encryptionKey !== undefined && 'aliasName' in props.encryptionKey) {
    problems.push('`encryptionKey` must be a key, got an alias, which policies and log groups cannot refer to: pass the key itself, such as `kms.Key.fromKeyArn(…)` or `kms.Key.fromLookup(…)`');
  }
  if (props.removalPolicy === RemovalPolicy.SNAPSHOT) {
    problems.push('`removalPolicy` must be RETAIN, RETAIN_ON_UPDATE_OR_DELETE or DESTROY, got "snapshot": leave it out, and the database leaves a final snapshot while everything else is kept');
  }
  throwProblems(path, problems);
}

const LARGER = ': log larger data as artifacts, which are not limited, or in several requests';

/** Throws if the settings of a provider contradict the promises of the construct or other props. */
export function validateProvider(path: string, props: SecureMlflowProps, provider: AuthProviderConfig): void {
  const problems = [...providerProblems(provider.environment, props), ...accessProviderProblems(props, provider)];
  const rules = ['OAUTH2_PROXY_ALLOWED_GROUPS', 'OAUTH2_PROXY_ALLOWED_ROLES'].filter(name => name in provider.environment);
  if (provider.hostedDomains !== undefined && (rules.length > 0 || 'OAUTH2_PROXY_OIDC_GROUPS_CLAIM' in provider.environment)) {
    problems.push('`authProvider` must not have `hostedDomains` together with settings for groups, because oauth2-proxy compares them as groups: leave one of them out');
  }
  if (props.sessionRefresh !== undefined && provider.refreshTokens === false) {
    problems.push('`sessionRefresh` must be left out with this `authProvider`, which issues no refresh token to oauth2-proxy: use a shorter `sessionDuration`, after which people sign in at the provider again');
  }
  problems.push(...toolsProblems(provider));
  for (const name of ['awsIdentityIssuer', 'machineIdentities', 'trustedTokenIssuers'] as const) {
    if (props[name] === undefined) {
      continue;
    }
    if (provider.bearerTokens === false) {
      problems.push(`\`${name}\` must be left out with this \`authProvider\`, which accepts no bearer tokens: use another provider for programs`);
    } else if (name !== 'trustedTokenIssuers' && rules.length > 0) {
      problems.push(`\`${name}\` must be left out where \`authProvider\` has allowed groups or roles, because oauth2-proxy also requires them of machines, whose bearer tokens contain none: have the provider decide who may use the client, and leave out the groups`);
    }
  }
  throwProblems(path, problems);
}

/** Maximum length of a fixed response of a listener: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_FixedResponseActionConfig.html */
const LONGEST_ANSWER = 1024;

function toolsProblems({ clientId, bearerTokens, toolsClient }: AuthProviderConfig): string[] {
  if (toolsClient === undefined) {
    return [];
  }
  const { clientId: toolsId, scope } = toolsClient;
  const length = JSON.stringify(toolsAnswer(toolsClient)).length;
  return [
    ...bearerTokens === false ? ['`authProvider` must not have a client for tools if it accepts no bearer tokens, which those tools send: leave the client out'] : [],
    ...known(scope) && !scope.split(' ').includes('openid') ? [`\`authProvider\` must request the scope "openid" with its client for tools, got ${show(scope)}: without this scope the tools get no ID token to send; add it to \`scope\``] : [],
    ...toolsId === clientId ? [`\`authProvider\` must have different clients for tools and for the browser, got ${show(clientId)} for both: register a second client, without a secret, for \`toolsClientId\``] : [],
    ...length > LONGEST_ANSWER ? [`\`authProvider\` must have issuer, id and scope of the client for tools with at most ${LONGEST_ANSWER} characters, got ${length}: request fewer scopes`] : [],
  ];
}

function domainProblems({ domainName, hostedZone, certificate }: SecureMlflowProps): string[] {
  const problems: string[] = [];
  const isName = known(domainName) && DOMAIN.test(domainName);
  if (known(domainName) && !isName) {
    problems.push(`\`domainName\` must be one host name in lower case such as "mlflow.example.com", got ${show(domainName)}: leave out scheme, port and path`);
  }
  if (known(domainName) && certificate === undefined && domainName.length > 64) {
    problems.push(`\`domainName\` must have at most 64 characters where no \`certificate\` is given, got ${domainName.length}: pass a certificate, or use a shorter name`); // the limit of ACM
  }
  if (hostedZone === undefined && certificate === undefined) {
    problems.push('`certificate` or `hostedZone` must be given, got neither: without them there is no TLS; pass the zone to get a new certificate, or pass an existing certificate');
  }
  if (hostedZone !== undefined && certificate === undefined && isPrivate(hostedZone)) {
    problems.push(`\`certificate\` must be given where \`hostedZone\` is private, got only the zone ${hostedZone.node.path}: ACM validates a certificate in public DNS only, and the deployment would time out; pass a certificate, such as one validated in the public zone of the same name`);
  }
  const zone = hostedZone && nameOf(hostedZone);
  if (isName && known(zone) && domainName !== zone && !domainName.endsWith(`.${zone}`)) {
    problems.push(`\`domainName\` must be in \`hostedZone\`, got ${show(domainName)} and the zone ${show(zone)}: use a name that ends in ".${zone}", or the zone of the name`);
  }
  return problems;
}

/** The name without the trailing dot. Undefined if the zone does not have it, such as one that is imported only by its id. */
function nameOf(zone: route53.IHostedZone): string | undefined {
  return readable(() => zone.zoneName.replace(/\.$/, ''));
}

/** Whether the app defines the zone with VPCs. An imported zone is not recognized as private. */
function isPrivate(zone: route53.IHostedZone): boolean {
  const resource = zone.node.defaultChild as route53.CfnHostedZone | undefined;
  const vpcs: unknown[] | undefined = Stack.of(zone).resolve(resource?.vpcs);
  return vpcs !== undefined && vpcs.length > 0;
}

function emailDomainProblems(emailDomains: string[]): string[] {
  if (!known(emailDomains)) {
    return [];
  }
  const allowed = 'each entry must be a domain in lower case such as "example.com"';
  if (emailDomains.length === 0) {
    return ['`emailDomains` must contain at least one entry, got []: list the domains whose addresses may sign in; ["*"] means all'];
  }
  if (emailDomains.length === 1 && emailDomains[0] === '*') {
    return [];
  }
  return emailDomains.filter(entry => known(entry) && !DOMAIN.test(entry)).map(entry => entry === '*'
    ? `\`emailDomains\` must not contain "*" and other entries, got ${show(emailDomains)}: leave out the other entries, or "*"`
    : `\`emailDomains\`: ${allowed}, got ${show(entry)}: leave out "@", scheme and commas, and write one domain in each entry`);
}

/** oauth2-proxy reads the list of machines as CSV, in which some characters have a special meaning. */
function machineProblems({ awsIdentityIssuer, emailDomains, machineIdentities }: SecureMlflowProps): string[] {
  const problems: string[] = [];
  if (known(awsIdentityIssuer) && !isAwsAccount(awsIdentityIssuer)) {
    problems.push(`\`awsIdentityIssuer\` must be like "https://<id>.tokens.sts.global.api.aws", got ${show(awsIdentityIssuer)}: use the issuer that \`aws iam enable-outbound-web-identity-federation\` prints`);
  }
  if (known(machineIdentities)) {
    for (const identity of machineIdentities.filter(entry => known(entry) && !/^[^\s,"#*]+$/.test(entry))) {
      problems.push(`\`machineIdentities\`: each entry must be one exact subject without spaces, commas, quotes, "#" and "*", got ${show(identity)}: use the \`sub\` claim of the bearer token, or its verified address`);
    }
  }
  if (known(emailDomains) && emailDomains.includes('*')) {
    for (const [name, value] of Object.entries({ awsIdentityIssuer, machineIdentities })) {
      if (value !== undefined) {
        problems.push(`\`${name}\` must be left out where \`emailDomains\` is ["*"], which admits every subject and not only those on the list: list your domains in \`emailDomains\``);
      }
    }
  }
  return problems;
}

function networkProblems({ vpc, natGateways, serviceSubnets, databaseSubnets, loadBalancerSubnets }: SecureMlflowProps): string[] {
  const problems = wholeNumberProblems('natGateways', natGateways, 0);
  if (natGateways !== undefined && Token.isUnresolved(natGateways)) { // it decides which subnets are defined
    problems.push('`natGateways` must be known at synthesis, got a CDK token: use a number');
  }
  if (vpc !== undefined && natGateways !== undefined) {
    problems.push(`\`natGateways\` must be left out where \`vpc\` is given, got ${show(natGateways)}: it applies only to a new VPC`);
  }
  for (const [name, selection] of Object.entries({ serviceSubnets, databaseSubnets, loadBalancerSubnets })) {
    if (vpc === undefined && selection !== undefined) {
      problems.push(`\`${name}\` must be left out where \`vpc\` is left out, got ${show(selection)}: pass the VPC that the subnets belong to`);
    }
  }
  return problems;
}

function artifactPathProblems(artifactPath?: string): string[] {
  if (artifactPath !== undefined && Token.isUnresolved(artifactPath)) {
    return ['`artifactPath` must be known at synthesis, got a CDK token: it becomes part of policies, which a "*" would widen; write it out'];
  }
  if (artifactPath === undefined || (/^[\w=.-]+(\/[\w=.-]+)*$/.test(artifactPath) && !artifactPath.includes('..') && !artifactPath.split('/').includes('.'))) {
    return [];
  }
  return [`\`artifactPath\` must be folder names joined by "/", of letters, digits and "_=.-", such as "mlflow" or "teams/ml", got ${show(artifactPath)}: leave out "//", ".." and slashes at the beginning and the end`];
}

/** Requirements for access logs: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html */
function accessLogsProblems(region: string, bucket?: s3.IBucket): string[] {
  const problems: string[] = [];
  if (bucket !== undefined && Token.isUnresolved(region)) { // the region decides which principal writes to the bucket
    problems.push('`accessLogsBucket` needs a stack whose region is known at synthesis, got a CDK token: set `env: { region: … }` of the stack');
  }
  if (bucket?.encryptionKey !== undefined) {
    problems.push(`\`accessLogsBucket\` must be encrypted with SSE-S3, got ${bucket.node.path} with a KMS key: load balancers cannot write access logs to such a bucket; pass another bucket`);
  }
  return problems;
}

function cleanUpProblems({ artifactBucket, artifactTiering, cleanUp, environment = {} }: SecureMlflowProps): string[] {
  const problems: string[] = [];
  const age = secondsOf(cleanUp?.olderThan);
  if (age !== undefined && age < DAY) {
    problems.push(`\`cleanUp.olderThan\` must be at least a day, got ${cleanUp?.olderThan.toHumanString()}: people need time to notice that they deleted something by mistake`);
  }
  problems.push(...wholeDaysProblems('cleanUp.keepVersionsFor', cleanUp?.keepVersionsFor, 'S3 counts in whole days'));
  for (const [name, value] of Object.entries({ 'artifactTiering': artifactTiering, 'cleanUp.keepVersionsFor': cleanUp?.keepVersionsFor })) {
    if (artifactBucket !== undefined && value !== undefined) {
      problems.push(`\`${name}\` must be left out where \`artifactBucket\` is given: the construct does not change that bucket; add lifecycle rules to it yourself`);
    }
  }
  if (cleanUp !== undefined && known(environment) && 'MLFLOW_ENABLE_WORKSPACES' in environment) {
    problems.push('`cleanUp` must be left out where `environment` contains MLFLOW_ENABLE_WORKSPACES: the clean-up has only been tested without workspaces');
  }
  return problems;
}

/** Limits of Aurora: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html */
function databaseProblems({ pauseAfter }: DatabaseCapacity, { databaseCapacity: { minAcus, maxAcus } }: Settings): string[] {
  const problems: string[] = [];
  for (const [name, value, least] of [['minAcus', minAcus, 0], ['maxAcus', maxAcus, 1]] as const) {
    if (known(value) && !(value >= least && value <= 256 && Number.isInteger(value * 2))) {
      problems.push(`\`databaseCapacity.${name}\` must be ${least} to 256 in steps of 0.5, got ${show(value)}`);
    }
  }
  if (known(minAcus) && known(maxAcus) && minAcus > maxAcus) {
    problems.push(`\`databaseCapacity.maxAcus\` must not be lower than \`minAcus\`, got ${maxAcus} and ${minAcus}: raise it (the default is ${DEFAULT_MAX_ACUS}), or lower \`minAcus\``);
  }
  if (pauseAfter !== undefined && known(minAcus) && minAcus !== 0) {
    problems.push(`\`databaseCapacity.pauseAfter\` needs \`minAcus: 0\`, got ${minAcus}: a database with a minimum never pauses; leave one of them out`);
  }
  const pause = secondsOf(pauseAfter);
  if (pause !== undefined && (pause < 300 || pause > DAY)) {
    problems.push(`\`databaseCapacity.pauseAfter\` must be 5 minutes to 24 hours, got ${pauseAfter?.toHumanString()}`);
  }
  return problems;
}

/** Amounts in MiB, from one number of GiB to another in steps. */
function gib(from: number, to: number, step = 1): number[] {
  return Array.from({ length: (to - from) / step + 1 }, (_, index) => (from + index * step) * 1024);
}

/**
 * CPU units, and the MiB of memory that Fargate allows with them for Linux, as of 2026-09-01: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#task_size
 * and for the largest https://github.com/aws-cloudformation/cfn-lint/pull/4668.
 */
const FARGATE_SIZES: Record<number, number[]> = {
  256: [512, 1024, 2048],
  512: gib(1, 4),
  1024: gib(2, 8),
  2048: gib(4, 16),
  4096: gib(8, 30),
  8192: gib(16, 60, 4),
  16384: gib(32, 120, 8),
  32768: [60 * 1024, 120 * 1024, 244 * 1024],
};

function taskProblems(props: SecureMlflowProps, { cpu, memoryLimitMiB, desiredCount }: Settings): string[] {
  const problems = [
    ...wholeNumberProblems('workers', props.workers, 1),
    ...wholeNumberProblems('desiredCount', props.desiredCount, 0),
    ...wholeNumberProblems('minHealthyPercent', props.minHealthyPercent, 0, 100),
    ...wholeNumberProblems('ephemeralStorageGiB', props.ephemeralStorageGiB, 21, 200),
  ];
  const { scaling } = props;
  if (scaling !== undefined) {
    problems.push(
      ...wholeNumberProblems('scaling.maxCount', scaling.maxCount, 1),
      ...wholeNumberProblems('scaling.cpuUtilizationPercent', scaling.cpuUtilizationPercent, 1, 100),
      ...wholeNumberProblems('scaling.requestsPerTarget', scaling.requestsPerTarget, 1),
    );
    if (known(desiredCount) && desiredCount < 1) {
      problems.push('`desiredCount` must be 1 or more where `scaling` is given, got 0: without a task there are no metrics, so no task would ever start; raise it');
    }
    if (known(scaling.maxCount) && known(desiredCount) && scaling.maxCount < desiredCount) {
      problems.push(`\`scaling.maxCount\` must not be lower than \`desiredCount\`, got ${scaling.maxCount} and ${desiredCount}: raise it, or lower \`desiredCount\``);
    }
  }
  if (known(cpu)) {
    const sizes = FARGATE_SIZES[cpu];
    if (sizes === undefined) {
      problems.push(`\`cpu\` must be one of ${Object.keys(FARGATE_SIZES).join(', ')}, got ${show(cpu)}`);
    } else if (known(memoryLimitMiB) && !sizes.includes(memoryLimitMiB)) {
      problems.push(`\`memoryLimitMiB\` must be one of ${sizes.join(', ')} where \`cpu\` is ${cpu}, got ${show(memoryLimitMiB)}: change one of them (the defaults are ${DEFAULT_CPU} and ${DEFAULT_MEMORY_MIB})`);
    }
  }
  return problems;
}

function sessionProblems({ sessionDuration, sessionRefresh }: Settings): string[] {
  const problems: string[] = [];
  for (const [name, value] of Object.entries({ sessionDuration, sessionRefresh })) {
    const seconds = secondsOf(value);
    if (seconds !== undefined && seconds < 60) {
      problems.push(`\`${name}\` must be at least a minute, got ${value?.toHumanString()}`);
    }
  }
  const [refresh, whole] = [secondsOf(sessionRefresh), secondsOf(sessionDuration)];
  if (refresh !== undefined && whole !== undefined && refresh >= whole) {
    problems.push(`\`sessionRefresh\` must be shorter than \`sessionDuration\`, got ${sessionRefresh?.toHumanString()} and ${sessionDuration.toHumanString()}`);
  }
  return problems;
}

function gatewayProblems(aiGateway?: AiGatewayOptions): string[] {
  if (aiGateway === undefined) {
    return [];
  }
  if (typeof aiGateway !== 'object' || aiGateway === null) { // callers without types may pass `false`, which must not turn it on
    return [`\`aiGateway\` must be an object such as {}, got ${show(aiGateway)}: leave it out to keep the AI gateway off`];
  }
  const { privateProviders } = aiGateway;
  if (!known(privateProviders)) {
    return [];
  }
  const name = '`aiGateway.privateProviders`';
  if (privateProviders.length === 0) {
    return [`${name} must contain at least one address, got []: leave it out to allow public addresses only`];
  }
  return privateProviders.filter(known).map(entry => [entry, wrongWithProvider(entry)]).filter(([, todo]) => todo !== undefined)
    .map(([entry, todo]) => `${name}: each entry must be the scheme, the host in lower case and, if needed, the port of a server outside the task, such as "http://vllm.internal:8000", got ${show(entry)}: ${todo}`);
}

function networkProxyProblems({ networkProxy, aiGateway }: SecureMlflowProps): string[] {
  if (networkProxy === undefined) {
    return [];
  }
  const { host, port, noProxy } = networkProxy;
  const problems = wholeNumberProblems('networkProxy.port', port, 1, 65535);
  if (known(host) && !isHost(host)) {
    const got = host.includes('@') ? 'one with a password' : show(host);
    problems.push(`\`networkProxy.host\` must be a host name with a dot, in lower case, or an IPv4 address, got ${got}: leave out scheme, port and password; a proxy that requires a password is not supported`);
  } else if (known(host) && TASK_HOST.test(host)) {
    problems.push(`\`networkProxy.host\` must be a host in the network, got ${show(host)}: do not use the task itself or a link-local address`);
  }
  if (known(port) && port === 443) { // the inner door allows calls of people to port 443 of public addresses, and the proxy may have a public address
    problems.push('`networkProxy.port` must not be 443, because the inner door allows requests of people to port 443 of public addresses: have the proxy listen on another port, too');
  }
  if (known(noProxy)) {
    problems.push(...noProxy.filter(entry => known(entry) && !/^[^\s,/:*]+$/.test(entry))
      .map(entry => `\`networkProxy.noProxy\`: each entry must be a host or an address, got ${show(entry)}: leave out scheme, port, path, ranges and "*"; a host includes its subdomains`));
  }
  if (aiGateway !== undefined) { // the inner door checks destination addresses, and with a proxy every connection goes to the address of the proxy
    problems.push('`networkProxy` must be left out where `aiGateway` is given: the inner door could not check which addresses people call through that proxy; leave out one of them');
  }
  return problems;
}

const HOST = new RegExp(`^(?=.{1,253}$)${LABEL}(\\.${LABEL})*$`);
/** Hosts that are not allowed: the task itself, and addresses that only tasks reach, such as that of the credentials of their role. */
const TASK_HOST = /^(localhost|.*\.localhost|(0|127)(\.\d+){3}|169\.254(\.\d+){2})$/;

/** What to do about an invalid entry. Undefined if it is valid. */
function wrongWithProvider(entry: string): string | undefined {
  const [, place, rest] = /^https?:\/\/([^/?#]*)(.*)$/.exec(entry) ?? [];
  if (entry.includes('*')) {
    return 'list each host; "*" is not supported';
  }
  if (place === undefined) {
    return 'begin with "http://" or "https://"';
  }
  if (rest !== '') {
    return 'leave out path and trailing slash';
  }
  if (place.includes('@')) {
    return 'leave out user and password';
  }
  if (place.includes('[')) {
    return 'use a host name; IPv6 addresses are not supported';
  }
  const [host, ...port] = place.split(':');
  if (/[A-Z]/.test(host)) {
    return 'write the host in lower case';
  }
  if (port.length > 0 && !(/^[1-9]\d{0,4}$/.test(port.join(':')) && Number(port) <= 65535)) {
    return 'the port must be 1 to 65535';
  }
  if (!HOST.test(host) || !URL.canParse(`http://${host}`)) {
    return 'use a host name or an IPv4 address';
  }
  const { hostname } = new URL(`http://${host}`); // the parsed URL has an IPv4 address in its usual form
  if (hostname !== host) {
    return `write the IPv4 address as "${hostname}"`;
  }
  return TASK_HOST.test(host) ? 'do not use the task itself or a link-local address' : undefined;
}
