import { Duration, Fn, Lazy, Stack } from 'aws-cdk-lib';
import * as cognito from 'aws-cdk-lib/aws-cognito';
import { Construct } from 'constructs';
import { bindOptions, clientSecret, define, environmentOf, newStack, secretsOf, synthesise } from './fixtures';
import { ArtifactTransfer, AuthProvider, AuthProviderBindOptions, AuthProviderConfig, SessionStore, TokenIssuer } from '../src';
import { databaseEnvironment } from '../src/settings/database';
import { mlflowEnvironment, MLFLOW_HEALTH_CHECK, prepareEnvironment, RESERVED_MLFLOW_NAMES } from '../src/settings/mlflow';
import { ASSISTANT_PATH, CONFIG_NAMES, PROVIDER_NAMES, proxyEnvironment, ProxyOptions, RESERVED_PROXY_NAMES, signOutUrl } from '../src/settings/oauth2-proxy';

class Custom extends AuthProvider {
  public constructor(private readonly environment: Record<string, string>, private readonly more: Partial<AuthProviderConfig> = {}) {
    super();
  }

  public bind(): AuthProviderConfig {
    return { clientId: 'custom', clientSecret: secret, environment: this.environment, ...this.more };
  }
}

const stack = newStack();
const secret = clientSecret(stack);
const resolve = (value: unknown) => stack.resolve(value);

