"""What a worker is asked: plain values that are sent to it, and what it then does. None of it changes the session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.registry import open_model
from medsam_planner.geometry import volume_ml
from medsam_planner.io.files import write_json
from medsam_planner.planning.clearance import Clearance, build_distance_fields, clearance_in, trajectory_array
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.request import PlanRequest, StructureRequest
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.tool import Tool
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.service.core.drawn_surfaces import drawing_into
from medsam_planner.service.core.exports import ResultFile, write_result_file
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.worker_memory import SessionKey, StudyKey, WorkerMemory
from medsam_planner.service.saved_result import write_result
from medsam_planner.volumes import BoxedArray
from medsam_planner.workflow.dicom_results import StructureLook
from medsam_planner.workflow.plan import Plan as FoundPlan
from medsam_planner.workflow.plan import plan_inputs
from medsam_planner.workflow.plan_request import build_structure, resolve
from medsam_planner.workflow.written_plan import write_made_plan
from prompts import PromptLog
from prompts.masks import mask_box

__all__ = ["Export", "Forget", "Known", "Measure", "Plan", "Prepare", "Preview", "Request", "Segment", "WritePlan"]

_REGION_MM = 32.0
"""Distance fields are built in boxes of multiples of this, so that the next lines find them there."""


class Request(Protocol):
    """One thing to do; it is sent to the worker as it is."""

    @property
    def session(self) -> str:
        """Which session it is for; empty for none."""

    def may_interrupt(self, running: Request) -> bool:
        """Whether it is short, and may be done between two steps of a running request without changing its result."""

    def run(self, memory: WorkerMemory, progress: Progress) -> Any:
        """Do it, in the worker; gives plain values."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Read the weights of a model and import what they need, before somebody waits for it."""

    model: str | None
    """None for the worker of plans."""
    engine: str = "auto"
    session: str = ""

    def may_interrupt(self, running: Request) -> bool:
        """It changes nothing that a running request reads."""
        return True

    def run(self, memory: WorkerMemory, progress: Progress) -> None:
        """Load the model."""
        if self.model is not None:
            open_model(self.model, engine=self.engine)


@dataclass(frozen=True, slots=True)
class Forget:
    """Free what was computed for a session."""

    session: str

    def may_interrupt(self, running: Request) -> bool:
        """A session keeps what it computes between its steps, so one request at a time may use it."""
        return running.session != self.session

    def run(self, memory: WorkerMemory, progress: Progress) -> None:
        """Forget it."""
        memory.forget(self.session)


@dataclass(frozen=True, slots=True)
class Preview:
    """Predict the prompted slices of a structure."""

    key: SessionKey
    log: PromptLog

    @property
    def session(self) -> str:
        """Which session it is for."""
        return self.key.session

    def may_interrupt(self, running: Request) -> bool:
        """A session keeps what it computes between its steps, so one request at a time may use it."""
        return running.session != self.session

    def run(self, memory: WorkerMemory, progress: Progress) -> dict[int, dict[int, BoxedArray]]:
        """(H, W) probability by array axis and slice index, each cut to what is not zero."""
        session = memory.session(self.key)
        session.restore(self.log)
        by_axis = session.preview(structure=self.log.structure, progress=progress)
        return {axis: {index: _cut(one.probability) for index, one in found.items()} for axis, found in by_axis.items()}


@dataclass(frozen=True, slots=True)
class Segment:
    """Segment a structure in 3D and write the result."""

    key: SessionKey
    log: PromptLog
    options: SegmentOptions
    path: Path
    """Of the result."""

    @property
    def session(self) -> str:
        """Which session it is for."""
        return self.key.session

    def may_interrupt(self, running: Request) -> bool:
        """It is long."""
        return False

    def run(self, memory: WorkerMemory, progress: Progress) -> dict[str, Any]:
        """Gives the summary of the result."""
        session = memory.session(self.key)
        session.restore(self.log)
        result = session.segment(structure=self.log.structure, progress=progress, **asdict(self.options))
        write_result(self.path, result)
        return {
            "mask_sha256": result.provenance.mask_sha256,
            "volume_ml": volume_ml(result.mask.array, result.mask.affine),
            **asdict(self.options),
        }


