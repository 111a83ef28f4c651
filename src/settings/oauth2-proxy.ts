import { Duration, Fn, Token, Tokenization } from 'aws-cdk-lib';
import { allowList } from './allow-list';
import { MACHINE_IDENTITIES_FILE, MLFLOW_PORT, PAGES_DIRECTORY } from './mlflow';
import type { ToolsClient } from '../auth/config';
import { TokenIssuer } from '../auth/token-issuer';

/** Settings of the oauth2-proxy container: pure functions of what they depend on. Facts about each are in docs/settings.md. */

export const PROXY_PORT = 4180;
/** The prefix binds the cookie to the host, to TLS and to the path `/`. Keys of sessions in a session store begin with the same name. */
export const COOKIE_NAME = '__Host-oauth2_proxy';
/** The port of Valkey. */
export const SESSION_PORT = 6379;

/** The only part of MLflow's API that is closed for everybody, because it runs programs on the server. */
export const ASSISTANT_PATH = '/ajax-api/3.0/mlflow/assistant';

export interface ProxyOptions {
  readonly url: string;
  readonly clientId: string;
  readonly providerEnvironment: Record<string, string>;
  readonly bearerTokens: boolean;
  readonly signOutUrl?: string;
  readonly emailDomains: string[];
  /** Allowed values of the claim `hd` in tokens of people. */
  readonly hostedDomains?: string[];
  /** Whether machines are allowed. Their bearer tokens contain no groups and no hosted domain. */
  readonly machines: boolean;
  readonly trustedTokenIssuers: TokenIssuer[];
  /** The OAuth client with which people's tools sign in. */
  readonly toolsClient?: ToolsClient;
  readonly sessionDuration: Duration;
  readonly sessionRefresh?: Duration;
  /** The server that stores sessions. Undefined if they are in the cookie. The password is a secret of the container. */
  readonly sessionServer?: { readonly host: string; readonly port: number; readonly username?: string };
  readonly environment?: Record<string, string>;
}

export function redirectUrl(url: string): string {
  return `${url}/oauth2/callback`;
}

/** The URL for signing out. oauth2-proxy ends its session, then the page of the provider, if there is one, ends the session there. */
export function signOutUrl(url: string, providerPage?: string): string {
  const page = providerPage === undefined ? '' : `?rd=${encode(providerPage)}`;
  return `${url}/oauth2/sign_out${page}`;
}

/** Percent-encodes the text, except for CDK tokens, which stand for text that needs no escaping. */
function encode(text: string): string {
  return text.split(/(\$\{Token\[.*?\]\})/).map(part => Token.isUnresolved(part) ? part : encodeURIComponent(part)).join('');
}

