"""Logs artifacts and gets them back with MLflow's client. Prints a line of JSON for each step, with its error, if any, and its duration."""

import json
import os
import tempfile
import time

import mlflow
from mlflow.environment_variables import MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE as BORDER

FILES = {"notes.txt": b"eleven byte", "parts.bin": os.urandom(BORDER.get())}


def attempt(step, do):
    started = time.monotonic()
    try:
        do()
        error = None
    except Exception as caught:
        error = str(caught)
    print(json.dumps({"step": step, "seconds": round(time.monotonic() - started, 1), "error": error}), flush=True)


def upload(name):
    path = os.path.join(scratch, name)
    with open(path, "wb") as file:
        file.write(FILES[name])
    mlflow.log_artifact(path)


def download(name):
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name, dst_path=os.path.join(scratch, "back"))
    with open(path, "rb") as file:
        assert file.read() == FILES[name], f"{name} differs after the download"


mlflow.set_experiment("transfer")
with mlflow.start_run() as run, tempfile.TemporaryDirectory() as scratch:
    for way in (upload, download):
        for name in FILES:
            attempt(f"{way.__name__} {name}", lambda: way(name))
    print(json.dumps({"experimentId": run.info.experiment_id, "runId": run.info.run_id}))
