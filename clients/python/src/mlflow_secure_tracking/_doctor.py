"""Checks what works between this machine and a tracking server, and prints what to change."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import os
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from cryptography import x509
from requests.utils import get_environ_proxies

from . import AWS_ROLE, CLIENT_CREDENTIALS, SIGN_IN, TokenAuth, TokenError, _origin
from ._sources import printable
from ._storage import cause, signed_origin, signed_url, unreachable

_DEADLINE = 28.0  # seconds for all checks
_TIMEOUT = (5, 8)  # seconds to connect, to read
_PROVIDERS = {provider.get_name(): provider for provider in (AWS_ROLE, CLIENT_CREDENTIALS, SIGN_IN)}
_LEVELS = {"READ": "reader", "EDIT": "editor", "MANAGE": "admin"}
_MEBIBYTE = 1024 * 1024


class Problem(Exception):
    """A failure, and what to change."""

    def __init__(self, seen: str, todo: str) -> None:
        super().__init__(seen)
        self.todo = todo


def doctor(url: str | None, *, write: bool = False) -> int:
    """Run the checks one after the other, print a line for each, and return how many failed."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # for output that cannot show the check mark
    visit = _Visit(url or os.environ.get("MLFLOW_TRACKING_URI", ""))
    steps = [*_STEPS, *(_WRITES if write else ())]
    failed: list[str] = []
    passed: set[str] = set()
    unchecked: list[str] = []
    doing = ""

    def go() -> None:
        nonlocal doing
        for doing, needed, step in steps:
            if not passed.issuperset(needed):
                unchecked.append(doing)
                continue
            problem = ""
            try:
                told = step(visit)
            except Problem as error:
                told, problem = str(error), error.todo
            except requests.RequestException as error:
                odd = isinstance(error, ValueError)  # the answer is not JSON
                told, problem = (
                    "this is not the answer of an MLflow server behind oauth2-proxy"
                    if odd
                    else f"the server does not answer ({cause(error)})",
                    _ASK,
                )
            except Exception as error:  # an unexpected answer must not end the other checks
                told, problem = f"this is not the answer of an MLflow server behind oauth2-proxy ({type(error).__name__})", _ASK
            _say(f"{'✗' if problem else '✓'} {doing}: {told}" + (f"\n    {problem}" if problem else ""))
            if problem:
                failed.append(doing)
            else:
                passed.add(doing)

    thread = threading.Thread(target=go, daemon=True)  # a call that hangs in the system's resolver cannot be stopped
    thread.start()
    thread.join(_DEADLINE)
    if thread.is_alive():
        failed.append(doing)
        _say(
            f"✗ {doing}: not finished after {_DEADLINE:.0f} s\n    The network or a proxy in it drops packets: ask its administrators"
        )
    if unchecked:
        _say(f"- not checked, because an earlier check failed: {', '.join(unchecked)}")
    _say(f"\n{len(failed)} failed" + (f": {', '.join(failed)}" if failed else ""))
    return min(len(failed), 100)


def _say(text: str) -> None:
    """Print at once and without control characters, because the server wrote a part of the text."""
    print(printable(text), flush=True)