/** Settings of oauth2-proxy. Warning: it ignores unknown names, and lists have plural names and no escape for a comma. */
export function proxyEnvironment(options: ProxyOptions): Record<string, string> {
  const { trustedTokenIssuers } = options;
  return {
    // Settings of the Go runtime: a request needs a quarter less CPU time than with the defaults, for 12 MiB more memory (`npm run bench`).
    GOMAXPROCS: '1',
    GOGC: '400',
    OAUTH2_PROXY_CODE_CHALLENGE_METHOD: 'S256', // off by default in oauth2-proxy; a provider that does not support it may replace it
    OAUTH2_PROXY_CUSTOM_TEMPLATES_DIR: PAGES_DIRECTORY,
    ...options.providerEnvironment,
    ...extraAudiences(options),
    ...options.environment,

    // The settings below cannot be replaced. The reasons are in RESERVED_PROXY_NAMES.
    OAUTH2_PROXY_HTTP_ADDRESS: `0.0.0.0:${PROXY_PORT}`,
    // The last upstream is a folder that does not exist. oauth2-proxy compares decoded and cleaned paths, so it closes the assistant for every spelling
    // of its path, which the rule of the load balancer cannot do.
    OAUTH2_PROXY_UPSTREAMS: `http://127.0.0.1:${MLFLOW_PORT}/,file:///nonexistent/#${ASSISTANT_PATH}/`,
    OAUTH2_PROXY_PASS_HOST_HEADER: 'false',
    OAUTH2_PROXY_REDIRECT_URL: redirectUrl(options.url),
    OAUTH2_PROXY_CLIENT_ID: options.clientId,
    // One of the two is enough: a verified address in a domain, or a line in the file.
    OAUTH2_PROXY_EMAIL_DOMAINS: Fn.join(',', options.emailDomains),
    OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE: MACHINE_IDENTITIES_FILE,
    ...(options.hostedDomains && {
      OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'hd',
      // oauth2-proxy applies the rule to everyone or no one. If machines are allowed, the inner door applies it to people.
      ...(!options.machines && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(options.hostedDomains) }),
    }),
    OAUTH2_PROXY_INSECURE_OIDC_SKIP_NONCE: 'false', // the nonce is checked
    OAUTH2_PROXY_SKIP_PROVIDER_BUTTON: 'false', // a redirect would lose the part of a URL after "#"; our page redirects without a click

    ...sessionEnvironment(options),

    OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS: String(options.bearerTokens), // true: a valid bearer token needs no session
    OAUTH2_PROXY_BEARER_TOKEN_LOGIN_FALLBACK: 'false', // an invalid bearer token is rejected, not redirected to the sign-in
    ...(trustedTokenIssuers.length > 0 && {
      OAUTH2_PROXY_EXTRA_JWT_ISSUERS: trustedTokenIssuers.map(({ issuerUrl, audience }) => `${issuerUrl}=${audience}`).join(','),
    }),
    ...(options.signOutUrl !== undefined && { OAUTH2_PROXY_WHITELIST_DOMAINS: Fn.select(2, Fn.split('/', options.signOutUrl)) }),
    // On these paths programs get 401 instead of a redirect to the sign-in.
    OAUTH2_PROXY_API_ROUTES: '^/api/,^/ajax-api/,^/v1/,^/gateway/,^/graphql',

    OAUTH2_PROXY_PASS_BASIC_AUTH: 'false',
    OAUTH2_PROXY_PASS_USER_HEADERS: 'true', // copies that a client sends are removed
    OAUTH2_PROXY_PROXY_WEBSOCKETS: 'false',
    OAUTH2_PROXY_UPSTREAM_TIMEOUT: '900s', // MLflow answers an upload only when S3 has stored it

    OAUTH2_PROXY_AUTH_LOGGING: 'true',
    OAUTH2_PROXY_REQUEST_LOGGING: 'true',
    OAUTH2_PROXY_SILENCE_PING_LOGGING: 'true',
    OAUTH2_PROXY_SHOW_DEBUG_ON_ERROR: 'false',
    OAUTH2_PROXY_FOOTER: '-', // hides the version number
  };
}

/** The extra audiences of the provider, and the client of people's tools. */
function extraAudiences({ providerEnvironment: { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: others }, toolsClient }: ProxyOptions): Record<string, string> {
  return toolsClient === undefined ? {} : { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: Fn.join(',', [...others === undefined ? [] : [others], toolsClient.clientId]) };
}

function sessionEnvironment(options: ProxyOptions): Record<string, string> {
  const { sessionRefresh, sessionServer } = options;
  return {
    OAUTH2_PROXY_COOKIE_NAME: COOKIE_NAME,
    OAUTH2_PROXY_COOKIE_SECURE: 'true',
    OAUTH2_PROXY_COOKIE_HTTPONLY: 'true',
    OAUTH2_PROXY_COOKIE_SAMESITE: 'lax', // a `strict` cookie would not be sent when the provider redirects back
    OAUTH2_PROXY_COOKIE_EXPIRE: seconds(options.sessionDuration),
    ...(sessionRefresh && { OAUTH2_PROXY_COOKIE_REFRESH: seconds(sessionRefresh) }),
    OAUTH2_PROXY_COOKIE_CSRF_EXPIRE: '1h', // the maximum duration of a sign-in; error.html contains it, too
    OAUTH2_PROXY_COOKIE_CSRF_PER_REQUEST: 'true', // several tabs may sign in at the same time
    OAUTH2_PROXY_COOKIE_CSRF_PER_REQUEST_LIMIT: '10',
    ...(sessionServer === undefined && !needsTokens(options) && { OAUTH2_PROXY_SESSION_COOKIE_MINIMAL: 'true' }), // the cookie does not contain the provider's tokens
    ...(sessionServer && {
      OAUTH2_PROXY_SESSION_STORE_TYPE: 'redis',
      // `rediss` means TLS with verification. oauth2-proxy tries to connect five times, twice for each request: with the default timeout of 5 seconds, a
      // store that hangs would delay each request by a minute.
      OAUTH2_PROXY_REDIS_CONNECTION_URL: `rediss://${sessionServer.host}:${Tokenization.stringifyNumber(sessionServer.port)}?dial_timeout=1s`,
      ...(sessionServer.username !== undefined && { OAUTH2_PROXY_REDIS_USERNAME: sessionServer.username }),
      OAUTH2_PROXY_REDIS_CONNECTION_IDLE_TIMEOUT: '120', // seconds; must be shorter than the idle timeouts of the server and of the network
    }),
  };
}

