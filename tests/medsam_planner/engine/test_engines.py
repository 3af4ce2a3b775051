"""MedSAM's image encoder under other engines: exported once, compared, found by itself, and refused where it is wrong.

Random weights of MedSAM's layout, in a small network (128 pixels, three blocks), through the real loading code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
import torch

from medsam_planner.calibration.record import Calibration
from medsam_planner.engine import encoders, exports
from medsam_planner.engine.engine_name import EngineName
from medsam_planner.engine.exports import choose, export_folder
from medsam_planner.engine.medsam import MedSam
from medsam_planner.engine.registry import load_model, require_weights
from medsam_planner.errors import ConfigError, MissingDependencyError, OperationCancelledError, WeightsError
from medsam_planner.lab import optimise as optimising
from medsam_planner.lab.optimise import optimise
from medsam_planner.segmentation.session import Session
from prompts import Box


@pytest.fixture(scope="module")
def study() -> highdicom.Volume:
    """A bright body with two organs, and noise."""
    k, j, i = np.mgrid[:6, :96, :96].astype(np.float32)
    body = ((j - 48) ** 2 + (i - 48) ** 2 < 40**2) * 60.0
    organ = ((j - 40) ** 2 + (i - 55) ** 2 + 4 * (k - 3) ** 2 < 14**2) * 90.0
    noise = np.random.default_rng(0).normal(0, 6, body.shape)
    return highdicom.Volume((body + organ + noise - 60).astype(np.float32), np.diag([3.0, 0.8, 0.8, 1.0]), "PATIENT")


@pytest.fixture(scope="module")
def weights(official_sam: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "medsam_vit_b.pth"
    torch.save(official_sam().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSAM_PLANNER_WEIGHTS", str(cache))


@pytest.fixture(scope="module")
def made(weights: Path, study: highdicom.Volume, cache: Path) -> dict[str, exports.ExportRecord]:
    """Exports of every engine and precision, by name. The bounds are those of the program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSAM_PLANNER_WEIGHTS", str(cache))
        return {
            f"{engine}:{precision}": optimise(weights, engine=engine, precision=precision, studies=[study], slices=6)
            for engine, precision in (("openvino", "fp32"), ("openvino", "int8"), ("onnx", "fp32"), ("onnx", "int8"))
        }


def segmented(study: highdicom.Volume, weights: Path, engine: str) -> Any:
    session = Session(study, weights, engine=engine)
    session.add(Box((3, 26, 40), (3, 54, 70)))
    return session.segment(samples=0)


def test_every_engine_gives_torchs_embeddings_within_the_bounds(made: dict[str, exports.ExportRecord]) -> None:
    for name, one in made.items():
        bounds = optimising.BOUNDS[one.precision]
        assert one.parity.embedding_error <= bounds.embedding_error, name
        assert one.parity.dice >= bounds.dice and one.parity.iou >= bounds.iou, name
        assert one.parity.prompts == 4 * one.parity.slices == 8
        assert one.parity.embedding_error > 0, "it was torch that was compared with itself"


def test_an_export_is_found_by_itself_and_named_in_the_provenance(
    made: dict[str, exports.ExportRecord], weights: Path, study: highdicom.Volume
) -> None:
    fastest = max(made.values(), key=lambda one: one.times_faster)
    expected = str(fastest.name) if fastest.times_faster > 1 else "torch:fp32"
    assert load_model(weights).engine == expected
    result = segmented(study, weights, "openvino:int8")
    assert result.provenance.engine == str(made["openvino:int8"].name)
    assert result.provenance.weights_sha256 == made["openvino:int8"].weights_sha256
    assert segmented(study, weights, "torch").provenance.engine == "torch:fp32"


@pytest.mark.parametrize("engine", ["openvino:int8", "onnx:int8"])
def test_dropout_and_saliency_work_on_the_embeddings_of_any_engine(
    made: dict[str, exports.ExportRecord], weights: Path, study: highdicom.Volume, engine: str
) -> None:
    session = Session(study, weights, engine=engine)
    session.add(Box((3, 26, 40), (3, 54, 70)))
    result = session.segment(samples=2, saliency=True)
    assert result.mask.array.any() and result.uncertainty is not None
    assert result.saliency is not None and np.abs(result.saliency.array).max() > 0


