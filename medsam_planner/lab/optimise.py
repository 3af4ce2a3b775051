"""An optimised image encoder: exported once, compared with torch on real slices, and kept beside the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.encoders import Encoder, TorchEncoder, computes_bf16, exported_encoder
from medsam_planner.engine.engine_name import PRECISIONS, REFERENCE, EngineName
from medsam_planner.engine.export import activation_ranges, export_encoder, quantise_activations, quantise_weights
from medsam_planner.engine.exports import ExportRecord, Parity, export_folder, record
from medsam_planner.engine.medsam import MedSam
from medsam_planner.engine.medsam_network import network_input
from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.engine.registry import load_model
from medsam_planner.engine.zoom import extract, prompt_to_crop
from medsam_planner.errors import WeightsError, require_extra
from medsam_planner.geometry import acquisition_axis, slice_across
from medsam_planner.io.files import file_sha256
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.lab.evaluation.scores import dice
from medsam_planner.progress import Progress, track
from medsam_planner.provenance import versions
from medsam_planner.volumes import volume_sha256

__all__ = ["BOUNDS", "Bounds", "SlicePicture", "compare", "optimise", "pictures_of", "require_exportable"]

_TRIALS = 3


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far an engine may be from torch in float32."""

    embedding_error: float
    """Root mean square difference ÷ root mean square, on every slice."""
    dice: float
    """Mean over the prompts; 0.985 is the Dice of an IoU of 0.97."""
    iou: float
    """Mean over the prompts."""


BOUNDS = {"fp32": Bounds(1e-3, 0.999, 0.998), "bf16": Bounds(0.05, 0.985, 0.97), "int8": Bounds(0.1, 0.985, 0.97)}
"""By precision; an export beyond them is refused and not kept."""


@dataclass(frozen=True, slots=True, eq=False)
class SlicePicture:
    """One slice as the model gets it, with boxes drawn on it."""

    image: NDArray[np.float32]
    """(N, N) windowed intensities, in model pixels."""
    boxes: tuple[SlicePrompt, ...]
    """In model pixels."""