@dataclass
class _Visit:
    """The results so far."""

    url: str
    origin: str = ""
    skew: float = 0.0  # seconds that this machine is ahead of the server
    token: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    level: str = ""
    tools: bool = True  # until the server answers that it does not support them
    run: dict[str, str] = field(default_factory=dict)

    @property
    def get_token(self) -> str:
        """How to get a token."""
        if self.tools:
            return f"mlflow-secure-tracking login {self.origin}, then: export MLFLOW_TRACKING_AUTH=sign-in"
        return (
            "This server does not support `mlflow-secure-tracking login`. With Google: export MLFLOW_TRACKING_TOKEN=$(gcloud auth print-identity-token)."
            " With other providers, ask the administrators of the server: they can set it up (toolsClientId)"
        )

    @property
    def ca(self) -> str:
        return os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", "")

    def send(self, method: str, path: str, *, auth: bool = True, **options: Any) -> requests.Response:
        """Send a request as MLflow's client does, but with the token that was found, and without following redirects."""
        headers = {"Authorization": f"Bearer {self.token}"} if auth else {}
        headers |= options.pop("headers", {})
        with requests.Session() as session:
            session.auth = lambda request: request  # otherwise requests would use a password from ~/.netrc
            return session.request(
                method,
                self.origin + path,
                headers=headers,
                verify=self.ca or True,
                timeout=_TIMEOUT,
                allow_redirects=False,
                **options,
            )

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request whose answer must have status 200."""
        answer = self.send(method, path, **options)
        if answer.status_code != 200:
            raise Problem(
                f"{method} {path}: HTTP {answer.status_code}, {answer.text[:200]}", _TODO.get(answer.status_code, _ASK)
            )
        return answer


_ASK = "Send this line to the administrators of the server: its logs have details"
_TODO = {
    401: "The server received no valid token: see the step `token`",
    403: "Ask an administrator of the server for a higher level",
    502: "The server does not answer the load balancer: tell its administrators",
    503: "No task of the server is running: tell its administrators",
    504: "The server took too long: try again, then tell its administrators",
}


def _address(visit: _Visit) -> str:
    try:
        visit.origin = _origin(visit.url)
    except ValueError:  # an invalid port
        pass
    if not visit.url:
        raise Problem("no URL is given", "export MLFLOW_TRACKING_URI=https://mlflow.example.com")
    if not visit.origin:
        bare = "/" not in visit.url and "." in visit.url
        example = f"https://{visit.url}" if bare else "https://mlflow.example.com"
        raise Problem(f"{visit.url} is not a web address", f"export MLFLOW_TRACKING_URI={example}")
    if not visit.origin.startswith("https:"):
        raise Problem(
            f"{visit.url} has no TLS, so the bearer token would be sent in plain text",
            f"export MLFLOW_TRACKING_URI=https:{visit.origin.partition(':')[2]}",
        )
    if visit.url.rstrip("/").casefold() != visit.origin:
        raise Problem(
            f"{visit.url} has a path, and MLflow's client would send its requests below that path",
            f"export MLFLOW_TRACKING_URI={visit.origin}",
        )
    return visit.origin


def _variable(visit: _Visit) -> str:
    """Programs use this variable, whatever URL the doctor was given."""
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    if given.rstrip("/").casefold() != visit.origin:
        seen = f"it is {given}, so programs use that server" if given else "it is not set, so programs write to this machine"
        raise Problem(seen, f"export MLFLOW_TRACKING_URI={visit.origin}")
    return "set"


def _name(visit: _Visit) -> str:
    host = urlsplit(visit.origin).hostname or ""
    if proxy := get_environ_proxies(visit.origin).get("https"):
        return f"resolved by the proxy {_without_password(proxy)}, which HTTPS_PROXY names"
    try:
        return ", ".join(sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None)}))
    except OSError as error:
        raise Problem(
            f"{host} has no address ({error.strerror or error})",
            "Check the spelling; for an internal name, connect to the company's network (VPN)",
        ) from None


def _connection(visit: _Visit) -> str:
    parts = urlsplit(visit.origin)
    if get_environ_proxies(visit.origin).get("https"):
        return "made by the proxy"
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_TIMEOUT[0]):
            return f"port {parts.port or 443} is open"
    except OSError as error:
        seen = (
            f"no connection to port {parts.port or 443} within {_TIMEOUT[0]} s"
            if isinstance(error, TimeoutError)
            else f"port {parts.port or 443} refuses ({error.strerror or error})"
        )
        raise Problem(
            seen,
            "Connect to the company's network (VPN): the server may allow only that network. Or set HTTPS_PROXY to the proxy of your network",
        ) from None


def _certificate(visit: _Visit) -> str:
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true"
    if insecure:
        raise Problem(
            "MLFLOW_TRACKING_INSECURE_TLS=true disables the check of the certificate: others in the network could read the bearer token",
            "unset MLFLOW_TRACKING_INSECURE_TLS",
        )
    file = visit.ca or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or requests.certs.where()
    if not os.path.exists(file):
        raise Problem(
            f"the file of certification authorities {file} does not exist",
            "unset MLFLOW_TRACKING_SERVER_CERT_PATH, or name a file that exists (the same for REQUESTS_CA_BUNDLE)",
        )
    try:
        visit.send("GET", "/ping", auth=False)
    except requests.exceptions.SSLError as error:
        seen = cause(error)
        if "Hostname mismatch" in seen or "doesn't match" in seen or "IP address mismatch" in seen:
            raise Problem(
                f"it is the certificate of another host ({seen})",
                "Check the URL; if it is correct, tell the administrators of the server",
            ) from None
        if "expired" in seen or "not yet valid" in seen:
            raise Problem(
                f"it is not valid now ({seen})",
                "Check the date of this machine; if it is correct, tell the administrators of the server: imported certificates are not renewed automatically",
            ) from None
        raise Problem(
            f"it is not signed by an authority in {file} ({seen}){_signer(visit)}",
            "If a proxy of the company opens TLS, export REQUESTS_CA_BUNDLE=<file with its certification authority>."
            " If the server has a certificate of your own authority, export MLFLOW_TRACKING_SERVER_CERT_PATH=<its file>."
            " Otherwise stop: another computer may intercept the connection",
        ) from None
    except requests.RequestException:
        pass  # the next step reports it
    return f"trusted, with the authorities in {file}"


def _expiry(visit: _Visit) -> str:
    days = _days_left(visit)
    if days is not None and days < 14:
        raise Problem(
            f"it expires in {days} days",
            "Tell the administrators of the server: imported certificates are not renewed automatically",
        )
    return "not known, behind a proxy" if days is None else f"in {days} days"


def _peer(visit: _Visit, context: ssl.SSLContext) -> ssl.SSLSocket | None:
    parts = urlsplit(visit.origin)
    try:
        return context.wrap_socket(
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_TIMEOUT[0]),
            server_hostname=parts.hostname,
        )
    except OSError:
        return None  # behind a proxy there is no direct connection


def _days_left(visit: _Visit) -> int | None:
    context = ssl.create_default_context(cafile=visit.ca or os.environ.get("REQUESTS_CA_BUNDLE") or requests.certs.where())
    peer = _peer(visit, context)
    if peer is None:
        return None
    with peer:
        return int((ssl.cert_time_to_seconds(peer.getpeercert()["notAfter"]) - time.time()) // 86400)  # type: ignore[index,arg-type]


def _signer(visit: _Visit) -> str:
    """The signer of an untrusted certificate. A proxy that opens TLS names itself there."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    peer = _peer(visit, context)
    if peer is None:
        return ""
    with peer:
        return f". It is signed by {x509.load_der_x509_certificate(peer.getpeercert(True) or b'').issuer.rfc4514_string()}"


