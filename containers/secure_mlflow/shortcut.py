"""The short way to MLflow's handlers.

Most of MLflow's API is in Flask, behind FastAPI: a request passes nine layers on its way there, and each piece of its answer changes threads. Flask
checks host and headers itself, so here a request goes to it directly, on one thread. Requests that FastAPI serves skip two layers only.
"""

import argparse
import asyncio
import contextvars
import copy
import os
import shlex
from concurrent.futures import ThreadPoolExecutor

import anyio.to_thread
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount

from .compression import JSON, compress_answer

LAYERS = ["CORSBlockingMiddleware", "CORSMiddleware", "HostValidationMiddleware", "SecurityHeadersMiddleware",
          "gateway_timing_middleware", "workspace_context_middleware"]
WORKSPACE = b"x-mlflow-workspace"
GATEWAY = "/gateway/"
THREADS = 8  # of each process; more would wait for Python's lock, and each holds database connections
PATIENT_THREADS = 40  # as many as MLflow has in all
WAITING = ("artifact", "gateway", "promptlab", "webhooks")  # in paths of requests that wait for S3 and other servers, and must not block the threads of others
BLOCK = 256 * 1024  # bytes of an answer that are collected before they are sent


def difference(fastapi_app, flask_app):
    """How MLflow's layers differ from what this module expects; None if they do not."""
    layers = sorted(getattr(layer.kwargs.get("dispatch"), "__name__", layer.cls.__name__) for layer in fastapi_app.user_middleware)
    if layers != LAYERS:
        return f"its layers are {', '.join(layers)}"
    mounts = [route for route in fastapi_app.routes if isinstance(route, Mount)]
    if mounts != fastapi_app.routes[-1:] or mounts[0].path != "" or getattr(mounts[0].app, "app", None) is not flask_app:
        return "Flask is not where all other requests go"
    if MLFLOW_ENABLE_WORKSPACES.get():
        return "workspaces are on"
    return None


class Shortcut:
    def __init__(self, fastapi_app, flask_app, build_environ):
        self.fastapi_app = fastapi_app
        # The two skipped layers do nothing without workspaces and calls of the AI gateway, and each needs a task and a queue.
        self.lean_app = copy.copy(fastapi_app)
        self.lean_app.user_middleware = [layer for layer in fastapi_app.user_middleware if layer.cls is not BaseHTTPMiddleware]
        self.lean_app.middleware_stack = None
        # Flask's paths with the same beginning reach it through FastAPI, as without this module.
        self.native = tuple({path.split("{")[0] for path in fastapi_app.openapi()["paths"]})
        fastapi_app.openapi_schema = None
        self.flask = Threads(flask_app, build_environ, threads_of(os.environ.get("MLFLOW_GUNICORN_OPTS", "")))
        self.patient_flask = Threads(flask_app, build_environ, PATIENT_THREADS)

    async def __call__(self, scope, receive, send):
        await self.app_for(scope)(scope, receive, send)

    def app_for(self, scope):
        if scope["type"] != "http" or scope["method"] == "OPTIONS" or any(name == WORKSPACE for name, _ in scope["headers"]):
            return self.fastapi_app
        path = scope["path"]
        if path.startswith(self.native):
            return self.fastapi_app if path.startswith(GATEWAY) else self.lean_app
        return self.patient_flask if any(word in path for word in WAITING) else self.flask


def threads_of(gunicorn_options):
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=THREADS)
    return parser.parse_known_args(shlex.split(gunicorn_options))[0].threads


class Threads:
    """Runs a WSGI application on a number of threads. A thread is free again as soon as the answer is ready, however slowly the client reads it."""

    def __init__(self, app, build_environ, threads):
        self.app, self.build_environ, self.executor = app, build_environ, ThreadPoolExecutor(threads, "flask")

    async def __call__(self, scope, receive, send):
        body = await whole(receive)
        if body is None:
            return
        context = contextvars.copy_context()  # with the caller
        answer = WsgiAnswer(self.app, self.build_environ(scope, body), scope["headers"])
        try:
            await asyncio.get_running_loop().run_in_executor(self.executor, context.run, answer.begin)
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
            while not answer.ended:
                await send({"type": "http.response.body", "body": answer.block, "more_body": True})
                await anyio.to_thread.run_sync(answer.go_on)  # asyncio's few threads wait for S3
            await send({"type": "http.response.body", "body": answer.block})
        finally:
            answer.close()


async def whole(receive):
    """The body of a request; None if the client has left."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class WsgiAnswer:
    """The answer of a WSGI application, in blocks."""

    def __init__(self, app, environ, request_headers):
        self.app, self.environ, self.request_headers = app, environ, request_headers
        self.status, self.headers, self.chunks, self.rest = None, None, None, None
        self.block, self.ended, self.one_piece = b"", False, False

    def start(self, status, headers, exc_info=None):
        self.status = int(status.split(" ", 1)[0])
        self.headers = [(name.strip().lower().encode("latin-1"), value.strip().encode("latin-1")) for name, value in headers]
        # JSON of the API, but not a file, which may be large and requested in parts.
        self.one_piece = JSON in self.headers and all(name != b"content-disposition" for name, _ in self.headers)

    def begin(self):
        self.chunks = self.app(self.environ, self.start)
        self.rest = iter(self.chunks)
        self.go_on()
        if self.one_piece:
            self.headers, self.block = compress_answer(self.request_headers, self.headers, self.block)

    def go_on(self):
        parts, size = [], 0
        for chunk in self.rest:
            parts.append(chunk)
            size += len(chunk)
            if size >= BLOCK and not self.one_piece:
                break
        else:
            self.ended = True
        self.block = b"".join(parts)

    def close(self):
        if hasattr(self.chunks, "close"):
            self.chunks.close()
