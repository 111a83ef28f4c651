"""A fresh bearer token for every request to an MLflow tracking server that stands behind oauth2-proxy."""

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
_PAUSE = 5.0  # seconds until the next try after a failed renewal, while the old token still works


class _Held(NamedTuple):
    token: str = ""
    renew_at: float = 0.0
    ends_at: float = 0.0
    warned: bool = False


class TokenAuth:
    """MLflow's request auth provider and the ``requests`` auth it hands out, in one.

    It does not inherit from MLflow's abstract class, which MLflow never checks, so that a program that only sends
    OpenTelemetry traces needs no MLflow.
    """

    def __init__(self, name: str, ask: Callable[[str], tuple[str, Any]]) -> None:
        self._name = name
        self._ask = ask
        self._held: dict[str, _Held] = {}  # by origin, since a token must not reach a server it was not asked for
        self._failed: dict[str, tuple[float, str]] = {}
        self._strangers: set[str] = set()
        self._new_lock()
        if hasattr(os, "register_at_fork"):  # a lock that another thread held at the fork would never open in the child
            os.register_at_fork(after_in_child=self._new_lock)

    def _new_lock(self) -> None:
        self._lock = threading.Lock()

    def get_name(self) -> str:
        return self._name

    def get_auth(self) -> TokenAuth:
        """MLflow calls this before every request; the entry points of MLflow name it, too, since they must be callable."""
        return self

    def session(self) -> requests.Session:
        """What OpenTelemetry's OTLP exporter over HTTP wants from a credential provider."""
        session = requests.Session()
        session.auth = self
        return session

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token, if the request goes to the tracking server: MLflow also passes this auth for other hosts."""
        # mlflow.set_tracking_uri sets the variable, too.
        home = _origin(os.environ.get("MLFLOW_TRACKING_URI", ""))
        if not home:
            raise TokenError(f"{self._name}: set MLFLOW_TRACKING_URI to the tracking server's URL; no other host gets a token")
        target = _origin(request.url or "")
        if target == home:
            request.headers["Authorization"] = f"Bearer {self._token(home)}"
            _storage.watch(request)
        elif target not in self._strangers:
            self._strangers.add(target)
            _logger.warning("%s: no token for %s, since MLFLOW_TRACKING_URI is at %s", self._name, target, home)
        return request

    def _token(self, origin: str) -> str:
        came = time.monotonic()
        held = self._held.get(origin, _Held())
        if came < held.renew_at:
            return held.token
        # One thread renews. The others wait for it only if the old token has ended.
        lock = self._lock
        if not lock.acquire(blocking=came >= held.ends_at):
            return held.token
        try:
            held = self._held.get(origin, _Held())
            if time.monotonic() < held.renew_at:
                return held.token
            failed_at, why = self._failed.get(origin, (0.0, ""))
            if why and failed_at > came:  # it failed while this thread waited: the same answer, without another round
                raise TokenError(why)
            held = self._held[origin] = self._renew(origin, held)
            return held.token
        finally:
            lock.release()

    def _renew(self, origin: str, old: _Held) -> _Held:
        start = time.monotonic()  # before the question, so that a slow answer shortens the life and never prolongs it
        try:
            token, expires_in = self._ask(origin)
            if not re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII):
                raise TokenError(f"{self._name}: the token holds characters that no bearer token may hold")
            life = _life(token, expires_in)
            if life <= 0:
                raise TokenError(f"{self._name}: the token tells no life: neither exp and iat of a JWT nor a positive expires_in")
        except TokenError as error:
            now = time.monotonic()
            if now >= old.ends_at:
                self._failed[origin] = (now, str(error))
                raise
            if not old.warned:
                _logger.warning("%s. The old token is used for another %d s at most", error, old.ends_at - now)
            return old._replace(renew_at=min(now + _PAUSE, old.ends_at), warned=True)
        return _Held(token, start + life - _margin(life), start + life)


def _margin(life: float) -> float:
    """A tenth of the life, ten seconds at least, and never more than half of it."""
    return min(max(life / 10, 10), life / 2)


def _life(token: str, expires_in: Any) -> float:
    """Seconds from issue to end. Differences only: the wall clock of this machine may be wrong."""
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
    return min(lives, default=0.0)  # of a token that the server had in store, expires_in tells the rest


def _origin(url: str) -> str:
    """scheme://host[:port] as browsers write it, or nothing if it is no web address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, default) else "")


def _sign_in_token(origin: str) -> tuple[str, Any]:
    from ._sign_in import sign_in_token  # late: its libraries are slow to import, and only people need them

    return sign_in_token(origin)


AWS_ROLE = TokenAuth("aws-role", aws_role_token)
CLIENT_CREDENTIALS = TokenAuth("client-credentials", client_credentials_token)
SIGN_IN = TokenAuth("sign-in", _sign_in_token)


def login(url: str | None = None, device: bool | None = None, replace: bool = False) -> None:
    """Sign in from a notebook: print the link, wait, and set MLflow's variables for the cells that follow.

    :param url: address of the tracking server; None: ``MLFLOW_TRACKING_URI``
    :param device: True: by a link and a code for any machine; False: by a browser on this machine; None: whichever is possible
    :param replace: accept that the server names another provider or client than at the last sign-in
    """
    from . import _sign_in

    _sign_in.login(url, device, replace)
    SIGN_IN._held.clear()  # it may be another person now
    if url:
        os.environ["MLFLOW_TRACKING_URI"] = _origin(url)
    os.environ["MLFLOW_TRACKING_AUTH"] = "sign-in"