describe('MLflow', () => {
  const minimal = {
    url: 'https://mlflow.example.com',
    region: 'eu-west-1',
    artifactsUri: 's3://bucket/mlflow',
    artifactTransfer: ArtifactTransfer.DIRECT,
    workers: 2,
    apiLimit: 32,
    tracesLimit: 64,
    addressesOnly: true,
    signOutUrl: 'https://mlflow.example.com/oauth2/sign_out',
  };

  test('its settings with the minimum', () => {
    expect(mlflowEnvironment(minimal)).toEqual({
      MLFLOW_SQLALCHEMYSTORE_POOL_SIZE: '20',
      MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW: '25',
      MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE: '1800',
      MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false',
      MLFLOW_DISABLE_TELEMETRY: 'true',
      DO_NOT_TRACK: 'true',
      MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE: 'virtual',
      AWS_S3_US_EAST_1_REGIONAL_ENDPOINT: 'regional',
      MLFLOW_HOST: '127.0.0.1',
      MLFLOW_PORT: '5000',
      MLFLOW_WORKERS: '2',
      MLFLOW_GUNICORN_OPTS: '--worker-class uvicorn.workers.UvicornWorker --preload --keep-alive 120 --graceful-timeout 110 --timeout 120',
      PYTHONWARNINGS: 'ignore:We recommend using uvicorn:FutureWarning',
      MLFLOW_SERVER_ALLOWED_HOSTS: '127.0.0.1:5000',
      MLFLOW_SERVER_CORS_ALLOWED_ORIGINS: 'https://mlflow.example.com',
      MLFLOW_SERVER_X_FRAME_OPTIONS: 'SAMEORIGIN',
      PYTHONPATH: '/run/secure-mlflow/python',
      SECURE_MLFLOW_MACHINE_IDENTITIES_FILE: '/run/secure-mlflow/machine-identities.csv',
      SECURE_MLFLOW_ADDRESSES_ONLY: 'true',
      SECURE_MLFLOW_SIGN_OUT_URL: 'https://mlflow.example.com/oauth2/sign_out',
      SECURE_MLFLOW_API_LIMIT_MIB: '32',
      SECURE_MLFLOW_TRACES_LIMIT_MIB: '64',
      SECURE_MLFLOW_ARTIFACT_TRANSFER: 'direct',
      MLFLOW_ENABLE_AI_GATEWAY: 'false',
      MLFLOW_ARTIFACTS_DESTINATION: 's3://bucket/mlflow',
      AWS_REGION: 'eu-west-1',
      AWS_DEFAULT_REGION: 'eu-west-1',
      HOME: '/tmp',
      TMPDIR: '/tmp',
      PYTHONUNBUFFERED: '1',
    });
  });

  test('every option changes only its own setting', () => {
    const { MLFLOW_GUNICORN_OPTS: gunicornOpts, ...rest } = mlflowEnvironment(minimal);
    expect(resolve(mlflowEnvironment({
      ...minimal,
      workers: 7,
      gunicornOpts: '--threads 4',
      apiLimit: 1,
      tracesLimit: 2,
      artifactTransfer: ArtifactTransfer.THROUGH_SERVER,
      addressesOnly: false,
      hostedDomains: ['example.com', 'example.org'],
      signOutUrl: 'https://mlflow.example.com/oauth2/sign_out?rd=x',
      accessPolicy: '{}',
      aiGateway: {},
      environment: { MLFLOW_SQLALCHEMYSTORE_POOL_SIZE: '9', MLFLOW_LOGGING_LEVEL: 'DEBUG' },
    }))).toEqual({
      ...rest,
      MLFLOW_WORKERS: '7',
      MLFLOW_GUNICORN_OPTS: `${gunicornOpts} --threads 4`,
      SECURE_MLFLOW_API_LIMIT_MIB: '1',
      SECURE_MLFLOW_TRACES_LIMIT_MIB: '2',
      SECURE_MLFLOW_ARTIFACT_TRANSFER: 'through-server',
      SECURE_MLFLOW_ADDRESSES_ONLY: 'false',
      SECURE_MLFLOW_HOSTED_DOMAINS: 'example.com,example.org',
      SECURE_MLFLOW_SIGN_OUT_URL: 'https://mlflow.example.com/oauth2/sign_out?rd=x',
      SECURE_MLFLOW_ACCESS: '{}',
      MLFLOW_ENABLE_AI_GATEWAY: 'true',
      MLFLOW_SQLALCHEMYSTORE_POOL_SIZE: '9',
      MLFLOW_LOGGING_LEVEL: 'DEBUG',
    });
  });

  test('the AI gateway reaches private addresses only if they are listed', () => {
    const privateProviders = ['http://vllm.internal:8000', 'https://llm.example.com'];
    expect(resolve(mlflowEnvironment({ ...minimal, aiGateway: { privateProviders } }))).toEqual({
      ...mlflowEnvironment({ ...minimal, aiGateway: {} }),
      MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS: 'true',
      MLFLOW_GATEWAY_API_BASE_ALLOWED_SCHEMES: 'https,http',
      SECURE_MLFLOW_PRIVATE_PROVIDERS: 'http://vllm.internal:8000 https://llm.example.com',
    });
  });

  test('protective settings take precedence over the settings of the user', () => {
    expect(mlflowEnvironment({ ...minimal, environment: { MLFLOW_HOST: '0.0.0.0' } }).MLFLOW_HOST).toBe('127.0.0.1');
  });

  test('it connects to the database with verified TLS, and without a password in the settings', () => {
    expect(databaseEnvironment('db.example.com')).toEqual({
      MLFLOW_BACKEND_STORE_URI: 'postgresql+psycopg2://mlflow@db.example.com:5432/mlflow?keepalives_idle=10&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=10000',
      PGSSLMODE: 'verify-full',
      PGSSLROOTCERT: '/run/secure-mlflow/rds-ca.pem',
      PGCONNECT_TIMEOUT: '60',
    });
  });

  test('the settings of prepare.py in addition to the database', () => {
    expect(prepareEnvironment('eu-west-1', 'client\njob')).toEqual({
      PREPARE_CA_BUNDLE_URL: 'https://truststore.pki.rds.amazonaws.com/eu-west-1/eu-west-1-bundle.pem',
      PREPARE_WRITABLE_DIRECTORY: '/tmp',
      PREPARE_MACHINE_IDENTITIES: 'client\njob',
      PREPARE_MACHINE_IDENTITIES_FILE: '/run/secure-mlflow/machine-identities.csv',
      PREPARE_PROGRAMS_DIRECTORY: '/run/secure-mlflow/python',
      PYTHONUNBUFFERED: '1',
    });
  });

  test('its health check connects to the loopback and runs no shell', () => {
    expect(MLFLOW_HEALTH_CHECK).toEqual(['CMD', 'python', '/run/secure-mlflow/python/health.py', '127.0.0.1:5000']);
  });
});

