"""Files of a run that belong to a mask: uncertainty maps, provenance and prompts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError
from medsam_planner.io.loading import load_map
from medsam_planner.provenance import PropagationTrace, SegmentationProvenance
from medsam_planner.volumes import array_sha256
from prompts import PromptLog, read_prompt_file

__all__ = ["RunEvidence", "read_run_evidence", "trace_of_mask"]


@dataclass(frozen=True, slots=True, eq=False)
class RunEvidence:
    """Uncertainty maps, provenance and prompts of one structure."""

    boundary_spread_mm: highdicom.Volume | None
    entropy_bits: highdicom.Volume | None
    provenance: SegmentationProvenance
    log: PromptLog | None


def read_run_evidence(mask_path: Path, structure: str) -> RunEvidence:
    """Read the evidence of the run that wrote a mask.

    Parameters
    ----------
    mask_path : Path
        In a run folder, or in the folder of its structure inside it.
    structure : str
        Name of the structure in the run.

    Raises
    ------
    ConfigError
        If no run wrote the mask: a calibrated margin needs the maps and the provenance of a run.
    """
    folder = next((place for place in (mask_path.parent, mask_path.parent.parent) if _is_run(place)), None)
    if folder is None:
        raise ConfigError(
            f"A calibrated margin needs the mask of a run. {mask_path} has no result.json and prompts.json beside it. "
            "Segment the structure with `medsam-planner segment`, or give it base_margin_mm instead."
        )
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))["structures"][structure]
        provenance = SegmentationProvenance.from_json(record["provenance"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{folder / 'result.json'} has no record of '{structure}'. Name the structure as in the run."
        ) from error
    logs = {log.structure: log for log in read_prompt_file(folder / "prompts.json").logs}

    def beside(name: str) -> highdicom.Volume | None:
        path = mask_path.parent / f"{name}.nii.gz"
        return load_map(path) if path.is_file() else None

    return RunEvidence(beside("boundary_spread_mm"), beside("uncertainty"), provenance, logs.get(structure))


def trace_of_mask(mask_path: Path, structure: str, inside: NDArray[np.bool_]) -> PropagationTrace | None:
    """The propagation of a mask; None where no run wrote the mask, or it was changed since."""
    folder = next((place for place in (mask_path.parent, mask_path.parent.parent) if _is_run(place)), None)
    if folder is None:
        return None
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))["structures"][structure]
        if record["provenance"]["mask_sha256"] != array_sha256(np.asarray(inside, dtype=bool)):
            return None
        return PropagationTrace.from_rows(int(record["axis"]), record["trace"])
    except (OSError, ValueError, KeyError, TypeError):  # another kind of result file
        return None


def _is_run(folder: Path) -> bool:
    return (folder / "result.json").is_file() and (folder / "prompts.json").is_file()
