"""Register two series: several starts, a gate that refuses, and the error of what is returned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import RegistrationError
from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm, within_grid
from medsam_planner.progress import Progress, track
from medsam_planner.registration.gate import GateLimits, RegistrationEvidence, refusals
from medsam_planner.registration.mutual_information import Pyramid, Searched, measure, pyramid_of, search
from medsam_planner.registration.rigid_error import RigidError, error_from_spread
from medsam_planner.registration.rigid_transform import RigidTransform

__all__ = ["Registration", "grid_points", "register", "same_frame"]

_TURNS_DEG = 15.0
_REFINED = 3
"""Searches that go on to the finest level."""
_COARSE_SAMPLES = 12_000
_DECOYS = 16
_GRID = 7
"""Places along each axis at which two transforms are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """A transform that passed the gate."""

    transform: RigidTransform
    method: str
    """``"mutual information"``, ``"frame of reference"`` or ``"landmarks"``."""
    error: RigidError | None
    """None where nothing was measured: one frame of reference says nothing of a patient who moved."""
    evidence: RegistrationEvidence | None = None
    notes: tuple[str, ...] = ()


def same_frame(fixed: highdicom.Volume, moving: highdicom.Volume) -> Registration | None:
    """The identity, if both series state one frame of reference; None otherwise."""
    here = fixed.frame_of_reference_uid
    if here is None or here != moving.frame_of_reference_uid:
        return None
    return Registration(
        RigidTransform.identity(),
        "frame of reference",
        None,
        notes=(
            "Both series state one frame of reference, so nothing was searched. Its error is unknown: the patient may "
            "have moved between them. Look at the checkerboard.",
        ),
    )


def register(
    fixed: highdicom.Volume,
    moving: highdicom.Volume,
    *,
    limits: GateLimits | None = None,
    seed: int = 1,
    progress: Progress | None = None,
) -> Registration:
    """Find the rigid transform between two series of one patient by mutual information.

    Parameters
    ----------
    fixed, moving : (K, J, I) Volume
        CT or MR.
    limits : GateLimits, optional
    seed : int
        Of the sampled voxels; the same seed gives the same transform.
    progress : Progress, optional

    Returns
    -------
    Registration

    Raises
    ------
    RegistrationError
        If the result is not plausible; the message names every reason. Nothing is returned then.
    StudyError
        If a series is flat or its grid sheared.

    References
    ----------
    .. [1] Mattes et al., PET-CT image registration in the chest using free-form deformations, IEEE TMI 22(1), 2003,
       doi:10.1109/TMI.2003.809072.
    """
    limits = limits or GateLimits()
    pyramid = pyramid_of(fixed, moving)
    points = grid_points(fixed)
    middle = points.mean(axis=0)
    starts = _starts(fixed, moving)
    coarse = [
        search(pyramid, start, levels=slice(0, 1), seed=seed + number, samples=_COARSE_SAMPLES)
        for number, start in enumerate(track(starts, "Registration, starts", progress))
    ]
    overlapping = [one for one in coarse if _overlap(fixed, moving, one.transform) >= limits.min_overlap]
    if not overlapping:
        raise RegistrationError(_refused(["no start found an overlap of both series"]))
    leaders = _leaders(overlapping, points, 2 * pyramid.spacing_mm[0])
    refined = []
    for number, leader in enumerate(track(leaders, "Registration, refining", progress)):
        found = search(pyramid, leader.transform, levels=slice(1, None), seed=seed + 100 + number)
        refined.append(found if len(pyramid.spacing_mm) > 1 else leader)
    refined = [one for one in refined if _overlap(fixed, moving, one.transform) >= limits.min_overlap] or refined
    values = [measure(pyramid, one.transform, seed=seed + 200) for one in refined]
    best = refined[int(np.argmax(values))]
    # Searches that agree at once on the same samples would agree on their error, too: two more, elsewhere.
    again = [
        search(
            pyramid, _turned(best.transform, middle, vector, shift), levels=slice(-1, None), seed=seed + 300 + number
        )
        for number, (vector, shift) in enumerate(_nudges(pyramid.spacing_mm[-1], points))
    ]
    tolerance = max(_voxel_mm(fixed), _voxel_mm(moving), pyramid.spacing_mm[-1])
    near = [one for one in (*refined, *again) if one is not best and _distance(one, best, points) <= tolerance]
    agreeing = 1 + sum(_distance(one, best, points) <= 2 * pyramid.spacing_mm[0] for one in coarse)
    confirmed = min(agreeing, 1 + len(near))  # a coarse agreement that the finest level does not keep is none
    evidence = RegistrationEvidence(
        overlap=_overlap(fixed, moving, best.transform),
        information_nat=max(values),
        gain=_gain(pyramid, best.transform, points, max(values), seed),
        starts=len(starts),
        agreeing_starts=confirmed,
        tolerance_mm=tolerance,
        spread_mm=max((_distance(one, best, points) for one in near), default=0.0),
        rotation_deg=best.transform.rotation_deg,
        translation_mm=_translation_mm(best.transform, starts[:2], middle),
    )
    reasons = refusals(evidence, limits)
    if reasons:
        raise RegistrationError(_refused(reasons))
    error = error_from_spread(
        best.transform, [one.transform for one in near], middle, floor_mm=pyramid.spacing_mm[-1] / math.sqrt(12)
    )
    return Registration(best.transform, "mutual information", error, evidence)