def _answer(visit: _Visit) -> str:
    answer = visit.send("GET", "/ping", auth=False)
    if answer.status_code != 200:
        raise Problem(
            f"GET /ping: HTTP {answer.status_code}",
            _TODO.get(answer.status_code, "Is this the URL of an MLflow server behind oauth2-proxy? " + _ASK),
        )
    if answer.text != "OK":
        raise Problem(
            "GET /ping: the answer is not from oauth2-proxy",
            "Check the URL: this is another server, or a page in front of the server",
        )
    if "Date" in answer.headers:
        visit.skew = time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp()
    return "it answers"


def _clock(visit: _Visit) -> str:
    if abs(visit.skew) > 60:
        raise Problem(
            f"this machine is {abs(visit.skew):.0f} s {'ahead of' if visit.skew > 0 else 'behind'} the server, and tokens are valid only for a time",
            "Set the clock of this machine, preferably with NTP",
        )
    return f"it differs by {abs(visit.skew):.0f} s from the server's"


def _sign_in(visit: _Visit) -> str:
    answer = visit.send("GET", "/oauth2/start?rd=/", auth=False)
    if answer.status_code != 302:
        raise Problem(
            f"GET /oauth2/start: HTTP {answer.status_code}, not a redirect to the sign-in provider",
            "Is this the URL of an MLflow server behind oauth2-proxy? " + _ASK,
        )
    return f"in the browser, at {urlsplit(answer.headers['Location']).netloc}"


def _tools(visit: _Visit) -> str:
    answer = visit.send("GET", "/.well-known/mlflow-secure-tracking", auth=False)
    visit.tools = answer.status_code == 200
    return (
        f"with `mlflow-secure-tracking login`, at {answer.json()['issuer']}" if visit.tools else "not set up on this server"
    )


