"""A small OpenID Connect provider on the loopback, which signs real tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from tests.ui.serving import served

CLIENT, SECRET = "planner", "the-secret-of-the-client"


class Provider:
    """Vouches for whoever comes; `claims` and the attributes below say what its tokens hold."""

    def __init__(self) -> None:
        self.issuer = ""
        self.claims: dict[str, Any] = {"sub": "u1", "roles": ["planner"]}
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.forges_with: bytes | None = None
        """A secret for HS256; empty for an unsigned token."""
        self._published = self.key
        self._waiting: dict[str, dict[str, str]] = {}

    def sign_with_another_key(self) -> None:
        """From now on tokens are not signed by the published key."""
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})

    def sign_with_the_public_key_as_a_secret(self) -> None:
        """From now on tokens are signed by what everybody knows."""
        self.forges_with = self._published.as_pem(private=False)

    def do_not_sign(self) -> None:
        """From now on tokens carry no signature."""
        self.forges_with = b""

    def app(self) -> FastAPI:
        """Its routes."""
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def configuration() -> dict[str, Any]:
            ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            return {"issuer": self.issuer} | {name: f"{self.issuer}/{path}" for name, path in ends.items()}

        @app.get("/keys")
        def keys() -> Any:
            return KeySet([self._published]).as_dict(private=False)

        @app.get("/authorize")
        def authorize(request: Request) -> Response:
            asked = dict(request.query_params)
            assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
            assert "openid" in asked["scope"].split() and asked["code_challenge_method"] == "S256"
            code = secrets.token_urlsafe(16)
            self._waiting[code] = asked
            query = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
            return RedirectResponse(f"{asked['redirect_uri']}?{query}", status_code=302)

        @app.post("/token")
        async def token(request: Request) -> Response:
            form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
            asked = self._waiting.pop(form["code"], None)
            known = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            if (
                asked is None
                or request.headers["authorization"] != f"Basic {known}"
                or form["redirect_uri"] != asked["redirect_uri"]
                or _part(digest).decode() != asked["code_challenge"]
            ):
                return JSONResponse({"error": "invalid_grant"}, status_code=400)
            return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": self.identity(asked)})

        return app

    def identity(self, asked: dict[str, str]) -> str:
        """The signed token."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        told = {key: value for key, value in {**claims, **self.claims}.items() if value is not None}
        if self.forges_with is None:
            return jwt.encode({"alg": "RS256", "kid": "one"}, told, self.key)
        header = {"alg": "HS256" if self.forges_with else "none", "kid": "one"}
        said = b".".join(_part(json.dumps(one).encode()) for one in (header, told))
        signature = hmac.digest(self.forges_with, said, "sha256") if self.forges_with else b""
        return (said + b"." + _part(signature)).decode()


def _part(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@contextmanager
def providing() -> Iterator[Provider]:
    """A running provider."""
    provider = Provider()
    with served(provider.app()) as address:
        provider.issuer = address
        yield provider
