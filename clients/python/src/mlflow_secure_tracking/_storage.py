"""Whether this machine reaches the storage that signed URLs lead to: MLflow's client tries for minutes and does not say what it waits for."""

from __future__ import annotations

import functools
import logging
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import requests

from ._sources import TokenError

_TIMEOUT = (5, 10)  # seconds to connect, to read
_AGAIN = 30.0  # seconds: a network comes back, but each of many files must not wait
_SIGNED = {"/mlflow-artifacts/presigned/": "DOWNLOAD", "/mlflow-artifacts/mpu/create/": "UPLOAD"}

_logger = logging.getLogger(__name__)
_seen: dict[str, tuple[float, str]] = {}  # by origin: until when that holds, and why it cannot be reached
_lock = threading.Lock()


def watch(request: requests.PreparedRequest) -> None:
    """Look at the storage once the tracking server has answered, if this request asks for a signed URL."""
    path = urlsplit(request.url or "").path
    for part, way in _SIGNED.items():
        if part in path:
            request.register_hook("response", functools.partial(_check, way))


def _check(way: str, answer: requests.Response, **_: Any) -> None:
    origin = signed_origin(signed_url(answer))
    reason = origin and _why_not(origin)
    if reason:
        told = (
            f"this machine does not reach {origin}, where the server sends its clients for files ({reason})."
            f" Set MLFLOW_ENABLE_PROXY_MULTIPART_{way}=false to send them through the server, or have the network opened"
        )
        _logger.error("%s", told)  # MLflow may raise an error of its own, which names the path instead
        raise TokenError(told)


def _why_not(origin: str) -> str:
    """Why the storage cannot be reached; looked at once, and again only some time after it could not."""
    with _lock:  # many threads ask at the same time
        again_at, reason = _seen.get(origin, (0.0, ""))
        if time.monotonic() >= again_at:
            reason = unreachable(origin)
            _seen[origin] = (time.monotonic() + _AGAIN if reason else float("inf"), reason)
        return reason


def signed_url(answer: requests.Response) -> str:
    """Of what the server answers to the question for one; empty if there is none."""
    try:
        body: Any = answer.json()
        return str(body["url"] if "url" in body else body["credentials"][0]["url"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


def signed_origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else ""


def unreachable(origin: str) -> str:
    """Why the storage cannot be reached from here; empty if it answers, whatever it says. Proxies of the environment are used as MLflow's client does."""
    try:
        requests.head(origin, timeout=_TIMEOUT, allow_redirects=False)
        return ""
    except requests.RequestException as error:
        return cause(error)


def cause(error: BaseException) -> str:
    """The innermost reason, which is what people look for."""
    inner = (getattr(error, "reason", None), error.args[0] if error.args else None, error.__cause__)
    if found := next((each for each in inner if isinstance(each, BaseException)), None):
        return cause(found)
    return getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
