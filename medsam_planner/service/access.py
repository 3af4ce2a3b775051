"""Who may use the server: under which host names it answers, from which origins, and with which secret.

On a loopback address only this machine can connect, so no secret is needed. A foreign page whose name was pointed at
this machine (DNS rebinding), or that posts across origins, is refused by its name. On any other address nothing is
answered without the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from medsam_planner.errors import ConfigError
from medsam_planner.service.core.actors import LOCAL, Actor

__all__ = ["LOOPBACK", "Access", "is_loopback", "read_token"]

LOOPBACK = "127.0.0.1"
"""Address on which only this machine can connect."""
SHORTEST_TOKEN = 20
"""Characters. A random token of this length cannot be guessed over a network, so failed logins are not limited."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server listens and what it requires of clients.

    Raises
    ------
    ConfigError
        If it listens beyond loopback and has no `token`, or the token is too short.
    """

    host: str = LOOPBACK
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()
    """Further names under which browsers reach this machine, besides its addresses and its own host name."""

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"Other machines can reach the server on {self.host}, so it needs a secret. "
                "Write one into a file (openssl rand -hex 32 > token.txt) and add --token-file token.txt, or omit "
                "--host: then only this machine can connect."
            )
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise ConfigError(
                f"Expected a token of at least {SHORTEST_TOKEN} characters, got {len(self.token)}. "
                "Make one with: openssl rand -hex 32"
            )

    def is_own_host(self, header: str) -> bool:
        """Whether the Host header names this machine."""
        name = _host_name(f"//{header}")
        if name is None:
            return False
        if is_loopback(name):
            return True
        return not is_loopback(self.host) and (_is_address(name) or name in self._known_names())

    def is_own_origin(self, origin: str, host_header: str) -> bool:
        """Whether the Origin header is this server's; http and https both count, as a proxy may add TLS."""
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host_header.lower()

    def is_foreign(self, headers: Mapping[str, str], *, is_link: bool = False) -> bool:
        """Whether a page of another site sent a request.

        Parameters
        ----------
        headers : mapping
            Of the request, whose Host is this server's; found by lower-case names.
        is_link : bool
            Whether the request follows a link to a page, which another site may have shown.
        """
        origin = headers.get("origin")
        if origin is not None and not self.is_own_origin(origin, headers.get("host", "")):
            return True
        return not is_link and headers.get("sec-fetch-site", "none") not in ("same-origin", "none")

    def is_token(self, offered: str) -> bool:
        """Whether `offered` is the secret; compared in constant time."""
        return self.token is not None and hmac.compare_digest(offered.encode(), self.token.encode())

    def actor_with(self, offered: str | None) -> Actor | None:
        """Who sends this token; None for a stranger. Where no secret is required everybody is local."""
        if self.token is None:
            return LOCAL
        return Actor("token") if offered is not None and self.is_token(offered) else None

    @property
    def pass_value(self) -> str:
        """Cookie value that stands for the secret; valid until the secret is changed."""
        return hmac.new((self.token or "").encode(), b"medsam-planner page", hashlib.sha256).hexdigest()

    def is_let_in(self, cookies: Mapping[str, str], cookie_name: str) -> bool:
        """Whether a request with these cookies is logged in, or no login is needed."""
        if self.token is None:
            return True
        return hmac.compare_digest(cookies.get(cookie_name, "").encode(), self.pass_value.encode())

    def _known_names(self) -> Iterable[str]:
        return {name.lower() for name in (self.host, *self.names, socket.gethostname(), socket.getfqdn())}


def read_token(path: Path) -> str:
    """Read the secret from a file; surrounding white space is removed.

    Raises
    ------
    ConfigError
        If the file cannot be read, or is not one line of printable ASCII.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"The token file {path} cannot be read: {reason}.") from error
    if not text or not text.isascii() or not text.isprintable():
        raise ConfigError(
            f"Expected one line of printable characters in the token file {path}. Make one with: "
            f"openssl rand -hex 32 > {path}"
        )
    return text


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to that address or name."""
    return host.lower() == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _host_name(url: str) -> str | None:
    """Lower-case name or address without port and brackets; None if malformed."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is not a number
    except ValueError:
        return None
    plain = parts.username is None and not (parts.path or parts.query or parts.fragment)
    return parts.hostname if plain else None
