"""An automatic network is trained on reviewed masks, its answer begins a study, and a click corrects it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medsam_planner.cli.app import run
from medsam_planner.engine.automatic_network import AutomaticNetwork
from medsam_planner.engine.automatic_weights import read_automatic, write_automatic
from medsam_planner.engine.registry import load_model
from medsam_planner.errors import ConfigError, OperationCancelledError, WeightsError
from medsam_planner.io import load_volume
from medsam_planner.lab.automatic.examples import split
from medsam_planner.lab.automatic.reviewed import examples_in
from medsam_planner.lab.automatic.train import TrainingOptions, train_automatic
from medsam_planner.lab.evaluation.scores import dice
from medsam_planner.lab.project.project import Project
from medsam_planner.segmentation.session import Session
from medsam_planner.volumes import volume_like
from prompts import Click

from ..adaptation.test_adapt import write_ball
from ..memory_studies import write_memory_weights

QUICK = TrainingOptions(most_steps=24, check_every=8, held_back=("case_3",))


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("balls")
    for number in range(4):
        write_ball(root, number)
    return root


@pytest.fixture(scope="module")
def trained(cases: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("network") / "ball.safetensors"
    train_automatic(examples_in(cases, "ball"), "ball", out, QUICK)
    return out


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_automatic(path)[0]


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def test_the_same_study_in_other_array_axes_gets_the_same_answer_on_its_own_voxels(trained, tmp_path):
    case = write_ball(tmp_path, 9)
    image, labels = (nibabel.loadsave.load(case / f"{name}.nii.gz") for name in ("image", "labels"))
    plain, turned = tmp_path / "plain.nii.gz", tmp_path / "turned.nii.gz"
    nibabel.loadsave.save(image, plain)
    # Array axis 0 of the turned file is z, 1 is x from its far end, 2 is y.
    affine = np.array([[0, -1, 0, 31], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(turned_about(image), affine), turned)
    masks = []
    for file in (plain, turned):
        out = tmp_path / f"mask_of_{file.name}"
        assert run(["auto", str(file), "--modality", "MR", "--model", str(trained), "--out", str(out)]) == 0
        masks.append(nibabel.loadsave.load(out))
    assert np.allclose(masks[1].affine, affine)
    assert dice(turned_about(masks[0]) > 0, np.asarray(masks[1].dataobj) > 0) > 0.99
    assert dice(np.asarray(labels.dataobj) > 0, np.asarray(masks[0].dataobj) > 0) > 0.7


def turned_about(file: Any) -> NDArray[Any]:
    return np.flip(np.asarray(file.dataobj).transpose(2, 0, 1), axis=1)


def test_the_answer_begins_a_study_and_a_click_corrects_its_slice_alone(trained, tmp_path):
    volume = load_volume(write_ball(tmp_path, 9) / "image.nii.gz", modality="MR")
    mask = volume_like(volume, AutomaticNetwork.load(trained).mask(volume))
    session = Session(volume, write_memory_weights(tmp_path / "small.safetensors"))
    session.begin_from(mask, structure="ball")
    assert np.array_equal(session.segment(structure="ball", samples=0).mask.array, mask.array)
    session.add(Click((-16.0, -16.0, 16.0), positive=False), structure="ball")
    after = np.asarray(session.segment(structure="ball", samples=0).mask.array)
    axis = int(np.argmax([(after != mask.array).any(axis=tuple({0, 1, 2} - {one})).sum() == 1 for one in range(3)]))
    changed = (after != mask.array).any(axis=tuple({0, 1, 2} - {axis}))
    assert changed.sum() <= 1


def test_file_and_card_name_cases_by_hash_and_say_what_is_not_known(trained):
    _, card = read_automatic(trained)
    text = trained.with_suffix(".md").read_text()
    assert text == card.text and len(card.cases_sha256) == 3 and len(card.held_back_sha256) == 1
    assert "case_" not in text and card.cases_sha256[0] in text and "What is not known" in text and "monai" in text
    assert not trained.with_suffix(".checkpoint").exists()


def test_a_training_that_was_stopped_gives_the_same_weights_when_resumed(cases, trained, tmp_path):
    class Stops:
        is_cancelled = False

        def update(self, stage: str, done: int, total: int) -> None:
            self.is_cancelled = self.is_cancelled or (stage.startswith("training") and done == 11)

    out = tmp_path / "ball.safetensors"
    with pytest.raises(OperationCancelledError, match="after step 11"):
        train_automatic(examples_in(cases, "ball"), "ball", out, QUICK, progress=Stops())
    with pytest.raises(ConfigError, match="Go on with --resume"):
        train_automatic(examples_in(cases, "ball"), "ball", out, QUICK)
    with pytest.raises(ConfigError, match="other cases or settings"):
        train_automatic(examples_in(cases, "ball"), "ball", out, replace(QUICK, seed=1), resume=True)
    train_automatic(examples_in(cases, "ball"), "ball", out, QUICK, resume=True)
    assert all(torch.equal(one, tensors(trained)[name]) for name, one in tensors(out).items())


def test_sigterm_leaves_a_checkpoint_and_no_network(cases, tmp_path):
    out = tmp_path / "ball.safetensors"
    command = ["train-auto", str(cases), "--label", "ball", "--out", str(out), "--most-steps", "5000"]
    code = f"import sys; from medsam_planner.cli.app import run; sys.exit(run({command!r}))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        while "training" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert "the same call with --resume goes on" in " ".join(process.stderr.read().split())
        assert process.wait() == 2
    assert out.with_suffix(".checkpoint").is_file() and not out.exists()


def test_slices_that_nobody_reviewed_teach_nothing(tmp_path):
    """The same studies, once with right and once with wrong masks on the slices that nobody reviewed."""
    found = []
    for name in ("right", "wrong"):
        project = Project.init(tmp_path / name, "balls", ["ball"])
        for number in (0, 1):
            case = write_ball(tmp_path / f"cases_{name}", number)
            study = project.add(case / "image.nii.gz", who="ann", name=f"case_{number}", modality="MR")
            mask = np.asarray(nibabel.loadsave.load(case / "labels.nii.gz").dataobj) > 0  # type: ignore[attr-defined]
            if name == "wrong":
                mask[:, :, 20:] = True
            project.record(study.name, "ball", volume_like(project.image(study), mask), who="ann")
            project.review(study.name, who="ben", slices=range(20))
        out = tmp_path / f"{name}.safetensors"
        options = replace(QUICK, most_steps=3, check_every=3, held_back=("case_1",))
        found.append(train_automatic(examples_in(project.folder, "ball"), "ball", out, options))
    assert found[0].held_back_dice == found[1].held_back_dice
    one, other = (tensors(result.weights) for result in found)
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_one_patient_is_refused_with_what_to_do(tmp_path):
    write_ball(tmp_path, 0)
    with pytest.raises(ConfigError, match=r"of another patient, or use `medsam-planner adapt`"):
        split(examples_in(tmp_path, "ball"), (), 0)


def say_of(case: Path, **entries: object) -> None:
    meta = json.loads((case / "meta.json").read_text())
    (case / "meta.json").write_text(json.dumps({**meta, **entries}))


def test_a_patient_is_never_trained_on_and_held_back_at_once(tmp_path):
    for number in range(3):
        write_ball(tmp_path, number)
    for number in (0, 1):
        say_of(tmp_path / f"case_{number}", subject="P01")
    with pytest.raises(ConfigError, match="patient P01 is in two parts"):
        split(examples_in(tmp_path, "ball"), ("case_0",), 0)
    train, back = split(examples_in(tmp_path, "ball"), (), 0)
    assert {one.patient for one in train}.isdisjoint(one.patient for one in back)


def test_the_same_image_under_two_patients_is_refused(tmp_path):
    write_ball(tmp_path, 0)
    copied = tmp_path / "case_9"
    copied.mkdir()
    for file in (tmp_path / "case_0").iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    say_of(copied, subject="P02")
    with pytest.raises(ConfigError, match=r"have the same voxels, but are of the patients .*Correct the patient"):
        train_automatic(examples_in(tmp_path, "ball"), "ball", tmp_path / "a.safetensors")


def test_a_case_without_a_patient_an_empty_mask_and_a_wrong_name_are_refused(tmp_path, capsys):
    for number in range(2):
        write_ball(tmp_path, number)
    call = ["train-auto", str(tmp_path), "--label", "ball", "--out", str(tmp_path / "a.safetensors")]
    say_of(tmp_path / "case_1", subject=None)
    assert run(call) == 2
    assert "does not state the patient" in told(capsys)
    say_of(tmp_path / "case_1", subject="P02", label_names={"2": "ball"})
    assert run(call) == 2
    assert "meta.json names label 2 'ball', but its labels hold [1] only" in told(capsys)
    empty = nibabel.nifti1.Nifti1Image(np.zeros((32, 32, 32), np.uint8), np.eye(4))
    nibabel.loadsave.save(empty, tmp_path / "case_1" / "labels.nii.gz")
    say_of(tmp_path / "case_1", label_names={"1": "ball"})
    assert run(call) == 2
    said = told(capsys)
    assert "Correct the names, or leave the case out" in said, said


def test_another_modality_or_spacing_is_told_as_a_caution(trained, tmp_path, capsys):
    case = write_ball(tmp_path, 9)
    image = nibabel.loadsave.load(case / "image.nii.gz")
    coarse = nibabel.nifti1.Nifti1Image(np.asarray(image.dataobj)[::2, ::2, ::2], np.diag([2.0, 2, 2, 1]))  # type: ignore[attr-defined]
    nibabel.loadsave.save(coarse, tmp_path / "coarse.nii.gz")
    assert run(["auto", str(tmp_path / "coarse.nii.gz"), "--modality", "CT", "--model", str(trained),
                "--out", str(tmp_path / "mask.nii.gz")]) == 0  # fmt: skip
    said = told(capsys)
    assert "Caution: The network learned on MR, this study is CT" in said
    assert "Caution: The cases had voxels of 1 × 1 × 1 mm to 1 × 1 × 1 mm, this study has 2 × 2 × 2 mm" in said
    assert "Nobody has looked at it: check every slice" in said


def test_a_study_in_which_nothing_is_found_and_a_file_that_would_be_replaced_are_refused(trained, tmp_path, capsys):
    found, card = read_automatic(trained)
    found = {name: one * 0 for name, one in found.items()}
    write_automatic(tmp_path / "blind.safetensors", found, card)
    image = write_ball(tmp_path, 9) / "image.nii.gz"
    call = ["auto", str(image), "--modality", "MR", "--model"]
    assert run([*call, str(tmp_path / "blind.safetensors"), "--out", str(tmp_path / "mask.nii.gz")]) == 2
    assert "finds no ball" in told(capsys) and not (tmp_path / "mask.nii.gz").exists()
    assert run([*call, str(trained), "--out", str(image)]) == 2
    assert "Name another one" in told(capsys)


def test_promptable_weights_and_an_automatic_network_are_not_taken_for_each_other(trained, tmp_path):
    with pytest.raises(WeightsError, match="promptable weights go to --model of `segment`"):
        AutomaticNetwork.load(write_memory_weights(tmp_path / "small.safetensors"))
    with pytest.raises(WeightsError, match="medsam-planner auto"):
        load_model(trained)
