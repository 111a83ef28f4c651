"""The sources of bearer tokens. Each function returns the token and, if the answer has it, the lifetime in seconds."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote_plus, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

_TIMEOUT = (5, 15)  # seconds to connect, to read
_PREFIX = "MLFLOW_SECURE_TRACKING_"


class TokenError(RuntimeError):
    """No usable token. The text says what was requested, the answer, and what to check. It never contains a secret."""


def client_credentials_token(_origin: str) -> tuple[str, Any]:
    """OAuth2 client credentials grant (RFC 6749, 4.4) with client_secret_basic."""
    names = [_PREFIX + name for name in ("TOKEN_URL", "CLIENT_ID", "CLIENT_SECRET")]
    url, client_id, secret = (os.environ.get(name, "") for name in names)
    if missing := [name for name in names if not os.environ.get(name)]:
        raise TokenError(f"client-credentials: set {', '.join(missing)}")
    scope = os.environ.get(_PREFIX + "SCOPE")
    parts = urlsplit(url)
    what = f"client-credentials: asked {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path} for an access token"
    what += f" as client {client_id}" + (f" with scope {scope}" if scope else "")

    # POST may be repeated, because an additional token does no harm. Retry-After is ignored: it may be hours, and the
    # request that needs the token waits. Redirects are not followed, because the secret is meant only for this URL.
    retry = Retry(
        total=3,
        backoff_factor=0.5,
        allowed_methods=None,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    # RFC 6749, 2.3.1: both parts are form-encoded before they become Basic credentials.
    basic = (quote_plus(client_id), quote_plus(secret))
    try:
        with requests.Session() as session:
            for scheme in ("https://", "http://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            answer = session.post(url, data=form, auth=basic, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        raise TokenError(f"{what}: no answer ({_hide(error, secret)}). Check {names[0]} and the network") from None
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    if answer.status_code == 200 and isinstance(body.get("access_token"), str):
        return body["access_token"], body.get("expires_in")
    # Only the two fields that RFC 6749 defines for errors: other parts of an unknown body could be secrets.
    told = ": ".join(str(body[field]) for field in ("error", "error_description") if field in body)
    told = _hide(told, secret) or "no access_token and no OAuth2 error in the answer"
    raise TokenError(f"{what}: HTTP {answer.status_code}, {told}. Check {', '.join(names)} and {_PREFIX}SCOPE")


def printable(text: str) -> str:
    """The text without control characters for a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _hide(text: object, secret: str) -> str:
    text = str(text)
    for shape in {secret, quote_plus(secret)}:
        text = text.replace(shape, "***")
    return text[:500]


def aws_role_token(origin: str) -> tuple[str, Any]:
    """AWS identity token for the role of this process, signed by AWS STS. Its audience is only the tracking server."""
    try:
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise TokenError("aws-role: boto3 is missing: run pip install 'mlflow-secure-tracking[aws]'") from None

    what = f"aws-role: asked AWS STS for an AWS identity token with audience {origin}"
    try:
        session = botocore.session.get_session()
        # The global endpoint does not have this call, so an old configuration file must not select it.
        session.set_config_variable("sts_regional_endpoints", "regional")
        # AWS services set AWS_REGION, which botocore does not read. Each token gets a new client, so that no client is shared
        # after a fork and the credentials are current.
        retries = {"mode": "standard", "total_max_attempts": 4}
        config = Config(connect_timeout=_TIMEOUT[0], read_timeout=_TIMEOUT[1], retries=retries)
        client = session.create_client("sts", region_name=os.environ.get("AWS_REGION") or None, config=config)
        what = f"aws-role: asked {client.meta.endpoint_url} for an AWS identity token with audience {origin}"
        if not hasattr(client, "get_web_identity_token"):
            raise TokenError("aws-role: boto3 is too old: run pip install 'mlflow-secure-tracking[aws]'")
        # A token must not outlive the session of the role (often one hour in CI). Then a shorter lifetime is requested.
        for seconds in (3600, 900, 300, 60):
            try:
                answer = client.get_web_identity_token(Audience=[origin], SigningAlgorithm="RS256", DurationSeconds=seconds)
                return answer["WebIdentityToken"], None
            except ClientError as error:
                if error.response["Error"]["Code"] != "SessionDurationEscalationException" or seconds == 60:
                    raise
    except (BotoCoreError, ClientError) as error:
        raise TokenError(
            f"{what}: {str(error)[:500]}. Check AWS_REGION and the role's credentials. Check that the role may call"
            " sts:GetWebIdentityToken for this audience with 3600 seconds and RS256, and that outbound web identity"
            " federation is enabled in the account"
        ) from None
    raise AssertionError("unreachable")
