"""The doctor against a server with each fault: its sentence, its time, and no token in it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from typing import Any

import pytest
import trustme
from conftest import Request, Stub, b64

from mlflow_secure_tracking import _doctor
from mlflow_secure_tracking._cli import main

EMAIL = "ann@example.com"


def token(**changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": "https://id.example.com",
        "aud": "tools",
        "sub": "1",
        "email": EMAIL,
        "iat": now,
        "exp": now + 3600,
    } | changes
    return f"{b64({'alg': 'RS256'})}.{b64(claims)}.c2lnbmF0dXJl"


class Server:
    """A tracking server that does all that the doctor asks for, until a test changes an answer."""

    def __init__(self, ca: trustme.CA) -> None:
        self.storage = Stub(lambda _: (200, {}, self.file)).start()
        self.token, self.permission, self.file = token(), "EDIT", b""
        self.changed: dict[str, Callable[[Request], tuple[int, dict[str, str], Any]]] = {}
        self.headers: dict[str, str] = {}
        self.stub = Stub(self.answer).start(context_of(ca.issue_cert("localhost")))
        self.url = self.stub.url.replace("127.0.0.1", "localhost")

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any]:
        path = request.path.partition("?")[0]
        name = next((name for name in self.changed if path.startswith(name)), None)
        if name:
            return self.changed[name](request)
        status, headers, body = self.usual(request, path)
        return status, self.headers | headers, body

    def usual(self, request: Request, path: str) -> tuple[int, dict[str, str], Any]:
        if path == "/ping":
            return 200, {}, "OK"
        if path == "/oauth2/start":
            return 302, {"Location": "https://id.example.com/authorize"}, ""
        if path == "/.well-known/mlflow-secure-tracking":
            return 200, {}, {"issuer": "https://id.example.com", "client_id": "tools", "scope": "openid"}
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return 403, {}, ""
        if path == "/api/2.0/mlflow-artifacts/artifacts/1/2/artifacts/doctor.bin":
            self.file = request.body or self.file
            return 200, {}, self.file
        return (
            200,
            {},
            {
                "/oauth2/userinfo": {"email": EMAIL, "user": "1"},
                "/ajax-api/3.0/mlflow/users/current/permissions": {"permissions": [{"permission": self.permission}]},
                "/api/2.0/mlflow/experiments/search": {"experiments": []},
                "/api/2.0/mlflow/experiments/get-by-name": {"experiment": {"experiment_id": "1"}},
                "/version": "3.17.2",
                "/api/3.0/mlflow/server-info": {"multipart_downloads_enabled": True, "multipart_uploads_enabled": True},
                "/api/2.0/mlflow/runs/create": {
                    "run": {"info": {"run_id": "2", "artifact_uri": "mlflow-artifacts:/1/2/artifacts"}}
                },
                "/api/2.0/mlflow-artifacts/presigned/1/2/artifacts/doctor.bin": {"url": f"{self.storage.url}/x?signature=1"},
            }.get(path, {}),
        )


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(ca: trustme.CA, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(ca)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("AUTH", "USERNAME", "PASSWORD", "INSECURE_TLS"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", server.token)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    yield server
    server.stub.stop()
    server.storage.stop()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str, failures: int = 1) -> str:
        started = time.monotonic()
        assert main(["doctor", *arguments]) == failures
        assert time.monotonic() - started < 30
        printed = capsys.readouterr().out
        assert not re.search(r"eyJ[\w-]+\.[\w-]+", printed), "it prints a token"
        return printed

    return run


def test_all_is_well(server: Server, run: Callable[..., str]) -> None:
    printed = run("--write", failures=0)
    assert [line.partition(":")[0] for line in printed.splitlines()[:-2]] == [
        f"✓ {name}" for name, _, _ in (*_doctor._STEPS, *_doctor._WRITES)
    ]
    assert "✓ access: signed in as ann@example.com\n✓ level: editor\n" in printed
    assert printed.endswith("\n0 failed\n")
    assert server.stub.requests[-1].path == "/api/2.0/mlflow/runs/delete"


def test_reads_only_unless_told_to_write(server: Server, run: Callable[..., str]) -> None:
    run(failures=0)
    assert {request.method for request in server.stub.requests} == {"GET"}


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("", "✗ address: no URL is given\n    export MLFLOW_TRACKING_URI=https://mlflow.example.com"),
        (
            "mlflow.example.com",
            "✗ address: mlflow.example.com is not a web address\n    export MLFLOW_TRACKING_URI=https://mlflow.example.com\n",
        ),
        (
            "http://mlflow.example.com",
            "✗ address: http://mlflow.example.com has no TLS, so the bearer token would be sent in plain text\n    export MLFLOW_TRACKING_URI=https://mlflow.example.com\n",
        ),
        (
            "https://mlflow.example.com/mlflow",
            "✗ address: https://mlflow.example.com/mlflow has a path, and MLflow's client would send its requests below that path\n    export MLFLOW_TRACKING_URI=https://mlflow.example.com\n",
        ),
        ("https://mlflow.invalid", "✗ name: mlflow.invalid has no address ("),
        (
            "https://localhost:9",
            "✗ connection: port 9 refuses (Connection refused)\n    Connect to the company's network (VPN)",
        ),
    ],
)
def test_the_way_to_the_server(
    server: Server, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, url: str, line: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    printed = run()
    assert line in printed
    assert "- not checked, because an earlier check failed: " in printed


def test_a_server_that_is_silent(server: Server, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor, "_DEADLINE", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://localhost:{silent.getsockname()[1]}")
        printed = run()
    assert "✗ certificate: not finished after 3 s\n    The network or a proxy in it drops packets" in printed


def other_host(ca: trustme.CA) -> ssl.SSLContext:
    return context_of(ca.issue_cert("other.example.com"))


def ends_soon(ca: trustme.CA) -> ssl.SSLContext:
    return context_of(ca.issue_cert("localhost", not_after=datetime.now(timezone.utc) + timedelta(days=3, hours=1)))


def expired(ca: trustme.CA) -> ssl.SSLContext:
    then = datetime.now(timezone.utc)
    return context_of(ca.issue_cert("localhost", not_before=then - timedelta(days=9), not_after=then - timedelta(days=1)))


def stranger(_: trustme.CA) -> ssl.SSLContext:
    return context_of(trustme.CA(organization_name="Proxy of the company").issue_cert("localhost"))


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (
            other_host,
            r"✗ certificate: it is the certificate of another host \(.*\)\n    Check the URL; if it is correct, tell the administrators of the server\n",
        ),
        (expired, r"✗ certificate: it is not valid now \(.*expired.*\)\n    Check the date of this machine;"),
        (
            stranger,
            r"✗ certificate: it is not signed by an authority in .*ca\.pem \(.*\)\. It is signed by .*O=Proxy of the company.*\n    If a proxy of the company opens TLS, export REQUESTS_CA_BUNDLE=",
        ),
    ],
)
def test_certificates(
    server: Server,
    run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    ca: trustme.CA,
    context: Callable[[trustme.CA], ssl.SSLContext],
    line: str,
) -> None:
    stub = Stub(server.answer).start(context(ca))
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", stub.url.replace("127.0.0.1", "localhost"))
        assert re.search(line, run())
        assert all("authorization" not in request.headers for request in stub.requests)
    finally:
        stub.stop()


def test_a_check_of_certificates_that_is_off(
    server: Server, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    assert (
        "✗ certificate: MLFLOW_TRACKING_INSECURE_TLS=true disables the check of the certificate: others in the network could read the bearer token\n    unset MLFLOW_TRACKING_INSECURE_TLS\n"
        in run()
    )


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"TOKEN": ""},
            "✗ token: there is none\n    mlflow-secure-tracking login {url}, then: export MLFLOW_TRACKING_AUTH=sign-in\n",
        ),
        ({"TOKEN": "glpat-abc"}, "✗ token: the value of MLFLOW_TRACKING_TOKEN is not a signed token (JWT)\n"),
        (
            {"TOKEN": token(exp=int(time.time()) - 36_000)},
            "✗ token: the token of MLFLOW_TRACKING_TOKEN, for ann@example.com, expired 60",
        ),
        (
            {"AUTH": "browser"},
            "✗ token: MLFLOW_TRACKING_AUTH=browser is not one of aws-role, client-credentials, sign-in\n    export MLFLOW_TRACKING_AUTH=sign-in\n",
        ),
        (
            {"TOKEN": token(aud="other")},
            "✗ access: the server rejects the token (HTTP 403): its audience is wrong, the server does not trust its issuer, or this account is not allowed. Issuer https://id.example.com, audience other, for ann@example.com\n    If that is not you or not this server: mlflow-secure-tracking login {url}, ",
        ),
        (
            {"TOKEN": token(email_verified=False)},
            "✗ access: the server rejects the token (HTTP 403): the address ann@example.com is not verified at https://id.example.com. ",
        ),
        (
            {"USERNAME": "x", "PASSWORD": token(aud="other")},
            "✓ token: from MLFLOW_TRACKING_PASSWORD, which takes precedence over MLFLOW_TRACKING_TOKEN, for ann@example.com, ",
        ),
    ],
)
def test_tokens(
    server: Server, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    assert line.format(url=server.url) in run()


def test_a_certificate_that_expires_soon_does_not_end_the_other_checks(
    server: Server, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, ca: trustme.CA
) -> None:
    stub = Stub(server.answer).start(ends_soon(ca))
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", stub.url.replace("127.0.0.1", "localhost"))
        printed = run()
    finally:
        stub.stop()
    assert (
        "✗ expiry of the certificate: it expires in 3 days\n    Tell the administrators of the server: imported certificates are not renewed automatically\n"
        in printed
    )
    assert "✓ server: " in printed


def test_a_server_without_a_client_for_tools(
    server: Server, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.changed["/.well-known/"] = lambda _: (403, {}, "sign in")
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    printed = run()
    assert "✓ sign-in of tools: not set up on this server\n" in printed
    assert (
        "✗ token: there is none\n    This server does not support `mlflow-secure-tracking login`. With Google: export MLFLOW_TRACKING_TOKEN=$(gcloud"
        in printed
    )


@pytest.mark.parametrize(
    ("path", "status", "line"),
    [
        ("/ping", 503, "✗ server: GET /ping: HTTP 503\n    No task of the server is running: tell its administrators\n"),
        (
            "/ping",
            502,
            "✗ server: GET /ping: HTTP 502\n    The server does not answer the load balancer: tell its administrators\n",
        ),
        ("/ping", 404, "✗ server: GET /ping: HTTP 404\n    Is this the URL of an MLflow server behind oauth2-proxy? "),
        ("/oauth2/start", 200, "✗ sign-in: GET /oauth2/start: HTTP 200, not a redirect to the sign-in provider\n"),
        (
            "/ajax-api/3.0/mlflow/users/current/permissions",
            403,
            "✗ level: none (no level)\n    Ask an administrator of the server for a level\n",
        ),
        (
            "/api/2.0/mlflow/experiments/search",
            500,
            "✗ reading: GET /api/2.0/mlflow/experiments/search?max_results=1: HTTP 500, no level\n    Send this line to the administrators of the server: its logs have details\n",
        ),
    ],
)
def test_answers(server: Server, run: Callable[..., str], path: str, status: int, line: str) -> None:
    server.changed[path] = lambda _: (status, {}, "no level")
    assert line in run()


def test_a_clock_that_is_wrong(server: Server, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_doctor, "time", types.SimpleNamespace(time=lambda: time.time() + 600))
    assert re.search(
        r"✗ clock: this machine is (599|600|601) s ahead of the server, and tokens are valid only for a time\n    Set the clock of this machine",
        run(),
    )


def test_an_answer_that_nobody_expects(server: Server, run: Callable[..., str]) -> None:
    server.changed["/oauth2/userinfo"] = lambda _: (200, {}, "<html>")
    assert "✗ access: this is not the answer of an MLflow server behind oauth2-proxy\n    Send this line to the administrators of the server" in run()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (
            "",
            "✗ MLFLOW_TRACKING_URI: it is not set, so programs write to this machine\n    export MLFLOW_TRACKING_URI={url}\n",
        ),
        (
            "sqlite:///x.db",
            "✗ MLFLOW_TRACKING_URI: it is sqlite:///x.db, so programs use that server\n    export MLFLOW_TRACKING_URI={url}\n",
        ),
    ],
)
def test_a_variable_that_leads_elsewhere(
    server: Server, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, value: str, line: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    printed = run(server.url)
    assert line.format(url=server.url) in printed
    assert "✓ reading: " in printed


def test_another_server(server: Server, run: Callable[..., str]) -> None:
    server.changed["/"] = lambda _: (200, {"Content-Type": "text/html"}, "<html>welcome")
    assert "✗ server: GET /ping: the answer is not from oauth2-proxy\n    Check the URL: " in run()


def test_obeys_no_terminal_escapes(server: Server, run: Callable[..., str]) -> None:
    server.changed["/api/2.0/mlflow/experiments/search"] = lambda _: (500, {}, "\x1b]0;owned\x07")
    printed = run()
    assert "?]0;owned?" in printed and "\x1b" not in printed


def test_an_output_that_knows_no_check_mark(server: Server) -> None:
    command = [sys.executable, "-c", "from mlflow_secure_tracking._cli import main; raise SystemExit(main(['doctor']))"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"}, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"? address: https://localhost:" in done.stdout


def test_a_reader_who_writes(server: Server, run: Callable[..., str]) -> None:
    server.permission = "READ"
    assert "✗ run: readers may not write\n    Ask an administrator of the server to make you an editor\n" in run("--write")


def test_a_storage_that_cannot_be_reached(server: Server, run: Callable[..., str]) -> None:
    server.changed["/api/2.0/mlflow-artifacts/presigned/"] = lambda _: (
        200,
        {},
        {"url": "https://localhost:9/x?signature=1"},
    )
    printed = run("--write")
    assert "✗ files from S3: this machine does not reach https://localhost:9 (" in printed
    assert (
        "    export MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD=false, or have the network opened\n"
        in printed
    )


@pytest.mark.parametrize(
    ("version", "line"),
    [
        (
            "2.22.0",
            "✗ versions: the server has MLflow 3.17.2, but this Python has mlflow 2.22.0, another major version\n    pip install mlflow==3.17.2\n",
        ),
        (None, "✗ versions: the server has MLflow 3.17.2, but this Python has no MLflow\n    pip install mlflow==3.17.2\n"),
    ],
)
def test_versions(
    server: Server, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, version: str | None, line: str
) -> None:
    def installed(name: str) -> str:
        if version is None or name != "mlflow":
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)
    assert line in run()
