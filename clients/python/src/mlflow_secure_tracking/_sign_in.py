"""Sign in as a person: authorization code with PKCE in the browser, or the device flow. Renews with the refresh token."""

from __future__ import annotations

import functools
import os
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from jwskate import ExpiredJwt, InvalidClaim, JwkSet
from requests_oauth2client import (
    AuthorizationRequest,
    BearerToken,
    DeviceAuthorizationPollingJob,
    IdToken,
    InvalidGrant,
    OAuth2Client,
    OAuth2Error,
    oidc_discovery_document_url,
)

from . import _life, _loopback, _margin, _origin, _store
from ._sources import _TIMEOUT, TokenError, _hide, printable
from ._storage import cause

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "device_authorization_endpoint", "revocation_endpoint", "jwks_uri")


def login(url: str | None = None, device: bool | None = False, replace: bool = False) -> None:
    """Sign in to a tracking server; print the link and the name. ``device=None``: device flow only if there is no browser here."""
    origin = home(url)
    public = _ask_server(origin)
    issuer, client_id, scope = public["issuer"], public["client_id"], public["scope"]
    _check_pins(origin, issuer, client_id, replace)
    client = _client(issuer, client_id)
    if device is None:
        device = bool(client.device_authorization_endpoint) and not _has_browser()
    _say(f"Signing in to {origin} at {issuer} (client {client_id}).")
    with _asking(f"{issuer} to sign in"):
        tokens, nonce = _by_device(client, scope) if device else _by_browser(client, scope, origin)
    record = _checked(client, tokens, nonce=nonce)
    record |= {"issuer": issuer, "client_id": client_id, "refresh_token": tokens.refresh_token}
    with _store.lock():
        _check_pins(origin, issuer, client_id, replace)  # again, because another login may have ended since
        where = _store.write(origin, record)
    until = datetime.fromtimestamp(record["ends_at"]).astimezone().isoformat(" ", "minutes")
    then = "It is renewed automatically" if tokens.refresh_token else "Then sign in again: the provider gave no refresh token"
    _say(f"Signed in as {record['name']}. The ID token expires at {until}. {then}. It is stored in {where}.")
    _say(f"export MLFLOW_TRACKING_URI={origin}\nexport MLFLOW_TRACKING_AUTH=sign-in")


def _say(text: str) -> None:
    """Print at once and without control characters, because servers and providers wrote a part of the text."""
    print(printable(text), flush=True)


def logout(url: str | None = None) -> None:
    """Revoke the refresh token if the provider supports that, and delete the sign-in."""
    origin = home(url)
    with _store.lock():
        if origin not in _store.load():
            raise TokenError(f"sign-in: there is no sign-in to {origin} on this machine")
        told = _revoke(origin)
        _store.delete(origin)
    _say(f"Signed out of {origin}: {told}.")


def _revoke(origin: str) -> str:
    try:
        record = _store.read(origin)
        issuer, secret = record["issuer"], record["refresh_token"]
        if not secret:
            return "the token is deleted"
        client = _client(issuer, record["client_id"])
        if not client.revocation_endpoint:
            return f"the refresh token is deleted, but not revoked: {issuer} offers no revocation"
        with _asking(f"{issuer} to revoke the refresh token", secret):
            if client.revoke_refresh_token(secret):
                return "the refresh token is revoked and deleted"
        return f"the refresh token is deleted, but {issuer} did not revoke it"
    except TokenError as error:
        return f"the refresh token is deleted, but not revoked: {error}"


def sign_in_token(origin: str) -> tuple[str, float]:
    """The ID token of the sign-in to this tracking server, renewed if necessary, and its remaining lifetime."""
    try:
        record = _store.read(origin)
        if _due(record):
            with _store.lock():
                record = _store.read(origin)  # again, because another process may have renewed it
                if _due(record):
                    record = _renewed(origin, record)
    except OSError as error:
        raise TokenError(f"sign-in: {error}") from None
    rest = record["ends_at"] - time.time()
    if rest <= 0:
        raise TokenError(f"sign-in: the ID token has expired and cannot be renewed. Run: mlflow-secure-tracking login {origin}")
    return record["id_token"], rest


def _due(record: dict[str, Any]) -> bool:
    return bool(record["refresh_token"]) and record["ends_at"] - time.time() < _margin(_life(record["id_token"], None))


