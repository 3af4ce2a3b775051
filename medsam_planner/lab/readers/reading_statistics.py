"""What the readings of a study say of its modes: acceptance, ratings, time, agreement, areas under the ROC curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError
from medsam_planner.lab.readers.acceptability import acceptable_odds, ordinal_odds
from medsam_planner.lab.readers.agreement import fleiss_kappa, intraclass_correlation
from medsam_planner.lab.readers.crossed_bootstrap import crossed_mean
from medsam_planner.lab.readers.multi_reader import (
    Covariance,
    Merit,
    MultiReaderComparison,
    dorfman_berbaum_metz,
    jackknife,
    jackknife_covariance,
    obuchowski_rockette,
)
from medsam_planner.lab.readers.reasons import tried
from medsam_planner.reading.records import Reading
from medsam_planner.reading.study_file import ReadingTable

__all__ = ["CompleteReadings", "complete_readings", "reading_statistics"]


@dataclass(frozen=True, slots=True)
class CompleteReadings:
    """Cases that each reader has read in each mode, as arrays over modes, readers and cases."""

    modes: tuple[str, ...]
    readers: tuple[str, ...]
    cases: tuple[str, ...]
    positive: NDArray[np.bool_] | None
    """(K,) truth; None unless it is known of all."""
    rating: NDArray[np.float64]
    """(I, J, K)."""
    accepted: NDArray[np.float64]
    score: NDArray[np.float64]
    seconds: NDArray[np.float64]
    left_out: int
    """Readings of other cases and readers."""


def complete_readings(table: ReadingTable, readings: Sequence[Reading]) -> CompleteReadings:
    """The largest part of the readings that is crossed: readers who have finished something, cases that all have read.

    Parameters
    ----------
    table : ReadingTable
    readings : sequence of Reading

    Raises
    ------
    ConfigError
        If no case was read by all in all modes.
    """
    by_key = {(one.slot.mode, one.reader, one.slot.case.name): one for one in readings}
    idle = [reader for reader in table.readers if not any(key[1] == reader for key in by_key)]
    readers = tuple(reader for reader in table.readers if reader not in idle)
    cases = [
        case
        for case in table.cases
        if readers and all((mode, reader, case.name) in by_key for mode in table.modes for reader in readers)
    ]
    if not cases:
        raise ConfigError(
            f"No case was read by all {len(readers)} readers in all modes yet"
            f"{'; no reading at all by ' + ', '.join(idle) if idle else ''}. Wait for them, or compare from the CSV."
        )

    def over(value: Callable[[Reading], float]) -> NDArray[np.float64]:
        return np.array(
            [
                [[value(by_key[mode, reader, case.name]) for case in cases] for reader in readers]
                for mode in table.modes
            ],
            dtype=np.float64,
        )

    truths = [case.positive for case in cases]
    return CompleteReadings(
        modes=tuple(table.modes),
        readers=readers,
        cases=tuple(case.name for case in cases),
        positive=None if None in truths else np.array(truths, dtype=bool),
        rating=over(lambda one: one.answer.rating),
        accepted=over(lambda one: one.answer.is_accepted),
        score=over(lambda one: one.answer.score),
        seconds=over(lambda one: one.seconds),
        left_out=len(readings) - len(table.modes) * len(readers) * len(cases),
    )


def reading_statistics(table: ReadingTable, found: CompleteReadings, *, seed: int = 0) -> dict[str, Any]:
    """All of it as plain values; what cannot be computed is ``{"why": …}``.

    Parameters
    ----------
    table : ReadingTable
    found : CompleteReadings
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``merits``: by name of the figure of merit, means, differences and tests by Obuchowski–Rockette and by
        Dorfman–Berbaum–Metz. ``odds``: of ratings and of acceptable ones. ``agreement`` and ``seconds`` by mode.
    """
    acceptable = (found.rating >= table.acceptable).astype(np.float64)
    merits: dict[str, Any] = {
        "share acceptable": _compared(found, acceptable, _mean),
        "share accepted": _compared(found, found.accepted, _mean),
        "mean rating": _compared(found, found.rating, _mean),
    }
    if found.positive is not None:
        merits["area under the ROC curve"] = _area_compared(found, found.positive)
    modes, readers, cases = zip(*product(found.modes, found.readers, found.cases), strict=True)
    odds = {
        "ratings (marginal)": tried(
            lambda: [asdict(one) for one in ordinal_odds(found.rating.ravel(), modes, readers, cases)]
        ),
        "acceptable (mixed)": tried(
            lambda: [asdict(one) for one in acceptable_odds(acceptable.ravel() > 0, modes, readers, cases)]
        ),
    }
    agreement = {
        mode: _agreement(found.accepted[place].T, found.rating[place].T) for place, mode in enumerate(found.modes)
    }
    seconds: dict[str, Any] = {
        mode: asdict(crossed_mean(found.seconds[place].T, seed=seed)) for place, mode in enumerate(found.modes)
    }
    seconds |= {
        f"{mode} − {found.modes[0]}": asdict(crossed_mean((found.seconds[place] - found.seconds[0]).T, seed=seed))
        for place, mode in enumerate(found.modes)
        if place
    }
    return {"merits": merits, "odds": odds, "agreement": agreement, "seconds": seconds}


def _agreement(accepted: NDArray[np.float64], rating: NDArray[np.float64]) -> dict[str, Any]:
    """Of readers (columns) about cases (rows)."""
    return {
        "kappa_accepted": tried(lambda: fleiss_kappa(accepted.astype(int))),
        "icc_rating": tried(lambda: asdict(intraclass_correlation(rating))),
    }


def _mean(scores: NDArray[np.float64], cases: NDArray[np.intp]) -> float:
    return float(scores[cases].mean())


def _area_compared(found: CompleteReadings, positive: NDArray[np.bool_]) -> dict[str, Any]:
    if min(positive.sum(), (~positive).sum()) < 2:
        return {"why": "Expected two or more positive and two or more negative cases."}

    def area(scores: NDArray[np.float64], cases: NDArray[np.intp]) -> float:
        """Wilcoxon's estimate."""
        is_positive = positive[cases]
        above = scores[cases][is_positive][:, None] - scores[cases][~is_positive]
        return float(((above > 0) + 0.5 * (above == 0)).mean())

    return _compared(found, found.score, area)