@dataclass(frozen=True, slots=True)
class Known:
    """A 3D result, and the prompts it was made from."""

    path: Path
    log: PromptLog

    def evidence(self, memory: WorkerMemory, study: StudyKey) -> StructureEvidence:
        """What a plan needs of it."""
        return StructureEvidence.of_result(memory.result(self.path, study), self.log)


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan trajectories, and write ``plan.json`` alone: :class:`WritePlan` writes the rest while people look at it."""

    session: str
    study: StudyKey
    request: PlanRequest
    origin: PlanOrigin
    known: Mapping[str, Known]
    """By structure."""
    folder: Path

    def may_interrupt(self, running: Request) -> bool:
        """It is long."""
        return False

    def run(self, memory: WorkerMemory, progress: Progress) -> dict[str, Any]:
        """Gives the summary of the plan."""
        made = self.found(memory, progress)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "plan.json", made.document())
        memory.found_plan = self.folder, made
        return {"plan": self.folder.name, "is_feasible": made.feasible, "notes": list(made.inputs.notes)}

    def found(self, memory: WorkerMemory, progress: Progress) -> FoundPlan:
        """The plan; the same one each time."""
        evidence = {name: one.evidence(memory, self.study) for name, one in self.known.items()}
        inputs = resolve(self.request, memory.volume(self.study), evidence, origin=self.origin)
        return plan_inputs(inputs, progress=progress)


@dataclass(frozen=True, slots=True)
class WritePlan:
    """Write what belongs to a plan beside its numbers: surfaces for the 3D view, report and DICOM objects."""

    plan: Plan

    @property
    def session(self) -> str:
        """Which session it is for."""
        return self.plan.session

    def may_interrupt(self, running: Request) -> bool:
        """It is long."""
        return False

    def run(self, memory: WorkerMemory, progress: Progress) -> dict[str, Any]:
        """Gives the summary of the plan."""
        folder, known = self.plan.folder, memory.found_plan
        made = known[1] if known is not None and known[0] == folder else self.plan.found(memory, progress)
        written = write_made_plan(made, folder, draw=drawing_into(folder), progress=progress)
        memory.found_plan = None
        return {"plan": folder.name, "is_feasible": written.feasible, "notes": list(written.notes)}


@dataclass(frozen=True, slots=True)
class Measure:
    """Clearance of given trajectories from segmented structures."""

    session: str
    study: StudyKey
    structures: tuple[StructureRequest, ...]
    known: Mapping[str, Known]
    """By structure."""
    tool: Tool
    lines_lps_mm: NDArray[np.float64]
    """(N, 2, 3)."""

    def may_interrupt(self, running: Request) -> bool:
        """It changes nothing that a running request reads."""
        return True

    def run(self, memory: WorkerMemory, progress: Progress) -> Clearance:
        """Measure it."""
        lines = trajectory_array(self.lines_lps_mm)
        region = _region(lines)
        key = (tuple((wanted, self.known[wanted.name].path) for wanted in self.structures), region.tobytes())
        return clearance_in(memory.fields(key, lambda: self._fields(memory, region)), lines, self.tool)

    def _fields(self, memory: WorkerMemory, region: NDArray[np.float64]) -> tuple[DistanceField, ...]:
        volume = memory.volume(self.study)
        built = [
            build_structure(wanted, self.known[wanted.name].evidence(memory, self.study), volume)[0]
            for wanted in self.structures
        ]
        return build_distance_fields(built, region)


@dataclass(frozen=True, slots=True)
class Export:
    """Write a file of a 3D result."""

    session: str
    study: StudyKey
    path: Path
    """Of the result."""
    file: ResultFile
    structure: str
    """Name that the file is to state."""
    look: StructureLook

    def may_interrupt(self, running: Request) -> bool:
        """It changes nothing that a running request reads."""
        return True

    def run(self, memory: WorkerMemory, progress: Progress) -> None:
        """Write it beside the result."""
        result = replace(memory.result(self.path, self.study), structure=self.structure)
        write_result_file(self.path.parent, self.file, result, memory.volume(self.study), self.look)


def _region(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """(8, 3) corners of a box around lines, LPS mm, on a coarse grid: a line that is moved a little stays in it."""
    low = np.floor(lines.min(axis=(0, 1)) / _REGION_MM) * _REGION_MM
    high = np.ceil(lines.max(axis=(0, 1)) / _REGION_MM) * _REGION_MM
    return np.array([np.where(corner, high, low) for corner in np.ndindex(2, 2, 2)])


def _cut(probability: NDArray[np.float32]) -> BoxedArray:
    return BoxedArray.cut(probability, mask_box(probability != 0))