def _renewed(origin: str, record: dict[str, Any]) -> dict[str, Any]:
    issuer, secret = record["issuer"], record["refresh_token"]
    client = _client(issuer, record["client_id"])
    with _asking(f"{issuer} to renew the ID token", secret):
        try:
            tokens = client.refresh_token(secret)
        except InvalidGrant as error:
            raise TokenError(
                f"sign-in: {issuer} ended the sign-in to {origin} ({_hide(error.description or error.error, secret)})."
                f" Run: mlflow-secure-tracking login {origin}"
            ) from None
    record["refresh_token"] = tokens.refresh_token or secret
    try:
        record |= _checked(client, tokens, sub=record["sub"])
    finally:  # the old refresh token may be invalid now, so the new one is stored even if the ID token is refused
        _store.write(origin, record)
    return record


def home(url: str | None) -> str:
    """The origin of the tracking server: the argument or MLFLOW_TRACKING_URI."""
    given = url or os.environ.get("MLFLOW_TRACKING_URI", "")
    try:
        origin = _origin(given)
    except ValueError:  # an invalid port
        origin = ""
    if not _safe(origin):
        raise TokenError(
            f"sign-in: give the https URL of the tracking server, such as https://mlflow.example.com, or set"
            f" MLFLOW_TRACKING_URI to it; {'there is none' if not given else f'got {given!r}'}"
        )
    return origin


def _safe(url: str) -> bool:
    """Whether data sent to this URL is protected: https, or the loopback of this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))
    )


def _ask_server(origin: str) -> dict[str, str]:
    """The tracking server's settings for signing in: issuer, public client id and scope."""
    url = f"{origin}/.well-known/mlflow-secure-tracking"
    with _asking(url):
        verify = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True
        answer = requests.get(url, timeout=_TIMEOUT, verify=verify, allow_redirects=False)
    try:
        public = answer.json() if answer.status_code == 200 else None
    except ValueError:
        public = None
    if not isinstance(public, dict) or not {"issuer", "client_id", "scope"} <= public.keys():
        raise TokenError(
            f"sign-in: {origin} does not say how to sign in (GET {url}: HTTP {answer.status_code},"
            f" {answer.headers.get('Content-Type', 'no content type')}). Its administrators can set toolsClientId of its sign-in"
            " provider (docs/tokens.md of cdk-secure-mlflow). Other ways: MLFLOW_TRACKING_AUTH=aws-role with an AWS role, or a"
            " bearer token in MLFLOW_TRACKING_TOKEN"
        )
    if not all(isinstance(public[name], str) for name in ("issuer", "client_id", "scope")):
        raise TokenError(f"sign-in: {url}: issuer, client_id and scope must be text")
    if not _safe(public["issuer"]):
        raise TokenError(f"sign-in: {url}: the issuer {public['issuer']} is not an https URL. No request was sent to it")
    return public


def _check_pins(origin: str, issuer: str, client_id: str, replace: bool) -> None:
    """A server keeps its provider and client, and two servers never share them. Otherwise one would get the other's tokens."""
    for other, held in _store.load().items():
        same = (held["issuer"], held["client_id"]) == (issuer, client_id)
        if other != origin and same:
            raise TokenError(
                f"sign-in: {origin} names the provider and client that belong to {other} ({issuer}, {client_id}). An ID token for one"
                f" is valid for the other, so {origin} could misuse it. If it is the same server with a new name, run:"
                f" mlflow-secure-tracking logout {other}"
            )
        if other == origin and not same and not replace:
            raise TokenError(
                f"sign-in: {origin} now names {issuer} (client {client_id}); you signed in at {held['issuer']} (client"
                f" {held['client_id']}). Ask the administrators of the server; if the change is intended, add --replace"
            )


def _session() -> requests.Session:
    session = requests.Session()
    session.max_redirects = 0  # the data is meant only for this URL
    session.request = functools.partial(session.request, timeout=_TIMEOUT)  # type: ignore[method-assign]
    return session


def _client(issuer: str, client_id: str) -> OAuth2Client:
    """The provider, from its discovery document."""
    url = oidc_discovery_document_url(issuer)
    with _asking(url):
        session = _session()
        answer = session.get(url)
        answer.raise_for_status()
        metadata = answer.json()
        if metadata.get("issuer") != issuer:
            raise TokenError(f"sign-in: {url} names the issuer {metadata.get('issuer')}, not {issuer}. No token was sent")
        for name in _ENDPOINTS:
            if metadata.get(name) and not _safe(metadata[name]):
                raise TokenError(f"sign-in: {url}: {name} {metadata[name]} is not an https URL. No request was sent to it")
        keys = session.get(metadata["jwks_uri"])
        keys.raise_for_status()
        return OAuth2Client.from_discovery_document(
            metadata,
            issuer=issuer,
            client_id=client_id,
            device_authorization_endpoint=metadata.get("device_authorization_endpoint"),
            authorization_server_jwks=JwkSet(keys.json()),
            session=session,
            testing=True,  # skips the library's own check of the URLs, which does not allow the loopback
        )


