"""A training job as a data scientist writes it, with MLflow's own client and its three settings in the environment.

Prints a line of JSON after each step.
"""

import filecmp
import json
import os
import tempfile
import time

import matplotlib
import matplotlib.pyplot
import mlflow
import numpy
from mlflow import MlflowClient
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

matplotlib.use("agg")  # needs no screen

NAME = os.environ.get("NAME_OF_A_CHECK", "diabetes")  # of the experiment and of the model
MIB = 1024 * 1024


def done(step, **measured):
    global started
    print(json.dumps({"step": step, "seconds": round(time.monotonic() - started, 1), **measured}), flush=True)
    started = time.monotonic()


def random_file(folder, name, mebibytes):
    path = os.path.join(folder, name)  # not a Path: MLflow 3.17.2 cannot upload one in parts
    with open(path, "wb") as file:
        file.write(os.urandom(mebibytes * MIB))
    return path


def fetch(artifact, folder, name):
    return mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=artifact, dst_path=os.path.join(folder, name))


def assert_same(one, other):
    assert filecmp.cmp(one, other, shallow=False), f"{one} differs after the download"


started = time.monotonic()
features, target = load_diabetes(return_X_y=True, as_frame=True)
train_x, test_x, train_y, test_y = train_test_split(features, target, random_state=7)
mlflow.set_experiment(NAME)
with mlflow.start_run() as run, tempfile.TemporaryDirectory() as scratch:
    params = {"alpha": 0.1, "solver": "cholesky"}
    model = Ridge(**params).fit(train_x, train_y)
    score = r2_score(test_y, model.predict(test_x))
    mlflow.log_params(params)
    mlflow.log_metric("r2", score)
    for step in range(10):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    done("log parameters and metrics")

    large = random_file(scratch, "large.bin", 200)
    mlflow.log_artifact(large)
    done("log an artifact of 200 MB")
    assert_same(large, fetch("large.bin", scratch, "by-url"))
    done("get it back from S3 with the signed URL from MLflow")
    os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] = "false"
    assert_same(large, fetch("large.bin", scratch, "by-server"))
    done("get it back through the server")

    os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = str(30 * MIB)  # 500 MB by default
    parts = random_file(scratch, "parts.bin", 30)
    mlflow.log_artifact(parts)
    assert_same(parts, fetch("parts.bin", scratch, "parts"))
    done("log an artifact in parts with signed URLs")

    figure, axes = matplotlib.pyplot.subplots()
    axes.scatter(test_y, model.predict(test_x))
    mlflow.log_figure(figure, "predictions.png")
    done("log a figure", image={"experimentId": run.info.experiment_id, "runId": run.info.run_id, "image": "predictions.png"})

    logged = mlflow.sklearn.log_model(model, name="model", input_example=test_x.head(2))
    done("log the model")

client = MlflowClient()
version = mlflow.register_model(logged.model_uri, NAME)
client.set_registered_model_alias(NAME, "champion", version.version)
done("register it")

loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
numpy.testing.assert_allclose(loaded.predict(test_x), model.predict(test_x))
done("load it back and predict")

stored = client.get_run(run.info.run_id)
assert stored.data.params == {name: str(value) for name, value in params.items()}, stored.data.params
assert stored.data.metrics["r2"] == score, stored.data.metrics
assert len(client.get_metric_history(run.info.run_id, "loss")) == 10
done("read parameters and metrics back")