/** A session needs the provider's tokens for a refresh, and if a URL for signing out contains the ID token. */
function needsTokens({ sessionRefresh, signOutUrl: page, providerEnvironment }: ProxyOptions): boolean {
  const backend = providerEnvironment.OAUTH2_PROXY_BACKEND_LOGOUT_URL;
  return sessionRefresh !== undefined || [page, backend].some(address => address?.includes('{id_token}'));
}

function seconds(duration: Duration): string {
  return `${duration.toSeconds()}s`;
}

const TASK_OWNED = 'the connections between the containers of the task depend on it; leave it out';
const DOOR = 'it would weaken or turn off the protection that this construct promises; leave it out';
const COOKIE = 'cookies are bound to `domainName` and TLS, and scripts cannot read them; leave it out';
const GENERATED = 'the construct generates it as a secret; leave it out';
const FORWARDED = 'clients can send forwarded headers, so they must not be trusted; leave it out';
const ANSWERS = 'programs depend on the status and the format of rejections; leave it out';
const LOGS = 'the log of sign-ins is the audit trail; leave it out';
const SERVER = 'MLflow and the scripts of its page must not get the tokens of a sign-in; leave it out';
const NO_PASSWORDS = 'MLflow does not use passwords; leave it out';
const HEADERS = 'the inner door reads the name of the caller from these headers; leave it out';
const LOAD_BALANCER = 'TLS ends at the load balancer, which sends HTTP requests to oauth2-proxy; leave it out';

/** Names that only a provider may set: `proxyEnvironment` must not contain them. */
export const PROVIDER_NAMES: Record<string, string> = {
  'OAUTH2_PROXY_PROVIDER': 'use `authProvider`',
  'OAUTH2_PROXY_OIDC_*': 'use `authProvider`',
  'OAUTH2_PROXY_SKIP_OIDC_DISCOVERY': 'use `authProvider`',
  'OAUTH2_PROXY_SCOPE': 'use `authProvider`',
  'OAUTH2_PROXY_USER_ID_CLAIM': 'use `authProvider`',
  'OAUTH2_PROXY_ALLOWED_GROUPS': 'use `authProvider`',
  'OAUTH2_PROXY_ALLOWED_ROLES': 'use `authProvider`',
  'OAUTH2_PROXY_ENTRA_ID_*': 'use `authProvider`',
  'OAUTH2_PROXY_GITHUB_*': 'use `authProvider`',
  'OAUTH2_PROXY_GITLAB_*': 'use `authProvider`',
  'OAUTH2_PROXY_GOOGLE_*': 'use `authProvider`',
  'OAUTH2_PROXY_KEYCLOAK_*': 'use `authProvider`',
  'OAUTH2_PROXY_LOGIN_URL': 'use `authProvider`',
  'OAUTH2_PROXY_REDEEM_URL': 'use `authProvider`',
  'OAUTH2_PROXY_VALIDATE_URL': 'use `authProvider`',
  'OAUTH2_PROXY_PROFILE_URL': 'use `authProvider`',
  'OAUTH2_PROXY_AZURE_*': 'use `authProvider`',
  'OAUTH2_PROXY_BITBUCKET_*': 'use `authProvider`',
  'OAUTH2_PROXY_JWT_KEY_FILE': 'use `authProvider`',
  'OAUTH2_PROXY_PUBJWK_URL': 'use `authProvider`',
  'OAUTH2_PROXY_BACKEND_LOGOUT_URL': 'use `authProvider`',
  'OAUTH2_PROXY_CODE_CHALLENGE_METHOD': 'PKCE protects every sign-in; your own `IAuthProvider` may set it if the provider does not support S256',
  'OAUTH2_PROXY_FORCE_CODE_CHALLENGE_METHOD': 'PKCE protects every sign-in; your own `IAuthProvider` may set it if the provider does not support S256',
};

