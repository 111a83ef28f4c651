"""Logs a run as an editor and reads it as a reader. Both try a call that needs the next higher level. Prints the results as JSON. Arguments: the bearer tokens of all three."""

import json
import os
import sys

import mlflow

reader, editor, admin = sys.argv[1:]


def refusal(call, *arguments):
    try:
        call(*arguments)
        return "nothing"
    except mlflow.exceptions.RestException as error:
        return str(error)


os.environ["MLFLOW_TRACKING_TOKEN"] = editor
experiment = mlflow.set_experiment("levels with the SDK").experiment_id
with mlflow.start_run() as run:
    mlflow.log_metric("metric", 1)
    mlflow.log_text("hello", "text.txt")
kept = refusal(mlflow.MlflowClient().delete_experiment, experiment)

os.environ["MLFLOW_TRACKING_TOKEN"] = reader
found = mlflow.MlflowClient().get_run(run.info.run_id)
read = {"metric": found.data.metrics["metric"], "text": mlflow.artifacts.load_text(f"{found.info.artifact_uri}/text.txt")}
refused = refusal(mlflow.MlflowClient().log_metric, run.info.run_id, "metric", 2)

os.environ["MLFLOW_TRACKING_TOKEN"] = admin
mlflow.MlflowClient().delete_experiment(experiment)
deleted = mlflow.MlflowClient().get_experiment(experiment).lifecycle_stage
print(json.dumps({"user": found.data.tags["mlflow.user"], "read": read, "refused": refused, "kept": kept, "deleted": deleted}))
