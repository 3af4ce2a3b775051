"""Calibrated margins on real patients: coverage, cost, and how often trajectories that are certified safe hit.

Run: ``python -m benchmarks.margins CASES --out DIR`` with a folder of cases with reference masks. Each patient in turn
is left out and gets the margin calibrated on the others. Patients the weights were trained on serve only to choose the
scale u, and for the population median volumes; without such patients both are left out. Segmentations are kept in DIR
under the weights' hash, so that a stopped call can be continued.

"Stretch" is the volume of the widened structure divided by that of the reference. "Covered" is the share of patients
whose whole reference lies in the widened structure. A margin that is valid only because it is huge has a large stretch.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.calibration.record import MedianVolume, ScaleEntry
from medsam_planner.cli.console import watched
from medsam_planner.engine.registry import load_model
from medsam_planner.errors import TooFewPatientsError
from medsam_planner.geometry import lps_from_index
from medsam_planner.lab.calibration.calibration_run import reliability_of, split_by_training, u_of
from medsam_planner.lab.calibration.median_volumes import median_volumes
from medsam_planner.lab.calibration.segment_cases import SegmentationSettings, SegmentedObject, segment_cases
from medsam_planner.lab.evaluation.cases import Case, find_cases
from medsam_planner.lab.evaluation.statistics import mean_over_patients, ratio_over_patients
from medsam_planner.planning import Avoid, Tool, clearance
from medsam_planner.planning.hit import clopper_pearson
from medsam_planner.planning.margins import margin_from_scale
from xai.conformal import conformal_quantile, nonconformity_score, patients_needed, stretch
from xai.margin_scale import DEFAULT_SCALE, SCALES, MarginScale
from xai.surface import surface_voxels

GROUPS = {
    "MR hippocampus": ("mr_hippocampus_*",),
    "CT and MR sarcoma": ("ct_sarcoma_*", "mr_sarcoma_*"),
}
CANDIDATES = tuple(
    MarginScale(f"{floor:g} + {spread:g} spread + {entropy:g} entropy + {size:g} size", floor, spread, entropy, size)
    for floor in (1.0, 0.25)
    for spread in (0.0, 1.0, 3.0)
    for entropy in (0.0, 2.0)
    for size in (0.0, 0.5, 1.0, 2.0)
    if spread or entropy or size
)
"""Scales among which one is chosen on other patients, in addition to the named ones."""
NEEDLE = Tool(radius_mm=1.0, entry_error_mm=0.0, target_error_mm=0.0)
TRAJECTORIES, SHELL_MM, LENGTH_MM = 400, 20.0, 60.0
"""Candidate needles per structure; targets are at most SHELL_MM from it, entries LENGTH_MM from the target."""
PLAN_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Leave-one-out results by patient: each with the margin of the others."""

    quantile: dict[str, float]
    covered: dict[str, bool]
    stretch: dict[str, float]
    """Mean over the patient's structures."""
    width_mm: dict[str, float]
    """Mean margin over the surfaces of the patient's structures."""


def by_patient(objects: Iterable[SegmentedObject]) -> dict[str, list[SegmentedObject]]:
    """Group the structures by patient."""
    patients: dict[str, list[SegmentedObject]] = {}
    for segmented in objects:
        patients.setdefault(segmented.subject, []).append(segmented)
    return patients


def scores_of(patients: dict[str, list[SegmentedObject]], scale: ScaleEntry) -> dict[str, float]:
    """Nonconformity score of each patient: the maximum over the structures."""
    return {
        name: max(
            nonconformity_score(part.reference, part.predicted, u_of(part, scale), part.spacing_mm) for part in parts
        )
        for name, parts in patients.items()
    }


def cost_of(parts: list[SegmentedObject], scale: ScaleEntry, q: float) -> tuple[float, float]:
    """Mean stretch and mean margin in mm over a patient's structures, at the quantile `q`."""
    sizes, widths = [], []
    for part in parts:
        u = u_of(part, scale)
        sizes.append(stretch(part.reference, part.predicted, u, q, part.spacing_mm))
        surface = surface_voxels(part.predicted)
        widths.append(q * float(u[surface].mean()) if surface.any() else 0.0)
    return float(np.mean(sizes)), float(np.mean(widths))


def leave_one_out(patients: dict[str, list[SegmentedObject]], scale: ScaleEntry, alpha: float) -> LeftOut:
    """For each patient, calibrate on all others."""
    scores = scores_of(patients, scale)
    quantile = {
        name: conformal_quantile([score for other, score in scores.items() if other != name], alpha)
        for name in patients
    }
    costs = {name: cost_of(parts, scale, quantile[name]) for name, parts in patients.items()}
    return LeftOut(
        quantile,
        {name: scores[name] <= quantile[name] for name in patients},
        {name: cost[0] for name, cost in costs.items()},
        {name: cost[1] for name, cost in costs.items()},
    )


