"""Versions of everything that can change a result, for provenance."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]

_DISTRIBUTIONS = (
    "medsam-planner",
    "torch",
    "numpy",
    "scipy",
    "highdicom",
    "pydicom",
    "transformers",
    "captum",
    "open3d-cpu",
)


def versions() -> dict[str, str]:
    """Installed version by distribution, and of Python; read from metadata, nothing heavy is imported."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
