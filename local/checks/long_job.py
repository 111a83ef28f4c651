"""A job that outlives its tokens: logs for the given seconds and reads the data back. The package named in MLFLOW_TRACKING_AUTH renews the tokens. Prints how much it has logged."""

import sys
import time

import mlflow
from mlflow import MlflowClient

mlflow.set_experiment("long jobs")
end = time.monotonic() + float(sys.argv[1])
step = 0
with mlflow.start_run() as run:
    while time.monotonic() < end:
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
        step += 1
        time.sleep(0.1)
    mlflow.log_text("done", "result.txt")
assert len(MlflowClient().get_metric_history(run.info.run_id, "loss")) == step, "some steps are missing"
assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/result.txt") == "done"
print(f"{step} steps")
