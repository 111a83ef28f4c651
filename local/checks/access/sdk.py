"""Logs a run as an editor, reads it as a reader and tries to write to it. Prints what came of it as JSON. Arguments: the token of each."""

import json
import os
import sys

import mlflow

editor, reader = sys.argv[1:]
os.environ["MLFLOW_TRACKING_TOKEN"] = editor
mlflow.set_experiment("levels, by the SDK")
with mlflow.start_run() as run:
    mlflow.log_metric("metric", 1)
    mlflow.log_text("hello", "text.txt")

os.environ["MLFLOW_TRACKING_TOKEN"] = reader
found = mlflow.MlflowClient().get_run(run.info.run_id)
read = {"metric": found.data.metrics["metric"], "text": mlflow.artifacts.load_text(f"{found.info.artifact_uri}/text.txt")}
try:
    mlflow.MlflowClient().log_metric(run.info.run_id, "metric", 2)
    refused = "nothing"
except mlflow.exceptions.RestException as error:
    refused = str(error)
print(json.dumps({"user": found.data.tags["mlflow.user"], "read": read, "refused": refused}))
