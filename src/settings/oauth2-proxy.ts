import { Duration, Fn, Token, Tokenization } from 'aws-cdk-lib';
import { allowList } from './allow-list';
import { MACHINE_IDENTITIES_FILE, MLFLOW_PORT, PAGES_DIRECTORY } from './mlflow';
import type { ToolsClient } from '../auth/config';
import { TokenIssuer } from '../auth/token-issuer';

/** Settings of the oauth2-proxy container: pure functions of what they depend on. Facts about each are in docs/settings.md. */

export const PROXY_PORT = 4180;
/** The prefix binds the cookie to the host, to TLS and to `/`. Keys of sessions on the server begin with the same name. */
export const COOKIE_NAME = '__Host-oauth2_proxy';
/** Where Valkey listens. */
export const SESSION_PORT = 6379;

/** The one part of MLflow's API that nobody reaches: it runs programs on the server. */
export const ASSISTANT_PATH = '/ajax-api/3.0/mlflow/assistant';

export interface ProxyOptions {
  readonly url: string;
  readonly clientId: string;
  readonly providerEnvironment: Record<string, string>;
  readonly bearerTokens: boolean;
  readonly signOutUrl?: string;
  readonly emailDomains: string[];
  /** The claim `hd` of people's tokens must be one of them. */
  readonly hostedDomains?: string[];
  /** Whether machines may come, whose tokens hold no groups and no hosted domain. */
  readonly machines: boolean;
  readonly trustedTokenIssuers: TokenIssuer[];
  /** With which people's tools sign in. */
  readonly toolsClient?: ToolsClient;
  readonly sessionDuration: Duration;
  readonly sessionRefresh?: Duration;
  /** Where sessions are stored, if not in the cookie. The password is a secret of the container. */
  readonly sessionServer?: { readonly host: string; readonly port: number; readonly username?: string };
  readonly environment?: Record<string, string>;
}

export function redirectUrl(url: string): string {
  return `${url}/oauth2/callback`;
}

/** Where people go to sign out: the proxy forgets the session, then the provider's page, if there is one, ends its own. */
export function signOutUrl(url: string, providerPage?: string): string {
  const page = providerPage === undefined ? '' : `?rd=${encode(providerPage)}`;
  return `${url}/oauth2/sign_out${page}`;
}

/** Percent-encoded but for CDK tokens, which stand for text that needs no escaping. */
function encode(text: string): string {
  return text.split(/(\$\{Token\[.*?\]\})/).map(part => Token.isUnresolved(part) ? part : encodeURIComponent(part)).join('');
}