def _token(visit: _Visit) -> str:
    name = os.environ.get("MLFLOW_TRACKING_AUTH", "")
    user, password, token = (os.environ.get(f"MLFLOW_TRACKING_{part}", "") for part in ("USERNAME", "PASSWORD", "TOKEN"))
    others = [f"MLFLOW_TRACKING_{part}" for part, value in {"USERNAME": user and password, "TOKEN": token}.items() if value]
    if name:
        provider: TokenAuth | None = _PROVIDERS.get(name)
        if provider is None:
            raise Problem(
                f"MLFLOW_TRACKING_AUTH={name} is not one of {', '.join(_PROVIDERS)}", "export MLFLOW_TRACKING_AUTH=sign-in"
            )
        try:
            visit.token = provider._token(visit.origin)
        except TokenError as error:
            raise Problem(str(error), visit.get_token if name == "sign-in" else "Change the setting that the line names") from None
        source = f"MLFLOW_TRACKING_AUTH={name}" + (f", which takes precedence over {' and '.join(others)}" if others else "")
    elif user and password:
        visit.token, source = (
            password,
            "MLFLOW_TRACKING_PASSWORD" + (", which takes precedence over MLFLOW_TRACKING_TOKEN" if token else ""),
        )
    elif token:
        visit.token, source = token, "MLFLOW_TRACKING_TOKEN"
    else:
        raise Problem("there is none", visit.get_token)
    visit.claims = _claims(visit.token)
    if not visit.claims:
        raise Problem(f"the value of {source} is not a signed token (JWT)", visit.get_token)
    who = visit.claims.get("email") or visit.claims.get("sub")
    ends = visit.claims.get("exp", 0) - time.time() + visit.skew
    if ends <= 0:
        raise Problem(f"the token of {source}, for {who}, expired {-ends / 60:.0f} min ago", visit.get_token)
    return f"from {source}, for {who}, issuer {visit.claims.get('iss')}, audience {visit.claims.get('aud') or visit.claims.get('client_id')}, valid for {ends / 60:.0f} more min"


