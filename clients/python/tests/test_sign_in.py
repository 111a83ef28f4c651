from __future__ import annotations

import datetime
import ipaddress
import json
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
from importlib.metadata import entry_points
from urllib.parse import parse_qsl, urlencode, urlsplit

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.backends.null
import pytest
import requests
from conftest import Stub
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwskate import Jwk, Jwt, SymmetricJwk
from mlflow import MlflowClient
from provider import CLIENT, OTHER_KEY, Provider

import mlflow_secure_tracking as plugin
from mlflow_secure_tracking import TokenError, _cli, _loopback, _sign_in, _store

posix = pytest.mark.skipif(os.name != "posix", reason="files have no mode here")
WELL_KNOWN = "/.well-known/mlflow-secure-tracking"


class Site:
    """A tracking server that says how to sign in, and its provider."""

    def __init__(self, provider: Provider, tls: ssl.SSLContext | None = None) -> None:
        self.provider = provider
        self.public = {"issuer": provider.url, "client_id": CLIENT, "scope": "openid email offline_access"}
        self.tracking = Stub(self.answer).start(tls)
        self.url = self.tracking.url
        self.path = "/" + urlsplit(self.url).netloc.replace(":", "_")

    def answer(self, request):
        if request.path == WELL_KNOWN:
            return 200, {}, self.public
        return (200 if request.headers.get("authorization", "")[7:] in self.provider.issued else 401), {}, {}

    def bearers(self):
        return [r.headers.get("authorization", "")[7:] for r in self.tracking.requests if r.path != WELL_KNOWN]


@pytest.fixture(autouse=True)
def ports(monkeypatch):
    """Free ports: other programs may use the fixed ones during a test."""
    free = [socket.create_server(("127.0.0.1", 0)) for _ in _loopback.PORTS]
    monkeypatch.setattr(_loopback, "PORTS", tuple(one.getsockname()[1] for one in free))
    for one in free:
        one.close()


