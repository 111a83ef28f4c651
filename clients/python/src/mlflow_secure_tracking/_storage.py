"""Whether this machine reaches the storage that signed URLs lead to: MLflow's client tries for minutes and does not say what it waits for."""

from __future__ import annotations

import functools
import threading
from typing import Any
from urllib.parse import urlsplit

import requests

from ._sources import TokenError

_TIMEOUT = (5, 10)  # seconds to connect, to read
_SIGNED = {"/mlflow-artifacts/presigned/": "DOWNLOAD", "/mlflow-artifacts/mpu/create/": "UPLOAD"}

_reached: set[str] = set()
_lock = threading.Lock()


def watch(request: requests.PreparedRequest) -> None:
    """Look at the storage once the tracking server has answered, if this request asks for a signed URL."""
    path = urlsplit(request.url or "").path
    for part, way in _SIGNED.items():
        if part in path:
            request.register_hook("response", functools.partial(_check, way))


def _check(way: str, answer: requests.Response, **_: Any) -> None:
    origin = signed_origin(signed_url(answer))
    if not origin or origin in _reached:
        return
    with _lock:  # many threads ask at the same time
        if origin not in _reached:
            if reason := unreachable(origin):
                raise TokenError(
                    f"this machine does not reach {origin}, where the server sends its clients for files ({reason})."
                    f" Set MLFLOW_ENABLE_PROXY_MULTIPART_{way}=false to send them through the server, or have the network opened"
                )
            _reached.add(origin)


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
