"""Which way a request goes, and what a WSGI application answers on it."""

import asyncio
import copy
import gzip
import json
import sys
import threading

import pytest
from mlflow.server import app as flask_app
from mlflow.server.fastapi_app import app as fastapi_app, build_environ

import secure_mlflow
from secure_mlflow import access, artifacts, database, shortcut

BROWSER = [(b"accept-encoding", b"gzip, deflate")]


def run(app, *, path="/x", method="GET", headers=(), parts=(b"",), gone=False):
    """The messages of the answer."""
    messages = [{"type": "http.request", "body": part, "more_body": gone or number < len(parts)} for number, part in enumerate(parts, 1)]
    sent = []

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "query_string": b"a=b", "headers": list(headers), "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 5000)}
    asyncio.run(app(scope, receive, send))
    return sent


def threads(app, number=2):
    return shortcut.Threads(app, build_environ, number)


class TestLayers:
    def test_of_the_pinned_mlflow_are_known(self):
        assert shortcut.difference(fastapi_app, flask_app) is None

    def test_one_more_is_noticed(self):
        class Added:
            pass

        changed = copy.copy(fastapi_app)
        changed.user_middleware = [*fastapi_app.user_middleware, type(fastapi_app.user_middleware[-1])(Added)]
        assert "Added" in shortcut.difference(changed, flask_app)

    def test_so_is_one_less(self):
        changed = copy.copy(fastapi_app)
        changed.user_middleware = fastapi_app.user_middleware[1:]
        assert "its layers are CORSBlockingMiddleware, " in shortcut.difference(changed, flask_app)

    def test_so_is_something_else_where_flask_was(self):
        assert shortcut.difference(fastapi_app, object()) == "Flask is not where all other requests go"

    def test_workspaces_need_what_is_left_out(self, monkeypatch):
        monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
        assert shortcut.difference(fastapi_app, flask_app) == "workspaces are on"

    def test_so_is_a_name_that_mlflow_no_longer_has(self, monkeypatch, capsys):
        monkeypatch.delattr("mlflow.store.artifact.artifact_repo.StreamUploadMixin")
        monkeypatch.delitem(sys.modules, "secure_mlflow.artifacts")
        monkeypatch.delattr(secure_mlflow, "artifacts")
        assert secure_mlflow.by_the_shortest_way(fastapi_app, flask_app, build_environ) is fastapi_app
        assert "cannot import name 'StreamUploadMixin'" in capsys.readouterr().out

    def test_then_mlflows_own_app_serves_and_one_line_says_so(self, monkeypatch, capsys):
        installed = []
        monkeypatch.setattr(database, "install", lambda: installed.append("database"))
        monkeypatch.setattr(artifacts, "install", lambda: installed.append("artifacts"))
        assert isinstance(secure_mlflow.by_the_shortest_way(fastapi_app, flask_app, build_environ), shortcut.Shortcut)
        assert installed == ["database", "artifacts"]
        assert capsys.readouterr().out == ""
        assert secure_mlflow.by_the_shortest_way(fastapi_app, None, build_environ) is fastapi_app
        assert installed == ["database", "artifacts"]
        assert capsys.readouterr().out == (
            f"secure-mlflow does not use the short way to the handlers of MLflow {secure_mlflow.mlflow.__version__}, so answers take longer: Flask is not where all other requests go\n")


