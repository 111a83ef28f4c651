"""Real HTTP servers on 127.0.0.1: a token endpoint, a tracking server that checks tokens, and a stranger."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Stub:
    """A server whose behaviour is the function ``answer``; it keeps what it was asked."""

    answer: Callable[[Request], tuple[int, dict[str, str], Any]]
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def start(self, tls: ssl.SSLContext | None = None) -> Stub:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                stub.requests.append(request)
                status, headers, content = stub.answer(request)
                raw = (
                    content
                    if isinstance(content, bytes)
                    else content.encode()
                    if isinstance(content, str)
                    else json.dumps(content).encode()
                )
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def b64(data: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")


class Issuer:
    """Issues tokens by a separate clock, which may be far from that of the client."""

    def __init__(self) -> None:
        self.skew = 0
        self.life = 3
        self.exact = False
        self.minted: list[str] = []

    def now(self) -> float:
        return time.time() + self.skew

    def mint(self, life: float | None = None, audience: str = "any") -> str:
        iat = self.now() if self.exact else int(self.now())  # real issuers write whole seconds
        claims = {"iat": iat, "exp": iat + (life or self.life), "aud": audience, "jti": len(self.minted)}
        self.minted.append(f"{b64({'alg': 'RS256'})}.{b64(claims)}.c2lnbmF0dXJl")
        return self.minted[-1]

    def accepts(self, header: str) -> bool:
        token = header.removeprefix("Bearer ")
        if token not in self.minted:
            return False
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return self.now() < claims["exp"]


@dataclass
class World:
    issuer: Issuer
    token: Stub
    tracking: Stub
    stranger: Stub
    refused: list[Request]


ID, SECRET = "client/ one:ü", "very+secret/%&:=é"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    issuer, refused = Issuer(), []

    def give_token(_: Request) -> tuple[int, dict[str, str], Any]:
        return 200, {}, {"access_token": issuer.mint(), "token_type": "Bearer"}

    def track(request: Request) -> tuple[int, dict[str, str], Any]:
        if not issuer.accepts(request.headers.get("authorization", "")):
            refused.append(request)
            return 401, {}, {}
        if request.path == "/version":
            return 200, {"Content-Type": "text/plain"}, "3.17.2"
        if request.path == "/elsewhere":
            return 307, {"Location": stranger.url + "/landed"}, {}
        if request.path == "/here":
            return 307, {"Location": "/landed"}, {}
        if "/mpu/create" in request.path:
            parts = [{"url": f"{stranger.url}/bucket?X-Amz-Signature=1", "part_number": 1, "headers": {}}]
            return 200, {}, {"upload_id": "1", "credentials": parts}
        return 200, {}, {}

    token, tracking = Stub(give_token).start(), Stub(track).start()
    stranger = Stub(lambda _: (200, {"ETag": "1"}, {})).start()
    for name in (
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "AWS_PROFILE",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "MLFLOW_TRACKING_URI": tracking.url + "/",
        "MLFLOW_TRACKING_AUTH": "client-credentials",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_SECURE_TRACKING_TOKEN_URL": token.url + "/token",
        "MLFLOW_SECURE_TRACKING_CLIENT_ID": ID,
        "MLFLOW_SECURE_TRACKING_CLIENT_SECRET": SECRET,
        "MLFLOW_SECURE_TRACKING_SCOPE": "mlflow/use read",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    yield World(issuer, token, tracking, stranger, refused)
    for stub in (token, tracking, stranger):
        stub.stop()
