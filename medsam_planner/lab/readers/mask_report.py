"""The analysis of a study on masks, as JSON, CSV, figures and one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medsam_planner.errors import ConfigError, require_extra
from medsam_planner.io.files import file_sha256, write_json
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.lab.readers.checklist import filled_checklist
from medsam_planner.lab.readers.figures import drawn, forest, volume_agreement
from medsam_planner.lab.readers.mask_answers import mask_answers
from medsam_planner.lab.readers.mask_comparison import METRICS
from medsam_planner.lab.readers.mask_statistics import (
    ALL,
    SummaryRow,
    agreement,
    few_cautions,
    hypothesis_test,
    summaries,
)
from medsam_planner.lab.readers.mask_study import OTHERS, MaskStudy, compare_readers
from medsam_planner.lab.readers.study_page import (
    Analysed,
    Section,
    figure_names,
    write_csv,
    write_figures,
    write_study_page,
)
from medsam_planner.progress import Progress
from medsam_planner.provenance import versions
from medsam_planner.reading.study_file import StudyFile

__all__ = ["analyse_masks"]

_FIGURES = {metric: f"{metric}_by_structure" for metric in ("dice", "surface_dice_2mm", "hd95_mm", "asd_mm")}
_VOLUMES = "volumes"


def analyse_masks(
    study: StudyFile, out: Path, *, source: Path, seed: int = 0, progress: Progress | None = None
) -> Analysed:
    """Compare the masks of a study's readers and write everything.

    Parameters
    ----------
    study : StudyFile
        With the table ``masks``.
    out : Path
        Folder for ``study.json``, ``scores.csv``, ``volumes.csv``, ``summary.csv``, ``study.html`` and the figures.
    source : Path
        The study file, or the folder of cases.
    seed : int
        Of the bootstrap.
    progress : Progress, optional

    Raises
    ------
    ConfigError, OutputError
    MissingDependencyError
        Without the extra ``readers``.
    """
    require_extra("readers", "The analysis of a study with readers")
    if study.masks is None:
        raise ConfigError("The study file has no table [masks], so there is nothing to compare.")
    names = ["study.json", "scores.csv", "volumes.csv", "summary.csv", "study.html"]
    names += figure_names([*_FIGURES.values(), _VOLUMES])
    with OutputFolder(out, names, inputs=[study.masks.cases]) as folder:
        found = compare_readers(study.masks, progress=progress)
        rows = summaries(found, seed=seed)
        agreed, tested = agreement(found, seed=seed), hypothesis_test(found, study.hypothesis)
        cautions = (*few_cautions(found), *found.cautions)
        headline = _headline(rows, tested)
        checked = filled_checklist(mask_answers(study, found, tested, cautions, headline), study.statements)
        pictures = {name: drawn(forest(rows, metric)) for metric, name in _FIGURES.items()}
        pictures[_VOLUMES] = drawn(volume_agreement(found, agreed["volumes"]))
        document = {
            "kind": "medsam-planner study of masks",
            "title": study.title,
            "study_file_sha256": file_sha256(source) if source.is_file() else None,
            "settings": {**study.masks.model_dump(mode="json", exclude={"cases"}), "seed": seed},
            "readers": list(found.readers),
            "model": found.model,
            "cases": [
                {"name": case.name, "patient": case.patient, "labels_sha256": dict(case.sha256_by_reader)}
                for case in found.cases
            ],
            "cautions": list(cautions),
            "summary": [asdict(row) for row in rows],
            "agreement": agreed,
            "non_inferiority": tested,
            "checklist": [asdict(item) for item in checked],
            "versions": versions(),
        }
        write_figures(folder, pictures)
        write_json(folder / "study.json", document)
        write_csv(folder / "scores.csv", _score_rows(found))
        write_csv(folder / "volumes.csv", _volume_rows(found))
        write_csv(folder / "summary.csv", _summary_rows(rows))
        page = write_study_page(
            folder / "study.html", document, _sections(found, rows, agreed, tested, pictures), checked
        )
    return Analysed(page, headline, tuple(cautions))


def _headline(rows: list[SummaryRow], tested: Mapping[str, Any]) -> str:
    told = []
    for row in rows:
        if row.structure == ALL and row.reference == OTHERS and row.metric in ("dice", "hd95_mm"):
            told.append(f"{row.compared} against the others: {METRICS[row.metric].label} {_told(row)}")
    if tested["result"] is not None:
        result = tested["result"]
        verdict = "is not inferior" if result["is_shown"] else "is not shown to be non-inferior"
        told.append(f"the model {verdict} (difference {result['difference']:.3f}, lower bound {result['low']:.3f})")
    return "; ".join(told) + "."


def _told(row: SummaryRow) -> str:
    mean, about = row.mean, METRICS[row.metric]
    unit = f" {about.unit}" if about.unit else ""
    if mean.low is None or mean.high is None:
        return f"{mean.mean:.{about.digits}f}{unit} (one patient)"
    return f"{mean.mean:.{about.digits}f} ({mean.low:.{about.digits}f} to {mean.high:.{about.digits}f}){unit}"


def _score_rows(study: MaskStudy) -> list[dict[str, Any]]:
    return [
        {
            "case": row.case,
            "patient": row.patient,
            "structure": row.structure,
            "mask_of": row.mask_of,
            "reference": row.reference,
            "left_out": row.left_out,
            **asdict(row.scores),
        }
        for row in study.rows
    ]


def _volume_rows(study: MaskStudy) -> list[dict[str, Any]]:
    return [
        {
            "case": reading.case,
            "patient": reading.patient,
            "structure": reading.structure,
            "reader": reader,
            "volume_ml": volume,
            "kappa": reading.kappa,
        }
        for reading in study.readings
        for reader, volume in reading.volume_ml_by_reader.items()
    ]


def _summary_rows(rows: list[SummaryRow]) -> list[dict[str, Any]]:
    return [
        {
            "structure": row.structure,
            "compared": row.compared,
            "reference": row.reference,
            "metric": row.metric,
            **asdict(row.mean),
        }
        for row in rows
    ]


def _sections(
    study: MaskStudy,
    rows: list[SummaryRow],
    agreed: Mapping[str, Any],
    tested: Mapping[str, Any],
    pictures: Mapping[str, Mapping[str, bytes]],
) -> list[Section]:
    sections = []
    titles = {OTHERS: "Against the other readers", "staple": "Against STAPLE", "majority": "Against the majority"}
    for reference in sorted({row.reference for row in rows}, key=list(_ABOUT).index):
        own = [row for row in rows if row.reference == reference]
        table = []
        for structure, compared in dict.fromkeys((row.structure, row.compared) for row in own):
            told = {row.metric: _told(row) for row in own if (row.structure, row.compared) == (structure, compared)}
            table.append([structure, compared, *(told.get(metric, "–") for metric in METRICS)])
        heads = ["structure", "whose", *(one.label for one in METRICS.values())]
        shown = [pictures[name] for name in _FIGURES.values()] if reference == OTHERS else []
        sections.append(
            Section(titles.get(reference, "Second readings"), _ABOUT.get(reference, ""), heads, table, shown)
        )
    by_structure = [
        [name, _icc(one["volume_icc"]), _mean(one["kappa"]), str(one["cases"])]
        for name, one in agreed["by_structure"].items()
    ]
    heads = ["structure", "ICC(2,1) of volumes", "Fleiss' κ of voxels", "cases"]
    sections.append(Section("Agreement", _ABOUT["agreement"], heads, by_structure, [pictures[_VOLUMES]]))
    values = {**(tested["stated"] or {}), **(tested["result"] or {}), "patients needed": tested.get("patients_needed")}
    table = [[name, str(value)] for name, value in values.items() if value is not None]
    sections.append(Section("Non-inferiority of the model", tested["why"], ["", ""], table, []))
    return sections


_ABOUT = {
    OTHERS: "Each reader, and the model, against the consensus of the readers but one: nobody is compared with itself. "
    "Mean with its 95 % BCa bootstrap interval over patients and readers.",
    "staple": "Each reader is one of those that STAPLE combines, which favours readers over a model.",
    "majority": "What more than half of the readers drew, each reader among them, too.",
    "itself": "A reader's second reading against the first.",
    "agreement": "κ in the box of the readers' union grown by one voxel, mean over patients. In the plot: bias with "
    "its 95 % interval over patients; limits of agreement over structures, which in one patient are not independent.",
}


def _icc(found: Mapping[str, Any]) -> str:
    return (
        f"– {found['why']}" if "why" in found else f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    )


def _mean(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    interval = "" if found["low"] is None else f" ({found['low']:.2f} to {found['high']:.2f})"
    return f"{found['mean']:.2f}{interval}"
