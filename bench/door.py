"""Prints the processor time of a request in microseconds as JSON, for an application that does nothing: without the inner door, with it, and with `access`."""

import asyncio
import json
import os
import sys
import time

sys.path.insert(0, sys.argv[1])
os.environ.update(
    MLFLOW_SERVER_CORS_ALLOWED_ORIGINS="https://mlflow.example.com",
    SECURE_MLFLOW_API_LIMIT_MIB="32",
    SECURE_MLFLOW_TRACES_LIMIT_MIB="64",
    SECURE_MLFLOW_MACHINE_IDENTITIES_FILE=os.devnull,
    SECURE_MLFLOW_ADDRESSES_ONLY="true",
    SECURE_MLFLOW_SIGN_OUT_URL="https://mlflow.example.com/oauth2/sign_out",
)

from secure_mlflow import access, door, gateway  # noqa: E402: the path above is needed

REQUESTS = int(sys.argv[2])
ROUNDS = 5
# The headers of oauth2-proxy for a person in 60 groups.
HEADERS = [
    (b"host", b"127.0.0.1:5000"), (b"user-agent", b"mlflow-python-client/3.17.2"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip, deflate, zstd"), (b"authorization", b"Bearer " + b"x" * 1200),
    (b"cookie", b"x" * 1500), (b"x-forwarded-email", b"someone@example.com"), (b"x-forwarded-user", b"1234"), (b"x-forwarded-preferred-username", b"someone"), (b"x-forwarded-for", b"203.0.113.1, 10.0.0.1"),
    (b"x-forwarded-groups", b",".join(b"group-%d" % number for number in range(60))), (b"x-forwarded-proto", b"https"), (b"x-forwarded-port", b"443"),
]


POLICY = access.Policy.read(json.dumps({
    "everybody": "reader",
    "machines": "editor",
    "lists": [
        {"level": "admin", "groups": ["admins"], "names": [f"admin-{number}@example.com" for number in range(20)]},
        {"level": "editor", "groups": ["group-30"], "names": [f"editor-{number}@example.com" for number in range(20)]},
    ],
}))


async def nothing(scope, receive, send):
    if scope["method"] == "POST":
        await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def microseconds(app, scope, body):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        pass

    began = time.process_time()
    for _ in range(REQUESTS):
        await app(scope, receive, send)
    return (time.process_time() - began) / REQUESTS * 1e6


def measure(method, body):
    length = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())] if body else []
    scope = {"type": "http", "method": method, "path": "/api/2.0/mlflow/runs/log-batch", "query_string": b"", "headers": HEADERS + length}
    settings = door.Settings.read()
    apps = [nothing, *(door.AsgiDoor(gateway.Gateway(nothing), each) for each in (settings, settings._replace(policy=POLICY)))]
    rounds = [[asyncio.run(microseconds(app, scope, body)) for app in apps] for _ in range(ROUNDS)]
    return [min(column) for column in zip(*rounds)]


print(json.dumps({name: measure(method, body) for name, method, body in [("GET", "GET", b""), ("POST of 2 KiB", "POST", b"x" * 2048), ("POST of 1 MiB", "POST", b"x" * 2**20)]}))