/** All other names that oauth2-proxy knows, as listed in local/names/oauth2-proxy.txt. */
export const OTHER_PROXY_NAMES = [
  'GITHUB_TOKEN', 'JWT_KEY', 'SIGNATURE_KEY',
  'BANNER', 'CUSTOM_SIGN_IN_LOGO', 'CUSTOM_TEMPLATES_DIR', 'DISPLAY_HTPASSWD_FORM', 'PROVIDER_DISPLAY_NAME',
  'ACR_VALUES', 'APPROVAL_PROMPT', 'AUTH_REQUEST_RESPONSE_MODE', 'ENCODE_STATE', 'PROMPT', 'RELATIVE_REDIRECT_URL', 'RESOURCE', 'SKIP_CLAIMS_FROM_PROFILE_URL',
  'PROVIDER_CA_FILES', 'USE_SYSTEM_TRUST_STORE',
  'METRICS_ADDRESS', 'METRICS_SECURE_ADDRESS', 'METRICS_TLS_CERT_FILE', 'METRICS_TLS_KEY_FILE',
  'ALLOW_QUERY_SEMICOLONS', 'DISABLE_KEEP_ALIVES', 'ERRORS_TO_INFO_LOG', 'FLUSH_INTERVAL', 'REQUEST_ID_HEADER', 'SET_XAUTHREQUEST',
  'CONFIG_TEST', 'CONVERT_CONFIG_TO_ALPHA', 'VERSION',
].map(name => `OAUTH2_PROXY_${name}`);

/** Names for which the config of a custom provider has its own property. */
export const CONFIG_NAMES: Record<string, string> = {
  'OAUTH2_PROXY_CLIENT_ID': 'use `clientId` of the config that `bind` returns',
  'OAUTH2_PROXY_CLIENT_*': 'use `clientSecret` of the config that `bind` returns',
  'OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS': 'use `bearerTokens` of the config that `bind` returns',
};

