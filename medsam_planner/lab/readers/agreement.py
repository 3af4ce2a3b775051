"""How far readers agree, and whether the model is as good as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import ConfigError, require_extra

__all__ = [
    "BlandAltman",
    "IntraclassCorrelation",
    "NonInferiority",
    "bland_altman",
    "cases_needed",
    "fleiss_kappa",
    "fleiss_kappa_of_counts",
    "intraclass_correlation",
    "non_inferiority",
]


@dataclass(frozen=True, slots=True)
class IntraclassCorrelation:
    """ICC with its confidence interval."""

    value: float
    low: float
    high: float
    cases: int
    readers: int


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Mean difference of two measurements and the limits within which 95 % of differences lie."""

    bias: float
    bias_interval: tuple[float, float]
    lower_limit: float
    upper_limit: float
    limits_reach: float
    """Half the width of the limits' own confidence interval."""
    cases: int


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Whether new is worse than old by less than a margin that was fixed before."""

    difference: float
    """New minus old; higher is better."""
    low: float
    """One-sided lower bound of the difference."""
    margin: float
    p_value: float
    is_shown: bool
    cases: int


def intraclass_correlation(
    ratings: ArrayLike, *, kind: Literal["agreement", "consistency"] = "agreement", confidence: float = 0.95
) -> IntraclassCorrelation:
    """ICC of one reading, two-way: ICC(2,1) for absolute agreement of readers at random, ICC(3,1) for consistency.

    Parameters
    ----------
    ratings : (cases, readers) float
        Every reader has read every case. For the agreement of a reader with itself, the columns are its readings.
    kind : {"agreement", "consistency"}
    confidence : float

    Returns
    -------
    IntraclassCorrelation

    Raises
    ------
    ConfigError
        If there are not two cases and two readers, a rating is missing, or all ratings are equal.

    Notes
    -----
    After Shrout and Fleiss 1979 (doi:10.1037/0033-2909.86.2.420), with the intervals of McGraw and Wong 1996
    (doi:10.1037/1082-989X.1.1.30).
    """
    from scipy.stats import f as f_distribution

    values = _table(ratings)
    cases, readers = values.shape
    rows = readers * values.mean(axis=1).var(ddof=1)
    columns = cases * values.mean(axis=0).var(ddof=1)
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    error = float((rest**2).sum() / ((cases - 1) * (readers - 1)))
    if rows == 0 and columns == 0 and error == 0:
        raise ConfigError("Expected ratings that differ: the correlation of equal ones is not defined.")
    tail = (1 + confidence) / 2
    if kind == "consistency":
        freedom = (cases - 1) * (readers - 1)
        ratio = rows / error if error else np.inf
        low = ratio / f_distribution.ppf(tail, cases - 1, freedom)
        high = ratio * f_distribution.ppf(tail, freedom, cases - 1)
        value, low, high = (1.0 if np.isinf(one) else (one - 1) / (one + readers - 1) for one in (ratio, low, high))
        return IntraclassCorrelation(float(value), float(low), float(high), cases, readers)
    value = (rows - error) / (rows + (readers - 1) * error + readers * (columns - error) / cases)
    if value >= 1:
        return IntraclassCorrelation(1.0, 1.0, 1.0, cases, readers)
    weight = readers * value / (cases * (1 - value))
    other = 1 + readers * value * (cases - 1) / (cases * (1 - value))
    freedom = (weight * columns + other * error) ** 2 / (
        (weight * columns) ** 2 / (readers - 1) + (other * error) ** 2 / ((cases - 1) * (readers - 1))
    )
    upper = f_distribution.ppf(tail, cases - 1, freedom)
    lower = f_distribution.ppf(tail, freedom, cases - 1)
    common = readers * columns + (readers * cases - readers - cases) * error
    low = cases * (rows - upper * error) / (upper * common + cases * rows)
    high = cases * (lower * rows - error) / (common + cases * lower * rows)
    return IntraclassCorrelation(float(value), float(low), float(high), cases, readers)


def fleiss_kappa(categories: ArrayLike) -> float:
    """Fleiss' κ of categories by several readers.

    Parameters
    ----------
    categories : (cases, readers)
        Category that each reader gave to each case; strings or whole numbers.

    Raises
    ------
    ConfigError
        If there are not two cases and two readers, or all gave one and the same category.
    MissingDependencyError
        Without the extra ``readers``.
    """
    require_extra("readers", "Fleiss' κ")
    from statsmodels.stats.inter_rater import aggregate_raters

    given = np.asarray(categories)
    if given.ndim != 2 or min(given.shape) < 2:
        raise ConfigError(f"Expected categories of two or more cases by two or more readers, got shape {given.shape}.")
    if len(np.unique(given)) < 2:
        raise ConfigError("Expected more than one category: the agreement beyond chance is not defined for one.")
    counts, _ = aggregate_raters(given)
    return fleiss_kappa_of_counts(counts)


def fleiss_kappa_of_counts(counts: ArrayLike) -> float:
    """Fleiss' κ of how many readers gave each category to each case.

    Parameters
    ----------
    counts : (cases, categories) int
        Every row adds up to the number of readers.

    Raises
    ------
    MissingDependencyError
        Without the extra ``readers``.
    """
    require_extra("readers", "Fleiss' κ")
    from statsmodels.stats.inter_rater import fleiss_kappa as of_counts

    return float(of_counts(np.asarray(counts), method="fleiss"))


def bland_altman(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> BlandAltman:
    """Bias and 95 % limits of agreement of two measurements of the same cases (first minus second).

    Parameters
    ----------
    first, second : (cases,) float
    confidence : float
        Of the intervals of the bias and of the limits.

    Raises
    ------
    ConfigError
        If they are not of the same three or more cases.

    Notes
    -----
    After Bland and Altman 1999 (doi:10.1177/096228029900800204): the variance of a limit is
    (1/n + 1.96²/(2(n − 1))) times that of the differences.
    """
    from scipy.stats import t

    differences = _differences(first, second)
    cases, spread = len(differences), float(differences.std(ddof=1))
    bias, factor = float(differences.mean()), 1.959963984540054
    tail = float(t.ppf((1 + confidence) / 2, cases - 1))
    reach = tail * spread / np.sqrt(cases)
    limits_reach = tail * spread * np.sqrt(1 / cases + factor**2 / (2 * (cases - 1)))
    limits = bias - factor * spread, bias + factor * spread
    return BlandAltman(bias, (float(bias - reach), float(bias + reach)), *limits, float(limits_reach), cases)


def non_inferiority(new: ArrayLike, old: ArrayLike, *, margin: float, alpha: float = 0.025) -> NonInferiority:
    """One-sided paired t test of the hypothesis that new is worse than old by `margin` or more; higher is better.

    Parameters
    ----------
    new, old : (cases,) float
        One value of each independent case (patient), such as the mean Dice of its structures.
    margin : float
        Fixed before the study, greater than 0.
    alpha : float
        Level of the test.

    Raises
    ------
    ConfigError
        If the margin is not positive, or they are not of the same three or more cases.
    """
    from scipy.stats import t

    if not margin > 0:
        raise ConfigError(f"Expected a margin greater than 0, got {margin:g}.")
    differences = _differences(new, old)
    cases, mean = len(differences), float(differences.mean())
    error = float(differences.std(ddof=1) / np.sqrt(cases))
    low = mean - float(t.ppf(1 - alpha, cases - 1)) * error
    certain = 0.0 if mean > -margin else 1.0  # every case says the same
    p_value = float(t.sf((mean + margin) / error, cases - 1)) if error > 0 else certain
    return NonInferiority(mean, low, margin, p_value, low > -margin, cases)


def cases_needed(
    *, margin: float, spread: float, difference: float = 0.0, power: float = 0.8, alpha: float = 0.025
) -> int:
    """Cases that :func:`non_inferiority` needs for a power, before the study.

    Parameters
    ----------
    margin : float
        Greater than 0.
    spread : float
        Standard deviation of the paired differences, from a pilot.
    difference : float
        True difference (new minus old) for which the power holds; greater than −margin.
    power, alpha : float

    Raises
    ------
    ConfigError
        If no number of cases is enough, or a value is out of its range.
    MissingDependencyError
        Without the extra ``readers``.
    """
    require_extra("readers", "The number of cases for a power")
    from statsmodels.stats.power import TTestPower

    if not (margin > 0 and spread > 0 and 0 < alpha < power < 1):
        raise ConfigError(
            f"Expected margin and spread greater than 0 and 0 < alpha < power < 1, got margin {margin:g}, spread "
            f"{spread:g}, alpha {alpha:g}, power {power:g}."
        )
    if difference <= -margin:
        raise ConfigError(f"A true difference of {difference:g} is not above −{margin:g}: no number of cases shows it.")
    found = TTestPower().solve_power(
        effect_size=(difference + margin) / spread, alpha=alpha, power=power, alternative="larger"
    )
    return max(int(np.ceil(float(np.squeeze(found)))), 3)


def _table(ratings: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(ratings, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise ConfigError(
            "Expected finite ratings of two or more cases (rows) by two or more readers (columns), got shape "
            f"{values.shape} with {np.size(values) - np.isfinite(values).sum()} missing."
        )
    return values


def _differences(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1 or len(one) < 3 or not np.isfinite([one, other]).all():
        raise ConfigError(
            f"Expected finite values of the same three or more cases, got shapes {one.shape} and {other.shape}."
        )
    return one - other
