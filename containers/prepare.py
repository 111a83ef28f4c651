"""Runs first in every task, once, as root: volumes, machine identities, CA bundle, schema. Exits with 0, or logs the reason in one line and exits with 1.

It needs only the MLflow image. Its argument is all programs of the task, packed. Its settings:
  MLFLOW_BACKEND_STORE_URI, PG...  the database, as the server gets it
  PREPARE_CA_BUNDLE_URL            the certificates of the database's CA
  PGSSLROOTCERT                    the file for them
  PREPARE_WRITABLE_DIRECTORY       a volume to which the server, which is not root, must be able to write
  PREPARE_MACHINE_IDENTITIES       subjects of bearer tokens that oauth2-proxy must accept, one a line
  PREPARE_MACHINE_IDENTITIES_FILE  the file for them
  PREPARE_PROGRAMS_DIRECTORY       the folder for the other programs and the pages of oauth2-proxy
  PREPARE_IAM_USER                 the database user of a server that uses IAM authentication
  PREPARE_SCHEMA                   "leave": wait for the database and do not change it; for tasks other than the service, which alone migrates
"""

import base64
import csv
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

import psycopg2

# Checks that the inner door knows this MLflow, and prints the schema revision that MLflow needs. Without garbage collection, the imports take a fifth less time.
LOOK = """
import gc
gc.disable()
import secure_mlflow
from mlflow.store.db.utils import _get_latest_schema_revision
print(_get_latest_schema_revision())
"""
LOCK = 0x6D6C666C6F77  # "mlflow"; advisory locks are per database
DOWNLOAD_ATTEMPTS = 5
DATABASE_PATIENCE = 300  # seconds; a paused Aurora resumes in about 15, after days in more
LOCK_PATIENCE = 3600  # seconds; another task's migration of a large store
INDEX_PATIENCE = 60  # seconds; a million runs need a few
OURS = "secure_mlflow_"  # the beginning of our indexes' names
# Without them, MLflow reads all stored runs to find those of an experiment. One index for each order: MLflow's default, and by start, as its page requests.
RUNS_INDEXES = {
    f"{OURS}runs_by_experiment": "experiment_id, start_time DESC, run_uuid",
    f"{OURS}runs_by_start": "experiment_id, (CASE WHEN start_time IS NULL THEN 1 ELSE 0 END), start_time DESC, run_uuid",
}
# Errors of a database that is not ready yet. Waiting does not help with other errors.
NOT_READY = ("the database system is", "Connection refused", "timeout expired", "could not translate host name",
             "server closed the connection", "Network is unreachable", "No route to host",
             "EOF detected", "Connection reset by peer", "remaining connection slots")


def say(message):
    print(f"prepare {' '.join(str(message).split())}", flush=True)


def fail(message):
    say(f"FAILED: {message}")
    sys.exit(1)


def open_volume(directory):
    # An empty Fargate volume belongs to root. Its owner needs no capability for chmod, but one for chown.
    os.chmod(directory, 0o1777)


def write_machine_identities(identities, path):
    with open(path, "w", encoding="utf-8") as file:
        # Quoted, because the name of a role may contain a comma.
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([line] for line in identities.splitlines())
    os.chmod(path, 0o444)
    say(f"machine identities written: {len(identities.splitlines())}")


def write_programs(packed, directory):
    """One of them is the inner door, a package that MLflow finds as if it were installed."""
    files = json.loads(zlib.decompress(base64.b64decode(packed)))
    files["secure_mlflow-1.dist-info/METADATA"] = "Metadata-Version: 2.1\nName: secure-mlflow\nVersion: 1\n"
    files["secure_mlflow-1.dist-info/entry_points.txt"] = "[mlflow.app]\nsecure-mlflow = secure_mlflow:create_app\n"
    for name, text in files.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o444)
    say(f"programs written, {len(files)} files")


