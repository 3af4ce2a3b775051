"""The command line as a person meets it: what it prints, and what it says when something is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest

from medsam_planner.cli.app import run
from medsam_planner.io import load_volume, save_nifti
from medsam_planner.io.dicom_writer import write_ct_series
from prompts import Box, Click, PromptFile, PromptLog, write_prompt_file

SHAPE = (16, 56, 56)


def affine():
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, ::-1] * np.array([2.0, 0.9, 0.9])
    matrix[:3, 3] = (-25.0, -25.0, 40.0)
    return matrix


def lps(*index):
    return tuple(float(value) for value in affine()[:3, :3] @ index + affine()[:3, 3])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A DICOM series of a body with a bright organ, and the prompt file of one box on it."""
    folder = tmp_path_factory.mktemp("study")
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    body = (((index - (8, 28, 28)) / (30, 26, 26)) ** 2).sum(-1) < 1
    organ = (((index - (8, 30, 24)) / (6, 11, 9)) ** 2).sum(-1) < 1
    noise = np.random.default_rng(0).normal(0, 10, SHAPE)
    volume = highdicom.Volume(np.where(organ, 140.0, np.where(body, 20.0, -900.0)) + noise, affine(), "PATIENT")
    write_ct_series(volume, folder / "ct")
    log = PromptLog("organ")
    log.add(Box(lps(8, 18, 14), lps(8, 42, 34)))
    write_prompt_file(folder / "prompts.json", PromptFile((log,)))
    save_nifti(highdicom.Volume(organ, affine(), "PATIENT"), folder / "organ.nii.gz")
    return folder


@pytest.fixture(scope="module")
def segmented(study):
    out = study / "run"
    arguments = ["segment", str(study / "ct"), str(study / "prompts.json"), "--out", str(out), "--samples", "3"]
    assert run([*arguments, "--saliency"]) == 0
    return out


def test_help_needs_no_heavy_library():
    script = (
        "import sys; from medsam_planner.cli.app import run; code = run(['--help']); "
        "heavy = {'torch', 'open3d', 'gradio', 'monai', 'transformers', 'captum', 'matplotlib'} & set(sys.modules); "
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "segment", "plan", "run", "replay", "weights", "train", "serve", "ui", "doctor", "inspect"):
        assert command in done.stdout


def test_a_run_leaves_the_promised_files_on_the_source_grid(segmented, study):
    for name in ("mask", "probability", "uncertainty", "boundary_spread_mm", "saliency"):
        image = nibabel.load(segmented / f"{name}.nii.gz")
        assert image.shape == SHAPE
        assert np.allclose(image.affine, np.diag([-1, -1, 1, 1]) @ load_volume(study / "ct").affine, atol=1e-4)
    for name in ("prompts.json", "result.json", "meshes/organ.ply", "meshes/organ.stl", "meshes/organ.glb"):
        assert (segmented / name).is_file(), name
    for name in ("probability", "uncertainty", "mutual_information", "boundary_spread_mm", "saliency"):
        assert (segmented / f"{name}_organ.dcm").is_file(), name
    assert (segmented / "seg.dcm").is_file()
    structure = json.loads((segmented / "result.json").read_text())["structures"]["organ"]
    assert structure["volume_ml"] > 1
    assert structure["provenance"]["mask_sha256"]


def test_replay_rebuilds_the_mask_byte_for_byte(segmented, study, tmp_path, capsys):
    arguments = ["replay", str(segmented / "prompts.json"), "--study", str(study / "ct"), "--out", str(tmp_path)]
    assert run(arguments) == 0
    assert "byte for byte" in capsys.readouterr().out
    assert (tmp_path / "mask.nii.gz").read_bytes() == (segmented / "mask.nii.gz").read_bytes()


def test_replay_on_another_study_is_refused(segmented, study, tmp_path, capsys):
    other = load_volume(study / "ct")
    changed = highdicom.Volume(other.array + 1, other.affine, "PATIENT")
    save_nifti(changed, tmp_path / "other.nii.gz")
    code = run(["replay", str(segmented / "prompts.json"), "--study", str(tmp_path / "other.nii.gz")])
    assert code == 2
    assert "study recorded in the prompt file" in capsys.readouterr().err


def plan_text(study: Path, **changes: str) -> str:
    text = f"""
title = "Needle past the organ"
[study]
path = "{study / "ct"}"
[tool]
radius_mm = 0.8
entry_error_mm = 0.0
target_error_mm = 0.0
[target]
point_lps_mm = {list(lps(8, 44, 40))}
[entry]
skin = true
centre_lps_mm = {list(lps(8, 52, 40))}
radius_mm = 14.0
[[structures]]
name = "organ"
role = "avoid"
mask = "{study / "organ.nii.gz"}"
base_margin_mm = 1.0
[limits]
max_length_mm = {changes.get("max_length_mm", "60")}
[search]
candidates = 600
alternatives = 2
hit_draws = 20
"""
    return text.replace(changes.get("find", "\0"), changes.get("put", ""))