def test_every_process_gives_the_same_mask(
    made: dict[str, exports.ExportRecord], weights: Path, study: highdicom.Volume, tmp_path: Path
) -> None:
    np.save(tmp_path / "study.npy", study.array)
    code = (
        "import sys, numpy as np, highdicom; from medsam_planner.segmentation.session import Session\n"
        "from prompts import Box\n"
        f"array = np.load({str(tmp_path / 'study.npy')!r})\n"
        "study = highdicom.Volume(array, np.diag([3.0, 0.8, 0.8, 1.0]), 'PATIENT')\n"
        f"session = Session(study, {str(weights)!r}, engine='openvino:int8')\n"
        "session.add(Box((3, 26, 40), (3, 54, 70)))\n"
        "print(session.segment(samples=0).provenance.mask_sha256)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.strip() == segmented(study, weights, "openvino:int8").provenance.mask_sha256


def test_the_same_slice_twice_gives_the_same_bytes(made: dict[str, exports.ExportRecord], weights: Path) -> None:
    picture = np.random.default_rng(1).random((1, 128, 128), dtype=np.float32)
    for name in ("torch", *made):
        model = load_model(weights, engine=name)
        assert torch.equal(model.encode(picture), model.encode(picture)), name


def test_a_calibration_of_one_engine_is_refused_by_another() -> None:
    common: dict[str, Any] = {"weights_sha256": "w", "policy": optimising_policy(), "model": "medsam-vit-b"}
    calibrated = Calibration.model_construct(**common, segmentation={"engine": "openvino:int8:0123456789ab"})
    calibrated.require_same(weights_sha256="w", segmentation={"engine": "openvino:int8:0123456789ab"})
    with pytest.raises(ConfigError, match="engine: calibrated 'openvino:int8:0123456789ab', here 'torch:fp32'"):
        calibrated.require_same(weights_sha256="w", segmentation={"engine": "torch:fp32"})
    older = Calibration.model_construct(**common, segmentation={})
    older.require_same(weights_sha256="w", segmentation={"engine": "torch:fp32"})
    with pytest.raises(ConfigError, match="engine: calibrated 'torch:fp32', here 'onnx:int8:ab'"):
        older.require_same(weights_sha256="w", segmentation={"engine": "onnx:int8:ab"})


def optimising_policy() -> str:
    from medsam_planner.calibration.policy import POLICY

    return POLICY


def test_a_damaged_export_is_refused_and_says_what_to_do(made: dict[str, exports.ExportRecord]) -> None:
    path, sha256 = made["onnx:int8"].file, made["onnx:int8"].weights_sha256
    content = path.read_bytes()
    for damaged, said in (
        (content[:-1] + b"x", "damaged or another one"),
        (content[:100], "damaged"),
        (None, "absent"),
    ):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=f"(?s){said}.*weights optimise.*--engine torch:fp32"):
            exports.encoder_for(choose(sha256, "onnx:int8"))
    path.write_bytes(content)
    assert exports.encoder_for(choose(sha256, "onnx:int8")).name == made["onnx:int8"].name


def test_records_that_are_damaged_or_of_other_weights_are_refused(
    made: dict[str, exports.ExportRecord], weights: Path
) -> None:
    one = made["openvino:fp32"]
    path = export_folder(one.weights_sha256) / f"{one.file_sha256[:12]}-openvino-fp32.json"
    content = path.read_text(encoding="utf-8")
    other = json.dumps({**json.loads(content), "weights_sha256": "f" * 64})
    try:
        for text, said in (("{", "is not the record of an export"), (other, "of other weights")):
            path.write_text(text, encoding="utf-8")
            for engine in ("auto", "openvino"):
                with pytest.raises(WeightsError, match=f"{said}.*Delete it"):
                    load_model(weights, engine=engine)
    finally:
        path.write_text(content, encoding="utf-8")


