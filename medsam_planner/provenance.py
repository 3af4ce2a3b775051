"""How a segmentation or a plan was made: inputs, settings, versions, and the record of every propagated slice."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

from prompts import PromptLog
from prompts.by_hand import by_hand

__all__ = [
    "PlanOrigin",
    "PlanProvenance",
    "PropagationTrace",
    "SegmentationProvenance",
    "SliceRecord",
    "SliceRole",
    "StopReason",
    "made_by_hand",
    "versions",
]

_DISTRIBUTIONS = (
    "medsam-planner",
    "torch",
    "numpy",
    "scipy",
    "highdicom",
    "pydicom",
    "transformers",
    "captum",
    "openvino",
    "onnxruntime",
    "open3d-cpu",
)


def versions() -> dict[str, str]:
    """Installed version by distribution, and of Python; read from metadata, nothing heavy is imported."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class SegmentationProvenance:
    """Everything that decided one mask. Together with the prompt log it is enough to rebuild the mask bit by bit.

    The names are those of the entries in result files.
    """

    structure: str
    image_sha256: str
    """Of the study's voxels and affine."""
    mask_sha256: str
    window: str | None
    """CT window as it was requested; None for the model's own."""
    model: str
    weights_sha256: str
    normalisation: Mapping[str, Any]
    """Parameters of the mapping of intensities to [0, 1]."""
    temperature: float
    """By which logits were divided for the uncertainty maps."""
    seed: int
    rules: Mapping[str, float]
    """Stop rules of the propagation."""
    samples: int
    """Number of stochastic passes; 0 for none."""
    saliency: bool
    triplanar: bool
    modality: str | None
    modality_is_inferred: bool | None
    operations: Sequence[Mapping[str, Any]]
    """Changes of the image since its files were read, oldest first."""
    versions: Mapping[str, str]
    """Installed version by distribution."""
    uncertainty: str = "dropout"
    """Source of uncertainty; the default holds for files that were written when there was only one source."""
    propagation: int = 1
    """Version of the propagation; the default holds for files that were written before versions were recorded."""
    engine: str = "torch:fp32"
    """What computed the embeddings; the default holds for files that were written when there was only torch."""

    def as_json(self) -> dict[str, Any]:
        """The entry of result files."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Read :meth:`as_json` back. Unknown entries are ignored.

        Raises
        ------
        TypeError
            If an entry is missing.
        """
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in entry.items() if name in known})


@dataclass(frozen=True, slots=True)
class PlanOrigin:
    """Where a plan request came from; all empty for one that was built in Python."""

    plan_file: Mapping[str, Any] | None = None
    """The plan file's entries, defaults included."""
    page: bool = False
    demo: str | None = None
    """Name of the demonstration."""
    study: str | None = None
    """Which published image a demonstration plans on."""

    def as_json(self) -> dict[str, Any]:
        """The entries of ``plan.json``; empty ones are left out."""
        entries = {"case": self.plan_file, "page": self.page, "demo": self.demo, "study": self.study}
        return {name: value for name, value in entries.items() if value}


@dataclass(frozen=True, slots=True)
class PlanProvenance:
    """Everything beside study and masks that decided a plan."""

    origin: PlanOrigin
    request: Mapping[str, Any]
    """The request as plain JSON values."""
    seed: int
    versions: Mapping[str, str]
    """Installed version by distribution."""

    def as_json(self) -> dict[str, Any]:
        """The entry of ``plan.json``."""
        return {**self.origin.as_json(), "request": self.request, "seed": self.seed, "versions": self.versions}


class SliceRole(Enum):
    """How a slice got its mask."""

    ANCHOR = "anchor"
    """The user prompted the slice; propagation never overwrites it."""
    GIVEN = "given"
    """The user gave the mask of the slice, by an initial mask or an edit; propagation never overwrites it, and all
    stochastic passes keep it, so that they show no spread there."""
    PROPAGATED = "propagated"
    STOPPED = "refused"
    """A propagation front reached the slice, a stop rule fired, and the mask was left empty."""


