"""Login by an OpenID Connect provider: the authorization code flow with PKCE, state and nonce.

The provider's identity token is verified: signature, issuer, audience, expiry, nonce. A role comes from one of its
claims. The name of the user is the claim ``sub`` unless the operator names another: only ``sub`` is certain never to
pass to another person.
"""

from __future__ import annotations

import re
import secrets
import time
import tomllib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medsam_planner.errors import ConfigError, MedsamPlannerError
from medsam_planner.service.core.actors import USER_NAME, Actor, Right

__all__ = ["Oidc", "OidcRefusedError", "OidcSettings", "read_oidc"]

_PATIENCE_S = 10.0
"""For each answer of the provider."""
_FLOW_S = 600.0
"""So long a person may take at the provider."""
_MOST_WAITING = 10_000
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Signatures with a public key; ``none`` and shared secrets are never accepted."""
_LEEWAY_S = 60


class OidcRefusedError(MedsamPlannerError):
    """The provider did not vouch for the person, or for nobody with a role here."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """How this server is known to the provider.

    Raises
    ------
    ConfigError
        If the issuer is not reached over TLS (on this machine it need not be), or a role is unknown.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name_claim: str = "sub"
    role_claim: str = "roles"
    """A dot leads into a nested claim: ``realm_access.roles``."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Role by value of the claim; without an entry the values are the roles' own names."""

    def __post_init__(self) -> None:
        _require_tls(self.issuer, "issuer")
        for role in self.roles.values():
            Right.of_role(role)

    def right_of(self, claims: Mapping[str, Any]) -> Right | None:
        """The highest right that the claims give; None if they give none."""
        value: Any = claims
        for part in self.role_claim.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        values = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        known = self.roles or {right.role: right.role for right in Right}
        return max((Right.of_role(known[one]) for one in values if isinstance(one, str) and one in known), default=None)


def read_oidc(path: Path) -> OidcSettings:
    """Read the settings from a TOML file.

    ``issuer``, ``client_id`` and ``client_secret_file`` (relative to the file) are required; ``name_claim``,
    ``role_claim`` and the table ``roles`` are not.

    Raises
    ------
    ConfigError
        If it cannot be read, or an entry is wrong or missing.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        secret = (path.parent / table.pop("client_secret_file")).read_text(encoding="utf-8").strip()
    except KeyError as error:
        raise ConfigError(f"{path}: expected the entry client_secret_file, a file with the client's secret.") from error
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"The OIDC settings in {path} cannot be read: {error}.") from error
    required, optional = {"issuer", "client_id"}, {"name_claim", "role_claim", "roles"}
    if not required <= set(table) <= required | optional:
        raise ConfigError(f"{path}: expected issuer, client_id and client_secret_file, and perhaps {sorted(optional)}.")
    roles = table.get("roles", {})
    if not isinstance(roles, dict) or not all(isinstance(one, str) for one in [*roles.values(), *_texts(table)]):
        raise ConfigError(f"{path}: expected text for every entry, and a table of texts for roles.")
    return OidcSettings(client_secret=secret, **table)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A person who is at the provider."""

    nonce: str
    verifier: str
    redirect: str
    until_s: float


