"""Checks every request before MLflow gets it, and completes every answer before a client gets it.

The functions above `AsgiDoor` are the rules. They are independent of a server.
"""

import asyncio
import csv
import json
import logging
import os
import re
import zlib
from typing import NamedTuple

from . import account, traces
from .access import Caller, Policy, caller, folded, reason_against
from .page import ASK_AGAIN, FOR_GOOD, OWN_PAGES, PAGE_PATHS, Page, page_policy, refusal_page

MIB = 1024 * 1024
BLOCK = 64 * 1024
MEMBERS = 1000  # of a gzip file; clients send one
PIECES = 200_000  # of a request with traces; 512 spans with 40 attributes each have 87 000
HEALTH = "/health"  # of the container's health check, which has no identity
ASSISTANT = "/ajax-api/3.0/mlflow/assistant"
STATIC = "/static-files/"
HASHED = re.compile(r"\.[0-9a-f]{8,}\.")  # a name that changes with the content of the file
OWN = "/secure-mlflow/"
SCRIPTS = {b"script", b"worker", b"sharedworker", b"serviceworker", b"audioworklet", b"paintworklet", b"xslt"}  # kinds of files that a browser runs
TRACES = "/v1/"  # OpenTelemetry, the only part of MLflow that unpacks requests without a limit
UPLOAD = re.compile(r"/(ajax-)?api/2\.0/mlflow-artifacts/artifacts/")  # streamed to S3

# Data of the sign-in and the origin of a request. MLflow does not need them, and its AI gateway would pass them on.
# `origin` is checked here. Without it, MLflow does not allow other sites to read an answer.
DROPPED = {b"cookie", b"authorization", b"proxy-authorization", b"forwarded", b"via", b"origin", b"gap-auth", b"gap-signature"}
DROPPED_BEGINNINGS = (b"x-forwarded-", b"x-auth-request-", b"x-real-", b"x-client-", b"x-amzn-", b"x-original-")

DATA_POLICY = b"default-src 'none'; frame-ancestors 'none'; sandbox"  # of an answer that is not a page: if opened as one, it does nothing


class Settings(NamedTuple):
    origin: str  # of MLflow's page, the only one that may write
    api_limit: int  # bytes of a request
    traces_limit: int  # bytes of traces, unpacked
    machines: frozenset  # allowed by name, in lower case
    addresses_only: bool  # whether all others must have an e-mail address
    hosted_domains: frozenset | None  # of Google; all others must have one of them; None if not required
    policy: Policy  # who may do what
    sign_out_url: str

    @classmethod
    def read(cls, environment=os.environ):
        with open(environment["SECURE_MLFLOW_MACHINE_IDENTITIES_FILE"], encoding="utf-8", newline="") as file:
            machines = frozenset(folded(line[0].strip()) for line in csv.reader(file) if line)
        hosted_domains = environment.get("SECURE_MLFLOW_HOSTED_DOMAINS")
        return cls(
            origin=environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"],
            api_limit=int(environment["SECURE_MLFLOW_API_LIMIT_MIB"]) * MIB,
            traces_limit=int(environment["SECURE_MLFLOW_TRACES_LIMIT_MIB"]) * MIB,
            machines=machines,
            addresses_only=environment["SECURE_MLFLOW_ADDRESSES_ONLY"] == "true",
            hosted_domains=None if hosted_domains is None else frozenset(hosted_domains.split(",")),
            policy=Policy.read(environment.get("SECURE_MLFLOW_ACCESS")),
            sign_out_url=environment["SECURE_MLFLOW_SIGN_OUT_URL"],
        )