/** Settings of oauth2-proxy. Beware: it ignores names it does not know, and lists have plural names and no escape for a comma. */
export function proxyEnvironment(options: ProxyOptions): Record<string, string> {
  const { trustedTokenIssuers } = options;
  return {
    // Of a process in Go: a request costs a quarter less than with the defaults, for 12 MiB more (`npm run bench`).
    GOMAXPROCS: '1',
    GOGC: '400',
    OAUTH2_PROXY_CODE_CHALLENGE_METHOD: 'S256', // off by default; an `AuthProvider` that cannot do it may say so
    OAUTH2_PROXY_CUSTOM_TEMPLATES_DIR: PAGES_DIRECTORY,
    ...options.providerEnvironment,
    ...extraAudiences(options),
    ...options.environment,

    // What follows nobody replaces; the reasons are in RESERVED_PROXY_NAMES below.
    OAUTH2_PROXY_HTTP_ADDRESS: `0.0.0.0:${PROXY_PORT}`,
    // The last one serves a folder that does not exist: the proxy compares decoded and cleaned paths,
    // so it closes the assistant however its path is spelt, which the rule of the load balancer cannot.
    OAUTH2_PROXY_UPSTREAMS: `http://127.0.0.1:${MLFLOW_PORT}/,file:///nonexistent/#${ASSISTANT_PATH}/`,
    OAUTH2_PROXY_PASS_HOST_HEADER: 'false',
    OAUTH2_PROXY_REDIRECT_URL: redirectUrl(options.url),
    OAUTH2_PROXY_CLIENT_ID: options.clientId,
    // Either is enough: a verified address in a domain, or a line of the file.
    OAUTH2_PROXY_EMAIL_DOMAINS: Fn.join(',', options.emailDomains),
    OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE: MACHINE_IDENTITIES_FILE,
    ...(options.hostedDomains && {
      OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'hd',
      // The proxy asks everybody for it or nobody. Where machines may come, the inner door asks people.
      ...(!options.machines && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(options.hostedDomains) }),
    }),
    OAUTH2_PROXY_INSECURE_OIDC_SKIP_NONCE: 'false', // that is: check it
    OAUTH2_PROXY_SKIP_PROVIDER_BUTTON: 'false', // a redirect would lose what follows "#" in an address; our page needs no click

    ...sessionEnvironment(options),

    OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS: String(options.bearerTokens), // that is: a valid token needs no session
    OAUTH2_PROXY_BEARER_TOKEN_LOGIN_FALLBACK: 'false', // a bad token is refused, not sent to sign in
    ...(trustedTokenIssuers.length > 0 && {
      OAUTH2_PROXY_EXTRA_JWT_ISSUERS: trustedTokenIssuers.map(({ issuerUrl, audience }) => `${issuerUrl}=${audience}`).join(','),
    }),
    ...(options.signOutUrl !== undefined && { OAUTH2_PROXY_WHITELIST_DOMAINS: Fn.select(2, Fn.split('/', options.signOutUrl)) }),
    // Programs get 401 where a browser is sent to sign in.
    OAUTH2_PROXY_API_ROUTES: '^/api/,^/ajax-api/,^/v1/,^/gateway/,^/graphql',

    OAUTH2_PROXY_PASS_BASIC_AUTH: 'false',
    OAUTH2_PROXY_PASS_USER_HEADERS: 'true', // copies that a client sends are removed
    OAUTH2_PROXY_PROXY_WEBSOCKETS: 'false',
    OAUTH2_PROXY_UPSTREAM_TIMEOUT: '900s', // MLflow answers an upload when S3 has it

    OAUTH2_PROXY_AUTH_LOGGING: 'true',
    OAUTH2_PROXY_REQUEST_LOGGING: 'true',
    OAUTH2_PROXY_SILENCE_PING_LOGGING: 'true',
    OAUTH2_PROXY_SHOW_DEBUG_ON_ERROR: 'false',
    OAUTH2_PROXY_FOOTER: '-', // no version number for strangers
  };
}

/** Those of the provider, and the client of people's tools. */
function extraAudiences({ providerEnvironment: { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: others }, toolsClient }: ProxyOptions): Record<string, string> {
  return toolsClient === undefined ? {} : { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: Fn.join(',', [...others === undefined ? [] : [others], toolsClient.clientId]) };
}

function sessionEnvironment(options: ProxyOptions): Record<string, string> {
  const { sessionRefresh, sessionServer } = options;
  return {
    OAUTH2_PROXY_COOKIE_NAME: COOKIE_NAME,
    OAUTH2_PROXY_COOKIE_SECURE: 'true',
    OAUTH2_PROXY_COOKIE_HTTPONLY: 'true',
    OAUTH2_PROXY_COOKIE_SAMESITE: 'lax', // `strict` would not be sent on the way back from the provider
    OAUTH2_PROXY_COOKIE_EXPIRE: seconds(options.sessionDuration),
    ...(sessionRefresh && { OAUTH2_PROXY_COOKIE_REFRESH: seconds(sessionRefresh) }),
    OAUTH2_PROXY_COOKIE_CSRF_EXPIRE: '1h', // how long a sign-in may take; error.html says it, too
    OAUTH2_PROXY_COOKIE_CSRF_PER_REQUEST: 'true', // several tabs may sign in at once
    OAUTH2_PROXY_COOKIE_CSRF_PER_REQUEST_LIMIT: '10',
    ...(sessionServer === undefined && !needsTokens(options) && { OAUTH2_PROXY_SESSION_COOKIE_MINIMAL: 'true' }), // that is: without the provider's tokens
    ...(sessionServer && {
      OAUTH2_PROXY_SESSION_STORE_TYPE: 'redis',
      // `rediss` is TLS, verified. oauth2-proxy dials five times and does so twice for a request: with the default of 5 seconds a store that
      // hangs would delay each request by a minute.
      OAUTH2_PROXY_REDIS_CONNECTION_URL: `rediss://${sessionServer.host}:${Tokenization.stringifyNumber(sessionServer.port)}?dial_timeout=1s`,
      ...(sessionServer.username !== undefined && { OAUTH2_PROXY_REDIS_USERNAME: sessionServer.username }),
      OAUTH2_PROXY_REDIS_CONNECTION_IDLE_TIMEOUT: '120', // seconds; must be shorter than what ends idle connections: the server, the network in between
    }),
  };
}