@pytest.fixture
def site(monkeypatch, tmp_path):
    """Sign-ins go into an empty home; the browser is a thread that follows the redirect."""
    for name in ("XDG_DATA_HOME", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_INSECURE_TLS"):
        monkeypatch.delenv(name, raising=False)
    site = Site(Provider())
    site.provider.paths[CLIENT] = site.path
    for name, value in {
        "HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "MLFLOW_TRACKING_URI": site.url,
        "MLFLOW_TRACKING_AUTH": "sign-in",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        monkeypatch.setenv(name, value)
    keyring.set_keyring(keyring.backends.fail.Keyring())
    monkeypatch.setattr(_loopback, "WAIT", 5.0)
    monkeypatch.setattr(_sign_in, "_has_browser", lambda: True)
    plugin.SIGN_IN._held.clear()  # a port may come again
    browse(monkeypatch, requests.get)
    yield site
    site.tracking.stop()
    site.provider.stub.stop()


def browse(monkeypatch, visit) -> None:
    def open_(url):
        threading.Thread(target=visit, args=(url,), daemon=True).start()
        return True

    monkeypatch.setattr(_sign_in.webbrowser, "open", open_)


def age(site) -> None:
    """The token that is kept has ended."""
    records = _store.load()
    records[site.url]["ends_at"] = 0
    _store._dump(records)


def get(url: str) -> int:
    return requests.get(url, timeout=5).status_code


# What it does


def test_login_token_logout(site, capfd):
    assert _cli.main(["login", site.url]) == 0
    out, err = capfd.readouterr()
    assert "Signed in as ada@example.com" in out and "It is renewed automatically" in out and "sign-ins.json" in out
    assert f"export MLFLOW_TRACKING_URI={site.url}\nexport MLFLOW_TRACKING_AUTH=sign-in\n" in out
    assert not any(secret in out + err for secret in site.provider.issued)
    assert _cli.main(["token"]) == 0
    assert capfd.readouterr().out == site.provider.issued[1] + "\n"
    assert _cli.main(["logout"]) == 0
    assert site.provider.alive == set() and _store.load() == {}
    assert "revoked and deleted" in capfd.readouterr().out
    for command in ("token", "logout"):
        assert _cli.main([command]) == 1
        assert f"there is no sign-in to {site.url}" in capfd.readouterr().err


def test_device(site, capfd):
    site.provider.approved = False
    threading.Timer(1.5, setattr, (site.provider, "approved", True)).start()
    assert _cli.main(["login", site.url, "--device"]) == 0
    assert "ABCD-EFGH" in capfd.readouterr().out
    assert len(site.provider.grants) > 1 and set(site.provider.grants) == {"device_code"}
    site.provider.metadata["device_authorization_endpoint"] = None
    assert _cli.main(["login", site.url, "--device"]) == 1
    assert "offers no device flow" in capfd.readouterr().err


def test_mlflow_renews_over_a_run_longer_than_the_token(site):
    site.provider.life = 2
    plugin.login(site.url)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        MlflowClient().search_experiments()
        time.sleep(0.1)
    assert 2 <= site.provider.grants.count("refresh_token") <= 6
    assert "" not in site.bearers() and len(set(site.bearers())) >= 3


def test_the_rest_of_a_kept_token_counts(site):
    plugin.login(site.url)
    records = _store.load()
    records[site.url]["ends_at"] = time.time() + 1000
    _store._dump(records)
    token, rest = _sign_in.sign_in_token(site.url)
    assert token == site.provider.issued[1] and 900 < rest <= 1000


def test_a_notebook(site, monkeypatch, capfd):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_AUTH"):
        monkeypatch.setenv(name, "")  # so that monkeypatch puts them back
        monkeypatch.delenv(name)
    assert plugin.login(site.url) is None
    assert (os.environ["MLFLOW_TRACKING_URI"], os.environ["MLFLOW_TRACKING_AUTH"]) == (site.url, "sign-in")
    MlflowClient(site.url).search_experiments()
    site.provider.person = "bob"
    plugin.login()  # another person: the next cell has that token
    MlflowClient(site.url).search_experiments()
    assert site.bearers()[-1] == site.provider.issued[-2] != site.bearers()[0]


@pytest.mark.parametrize("offers", [True, False])
def test_without_a_browser(site, monkeypatch, capfd, offers):
    monkeypatch.setattr(_sign_in.webbrowser, "open", lambda _: False)
    monkeypatch.setattr(_sign_in, "_has_browser", lambda: False)
    monkeypatch.setattr(_loopback, "WAIT", 0.3)
    if not offers:
        site.provider.metadata["device_authorization_endpoint"] = None
    assert _cli.main(["login"]) == 1
    out, err = capfd.readouterr()
    assert f"{site.provider.url}/authorize?" in out and "No browser could be opened" in out
    assert ("--device" in out) is offers
    assert "no answer from the browser within" in err
    if offers:  # a notebook takes the device flow by itself
        plugin.login()
        assert site.provider.grants == ["device_code"]


def test_ctrl_c_ends_cleanly(site, monkeypatch, capfd):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_sign_in.webbrowser, "open", interrupt)
    assert _cli.main(["login"]) == 130
    assert capfd.readouterr().err == "Stopped.\n"
    with _loopback.listen("/", "s") as (port, _):
        assert port == _loopback.PORTS[0]


def test_without_a_refresh_token(site, capfd):
    site.provider.refreshes = False
    assert _cli.main(["login"]) == 0
    assert "gave no refresh token" in capfd.readouterr().out
    assert _cli.main(["token"]) == 0
    age(site)
    assert _cli.main(["token"]) == 1
    assert f"Run: mlflow-secure-tracking login {site.url}" in capfd.readouterr().err
    assert _cli.main(["logout"]) == 0


def test_a_refresh_token_that_does_not_rotate_is_kept(site):
    site.provider.rotates = False
    plugin.login()
    for _ in range(2):
        age(site)
        assert _sign_in.sign_in_token(site.url)[0] == site.provider.issued[-1]


@pytest.mark.parametrize(
    "answer, told",
    [
        ((403, {"Content-Type": "text/html"}, "<html>"), "HTTP 403, text/html"),
        ((302, {"Location": "/oauth2/start"}, ""), "HTTP 302"),
        ((404, {}, {}), "HTTP 404"),
        ((200, {}, "<html>"), "HTTP 200"),
        ((200, {}, ["issuer", "client_id", "scope"]), "HTTP 200"),
    ],
)
def test_a_server_that_does_not_say_how_to_sign_in(site, capfd, answer, told):
    site.tracking.answer = lambda _: answer
    assert _cli.main(["login"]) == 1
    error = capfd.readouterr().err
    for text in (told, "toolsClientId", "docs/tokens.md", "MLFLOW_TRACKING_TOKEN", "aws-role"):
        assert text in error
    assert [r.path for r in site.tracking.requests] == [WELL_KNOWN]  # no redirect was followed


def test_doctor_is_wired(monkeypatch):
    doctor = types.SimpleNamespace(doctor=lambda url, write: (url, write))
    monkeypatch.setitem(sys.modules, "mlflow_secure_tracking._doctor", doctor)
    monkeypatch.setattr(plugin, "_doctor", doctor, raising=False)
    assert _cli.main(["doctor", "https://h", "--write"]) == ("https://h", True)


def test_nobody_pays_for_what_others_use():
    code = "import sys, mlflow_secure_tracking{}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    plain, signing_in = (
        set(subprocess.run([sys.executable, "-c", code.format(more)], capture_output=True, text=True, check=True).stdout.split())
        for more in ("", "._sign_in, mlflow_secure_tracking._cli")
    )
    slow = {"requests_oauth2client", "jwskate", "cryptography", "keyring", "platformdirs", "filelock"}
    assert not plain & slow and slow <= signing_in
    assert "mlflow" not in signing_in and "botocore" not in signing_in


