"""What the order of ``project next`` is worth: 3D Dice on other patients against the number of annotated studies.

In each repetition a project gets studies of some patients, drawn by chance, and a simulated annotator, who has the
reference masks, asks ``project next`` for two studies at a time. After 2, 4 and 8 reviewed studies an automatic
network (``train-auto``, on a grid of 2 mm, a fixed number of steps, nothing chosen on anybody) is trained on them
and segments the tested patients, who are in no project and the same for all orders. Intervals come from a bootstrap
that draws repetitions and tested patients anew. Finished work is kept in --out, and a repeated call goes on from there.

Run: ``python -m benchmarks.project_order ../shared/data --out runs/project_order``
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medsam_planner.engine.automatic_network import AutomaticNetwork
from medsam_planner.engine.automatic_weights import AutomaticCard
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.engine.registry import load_model
from medsam_planner.io.files import write_json
from medsam_planner.lab.adaptation.chosen import Labelled, labelled
from medsam_planner.lab.automatic.examples import Example
from medsam_planner.lab.automatic.loop import Loop, Recipe
from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.lab.evaluation.scores import dice
from medsam_planner.lab.project.import_cases import add_image
from medsam_planner.lab.project.next_study import next_studies
from medsam_planner.lab.project.ordering import Order
from medsam_planner.lab.project.project import Project
from medsam_planner.volumes import volume_like

PATTERN, LABEL = "mr_hippocampus_*", "hippocampus_anterior"
KS = (2, 4, 8)
ORDERS = (Order.WORTH, Order.RANDOM, Order.NAME, Order.DIVERSITY)
AT_ONCE = 2
"""Studies that are annotated between two calls of `project next`."""
SPACING_MM, PATCH = (2.0, 2.0, 2.0), (24, 32, 24)
LEARNING_RATE = 3e-3
RESAMPLES = 5000


def annotated(pool: list[Labelled], order: Order, model: PromptableModel, seed: int) -> list[str]:
    """Names of the studies in the order in which they are annotated."""
    by_name = {one.case.name: one for one in pool}
    with tempfile.TemporaryDirectory() as name:
        project = Project.init(Path(name) / "project", "hippocampus", [LABEL])
        for one in pool:
            add_image(project, one.case.folder, who="simulated", copied=False)
        found: list[str] = []
        while len(found) < max(KS):
            for study in next_studies(project, order, model=model, seed=seed)[:AT_ONCE]:
                reference = by_name[study.name].structure(largest_part=False).reference
                image = project.image(project.study(study.name))
                project.record(study.name, LABEL, volume_like(image, reference), who="simulated")
                project.review(study.name, who="simulated")
                found.append(study.name)
    return found


def dice_of_network(train: list[Labelled], tested: list[Labelled], steps: int, seed: int) -> list[float]:
    """Dice on each tested case of a network that is trained on a few cases."""
    recipe = Recipe("MR", SPACING_MM, (0.0, 0.0, 0.0, 0.0), PATCH, steps, steps, 1, seed, LEARNING_RATE)
    card = AutomaticCard(
        LABEL, "MR", SPACING_MM, (SPACING_MM, SPACING_MM), PATCH, (0.0, 0.0, 0.0, 0.0), True, (), (), steps, "", ""
    )
    structures = [one.structure(largest_part=False) for one in tested]

    def check(network: torch.nn.Module) -> list[float]:
        own = AutomaticNetwork(network, card)
        return [dice(one.reference, own.mask(one.volume)) for one in structures]

    with tempfile.TemporaryDirectory() as name:
        loop = Loop(recipe, [Example(one) for one in train], "", Path(name) / "checkpoint")
        return loop.run(check, lambda *_: None).best_dice


def measure(shown: list[Labelled], model: PromptableModel, arguments: argparse.Namespace) -> None:
    """Measure what is not finished, one file for each repetition, order and number of studies."""
    rng = np.random.default_rng(arguments.seed)
    shuffled = [shown[int(number)] for number in rng.permutation(len(shown))]
    tested, others = shuffled[: arguments.tested], shuffled[arguments.tested :]
    for repetition in range(arguments.repetitions):
        drawn = np.random.default_rng([arguments.seed, 1, repetition]).choice(
            len(others), arguments.pool, replace=False
        )
        pool = [others[int(number)] for number in drawn]
        for order in ORDERS:
            listed = arguments.out / f"{repetition}_{order.value}.json"
            if not listed.is_file():
                write_json(listed, {"order": annotated(pool, order, model, repetition)})
            names = json.loads(listed.read_text())["order"]
            by_name = {one.case.name: one for one in pool}
            for k in KS:
                path = result_path(arguments.out, repetition, order, k)
                if path.is_file():
                    continue
                train = [by_name[name] for name in names[:k]]
                found = dice_of_network(train, tested, arguments.steps, repetition)
                write_json(path, {"patients": [one.case.patient for one in tested], "dice": found})
                print(f"repetition {repetition}, {order.value}, {k} studies: {np.mean(found):.3f}", flush=True)


def result_path(out: Path, repetition: int, order: Order, k: int) -> Path:
    """File of one network's result."""
    return out / f"{repetition}_{order.value}_{k}.json"


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean of (R, P) values, repetitions and patients both drawn anew."""
    rng = np.random.default_rng(0)
    rows = rng.integers(len(values), size=(RESAMPLES, len(values)))
    columns = rng.integers(values.shape[1], size=(RESAMPLES, values.shape[1]))
    means = [values[np.ix_(row, column)].mean() for row, column in zip(rows, columns, strict=True)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def read(out: Path, repetitions: list[int], order: Order, k: int) -> NDArray[np.float64]:
    """(R, P) Dice of these repetitions."""
    return np.array([json.loads(result_path(out, one, order, k).read_text())["dice"] for one in repetitions])


def table(out: Path, repetitions: int) -> str:
    """Markdown lines of what is finished; an order is compared in the repetitions that random has, too."""
    lines = ["| studies | order | repetitions | Dice | against random |", "|---|---|---|---|---|"]
    for k in KS:
        for order in ORDERS:
            both = (order, Order.RANDOM)
            done = [one for one in range(repetitions) if all(result_path(out, one, its, k).is_file() for its in both)]
            if not done:
                continue
            found = read(out, done, order, k)
            low, high = interval(found)
            text = f"| {k} | {order.value} | {len(done)} | {found.mean():.3f} [{low:.3f}, {high:.3f}] |"
            if order is not Order.RANDOM:
                change = found - read(out, done, Order.RANDOM, k)
                low, high = interval(change)
                text += f" {change.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
            lines.append(f"{text} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is not finished, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with cases/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--pool", type=int, default=16, help="studies of a project")
    parser.add_argument("--tested", type=int, default=20, help="patients who are tested")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="monai")
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    measure(labelled(find_cases(arguments.data / "cases", (PATTERN,)), LABEL), load_model("compact"), arguments)
    print(table(arguments.out, arguments.repetitions))


if __name__ == "__main__":
    main()
