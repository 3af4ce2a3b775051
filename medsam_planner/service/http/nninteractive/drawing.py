"""One image of a client and what is drawn on it: a session whose prompts are journalled before they act.

The mask is a function of the prompts. What the client holds in its buffer is remembered, so that an answer is the box
in which the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.work import Work
from medsam_planner.volumes import BoxedArray
from prompts import Clear, Edit, InitialMask, Prompt, PromptLog, VoxelMask
from prompts.masks import mask_box
from prompts.shapes import locates

__all__ = ["Drawing"]


class Drawing:
    """A session as the client of the protocol draws in it, one structure after the other.

    Parameters
    ----------
    service : OnBehalf
    work : Work
        The session, held by the client.
    """

    def __init__(self, service: OnBehalf, work: Work) -> None:
        self._service = service
        self.work = work
        self.affine = work.study.affine
        self.shape = work.study.shape
        self.is_due = False
        """Whether a prompt has no prediction yet."""
        self.buffer_type: np.dtype[Any] | None = None
        """Of the client's buffer; None until it has one."""
        self._empty = self._in_buffer = self._mask = self._boxed(np.zeros(self.shape, dtype=bool))
        self._job: str | None = None
        self._counts: list[int] = []
        """Entries of the log for each interaction, so that undo takes back an interaction as a whole."""
        self.structure = self._next_structure()

    def set_buffer(self, dtype: np.dtype[Any]) -> None:
        """The client has a new buffer, of zeros."""
        self.buffer_type = dtype
        self._in_buffer = self._empty

    def add(self, prompts: Sequence[Prompt | Clear]) -> None:
        """One interaction: all of its prompts, or none of them.

        Raises
        ------
        PromptError, GeometryError, OutputError, ReadOnlyError
        """
        self.is_due = True
        if not prompts:
            return
        added = 0
        try:
            for entry in PromptSteps.of_log(PromptLog.from_history("object", prompts)).entries:
                self._service.add(self.work, self.structure, entry)
                added += 1
        except MedsamPlannerError:
            self._take_back(added)
            raise
        self._counts.append(added)

    def begin_from(self, inside: NDArray[np.bool_]) -> None:
        """Replace prompts and mask by a mask that the client has already in its buffer, as one interaction.

        Parameters
        ----------
        inside : (K, J, I) bool

        Raises
        ------
        PromptError, OutputError, ReadOnlyError
        """
        if inside.any():
            self.add([InitialMask(VoxelMask.from_array(inside, self.affine))])
        elif self._log().prompts:
            self.add([Clear()])
        self._mask = self._in_buffer = self._boxed(inside)

    def clearing(self, region: NDArray[np.bool_], first_index: tuple[int, int, int]) -> list[Prompt]:
        """The edit that clears a region where the present mask is; none where the two do not meet.

        Parameters
        ----------
        region : (k, j, i) bool
        first_index : (3,) int
            Voxel at which it begins.
        """
        window = tuple(slice(first, first + size) for first, size in zip(first_index, region.shape, strict=True))
        cleared = region & self._mask.whole()[window]
        if not cleared.any():
            return []
        return [Edit(VoxelMask.from_array(cleared, self.affine, first_index=first_index), positive=False)]

    def undo(self) -> bool:
        """Take back the last interaction of the structure; False if there is none."""
        if not self._counts:
            return False
        self._take_back(self._counts[-1])
        self._counts.pop()
        self.is_due = True
        return True

    def begin_next(self) -> None:
        """Begin the next structure, if this one has a prompt; the client's buffer is zeros again."""
        self.stop()
        self._counts = []
        self.is_due = False
        self._mask = self._in_buffer = self._empty
        self.structure = self._next_structure()

    def start(self) -> str | None:
        """Begin to segment; the job, or None where no prompt says where the structure is and the mask is empty.

        Raises
        ------
        MedsamPlannerError
        """
        self.stop()
        self.is_due = False
        if not any(locates(prompt) for prompt in self._log().prompts):
            self._mask = self._empty
            return None
        self._job = self._service.segment(self.work, self.structure, SegmentOptions(samples=0))
        return self._job

    @property
    def job(self) -> str | None:
        """The job whose mask is not taken yet."""
        return self._job

    def stop(self) -> None:
        """Stop the job whose mask nobody waits for any more."""
        if self._job is not None:
            self._service.service.jobs.cancel(self._job)
            self._job = None

    def take(self) -> None:
        """Take the mask of the job, which is done.

        Raises
        ------
        MedsamPlannerError
            If it cannot be read.
        """
        stored = self.work.state.results[self.structure]
        self._mask = self._boxed(self._service.service.loaded.result(self.work, self.structure, stored).mask.array)
        self._job = None

    def change(self) -> tuple[tuple[slice, ...], NDArray[Any]] | None:
        """The smallest box in which the client's buffer is not the mask, and what the buffer must hold there."""
        if self.buffer_type is None:
            return None
        mask = self._mask.whole()
        box = mask_box(mask != self._in_buffer.whole())
        return (box, mask[box].astype(self.buffer_type)) if box[0].stop else None

    def delivered(self) -> None:
        """The client's buffer is the mask."""
        self._in_buffer = self._mask

    def _log(self) -> PromptLog:
        steps = self.work.state.steps.get(self.structure)
        return PromptLog(self.structure) if steps is None else steps.log()

    def _take_back(self, count: int) -> None:
        for _ in range(count):
            self._service.record(self.work, "undo", structure=self.structure)

    def _next_structure(self) -> str:
        """The first name whose structure has no prompt that holds: "object", then "object 2" and so on."""
        number, name = 1, "object"
        while name in self.work.state.steps and self.work.state.steps[name].applied:
            number += 1
            name = f"object {number}"
        return name

    @staticmethod
    def _boxed(inside: NDArray[np.bool_]) -> BoxedArray:
        box = mask_box(inside)
        return BoxedArray(tuple(side.start for side in box), inside[box].copy(), inside.shape)