@pytest.mark.parametrize(
    "group, method", [("mlflow.request_auth_provider", "get_auth"), ("opentelemetry_otlp_credential_provider", "session")]
)
def test_entry_points(group, method):
    (entry,) = (e for e in entry_points(group=group) if e.name == "sign-in")
    assert entry.load().__self__.get_name() == "sign-in" and entry.load().__name__ == method


# Defence 1: the state


def test_only_the_right_path_and_state_count_and_only_once(site):
    with _loopback.listen("/h", "right") as (port, wait):
        base = f"http://localhost:{port}"
        for wrong in ("", "?code=1", "?code=1&state=wrong", "?code=1&state=wrong&state=right"):
            assert get(base + "/h" + wrong) == 400
        for wrong in ("/?code=1&state=right", "/g?code=1&state=right", "//[?state=right"):
            assert get(base + wrong) == 400
        page = requests.get(base + "/h?code=SENSITIVE&state=right", timeout=5)
        assert page.status_code == 200 and "close this tab" in page.text
        assert "SENSITIVE" not in page.text and "<script" not in page.text
        assert get(base + "/h?code=2&state=right") == 400
        assert wait() == "code=SENSITIVE&state=right"


def test_it_goes_on_waiting_after_a_wrong_answer(site, monkeypatch):
    seen = []

    def visit(url):
        redirect = dict(parse_qsl(urlsplit(url).query))["redirect_uri"]
        seen.extend(get(redirect + query) for query in ("", "?code=x", "?code=x&state=wrong"))
        requests.get(url)

    browse(monkeypatch, visit)
    plugin.login()
    assert seen == [400, 400, 400] and site.url in _store.load()


# Defence 2: another local user


@pytest.mark.parametrize("copied, told", [(("state",), "PKCE"), (("state", "code_challenge"), "nonce")])
def test_the_code_of_another_user_is_refused(site, monkeypatch, copied, told):
    def visit(url):
        seen = dict(parse_qsl(urlsplit(url).query))
        own = seen | {name: "A" * 43 for name in ("state", "code_challenge", "nonce") if name not in copied}
        site.provider.person = "mallory"
        requests.get(f"{site.provider.url}/authorize?{urlencode(own)}")

    browse(monkeypatch, visit)
    with pytest.raises(TokenError, match=told):
        plugin.login()
    assert _store.load() == {}