const minimalProxy = {
  url: 'https://mlflow.example.com',
  clientId: 'client',
  providerEnvironment: {},
  bearerTokens: true,
  emailDomains: ['example.com'],
  machines: false,
  trustedTokenIssuers: [],
  sessionDuration: Duration.hours(12),
};

describe('oauth2-proxy', () => {
  test('its settings with the minimum', () => {
    expect(resolve(proxyEnvironment(minimalProxy))).toEqual({
      GOMAXPROCS: '1',
      GOGC: '400',
      OAUTH2_PROXY_CODE_CHALLENGE_METHOD: 'S256',
      OAUTH2_PROXY_CUSTOM_TEMPLATES_DIR: '/run/secure-mlflow/python/secure_mlflow/pages',
      OAUTH2_PROXY_HTTP_ADDRESS: '0.0.0.0:4180',
      OAUTH2_PROXY_UPSTREAMS: 'http://127.0.0.1:5000/,file:///nonexistent/#/ajax-api/3.0/mlflow/assistant/',
      OAUTH2_PROXY_PASS_HOST_HEADER: 'false',
      OAUTH2_PROXY_REDIRECT_URL: 'https://mlflow.example.com/oauth2/callback',
      OAUTH2_PROXY_CLIENT_ID: 'client',
      OAUTH2_PROXY_EMAIL_DOMAINS: 'example.com',
      OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE: '/run/secure-mlflow/machine-identities.csv',
      OAUTH2_PROXY_INSECURE_OIDC_SKIP_NONCE: 'false',
      OAUTH2_PROXY_SKIP_PROVIDER_BUTTON: 'false',
      OAUTH2_PROXY_COOKIE_NAME: '__Host-oauth2_proxy',
      OAUTH2_PROXY_COOKIE_SECURE: 'true',
      OAUTH2_PROXY_COOKIE_HTTPONLY: 'true',
      OAUTH2_PROXY_COOKIE_SAMESITE: 'lax',
      OAUTH2_PROXY_COOKIE_EXPIRE: '43200s',
      OAUTH2_PROXY_COOKIE_CSRF_EXPIRE: '1h',
      OAUTH2_PROXY_COOKIE_CSRF_PER_REQUEST: 'true',
      OAUTH2_PROXY_COOKIE_CSRF_PER_REQUEST_LIMIT: '10',
      OAUTH2_PROXY_SESSION_COOKIE_MINIMAL: 'true',
      OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS: 'true',
      OAUTH2_PROXY_BEARER_TOKEN_LOGIN_FALLBACK: 'false',
      OAUTH2_PROXY_API_ROUTES: '^/api/,^/ajax-api/,^/v1/,^/gateway/,^/graphql',
      OAUTH2_PROXY_PASS_BASIC_AUTH: 'false',
      OAUTH2_PROXY_PASS_USER_HEADERS: 'true',
      OAUTH2_PROXY_PROXY_WEBSOCKETS: 'false',
      OAUTH2_PROXY_UPSTREAM_TIMEOUT: '900s',
      OAUTH2_PROXY_AUTH_LOGGING: 'true',
      OAUTH2_PROXY_REQUEST_LOGGING: 'true',
      OAUTH2_PROXY_SILENCE_PING_LOGGING: 'true',
      OAUTH2_PROXY_SHOW_DEBUG_ON_ERROR: 'false',
      OAUTH2_PROXY_FOOTER: '-',
    });
  });

  const idToken = 'https://id.example.com/logout?id_token_hint={id_token}';
  test.each<[string, Partial<ProxyOptions>, string | undefined]>([
    ['not where nothing needs them', {}, 'true'],
    ['not with an address for signing out that holds none', { signOutUrl: 'https://id.example.com/logout' }, 'true'],
    ['to refresh a session', { sessionRefresh: Duration.minutes(5) }, undefined],
    ['for an address for signing out', { signOutUrl: idToken }, undefined],
    ['for one that the proxy itself asks', { providerEnvironment: { OAUTH2_PROXY_BACKEND_LOGOUT_URL: idToken } }, undefined],
    ['where they are in no cookie', { sessionServer: { host: 'sessions', port: 6379 } }, undefined],
  ])('tokens of the provider are stored in sessions: %s', (_, options, minimal) => {
    expect(proxyEnvironment({ ...minimalProxy, ...options }).OAUTH2_PROXY_SESSION_COOKIE_MINIMAL).toBe(minimal);
  });

  test('requires a hosted domain, but not if machines are allowed, which have none', () => {
    const settings = (machines: boolean) => resolve(proxyEnvironment({ ...minimalProxy, hostedDomains: ['example.com', 'example.org'], machines }));
    expect(settings(false)).toEqual({ ...resolve(proxyEnvironment(minimalProxy)), OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'hd', OAUTH2_PROXY_ALLOWED_GROUPS: 'example.com,example.org' });
    expect(settings(true)).toEqual({ ...resolve(proxyEnvironment(minimalProxy)), OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'hd' });
  });

  test('every option changes only its own setting', () => {
    const { OAUTH2_PROXY_SESSION_COOKIE_MINIMAL: _, ...withTokens } = resolve(proxyEnvironment(minimalProxy)); // of which `sessionRefresh` needs one
    expect(resolve(proxyEnvironment({
      ...minimalProxy,
      providerEnvironment: { OAUTH2_PROXY_PROVIDER: 'oidc', OAUTH2_PROXY_CODE_CHALLENGE_METHOD: '' },
      bearerTokens: false,
      signOutUrl: 'https://id.example.com/logout',
      emailDomains: ['example.com', 'example.org'],
      trustedTokenIssuers: [TokenIssuer.gcloud(), TokenIssuer.oidc({ issuerUrl: 'https://ci.example.com', audience: 'mlflow' })],
      sessionDuration: Duration.minutes(90),
      sessionRefresh: Duration.minutes(5),
      environment: { OAUTH2_PROXY_CUSTOM_SIGN_IN_LOGO: '-' },
    }))).toEqual({
      ...withTokens,
      OAUTH2_PROXY_PROVIDER: 'oidc',
      OAUTH2_PROXY_CODE_CHALLENGE_METHOD: '',
      OAUTH2_PROXY_EMAIL_DOMAINS: 'example.com,example.org',
      OAUTH2_PROXY_EXTRA_JWT_ISSUERS: 'https://accounts.google.com=32555940559.apps.googleusercontent.com,https://ci.example.com=mlflow',
      OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS: 'false',
      OAUTH2_PROXY_WHITELIST_DOMAINS: 'id.example.com',
      OAUTH2_PROXY_COOKIE_EXPIRE: '5400s',
      OAUTH2_PROXY_COOKIE_REFRESH: '300s',
      OAUTH2_PROXY_CUSTOM_SIGN_IN_LOGO: '-',
    });
  });

  test('protective settings take precedence over the settings of the user and of the provider', () => {
    const settings = proxyEnvironment({ ...minimalProxy, providerEnvironment: { OAUTH2_PROXY_COOKIE_SECURE: 'false' }, environment: { OAUTH2_PROXY_UPSTREAMS: 'http://evil/' } });
    expect(settings.OAUTH2_PROXY_COOKIE_SECURE).toBe('true');
    expect(settings.OAUTH2_PROXY_UPSTREAMS).toMatch(/^http:\/\/127\.0\.0\.1:5000\/,/);
  });

  test('its last upstream hides the assistant of MLflow', () => {
    expect(proxyEnvironment(minimalProxy).OAUTH2_PROXY_UPSTREAMS.split(',').at(-1)).toBe(`file:///nonexistent/#${ASSISTANT_PATH}/`);
  });
});