class Refusal(Exception):
    """Why a request is refused, for its sender. `code` is one of MLflow's."""

    def __init__(self, status, code, reason):
        super().__init__(reason)
        self.status, self.code, self.reason = status, code, reason
        self.caller = None  # if known

    @classmethod
    def denied(cls, reason):
        return cls(403, "PERMISSION_DENIED", reason)

    @classmethod
    def too_large(cls, what, limit):
        return cls(413, "BAD_REQUEST", f"{what} is larger than {limit // MIB} MiB: send it in parts, or have the limit raised (`requestLimits`)")

    @property
    def body(self):
        return json.dumps({"error_code": self.code, "message": self.reason}).encode()

    def answer(self, settings, method, headers):
        """JSON as MLflow writes it, or a page for a person without access who opens a page."""
        if self.status == 403 and method == "GET" and any(name == b"sec-fetch-dest" and value == b"document" for name, value in headers):
            return refusal_page(self.reason, settings.sign_out_url)
        return Page(b"application/json", self.body)

    def log(self, method, path):
        # json.dumps: one line, whatever the sender has put into it. The reason may contain the path, too.
        who = '"-"' if self.caller is None else f"{json.dumps(self.caller.name)} ({self.caller.level})"
        print(f"secure-mlflow refused {self.status} {method} {json.dumps(path[:200])} of {who}: {json.dumps(self.reason[:500])[1:-1]}", flush=True)


def identity_of(method, path, headers):
    """The caller as named by oauth2-proxy; None for the health check."""
    if path == HEALTH and method == "GET":
        return None
    emails = [value for name, value in headers if name == b"x-forwarded-email"]
    # A client can make the proxy drop the header (`Connection: X-Forwarded-Email`). It must gain nothing.
    if len(emails) != 1 or not emails[0].strip():
        raise Refusal.denied("The request is not authenticated: the sign-in proxy has sent no name, or several")
    # uvicorn adds the fields of a trailer to the headers, so a trailer could name another caller.
    if any(name == b"trailer" for name, _ in headers):
        raise Refusal.denied("A request must not announce a trailer")
    identity = emails[0].decode("utf-8", "replace").strip()
    # Two headers joined to one have a comma between them. The name of a role may contain a comma, an address may not.
    if "," in identity and not identity.startswith("arn:"):
        raise Refusal.denied("The request is not authenticated: the sign-in proxy has sent several names")
    return identity


def groups_of(headers):
    """The groups of the caller as named by oauth2-proxy."""
    values = [value for name, value in headers if name == b"x-forwarded-groups"]
    if len(values) > 1:
        raise Refusal.denied("The sign-in proxy has sent groups more than once")
    return [group.strip() for value in values for group in value.decode("utf-8", "replace").split(",")]


def caller_of(settings, method, path, headers):
    """The caller with its level; None for the health check."""
    identity = identity_of(method, path, headers)
    if identity is None:
        return None
    groups = groups_of(headers) if settings.policy.groups else ()
    return Caller(identity, settings.policy.level_of(identity, folded(identity) in settings.machines, groups))


def refuse_strangers(settings, identity, headers):
    """Refuses callers that the proxy accepts as people of the company although they are not. Machines are on a list of exact names."""
    if folded(identity) in settings.machines:
        return
    # If a token has no address, the proxy compares the end of its subject with the domains: `…:role/x@example.com` of a role, or
    # `repo:x/y:ref:refs/heads/x@example.com` of a CI job. They contain a colon, which an address does not.
    if settings.addresses_only and ":" in identity:
        raise Refusal.denied("The request is not authenticated: the bearer token names no e-mail address and no allowed machine")
    groups = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-groups"]
    # The proxy has put the domain of the account there. A client can make it drop the domain, but not replace it.
    if settings.hosted_domains is not None and not (len(groups) == 1 and groups[0] in settings.hosted_domains):
        raise Refusal.denied("This Google account does not belong to the company: sign out at /oauth2/sign_out and use an account of its Google Workspace")


def refuse_other_sites(method, headers, origin):
    """Browsers send the origin of a write; programs do not."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return
    for name, value in headers:
        if name == b"origin" and value.decode("latin-1") != origin:
            raise Refusal.denied("A page of another site must not write here")
        if name == b"sec-fetch-site" and value not in (b"same-origin", b"none"):
            raise Refusal.denied("A page of another site must not write here")


def without_sign_in(headers):
    return [(name, value) for name, value in headers if name not in DROPPED and not name.startswith(DROPPED_BEGINNINGS)]


def refuse_stored_scripts(path, headers):
    """The page's policy names folders, which browsers do not compare after a redirect, such as that of the proxy from `/static-files/..%2fx`."""
    if path.startswith((STATIC, OWN)):
        return
    if any(name == b"sec-fetch-dest" and value in SCRIPTS for name, value in headers):
        raise Refusal.denied("A stored file must not run as a script of the page")


