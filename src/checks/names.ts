import { known, noSecretOfEcs } from './problems';
import type { SecureMlflowProps } from '../props';
import { DEFAULT_MLFLOW_ENVIRONMENT, RESERVED_MLFLOW_NAMES } from '../settings/mlflow';
import { NETWORK_PROXY } from '../settings/network-proxy';
import { CONFIG_NAMES, OTHER_PROXY_NAMES, PROVIDER_NAMES, RESERVED_PROXY_NAMES } from '../settings/oauth2-proxy';

/** Variables that contain secrets, recognized by the end of their names: `OPENAI_API_KEY` does, `OPENAI_API_KEY_PATH` does not. */
const SECRET = /(^|_)(PASS|PASSWD|PASSWORD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|CONNECTION_STRING|WEBHOOK_URL|(ACCESS|API|AUTH|ENCRYPTION|JWT|PRIVATE|SECRET|SIGNATURE|SIGNING)KEY)$|_(KEY|PAT|PWD)$/i;
/** Variables that contain secrets and whose names end differently. */
const SECRET_TOO = /^(AWS_BEARER_TOKEN_BEDROCK|OTEL_EXPORTER_OTLP_(\w+_)?HEADERS)$/;
/** Variables whose names only look like secrets: public keys, the path of a file, and switches. */
const NO_SECRET = /APPLICATION(_DEFAULT)?_CREDENTIALS$|^GOOGLE_API_ENABLE_RUNTIME_BOUND_TOKEN$|(CACHE|GROUP|PARTITION|PRIMARY|PUBLIC|SORT|SSL)_KEY$/i;
/** The value of a switch or a number with few digits is not a secret. */
const SWITCH = /^(true|false|\d{0,5})$/i;
const URL_WITH_PASSWORD = /:\/\/[^/?#@\s]*:[^/?#@\s]+@|[?&]password=[^&]/i;
/** A reference that CloudFormation replaces with the secret. */
const REFERENCE = /\{\{resolve:(secretsmanager|ssm-secure):/;

/** Problems of the variables that users add to the containers. */
export function environmentProblems(props: SecureMlflowProps): string[] {
  const { environment = {}, proxyEnvironment = {}, secrets = {}, proxySecrets = {} } = props;
  return [
    ...plainProblems('environment', environment, RESERVED_MLFLOW_NAMES, 'secrets'),
    ...downloadProblems(environment.MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS),
    ...jobProblems(environment.MLFLOW_SERVER_ENABLE_JOB_EXECUTION),
    ...plainProblems('proxyEnvironment', proxyEnvironment, { ...PROVIDER_NAMES, ...RESERVED_PROXY_NAMES }, 'proxySecrets'),
    ...secretProblems('secrets', secrets, name => reasonFor(name, { ...RESERVED_MLFLOW_NAMES, ...NOT_AS_SECRETS })),
    ...twiceProblems('secrets', secrets, 'environment', environment),
    ...secretProblems('proxySecrets', proxySecrets, name => reasonFor(name, { ...!isSecret(name) && PROVIDER_NAMES, ...RESERVED_PROXY_NAMES })),
    ...twiceProblems('proxySecrets', proxySecrets, 'proxyEnvironment', proxyEnvironment),
  ];
}

/** Problems of the variables of a provider. */
export function providerProblems(environment: Record<string, string>, { proxySecrets = {} }: SecureMlflowProps): string[] {
  return [
    ...plainProblems('authProvider', environment, { ...RESERVED_PROXY_NAMES, ...CONFIG_NAMES }, 'proxySecrets'),
    ...twiceProblems('proxySecrets', proxySecrets, 'authProvider', environment),
  ];
}

/** Secrets in plain-text variables. It must be called when every value is known; `resolve` renders a value. */
export function referenceProblems({ environment = {}, proxyEnvironment = {} }: SecureMlflowProps, resolve: (value: string) => unknown): string[] {
  return ([['environment', environment, 'secrets'], ['proxyEnvironment', proxyEnvironment, 'proxySecrets']] as const).flatMap(([prop, variables, secretsProp]) =>
    Object.keys(variables).filter(name => REFERENCE.test(JSON.stringify(resolve(variables[name]))))
      .map(name => `\`${prop}\` must not contain a secret, got a reference to one in ${name}, which everybody with access to the task definition could read: use \`${secretsProp}\``));
}

/** Names that oauth2-proxy does not know and ignores without a message. */
export function unknownProxyNames(variables: Record<string, unknown> = {}): string[] {
  return namesOf(variables).filter(name => name.startsWith('OAUTH2_PROXY_') && !OTHER_PROXY_NAMES.includes(name)
    && reasonFor(name, { ...PROVIDER_NAMES, ...RESERVED_PROXY_NAMES }) === undefined);
}

function plainProblems(prop: string, variables: Record<string, string>, reserved: Record<string, string>, secretsProp: string): string[] {
  return namesOf(variables).flatMap(name => {
    const [value, reason] = [variables[name], reasonFor(name, reserved)];
    if (!NAME.test(name)) {
      return [noName(prop, name)];
    }
    if (reason !== undefined) {
      return [`\`${prop}\` must not contain ${name}: ${reason}`];
    }
    if (isSecret(name) && !SWITCH.test(value)) {
      return [`\`${prop}\` must not contain ${name}, which everybody with access to the template or the task definition could read: use \`${secretsProp}\``];
    }
    if (URL_WITH_PASSWORD.test(value)) {
      return [`\`${prop}\` must not contain a password, got one in the URL ${name}, which everybody with access to the template or the task definition could read: use \`${secretsProp}\``];
    }
    return [];
  });
}

function secretProblems(prop: string, secrets: Record<string, unknown>, reasonAgainst: (name: string) => string | undefined): string[] {
  return namesOf(secrets).flatMap(name => {
    const [reason, wrongValue] = [reasonAgainst(name), noSecretOfEcs(secrets[name])];
    if (!NAME.test(name)) {
      return [noName(prop, name)];
    }
    if (reason !== undefined) {
      return [`\`${prop}\` must not contain ${name}: ${reason}`];
    }
    return wrongValue === undefined ? [] : [`\`${prop}\`: ${name} ${wrongValue}`];
  });
}

function twiceProblems(prop: string, secrets: Record<string, unknown>, otherProp: string, others: Record<string, unknown>): string[] {
  return namesOf(secrets).filter(name => name in others).map(name => `\`${prop}\` must not contain ${name}, which \`${otherProp}\` also contains: leave one of them out`);
}

/** Names of environment variables that every program can read. */
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

function noName(prop: string, name: string): string {
  return `\`${prop}\` must contain names of letters, digits and "_" that do not begin with a digit, got ${JSON.stringify(name)}: correct it, or leave it out`;
}

/** The construct sets these variables to plain values. */
const NOT_AS_SECRETS = Object.fromEntries(Object.keys(DEFAULT_MLFLOW_ENVIRONMENT).map(name => [name, 'it is not a secret; use `environment`']));
function jobProblems(jobs?: string): string[] {
  if (!known(jobs) || /^(true|false|1|0)$/i.test(jobs)) {
    return [];
  }
  return [`\`environment\`: MLFLOW_SERVER_ENABLE_JOB_EXECUTION must be "true" or "false", got ${JSON.stringify(jobs)}: MLflow accepts no other value; leave it out for "false"`];
}

/** Anyone with the URL of a download can use it. */
const LONGEST_DOWNLOAD = 3600;

function downloadProblems(seconds?: string): string[] {
  if (!known(seconds) || (/^[1-9]\d{0,3}$/.test(seconds) && Number(seconds) <= LONGEST_DOWNLOAD)) {
    return [];
  }
  return [`\`environment\`: MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS must be whole seconds, 1 to ${LONGEST_DOWNLOAD}, got ${JSON.stringify(seconds)}: anyone with the URL of a file can use it during that time`];
}

function namesOf(variables: Record<string, unknown>): string[] {
  return Object.keys(variables).filter(known);
}

function reasonFor(name: string, reserved: Record<string, string>): string | undefined {
  if (NETWORK_PROXY.test(name)) {
    return 'use `networkProxy`, which applies to every container';
  }
  const pattern = Object.keys(reserved).find(entry => entry.endsWith('*') && name.startsWith(entry.slice(0, -1)));
  return reserved[name] ?? reserved[pattern!];
}

function isSecret(name: string): boolean {
  return !NO_SECRET.test(name) && (SECRET.test(name) || SECRET_TOO.test(name));
}
