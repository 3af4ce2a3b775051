"""Compare stop rules of propagation: 3D Dice after one loose box, with propagation cut where each rule would stop it.

Propagation runs to the end of the volume, and each rule is applied to the recorded trace, so that all rules are
compared on the same masks. Choose a limit on cases the weights were trained on, and report it on others.
Run: ``python -m benchmarks.stop_rules CASES_DIR PATTERN ...``
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import medsam_planner as mp
from medsam_planner.geometry import acquisition_axis, spacing_mm
from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.lab.evaluation.references import read_structures
from medsam_planner.propagation.front import StopRules
from medsam_planner.provenance import SliceRole
from prompts.annotator import first_box

FREE = StopRules(
    min_overlap=0.0,
    max_growth_ratio=math.inf,
    max_growth_from_anchor=math.inf,
    max_shrinkage_mm=math.inf,
    max_centroid_drift_mm=math.inf,
    min_quality=0.0,
    max_entropy_bits=math.inf,
    max_iou_loss_mm=math.inf,
)
"""Only an empty mask stops propagation."""


@dataclass(frozen=True, slots=True)
class Step:
    """One propagated slice: the predicted IoU, and counts of pixels of mask and reference."""

    quality: float
    both: int
    """Pixels of both."""
    predicted: int
    true: int
    """Pixels of the reference."""


@dataclass(frozen=True, slots=True)
class Propagated:
    """The prompted slice and both propagation fronts from it."""

    group: str
    step_mm: float
    anchor: Step
    fronts: tuple[tuple[Step, ...], ...]
    true: int
    """Voxels of the structure."""

    def dice(self, rule: Callable[[Propagated, Sequence[Step]], int]) -> float:
        """3D Dice with as many slices of each front as `rule` keeps."""
        kept = [self.anchor, *(step for front in self.fronts for step in front[: rule(self, front)])]
        return 2 * sum(step.both for step in kept) / (sum(step.predicted for step in kept) + self.true)


def propagate_without_limit(root: Path, patterns: tuple[str, ...], model: str) -> list[Propagated]:
    """Propagate one loose box of every structure of the cases to the ends of the volume."""
    found = []
    for case in find_cases(root, patterns):
        for structure in read_structures(case):
            volume, reference = structure.volume, structure.reference
            axis = acquisition_axis(volume.affine)
            session = mp.Session(volume, model, rules=FREE)
            session.add(first_box(reference, volume.affine, axis, seed=0))
            result = session.segment(samples=0)
            mask, true = np.moveaxis(result.mask.array, axis, 0), np.moveaxis(reference, axis, 0)
            steps = {
                record.index: Step(
                    record.quality,
                    int((mask[record.index] & true[record.index]).sum()),
                    int(mask[record.index].sum()),
                    int(true[record.index].sum()),
                )
                for record in result.trace.records
            }
            (start,) = (record.index for record in result.trace.records if record.role is SliceRole.ANCHOR)
            up = tuple(steps[index] for index in sorted(steps) if index > start)
            down = tuple(steps[index] for index in sorted(steps, reverse=True) if index < start)
            step_mm = float(spacing_mm(volume.affine)[axis])
            found.append(Propagated(case.group, step_mm, steps[start], (up, down), int(reference.sum())))
    return found


def accumulated_iou_loss(limit_mm: float) -> Callable[[Propagated, Sequence[Step]], int]:
    """The rule of ``StopRules.max_iou_loss_mm``."""

    def kept(propagated: Propagated, front: Sequence[Step]) -> int:
        best, total = propagated.anchor.quality, 0.0
        for count, step in enumerate(front):
            best = max(best, step.quality)
            total += propagated.step_mm * math.log(best / max(step.quality, 1e-3))
            if total > limit_mm:
                return count
        return len(front)

    return kept


def quality(limit: float) -> Callable[[Propagated, Sequence[Step]], int]:
    """The rule of ``StopRules.min_quality``."""
    return lambda _, front: next((count for count, step in enumerate(front) if step.quality < limit), len(front))


def oracle_end(_: Propagated, front: Sequence[Step]) -> int:
    """Oracle: stop at the end of the structure."""
    return max((count for count, step in enumerate(front, start=1) if step.true), default=0)


def main() -> None:
    """Print the mean 3D Dice of each rule by group of cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("only", nargs="+")
    parser.add_argument("--model", default="compact")
    arguments = parser.parse_args()
    propagated = propagate_without_limit(arguments.cases, tuple(arguments.only), arguments.model)
    groups = sorted({one.group for one in propagated})
    rules = {"to the volume's end": lambda _, front: len(front), "oracle end slices": oracle_end}
    rules |= {f"min_quality {limit}": quality(limit) for limit in (0.4, 0.5, 0.6, 0.7)}
    rules |= {f"max_iou_loss_mm {limit}": accumulated_iou_loss(limit) for limit in (0.3, 0.5, 0.6, 0.8, 1.2, 2.0)}
    print(f"{'3D Dice after one loose box':28}" + "".join(f"{group[:26]:>28}" for group in groups) + f"{'mean':>8}")
    for name, rule in rules.items():
        means = [float(np.mean([one.dice(rule) for one in propagated if one.group == group])) for group in groups]
        print(f"{name:28}" + "".join(f"{value:28.3f}" for value in means) + f"{np.mean(means):8.3f}")
    default = StopRules()
    print(f"(default: max_iou_loss_mm {default.max_iou_loss_mm}, min_quality {default.min_quality})")


if __name__ == "__main__":
    main()