class TestWays:
    app = shortcut.Shortcut(fastapi_app, flask_app, build_environ)

    @pytest.mark.parametrize("path, way", [
        ("/api/2.0/mlflow/runs/search", "flask"), ("/ajax-api/3.0/mlflow/traces/search", "flask"), ("/graphql", "flask"), ("/version", "flask"), ("/get-artifact", "patient_flask"),
        ("/static-files/x.js", "flask"), ("/", "flask"), ("/nothing", "flask"), 
        ("/api/2.0/mlflow-artifacts/mpu/create/x", "patient_flask"), ("/ajax-api/2.0/mlflow/artifacts/list", "patient_flask"), ("/ajax-api/3.0/mlflow/gateway/endpoints/list", "patient_flask"),
        ("/api/2.0/mlflow/webhooks/1/test", "patient_flask"), ("/ajax-api/3.0/mlflow/get-trace-artifact", "patient_flask"), ("/ajax-api/2.0/mlflow/runs/create-promptlab-run", "patient_flask"),
        ("/v1/traces", "lean_app"), ("/health", "lean_app"), ("/api/2.0/mlflow-artifacts/artifacts/a/b", "lean_app"), ("/ajax-api/2.0/mlflow-artifacts/artifacts/a", "lean_app"),
        ("/api/3.0/mlflow/mcp-servers", "lean_app"), ("/ajax-api/3.0/mlflow/mcp-servers/a/versions", "lean_app"), ("/ajax-api/3.0/jobs/1", "lean_app"), ("/api/3.0/mlflow/server-info", "lean_app"),
        ("/gateway/x/mlflow/invocations", "fastapi_app"),
    ])
    def test_lead_to_whom_serves_the_path(self, path, way):
        assert self.app.app_for({"type": "http", "method": "GET", "path": path, "headers": []}) is getattr(self.app, way)

    @pytest.mark.parametrize("change", [{"method": "OPTIONS"}, {"headers": [(b"x-mlflow-workspace", b"")]}, {"type": "lifespan", "path": "/gateway/"}])
    @pytest.mark.parametrize("path", ["/api/2.0/mlflow/runs/search", "/v1/traces"])
    def test_what_needs_all_layers_has_them(self, change, path):
        assert self.app.app_for({"type": "http", "method": "GET", "path": path, "headers": [], **change}) is fastapi_app

    def test_the_lifespan_is_mlflows(self):
        assert self.app.app_for({"type": "lifespan"}) is fastapi_app

    def test_only_the_two_layers_are_left_out_and_mlflows_app_keeps_them(self):
        assert [layer.cls.__name__ for layer in self.app.lean_app.user_middleware] == [
            "HostValidationMiddleware", "CORSMiddleware", "CORSBlockingMiddleware", "SecurityHeadersMiddleware"]
        assert len(fastapi_app.user_middleware) == 6

    @pytest.mark.parametrize("options, threads", [
        ("", 8), ("--preload --threads 4", 4), ("--threads=1", 1), ("--threads 4 --threads 5", 5), ("--timeout 9 --access-logfile 'a --threads 3'", 8), ("--threads-x 3", 8),
    ])
    def test_gunicorns_threads_are_those_of_flask(self, options, threads):
        assert shortcut.threads_of(options) == threads


