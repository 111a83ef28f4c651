from __future__ import annotations

import sys
import time
from urllib.parse import parse_qs

import botocore.httpsession
import pytest
from conftest import Stub
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import mlflow_secure_tracking as plugin


def fault(status: int, code: str, message: str):
    return (
        status,
        {"Content-Type": "text/xml"},
        (
            f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{code}</Code>'
            f"<Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
        ),
    )


@pytest.fixture
def sts(world, monkeypatch):
    """The query protocol of AWS STS over real HTTP."""

    def answer(request):
        asked = parse_qs(request.body.decode())
        token = world.issuer.mint(audience=asked["Audience.member.1"][0])
        return (
            200,
            {"Content-Type": "text/xml"},
            (
                '<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>'
                f"<WebIdentityToken>{token}</WebIdentityToken><Expiration>2040-01-01T00:00:00Z</Expiration>"
                "</GetWebIdentityTokenResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetWebIdentityTokenResponse>"
            ),
        )

    stub = Stub(answer).start()
    for name, value in {
        "MLFLOW_TRACKING_AUTH": "aws-role",
        "AWS_ENDPOINT_URL_STS": stub.url,
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "aws-secret",
        "AWS_SESSION_TOKEN": "aws-session",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield stub
    stub.stop()


def search() -> None:
    MlflowClient().search_experiments()


def asked(request) -> dict[str, str]:
    return {k: v[0] for k, v in parse_qs(request.body.decode()).items() if k not in ("Version",)}


def test_the_question_and_its_renewal(world, sts):
    end = time.monotonic() + 2
    while time.monotonic() < end:
        search()
        time.sleep(0.05)
    assert world.refused == [] and world.token.requests == []
    assert 2 <= len(sts.requests) <= 3
    for request in sts.requests:
        assert asked(request) == {
            "Action": "GetWebIdentityToken",
            "Audience.member.1": world.tracking.url,  # without the slash of MLFLOW_TRACKING_URI
            "SigningAlgorithm": "RS256",
            "DurationSeconds": "3600",
        }
        assert "/eu-central-1/sts/aws4_request" in request.headers["authorization"]


def test_a_shorter_token_near_the_end_of_the_role_session(world, sts):
    good = sts.answer

    def answer(request):
        if int(asked(request)["DurationSeconds"]) > 300:
            return fault(403, "SessionDurationEscalationException", "too long")
        return good(request)

    sts.answer = answer
    search()
    assert [asked(r)["DurationSeconds"] for r in sts.requests] == ["3600", "900", "300"]
    assert world.refused == []


def test_at_the_very_end_of_the_role_session(world, sts):
    sts.answer = lambda _: fault(403, "SessionDurationEscalationException", "too long")
    with pytest.raises(MlflowException, match="SessionDurationEscalationException"):
        search()
    assert [asked(r)["DurationSeconds"] for r in sts.requests] == ["3600", "900", "300", "60"]


def test_a_refusal_is_explained(world, sts):
    sts.answer = lambda _: fault(403, "AccessDenied", "the role may not")
    with pytest.raises(MlflowException) as failure:
        search()
    for text in (sts.url, world.tracking.url, "AccessDenied", "the role may not", "sts:GetWebIdentityToken", "federation"):
        assert text in str(failure.value)
    assert "aws-secret" not in str(failure.value) and "aws-session" not in str(failure.value)
    assert len(sts.requests) == 1 and world.tracking.requests == []


def test_a_token_never_goes_to_a_server_with_another_audience(world, sts, monkeypatch):
    world.issuer.life = 600
    search()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", world.stranger.url)
    search()
    assert [asked(r)["Audience.member.1"] for r in sts.requests] == [world.tracking.url, world.stranger.url]
    assert [r.headers["authorization"] for r in world.stranger.requests] == [f"Bearer {world.issuer.minted[1]}"]


def test_the_regional_endpoint_whatever_the_configuration(world, sts, monkeypatch):
    class Stop(Exception):
        pass

    def send(_self, request):
        raise Stop(request.url)

    monkeypatch.delenv("AWS_ENDPOINT_URL_STS")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")
    monkeypatch.setattr(botocore.httpsession.URLLib3Session, "send", send)
    with pytest.raises(MlflowException, match=r"https://sts\.us-east-1\.amazonaws\.com/"):
        search()


@pytest.mark.parametrize("name, told", [("AWS_REGION", "region"), ("AWS_ACCESS_KEY_ID", "[Cc]redentials")])
def test_without_region_or_credentials(world, sts, monkeypatch, name, told):
    monkeypatch.delenv(name)
    with pytest.raises(MlflowException, match=rf"aws-role: .*{told}.*Check AWS_REGION"):
        search()
    assert sts.requests == []


def test_without_boto3(world, sts, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(MlflowException, match=r"boto3 is missing: run pip install 'mlflow-secure-tracking\[aws\]'"):
        search()


def test_with_an_old_boto3(world, sts, monkeypatch):
    import botocore.session

    class Old:
        class meta:
            endpoint_url = "https://sts"

    monkeypatch.setattr(botocore.session.Session, "create_client", lambda *_, **__: Old())
    with pytest.raises(MlflowException, match="too old"):
        search()
    assert plugin.AWS_ROLE.get_name() == "aws-role"