def choose_scale(
    patients: dict[str, list[SegmentedObject]], medians: dict[str, MedianVolume], alpha: float
) -> ScaleEntry:
    """The candidate with the smallest mean stretch at the quantile of these patients."""

    def mean_stretch(scale: ScaleEntry) -> float:
        q = conformal_quantile(list(scores_of(patients, scale).values()), alpha)
        return float(np.mean([cost_of(parts, scale, q)[0] for parts in patients.values()]))

    return min((ScaleEntry.of(scale, medians) for scale in (*SCALES.values(), *CANDIDATES)), key=mean_stretch)


def print_coverage(name: str, found: LeftOut, uniform: LeftOut) -> None:
    """Print one row of the table."""
    n, hits = len(found.covered), sum(found.covered.values())
    low, high = clopper_pearson(hits, n)
    finite = [name for name, size in found.stretch.items() if math.isfinite(size)]
    ours, ones = ([one.stretch[key] for key in finite] for one in (found, uniform))
    size, ratio = mean_over_patients(ours, finite), ratio_over_patients(ours, ones, finite)
    saved = f"{100 * (ratio.mean - 1):+6.1f} %"
    if ratio.low is not None and ratio.high is not None:
        saved += f" ({100 * (ratio.low - 1):+.0f} to {100 * (ratio.high - 1):+.0f})"
    bounds = "" if size.low is None else f"({size.low:.1f} to {size.high:.1f})"
    widths = [found.width_mm[key] for key in finite]
    print(
        f"  {name:46} {hits}/{n} = {hits / n:.3f} ({low:.2f} to {high:.2f})   {size.mean:6.2f} {bounds:16} "
        f"{np.median(ours):6.2f}  {np.mean(widths):6.1f}   {saved}"
    )


def study_coverage(
    patients: dict[str, list[SegmentedObject]],
    medians: dict[str, MedianVolume],
    chosen: ScaleEntry | None,
    alpha: float,
) -> None:
    """Print coverage and stretch of each scale, in leave-one-patient-out calibration."""
    print(f"  leave one patient out, nominal {100 * (1 - alpha):.0f} %")
    print(
        f"  {'u':46} {'patients covered (95 % interval)':34} {'stretch, mean':23} {'median':>7}"
        f" {'width, mm':>9}   against u = 1 (95 %, same calibrations)"
    )
    scales = {name: ScaleEntry.of(scale, medians) for name, scale in SCALES.items()}
    uniform = leave_one_out(patients, scales["uniform"], alpha)
    for scale in scales.values():
        found = uniform if scale.name == "uniform" else leave_one_out(patients, scale, alpha)
        print_coverage(scale.name, found, uniform)
    if chosen is not None:
        print_coverage(f"chosen: {chosen.name}", leave_one_out(patients, chosen, alpha), uniform)
    own = scores_of(patients, scales["uniform"])
    oracle = {name: cost_of(parts, scales["uniform"], own[name])[0] for name, parts in patients.items()}
    known = [size for size in oracle.values() if math.isfinite(size)]
    base = np.mean([size for size in uniform.stretch.values() if math.isfinite(size)])
    print(
        f"  oracle margin (one width per patient, equal to the patient's own error): stretch {np.mean(known):.2f}, "
        f"{100 * (np.mean(known) / base - 1):+.1f} % against u = 1"
    )