class TestThreads:
    def test_the_application_gets_the_request_in_one_piece(self):
        def app(environ, start):
            body = environ["wsgi.input"].read()
            start("201 Created", [("Content-Type", " text/plain"), ("X-Many", "1"), ("X-Many", "2")])
            return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']} {environ['HTTP_X_ONE']} ".encode("latin-1"), body]

        start, body = run(threads(app), method="POST", path="/ü", headers=[(b"x-one", b"1")], parts=[b"ab", b"cd"])
        assert (start["status"], start["headers"]) == (201, [(b"content-type", b"text/plain"), (b"x-many", b"1"), (b"x-many", b"2")])
        assert body["body"] == "POST /ü?a=b 1 abcd".encode()
        assert not body.get("more_body")

    def test_it_knows_who_is_calling_on_its_thread(self):
        seen = []

        def app(environ, start):
            seen.append((access.caller.get(), threading.current_thread().name.startswith("flask")))
            start("200 OK", [])
            return []

        token = access.caller.set("ada")
        run(threads(app))
        access.caller.reset(token)
        run(threads(app))
        assert seen == [("ada", True), (None, True)]

    def test_one_whose_client_has_left_is_not_asked(self):
        assert run(threads(None), parts=[b"half"], gone=True) == []

    def test_a_long_answer_is_sent_in_blocks_and_closed(self):
        closed = []

        class Chunks:
            def __iter__(self):
                return iter([b"x" * 100_000] * 7)

            def close(self):
                closed.append(True)

        def app(environ, start):
            start("200 OK", [("Content-Type", "application/octet-stream")])
            return Chunks()

        _, *bodies = run(threads(app))
        assert [len(body["body"]) for body in bodies] == [300_000, 300_000, 100_000]
        assert [body.get("more_body", False) for body in bodies] == [True, True, False]
        assert closed == [True]

    def test_a_long_answer_does_not_wait_for_artifacts_of_others(self):
        sent, released = [], threading.Event()

        def app(environ, start):
            start("200 OK", [("Content-Type", "application/octet-stream")])
            return (b"x" * 100_000 for _ in range(7))

        async def receive():
            return {"type": "http.request"}

        async def send(message):
            sent.append(message)

        async def main():
            # What MLflow's routes of artifacts run while S3 does not answer.
            for _ in range(40):
                asyncio.get_running_loop().run_in_executor(None, released.wait, 20)
            scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/x", "query_string": b"", "headers": [], "server": ("127.0.0.1", 5000)}
            try:
                await asyncio.wait_for(threads(app)(scope, receive, send), 5)
            finally:
                released.set()  # asyncio waits for its threads at the end

        asyncio.run(main())
        assert sum(len(message.get("body", b"")) for message in sent) == 700_000

    @pytest.mark.parametrize("failing", ["application", "answer"])
    def test_what_fails_is_raised_and_closed(self, failing):
        closed = []

        class Chunks:
            def __iter__(self):
                raise OSError("no more")

            def close(self):
                closed.append(True)

        def app(environ, start):
            if failing == "application":
                raise OSError("nothing")
            start("200 OK", [])
            return Chunks()

        with pytest.raises(OSError):
            run(threads(app))
        assert closed == ([True] if failing == "answer" else [])

    @pytest.mark.parametrize("headers, compressed", [(BROWSER, True), ([], False)])
    def test_long_json_is_compressed_and_never_in_blocks(self, headers, compressed):
        text = json.dumps(["x"] * 100_000).encode()

        def app(environ, start):
            start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
            return [text[:300_000], text[300_000:]]

        start, body = run(threads(app), headers=headers)
        assert (gzip.decompress(body["body"]) if compressed else body["body"]) == text
        assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()

    @pytest.mark.parametrize("status", ["200 OK", "206 Partial Content"])
    def test_a_file_of_json_is_sent_in_blocks_as_it_is(self, status):
        def app(environ, start):
            start(status, [("Content-Type", "application/json"), ("Content-Disposition", "attachment; filename=a.JSON")])
            return [b"[" + b" " * 300_000, b"]"]

        start, *bodies = run(threads(app), headers=BROWSER)
        assert b"content-encoding" not in dict(start["headers"])
        assert [len(body["body"]) for body in bodies] == [300_001, 1]

    def test_who_reads_slowly_holds_no_thread(self):
        """One thread, and an answer that its client does not take."""
        def app(environ, start):
            start("200 OK", [("Content-Type", "text/plain")])
            return [b"x" * shortcut.BLOCK] * 3 if environ["PATH_INFO"] == "/long" else [b"short"]

        served = threads(app, 1)

        async def together():
            taken = asyncio.Event()

            async def receive():
                return {"type": "http.request"}

            async def never(message):
                if message["type"] == "http.response.body":
                    await taken.wait()

            sent = []

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "http_version": "1.1", "method": "GET", "query_string": b"", "headers": []}
            slow = asyncio.create_task(served({**scope, "path": "/long"}, receive, never))
            await asyncio.wait_for(served({**scope, "path": "/short"}, receive, send), 5)
            taken.set()
            await slow
            return sent

        assert asyncio.run(together())[1]["body"] == b"short"
