import { CONFIG_DIRECTORY, TEMPORARY_DIRECTORY } from './mlflow';

/** Fixed settings of the database, and how programs authenticate to it: pure functions. Facts about each setting are in docs/settings.md. */

/** Cluster parameters that the promises of the construct depend on. */
export const databaseParameters: Record<string, string> = {
  'rds.force_ssl': '1',
  'idle_session_timeout': '60000', // milliseconds; MLflow's connection pool replaces closed connections automatically
};

export const DATABASE_PORT = 5432;
export const DATABASE_USER = 'mlflow';
export const DATABASE_NAME = 'mlflow';
/** The database user of the server with IAM authentication. It cannot be `DATABASE_USER`: RDS accepts either authentication tokens or a password for a user. */
export const DATABASE_IAM_USER = 'mlflow_iam';
/** The password file of libpq, which reads it for every new connection. */
const DATABASE_TOKEN_FILE = `${TEMPORARY_DIRECTORY}/database-token`;

/** Variables for the connection to the database. The password is a secret of the container: libpq reads `PGPASSWORD`. */
export function databaseEnvironment(host: string, user = DATABASE_USER): Record<string, string> {
  // Without these options a request on a dropped connection would wait for minutes, until the kernel times out.
  const liveness = 'keepalives_idle=10&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=10000';
  return {
    // The URL names the driver, because SQLAlchemy uses psycopg 3 for `postgresql:`.
    MLFLOW_BACKEND_STORE_URI: `postgresql+psycopg2://${user}@${host}:${DATABASE_PORT}/${DATABASE_NAME}?${liveness}`,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: `${CONFIG_DIRECTORY}/rds-ca.pem`,
    PGCONNECT_TIMEOUT: '60', // a paused database needs 15 seconds or more to resume
  };
}

/** Variables for the connection with IAM authentication: libpq reads the RDS authentication token from the file in `PGPASSFILE`. */
export function iamDatabaseEnvironment(host: string): Record<string, string> {
  return { ...databaseEnvironment(host, DATABASE_IAM_USER), PGPASSFILE: DATABASE_TOKEN_FILE };
}

/** Additional variables that `containers/database_token.py` reads. */
export function tokenEnvironment(region: string): Record<string, string> {
  return {
    DATABASE_TOKEN_SECONDS: '600', // RDS accepts an authentication token for 15 minutes
    AWS_REGION: region,
    HOME: TEMPORARY_DIRECTORY,
    PYTHONUNBUFFERED: '1',
  };
}

/** Fails if the file with the RDS authentication token does not exist, or is older than 14 of the 15 minutes for which the token is valid. */
export const TOKEN_HEALTH_CHECK = [
  'CMD', 'python', '-c', "import os, sys, time; sys.exit(time.time() - os.stat(os.environ['PGPASSFILE']).st_mtime > 840)", // ECS uses only the exit code
];
