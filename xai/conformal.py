r"""Margins with a stated probability: how far a truth lies beyond its prediction, and may on the next patient.

With a frozen u(z) > 0, large where a segmentation is unsure, each calibration patient i has the score

.. math:: s_i = \max_{y \in \text{truth}} \; \min_{z \in \text{predicted}} \; |y - z| / u_i(z)

and q is the k-th smallest of n scores, ``k = ⌈(n + 1)(1 − α)⌉``. Widened by the margin ``m(z) = q u(z)``, the
prediction of a new patient holds the whole true structure with probability at least 1 − α, because ``score <= q`` says
exactly that ``min over z of |y − z| − q u(z) <= 0`` for every true voxel y. The probability is over the calibration
patients and the new one together, drawn from one population, segmented under one prompting policy; for a given
calibration it is Beta(k, n + 1 − k) distributed. As the statement holds for all places at once, it survives choosing
the best line.

Voxels and planes
-----------------
The statement is about voxel centres. A tool that keeps a distance D from the widened set keeps it from every true
voxel centre, since ``|x − y| >= |x − z| − |y − z| >= |x − z| − m(z)``; the planner's allowance for voxels (one
diagonal, :mod:`medsam_planner.planning.distance_field`) is then as valid for the truth as for the prediction.

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
"""(n + 1)(1 − α) this little above a whole number is that number: 10 × (1 − 0.1) is 9, whatever the last bit says."""


@dataclass(frozen=True, slots=True)
class CoverageLaw:
    """How the coverage of one calibration is distributed: Beta(k, n + 1 − k), where scores have no ties."""

    patients: int
    k: int

    @property
    def mean(self) -> float:
        """Coverage on average over calibrations."""
        return self.k / (self.patients + 1)

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """Central interval that holds the coverage of a calibration with probability `level`."""
        from scipy.stats import beta

        low, high = beta.interval(level, self.k, self.patients + 1 - self.k)
        return float(low), float(high)


def nonconformity_score(
    truth: ArrayLike, predicted: ArrayLike, u: ArrayLike, spacing_mm: Sequence[float] | NDArray[np.floating]
) -> float:
    """How many times its u the prediction must be widened to hold all of the truth. Exact.

    Parameters
    ----------
    truth, predicted : (K, J, I) bool
        On one orthogonal grid.
    u : (K, J, I) float
        Positive and finite in the predicted voxels, read nowhere else; fixed before the truth is looked at.
    spacing_mm : (3,) float
        Distance between voxel centres along k, j, i.

    Returns
    -------
    float
        mm per unit of u. 0 when the prediction holds the truth, also when the truth is empty; infinity when something
        is there and nothing was predicted.

    Raises
    ------
    GeometryError
        If shapes and spacing do not fit.
    UncertaintyError
        If u is not positive and finite in the predicted voxels.
    """
    true, found, scale = np.asarray(truth, dtype=bool), np.asarray(predicted, dtype=bool), np.asarray(u, np.float64)
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if true.ndim != 3 or not true.shape == found.shape == scale.shape:
        raise GeometryError(
            f"Expected truth, prediction and u on one 3D grid, got the shapes {true.shape}, {found.shape} and "
            f"{scale.shape}."
        )
    if not true.any():
        return 0.0
    if not found.any():
        return math.inf
    box = mask_box(true | found)
    return WeightedDistance(found[box], scale[box], spacing).largest(true[box])


def inner_nonconformity_score(
    truth: ArrayLike, predicted: ArrayLike, u: ArrayLike, spacing_mm: Sequence[float] | NDArray[np.floating]
) -> float:
    """The same for a corridor: how far the predicted structure must be narrowed to lie within the true one.

    Truth and prediction change places with their complements, and u is read outside the prediction. What lies beyond
    the grid has no margin, as in the planner: a prediction that fills the grid while the truth does not scores
    infinity.
    """
    return nonconformity_score(~np.asarray(truth, dtype=bool), ~np.asarray(predicted, dtype=bool), u, spacing_mm)


def joint_score(scores: Sequence[float]) -> float:
    """Score of several structures of one patient: with its quantile all of them hold together.

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
        One of each patient, >= 0; infinity for a missed structure. A missed one stays in: leaving it out would turn
        the statement into one about patients on whom the model works.
    alpha : float
        Share of patients on whom the margin may fail, in (0, 1).

    Returns
    -------
    float
        Infinity when so many structures were missed that no margin will do.

    Raises
    ------
    TooFewPatientsError
        If there is no k-th: α = 0.10, 0.05 and 0.01 need 9, 19 and 99 patients.
    UncertaintyError
        If alpha or a score is out of range.
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    k = coverage_law(len(values), alpha).k
    return float(np.sort(_checked_scores(values, "patients"))[k - 1])


def coverage_law(patients: int, alpha: float) -> CoverageLaw:
    """What a calibration on so many patients promises at `alpha`.

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
    """Fewest patients with which `alpha` can be served."""
    _require_alpha(alpha)
    return max(math.ceil(1 / alpha - 1 - _ROUNDING), 1)


def smallest_alpha(patients: int) -> float:
    """Smallest alpha that so many patients can serve, ``1 / (n + 1)``; 1 without any."""
    return 1.0 / (patients + 1)


def stretch(
    truth: ArrayLike, predicted: ArrayLike, u: ArrayLike, q: float, spacing_mm: Sequence[float] | NDArray[np.floating]
) -> float:
    """Volume of the widened prediction over that of the truth: what a margin costs. Beyond the grid counts too.

    Infinity for an infinite q; else 0 where nothing was predicted.

    Raises
    ------
    EmptyStructureError
        If the truth is empty.
    """
    true, found = np.asarray(truth, dtype=bool), np.asarray(predicted, dtype=bool)
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