describe('signing out', () => {
  const known = Lazy.string({ produce: () => 'eu-west-1_x' });
  const hinted = Lazy.string({ produce: () => 'login' }, { displayHint: 'a.host:name' });

  test.each([
    ['ends the session of MLflow alone by default', undefined, 'https://mlflow.example.com/oauth2/sign_out'],
    ['goes on to the page of the provider', 'https://id.example.com/logout?client_id=ml flow&back=https%3A%2F%2Fmlflow.example.com#+',
      'https://mlflow.example.com/oauth2/sign_out?rd=https%3A%2F%2Fid.example.com%2Flogout%3Fclient_id%3Dml%20flow%26back%3Dhttps%253A%252F%252Fmlflow.example.com%23%2B'],
    ['leaves tokens in the page as they are', `https://${hinted}.example.com/logout?client_id=${known}&x=$1`,
      'https://mlflow.example.com/oauth2/sign_out?rd=https%3A%2F%2Flogin.example.com%2Flogout%3Fclient_id%3Deu-west-1_x%26x%3D%241'],
  ])('%s', (_, page, expected) => {
    expect(resolve(signOutUrl('https://mlflow.example.com', page))).toBe(expected);
  });

  test.each<[string, unknown]>([
    ['https://id.example.com/logout?back=https://evil.example/', 'id.example.com'],
    ['https://id.example.com:8443/realms/ml/logout', 'id.example.com:8443'],
    [`https://${Fn.ref('Domain')}.example.com/logout`, { 'Fn::Select': [2, { 'Fn::Split': ['/', { 'Fn::Join': ['', ['https://', { Ref: 'Domain' }, '.example.com/logout']] }] }] }],
  ])('oauth2-proxy may redirect people to the host of the page and to no other: %s', (page, host) => {
    expect(resolve(proxyEnvironment({ ...minimalProxy, signOutUrl: page })))
      .toEqual({ ...resolve(proxyEnvironment(minimalProxy)), OAUTH2_PROXY_WHITELIST_DOMAINS: host });
  });
});

