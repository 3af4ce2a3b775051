"""Summaries of the records by modality, anatomy, size and case, with paired comparisons to the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from medsam_planner.lab.evaluation.metrics import metrics_shown
from medsam_planner.lab.evaluation.protocols import Protocol
from medsam_planner.lab.evaluation.records import StructureRecord
from medsam_planner.lab.evaluation.statistics import Estimate, PairedDifference, mean_over_patients, paired_difference

__all__ = ["HEADLINE", "GroupSummary", "class_means", "estimate_text", "size_rank", "summarise", "summary_text"]

Metrics = Callable[[StructureRecord], Mapping[str, float | None]]
_SIZES = ("small", "medium", "large")
HEADLINE: dict[Protocol, tuple[tuple[str, str], ...]] = {
    Protocol.BOX: (
        ("slice_dice", "slice Dice"),
        ("first_dice", "3D first Dice"),
        ("final_dice", "3D final Dice"),
        ("final_surface_dice_2mm", "3D final NSD 2 mm"),
    ),
    Protocol.CVPR25: (
        ("challenge_dsc_auc", "DSC AUC of 4"),
        ("challenge_nsd_auc", "NSD AUC of 4"),
        ("challenge_dsc_final", "DSC final"),
        ("challenge_nsd_final", "NSD final"),
    ),
}
HEADLINE[Protocol.SURVEY] = (
    ("slice_dice", "slice Dice"),
    ("slice_best_dice", "best of offered"),
    ("below_ellipse", "below ellipse"),
    ("first_dice", "3D first Dice"),
    ("final_dice", "3D final Dice"),
    ("harmful_corrections", "harmful corrections"),
    ("wall_slice_dice", "wall, box + 2 clicks"),
    ("click_slice_dice", "single click"),
)
HEADLINE[Protocol.CLICK] = HEADLINE[Protocol.BOX]
"""The headline metrics: name and label by protocol."""


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """One row of the tables."""

    kind: str
    """``"all"``, ``"modality"``, ``"size"``, ``"anatomy"``, ``"case"``, ``"class means"``, or ``"seen"`` for cases the
    weights were trained on."""
    name: str
    structures: int
    patients: int
    failures: int
    metrics: dict[str, Estimate]
    ellipse: Estimate | None = None
    """Dice on the prompted slice of the ellipse inscribed in the same box; there is none in 3D."""
    over_ellipse: PairedDifference | None = None
    """The weights minus the ellipse."""
    against: dict[str, Estimate] = field(default_factory=dict)
    """Metrics of the compared weights."""
    over_against: dict[str, PairedDifference] = field(default_factory=dict)
    """The weights minus the compared ones."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values under the keys of ``evaluation.json``."""
        values = asdict(self)
        return {"figures" if name == "metrics" else name: value for name, value in values.items()}


def summarise(records: Sequence[StructureRecord], protocol: Protocol, *, seed: int = 0) -> list[GroupSummary]:
    """Every row, in the order of the page. Cases the weights were trained on form a row of their own at the end."""
    held_out = [record for record in records if not record.is_trained_on]
    trained_on = [record for record in records if record.is_trained_on]
    rows: list[GroupSummary] = []
    if held_out:
        rows.append(_row("all", "all, never trained on", held_out, protocol, seed))
        if protocol is Protocol.CVPR25:
            rows.append(
                _row("class means", "all, class means of each case first", class_means(held_out), protocol, seed)
            )
        rows += _rows("modality", held_out, lambda record: record.modality, protocol, seed)
        rows += _rows("size", held_out, lambda record: record.size, protocol, seed, order=size_rank)
        rows += _rows("anatomy", held_out, lambda record: record.group, protocol, seed)
        rows += _rows("case", held_out, lambda record: record.case, protocol, seed)
    if trained_on:
        rows.append(_row("seen", "TRAINED ON, no evidence of quality", trained_on, protocol, seed))
    return rows


def size_rank(name: str) -> int:
    """Order of the size classes, the smallest first."""
    return _SIZES.index(name.split(",")[0])


def _rows(
    kind: str,
    records: Sequence[StructureRecord],
    name_of: Callable[[StructureRecord], str],
    protocol: Protocol,
    seed: int,
    *,
    order: Callable[[str], Any] | None = None,
) -> list[GroupSummary]:
    names = sorted({name_of(record) for record in records}, key=order)
    return [
        _row(kind, name, [record for record in records if name_of(record) == name], protocol, seed) for name in names
    ]


