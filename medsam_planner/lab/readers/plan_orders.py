"""Whether surgeons order the paths of a plan as the planner does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from medsam_planner.errors import ConfigError
from medsam_planner.lab.readers.crossed_bootstrap import CrossedMean, crossed_mean
from medsam_planner.lab.readers.table_file import read_table

__all__ = ["OrderAgreement", "Ranking", "order_agreement", "read_rankings"]

_COLUMNS = ("case", "surgeon", "alternative", "rank")


@dataclass(frozen=True, slots=True)
class Ranking:
    """One surgeon's order of the paths of one case."""

    case: str
    surgeon: str
    ranks: tuple[float, ...]
    """Of the planner's first, second, … path; 1 is the best, equal ranks are ties."""


@dataclass(frozen=True, slots=True)
class OrderAgreement:
    """Rank correlations, means over cases (rows of the bootstrap) and surgeons (columns)."""

    kendall: CrossedMean
    """τ-b of surgeon and planner."""
    spearman: CrossedMean
    same_first: CrossedMean
    """Share in which the planner's first path is among the surgeon's best."""
    between_surgeons: CrossedMean | None
    """τ-b of pairs of surgeons; None with one surgeon. What can be expected of a planner at most."""
    undefined: int
    """Orders in which all paths are tied; they have no correlation and are left out."""


def read_rankings(path: Path) -> list[Ranking]:
    """Read a CSV with the columns ``case, surgeon, alternative, rank``; `alternative` is the number in ``plan.json``.

    Raises
    ------
    ConfigError
        If a column or value is missing, a surgeon has ranked a path of a case twice, or not all of them, or ranked
        other paths than another surgeon.
    """
    found: dict[tuple[str, str], dict[int, float]] = {}
    for number, row in read_table(path, _COLUMNS):
        try:
            alternative, rank = int(row["alternative"]), float(row["rank"])
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: expected numbers as alternative and rank ({error}).") from error
        ranks = found.setdefault((row["case"], row["surgeon"]), {})
        if alternative in ranks:
            raise ConfigError(
                f"{path}, line {number}: {row['surgeon']} has ranked path {alternative} of {row['case']} twice. Keep "
                "one line."
            )
        if alternative < 1 or not 1 <= rank < np.inf:
            raise ConfigError(f"{path}, line {number}: paths and ranks count from 1, got {alternative} and {rank:g}.")
        ranks[alternative] = rank
    paths: dict[str, int] = {}
    for (case, surgeon), ranks in found.items():
        count = paths.setdefault(case, len(ranks))
        if sorted(ranks) != list(range(1, len(ranks) + 1)) or len(ranks) != count or count < 2:
            raise ConfigError(
                f"{path}: {surgeon} has ranked the paths {sorted(ranks)} of {case}. Expected the same two or more, 1 "
                f"to {max(count, *ranks)}, of every surgeon: complete the ranks, or leave the case out."
            )
    return [
        Ranking(case, surgeon, tuple(ranks[one] for one in sorted(ranks))) for (case, surgeon), ranks in found.items()
    ]


def order_agreement(rankings: Sequence[Ranking], *, seed: int = 0) -> OrderAgreement:
    """Agreement of the surgeons with the planner, whose order is 1, 2, 3, …

    Parameters
    ----------
    rankings : sequence of Ranking
    seed : int
        Of the bootstrap over cases and surgeons.

    Raises
    ------
    ConfigError
        If no ranking has a correlation.
    """
    from scipy.stats import kendalltau, spearmanr

    cases, surgeons = (sorted({getattr(one, name) for one in rankings}) for name in ("case", "surgeon"))
    shape = (len(cases), len(surgeons))
    kendall, spearman, first = (np.full(shape, np.nan) for _ in range(3))
    undefined = 0
    for one in rankings:
        place = cases.index(one.case), surgeons.index(one.surgeon)
        first[place] = one.ranks[0] == min(one.ranks)
        if len(set(one.ranks)) < 2:
            undefined += 1
            continue
        planner = np.arange(len(one.ranks))
        kendall[place] = float(kendalltau(planner, one.ranks).statistic)
        spearman[place] = float(spearmanr(planner, one.ranks).statistic)
    if not np.isfinite(kendall).any():
        raise ConfigError("Expected ranks that differ: where all paths are tied there is no order to compare.")
    by_key = {(one.case, one.surgeon): one.ranks for one in rankings if len(set(one.ranks)) > 1}
    pairs = list(combinations(surgeons, 2))
    between = np.full((len(cases), max(len(pairs), 1)), np.nan)
    for row, case in enumerate(cases):
        for column, (surgeon, other) in enumerate(pairs):
            if {(case, surgeon), (case, other)} <= set(by_key):
                between[row, column] = float(kendalltau(by_key[case, surgeon], by_key[case, other]).statistic)
    return OrderAgreement(
        crossed_mean(kendall, seed=seed),
        crossed_mean(spearman, seed=seed),
        crossed_mean(first, seed=seed),
        crossed_mean(between, seed=seed) if np.isfinite(between).any() else None,
        undefined,
    )
