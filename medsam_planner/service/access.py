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
from medsam_planner.service.core.actors import LOCAL, Actor, Right
from medsam_planner.service.core.logins import LoginKind
from medsam_planner.service.oidc import read_oidc
from medsam_planner.service.people import USERS_FILE, People

__all__ = ["LOOPBACK", "Access", "is_loopback", "read_access", "read_token"]

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
        If other machines can reach it and it requires nothing, or the token is too short.
    """

    host: str = LOOPBACK
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()
    """Further names under which browsers reach this machine, besides its addresses and its own host name."""
    people: People | None = None
    """Users, and those for whom a provider vouches. With them the token is an administrator's."""
    trusted_proxy: str | None = None
    """Address of the proxy in front, whose word on TLS and on the client's address is taken."""
    certificate: Path | None = None
    """TLS certificate chain, PEM; with `private_key`."""
    private_key: Path | None = None

    def __post_init__(self) -> None:
        if not self.needs_login and not (is_loopback(self.host) and self.trusted_proxy is None):
            raise ConfigError(
                f"Other machines can reach the server on {self.host}, so it needs a secret. "
                "Write one into a file (openssl rand -hex 32 > token.txt) and add --token-file token.txt, or add users "
                "(medsam-planner users add NAME). Without --host and --trusted-proxy only this machine can connect."
            )
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise ConfigError(
                f"Expected a token of at least {SHORTEST_TOKEN} characters, got {len(self.token)}. "
                "Make one with: openssl rand -hex 32"
            )
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigError("Expected --tls-cert and --tls-key together.")
        for path in (self.certificate, self.private_key):
            if path is not None and not path.is_file():
                raise ConfigError(f"The file {path} for TLS does not exist.")

    @property
    def needs_login(self) -> bool:
        """Whether strangers are refused."""
        return self.token is not None or self.people is not None

    def is_own_host(self, header: str) -> bool:
        """Whether the Host header names this machine."""
        name = _host_name(f"//{header}")
        if name is None:
            return False
        if is_loopback(name):
            return True
        if name in (one.lower() for one in self.names):
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

    @property
    def token_actor(self) -> Actor:
        """Who has the server's token: beside users an administrator."""
        return Actor("token") if self.people is None else Actor("token", Right.ADMINISTER, has_account=True)

    def actor_with(self, offered: str | None) -> Actor | None:
        """Which program sends this bearer token; None for a stranger. Where no login is required all are local."""
        if not self.needs_login:
            return LOCAL
        if offered is None:
            return None
        if self.is_token(offered):
            return self.token_actor
        return None if self.people is None else self.people.actor_of(offered, LoginKind.PROGRAM)

    @property
    def pass_value(self) -> str:
        """Cookie value that stands for the token; valid until the token is changed."""
        return hmac.new((self.token or "").encode(), b"medsam-planner page", hashlib.sha256).hexdigest()

    def is_pass(self, cookie: str) -> bool:
        """Whether a cookie stands for the token; compared in constant time."""
        return self.token is not None and hmac.compare_digest(cookie.encode(), self.pass_value.encode())

    @property
    def told(self) -> str:
        """What is said of it when the server starts, as sentences."""
        notes = []
        if self.token is not None:
            notes.append("It asks for the token.")
        if self.people is not None:
            notes.append("Its users log in.")
        is_encrypted = self.certificate is not None or self.trusted_proxy is not None
        if not is_loopback(self.host) and not is_encrypted:
            notes.append("The connection is not encrypted: add --tls-cert and --tls-key, or a proxy with TLS.")
        return " ".join(notes)

    def _known_names(self) -> Iterable[str]:
        return {name.lower() for name in (self.host, socket.gethostname(), socket.getfqdn())}


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


def read_access(
    host: str,
    data: Path,
    *,
    token_file: Path | None = None,
    names: Iterable[str] = (),
    oidc: Path | None = None,
    trusted_proxy: str | None = None,
    certificate: Path | None = None,
    private_key: Path | None = None,
) -> Access:
    """What a server requires of its clients, from the options of its command.

    Parameters
    ----------
    host : str
    data : Path
        The data folder; users that it has must log in.
    token_file : Path, optional
        See :func:`read_token`.
    names : iterable of str
    oidc : Path, optional
        See :func:`~medsam_planner.service.oidc.read_oidc`.
    trusted_proxy, certificate, private_key
        As in :class:`Access`.

    Raises
    ------
    ConfigError
        If one of the files is wrong, or other machines can reach the server and it requires nothing.
    """
    provider = None if oidc is None else read_oidc(oidc)
    people = People(data, oidc=provider) if provider is not None or (data / USERS_FILE).exists() else None
    if people is not None:
        people.accounts.all()  # report a damaged file now
    return Access(
        host,
        None if token_file is None else read_token(token_file),
        tuple(names),
        people=people,
        trusted_proxy=trusted_proxy,
        certificate=certificate,
        private_key=private_key,
    )


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
