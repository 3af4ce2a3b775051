"""nnU-Net itself takes an exported project up to the training: integrity, fingerprint, plans, cases, splits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.lab.project.exports import Exported, export_project
from medsam_planner.lab.project.formats import Format
from medsam_planner.lab.project.import_cases import add_image
from medsam_planner.lab.project.project import Project
from medsam_planner.volumes import volume_like

from ..adaptation.test_adapt import write_ball

PROGRAM = "nnUNetv2_plan_and_preprocess"
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def exported(tmp_path: Path, *, patients: int) -> Exported:
    project = Project.init(tmp_path / "project", "Balls", ["ball"])
    for number in range(3):
        study = add_image(project, write_ball(tmp_path, number), who="ann", patient=f"P{number % patients}")
        image = project.image(study)
        project.record(study.name, "ball", volume_like(image, np.asarray(image.array) > 600), who="ann")
        project.review(study.name, who="ann", slices=None if number else range(5, 25))
    return export_project(project, tmp_path / "data set", Format.NNUNET, folds=2)


def test_the_printed_command_brings_the_splits_by_patient_to_where_nnunet_reads_them(tmp_path):
    command = exported(tmp_path, patients=2).command
    assert command is not None
    prepared = tmp_path / "data set" / "nnUNet_preprocessed" / "Dataset001_Balls"
    prepared.mkdir(parents=True)
    steps = [one for one in command.split(" && ") if not one.startswith("nnUNetv2_")]
    assert len(steps) == 2
    subprocess.run(["sh", "-e", "-c", "\n".join(steps)], check=True)
    for fold in json.loads((prepared / "splits_final.json").read_text()):
        of = {name: [int(one[-1]) % 2 for one in names] for name, names in fold.items()}
        assert set(of["train"]).isdisjoint(of["val"])


def test_a_project_of_one_patient_trains_on_all_cases(tmp_path):
    command = exported(tmp_path, patients=1).command
    assert command is not None and command.endswith("nnUNetv2_train 1 3d_fullres all") and "splits" not in command


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(PROGRAM, path=PATH) is None, reason="nnunetv2 is not installed, so this was not run")
def test_nnunet_checks_fingerprints_plans_and_prepares_an_exported_project(tmp_path):
    command = exported(tmp_path, patients=2).command
    assert command is not None
    before_training, training = command.rsplit(" && ", 1)
    assert training == "nnUNetv2_train 1 3d_fullres 0"
    environment = {**os.environ, "PATH": PATH, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["sh", "-c", f"{before_training.replace(PROGRAM, f'{PROGRAM} -np 1 -npfp 1')}"],
        env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    prepared = tmp_path / "data set" / "nnUNet_preprocessed" / "Dataset001_Balls"
    fingerprint = json.loads((prepared / "dataset_fingerprint.json").read_text())
    assert fingerprint["spacings"] == [[1.0, 1.0, 1.0]] * 3 and fingerprint["shapes_after_crop"][0] == [32, 32, 32]
    plans = json.loads((prepared / "nnUNetPlans.json").read_text())
    assert plans["configurations"]["3d_fullres"]["spacing"] == [1.0, 1.0, 1.0]
    assert len(list((prepared / "nnUNetPlans_3d_fullres").glob("case_*.pkl"))) == 3
    assert len(json.loads((prepared / "splits_final.json").read_text())) == 2
