from __future__ import annotations

import base64
import logging
import os
import signal
import threading
import time
from urllib.parse import parse_qs, unquote_plus

import mlflow
import pytest
import requests
from conftest import ID, SECRET, b64
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

import mlflow_secure_tracking as plugin

PLUGIN_LOG = "mlflow_secure_tracking"


def search() -> None:
    MlflowClient().search_experiments()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == PLUGIN_LOG and r.levelno >= logging.WARNING]


@pytest.mark.parametrize("skew", [-86400, 86400])
def test_tokens_stay_fresh_whatever_the_clock(world, skew):
    world.issuer.skew = skew
    end = time.monotonic() + 3.3
    while time.monotonic() < end:
        search()
        time.sleep(0.05)
    assert world.refused == []
    assert len(world.tracking.requests) > 20
    # renewed in time, but not at every request
    assert 2 <= len(world.issuer.minted) <= 5


def test_credentials_are_form_encoded_and_the_grant_is_complete(world):
    search()
    (request,) = world.token.requests
    scheme, value = request.headers["authorization"].split(" ")
    assert scheme == "Basic"
    assert [unquote_plus(half) for half in base64.b64decode(value).decode("ascii").split(":")] == [ID, SECRET]
    assert parse_qs(request.body.decode()) == {"grant_type": ["client_credentials"], "scope": ["mlflow/use read"]}


def test_one_renewal_at_a_time_and_nobody_waits_for_it_needlessly(world):
    inside = most = served_meanwhile = 0
    lock, track = threading.Lock(), world.tracking.answer

    def give(_):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.5)
        token = world.issuer.mint()
        with lock:
            inside -= 1
        return 200, {}, {"access_token": token}

    def count(request):
        nonlocal served_meanwhile
        served_meanwhile += inside
        return track(request)

    world.token.answer, world.tracking.answer = give, count
    end = time.monotonic() + 2.8

    def work():
        while time.monotonic() < end:
            search()
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.refused == [] and len(world.tracking.requests) >= 16
    assert most == 1 and 2 <= len(world.issuer.minted) <= 4
    assert served_meanwhile > 7  # with the old token


def test_waiting_threads_share_one_failure(world):
    def refuse(_):
        time.sleep(0.3)
        return 400, {}, {"error": "invalid_client"}

    world.token.answer = refuse
    errors: list[str] = []

    def work():
        try:
            search()
        except MlflowException as error:
            errors.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 6 and all("invalid_client" in e for e in errors)
    assert len(world.token.requests) == 1


def test_a_failed_renewal_warns_once_then_fails_clearly_then_recovers(world, monkeypatch, caplog):
    monkeypatch.setattr(plugin, "_PAUSE", 0.3)
    good, world.issuer.exact, world.issuer.life = world.token.answer, True, 2
    started = time.monotonic()
    search()
    world.token.answer = lambda _: (400, {}, {"error": "invalid_client", "error_description": f"{SECRET} is wrong"})
    with pytest.raises(MlflowException) as failure:
        while time.monotonic() < started + 5:
            search()
            time.sleep(0.05)
    assert time.monotonic() - started > 1.9  # the old token served until its end
    asked = len(world.token.requests)
    assert 4 <= asked <= 7  # tried again after each pause, not at every request
    (warning,) = warnings(caplog)
    for text in (warning, str(failure.value)):
        assert f"{world.token.url}/token" in text and "HTTP 400" in text and "invalid_client" in text
        assert "MLFLOW_SECURE_TRACKING_CLIENT_SECRET" in text
        assert SECRET not in text and world.issuer.minted[0] not in text
    world.token.answer = good
    search()
    assert len(world.token.requests) == asked + 1


JWT_WITHOUT_LIFE = f"{b64({})}.{b64({'exp': 2_000_000_000})}.x"


