r"""Conformal margins: how far a reference may lie beyond its prediction on the next patient.

With a fixed u(z) > 0, large where a segmentation is uncertain, each calibration patient i has the score

.. math:: s_i = \max_{y \in \text{reference}} \; \min_{z \in \text{predicted}} \; |y - z| / u_i(z)

and q is the k-th smallest of n scores, ``k = ⌈(n + 1)(1 − α)⌉``. Widened by the margin ``m(z) = q u(z)``, the
prediction of a new patient contains the whole true structure with probability at least 1 − α, because ``score <= q``
means that ``min over z of |y − z| − q u(z) <= 0`` for every true voxel y. The probability is over the calibration
patients and the new one together, drawn from one population, segmented under one prompting policy; for a given
calibration it is Beta(k, n + 1 − k) distributed. The statement is about the whole surface, so it still holds for a
trajectory that was chosen among many.

Voxels and planes
-----------------
The statement is about voxel centres. A tool at distance D from the widened set is at least as far from every true voxel
centre, since ``|x − y| >= |x − z| − |y − z| >= |x − z| − m(z)``; the planner's allowance for voxels (one diagonal,
:mod:`medsam_planner.planning.distance_field`) is therefore as valid for the true structure as for the prediction.

References
----------
.. [1] Mossina, Friedrich, Conformal prediction for image segmentation using morphological prediction sets, 2025,
   arXiv 2503.05618.
.. [2] Davenport, Conformal confidence sets for biomedical image segmentation, 2024, arXiv 2410.03406.
.. [3] Vovk, Conditional validity of inductive conformal predictors, ACML 2012, arXiv 1209.2673 (the Beta law).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError
from prompts.masks import mask_box
from xai.errors import EmptyStructureError, TooFewPatientsError, UncertaintyError
from xai.weighted_distance import WeightedDistance, widened_mask

__all__ = [
    "CoverageLaw",
    "TooFewPatientsError",
    "conformal_quantile",
    "coverage_law",
    "inner_nonconformity_score",
    "joint_score",
    "nonconformity_score",
    "patients_needed",
    "smallest_alpha",
    "stretch",
]

_ROUNDING = 1e-9
"""(n + 1)(1 − α) is rounded down if it exceeds a whole number by less: 10 × (1 − 0.1) is 9 despite rounding errors."""


@dataclass(frozen=True, slots=True)
class CoverageLaw:
    """Distribution of the coverage of one calibration: Beta(k, n + 1 − k), if scores have no ties."""

    patients: int
    k: int

    @property
    def mean(self) -> float:
        """Mean coverage over calibrations."""
        return self.k / (self.patients + 1)

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """Central interval that contains the coverage of a calibration with probability `level`."""
        from scipy.stats import beta

        low, high = beta.interval(level, self.k, self.patients + 1 - self.k)
        return float(low), float(high)


def nonconformity_score(
    reference: ArrayLike, predicted: ArrayLike, u: ArrayLike, spacing_mm: Sequence[float] | NDArray[np.floating]
) -> float:
    """Smallest multiple of u by which the prediction must be widened to contain the reference. Exact.

    Parameters
    ----------
    reference, predicted : (K, J, I) bool
        On one orthogonal grid.
    u : (K, J, I) float
        Positive and finite in the predicted voxels, and not read elsewhere; fixed without knowledge of the reference.
    spacing_mm : (3,) float
        Distance between voxel centres along k, j, i.

    Returns
    -------
    float
        In mm per unit of u. 0 if the prediction contains the reference, or the reference is empty; infinity if only the
        prediction is empty.

    Raises
    ------
    GeometryError
        If shapes and spacing do not fit.
    UncertaintyError
        If u is not positive and finite in the predicted voxels.
    """
    true, found, scale = np.asarray(reference, dtype=bool), np.asarray(predicted, dtype=bool), np.asarray(u, np.float64)
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if true.ndim != 3 or not true.shape == found.shape == scale.shape:
        raise GeometryError(
            f"Expected reference, prediction and u on one 3D grid, got the shapes {true.shape}, {found.shape} and "
            f"{scale.shape}."
        )
    if not true.any():
        return 0.0
    if not found.any():
        return math.inf
    box = mask_box(true | found)
    return WeightedDistance(found[box], scale[box], spacing).largest(true[box])


def inner_nonconformity_score(
    reference: ArrayLike, predicted: ArrayLike, u: ArrayLike, spacing_mm: Sequence[float] | NDArray[np.floating]
) -> float:
    """Score of a structure to stay inside: by how much the prediction must be narrowed to lie within the reference.

    It is :func:`nonconformity_score` of the complements, so u is read outside the prediction. Beyond the grid there is
    no margin, as in the planner: the score is infinite if the prediction fills the grid and the reference does not.

    Parameters
    ----------
    reference, predicted, u, spacing_mm
        As for :func:`nonconformity_score`, but u is positive and finite outside the prediction.
    """
    return nonconformity_score(~np.asarray(reference, dtype=bool), ~np.asarray(predicted, dtype=bool), u, spacing_mm)


def joint_score(scores: Sequence[float]) -> float:
    """Joint score of several structures of one patient, the largest one: its quantile holds for all of them together.

    Raises
    ------
    UncertaintyError
        If there is none, or one is negative or not a number.
    """
    return float(_checked_scores(scores, "structures").max())


def conformal_quantile(scores: Sequence[float] | NDArray[np.floating], alpha: float) -> float:
    """The ``⌈(n + 1)(1 − α)⌉``-th smallest score of n patients.

    Parameters
    ----------
    scores
        One for each patient, >= 0; infinity for a missed structure. Missed structures must not be left out, because the
        statement would then hold only for patients on whom the model works.
    alpha : float
        Miscoverage: share of patients for whom the margin may fail, in (0, 1).

    Returns
    -------
    float
        Infinity if so many structures were missed that no finite margin holds.

    Raises
    ------
    TooFewPatientsError
        If n is too small: α = 0.10, 0.05 and 0.01 need 9, 19 and 99 patients.
    UncertaintyError
        If alpha or a score is out of range.
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    k = coverage_law(len(values), alpha).k
    return float(np.sort(_checked_scores(values, "patients"))[k - 1])


