"""What the tests share: the files of `containers/` as modules, a database that is played, and the metric filters of the monitoring."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.dont_write_bytecode = True  # containers/ is published as it is
CONTAINERS = ROOT / "containers"
sys.path.insert(0, str(CONTAINERS))


class Database:
    """Stands for PostgreSQL and psycopg2's connection to it.

    `answers` maps a part of a query to its rows, or to a function of the values that returns them; the first part that occurs counts.
    `events` holds what happened, in order, and may be shared with others.
    """

    def __init__(self, answers: dict[str, list[tuple] | Callable[[Any], list[tuple]]] | None = None, events: list[str] | None = None):
        self.answers = answers or {}
        self.events = [] if events is None else events
        self.autocommit = False
        self.uris: list[str] = []

    def connect(self, uri: str, **_: Any) -> Database:
        self.uris.append(uri)
        return self

    def cursor(self) -> Cursor:
        return Cursor(self)

    def close(self) -> None:
        self.events.append("close")


class Cursor:
    def __init__(self, database: Database):
        self.database = database
        self.rows: Iterator[tuple] = iter(())

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def execute(self, query: str, values: Any = ()) -> None:
        self.database.events.append(" ".join(query.split()))
        answer = next((answer for part, answer in self.database.answers.items() if part in query), [])
        self.rows = iter(answer(values) if callable(answer) else answer)

    def fetchone(self) -> tuple | None:
        return next(self.rows, None)

    def fetchall(self) -> list[tuple]:
        return list(self.rows)


def counted(name: str, text: str) -> list[str]:
    """The lines that a metric filter of src/parts/log-lines.ts counts: one with fields, of which those with a value must have exactly that."""
    source = (ROOT / "src" / "parts" / "log-lines.ts").read_text()
    (fields,) = re.findall(rf"\b{name}: logs\.FilterPattern\.literal\('\[(.+), \.\.\.\]'\)", source)
    wanted = [re.fullmatch(r'\w+(?: = "([^"*]+)")?', field)[1] for field in fields.split(", ")]

    def matches(line: str) -> bool:
        words = re.findall(r'\[[^\]]*\]|"[^"]*"|\S+', line)
        return len(words) >= len(wanted) and all(value in (None, word) for value, word in zip(wanted, words))

    return [line for line in text.splitlines() if matches(line)]


def pack(programs: dict[str, str]) -> str:
    """As scripts/pack.mts does."""
    return base64.b64encode(zlib.compress(json.dumps(programs).encode())).decode()


def start(command: list[str | Path], environment: dict[str, str]) -> subprocess.Popen:
    """Runs Python as a container does: with no environment but the declared one."""
    return subprocess.Popen([sys.executable, *command], env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
