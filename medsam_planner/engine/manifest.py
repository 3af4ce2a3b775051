"""Reader of ``weights/manifest.toml``, the list of known weights.

The file has ``schema_version = 1`` and one table per model::

    [weights.<name>]
    model = "compact"            # the class that reads the file: "compact" or "medsam"
    file = "compact.safetensors" # beside the manifest, or inside the hub repository
    sha256 = "…"                 # 64 hex digits of that file; weights without one are never loaded by name
    licence = "Apache-2.0"       # SPDX identifier
    input_size = 128             # side of the model's input in pixels
    description = "…"            # one sentence
    earlier_sha256 = ["…"]       # files of this name in earlier versions, so that one that was left there is recognised
    hub_id = "owner/name"        # only for weights that are fetched: repository on the Hugging Face hub,
    revision = "…"               # its commit (40 hex digits, never a branch),
    size_mb = 375                # and the download in 10⁶ bytes
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from medsam_planner.errors import ConfigError

__all__ = ["WeightsEntry", "read_manifest", "shipped_folder"]

_NAME = r"^[a-z0-9][a-z0-9.-]*$"
_FILE = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class WeightsEntry(BaseModel):
    """One table of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: Annotated[str, StringConstraints(pattern=_NAME)]
    model: Literal["compact", "medsam"]
    file: Annotated[str, StringConstraints(pattern=_FILE)]
    sha256: _Sha256
    licence: Annotated[str, StringConstraints(min_length=1)]
    input_size: Annotated[int, Field(gt=0)]
    description: Annotated[str, StringConstraints(min_length=1)]
    earlier_sha256: tuple[_Sha256, ...] = ()
    hub_id: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    size_mb: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _fetched_weights_name_a_commit_and_a_size(self) -> Self:
        given = [self.hub_id is not None, self.revision is not None, self.size_mb is not None]
        if any(given) and not all(given):
            raise ValueError("hub_id, revision and size_mb come together (fetched) or not at all (shipped)")
        return self

    @property
    def is_shipped(self) -> bool:
        """Whether the file travels with the package."""
        return self.hub_id is None


def shipped_folder() -> Path:
    """Folder of the weights that travel with the package, beside its packages."""
    return Path(__file__).resolve().parents[2] / "weights"


def read_manifest(path: Path | None = None) -> dict[str, WeightsEntry]:
    """Read the manifest.

    Parameters
    ----------
    path : Path, optional
        The manifest; the one in :func:`shipped_folder` if None.

    Returns
    -------
    dict of str to WeightsEntry
        In the file's order.

    Raises
    ------
    ConfigError
        If the file is absent, is not TOML, or an entry is wrong; names the entry and the field.
    """
    path = path if path is not None else shipped_folder() / "manifest.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"Expected the manifest of the weights at {path}; there is none. Reinstall it.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    if document.get("schema_version") != 1:
        raise ConfigError(f"{path}: expected schema_version = 1, got {document.get('schema_version')!r}.")
    tables = document.get("weights", {})
    unknown = sorted(set(document) - {"schema_version", "weights"})
    if unknown or not isinstance(tables, dict):
        raise ConfigError(f"{path}: expected tables [weights.<name>] only, got {unknown or tables!r}.")
    return {name: _entry(name, table, path) for name, table in tables.items()}


def _entry(name: str, table: object, path: Path) -> WeightsEntry:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: expected a table [weights.{name}], got {table!r}.")
    try:
        return WeightsEntry(**{**table, "name": name})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'entry'}: {problem['msg']}" for problem in error.errors()
        )
        raise ConfigError(f"{path}, [weights.{name}]: {problems}.") from error