def coverage_law(patients: int, alpha: float) -> CoverageLaw:
    """Distribution of the coverage that a calibration on `patients` patients guarantees at `alpha`.

    Raises
    ------
    TooFewPatientsError
        If they are too few.
    """
    _require_alpha(alpha)
    k = max(math.ceil((patients + 1) * (1 - alpha) - _ROUNDING), 1)
    if k > patients:
        raise TooFewPatientsError(
            f"A confidence of {100 * (1 - alpha):.4g} % needs at least {patients_needed(alpha)} calibration patients, "
            f"there are {patients}. Calibrate on more patients"
            + (f", or ask for at most {100 * (1 - smallest_alpha(patients)):.4g} %." if patients else ".")
        )
    return CoverageLaw(patients, k)


def patients_needed(alpha: float) -> int:
    """Smallest number of patients with which `alpha` is possible."""
    _require_alpha(alpha)
    return max(math.ceil(1 / alpha - 1 - _ROUNDING), 1)


def smallest_alpha(patients: int) -> float:
    """Smallest alpha that is possible with n patients, ``1 / (n + 1)``; 1 without any."""
    return 1.0 / (patients + 1)


def stretch(
    reference: ArrayLike,
    predicted: ArrayLike,
    u: ArrayLike,
    q: float,
    spacing_mm: Sequence[float] | NDArray[np.floating],
) -> float:
    """Ratio of the widened prediction's volume to that of the reference: the cost of a margin.

    Volume beyond the grid counts too. The ratio is infinite for an infinite q, and else 0 for an empty prediction.

    Parameters
    ----------
    reference, predicted, u, spacing_mm
        As for :func:`nonconformity_score`.
    q : float
        Quantile: the margin is q u.

    Raises
    ------
    EmptyStructureError
        If the reference is empty.
    """
    true, found = np.asarray(reference, dtype=bool), np.asarray(predicted, dtype=bool)
    if not true.any():
        raise EmptyStructureError("Expected a true structure, got an empty mask: it has no volume to compare with.")
    if math.isinf(q):
        return math.inf
    if not found.any():
        return 0.0
    box = mask_box(found)
    inside, scale = found[box], np.asarray(u, dtype=np.float64)[box]
    reach = np.ceil(q * scale[inside].max() / np.asarray(spacing_mm, dtype=np.float64)).astype(int) + 1
    pads = [(int(n), int(n)) for n in reach]
    widened = widened_mask(np.pad(inside, pads), np.pad(scale, pads, mode="edge"), q, spacing_mm)
    return float(np.count_nonzero(widened)) / float(np.count_nonzero(true))


def _require_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise UncertaintyError(f"Expected alpha strictly between 0 and 1 (0.1 for a confidence of 90 %), got {alpha}.")


def _checked_scores(scores: Sequence[float] | NDArray[np.floating], what: str) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64).ravel()
    if not len(values):
        raise UncertaintyError(f"Expected the scores of {what}, got none.")
    if np.isnan(values).any() or (values < 0).any():
        raise UncertaintyError(f"Expected scores >= 0 (infinity for a missed structure), got {values.min()}.")
    return values
