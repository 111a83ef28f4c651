import { Duration, Fn, Tokenization } from 'aws-cdk-lib';
import { allowList } from './allow-list';

/** Settings of the MLflow containers: pure functions of what they depend on. Facts about each are in docs/settings.md. */

/** A volume: the only place that MLflow may write to. */
export const TEMPORARY_DIRECTORY = '/tmp';
/** A volume: what `prepare` leaves for the other containers, which may only read it. */
export const CONFIG_DIRECTORY = '/run/secure-mlflow';
/** Subjects of tokens that are let in whatever their domain, a line each. */
export const MACHINE_IDENTITIES_FILE = `${CONFIG_DIRECTORY}/machine-identities.csv`;

/** Where `prepare` puts the programs, the inner door among them, a Python package: nobody but root may write there. */
export const PROGRAMS_DIRECTORY = `${CONFIG_DIRECTORY}/python`;
/** The pages that oauth2-proxy shows. */
export const PAGES_DIRECTORY = `${PROGRAMS_DIRECTORY}/secure_mlflow/pages`;
/** The name of the inner door among MLflow's apps. */
export const DOOR = 'secure-mlflow';

export const MLFLOW_PORT = 5000;
/** Gunicorn keeps the processes; in each of them uvicorn serves. `gunicornOpts` follows and may replace the numbers. */
const GUNICORN_OPTS = [
  '--worker-class uvicorn.workers.UvicornWorker',
  '--preload', // MLflow is loaded once, for all of them
  '--keep-alive 120', // longer than the 90 seconds that oauth2-proxy keeps an idle connection, else it may write into one being closed
  '--graceful-timeout 110', // of the 120 seconds that Fargate grants
  '--timeout 120', // for a process that no longer answers gunicorn; requests may take longer
].join(' ');

/** What `containers/prepare.py` reads beside the database. */
export function prepareEnvironment(region: string, machineIdentities: string): Record<string, string> {
  return {
    PREPARE_CA_BUNDLE_URL: `https://truststore.pki.rds.amazonaws.com/${region}/${region}-bundle.pem`,
    PREPARE_WRITABLE_DIRECTORY: TEMPORARY_DIRECTORY,
    PREPARE_MACHINE_IDENTITIES: machineIdentities,
    PREPARE_MACHINE_IDENTITIES_FILE: MACHINE_IDENTITIES_FILE,
    PREPARE_PROGRAMS_DIRECTORY: PROGRAMS_DIRECTORY,
    PYTHONUNBUFFERED: '1',
  };
}

export interface MlflowOptions {
  readonly url: string;
  readonly region: string;
  readonly artifactsUri: string;
  readonly artifactTransfer: string;
  readonly workers: number;
  readonly gunicornOpts?: string;
  /** MiB of a request. */
  readonly apiLimit: number;
  /** MiB of traces, unpacked. */
  readonly tracesLimit: number;
  /** Whether everybody but the listed machines has an e-mail address. */
  readonly addressesOnly: boolean;
  /** Where oauth2-proxy does not ask for it: the claim `hd` of everybody but the listed machines must be one of them. */
  readonly hostedDomains?: string[];
  /** Where people sign out. */
  readonly signOutUrl: string;
  /** Who may do what, as JSON. Without it everybody may do everything. */
  readonly accessPolicy?: string;
  /** Where it is on. */
  readonly aiGateway?: { readonly privateProviders?: string[] };
  readonly environment?: Record<string, string>;
}

/** What `environment` may replace. */
export const DEFAULT_MLFLOW_ENVIRONMENT: Record<string, string> = {
  // A process answers up to 40 requests at once that need it, and a batch of metrics takes a connection while it holds another: with
  // 40 or fewer they could all wait for each other. The database ends those that are idle.
  MLFLOW_SQLALCHEMYSTORE_POOL_SIZE: '20',
  MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW: '25',
  MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE: '1800',
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false', // on, it queries the database every minute, which then never pauses
  MLFLOW_DISABLE_TELEMETRY: 'true',
  DO_NOT_TRACK: 'true',
  // Else the URLs that MLflow signs lead to S3's global endpoint, which fails for newer regions, and for the others while a bucket is new.
  MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE: 'virtual',
  AWS_S3_US_EAST_1_REGIONAL_ENDPOINT: 'regional',
};

