"""Embeddings on disk: one folder for all sessions and processes, with a limit of bytes.

A tensor whose numbers are exact in float16 is kept in float16, as MedSAM's are (:meth:`.medsam.MedSam.encode` rounds
them), so that what is read has the bits of what was written. A file carries the hash of its tensors; one that differs
is deleted. While a process encodes a slice, others that want the same slice wait for it.

An embedding shows the picture it was made of to whoever has the weights, so the folder is for its owner alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from medsam_planner.errors import ConfigError
from medsam_planner.io.file_lock import NotLockedError, locked
from medsam_planner.io.files import write_whole
from prompts.whole_file import is_partial

if TYPE_CHECKING:
    import torch

    Embedding = torch.Tensor | tuple[torch.Tensor, ...]

__all__ = ["FOLDER_VARIABLE", "SIZE_VARIABLE", "EmbeddingFiles", "default_bytes", "default_folder"]

FOLDER_VARIABLE = "MEDSAM_PLANNER_EMBEDDINGS"
SIZE_VARIABLE = "MEDSAM_PLANNER_EMBEDDINGS_GB"
_DEFAULT_GB = 20.0
_STUDY_DIGITS = 24
_ABANDONED_S = 3600.0
"""Age after which a temporary file belongs to a process that was killed."""
_PRUNED_TO = 0.9
"""Share of the limit that is left, so that not every further file makes room for itself."""

_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """``$MEDSAM_PLANNER_EMBEDDINGS``, else a folder in the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path() / "medsam-planner" / "embeddings"


def default_bytes() -> int:
    """Limit of the folder: ``$MEDSAM_PLANNER_EMBEDDINGS_GB``, else 20 GB; 0 keeps nothing on disk.

    Raises
    ------
    ConfigError
        If it is no number, or negative.
    """
    text = os.environ.get(SIZE_VARIABLE, str(_DEFAULT_GB))
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < 1e6:
        raise ConfigError(f"Expected a number of gigabytes in {SIZE_VARIABLE}, 0 for none, got {text!r}.")
    return round(size * 1e9)


class EmbeddingFiles:
    """The folder.

    Parameters
    ----------
    folder : Path
        Made when the first embedding is written.
    max_bytes : int
        Where more is kept, the files that were not used for longest are deleted.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def path(self, study_sha256: str, digest: str) -> Path:
        """Place of an embedding of a study."""
        return self.folder / f"{study_sha256[:_STUDY_DIGITS]}-{digest}.safetensors"

    @contextmanager
    def encoding(self, digest: str) -> Iterator[None]:
        """Wait until no other process encodes this slice, and keep others from it inside the block."""
        handle = None
        try:
            self._make()
            (self.folder / "locks").mkdir(mode=0o700, exist_ok=True)
            # A few files for all slices, as one that is deleted could be held by two.
            handle = locked(self.folder / "locks" / digest[:2], os.O_RDWR | os.O_CREAT, waits=True)
        except NotLockedError:  # a file system without locks: as on Windows, at worst a slice is encoded twice
            pass
        except OSError as error:
            _log.warning("Embeddings are not kept in %s: %s", self.folder, error)
        try:
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def read(self, path: Path) -> Embedding | None:
        """The embedding of a file, or None; a file whose bytes are not those that were written is deleted."""
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                # Copied out of the memory map: there, tensors start at unaligned addresses, on which kernels round
                # differently, and a decoder would give other bits than for the embedding in memory.
                named = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError) as error:
            _drop(path, str(error))
            return None
        if not named or metadata.get("sha256") != _tensors_sha256(named):
            _drop(path, "its checksum differs")
            return None
        with contextlib.suppress(OSError):  # what was used last is kept longest
            os.utime(path)
        widened = metadata.get("float32", "").split(",")
        tensors = tuple(
            named[str(number)].float() if str(number) in widened else named[str(number)] for number in range(len(named))
        )
        return tensors if metadata.get("form") == "tuple" else tensors[0]

    def write(self, path: Path, embedding: Embedding) -> None:
        """Keep an embedding; a disk that is full is told in the log, and nothing else happens."""
        from safetensors.torch import save

        tensors = embedding if isinstance(embedding, tuple) else (embedding,)
        named = {str(number): tensor.cpu().contiguous() for number, tensor in enumerate(tensors)}
        halved = [name for name, tensor in named.items() if _is_exact_in_half(tensor)]
        named |= {name: named[name].half() for name in halved}
        metadata = {
            "form": "tuple" if isinstance(embedding, tuple) else "tensor",
            "sha256": _tensors_sha256(named),
            "float32": ",".join(halved),
        }
        try:
            self._make()
            write_whole(path, save(named, metadata))
            self.prune()
        except OSError as error:
            _log.warning("Embedding not kept in %s: %s", self.folder, error)

    def prune(self) -> None:
        """Delete the files that were not used for longest where the folder is over its limit."""
        files, now = [], time.time()
        for path in self.folder.iterdir():
            try:
                state = path.stat()
            except OSError:  # another process deleted it
                continue
            if is_partial(path.name) and now - state.st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)
            elif path.suffix == ".safetensors":
                files.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in files)
        if total <= self.max_bytes:
            return
        for _, size, path in sorted(files):
            if total <= _PRUNED_TO * self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size

    def forget(self, study_sha256: str) -> None:
        """Delete the embeddings of a study."""
        for path in self.folder.glob(f"{study_sha256[:_STUDY_DIGITS]}-*.safetensors"):
            path.unlink(missing_ok=True)

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _drop(path: Path, reason: str) -> None:
    _log.warning("Damaged embedding deleted: %s (%s)", path, reason)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _is_exact_in_half(tensor: torch.Tensor) -> bool:
    import torch

    return tensor.dtype == torch.float32 and torch.equal(tensor.half().float(), tensor)


def _tensors_sha256(named: dict[str, torch.Tensor]) -> str:
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(named.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
