"""From the records of all structures to the tables: by modality, anatomy, size and case, beside the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from medsam_planner.lab.evaluation.metrics import figures_shown
from medsam_planner.lab.evaluation.protocols import Protocol
from medsam_planner.lab.evaluation.statistics import Estimate, PairedDifference, mean_over_patients, paired_difference

__all__ = ["HEADLINE", "GroupSummary", "class_means", "estimate_text", "size_rank", "summarise", "summary_text"]

Record = Mapping[str, Any]
_SIZES_FIRST = ("small", "medium", "large")
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
    ("click_slice_dice", "lone click"),
)
HEADLINE[Protocol.CLICK] = HEADLINE[Protocol.BOX]
"""The figures that stand first: name and label by protocol."""


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """One row of the tables."""

    kind: str
    """``"all"``, ``"modality"``, ``"size"``, ``"anatomy"``, ``"case"``, or ``"class means"``."""
    name: str
    structures: int
    patients: int
    failures: int
    figures: dict[str, Estimate]
    ellipse: Estimate | None = None
    """Dice on the prompted slice of the ellipse inscribed in the same box; nothing of the kind exists in 3D."""
    over_ellipse: PairedDifference | None = None
    against: dict[str, Estimate] = field(default_factory=dict)
    over_against: dict[str, PairedDifference] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def summarise(records: Sequence[Record], protocol: Protocol, *, seed: int = 0) -> list[GroupSummary]:
    """Every row, in the order of the page; records of cases seen in training form rows of their own at the end."""
    unseen = [record for record in records if not record["seen"]]
    seen = [record for record in records if record["seen"]]
    rows: list[GroupSummary] = []
    if unseen:
        rows.append(_row("all", "all, never trained on", unseen, protocol, seed))
        if protocol is Protocol.CVPR25:
            rows.append(_row("class means", "all, class means of each case first", class_means(unseen), protocol, seed))
        rows += _rows("modality", unseen, lambda record: record["modality"], protocol, seed)
        rows += _rows("size", unseen, lambda record: record["size"], protocol, seed, order=size_rank)
        rows += _rows("anatomy", unseen, lambda record: record["group"], protocol, seed)
        rows += _rows("case", unseen, lambda record: record["case"], protocol, seed)
    if seen:
        rows.append(_row("seen", "SEEN IN TRAINING, no evidence of quality", seen, protocol, seed))
    return rows


def size_rank(name: str) -> int:
    """Order of the size classes, the smallest first."""
    return _SIZES_FIRST.index(name.split(",")[0])


def _rows(
    kind: str,
    records: Sequence[Record],
    name_of: Callable[[Record], str],
    protocol: Protocol,
    seed: int,
    *,
    order: Callable[[str], Any] | None = None,
) -> list[GroupSummary]:
    names = sorted({name_of(record) for record in records}, key=order)
    return [
        _row(kind, name, [record for record in records if name_of(record) == name], protocol, seed) for name in names
    ]


def _row(kind: str, name: str, records: Sequence[Record], protocol: Protocol, seed: int) -> GroupSummary:
    names = [figure.name for figure in figures_shown(protocol)]
    with_ellipse = [record for record in records if record["ellipse_slice_dice"] is not None]
    compared = [record for record in records if record.get("against_figures")]
    return GroupSummary(
        kind=kind,
        name=name,
        structures=len(records),
        patients=len({record["patient"] for record in records}),
        failures=sum(record["failure"] is not None for record in records),
        figures=_means(records, "figures", names, seed),
        ellipse=_mean(with_ellipse, lambda record: record["ellipse_slice_dice"], seed),
        over_ellipse=_over(
            with_ellipse,
            lambda record: record["figures"]["slice_dice"],
            lambda record: record["ellipse_slice_dice"],
            seed,
        ),
        against=_means(compared, "against_figures", names, seed) if compared else {},
        over_against={
            one: difference
            for one in names
            if (difference := _over(compared, _taker("figures", one), _taker("against_figures", one), seed)) is not None
        },
    )


def _taker(which: str, name: str) -> Callable[[Record], float | None]:
    return lambda record: record[which][name]


def _means(records: Sequence[Record], which: str, names: Iterable[str], seed: int) -> dict[str, Estimate]:
    found = {name: _mean(records, _taker(which, name), seed) for name in names}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _mean(records: Sequence[Record], value_of: Callable[[Record], float | None], seed: int) -> Estimate | None:
    known = [(value, record["patient"]) for record in records if (value := value_of(record)) is not None]
    if not known:
        return None
    return mean_over_patients([value for value, _ in known], [patient for _, patient in known], seed=seed)


def _over(
    records: Sequence[Record],
    ours: Callable[[Record], float | None],
    theirs: Callable[[Record], float | None],
    seed: int,
) -> PairedDifference | None:
    pairs = [(ours(record), theirs(record), record["patient"]) for record in records]
    known = [(one, other, patient) for one, other, patient in pairs if one is not None and other is not None]
    if not known:
        return None
    return paired_difference(
        [one for one, _, _ in known], [two for _, two, _ in known], [who for *_, who in known], seed=seed
    )


def class_means(records: Sequence[Record]) -> list[Record]:
    """One record for each case: its figures are the means over its structures, as the challenge takes class means."""
    merged: list[Record] = []
    for case in sorted({record["case"] for record in records}):
        own = [record for record in records if record["case"] == case]
        one = dict(own[0])
        for which in ("figures", "against_figures"):
            if own[0].get(which):
                one[which] = {name: _plain_mean([record[which][name] for record in own]) for name in own[0][which]}
        one["ellipse_slice_dice"] = _plain_mean([record["ellipse_slice_dice"] for record in own])
        merged.append(one)
    return merged


def _plain_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def summary_text(rows: Sequence[GroupSummary], protocol: Protocol, *, against: str | None = None) -> str:
    """The headline as lines for a terminal."""
    columns = HEADLINE[protocol]
    width = 2 + max(len(row.name) for row in rows)
    head = "group".ljust(width) + "structures patients" + "ellipse, slice".rjust(22)
    head += "".join(label.rjust(22) for _, label in columns)
    lines = [head]
    for row in rows:
        if row.kind == "case":
            continue
        cells = [f"{row.structures:10d}{row.patients:9d}", estimate_text(row.ellipse).rjust(22)]
        cells += [estimate_text(row.figures.get(name)).rjust(22) for name, _ in columns]
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