def _compared(found: CompleteReadings, scores: NDArray[np.float64], merit: Merit) -> dict[str, Any]:
    try:
        merits, without = jackknife(scores, merit)
    except ConfigError as error:
        return {"why": str(error)}
    covariance = Covariance.of_matrix(jackknife_covariance(without))
    rockette = obuchowski_rockette(merits, covariance)
    return {
        "by_mode": {
            mode: {
                "estimate": mean.estimate,
                "low": mean.low,
                "high": mean.high,
                "by_reader": merits[place].tolist(),
                "readers": len(found.readers),
                "cases": len(found.cases),
            }
            for place, (mode, mean) in enumerate(zip(found.modes, rockette.means, strict=True))
        },
        "obuchowski_rockette": _told(found.modes, rockette),
        "dorfman_berbaum_metz": _told(found.modes, dorfman_berbaum_metz(merits, without)),
    }


def _told(modes: Sequence[str], found: MultiReaderComparison) -> dict[str, Any]:
    """As JSON, where infinite degrees of freedom are None."""
    return {
        "p_value": found.p_value,
        "f_statistic": found.f_statistic if np.isfinite(found.f_statistic) else None,
        "degrees_of_freedom": [one if np.isfinite(one) else None for one in found.degrees_of_freedom],
        "differences": {
            f"{modes[other]} − {modes[one]}": {"estimate": -each.estimate, "low": -each.high, "high": -each.low}
            for (one, other), each in found.differences.items()
        },
    }