/** A session needs the provider's tokens to be refreshed, and where an address for signing out holds the ID token. */
function needsTokens({ sessionRefresh, signOutUrl: page, providerEnvironment }: ProxyOptions): boolean {
  const backend = providerEnvironment.OAUTH2_PROXY_BACKEND_LOGOUT_URL;
  return sessionRefresh !== undefined || [page, backend].some(address => address?.includes('{id_token}'));
}

function seconds(duration: Duration): string {
  return `${duration.toSeconds()}s`;
}

const TASK_OWNED = 'it is fixed by how the containers of the task find each other';
const DOOR = 'it would open the door that this construct exists to keep shut';
const COOKIE = 'cookies are bound to `domainName`, over TLS, and to no script';
const GENERATED = 'the construct generates it as a secret; leave it out';
const FORWARDED = 'forwarded headers come from the client and must decide nothing';
const ANSWERS = 'programs rely on how refusals are answered';
const LOGS = 'the log of sign-ins is the audit trail';
const SERVER = 'tokens of the sign-in are not for MLflow, nor for the scripts of its page';
const NO_PASSWORDS = 'MLflow takes no password';
const HEADERS = 'the inner door reads in these headers who is calling';
const LOAD_BALANCER = 'TLS ends at the load balancer, which talks to oauth2-proxy by HTTP';

/** Names that belong to the provider: `proxyEnvironment` must not hold them. */
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
  'OAUTH2_PROXY_CODE_CHALLENGE_METHOD': 'PKCE protects every sign-in; an `AuthProvider` of your own may set it where the provider cannot do S256',
  'OAUTH2_PROXY_FORCE_CODE_CHALLENGE_METHOD': 'PKCE protects every sign-in; an `AuthProvider` of your own may set it where the provider cannot do S256',
};

/** All others that oauth2-proxy knows, as local/names/oauth2-proxy.txt lists them. */
export const OTHER_PROXY_NAMES = [
  'GITHUB_TOKEN', 'JWT_KEY', 'SIGNATURE_KEY',
  'BANNER', 'CUSTOM_SIGN_IN_LOGO', 'CUSTOM_TEMPLATES_DIR', 'DISPLAY_HTPASSWD_FORM', 'PROVIDER_DISPLAY_NAME',
  'ACR_VALUES', 'APPROVAL_PROMPT', 'AUTH_REQUEST_RESPONSE_MODE', 'ENCODE_STATE', 'PROMPT', 'RELATIVE_REDIRECT_URL', 'RESOURCE', 'SKIP_CLAIMS_FROM_PROFILE_URL',
  'PROVIDER_CA_FILES', 'USE_SYSTEM_TRUST_STORE',
  'METRICS_ADDRESS', 'METRICS_SECURE_ADDRESS', 'METRICS_TLS_CERT_FILE', 'METRICS_TLS_KEY_FILE',
  'ALLOW_QUERY_SEMICOLONS', 'DISABLE_KEEP_ALIVES', 'ERRORS_TO_INFO_LOG', 'FLUSH_INTERVAL', 'REQUEST_ID_HEADER', 'SET_XAUTHREQUEST',
  'CONFIG_TEST', 'CONVERT_CONFIG_TO_ALPHA', 'VERSION',
].map(name => `OAUTH2_PROXY_${name}`);

/** Where a provider of one's own says so instead. */
export const CONFIG_NAMES: Record<string, string> = {
  'OAUTH2_PROXY_CLIENT_ID': 'use `clientId` of the config that `bind` returns',
  'OAUTH2_PROXY_CLIENT_*': 'use `clientSecret` of the config that `bind` returns',
  'OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS': 'use `bearerTokens` of the config that `bind` returns',
};

