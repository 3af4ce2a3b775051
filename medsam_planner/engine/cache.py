"""Cache of embeddings: in memory up to a number of bytes, and on disk where a folder is given."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medsam_planner.engine.protocol import Crop
from medsam_planner.io.files import write_whole

if TYPE_CHECKING:
    import torch

    Embedding = torch.Tensor | tuple[torch.Tensor, ...]

__all__ = ["EmbeddingCache", "EmbeddingKey"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EmbeddingKey:
    """Everything an embedding depends on."""

    study_sha256: str
    normalisation: str
    """Window or percentile rule of the intensities, with its parameters."""
    axis: int
    index: int
    crop: Crop
    weights_sha256: str
    engine: str = "torch:fp32"
    """What computed it (:mod:`.engine_name`)."""

    def digest(self) -> str:
        """SHA-256 of the key; the name of its file on disk."""
        numbers = [*self.crop.centre_rc, *self.crop.side_rc]
        fields = [
            self.study_sha256,
            self.normalisation,
            str(self.axis),
            str(self.index),
            *(float(number).hex() for number in numbers),
            str(self.crop.size),
            self.weights_sha256,
            self.engine,
        ]
        return hashlib.sha256("\0".join(fields).encode()).hexdigest()


class EmbeddingCache:
    """Least-recently-used embeddings in memory, optionally backed by a folder.

    Safe for several threads; where two request the same absent key, it is encoded once. Tensors are returned without a
    copy and must not be written to.

    Parameters
    ----------
    max_bytes : int
        Limit of the tensors in memory. An embedding larger than this is not kept in memory.
    folder : Path, optional
        Folder in which embeddings are also kept as safetensors files. Damaged files are ignored and rewritten.
    max_folder_bytes : int
        Limit of the folder; the oldest files are deleted first.

    Raises
    ------
    ValueError
        If a limit is negative.
    """

    def __init__(self, max_bytes: int, folder: Path | None = None, *, max_folder_bytes: int = 20_000_000_000) -> None:
        if max_bytes < 0 or max_folder_bytes < 0:
            raise ValueError(f"Expected limits of 0 bytes or more, got {max_bytes} and {max_folder_bytes}.")
        self.max_bytes = max_bytes
        self.max_folder_bytes = max_folder_bytes
        self.folder = folder
        self.hits = 0
        """Look-ups that were found in memory or on disk."""
        self.misses = 0
        """Look-ups that were not found."""
        self._held: OrderedDict[EmbeddingKey, Embedding] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()
        self._encoding: dict[EmbeddingKey, threading.Lock] = {}

    def __len__(self) -> int:
        """Embeddings held in memory."""
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """Bytes of the tensors held in memory."""
        return self._held_bytes

    def get(self, key: EmbeddingKey, *, on_disk: bool = True) -> Embedding | None:
        """Embedding of `key`, or None."""
        found = self._find(key, on_disk)
        with self._lock:
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
        return found

    def put(self, key: EmbeddingKey, embedding: Embedding | list[torch.Tensor]) -> None:
        """Keep an embedding, detached from its graph, in memory and in the folder."""
        self._keep(key, _detached(embedding), on_disk=True)

    def get_or_encode(
        self, key: EmbeddingKey, encode: Callable[[], Embedding | list[torch.Tensor]], *, on_disk: bool = True
    ) -> Embedding:
        """Embedding of `key`, computed by `encode` if it is not cached; several tensors are returned as a tuple.

        `on_disk` is whether it is looked for and kept in the folder, too, which is slower than a quick encoder.
        """
        with self._lock:
            turn = self._encoding.setdefault(key, threading.Lock())
        try:
            with turn:
                found = self.get(key, on_disk=on_disk)
                if found is None:
                    found = _detached(encode())
                    self._keep(key, found, on_disk)
                return found
        finally:
            with self._lock:
                self._encoding.pop(key, None)

    def clear(self) -> None:
        """Empty the memory; the folder stays."""
        with self._lock:
            self._held.clear()
            self._held_bytes = 0

    def _keep(self, key: EmbeddingKey, embedding: Embedding, on_disk: bool) -> None:
        self._hold(key, embedding)
        if self.folder is not None and on_disk:
            self._write(self.folder, key, embedding)

    def _find(self, key: EmbeddingKey, on_disk: bool) -> Embedding | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        if self.folder is None or not on_disk:
            return None
        found = _read(self.folder / f"{key.digest()}.safetensors")
        if found is not None:
            self._hold(key, found)
        return found

    def _hold(self, key: EmbeddingKey, embedding: Embedding) -> None:
        with self._lock:
            replaced = self._held.pop(key, None)
            if replaced is not None:
                self._held_bytes -= _size_bytes(replaced)
            size = _size_bytes(embedding)
            if size > self.max_bytes:
                return
            while self._held_bytes + size > self.max_bytes:
                _, evicted = self._held.popitem(last=False)
                self._held_bytes -= _size_bytes(evicted)
            self._held[key] = embedding
            self._held_bytes += size

    def _write(self, folder: Path, key: EmbeddingKey, embedding: Embedding) -> None:
        from safetensors.torch import save

        tensors = embedding if isinstance(embedding, tuple) else (embedding,)
        named = {str(number): tensor.cpu().contiguous() for number, tensor in enumerate(tensors)}
        metadata = {"form": "tuple" if isinstance(embedding, tuple) else "tensor", "sha256": _tensors_sha256(named)}
        path = folder / f"{key.digest()}.safetensors"
        try:
            write_whole(path, save(named, metadata))
            _prune(folder, self.max_folder_bytes)
        except OSError as error:  # a full disk must not stop the segmentation
            _log.warning("Embedding not kept in %s: %s", folder, error)


def _detached(embedding: Embedding | list[torch.Tensor]) -> Embedding:
    if isinstance(embedding, (tuple, list)):
        return tuple(tensor.detach() for tensor in embedding)
    return embedding.detach()


def _size_bytes(embedding: Embedding) -> int:
    tensors = embedding if isinstance(embedding, tuple) else (embedding,)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _tensors_sha256(named: dict[str, torch.Tensor]) -> str:
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(named.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> Embedding | None:
    """Embedding in `path`, or None where there is none or its bytes are not those that were written."""
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
        _log.warning("Damaged embedding ignored: %s (%s)", path, error)
        return None
    if not named or metadata.get("sha256") != _tensors_sha256(named):
        _log.warning("Damaged embedding ignored: %s (its checksum differs)", path)
        return None
    tensors = tuple(named[str(number)] for number in range(len(named)))
    return tensors if metadata.get("form") == "tuple" else tensors[0]


def _prune(folder: Path, max_bytes: int) -> None:
    files = sorted(((path.stat(), path) for path in folder.glob("*.safetensors")), key=lambda pair: pair[0].st_mtime_ns)
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in files:
        if total <= max_bytes:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size
