"""The rules of the inner door, without a server."""

import asyncio
import gzip
import json
import re
import zlib
from pathlib import Path

import pytest

from conftest import counted
from secure_mlflow import door
from secure_mlflow.access import Caller, Level, Policy

ORIGIN = "https://mlflow.example.com"
ROLE = "arn:aws:iam::123456789012:role/a,b"
SETTINGS = door.Settings(
    ORIGIN, api_limit=door.MIB, traces_limit=2 * door.MIB, machines=frozenset({ROLE, "client-id"}), addresses_only=True, hosted_domains=None,
    policy=Policy(), sign_out_url=f"{ORIGIN}/oauth2/sign_out?rd=%2F&x=1",
)
ADA = [(b"x-forwarded-email", b"ada@example.com")]
SEARCH = "/api/2.0/mlflow/experiments/search"


def admit(method="GET", path=SEARCH, headers=ADA):
    return door.admit(SETTINGS, method, path, headers)


def refusal(*arguments, **more):
    with pytest.raises(door.Refusal) as caught:
        admit(*arguments, **more)
    return caught.value


class TestIdentity:
    @pytest.mark.parametrize("identity", ["ada@example.com", ROLE, "client-id", "zoë@example.com"])
    def test_is_what_the_proxy_says(self, identity):
        assert admit(headers=[(b"x-forwarded-email", identity.encode())])[0] == Caller(identity, Level.ADMIN)

    @pytest.mark.parametrize("headers", [
        [],
        [(b"x-forwarded-email", b"")],
        [(b"x-forwarded-email", b"  ")],
        ADA * 2,
        [*ADA, (b"x-forwarded-email", b"bob@example.com")],
        [(b"x-forwarded-email", b"ada@example.com,bob@example.com")],  # as gunicorn joins two
        [(b"x-forwarded-user", b"ada@example.com")],
        [(b"x-auth-request-email", b"ada@example.com")],
        [*ADA, (b"trailer", b"x-forwarded-email")],
    ])
    def test_must_be_exactly_one(self, headers):
        assert (refusal(headers=headers).status, refusal(headers=headers).code) == (403, "PERMISSION_DENIED")

    def test_is_not_asked_of_the_health_check(self):
        assert admit(path="/health", headers=[]) == (None, [])

    @pytest.mark.parametrize("method, path", [("POST", "/health"), ("GET", "/health/"), ("GET", "/healthy"), ("GET", "/version"), ("GET", "/")])
    def test_is_asked_of_everything_else(self, method, path):
        assert refusal(method, path, []).status == 403