def look_at_mlflow(directory):
    """Starts `LOOK`; `latest_revision` waits for its result."""
    return subprocess.Popen(
        [sys.executable, "-c", LOOK],
        env={**os.environ, "PYTHONPATH": directory},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def latest_revision(look):
    """The schema revision of this MLflow. Ends the program if the inner door does not know this MLflow."""
    output, _ = look.communicate()
    lines = output.strip().splitlines() or ["no output"]
    if look.returncode != 0:
        fail(next((line for line in lines if line.startswith("secure-mlflow FAILED: ")), lines[-1]).removeprefix("secure-mlflow FAILED: "))
    return lines[-1]


def fetch_ca_bundle(url, path):
    for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                bundle = response.read().decode("ascii")
            ssl.create_default_context(cadata=bundle)  # raises for a truncated or wrong answer
            break
        except (OSError, ValueError) as error:
            if attempt == DOWNLOAD_ATTEMPTS:
                fail(f"cannot get the CA bundle of the database from {url} (does the task have a route to it?): {error}")
            say(f"CA bundle not available yet, trying again: {error}")
            time.sleep(2**attempt)
    with open(path, "w", encoding="ascii") as file:
        file.write(bundle)
    os.chmod(path, 0o444)
    say(f"CA bundle written, {bundle.count('BEGIN CERTIFICATE')} certificates")


def libpq_uri(uri):
    return uri.replace("postgresql+psycopg2:", "postgresql:", 1)  # libpq does not accept the names of SQLAlchemy drivers


def connect(uri):
    deadline = time.monotonic() + DATABASE_PATIENCE
    while True:
        try:
            connection = psycopg2.connect(libpq_uri(uri), application_name="prepare")
            connection.autocommit = True
            return connection
        except psycopg2.OperationalError as error:
            if time.monotonic() > deadline or not any(sign in str(error) for sign in NOT_READY):
                fail(f"cannot connect to the database: {error}")
            say(f"database not ready, trying again: {error}")
            time.sleep(3)


def hold_lock(connection):
    """Only one task migrates at a time. The lock lasts as long as this session, so the server must not end it when idle."""
    cursor = connection.cursor()
    cursor.execute("SET idle_session_timeout = 0")
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        # Polled, so that SIGTERM is handled while waiting, and no waiting statement blocks the indexes of the other task.
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
        if cursor.fetchone()[0]:
            return
        if time.monotonic() > deadline:
            fail(f"another task has held the migration lock for {LOCK_PATIENCE} s")
        say("another task is migrating, waiting for it")
        time.sleep(2)


def revision(connection):
    """The schema revision of the database; None if it has no schema yet."""
    cursor = connection.cursor()
    cursor.execute("SELECT to_regclass('alembic_version')")
    if cursor.fetchone()[0] is None:
        return None
    cursor.execute("SELECT string_agg(version_num, ' ') FROM alembic_version")  # one, unless another program has changed it
    return cursor.fetchone()[0]


def migrate(uri):
    # A separate folder: a file left in the shared one would belong to root and block the server.
    with tempfile.TemporaryDirectory() as scratch:
        upgrade = subprocess.run(
            [sys.executable, "-m", "mlflow", "db", "upgrade", uri],
            env={**os.environ, "TMPDIR": scratch, "HOME": scratch},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if upgrade.returncode == 0:
        return
    if "Can't locate revision" in upgrade.stdout:
        fail("the schema of the database is newer than this MLflow: deploy the newer image again, "
             "or restore the database to a time before its upgrade; docs/upgrades.md says how")
    for line in upgrade.stdout.splitlines():
        say(line)
    reasons = [line for line in upgrade.stdout.splitlines() if "Error" in line] or upgrade.stdout.splitlines() or ["no output"]
    fail(f"mlflow db upgrade exited with {upgrade.returncode}: {reasons[-1]}")


def admit(connection, uri, user):
    """Allows the server IAM authentication, and to read and write rows. The user of this connection still owns the tables."""
    cursor = connection.cursor()
    cursor.execute("SELECT pg_has_role(oid, 'rds_iam', 'MEMBER') FROM pg_roles WHERE rolname = %s", (user,))
    found = cursor.fetchone()
    if found is None:
        # The creator of a role remains one of its members, and RDS accepts no password from members of rds_iam. So a temporary role creates it.
        cursor.execute(f"""
            CREATE ROLE {user}_maker CREATEROLE;
            GRANT {user}_maker TO CURRENT_USER WITH SET TRUE;
            SET ROLE {user}_maker;
            CREATE ROLE {user} LOGIN;
            RESET ROLE;
            DROP ROLE {user}_maker""")
        say(f"database user {user} created")
    cursor.execute(f"""
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}""")
    if found == (True,):
        return
    cursor.execute(f"GRANT rds_iam TO {user}")
    try:
        psycopg2.connect(libpq_uri(uri)).close()
    except psycopg2.OperationalError as error:
        cursor.execute(f"REVOKE rds_iam FROM {user}")
        fail(f"the password was rejected after {user} was allowed IAM authentication, so this was undone: {error}")
    say(f"{user} may use IAM authentication")


def index_runs(connection):
    """Creates our indexes on the runs, unless MLflow has its own. The task also works without them."""
    cursor = connection.cursor()
    try:
        cursor.execute("""
            SELECT relname, indisvalid, indpred IS NULL AND pg_get_indexdef(indexrelid, 1, true) = 'experiment_id'
            FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = to_regclass('runs')""")
        found = cursor.fetchall()
        wanted = {} if any(valid and helps and not name.startswith(OURS) for name, valid, helps in found) else RUNS_INDEXES
        ours = {name: valid for name, valid, _ in found if name.startswith(OURS)}
        cursor.execute(f"SET statement_timeout = '{INDEX_PATIENCE}s'")
        for name, valid in ours.items():
            if name not in wanted or not valid:  # an interrupted build leaves an invalid one
                cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                say(f"index {name} dropped")
        for name, columns in wanted.items():
            if not ours.get(name):
                cursor.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON runs ({columns})")
                say(f"index {name} created")
    except psycopg2.Error as error:
        say(f"continues without an index of the runs, the next start tries again: {error}")


def main():
    # The first process of a container ignores SIGTERM unless it has a handler.
    signal.signal(signal.SIGTERM, lambda *_: fail("stopped by SIGTERM"))
    uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
    open_volume(os.environ["PREPARE_WRITABLE_DIRECTORY"])
    write_machine_identities(os.environ["PREPARE_MACHINE_IDENTITIES"], os.environ["PREPARE_MACHINE_IDENTITIES_FILE"])
    programs = os.environ["PREPARE_PROGRAMS_DIRECTORY"]
    write_programs(sys.argv[1], programs)
    leave = os.environ.get("PREPARE_SCHEMA") == "leave"
    look = None if leave else look_at_mlflow(programs)
    fetch_ca_bundle(os.environ["PREPARE_CA_BUNDLE_URL"], os.environ["PGSSLROOTCERT"])
    connection = connect(uri)
    if leave:
        say("database is ready, schema left unchanged")
        return
    latest = latest_revision(look)  # before it migrates
    hold_lock(connection)
    before = revision(connection)
    if before == latest:  # then MLflow's command, which needs seconds to start, would do nothing
        say(f"schema is up to date, revision {before}")
    else:
        say(f"upgrading the schema, revision {before or 'none yet'}")
        migrate(uri)
        say(f"schema upgraded to revision {revision(connection)}")
    user = os.environ.get("PREPARE_IAM_USER")
    if user:
        admit(connection, uri, user)
    index_runs(connection)  # last, because it changes the session and may lose it


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001: any error is one line, which the alarm counts
        fail(f"{type(error).__name__}: {error}")
