"""Levels: who has which, and what needs which."""

import json

import pytest

from mlflow.entities.mcp_server import MCPStatus
from mlflow.exceptions import MlflowException
from secure_mlflow import account
from secure_mlflow.access import Caller, Level, Policy, caller, keep_versions, needed, reason_against

ROLE = "arn:aws:iam::123456789012:role/Trainer"
POLICY = Policy.read(json.dumps({
    "everybody": "none",
    "machines": "editor",
    "lists": [
        {"level": "admin", "groups": ["ml-admins"], "names": ["Ada@example.com"]},
        {"level": "editor", "groups": ["data-science"], "names": ["grace@example.com"]},
        {"level": "reader", "groups": ["everyone", "ml-admins"], "names": ["ada@example.com", ROLE]},
    ],
}))


class TestLevelOfACaller:
    @pytest.mark.parametrize("name, groups, level", [
        ("ada@example.com", [], Level.ADMIN),  # the highest of two lists
        ("ADA@EXAMPLE.COM", [], Level.ADMIN),
        ("grace@example.com", [], Level.EDITOR),
        ("grace@example.com", ["everyone"], Level.EDITOR),  # a group lowers no level
        ("grace@example.com", ["x", "ml-admins"], Level.ADMIN),
        ("mary@example.com", [], Level.NONE),
        ("mary@example.com", ["everyone"], Level.READER),
        ("mary@example.com", ["Everyone", "ml", "admins", ""], Level.NONE),
    ])
    def test_of_a_person_is_the_highest_that_applies(self, name, groups, level):
        assert POLICY.level_of(name, False, groups) is level

    @pytest.mark.parametrize("everybody", list(Level))
    def test_of_a_person_is_at_least_that_of_everybody(self, everybody):
        assert POLICY._replace(everybody=everybody).level_of("mary@example.com", False, []) is everybody
        assert POLICY._replace(everybody=everybody).level_of("ada@example.com", False, []) is Level.ADMIN

    def test_of_a_machine_is_its_own_or_that_of_machines(self):
        assert POLICY.level_of(ROLE.lower(), True, []) is Level.READER
        assert POLICY.level_of("client-id", True, []) is Level.EDITOR
        assert POLICY._replace(everybody=Level.ADMIN).level_of(ROLE, True, []) is Level.READER  # of everybody else
        assert POLICY._replace(machines=Level.NONE).level_of("client-id", True, ["data-science"]) is Level.EDITOR

    def test_an_empty_name_is_nobodys(self):
        policy = Policy.read(json.dumps({"everybody": "none", "machines": "none", "lists": [{"level": "admin", "groups": [""], "names": [""]}]}))
        assert policy.level_of("ada@example.com", False, [""]) is Level.NONE

    def test_a_letter_of_another_alphabet_is_another(self):
        assert POLICY.level_of("ada@example.com".replace("a", "\u0430", 1), False, []) is Level.NONE
        policy = Policy.read(json.dumps({"everybody": "none", "machines": "none", "lists": [{"level": "admin", "groups": [], "names": ["Ken@example.com", "Zoë@example.com"]}]}))
        assert policy.level_of("\u212aen@example.com", False, []) is Level.NONE  # the sign for kelvin, a "k" in lower case
        assert policy.level_of("KEN@example.com", False, []) is policy.level_of("Zoë@example.com", False, []) is Level.ADMIN

    def test_without_access_everybody_is_an_admin(self):
        assert Policy.read(None).level_of("x", False, []) is Policy.read(None).level_of("x", True, []) is Level.ADMIN


