"""Guards MLflow's AI gateway, which `aiGateway` switches on: it sends prompts to AI providers, with keys that people have stored."""

import asyncio
import contextvars
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

from .access import caller
from .door import Refusal, refuse_crowds

PATH = "/gateway/"
CALLS = 200  # at once, of each process; others wait. A streamed answer occupies a thread until it ends
CALLS_OF_ONE = 100  # of one caller, so that others have some left
DECODED = 3  # times that a path is decoded before it is refused

# MLflow passes headers of a request on to the provider. Providers obey some: Portkey, for example, sends the stored key to any host that a header names.
PASSED = {b"host", b"accept", b"accept-encoding", b"accept-language", b"content-encoding", b"content-length", b"content-type", b"user-agent",
          b"traceparent", b"tracestate", b"openai-beta", b"anthropic-version", b"anthropic-beta", b"x-mlflow-workspace"}


class Gateway:
    """Runs each call on its own thread and event loop. The code of some providers blocks the loop until an answer comes, and other calls would wait."""

    def __init__(self, app):
        self.app, self.threads, self.calls = app, ThreadPoolExecutor(CALLS, "gateway"), Counter()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or not scope["path"].startswith(PATH):
            await self.app(scope, receive, send)
            return
        refuse_way_out(scope["path"])
        who = caller.get()
        name = who and who.name
        if self.calls[name] >= CALLS_OF_ONE:
            raise Refusal(429, "REQUEST_LIMIT_EXCEEDED", f"You have {CALLS_OF_ONE} calls of the AI gateway open: wait until some have ended")
        self.calls[name] += 1
        try:
            await self.call(scope, receive, send)
        finally:
            self.calls[name] -= 1
            if not self.calls[name]:
                del self.calls[name]

    async def call(self, scope, receive, send):
        scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name in PASSED]}
        loop = asyncio.get_running_loop()

        def there(call):
            async def forward(*message):
                return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(*message), loop))

            return forward

        context = contextvars.copy_context()  # with the caller
        await asyncio.wrap_future(self.threads.submit(context.run, run, self.app, scope, there(receive), there(send)))


def refuse_way_out(path):
    """A raw call appends its path to the provider's URL: the key could be sent to another folder of the host."""
    if leads_out(path):
        raise Refusal.denied("The path of a call must not hold . or .. or characters that end or change a path")


def leads_out(path):
    """Whether libraries could read it as a path out of a folder: some decode it, drop control characters before they search for `..`, or end it at `?` or `#`."""
    for _ in range(DECODED):
        if path == unquote(path):
            break
        path = unquote(path)
    else:
        return True  # encoded too often, and each time takes long
    return any(character in "?#\\\x7f" or character < " " for character in path) or not {".", ".."}.isdisjoint(path.split("/"))


def run(app, scope, receive, send):
    # Python's own loop and not uvloop, which connects past the guard of egress.py.
    loop = asyncio.SelectorEventLoop()
    executor = ThreadPoolExecutor(4, initializer=caller.set, initargs=(caller.get(),))  # its work is also for the caller
    loop.set_default_executor(executor)
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(app(scope, receive, send))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        executor.shutdown(wait=False)
        loop.close()


async def answer_refused(request, refused):
    """A refusal of egress.py is not a failure of the server."""
    from starlette.responses import Response

    return Response(Refusal.denied(str(refused)).body, 403, media_type="application/json")


async def answer_refusal(request, refusal):
    """Answers refusals that are raised inside MLflow, after the door."""
    from starlette.responses import Response

    refusal.caller = caller.get()
    refusal.log(request.method, request.url.path)
    return Response(refusal.body, refusal.status, media_type="application/json")


def guard_unpacking(gateway_api):
    """MLflow limits the size of an unpacked request, but not the number of its objects."""
    decompress = gateway_api._decompress_zstd

    def decompress_bounded(raw_body):
        plain = decompress(raw_body)
        refuse_crowds([b"application/json"], plain)
        return plain

    gateway_api._decompress_zstd = decompress_bounded


def guard_keys(store):
    """A stored key is sent only to the address that was stored with it. A person who does not know the key cannot change that."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import NOT_IMPLEMENTED, PERMISSION_DENIED
    from mlflow.utils.provider_filter import normalize_provider_name

    update_secret, create_model, update_model = store.update_gateway_secret, store.create_gateway_model_definition, store.update_gateway_model_definition

    def update_gateway_secret(self, secret_id, secret_value=None, auth_config=None, updated_by=None):
        if auth_config is not None and not secret_value and auth_config != (self.get_secret_info(secret_id=secret_id).auth_config or {}):
            raise MlflowException("The address of a stored key can be changed only together with the key: enter the key again", PERMISSION_DENIED)
        return update_secret(self, secret_id, secret_value, auth_config, updated_by)

    def require_same_provider(self, secret_id, provider):
        stored_for = self.get_secret_info(secret_id=secret_id).provider
        if stored_for is None or normalize_provider_name(stored_for) != normalize_provider_name(provider):
            raise MlflowException(f"The key was stored for {stored_for or 'no provider'} and is not sent to {provider}: store a key for it", PERMISSION_DENIED)

    def require_plain(model_name):
        # Azure and others use it in the path of their URLs.
        if model_name is not None and leads_out(model_name):
            raise MlflowException.invalid_parameter_value("model_name must not hold . or .. between slashes or characters that end or change a path")

    def create_gateway_model_definition(self, name, secret_id, provider, model_name, created_by=None):
        require_plain(model_name)
        require_same_provider(self, secret_id, provider)
        return create_model(self, name, secret_id, provider, model_name, created_by)

    def update_gateway_model_definition(self, model_definition_id, name=None, secret_id=None, model_name=None, updated_by=None, provider=None):
        require_plain(model_name)
        if secret_id is not None or provider is not None:
            definition = self.get_gateway_model_definition(model_definition_id=model_definition_id)
            secret_id = secret_id or definition.secret_id
            if secret_id is not None:
                require_same_provider(self, secret_id, provider or definition.provider)
        return update_model(self, model_definition_id, name, secret_id, model_name, updated_by, provider)

    def create_gateway_guardrail(self, *_, **__):
        raise MlflowException("Guardrails are not available here: MLflow would have to call itself without a sign-in", NOT_IMPLEMENTED)

    store.update_gateway_secret = update_gateway_secret
    store.create_gateway_model_definition = create_gateway_model_definition
    store.update_gateway_model_definition = update_gateway_model_definition
    store.create_gateway_guardrail = create_gateway_guardrail


def guard_vertex(provider):
    """Credentials of Vertex AI must be JSON. MLflow also accepts a path, and would read that file of the server."""
    from mlflow.exceptions import MlflowException

    get_credentials = provider._get_credentials

    def get_own_credentials(self):
        credentials = self.vertex_config.vertex_credentials
        if credentials is not None and not is_json_object(credentials):
            raise MlflowException.invalid_parameter_value("vertex_credentials must be the JSON key of a service account")
        return get_credentials(self)

    provider._get_credentials = get_own_credentials


def is_json_object(text):
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
