"""Which study to annotate next: the one that the model is least sure of and that is unlike those that are done.

Each candidate gets two ranks: by the mean entropy in the band around its surface, and by the distance of its features
to the nearest study that is done or chosen (k-centre; Sener and Savarese 2018, arXiv 1708.00489). Their sum decides.
Without a mask to be unsure of, diversity alone does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Order", "Ranked", "ranked"]


class Order(StrEnum):
    """How studies are ordered."""

    WORTH = "worth"
    """Uncertainty and diversity."""
    DIVERSITY = "diversity"
    RANDOM = "random"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Ranked:
    """A study that is to be annotated."""

    name: str
    uncertainty_bits: float | None
    """Mean entropy in the surface band; None where there is no mask."""
    distance: float | None
    """Of its features to the nearest study that is done or stands before it; None for the first of all."""


def ranked(
    candidates: Sequence[str],
    done: Sequence[str],
    order: Order,
    *,
    features: Mapping[str, NDArray[np.float64]] | None = None,
    uncertainty: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[Ranked]:
    """Order studies.

    Parameters
    ----------
    candidates, done : sequence of str
        Names of studies that are to be annotated, and of those that are.
    order : Order
    features : mapping, optional
        (F,) of every study, for :attr:`Order.WORTH` and :attr:`Order.DIVERSITY`.
    uncertainty : mapping, optional
        In bits, of those candidates that have a mask.
    seed : int
        Of the random order.

    Returns
    -------
    list of Ranked
        The one to annotate first comes first.
    """
    known = uncertainty or {}
    names = sorted(candidates)
    if order is Order.NAME:
        return [Ranked(name, known.get(name), None) for name in names]
    if order is Order.RANDOM:
        shuffled = np.random.default_rng(seed).permutation(len(names))
        return [Ranked(names[int(number)], known.get(names[int(number)]), None) for number in shuffled]
    features = features or {}
    centres = [features[name] for name in done if name in features]
    nearest = {name: min((_apart(features[name], one) for one in centres), default=np.inf) for name in names}
    found: list[Ranked] = []
    while nearest:
        names = list(nearest)
        worth = _ranks(np.array(list(nearest.values())))
        is_first = not centres and not found
        if is_first:
            middle = np.mean([features[name] for name in names], axis=0)
            worth = _ranks(-np.array([_apart(features[name], middle) for name in names]))
        if order is Order.WORTH and known:
            typical = float(np.median(list(known.values())))
            worth = worth + _ranks(np.array([known.get(name, typical) for name in names]))
        name = names[int(np.argmax(worth))]
        distance = nearest.pop(name)
        found.append(Ranked(name, known.get(name), None if is_first else distance))
        for other, before in nearest.items():
            nearest[other] = min(before, _apart(features[other], features[name]))
    return found


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(one - other))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks in [0, 1], 1 for the largest; equal values share one."""
    smaller = (values[:, None] > values[None]).sum(axis=1)
    return np.asarray(smaller / max(len(values) - 1, 1), dtype=np.float64)
