"""Tokens and passwords of DICOMweb nodes: read when they are needed, renewed when they end, never printed."""

from __future__ import annotations

import os
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medsam_planner.errors import ConfigError, PeerAwayError, PeerError
from medsam_planner.network.settings import BasicAuth, BearerAuth, CommandAuth, OAuth2

__all__ = ["Credentials", "credentials_of", "require_secrets"]

_COMMAND_S = 60.0
_ENDS_EARLIER_S = 60.0
"""A token is renewed so long before it ends: a request under way must not outlive it."""


class Credentials:
    """The ``Authorization`` header of requests; as ``auth`` of a requests session.

    Parameters
    ----------
    make : callable
        Gives the header and the seconds for which it holds, or None where nobody knows.
    """

    def __init__(self, make: Callable[[], tuple[str, float | None]]) -> None:
        self._make = make
        self._header: str | None = None
        self._ends_s: float | None = None

    def __call__(self, request: Any) -> Any:
        """Sign a request (:class:`requests.PreparedRequest`)."""
        if self._header is None or (self._ends_s is not None and time.monotonic() > self._ends_s):
            self._header, holds_s = self._make()
            self._ends_s = None if holds_s is None else time.monotonic() + max(0.0, holds_s - _ENDS_EARLIER_S)
        request.headers["Authorization"] = self._header
        return request

    def forget(self) -> None:
        """Make the header anew for the next request: the node refused it."""
        self._header = None

    def hidden_in(self, text: str) -> str:
        """The text without the secret, should a node repeat it in its answer."""
        scheme, _, secret = (self._header or "").partition(" ")
        if scheme == "Basic":
            return _hidden(text, (secret, b64decode(secret).decode().partition(":")[2]))
        return _hidden(text, (secret,))


def credentials_of(auth: BearerAuth | BasicAuth | OAuth2 | CommandAuth | None) -> Credentials | None:
    """The credentials that a node's ``auth`` describes; no secret is read yet."""
    if auth is None:
        return None
    if isinstance(auth, BearerAuth):
        return Credentials(lambda: (f"Bearer {_secret(auth.token_env, auth.token_file)}", None))
    if isinstance(auth, BasicAuth):
        return Credentials(lambda: (_basic(auth.user, _secret(auth.password_env, auth.password_file)), None))
    if isinstance(auth, OAuth2):
        return Credentials(lambda: _fetched(auth))
    return Credentials(lambda: (f"Bearer {_printed(auth.command)}", None))


def require_secrets(auth: BearerAuth | BasicAuth | OAuth2 | CommandAuth | None) -> None:
    """Refuse a login whose secret is not where pacs.toml says; nothing is sent and no program is run.

    Raises
    ------
    ConfigError
    """
    if isinstance(auth, BearerAuth):
        _secret(auth.token_env, auth.token_file)
    elif isinstance(auth, BasicAuth):
        _secret(auth.password_env, auth.password_file)
    elif isinstance(auth, OAuth2):
        _secret(auth.client_secret_env, auth.client_secret_file)


def _secret(env: str | None, file: Path | None) -> str:
    """The secret of a place that pacs.toml names.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if env is not None:
        secret, where = os.environ.get(env, ""), f"the environment variable {env}"
    else:
        where = f"the file {file}"
        try:
            secret = Path(str(file)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Expected a secret in {where}, which pacs.toml names: {error}.") from error
    secret = secret.strip()
    if not secret or not secret.isprintable():
        raise ConfigError(f"Expected a secret of one line in {where}, which pacs.toml names, got none. Set it.")
    return secret


def _hidden(text: str, secrets: tuple[str, ...]) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    return text


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _printed(command: list[str]) -> str:
    """The token that a program prints.

    Raises
    ------
    ConfigError
        If it fails or prints something else. Neither its arguments nor its words are repeated.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except subprocess.TimeoutExpired:
        why = f"no answer within {_COMMAND_S:g} s"
    except (OSError, ValueError) as error:
        why = f"no such program that can be run ({getattr(error, 'strerror', None) or type(error).__name__})"
    else:
        token = done.stdout.strip()
        if not done.returncode and len(token.split()) == 1 and token.isprintable():
            return token
        why = f"exit code {done.returncode}" + ("" if done.returncode else " and no single word")
    raise ConfigError(
        f"Expected a token from the command {command[0]!r} of pacs.toml, got {why}. What it printed is not shown, "
        "since it may hold a secret: run the command by hand to see it."
    )


def _fetched(auth: OAuth2) -> tuple[str, float | None]:
    """A token from the token endpoint, and for how many seconds it holds."""
    import requests

    data = {"grant_type": "client_credentials", **({"scope": auth.scope} if auth.scope else {})}
    secret = _secret(auth.client_secret_env, auth.client_secret_file)
    session = requests.Session()
    session.trust_env = False  # as of the node: no proxy and no password that pacs.toml does not name
    try:
        answer = session.post(
            auth.token_url,
            data=data,
            auth=(auth.client_id, secret),
            timeout=_COMMAND_S,
            allow_redirects=False,
            verify=True if auth.ca_file is None else str(auth.ca_file),
        )
    except requests.RequestException as error:
        raise PeerAwayError(f"The token endpoint {auth.token_url} does not answer: {error}.") from error
    if answer.status_code in (429, 500, 502, 503, 504):
        raise PeerAwayError(f"The token endpoint {auth.token_url} is busy: {answer.status_code} {answer.reason}.")
    try:
        document = answer.json()
    except ValueError:
        document = {}
    document = document if isinstance(document, dict) else {}
    token = document.get("access_token")
    if answer.status_code != 200 or not isinstance(token, str) or not token:
        secrets = (secret, _basic(auth.client_id, secret).partition(" ")[2])
        why = document.get("error_description") or document.get("error") or answer.reason
        raise PeerError(
            f"The token endpoint {auth.token_url} gave no token: {answer.status_code} {_hidden(str(why), secrets)}. "
            "Check client_id, the secret and scope in pacs.toml."
        )
    holds_s = document.get("expires_in")
    return f"Bearer {token}", float(holds_s) if isinstance(holds_s, int | float) else None