/** Settings of `mlflow server`, the database aside. The command line is `mlflow server` and nothing more. */
export function mlflowEnvironment(options: MlflowOptions): Record<string, string> {
  return {
    ...DEFAULT_MLFLOW_ENVIRONMENT,
    ...options.environment,

    // What follows it may not replace; the reasons are in RESERVED_MLFLOW_NAMES below.
    MLFLOW_HOST: '127.0.0.1',
    MLFLOW_PORT: String(MLFLOW_PORT),
    MLFLOW_WORKERS: Tokenization.stringifyNumber(options.workers),
    MLFLOW_GUNICORN_OPTS: options.gunicornOpts === undefined ? GUNICORN_OPTS : `${GUNICORN_OPTS} ${options.gunicornOpts}`,
    PYTHONWARNINGS: 'ignore:We recommend using uvicorn:FutureWarning', // which serves
    MLFLOW_SERVER_ALLOWED_HOSTS: `127.0.0.1:${MLFLOW_PORT}`, // the Host that oauth2-proxy sends
    MLFLOW_SERVER_CORS_ALLOWED_ORIGINS: options.url, // without it every write from the web page is refused
    MLFLOW_SERVER_X_FRAME_OPTIONS: 'SAMEORIGIN',
    ...doorEnvironment(options),
    ...gatewayEnvironment(options.aiGateway),
    ...placeEnvironment(options),
  };
}

/** What the inner door reads, and how Python finds it. */
function doorEnvironment(options: MlflowOptions): Record<string, string> {
  const { apiLimit, tracesLimit, artifactTransfer, addressesOnly, hostedDomains, signOutUrl, accessPolicy } = options;
  return {
    PYTHONPATH: PROGRAMS_DIRECTORY,
    SECURE_MLFLOW_MACHINE_IDENTITIES_FILE: MACHINE_IDENTITIES_FILE,
    SECURE_MLFLOW_ADDRESSES_ONLY: String(addressesOnly),
    ...(hostedDomains && { SECURE_MLFLOW_HOSTED_DOMAINS: allowList(hostedDomains) }),
    SECURE_MLFLOW_SIGN_OUT_URL: signOutUrl,
    ...(accessPolicy !== undefined && { SECURE_MLFLOW_ACCESS: accessPolicy }),
    SECURE_MLFLOW_API_LIMIT_MIB: Tokenization.stringifyNumber(apiLimit),
    SECURE_MLFLOW_TRACES_LIMIT_MIB: Tokenization.stringifyNumber(tracesLimit),
    SECURE_MLFLOW_ARTIFACT_TRANSFER: artifactTransfer,
  };
}

function gatewayEnvironment(gateway: MlflowOptions['aiGateway']): Record<string, string> {
  const { privateProviders } = gateway ?? {};
  return {
    MLFLOW_ENABLE_AI_GATEWAY: String(gateway !== undefined),
    ...(privateProviders && {
      // MLflow knows all private addresses or none; the inner door lets through these alone.
      MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS: 'true',
      MLFLOW_GATEWAY_API_BASE_ALLOWED_SCHEMES: 'https,http',
      SECURE_MLFLOW_PRIVATE_PROVIDERS: Fn.join(' ', privateProviders),
    }),
  };
}

export interface CleanUpEnvironmentOptions {
  readonly region: string;
  readonly artifactsUri: string;
  readonly olderThan: Duration;
  readonly environment?: Record<string, string>;
}

/** What `containers/clean_up.py` reads beside the database. */
export function cleanUpEnvironment(options: CleanUpEnvironmentOptions): Record<string, string> {
  return {
    MLFLOW_DISABLE_TELEMETRY: 'true',
    DO_NOT_TRACK: 'true',
    ...options.environment,
    CLEAN_UP_OLDER_THAN: Tokenization.stringifyNumber(options.olderThan.toSeconds()),
    ...placeEnvironment(options),
  };
}

/** Where files are: the artifacts, and what may be written to. */
function placeEnvironment({ region, artifactsUri }: { readonly region: string; readonly artifactsUri: string }): Record<string, string> {
  return {
    MLFLOW_ARTIFACTS_DESTINATION: artifactsUri,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    HOME: TEMPORARY_DIRECTORY,
    TMPDIR: TEMPORARY_DIRECTORY,
    PYTHONUNBUFFERED: '1',
  };
}

