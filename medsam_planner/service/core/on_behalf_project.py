"""The annotation project of a server as one actor may use it: listed, opened, recorded, reviewed, excluded.

Whoever may open studies on this server may work on its project, as far as ``annotators`` in its ``project.toml`` name
them; whoever may view may look at the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom
import numpy as np

from medsam_planner.errors import ConfigError, NotThereError, StaleError
from medsam_planner.lab.project.ordering import Order
from medsam_planner.lab.project.reading import require_image
from medsam_planner.lab.project.records import Event, State, Study
from medsam_planner.progress import Progress
from medsam_planner.service.core.actors import Right
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.project_order import OrderCondition
from medsam_planner.service.core.prompt_steps import entry_of
from medsam_planner.service.core.rights import Rights
from medsam_planner.service.core.served_project import ServedProject
from medsam_planner.service.core.study_store import StoredStudy, new_identifier
from medsam_planner.service.core.work import Work
from medsam_planner.volumes import volume_like, volume_sha256
from medsam_planner.workflow.study_reading import ReadingOptions
from prompts import InitialMask, PromptFile, VoxelMask

__all__ = ["ListedStudy", "ProjectOnBehalf", "project_study_of"]

_LINK = "project"
"""Of a session: the study of the project that it is on, and the last event of it that its person knows of."""


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """One line of the list."""

    study: Study
    held_by: str | None
    """Who has it open; None for nobody."""
    reason: str | None
    """Why it is excluded."""
    uncertainty_bits: float | None
    """Mean entropy in the surface band; None where it was not computed."""


def project_study_of(work: Work) -> str | None:
    """Name of the study of the project that a session was opened on; None for none."""
    link = work.state.page.get(_LINK)
    return None if link is None else str(link["study"])


class ProjectOnBehalf(OnBehalf):
    """The project on behalf of one actor; parameters and errors as :class:`.OnBehalf`.

    Methods raise :class:`NotThereError` where the server has no project, or the project no such study, and
    :class:`ConfigError` for who is none of its annotators.
    """

    @property
    def served(self) -> ServedProject:
        """The project, to be read."""
        if self.service.project is None:
            raise NotThereError("This server has no annotation project. Restart it with --project DIR.")
        return self.service.project

    def listed(self, order: Order = Order.NAME) -> tuple[list[ListedStudy], OrderCondition]:
        """All studies: those to be annotated in their order, then the others by name."""
        served = self.served
        ranked, condition = served.order.of(order)
        known = {study.name: study for study in served.records.studies()}
        reasons = {one.study: one.content["reason"] for one in served.records.events() if one.kind == "excluded"}
        bits = {one.name: one.uncertainty_bits for one in ranked}
        names = [name for name in bits if name in known]
        found = []
        for name in [*names, *(name for name in known if name not in bits)]:
            study = known[name]
            reason = reasons.get(name) if study.state is State.EXCLUDED else None
            found.append(ListedStudy(study, served.holder(study), reason, bits.get(name)))
        return found, condition

    def history(self, name: str) -> list[Event]:
        """What was done to a study, by whom and when."""
        return self.served.records.events(self.served.study(name).name)

    def begin_order(self) -> None:
        """Have the order by worth computed."""
        self._annotating()
        self.served.order.begin()

    def read(self, name: str, *, progress: Progress | None = None) -> tuple[Study, StoredStudy]:
        """Read a study of the project, so that :meth:`begin_on` can begin a session; refuses what another has open.

        Raises
        ------
        LeaseHeldError
            Names who has it.
        ConfigError
            If it is excluded, or its image is gone or was changed.
        """
        served = self._annotating()
        study = served.study(name)
        if study.state is State.EXCLUDED:
            raise ConfigError(f"{name} is excluded. Reopen it first.")
        served.require_free_for(self.actor.name, study)
        identifier, path = new_identifier(), served.records.image_path(study)
        self.service.audit.tell("opened", self.actor.name, study=identifier, what="a study of the project")
        stored = self.service.studies.add(
            path, identifier, owner=self.actor.name, reading=ReadingOptions(modality=study.modality), progress=progress
        )
        require_image(study, stored.sha256)
        return study, stored

    def begin_on(self, study: Study, stored: StoredStudy, *, take_over: bool = False) -> tuple[Work, str]:
        """Go on with the actor's own session on a study, or begin one from the masks that the project has.

        Parameters
        ----------
        study, stored
            From :meth:`read`.
        take_over : bool
            Whether to end the lease of another client of the same actor.

        Returns
        -------
        Work, str
            The session and the token of its lease.

        Raises
        ------
        LeaseHeldError
            If another has opened it meanwhile.
        """
        served, name = self._annotating(), study.name
        with served.lock:
            served.require_free_for(self.actor.name, study)
            seen, masks = served.records.events(name)[-1].number, served.records.masks(name)
            for work in served.works_on(study):
                link = work.state.page.get(_LINK, {})
                if work.state.owner == self.actor.name and (link.get("study"), link.get("seen")) == (name, seen):
                    return self.claim(work.identifier, take_over=take_over)
            work, lease = self.open_session(stored.identifier)
        for structure in served.records.settings.names:
            if structure in masks:
                inside = VoxelMask.from_array(np.asarray(masks[structure].array, dtype=bool), stored.affine)
                self.add(work, structure, entry_of(InitialMask(inside)))
            else:
                self.begin(work, structure)
        self.record(work, "page", page={_LINK: {"study": name, "seen": seen}})
        return work, lease

    def save(
        self, work: Work, *, is_reviewed: bool = False, slices: Sequence[int] | None = None,
        seconds: float | None = None,
    ) -> tuple[Study, tuple[str, ...]]:  # fmt: skip
        """Record the 3D masks of a session in the project, with the prompts that led to them.

        Parameters
        ----------
        work : Work
            From :meth:`acting`.
        is_reviewed : bool
            Whether to accept the masks of the study, too.
        slices : sequence of int, optional
            That were reviewed; all if None.
        seconds : float, optional
            Time that it took.

        Returns
        -------
        Study, tuple of str
            The study, and the structures whose masks are new.

        Raises
        ------
        StaleError
            If a structure was prompted and has no 3D mask of its present prompts, nothing is new, or somebody else has
            changed the study meanwhile.
        LeaseHeldError
            If somebody else has the study open.
        """
        served, link = self._annotating(), work.state.page.get(_LINK)
        if link is None:
            raise ConfigError("Expected a session on a study of the project. Open the study from the project first.")
        study = served.study(link["study"])
        if work.study.sha256 != study.image_sha256:
            raise ConfigError(f"The session is on another image than {study.name} has now. Open it anew.")
        with served.lock:
            served.require_free_for(self.actor.name, study)
            seen, recorded = int(link["seen"]), []
            self._tell(study, "masks of a session", session=work.identifier)
            for structure, mask in self._new_masks(work, served, study).items():
                file = PromptFile((work.log(structure),))
                served.records.record(
                    study.name, structure, mask, who=self.actor.name, prompts=file, seconds=seconds, seen=seen
                )
                seen, seconds = self._last_own(served, study), None  # one time for all structures
                recorded.append(structure)
            if not recorded and not is_reviewed:
                raise StaleError(f"No mask of {study.name} is new. Change one, or mark the study as reviewed.")
            if is_reviewed:
                study = served.records.review(study.name, who=self.actor.name, slices=slices, seen=seen)
                seen = self._last_own(served, study)
            self.record(work, "page", page={_LINK: {"study": study.name, "seen": seen}})
        return served.study(study.name), tuple(recorded)

    def exclude(self, name: str, reason: str) -> Study:
        """As :meth:`Project.exclude`; refused while another has the study open."""
        served = self._annotating()
        with served.lock:
            study = served.study(name)
            served.require_free_for(self.actor.name, study)
            self._tell(study, "excluded")
            return served.records.exclude(name, reason, who=self.actor.name)

    def reopen(self, name: str) -> Study:
        """As :meth:`Project.reopen`; refused while another has the study open."""
        served = self._annotating()
        with served.lock:
            study = served.study(name)
            served.require_free_for(self.actor.name, study)
            self._tell(study, "reopened")
            return served.records.reopen(name, who=self.actor.name)

    def _annotating(self) -> ServedProject:
        served = self.served
        Rights.require_any(self.actor, Right.ANNOTATE)
        served.records.require_annotator(self.actor.name)
        return served

    def _tell(self, study: Study, did: str, *, session: str | None = None) -> None:
        what = f"the project, image {study.image_sha256[:12]}: {did}"
        self.service.audit.tell("changed", self.actor.name, session=session, what=what)

    def _last_own(self, served: ServedProject, study: Study) -> int:
        return max(one.number for one in served.records.events(study.name) if one.who == self.actor.name)

    def _new_masks(self, work: Work, served: ServedProject, study: Study) -> dict[str, highdicom.Volume]:
        known, state, found = served.records.mask_hashes(study.name), work.state, {}
        for structure in served.records.settings.names:
            steps = state.steps.get(structure)
            if steps is None or not steps.log().prompts:
                continue
            if structure not in state.results or state.is_stale(structure):
                (first, *more) = steps.log().prompts
                if structure in known and not more and isinstance(first, InitialMask):
                    continue  # as it was opened
                raise StaleError(f"‘{structure}’ has no 3D mask of its present prompts. Segment it in 3D first.")
            mask = self.service.loaded.result(work, structure, state.results[structure]).mask
            plain = volume_like(mask, np.asarray(mask.array) > 0)
            if volume_sha256(plain) != known.get(structure):
                found[structure] = plain
        return found
