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
 * Throws one error that lists everything wrong with the props, before any construct is defined.
 *
 * A value that is only known at deployment (a CDK token) is not judged, but refused where a bad one would open a door.
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
    problems.push('`encryptionKey` must be a key, got an alias, which policies and log groups cannot name: pass the key itself, such as `kms.Key.fromKeyArn(…)` or `kms.Key.fromLookup(…)`');
  }
  if (props.removalPolicy === RemovalPolicy.SNAPSHOT) {
    problems.push('`removalPolicy` must be RETAIN, RETAIN_ON_UPDATE_OR_DELETE or DESTROY, got "snapshot": leave it out to have the database leave a final snapshot and all else kept');
  }
  throwProblems(path, problems);
}

const LARGER = ': log what is larger as artifacts, which are not limited, or in several requests';

/** Throws if a provider would undo what the construct promises, or what other props ask for. */
export function validateProvider(path: string, props: SecureMlflowProps, provider: AuthProviderConfig): void {
  const problems = [...providerProblems(provider.environment, props), ...accessProviderProblems(props, provider)];
  const rules = ['OAUTH2_PROXY_ALLOWED_GROUPS', 'OAUTH2_PROXY_ALLOWED_ROLES'].filter(name => name in provider.environment);
  if (provider.hostedDomains !== undefined && (rules.length > 0 || 'OAUTH2_PROXY_OIDC_GROUPS_CLAIM' in provider.environment)) {
    problems.push('`authProvider` must not have `hostedDomains` together with settings for groups, in whose place oauth2-proxy compares them: leave one of them out');
  }
  if (props.sessionRefresh !== undefined && provider.refreshTokens === false) {
    problems.push('`sessionRefresh` must be left out with this `authProvider`, which gives oauth2-proxy no refresh token to ask again with: use a shorter `sessionDuration`, after which people come by the provider again');
  }
  problems.push(...toolsProblems(provider));
  for (const name of ['awsIdentityIssuer', 'machineIdentities', 'trustedTokenIssuers'] as const) {
    if (props[name] === undefined) {
      continue;
    }
    if (provider.bearerTokens === false) {
      problems.push(`\`${name}\` must be left out with this \`authProvider\`, which accepts no bearer tokens: use another provider for programs`);
    } else if (name !== 'trustedTokenIssuers' && rules.length > 0) {
      problems.push(`\`${name}\` must be left out where \`authProvider\` has allowed groups or roles, which oauth2-proxy asks machines for too, in vain: let the provider decide who may use the client, and leave out the groups`);
    }
  }
  throwProblems(path, problems);
}

/** A response that is fixed in a listener: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_FixedResponseActionConfig.html */
const LONGEST_ANSWER = 1024;

function toolsProblems({ clientId, bearerTokens, toolsClient }: AuthProviderConfig): string[] {
  if (toolsClient === undefined) {
    return [];
  }
  const { clientId: toolsId, scope } = toolsClient;
  const length = JSON.stringify(toolsAnswer(toolsClient)).length;
  return [
    ...bearerTokens === false ? ['`authProvider` must not have a client for tools where it accepts no bearer tokens, which those tools send: leave it out'] : [],
    ...known(scope) && !scope.split(' ').includes('openid') ? [`\`authProvider\` must ask for the scope "openid" with its client for tools, got ${show(scope)}: without it there is no ID token, which those tools send; add it to \`scope\``] : [],
    ...toolsId === clientId ? [`\`authProvider\` must have another client for tools than the one with a secret, got ${show(clientId)} for both: register a second one, without a secret, for \`toolsClientId\``] : [],
    ...length > LONGEST_ANSWER ? [`\`authProvider\` must have issuer, id and scope of the client for tools that fit into ${LONGEST_ANSWER} characters, got ${length}: ask for fewer scopes`] : [],
  ];
}

