"""Check that a machine has what every stage needs, by running it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from medsam_planner.errors import EXTRAS, MedsamPlannerError, MissingDependencyError, require_extra
from medsam_planner.provenance import versions

__all__ = ["Finding", "examine"]

_NEEDED_GB = 2.0
_EXTRA_ADVICE = "If torchvision is installed beside a CPU-only torch, remove it: pip uninstall torchvision."
_DEBIAN_LIBRARIES = "apt-get install libusb-1.0-0 libgl1 libegl1 libgomp1 libx11-6"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    what: str
    is_well: bool
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Try Python, the heavy libraries, the weights, the compact model and the disk."""
    findings = [Finding("Python", sys.version_info >= (3, 11), sys.version.split()[0], "")]
    for module, advice in (
        ("torch", "Install it first: pip install -r constraints.txt or the pinned torch in constraints.txt."),
        ("open3d", f"Open3D needs system libraries; on Debian: {_DEBIAN_LIBRARIES}."),
        ("captum", ""),
        ("monai", ""),
        ("SimpleITK", ""),
    ):
        findings.append(_try(module, partial(_import, module), advice))
    findings += [_extra(extra) for extra in EXTRAS]
    findings.append(_try("weights 'compact'", _weights, "Reinstall medsam-planner."))
    findings.append(_try("engine of 'medsam-vit-b'", _engine, ""))
    findings.append(_try("one slice with the compact model", _segment_disc, ""))
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    findings.append(Finding("free disk here", free_gb > _NEEDED_GB, f"{free_gb:.0f} GB", ""))
    findings.append(Finding("processors", True, str(os.cpu_count()), ""))
    return findings


def _try(what: str, attempt: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(what, True, attempt())
    except (ImportError, OSError, RuntimeError, MedsamPlannerError) as error:
        return Finding(what, False, str(error).splitlines()[0], advice)


def _import(module: str) -> str:
    import_module(module)
    known = versions()
    return known.get(module) or known.get(f"{module}-cpu") or "imports"


def _extra(extra: str) -> Finding:
    """An extra that is absent is no lack; one that is there and cannot be imported is."""
    what = f"extra '{extra}'"
    try:
        require_extra(extra, what)
    except MissingDependencyError:
        return Finding(what, True, f"not installed; what needs it is refused (pip install 'medsam-planner[{extra}]')")
    return _try(what, lambda: ", ".join(f"{name}: {_import(name)}" for name in EXTRAS[extra]), _EXTRA_ADVICE)


def _weights() -> str:
    from medsam_planner.engine.registry import verify

    outcome = verify("compact")
    if not outcome.is_intact:
        raise MedsamPlannerError(outcome.advice)
    return f"intact ({outcome.path})"


def _engine() -> str:
    from medsam_planner.engine.encoders import computes_bf16
    from medsam_planner.engine.exports import choose
    from medsam_planner.engine.registry import weights_entry

    chosen = choose(weights_entry("medsam-vit-b").sha256)
    bf16 = "computes" if computes_bf16() else "does not compute"
    return f"{chosen.name}: {chosen.why}; the processor {bf16} bfloat16"


def _segment_disc() -> str:
    import highdicom
    import numpy as np

    from medsam_planner.segmentation.session import Session
    from prompts import Box

    rows, columns = np.mgrid[:64, :64]
    disc = ((rows - 32) ** 2 + (columns - 32) ** 2 < 15**2).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 5, (3, 64, 64))
    volume = highdicom.Volume((np.stack([disc * 80] * 3) + 60 + noise).astype(np.float32), np.eye(4), "PATIENT")
    session = Session(volume)
    session.add(Box((1, 15, 15), (1, 49, 49)))
    started = time.perf_counter()
    found = next(iter(session.preview().values()))[1].mask()
    seconds = time.perf_counter() - started
    reference = disc > 0
    dice = 2 * float((found & reference).sum()) / float(found.sum() + reference.sum())
    if dice < 0.8:
        raise MedsamPlannerError(f"a disc was segmented with Dice {dice:.2f}, expected at least 0.80")
    return f"Dice {dice:.2f} on a disc in {seconds * 1000:.0f} ms"
