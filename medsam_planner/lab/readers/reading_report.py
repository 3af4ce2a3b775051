"""The analysis of a reader study, as JSON, CSV, input of iMRMC, figures and one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medsam_planner.errors import ConfigError, require_extra
from medsam_planner.io.files import file_sha256, write_json, write_whole
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.lab.readers.checklist import filled_checklist
from medsam_planner.lab.readers.figures import drawn, mode_means, rating_bars
from medsam_planner.lab.readers.reading_statistics import complete_readings, reading_statistics
from medsam_planner.lab.readers.reasons import is_missing
from medsam_planner.lab.readers.study_page import (
    Analysed,
    Section,
    figure_names,
    write_csv,
    write_figures,
    write_study_page,
)
from medsam_planner.provenance import versions
from medsam_planner.reading.export import imrmc_text, reading_rows
from medsam_planner.reading.records import Reading, ReadingRecords
from medsam_planner.reading.study_file import ReadingTable, StudyFile

__all__ = ["analyse_readings"]

_MERIT = "share acceptable"


def analyse_readings(study: StudyFile, records: ReadingRecords, out: Path, *, source: Path, seed: int = 0) -> Analysed:
    """Export what readers did, and compare the modes.

    Parameters
    ----------
    study : StudyFile
    records : ReadingRecords
    out : Path
        Folder for ``readings.csv``, ``readings.imrmc`` (where the truth of the cases is known), ``readings.json``,
        ``readings.html`` and the figures.
    source : Path
        The study file.
    seed : int
        Of the bootstrap.

    Raises
    ------
    ConfigError
        If there is no reading.
    OutputError, MissingDependencyError
    """
    require_extra("readers", "The analysis of a reader study")
    table, readings = records.table, records.readings()
    if not readings:
        raise ConfigError("Expected readings, got none: nobody has finished a case yet.")
    names = ["readings.csv", "readings.imrmc", "readings.json", "readings.html"]
    names += figure_names(["ratings", "acceptable"])
    with OutputFolder(out, names) as folder:
        write_csv(folder / "readings.csv", reading_rows(readings))
        cautions, found = [], None
        try:
            write_whole(folder / "readings.imrmc", imrmc_text(table, readings, title=study.title))
        except ConfigError as error:
            cautions.append(f"No iMRMC input: {error}")
        try:
            complete = complete_readings(table, readings)
            found = reading_statistics(table, complete, seed=seed)
            if complete.left_out:
                cautions.append(f"{complete.left_out} readings are not compared: not all have read these cases yet.")
        except ConfigError as error:
            cautions.append(str(error))
        planned = len(table.readers) * len(table.modes) * len(table.cases)
        if len(readings) < planned:
            cautions.append(f"{len(readings)} of {planned} readings were given: the study is not finished.")
        counts: dict[str, list[int]] = {mode: _counts(readings, mode, len(table.scale)) for mode in table.modes}
        pictures = {"ratings": drawn(rating_bars(_labelled(counts, found), table.scale))}
        if found is not None and not is_missing(found["merits"][_MERIT]):
            pictures["acceptable"] = drawn(mode_means(found["merits"][_MERIT]["by_mode"], _MERIT))
        headline = _headline(found, table)
        checked = filled_checklist(_answers(table, readings, cautions, headline), study.statements)
        document = {
            "kind": "medsam-planner reader study",
            "title": study.title,
            "study_file_sha256": file_sha256(source),
            "design_sha256": records.design_sha256,
            "settings": {**table.model_dump(mode="json", exclude={"cases"}), "bootstrap_seed": seed},
            "readers": list(table.readers),
            "model": None,
            "cases": [case.name for case in table.cases],
            "cautions": cautions,
            "counts": counts,
            "statistics": found,
            "checklist": [asdict(item) for item in checked],
            "versions": versions(),
        }
        write_figures(folder, pictures)
        write_json(folder / "readings.json", document)
        page = write_study_page(folder / "readings.html", document, _sections(found, counts, table, pictures), checked)
    return Analysed(page, headline, tuple(cautions))


def _counts(readings: Sequence[Reading], mode: str, answers: int) -> list[int]:
    ratings = [one.answer.rating for one in readings if one.slot.mode == mode]
    return np.bincount(ratings, minlength=answers + 1)[1:].tolist()


def _labelled(counts: Mapping[str, list[int]], found: Mapping[str, Any] | None) -> dict[str, list[int]]:
    """Modes with the share of acceptable readings and its interval."""
    merit = None if found is None else found["merits"][_MERIT]
    if merit is None or is_missing(merit):
        return dict(counts)
    told = {}
    for mode, of_mode in counts.items():
        one = merit["by_mode"][mode]
        low, high = max(one["low"], 0), min(one["high"], 1)
        told[f"{mode}\nacceptable {100 * one['estimate']:.0f} % ({100 * low:.0f} to {100 * high:.0f})"] = of_mode
    return told


def _headline(found: Mapping[str, Any] | None, table: ReadingTable) -> str:
    if found is None or is_missing(found["merits"][_MERIT]):
        return "The modes cannot be compared yet."
    merit = found["merits"][_MERIT]
    means = "; ".join(f"{mode} {_interval(one)}" for mode, one in merit["by_mode"].items())
    p_value = merit["obuchowski_rockette"]["p_value"]
    return f"Share of acceptable readings (rating of {table.acceptable} or more): {means}; p = {p_value:.3f}."


def _sections(
    found: Mapping[str, Any] | None,
    counts: Mapping[str, list[int]],
    table: ReadingTable,
    pictures: Mapping[str, Mapping[str, bytes]],
) -> list[Section]:
    rows = [[mode, *map(str, of_mode)] for mode, of_mode in counts.items()]
    sections = [Section("Ratings", table.question, ["mode", *table.scale], rows, list(pictures.values()))]
    if found is None:
        return sections
    rows = []
    for name, merit in found["merits"].items():
        if is_missing(merit):
            rows.append([name, merit["why"], "", ""])
            continue
        for mode, one in merit["by_mode"].items():
            rows.append([name, mode, _interval(one), ""])
        for method in ("obuchowski_rockette", "dorfman_berbaum_metz"):
            p_value = f"p = {merit[method]['p_value']:.3f} ({method.replace('_', '–').title()})"
            rows += [[name, pair, _interval(one), p_value] for pair, one in merit[method]["differences"].items()]
    about = "Readers and cases are both random; 95 % intervals with the degrees of freedom of Hillis."
    sections.append(Section("Modes compared", about, ["figure of merit", "mode or difference", "value", "test"], rows))
    rows = []
    for name, odds in found["odds"].items():
        if is_missing(odds):
            rows.append([name, odds["why"], ""])
            continue
        rows += [[name, f"{one['mode']} against {one['against']}", _ratio(one)] for one in odds]
    about = (
        "Odds of a better rating, marginal over cases (ordinal GEE, readers fixed), and of an acceptable one, with "
        "readers and cases as crossed random effects (logistic mixed model)."
    )
    sections.append(Section("Odds ratios", about, ["model", "mode", "odds ratio"], rows))
    rows = [
        [mode, _agreed(one["kappa_accepted"]), _agreed(one["icc_rating"])] for mode, one in found["agreement"].items()
    ]
    heads = ["mode", "Fleiss' κ of accept or reject", "ICC(2,1) of ratings"]
    sections.append(Section("Agreement of readers", "", heads, rows))
    rows = [[mode, _mean(one)] for mode, one in found["seconds"].items()]
    about = "By the server's clock, from when the case was last shown; BCa intervals over cases and readers."
    sections.append(Section("Seconds per case", about, ["mode or difference", "mean"], rows))
    return sections


def _answers(
    table: ReadingTable, readings: Sequence[Reading], cautions: Sequence[str], headline: str
) -> dict[str, str]:
    """Sentences by the names of the records in ``checklist.toml``."""
    modes, readers = ", ".join(table.modes), ", ".join(table.readers)
    shown = sum(one.interruptions > 0 for one in readings)
    answers = {
        "goal": f"Comparison of {modes}.",
        "sources": f"{len(table.cases)} cases; their files by SHA-256 in the digest of the design.",
        "missing": "Only cases that every reader read in every mode are compared; others are counted and left out.",
        "readers": f"{readers}. Their qualifications are not recorded: state them.",
        "variation": "Between readers: Fleiss' κ and ICC(2,1) by mode.",
        "unit": "Readers and cases are the units of every test.",
        "software": ", ".join(f"{name} {number}" for name, number in versions().items()) + ".",
        "metrics": "Share of acceptable ratings, acceptance, mean rating, seconds"
        + (", area under the ROC curve." if all(case.positive is not None for case in table.cases) else "."),
        "statistics": "Obuchowski–Rockette and Dorfman–Berbaum–Metz with readers and cases random; ordinal GEE; "
        "logistic mixed model; 95 % intervals.",
        "flow": f"{len(readings)} readings given; {shown} were interrupted and shown again.",
        "performance": headline,
        "precision": "Each value has its interval: readings.json.",
        "failures": "Every reading with its changes and comment: readings.csv.",
        "protocol": "The study file and the digest of the design, fixed with the first reading.",
        "setting": f"A page of the server; wash-out of {table.washout_days:g} days between occasions; order random by "
        f"reader, modes in a Latin square; case names hidden.",
        "interaction": f"Modes: {modes}. Readers rate, accept or reject, and may move the plan and mark errors.",
        "output": "The model's outlines and plan, in the mode uncertainty with the map of its uncertainty.",
        "decision": "Accept or reject, recorded once and for good for each case and mode.",
    }
    if cautions:
        answers["limits"] = " ".join(cautions)
    return answers


def _interval(one: Mapping[str, float]) -> str:
    return f"{one['estimate']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def _ratio(one: Mapping[str, float]) -> str:
    told = f"{one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
    return f"{told}, {one['readings']} readings of {one['cases']} cases by {one['readers']} readers"


def _mean(one: Mapping[str, Any]) -> str:
    interval = "" if one["low"] is None else f" ({one['low']:.1f} to {one['high']:.1f})"
    return f"{one['mean']:.1f}{interval}"


def _agreed(found: Any) -> str:
    if is_missing(found):
        return f"– {found['why']}"
    if isinstance(found, Mapping):
        return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    return f"{found:.2f}"