/** There is no curl in the image. */
export const MLFLOW_HEALTH_CHECK = ['CMD', 'python', `${PROGRAMS_DIRECTORY}/health.py`, `127.0.0.1:${MLFLOW_PORT}`];

const TASK_OWNED = 'it is fixed by how the containers of the task find each other';
const DATABASE_OWNED = 'the construct makes the database and the connection to it; leave it out';
const TRUST = 'the server would believe forwarded headers, and with them the client address that guards its assistant';
const UVICORN = 'it could rebind the server or make it trust forwarded headers; for the number of processes use `workers`';
const DEVELOPMENT = 'it is for development, with a debugger; leave it out';
const PROGRAMS = 'everybody who is signed in could run programs on the server, with the password of the database at hand';
const INSIDE = 'everybody who is signed in could have the server send requests into its network and to itself';
const ASSISTANT = 'the assistant is closed, because it runs programs on the server';
const ROLE = 'the task has a role; grant it what it needs';
const CODE = 'it decides which code the programs of the task load; put it into an image of your own (`mlflowImage`)';
const BUCKET = 'artifacts are in S3, in the region of the stack; use `artifactBucket`';
const TLS = 'connections that the server makes must be verified';
const ACCOUNTS = 'people sign in at the provider; MLflow\'s own accounts are not used';
const DIRECTORY = 'the file system is read-only but for one folder';
const INTERNAL = 'MLflow hands it from one of its processes to the next';
const OWN_PROGRAMS = 'programs of the construct read it';