class TestLevels:
    settings = SETTINGS._replace(policy=Policy.read(json.dumps({"everybody": "reader", "machines": "editor", "lists": [{"level": "admin", "groups": ["ml-admins"], "names": []}]})))

    def level(self, identity, *groups):
        headers = [(b"x-forwarded-email", identity.encode()), *((b"x-forwarded-groups", group) for group in groups)]
        return door.admit(self.settings, "GET", SEARCH, headers)[0].level

    def test_come_from_the_groups_that_the_proxy_names(self):
        assert self.level("ada@example.com") == Level.READER
        assert self.level("ada@example.com", b"a, ml-admins") == Level.ADMIN
        assert self.level("ada@example.com", "zoë,ML-admins".encode()) == Level.READER

    def test_of_machines_are_their_own(self):
        assert self.level(ROLE) == self.level("Client-ID") == Level.EDITOR

    def test_two_headers_with_groups_are_none_of_the_proxy(self):
        with pytest.raises(door.Refusal, match="more than once"):
            self.level("ada@example.com", b"a", b"ml-admins")

    def test_too_low_a_level_is_refused_with_who_and_what(self, capsys):
        status, _, body = asgi(echo, method="POST", path="/api/2.0/mlflow/runs/create", settings=self.settings)
        assert (status, json.loads(body)) == (403, {
            "error_code": "PERMISSION_DENIED", "message": "ada@example.com is a reader here, and POST /api/2.0/mlflow/runs/create needs an editor: ask the administrators of this server"})
        assert capsys.readouterr().out.startswith('secure-mlflow refused 403 POST "/api/2.0/mlflow/runs/create" of "ada@example.com" (reader): ada@example.com is')

    @pytest.mark.parametrize("path", ["/x\nprepare FAILED: forged", "/x\u2028prepare FAILED: forged", '/x" of "boss@example.com" (reader): ', "/x of ", "/" + "x" * 5000])
    def test_its_line_is_one_and_names_who_it_was(self, path, capsys):
        asgi(echo, method="POST", path=path, settings=self.settings)
        (line,) = capsys.readouterr().out.splitlines()
        assert len(line) < 1200
        assert counted("failedPreparations", line) == [] and counted("refusedRequests", line) == [line]
        (query,) = re.findall(r"parse @message /(.+)/$", (Path(__file__).parents[2] / "docs" / "access.md").read_text(), re.MULTILINE)
        assert re.search(query.replace("(?<", "(?P<"), line)["who"] == "ada@example.com"

    def test_who_opens_a_page_gets_one(self):
        settings = self.settings._replace(policy=Policy.read('{"everybody": "none", "machines": "none", "lists": []}'))
        opened = [*ADA, (b"sec-fetch-dest", b"document")]
        status, headers, body = asgi(echo, path="/", headers=opened, settings=settings)
        assert (status, headers[b"content-type"]) == (403, b"text/html; charset=utf-8")
        assert b"<p>ada@example.com has no access here: ask" in body
        assert f'href="{ORIGIN}/oauth2/sign_out?rd=%2F&amp;x=1"'.encode() in body
        assert headers[b"content-security-policy"].startswith(b"default-src 'none'; style-src 'unsafe-inline'; ")
        assert json.loads(asgi(echo, path="/", settings=settings)[2])["error_code"] == "PERMISSION_DENIED"

    def test_a_failure_of_the_server_is_no_lack_of_access(self):
        async def broken(scope, receive, send):
            raise RuntimeError("inside")

        status, headers, body = asgi(broken, headers=[*ADA, (b"sec-fetch-dest", b"document")])
        assert (status, headers[b"content-type"], json.loads(body)["error_code"]) == (500, b"application/json", "INTERNAL_ERROR")

    def test_what_a_page_says_is_text(self):
        body = asgi(echo, path="/", headers=[(b"x-forwarded-email", b"<b>@example.com"), (b"sec-fetch-dest", b"document")],
                    settings=self.settings._replace(policy=Policy.read('{"everybody": "none", "machines": "none", "lists": []}')))[2]
        assert b"&lt;b&gt;@example.com" in body and b"<b>" not in body


