"""How well uncertainty ranks errors: rank correlation, and the area under the sparsification error curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError
from xai.errors import EmptyStructureError, UncertaintyError

__all__ = ["area_under_sparsification_error", "rank_correlation", "unranked_area_under_sparsification_error"]


def rank_correlation(uncertainty: ArrayLike, error: ArrayLike) -> float:
    """Spearman's correlation of uncertainty and error over voxels; ties share their mean rank.

    Parameters
    ----------
    uncertainty : (N,) float
        Variance, entropy, or any other value that should be large where the prediction is wrong.
    error : (N,) float or bool
        Error of each voxel. With binary errors the correlation cannot reach 1, because wrong voxels share one rank.

    Raises
    ------
    UncertaintyError
        If one of the two is constant or not finite.
    GeometryError
        If the shapes differ.
    EmptyStructureError
        If there is no voxel.

    References
    ----------
    .. [1] Spearman, The proof and measurement of association between two things, American Journal of Psychology 15,
       1904, doi:10.2307/1412159.
    """
    from scipy.stats import spearmanr

    u, e = _paired(uncertainty, error)
    if np.ptp(u) == 0 or np.ptp(e) == 0:
        raise UncertaintyError("Expected uncertainty and error that vary, got a constant one.")
    return float(spearmanr(u, e).statistic)


def area_under_sparsification_error(uncertainty: ArrayLike, error: ArrayLike) -> float:
    """Area under the sparsification error (AUSE) [1]_: between the curves of two orders of removing voxels.

    One curve removes the most uncertain voxels first, the other those with the largest errors. A curve is the mean
    error of the remaining voxels, relative to that of all voxels, as a function of the removed share (0, 1/N, …, (N −
    1)/N). Voxels of equal uncertainty count with their mean error, which is the average over all their orders.

    Parameters
    ----------
    uncertainty : (N,) float
        Variance, entropy, or any other value that should be large where the prediction is wrong.
    error : (N,) float >= 0 or bool
        Error of each voxel.

    Returns
    -------
    float >= 0
        0 where uncertainty ranks voxels as their errors do; :func:`unranked_area_under_sparsification_error` is the
        value of an uncertainty without information.

    Raises
    ------
    UncertaintyError
        If a value is not finite, an error is negative, or none is positive.
    GeometryError
        If the shapes differ.
    EmptyStructureError
        If there is no voxel.

    References
    ----------
    .. [1] Ilg et al., Uncertainty estimates and multi-hypotheses networks for optical flow, ECCV 2018,
       doi:10.1007/978-3-030-01234-2_40, arXiv 1802.07095.
    """
    u, e = _paired(uncertainty, error)
    if (e < 0).any() or not e.any():
        raise UncertaintyError(f"Expected errors of at least 0 with an error somewhere, got {e.min()} to {e.max()}.")
    _, group, size = np.unique(u, return_inverse=True, return_counts=True)
    expected = (np.bincount(group, weights=e) / size)[group]
    by_uncertainty = _mean_of_the_rest(expected[np.argsort(u, kind="stable")])
    by_error = _mean_of_the_rest(np.sort(e))
    return float(np.mean(by_uncertainty - by_error) / e.mean())


def unranked_area_under_sparsification_error(error: ArrayLike) -> float:
    """Expected area for an uncertainty without information: the mean over all orders of the voxels.

    With m wrong voxels among N it is (N − m)/m · (1/(N − m + 1) + … + 1/N), which tends to −(1 − r)/r · ln(1 − r) for a
    share r of wrong voxels. The errors are those of :func:`area_under_sparsification_error`.

    Parameters
    ----------
    error : (N,) float >= 0 or bool
        Error of each voxel.
    """
    values = np.asarray(error, dtype=np.float64)
    return area_under_sparsification_error(np.zeros(values.shape), values)


def _mean_of_the_rest(ascending: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) mean of the remaining values after 0, 1, …, N − 1 of them were removed from the end."""
    return (np.cumsum(ascending) / np.arange(1, len(ascending) + 1))[::-1]


def _paired(uncertainty: ArrayLike, error: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    u, e = np.asarray(uncertainty, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if u.shape != e.shape or u.ndim != 1:
        raise GeometryError(f"Expected two rows of voxels of one length, got the shapes {u.shape} and {e.shape}.")
    if not u.size:
        raise EmptyStructureError("Expected voxels whose uncertainty can be ranked, got none: widen the band.")
    if not (np.isfinite(u).all() and np.isfinite(e).all()):
        raise UncertaintyError("Expected finite uncertainty and error, got NaN or infinity.")
    return u, e