class StopReason(Enum):
    """Why a propagation front ended; the value is the wording in pages, reports and result files."""

    EMPTY = "the structure vanished"
    LOW_OVERLAP = "too little overlap with the slice before"
    AREA_JUMP = "the area changed too abruptly"
    CENTROID_JUMP = "the centre moved too far"
    LOW_QUALITY = "the predicted IoU was too low"
    IOU_LOSS = "the predicted IoU fell too far"
    UNCERTAIN = "the prediction was too uncertain"
    RANGE_END = "the end of the requested range"
    VOLUME_END = "the end of the volume"
    NOT_HERE = "it ends before a slice that the user marked as empty"
    MET = "met the propagation from the other prompted slice"

    @classmethod
    def _missing_(cls, value: object) -> StopReason | None:
        """Reasons in the words of older result files."""
        return {
            "the model judged its own answer poor": cls.LOW_QUALITY,
            "the model's doubt added up along the way": cls.IOU_LOSS,
            "the predicted IoU kept falling": cls.IOU_LOSS,
            "the answer was too uncertain": cls.UNCERTAIN,
            "it ends before a slice on which the person said there is nothing": cls.NOT_HERE,
            "met the front from the other anchor": cls.MET,
            "met the propagation front of the other anchor": cls.MET,
        }.get(str(value))


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """One slice that a propagation front visited, or that the user prompted."""

    index: int
    role: SliceRole
    source_index: int | None
    """Slice whose mask prompted this one; None for a prompted slice."""
    overlap: float | None
    """Share of the mask that lies on the mask of the source slice; None for a prompted slice."""
    area_mm2: float
    centroid_drift_mm: float | None
    quality: float | None
    """Predicted IoU in [0, 1]; 1 for a given mask, None of a model that predicts none."""
    entropy_bits: float
    """Mean predictive entropy over the mask."""
    stop: StopReason | None = None


def made_by_hand(log: PromptLog | None, trace: PropagationTrace | None) -> str:
    """Half a sentence that follows “the mask was”, of what a person drew of it; empty where a model predicted all.

    Parameters
    ----------
    log : PromptLog or None
        Its prompts; None where they are not known.
    trace : PropagationTrace or None
        How it was propagated, from which the slices by hand are known.
    """
    if log is not None:
        return by_hand(log)
    given = 0 if trace is None else sum(record.role is SliceRole.GIVEN for record in trace.records)
    return f"given or edited by hand on {given} {'slice' if given == 1 else 'slices'}" if given else ""


@dataclass(frozen=True, slots=True)
class PropagationTrace:
    """Records of all slices, sorted by slice index, across one array axis of the volume."""

    axis: int
    records: tuple[SliceRecord, ...]

    def anchors(self) -> tuple[int, ...]:
        """Indices of the prompted slices, ascending; slices with a given mask are among them."""
        roles = (SliceRole.ANCHOR, SliceRole.GIVEN)
        return tuple(record.index for record in self.records if record.role in roles)

    @classmethod
    def from_rows(cls, axis: int, rows: Sequence[Mapping[str, Any]]) -> PropagationTrace:
        """Read :meth:`as_rows` back.

        Parameters
        ----------
        axis : int
            Array axis across which the mask was propagated.
        rows : sequence of mapping
            One for each record.

        Raises
        ------
        KeyError, TypeError, ValueError
            If an entry is missing, or a role or a stop reason is unknown.
        """
        records = [
            SliceRecord(**{**row, "role": SliceRole(row["role"]), "stop": row["stop"] and StopReason(row["stop"])})
            for row in rows
        ]
        return cls(axis, tuple(records))

    def as_rows(self) -> list[dict[str, Any]]:
        """The records as JSON-ready rows."""
        return [
            {
                "index": record.index,
                "role": record.role.value,
                "source_index": record.source_index,
                "overlap": record.overlap,
                "area_mm2": record.area_mm2,
                "centroid_drift_mm": record.centroid_drift_mm,
                "quality": record.quality,
                "entropy_bits": record.entropy_bits,
                "stop": record.stop.value if record.stop else None,
            }
            for record in self.records
        ]
