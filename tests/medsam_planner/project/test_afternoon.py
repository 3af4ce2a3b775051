"""The afternoon: init, prompt, next, adapt, the next study, export, an independent reader, report."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.engine.registry import load_model
from medsam_planner.io.mask_reading import load_mask
from medsam_planner.lab.adaptation.measured import dice_after_box
from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.lab.evaluation.protocols import Protocol, first_prompts
from medsam_planner.lab.evaluation.references import read_structures
from medsam_planner.lab.evaluation.scores import dice
from medsam_planner.lab.project.import_cases import add_image
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import State
from medsam_planner.segmentation.session import Session
from medsam_planner.volumes import volume_like
from prompts import PromptFile, next_click

from ..adaptation.test_adapt import write_ball
from ..memory_studies import write_memory_weights


def annotate(project: Project, case_folder: Path, label: str, model: Path | str, *, clicks: int) -> None:
    """A simulated annotator prompts, corrects, and draws what is still wrong; another one reviews."""
    (case,) = find_cases(case_folder)
    structure = next(one for one in read_structures(case, largest_part=False) if one.name == label)
    session = Session(project.image(project.study(case.name)), model)
    for prompt in first_prompts(structure, Protocol.BOX, 0).prompts:
        session.add(prompt, structure=label)
    mask = session.segment(structure=label, samples=0).mask
    project.record(case.name, label, mask, who="ann", prompts=PromptFile((session.log(label),)))
    for _ in range(clicks):
        click = next_click(structure.reference, np.asarray(mask.array, dtype=bool), structure.volume.affine)
        if click is None:
            break
        session.add(click, structure=label)
        mask = session.segment(structure=label, samples=0).mask
    by_hand = volume_like(mask, structure.reference)
    project.record(case.name, label, by_hand, who="ann", prompts=PromptFile((session.log(label),)), seconds=240)
    project.review(case.name, who="ben")


def whole_afternoon(
    tmp_path: Path, cases: list[Path], label: str, model: str, *, steps: int, patient: str | None = None
) -> tuple[float, float]:
    """Two studies annotated in the order that the project proposes; mean Dice on the others before and after."""
    one_patient = [] if patient is None else ["--patient", patient]
    folder, out = tmp_path / "project", tmp_path / "project.safetensors"
    assert run(["project", "init", str(folder), "--structure", label, "--model", model]) == 0
    assert run(["project", "add", str(folder), *map(str, cases), "--who", "ann", *one_patient]) == 0
    project = Project(folder)
    from medsam_planner.lab.project.next_study import next_studies

    by_name = {case.name: case for case in cases}
    for _ in range(2):
        first = next_studies(project)[0]
        annotate(project, by_name[first.name], label, model, clicks=1)
    adapt = ["adapt", str(folder), "--label", label, "--out", str(out), "--base", model, "--most-steps", str(steps)]
    others = tmp_path / "others"
    for number in (31, 32):
        write_ball(others, number, anatomy="other balls")
    assert run([*adapt, "--others", str(others)]) == 0
    left = [case for case in cases if project.study(case.name).state is State.NEW]
    structures = [one for case in left for one in read_structures(find_cases(case)[0]) if one.name == label]
    before = dice_after_box(load_model(model), structures)
    after = dice_after_box(load_model(out), structures)
    assert run(["project", "export", str(folder), "--out", str(tmp_path / "dataset"), "--folds", "2"]) == 0
    (dataset,) = (tmp_path / "dataset").glob("Dataset001_*")
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 2
    for path in sorted((dataset / "labelsTr").iterdir()):
        image = dataset / "imagesTr" / path.name.replace(".nii.gz", "_0000.nii.gz")
        pair = [nibabel.loadsave.load(one) for one in (path, image)]
        assert pair[0].shape == pair[1].shape and np.allclose(pair[0].affine, pair[1].affine)  # type: ignore[attr-defined]
        assert set(np.unique(pair[0].get_fdata())) == {0.0, 1.0}  # type: ignore[attr-defined]
    assert run(["project", "report", str(folder), "--out", str(tmp_path / "sheet.md")]) == 0
    sheet = (tmp_path / "sheet.md").read_text()
    assert "2 reviewed" in sheet and "| ann | 4 | 0 | 4.0 (of 2) |" in sheet and "| ben | 0 | 2 |" in sheet
    return float(np.mean(before)), float(np.mean(after))


def test_the_afternoon_on_procedural_studies_with_a_small_network(tmp_path):
    """Of one patient, so that no case is held back: random weights gain nothing in so few steps."""
    weights = write_memory_weights(tmp_path / "small.safetensors")
    cases = [write_ball(tmp_path / "cases", number) for number in range(3)]
    before, after = whole_afternoon(tmp_path, cases, "ball", str(weights), steps=3, patient="P01")
    assert 0 <= before <= 1 and 0 <= after <= 1


@pytest.mark.slow
def test_after_two_hippocampi_the_next_ones_are_better_after_one_box(tmp_path, shared_data):
    names = ("006", "015", "017", "020", "033", "038")
    cases = [shared_data / "cases" / f"mr_hippocampus_{name}" for name in names]
    before, after = whole_afternoon(tmp_path, cases, "hippocampus_anterior", "compact", steps=90)
    assert after > before


def test_what_is_wrong_on_the_command_line_is_said_with_what_to_do(tmp_path, capsys):
    folder = str(tmp_path / "project")
    assert run(["project", "list", folder]) == 2
    assert run(["project", "init", folder, "--structure", "ball"]) == 0
    assert run(["project", "init", folder, "--structure", "ball"]) == 2
    case = write_ball(tmp_path / "cases", 0)
    assert run(["project", "add", folder, str(case), "--who", "ann"]) == 0
    assert run(["project", "review", folder, "case_0", "--who", "ann"]) == 2
    assert "case_0 has no mask of ball yet. Record it, or exclude the study." in " ".join(
        capsys.readouterr().err.split()
    )
    assert run(["project", "exclude", folder, "case_0", "--reason", "motion", "--who", "ann"]) == 0
    assert run(["project", "list", folder]) == 0
    assert "case_0  excluded" in capsys.readouterr().out
    assert run(["adapt", folder, "--label", "ball", "--out", str(tmp_path / "a.safetensors")]) == 2


@pytest.mark.slow
def test_after_six_hippocampi_a_network_begins_the_next_ones_and_clicks_correct_it(tmp_path, shared_data):
    label, names = "hippocampus_anterior", ("006", "015", "017", "020", "033", "038", "039", "044")
    cases = [shared_data / "cases" / f"mr_hippocampus_{name}" for name in names]
    project = Project.init(tmp_path / "project", "hippocampi", [label])
    for case in cases:
        add_image(project, case, who="ann")
        if case in cases[:6]:
            (reference,) = (
                one for one in read_structures(find_cases(case)[0], largest_part=False) if one.name == label
            )
            mask = volume_like(project.image(project.study(case.name)), reference.reference)
            project.record(case.name, label, mask, who="ann")
            project.review(case.name, who="ben")
    network = tmp_path / "auto.safetensors"
    train = ["train-auto", str(project.folder), "--label", label, "--out", str(network), "--most-steps", "100"]
    assert run(train) == 0
    begun, corrected = [], []
    for case in cases[6:]:
        study, out = project.study(case.name), tmp_path / f"{case.name}.nii.gz"
        assert (
            run(["auto", str(case / "image.nii.gz"), "--modality", "MR", "--model", str(network), "--out", str(out)])
            == 0
        )
        (reference,) = (one for one in read_structures(find_cases(case)[0], largest_part=False) if one.name == label)
        session = Session(project.image(study), "compact")
        session.begin_from(load_mask(out, project.image(study)), structure=label)
        masks = [session.segment(structure=label, samples=0).mask]
        for _ in range(3):
            found = np.asarray(masks[-1].array, dtype=bool)
            click = next_click(reference.reference, found, reference.volume.affine)
            assert click is not None
            session.add(click, structure=label)
            masks.append(session.segment(structure=label, samples=0).mask)
        project.record(case.name, label, masks[-1], who="ann", prompts=PromptFile((session.log(label),)))
        project.review(case.name, who="ben")
        begun.append(dice(reference.reference, np.asarray(masks[0].array, dtype=bool)))
        corrected.append(dice(reference.reference, np.asarray(masks[-1].array, dtype=bool)))
    assert len(project.reviewed_cases()) == 8
    assert np.mean(begun) > 0.6 and np.mean(corrected) > np.mean(begun), (begun, corrected)