def admit(settings, method, path, headers):
    """The caller, and the headers for MLflow. Raises a refusal."""
    who = caller_of(settings, method, path, headers)
    try:
        if path.startswith(ASSISTANT):
            raise Refusal.denied("The assistant is closed: it runs programs on the server")
        if who is not None:
            refuse_strangers(settings, who.name, headers)
        refuse_other_sites(method, headers, settings.origin)
        refuse_stored_scripts(path, headers)
        reason = who and reason_against(who, method, path)
        if reason:
            raise Refusal.denied(reason)
    except Refusal as refusal:
        refusal.caller = who
        raise
    return who, without_sign_in(headers)


def own_page(settings, method, path, query, who):
    """The page that is answered here and not by MLflow."""
    if method not in ("GET", "HEAD") or who is None:
        return None
    answer = account.answer(path, who, settings.policy)
    return OWN_PAGES.get(f"{path}?{query}", OWN_PAGES.get(path)) if answer is None else Page(b"application/json", answer)


def streams(method, path):
    return method == "PUT" and UPLOAD.match(path) is not None


def unpacked(body, encoding, limit):
    """The body of a compressed request. A body that cannot be unpacked here is refused, because MLflow would unpack it without a limit."""
    ways = {"gzip": [(31, MEMBERS)], "deflate": [(zlib.MAX_WBITS, 1), (-zlib.MAX_WBITS, 1)]}.get(encoding, [])
    for wbits, members in ways:
        try:
            return inflated(body, wbits, members, limit)
        except zlib.error:
            continue
    raise Refusal(400, "BAD_REQUEST", "The request cannot be unpacked: send it as gzip, as deflate, or uncompressed")


def inflated(body, wbits, members, limit):
    rest, parts, size = memoryview(body), [], 0
    for _ in range(members):
        inflater = zlib.decompressobj(wbits)
        while not inflater.eof:
            # In blocks, because the rest of the input is copied at the end of each member.
            block, rest = rest[:BLOCK], rest[BLOCK:]
            if not block:
                raise zlib.error("cut off")
            part = inflater.decompress(block, limit - size + 1)
            size += len(part)
            if size > limit:
                raise Refusal.too_large("The request, unpacked,", limit)
            parts.append(part)
        rest = memoryview(body)[len(body) - len(rest) - len(inflater.unused_data):]
        if not rest:
            return b"".join(parts)
    raise zlib.error("something follows")


def ready(settings, path, headers, body):
    """Headers and body for MLflow: traces are unpacked and their number is limited."""
    if not path.startswith(TRACES):
        return headers, body
    encodings = [value.decode("latin-1").strip().lower() for name, value in headers if name == b"content-encoding"]
    if encodings not in ([], ["identity"]):
        body = unpacked(body, ", ".join(encodings), settings.traces_limit)
        headers = with_length([(name, value) for name, value in headers if name != b"content-encoding"], body)
    refuse_crowds([value for name, value in headers if name == b"content-type"], body)
    return headers, body


def refuse_crowds(content_types, body):
    try:
        crowded = any(traces.exceed(PIECES, content_type, body) for content_type in content_types)
    except ValueError as error:
        raise Refusal(400, "BAD_REQUEST", f"The request cannot be read: {error}") from None
    if crowded:
        raise Refusal(413, "BAD_REQUEST", f"The request has more than {PIECES} fields: send it in parts")


def answered(settings, path, headers):
    """The headers of an answer, with what a browser may do with it and whether it may be cached."""
    static = path.startswith(STATIC)
    kept, cache = [], b"no-store"
    for name, value in headers:
        if name.lower() == b"cache-control":
            cache = (FOR_GOOD if HASHED.search(path) else ASK_AGAIN) if static else cache
        else:
            kept.append((name, value))
    policy = page_policy(settings.origin) if static or path in PAGE_PATHS else DATA_POLICY
    return [*kept, (b"cache-control", cache), (b"content-security-policy", policy), (b"referrer-policy", b"same-origin")]