class TestLevelOfARequest:
    @pytest.mark.parametrize("api", ["/api/2.0/mlflow", "/ajax-api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/3.0/mlflow"])
    @pytest.mark.parametrize("method, call, level", [
        ("GET", "/experiments/get", Level.READER),
        ("POST", "/runs/search", Level.READER),
        ("POST", "/runs/create", Level.EDITOR),
        ("DELETE", "/registered-models/delete", Level.ADMIN),
        ("GET", "/webhooks", Level.ADMIN),
        ("POST", "/gateway/secrets/create", Level.ADMIN),
        ("POST", "/mcp-servers/a/b/versions", Level.EDITOR),
        ("DELETE", "/mcp-servers/a", Level.ADMIN),
        ("POST", "/something/new", Level.ADMIN),
    ])
    def test_is_the_same_at_each_address_of_a_call(self, api, method, call, level):
        assert needed(method, api + call) is level

    @pytest.mark.parametrize("method, path, level", [
        ("POST", "/gateway/openai/v1/chat/completions", Level.EDITOR),
        ("POST", "/v1/traces", Level.EDITOR),
        ("POST", "/graphql", Level.READER),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/x/artifacts/a b\n", Level.EDITOR),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/1/x", Level.ADMIN),
        ("GET", "/", Level.READER),
        ("HEAD", "/ajax-api/2.0/mlflow/webhooks", Level.ADMIN),
        ("OPTIONS", "/api/2.0/mlflow/runs/create", Level.READER),
        # What looks like something on a list.
        ("POST", "/runs/search", Level.ADMIN),
        ("POST", "/api/2.0/mlflow/graphql", Level.ADMIN),
        ("POST", "/api/2.0/mlflow/gateway/x", Level.ADMIN),
        ("POST", "/gateway/keys/create", Level.ADMIN),
        ("POST", "/api/3.0/mlflow/mcp-servers/a/purge", Level.ADMIN),
        ("POST", "//api/2.0/mlflow/runs/create", Level.ADMIN),
        ("POST", "/api/2.0/mlflow/runs/create/", Level.ADMIN),
        ("POST", "/api/2.0/mlflow/runs/search\n", Level.ADMIN),
        ("POST", "/api/2.0/mlflow/runs/Search", Level.ADMIN),
        ("POST", "/api/4.0/mlflow/runs/create", Level.ADMIN),
        ("POST", "/api/2.0/mlflow/logged-models/a/b/params", Level.ADMIN),
        ("DELETE", "/api/2.0/mlflow/traces/x/y/tags", Level.ADMIN),
        ("PROPFIND", "/api/2.0/mlflow/runs/search", Level.ADMIN),
        ("post", "/api/2.0/mlflow/runs/search", Level.ADMIN),
    ])
    def test_of_what_is_on_no_list_is_the_highest(self, method, path, level):
        assert needed(method, path) is level


@pytest.mark.parametrize("level, method, path, reason", [
    (Level.NONE, "GET", "/", "ada@example.com has no access here: ask the administrators of this server for a level"),
    (Level.READER, "POST", "/v1/traces", "ada@example.com is a reader here, and POST /v1/traces needs an editor: ask the administrators of this server"),
    (Level.EDITOR, "POST", "/x", "ada@example.com is an editor here, and POST /x needs an admin: ask the administrators of this server"),
    (Level.READER, "GET", "/", None),
    (Level.EDITOR, "POST", "/v1/traces", None),
    (Level.ADMIN, "POST", "/x", None),
])
def test_a_refusal_says_who_what_and_which_level(level, method, path, reason):
    assert reason_against(Caller("ada@example.com", level), method, path) == reason


class TestAccount:
    """As MLflow's page asks for it."""

    @pytest.mark.parametrize("level, permission", [(Level.READER, "READ"), (Level.EDITOR, "EDIT"), (Level.ADMIN, "MANAGE")])
    def test_says_who_is_signed_in_and_with_which_level(self, level, permission):
        caller = Caller("ada@example.com", level)
        current, people, permissions, roles = (json.loads(account.answer(path, caller, POLICY)) for path in account.ANSWERS)
        assert [person["username"] for person in people["users"]] == ["ada@example.com", "grace@example.com"]  # whom the lists name
        assert (current["user"]["username"], current["user"]["is_admin"]) == ("ada@example.com", False)
        assert {grant["permission"] for grant in permissions["permissions"]} == {permission}
        assert [role["name"] for role in roles["roles"]] == [level.name.lower()]

    def test_other_paths_are_mlflows(self):
        assert account.answer("/ajax-api/2.0/mlflow/users/create", Caller("ada@example.com", Level.ADMIN), POLICY) is None


class Store:
    def update_mcp_server_version(self, name, version, **changes):
        return changes


keep_versions(Store)


@pytest.mark.parametrize("level", [Level.EDITOR, Level.ADMIN, None])
def test_a_change_of_status_deletes_a_version_for_admins_alone(level):
    token = caller.set(level and Caller("ada@example.com", level))
    try:
        assert Store().update_mcp_server_version("x", "1", status=MCPStatus.ACTIVE) == {"status": "active"}
        if level is Level.EDITOR:
            with pytest.raises(MlflowException, match="is an editor here, and deleting a version needs an admin") as caught:
                Store().update_mcp_server_version("x", "1", status=MCPStatus.DELETED)
            assert caught.value.error_code == "PERMISSION_DENIED"
        else:
            assert Store().update_mcp_server_version("x", "1", status=MCPStatus.DELETED) == {"status": "deleted"}
    finally:
        caller.reset(token)
