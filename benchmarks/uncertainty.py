"""Error ranking of the sources of uncertainty, on cases with reference masks that the weights were not trained on.

Every structure is segmented from one box on its middle slice, with stochastic passes of each source. Voxels within 5 mm
of the reference surface are ranked by entropy, mutual information and boundary spread. The table has the area under the
sparsification error curve (AUSE) relative to a random order: 0 is the best order, 1 is random, more is worse. Intervals
are from a bootstrap over patients. Run: ``python -m benchmarks.uncertainty CASES PATTERN ...``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import medsam_planner as mp
from medsam_planner.calibration.policy import policy_box
from medsam_planner.cli.console import watched
from medsam_planner.engine.registry import load_model
from medsam_planner.errors import PromptError
from medsam_planner.geometry import spacing_mm
from medsam_planner.lab.calibration.calibration_run import split_by_training
from medsam_planner.lab.evaluation.cases import Structure, find_cases
from medsam_planner.lab.evaluation.references import read_structures
from medsam_planner.lab.evaluation.statistics import mean_over_patients
from medsam_planner.progress import track
from medsam_planner.propagation.sources import SOURCES
from xai.calibration import surface_band
from xai.errors import UncertaintyError
from xai.ranking import area_under_sparsification_error, unranked_area_under_sparsification_error

MAPS = ("uncertainty", "mutual_information", "boundary_spread_mm")
MIXTURES = ("dropout+jitter", "dropout+jitter+augment")


def areas(structure: Structure, model: str, source: str, samples: int, triplanar: bool) -> dict[str, float] | None:
    """AUSE of each map relative to a random order; None where no voxel is wrong."""
    session = mp.Session(structure.volume, model)
    try:
        session.add(policy_box(structure.reference, structure.volume.affine, structure.case.patient, structure.name))
    except PromptError:  # no box can be drawn on its middle slice
        return None
    result = session.segment(samples=samples, uncertainty=source, triplanar=triplanar)
    band = surface_band(structure.reference, spacing_mm(structure.volume.affine))
    wrong = ((result.mask.array > 0) != structure.reference)[band].astype(np.float64)
    try:
        chance = unranked_area_under_sparsification_error(wrong)
        maps = {name: getattr(result, name).array[band] for name in MAPS if getattr(result, name) is not None}
        return {name: area_under_sparsification_error(values, wrong) / chance for name, values in maps.items()}
    except UncertaintyError:  # nothing is wrong
        return None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("pattern", nargs="+", help="names of case folders")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--most", type=int, default=None, help="cases, at most")
    parser.add_argument("--triplanar", action="store_true", help="fuse three planes, and sample their weights too")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    held_out, _ = split_by_training(find_cases(arguments.cases, arguments.pattern), model)
    sources = [*(name for name in SOURCES if arguments.triplanar or name != "triplanar"), *MIXTURES]
    found: dict[str, list[tuple[str, dict[str, float]]]] = {source: [] for source in sources}
    structures = [one for case in held_out[: arguments.most] for one in read_structures(case)]
    with watched() as progress:
        for structure in track(structures, "structures", progress):
            for source in sources:
                ranked = areas(structure, arguments.model, source, arguments.samples, arguments.triplanar)
                if ranked is not None:
                    found[source].append((structure.case.patient, ranked))
    print(
        f"{len(structures)} structures of {len(held_out[: arguments.most])} patients, "
        f"weights {model.weights_sha256[:12]}"
    )
    print(f"{'source':26}" + "".join(f"{name:>32}" for name in MAPS))
    for source, results in found.items():
        cells = []
        for name in MAPS:
            known = [(ranked[name], patient) for patient, ranked in results if name in ranked]
            mean = mean_over_patients(*zip(*known, strict=True)) if known else None
            bounds = "" if mean is None or mean.low is None else f" ({mean.low:.2f} to {mean.high:.2f})"
            cells.append("—" if mean is None else f"{mean.mean:.3f}{bounds}")
        print(f"{source:26}" + "".join(f"{cell:>32}" for cell in cells))


if __name__ == "__main__":
    main()