/** Names that neither `proxyEnvironment` nor a provider may hold, and what to do instead. One ending in `*` stands for all that begin so. */
export const RESERVED_PROXY_NAMES: Record<string, string> = {
  'OAUTH2_PROXY_HTTP_ADDRESS': TASK_OWNED,
  'OAUTH2_PROXY_HTTPS_ADDRESS': TASK_OWNED,
  'OAUTH2_PROXY_UPSTREAMS': TASK_OWNED,
  'OAUTH2_PROXY_PASS_HOST_HEADER': TASK_OWNED,
  'OAUTH2_PROXY_PROXY_WEBSOCKETS': TASK_OWNED,
  'OAUTH2_PROXY_UPSTREAM_TIMEOUT': 'it goes with the idle timeout of the load balancer',
  'OAUTH2_PROXY_PROXY_PREFIX': 'the redirect URL registered at the provider depends on it',
  'OAUTH2_PROXY_CLIENT_*': 'use `authProvider`',
  'OAUTH2_PROXY_REDIRECT_URL': 'it follows from `domainName`',
  'OAUTH2_PROXY_EMAIL_DOMAINS': 'use `emailDomains`',
  'OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE': 'use `machineIdentities`',
  'OAUTH2_PROXY_WHITELIST_DOMAINS': 'a link could lead people from here to any page of those domains',
  'OAUTH2_PROXY_HTPASSWD_*': DOOR,
  'OAUTH2_PROXY_SKIP_PROVIDER_BUTTON': 'people are sent to the provider without a click, by a page that keeps what follows "#" in an address',
  'OAUTH2_PROXY_SKIP_AUTH_*': DOOR,
  'OAUTH2_PROXY_TRUSTED_*': DOOR,
  'OAUTH2_PROXY_INSECURE_*': DOOR,
  'OAUTH2_PROXY_SSL_INSECURE_SKIP_VERIFY': DOOR,
  'OAUTH2_PROXY_SSL_UPSTREAM_INSECURE_SKIP_VERIFY': DOOR,
  'OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS': 'use `trustedTokenIssuers`',
  'OAUTH2_PROXY_EXTRA_JWT_ISSUERS': 'use `trustedTokenIssuers`',
  'OAUTH2_PROXY_REVERSE_PROXY': FORWARDED,
  'OAUTH2_PROXY_REAL_CLIENT_IP_HEADER': FORWARDED,
  'OAUTH2_PROXY_PING_PATH': 'the load balancer asks there, and it is answered without sign-in',
  'OAUTH2_PROXY_READY_PATH': 'it is answered without sign-in',
  'OAUTH2_PROXY_PING_USER_AGENT': 'a request with that user agent would be answered without sign-in',
  'OAUTH2_PROXY_GCP_HEALTHCHECKS': 'requests of a certain look would be answered without sign-in',
  'OAUTH2_PROXY_SESSION_STORE_TYPE': 'use `sessionStore`',
  'OAUTH2_PROXY_REDIS_*': 'use `sessionStore`',
  'OAUTH2_PROXY_SESSION_COOKIE_MINIMAL': 'the construct sets it where nothing needs the tokens in the cookie; leave it out',
  'OAUTH2_PROXY_COOKIE_EXPIRE': 'use `sessionDuration`',
  'OAUTH2_PROXY_COOKIE_REFRESH': 'use `sessionRefresh`',
  'OAUTH2_PROXY_COOKIE_SECRET': GENERATED,
  'OAUTH2_PROXY_COOKIE_SECRET_FILE': GENERATED,
  'OAUTH2_PROXY_COOKIE_CSRF_EXPIRE': 'it is how long a sign-in may take, an hour; leave it out',
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
  'OAUTH2_PROXY_SHOW_DEBUG_ON_ERROR': 'it shows strangers what went wrong inside',
  'OAUTH2_PROXY_FOOTER': 'it shows strangers the version',
  'OAUTH2_PROXY_CONFIG': 'a file could set anything above',
  'OAUTH2_PROXY_ALPHA_CONFIG': 'a file could set anything above',
};