class TestStrangers:
    """People whom oauth2-proxy admits although they do not belong to the company."""

    @staticmethod
    def admits(identity, *headers, **settings):
        try:
            door.admit(SETTINGS._replace(**settings), "GET", SEARCH, [(b"x-forwarded-email", identity.encode()), *headers])
        except door.Refusal as caught:
            assert (caught.status, caught.code) == (403, "PERMISSION_DENIED")
            return False
        return True

    subjects = ["arn:aws:iam::123456789012:role/x@example.com", "repo:evil/x:ref:refs/heads/x@example.com", "organization:evil:pipeline:x@example.com"]

    @pytest.mark.parametrize("subject", subjects)
    def test_a_subject_is_no_address(self, subject):
        assert not self.admits(subject)
        assert self.admits(subject, addresses_only=False)
        assert self.admits(subject, machines=frozenset({subject}))

    @pytest.mark.parametrize("identity", ["Client-Id", ROLE.upper().replace("ARN", "arn")])
    def test_machines_are_known_in_any_letter_case(self, identity):
        assert self.admits(identity, hosted_domains=frozenset({"example.com"}))

    @pytest.mark.parametrize("groups", [[], [b""], [b"example.org"], [b"Example.com"], [b"example.com.evil.example"], [b"example.com,example.org"]])
    def test_an_account_must_belong_to_the_workspace(self, groups):
        headers = [(b"x-forwarded-groups", group) for group in groups]
        assert not self.admits("ada@example.com", *headers, hosted_domains=frozenset({"example.com"}))
        assert self.admits("ada@example.com", *headers)

    @pytest.mark.parametrize("group", [b"example.com", b"ml.example.com"])
    def test_an_account_of_the_workspace_gets_in(self, group):
        assert self.admits("ada@example.com", (b"x-forwarded-groups", group), hosted_domains=frozenset({"example.com", "ml.example.com"}))

    @pytest.mark.parametrize("domains, expected", [({}, None), ({"SECURE_MLFLOW_HOSTED_DOMAINS": "a.example,b.example"}, {"a.example", "b.example"})])
    def test_their_rules_are_in_the_environment(self, tmp_path, domains, expected):
        machines = tmp_path / "machines.csv"
        machines.write_text('"arn:aws:iam::123456789012:role/A,b"\n"client"\n')
        read = door.Settings.read({
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ORIGIN, "SECURE_MLFLOW_API_LIMIT_MIB": "1", "SECURE_MLFLOW_TRACES_LIMIT_MIB": "2",
            "SECURE_MLFLOW_MACHINE_IDENTITIES_FILE": str(machines), "SECURE_MLFLOW_ADDRESSES_ONLY": "false", "SECURE_MLFLOW_SIGN_OUT_URL": "/out", **domains,
        })
        assert read == door.Settings(ORIGIN, door.MIB, 2 * door.MIB, frozenset({ROLE, "client"}), False, expected, Policy(), "/out")


class TestWhatMlflowSees:
    def test_nothing_of_a_sign_in(self):
        gone = [
            b"cookie", b"authorization", b"proxy-authorization", b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-groups", b"x-forwarded-user", b"x-forwarded-host",
            b"x-forwarded-access-token", b"x-auth-request-email", b"x-auth-request-access-token", b"x-real-ip", b"x-amzn-oidc-data", b"x-amzn-oidc-identity", b"gap-auth",
        ]
        kept = [(b"host", b"127.0.0.1:5000"), (b"content-type", b"application/json"), (b"user-agent", b"x"), (b"x-mlflow-workspace", b"a")]
        assert admit(headers=[*ADA, *kept, *((name, b"x") for name in gone), (b"origin", ORIGIN.encode())])[1] == kept

    @pytest.mark.parametrize("path", ["/ajax-api/3.0/mlflow/assistant", "/ajax-api/3.0/mlflow/assistant/config", "/ajax-api/3.0/mlflow/assistantx"])
    def test_never_a_call_of_the_assistant(self, path):
        assert "assistant" in refusal(path=path).reason


class TestOtherSites:
    paths = [SEARCH, "/ajax-api/2.0/mlflow/runs/create", "/graphql", "/v1/traces", "/gateway/openai/v1/responses", "/"]

    @pytest.mark.parametrize("path", paths)
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
    @pytest.mark.parametrize("origin", ["https://evil.example", "https://evil.example.com", "null", "http://mlflow.example.com", "https://mlflow.example.com:444", "http://localhost:3000", ""])
    def test_must_not_write(self, method, path, origin):
        assert refusal(method, path, [*ADA, (b"origin", origin.encode())]).status == 403

    @pytest.mark.parametrize("site", [b"cross-site", b"same-site"])
    def test_must_not_write_without_an_origin_either(self, site):
        assert refusal("POST", headers=[*ADA, (b"sec-fetch-site", site)]).status == 403

    @pytest.mark.parametrize("headers", [[], [(b"origin", ORIGIN.encode())], [(b"origin", ORIGIN.encode()), (b"sec-fetch-site", b"same-origin")]])
    def test_the_own_page_and_programs_may(self, headers):
        assert admit("POST", headers=[*ADA, *headers])[0].name == "ada@example.com"

    def test_links_lead_here(self):
        assert admit("GET", headers=[*ADA, (b"sec-fetch-site", b"cross-site")])[0].name == "ada@example.com"


