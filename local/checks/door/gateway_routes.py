"""Prints the routes of MLflow's AI gateway, as JSON."""

import json

from mlflow.server.gateway_api import gateway_router

print(json.dumps([f"{method} {route.path}" for route in gateway_router.routes for method in sorted(route.methods)]))
