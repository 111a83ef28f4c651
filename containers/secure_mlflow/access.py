"""Levels: the level of a caller, and the level that a request needs.

A write that is on no list below needs the highest level. So a write that a newer MLflow adds is closed until it has been reviewed.
A group can only raise a level. So a client gains nothing if it makes the proxy drop the header with its groups (`Connection: X-Forwarded-Groups`).
"""

import contextvars
import json
import re
from enum import IntEnum
from typing import NamedTuple


class Level(IntEnum):
    NONE = 0
    READER = 1
    EDITOR = 2
    ADMIN = 3

    @classmethod
    def named(cls, name):
        return cls[name.upper()]

    def __str__(self):
        return self.name.lower()


class Caller(NamedTuple):
    name: str  # e-mail address, or subject of a machine's bearer token
    level: Level


# The caller of the current request. None outside of requests, and for the health check.
caller = contextvars.ContextVar("caller", default=None)


def folded(name):
    """Ignores the case of ASCII names only: some letters of other alphabets become Latin letters in lower case."""
    return name.lower() if name.isascii() else name


class Policy(NamedTuple):
    everybody: Level = Level.ADMIN  # people who are on no list
    machines: Level = Level.ADMIN  # machines without an own level
    names: dict = {}  # in lower case
    groups: dict = {}

    @classmethod
    def read(cls, text):
        """`access` of the construct, as JSON. Without it all callers are admins."""
        if text is None:
            return cls()
        access = json.loads(text)
        policy = cls(Level.named(access["everybody"]), Level.named(access["machines"]), {}, {})
        for entry in access["lists"]:
            level = Level.named(entry["level"])
            for levels, members in (policy.names, map(folded, entry["names"])), (policy.groups, entry["groups"]):
                for member in filter(None, members):  # one that is only known at deployment may be empty
                    levels[member] = max(level, levels.get(member, Level.NONE))
        return policy

    def level_of(self, name, machine, groups):
        """The highest level that applies."""
        own = self.names.get(folded(name))
        rest = self.everybody if not machine else self.machines if own is None else Level.NONE
        return max(own or rest, rest, *(self.groups[group] for group in self.groups.keys() & groups))

    def people(self):
        """The people on the lists."""
        return [name for name in self.names if "@" in name]


API = re.compile(r"/(?:ajax-)?api/[23]\.0(?:/mlflow)?(?=/|-artifacts/)")  # the same call has several paths