def candidate_trajectories(part: SegmentedObject, affine: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(N, 2, 3) LPS mm: needles from all directions that end close to the predicted structure."""
    generator = np.random.default_rng(seed)
    pad = np.ceil(SHELL_MM / part.spacing_mm).astype(int)
    outside = ~np.pad(part.predicted, [(int(n), int(n)) for n in pad])
    distance = ndimage.distance_transform_edt(outside, sampling=part.spacing_mm)
    near = np.argwhere((distance > 0) & (distance <= SHELL_MM)) - pad
    targets = lps_from_index(affine, near[generator.integers(len(near), size=TRAJECTORIES)])
    direction = generator.normal(size=(TRAJECTORIES, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.stack([targets + LENGTH_MM * direction, targets], axis=1)


def hits_reference(
    trajectories: NDArray[np.float64], part: SegmentedObject, affine: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(N,) whether each needle contains the centre of a reference voxel."""
    centres = lps_from_index(affine, np.argwhere(part.reference))
    start, step = trajectories[:, 0], trajectories[:, 1] - trajectories[:, 0]
    nearest = np.full(len(trajectories), np.inf)
    for piece in np.array_split(centres, max(len(centres) // 2000, 1)):
        offset = piece[None] - start[:, None]
        along = np.clip(np.einsum("npa,na->np", offset, step) / (step**2).sum(axis=1)[:, None], 0, 1)
        gap = np.linalg.norm(offset - along[..., None] * step[:, None], axis=-1).min(axis=1)
        nearest = np.minimum(nearest, gap)
    return nearest < NEEDLE.radius_mm


def study_plans(patients: dict[str, list[SegmentedObject]], scale: ScaleEntry) -> None:
    """Print the share of certified needles that hit the reference, under three margins."""
    try:
        found = leave_one_out(patients, scale, PLAN_ALPHA)
    except TooFewPatientsError as refusal:
        print(f"  needles at {100 * (1 - PLAN_ALPHA):.0f} %: refused. {refusal}")
        return
    finite = {name: parts for name, parts in patients.items() if math.isfinite(found.quantile[name])}
    fixed_mm = float(np.mean([found.width_mm[name] for name in finite]))
    rules: dict[str, Callable[[str, SegmentedObject, highdicom.Volume], float | highdicom.Volume]] = {
        f"calibrated, u {scale.name}": lambda name, part, mask: margin_from_scale(
            mask, u_of(part, scale), quantile=found.quantile[name]
        ),
        f"fixed {fixed_mm:.1f} mm, the same mean width": lambda name, part, mask: fixed_mm,
        "no margin": lambda name, part, mask: 0.0,
    }
    print(f"  needles certified safe (clearance >= 0) at {100 * (1 - PLAN_ALPHA):.0f} %, of {TRAJECTORIES} a structure")
    for title, margin_of in rules.items():
        safe, hit, names, harmed = 0, 0, [], set()
        shares = []
        for name, parts in finite.items():
            for order, part in enumerate(part for part in parts if part.predicted.any()):
                affine = np.diag([*part.spacing_mm, 1.0])
                trajectories = candidate_trajectories(part, affine, order)
                mask = highdicom.Volume(part.predicted, affine, "PATIENT")
                certified_mm = clearance(
                    trajectories, [Avoid("structure", mask, margin_of(name, part, mask))], NEEDLE
                ).certified_mm
                chosen = trajectories[certified_mm >= 0]
                touched = int(hits_reference(chosen, part, affine).sum()) if len(chosen) else 0
                safe, hit = safe + len(chosen), hit + touched
                if len(chosen):
                    shares.append(touched / len(chosen))
                    names.append(name)
                if touched:
                    harmed.add(name)
        low, high = clopper_pearson(len(harmed), len(finite))
        share = mean_over_patients(shares, names) if shares else None
        result = "none certified safe" if share is None else f"{100 * share.mean:.2f} %"
        if share is not None and share.low is not None:
            result += f" ({100 * share.low:.2f} to {100 * share.high:.2f})"
        print(
            f"  {title:46} {safe:6d} safe, {hit:5d} of them hit: {result}; patients with any hit "
            f"{len(harmed)}/{len(finite)} (95 %: {100 * low:.0f} to {100 * high:.0f} %)"
        )


def study(name: str, cases: Sequence[Case], arguments: argparse.Namespace) -> None:
    """Print the results of one group of patients."""
    model = load_model(arguments.model)
    held_out, in_training = split_by_training(cases, model)
    tuning = in_training[: arguments.tuning]
    settings = SegmentationSettings(samples=arguments.samples, uncertainty=arguments.uncertainty)

    def segmented(chosen: Sequence[Case]) -> dict[str, list[SegmentedObject]]:
        with watched() as progress:
            return by_patient(
                segment_cases(
                    chosen,
                    model,
                    settings,
                    folder=arguments.out,
                    progress=progress,
                )
            )

    patients, others = segmented(held_out), segmented(tuning)
    objects = [part for parts in patients.values() for part in parts]
    missed = sum(not part.predicted.any() for part in objects)
    print(
        f"\n{name}: {len(patients)} held-out patients, {len(objects)} structures ({missed} missed), "
        f"mean Dice {np.mean([part.dice for part in objects]):.3f}; weights {model.weights_sha256[:12]}"
    )
    for modality, found in reliability_of(objects).items():
        temperature = "none" if found.temperature is None else f"{found.temperature:.2f}"
        print(
            f"  {modality} within {found.band_mm:g} mm of the surface: ECE {found.ece:.3f}, ACE {found.ace:.3f}, "
            f"Brier {found.brier:.3f}, temperature {temperature}"
        )
    if len(patients) - 1 < patients_needed(arguments.alpha):
        print(f"  {100 * (1 - arguments.alpha):.4g} % refused: {len(patients) - 1} patients calibrate each, "
              f"{patients_needed(arguments.alpha)} are needed")  # fmt: skip
        return
    medians = median_volumes(in_training, ())
    for structure, size in medians.items():
        print(f"  population median volume of {structure}: {size.in_words()}")
    chosen = None
    if len(others) >= patients_needed(arguments.alpha):
        chosen = choose_scale(others, medians, arguments.alpha)
        print(f"  scale chosen on {len(others)} other patients: {chosen.name}")
    study_coverage(patients, medians, chosen, arguments.alpha)
    study_plans(patients, chosen or ScaleEntry.of(SCALES[DEFAULT_SCALE], medians))


def main() -> None:
    """Print the results of each group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for the segmentations")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--uncertainty", default="dropout", help="perturbation of the stochastic passes")
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument(
        "--tuning", type=int, default=10, help="at most so many patients of the training data, to choose the scale"
    )
    parser.add_argument("--group", nargs="*", choices=[*GROUPS], default=[*GROUPS])
    arguments = parser.parse_args()
    for name in arguments.group:
        study(name, find_cases(arguments.cases, GROUPS[name]), arguments)


if __name__ == "__main__":
    main()
