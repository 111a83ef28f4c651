"""The health check of the server, as ECS runs it."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import health
import pytest
from conftest import CONTAINERS, start


@pytest.fixture
def server():
    """Answers with the next of `statuses`, at last the one that is left, or not at all with None. Binds its port at once and listens when it is told to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers["Host"]))
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            if status is not None:
                self.send_response(status)
                self.end_headers()

        def log_message(self, *_):
            pass

    seen, statuses = [], [200]
    server = HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.server_bind()
    server.seen, server.statuses = seen, statuses
    server.address = f"127.0.0.1:{server.socket.getsockname()[1]}"

    def listen():
        server.server_activate()
        threading.Thread(target=server.serve_forever, daemon=True).start()

    server.listen = listen
    yield server
    server.server_close()


def test_asks_what_needs_no_database(server):
    server.listen()
    assert health.answers(server.address)
    assert server.seen == [("/health", server.address)]


@pytest.mark.parametrize("status", [403, 500, None])
def test_takes_nothing_but_200_for_an_answer(server, status):
    server.statuses[:] = [status]
    server.listen()
    assert not health.answers(server.address)


def test_ends_as_soon_as_the_server_answers(server):
    server.statuses[:] = [503, None, 200]
    process = start([CONTAINERS / "health.py", server.address], {"http_proxy": "http://127.0.0.1:9"})
    time.sleep(1)
    assert process.poll() is None
    server.listen()
    listening = time.monotonic()
    assert process.wait(timeout=10) == 0
    assert len(server.seen) == 3 and time.monotonic() - listening < 3


def test_gives_up_in_the_time_that_ecs_gives_it(server):
    clock = "import time; passed = iter(range(0, 100, 1)); time.monotonic = lambda: next(passed); time.sleep = print"
    process = start(["-c", f"{clock}\n{(CONTAINERS / 'health.py').read_text()}", server.address], {})
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert out == "0.1\n" * 4