def test_nobody_else_sits_on_the_other_loopback_address(site):
    first, second, _ = _loopback.PORTS
    with socket.create_server(("127.0.0.1", first)), _loopback.listen("/h", "s") as (port, _):
        assert port == second
    try:
        other = socket.create_server(("::1", first), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with other, _loopback.listen("/h", "s") as (port, _):
        assert port == second
        assert [get(f"http://{host}:{port}/h?state=s") for host in ("127.0.0.1", "[::1]")] == [200, 400]


def test_without_ipv6_the_other_address_is_enough(site, monkeypatch):
    def refuse(*_):
        raise OSError(_loopback.errno.EADDRNOTAVAIL, "no such address")

    monkeypatch.setattr(_loopback, "_Server6", refuse)
    plugin.login()


def test_all_ports_taken(site):
    taken = [socket.create_server(("127.0.0.1", port)) for port in _loopback.PORTS]
    try:
        with pytest.raises(TokenError, match=", ".join(map(str, _loopback.PORTS))):
            plugin.login()
    finally:
        for server in taken:
            server.close()


# Defences 3 and 4: what a server may name


def test_the_issuer_is_pinned(site, capfd):
    plugin.login()
    other = Provider()
    other.paths[CLIENT] = site.path
    site.public["issuer"] = other.url
    age(site)
    assert _sign_in.sign_in_token(site.url)[0] in site.provider.issued  # still of the first
    assert other.stub.requests == []
    assert _cli.main(["login"]) == 1
    error = capfd.readouterr().err
    assert other.url in error and site.provider.url in error and "--replace" in error
    assert other.stub.requests == []
    assert _cli.main(["login", "--replace"]) == 0
    assert _store.load()[site.url]["issuer"] == other.url
    site.public["client_id"] = "another"
    assert _cli.main(["login"]) == 1
    other.stub.stop()


@pytest.mark.parametrize("flow", [[], ["--device"]])
def test_a_server_that_names_the_client_of_another(site, capfd, flow):
    plugin.login()
    grants = len(site.provider.grants)
    evil = Site(site.provider)
    site.provider.paths[CLIENT] = evil.path  # even if the provider took the redirect
    assert _cli.main(["login", evil.url, "--replace", *flow]) == 1
    error = capfd.readouterr().err
    assert f"belong to {site.url}" in error and f"mlflow-secure-tracking logout {site.url}" in error
    assert len(site.provider.grants) == grants and list(_store.load()) == [site.url]
    _sign_in.logout(site.url)
    assert _cli.main(["login", evil.url, *flow]) == 0
    evil.tracking.stop()


def test_two_logins_at_once_for_the_same_client(site, monkeypatch):
    evil = Site(site.provider)

    def visit(url):
        _store.write(site.url, {"issuer": site.provider.url, "client_id": CLIENT, "id_token": "", "refresh_token": ""})
        site.provider.paths[CLIENT] = evil.path
        requests.get(url)

    browse(monkeypatch, visit)
    with pytest.raises(TokenError, match="belong to"):
        plugin.login(evil.url)
    assert list(_store.load()) == [site.url]
    evil.tracking.stop()


def test_the_redirect_names_the_server(site, monkeypatch):
    evil = Site(site.provider)  # on a machine without an earlier sign-in to the other
    seen = []
    browse(monkeypatch, lambda url: seen.append(requests.get(url).text))
    monkeypatch.setattr(_loopback, "WAIT", 0.5)
    with pytest.raises(TokenError, match="no answer"):
        plugin.login(evil.url)
    assert seen == ["redirect_uri is not registered"] and site.provider.codes == {}
    evil.tracking.stop()


# Defence 5: where tokens go


@pytest.mark.parametrize("location", ["http://tracking.example/a", "https://other.example/a", "https://tracking.example:8443/a"])
def test_a_redirect_of_the_tracking_server_loses_the_token(site, monkeypatch, location):
    """From https to http on the same host, to another host and to another port."""
    seen = []

    class Wire(requests.adapters.BaseAdapter):
        def send(self, request, **_):
            seen.append((request.url, request.headers.get("Authorization")))
            response = requests.Response()
            response.status_code, response.headers["Location"] = 302 if len(seen) == 1 else 200, location
            response.request, response.url, response._content = request, request.url, b""
            return response

        def close(self):
            pass

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example")
    session = plugin.TokenAuth("sign-in", lambda _: ("token", 60)).session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, Wire())
    session.get("https://tracking.example/x")
    assert seen == [("https://tracking.example/x", "Bearer token"), (location, None)]


