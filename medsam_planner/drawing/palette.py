"""Colours by which structures are told apart on the page, and in DICOM objects."""

from __future__ import annotations

__all__ = ["COLOURS", "colour_of"]

# Okabe and Ito's colour-blind safe set, https://jfly.uni-koeln.de/color/, without its black and its dark blue, which
# vanish on grey slices.
COLOURS = ("#f0e442", "#56b4e9", "#ff8c1a", "#2fd39b", "#f07cc0", "#ff5d5d")


def colour_of(number: int) -> str:
    """CSS colour of the structure that came as the given one, from 0."""
    return COLOURS[number % len(COLOURS)]
