"""The URL on this machine to which the sign-in provider redirects the browser."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from urllib.parse import parse_qs

from ._sources import TokenError

PORTS = (18417, 18418, 18419)  # fixed, because several providers compare redirect URIs including the port
WAIT = 300.0  # seconds

_PAGE = b"<!doctype html><title>MLflow</title><p>The answer has arrived. You may close this tab and go back to the terminal or notebook."


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on other systems another program could share the port


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextmanager
def listen(path: str, state: str) -> Iterator[tuple[int, Callable[[], str]]]:
    """Listen for the one request with this path and state. Yields the port and a function that waits for the query."""
    answers: list[str] = []
    once = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # browsers open connections that they never use

        def do_GET(self) -> None:
            asked, _, query = self.path.partition("?")
            good = asked == path and parse_qs(query).get("state") == [state] and once.acquire(blocking=False)
            try:
                self.send_response(200 if good else 400)
                for header in ("Content-Type: text/html", "Cache-Control: no-store", "Referrer-Policy: no-referrer"):
                    self.send_header(*header.split(": "))
                self.end_headers()
                self.wfile.write(_PAGE if good else b"This is not the answer to a request of this program.")
            finally:
                if good:
                    answers.append(query)

        def log_message(self, *_: object) -> None:
            pass  # the line would contain the code

    def wait() -> str:
        end = time.monotonic() + WAIT
        while not answers:
            if time.monotonic() > end:
                raise TokenError(f"sign-in: no answer from the browser within {WAIT:.0f} s. Run the command again and sign in within that time")
            time.sleep(0.1)  # unlike a lock, Ctrl-C ends it on Windows, too
        return answers[0]

    port, servers = _bind(Handler)
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield port, wait
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _bind(handler: type[BaseHTTPRequestHandler]) -> tuple[int, list[_Server]]:
    """Both loopback addresses of the first free port. The browser may use either, and no other program may use one of them."""
    for port in PORTS:
        servers: list[_Server] = []
        try:
            servers.append(_Server(("127.0.0.1", port), handler))
            servers.append(_Server6(("::1", port), handler))
        except OSError as error:
            if not servers or error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # with these two, this machine has no IPv6
                for server in servers:
                    server.server_close()
                continue
        return port, servers
    raise TokenError(f"sign-in: the ports {', '.join(map(str, PORTS))} of this machine are in use. Stop a program that uses one of them")