def test_an_export_beyond_the_bounds_is_refused_and_not_kept(
    weights: Path, study: highdicom.Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSAM_PLANNER_WEIGHTS", str(tmp_path))
    monkeypatch.setitem(optimising.BOUNDS, "int8", optimising.Bounds(1e-9, 0.985, 0.97))
    with pytest.raises(WeightsError, match=r"relative error of the embedding 0\.\d+ \(allowed ≤ 1e-09\)"):
        optimise(weights, engine="onnx", precision="int8", studies=[study], slices=2)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_cancelled_export_leaves_nothing(
    weights: Path, study: highdicom.Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSAM_PLANNER_WEIGHTS", str(tmp_path))

    class Stopped:
        is_cancelled = False

        def update(self, stage: str, done: int, total: int) -> None:
            self.is_cancelled = stage == "optimising" and done == 2

    with pytest.raises(OperationCancelledError):
        optimise(weights, engine="onnx", precision="int8", studies=[study], slices=2, progress=Stopped())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert load_model(weights).engine == "torch:fp32"


def test_engines_that_are_not_there_are_refused_before_anything_is_computed(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSAM_PLANNER_WEIGHTS", str(tmp_path))
    for engine, said in (
        ("cuda", "Expected the engine auto, torch, openvino, onnx"),
        ("openvino:int4", "got 'openvino:int4'"),
        ("torch:fp32:abc", "got 'torch:fp32:abc'"),
        ("openvino:int8", "weights optimise MODEL --engine openvino --precision int8"),
    ):
        with pytest.raises(WeightsError, match=said):
            require_weights(weights, engine=engine)
    with pytest.raises(WeightsError, match="Expected the engine torch:fp32 for the compact model"):
        require_weights("compact", engine="onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"needs the extra 'openvino'.*medsam-planner\[openvino\]"):
        require_weights(weights, engine="openvino")


def test_bfloat16_is_refused_where_the_processor_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "computes_bf16", lambda: False)
    with pytest.raises(WeightsError, match=r"has none.*Use --engine torch:fp32"):
        encoders.TorchEncoder("bf16")


def test_an_export_verified_with_bfloat16_is_not_used_without_it(
    made: dict[str, exports.ExportRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made["openvino:int8"].model_copy(update={"needs_bf16": True})
    monkeypatch.setattr(exports, "exports_of", lambda _sha256: (one,))
    monkeypatch.setattr(exports, "computes_bf16", lambda: False)
    assert choose(one.weights_sha256).name == EngineName("torch", "fp32")
    assert "this processor does not compute" in choose(one.weights_sha256).why
    with pytest.raises(WeightsError, match="does not compute"):
        choose(one.weights_sha256, "openvino:int8")


def test_other_models_and_torch_itself_are_not_exported(weights: Path, study: highdicom.Volume) -> None:
    with pytest.raises(WeightsError, match="Expected weights of MedSAM"):
        optimise("compact", engine="onnx", studies=[study])
    with pytest.raises(WeightsError, match="an engine that needs an export, openvino or onnx; got torch"):
        optimise(weights, engine="torch", precision="fp32", studies=[study])


def test_masks_are_the_same_bytes_with_and_without_the_disk_cache(
    weights: Path, study: highdicom.Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSAM_PLANNER_EMBEDDINGS", str(tmp_path))
    without = segmented(study, weights, "torch")
    monkeypatch.setenv("MEDSAM_PLANNER_EMBEDDINGS_GB", "1")
    filling, read = segmented(study, weights, "torch"), segmented(study, weights, "torch")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert filling.probability.array.tobytes() == read.probability.array.tobytes()
    assert without.probability.array.tobytes() == read.probability.array.tobytes()
    monkeypatch.setattr(MedSam, "encode", lambda *_: pytest.fail("everything was there"))
    again = segmented(study, weights, "torch")
    assert again.provenance.mask_sha256 == without.provenance.mask_sha256


def test_slices_are_encoded_ahead_outward_until_a_prompt_comes(weights: Path, study: highdicom.Volume) -> None:
    session = Session(study, weights, engine="torch")
    session.add(Box((3, 26, 40), (3, 54, 70)))
    encoded: list[int] = []
    cache, keep = session._cache, session._cache._hold
    cache._hold = lambda key, embedding: (encoded.append(key.index), keep(key, embedding))[1]  # type: ignore[method-assign]

    class UntilThree:
        def update(self, stage: str, done: int, total: int) -> None: ...

        @property
        def is_cancelled(self) -> bool:
            return len(encoded) >= 3

    with pytest.raises(OperationCancelledError):
        session.prefetch(progress=UntilThree())
    assert encoded == [1, 2, 0], "the prompted slice, then the nearest"
    session.prefetch()
    assert sorted(encoded) == [0, 1, 2, 3, 4, 5]
    before = cache.misses
    ahead = session.segment(samples=0)
    assert cache.misses == before
    assert ahead.provenance.mask_sha256 == segmented(study, weights, "torch").provenance.mask_sha256


def test_a_quick_encoder_keeps_nothing_on_disk(
    study: highdicom.Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSAM_PLANNER_EMBEDDINGS", str(tmp_path / "new"))
    monkeypatch.setenv("MEDSAM_PLANNER_EMBEDDINGS_GB", "1")
    session = Session(study)
    session.add(Box((3, 26, 40), (3, 54, 70)))
    session.preview()
    assert not (tmp_path / "new").exists()


def test_the_embedding_is_exact_in_float16(small_config: Any) -> None:
    model = MedSam.with_random_weights(small_config)
    found = model.encode(np.random.default_rng(0).random((1, 128, 128), dtype=np.float32))
    assert found.dtype == torch.float32 and torch.equal(found, found.half().float())
