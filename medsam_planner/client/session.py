"""A session on the server that a client holds."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsam_planner.client.plan_review import PlanReviewing
from medsam_planner.client.project_part import ProjectPart
from medsam_planner.client.proposals import Proposals
from medsam_planner.client.structure_list import StructureList
from medsam_planner.client.values import JobValue, StructureValue
from medsam_planner.errors import ERROR_BY_CODE, OperationCancelledError, ServiceError
from prompts import Prompt, PromptFile, PromptLog
from prompts.json_text import plain_json
from prompts.schema import prompt_file_document

if TYPE_CHECKING:
    from medsam_planner.client.transport import Transport

__all__ = ["RemoteSession"]


class RemoteSession(StructureList, Proposals, PlanReviewing, ProjectPart):
    """A session on the server that this client holds.

    Every change is on the server's disk when its method returns. A method that failed for want of a connection may be
    called again.
    """

    def __init__(self, transport: Transport, identifier: str, lease: str) -> None:
        self.identifier = identifier
        self._transport = transport
        self._lease = lease

    def add(self, structure: str, prompt: Prompt, *, event_id: str | None = None) -> int:
        """Append a prompt to a structure; a new name begins one.

        Parameters
        ----------
        structure : str
        prompt : Click, Box or Scribble
            In LPS mm.
        event_id : str, optional
            Of this prompt: sent again after a lost answer, it is not appended twice.

        Returns
        -------
        int
            Number of the change.

        Raises
        ------
        PromptError, GeometryError
            If it does not lie in the study.
        LeaseHeldError, LeaseLostError
            If this client no longer holds the session.
        """
        log = PromptLog(structure)
        log.add(prompt)
        document = plain_json(prompt_file_document(PromptFile((log,))), "prompt")
        return self._change("prompts", structure, event_id, prompt=document["structures"][structure][0])

    def clear(self, structure: str) -> int:
        """Remove every prompt of a structure, as one step that can be undone."""
        return self._change("prompts", structure, None, prompt={"kind": "clear"})

    def remove(self, n: int) -> int:
        """Remove one prompt, as one step that can be undone.

        Parameters
        ----------
        n : int
            As :meth:`add` returned it.

        Returns
        -------
        int
            Number of this change.

        Raises
        ------
        NotThereError
            If that change was no prompt that holds: a clear, or one that was undone or removed.
        """
        return int(self._ask("DELETE", f"/prompts/{n}?event_id={secrets.token_hex(16)}")["n"])

    def undo(self, structure: str) -> int:
        """Undo the last step of a structure."""
        return self._change("undo", structure, None)

    def redo(self, structure: str) -> int:
        """Redo the last undone step of a structure."""
        return self._change("redo", structure, None)

    def structures(self) -> dict[str, StructureValue]:
        """The structures by name, with prompts and states."""
        answer = self._ask("GET", "")
        return {one["name"]: StructureValue.from_json(one) for one in answer["structures"]}

    def begin_segment(
        self,
        structure: str,
        *,
        samples: int = 16,
        uncertainty: str = "dropout",
        saliency: bool = False,
        triplanar: bool = False,
    ) -> str:
        """Begin to segment a structure in 3D; parameters as of :meth:`medsam_planner.Session.segment`.

        Returns
        -------
        str
            Identifier of the job, for :meth:`wait` and :meth:`cancel`.
        """
        body = {
            "structure": structure,
            "samples": samples,
            "uncertainty": uncertainty,
            "saliency": saliency,
            "triplanar": triplanar,
            "event_id": secrets.token_hex(16),
        }
        return str(self._ask("POST", "/segment", body=body)["job"])

    def segment(self, structure: str, **options: Any) -> Mapping[str, Any]:
        """Segment a structure in 3D and wait for it; parameters as of :meth:`begin_segment`.

        Returns
        -------
        mapping
            ``mask_sha256``, ``volume_ml`` and the settings.
        """
        return self.wait(self.begin_segment(structure, **options))

    def begin_plan(self, plan: Mapping[str, Any]) -> str:
        """Begin to plan; `plan` is a plan file as JSON, without a study and without paths. Returns the job."""
        return str(self._ask("POST", f"/plans?event_id={secrets.token_hex(16)}", body=plan)["job"])

    def begin_export(self, contents: Sequence[str], *, ignores_unreviewed: bool = False) -> str:
        """Begin to write an archive of the 3D results of present prompts.

        Parameters
        ----------
        contents : sequence of str
            ``"results"``, ``"label-map"``, ``"dicom-seg"``, ``"meshes"``, ``"prompts"``, ``"nnunet"``, ``"monai"``.
        ignores_unreviewed : bool
            Whether the labels for nnU-Net say ``ignore`` on slices without a prompt or an edit.

        Returns
        -------
        str
            Identifier of the job, for :meth:`wait` and :meth:`save_export`.
        """
        body = {
            "contents": list(contents),
            "ignores_unreviewed": ignores_unreviewed,
            "event_id": secrets.token_hex(16),
        }
        return str(self._ask("POST", "/exports", body=body)["job"])

    def clearance(self, request: Mapping[str, Any], lines_lps_mm: Sequence[Any]) -> Mapping[str, Any]:
        """Certified clearance of given lines.

        Parameters
        ----------
        request : mapping
            ``tool`` and ``structures`` as in a plan file.
        lines_lps_mm : (N, 2, 3) nested sequence of float
            Entry, then target.
        """
        lines = [[[float(value) for value in position] for position in line] for line in lines_lps_mm]
        answer: Mapping[str, Any] = self._ask("POST", "/clearance", body={**request, "lines_lps_mm": lines})
        return answer

    def job(self, job: str) -> JobValue:
        """A job as it is now."""
        return JobValue.from_json(self._transport.ask("GET", f"/jobs/{job}"))

    def cancel(self, job: str) -> JobValue:
        """Ask a job to stop."""
        return JobValue.from_json(self._transport.ask("DELETE", f"/jobs/{job}", lease=self._lease))

    def wait(self, job: str, on_progress: Callable[[JobValue], None] | None = None) -> Mapping[str, Any]:
        """Wait until a job has ended.

        Parameters
        ----------
        job : str
        on_progress : callable, optional
            Told the job whenever it moves.

        Returns
        -------
        mapping
            Its result.

        Raises
        ------
        OperationCancelledError
            If it was cancelled.
        MedsamPlannerError
            If it failed: the error of the service.
        """
        last = self.job(job)
        for document in self._transport.events(f"/jobs/{job}/events"):
            last = JobValue.from_json(document)
            if on_progress is not None:
                on_progress(last)
        if last.state == "cancelled":
            raise OperationCancelledError(f"Job {job} was stopped on request.")
        if last.state != "done":
            problem = last.problem or {"code": "", "detail": f"Job {job} ended as {last.state}. Ask for it again."}
            raise ERROR_BY_CODE.get(problem["code"], ServiceError)(problem["detail"])
        return last.result or {}

    def save(self, structure: str, name: str, path: Path, *, allow_stale: bool = False) -> Path:
        """Write a map or mesh of the 3D result of a structure to a file.

        Parameters
        ----------
        structure : str
        name : str
            ``"mask.nii.gz"``, ``"probability.nii.gz"``, ``"seg.dcm"``, ``"mesh.stl"`` …
        path : Path
        allow_stale : bool
            Whether a result of earlier prompts will do.

        Returns
        -------
        Path

        Raises
        ------
        NotThereError, StaleError
            If there is none, or only one of earlier prompts.
        """
        where = f"/sessions/{self.identifier}/structures/{structure}/{name}"
        self._transport.save(where, path, parameters={"allow_stale": "true"} if allow_stale else {})
        return path

    def save_report(self, plan: str, path: Path) -> Path:
        """Write the report of a finished plan to a file, once it is there: it is written after the plan.

        Raises
        ------
        NotThereError
            If there is none.
        MedsamPlannerError
            What the writing of it failed with.
        """
        while (writing := self.review(plan)["writing"]) is not None:
            with suppress(OperationCancelledError):  # a newer report takes its place
                self.wait(writing)
        self._transport.save(f"/sessions/{self.identifier}/plans/{plan}/report.html", path)
        return path

    def save_export(self, job: str, path: Path) -> Path:
        """Write the archive of a finished export to a file; a session keeps the last one."""
        self._transport.save(f"/sessions/{self.identifier}/exports/{job}/export.zip", path)
        return path

    def save_slice(self, plane: str, index: int, path: Path) -> Path:
        """Write one slice of the study as PNG; `plane` is ``"axial"``, ``"coronal"`` or ``"sagittal"``."""
        self._transport.save(f"/sessions/{self.identifier}/slices/{plane}/{index}.png", path)
        return path

    def save_preview(self, structure: str, plane: str, index: int, path: Path) -> Path:
        """Write the prediction on a prompted slice as PNG, oriented as :meth:`save_slice`: probability × 255.

        Raises
        ------
        NotThereError
            If no prompt of the structure is on that slice.
        """
        where = f"/sessions/{self.identifier}/structures/{structure}/preview/{plane}/{index}.png"
        self._transport.save(where, path)
        return path

    def beat(self) -> None:
        """Give a sign of life, so that the session stays held."""
        self._ask("PUT", "/lease")

    def release(self) -> None:
        """Give the session back; nothing of it is lost."""
        self._ask("DELETE", "/lease")

    def _change(self, what: str, structure: str, event_id: str | None, **entries: Any) -> int:
        known = event_id or secrets.token_hex(16)
        return self._number("POST", f"/{what}", structure=structure, event_id=known, **entries)

    def _ask(self, method: str, path: str, *, body: Mapping[str, Any] | None = None) -> Any:
        return self._transport.ask(method, f"/sessions/{self.identifier}{path}", body=body, lease=self._lease)
