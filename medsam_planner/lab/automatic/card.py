"""The card of an automatic network, Markdown: what it is of, how well it does on held-back cases, what is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from medsam_planner.lab.automatic.examples import Facts
from medsam_planner.lab.automatic.loop import Recipe, State
from medsam_planner.lab.evaluation.statistics import mean_over_patients
from medsam_planner.lab.model_card.markdown_tables import markdown_table
from medsam_planner.provenance import versions

__all__ = ["card_text"]


def card_text(
    label: str,
    facts: Facts,
    recipe: Recipe,
    state: State,
    *,
    trained: Sequence[str],
    held_back: Sequence[str],
    patients: Sequence[str],
) -> str:
    """The card; it names no case and no patient.

    Parameters
    ----------
    label : str
    facts, recipe, state
        Of the training.
    trained, held_back : sequence of str
        Hashes of the cases.
    patients : sequence of str
        Patient of each held-back case, for the interval.
    """
    low, high = (" × ".join(f"{one:.2g}" for one in side) for side in facts.spacing_range_mm)
    dice = state.best_dice
    found = mean_over_patients(dice, patients)
    interval = "one patient, no interval" if found.low is None else f"{found.low:.3f} to {found.high:.3f}"
    grid = " × ".join(f"{one:.2g}" for one in recipe.spacing_mm)
    head = ["cases (patients)", "mean 3D Dice", "95 % interval", "worst"]
    row = [f"{len(dice)} ({len(set(patients))})", f"{found.mean:.3f}", interval, f"{min(dice):.3f}"]
    lines = [
        f"# Automatic network: {label}",
        "",
        "Research use only. Its answer is a mask to begin from, which a person checks on every slice.",
        "",
        f"- Network: residual U-Net of MONAI, patches of {' × '.join(map(str, recipe.patch))} voxels of {grid} mm",
        f"- Cases: {facts.modality}, voxels of {low} to {high} mm",
        f"- Steps: {state.best_step} of {state.step} that were trained, seed {recipe.seed}",
        f"- Trained on {len(trained)} cases, by the SHA-256 of image and labels:",
        *(f"    - `{one}`" for one in trained),
        f"- Held back {len(held_back)} cases of other patients:",
        *(f"    - `{one}`" for one in held_back),
        "",
        "## How well it does",
        "",
        "On the held-back cases, on their own voxels. The number of steps was chosen on them, so the figure is an "
        "optimistic one.",
        "",
        markdown_table(head, [row]),
        "",
        "## What is not known",
        "",
        "- How it does on scanners, protocols and patients unlike the cases above, and where the structure is absent: "
        "every case showed it.",
        "- How sure it is: it gives one mask and no uncertainty. No margin is calibrated for masks that begin from it.",
        "",
        "Versions: "
        + ", ".join(f"{name} {number}" for name, number in {**versions(), "monai": version("monai")}.items())
        + ".",
        "",
    ]
    return "\n".join(lines)
