"""Eight training jobs that log with MLflow's own client at the same time, for the number of seconds in the argument. Prints what was written and what failed."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from mlflow import MlflowClient

JOBS = 8
client = MlflowClient()
end = time.monotonic() + float(sys.argv[1])


def job(number):
    run = client.create_run("0", run_name=f"steady {number}").info.run_id
    written, failures, slowest = 0, [], 0.0
    while time.monotonic() < end:
        started = time.monotonic()
        try:
            client.log_metric(run, "loss", 1 / (written + 1), step=written)
            written += 1
        except Exception as error:  # noqa: BLE001: all errors are counted
            failures.append(str(error))
        slowest = max(slowest, time.monotonic() - started)
    stored = [metric.step for metric in client.get_metric_history(run, "loss")]
    if sorted(stored) != list(range(written)):
        failures.append(f"{written} written, {len(stored)} stored")
    return written, failures, slowest


with ThreadPoolExecutor(JOBS) as pool:
    results = list(pool.map(job, range(JOBS)))
print(json.dumps({
    "written": sum(written for written, _, _ in results),
    "failures": [failure for _, failures, _ in results for failure in failures],
    "slowest": round(max(slowest for _, _, slowest in results), 2),
}))
