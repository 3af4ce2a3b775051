"""Surgeons' orders and executed lines, as JSON, CSV, a figure and one HTML page."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medsam_planner.io.files import file_sha256, write_json
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.lab.readers.crossed_bootstrap import FEW_PATIENTS, CrossedMean
from medsam_planner.lab.readers.executed_lines import ERRORS, ExecutedLine, error_means, read_executed_lines
from medsam_planner.lab.readers.plan_orders import order_agreement, read_rankings
from medsam_planner.lab.readers.study_page import Analysed, Section, write_csv, write_study_page
from medsam_planner.planning.screw import GRADES
from medsam_planner.provenance import versions

__all__ = ["analyse_lines", "analyse_orders"]


def analyse_orders(table: Path, out: Path, *, seed: int = 0) -> Analysed:
    """Compare surgeons' orders of paths with the planner's; writes ``orders.json``, ``orders.csv``, ``orders.html``.

    Parameters
    ----------
    table : Path
        As :func:`~medsam_planner.lab.readers.plan_orders.read_rankings` reads it.
    out : Path
    seed : int
        Of the bootstrap.

    Raises
    ------
    ConfigError, OutputError
    """
    rankings = read_rankings(table)
    found = order_agreement(rankings, seed=seed)
    told = {
        "Kendall's τ-b, surgeon and planner": found.kendall,
        "Spearman's ρ, surgeon and planner": found.spearman,
        "planner's first among the surgeon's best": found.same_first,
    }
    if found.between_surgeons is not None:
        told["Kendall's τ-b, two surgeons"] = found.between_surgeons
    surgeons = sorted({one.surgeon for one in rankings})
    cases = sorted({one.case for one in rankings})
    cautions = _few(len(cases), "cases")
    if found.undefined:
        cautions.append(f"{found.undefined} orders tie all paths and have no correlation.")
    rows = [
        {"case": one.case, "surgeon": one.surgeon, "ranks": " ".join(f"{rank:g}" for rank in one.ranks)}
        for one in rankings
    ]
    about = "Means over cases and surgeons with 95 % BCa intervals over both; τ between surgeons is the yardstick."
    section = Section("Agreement of order", about, ["", "mean (95 % interval)"], _means(told))
    document = _document("plan orders", "Surgeons' orders of planned paths", table, surgeons, cases, cautions, seed)
    document["agreement"] = asdict(found)
    headline = f"{len(surgeons)} surgeons, {len(cases)} cases: τ-b {_mean(found.kendall)}."
    return _written("orders", out, table, document, [section], rows, headline)


def analyse_lines(table: Path, out: Path, *, seed: int = 0) -> Analysed:
    """Compare executed lines with planned ones; writes ``lines.json``, ``lines.csv``, ``lines.html``.

    Parameters
    ----------
    table : Path
        As :func:`~medsam_planner.lab.readers.executed_lines.read_executed_lines` reads it.
    out : Path
    seed : int
        Of the bootstrap.

    Raises
    ------
    ConfigError, PlanningError, StudyError, OutputError
    """
    lines = read_executed_lines(table)
    means = error_means(lines, seed=seed)
    patients = sorted({line.patient for line in lines})
    rows: list[dict[str, Any]] = [
        {
            "patient": line.patient,
            "tool": line.tool,
            **asdict(line.error),
            "planned_grade": line.planned_grade,
            "executed_grade": line.executed_grade,
            "breach_mm": line.breach_mm,
        }
        for line in lines
    ]
    worst = {name: max(abs(getattr(line.error, name)) for line in lines) for name in ERRORS}
    errors = [[ERRORS[name], _mean(mean), f"{worst[name]:.2f}"] for name, mean in means.items()]
    about = "Means over patients (tools of a patient averaged first) with 95 % BCa intervals."
    sections = [Section("Errors", about, ["error", "mean (95 % interval)", "largest"], errors)]
    if any(line.executed_grade for line in lines):
        heads = ["grade", "planned", "executed"]
        sections.append(Section("Gertzbein–Robbins", "Number of screws.", heads, _grades(lines)))
    cautions = _few(len(patients), "patients")
    document = _document("executed lines", "Executed and planned lines", table, [], patients, cautions, seed)
    document["means"] = {name: asdict(mean) for name, mean in means.items()}
    headline = (
        f"{len(lines)} lines of {len(patients)} patients: entry {_mean(means['entry_mm'])} mm, target "
        f"{_mean(means['target_mm'])} mm, angle {_mean(means['angle_deg'])}°."
    )
    return _written("lines", out, table, document, sections, rows, headline)


def _written(
    name: str,
    out: Path,
    table: Path,
    document: dict[str, Any],
    sections: list[Section],
    rows: list[dict[str, Any]],
    headline: str,
) -> Analysed:
    names = [f"{name}.{kind}" for kind in ("json", "csv", "html")]
    with OutputFolder(out, names, inputs=[table]) as folder:
        write_json(folder / f"{name}.json", document)
        write_csv(folder / f"{name}.csv", rows)
        page = write_study_page(folder / f"{name}.html", document, sections, [])
    return Analysed(page, headline, tuple(document["cautions"]))


def _document(
    kind: str, title: str, table: Path, readers: list[str], cases: list[str], cautions: list[str], seed: int
) -> dict[str, Any]:
    return {
        "kind": f"medsam-planner {kind}",
        "title": title,
        "settings": {"table_sha256": file_sha256(table), "bootstrap_seed": seed},
        "readers": readers,
        "model": None,
        "cases": cases,
        "cautions": cautions,
        "versions": versions(),
    }


def _grades(lines: list[ExecutedLine]) -> list[list[str]]:
    planned = Counter(line.planned_grade for line in lines)
    executed = Counter(line.executed_grade for line in lines)
    return [[grade, str(planned[grade]), str(executed[grade])] for grade in GRADES]


def _few(count: int, what: str) -> list[str]:
    return [f"{count} {what}: intervals over so few are too narrow."] if count < FEW_PATIENTS else []


def _means(told: dict[str, CrossedMean]) -> list[list[str]]:
    return [[name, _mean(mean)] for name, mean in told.items()]


def _mean(mean: CrossedMean) -> str:
    interval = "" if mean.low is None or mean.high is None else f" ({mean.low:.2f} to {mean.high:.2f})"
    return f"{mean.mean:.2f}{interval}"