@pytest.mark.parametrize("endpoint", ["token", "revoke"])
def test_a_refresh_token_follows_no_redirect(site, endpoint):
    plugin.login()
    thief = Stub(lambda _: (200, {}, {})).start()
    setattr(site.provider, endpoint, lambda _: (307, {"Location": thief.url}, ""))
    age(site)
    if endpoint == "token":
        with pytest.raises(TokenError, match="is a redirect, which is not followed"):
            _sign_in.sign_in_token(site.url)
    else:
        _sign_in.logout(site.url)
    assert thief.requests == []
    thief.stop()


@pytest.mark.parametrize(
    "metadata, told",
    [
        ({"issuer": "https://other.example"}, "names the issuer https://other.example"),
        ({"token_endpoint": "http://id.example/token"}, "token_endpoint http://id.example/token is not an https"),
        ({"authorization_endpoint": "http://id.example/a"}, "is not an https"),
        ({"device_authorization_endpoint": "http://id.example/a"}, "is not an https"),
        ({"revocation_endpoint": "http://id.example/a"}, "is not an https"),
        ({"jwks_uri": "http://id.example/a"}, "is not an https"),
    ],
)
def test_the_metadata_must_be_of_the_pinned_issuer_and_https(site, metadata, told):
    plugin.login()
    age(site)
    site.provider.metadata = metadata
    for ask in (lambda: _sign_in.sign_in_token(site.url), plugin.login):
        with pytest.raises(TokenError, match=told):
            ask()
    assert site.provider.grants == ["authorization_code"]


@pytest.mark.parametrize("url", ["http://mlflow.example.com", "https://h:99999", "ftp://h", "localhost", ""])
def test_only_https_servers(site, monkeypatch, url):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    with pytest.raises(TokenError, match="give the https URL"):
        plugin.login()


def test_only_https_issuers(site):
    site.public["issuer"] = "http://id.example.com"
    with pytest.raises(TokenError, match="issuer http://id.example.com is not an https"):
        plugin.login()


def test_server_and_provider_cannot_write_to_the_terminal(site, capfd):
    site.public["client_id"] = "\x1b[2Jtools"
    device = site.provider.device
    site.provider.device = lambda form: (200, {}, device(form)[2] | {"user_code": "\x1b[2JABCD"})
    site.provider.claims = {"email": "\x1b[2Jada"}
    assert _cli.main(["login", "--device"]) == 0
    site.public["issuer"] = "\x1b[2Jhttp://other"
    assert _cli.main(["login", "--device"]) == 1
    out, err = capfd.readouterr()
    assert "ABCD" in out and "\x1b" not in out + err


@pytest.mark.parametrize("public", [{"issuer": 1}, {"client_id": ["tools"]}, {"scope": None}])
def test_the_answer_of_the_server_is_text(site, public):
    site.public |= public
    with pytest.raises(TokenError, match="must be text"):
        plugin.login()


def test_the_certificate_of_the_server_is_always_checked(site, monkeypatch, tmp_path):
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - datetime.timedelta(1), now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path / "both.pem"
    file.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    secure = Site(site.provider, context)
    site.provider.paths[CLIENT] = secure.path
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with pytest.raises(TokenError, match="(?is)certificate.*MLFLOW_TRACKING_SERVER_CERT_PATH"):
        plugin.login(secure.url)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(file))
    plugin.login(secure.url)
    secure.tracking.stop()


def test_no_answer_at_all(site):
    with pytest.raises(TokenError, match="asked http://127.0.0.1:9/.well-known.*Connection refused. Run mlflow-secure-tracking doctor with the URL of the server"):
        plugin.login("http://127.0.0.1:9")


# Defence 6: the ID token