class Oidc:
    """One provider. Everything runs on the event loop.

    Parameters
    ----------
    settings : OidcSettings
    """

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._provider: Mapping[str, Any] | None = None

    async def begin(self, redirect: str) -> tuple[str, str]:
        """Send a person to the provider.

        Parameters
        ----------
        redirect : str
            Address of this server to which the provider sends the person back.

        Returns
        -------
        str, str
            Address at the provider, and the state that the browser must bring back as a cookie as well.

        Raises
        ------
        OidcRefusedError
            If the provider cannot be reached.
        """
        provider = await self._metadata()
        state = secrets.token_urlsafe(32)
        waiting = _Waiting(secrets.token_urlsafe(32), secrets.token_urlsafe(48), redirect, time.monotonic() + _FLOW_S)
        self._waiting[state] = waiting
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)
        async with self._client(redirect) as client:
            address, _ = client.create_authorization_url(
                provider["authorization_endpoint"], state=state, nonce=waiting.nonce, code_verifier=waiting.verifier
            )
        return address, state

    async def finish(self, query: Mapping[str, str], cookie: str) -> Actor:
        """Recognise a person who comes back.

        Parameters
        ----------
        query : mapping
            Of the address to which the provider sent the person.
        cookie : str
            The state that the browser kept.

        Raises
        ------
        OidcRefusedError
        """
        state = query.get("state", "")
        waiting = self._waiting.pop(state, None)
        is_same_browser = secrets.compare_digest(state.encode(), cookie.encode())
        if waiting is None or not is_same_browser or waiting.until_s < time.monotonic():
            raise OidcRefusedError("This login was not begun in this browser, or took too long. Begin again.")
        if "error" in query or "code" not in query:
            raise OidcRefusedError("The provider did not let you in.")
        if query.get("iss", self.settings.issuer) != self.settings.issuer:
            raise OidcRefusedError("Another provider answered.")
        claims = await self._claims(await self._identity_token(query["code"], waiting), waiting.nonce)
        name, right = claims.get(self.settings.name_claim), self.settings.right_of(claims)
        if not isinstance(name, str) or not re.fullmatch(USER_NAME, f"oidc:{name}"):
            raise OidcRefusedError(f"The provider's claim {self.settings.name_claim} is no name of a user.")
        if right is None:
            raise OidcRefusedError("You have no role on this server. Ask its administrator.")
        return Actor(f"oidc:{name}", right, has_account=True)

    async def _identity_token(self, code: str, waiting: _Waiting) -> str:
        provider = await self._metadata()
        from authlib.common.errors import AuthlibBaseError
        from httpx import HTTPError

        try:
            async with self._client(waiting.redirect) as client:
                answer = await client.fetch_token(
                    provider["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=waiting.verifier,
                )
            return str(answer["id_token"])
        except (AuthlibBaseError, HTTPError, ValueError, KeyError, TypeError) as error:
            raise OidcRefusedError("The provider did not accept the login.") from error

    async def _claims(self, token: str, nonce: str) -> Mapping[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        provider = await self._metadata()
        rules = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self.settings.issuer},
            aud={"essential": True, "value": self.settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            keys = KeySet.import_key_set(await self._get(provider["jwks_uri"]))  # type: ignore[arg-type]
            claims = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
            rules.validate(claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise OidcRefusedError("The provider's identity token cannot be verified.") from error
        audience = claims["aud"]
        is_for_others = isinstance(audience, list) and len(audience) > 1
        if claims.get("azp", None if is_for_others else self.settings.client_id) != self.settings.client_id:
            raise OidcRefusedError("The provider's identity token is for another program.")
        return claims

    async def _metadata(self) -> Mapping[str, Any]:
        if self._provider is None:
            found = await self._get(f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
            try:
                if found["issuer"] != self.settings.issuer:
                    raise OidcRefusedError("The provider gives itself another name than the settings.")
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    _require_tls(found[name], name)
            except (KeyError, TypeError, ConfigError) as error:
                raise OidcRefusedError(f"The provider's description cannot be used: {error}.") from error
            self._provider = found
        return self._provider

    @staticmethod
    async def _get(address: str) -> Mapping[str, Any]:
        import httpx

        try:
            async with httpx.AsyncClient(timeout=_PATIENCE_S) as client:
                answer = await client.get(address)
            answer.raise_for_status()
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise OidcRefusedError("The provider cannot be reached. Try again later.") from error
        if not isinstance(document, dict):
            raise OidcRefusedError("The provider answered something else than expected.")
        return document

    def _client(self, redirect: str) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client

        return AsyncOAuth2Client(
            self.settings.client_id,
            self.settings.client_secret,
            scope="openid profile email",
            redirect_uri=redirect,
            code_challenge_method="S256",
            timeout=_PATIENCE_S,
        )


def _texts(table: Mapping[str, Any]) -> list[Any]:
    return [value for key, value in table.items() if key != "roles"]


def _require_tls(address: str, what: str) -> None:
    parts = urlsplit(address)
    is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_here):
        raise ConfigError(f"Expected an address with https for the provider's {what}, got {address!r}.")
