"""Permanently removes what people deleted long enough ago: objects of the bucket, then rows of the database.

It needs only the MLflow image. It logs in one line what it removed and exits with 0, or logs
the reason in one line with FAILED and exits with 1. Its settings:
  MLFLOW_BACKEND_STORE_URI, PG...  the database, as the server gets it
  MLFLOW_ARTIFACTS_DESTINATION     the bucket and folder, as the server gets it
  CLEAN_UP_OLDER_THAN              seconds since the deletion

`mlflow gc` (3.17.2) is not used for three reasons: it drops the row of a run even if S3 refused to delete the objects; it drops a deleted
experiment together with a restored run in it; and it removes files that a registered model still needs.
"""

import os
import re
import signal
import sys
import time

import boto3
import psycopg2

BATCH = 1000  # keys: the most that S3 deletes and lists in one call

# Experiments deleted long enough ago, without a live run or a run deleted later. The age of a run counts from its own deletion.
GONE_EXPERIMENTS = """
    SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'deleted' AND last_update_time <= %(until)s AND NOT EXISTS (
        SELECT 1 FROM runs WHERE runs.experiment_id = experiments.experiment_id
        AND (runs.lifecycle_stage <> 'deleted' OR runs.deleted_time IS NULL OR runs.deleted_time > %(until)s))"""
RUNS = """
    SELECT run_uuid, artifact_uri, '/' || run_uuid || '/artifacts' FROM runs
    WHERE lifecycle_stage = 'deleted' AND deleted_time <= %(until)s ORDER BY deleted_time, run_uuid"""
# Models of a deleted experiment are removed, too. MLflow does not mark them as deleted.
MODELS = f"""
    SELECT model_id, artifact_location, '/models/' || model_id || '/artifacts' FROM logged_models
    WHERE (lifecycle_stage = 'deleted' AND last_updated_timestamp_ms <= %(until)s) OR experiment_id IN ({GONE_EXPERIMENTS})
    ORDER BY last_updated_timestamp_ms, model_id"""
# Removed last, after runs and models. An experiment that is not empty stays, and so does the first one, which clients expect to exist.
EXPERIMENTS = f"""
    SELECT experiment_id FROM experiments WHERE experiment_id IN ({GONE_EXPERIMENTS}) AND experiment_id <> 0
    AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.experiment_id = experiments.experiment_id)
    AND NOT EXISTS (SELECT 1 FROM logged_models WHERE logged_models.experiment_id = experiments.experiment_id)
    ORDER BY experiment_id"""
REGISTERED = """
    SELECT 1 FROM model_versions WHERE current_stage IS DISTINCT FROM 'Deleted_Internal'
    AND position(%s in concat(source, ' ', storage_location)) > 0 LIMIT 1"""


def say(message):
    print(f"clean-up {' '.join(str(message).split())}", flush=True)


def fail(message):
    say(f"FAILED: {message}")
    sys.exit(1)


class Bucket:
    def __init__(self, destination):
        self.name, _, self.folder = destination.removeprefix("s3://").partition("/")
        self.client = boto3.client("s3")
        self.objects = 0
        self.bytes = 0

    def folder_of(self, uri, ending):
        """The folder that holds only this run or model; None if its files are not where the server puts them."""
        own = re.fullmatch(r"mlflow-artifacts:/([^/?#][^?#]*)", uri or "")
        return f"{self.folder}/{own[1]}/" if own and f"/{own[1]}".endswith(ending) else None

    def remove(self, folder):
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=folder, PaginationConfig={"PageSize": BATCH}):
            found = page.get("Contents", [])
            if not found:
                continue
            keys = [{"Key": entry["Key"]} for entry in found]
            answer = self.client.delete_objects(Bucket=self.name, Delete={"Objects": keys, "Quiet": True})
            for error in answer.get("Errors", []):  # the call itself still succeeds
                raise RuntimeError(f"S3 did not delete {error['Key']}: {error['Code']}")
            self.objects += len(found)
            self.bytes += sum(entry["Size"] for entry in found)


class CleanUp:
    def __init__(self, uri, destination, seconds):
        self.uri = uri
        self.until = {"until": int((time.time() - seconds) * 1000)}
        self.connection = psycopg2.connect(uri.replace("postgresql+psycopg2:", "postgresql:", 1), application_name="clean-up")
        self.connection.autocommit = True
        with self.connection.cursor() as cursor:
            cursor.execute("SET idle_session_timeout = 0")  # deleting the files of one run may take longer than the server allows a session to idle
        self.bucket = Bucket(destination)
        self.kept = {"a registered model needs": 0, "have their files elsewhere": 0}

    def rows(self, query, values):
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def store(self):
        """MLflow's own store, which knows all tables. It would migrate an older schema, so that case is excluded first."""
        from mlflow.store.db.utils import _get_latest_schema_revision
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        found = self.rows("SELECT version_num FROM alembic_version", ()) if self.rows("SELECT to_regclass('alembic_version')", ())[0][0] else []
        if found != [(_get_latest_schema_revision(),)]:
            raise RuntimeError(f"the schema of the database, {found or 'none'}, is not that of this MLflow: wait until the deployment of the service has ended, then run this again")
        return SqlAlchemyStore(self.uri, "mlflow-artifacts:/")

    def remove(self, query, drop):
        removed = 0
        for identifier, uri, ending in self.rows(query, self.until):
            if self.rows(REGISTERED, (identifier,)):
                self.kept["a registered model needs"] += 1
                continue
            folder = self.bucket.folder_of(uri, ending)
            if folder is None:
                self.kept["have their files elsewhere"] += 1
                continue
            if not self.rows(f"SELECT 1 FROM ({query}) AS still (id, uri, ending) WHERE id = %(id)s", {**self.until, "id": identifier}):
                continue  # restored since the query
            self.bucket.remove(folder)
            drop(identifier)
            removed += 1
        return removed

    def run(self):
        store = self.store()
        runs = self.remove(RUNS, store._hard_delete_run)
        models = self.remove(MODELS, store._hard_delete_logged_model)
        experiments = [row[0] for row in self.rows(EXPERIMENTS, self.until)]
        for experiment in experiments:
            store._hard_delete_experiment(str(experiment))
        kept = "".join(f"; kept {count} that {why}" for why, count in self.kept.items() if count)
        say(f"removed {runs} runs, {models} models, {len(experiments)} experiments, {self.bucket.objects} objects of {self.bucket.bytes} bytes{kept}")


def main():
    # The first process of a container ignores SIGTERM unless it has a handler.
    signal.signal(signal.SIGTERM, lambda *_: fail("stopped by SIGTERM"))
    try:
        CleanUp(os.environ["MLFLOW_BACKEND_STORE_URI"], os.environ["MLFLOW_ARTIFACTS_DESTINATION"], float(os.environ["CLEAN_UP_OLDER_THAN"])).run()
    except Exception as error:  # any error is one line, for the log and its alarm
        fail(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