class AsgiDoor:
    def __init__(self, app, settings):
        self.app, self.settings = app, settings

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # MLflow has no WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        method, path = scope["method"], scope["path"]
        answer = Answer(send, self.settings, path)
        who = None
        try:
            who, headers = admit(self.settings, method, path, scope["headers"])
            page = own_page(self.settings, method, path, scope["query_string"].decode("latin-1"), who)
            if page is not None:
                if page.cache and (b"if-none-match", page.etag) in headers:
                    await answer.whole(304, page, with_body=False)
                else:
                    await answer.whole(200, page, with_body=method == "GET")
                return
            if not streams(method, path) and any(name in (b"content-length", b"transfer-encoding") for name, _ in headers):
                body = await body_of(receive, self.settings.api_limit)
                if body is None:
                    return  # the client is gone
                headers = with_length(headers, body)
                if path.startswith(TRACES):
                    headers, body = await asyncio.to_thread(ready, self.settings, path, headers, body)  # in a thread, so that others are served
                receive = again(body, receive)
            token = caller.set(who)
            try:
                await self.app({**scope, "headers": headers}, receive, answer)
            finally:
                caller.reset(token)
        except Refusal as refusal:
            refusal.caller = refusal.caller or who
            refusal.log(method, path)
            await answer.whole(refusal.status, refusal.answer(self.settings, method, scope["headers"]))
        except Exception:
            if answer.begun and not answer.over:
                raise  # after half an answer, uvicorn ends the connection
            # If it were raised, uvicorn would end the connection, and the proxy's next request on it would be lost.
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
            if not answer.begun:
                failure = Refusal(500, "INTERNAL_ERROR", "The server failed to answer this request: its log has the reason")
                await answer.whole(500, failure.answer(self.settings, method, scope["headers"]))


class Answer:
    """`send`, with our headers for every answer."""

    def __init__(self, send, settings, path):
        self.send, self.settings, self.path = send, settings, path
        self.begun = self.over = False

    async def __call__(self, message):
        if message["type"] == "http.response.start":
            self.begun = True
            message = {**message, "headers": answered(self.settings, self.path, message.get("headers", []))}
        elif message["type"] == "http.response.body":
            self.over = not message.get("more_body", False)
        await self.send(message)

    async def whole(self, status, page, with_body=True):
        self.begun = self.over = True
        headers = headers_of_page(self.settings, self.path, page)
        if status == 304:  # with a length, uvicorn would wait for the body, and end the connection
            headers = [(name, value) for name, value in headers if name != b"content-length"]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": page.body if with_body else b""})


def headers_of_page(settings, path, page):
    headers = [(b"content-type", page.content_type), (b"content-length", str(len(page.body)).encode()), (b"x-content-type-options", b"nosniff")]
    own = {b"content-security-policy": page.policy, b"cache-control": page.cache}
    tag = [(b"etag", page.etag)] if page.cache else []
    return [*tag, *((name, own.get(name) or value) for name, value in answered(settings, path, headers))]


async def body_of(receive, limit):
    """The whole body; None if the client leaves. A body that is too long is read to its end, or the proxy would miss the answer."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        size += len(message.get("body", b""))
        if size <= limit:
            parts.append(message.get("body", b""))
        else:
            parts.clear()
        if not message.get("more_body", False):
            break
    if size > limit:
        raise Refusal.too_large("The request", limit)
    return b"".join(parts)


def with_length(headers, body):
    """MLflow treats a body without a length, such as one sent in pieces, as empty."""
    rest = [(name, value) for name, value in headers if name not in (b"content-length", b"transfer-encoding")]
    return [*rest, (b"content-length", str(len(body)).encode())]


def again(body, receive):
    """`receive` for a body that has been read."""
    given = False

    async def receive_again():
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
