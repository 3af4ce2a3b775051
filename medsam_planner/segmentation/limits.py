"""Limits of the number of stochastic passes and of seeds; without heavy imports, for the command line."""

from __future__ import annotations

from medsam_planner.errors import PromptError

__all__ = ["LARGEST_SEED", "MOST_SAMPLES", "check_samples", "check_seed"]

LARGEST_SEED = 2**62 - 1
"""A mixture draws from four times the seed and up to 3 more, and torch takes seeds below 2**64."""

MOST_SAMPLES = 1000
"""Largest number of stochastic passes. The standard error of a share estimated from 1000 passes is at most 1.6 %, and
all masks are kept in memory together."""


def check_seed(seed: int) -> None:
    """Refuse a seed that a generator would refuse later.

    Raises
    ------
    PromptError
        If it is not from 0 to `LARGEST_SEED`.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise PromptError(f"Expected a seed from 0 to {LARGEST_SEED}, got {seed}.")


def check_samples(samples: int) -> None:
    """Refuse a number of stochastic passes that is too small for a spread or too large for the memory.

    Raises
    ------
    PromptError
        If it is neither 0 nor from 2 to `MOST_SAMPLES`.
    """
    if samples < 0 or samples == 1:
        raise PromptError(f"Expected 0 samples or at least 2, got {samples}: a spread needs two passes.")
    if samples > MOST_SAMPLES:
        raise PromptError(
            f"Expected at most {MOST_SAMPLES} samples, got {samples}: more would fill the memory and add nothing."
        )
