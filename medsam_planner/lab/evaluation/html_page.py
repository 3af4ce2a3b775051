"""The evaluation as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE, flat_rows, number
from medsam_planner.io.files import write_whole
from medsam_planner.lab.evaluation.cases import Case
from medsam_planner.lab.evaluation.finished import FinishedStructures
from medsam_planner.lab.evaluation.learning_curve import learning_curve
from medsam_planner.lab.evaluation.metrics import Metric, metrics_shown
from medsam_planner.lab.evaluation.protocols import Protocol
from medsam_planner.lab.evaluation.records import StructureRecord
from medsam_planner.lab.evaluation.slice_panels import PREDICTION_COLOUR, REFERENCE_COLOUR, panels_of
from medsam_planner.lab.evaluation.statistics import Estimate, PairedDifference
from medsam_planner.lab.evaluation.summary import HEADLINE, GroupSummary

__all__ = ["write_page"]

_TITLES = {
    Protocol.BOX: "One loose box, then corrections",
    Protocol.CLICK: "One click, then corrections",
    Protocol.SURVEY: "One loose box, the masks offered for it, and corrections; a single click; a painted wall",
    Protocol.CVPR25: "Range, box and clicks: comparable with the CVPR 2025 protocol",
}


def write_page(
    path: Path,
    document: Mapping[str, Any],
    records: Sequence[StructureRecord],
    rows: Sequence[GroupSummary],
    finished: FinishedStructures,
    cases: Mapping[str, Case],
    *,
    worst: int,
) -> Path:
    """Write the page.

    Parameters
    ----------
    path : Path
        Of the HTML file.
    document : mapping
        The content of ``evaluation.json``.
    records : sequence of StructureRecord
        Its structures.
    rows : sequence of GroupSummary
        Its summary.
    finished : FinishedStructures
        The folder of the masks.
    cases : mapping of str to Case
        By name.
    worst : int
        How many of the worst structures are pictured.
    """
    import jinja2

    protocol = Protocol(document["protocol"])
    held_out = [record for record in records if not record.is_trained_on] or records
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("medsam_planner.lab.evaluation", ""),
                jinja2.PackageLoader("medsam_planner.drawing", ""),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, estimate=_estimate, interval=_interval, difference=_difference)
    columns = metrics_shown(protocol)
    compared = document["provenance"]["against"]
    against = None if compared is None else Path(compared).name  # a whole path is in the provenance
    text = environment.get_template("evaluation.html").render(
        title=_TITLES[protocol],
        notice=RESEARCH_USE_NOTICE,
        style=(Path(__file__).parents[2] / "drawing" / "page.css").read_text(encoding="utf-8"),
        is_challenge=protocol is Protocol.CVPR25,
        document=document,
        rows=rows,
        headline=_headline(columns),
        columns=columns,
        against=against,
        chart=learning_curve(held_out, against),
        worst=_worst(held_out, finished, cases, worst),
        colours={"reference": REFERENCE_COLOUR, "prediction": PREDICTION_COLOUR},
        failures=[record for record in records if record.failure is not None],
        provenance=flat_rows({**document["settings"], **document["provenance"]}),
    )
    return write_whole(path, text)


def _headline(columns: Sequence[Metric]) -> list[Metric]:
    """The headline metrics."""
    wanted: tuple[str, ...] = (
        "slice_dice",
        "first_dice",
        "final_dice",
        "final_surface_dice_2mm",
        "final_hd95_mm",
        "reached_080",
    )
    if any(metric.name == "slice_best_dice" for metric in columns):
        wanted = tuple(name for name, _ in HEADLINE[Protocol.SURVEY])
    challenge = [metric for metric in columns if metric.name.startswith("challenge_")]
    return challenge or [metric for metric in columns if metric.name in wanted]


def _worst(
    records: Sequence[StructureRecord], finished: FinishedStructures, cases: Mapping[str, Case], count: int
) -> list[dict[str, Any]]:
    """The structures with the lowest final 3D Dice, with their pictures."""
    shown = []
    for record in sorted(records, key=lambda one: (one.metric("final_dice"), one.key))[:count]:
        case = cases[record.case]
        image = case.read_image()
        shown.append({"record": record, "panels": panels_of(record, image, finished)})
    return shown


def _estimate(estimate: Estimate | None, digits: int = 3) -> str:
    return "–" if estimate is None else number(estimate.mean, digits)


def _interval(estimate: Estimate | None, digits: int = 3) -> str:
    if estimate is None or estimate.low is None:
        return ""
    return f"{number(estimate.low, digits)} to {number(estimate.high, digits)}"


def _difference(paired: PairedDifference | None, digits: int = 3) -> str:
    if paired is None:
        return "–"
    text = ("+" if paired.difference.mean > 0 else "") + number(paired.difference.mean, digits)
    interval = _interval(paired.difference, digits)
    test = "" if paired.p_value is None else f", p {_p_value(paired.p_value)}"
    return text + (f" ({interval}{test})" if interval else "")


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
