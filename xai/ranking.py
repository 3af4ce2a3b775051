"""Whether doubt points at errors: rank correlation, and the area under the sparsification error curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError
from xai.errors import EmptyStructureError, UncertaintyError

__all__ = ["area_under_sparsification_error", "rank_correlation", "unranked_area_under_sparsification_error"]


def rank_correlation(doubt: ArrayLike, error: ArrayLike) -> float:
    """Spearman's correlation of doubt and error over voxels; ties share their mean rank.

    Parameters
    ----------
    doubt : (N,) float
        Variance, entropy, or any other figure that should be large where the answer is wrong.
    error : (N,) float or bool
        With errors that are only right or wrong the correlation cannot reach 1: the wrong share one rank.

    Raises
    ------
    UncertaintyError
        If one of the two is the same everywhere or not finite: then there is nothing to rank.
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

    u, e = _paired(doubt, error)
    if np.ptp(u) == 0 or np.ptp(e) == 0:
        raise UncertaintyError("Expected doubt and error that vary, got one that is the same everywhere.")
    return float(spearmanr(u, e).statistic)


def area_under_sparsification_error(doubt: ArrayLike, error: ArrayLike) -> float:
    """Area between two sparsification curves (AUSE) [1]_: doubtful voxels taken away first, and wrong ones first.

    A curve is the mean error of the voxels that are left, over that of all voxels, against the share taken away
    (0, 1/N, …, (N − 1)/N). Equal doubts are taken in every order at once: each counts as their mean error.

    Parameters
    ----------
    doubt : (N,) float
    error : (N,) float >= 0 or bool

    Returns
    -------
    float >= 0
        0 where doubt ranks voxels as their errors do; see :func:`unranked_area_under_sparsification_error` for what
        doubt earns that says nothing.

    Raises
    ------
    UncertaintyError
        If a value is not finite, an error is negative, or none is positive: without errors there is nothing to find.
    GeometryError
        If the shapes differ.
    EmptyStructureError
        If there is no voxel.

    References
    ----------
    .. [1] Ilg et al., Uncertainty estimates and multi-hypotheses networks for optical flow, ECCV 2018,
       doi:10.1007/978-3-030-01234-2_40, arXiv 1802.07095.
    """
    u, e = _paired(doubt, error)
    if (e < 0).any() or not e.any():
        raise UncertaintyError(f"Expected errors of at least 0 with an error somewhere, got {e.min()} to {e.max()}.")
    _, group, size = np.unique(u, return_inverse=True, return_counts=True)
    expected = (np.bincount(group, weights=e) / size)[group]
    by_doubt = _mean_of_the_rest(expected[np.argsort(u, kind="stable")])
    by_error = _mean_of_the_rest(np.sort(e))
    return float(np.mean(by_doubt - by_error) / e.mean())


def unranked_area_under_sparsification_error(error: ArrayLike) -> float:
    """The area that doubt earns which knows nothing of the errors: the mean over all orders.

    Of N voxels m wrong ones give (N − m)/m · (1/(N − m + 1) + … + 1/N), which tends to −(1 − r)/r · ln(1 − r) for a
    share r of wrong voxels. Raises as :func:`area_under_sparsification_error` does.
    """
    values = np.asarray(error, dtype=np.float64)
    return area_under_sparsification_error(np.zeros(values.shape), values)


def _mean_of_the_rest(ascending: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of what is left of (N,) values after taking 0, 1, …, N − 1 of them away from the end."""
    return (np.cumsum(ascending) / np.arange(1, len(ascending) + 1))[::-1]


def _paired(doubt: ArrayLike, error: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    u, e = np.asarray(doubt, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if u.shape != e.shape or u.ndim != 1:
        raise GeometryError(f"Expected two rows of voxels of one length, got the shapes {u.shape} and {e.shape}.")
    if not u.size:
        raise EmptyStructureError("Expected voxels whose doubt can be ranked, got none: widen the band.")
    if not (np.isfinite(u).all() and np.isfinite(e).all()):
        raise UncertaintyError("Expected finite doubt and error, got NaN or infinity.")
    return u, e
