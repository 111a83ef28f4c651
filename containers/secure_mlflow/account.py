"""Answers with which MLflow's page shows who is signed in. They have the form of MLflow's own accounts, which are not used here."""

import json

from .access import Level

GRANTS = {Level.READER: "READ", Level.EDITOR: "EDIT", Level.ADMIN: "MANAGE"}
KINDS = ("experiment", "registered_model", "prompt", "scorer", "gateway_endpoint", "gateway_secret", "gateway_model_definition", "mcp_server")


def user(caller, _):
    # `is_basic_auth` adds "Logout" to the account menu, `is_admin` would add pages that manage accounts.
    return {"user": {"id": 0, "username": caller.name, "is_admin": False}, "is_basic_auth": True}


def grants(caller):
    return [{"role_id": int(caller.level), "role_name": str(caller.level), "workspace": "default",
             "resource_type": kind, "resource_pattern": "*", "permission": GRANTS[caller.level]} for kind in KINDS]


def permissions(caller, _):
    return {"is_admin": False, "permissions": grants(caller)}


def people(caller, policy):
    """People to whom a review can be assigned: the caller and the people in `access`, because MLflow has no list."""
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
