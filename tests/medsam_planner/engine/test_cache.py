"""The embedding cache: its bounds, its disk layer, and what it does with damaged files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medsam_planner.engine.cache import EmbeddingCache, EmbeddingKey
from medsam_planner.engine.embedding_files import EmbeddingFiles, default_bytes
from medsam_planner.engine.protocol import Crop
from medsam_planner.errors import ConfigError

CROP = Crop(centre_rc=(31.5, 20.25), side_rc=(64.0, 91.0), size=128)


def key(index: int = 0, **changes: object) -> EmbeddingKey:
    fields: dict[str, object] = {
        "study_sha256": "ab" * 32,
        "normalisation": "ct 400/40",
        "axis": 0,
        "index": index,
        "crop": CROP,
        "weights_sha256": "cd" * 32,
    }
    return EmbeddingKey(**(fields | changes))  # type: ignore[arg-type]


def test_what_was_put_comes_back_and_is_counted() -> None:
    cache = EmbeddingCache(10_000)
    embedding = torch.arange(6.0)
    assert cache.get(key()) is None
    cache.put(key(), embedding)
    assert torch.equal(cache.get(key()), embedding)
    assert (cache.hits, cache.misses, len(cache)) == (1, 1, 1)


def test_every_part_of_the_key_separates_embeddings(tmp_path: Path) -> None:
    others = [
        key(index=1),
        key(axis=1),
        key(study_sha256="00" * 32),
        key(normalisation="ct 1500/-600"),
        key(weights_sha256="00" * 32),
        key(engine="onnx:int8:0123456789ab"),
        key(crop=Crop((31.5, 20.26), (64.0, 91.0), 128)),
        key(crop=Crop((31.5, 20.25), (64.0, 90.0), 128)),
        key(crop=Crop((31.5, 20.25), (64.0, 91.0), 64)),
    ]
    cache = EmbeddingCache(10_000, tmp_path)
    cache.put(key(), torch.zeros(3))
    assert all(cache.get(other) is None for other in others)
    assert len({other.digest() for other in [key(), *others]}) == 10


@given(
    st.integers(0, 400),
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.booleans()), max_size=60),
)
@settings(max_examples=80, deadline=None)
def test_memory_never_exceeds_its_bound(max_bytes: int, operations: list[tuple[int, int, bool]]) -> None:
    cache = EmbeddingCache(max_bytes)
    for index, length, reads in operations:
        if reads:
            found = cache.get(key(index))
            assert found is None or bool((found == index).all())
        else:
            cache.put(key(index), torch.full((length,), index, dtype=torch.float32))
        assert sum(embedding.numel() * 4 for embedding in cache._held.values()) <= max_bytes


def test_the_least_recently_used_embedding_goes_first() -> None:
    cache = EmbeddingCache(3 * 40)
    for index in range(3):
        cache.put(key(index), torch.zeros(10))
    cache.get(key(0))
    cache.put(key(3), torch.zeros(10))
    assert [cache.get(key(index)) is not None for index in range(4)] == [True, False, True, True]


def test_an_embedding_larger_than_the_bound_is_not_held() -> None:
    cache = EmbeddingCache(39)
    cache.put(key(), torch.zeros(10))
    assert cache.get(key()) is None and len(cache) == 0


@pytest.mark.parametrize(
    "embedding",
    [
        torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).transpose(0, 2),
        torch.arange(5, dtype=torch.bfloat16),
        (torch.ones(2, 2), torch.arange(3), torch.zeros(1, dtype=torch.float16)),
        (torch.ones(4),),
    ],
)
def test_another_session_reads_from_the_folder_the_same_bits(tmp_path: Path, embedding: object) -> None:
    EmbeddingCache(10_000, tmp_path / "new").put(key(), embedding)  # type: ignore[arg-type]
    later = EmbeddingCache(10_000, tmp_path / "new")
    found = later.get(key())
    assert isinstance(found, tuple) == isinstance(embedding, tuple)
    pairs = zip(found, embedding, strict=True) if isinstance(embedding, tuple) else [(found, embedding)]
    for a, b in pairs:
        assert torch.equal(a, b) and a.dtype == b.dtype
        assert a.data_ptr() % 64 == 0, "kernels round differently on addresses that are not aligned"
    assert later.hits == 1
    (later_file,) = (tmp_path / "new").glob("*.safetensors")
    later_file.unlink()
    assert later.get(key()) is not None, "once read it is held in memory"


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_a_damaged_file_is_ignored_and_rewritten(tmp_path: Path, damage: str) -> None:
    EmbeddingCache(0, tmp_path).put(key(), torch.arange(100.0))
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[:-7])
    elif damage == "flip":
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(b"" if damage == "empty" else b"not tensors at all")
    cache = EmbeddingCache(0, tmp_path)
    assert cache.get(key()) is None
    assert torch.equal(cache.get_or_encode(key(), lambda: torch.arange(100.0)), torch.arange(100.0))
    assert torch.equal(EmbeddingCache(0, tmp_path).get(key()), torch.arange(100.0))


def test_the_folder_keeps_within_its_bound_and_drops_the_oldest(tmp_path: Path) -> None:
    cache = EmbeddingCache(0, tmp_path, max_folder_bytes=3_000)
    for index in range(8):
        cache.put(key(index), torch.zeros(200))
    kept = [cache.get(key(index)) is not None for index in range(8)]
    assert sum(file.stat().st_size for file in tmp_path.glob("*.safetensors")) <= 3_000
    assert kept == sorted(kept) and kept[-1] and not kept[0]


def test_a_folder_whose_limit_is_nothing_is_not_made(tmp_path: Path) -> None:
    cache = EmbeddingCache(1_000, tmp_path / "new", max_folder_bytes=0)
    assert torch.equal(cache.get_or_encode(key(), lambda: torch.ones(3)), torch.ones(3))
    assert cache.get(key()) is not None and not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_costs_time_and_not_the_work(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    cache = EmbeddingCache(1_000, blocked)
    assert torch.equal(cache.get_or_encode(key(), lambda: torch.ones(3)), torch.ones(3))
    assert cache.get(key()) is not None


def test_threads_that_ask_together_encode_once() -> None:
    cache = EmbeddingCache(10_000)
    started = threading.Barrier(8)
    encodings: list[int] = []

    def encode() -> torch.Tensor:
        encodings.append(1)
        threading.Event().wait(0.05)
        return torch.ones(4)

    def ask() -> None:
        started.wait()
        assert torch.equal(cache.get_or_encode(key(), encode), torch.ones(4))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(encodings) == 1 and cache.hits == 7 and cache.misses == 1


def test_an_encoding_that_fails_is_tried_again() -> None:
    cache = EmbeddingCache(1_000)

    def fail() -> torch.Tensor:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.get_or_encode(key(), fail)
    assert torch.equal(cache.get_or_encode(key(), lambda: torch.ones(1)), torch.ones(1))


def test_kept_embeddings_hold_no_graph_and_clear_forgets_memory_only(tmp_path: Path) -> None:
    cache = EmbeddingCache(1_000, tmp_path)
    cache.put(key(), torch.ones(3, requires_grad=True) * 2)
    assert not cache.get(key()).requires_grad  # type: ignore[union-attr]
    cache.clear()
    assert len(cache) == 0
    assert cache.get(key()) is not None


def test_negative_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="0 bytes or more"):
        EmbeddingCache(-1)


def test_what_is_exact_in_float16_takes_half_and_comes_back_with_its_bits(tmp_path: Path) -> None:
    exact = torch.linspace(-3, 3, 4096).half().float()
    other = torch.linspace(-3, 3, 4096)
    for index, (tensor, size) in enumerate(((exact, 2), (other, 4))):
        EmbeddingCache(0, tmp_path).put(key(index), tensor)
        path = EmbeddingFiles(tmp_path, 10**9).path(key().study_sha256, key(index).digest())
        assert 4096 * size <= path.stat().st_size < 4096 * size + 1000
        found = EmbeddingCache(0, tmp_path).get(key(index))
        assert isinstance(found, torch.Tensor) and found.dtype == torch.float32
        assert found.numpy().tobytes() == tensor.numpy().tobytes()


def test_a_damaged_file_is_deleted(tmp_path: Path) -> None:
    files = EmbeddingFiles(tmp_path, 10**9)
    path = files.path(key().study_sha256, key().digest())
    files.write(path, torch.ones(5))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert files.read(path) is None and not path.exists()


def test_files_that_were_used_last_are_kept_and_abandoned_ones_deleted(tmp_path: Path) -> None:
    files = EmbeddingFiles(tmp_path, 10**9)
    paths = [files.path(key().study_sha256, key(index).digest()) for index in range(3)]
    for age, path in enumerate(paths):
        files.write(path, torch.zeros(300))
        os.utime(path, (1000 - age, 1000 - age))
    abandoned = tmp_path / f".{'0' * 32}.partial"
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (1000, 1000))
    files.read(paths[2])  # the oldest is used
    files.max_bytes = 2000
    files.prune()
    assert [path.exists() for path in paths] == [True, False, True] and not abandoned.exists()


def test_a_study_is_forgotten_with_its_embeddings(tmp_path: Path) -> None:
    cache = EmbeddingCache(0, tmp_path)
    cache.put(key(), torch.ones(2))
    cache.put(key(study_sha256="12" * 32), torch.ones(2))
    EmbeddingFiles(tmp_path, 0).forget("12" * 32)
    assert cache.get(key()) is not None and cache.get(key(study_sha256="12" * 32)) is None


def test_only_the_owner_may_look_into_the_folder(tmp_path: Path) -> None:
    EmbeddingCache(0, tmp_path / "new").put(key(), torch.ones(2))
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


ENCODES = """
import sys, time, torch
from pathlib import Path
from medsam_planner.engine.cache import EmbeddingCache, EmbeddingKey
from medsam_planner.engine.protocol import Crop
key = EmbeddingKey("cd" * 32, "ct", 0, 7, Crop((1.0, 1.0), (3.0, 3.0), 4), "ef" * 32)
def encode():
    with open(sys.argv[2], "a") as file:
        file.write("encoded ")
    time.sleep(1)
    return torch.arange(6.0)
print(EmbeddingCache(0, Path(sys.argv[1])).get_or_encode(key, encode).sum().item())
"""


def test_processes_that_ask_together_encode_once(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = [sys.executable, "-c", ENCODES, str(tmp_path / "cache"), str(told)]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [one.communicate(timeout=120)[0].strip() for one in asking] == ["15.0"] * 3
    assert told.read_text() == "encoded "


@pytest.mark.parametrize("text", ["many", "-1", "nan"])
def test_a_limit_that_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSAM_PLANNER_EMBEDDINGS_GB", text)
    with pytest.raises(ConfigError, match=f"MEDSAM_PLANNER_EMBEDDINGS_GB, 0 for none, got '{text}'"):
        default_bytes()
