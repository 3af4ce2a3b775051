"""The metrics of a model card as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medsam_planner.lab.evaluation.dropout_run import DropoutRow
from medsam_planner.lab.evaluation.protocols import Protocol
from medsam_planner.lab.evaluation.records import StructureRecord
from medsam_planner.lab.evaluation.slices import SliceScores
from medsam_planner.lab.evaluation.statistics import Estimate, mean_over_patients
from medsam_planner.lab.evaluation.summary import HEADLINE, GroupSummary, estimate_text

__all__ = ["dropout_table", "markdown_table", "shapes_table", "slices_table", "volumes_table"]

_KINDS = ("all", "class means", "modality", "size", "anatomy")
_PROMPTS = {
    "ellipse_exact": "ellipse, exact box",
    "box_exact": "exact box",
    "ellipse_loose": "ellipse, loose box",
    "box_loose": "loose box",
    "box_and_click": "loose box + 1 click",
    "click": "one click",
    "three_clicks": "three clicks",
    "neighbour_mask": "neighbour's mask",
    "neighbour_copied": "that mask copied",
}
_DROPOUT = {
    "variance_rank": "rank correlation, variance",
    "entropy_rank": "rank correlation, entropy",
    "variance_ause": "AUSE, variance",
    "entropy_ause": "AUSE, entropy",
    "unranked_ause": "AUSE, no ranking",
    "error_rate": "wrong voxels",
}


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def volumes_table(rows: Sequence[GroupSummary], protocol: Protocol) -> str:
    """Mean and 95 % interval by modality, size and anatomy, for a protocol with propagation to 3D."""
    columns = HEADLINE[protocol]
    return markdown_table(
        ["group", "structures (patients)", "ellipse, slice", *(label for _, label in columns)],
        [
            [
                _bold(row.name, row.kind),
                f"{row.structures} ({row.patients})",
                estimate_text(row.ellipse),
                *(estimate_text(row.metrics.get(name)) for name, _ in columns),
            ]
            for row in rows
            if row.kind in _KINDS
        ],
    )


def slices_table(slices: Sequence[SliceScores], *, seed: int) -> str:
    """Mean Dice and 95 % interval of every kind of prompt, by modality and by group."""
    held_out = [one for one in slices if not one.is_trained_on]
    kinds = [kind for kind in _PROMPTS if any(kind in one.dice for one in held_out)]
    groups = {"**all**": held_out}
    for modality in sorted({one.group.split()[0] for one in held_out}):
        groups[modality] = [one for one in held_out if one.group.split()[0] == modality]
    for group in sorted({one.group for one in held_out}):
        groups[group] = [one for one in held_out if one.group == group]

    def mean(rows: Sequence[SliceScores], kind: str) -> Estimate | None:
        known = [one for one in rows if kind in one.dice]
        if not known:
            return None
        return mean_over_patients([one.dice[kind] for one in known], [one.patient for one in known], seed=seed)

    return markdown_table(
        ["group", "slices (patients)", *(_PROMPTS[kind] for kind in kinds)],
        [
            [
                name,
                f"{len(rows)} ({len({one.patient for one in rows})})",
                *(estimate_text(mean(rows, kind)) for kind in kinds),
            ]
            for name, rows in groups.items()
        ],
    )


def dropout_table(rows: Sequence[DropoutRow]) -> str:
    """Error ranking of MC dropout by modality and size."""
    return markdown_table(
        ["group", "structures (patients)", *_DROPOUT.values()],
        [
            [
                _bold(row.name, row.kind),
                f"{row.metrics['error_rate'].structures} ({row.metrics['error_rate'].patients})",
                *(estimate_text(row.metrics.get(name)) for name in _DROPOUT),
            ]
            for row in rows
        ],
    )


def shapes_table(records: Sequence[StructureRecord]) -> str:
    """One row per synthetic shape."""
    columns = HEADLINE[Protocol.BOX]
    return markdown_table(
        ["shape", "ellipse, slice", *(label for _, label in columns)],
        [
            [
                record.structure,
                f"{record.ellipse_slice_dice:.3f}",
                *(f"{record.metric(name):.3f}" for name, _ in columns),
            ]
            for record in records
        ],
    )


def _bold(name: str, kind: str) -> str:
    return f"**{name}**" if kind == "all" else name
