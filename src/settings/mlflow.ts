import { Duration, Fn, Tokenization } from 'aws-cdk-lib';
import { allowList } from './allow-list';

/** Settings of the MLflow containers: pure functions of what they depend on. Facts about each are in docs/settings.md. */

/** A volume, the only place where MLflow may write. */
export const TEMPORARY_DIRECTORY = '/tmp';
/** A volume with the files that `prepare` writes. The other containers may only read it. */
export const CONFIG_DIRECTORY = '/run/secure-mlflow';
/** Subjects that are accepted regardless of their domain, one per line. */
export const MACHINE_IDENTITIES_FILE = `${CONFIG_DIRECTORY}/machine-identities.csv`;

/** Where `prepare` writes the programs, including the Python package of the inner door. Only root may write there. */
export const PROGRAMS_DIRECTORY = `${CONFIG_DIRECTORY}/python`;
/** The pages that oauth2-proxy shows. */
export const PAGES_DIRECTORY = `${PROGRAMS_DIRECTORY}/secure_mlflow/pages`;
/** The name under which the inner door is an app of MLflow. */
export const DOOR = 'secure-mlflow';

export const MLFLOW_PORT = 5000;
/** Gunicorn manages the worker processes, and uvicorn runs in each of them. `gunicornOpts` comes after these options and may replace the numbers. */
const GUNICORN_OPTS = [
  '--worker-class uvicorn.workers.UvicornWorker',
  '--preload', // MLflow is loaded once for all worker processes
  '--keep-alive 120', // longer than the 90 seconds for which oauth2-proxy keeps an idle connection; otherwise it may write to a connection that is being closed
  '--graceful-timeout 110', // shorter than the 120 seconds that Fargate allows
  '--timeout 120', // stops a process that no longer answers gunicorn; requests may take longer
].join(' ');

/** Variables that `containers/prepare.py` reads, in addition to those of the database. */
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
  /** Maximum size of a request, in MiB. */
  readonly apiLimit: number;
  /** Maximum size of traces after decompression, in MiB. */
  readonly tracesLimit: number;
  /** Whether everyone must have an e-mail address, except the listed machines. */
  readonly addressesOnly: boolean;
  /** Allowed values of the claim `hd` of everyone except the listed machines. Undefined if there is no such rule, or if oauth2-proxy enforces it. */
  readonly hostedDomains?: string[];
  /** The URL for signing out. */
  readonly signOutUrl: string;
  /** The rules of `access`, as JSON. Without it everybody may do everything. */
  readonly accessPolicy?: string;
  /** Undefined if the AI gateway is off. */
  readonly aiGateway?: { readonly privateProviders?: string[] };
  readonly environment?: Record<string, string>;
}

/** Variables that `environment` may replace. */
export const DEFAULT_MLFLOW_ENVIRONMENT: Record<string, string> = {
  // A process handles up to 40 requests with database access at the same time. Some open a second connection: a batch with metrics of a model or
  // a new name of the run. With 40 connections or fewer they could all wait for each other (deadlock). The database closes idle connections.
  MLFLOW_SQLALCHEMYSTORE_POOL_SIZE: '20',
  MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW: '25',
  MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE: '1800',
  MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false', // with jobs the server queries the database every minute, which then never pauses
  MLFLOW_DISABLE_TELEMETRY: 'true',
  DO_NOT_TRACK: 'true',
  // By default the URLs that MLflow signs use S3's global endpoint, which fails in newer regions, and in the others while a bucket is new.
  MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE: 'virtual',
  AWS_S3_US_EAST_1_REGIONAL_ENDPOINT: 'regional',
};

/** Settings of `mlflow server`, except those of the database. The command line contains only the name of the app. */
export function mlflowEnvironment(options: MlflowOptions): Record<string, string> {
  return {
    ...DEFAULT_MLFLOW_ENVIRONMENT,
    ...options.environment,

    // `environment` may not replace the variables below. The reasons are in RESERVED_MLFLOW_NAMES.
    MLFLOW_HOST: '127.0.0.1',
    MLFLOW_PORT: String(MLFLOW_PORT),
    MLFLOW_WORKERS: Tokenization.stringifyNumber(options.workers),
    MLFLOW_GUNICORN_OPTS: options.gunicornOpts === undefined ? GUNICORN_OPTS : `${GUNICORN_OPTS} ${options.gunicornOpts}`,
    PYTHONWARNINGS: 'ignore:We recommend using uvicorn:FutureWarning', // uvicorn is used
    MLFLOW_SERVER_ALLOWED_HOSTS: `127.0.0.1:${MLFLOW_PORT}`, // the Host that oauth2-proxy sends
    MLFLOW_SERVER_CORS_ALLOWED_ORIGINS: options.url, // without it every write request of the web page is rejected
    MLFLOW_SERVER_X_FRAME_OPTIONS: 'SAMEORIGIN',
    ...doorEnvironment(options),
    ...gatewayEnvironment(options.aiGateway),
    ...placeEnvironment(options),
  };
}

