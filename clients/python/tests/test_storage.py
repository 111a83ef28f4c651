"""A client that cannot reach the storage of signed URLs hears so at once, from MLflow's own client too."""

from __future__ import annotations

import time
from typing import Any

import mlflow
import pytest
import requests
from conftest import World

from mlflow_secure_tracking import CLIENT_CREDENTIALS, TokenError, _storage

DEAD = "http://127.0.0.1:9"
SENTENCE = (
    f"this machine does not reach {DEAD}, where clients read and write files (Connection refused)."
    " Set MLFLOW_ENABLE_PROXY_MULTIPART_{}=false to send files through the server, or have the network opened"
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_storage, "_seen", {})
    CLIENT_CREDENTIALS._held.clear()


def signed(world: World, url: str) -> None:
    answer = world.tracking.answer

    def answers(request: Any) -> Any:
        if "/presigned/" in request.path:
            return 200, {}, {"url": f"{url}/bucket/notes.txt?X-Amz-Signature=1", "headers": {}, "file_size": 11}
        if "/mpu/create/" in request.path:
            return (
                200,
                {},
                {
                    "upload_id": "1",
                    "credentials": [{"url": f"{url}/bucket?X-Amz-Signature=1", "part_number": 1, "headers": {}}],
                },
            )
        if "/server-info" in request.path:
            return 200, {}, {"multipart_downloads_enabled": True, "multipart_uploads_enabled": True}
        if request.path.partition("?")[0].endswith("/mlflow-artifacts/artifacts"):
            return 200, {}, {"files": []}
        return answer(request)

    world.tracking.answer = answers


@pytest.mark.parametrize(("path", "way"), [("presigned/x/notes.txt", "DOWNLOAD"), ("mpu/create/x/notes.txt", "UPLOAD")])
def test_says_which_setting_helps(world: World, path: str, way: str) -> None:
    signed(world, DEAD)
    with pytest.raises(TokenError) as caught:
        requests.get(f"{world.tracking.url}/api/2.0/mlflow-artifacts/{path}", auth=CLIENT_CREDENTIALS)
    assert str(caught.value) == SENTENCE.format(way)


def test_looks_once_for_each_storage(world: World) -> None:
    signed(world, world.stranger.url)
    for name in ("a", "b", "c"):
        answer = requests.get(f"{world.tracking.url}/api/2.0/mlflow-artifacts/presigned/{name}", auth=CLIENT_CREDENTIALS)
        assert answer.json()["file_size"] == 11
    assert [(request.method, request.path) for request in world.stranger.requests] == [("HEAD", "/")]
    assert "authorization" not in world.stranger.requests[0].headers


def test_looks_again_only_some_time_after_it_could_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    signed(world, DEAD)
    looks: list[str] = []
    monkeypatch.setattr(_storage, "unreachable", lambda origin: looks.append(origin) or "closed")
    for _ in range(3):
        with pytest.raises(TokenError, match="closed"):
            requests.get(f"{world.tracking.url}/api/2.0/mlflow-artifacts/presigned/a", auth=CLIENT_CREDENTIALS)
    assert looks == [DEAD]
    monkeypatch.setattr(_storage, "unreachable", lambda _: "")
    monkeypatch.setitem(_storage._seen, DEAD, (0.0, "closed"))
    assert requests.get(f"{world.tracking.url}/api/2.0/mlflow-artifacts/presigned/a", auth=CLIENT_CREDENTIALS).status_code == 200


def test_a_storage_that_refuses_is_reached(world: World) -> None:
    world.stranger.answer = lambda _: (403, {}, {})
    signed(world, world.stranger.url)
    assert (
        requests.get(f"{world.tracking.url}/api/2.0/mlflow-artifacts/presigned/a", auth=CLIENT_CREDENTIALS).status_code
        == 200
    )


def test_leaves_other_answers_alone(world: World) -> None:
    world.tracking.answer = lambda _: (200, {}, {"url": f"{DEAD}/x"})
    assert requests.get(f"{world.tracking.url}/api/2.0/mlflow/runs/get", auth=CLIENT_CREDENTIALS).status_code == 200


@pytest.mark.parametrize("body", [{}, [], {"url": None}, {"credentials": []}, "no JSON"])
def test_an_answer_without_a_signed_url_is_not_its_business(world: World, body: Any) -> None:
    world.tracking.answer = lambda _: (200, {}, body)
    assert (
        requests.get(f"{world.tracking.url}/api/2.0/mlflow-artifacts/presigned/a", auth=CLIENT_CREDENTIALS).status_code
        == 200
    )


def test_mlflow_says_it_within_seconds(world: World) -> None:
    signed(world, DEAD)
    started = time.monotonic()
    with pytest.raises(Exception) as caught:
        mlflow.artifacts.download_artifacts(artifact_uri="mlflow-artifacts:/1/2/artifacts/notes.txt")
    assert SENTENCE.format("DOWNLOAD") in str(caught.value)
    assert time.monotonic() - started < 30  # MLflow itself tries for more than twelve minutes