function domainProblems({ domainName, hostedZone, certificate }: SecureMlflowProps): string[] {
  const problems: string[] = [];
  if (known(domainName) && !DOMAIN.test(domainName)) {
    problems.push(`\`domainName\` must be one host name in lower case such as "mlflow.example.com", got ${show(domainName)}: leave out scheme, port and path`);
  }
  if (known(domainName) && certificate === undefined && domainName.length > 64) {
    problems.push(`\`domainName\` must have at most 64 characters where no \`certificate\` is given, got ${domainName.length}: pass a certificate, or use a shorter name`);
  }
  if (hostedZone === undefined && certificate === undefined) {
    problems.push('`certificate` or `hostedZone` must be given, got neither: without them there is no TLS; pass the zone to have a certificate issued, or a certificate you have');
  }
  if (hostedZone !== undefined && certificate === undefined && isPrivate(hostedZone)) {
    problems.push(`\`certificate\` must be given where \`hostedZone\` is a private one, got the zone ${hostedZone.node.path} alone: ACM looks for its proof in public DNS and would wait in vain; pass a certificate, such as one validated in the public zone of the same name`);
  }
  const zone = hostedZone && nameOf(hostedZone);
  if (known(domainName) && known(zone)) {
    if (domainName !== zone && !domainName.endsWith(`.${zone}`)) {
      problems.push(`\`domainName\` must lie in \`hostedZone\`, got ${show(domainName)} and the zone ${show(zone)}: use a name that ends in ".${zone}", or the zone of the name`);
    }
  }
  return problems;
}

/** Without the dot at the end. Undefined where the zone does not say it, as one that is imported by its id alone. */
function nameOf(zone: route53.IHostedZone): string | undefined {
  return readable(() => zone.zoneName.replace(/\.$/, ''));
}

/** As far as the app defines the zone: it has VPCs. */
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
    return ['`emailDomains` must hold at least one entry, got []: name the domains whose addresses may sign in; ["*"] stands for all'];
  }
  if (emailDomains.length === 1 && emailDomains[0] === '*') {
    return [];
  }
  return emailDomains.filter(entry => known(entry) && !DOMAIN.test(entry)).map(entry => entry === '*'
    ? `\`emailDomains\` may hold "*" alone, got ${show(emailDomains)}: leave out the other entries, or "*"`
    : `\`emailDomains\`: ${allowed}, got ${show(entry)}: leave out "@", scheme and commas, one domain an entry`);
}

