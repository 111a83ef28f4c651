"""What MLflow's page asks for to show who is signed in. Its own accounts, which are not used here, answer the same."""

import json

from .access import Level

GRANTS = {Level.READER: "READ", Level.EDITOR: "EDIT", Level.ADMIN: "MANAGE"}
KINDS = ("experiment", "registered_model", "prompt", "scorer", "gateway_endpoint", "gateway_secret", "gateway_model_definition", "mcp_server")


def user(caller, _):
    # `is_basic_auth` gives the account menu its "Logout", `is_admin` would give it pages that manage accounts.
    return {"user": {"id": 0, "username": caller.name, "is_admin": False}, "is_basic_auth": True}


def grants(caller):
    return [{"role_id": int(caller.level), "role_name": str(caller.level), "workspace": "default",
             "resource_type": kind, "resource_pattern": "*", "permission": GRANTS[caller.level]} for kind in KINDS]


def permissions(caller, _):
    return {"is_admin": False, "permissions": grants(caller)}


def people(caller, policy):
    """Whom a review can be assigned to: MLflow has no list of people, so these are the caller and whom `access` names."""
    names = sorted({caller.name, *policy.people()})
    return {"users": [{"id": number, "username": name, "is_admin": False, "roles": []} for number, name in enumerate(names)]}


def roles(caller, _):
    role = {"id": int(caller.level), "name": str(caller.level), "workspace": "default", "description": None, "permissions": grants(caller)}
    return {"roles": [role]}


ANSWERS = {
    "/ajax-api/2.0/mlflow/users/current": user,
    "/ajax-api/2.0/mlflow/users/list": people,
    "/ajax-api/3.0/mlflow/users/current/permissions": permissions,
    "/ajax-api/3.0/mlflow/users/roles/list": roles,
}


def answer(path, caller, policy):
    """As JSON; None for other paths."""
    return json.dumps(ANSWERS[path](caller, policy)).encode() if path in ANSWERS else None