def optimise(
    name: str | Path,
    *,
    engine: str,
    precision: str = "int8",
    studies: Sequence[highdicom.Volume],
    slices: int = 8,
    progress: Progress | None = None,
) -> ExportRecord:
    """Export MedSAM's image encoder for an engine, compare it with torch, and keep it where it is within the bounds.

    Half of the slices give the ranges of 8-bit activations; the comparison is on the other half.

    Parameters
    ----------
    name : str or Path
        Weights of MedSAM, by name or path.
    engine : str
        "openvino" or "onnx".
    precision : str
        "int8", "bf16" (OpenVINO, where the processor computes it) or "fp32".
    studies : sequence of highdicom.Volume
        Real studies like those to be segmented.
    slices : int
        How many slices are taken from them, two at least.
    progress : Progress, optional
        Told the stages; may cancel, which leaves nothing behind.

    Returns
    -------
    ExportRecord
        As it was kept; ``Session(volume, model=name)`` finds it.

    Raises
    ------
    WeightsError
        If the weights are not MedSAM's, there is no such engine or precision, or the export is beyond the bounds.
    MissingDependencyError
        If an extra is not installed.
    """
    require_exportable(engine, precision)
    model = load_model(name, engine=str(REFERENCE))
    if not isinstance(model, MedSam):
        raise WeightsError(
            f"Expected weights of MedSAM, whose encoder is slow; got {model.name}, which needs no engine."
        )
    pictures = [one for study in studies for one in pictures_of(study, model, max(slices // len(studies), 2))]
    ranges, others = pictures[::2], pictures[1::2]
    folder = export_folder(model.encoder_sha256)
    folder.mkdir(parents=True, exist_ok=True)
    stages = track(range(3), "optimising", progress)  # exporting, quantising, comparing
    next(stages)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as place:
        path = export_encoder(model.network.vision_encoder, model.size, Path(place) / "float.onnx")
        next(stages)
        if precision == "int8":
            inputs: Iterator[NDArray[np.float32]] = (network_input(one.image[None]) for one in ranges)
            path = _quantised(path, Path(place) / "int8.onnx", model, engine, inputs)
        next(stages)
        sha256 = file_sha256(path)
        encoder = exported_encoder(path, EngineName.of_export(engine, precision, sha256))
        parity, times_faster = compare(model, encoder, others, progress=progress)
        require_within(parity, precision, str(encoder.name))
        made = ExportRecord(
            weights_sha256=model.encoder_sha256,
            engine=cast(Any, engine),
            precision=cast(Any, precision),
            file_sha256=sha256,
            file_bytes=path.stat().st_size,
            input_size=model.size,
            needs_bf16=precision == "bf16",
            times_faster=times_faster,
            parity=parity,
            calibrated_on=tuple(volume_sha256(study) for study in studies),
            versions=versions(),
        )
        path.replace(made.file)
    record(made)
    next(stages, None)
    return made


def _quantised(path: Path, target: Path, model: MedSam, engine: str, inputs: Iterator[NDArray[np.float32]]) -> Path:
    if engine == "onnx":
        return quantise_weights(path, target)
    return quantise_activations(path, target, activation_ranges(model.network.vision_encoder, inputs))


def require_exportable(engine: str, precision: str) -> None:
    """Refuse an engine for which nothing can be exported here, before anything is read.

    Raises
    ------
    WeightsError, MissingDependencyError
        As :func:`optimise`.
    """
    wanted = EngineName.read(f"{engine}:{precision}")
    if wanted.engine == REFERENCE.engine:
        raise WeightsError(f"Expected an engine that needs an export, {' or '.join(list(PRECISIONS)[1:])}; got torch.")
    if precision == "bf16" and not computes_bf16():
        raise WeightsError("Expected int8 or fp32: this processor does not compute bf16.")
    require_extra(engine, f"The engine {wanted}")


def compare(
    model: MedSam, encoder: Encoder, pictures: Sequence[SlicePicture], *, progress: Progress | None = None
) -> tuple[Parity, float]:
    """Compare an encoder with torch in float32 on embeddings, logits and masks.

    Returns
    -------
    Parity
    float
        Seconds of torch ÷ seconds of the encoder for one slice, the fastest of a few trials each, taken in turns.
    """
    torch_encoder, network = TorchEncoder(), model.network.vision_encoder
    own_s: list[float] = []
    its_s: list[float] = []
    embedding_errors: list[float] = []
    logit_errors: list[float] = []
    dices: list[float] = []
    ious: list[float] = []
    for number, picture in enumerate(track(pictures, "comparing with torch", progress)):
        pixels = network_input(picture.image[None])
        expected, seconds = _timed(partial(torch_encoder.embed, pixels, network))
        own_s.append(seconds)
        for _ in range(_TRIALS if number == 0 else 1):  # the first call of a library also prepares it
            found, seconds = _timed(partial(encoder.embed, pixels, network))
            its_s.append(seconds)
        embedding_errors.append(_relative(found, expected))
        for box in picture.boxes:
            theirs, ours = (_logits(model, embedding, box) for embedding in (found, expected))
            logit_errors.append(_relative(theirs, ours))
            dices.append(dice(ours > 0, theirs > 0))
            ious.append(dices[-1] / (2 - dices[-1]))
    parity = Parity(
        slices=len(pictures),
        prompts=len(dices),
        embedding_error=max(embedding_errors),
        logit_error=max(logit_errors),
        dice=float(np.mean(dices)),
        lowest_dice=min(dices),
        iou=float(np.mean(ious)),
    )
    return parity, min(own_s) / min(its_s)


def require_within(parity: Parity, precision: str, name: str) -> None:
    """Refuse an engine beyond its bounds.

    Raises
    ------
    WeightsError
        Says what was measured and what is allowed.
    """
    bounds = BOUNDS[precision]
    too_far = [
        f"{what} {found:.4f} (allowed {sign} {allowed:g})"
        for what, found, allowed, sign, is_well in (
            ("relative error of the embedding", parity.embedding_error, bounds.embedding_error, "≤",
             parity.embedding_error <= bounds.embedding_error),
            ("Dice of the masks", parity.dice, bounds.dice, "≥", parity.dice >= bounds.dice),
            ("IoU of the masks", parity.iou, bounds.iou, "≥", parity.iou >= bounds.iou),
        )
        if not is_well
    ]  # fmt: skip
    if too_far:
        raise WeightsError(
            f"The export for {name} is too far from {REFERENCE} on {parity.slices} slices and was not kept: "
            f"{'; '.join(too_far)}. Calibrate on more and other studies (--calibrate, --slices), or choose a higher "
            "precision."
        )


def pictures_of(study: highdicom.Volume, model: MedSam, count: int) -> list[SlicePicture]:
    """Slices of a study across its acquisition axis, evenly over its middle, with boxes about their bright tissue."""
    axis = acquisition_axis(study.affine)
    normalisation = normalisation_for(study, None, model.default_window)
    planes = study.spatial_shape[axis]
    pictures = []
    for index in np.unique(np.linspace(0.15 * planes, 0.85 * (planes - 1), count).round().astype(int)):
        image = normalisation.apply(slice_across(study.array, axis, int(index)))
        shape = (int(image.shape[0]), int(image.shape[1]))
        boxes = [SlicePrompt(box=box) for box in _boxes(image)]
        (crop,) = model.crops(boxes[0], shape, (1.0, 1.0))
        pictures.append(SlicePicture(extract(image, crop), tuple(prompt_to_crop(box, crop) for box in boxes)))
    return pictures


def _boxes(image: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Boxes of a fifth, a tenth and a twentieth of the body's extent, about its middle and beside it."""
    rows, columns = np.nonzero(image > image.mean())
    low = np.array([np.quantile(rows, 0.02), np.quantile(columns, 0.02)]) if len(rows) else np.zeros(2)
    high = np.array([np.quantile(rows, 0.98), np.quantile(columns, 0.98)]) if len(rows) else np.array(image.shape) - 1.0
    boxes = []
    for place, share in (((0.5, 0.5), 0.2), ((0.4, 0.3), 0.2), ((0.6, 0.7), 0.1), ((0.5, 0.5), 0.05)):
        centre, half = low + np.array(place) * (high - low), np.maximum(share * (high - low), 8.0) / 2
        boxes.append(np.concatenate([centre - half, centre + half]))
    return boxes


def _logits(model: MedSam, embedding: NDArray[np.float32], box: SlicePrompt) -> NDArray[np.float32]:
    import torch

    return model.decode(torch.from_numpy(embedding).half().float(), box).logits


def _relative(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(found - expected)) / max(float(np.linalg.norm(expected)), 1e-12)


def _timed(work: Callable[[], NDArray[np.float32]]) -> tuple[NDArray[np.float32], float]:
    start = perf_counter()
    found = work()
    return found, perf_counter() - start