def _by_browser(client: OAuth2Client, scope: str, origin: str) -> tuple[BearerToken, str | None]:
    # The path names the server. A server that names the client of another one requests a redirect that this client does not have.
    path = "/" + urlsplit(origin).netloc.replace(":", "_")
    state = AuthorizationRequest.generate_state()
    with _loopback.listen(path, state) as (port, wait):
        asked = client.authorization_request(scope=scope, redirect_uri=f"http://localhost:{port}{path}", state=state)
        _say(f"If no browser opens, open this link in a browser on this machine:\n{asked.uri}")
        if not webbrowser.open(asked.uri):
            hint = "use the device flow (--device), or " if client.device_authorization_endpoint else ""
            _say(
                "No browser could be opened here. On a machine that you reach by ssh,"
                f" {hint}run `ssh -L {port}:localhost:{port} <this machine>` on your own machine and open the link there."
            )
        query = wait()
    given = asked.validate_callback("?" + query)
    return client.authorization_code(given, validate=False), asked.nonce  # _checked verifies more than the library


def _has_browser() -> bool:
    try:
        return bool(webbrowser.get())
    except webbrowser.Error:
        return False


def _by_device(client: OAuth2Client, scope: str) -> tuple[BearerToken, None]:
    if not client.device_authorization_endpoint:
        raise TokenError(f"sign-in: {client.issuer} offers no device flow. Sign in on a machine with a browser, without --device")
    asked = client.authorize_device(scope=scope)
    _say(f"Open {asked.verification_uri} on any machine and enter the code {asked.user_code}")
    if asked.verification_uri_complete:
        _say(f"or open {asked.verification_uri_complete}")
    ask_again = DeviceAuthorizationPollingJob(client, asked)
    while not asked.is_expired():
        if tokens := ask_again():
            return tokens, None
    raise TokenError("sign-in: the code was not entered in time. Run the command again")


def _checked(client: OAuth2Client, tokens: BearerToken, **claims: Any) -> dict[str, Any]:
    """The record to store, after the signature, issuer, audience, expiry and these claims of the ID token are verified."""
    token = tokens.id_token
    if not isinstance(token, IdToken):
        raise TokenError(f"sign-in: {client.issuer} gave no ID token. The scope that the server names must contain openid")
    claims = {name: value for name, value in claims.items() if value}
    try:
        keys, (issuer, audience) = client.authorization_server_jwks, (client.issuer, client.client_id)
        token.validate(keys, alg=token.alg, issuer=issuer, audience=audience, **claims)
        life = _life(str(token), None)
        return {
            "id_token": str(token),
            "ends_at": min(token.claims["exp"], time.time() + life),  # the clock of this machine may be slow
            "sub": token.claims["sub"],
            "name": token.claims.get("email") or token.claims["sub"],
        }
    except Exception as error:  # the texts of other errors may contain the token
        told = type(error).__name__ + (f": {error.args[0]}" if isinstance(error, (InvalidClaim, ExpiredJwt)) else "")
        raise TokenError(
            f"sign-in: the ID token of {client.issuer} is rejected: {told}. Check this machine's clock, and the provider and"
            " client that the server names"
        ) from None


@contextmanager
def _asking(whom: str, secret: str | None = None) -> Iterator[None]:
    """Turn any error into one sentence without a token in it."""
    try:
        yield
    except TokenError:
        raise
    except Exception as error:
        if code := getattr(error, "error", None):  # the fields that OAuth2 defines for errors
            told = f"{code}: {getattr(error, 'description', None)}"
        elif isinstance(error, OAuth2Error):
            told = f"HTTP {error.response.status_code} with neither a token nor an OAuth2 error"
        elif isinstance(error, requests.TooManyRedirects):
            told = "the answer is a redirect, which is not followed"
        elif isinstance(error, requests.exceptions.SSLError):
            told = (
                f"{cause(error)}. For your own CA, set REQUESTS_CA_BUNDLE, or for the tracking server"
                " MLFLOW_TRACKING_SERVER_CERT_PATH"
            )
        elif isinstance(error, requests.HTTPError):
            told = str(error)
        elif isinstance(error, requests.RequestException):
            told = f"{cause(error)}. Run mlflow-secure-tracking doctor with the URL of the server"
        else:
            told = type(error).__name__
        raise TokenError(f"sign-in: asked {whom}: {_hide(told, secret) if secret else told[:500]}") from None
