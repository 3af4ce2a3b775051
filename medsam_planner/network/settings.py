"""``pacs.toml``: who this program is on the network, and which nodes it talks to.

::

    [local]                            # who this program is to DIMSE nodes
    ae_title = "MEDSAMPLANNER"
    host = "127.0.0.1"                 # address on which `listen`, and a C-MOVE, receive
    port = 11112

    [nodes.archive]
    kind = "dicomweb"
    url = "https://pacs.example.org/dicom-web"
    ca_file = "hospital-ca.pem"        # where the system does not know who signed the certificate
    auth = { kind = "bearer", token_env = "PACS_TOKEN" }   # or token_file = "token.txt"

    [nodes.scanner]
    kind = "dimse"
    host = "10.0.0.5"
    port = 104
    ae_title = "ARCHIVE"               # its title; it knows this program as local.ae_title
    retrieve = "get"                   # or "move": it then sends to local.host and local.port, and must know them
    tls = { ca_file = "hospital-ca.pem", cert_file = "own.pem", key_file = "own.key" }

    [fhir.records]                     # where `fhir` sends to; no PACS
    url = "https://ehr.example.org/fhir"
    auth = { kind = "bearer", token_env = "FHIR_TOKEN" }

Further kinds of ``auth``: ``{ kind = "basic", user = "u", password_env = "P" }``, ``{ kind = "oauth2", token_url = "…",
client_id = "…", client_secret_env = "S", scope = "…", ca_file = "…" }`` (client credentials), and ``{ kind = "command",
command = ["gcloud", "auth", "print-access-token"] }``. Secrets stand in environment variables or files, never here, and
are never printed. Paths are relative to this file. What ``listen`` adds is shown in :mod:`.listen_settings`.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

__all__ = [
    "AeTitle",
    "Auth",
    "BasicAuth",
    "BearerAuth",
    "CommandAuth",
    "DicomwebNode",
    "DimseNode",
    "HttpServer",
    "Local",
    "NodeTable",
    "OAuth2",
    "Port",
    "Table",
    "Tls",
]

AeTitle = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{1,16}$")]
"""A title without spaces: what PS3.5 also allows is mistyped too easily."""
Port = Annotated[int, Field(ge=1, le=65535)]
_TITLE = "MEDSAMPLANNER"


class Table(BaseModel):
    """A table of the file: no unknown entry, no change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _one_place(env: str | None, file: Path | None, name: str) -> None:
    if (env is None) == (file is None):
        raise ValueError(f"expected exactly one of {name}_env and {name}_file")


class BearerAuth(Table):
    """A token that somebody renews where it stands; it is read again for each connection."""

    kind: Literal["bearer"]
    token_env: str | None = None
    token_file: Path | None = None

    @model_validator(mode="after")
    def _checked(self) -> BearerAuth:
        _one_place(self.token_env, self.token_file, "token")
        return self


class BasicAuth(Table):
    """User and password."""

    kind: Literal["basic"]
    user: str
    password_env: str | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _checked(self) -> BasicAuth:
        _one_place(self.password_env, self.password_file, "password")
        return self


class OAuth2(Table):
    """Client credentials (RFC 6749, 4.4): a token is fetched, and again before it ends."""

    kind: Literal["oauth2"]
    token_url: str
    client_id: str
    client_secret_env: str | None = None
    client_secret_file: Path | None = None
    scope: str | None = None
    ca_file: Path | None = None
    """Where the system does not know who signed the certificate of the token endpoint."""

    @model_validator(mode="after")
    def _checked(self) -> OAuth2:
        _one_place(self.client_secret_env, self.client_secret_file, "client_secret")
        require_protected(self.token_url, "token_url")
        return self


class CommandAuth(Table):
    """A program that prints a token, such as those of the cloud vendors; run again when the node refuses the token."""

    kind: Literal["command"]
    command: Annotated[list[str], Field(min_length=1)]


Auth = Annotated[BearerAuth | BasicAuth | OAuth2 | CommandAuth, Field(discriminator="kind")]


def require_protected(url: str, entry: str) -> None:
    """Refuse an address to which a secret would travel unencrypted, but for this machine itself."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected {entry} as https://HOST/PATH")
    if parts.scheme == "http" and not _is_this_machine(parts.hostname):
        raise ValueError(f"expected {entry} with https, since a secret is sent to it")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HttpServer(Table):
    """A server that is asked over HTTP."""

    url: str
    auth: Auth | None = None
    ca_file: Path | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 60.0

    @model_validator(mode="after")
    def _checked(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("expected url as https://HOST/PATH")
        if parts.username or parts.password:
            raise ValueError("expected url without a password; state it with auth = { kind = 'basic', ... }")
        if self.auth is not None:
            require_protected(self.url, "url")
        return self


class DicomwebNode(HttpServer):
    """A node that speaks QIDO-RS, WADO-RS and STOW-RS."""

    kind: Literal["dicomweb"]


class Tls(Table):
    """TLS: who signed the node's certificate, and the own certificate where the node asks for one."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _checked(self) -> Tls:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("expected cert_file and key_file together, or neither")
        return self


class DimseNode(Table):
    """A node that speaks C-ECHO, C-FIND, C-GET or C-MOVE, and C-STORE."""

    kind: Literal["dimse"]
    host: str
    port: Port
    ae_title: AeTitle
    retrieve: Literal["get", "move"] = "get"
    tls: Tls | None = None
    timeout_s: Annotated[float, Field(gt=0)] = 60.0


NodeTable = Annotated[DicomwebNode | DimseNode, Field(discriminator="kind")]


class Local(Table):
    """This program as an application entity."""

    ae_title: AeTitle = _TITLE
    host: str = "127.0.0.1"
    port: Port = 11112
