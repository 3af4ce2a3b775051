"""An archive of what is chosen of a session, written by the worker of plans."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medsam_planner.progress import Progress
from medsam_planner.service.core.requests import Known, Request
from medsam_planner.service.core.worker_memory import StudyKey, WorkerMemory
from medsam_planner.workflow.dicom_results import OutputOptions, StructureLook
from medsam_planner.workflow.export_archive import Content, ExportSource, write_archive

__all__ = ["ARCHIVE", "ExportChoice", "Pack"]

ARCHIVE = "export.zip"


@dataclass(frozen=True, slots=True)
class ExportChoice:
    """What is exported, and how."""

    contents: tuple[Content, ...]
    ignores_unreviewed: bool = False
    """Whether the labels for nnU-Net say ``ignore`` on slices that nobody has looked at."""

    def as_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "contents": [content.value for content in self.contents],
            "ignores_unreviewed": self.ignores_unreviewed,
        }


@dataclass(frozen=True, slots=True)
class Pack:
    """Write the archive of a session; the ones before are deleted, so that a session keeps one."""

    session: str
    study: StudyKey
    known: Mapping[str, Known]
    """By structure, in the order of the labels."""
    looks: Mapping[str, StructureLook]
    choice: ExportChoice
    notes: tuple[str, ...]
    """What was left out."""
    plan_folder: Path | None
    folder: Path
    """Of the archive."""

    def may_interrupt(self, running: Request) -> bool:
        """It is long."""
        return False

    def run(self, memory: WorkerMemory, progress: Progress) -> dict[str, Any]:
        """Gives the summary of the archive."""
        source = ExportSource(
            study=memory.volume(self.study),
            results={
                name: replace(memory.result(one.path, self.study), structure=name) for name, one in self.known.items()
            },
            logs={name: one.log for name, one in self.known.items()},
            plan_folder=self.plan_folder,
            options=OutputOptions(looks=self.looks),
            ignores_unreviewed=self.choice.ignores_unreviewed,
            notes=self.notes,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        for earlier in self.folder.parent.iterdir():
            if earlier != self.folder:
                shutil.rmtree(earlier, ignore_errors=True)
        path = self.folder / ARCHIVE
        notes = write_archive(path, self.choice.contents, source, progress=progress)
        return {"bytes": path.stat().st_size, "notes": list(notes)}