def grid_points(volume: highdicom.Volume) -> NDArray[np.float64]:
    """(343, 3) places spread evenly over a volume, its corners among them; LPS mm."""
    axes = [np.linspace(0, count - 1, _GRID) for count in volume.spatial_shape]
    return lps_from_index(volume.affine, np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3))


def _starts(fixed: highdicom.Volume, moving: highdicom.Volume) -> list[RigidTransform]:
    """One frame of reference, equal middles, equal centres of brightness; and the last one turned about each axis."""
    middles = [grid_points(one).mean(axis=0) for one in (fixed, moving)]
    weights = [_brightness_centre(one) for one in (fixed, moving)]
    shifts = [middles[0] - middles[1], weights[0] - weights[1]]
    starts = [RigidTransform.identity(), *(RigidTransform.about(np.zeros(3), np.zeros(3), shift) for shift in shifts)]
    for axis in range(3):
        for sign in (1, -1):
            vector = np.eye(3)[axis] * sign * math.radians(_TURNS_DEG)
            starts.append(_turned(starts[2], middles[0], vector, np.zeros(3)))
    return starts


def _brightness_centre(volume: highdicom.Volume) -> NDArray[np.float64]:
    steps = [max(1, count // 48) for count in volume.spatial_shape]
    part = np.asarray(volume.array[tuple(slice(None, None, step) for step in steps)], dtype=np.float64)
    weight = np.clip(part - np.percentile(part, 20), 0, None)
    index = ndimage.center_of_mass(weight) if weight.any() else (0.0, 0.0, 0.0)
    return lps_from_index(volume.affine, np.multiply(index, steps))


def _turned(
    start: RigidTransform, middle: NDArray[np.float64], vector: NDArray[np.float64], shift: NDArray[np.float64]
) -> RigidTransform:
    """A transform followed by a small one about a place of the fixed series."""
    return RigidTransform(RigidTransform.about(middle, vector, shift).fixed_from_moving @ start.fixed_from_moving)


def _nudges(step_mm: float, points: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    reach = float(np.linalg.norm(points - points.mean(axis=0), axis=1).mean())
    one = np.array([1.0, -1.0, 1.0]) / math.sqrt(3)
    return [(sign * one * step_mm / reach, sign * one[::-1] * step_mm) for sign in (1, -1)]


def _leaders(found: list[Searched], points: NDArray[np.float64], apart_mm: float) -> list[Searched]:
    """The best search, then the best that ended elsewhere, then the next best ones whether they agree or not."""
    ranked = sorted(found, key=lambda one: -one.information_nat)
    chosen = [ranked[0]]
    for one in ranked[1:]:
        if len(chosen) < 2 and all(_distance(one, other, points) > apart_mm for other in chosen):
            chosen.append(one)
    chosen += [one for one in ranked if one not in chosen]
    return chosen[:_REFINED]


def _distance(one: Searched, other: Searched, points: NDArray[np.float64]) -> float:
    """Root mean square distance over the fixed series between two transforms."""
    back = one.transform.inverse.apply(points)
    return float(np.sqrt((np.linalg.norm(other.transform.apply(back) - points, axis=1) ** 2).mean()))


def _gain(pyramid: Pyramid, found: RigidTransform, points: NDArray[np.float64], best: float, seed: int) -> float:
    """Share of the mutual information that is lost when the result is moved on purpose, on median."""
    random = np.random.default_rng(seed)
    middle = points.mean(axis=0)
    extent = float(np.ptp(points, axis=0).min())
    values = []
    for _ in range(_DECOYS):
        shift = random.normal(size=3)
        vector = random.normal(size=3)
        decoy = _turned(
            found, middle, vector / np.linalg.norm(vector) * 0.1, shift / np.linalg.norm(shift) * extent * 0.1
        )
        values.append(measure(pyramid, decoy, seed=seed + 200))
    finite = [value for value in values if math.isfinite(value)]
    return 0.0 if best <= 0 or not finite else float(1 - np.median(finite) / best)


def _overlap(fixed: highdicom.Volume, moving: highdicom.Volume, transform: RigidTransform) -> float:
    """Share of the smaller series' volume that lies in the other one."""
    shares = []
    for here, there, step in ((fixed, moving, transform.inverse), (moving, fixed, transform)):
        index = index_from_lps(there.affine, step.apply(grid_points(here)))
        shares.append(float(within_grid(index, there.spatial_shape).mean()))
    return max(shares)


def _translation_mm(found: RigidTransform, starts: list[RigidTransform], middle: NDArray[np.float64]) -> float:
    return min(float(np.linalg.norm(found.apply(start.inverse.apply(middle)) - middle)) for start in starts)


def _voxel_mm(volume: highdicom.Volume) -> float:
    return float(spacing_mm(volume.affine).max())


def _refused(reasons: list[str] | tuple[str, ...]) -> str:
    return (
        f"The registration was refused: {'; '.join(reasons)}. Check that both show the same part of one patient; "
        "crop to it, correct an MR's shading (--correct-bias-field), or register by landmarks."
    )