def test_plan_writes_the_plan_and_the_report(study, tmp_path, capsys):
    plan_file = tmp_path / "plan.toml"
    plan_file.write_text(plan_text(study))
    assert run(["plan", str(plan_file), "--out", str(tmp_path / "out")]) == 0
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert plan["feasible"] and plan["alternatives"][0]["certified_clearance_mm"] > 0
    keys = {"entry_lps_mm", "target_lps_mm", "limiting_structure", "limiting_point_lps_mm", "hit_probability"}
    assert keys | {"hit_probability_interval"} <= plan["alternatives"][0].keys()
    assert capsys.readouterr().out.rstrip().endswith("report.html")
    assert "<html" in (tmp_path / "out" / "report.html").read_text()


def test_a_plan_on_dicom_has_a_structured_report_as_its_twin(study, tmp_path):
    from medsam_planner.io.objects.plan_sr import document_sha256
    from tests.medsam_planner.io.plan_report import read_plan_sr

    plan_file, out = tmp_path / "plan.toml", tmp_path / "out"
    plan_file.write_text(plan_text(study))
    assert run(["plan", str(plan_file), "--out", str(out)]) == 0
    plan, report = json.loads((out / "plan.json").read_text()), read_plan_sr(out / "plan.dcm")
    assert report["plan_sha256"] == document_sha256(plan)
    assert report["notice"] == plan["notice"] and "Research use only" in plan["notice"]
    assert report["margins_statement"] == plan["margins_statement"] and "organ 1.0 mm" in plan["margins_statement"]
    assert len(report["paths"]) == len(plan["alternatives"])
    for told, line in zip(report["paths"], plan["alternatives"], strict=True):
        assert told["entry_lps_mm"] == pytest.approx(line["entry_lps_mm"], abs=1e-3)
        assert told["certified_clearance_mm"] == pytest.approx(line["certified_clearance_mm"])
        assert told["limiting_structure"] == line["limiting_structure"]
    plan_file.write_text(plan_text(study, max_length_mm="3"))
    assert run(["plan", str(plan_file), "--out", str(out)]) == 1
    assert not (out / "plan.dcm").exists()  # the report of another plan does not stay