BAD = {
    "audience": {"aud": "other"},
    "no audience": {"aud": None},
    "issuer": {"iss": "https://other.example"},
    "nonce": {"nonce": "other"},
    "no nonce": {"nonce": None},
    "expired": {"exp": 1_000_000_000},
    "no end": {"exp": None},
    "no person": {"sub": None},
    "other key": lambda claims, _: Jwt.sign(claims, OTHER_KEY),
    "unknown key": lambda claims, key: Jwt.sign(claims, Jwk(dict(key) | {"kid": "2"})),
    "no signature": lambda claims, _: Jwt.unprotected(claims),
    "public key as secret": lambda claims, key: Jwt.sign(
        claims, SymmetricJwk.from_bytes(key.public_jwk().to_pem().encode(), alg="HS256"), extra_headers={"kid": "1"}
    ),
    "no token": lambda *_: "",
}


@pytest.mark.filterwarnings("ignore:This key has an 'alg' parameter")
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_id_token_is_refused(site, bad, caplog):
    if callable(BAD[bad]):
        site.provider.sign = lambda claims: str(BAD[bad](claims, site.provider.key))
    else:
        site.provider.claims = BAD[bad]
    with pytest.raises(TokenError, match="ID token") as failure:
        plugin.login()
    assert _store.load() == {}
    assert not any(secret and secret in str(failure.value) + caplog.text for secret in site.provider.issued)


@pytest.mark.parametrize("claims", [{"sub": "bob"}, {"aud": "other"}, {"iss": "https://other.example"}, {"exp": 1_000_000_000}])
def test_a_bad_id_token_at_renewal_is_refused_and_the_rotated_token_kept(site, claims):
    plugin.login()
    age(site)
    site.provider.claims = claims
    with pytest.raises(TokenError, match="rejected"):
        _sign_in.sign_in_token(site.url)
    site.provider.claims = {}
    assert _sign_in.sign_in_token(site.url)[0] == site.provider.issued[-2]


def test_a_provider_that_signs_otherwise(site):
    site.provider.key = Jwk.generate(alg="ES256", kid="e")
    plugin.login()
    assert site.url in _store.load()


# Defence 7: the file


@posix
def test_only_the_owner_reads_the_file(site, caplog):
    before = os.umask(0)
    try:
        plugin.login()
    finally:
        os.umask(before)
    file = _store._file()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert caplog.records == []  # it was so from the start
    assert [path.name for path in file.parent.iterdir() if path.name != "lock"] == ["sign-ins.json"]


@posix
@pytest.mark.parametrize("which, mode", [("file", 0o644), ("parent", 0o755)])
def test_what_others_can_read_is_repaired_with_a_warning(site, caplog, which, mode):
    plugin.login()
    file = _store._file()
    path = file if which == "file" else file.parent
    path.chmod(mode)
    assert _sign_in.sign_in_token(site.url)
    assert path.stat().st_mode & 0o077 == 0
    (warning,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING and r.name.endswith("_store"))
    assert f"other users could read {path}" in warning


def test_a_damaged_file(site, capfd):
    plugin.login()
    _store._file().write_text("{")
    assert _cli.main(["token"]) == 1
    assert "sign-ins.json is damaged. Delete it" in capfd.readouterr().err


def test_two_people_on_one_machine(site, monkeypatch, tmp_path):
    plugin.login()
    ada = _sign_in.sign_in_token(site.url)
    (tmp_path / "bob").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "bob"))
    with pytest.raises(TokenError, match="there is no sign-in"):
        _sign_in.sign_in_token(site.url)
    site.provider.person = "bob"
    plugin.login()
    assert _sign_in.sign_in_token(site.url)[0] != ada[0]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _sign_in.sign_in_token(site.url)[0] == ada[0]


# Defence 8: signed out elsewhere


def test_a_revoked_refresh_token(site, caplog):
    plugin.login()
    age(site)
    site.provider.alive.clear()
    with pytest.raises(TokenError, match=f"ended the sign-in.*Run: mlflow-secure-tracking login {site.url}") as failure:
        _sign_in.sign_in_token(site.url)
    assert not any(secret in str(failure.value) + caplog.text for secret in site.provider.issued)


