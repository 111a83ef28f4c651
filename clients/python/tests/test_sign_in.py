from __future__ import annotations

import threading

import keyring
import keyring.backends.fail
import pytest
import requests
from conftest import Stub
from provider import CLIENT, Provider

from mlflow_secure_tracking import TokenError, _cli, _loopback, _sign_in, _store


class Site:
    """A tracking server that says how to sign in, and its provider."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.public = {"issuer": provider.url, "client_id": CLIENT, "scope": "openid email offline_access"}
        self.tracking = Stub(self.answer).start()
        self.url = self.tracking.url
        self.path = "/" + self.url.removeprefix("http://").replace(":", "_")

    def answer(self, request):
        if request.path == "/.well-known/mlflow-secure-tracking":
            return 200, {}, self.public
        return 200, {}, {}


@pytest.fixture
def site(monkeypatch, tmp_path):
    """Sign-ins go into an empty home; the browser is a thread that follows the redirect."""
    for name in ("XDG_DATA_HOME", "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_SERVER_CERT_PATH", "DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    keyring.set_keyring(keyring.backends.fail.Keyring())
    monkeypatch.setattr(_loopback, "WAIT", 5.0)
    site = Site(Provider())
    site.provider.paths[CLIENT] = site.path
    monkeypatch.setenv("MLFLOW_TRACKING_URI", site.url)
    browse(monkeypatch, requests.get)
    yield site
    site.tracking.stop()
    site.provider.stub.stop()


def browse(monkeypatch, visit) -> None:
    def open_(url):
        threading.Thread(target=visit, args=(url,), daemon=True).start()
        return True

    monkeypatch.setattr(_sign_in.webbrowser, "open", open_)


def test_login_token_logout(site, capfd):
    assert _cli.main(["login", site.url]) == 0
    out, err = capfd.readouterr()
    assert "Signed in as ada@example.com" in out and f"export MLFLOW_TRACKING_URI={site.url}\n" in out
    assert not any(secret in out + err for secret in site.provider.issued)
    assert _cli.main(["token"]) == 0
    token = capfd.readouterr().out
    assert token == site.provider.issued[1] + "\n"
    assert _cli.main(["logout"]) == 0
    assert site.provider.alive == set()
    assert "revoked and deleted" in capfd.readouterr().out
    assert _cli.main(["token"]) == 1
    assert f"mlflow-secure-tracking login {site.url}" in capfd.readouterr().err


def test_device(site, capfd):
    assert _cli.main(["login", site.url, "--device"]) == 0
    assert "ABCD-EFGH" in capfd.readouterr().out
    assert site.provider.grants == ["device_code"]
