"""The error of a registration as part of a tool's placement error."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from medsam_planner.planning.request import PlanRequest
from medsam_planner.planning.tool import Tool
from medsam_planner.registration.rigid_error import RigidError
from medsam_planner.registration.transform_file import read_transform
from medsam_planner.volumes import StudyVolume

__all__ = ["RegisteredPlan", "registration_error"]


@dataclass(frozen=True, slots=True)
class RegisteredPlan:
    """What a plan owes to a registration."""

    error: RigidError | None = None
    """In the study's space; None without a registration, or where its error is unknown."""
    notes: tuple[str, ...] = ()

    def widened(self, tool: Tool, entry_lps_mm: ArrayLike, target_lps_mm: ArrayLike) -> Tool:
        """The tool with the registration's error added to its own, at the worst place of either end.

        Parameters
        ----------
        tool : Tool
        entry_lps_mm, target_lps_mm : (N, 3) float
            Places where it may enter, and what it must reach.

        Returns
        -------
        Tool
            ``√(own² + registration²)`` at each end: both errors are independent, and standard deviations per axis. The
            registration's is that of its worst direction.
        """
        if self.error is None:
            return tool
        at = {"entry_error_mm": entry_lps_mm, "target_error_mm": target_lps_mm}
        return replace(
            tool,
            **{
                name: math.hypot(getattr(tool, name), float(self.error.axis_sd_mm(places).max()))
                for name, places in at.items()
            },
        )


def registration_error(request: PlanRequest, study: StudyVolume) -> RegisteredPlan:
    """Read the registration that a request names.

    Raises
    ------
    ConfigError
        If it cannot be read, or is of two other series.
    """
    if request.registration is None:
        return RegisteredPlan()
    recorded = read_transform(request.registration)
    error = recorded.error_on(study)
    if error is None:
        return RegisteredPlan(
            notes=(
                "What was moved from another series was moved by its frame of reference. The error of that is unknown "
                "and is not in the tool's: the patient may have moved. Check it in the checkerboard.",
            )
        )
    return RegisteredPlan(
        error,
        (
            "Entry and target errors hold the error of the registration "
            f"({recorded.method}, {float(error.rms_mm(error.centre_lps_mm)):.1f} mm at its centre) beside the tool's.",
        ),
    )