@pytest.mark.parametrize(
    "metadata, revoke, told",
    [
        ({"revocation_endpoint": None}, None, "offers no revocation"),
        ({}, lambda _: (503, {}, {"error": "server_error"}), "server_error"),
        ({}, lambda _: (500, {}, "<html>"), "did not revoke it"),
        ({"issuer": "https://other.example"}, None, "names the issuer"),
    ],
)
def test_logout_deletes_even_if_nothing_is_revoked(site, capfd, metadata, revoke, told):
    plugin.login()
    site.provider.metadata = metadata
    site.provider.revoke = revoke or site.provider.revoke
    assert _cli.main(["logout"]) == 0
    assert told in capfd.readouterr().out and _store.load() == {}
    assert len(site.provider.alive) == 1


# Defence 9: the key ring


class KeyRing(keyring.backend.KeyringBackend):
    priority = 1

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.most, self.locked = 10**6, False

    def set_password(self, service, username, password):
        if len(password) > self.most:
            raise ValueError("The stub received bad data")  # as Windows says it
        self.kept[service, username] = password

    def get_password(self, service, username):
        if self.locked:
            raise keyring.errors.KeyringLocked("locked")
        return self.kept.get((service, username))

    def delete_password(self, service, username):
        del self.kept[service, username]


def test_the_key_ring_keeps_the_tokens(site, capfd):
    ring = KeyRing()
    keyring.set_keyring(ring)
    assert _cli.main(["login"]) == 0
    assert "stored in the system's key ring" in capfd.readouterr().out
    age(site)
    assert _sign_in.sign_in_token(site.url)[0] == site.provider.issued[-2]
    assert not any(secret in _store._file().read_text() for secret in site.provider.issued)
    ring.locked = True
    assert _cli.main(["token"]) == 1
    assert "KeyringLocked" in capfd.readouterr().err
    assert _cli.main(["logout"]) == 0
    assert ring.kept == {} and _store.load() == {}
    assert "not revoked" in capfd.readouterr().out


@pytest.mark.parametrize("ring", ["too long", "drops", "none"])
def test_a_key_ring_that_does_not_take_it(site, capfd, ring):
    rings = {"too long": KeyRing(), "drops": keyring.backends.null.Keyring(), "none": keyring.backends.fail.Keyring()}
    rings["too long"].most = 100
    keyring.set_keyring(rings[ring])
    assert _cli.main(["login"]) == 0
    assert "sign-ins.json" in capfd.readouterr().out
    assert json.loads(_store._file().read_text())[site.url]["id_token"] == site.provider.issued[1]
    age(site)
    assert _sign_in.sign_in_token(site.url)[0] == site.provider.issued[-2]


# Defence 10: many at once


def test_many_threads_and_processes_renew_once(site):
    plugin.login()
    age(site)
    site.provider.pause = 0.5
    code = "from mlflow_secure_tracking import _cli; _cli.main(['token'])"
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    got: list[str] = []

    def work():
        got.append(_sign_in.sign_in_token(site.url)[0])  # without TokenAuth, which lets one thread ask

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got += [child.communicate(timeout=60)[0].strip() for child in children]
    assert site.provider.grants == ["authorization_code", "refresh_token"]
    assert got == [site.provider.issued[-2]] * 8
    assert _store.read(site.url)["refresh_token"] in site.provider.alive


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_works_even_if_a_thread_was_renewing(site):
    plugin.login()
    age(site)
    site.provider.pause = 1
    thread = threading.Thread(target=requests.get, args=(site.url,), kwargs={"auth": plugin.SIGN_IN})
    thread.start()
    while b"grant_type=refresh_token" not in site.provider.stub.requests[-1].body:
        time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # ends the child if it waits for ever
        os._exit(0 if requests.get(site.url, auth=plugin.SIGN_IN, timeout=9).status_code == 200 else 1)
    _, status = os.waitpid(pid, 0)
    thread.join()
    assert status == 0 and site.provider.grants.count("refresh_token") == 1
