"""What no generator takes and no memory holds is refused before anything is read."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest
import torch

from medsam_planner.cli.app import run
from medsam_planner.errors import PromptError
from medsam_planner.propagation.sources import SOURCES, source_named
from medsam_planner.segmentation.limits import LARGEST_SEED, MOST_SAMPLES
from medsam_planner.segmentation.session import Session
from medsam_planner.workflow.segment import SegmentationOptions


@pytest.fixture
def session() -> Session:
    air = highdicom.Volume(np.full((3, 8, 8), -1000, np.float32), np.eye(4), "PATIENT")
    return Session(air, seed=LARGEST_SEED)


def test_every_source_draws_with_the_largest_seed() -> None:
    for name in (*SOURCES, "+".join(SOURCES)):
        runs = source_named(name).passes(8, LARGEST_SEED)
        with torch.random.fork_rng(devices=[]):
            for run in runs:
                torch.manual_seed(run.dropout_seed or 0)


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1, 99999999999999999999])
def test_another_seed_is_refused_by_options_and_session(seed: int, session: Session) -> None:
    with pytest.raises(PromptError, match=str(LARGEST_SEED)):
        SegmentationOptions(seed=seed)
    with pytest.raises(PromptError, match=str(LARGEST_SEED)):
        Session(session.volume, session.model, seed=seed)


@pytest.mark.parametrize(("samples", "told"), [(-1, "2"), (1, "at least 2"), (MOST_SAMPLES + 1, "at most 1000")])
def test_too_few_and_too_many_passes_are_refused(samples: int, told: str, session: Session) -> None:
    with pytest.raises(PromptError, match=told):
        SegmentationOptions(samples=samples)
    with pytest.raises(PromptError, match=told):
        session.segment(samples=samples)


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [("--seed", "99999999999999999999", LARGEST_SEED), ("--samples", "100000000", MOST_SAMPLES)],
)
@pytest.mark.parametrize("command", [["segment", "/no", "/no.json"], ["run", "/no", "/no.json", "/no.toml"]])
def test_the_command_line_names_the_bound_before_it_reads(command, option, value, bound, tmp_path, capsys) -> None:
    assert run([*command, "--out", str(tmp_path / "out"), option, value]) == 2
    told = "".join(capsys.readouterr().err.replace("│", " ").split())
    assert str(bound) in told and "/no" not in told


@pytest.mark.parametrize("command", [["demo", "seeg"], ["ui"]])
def test_the_other_commands_with_a_seed_have_the_same_bound(command, tmp_path, capsys) -> None:
    assert run([*command, "--out", str(tmp_path / "out"), "--seed", str(LARGEST_SEED + 1)]) == 2
    assert str(LARGEST_SEED) in capsys.readouterr().err
