"""What an adaptation gains: 3D Dice after one box, before and after k = 1, 3, 5 reviewed cases, patients left out.

For each kind of structure the patients are put into a random order; the first k are trained on, and the tested ones
come after all of them, so that every k is tested on the same patients. Of patients with CT and MR, one is trained on
in turn, and both are tested. For the largest k, two structures of each other
kind show what was forgotten. Finished work is kept in --out, and a repeated call goes on from there.

The learning rate was chosen by eye on three patients of the kinds `hippocampus` and `heart`; `sarcoma` and `parotid`
were not looked at. The base was trained on seven of the sarcoma patients (before is optimistic there) and on other
hippocampi; it never saw these hippocampi, hearts or parotid glands.

Run: ``python -m benchmarks.adapt ../shared/data --out runs/adapt``
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.registry import load_model
from medsam_planner.io.files import write_json
from medsam_planner.lab.adaptation.adapt import AdaptOptions, NoGainError, fit
from medsam_planner.lab.adaptation.chosen import Labelled, labelled
from medsam_planner.lab.adaptation.learner import Changes, Learner
from medsam_planner.lab.adaptation.learners import learner_of
from medsam_planner.lab.adaptation.measured import dice_after_box
from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.lab.evaluation.statistics import Estimate, mean_over_patients, paired_difference


@dataclass(frozen=True, slots=True)
class Kind:
    """A structure, and the cases that show it."""

    folder: str
    patterns: tuple[str, ...]
    label: str


KINDS = {
    "hippocampus": Kind("cases", ("mr_hippocampus_0*",), "hippocampus_anterior"),
    "sarcoma": Kind("cases", ("*_sarcoma_sts_*",), "GTV_mass"),
    "heart": Kind("cases", ("mr_heart_*",), "1"),
    "parotid": Kind("eval_only", ("ct_headneck_openkbp_*",), "3"),
}


def _by_patient(root: Path, kind: Kind, seed: int) -> list[list[Labelled]]:
    """The cases of each patient, patients in random order."""
    shown = labelled(find_cases(root / kind.folder, kind.patterns), kind.label)
    patients = sorted({one.case.patient for one in shown})
    np.random.default_rng(seed).shuffle(patients)
    return [[one for one in shown if one.case.patient == patient] for patient in patients]


def _changes(learner: Learner, shown: list[Labelled], seed: int) -> tuple[Changes, int]:
    try:
        fitted = fit(learner, shown, AdaptOptions(seed=seed))
    except NoGainError:
        return {}, 0
    return fitted.changes, fitted.steps


def _result(out: Path, name: str, k: int, seed: int) -> Path:
    return out / f"{name}_{k}_{seed}.json"


def measure(root: Path, name: str, learner: Learner, ks: tuple[int, ...], most: int, seed: int, out: Path) -> None:
    """Measure one kind, and keep each k in a file of its own."""
    missing = [k for k in ks if not _result(out, name, k, seed).is_file()]
    if not missing:
        return
    groups = _by_patient(root, KINDS[name], seed)
    tested = [one for group in groups[max(ks) :][:most] for one in group]
    structures = [one.structure() for one in tested]
    patients = [one.case.patient for one in tested]
    cache = EmbeddingCache(2 * 10**9)
    before = dice_after_box(learner.base, structures, seed=seed, cache=cache)
    for k in missing:
        started, cpu = time.perf_counter(), time.process_time()
        changes, steps = _changes(
            learner, [group[number % len(group)] for number, group in enumerate(groups[:k])], seed
        )
        seconds = [time.perf_counter() - started, time.process_time() - cpu]
        adapted = learner.model_with(changes)
        after = dice_after_box(adapted, structures, seed=seed, cache=cache)
        found = {"patients": patients, "before": before, "after": after, "steps": steps, "seconds": seconds}
        if k == max(ks):
            others = [
                group[0].structure()
                for other in KINDS
                if other != name
                for group in _by_patient(root, KINDS[other], 99)[:2]
            ]
            found["others_patients"] = [one.case.patient for one in others]
            found["others_before"] = dice_after_box(learner.base, others, seed=seed, cache=cache)
            found["others_after"] = dice_after_box(adapted, others, seed=seed, cache=cache)
        write_json(_result(out, name, k, seed), found)
        print(f"{name} k={k}: {np.mean(before):.3f} -> {np.mean(after):.3f}", flush=True)


def _interval(found: Estimate, sign: str = "") -> str:
    if found.low is None:
        return f"{found.mean:{sign}.3f}"
    return f"{found.mean:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


def table(out: Path, ks: tuple[int, ...], seed: int) -> str:
    """Markdown lines of what is finished."""
    lines = [
        "| kind | k | tested (patients) | before | after | change | other kinds | steps | minutes (CPU) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in KINDS:
        for k in ks:
            path = _result(out, name, k, seed)
            if not path.is_file():
                continue
            one = json.loads(path.read_text())
            patients = one["patients"]
            change = paired_difference(one["after"], one["before"], patients).difference
            forgotten = ""
            if "others_after" in one:
                lost = paired_difference(one["others_after"], one["others_before"], one["others_patients"])
                forgotten = _interval(lost.difference, "+")
            lines.append(
                f"| {name} | {k} | {len(patients)} ({len(set(patients))}) "
                f"| {_interval(mean_over_patients(one['before'], patients))} "
                f"| {_interval(mean_over_patients(one['after'], patients))} | {_interval(change, '+')} | {forgotten} "
                f"| {one['steps']} | {one['seconds'][0] / 60:.1f} ({one['seconds'][1] / 60:.1f}) |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure what is not finished, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with cases/ and eval_only/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--ks", nargs="*", type=int, default=[1, 3, 5])
    parser.add_argument("--most", type=int, default=8, help="most tested patients of a kind")
    parser.add_argument("--base", default="compact")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    learner, ks = learner_of(load_model(arguments.base)), tuple(arguments.ks)
    for name in arguments.kinds:
        measure(arguments.data, name, learner, ks, arguments.most, arguments.seed, arguments.out)
    print(table(arguments.out, ks, arguments.seed))


if __name__ == "__main__":
    main()