def paths(text):
    """`*` stands for one part of a path, `**` for any number. A path outside MLflow's API begins with `:`."""
    # (?s): a decoded path may contain line breaks.
    return re.compile("(?s:" + "|".join(re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") for path in text.split()) + ")")


READS = {"GET", "HEAD", "OPTIONS"}
READS_OF_ADMINS = paths("/webhooks /webhooks/*")  # their URLs are secrets: each gives access to a channel
READS_BY_POST = paths("""
    /experiments/search /experiments/search-datasets /runs/search /logged-models/search /datasets/search /issues/search /prompt-optimization/jobs/search /jobs/search
    /traces/search /traces/batchGetInfos /traces/metrics /traces/calculate-filter-correlation
    /registered-models/get-latest-versions /artifacts/presigned-download-url /ui-telemetry :/graphql
""")
WRITES_OF_EDITORS = {
    "POST": paths("""
        /experiments/create /experiments/update /experiments/set-experiment-tag /experiments/delete-experiment-tag
        /runs/create /runs/create-promptlab-run /runs/update /runs/delete /runs/restore /runs/outputs /runs/set-tag /runs/delete-tag
        /runs/log-batch /runs/log-inputs /runs/log-metric /runs/log-model /runs/log-parameter
        /logged-models /logged-models/*/params
        /registered-models/create /registered-models/rename /registered-models/set-tag /registered-models/alias
        /model-versions/create /model-versions/set-tag /model-versions/transition-stage
        /traces /traces/*/assessments /traces/delete-traces /traces/link-prompts /traces/link-to-run :/v1/traces
        /datasets/create /datasets/*/add-experiments /datasets/*/remove-experiments /datasets/*/records
        /issues /issues/invoke /label-schemas/create /review-queues/create /review-queues/update /review-queues/delete /review-queues/get-or-create-user
        /review-queues/items/add /review-queues/items/remove /review-queues/items/set-status
        /scorers/register /scorer/invoke /genai/evaluate/invoke /prompt-optimization/jobs /prompt-optimization/jobs/*/cancel /demo/generate
        /mcp-servers /mcp-servers/**/aliases /mcp-servers/**/endpoints /mcp-servers/**/tags /mcp-servers/**/versions /mcp-servers/**/versions/**/tags
        :/gateway/*/mlflow/invocations :/gateway/proxy/*/** :/gateway/mlflow/v1/chat/completions :/gateway/typesafe/v1/systemone :/gateway/anthropic/v1/messages
        :/gateway/openai/v1/chat/completions :/gateway/openai/v1/embeddings :/gateway/openai/v1/responses :/gateway/openai/v1/responses/compact
        :/gateway/gemini/v1beta/models/*:generateContent :/gateway/gemini/v1beta/models/*:streamGenerateContent
        /upload-artifact /artifacts/presigned-upload-url -artifacts/mpu/create/** -artifacts/mpu/complete/** -artifacts/mpu/abort/**
    """),
    "PUT": paths("-artifacts/artifacts/** /scorers/online-config"),
    "PATCH": paths("""
        /logged-models/* /logged-models/*/tags /registered-models/update /model-versions/update
        /traces/* /traces/*/tags /traces/*/assessments/* /datasets/*/tags /issues/* /label-schemas/update /mcp-servers/** /jobs/cancel/*
    """),
    "DELETE": paths("""
        /logged-models/* /logged-models/*/tags/* /registered-models/alias /registered-models/delete-tag /model-versions/delete-tag
        /traces/*/tags /traces/*/assessments/* /datasets/* /datasets/*/records /datasets/*/tags/* /label-schemas/delete /scorers/delete /prompt-optimization/jobs/*
    """),
}


def needed(method, path):
    """The level that a request needs."""
    match = API.match(path)
    call = path[match.end():] if match else ":" + path
    if method in READS:
        return Level.ADMIN if READS_OF_ADMINS.fullmatch(call) else Level.READER
    if method == "POST" and READS_BY_POST.fullmatch(call):
        return Level.READER
    if method in WRITES_OF_EDITORS and WRITES_OF_EDITORS[method].fullmatch(call):
        return Level.EDITOR
    return Level.ADMIN


TITLES = {Level.NONE: "has no access", Level.READER: "is a reader", Level.EDITOR: "is an editor"}


def reason_against(caller, method, path):
    """Why this caller may not do this; None if it may."""
    if caller.level is Level.ADMIN:
        return None
    need = needed(method, path)
    if caller.level >= need:
        return None
    if caller.level is Level.NONE:
        return f"{caller.name} {TITLES[caller.level]} here: ask the administrators of this server for a level"
    return f"{caller.name} {TITLES[caller.level]} here, and {method} {path} needs {'an' if need > Level.READER else 'a'} {need}: ask the administrators of this server"


def keep_versions(store):
    """A change of its status also deletes a version of an MCP server permanently. Only the body of a request shows that."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

    update = store.update_mcp_server_version

    def update_mcp_server_version(self, name, version, **changes):
        who = caller.get()
        if changes.get("status") == "deleted" and who is not None and who.level < Level.ADMIN:
            raise MlflowException(f"{who.name} {TITLES[who.level]} here, and deleting a version needs an admin: ask the administrators of this server", PERMISSION_DENIED)
        return update(self, name, version, **changes)

    store.update_mcp_server_version = update_mcp_server_version