/** oauth2-proxy reads the list as CSV, in which these characters mean something. */
function machineProblems({ awsIdentityIssuer, emailDomains, machineIdentities }: SecureMlflowProps): string[] {
  const problems: string[] = [];
  if (known(awsIdentityIssuer) && !isAwsAccount(awsIdentityIssuer)) {
    problems.push(`\`awsIdentityIssuer\` must be like "https://<id>.tokens.sts.global.api.aws", got ${show(awsIdentityIssuer)}: use the address that \`aws iam enable-outbound-web-identity-federation\` prints`);
  }
  if (known(machineIdentities)) {
    for (const identity of machineIdentities.filter(entry => known(entry) && !/^[^\s,"#*]+$/.test(entry))) {
      problems.push(`\`machineIdentities\`: each entry must be one exact subject without spaces, commas, quotes, "#" and "*", got ${show(identity)}: use the \`sub\` of the token, or its verified address`);
    }
  }
  if (known(emailDomains) && emailDomains.includes('*')) {
    for (const [name, value] of Object.entries({ awsIdentityIssuer, machineIdentities })) {
      if (value !== undefined) {
        problems.push(`\`${name}\` must be left out where \`emailDomains\` is ["*"], which lets in every subject and not only those on the list: name your domains`);
      }
    }
  }
  return problems;
}

function networkProblems({ vpc, natGateways, serviceSubnets, databaseSubnets, loadBalancerSubnets }: SecureMlflowProps): string[] {
  const problems = wholeNumberProblems('natGateways', natGateways, 0);
  if (natGateways !== undefined && Token.isUnresolved(natGateways)) { // it decides which subnets there are
    problems.push('`natGateways` must be known at synthesis, got a CDK token: use a number');
  }
  if (vpc !== undefined && natGateways !== undefined) {
    problems.push(`\`natGateways\` must be left out where \`vpc\` is given, got ${show(natGateways)}: it is about the VPC that the construct would make`);
  }
  for (const [name, selection] of Object.entries({ serviceSubnets, databaseSubnets, loadBalancerSubnets })) {
    if (vpc === undefined && selection !== undefined) {
      problems.push(`\`${name}\` must be left out where \`vpc\` is, got ${show(selection)}: pass the VPC that the subnets belong to`);
    }
  }
  return problems;
}

function artifactPathProblems(artifactPath?: string): string[] {
  if (artifactPath !== undefined && Token.isUnresolved(artifactPath)) {
    return ['`artifactPath` must be known at synthesis, got a CDK token: it goes into policies, where a "*" would widen them; write it out'];
  }
  if (artifactPath === undefined || (/^[\w=.-]+(\/[\w=.-]+)*$/.test(artifactPath) && !artifactPath.includes('..') && !artifactPath.split('/').includes('.'))) {
    return [];
  }
  return [`\`artifactPath\` must be folder names joined by "/", of letters, digits and "_=.-", such as "mlflow" or "teams/ml", got ${show(artifactPath)}: leave out a slash at either end, "//" and ".."`];
}

/** What the load balancer writes to: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html */
function accessLogsProblems(region: string, bucket?: s3.IBucket): string[] {
  const problems: string[] = [];
  if (bucket !== undefined && Token.isUnresolved(region)) { // it decides who may write to the bucket
    problems.push('`accessLogsBucket` needs a stack whose region is known at synthesis, got a CDK token: give the stack `env: { region: … }`');
  }
  if (bucket?.encryptionKey !== undefined) {
    problems.push(`\`accessLogsBucket\` must be encrypted with keys of S3 (SSE-S3), got the KMS key of ${bucket.node.path}: load balancers cannot write access logs to such a bucket; pass another one`);
  }
  return problems;
}

function cleanUpProblems({ artifactBucket, artifactTiering, cleanUp, environment = {} }: SecureMlflowProps): string[] {
  const problems: string[] = [];
  const age = secondsOf(cleanUp?.olderThan);
  if (age !== undefined && age < DAY) {
    problems.push(`\`cleanUp.olderThan\` must be at least a day, got ${cleanUp?.olderThan.toHumanString()}: people need time to notice that they deleted too much`);
  }
  problems.push(...wholeDaysProblems('cleanUp.keepVersionsFor', cleanUp?.keepVersionsFor, 'S3 counts in days'));
  for (const [name, value] of Object.entries({ 'artifactTiering': artifactTiering, 'cleanUp.keepVersionsFor': cleanUp?.keepVersionsFor })) {
    if (artifactBucket !== undefined && value !== undefined) {
      problems.push(`\`${name}\` must be left out where \`artifactBucket\` is given: nothing of that bucket is changed; give it lifecycle rules yourself`);
    }
  }
  if (cleanUp !== undefined && known(environment) && 'MLFLOW_ENABLE_WORKSPACES' in environment) {
    problems.push('`cleanUp` must be left out where `environment` holds MLFLOW_ENABLE_WORKSPACES: it has been tried without workspaces only');
  }
  return problems;
}

/** Aurora's own limits: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html */
function databaseProblems({ pauseAfter }: DatabaseCapacity, { databaseCapacity: { minAcus, maxAcus } }: Settings): string[] {
  const problems: string[] = [];
  for (const [name, value, least] of [['minAcus', minAcus, 0], ['maxAcus', maxAcus, 1]] as const) {
    if (known(value) && !(value >= least && value <= 256 && Number.isInteger(value * 2))) {
      problems.push(`\`databaseCapacity.${name}\` must be ${least} to 256 in steps of 0.5, got ${show(value)}`);
    }
  }
  if (known(minAcus) && known(maxAcus) && minAcus > maxAcus) {
    problems.push(`\`databaseCapacity.maxAcus\` must not be below \`minAcus\`, got ${maxAcus} and ${minAcus}: raise it (the default is ${DEFAULT_MAX_ACUS}), or lower \`minAcus\``);
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

/** In MiB: every so many GiB from one amount to another. */
function gib(from: number, to: number, step = 1): number[] {
  return Array.from({ length: (to - from) / step + 1 }, (_, index) => (from + index * step) * 1024);
}

/**
 * CPU units, and the MiB that Fargate offers with them to Linux, as of 2026-09-01: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#task_size
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
      problems.push('`desiredCount` must be 1 or more where `scaling` is given, got 0: with no task nothing is measured, so none would ever start');
    }
    if (known(scaling.maxCount) && known(desiredCount) && scaling.maxCount < desiredCount) {
      problems.push(`\`scaling.maxCount\` must not be below \`desiredCount\`, got ${scaling.maxCount} and ${desiredCount}: raise it, or lower \`desiredCount\``);
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
  if (typeof aiGateway !== 'object' || aiGateway === null) { // callers without types mean off by `false`, and it would be on
    return [`\`aiGateway\` must be an object such as {}, got ${show(aiGateway)}: leave it out to keep the gateway off`];
  }
  const { privateProviders } = aiGateway;
  if (!known(privateProviders)) {
    return [];
  }
  const name = '`aiGateway.privateProviders`';
  if (privateProviders.length === 0) {
    return [`${name} must hold at least one address, got []: leave it out for public addresses alone`];
  }
  return privateProviders.filter(known).map(entry => [entry, wrongWithProvider(entry)]).filter(([, todo]) => todo !== undefined)
    .map(([entry, todo]) => `${name}: each entry must be scheme, host in lower case and perhaps port of a server outside the task, such as "http://vllm.internal:8000", got ${show(entry)}: ${todo}`);
}

function networkProxyProblems({ networkProxy, aiGateway }: SecureMlflowProps): string[] {
  if (networkProxy === undefined) {
    return [];
  }
  const { host, port, noProxy } = networkProxy;
  const problems = wholeNumberProblems('networkProxy.port', port, 1, 65535);
  if (known(host) && !isHost(host)) {
    const got = host.includes('@') ? 'one with a password' : show(host);
    problems.push(`\`networkProxy.host\` must be a host name with a dot, in lower case, or an IPv4 address, got ${got}: leave out scheme, port and password; a proxy that asks for a password is not supported`);
  } else if (known(host) && TASK_HOST.test(host)) {
    problems.push(`\`networkProxy.host\` must be a host of the network, got ${show(host)}: the task itself and link-local addresses are no proxies`);
  }
  if (known(port) && port === 443) { // the inner door lets people's calls out to port 443 of public addresses, of which the proxy may have one
    problems.push('`networkProxy.port` must be another than 443, which the inner door takes for that of a public server: have the proxy listen on another port, too');
  }
  if (known(noProxy)) {
    problems.push(...noProxy.filter(entry => known(entry) && !/^[^\s,/:*]+$/.test(entry))
      .map(entry => `\`networkProxy.noProxy\`: each entry must be a host or an address, got ${show(entry)}: leave out scheme, port and path, ranges and "*"; a host stands for all below it`));
  }
  if (aiGateway !== undefined) { // with a proxy every connection goes to its address, and the inner door judges addresses
    problems.push('`networkProxy` must be left out where `aiGateway` is given: the inner door could not judge which addresses people call through that proxy; leave out one of them');
  }
  return problems;
}

const HOST = new RegExp(`^(?=.{1,253}$)${LABEL}(\\.${LABEL})*$`);
/** A provider is a host of the network, never the task itself nor what only tasks reach, such as the credentials of their role. */
const TASK_HOST = /^(localhost|.*\.localhost|(0|127)(\.\d+){3}|169\.254(\.\d+){2})$/;

/** What to do about an entry that cannot be one. */
function wrongWithProvider(entry: string): string | undefined {
  const [, place, rest] = /^https?:\/\/([^/?#]*)(.*)$/.exec(entry) ?? [];
  if (entry.includes('*')) {
    return 'name each host; there is no "*"';
  }
  if (place === undefined) {
    return 'begin with "http://" or "https://"';
  }
  if (rest !== '') {
    return 'leave out path and slash';
  }
  if (place.includes('@')) {
    return 'leave out user and password';
  }
  if (place.includes('[')) {
    return 'use a host name; there are no IPv6 addresses';
  }
  const [host, ...port] = place.split(':');
  if (/[A-Z]/.test(host)) {
    return 'write the host in lower case';
  }
  if (port.length > 0 && !(/^[1-9]\d{0,4}$/.test(port.join(':')) && Number(port) <= 65535)) {
    return 'the port must be 1 to 65535';
  }
  if (!HOST.test(host) || !URL.canParse(`http://${host}`)) {
    return 'use a host name, or an IPv4 address';
  }
  const { hostname } = new URL(`http://${host}`); // which has IPv4 addresses in the one usual form
  if (hostname !== host) {
    return `write the IPv4 address as "${hostname}"`;
  }
  return TASK_HOST.test(host) ? 'the task itself and link-local addresses are no providers' : undefined;
}