def _claims(token: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return found if isinstance(found, dict) else {}
    except (IndexError, ValueError):
        return {}


def _accepted(visit: _Visit) -> str:
    answer = visit.send("GET", "/oauth2/userinfo")
    if answer.status_code == 200:
        return f"signed in as {answer.json().get('email') or answer.json().get('user')}"
    if answer.status_code not in (401, 403):
        raise Problem(f"GET /oauth2/userinfo: HTTP {answer.status_code}", _TODO.get(answer.status_code, _ASK))
    claims = visit.claims
    why = "its audience is wrong, the server does not trust its issuer, or this account is not allowed"
    if claims.get("email_verified") is False:
        why = f"the address {claims.get('email')} is not verified at {claims.get('iss')}"
    raise Problem(
        f"the server rejects the token (HTTP {answer.status_code}): {why}. Issuer {claims.get('iss')}, audience {claims.get('aud')}, for {claims.get('email') or claims.get('sub')}",
        f"If that is not you or not this server: {visit.get_token}. Otherwise ask the administrators of the server to allow your account (emailDomains, groups)",
    )


def _level(visit: _Visit) -> str:
    answer = visit.send("GET", "/ajax-api/3.0/mlflow/users/current/permissions")
    found = answer.json().get("permissions", []) if answer.status_code == 200 else []
    if not found:
        raise Problem(
            f"none ({answer.text[:200]})" if answer.status_code == 403 else f"HTTP {answer.status_code}",
            "Ask an administrator of the server for a level",
        )
    visit.level = _LEVELS.get(found[0]["permission"], found[0]["permission"])
    return visit.level


def _reading(visit: _Visit) -> str:
    visit.call("GET", "/api/2.0/mlflow/experiments/search?max_results=1")
    return "experiments can be listed"


def _versions(visit: _Visit) -> str:
    server = visit.call("GET", "/version").text.strip()
    clients = {}
    for name in ("mlflow", "mlflow-skinny", "mlflow-tracing"):
        try:
            clients[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    if not clients:
        raise Problem(f"the server has MLflow {server}, but this Python has no MLflow", f"pip install mlflow=={server}")
    name, client = next(iter(clients.items()))
    if client.split(".")[0] != server.split(".")[0]:
        raise Problem(
            f"the server has MLflow {server}, but this Python has {name} {client}, another major version",
            f"pip install {name}=={server}",
        )
    return f"MLflow {server} on the server, {name} {client} here"


def _files(visit: _Visit) -> str:
    info = visit.call("GET", "/api/3.0/mlflow/server-info").json()
    ways = {}
    for way in ("upload", "download"):
        asked = os.environ.get(f"MLFLOW_ENABLE_PROXY_MULTIPART_{way.upper()}")
        direct = asked.lower() == "true" if asked else bool(info.get(f"multipart_{way}s_enabled"))
        ways[way] = ("directly with S3" if direct else "through the server") + (
            f", set by MLFLOW_ENABLE_PROXY_MULTIPART_{way.upper()}" if asked else ""
        )
    return f"downloads {ways['download']}; large uploads {ways['upload']}"


def _run(visit: _Visit) -> str:
    if visit.level == "reader":
        raise Problem("readers may not write", "Ask an administrator of the server to make you an editor")
    name = f"doctor of {visit.claims.get('email') or visit.claims.get('sub')}"
    found = visit.send("GET", "/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": name})
    experiment = (
        found.json()["experiment"]["experiment_id"]
        if found.status_code == 200
        else visit.call("POST", "/api/2.0/mlflow/experiments/create", json={"name": name}).json()["experiment_id"]
    )
    run = visit.call("POST", "/api/2.0/mlflow/runs/create", json={"experiment_id": experiment, "run_name": "doctor"}).json()[
        "run"
    ]["info"]
    visit.run = {"experiment": experiment, "id": run["run_id"], "files": urlsplit(run["artifact_uri"]).path.lstrip("/")}
    return f"created in the experiment {name!r}"


def _through_server(visit: _Visit) -> str:
    path = f"/api/2.0/mlflow-artifacts/artifacts/{visit.run['files']}/doctor.bin"
    sent = secrets.token_bytes(_MEBIBYTE)
    visit.call("PUT", path, data=sent, headers={"Content-Type": "application/octet-stream"})
    if visit.call("GET", path).content != sent:
        raise Problem("the downloaded file differs from the uploaded file", _ASK)
    return "uploaded and downloaded 1 MiB"


def _signed(visit: _Visit) -> str:
    answer = visit.send("GET", f"/api/2.0/mlflow-artifacts/presigned/{visit.run['files']}/doctor.bin")
    url = signed_url(answer)
    origin = signed_origin(url)
    if answer.status_code != 200 or not origin:
        return "not used: all files go through the server"
    if reason := unreachable(origin):
        raise Problem(
            f"this machine does not reach {origin} ({reason}), where clients read and write files",
            "export MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD=false, or have the network opened",
        )
    found = requests.get(url, timeout=_TIMEOUT)
    if found.status_code != 200 or len(found.content) != _MEBIBYTE:
        raise Problem(f"{origin} answers HTTP {found.status_code} to a signed URL", _ASK)
    return f"1 MiB from {origin}"


def _trace(visit: _Visit) -> str:
    now = f"{time.time_ns()}"
    span = {
        "traceId": secrets.token_hex(16),
        "spanId": secrets.token_hex(8),
        "name": "doctor",
        "kind": 1,
        "startTimeUnixNano": now,
        "endTimeUnixNano": now,
    }
    visit.call(
        "POST",
        "/v1/traces",
        json={"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]},
        headers={"x-mlflow-experiment-id": visit.run["experiment"]},
    )
    return "accepted"


def _clean(visit: _Visit) -> str:
    visit.call("POST", "/api/2.0/mlflow/runs/delete", json={"run_id": visit.run["id"]})
    return "the run is deleted; its experiment, its file and the trace are not removed"


Step = tuple[str, tuple[str, ...], Callable[[_Visit], str]]
_STEPS: list[Step] = [
    ("address", (), _address),
    ("MLFLOW_TRACKING_URI", ("address",), _variable),
    ("name", ("address",), _name),
    ("connection", ("name",), _connection),
    ("certificate", ("connection",), _certificate),
    ("expiry of the certificate", ("certificate",), _expiry),  # no other check needs it
    ("server", ("certificate",), _answer),
    ("clock", ("server",), _clock),
    ("sign-in", ("server",), _sign_in),
    ("sign-in of tools", ("server",), _tools),
    ("token", ("server",), _token),
    ("access", ("token",), _accepted),
    ("level", ("access",), _level),
    ("reading", ("level",), _reading),
    ("versions", ("level",), _versions),
    ("files", ("level",), _files),
]
_WRITES: list[Step] = [
    ("run", ("reading",), _run),
    ("files through the server", ("run",), _through_server),
    ("files from S3", ("files through the server",), _signed),
    ("traces", ("run",), _trace),
    ("end", ("run",), _clean),
]