def test_several_tools_are_planned_from_one_plan_file(study, tmp_path, capsys):
    plan_file, out = tmp_path / "plan.toml", tmp_path / "out"
    text = plan_text(study)
    tool = text[text.index("[tool]") : text.index("[[structures]]")]
    tools = "".join(
        f"""[[tools]]
name = "{name}"
radius_mm = 0.4
entry_error_mm = 0.2
target_error_mm = 0.3
target = {{ point_lps_mm = {list(lps(k, 44, 40))} }}
entry = {{ skin = true, centre_lps_mm = {list(lps(k, 52, 40))}, radius_mm = 14.0 }}
"""
        for name, k in (("low", 5), ("high", 11))
    )
    plan_file.write_text("min_tool_gap_mm = 1.0\n" + text.replace(tool, tools))
    assert run(["plan", str(plan_file), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "Between low and high" in told and told.rstrip().endswith("report.html")
    plan = json.loads((out / "plan.json").read_text())
    assert plan["feasible"] and [tool["name"] for tool in plan["tools"]] == ["low", "high"]
    assert plan["tool_gaps"][0]["certified_gap_mm"] >= plan["min_tool_gap_mm"] == 1.0
    page = (out / "report.html").read_text()
    assert "2 tools that keep apart" in page and "low and high" in page
    assert page.count("Probe's-eye view") == 2
    assert (out / "plan.dcm").is_file()


def test_an_infeasible_plan_says_what_to_relax_and_ends_with_1(study, tmp_path, capsys):
    plan_file = tmp_path / "plan.toml"
    plan_file.write_text(plan_text(study, max_length_mm="3"))
    assert run(["plan", str(plan_file), "--out", str(tmp_path / "out")]) == 1
    assert "Raise the maximum length" in capsys.readouterr().out
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert not plan["feasible"] and plan["relaxations"]


def test_a_replay_finds_the_series_again_and_repeats_the_corrections(study, tmp_path, capsys):
    both = tmp_path / "both"
    shutil.copytree(study / "ct", both / "first")
    ct = load_volume(study / "ct")
    write_ct_series(highdicom.Volume(ct.array[::-1].copy(), ct.affine, "PATIENT"), both / "second")
    files = sorted((both / "first").iterdir())
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)
    arguments = ["segment", str(both), str(study / "prompts.json"), "--out", str(tmp_path / "run"), "--samples", "0"]
    assert run([*arguments, "--no-saliency"]) == 2
    assert "--series" in capsys.readouterr().err
    assert run([*arguments, "--no-saliency", "--series", uid, "--clip-outliers"]) == 0
    operations = json.loads((tmp_path / "run" / "prompts.json").read_text())["provenance"]["settings"]["operations"]
    assert operations[-1]["name"] == "clip_outliers"
    assert run(["replay", str(tmp_path / "run" / "prompts.json"), "--study", str(both)]) == 0
    assert "byte for byte" in capsys.readouterr().out


def test_run_goes_from_study_to_report(study, tmp_path):
    plan_file = tmp_path / "plan.toml"
    plan_file.write_text(plan_text(study, find=f'mask = "{study / "organ.nii.gz"}"\n'))
    arguments = ["run", str(study / "ct"), str(study / "prompts.json"), str(plan_file), "--out", str(tmp_path / "out")]
    assert run([*arguments, "--samples", "3"]) == 0
    for name in ("mask.nii.gz", "meshes/organ.ply", "prompts.json", "result.json", "plan.json", "report.html"):
        assert (tmp_path / "out" / name).is_file(), name


def test_inspect_lists_the_series(study, tmp_path, capsys):
    assert run(["inspect", str(study / "ct")]) == 0
    assert "16 × 56 × 56" in capsys.readouterr().out
    assert run(["inspect", str(tmp_path)]) == 1
    assert "No image series" in capsys.readouterr().out


def test_doctor_tries_everything(capsys):
    assert run(["doctor"]) == 0
    assert "Dice" in capsys.readouterr().out


def wrong_calls(study: Path, folder: Path) -> dict[str, tuple[list[str], str]]:
    """Twenty mistakes: the arguments, and what the message must say."""
    ct, prompts, out = str(study / "ct"), str(study / "prompts.json"), str(folder / "out")
    empty = folder / "empty"
    empty.mkdir()
    text = folder / "notes.txt"
    text.write_text("not an image")
    broken = folder / "broken.json"
    broken.write_text("{")
    outside = folder / "outside.json"
    log = PromptLog("far")
    log.add(Click((900.0, 0.0, 0.0)))
    write_prompt_file(outside, PromptFile((log,)))
    negative = folder / "negative.json"
    log = PromptLog("nothing")
    log.add(Click(lps(8, 30, 24), positive=False))
    write_prompt_file(negative, PromptFile((log,)))
    truncated = folder / "truncated"
    truncated.mkdir()
    for number, path in enumerate(sorted((study / "ct").iterdir())):
        content = path.read_bytes()
        (truncated / path.name).write_bytes(content[: len(content) // 2] if number == 5 else content)
    gap = folder / "gap"
    gap.mkdir()
    for number, path in enumerate(sorted((study / "ct").iterdir())):
        if number != 5:
            (gap / path.name).write_bytes(path.read_bytes())
    toml = folder / "plan.toml"
    toml.write_text(plan_text(study, find="radius_mm = 0.8", put="radius_mm = 0"))
    unstudied = folder / "unstudied.toml"
    unstudied.write_text(plan_text(study).replace(f'[study]\npath = "{study / "ct"}"\n', ""))
    promptless = folder / "promptless.toml"
    promptless.write_text(plan_text(study).replace(f'mask = "{study / "organ.nii.gz"}"\n', ""))
    astray = folder / "astray.toml"
    astray.write_text(plan_text(study, find=f"point_lps_mm = {list(lps(8, 44, 40))}", put="point_lps_mm = [0, 900, 0]"))
    labels = folder / "labels.nii.gz"
    save_nifti(highdicom.Volume(np.indices(SHAPE)[0].astype(np.int16), affine(), "PATIENT"), labels)
    labelled = folder / "labelled.toml"
    labelled.write_text(plan_text(study, find=str(study / "organ.nii.gz"), put=str(labels)))
    elsewhere = folder / "elsewhere.nii.gz"
    moved = affine()
    moved[:3, 3] += 900
    save_nifti(highdicom.Volume(np.indices(SHAPE)[0] > 4, moved, "PATIENT"), elsewhere)
    moved_mask = folder / "moved.toml"
    moved_mask.write_text(plan_text(study, find=str(study / "organ.nii.gz"), put=str(elsewhere)))
    unnamed = folder / "unnamed.toml"
    unnamed.write_text(promptless.read_text().replace('name = "organ"', 'name = "vein"'))
    nowhere = folder / "nowhere.toml"
    target = f"point_lps_mm = {list(lps(8, 44, 40))}"
    nowhere.write_text(promptless.read_text().replace(target, 'structure = "lesion"'))
    syntax = folder / "syntax.toml"
    syntax.write_text("[tool\nradius_mm = 1")
    corrupt = folder / "corrupt.safetensors"
    corrupt.write_bytes(b"\xff" * 300)
    not_dicom = folder / "not_dicom"
    not_dicom.mkdir()
    (not_dicom / "image.dcm").write_text("not an image " * 50)
    config = folder / "train.toml"
    config.write_text("steps = -1")
    segment = ["--out", out, "--samples", "0", "--no-saliency"]
    return {
        "absent study": (["segment", "/no/such", prompts, *segment], "does not exist"),
        "empty folder": (["segment", str(empty), prompts, *segment], "Expected"),
        "text file": (["segment", str(text), prompts, *segment], "notes.txt"),
        "truncated file": (["segment", str(truncated), prompts, *segment], "slice_0005.dcm"),
        "missing slice": (["segment", str(gap), prompts, *segment], "slice"),
        "no such series": (["segment", ct, prompts, *segment, "--series", "9"], "series"),
        "absent prompts": (["segment", ct, str(folder / "no.json"), *segment], "no.json"),
        "broken prompts": (["segment", ct, str(broken), *segment], "broken.json"),
        "prompt outside": (["segment", ct, str(outside), *segment], "inside the volume"),
        "only negative": (["segment", ct, str(negative), *segment], "where the structure is"),
        "a source nobody knows": (
            ["segment", ct, prompts, "--out", out, "--uncertainty", "guess"],
            "dropout, jitter, augment, triplanar",
        ),
        "planes of one propagation": (
            ["run", ct, prompts, str(syntax), "--out", out, "--uncertainty", "dropout+triplanar"],
            "add --triplanar",
        ),
        "one sample": (["segment", ct, prompts, "--out", out, "--samples", "1"], "at least 2"),
        "unknown model": (["segment", ct, prompts, *segment, "--model", "gpt"], "compact"),
        "absent weights": (["segment", ct, prompts, *segment, "--model", "medsam-vit-b"], "weights fetch"),
        "unknown window": (["segment", ct, prompts, *segment, "--window", "liverish"], "soft-tissue"),
        "window of letters": (["segment", ct, prompts, *segment, "--window", "a,b"], "a,b"),
        "out is a file": (["segment", ct, prompts, "--out", str(text), "--samples", "0"], "folder"),
        "wrong plan file": (["plan", str(toml), "--out", out], "tool.radius_mm"),
        "plan file without study": (["plan", str(unstudied), "--out", out], "study.path"),
        "plan file without mask": (["plan", str(promptless), "--out", out], "mask, or prompts"),
        "text named as DICOM": (["segment", str(not_dicom), prompts, *segment], "image.dcm"),
        "corrupt weights": (["segment", ct, prompts, *segment, "--model", str(corrupt)], "corrupt.safetensors"),
        "target outside": (["plan", str(astray), "--out", out], "inside the study"),
        "labels as a mask": (["plan", str(labelled), "--out", out], "0 and one other value"),
        "mask of another place": (["plan", str(moved_mask), "--out", out], "lies outside the study"),
        "plan file of another structure": (["run", ct, prompts, str(unnamed), "--out", out], "structures[vein]"),
        "target of no structure": (["run", ct, prompts, str(nowhere), "--out", out], "target.structure"),
        "plan file with a syntax error": (["run", ct, prompts, str(syntax), "--out", out], "syntax.toml"),
        "bias field of a CT": (["segment", ct, prompts, *segment, "--correct-bias-field"], "MR coils"),
        "replay of a hand-written file": (["replay", prompts], "written by a run"),
        "training nonsense": (["train", str(config)], "train.toml"),
        "unknown command": (["segmentate"], "segmentate"),
        "unknown option": (["inspect", ct, "--colour"], "--colour"),
    }


def test_twenty_wrong_calls_give_twenty_clear_errors_and_exit_code_2(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDSAM_PLANNER_WEIGHTS", str(tmp_path / "no-weights"))
    calls = wrong_calls(study, tmp_path)
    assert len(calls) >= 20
    failures = []
    for name, (arguments, told) in calls.items():
        code = run(arguments)
        message = capsys.readouterr().err
        flat = " ".join(message.replace("│", " ").split())
        if code != 2 or told not in flat or "Traceback" in message:
            failures.append(f"{name}: exit {code}, expected {told!r} in: {message[-400:]}")
    assert not failures, "\n".join(failures)
