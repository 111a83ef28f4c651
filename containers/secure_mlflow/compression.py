"""Compresses the files of MLflow's page and long answers of its API.

If an answer contains a secret and text that an attacker chooses, its compressed size could reveal the secret. So requests of other sites' pages,
which a browser sends in the name of a person, get uncompressed answers. Otherwise only the caller chooses text and sees the size.
"""

import re
import zlib
from typing import NamedTuple

import anyio.to_thread

JSON = (b"content-type", b"application/json")
WORTH_IT = 2048  # bytes
FILE = re.compile(r"/static-files/(?:[\w-][\w.-]*/)*[\w-][\w.-]*\.(?:css|html|js|json|map|svg|txt)", re.ASCII)  # one spelling for each file
OF_ONE_ANSWER = {b"date", b"expires", b"content-length", b"etag", b"accept-ranges"}
DESCRIBING = {b"content-length", b"content-type", b"content-encoding", b"content-disposition", b"last-modified"}
# MLflow answers requests with one of these.
CONDITIONS = {b"range", b"if-range", b"if-match", b"if-modified-since", b"if-unmodified-since"}


def gzip_is_accepted(headers):
    """`gzip` alone is from the sign-in proxy and not from its client. The proxy would unpack the answer again."""
    accepted = [value.strip() for name, value in headers if name == b"accept-encoding"]
    return any(b"gzip" in value and b"gzip;q=0" not in value.replace(b" ", b"") and value != b"gzip" for value in accepted)


def is_of_other_site(headers):
    return any(name == b"sec-fetch-site" and value not in (b"same-origin", b"none") for name, value in headers)


def compressed(content, level):
    compressor = zlib.compressobj(level, wbits=31)
    return compressor.compress(content) + compressor.flush()


def compress_answer(request_headers, headers, body):
    """The headers and the body of an answer, compressed if it is long enough and the client accepts that."""
    if len(body) < WORTH_IT or JSON not in headers or not gzip_is_accepted(request_headers) or is_of_other_site(request_headers):
        return headers, body
    body = compressed(body, 1)  # 335 KB of runs become 32 KB in 1 ms; creating them took 80 ms
    rest = [(name, value) for name, value in headers if name != b"content-length"]
    return [*rest, (b"content-length", str(len(body)).encode()), (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")], body


class File(NamedTuple):
    etag: bytes
    headers: list
    body: bytes


class StaticFiles:
    """Keeps compressed copies of the page's text files."""

    def __init__(self, app, allowed_hosts):
        self.app, self.hosts, self.files = app, {host.encode() for host in allowed_hosts.split(",")}, {}

    async def __call__(self, scope, receive, send):
        if not self.takes(scope):
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        file = self.files.get(path)
        if file is None:
            answer = await self.ask(scope, receive)
            if answer[0] is None:
                return  # the client is gone
            file = await anyio.to_thread.run_sync(file_of, *answer)
            if file is None:  # no such file, or no access to it
                await send_whole(send, scope["method"], *answer)
                return
            self.files[path] = file
        if any(name == b"if-none-match" and value == file.etag for name, value in scope["headers"]):
            await send_whole(send, "HEAD", 304, [field for field in file.headers if field[0] not in DESCRIBING], b"")
        else:
            await send_whole(send, scope["method"], 200, file.headers, file.body)

    def takes(self, scope):
        headers = scope.get("headers", ())
        return (scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and FILE.fullmatch(scope["path"]) is not None and gzip_is_accepted(headers)
                and not any(name in CONDITIONS or (name == b"host" and value not in self.hosts) for name, value in headers))

    async def ask(self, scope, receive):
        """MLflow's whole answer; its status is None if the client leaves."""
        status, headers, parts = None, None, []

        async def keep(message):
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], message["headers"]
            else:
                parts.append(message.get("body", b""))

        headers_sent = [(name, value) for name, value in scope["headers"] if name != b"if-none-match"]
        await self.app({**scope, "method": "GET", "headers": headers_sent}, receive, keep)
        return status, headers, b"".join(parts)


def file_of(status, headers, body):
    """The copy to keep; None if the answer is not a file."""
    tag = dict(headers).get(b"etag")
    if status != 200 or tag is None:
        return None
    etag = tag.removesuffix(b'"') + b'-gzip"'
    body = compressed(body, 9)
    rest = [(name, value) for name, value in headers if name not in OF_ONE_ANSWER]
    return File(etag, [*rest, (b"etag", etag), (b"content-length", str(len(body)).encode()), (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")], body)


async def send_whole(send, method, status, headers, body):
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
