"""Names of models that run on another server; without its client, for checks before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from medsam_planner.errors import WeightsError

__all__ = ["PREFIX", "address_in"]

PREFIX = "nninteractive:"


def address_in(name: str | Path) -> str | None:
    """The address in a name like ``nninteractive:http://127.0.0.1:1527``; None for other names.

    Raises
    ------
    WeightsError
        If it is no address of a server.
    """
    text = str(name) if isinstance(name, str) else ""
    if not text.startswith(PREFIX):
        return None
    address = text.removeprefix(PREFIX)
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address or parts.username is not None or parts.query or parts.fragment:
        raise WeightsError(
            f"Expected {PREFIX}URL with the address of a server, as {PREFIX}http://127.0.0.1:1527, and its key in the "
            f"environment variable NN_INTERACTIVE_API_KEY; got {text!r}."
        )
    return address
