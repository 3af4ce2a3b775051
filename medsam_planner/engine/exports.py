"""Exported image encoders on this machine, and the choice of an engine among them.

``medsam-planner weights optimise`` writes an export (``<sha256>.onnx``) and its record (``<sha256>-<engine>-<precision>
.json``) into ``exports/<SHA-256 of the weights>`` beside the fetched weights. The record is written last, so what has a
record is complete. It names the weights by their hash and says how far the export was from torch on slices that it was
not made with; one beyond the bounds is never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from medsam_planner.engine.encoders import Encoder, TorchEncoder, computes_bf16, exported_encoder
from medsam_planner.engine.engine_name import AUTO, REFERENCE, EngineName
from medsam_planner.engine.weights_files import hash_of, user_folder
from medsam_planner.errors import EXTRAS, WeightsError, require_extra
from medsam_planner.io.files import write_json

__all__ = ["ChosenEngine", "ExportRecord", "Parity", "choose", "encoder_for", "export_folder", "exports_of", "record"]

_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parity(_Entry):
    """How far the answers of an engine are from torch's in float32, on slices that the export was not made with."""

    slices: Annotated[int, Field(gt=0)]
    prompts: Annotated[int, Field(gt=0)]
    embedding_error: Annotated[float, Field(ge=0)]
    """Largest, over the slices, of the root mean square difference ÷ root mean square."""
    logit_error: Annotated[float, Field(ge=0)]
    """The same of the logits, over the prompts."""
    dice: _Share
    """Mean Dice of the masks; two empty masks agree."""
    lowest_dice: _Share
    iou: _Share
    """Mean intersection ÷ union of the masks."""


class ExportRecord(_Entry):
    """What is known of an export."""

    schema_version: Literal[1] = 1
    kind: Literal["medsam-planner encoder export"] = "medsam-planner encoder export"
    weights_sha256: _Sha256
    engine: Literal["openvino", "onnx"]
    precision: Literal["fp32", "bf16", "int8"]
    file_sha256: _Sha256
    file_bytes: Annotated[int, Field(gt=0)]
    input_size: Annotated[int, Field(gt=0)]
    needs_bf16: bool
    """Whether it was verified in bfloat16, as the processor computed it natively."""
    times_faster: Annotated[float, Field(gt=0)]
    """Seconds of torch in float32 ÷ seconds of this engine, for one slice on the machine that made it."""
    parity: Parity
    calibrated_on: tuple[_Sha256, ...]
    """Studies from which the ranges of int8 and the slices of the comparison were taken."""
    versions: Mapping[str, str]

    @property
    def name(self) -> EngineName:
        """The name under which masks are recorded."""
        return EngineName.of_export(self.engine, self.precision, self.file_sha256)

    @property
    def file(self) -> Path:
        """The exported file."""
        return export_folder(self.weights_sha256) / f"{self.file_sha256}.onnx"


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """An engine of this machine for certain weights, and why this one."""

    name: EngineName
    record: ExportRecord | None
    """None for torch."""
    why: str


def export_folder(weights_sha256: str) -> Path:
    """Folder of the exports of weights."""
    return user_folder() / "exports" / weights_sha256


def record(made: ExportRecord) -> Path:
    """Write the record of an export whose file is in place; from then on it is found."""
    path = export_folder(made.weights_sha256) / f"{made.file_sha256[:12]}-{made.engine}-{made.precision}.json"
    write_json(path, made.model_dump(mode="json"))
    return path


def exports_of(weights_sha256: str) -> tuple[ExportRecord, ...]:
    """The exports of weights on this machine, the fastest first; their files are not read.

    Raises
    ------
    WeightsError
        If a record is damaged, or names other weights.
    """
    found = [_read(path, weights_sha256) for path in sorted(export_folder(weights_sha256).glob("*.json"))]
    return tuple(sorted(found, key=lambda one: -one.times_faster))


def choose(weights_sha256: str, wanted: str = AUTO) -> ChosenEngine:
    """The engine for weights: the one that is asked for, or the fastest verified one that this machine can run.

    Raises
    ------
    WeightsError
        If the engine is unknown, there is no such export, it was made for another processor, or a record is damaged.
    MissingDependencyError
        If the library of the engine that is asked for is not installed.
    """
    if wanted != AUTO:
        return _asked_for(weights_sha256, EngineName.read(wanted))
    exports = exports_of(weights_sha256)
    faster = [one for one in exports if one.times_faster > 1 and _lacks(one) is None]
    if faster:
        best = faster[0]
        why = f"the fastest verified export, {best.times_faster:.1f} times faster than {REFERENCE} where it was made"
        return ChosenEngine(best.name, best, why)
    if exports:
        reasons = "; ".join(f"{one.name}: {_lacks(one) or f'not faster than {REFERENCE}'}" for one in exports)
        return ChosenEngine(REFERENCE, None, f"no export is of use here ({reasons})")
    return ChosenEngine(
        REFERENCE, None, "no export of these weights is on this machine; `medsam-planner weights optimise` makes one"
    )


def encoder_for(chosen: ChosenEngine) -> Encoder:
    """The encoder of :func:`choose`, after its file was compared with its record.

    Raises
    ------
    WeightsError
        If the file is absent, damaged or another one, or the processor lacks what torch's precision needs.
    """
    if chosen.record is None:
        return TorchEncoder(chosen.name.precision)
    path = chosen.record.file
    found = hash_of(path) if path.is_file() else None
    if found != chosen.record.file_sha256:
        what = "it is absent" if found is None else f"its SHA-256 is {found[:12]}…: it is damaged or another one"
        raise WeightsError(
            f"Expected the export of the engine {chosen.name} at {path}; {what}. Make it anew with `medsam-planner "
            f"weights optimise`, or use --engine {REFERENCE}."
        )
    return exported_encoder(path, chosen.name)


def _asked_for(weights_sha256: str, name: EngineName) -> ChosenEngine:
    if name.engine == "torch":
        return ChosenEngine(name, None, "asked for")
    require_extra(name.engine, f"The engine {name}")
    covered = [one for one in exports_of(weights_sha256) if name.covers(one.name)]
    if not covered:
        raise WeightsError(
            f"No export for the engine {name} of the weights with SHA-256 {weights_sha256[:12]}… is on this machine. "
            f"Make it: medsam-planner weights optimise MODEL --engine {name.engine} --precision "
            f"{name.precision or 'int8'} --calibrate STUDY; or use --engine {REFERENCE}."
        )
    lack = _lacks(covered[0])
    if lack is not None:
        raise WeightsError(f"The engine {covered[0].name} cannot be used: {lack}. Make the export anew here.")
    return ChosenEngine(covered[0].name, covered[0], "asked for")


def _lacks(one: ExportRecord) -> str | None:
    """What this machine lacks for an export; None where it lacks nothing."""
    absent = [module for module in EXTRAS[one.engine] if find_spec(module) is None]
    if absent:
        return f"the extra '{one.engine}' is not installed"
    if one.needs_bf16 and not computes_bf16():
        return "it was verified with bfloat16, which this processor does not compute"
    return None


def _read(path: Path, weights_sha256: str) -> ExportRecord:
    try:
        found = ExportRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WeightsError(
            f"{path} is not the record of an export that this version reads. Delete it, and make the export anew with "
            "`medsam-planner weights optimise`."
        ) from error
    if found.weights_sha256 != weights_sha256:
        raise WeightsError(
            f"{path} records an export of other weights (SHA-256 {found.weights_sha256[:12]}…) than those it lies with "
            f"({weights_sha256[:12]}…). Delete it."
        )
    return found
