"""TLS of DIMSE associations, on both sides."""

from __future__ import annotations

import ssl
from pathlib import Path

from medsam_planner.errors import ConfigError
from medsam_planner.network.settings import Tls

__all__ = ["client_context", "server_context"]


def client_context(tls: Tls) -> ssl.SSLContext:
    """For associations that this program requests; the node's certificate and name are checked.

    Raises
    ------
    ConfigError
        If a file cannot be read as PEM.
    """
    return _loaded(tls, ssl.Purpose.SERVER_AUTH)


def server_context(tls: Tls) -> ssl.SSLContext:
    """For associations that this program accepts; with `ca_file`, peers must have a certificate too.

    Raises
    ------
    ConfigError
        If a file cannot be read as PEM, or there is no own certificate.
    """
    if tls.cert_file is None:
        raise ConfigError("Expected cert_file and key_file in tls of pacs.toml: what receives needs a certificate.")
    context = _loaded(tls, ssl.Purpose.CLIENT_AUTH)
    if tls.ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _loaded(tls: Tls, purpose: ssl.Purpose) -> ssl.SSLContext:
    file: Path | None = tls.ca_file
    try:
        context = ssl.create_default_context(purpose, cafile=None if file is None else str(file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert_file is not None:
            file = tls.cert_file
            context.load_cert_chain(str(file), None if tls.key_file is None else str(tls.key_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"Expected PEM in {file}, which tls of pacs.toml names: {error}.") from error
    return context
