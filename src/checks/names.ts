import { Token } from 'aws-cdk-lib';
import type { SecureMlflowProps } from '../props';
import { DEFAULT_MLFLOW_ENVIRONMENT, NETWORK_PROXY_NAMES, RESERVED_MLFLOW_NAMES } from '../settings/mlflow';
import { PROVIDER_NAMES, RESERVED_PROXY_NAMES } from '../settings/oauth2-proxy';

/** Variables that hold secrets, by the end of their names: `OPENAI_API_KEY` does, `OPENAI_API_KEY_PATH` does not. */
const SECRET = /(^|_)(PASSWORD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|CONNECTION_STRING|(ACCESS|API|AUTH|ENCRYPTION|JWT|PRIVATE|SECRET|SIGNATURE|SIGNING)_?KEY)$/i;
/** Those whose names end otherwise. */
const SECRET_TOO = /^(AWS_BEARER_TOKEN_BEDROCK|OTEL_EXPORTER_OTLP_(\w+_)?HEADERS)$/;
/** Those that only look like one: the path of a file, and switches. */
const NO_SECRET = /APPLICATION(_DEFAULT)?_CREDENTIALS$|^GOOGLE_API_ENABLE_RUNTIME_BOUND_TOKEN$/;
/** The value of a switch, which is no secret. */
const SWITCH = /^(true|false|[01]?)$/i;
const URL_WITH_PASSWORD = /:\/\/[^/?#@\s]*:[^/?#@\s]+@|[?&]password=[^&]/i;

/** What is wrong with the variables that users add to the containers. */
export function environmentProblems({ environment = {}, proxyEnvironment = {}, secrets = {}, proxySecrets = {} }: SecureMlflowProps): string[] {
  return [
    ...plainProblems('environment', environment, RESERVED_MLFLOW_NAMES, 'secrets'),
    ...downloadProblems(environment.MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS),
    ...plainProblems('proxyEnvironment', proxyEnvironment, { ...PROVIDER_NAMES, ...RESERVED_PROXY_NAMES }, 'proxySecrets'),
    ...secretProblems('secrets', secrets, name => reasonFor(name, { ...RESERVED_MLFLOW_NAMES, ...NOT_AS_SECRETS })),
    ...twiceProblems('secrets', secrets, 'environment', environment),
    ...secretProblems('proxySecrets', proxySecrets, name => reasonFor(name, { ...!isSecret(name) && PROVIDER_NAMES, ...RESERVED_PROXY_NAMES })),
    ...twiceProblems('proxySecrets', proxySecrets, 'proxyEnvironment', proxyEnvironment),
  ];
}

/** What is wrong with the variables of a provider. */
export function providerProblems(environment: Record<string, string>, { proxySecrets = {} }: SecureMlflowProps): string[] {
  return [
    ...plainProblems('authProvider', environment, RESERVED_PROXY_NAMES, 'proxySecrets'),
    ...twiceProblems('proxySecrets', proxySecrets, 'authProvider', environment),
  ];
}

function plainProblems(prop: string, variables: Record<string, string>, reserved: Record<string, string>, secretsProp: string): string[] {
  return namesOf(variables).flatMap(name => {
    const [value, reason] = [variables[name], reasonFor(name, reserved)];
    if (reason !== undefined) {
      return [`\`${prop}\` must not hold ${name}: ${reason}`];
    }
    if (isSecret(name) && !SWITCH.test(value)) {
      return [`\`${prop}\` must not hold ${name}, which everybody who may read the template or the task definition could read: use \`${secretsProp}\``];
    }
    if (URL_WITH_PASSWORD.test(value)) {
      const instead = prop === 'environment' && NETWORK_PROXY_NAMES.includes(name) ? 'use a proxy that asks for none' : `use \`${secretsProp}\``;
      return [`\`${prop}\` must not hold a password, got one in the URL ${name}, which everybody who may read the template or the task definition could read: ${instead}`];
    }
    return [];
  });
}

function secretProblems(prop: string, secrets: Record<string, unknown>, reasonAgainst: (name: string) => string | undefined): string[] {
  return namesOf(secrets).flatMap(name => {
    const reason = reasonAgainst(name);
    return reason === undefined ? [] : [`\`${prop}\` must not hold ${name}: ${reason}`];
  });
}

function twiceProblems(prop: string, secrets: Record<string, unknown>, otherProp: string, others: Record<string, unknown>): string[] {
  return namesOf(secrets).filter(name => name in others).map(name => `\`${prop}\` must not hold ${name}, which \`${otherProp}\` holds, too: leave one of them out`);
}

/** The construct gives the first a plain value; `prepare` needs the others, too, and gets no secrets. */
const NOT_AS_SECRETS: Record<string, string> = {
  ...Object.fromEntries(Object.keys(DEFAULT_MLFLOW_ENVIRONMENT).map(name => [name, 'it is no secret; use `environment`'])),
  ...Object.fromEntries(NETWORK_PROXY_NAMES.map(name => [name, 'other containers need it, too; use a proxy that asks for no password'])),
};

/** Whoever has the URL of a download may use it. */
const LONGEST_DOWNLOAD = 3600;

function downloadProblems(seconds?: string): string[] {
  if (seconds === undefined || Token.isUnresolved(seconds) || (/^[1-9]\d{0,3}$/.test(seconds) && Number(seconds) <= LONGEST_DOWNLOAD)) {
    return [];
  }
  return [`\`environment\`: MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS must be whole seconds, 1 to ${LONGEST_DOWNLOAD}, got ${JSON.stringify(seconds)}: whoever has the URL of a file may use it that long`];
}

function namesOf(variables: Record<string, unknown>): string[] {
  return Object.keys(variables).filter(name => !Token.isUnresolved(name));
}

function reasonFor(name: string, reserved: Record<string, string>): string | undefined {
  const pattern = Object.keys(reserved).find(entry => entry.endsWith('*') && name.startsWith(entry.slice(0, -1)));
  return reserved[name] ?? reserved[pattern!];
}

function isSecret(name: string): boolean {
  return !NO_SECRET.test(name) && (SECRET.test(name) || SECRET_TOO.test(name));
}