class TestScripts:
    stored = "/ajax-api/2.0/mlflow-artifacts/artifacts/evil.mjs"

    @pytest.mark.parametrize("kind", ["script", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet", "xslt"])
    def test_are_not_stored_files(self, kind):
        assert refusal("GET", self.stored, [*ADA, (b"sec-fetch-dest", kind.encode())]).status == 403

    @pytest.mark.parametrize("path, kind", [("/static-files/static/js/main.js", "script"), ("/secure-mlflow/page.js", "script"), (stored, "empty"), (stored, "document"), (stored, "image")])
    def test_are_those_of_the_page_and_files_are_read_otherwise(self, path, kind):
        assert admit("GET", path, [*ADA, (b"sec-fetch-dest", kind.encode())])[0].name == "ada@example.com"


class TestUnpacking:
    text = b"x" * 1000

    @pytest.mark.parametrize("encoding, packed", [
        ("gzip", gzip.compress(text)),
        ("gzip", gzip.compress(text[:300]) + gzip.compress(text[300:])),
        ("deflate", zlib.compress(text)),
        ("deflate", zlib.compress(text)[2:-4]),  # without header, as some clients send it
    ])
    def test_gives_what_was_packed(self, encoding, packed):
        assert door.unpacked(packed, encoding, 1000) == self.text

    @pytest.mark.parametrize("encoding, packed", [
        ("gzip", gzip.compress(text)), ("gzip", gzip.compress(text[:300]) + gzip.compress(text[300:])), ("deflate", zlib.compress(text)), ("deflate", zlib.compress(text)[2:-4]),
    ])
    def test_ends_at_the_limit(self, encoding, packed):
        with pytest.raises(door.Refusal) as caught:
            door.unpacked(packed, encoding, 999)
        assert caught.value.status == 413

    @pytest.mark.parametrize("encoding, packed", [
        ("gzip", b"no"),
        ("gzip", b""),
        ("gzip", gzip.compress(text)[:-9]),
        ("gzip", gzip.compress(b"x") + b"\0" + gzip.compress(text)),  # Python's gzip skips the padding
        ("gzip", gzip.compress(b"") * (door.MEMBERS + 1)),
        ("deflate", zlib.compress(text) + b"x"),
        ("br", text),
        ("gzip, gzip", text),
    ])
    def test_refuses_what_it_cannot_unpack(self, encoding, packed):
        with pytest.raises(door.Refusal) as caught:
            door.unpacked(packed, encoding, 1000)
        assert caught.value.status == 400

    def test_takes_no_longer_for_many_members(self):
        packed = gzip.compress(b"") * (32 * door.MIB // 20)
        with pytest.raises(door.Refusal):
            door.unpacked(packed, "gzip", 1000)  # copying the rest at each member would take minutes

    def test_refuses_two_encodings_in_two_headers(self):
        with pytest.raises(door.Refusal):
            door.ready(SETTINGS, "/v1/traces", [(b"content-encoding", b"identity"), (b"content-encoding", b"gzip")], gzip.compress(self.text))

    def test_is_for_traces_alone(self):
        packed = gzip.compress(self.text)
        headers = [(b"content-encoding", b"gzip"), (b"content-length", b"9"), (b"content-type", b"text/plain")]
        assert door.ready(SETTINGS, "/v1/traces", headers, packed) == ([(b"content-type", b"text/plain"), (b"content-length", b"1000")], self.text)
        assert door.ready(SETTINGS, SEARCH, headers, packed) == (headers, packed)


class TestAnswers:
    @pytest.mark.parametrize("path, sent, cache", [
        (SEARCH, [], b"no-store"),
        (SEARCH, [(b"Cache-Control", b"public, max-age=60")], b"no-store"),
        ("/get-artifact", [(b"cache-control", b"no-cache")], b"no-store"),
        ("/static-files/static/js/main.1a2b3c4d.js", [(b"Cache-Control", b"public, max-age=2419200")], b"private, max-age=31536000, immutable"),
        ("/static-files/static/js/main.js", [(b"Cache-Control", b"public, max-age=2419200")], b"private, no-cache"),
        ("/static-files/static/js/1a2b3c4d/main.js", [(b"Cache-Control", b"public")], b"private, no-cache"),
        ("/static-files/nothing", [], b"no-store"),
    ])
    def test_are_kept_by_nobody_but_their_reader(self, path, sent, cache):
        headers = dict(door.answered(SETTINGS, path, [(b"content-type", b"text/plain"), *sent]))
        assert headers[b"cache-control"] == cache
        assert headers[b"referrer-policy"] == b"same-origin"
        assert b"Cache-Control" not in headers

    @pytest.mark.parametrize("path", [SEARCH, "/get-artifact", "/graphql", "/model-versions/get-artifact", "/nothing", "/static-filesx"])
    def test_that_are_no_page_do_nothing_where_they_are_opened(self, path):
        assert dict(door.answered(SETTINGS, path, []))[b"content-security-policy"] == b"default-src 'none'; frame-ancestors 'none'; sandbox"

    @pytest.mark.parametrize("path", ["/", "/static-files/index.html"])
    def test_pages_run_scripts_of_the_build_alone(self, path):
        policy = dict(part.split(" ", 1) for part in dict(door.answered(SETTINGS, path, []))[b"content-security-policy"].decode().split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == f"{ORIGIN}/static-files/ {ORIGIN}/secure-mlflow/"
        assert policy["frame-src"] == f"{ORIGIN}/secure-mlflow/preview"
        for source in policy["img-src"].split() + policy["media-src"].split():
            assert source in ("data:", "blob:") or source.removeprefix(ORIGIN) in ("/static-files/", "/ajax-api/", "/get-artifact", "/model-versions/get-artifact")
        assert "unsafe" not in policy["worker-src"] + policy["frame-src"] + policy["connect-src"]


def asgi(app, *, method="GET", path=SEARCH, query=b"", headers=ADA, parts=(b"",), settings=SETTINGS):
    """The status, headers and body of an answer of the door in front of `app`. A length that is not kept ends the connection, as under uvicorn, also with 304."""
    messages = [{"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)]
    sent = []

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(door.AsgiDoor(app, settings)({"type": "http", "method": method, "path": path, "query_string": query, "headers": headers}, receive, send))
    answer_headers, body = dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])
    assert method == "HEAD" or int(answer_headers.get(b"content-length", len(body))) == len(body)
    return sent[0]["status"], answer_headers, body


async def echo(scope, receive, send):
    """Answers with what MLflow would see."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    seen = {"caller": door.caller.get().name, "headers": [name.decode() for name, _ in scope["headers"]], "body": len(body)}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


def long(size):
    return [*ADA, (b"content-length", str(size).encode())]


class TestUnderUvicorn:
    def test_mlflow_gets_the_request_without_the_sign_in(self):
        status, headers, body = asgi(echo, method="POST", headers=[*long(4), (b"cookie", b"x")], parts=[b"ab", b"cd"])
        assert (status, json.loads(body)) == (200, {"caller": "ada@example.com", "headers": ["content-length"], "body": 4})
        assert headers[b"cache-control"] == b"no-store"
        assert door.caller.get() is None

    def test_a_refusal_is_an_answer_of_mlflows_kind_and_one_line(self, capsys):
        status, headers, body = asgi(echo, path="/x\n[fake] line", headers=[])
        assert (status, json.loads(body)["error_code"], headers[b"content-type"]) == (403, "PERMISSION_DENIED", b"application/json")
        assert capsys.readouterr().out == (
            'secure-mlflow refused 403 GET "/x\\n[fake] line" of "-": The request is not authenticated: the sign-in proxy has sent no name, or several\n')

    def test_its_line_names_who_was_refused_and_is_counted(self, capsys):
        asgi(echo, method="POST", headers=[*ADA, (b"origin", b"null")])
        asgi(echo, method="POST", headers=long(door.MIB + 1), parts=[b"x" * door.MIB, b"x"])
        asgi(echo, headers=[])
        lines = capsys.readouterr().out.splitlines()
        assert 'of "ada@example.com" (admin): A page of another site' in lines[0]
        assert counted("refusedRequests", "\n".join(lines)) == [lines[0], lines[2]]

    def test_a_body_up_to_the_limit_passes(self):
        assert json.loads(asgi(echo, method="POST", headers=long(door.MIB), parts=[b"x" * (door.MIB // 2)] * 2)[2])["body"] == door.MIB

    @pytest.mark.parametrize("headers", [long(door.MIB + 1), [*ADA, (b"transfer-encoding", b"chunked")], long(1)])
    def test_a_body_above_the_limit_does_not(self, headers):
        status, _, body = asgi(echo, method="POST", headers=headers, parts=[b"x" * door.MIB, b"x"])
        assert (status, json.loads(body)["error_code"]) == (413, "BAD_REQUEST")

    def test_a_body_that_comes_in_pieces_reaches_mlflow_with_its_length(self):
        seen = json.loads(asgi(echo, method="POST", headers=[*ADA, (b"transfer-encoding", b"chunked")], parts=[b"ab", b"c"])[2])
        assert (seen["headers"], seen["body"]) == (["content-length"], 3)

    def test_artifacts_pass_as_they_come(self):
        path = "/api/2.0/mlflow-artifacts/artifacts/1/a/artifacts/file"
        assert json.loads(asgi(echo, method="PUT", path=path, headers=long(3 * door.MIB), parts=[b"x" * door.MIB] * 3)[2])["body"] == 3 * door.MIB

    @pytest.mark.parametrize("method, path", [("POST", "/api/2.0/mlflow-artifacts/artifacts/1/file"), ("PUT", "/api/2.0/mlflow-artifacts/artifactsx/1"), ("PUT", SEARCH)])
    def test_nothing_else_does(self, method, path):
        assert asgi(echo, method=method, path=path, headers=long(3 * door.MIB), parts=[b"x" * door.MIB] * 3)[0] == 413

    def test_traces_are_unpacked(self):
        packed = gzip.compress(b"x" * door.MIB)
        answer = json.loads(asgi(echo, method="POST", path="/v1/traces", headers=[*long(len(packed)), (b"content-encoding", b"gzip")], parts=[packed])[2])
        assert (answer["body"], answer["headers"]) == (door.MIB, ["content-length"])

    def test_a_small_request_does_not_become_a_large_one(self):
        packed = gzip.compress(b"x" * 100 * door.MIB)
        status, _, body = asgi(echo, method="POST", path="/v1/traces", headers=[*long(len(packed)), (b"content-encoding", b"gzip")], parts=[packed])
        assert (len(packed) < door.MIB, status, "unpacked" in json.loads(body)["message"]) == (True, 413, True)

    def test_an_error_of_mlflow_does_not_end_the_connection(self):
        async def fail(scope, receive, send):
            raise RuntimeError("inside")

        async def fail_after_its_answer(scope, receive, send):
            await echo(scope, receive, send)
            raise RuntimeError("inside")

        status, _, body = asgi(fail)
        assert (status, json.loads(body)["error_code"], b"inside" in body) == (500, "INTERNAL_ERROR", False)
        assert asgi(fail_after_its_answer)[0] == 200

    def test_half_an_answer_does(self):
        async def fail_within(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise RuntimeError("inside")

        with pytest.raises(RuntimeError):
            asgi(fail_within)

    def test_a_websocket_is_closed(self):
        sent = []

        async def send(message):
            sent.append(message)

        asyncio.run(door.AsgiDoor(echo, SETTINGS)({"type": "websocket"}, None, send))
        assert sent == [{"type": "websocket.close", "code": 1008}]

    def test_a_client_that_leaves_gets_nothing(self):
        sent = []

        async def gone():
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        asyncio.run(door.AsgiDoor(echo, SETTINGS)({"type": "http", "method": "POST", "path": SEARCH, "query_string": b"", "headers": long(5)}, gone, send))
        assert sent == []
