"""Adds a valid bearer token to every request to an MLflow tracking server behind oauth2-proxy."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from . import _storage
from ._sources import TokenError, aws_role_token, client_credentials_token

__all__ = ["AWS_ROLE", "CLIENT_CREDENTIALS", "SIGN_IN", "TokenAuth", "TokenError", "login"]

_logger = logging.getLogger(__name__)
_PAUSE = 5.0  # seconds between a failed renewal and the next attempt, while the old token is still valid


class _Held(NamedTuple):
    token: str = ""
    renew_at: float = 0.0
    ends_at: float = 0.0
    warned: bool = False


class TokenAuth:
    """Both MLflow's request auth provider and the ``requests`` auth that it returns.

    It does not inherit from MLflow's abstract class, because a program that only sends OpenTelemetry traces does not need
    MLflow. MLflow does not check the class.
    """

    def __init__(self, name: str, ask: Callable[[str], tuple[str, Any]]) -> None:
        self._name = name
        self._ask = ask
        self._held: dict[str, _Held] = {}  # by origin, because a token must be sent only to the server for which it was requested
        self._failed: dict[str, tuple[float, str]] = {}
        self._strangers: set[str] = set()
        self._new_lock()
        if hasattr(os, "register_at_fork"):  # a lock that another thread held at the fork would never be released in the child
            os.register_at_fork(after_in_child=self._new_lock)

    def _new_lock(self) -> None:
        self._lock = threading.Lock()

    def get_name(self) -> str:
        return self._name

    def get_auth(self) -> TokenAuth:
        """MLflow calls this before every request. MLflow's entry points also name it, because they must be callable."""
        return self

    def session(self) -> requests.Session:
        """The session that OpenTelemetry's OTLP exporter over HTTP expects from a credential provider."""
        session = requests.Session()
        session.auth = self
        return session

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token if the request goes to the tracking server. MLflow also uses this auth for other hosts."""
        # mlflow.set_tracking_uri also sets the variable.
        home = _origin(os.environ.get("MLFLOW_TRACKING_URI", ""))
        if not home:
            raise TokenError(f"{self._name}: set MLFLOW_TRACKING_URI to the tracking server's URL; the bearer token is sent to no other host")
        target = _origin(request.url or "")
        if target == home:
            request.headers["Authorization"] = f"Bearer {self._token(home)}"
            _storage.watch(request)
        elif target not in self._strangers:
            self._strangers.add(target)
            _logger.warning("%s: no bearer token is sent to %s, because MLFLOW_TRACKING_URI is %s", self._name, target, home)
        return request

    def _token(self, origin: str) -> str:
        came = time.monotonic()
        held = self._held.get(origin, _Held())
        if came < held.renew_at:
            return held.token
        # One thread renews. The others wait only if the old token has expired.
        lock = self._lock
        if not lock.acquire(blocking=came >= held.ends_at):
            return held.token
        try:
            held = self._held.get(origin, _Held())
            if time.monotonic() < held.renew_at:
                return held.token
            failed_at, why = self._failed.get(origin, (0.0, ""))
            if why and failed_at > came:  # it failed while this thread waited: return the same error without another request
                raise TokenError(why)
            held = self._held[origin] = self._renew(origin, held)
            return held.token
        finally:
            lock.release()

    def _renew(self, origin: str, old: _Held) -> _Held:
        start = time.monotonic()  # before the request, so that a slow answer shortens the lifetime and never extends it
        try:
            token, expires_in = self._ask(origin)
            if not re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII):
                raise TokenError(f"{self._name}: the token contains characters that are not allowed in a bearer token")
            life = _life(token, expires_in)
            if life <= 0:
                raise TokenError(f"{self._name}: the token has no lifetime: neither exp and iat of a JWT, nor a positive expires_in")
        except TokenError as error:
            now = time.monotonic()
            if now >= old.ends_at:
                self._failed[origin] = (now, str(error))
                raise
            if not old.warned:
                _logger.warning("%s. The old token is used for at most another %d s", error, old.ends_at - now)
            return old._replace(renew_at=min(now + _PAUSE, old.ends_at), warned=True)
        return _Held(token, start + life - _margin(life), start + life)


def _margin(life: float) -> float:
    """A tenth of the lifetime, at least ten seconds, and at most half of the lifetime."""
    return min(max(life / 10, 10), life / 2)


def _life(token: str, expires_in: Any) -> float:
    """Seconds from issue to expiry. Only differences are used, because the clock of this machine may be wrong."""
    lives = []
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        lives.append(float(claims["exp"]) - float(claims["iat"]))
    except (IndexError, KeyError, TypeError, ValueError):
        pass  # not a JWT
    try:
        lives.append(float(expires_in))
    except (TypeError, ValueError):
        pass
    return min(lives, default=0.0)  # for a token that the server had cached, expires_in is the remaining time


def _origin(url: str) -> str:
    """scheme://host[:port] as browsers write it, or an empty text if it is not a web address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, default) else "")


def _sign_in_token(origin: str) -> tuple[str, Any]:
    from ._sign_in import sign_in_token  # imported late: its libraries are slow to import, and only people need them

    return sign_in_token(origin)


AWS_ROLE = TokenAuth("aws-role", aws_role_token)
CLIENT_CREDENTIALS = TokenAuth("client-credentials", client_credentials_token)
SIGN_IN = TokenAuth("sign-in", _sign_in_token)


def login(url: str | None = None, device: bool | None = None, replace: bool = False) -> None:
    """Sign in from a notebook: print the link, wait, and set MLflow's variables for the following cells.

    :param url: URL of the tracking server; None: ``MLFLOW_TRACKING_URI``
    :param device: True: a link and a code for any machine; False: a browser on this machine; None: a browser if there is one here
    :param replace: accept that the server names a different provider or client than at the last sign-in
    """
    from . import _sign_in

    _sign_in.login(url, device, replace)
    SIGN_IN._held.clear()  # another person may have signed in
    if url:
        os.environ["MLFLOW_TRACKING_URI"] = _origin(url)
    os.environ["MLFLOW_TRACKING_AUTH"] = "sign-in"
