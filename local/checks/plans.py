"""Searches an experiment in the orders of MLflow and of its page, and prints a line for each with the indexes that the database uses: `python plans.py <database URI>`."""

import json
import re
import sys

import sqlalchemy
from mlflow import MlflowClient

SEARCHES = {"its own": {}, "by start": {"order_by": ["attributes.start_time DESC"]}}

client = MlflowClient(sys.argv[1])
engine = client._tracking_client.store.engine
plans: list[str] = []


@sqlalchemy.event.listens_for(engine, "before_cursor_execute")
def explain(connection, cursor, statement, parameters, *_):
    if "FROM runs" in statement and "LIMIT" in statement:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        plans.append(json.dumps(cursor.fetchone()[0]))


for title, order in SEARCHES.items():
    plans.clear()
    client.search_runs(["1"], max_results=100, **order)
    (plan,) = plans
    print(json.dumps({"search": title, "indexes": re.findall(r'"Index Name": "(\w+)"', plan)}))
