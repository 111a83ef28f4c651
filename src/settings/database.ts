import { CONFIG_DIRECTORY, TEMPORARY_DIRECTORY } from './mlflow';

/** What is fixed about the database, and how programs sign in to it: pure functions. Facts about each setting are in docs/settings.md. */

/** Parameters of the database's cluster that promises depend on. */
export const databaseParameters: Record<string, string> = {
  'rds.force_ssl': '1',
  'idle_session_timeout': '60000', // milliseconds; the connections that MLflow keeps in its pool heal by themselves
};

export const DATABASE_PORT = 5432;
export const DATABASE_USER = 'mlflow';
export const DATABASE_NAME = 'mlflow';
/** Whom the server signs in as by IAM. `DATABASE_USER` cannot: RDS takes either tokens or the password of a user. */
export const DATABASE_IAM_USER = 'mlflow_iam';
/** libpq's password file, which it reads at every connect. */
const DATABASE_TOKEN_FILE = `${TEMPORARY_DIRECTORY}/database-token`;

/** How the server and `prepare` reach the database. The password is a secret of the container: libpq reads `PGPASSWORD`. */
export function databaseEnvironment(host: string, user = DATABASE_USER): Record<string, string> {
  // Without these a dropped connection holds a request until the kernel gives up, minutes later.
  const liveness = 'keepalives_idle=10&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=10000';
  return {
    // The driver is named: SQLAlchemy takes a bare `postgresql:` for psycopg 3.
    MLFLOW_BACKEND_STORE_URI: `postgresql+psycopg2://${user}@${host}:${DATABASE_PORT}/${DATABASE_NAME}?${liveness}`,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: `${CONFIG_DIRECTORY}/rds-ca.pem`,
    PGCONNECT_TIMEOUT: '60', // a paused database takes 15 seconds and more to wake
  };
}

/** The same where the server signs in by IAM: libpq reads the token in the file that `PGPASSFILE` names. */
export function iamDatabaseEnvironment(host: string): Record<string, string> {
  return { ...databaseEnvironment(host, DATABASE_IAM_USER), PGPASSFILE: DATABASE_TOKEN_FILE };
}

/** What `containers/database_token.py` reads beside that. */
export function tokenEnvironment(region: string): Record<string, string> {
  return {
    DATABASE_TOKEN_SECONDS: '600', // RDS takes a token for 15 minutes
    AWS_REGION: region,
    HOME: TEMPORARY_DIRECTORY,
    PYTHONUNBUFFERED: '1',
  };
}

/** The token is there and has a minute left at least: the exit code is 1 where its file is older than 14 of its 15 minutes, and where there is none. */
export const TOKEN_HEALTH_CHECK = [
  'CMD', 'python', '-c', "import os, sys, time; sys.exit(time.time() - os.stat(os.environ['PGPASSFILE']).st_mtime > 840)", // the exit code is all that ECS asks for
];