@pytest.mark.parametrize(
    "answer, expected",
    [
        (
            (401, {}, {"error": "invalid_client", "error_description": f"bad secret {SECRET}"}),
            "HTTP 401, invalid_client: bad secret ***",
        ),
        ((200, {}, {"id_token": "SENSITIVE"}), "HTTP 200, no access_token"),
        ((200, {}, "<html>SENSITIVE</html>"), "HTTP 200, no access_token"),
        ((200, {}, ["SENSITIVE"]), "HTTP 200, no access_token"),
        ((302, {"Location": "http://127.0.0.1:1/SENSITIVE"}, {}), "HTTP 302"),
        ((200, {}, {"access_token": "SENSITIVE"}), "has no lifetime"),
        ((400, {}, {"error": "x" * 9999}), "HTTP 400, xxx"),
        ((200, {}, {"access_token": "SENSITIVE", "expires_in": 0}), "has no lifetime"),
        ((200, {}, {"access_token": JWT_WITHOUT_LIFE}), "has no lifetime"),
        ((200, {}, {"access_token": "SENSI\r\nTIVE", "expires_in": 60}), "characters"),
    ],
)
def test_failures_say_what_happened_and_hold_no_secret(world, caplog, capfd, answer, expected):
    caplog.set_level(logging.DEBUG)
    world.token.answer = lambda _: answer
    with pytest.raises(MlflowException) as failure:
        search()
    out = "".join(capfd.readouterr())
    assert expected in str(failure.value) and "client-credentials" in str(failure.value)
    assert len(str(failure.value)) < 1200
    everything = str(failure.value) + caplog.text + out
    for secret in (SECRET, "SENSITIVE", "SENSI\r\nTIVE", JWT_WITHOUT_LIFE, "very%2Bsecret"):
        assert secret not in everything
    assert world.tracking.requests == [] and len(world.token.requests) == 1


def test_no_answer_at_all(world, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(plugin._sources.Retry, "sleep", lambda self, _response=None: waits.append(self.get_backoff_time()))
    monkeypatch.setenv("MLFLOW_SECURE_TRACKING_TOKEN_URL", "http://user:SENSITIVE@127.0.0.1:9/token")
    with pytest.raises(
        MlflowException, match="asked http://127.0.0.1:9/token .*no answer.*Check MLFLOW_SECURE_TRACKING_TOKEN_URL"
    ) as failure:
        search()
    assert "SENSITIVE" not in str(failure.value)
    assert waits == [0, 1, 2]


@pytest.mark.parametrize("name", ["TOKEN_URL", "CLIENT_ID", "CLIENT_SECRET"])
def test_a_missing_setting_is_named(world, monkeypatch, name):
    monkeypatch.delenv(f"MLFLOW_SECURE_TRACKING_{name}")
    with pytest.raises(MlflowException, match=f"client-credentials: set MLFLOW_SECURE_TRACKING_{name}$"):
        search()


def test_a_stumbling_token_endpoint_is_asked_again(world):
    good, left = world.token.answer, [503, 429]
    world.token.answer = lambda r: (left.pop(0), {"Retry-After": "3600"}, {}) if left else good(r)
    search()
    assert len(world.token.requests) == 3 and len(world.tracking.requests) == 1


def test_the_shorter_of_jwt_and_expires_in_counts(world):
    world.token.answer = lambda _: (200, {}, {"access_token": world.issuer.mint(3600), "expires_in": 1})
    search()
    search()
    assert len(world.issuer.minted) == 1
    time.sleep(0.6)
    search()
    assert len(world.issuer.minted) == 2


def test_opaque_tokens_live_by_expires_in(world):
    def give(_):
        world.issuer.minted.append(f"opaque-{len(world.token.requests)}")
        return 200, {}, {"access_token": world.issuer.minted[-1], "expires_in": "60"}

    world.token.answer = give
    world.tracking.answer = lambda _: (200, {}, {})
    search()
    search()
    assert [r.headers["authorization"] for r in world.tracking.requests] == ["Bearer opaque-1"] * 2


def test_all_ways_of_the_client_to_the_server_carry_the_token(world, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    world.issuer.life = 600
    (tmp_path / "small").write_text("x")
    get_artifact_repository("mlflow-artifacts:/1/2").log_artifact(str(tmp_path / "small"))
    MlflowClient().log_batch("r", metrics=[mlflow.entities.Metric("m", 1.0, 0, 0)], synchronous=False).wait()
    with mlflow.start_span("span"):
        pass
    mlflow.flush_trace_async_logging()
    paths = " ".join(r.path for r in world.tracking.requests)
    for path in ("mlflow-artifacts/artifacts/1/2/small", "runs/log-batch", "traces"):
        assert path in paths
    assert world.refused == [] and len(world.issuer.minted) == 1


def test_otlp_export_carries_fresh_tokens(world, monkeypatch):
    otel = pytest.importorskip("mlflow.otel", reason="this MLflow is too old")
    from opentelemetry import trace

    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    world.issuer.life = 2
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "client-credentials")
    otel.autolog(batch=False)
    try:
        for pause in (0, 2.1):
            time.sleep(pause)
            trace.get_tracer("t").start_span("span").end()
    finally:
        otel.autolog(disable=True)
    exports = [r for r in world.tracking.requests if r.path == "/v1/traces"]
    assert len(exports) == 2 and len({r.headers["authorization"] for r in exports}) == 2
    assert world.refused == []


def test_other_hosts_never_see_a_token(world, tmp_path, monkeypatch, caplog):
    world.issuer.life = 600
    (tmp_path / "big").write_text("x")
    search()
    # an artifact that lives elsewhere: MLflow passes the same auth there
    foreign = world.stranger.url + "/api/2.0/mlflow-artifacts/artifacts/a"
    get_artifact_repository(foreign).log_artifact(str(tmp_path / "big"))
    get_artifact_repository(world.stranger.url.replace("http", "mlflow-artifacts") + "/a").log_artifact(str(tmp_path / "big"))
    # an upload in parts to presigned addresses
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "1")
    get_artifact_repository("mlflow-artifacts:/1/2").log_artifact(str(tmp_path / "big"))
    # a redirect, and another server passed by hand
    http_request(get_default_host_creds(world.tracking.url), "/elsewhere", "GET")
    http_request(get_default_host_creds(world.stranger.url), "/by-hand", "GET")
    # the same port under another name is another origin
    http_request(get_default_host_creds(world.stranger.url.replace("127.0.0.1", "localhost")), "/name", "GET")

    seen = [r.path.partition("?")[0] for r in world.stranger.requests]
    assert seen == ["/api/2.0/mlflow-artifacts/artifacts/a/big"] * 2 + ["/", "/bucket", "/landed", "/by-hand", "/name"]
    for request in world.stranger.requests:
        assert "authorization" not in request.headers
        assert not any(token in str(request) for token in world.issuer.minted)
    assert world.refused == []
    assert len([w for w in warnings(caplog) if f"no bearer token is sent to {world.stranger.url}," in w]) == 1

    http_request(get_default_host_creds(world.tracking.url), "/here", "GET")  # within the server the token stays
    assert world.tracking.requests[-1].path == "/landed" and world.refused == []


