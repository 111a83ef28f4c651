"""Data that must survive an upgrade. `store.py make` stores it with one MLflow; `store.py read` checks it with another and adds more.

Prints a line of JSON after each step. The URL and the bearer token of the server come from the environment, as for any client.
"""

import hashlib
import json
import os
import sys
import tempfile

import mlflow
from mlflow import MlflowClient

EXPERIMENT = "before the upgrade"
MODEL = "doubler"
PARAMS = {"alpha": "0.1", "note": "ä" * 100}
LOSSES = [1 / (step + 1) for step in range(10)]
TAGS = {"team": "a", "mlflow.note.content": "made before the upgrade"}
BINARY = hashlib.shake_256(b"weights").digest(1024 * 1024)
CODE = """
import mlflow

class Doubler(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        return [2 * value for value in model_input]

mlflow.models.set_model(Doubler())
"""

client = MlflowClient()


def done(step):
    print(json.dumps({"step": step, "mlflow": mlflow.__version__}), flush=True)


def make():
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name="first", tags=TAGS) as run, tempfile.TemporaryDirectory() as scratch:
        log_values(run)
        log_files(scratch)
        code = os.path.join(scratch, "model.py")
        with open(code, "w", encoding="utf-8") as file:
            file.write(CODE)
        model = mlflow.pyfunc.log_model(name="model", python_model=code, pip_requirements=[])
    done("experiment, run, files and model")
    version = mlflow.register_model(model.model_uri, MODEL, tags={"checked": "yes"})
    client.set_registered_model_alias(MODEL, "champion", version.version)
    done("model version and alias")
    with mlflow.start_span("question") as span:
        span.set_inputs({"text": "ä"})
    done("trace")
    client.delete_run(client.create_run(run.info.experiment_id, run_name="thrown away").info.run_id)
    done("deleted run")


def log_values(run):
    mlflow.log_params(PARAMS)
    for step, loss in enumerate(LOSSES):
        client.log_metric(run.info.run_id, "loss", loss, step=step)


def log_files(scratch):
    path = os.path.join(scratch, "weights.bin")
    with open(path, "wb") as file:
        file.write(BINARY)
    mlflow.log_artifact(path, artifact_path="data")
    mlflow.log_text("ä", "notes/note.txt")


def read():
    experiment = client.get_experiment_by_name(EXPERIMENT)
    [run] = client.search_runs([experiment.experiment_id], "tags.team = 'a'")
    assert run.data.params == PARAMS, run.data.params
    assert TAGS.items() <= run.data.tags.items(), run.data.tags
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [metric.value for metric in sorted(history, key=lambda metric: metric.step)] == LOSSES, history
    assert run.info.run_name == "first" and run.info.status == "FINISHED", run.info
    done("parameters, metrics and tags")

    with open(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="data/weights.bin"), "rb") as file:
        assert file.read() == BINARY
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/notes/note.txt") == "ä"
    done("files, byte for byte")

    version = client.get_model_version_by_alias(MODEL, "champion")
    assert (version.version, version.run_id, version.tags) == ("1", run.info.run_id, {"checked": "yes"}), version
    assert list(mlflow.pyfunc.load_model(f"models:/{MODEL}@champion").predict([1, 2])) == [2, 4]
    done("model version and alias, and the model predicts")

    [trace] = mlflow.search_traces(locations=[experiment.experiment_id], return_type="list")
    assert trace.data.spans[0].inputs == {"text": "ä"}, trace
    done("trace")

    deleted = client.search_runs([experiment.experiment_id], run_view_type=mlflow.entities.ViewType.DELETED_ONLY)
    assert [each.info.run_name for each in deleted] == ["thrown away"], deleted
    client.restore_run(deleted[0].info.run_id)
    done("deleted run, and restore it")

    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name="second") as second, tempfile.TemporaryDirectory() as scratch:
        log_values(second)
        log_files(scratch)
    with mlflow.start_run(run_id=run.info.run_id):  # continues the old run
        mlflow.log_metric("loss", 0.05, step=len(LOSSES))
        mlflow.log_text("new", "notes/new.txt")
    again = mlflow.register_model(version.source, MODEL)
    assert again.version == "2", again
    assert len(client.search_runs([experiment.experiment_id])) == 3
    done("write: a new run, the old run, a new version of the model")


{"make": make, "read": read}[sys.argv[1]]()
