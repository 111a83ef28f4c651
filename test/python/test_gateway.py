"""The AI gateway: headers, keys, threads."""

import asyncio
import contextvars
import threading
import time
from types import SimpleNamespace

import pytest

from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from secure_mlflow import gateway
from secure_mlflow.access import Caller, Level, caller
from secure_mlflow.door import Refusal


class Store(SqlAlchemyStore):
    """Guarded, unlike its base."""


gateway.guard_keys(Store)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_CRYPTO_KEK_PASSPHRASE", "x" * 64)
    return Store(f"sqlite:///{tmp_path}/store.db", str(tmp_path / "artifacts"))


@pytest.fixture
def secret(store):
    return store.create_gateway_secret("key", {"api_key": "sk-victim"}, "openai", {"api_base": "https://api.example.com/v1"}).secret_id


class TestKeys:
    def test_stay_where_they_are_sent(self, store, secret):
        for auth_config in ({"api_base": "https://evil.example/v1"}, {}, {"api_base": "https://api.example.com/v1", "organization": "x"}):
            with pytest.raises(MlflowException, match="enter the key again"):
                store.update_gateway_secret(secret, auth_config=auth_config)
            with pytest.raises(MlflowException, match="enter the key again"):
                store.update_gateway_secret(secret, secret_value={}, auth_config=auth_config)
        assert store.get_secret_info(secret_id=secret).auth_config == {"api_base": "https://api.example.com/v1"}

    def test_are_changed_with_their_address(self, store, secret):
        store.update_gateway_secret(secret, {"api_key": "sk-new"}, {"api_base": "https://other.example.com/v1"})
        store.update_gateway_secret(secret, {"api_key": "sk-newer"})
        store.update_gateway_secret(secret, auth_config={"api_base": "https://other.example.com/v1"})  # as it is
        assert store.get_secret_info(secret_id=secret).auth_config == {"api_base": "https://other.example.com/v1"}

    def test_go_to_no_other_provider(self, store, secret):
        with pytest.raises(MlflowException, match="stored for openai and is not sent to ollama"):
            store.create_gateway_model_definition("model", secret, "ollama", "llama")
        own = store.create_gateway_secret("own", {"api_key": "sk-own"}, "ollama").secret_id
        model = store.create_gateway_model_definition("model", own, "ollama", "llama").model_definition_id
        for changes in ({"secret_id": secret}, {"provider": "openai"}):
            with pytest.raises(MlflowException, match="is not sent to"):
                store.update_gateway_model_definition(model, **changes)
        store.update_gateway_model_definition(model, secret_id=secret, provider="openai")
        store.update_gateway_model_definition(model, model_name="other")
        assert store.get_gateway_model_definition(model).provider == "openai"

    def test_without_a_provider_go_nowhere(self, store):
        secret = store.create_gateway_secret("key", {"api_key": "sk-victim"}).secret_id
        with pytest.raises(MlflowException, match="stored for no provider"):
            store.create_gateway_model_definition("model", secret, "ollama", "llama")

    @pytest.mark.parametrize("name", ["../../x", "a/..", "x?y", "x#", "%2e%2e/x", ".\t./x", "x\\y"])
    def test_leave_no_folder_by_the_name_of_a_model(self, store, secret, name):
        with pytest.raises(MlflowException, match="model_name must not hold"):
            store.create_gateway_model_definition("model", secret, "openai", name)
        model = store.create_gateway_model_definition("model", secret, "openai", "anthropic/claude-4.5:free").model_definition_id
        with pytest.raises(MlflowException, match="model_name must not hold"):
            store.update_gateway_model_definition(model, model_name=name)

    def test_guardrails_are_refused(self, store):
        with pytest.raises(MlflowException, match="Guardrails are not available"):
            store.create_gateway_guardrail(name="x", scorer_id="x", scorer_version=1, stage=None, action=None)


@pytest.mark.parametrize("credentials", ["/etc/passwd", "/proc/self/environ", "[]", "null", '"x"'])
def test_vertex_reads_no_file(credentials):
    class Vertex:
        class vertex_config:
            vertex_credentials = credentials

        def _get_credentials(self):
            return "used"

    gateway.guard_vertex(Vertex)
    with pytest.raises(MlflowException, match="must be the JSON key"):
        Vertex()._get_credentials()
    Vertex.vertex_config.vertex_credentials = "{}"
    assert Vertex()._get_credentials() == "used"
    Vertex.vertex_config.vertex_credentials = None
    assert Vertex()._get_credentials() == "used"