@pytest.mark.parametrize(
    "url",
    [
        "http://h.example\\@{home}/",
        "http://{home}@h.example/",
        "http://{home}.h.example/",
        "https://{home}/",
        "http://h.example/{home}",
    ],
)
def test_addresses_that_only_look_like_the_server(world, url):
    request = requests.Request("GET", url.format(home=world.tracking.url.removeprefix("http://")), auth=plugin.CLIENT_CREDENTIALS)
    try:
        prepared = request.prepare()
    except requests.exceptions.InvalidURL:
        return
    assert "Authorization" not in prepared.headers
    assert world.token.requests == []


@pytest.mark.parametrize(
    "url, origin",
    [
        ("https://MLflow.example.com:443/prefix/", "https://mlflow.example.com"),
        ("http://u:p@example.com:80", "http://example.com"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("http://[::1]:5000/", "http://[::1]:5000"),
        ("databricks", ""),
        ("", ""),
        ("file:///tmp/x", ""),
    ],
)
def test_origin(url, origin):
    assert plugin._origin(url) == origin


@pytest.mark.parametrize("uri", ["", "databricks"])
def test_without_a_tracking_uri_nothing_is_sent(world, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(MlflowException, match="set MLFLOW_TRACKING_URI"):
        MlflowClient(tracking_uri=world.tracking.url).search_experiments()
    assert world.tracking.requests == world.token.requests == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_works_even_if_a_thread_was_renewing(world):
    good, entered = world.token.answer, threading.Event()

    def slow(request):
        if len(world.token.requests) == 1:
            entered.set()
            time.sleep(1)
        return good(request)

    world.token.answer = slow
    thread = threading.Thread(target=search)
    thread.start()
    entered.wait(5)
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)  # ends the child if it waits for ever
        status = requests.get(world.tracking.url, auth=plugin.CLIENT_CREDENTIALS, timeout=4).status_code
        os._exit(0 if status == 200 else 1)
    _, status = os.waitpid(pid, 0)
    thread.join()
    assert status == 0 and len(world.token.requests) == 2


def test_margin_of_long_and_short_tokens(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(plugin.time, "monotonic", lambda: now)
    for life, margin in ((3600, 360), (300, 30), (60, 10), (10, 5), (2, 1)):
        auth = plugin.TokenAuth("t", lambda _, life=life: ("token", life))
        auth._token("o")
        assert (auth._held["o"].renew_at, auth._held["o"].ends_at) == (now + life - margin, now + life)
