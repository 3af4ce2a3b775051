"""Training of the compact model: data engine and loop.

Evaluation and model card follow in :mod:`medsam_planner.lab.model_card`; their settings are in the same file.
"""

from __future__ import annotations

from pathlib import Path

from medsam_planner.progress import Progress

__all__ = ["train_from_file"]


def train_from_file(path: Path, *, resume: bool = False, progress: Progress | None = None) -> Path:
    """Train as a TOML file says; see :func:`medsam_planner.lab.training.loop.train_from_file`."""
    from medsam_planner.lab.training import loop

    return loop.train_from_file(path, resume=resume, progress=progress)
