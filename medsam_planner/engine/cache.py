"""Cache of embeddings: in memory up to a number of bytes, and on disk where a folder is given."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medsam_planner.engine.embedding_files import EmbeddingFiles
from medsam_planner.engine.protocol import Crop

if TYPE_CHECKING:
    import torch

    Embedding = torch.Tensor | tuple[torch.Tensor, ...]

__all__ = ["EmbeddingCache", "EmbeddingKey"]


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
        Folder in which embeddings are also kept (:mod:`.embedding_files`); other sessions and processes may use it at
        the same time.
    max_folder_bytes : int
        Limit of the folder; files that were not used for longest are deleted first. With 0 nothing is kept in it.

    Raises
    ------
    ValueError
        If a limit is negative.
    """

    def __init__(self, max_bytes: int, folder: Path | None = None, *, max_folder_bytes: int = 20_000_000_000) -> None:
        if max_bytes < 0 or max_folder_bytes < 0:
            raise ValueError(f"Expected limits of 0 bytes or more, got {max_bytes} and {max_folder_bytes}.")
        self.max_bytes = max_bytes
        self._files = EmbeddingFiles(folder, max_folder_bytes) if folder is not None and max_folder_bytes else None
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
        kept = _detached(embedding)
        self._hold(key, kept)
        if self._files is not None:
            self._files.write(self._files.path(key.study_sha256, key.digest()), kept)

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
                    found = self._encode(key, encode, on_disk)
                return found
        finally:
            with self._lock:
                self._encoding.pop(key, None)

    def _encode(
        self, key: EmbeddingKey, encode: Callable[[], Embedding | list[torch.Tensor]], on_disk: bool
    ) -> Embedding:
        found: Embedding | None
        if self._files is None or not on_disk:
            found = _detached(encode())
        else:
            path = self._files.path(key.study_sha256, key.digest())
            with self._files.encoding(key.digest()):
                found = self._files.read(path)  # where another process encoded it meanwhile
                if found is None:
                    found = _detached(encode())
                    self._files.write(path, found)
        self._hold(key, found)
        return found

    def clear(self) -> None:
        """Empty the memory; the folder stays."""
        with self._lock:
            self._held.clear()
            self._held_bytes = 0

    def _find(self, key: EmbeddingKey, on_disk: bool) -> Embedding | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        if self._files is None or not on_disk:
            return None
        found = self._files.read(self._files.path(key.study_sha256, key.digest()))
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


def _detached(embedding: Embedding | list[torch.Tensor]) -> Embedding:
    if isinstance(embedding, (tuple, list)):
        return tuple(tensor.detach() for tensor in embedding)
    return embedding.detach()


def _size_bytes(embedding: Embedding) -> int:
    tensors = embedding if isinstance(embedding, tuple) else (embedding,)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