/** Names that `proxyEnvironment` and providers must not contain, with the reason or what to do instead. A `*` at the end matches all names with that beginning. */
export const RESERVED_PROXY_NAMES: Record<string, string> = {
  'OAUTH2_PROXY_HTTP_ADDRESS': TASK_OWNED,
  'OAUTH2_PROXY_HTTPS_ADDRESS': TASK_OWNED,
  'OAUTH2_PROXY_UPSTREAMS': TASK_OWNED,
  'OAUTH2_PROXY_PASS_HOST_HEADER': TASK_OWNED,
  'OAUTH2_PROXY_PROXY_WEBSOCKETS': TASK_OWNED,
  'OAUTH2_PROXY_UPSTREAM_TIMEOUT': 'it must match the idle timeout of the load balancer; leave it out',
  'OAUTH2_PROXY_PROXY_PREFIX': 'the redirect URL registered at the provider depends on it',
  'OAUTH2_PROXY_CLIENT_*': 'use `authProvider`',
  'OAUTH2_PROXY_REDIRECT_URL': 'it follows from `domainName`',
  'OAUTH2_PROXY_EMAIL_DOMAINS': 'use `emailDomains`',
  'OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE': 'use `machineIdentities`',
  'OAUTH2_PROXY_WHITELIST_DOMAINS': 'a link could redirect people from this server to any page of those domains',
  'OAUTH2_PROXY_HTPASSWD_*': DOOR,
  'OAUTH2_PROXY_SKIP_PROVIDER_BUTTON': 'a page already redirects people to the provider without a click, and keeps the part of a URL after "#"',
  'OAUTH2_PROXY_SKIP_AUTH_*': DOOR,
  'OAUTH2_PROXY_TRUSTED_*': DOOR,
  'OAUTH2_PROXY_INSECURE_*': DOOR,
  'OAUTH2_PROXY_SSL_INSECURE_SKIP_VERIFY': DOOR,
  'OAUTH2_PROXY_SSL_UPSTREAM_INSECURE_SKIP_VERIFY': DOOR,
  'OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS': 'use `trustedTokenIssuers`',
  'OAUTH2_PROXY_EXTRA_JWT_ISSUERS': 'use `trustedTokenIssuers`',
  'OAUTH2_PROXY_REVERSE_PROXY': FORWARDED,
  'OAUTH2_PROXY_REAL_CLIENT_IP_HEADER': FORWARDED,
  'OAUTH2_PROXY_PING_PATH': 'the load balancer sends health checks to this path, and it is answered without a sign-in',
  'OAUTH2_PROXY_READY_PATH': 'the path is answered without a sign-in',
  'OAUTH2_PROXY_PING_USER_AGENT': 'requests with that user agent would be answered without a sign-in',
  'OAUTH2_PROXY_GCP_HEALTHCHECKS': 'some kinds of requests would be answered without a sign-in',
  'OAUTH2_PROXY_SESSION_STORE_TYPE': 'use `sessionStore`',
  'OAUTH2_PROXY_REDIS_*': 'use `sessionStore`',
  'OAUTH2_PROXY_SESSION_COOKIE_MINIMAL': 'the construct sets it if the tokens are not needed in the cookie; leave it out',
  'OAUTH2_PROXY_COOKIE_EXPIRE': 'use `sessionDuration`',
  'OAUTH2_PROXY_COOKIE_REFRESH': 'use `sessionRefresh`',
  'OAUTH2_PROXY_COOKIE_SECRET': GENERATED,
  'OAUTH2_PROXY_COOKIE_SECRET_FILE': GENERATED,
  'OAUTH2_PROXY_COOKIE_CSRF_EXPIRE': 'it is the maximum duration of a sign-in, an hour; leave it out',
  'OAUTH2_PROXY_COOKIE_*': COOKIE,
  'OAUTH2_PROXY_BEARER_TOKEN_LOGIN_FALLBACK': ANSWERS,
  'OAUTH2_PROXY_API_ROUTES': ANSWERS,
  'OAUTH2_PROXY_FORCE_JSON_ERRORS': ANSWERS,
  'OAUTH2_PROXY_FORCE_HTTPS': LOAD_BALANCER,
  'OAUTH2_PROXY_TLS_*': LOAD_BALANCER,
  'OAUTH2_PROXY_PASS_BASIC_AUTH': NO_PASSWORDS,
  'OAUTH2_PROXY_SET_BASIC_AUTH': NO_PASSWORDS,
  'OAUTH2_PROXY_BASIC_AUTH_PASSWORD': NO_PASSWORDS,
  'OAUTH2_PROXY_PASS_USER_HEADERS': HEADERS,
  'OAUTH2_PROXY_PREFER_EMAIL_TO_USER': HEADERS,
  'OAUTH2_PROXY_PASS_ACCESS_TOKEN': SERVER,
  'OAUTH2_PROXY_PASS_AUTHORIZATION_HEADER': SERVER,
  'OAUTH2_PROXY_SET_AUTHORIZATION_HEADER': SERVER,
  'OAUTH2_PROXY_AUTH_LOGGING': LOGS,
  'OAUTH2_PROXY_REQUEST_LOGGING': LOGS,
  'OAUTH2_PROXY_SILENCE_PING_LOGGING': LOGS,
  'OAUTH2_PROXY_AUTH_LOGGING_FORMAT': LOGS,
  'OAUTH2_PROXY_REQUEST_LOGGING_FORMAT': LOGS,
  'OAUTH2_PROXY_STANDARD_LOGGING*': LOGS,
  'OAUTH2_PROXY_LOGGING_*': LOGS,
  'OAUTH2_PROXY_EXCLUDE_LOGGING_PATHS': LOGS,
  'OAUTH2_PROXY_SHOW_DEBUG_ON_ERROR': 'it would show internal errors to people without a sign-in',
  'OAUTH2_PROXY_FOOTER': 'it would show the version to people without a sign-in',
  'OAUTH2_PROXY_CONFIG': 'a file could set anything above',
  'OAUTH2_PROXY_ALPHA_CONFIG': 'a file could set anything above',
};
