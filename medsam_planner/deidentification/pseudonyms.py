"""Replacements that follow from a secret key: the same identifier gives the same replacement in every run.

Nobody can go back without the key, and whoever has it can try identifiers. References between objects keep resolving,
because a UID is replaced alike wherever it stands.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import os
import re
import secrets
import uuid
from pathlib import Path

from medsam_planner.errors import ConfigError, OutputError

__all__ = ["Pseudonyms"]

_LEAST_KEY_BYTES = 16
_MOST_DAYS = 3650
_DATE = re.compile(r"(\d{4})[.]?(\d{2})[.]?(\d{2})")


class Pseudonyms:
    """Replacements of identifiers, each an HMAC-SHA256 under one key.

    Parameters
    ----------
    key : bytes
        At least 16 bytes.

    Raises
    ------
    ConfigError
        If the key is shorter.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < _LEAST_KEY_BYTES:
            raise ConfigError(
                f"Expected a key of at least {_LEAST_KEY_BYTES} bytes, got {len(key)}. Name a file that does not exist "
                "yet: a key is then made and written to it."
            )
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> Pseudonyms:
        """Read the key in `path`; where there is no such file, make one that only its owner can read.

        Raises
        ------
        ConfigError
            If the file cannot be read or its key is too short.
        OutputError
            If no file can be made there.
        """
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            try:
                return cls(path.read_bytes().strip())
            except OSError as error:
                raise ConfigError(f"The key file {path} cannot be read: {error.strerror or error}.") from error
        except OSError as error:
            raise OutputError(f"No key file can be made at {path}: {error.strerror or error}.") from error
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())  # results without their key could never be completed
        return cls(path.read_bytes().strip())

    def digest(self, kind: str, text: str) -> bytes:
        """32 bytes for an identifier; `kind` keeps apart what only looks alike."""
        return hmac.new(self._key, f"{kind}\0{text}".encode(), hashlib.sha256).digest()

    @property
    def fingerprint(self) -> str:
        """Tells two keys apart and says nothing about either."""
        return self.digest("fingerprint", "").hex()[:16]

    def uid(self, text: str) -> str:
        """Replacement of a UID: a UUID (version 8) under the root 2.25."""
        return f"2.25.{uuid.UUID(bytes=_as_uuid(self.digest('uid', text))).int}"

    def name(self, kind: str, text: str) -> str:
        """Short name of a patient, study or series, in capitals and digits."""
        return kind[:1].upper() + base64.b32encode(self.digest(kind, text)[:10]).decode()

    def days(self, patient: str) -> int:
        """Days by which all dates of a patient move back, 1 to 3650."""
        return 1 + int.from_bytes(self.digest("days", patient)[:8]) % _MOST_DAYS

    def moved(self, date: str, patient: str) -> str:
        """A DICOM date (or the date that a date-time starts with) moved back; empty if it is no date."""
        match = _DATE.match(date.strip())
        if match is None:
            return ""
        try:
            moved = datetime.date(*(int(part) for part in match.groups())) - datetime.timedelta(self.days(patient))
        except (ValueError, OverflowError):
            return ""
        return f"{moved:%Y%m%d}".rjust(8, "0") + date.strip()[match.end() :]


def _as_uuid(digest: bytes) -> bytes:
    """The first 16 bytes with the version and variant of RFC 9562."""
    raw = bytearray(digest[:16])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)
