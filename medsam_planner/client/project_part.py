"""A session that was opened from the annotation project of the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medsam_planner.client.session_part import SessionPart

__all__ = ["ProjectPart"]


class ProjectPart(SessionPart):
    """The part of a remote session that records its masks in the project."""

    def save_to_project(
        self, *, reviewed: bool = False, slices: Sequence[int] | None = None, seconds: float | None = None
    ) -> Mapping[str, Any]:
        """Record the 3D masks in the project, with the prompts that led to them.

        Parameters
        ----------
        reviewed : bool
            Whether to accept the masks of the study, too.
        slices : sequence of int, optional
            That were reviewed, across the axis of acquisition, from 0; all if None.
        seconds : float, optional
            Time that it took.

        Returns
        -------
        mapping
            ``study``, its ``state``, and ``recorded``: the structures whose masks are new.

        Raises
        ------
        StaleError
            If a structure has no 3D mask of its present prompts, nothing is new, or somebody changed the study
            meanwhile.
        ConfigError
            If the session was not opened from the project.
        """
        body = {"reviewed": reviewed, "slices": None if slices is None else list(slices), "seconds": seconds}
        answer: Mapping[str, Any] = self._ask("POST", "/project", body=body)
        return answer
