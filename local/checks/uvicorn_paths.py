"""Prints the paths that MLflow serves under uvicorn and not under gunicorn, as JSON."""

import json
import re

from mlflow.server import app as flask_app
from mlflow.server.fastapi_app import app

under_gunicorn = {re.sub(r"<.*?>", "*", rule.rule) for rule in flask_app.url_map.iter_rules()}
print(json.dumps([path for path in app.openapi()["paths"] if re.sub(r"{.*?}", "*", path) not in under_gunicorn]))
