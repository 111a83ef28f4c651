"""A small OpenID provider on loopback: discovery, authorization, token with rotation, device flow, revocation, keys."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from conftest import Request, Stub
from jwskate import Jwk, Jwt
from requests_oauth2client import PkceUtils

CLIENT = "tools"
KEY, OTHER_KEY = (Jwk.generate(alg="RS256", kid="1") for _ in range(2))  # two with the same name


class Provider:
    def __init__(self) -> None:
        self.key = KEY
        self.claims: dict[str, Any] = {}  # what the next ID tokens say instead; None takes a claim away
        self.sign = lambda claims: str(Jwt.sign(claims, self.key))
        self.paths = {CLIENT: ""}  # the path of the redirect that is registered for each client
        self.person = "ada"
        self.life, self.rotates, self.refreshes, self.pause = 3600.0, True, True, 0.0
        self.approved = True
        self.codes: dict[str, dict[str, str]] = {}
        self.alive: set[str] = set()  # refresh tokens
        self.issued: list[str] = []  # every secret
        self.grants: list[str] = []
        self.metadata: dict[str, Any] = {}
        self.lock = threading.Lock()
        self.stub = Stub(self.answer).start()
        self.url = self.stub.url

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any]:
        parts = urlsplit(request.path)
        form = {k: v[0] for k, v in parse_qs(request.body.decode() or parts.query).items()}
        return getattr(self, parts.path.rpartition("/")[2].replace("-", "_"))(form)

    def openid_configuration(self, _: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        names = {"authorization": "authorize", "token": "token", "device_authorization": "device", "revocation": "revoke"}
        urls = {f"{name}_endpoint": f"{self.url}/{path}" for name, path in names.items()}
        whole = {"issuer": self.url, "jwks_uri": self.url + "/jwks"} | urls | self.metadata
        return 200, {}, {name: value for name, value in whole.items() if value}

    def jwks(self, _: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        return 200, {}, {"keys": [dict(self.key.public_jwk())]}

    def authorize(self, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        target = urlsplit(form["redirect_uri"])
        known = target.hostname == "localhost" and target.path == self.paths.get(form["client_id"])
        if not known or form["code_challenge_method"] != "S256":
            return 400, {}, "redirect_uri is not registered"
        code = secrets.token_urlsafe()
        self.codes[code] = form | {"person": self.person}
        return 302, {"Location": f"{form['redirect_uri']}?{urlencode({'code': code, 'state': form['state']})}"}, ""

    def device(self, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        self.codes["device"] = form
        return 200, {}, {
            "device_code": "device",
            "user_code": "ABCD-EFGH",
            "verification_uri": self.url + "/go",
            "interval": 1,
            "expires_in": 60,
        }  # fmt: skip

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        time.sleep(self.pause)
        grant = form["grant_type"].rpartition(":")[2]
        with self.lock:
            self.grants.append(grant)
            if grant == "refresh_token":
                if form["refresh_token"] not in self.alive:
                    self.alive.clear()  # a used one comes again: the whole family ends
                    return 400, {}, {"error": "invalid_grant", "error_description": f"{form['refresh_token']} was revoked"}
                if self.rotates:
                    self.alive.remove(form["refresh_token"])
                asked = {}
            elif grant == "device_code":
                if not self.approved:
                    return 400, {}, {"error": "authorization_pending"}
                asked = self.codes.pop("device")
            else:
                asked = self.codes.pop(form["code"])
                if PkceUtils.derive_challenge(form["code_verifier"]) != asked["code_challenge"]:
                    return 400, {}, {"error": "invalid_grant", "error_description": "PKCE"}
            answer = {"access_token": self.secret(), "token_type": "Bearer", "id_token": self.id_token(form["client_id"], asked)}
            if self.refreshes and (self.rotates or grant != "refresh_token"):
                answer["refresh_token"] = self.secret()
                self.alive.add(answer["refresh_token"])
            return 200, {}, {name: value for name, value in answer.items() if value}

    def revoke(self, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        self.alive.discard(form["token"])
        return 200, {}, ""

    def secret(self) -> str:
        self.issued.append(secrets.token_urlsafe())
        return self.issued[-1]

    def id_token(self, client: str, asked: dict[str, str]) -> str:
        now = time.time()
        person = asked.get("person", self.person)
        claims = {"iss": self.url, "aud": client, "iat": now, "exp": now + self.life, "nonce": asked.get("nonce")}
        claims |= {"sub": person, "email": f"{person}@example.com"} | self.claims
        self.issued.append(self.sign({name: value for name, value in claims.items() if value is not None}))
        return self.issued[-1]
