"""Checks that this machine reaches the storage of signed URLs. MLflow's client retries for minutes without a reason."""

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
_AGAIN = 30.0  # seconds; the network may recover, but not every file must wait for a new check
_SIGNED = {"/mlflow-artifacts/presigned/": "DOWNLOAD", "/mlflow-artifacts/mpu/create/": "UPLOAD"}

_logger = logging.getLogger(__name__)
_seen: dict[str, tuple[float, str]] = {}  # by origin: the time until which the result is valid, and why the origin cannot be reached
_lock = threading.Lock()


def watch(request: requests.PreparedRequest) -> None:
    """If this request asks for a signed URL, check the storage after the tracking server has answered."""
    path = urlsplit(request.url or "").path
    for part, way in _SIGNED.items():
        if part in path:
            request.register_hook("response", functools.partial(_check, way))


def _check(way: str, answer: requests.Response, **_: Any) -> None:
    origin = signed_origin(signed_url(answer))
    reason = origin and _why_not(origin)
    if reason:
        told = (
            f"this machine does not reach {origin}, where clients read and write files ({reason})."
            f" Set MLFLOW_ENABLE_PROXY_MULTIPART_{way}=false to send files through the server, or have the network opened"
        )
        _logger.error("%s", told)  # MLflow may raise its own error, which names the path instead
        raise TokenError(told)


def _why_not(origin: str) -> str:
    """Why the storage cannot be reached. Checked once; after a failure, checked again after some time."""
    with _lock:  # many threads call this at the same time
        again_at, reason = _seen.get(origin, (0.0, ""))
        if time.monotonic() >= again_at:
            reason = unreachable(origin)
            _seen[origin] = (time.monotonic() + _AGAIN if reason else float("inf"), reason)
        return reason


def signed_url(answer: requests.Response) -> str:
    """The signed URL in an answer of the server; empty if there is none."""
    try:
        body: Any = answer.json()
        return str(body["url"] if "url" in body else body["credentials"][0]["url"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


def signed_origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") else ""


def unreachable(origin: str) -> str:
    """Why the storage cannot be reached from this machine; empty if it answers. Proxies of the environment are used."""
    try:
        requests.head(origin, timeout=_TIMEOUT, allow_redirects=False)
        return ""
    except requests.RequestException as error:
        return cause(error)


def cause(error: BaseException) -> str:
    """The innermost reason, which helps people most."""
    inner = (getattr(error, "reason", None), error.args[0] if error.args else None, error.__cause__)
    if found := next((each for each in inner if isinstance(each, BaseException)), None):
        return cause(found)
    return getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