ADA = Caller("ada@example.com", Level.ADMIN)


def call(app, path="/gateway/x", headers=()):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        sent.append(message)

    return gateway.Gateway(app)({"type": "http", "path": path, "headers": list(headers)}, receive, send), sent


def test_a_provider_that_blocks_stops_nobody_else():
    async def block(scope, receive, send):
        assert (await receive())["body"] == b"{}"
        if scope["path"].startswith("/gateway/"):
            time.sleep(0.5)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def both():
        slow, slow_sent = call(block)
        slow = asyncio.ensure_future(slow)
        await asyncio.sleep(0.1)
        quick, quick_sent = call(block, "/health")
        await quick
        assert (len(quick_sent), len(slow_sent)) == (1, 0)
        await slow
        assert len(slow_sent) == 1

    asyncio.run(both())


def test_what_runs_elsewhere_is_done_for_the_caller_too():
    callers = []

    async def look(scope, receive, send):
        loop = asyncio.get_running_loop()
        callers.extend([caller.get(), await asyncio.to_thread(caller.get), await loop.run_in_executor(None, caller.get), type(loop)])

    async def as_ada():
        caller.set(ADA)
        await call(look)[0]

    asyncio.run(as_ada())
    assert callers == [ADA] * 3 + [asyncio.SelectorEventLoop]


def test_an_error_inside_reaches_the_door():
    async def fail(scope, receive, send):
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        asyncio.run(call(fail)[0])


def test_providers_see_only_what_a_call_needs():
    seen = []

    async def look(scope, receive, send):
        seen.append([name for name, _ in scope["headers"]])

    headers = [(name, b"x") for name in (b"content-type", b"anthropic-version", b"x-portkey-custom-host", b"x-api-key", b"x-mlflow-authorization", b"x-goog-api-key", b"user-agent")]
    asyncio.run(call(look, headers=headers)[0])
    asyncio.run(call(look, "/api/x", headers)[0])
    assert seen == [[b"content-type", b"anthropic-version", b"user-agent"], [name for name, _ in headers]]


@pytest.mark.parametrize("path", ["../x", "%2e%2e/x", "%252e%252e/x", "a/..", "a/./b", "..\\x", "%2e%2e%5cx", ".\t./x", "%09../x", "%2e%09%2e/x", "..?/", "..%23/", "a/.\x7f./b", "%" + "25" * 30_000])
def test_a_raw_call_does_not_leave_the_address_of_the_key(path):
    with pytest.raises(Refusal, match="must not hold"):
        asyncio.run(call(None, f"/gateway/proxy/endpoint/{path}")[0])


@pytest.mark.parametrize("path", ["v1/chat/completions", "v1beta/models/gemini-2.5:generateContent", "a..b/...", "x%2fy"])
def test_other_paths_of_raw_calls_pass(path):
    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    waiting, sent = call(answer, f"/gateway/proxy/endpoint/{path}")
    asyncio.run(waiting)
    assert len(sent) == 1


def test_one_caller_does_not_take_all_calls(monkeypatch):
    monkeypatch.setattr(gateway, "CALLS_OF_ONE", 2)
    release = threading.Event()

    async def wait(scope, receive, send):
        release.wait(5)

    async def many():
        app = gateway.Gateway(wait)

        def as_(who):
            context = contextvars.copy_context()
            context.run(caller.set, who)
            return context.run(asyncio.ensure_future, app({"type": "http", "path": "/gateway/x", "headers": []}, None, None))

        open_calls = [as_(ADA), as_(ADA), as_(Caller("bob@example.com", Level.READER))]
        await asyncio.sleep(0.1)
        with pytest.raises(Refusal) as caught:
            await as_(ADA._replace(level=Level.READER))  # without the header with her groups, she is the same person
        release.set()
        await asyncio.gather(*open_calls)
        await as_(ADA)
        return caught.value.status, app.calls

    assert asyncio.run(many()) == (429, {})


def test_what_is_unpacked_has_few_pieces():
    module = SimpleNamespace(_decompress_zstd=lambda raw_body: raw_body * 1_000_000)
    gateway.guard_unpacking(module)
    assert module._decompress_zstd(b" ") == b" " * 1_000_000
    with pytest.raises(Refusal) as caught:
        module._decompress_zstd(b"{},")
    assert caught.value.status == 413
