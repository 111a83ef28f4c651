"""Runs first in every task, once, as root: volumes, machine identities, CA bundle, schema. Exits 0, or says why not in one line and exits 1.

It needs nothing but the MLflow image. Its one argument is it and the other programs of the task, packed. Its settings:
  MLFLOW_BACKEND_STORE_URI, PG...  the database, as the server itself gets it
  PREPARE_CA_BUNDLE_URL            where to get the certificates of the database's CA
  PGSSLROOTCERT                    where to put them
  PREPARE_WRITABLE_DIRECTORY       a volume that the server, which is not root, must be able to write to
  PREPARE_MACHINE_IDENTITIES       subjects of tokens that oauth2-proxy is to let in, one a line
  PREPARE_MACHINE_IDENTITIES_FILE  where it looks for them
  PREPARE_PROGRAMS_DIRECTORY       where the others go: the inner door, the pages that oauth2-proxy shows, what the task runs beside
  PREPARE_IAM_USER                 where the server signs in by IAM: the database user it signs in as
  PREPARE_SCHEMA                   "leave": wait for the database and change nothing in it; for tasks beside the service, which alone migrates and serves
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

# Whether the inner door knows this MLflow, and which revision of the schema MLflow asks for. Without the collector, which finds nothing to free, the imports take a fifth less.
LOOK = """
import gc
gc.disable()
import secure_mlflow
from mlflow.store.db.utils import _get_latest_schema_revision
print(_get_latest_schema_revision())
"""
LOCK = 0x6D6C666C6F77  # "mlflow"; advisory locks are per database
DOWNLOAD_ATTEMPTS = 5
DATABASE_PATIENCE = 300  # seconds; a paused Aurora wakes in about 15, one asleep for days in more
LOCK_PATIENCE = 3600  # seconds; another task's migration of a large store
INDEX_PATIENCE = 60  # seconds; a million runs take a few
OURS = "secure_mlflow_"  # how the names of our indexes begin
# MLflow reads all runs ever stored to find those of an experiment. One for each order that it asks for: its own, and by start, as its page does.
RUNS_INDEXES = {
    f"{OURS}runs_by_experiment": "experiment_id, start_time DESC, run_uuid",
    f"{OURS}runs_by_start": "experiment_id, (CASE WHEN start_time IS NULL THEN 1 ELSE 0 END), start_time DESC, run_uuid",
}
# What the database says while it is not ready yet. Any other refusal will not heal by waiting.
NOT_READY = ("the database system is", "Connection refused", "timeout expired", "could not translate host name",
             "server closed the connection", "Network is unreachable", "No route to host",
             "EOF detected", "Connection reset by peer", "remaining connection slots")


def say(message):
    print(f"prepare {' '.join(str(message).split())}", flush=True)


def fail(message):
    say(f"FAILED: {message}")
    sys.exit(1)


def open_volume(directory):
    # An empty Fargate volume belongs to root. Its owner may chmod without any capability; chown would need one.
    os.chmod(directory, 0o1777)


def write_machine_identities(identities, path):
    with open(path, "w", encoding="utf-8") as file:
        # Quoted, because the name of a role may hold a comma.
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([line] for line in identities.splitlines())
    os.chmod(path, 0o444)
    say(f"machine identities written: {len(identities.splitlines())}")


def write_programs(packed, directory):
    """The inner door is a package among them, which MLflow finds as if it were installed."""
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
    """Starts the look; `latest_revision` waits for the answer."""
    return subprocess.Popen(
        [sys.executable, "-c", LOOK],
        env={**os.environ, "PYTHONPATH": directory},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def latest_revision(look):
    """Of the schema, as this MLflow makes it. Ends where the inner door does not know this MLflow."""
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
            ssl.create_default_context(cadata=bundle)  # a truncated or foreign answer raises here
            break
        except (OSError, ValueError) as error:
            if attempt == DOWNLOAD_ATTEMPTS:
                fail(f"cannot get the CA bundle of the database from {url} (does the task have a route to it?): {error}")
            say(f"CA bundle not there yet, trying again: {error}")
            time.sleep(2**attempt)
    with open(path, "w", encoding="ascii") as file:
        file.write(bundle)
    os.chmod(path, 0o444)
    say(f"CA bundle written, {bundle.count('BEGIN CERTIFICATE')} certificates")


def libpq_uri(uri):
    return uri.replace("postgresql+psycopg2:", "postgresql:", 1)  # libpq knows no SQLAlchemy drivers


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
    """One task migrates at a time. The lock lives as long as this session, so the server must not end it for idleness."""
    cursor = connection.cursor()
    cursor.execute("SET idle_session_timeout = 0")
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        # Polled, so that SIGTERM is heard while waiting, and no statement that waits stands in the way of the other's indexes.
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
        if cursor.fetchone()[0]:
            return
        if time.monotonic() > deadline:
            fail(f"another task has held the migration lock for {LOCK_PATIENCE} s")
        say("another task is migrating, waiting for it")
        time.sleep(2)


def revision(connection):
    """Of the schema, as MLflow names it; None where there is none yet."""
    cursor = connection.cursor()
    cursor.execute("SELECT to_regclass('alembic_version')")
    if cursor.fetchone()[0] is None:
        return None
    cursor.execute("SELECT string_agg(version_num, ' ') FROM alembic_version")  # one, unless somebody else has been at it
    return cursor.fetchone()[0]


def migrate(uri):
    # A folder of its own: a file left in the shared one would belong to root and stand in the server's way.
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
    """Lets the server sign in by IAM, and do with the tables what it does: read and write rows. They stay with the user of this connection."""
    cursor = connection.cursor()
    cursor.execute("SELECT pg_has_role(oid, 'rds_iam', 'MEMBER') FROM pg_roles WHERE rolname = %s", (user,))
    found = cursor.fetchone()
    if found is None:
        # Who makes a role is a member of it for good, and RDS takes no password from members of rds_iam. So one makes it that is dropped.
        cursor.execute(f"""
            CREATE ROLE {user}_maker CREATEROLE;
            GRANT {user}_maker TO CURRENT_USER WITH SET TRUE;
            SET ROLE {user}_maker;
            CREATE ROLE {user} LOGIN;
            RESET ROLE;
            DROP ROLE {user}_maker""")
        say(f"database user {user} made")
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
        fail(f"with {user} allowed to sign in by IAM the password was no longer taken, so that was undone: {error}")
    say(f"{user} may sign in by IAM")


def index_runs(connection):
    """Our indexes on the runs, until MLflow brings one of its own. Nothing depends on them, so the task goes on without."""
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
            if name not in wanted or not valid:  # an interrupted build leaves one that is not
                cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
                say(f"index {name} dropped")
        for name, columns in wanted.items():
            if not ours.get(name):
                cursor.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON runs ({columns})")
                say(f"index {name} made")
    except psycopg2.Error as error:
        say(f"goes on without an index of the runs, the next start tries again: {error}")


def main():
    # The first process of a container ignores SIGTERM unless it asks for it.
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
        say("database is awake, schema left as it is")
        return
    latest = latest_revision(look)  # before it migrates
    hold_lock(connection)
    before = revision(connection)
    if before == latest:  # then MLflow's command, which takes seconds to import, would do nothing
        say(f"schema is up to date, revision {before}")
    else:
        say(f"upgrading the schema, revision {before or 'none yet'}")
        migrate(uri)
        say(f"schema upgraded to revision {revision(connection)}")
    user = os.environ.get("PREPARE_IAM_USER")
    if user:
        admit(connection, uri, user)
    index_runs(connection)  # last: it changes the session, and may lose it


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001: whatever it is, one line says so, and the alarm counts it
        fail(f"{type(error).__name__}: {error}")
