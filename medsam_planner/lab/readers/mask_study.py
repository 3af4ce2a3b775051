"""Masks of readers, and of a model, compared: every score of every case, structure and reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError
from medsam_planner.lab.readers.agreement import fleiss_kappa_of_counts
from medsam_planner.lab.readers.consensus import Consensus, consensus
from medsam_planner.lab.readers.mask_comparison import Comparison, compare
from medsam_planner.lab.readers.reader_masks import AGAIN, ReaderCase, ReaderMasks, find_reader_cases, read_masks
from medsam_planner.progress import Progress
from medsam_planner.reading.study_file import MasksTable
from prompts.masks import mask_box

__all__ = ["ITSELF", "OTHERS", "MaskStudy", "ScoreRow", "StructureReading", "compare_readers"]

OTHERS = "others"
"""The reference is the consensus of all readers but one, so that no reader is compared with itself."""
ITSELF = "itself"
"""The reference is the reader's own first reading, and the mask its second."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One mask against one reference."""

    case: str
    patient: str
    structure: str
    mask_of: str
    """A reader, or the model."""
    reference: str
    """``staple`` or ``majority`` of all readers, :data:`OTHERS`, or :data:`ITSELF`."""
    left_out: str
    """The reader that the reference leaves out; empty if it leaves out none."""
    scores: Comparison


@dataclass(frozen=True, slots=True)
class StructureReading:
    """What readers drew of one structure of one case."""

    case: str
    patient: str
    structure: str
    volume_ml_by_reader: dict[str, float]
    """Second readings and the model included."""
    kappa: float | None
    """Fleiss' κ of the readers over the voxels of the box of their union, grown by one voxel; None where they are
    one mask."""


@dataclass(frozen=True, slots=True)
class MaskStudy:
    """All comparisons."""

    cases: tuple[ReaderCase, ...]
    readers: tuple[str, ...]
    model: str | None
    rows: tuple[ScoreRow, ...]
    readings: tuple[StructureReading, ...]
    cautions: tuple[str, ...]

    @property
    def structures(self) -> list[str]:
        """Names in the order in which they first came."""
        return list(dict.fromkeys(reading.structure for reading in self.readings))

    @property
    def patients(self) -> list[str]:
        """Names in the order in which they first came."""
        return list(dict.fromkeys(case.patient for case in self.cases))


def compare_readers(table: MasksTable, *, progress: Progress | None = None) -> MaskStudy:
    """Read all masks and compare them.

    Parameters
    ----------
    table : MasksTable
    progress : Progress, optional

    Returns
    -------
    MaskStudy

    Raises
    ------
    ConfigError
        If the masks cannot be compared; see :mod:`medsam_planner.lab.readers.reader_masks`.
    """
    cases, readers = find_reader_cases(table)
    rule = Consensus(table.reference)
    rows: list[ScoreRow] = []
    readings: list[StructureReading] = []
    cautions: list[str] = []
    for number, case in enumerate(cases):
        if progress is not None:
            progress.update("comparing", number, len(cases))
        again = [f"{reader}{AGAIN}" for reader in readers if f"{reader}{AGAIN}" in case.path_by_reader]
        model = [table.model] if table.model else []
        masks = read_masks(case, [*readers, *again, *model])
        for label, structure in case.label_names.items():
            if table.structures and structure not in table.structures:
                continue
            own = masks.cut(label)
            drawn = [reader for reader in readers if own[reader].any()]
            if not drawn:
                cautions.append(f"{case.name}: no reader drew {structure}; it is left out there.")
                continue
            if len(drawn) < len(readers):
                absent = ", ".join(reader for reader in readers if reader not in drawn)
                cautions.append(f"{case.name}: {absent} did not draw {structure}; this counts as an empty mask.")
            one = _Structure(masks, structure, readers, table.model, tuple(again), own)
            rows += one.rows(rule)
            readings.append(one.reading())
    if progress is not None:
        progress.update("comparing", len(cases), len(cases))
    unknown = sorted(set(table.structures) - {reading.structure for reading in readings})
    if unknown:
        raise ConfigError(f"No reader drew {', '.join(unknown)}. Correct [masks] structures.")
    return MaskStudy(tuple(cases), readers, table.model, tuple(rows), tuple(readings), tuple(cautions))


@dataclass(frozen=True, slots=True)
class _Structure:
    """One structure of one case."""

    masks: ReaderMasks
    name: str
    readers: Sequence[str]
    model: str | None
    again: Sequence[str]
    mask_of: Mapping[str, NDArray[np.bool_]]
    """By reader, second readings and the model included, cut to one box."""

    def rows(self, rule: Consensus) -> list[ScoreRow]:
        own, model = self.mask_of, [] if self.model is None else [self.model]
        rows = []
        for each in Consensus:
            agreed = consensus([own[reader] for reader in self.readers], each)
            rows += [self._row(name, each.value, "", agreed, own[name]) for name in (*self.readers, *model)]
        for left_out in self.readers:
            agreed = consensus([own[reader] for reader in self.readers if reader != left_out], rule)
            rows += [self._row(name, OTHERS, left_out, agreed, own[name]) for name in (left_out, *model)]
        for second in self.again:
            first = second.removesuffix(AGAIN)
            rows.append(self._row(first, ITSELF, "", own[first], own[second]))
        return rows

    def reading(self) -> StructureReading:
        voxel_ml = float(np.prod(self.masks.spacing_mm)) / 1000
        volumes = {name: float(mask.sum()) * voxel_ml for name, mask in self.mask_of.items()}
        case = self.masks.case
        return StructureReading(case.name, case.patient, self.name, volumes, self._kappa())

    def _row(
        self, name: str, reference: str, left_out: str, agreed: NDArray[np.bool_], mask: NDArray[np.bool_]
    ) -> ScoreRow:
        case = self.masks.case
        scores = compare(agreed, mask, self.masks.spacing_mm, grid=self.masks.shape)
        return ScoreRow(case.name, case.patient, self.name, name, reference, left_out, scores)

    def _kappa(self) -> float | None:
        votes = np.sum([self.mask_of[reader] for reader in self.readers], axis=0)
        inside = votes[mask_box(votes > 0, grown=1)].ravel()
        if ((inside == 0) | (inside == len(self.readers))).all():
            return None if inside.all() else 1.0
        return fleiss_kappa_of_counts(np.stack([inside, len(self.readers) - inside], axis=1))