describe('names that are refused', () => {
  // A `*` at the end of a name matches all names with that beginning; `X` makes an example.
  const rows = (reserved: Record<string, string>) => Object.entries(reserved).map(([name, reason]) => [name.replace('*', 'X'), reason]);

  test.each(rows(RESERVED_MLFLOW_NAMES))('environment must not contain %s: %s', (name, reason) => {
    expect(() => define({ environment: { [name]: 'x' } })).toThrow(`\`environment\` must not contain ${name}: ${reason}`);
  });

  test.each(rows({ ...PROVIDER_NAMES, ...RESERVED_PROXY_NAMES }))('proxyEnvironment must not contain %s: %s', (name, reason) => {
    expect(() => define({ proxyEnvironment: { [name]: 'x' } })).toThrow(`\`proxyEnvironment\` must not contain ${name}: ${reason}`);
  });

  test.each(rows({ ...RESERVED_PROXY_NAMES, ...CONFIG_NAMES }))('a provider must not set %s: %s', (name, reason) => {
    expect(() => define({ authProvider: new Custom({ [name]: 'x' }) })).toThrow(`\`authProvider\` must not contain ${name}: ${reason}`);
  });

  // Listed here as well, because the tables above become shorter when an entry is removed: these names weaken the protection and are not set anywhere else.
  test.each([
    'MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE', 'MLFLOW_ENABLE_REMOTE_ASSISTANT', 'MLFLOW_STATIC_PREFIX', 'MLFLOW_REGISTRY_STORE_URI', 'MLFLOW_DEFAULT_ARTIFACT_ROOT',
    'MLFLOW_SERVE_ARTIFACTS', 'MLFLOW_ARTIFACTS_ONLY', 'MLFLOW_S3_EXPECTED_BUCKET_OWNER', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN',
    'FORWARDED_ALLOW_IPS', 'WEB_CONCURRENCY', 'UVICORN_HOST', 'GUNICORN_CMD_ARGS', '_MLFLOW_SERVER_FILE_STORE', 'PGHOST', 'PGSSLCRL',
  ])('environment never accepts %s', name => {
    expect(() => define({ environment: { [name]: 'x' } })).toThrow(`\`environment\` must not contain ${name}: `);
  });

  const doors = [
    'HTTPS_ADDRESS', 'PROXY_PREFIX', 'CLIENT_SECRET_FILE', 'AUTHENTICATED_EMAILS_FILE', 'HTPASSWD_FILE', 'HTPASSWD_USER_GROUPS', 'SKIP_AUTH_ROUTES', 'SKIP_AUTH_REGEX',
    'SKIP_AUTH_PREFLIGHT', 'TRUSTED_IPS', 'TRUSTED_PROXY_IPS', 'INSECURE_OIDC_ALLOW_UNVERIFIED_EMAIL', 'INSECURE_OIDC_SKIP_ISSUER_VERIFICATION', 'SSL_INSECURE_SKIP_VERIFY',
    'REVERSE_PROXY', 'REAL_CLIENT_IP_HEADER', 'PING_USER_AGENT', 'PING_PATH', 'READY_PATH', 'AUTH_LOGGING_FORMAT', 'REQUEST_LOGGING_FORMAT', 'STANDARD_LOGGING', 'STANDARD_LOGGING_FORMAT', 'LOGGING_FILENAME', 'EXCLUDE_LOGGING_PATHS',
    'GCP_HEALTHCHECKS', 'COOKIE_DOMAINS', 'COOKIE_PATH', 'CONFIG', 'ALPHA_CONFIG', 'WHITELIST_DOMAINS',
  ].map(name => `OAUTH2_PROXY_${name}`);

  test.each(doors)('neither proxyEnvironment nor a provider accepts %s', name => {
    expect(() => define({ proxyEnvironment: { [name]: 'x' } })).toThrow(`\`proxyEnvironment\` must not contain ${name}: `);
    expect(() => define({ authProvider: new Custom({ [name]: 'x' }) })).toThrow(`\`authProvider\` must not contain ${name}: `);
  });

  test.each([
    'PROVIDER', 'OIDC_ISSUER_URL', 'OIDC_EMAIL_CLAIM', 'OIDC_GROUPS_CLAIM', 'OIDC_AUDIENCE_CLAIMS', 'OIDC_EXTRA_AUDIENCES', 'OIDC_JWKS_URL', 'OIDC_ENABLED_SIGNING_ALGS',
    'SKIP_OIDC_DISCOVERY', 'SCOPE', 'USER_ID_CLAIM', 'ALLOWED_GROUPS', 'ALLOWED_ROLES', 'ENTRA_ID_ALLOWED_TENANTS', 'ENTRA_ID_FEDERATED_TOKEN_AUTH', 'GITHUB_ORG', 'GITHUB_TEAM',
    'GITHUB_REPO', 'GITHUB_USERS', 'GITLAB_GROUPS', 'GITLAB_PROJECTS', 'GOOGLE_GROUPS', 'GOOGLE_ADMIN_EMAIL', 'GOOGLE_SERVICE_ACCOUNT_JSON', 'KEYCLOAK_GROUPS',
    'LOGIN_URL', 'REDEEM_URL', 'VALIDATE_URL', 'PROFILE_URL',
  ].map(name => `OAUTH2_PROXY_${name}`))('proxyEnvironment never accepts %s, a provider may', name => {
    expect(() => define({ proxyEnvironment: { [name]: 'x' } })).toThrow(`\`proxyEnvironment\` must not contain ${name}: use \`authProvider\``);
    expect(() => define({ authProvider: new Custom({ [name]: 'x' }) })).not.toThrow();
  });

  // Settings of the construct that users must not replace have to be refused; otherwise they would be ignored without a message.
  const { template } = synthesise({
    authProvider: new Custom({ OAUTH2_PROXY_PROVIDER: 'oidc' }, { signOutUrl: 'https://id.example.com/logout' }),
    trustedTokenIssuers: [TokenIssuer.gcloud()],
    sessionRefresh: Duration.hours(1),
    sessionStore: SessionStore.valkey(),
  });
  const set = (name: string) => [...Object.keys(environmentOf(template, name)), ...Object.keys(secretsOf(template, name))];
  const replaceable = [
    'MLFLOW_SQLALCHEMYSTORE_POOL_SIZE',
    'MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW',
    'MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE',
    'MLFLOW_SERVER_ENABLE_JOB_EXECUTION',
    'MLFLOW_DISABLE_TELEMETRY',
    'DO_NOT_TRACK',
    'MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE',
    'AWS_S3_US_EAST_1_REGIONAL_ENDPOINT',
    'GOMAXPROCS',
    'GOGC',
  ];

  test.each([...set('mlflow'), 'MLFLOW_GUNICORN_OPTS'].filter(name => !replaceable.includes(name)))('MLflow gets %s only from the construct', name => {
    expect(() => define({ environment: { [name]: 'x' } })).toThrow(name);
  });

  test.each(set('oauth2-proxy').filter(name => ![...replaceable, 'OAUTH2_PROXY_CUSTOM_TEMPLATES_DIR'].includes(name)))('oauth2-proxy gets %s only from the construct or its provider', name => {
    expect(() => define({ proxyEnvironment: { [name]: 'x' } })).toThrow(name);
  });

  test.each(replaceable)('%s may be replaced', name => {
    expect(environmentOf(synthesise({ environment: { [name]: '1' } }).template, 'mlflow')[name]).toBe('1');
  });

  test('custom pages may replace ours', () => {
    const { template: passed } = synthesise({ proxyEnvironment: { OAUTH2_PROXY_CUSTOM_TEMPLATES_DIR: '/templates' } });
    expect(environmentOf(passed, 'oauth2-proxy').OAUTH2_PROXY_CUSTOM_TEMPLATES_DIR).toBe('/templates');
  });

  test('names that only look like a refused one are accepted', () => {
    const environment = { HOMEPAGE: 'a', MLFLOW_PORTABLE: 'b', XPGHOST: 'c' };
    const proxy = { OAUTH2_PROXY_SCOPES: 'd', OAUTH2_PROXY_CLIENT: 'e', HTTPS: 'f', OAUTH2_PROXY_OIDC: 'g', OAUTH2_PROXY_GOOGLE: 'h' };
    const passed = synthesise({ environment, proxyEnvironment: proxy }).template;
    expect(environmentOf(passed, 'mlflow')).toMatchObject(environment);
    expect(environmentOf(passed, 'oauth2-proxy')).toMatchObject(proxy);
  });
});