def _row(kind: str, name: str, records: Sequence[StructureRecord], protocol: Protocol, seed: int) -> GroupSummary:
    names = [metric.name for metric in metrics_shown(protocol)]
    with_ellipse = [record for record in records if record.ellipse_slice_dice is not None]
    compared = [record for record in records if record.against_metrics]
    return GroupSummary(
        kind=kind,
        name=name,
        structures=len(records),
        patients=len({record.patient for record in records}),
        failures=sum(record.failure is not None for record in records),
        metrics=_means(records, _metrics, names, seed),
        ellipse=_mean(with_ellipse, lambda record: record.ellipse_slice_dice, seed),
        over_ellipse=_over(
            with_ellipse,
            lambda record: record.metrics["slice_dice"],
            lambda record: record.ellipse_slice_dice,
            seed,
        ),
        against=_means(compared, _against, names, seed) if compared else {},
        over_against={
            one: difference
            for one in names
            if (difference := _over(compared, _reader(_metrics, one), _reader(_against, one), seed)) is not None
        },
    )


def _metrics(record: StructureRecord) -> Mapping[str, float | None]:
    return record.metrics


def _against(record: StructureRecord) -> Mapping[str, float | None]:
    return record.against_metrics or {}


def _reader(metrics_of: Metrics, name: str) -> Callable[[StructureRecord], float | None]:
    return lambda record: metrics_of(record)[name]


def _means(
    records: Sequence[StructureRecord], metrics_of: Metrics, names: Iterable[str], seed: int
) -> dict[str, Estimate]:
    found = {name: _mean(records, _reader(metrics_of, name), seed) for name in names}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _mean(
    records: Sequence[StructureRecord], value_of: Callable[[StructureRecord], float | None], seed: int
) -> Estimate | None:
    known = [(value, record.patient) for record in records if (value := value_of(record)) is not None]
    if not known:
        return None
    return mean_over_patients([value for value, _ in known], [patient for _, patient in known], seed=seed)


def _over(
    records: Sequence[StructureRecord],
    ours: Callable[[StructureRecord], float | None],
    theirs: Callable[[StructureRecord], float | None],
    seed: int,
) -> PairedDifference | None:
    pairs = [(ours(record), theirs(record), record.patient) for record in records]
    known = [(one, other, patient) for one, other, patient in pairs if one is not None and other is not None]
    if not known:
        return None
    return paired_difference(
        [one for one, _, _ in known], [two for _, two, _ in known], [who for *_, who in known], seed=seed
    )


def class_means(records: Sequence[StructureRecord]) -> list[StructureRecord]:
    """One record per case, whose metrics are the means over its structures: the challenge averages classes first."""
    merged: list[StructureRecord] = []
    for case in sorted({record.case for record in records}):
        own = [record for record in records if record.case == case]
        merged.append(
            replace(
                own[0],
                metrics=_mean_metrics([record.metrics for record in own]),
                against_metrics=_mean_metrics([one.against_metrics for one in own if one.against_metrics]) or None,
                ellipse_slice_dice=_plain_mean([record.ellipse_slice_dice for record in own]),
            )
        )
    return merged


def _mean_metrics(metrics: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    return {name: _plain_mean([one[name] for one in metrics]) for name in (metrics[0] if metrics else ())}


def _plain_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def summary_text(rows: Sequence[GroupSummary], protocol: Protocol, *, against: str | None = None) -> str:
    """The headline metrics as lines for a terminal."""
    columns = HEADLINE[protocol]
    width = 2 + max(len(row.name) for row in rows)
    head = "group".ljust(width) + "structures patients" + "ellipse, slice".rjust(22)
    head += "".join(label.rjust(22) for _, label in columns)
    lines = [head]
    for row in rows:
        if row.kind == "case":
            continue
        cells = [f"{row.structures:10d}{row.patients:9d}", estimate_text(row.ellipse).rjust(22)]
        cells += [estimate_text(row.metrics.get(name)).rjust(22) for name, _ in columns]
        lines.append(row.name.ljust(width) + "".join(cells))
        if row.over_against:
            other = [estimate_text(row.against.get(name)).rjust(22) for name, _ in columns]
            lines.append(f"  {against or 'baseline'}".ljust(width) + " " * 41 + "".join(other))
    return "\n".join(lines)


def estimate_text(estimate: Estimate | None) -> str:
    """Mean and, where there is one, its interval."""
    if estimate is None:
        return "–"
    interval = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.mean:.3f}{interval}"
