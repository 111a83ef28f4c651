"""docs/use-it.md says what every error text means: the texts of the sources are compared with its tables, in both directions."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT

PAGE = "docs/use-it.md"
DOOR = "containers/secure_mlflow"
CLIENT = "clients/python/src/mlflow_secure_tracking"

# What carries a text to a person: the name of a call, or of a variable that is made part of such a text, by folder or file.
CARRIERS = {
    DOOR: {"Refusal", "Refused", "MlflowException", "cls", "denied", "invalid_parameter_value"},
    f"{DOOR}/traces.py": {"ValueError"},  # becomes part of a refusal
    CLIENT: {"Problem", "TokenError", "error", "warning", "seen", "told", "what", "why"},
    f"{CLIENT}/_doctor.py": {"_say"},
    f"{CLIENT}/_loopback.py": {"write"},  # a page of the browser
}
RETURNING = {"reason_against"}  # functions that return such a text
# Raised, but their texts show no person anything: they are handled, end the server at its start, or are no whole texts.
UNSEEN = {
    f"{DOOR}/artifacts.py:NotImplementedError", f"{DOOR}/door.py:error", f"{DOOR}/door.py:too_large", f"{DOOR}/page.py:ValueError", f"{DOOR}/webhooks.py:ValueError",
    f"{CLIENT}/_sources.py:AssertionError",
}
GAP = "…"


class Text(NamedTuple):
    place: str
    text: str


def name_of(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def spelt(node: ast.AST) -> Iterator[str]:
    """The texts that an expression may give, with a gap for each value."""
    if isinstance(node, ast.Constant):
        value = node.value.decode() if isinstance(node.value, bytes) else node.value
        yield re.sub(r"%[sd]", GAP, value) if isinstance(value, str) else GAP
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield "".join(next(spelt(side), GAP) for side in (node.left, node.right))
    elif isinstance(node, ast.IfExp):
        yield from spelt(node.body)
        yield from spelt(node.orelse)
    elif isinstance(node, (ast.Tuple, ast.BoolOp)):
        for part in node.elts if isinstance(node, ast.Tuple) else node.values:
            yield from spelt(part)


def carried(tree: ast.AST, carriers: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        values: list[ast.AST] = []
        if isinstance(node, ast.Call) and name_of(node.func) in carriers:
            values = node.args[:1] if name_of(node.func) == "Problem" else node.args  # its second says what to do
        elif isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {name_of(part) for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])}
            values = [node.value] if names & carriers else []
        elif isinstance(node, ast.FunctionDef) and node.name in RETURNING:
            values = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value]
        for value in values:
            for text in spelt(value):
                yield value.lineno, text.strip()


def sources(folder: str) -> Iterator[tuple[str, ast.AST, set[str]]]:
    for file in sorted((ROOT / folder).glob("*.py")):
        path = str(file.relative_to(ROOT))
        yield path, ast.parse(file.read_text("utf-8")), CARRIERS[folder] | CARRIERS.get(path, set())


def texts() -> list[Text]:
    found = [Text(f"{path}:{line}", text) for folder in (DOOR, CLIENT) for path, tree, carriers in sources(folder) for line, text in carried(tree, carriers)]
    for file in sorted((ROOT / DOOR / "pages").glob("*.html")):
        bare = re.sub(r"\{\{.*?\}\}", GAP, re.sub(r"\{\{/\*.*?\*/\}\}", "", file.read_text("utf-8"), flags=re.DOTALL))
        for paragraph in re.findall(r"<(?:p|li)>(.*?)</", bare):
            text = html.unescape(re.sub(r"<[^>]*>", "", paragraph))
            if len(text.split()) > 2:  # else a link or a number
                found.append(Text(str(file.relative_to(ROOT)), text))
    for file in sorted((ROOT / "src").rglob("*.ts")):
        for body in re.findall(r"messageBody: '([^']*)'", file.read_text("utf-8")):
            found.append(Text(str(file.relative_to(ROOT)), body))
    return [text for text in found if re.search(r"\b[A-Za-z]+\b", text.text)]  # not those of values or of a code alone

def quoted() -> dict[str, list[str]]:
    """What the columns "message" of the page quote, by the heading above the table."""
    _, _, section = (ROOT / PAGE).read_text("utf-8").partition("\n## What the error says\n")
    quotes: dict[str, list[str]] = {}
    for part in section.partition("\n## ")[0].split("\n### ")[1:]:
        header, _, *rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
        quotes[part.splitlines()[0]] = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row[header.index("message")])]
    return quotes


def covers(quote: str, text: str) -> bool:
    """Whether the quote is a part or an instance of the text: a gap stands for anything. A text with few words has only itself as an instance."""
    if quote == text:
        return True
    part, whole = (re.compile(".*".join(map(re.escape, pattern.split(GAP))), re.DOTALL) for pattern in (quote, text))
    specific = len(re.findall(r"[\w'/-]+", text.replace(GAP, " "))) > 2
    return part.search(text) is not None or (specific and whole.fullmatch(quote) is not None)


ELSEWHERE = "Other programs"  # the heading of the table with texts of MLflow, oauth2-proxy and others


def test_every_error_text_is_in_the_page():
    quotes = [quote for heading, found in quoted().items() if heading != ELSEWHERE for quote in found]
    missing = [f"{text.place}: {text.text}" for text in texts() if not any(covers(quote, text.text) for quote in quotes)]
    assert not missing, f"{PAGE} lacks a row, in the tables below \"What the error says\", for\n" + "\n".join(missing)


def test_the_page_quotes_no_text_that_is_gone():
    known = [text.text for text in texts()]
    stale = [f"{heading}: {quote}" for heading, found in quoted().items() if heading != ELSEWHERE for quote in found if not any(covers(quote, text) for text in known)]
    assert not stale, f"{PAGE} quotes what no source says:\n" + "\n".join(stale)


def test_no_exception_is_overlooked():
    raised = {
        f"{path}:{name_of(node.exc.func)}"
        for folder in (DOOR, CLIENT)
        for path, tree, carriers in sources(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and name_of(node.exc.func) not in carriers
    }
    assert raised == UNSEEN, "show people its text: add it to CARRIERS; else to UNSEEN"