/** Names that `environment` and `secrets` must not hold, and what to do instead. A name ending in `*` stands for all that begin so. */
export const RESERVED_MLFLOW_NAMES: Record<string, string> = {
  'MLFLOW_HOST': TASK_OWNED,
  'MLFLOW_PORT': TASK_OWNED,
  'MLFLOW_WORKERS': 'use `workers`',
  'MLFLOW_GUNICORN_OPTS': 'use `gunicornOpts`',
  'MLFLOW_UVICORN_OPTS': UVICORN,
  'MLFLOW_SERVER_ALLOWED_HOSTS': TASK_OWNED,
  'MLFLOW_SERVER_CORS_ALLOWED_ORIGINS': 'it follows from `domainName`',
  'MLFLOW_SERVER_X_FRAME_OPTIONS': 'other sites could frame the page',
  'MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE': 'other sites could write in the name of whoever is signed in',
  'MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS': `${PROGRAMS}; run them outside the server`,
  'MLFLOW_ENABLE_REMOTE_ASSISTANT': ASSISTANT,
  'MLFLOW_ENABLE_ASSISTANT_SANDBOX': ASSISTANT,
  'MLFLOW_ASSISTANT_SANDBOX_CLI_IMAGE': ASSISTANT,
  'MLFLOW_SANDBOX_*': ASSISTANT,
  'MLFLOW_ENABLE_AI_GATEWAY': 'use `aiGateway`',
  'MLFLOW_DEPLOYMENTS_TARGET': 'use `aiGateway`',
  'MLFLOW_GATEWAY_API_BASE_*': 'use `aiGateway.privateProviders`',
  'MLFLOW_GATEWAY_MAX_DECOMPRESSED_REQUEST_SIZE': 'use `requestLimits`',
  'MLFLOW_GATEWAY_RESOLVE_API_KEY_*': 'everybody who is signed in could have variables and files of the server, its secrets included, sent to an address of their own',
  'MLFLOW_WEBHOOK_ALLOW*': INSIDE,
  'MLFLOW_ICON_URL_ALLOW_PRIVATE_IPS': INSIDE,
  'MLFLOW_ICON_URL_ALLOWED_SCHEMES': INSIDE,
  'MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES': INSIDE,
  'MLFLOW_STATIC_PREFIX': 'the server is at the root of `domainName`',
  'SCRIPT_NAME': 'the server is at the root of `domainName`',
  'MLFLOW_BACKEND_STORE_URI': DATABASE_OWNED,
  'MLFLOW_REGISTRY_STORE_URI': DATABASE_OWNED,
  'MLFLOW_TRACKING_URI': DATABASE_OWNED,
  'MLFLOW_REGISTRY_URI': DATABASE_OWNED,
  'MLFLOW_CRYPTO_KEK_PASSPHRASE': 'the construct generates it as a secret',
  'MLFLOW_CRYPTO_KEK_VERSION': 'it belongs to the passphrase, which never changes',
  'MLFLOW_AUTH_*': ACCOUNTS,
  'MLFLOW_BASIC_AUTH_*': ACCOUNTS,
  'MLFLOW_RBAC_SEED_DEFAULT_ROLES': ACCOUNTS,
  'MLFLOW_SERVER_ENABLE_GRAPHQL_AUTH': ACCOUNTS,
  'MLFLOW_FLASK_SERVER_SECRET_KEY': ACCOUNTS,
  'MLFLOW_ARTIFACTS_DESTINATION': 'use `artifactBucket` and `artifactPath`',
  'MLFLOW_DEFAULT_ARTIFACT_ROOT': 'use `artifactBucket` and `artifactPath`; clients reach artifacts through the server',
  'MLFLOW_SERVE_ARTIFACTS': 'clients reach artifacts through the server',
  'MLFLOW_ARTIFACTS_ONLY': 'clients reach artifacts through the server',
  'MLFLOW_S3_EXPECTED_BUCKET_OWNER': 'uploads above 500 MB would fail, because MLflow signs it into URLs as a header that clients do not send; the task role reaches buckets of one account only',
  'MLFLOW_S3_ENDPOINT_URL': BUCKET,
  'MLFLOW_S3_IGNORE_TLS': TLS,
  'MLFLOW_TRACKING_INSECURE_TLS': TLS,
  'DATABRICKS_INSECURE': TLS,
  'AWS_REGION': 'it is the region of the stack',
  'AWS_DEFAULT_REGION': 'it is the region of the stack',
  'AWS_ENDPOINT_URL*': BUCKET,
  'AWS_ACCESS_KEY_ID': ROLE,
  'AWS_SECRET_ACCESS_KEY': ROLE,
  'AWS_SESSION_TOKEN': ROLE,
  'AWS_SECURITY_TOKEN': ROLE,
  'AWS_PROFILE': ROLE,
  'AWS_DEFAULT_PROFILE': ROLE,
  'AWS_CONFIG_FILE': ROLE,
  'AWS_SHARED_CREDENTIALS_FILE': ROLE,
  'AWS_CREDENTIAL_FILE': ROLE,
  'AWS_LOGIN_CACHE_DIRECTORY': ROLE,
  'AWS_ROLE_*': ROLE,
  'AWS_WEB_IDENTITY_TOKEN_FILE': ROLE,
  'AWS_CONTAINER_*': ROLE,
  'AWS_EC2_METADATA_SERVICE_*': ROLE,
  'AWS_DATA_PATH': CODE,
  'BOTOCORE_EXPERIMENTAL__PLUGINS': CODE,
  'HOME': DIRECTORY,
  'TMPDIR': DIRECTORY,
  'PYTHONPATH': 'Python finds the inner door there; put code into an image of your own (`mlflowImage`)',
  'PYTHONUNBUFFERED': 'the construct sets it, so that log lines come at once; leave it out',
  'PYTHON*': CODE,
  'LD_*': CODE,
  'PATH': CODE,
  'MLFLOW_HOME': CODE,
  'GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES': PROGRAMS,
  'SSLKEYLOGFILE': 'the keys of TLS connections would be written into a file',
  'SECURE_MLFLOW_*': 'the inner door reads them; use `access`, `artifactTransfer`, `requestLimits`, `aiGateway`, `authProvider` and `machineIdentities`',
  'PREPARE_*': OWN_PROGRAMS,
  'DATABASE_TOKEN_*': OWN_PROGRAMS,
  'CLEAN_UP_*': 'use `cleanUp`',
  'FORWARDED_ALLOW_IPS': TRUST,
  'WEB_CONCURRENCY': 'use `workers`',
  'UVICORN_*': UVICORN,
  'GUNICORN_*': 'use `gunicornOpts`',
  'LISTEN_*': TASK_OWNED,
  'FLASK_*': DEVELOPMENT,
  'WERKZEUG_*': DEVELOPMENT,
  '_MLFLOW_*': INTERNAL,
  'MLFLOW_SERVER_PID': INTERNAL,
  'PG*': DATABASE_OWNED,
};
