"""What is sent compressed, to whom, and what is kept."""

import asyncio
import gzip
import json

import pytest

from secure_mlflow import compression

LONG = json.dumps([{"name": f"run {number}"} for number in range(1000)]).encode()
JSON = [(b"content-type", b"application/json"), (b"content-length", b"1")]
BROWSER = [(b"accept-encoding", b"gzip, deflate, br, zstd")]
SCRIPT = "/static-files/static/js/main.1a2b3c4d.js"


class TestAnswers:
    def test_are_compressed_for_whom_accepts_it(self):
        headers, body = compression.compress_answer(BROWSER, JSON, LONG)
        assert gzip.decompress(body) == LONG
        assert headers == [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        assert len(body) < len(LONG) / 5

    @pytest.mark.parametrize("request_headers, headers, body", [
        ([], JSON, LONG),
        ([(b"accept-encoding", b"gzip")], JSON, LONG),  # of the sign-in proxy, whose client asked for nothing
        ([(b"accept-encoding", b"br, gzip;q=0")], JSON, LONG),
        ([(b"accept-encoding", b"br")], JSON, LONG),
        ([*BROWSER, (b"sec-fetch-site", b"cross-site")], JSON, LONG),
        ([*BROWSER, (b"sec-fetch-site", b"same-site")], JSON, LONG),
        (BROWSER, JSON, LONG[:2000]),
        (BROWSER, [(b"content-type", b"text/plain")], LONG),
    ])
    def test_are_sent_as_they_are_otherwise(self, request_headers, headers, body):
        assert compression.compress_answer(request_headers, headers, body) == (headers, body)

    def test_are_compressed_for_the_page_itself(self):
        assert compression.compress_answer([*BROWSER, (b"sec-fetch-site", b"same-origin")], JSON, LONG)[1] != LONG


class Mlflow:
    """Answers with the one file that it has."""

    def __init__(self, status=200):
        self.asked, self.status = [], status

    async def __call__(self, scope, receive, send):
        self.asked.append((scope["method"], scope["path"], dict(scope["headers"])))
        fields = [(b"content-type", b"text/javascript; charset=utf-8"), (b"etag", b'"1-2-3"'), (b"expires", b"x"), (b"date", b"x"), (b"x-frame-options", b"SAMEORIGIN"), (b"content-length", b"16890")]
        await send({"type": "http.response.start", "status": self.status, "headers": fields})
        await send({"type": "http.response.body", "body": LONG[:9000], "more_body": True})
        await send({"type": "http.response.body", "body": LONG[9000:]})


def ask(files, path=SCRIPT, headers=BROWSER, method="GET"):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(files({"type": "http", "method": method, "path": path, "headers": [(b"host", b"127.0.0.1:5000"), *headers]}, None, send))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


@pytest.fixture
def mlflow():
    return Mlflow()


@pytest.fixture
def files(mlflow):
    return compression.StaticFiles(mlflow, "127.0.0.1:5000")


class TestStaticFiles:
    def test_are_asked_for_once_and_then_kept_compressed(self, files, mlflow):
        for _ in range(3):
            status, headers, body = ask(files)
            assert (status, gzip.decompress(body)) == (200, LONG)
            assert headers == {
                b"content-type": b"text/javascript; charset=utf-8", b"x-frame-options": b"SAMEORIGIN", b"etag": b'"1-2-3-gzip"',
                b"content-length": str(len(body)).encode(), b"content-encoding": b"gzip", b"vary": b"Accept-Encoding",
            }
        assert len(mlflow.asked) == 1

    def test_are_not_sent_to_whom_has_them(self, files):
        status, headers, body = ask(files, headers=[*BROWSER, (b"if-none-match", b'"1-2-3-gzip"')])
        assert (status, body, headers[b"etag"]) == (304, b"", b'"1-2-3-gzip"')
        assert b"content-encoding" not in headers
        assert ask(files, headers=[*BROWSER, (b"if-none-match", b'"1-2-3"')])[0] == 200

    def test_a_head_is_without_the_body(self, files):
        status, headers, body = ask(files, method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers[b"content-length"]) > 0

    @pytest.mark.parametrize("change", [
        {"headers": []}, {"headers": [(b"accept-encoding", b"gzip")]}, {"method": "POST"}, {"path": "/api/2.0/mlflow/runs/search"},
        *({"headers": [*BROWSER, (name, b"x")]} for name in (b"range", b"if-range", b"if-match", b"if-modified-since", b"if-unmodified-since", b"host")),
        *({"path": f"/static-files/{path}"} for path in ("", "static/", "static/js/../main.js", "static//main.js", "./main.js", "static/ü.js", "static/main.js\n", "static/logo.png", "favicon.ico")),
    ])
    def test_what_is_unusual_is_asked_of_mlflow(self, files, mlflow, change):
        for _ in range(2):
            assert ask(files, **change)[2] == LONG
        assert len(mlflow.asked) == 2
        assert not files.files

    def test_a_client_that_has_left_gets_nothing(self):
        async def app(scope, receive, send):
            assert (await receive())["type"] == "http.disconnect"

        async def gone():
            return {"type": "http.disconnect"}

        files = compression.StaticFiles(app, "127.0.0.1:5000")
        assert asyncio.run(files({"type": "http", "method": "GET", "path": SCRIPT, "headers": [(b"host", b"127.0.0.1:5000"), *BROWSER]}, gone, None)) is None
        assert not files.files

    @pytest.mark.parametrize("status", [404, 403, 500])
    def test_failures_are_not_kept(self, status):
        files = compression.StaticFiles(Mlflow(status=status), "127.0.0.1:5000")
        for _ in range(2):
            assert ask(files)[::2] == (status, LONG)
        assert not files.files