/** Variables that the inner door reads, and the path where Python finds it. */
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
      // MLflow can allow all private addresses or none. The inner door allows only these.
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

/** Variables that `containers/clean_up.py` reads, in addition to those of the database. */
export function cleanUpEnvironment(options: CleanUpEnvironmentOptions): Record<string, string> {
  return {
    MLFLOW_DISABLE_TELEMETRY: 'true',
    DO_NOT_TRACK: 'true',
    ...options.environment,
    CLEAN_UP_OLDER_THAN: Tokenization.stringifyNumber(options.olderThan.toSeconds()),
    ...placeEnvironment(options),
  };
}

/** Locations of files: the artifacts, and the folder with write access. */
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

/** A Python program, because the image does not contain curl. */
export const MLFLOW_HEALTH_CHECK = ['CMD', 'python', `${PROGRAMS_DIRECTORY}/health.py`, `127.0.0.1:${MLFLOW_PORT}`];

const TASK_OWNED = 'the connections between the containers of the task depend on it; leave it out';
const DATABASE_OWNED = 'the construct creates the database and the connection to it; leave it out';
const TRUST = 'the server would trust forwarded headers, including the client address that protects its assistant';
const UVICORN = 'it could make the server listen elsewhere or trust forwarded headers; for the number of processes use `workers`';
const DEVELOPMENT = 'it is for development, with a debugger; leave it out';
const PROGRAMS = 'everybody who is signed in could run programs on the server, with access to the password of the database';
const INSIDE = 'everybody who is signed in could make the server send requests to its network and to itself';
const ASSISTANT = 'the assistant is closed, because it runs programs on the server';
const ROLE = 'the task uses its role; grant the role what it needs';
const CODE = 'it decides which code the programs of the task load; set it in your own image (`mlflowImage`)';
const BUCKET = 'artifacts are in S3, in the region of the stack; use `artifactBucket`';
const TLS = 'TLS connections of the server must be verified';
const ACCOUNTS = 'people sign in at the sign-in provider; accounts of MLflow are not used';
const DIRECTORY = 'the file system is read-only, except for one folder';
const INTERNAL = 'MLflow uses it between its own processes';
const OWN_PROGRAMS = 'programs of the construct read it';

/** Names that `environment` and `secrets` must not contain, with the reason or what to do instead. A `*` at the end matches all names with that beginning. */
export const RESERVED_MLFLOW_NAMES: Record<string, string> = {
  'MLFLOW_HOST': TASK_OWNED,
  'MLFLOW_PORT': TASK_OWNED,
  'MLFLOW_WORKERS': 'use `workers`',
  'MLFLOW_GUNICORN_OPTS': 'use `gunicornOpts`',
  'MLFLOW_UVICORN_OPTS': UVICORN,
  'MLFLOW_SERVER_ALLOWED_HOSTS': TASK_OWNED,
  'MLFLOW_SERVER_CORS_ALLOWED_ORIGINS': 'it follows from `domainName`',
  'MLFLOW_SERVER_X_FRAME_OPTIONS': 'other sites could frame the page',
  'MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE': 'other sites could send write requests in the name of people who are signed in',
  'MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS': `${PROGRAMS}; run them outside the server`,
  'MLFLOW_ENABLE_REMOTE_ASSISTANT': ASSISTANT,
  'MLFLOW_ENABLE_ASSISTANT_SANDBOX': ASSISTANT,
  'MLFLOW_ASSISTANT_SANDBOX_CLI_IMAGE': ASSISTANT,
  'MLFLOW_SANDBOX_*': ASSISTANT,
  'MLFLOW_ENABLE_AI_GATEWAY': 'use `aiGateway`',
  'MLFLOW_DEPLOYMENTS_TARGET': 'use `aiGateway`',
  'MLFLOW_GATEWAY_API_BASE_*': 'use `aiGateway.privateProviders`',
  'MLFLOW_GATEWAY_MAX_DECOMPRESSED_REQUEST_SIZE': 'use `requestLimits`',
  'MLFLOW_GATEWAY_RESOLVE_API_KEY_*': 'everybody who is signed in could make the server send its variables and files, including secrets, to any address',
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
  'MLFLOW_S3_EXPECTED_BUCKET_OWNER': 'uploads above 500 MB would fail, because MLflow includes it in signed URLs as a header that clients do not send; the task role can only access buckets of one account',
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
  'PYTHONPATH': 'Python finds the inner door with it; put code into your own image (`mlflowImage`)',
  'PYTHONUNBUFFERED': 'the construct sets it, so that log lines are written immediately; leave it out',
  'PYTHON*': CODE,
  'LD_*': CODE,
  'PATH': CODE,
  'MLFLOW_HOME': CODE,
  'GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES': PROGRAMS,
  'SSLKEYLOGFILE': 'the keys of TLS connections would be written to a file',
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