describe('sign-in providers', () => {
  const bind = (provider: AuthProvider) => provider.bind(stack, bindOptions);

  test('Google, with OpenID Connect', () => {
    const config = bind(AuthProvider.google({ clientId: '1234.apps.googleusercontent.com', clientSecret: secret }));
    expect(config).toEqual({
      clientId: '1234.apps.googleusercontent.com',
      clientSecret: secret,
      openToPublic: false,
      groups: false,
      refreshTokens: false,
      hostedDomains: ['example.com'],
      environment: {
        OAUTH2_PROXY_PROVIDER: 'oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://accounts.google.com',
        OAUTH2_PROXY_SCOPE: 'openid email profile',
      },
    });
  });

  test('any OpenID Connect provider, with the minimum', () => {
    expect(bind(AuthProvider.oidc({ issuerUrl: 'https://id.example.com/', clientId: 'client', clientSecret: secret }))).toEqual({
      clientId: 'client',
      clientSecret: secret,
      environment: {
        OAUTH2_PROXY_PROVIDER: 'oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://id.example.com/',
        OAUTH2_PROXY_SCOPE: 'openid email profile',
      },
    });
  });

  test('any OpenID Connect provider, with every option', () => {
    const config = bind(AuthProvider.oidc({
      issuerUrl: 'https://id.example.com/realms/ml',
      clientId: 'client',
      clientSecret: secret,
      scope: 'openid email offline_access',
      emailClaim: 'upn',
      groupsClaim: 'roles',
      allowedGroups: ['ml', 'data science'],
      extraAudiences: ['api://mlflow', 'ci'],
    }));
    expect(resolve(config.environment)).toEqual({
      OAUTH2_PROXY_PROVIDER: 'oidc',
      OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://id.example.com/realms/ml',
      OAUTH2_PROXY_SCOPE: 'openid email offline_access',
      OAUTH2_PROXY_OIDC_EMAIL_CLAIM: 'upn',
      OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'roles',
      OAUTH2_PROXY_ALLOWED_GROUPS: 'ml,data science',
      OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: 'api://mlflow,ci',
    });
  });

  test('the ID tokens of gcloud', () => {
    const { issuerUrl, audience, openToPublic } = TokenIssuer.gcloud();
    expect({ issuerUrl, audience, openToPublic }).toEqual({
      issuerUrl: 'https://accounts.google.com',
      audience: '32555940559.apps.googleusercontent.com',
      openToPublic: true,
    });
  });

  test('a custom provider is bound once, below the construct, and gets the redirect URL', () => {
    const provider = new WithUserPool();
    const { template, mlflow } = synthesise({ authProvider: provider });
    expect(provider.bound).toEqual([{ scope: 'Stack/Mlflow', redirectUrl: 'https://mlflow.example.com/oauth2/callback' }]);
    template.hasResourceProperties('AWS::Cognito::UserPoolClient', { CallbackURLs: ['https://mlflow.example.com/oauth2/callback'] });
    const pool = mlflow.node.findChild('Pool').node.defaultChild as cognito.CfnUserPool;
    const client = mlflow.node.findChild('Client').node.defaultChild as cognito.CfnUserPoolClient;
    const settings = environmentOf(template, 'oauth2-proxy');
    expect(settings.OAUTH2_PROXY_CLIENT_ID).toEqual({ Ref: Stack.of(mlflow).getLogicalId(client) });
    expect(JSON.stringify(settings.OAUTH2_PROXY_OIDC_ISSUER_URL)).toContain(Stack.of(mlflow).getLogicalId(pool));
  });

  test('a custom provider may replace what is left to providers', () => {
    const { template } = synthesise({ authProvider: new Custom({ OAUTH2_PROXY_CODE_CHALLENGE_METHOD: 'plain', OAUTH2_PROXY_PROVIDER: 'github' }) });
    expect(environmentOf(template, 'oauth2-proxy')).toMatchObject({
      OAUTH2_PROXY_CLIENT_ID: 'custom',
      OAUTH2_PROXY_CODE_CHALLENGE_METHOD: 'plain',
      OAUTH2_PROXY_PROVIDER: 'github',
    });
  });

  test('a custom provider decides about signing out, machine identities and bearer tokens', () => {
    const more = { signOutUrl: 'https://id.example.com/logout', machineIdentities: ['client', 'other'], bearerTokens: false };
    const { template, mlflow } = synthesise({ authProvider: new Custom({}, more) });
    expect(mlflow.signOutUrl).toBe('https://mlflow.example.com/oauth2/sign_out?rd=https%3A%2F%2Fid.example.com%2Flogout');
    expect(environmentOf(template, 'prepare').PREPARE_MACHINE_IDENTITIES).toBe('client\nother');
    expect(environmentOf(template, 'oauth2-proxy')).toMatchObject({ OAUTH2_PROXY_WHITELIST_DOMAINS: 'id.example.com', OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS: 'false' });
  });

  test('a custom provider accepts bearer tokens by default', () => {
    for (const more of [{}, { bearerTokens: true }]) {
      expect(environmentOf(synthesise({ authProvider: new Custom({}, more) }).template, 'oauth2-proxy').OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS).toBe('true');
    }
  });

  test('a custom provider with refused settings leaves no construct behind', () => {
    const own = newStack();
    expect(() => define({ authProvider: new Custom({ OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*', OAUTH2_PROXY_COOKIE_SECURE: 'false' }) }, own))
      .toThrow(/^Stack\/Mlflow: 2 props need a change\n {2}- `authProvider` must not contain OAUTH2_PROXY_SKIP_AUTH_ROUTES: .*\n {2}- `authProvider` must not contain OAUTH2_PROXY_COOKIE_SECURE: .*$/);
    expect(own.node.findChild('Mlflow').node.children).toEqual([]);
  });
});

class WithUserPool extends AuthProvider {
  public readonly bound: { scope: string; redirectUrl: string }[] = [];

  public bind(scope: Construct, { redirectUrl }: AuthProviderBindOptions): AuthProviderConfig {
    this.bound.push({ scope: scope.node.path, redirectUrl });
    const pool = new cognito.UserPool(scope, 'Pool');
    const client = new cognito.UserPoolClient(scope, 'Client', { userPool: pool, oAuth: { callbackUrls: [redirectUrl] } });
    return {
      clientId: client.userPoolClientId,
      clientSecret: secret,
      environment: { OAUTH2_PROXY_PROVIDER: 'oidc', OAUTH2_PROXY_OIDC_ISSUER_URL: pool.userPoolProviderUrl },
    };
  }
}
