"""Safety margins: how wide they are, and how a field of them is read at a surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.planning.lengths import LARGEST_MM
from medsam_planner.volumes import volume_like

__all__ = [
    "MarginStatement",
    "margin_from_scale",
    "margin_from_spread",
    "masks_from_spread",
    "spread_statement",
    "surface_margins",
]


@dataclass(frozen=True, slots=True, eq=False)
class MarginStatement:
    """Why the margin of a structure is as wide as it is, and what is guaranteed."""

    structure: str
    explanation: str
    """For a reader without statistics."""
    is_guaranteed: bool
    """Whether a stated confidence stands behind it here."""
    voids: tuple[str, ...] = ()
    """Why a calibrated guarantee does not apply here."""
    values: dict[str, Any] = field(default_factory=dict)
    """The rule and its numbers, as plain JSON values."""

    def with_mask_flaws(self, reasons: Sequence[str]) -> MarginStatement:
        """The same statement without a guarantee where the mask has flaws, which its explanation then names."""
        if not reasons:
            return self
        told = "; ".join(reasons)
        was_guaranteed = self.is_guaranteed or bool(self.voids)
        end = (
            f"No guarantee applies to this mask: {told}."
            if was_guaranteed
            else f"The size of the error of the mask is not known: {told}."
        )
        return replace(
            self,
            explanation=f"{self.explanation} {end}",
            is_guaranteed=False,
            voids=(*self.voids, *reasons) if was_guaranteed else (),
            values={**self.values, "mask_flaws": list(reasons)},
        )

    def with_hand_edits(self, by_hand: str) -> MarginStatement:
        """The same statement of a mask of which a person drew a part.

        Parameters
        ----------
        by_hand : str
            Half a sentence that follows “the mask was”; empty for none.
        """
        if not by_hand:
            return self
        return replace(
            self,
            explanation=f"{self.explanation} The mask was {by_hand}: the margin's guarantee does not cover it.",
            is_guaranteed=False,
            values={**self.values, "by_hand": by_hand},
        )

    def as_entry(self) -> dict[str, Any]:
        """For plan.json."""
        return {
            "structure": self.structure,
            **self.values,
            "guarantee_applies": self.is_guaranteed,
            "guarantee_voided_by": list(self.voids),
            "explanation": self.explanation,
        }


def margin_from_spread(
    boundary_spread_mm: highdicom.Volume | None, *, base_mm: float, factor: float, cap_mm: float
) -> highdicom.Volume | float:
    """Margin that widens where the segmentation is unsure: ``min(base + factor × spread, cap)``.

    A rule of thumb without a guarantee.

    Parameters
    ----------
    boundary_spread_mm : highdicom.Volume or None
        Standard deviation of the signed distance to the surface, mm, >= 0; None where there were no stochastic passes.
    base_mm : float
        Margin where all stochastic passes agree.
    factor : float
        Millimetres of margin per millimetre of spread.
    cap_mm : float
        No margin is wider.

    Returns
    -------
    highdicom.Volume or float
        float32 mm on the same grid, read at the structure's surface; `base_mm` everywhere where no spread is known.

    Raises
    ------
    PlanningError
        If a parameter is negative or above 1000, the cap is below the base, or the spread is negative or not finite.
    """
    if not (0 <= base_mm <= cap_mm <= LARGEST_MM and 0 <= factor <= LARGEST_MM):
        raise PlanningError(
            f"Expected 0 <= base_mm <= cap_mm and factor >= 0, none above {LARGEST_MM:g}, got base_mm={base_mm!r}, "
            f"factor={factor!r}, cap_mm={cap_mm!r}. Check their units."
        )
    if boundary_spread_mm is None:
        return base_mm
    spread = boundary_spread_mm.array
    if not np.isfinite(spread).all() or spread.min() < 0:
        raise PlanningError("Expected the boundary spread to be finite and >= 0 mm in every voxel.")
    margin = np.minimum(np.float32(base_mm) + np.float32(factor) * spread.astype(np.float32), np.float32(cap_mm))
    return volume_like(boundary_spread_mm, margin)


def spread_statement(structure: str, *, base_mm: float, factor: float, cap_mm: float, varies: bool) -> MarginStatement:
    """Statement on a margin of :func:`margin_from_spread`, which carries no guarantee."""
    if varies:
        width = (
            f"{base_mm:g} mm where all stochastic passes agree, plus {factor:g} mm per mm of their disagreement, up to "
            f"{cap_mm:g} mm"
        )
    else:
        width = f"{base_mm:g} mm everywhere"
    return MarginStatement(
        structure=structure,
        explanation=f"The margin of {structure} is {width}: a rule of thumb, with no stated confidence.",
        is_guaranteed=False,
        values={"rule": "spread", "base_mm": base_mm, "factor": factor, "cap_mm": cap_mm}
        if varies
        else {"rule": "fixed", "base_mm": base_mm},
    )


def margin_from_scale(mask: highdicom.Volume, u: NDArray[np.float32], *, quantile: float) -> highdicom.Volume:
    """Conformal margin ``q × u(z)``: with a calibrated q the structure so widened holds the true one.

    Parameters
    ----------
    mask : highdicom.Volume
        The structure; gives the grid.
    u : (K, J, I) float32
        Scale of the margin, > 0; see :mod:`xai.margin_scale`.
    quantile : float
        mm per unit of u, finite and >= 0; see :func:`xai.conformal.conformal_quantile`.

    Returns
    -------
    highdicom.Volume
        float32 mm, rounded up, so that a float32 margin is never below the exact one.

    Raises
    ------
    PlanningError
        If u is not positive and finite, or the quantile is not finite.
    """
    if not (np.isfinite(quantile) and quantile >= 0):
        raise PlanningError(f"Expected a finite quantile >= 0, got {quantile!r}.")
    if not np.isfinite(u).all() or u.min() <= 0:
        raise PlanningError("Expected u > 0 and finite in every voxel.")
    exact = quantile * u.astype(np.float64)
    return volume_like(mask, np.nextafter(exact.astype(np.float32), np.float32(np.inf)))


def masks_from_spread(
    mask: highdicom.Volume, boundary_spread_mm: highdicom.Volume, *, samples: int, seed: int
) -> list[highdicom.Volume]:
    """Draw masks whose surface shifts as a whole, by one standard normal number times the spread of each place.

    For when the masks of the stochastic passes were not kept. The shift is fully correlated along the surface: voxels
    that vary independently would make a hit ever likelier the finer the grid is.

    Parameters
    ----------
    mask : highdicom.Volume
        bool.
    boundary_spread_mm : highdicom.Volume
        On the same grid.
    samples : int
        How many masks, >= 1.
    seed : int
        Of the draw.
    """
    import edt

    if samples < 1:
        raise PlanningError(f"Expected at least one sample, got {samples}.")
    inside = mask.array > 0
    affine = np.asarray(mask.affine)
    spacing = tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0))
    half = min(spacing) / 2
    reach = 8 * float(boundary_spread_mm.array.max()) + 4 * max(spacing)
    outward = np.minimum(edt.edt(~inside, anisotropy=spacing), reach)
    inward = np.minimum(edt.edt(inside, anisotropy=spacing), reach)
    signed = np.where(inside, half - inward, outward - half)
    shifts = np.random.default_rng(seed).standard_normal(samples)
    return [volume_like(mask, signed < np.float32(shift) * boundary_spread_mm.array) for shift in shifts]


def surface_margins(
    inside: NDArray[np.bool_], margin_mm: NDArray[np.float32], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Margin of each voxel of a structure, read at its surface.

    The surface runs between the outermost voxels of the structure and their neighbours outside, so the margin is read
    on both. Each voxel within one diagonal of the surface gets the largest margin that is read within one diagonal
    of it: whichever point of the true surface it stands for, its margin is not smaller than that point's. Deeper ones
    get the smallest of these.

    Parameters
    ----------
    inside : (K, J, I) bool
        The structure; what lies beyond the array is taken for its continuation.
    margin_mm : (K, J, I) float32
        Margin volume on the same voxels.
    spacing_mm : (3,) float

    Returns
    -------
    (K, J, I) float32
        0 outside of the structure; the largest that is given, everywhere in it, when no surface is seen.
    """
    reach = np.rint(float(np.linalg.norm(spacing_mm)) / spacing_mm).astype(int)
    read = np.pad(np.where(_both_sides_of_surface(inside), margin_mm, np.float32(0)), [(size, size) for size in reach])
    near = np.flatnonzero(inside & _reached(~inside, reach))
    result = np.zeros(inside.shape, dtype=np.float32)
    if not len(near):
        result[inside] = margin_mm.max()
        return result
    place = np.ravel_multi_index(tuple(np.array(np.unravel_index(near, inside.shape)) + reach[:, None]), read.shape)
    largest = np.zeros(len(near), dtype=np.float32)
    for offset in np.indices(tuple((2 * reach + 1).tolist())).reshape(3, -1).T - reach:
        shift = int((offset[0] * read.shape[1] + offset[1]) * read.shape[2] + offset[2])
        np.maximum(largest, read.ravel().take(place + shift), out=largest)
    result[inside] = largest.min()
    result.ravel()[near] = largest
    return result


def _both_sides_of_surface(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Both sides of each face between a structure and the rest."""
    near = np.zeros_like(inside)
    for axis in range(3):
        along, edge = np.moveaxis(inside, axis, 0), np.moveaxis(near, axis, 0)
        differs = along[1:] != along[:-1]
        edge[1:] |= differs
        edge[:-1] |= differs
    return near


def _reached(mask: NDArray[np.bool_], reach: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Voxels with one of the mask no more than `reach` away along every axis."""
    for axis, size in enumerate(reach.tolist()):
        before, grown = np.moveaxis(mask, axis, 0), mask.copy()
        after = np.moveaxis(grown, axis, 0)
        for step in range(1, size + 1):
            after[step:] |= before[:-step]
            after[:-step] |= before[step:]
        mask = grown
    return mask
