"""A server of the nnInteractive protocol as the model of a session: its masks are those of a session beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from medsam_planner import Session, load_volume
from medsam_planner.client import Client
from medsam_planner.engine.registry import load_model, open_model, require_weights
from medsam_planner.errors import (
    ConfigError,
    ModelServerError,
    PromptError,
    SaliencyError,
    StudyError,
    UncertaintyError,
    WeightsError,
)
from medsam_planner.service.core.options import Limits
from medsam_planner.service.settings import Settings
from prompts import Box, Click, InitialMask, PromptFile, PromptLog, Scribble, VoxelMask, write_prompt_file
from tests.medsam_planner.service.nninteractive.programs import (
    CENTRE,
    ball,
    box,
    click,
    connected,
    local_session,
    lps,
    mask_of,
)
from tests.medsam_planner.service.phantom import LESION_LPS_MM
from tests.medsam_planner.service.rest import TOKEN, serving

MOST = 4
VOXEL_BOX = Box((-44.25, -24.75, 1.25), (-15.75, 3.75, 1.25))
"""Around the lesion of the phantom, with corners on voxel centres: the protocol sends whole voxels."""


@pytest.fixture(scope="module")
def address(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("data") / "service"
    with serving(Settings(out=data, model=model, roots=(study_path.parent,)), Limits(MOST)) as address:
        yield address


@pytest.fixture
def remote(address: str, model: str) -> Iterator[Session]:
    session = Session(local_session(model).volume, f"nninteractive:{address}/nninteractive")
    yield session
    session._segmenter._disconnect()  # type: ignore[union-attr]


def test_clicks_boxes_and_masks_give_the_masks_of_a_local_session_and_undo_leads_back(
    remote: Session, model: str
) -> None:
    local = local_session(model)
    masks = []
    for prompt in (
        click(20, 8, 10, False),
        box((12, 18, 28), (12, 62, 72)),
        click(15, 41, 52),
        InitialMask(VoxelMask.from_array(ball(15.0), local.volume.affine)),
        click(12, 58, 50),
        box((8, 18, 28), (16, 62, 72)),
    ):
        for session in (local, remote):
            session.add(prompt)
        masks.append(mask_of(local))
        assert np.array_equal(mask_of(remote), masks[-1])
    for mask in reversed(masks[:-1]):
        remote.undo()
        assert np.array_equal(mask_of(remote), mask)


def test_an_edit_sets_or_clears_these_voxels_and_later_prompts_correct_what_is_there(remote: Session) -> None:
    remote.add(box((12, 18, 28), (12, 62, 72)))
    mask = mask_of(remote)
    part = np.zeros(mask.shape, bool)
    part[12, 10:36, 30:44] = True
    remote.edit(part, positive=False)
    assert np.array_equal(mask_of(remote), mask & ~part)
    remote.edit(part)
    assert np.array_equal(mask_of(remote), mask | part)
    remote.add(click(12, 20, 36, False))
    assert mask_of(remote).sum() < (mask | part).sum()
    for _ in range(3):
        remote.undo()
    assert np.array_equal(mask_of(remote), mask)


def test_a_stroke_says_where_the_structure_is(remote: Session) -> None:
    remote.add(Scribble([lps(12, 40, column) for column in range(35, 66)]))
    inside = mask_of(remote)
    assert 2 * (inside & ball()).sum() / (inside.sum() + ball().sum()) > 0.8


def test_two_structures_of_a_session_do_not_mix(remote: Session, model: str) -> None:
    local = local_session(model)
    for session in (local, remote):
        session.add(box((12, 18, 28), (12, 62, 72)), structure="a")
        session.add(click(15, 41, 52), structure="b")
    for name in ("a", "b", "a"):
        expected = local.segment(structure=name, samples=0).mask.array
        assert np.array_equal(remote.segment(structure=name, samples=0).mask.array, expected)


def test_the_preview_is_the_mask_on_the_prompted_slices(remote: Session) -> None:
    remote.add(box((12, 18, 28), (12, 62, 72)))
    remote.add(click(15, 41, 52))
    ((axis, found),) = remote.preview().items()
    assert (axis, sorted(found)) == (0, [12, 15])
    mask = remote.segment(samples=0).mask.array
    assert all(np.array_equal(one.mask(), mask[index]) for index, one in found.items())


def test_moved_prompts_show_where_the_surface_is_uncertain(remote: Session) -> None:
    remote.add(box((12, 18, 28), (12, 62, 72)))
    result = remote.segment(samples=4, uncertainty="jitter")
    assert result.uncertainty is not None and result.mask_samples is not None and result.boundary_spread_mm is not None
    uncertain = result.uncertainty.array > 0.5
    assert uncertain.any()
    assert not uncertain[tuple(CENTRE)]
    assert len(result.mask_samples) == 4
    again = remote.segment(samples=4, uncertainty="jitter")
    assert again.uncertainty is not None
    assert np.array_equal(again.uncertainty.array, result.uncertainty.array)
    assert np.array_equal(again.mask.array, result.mask.array)


def test_what_needs_the_inside_of_the_model_is_refused(remote: Session, model: str) -> None:
    remote.add(click(*CENTRE))
    for source in ("dropout", "augment", "dropout+jitter"):
        with pytest.raises(UncertaintyError, match="jitter"):
            remote.segment(uncertainty=source)
    with pytest.raises(SaliencyError, match="masks only"):
        remote.segment(samples=0, saliency=True)
    with pytest.raises(SaliencyError, match="masks only"):
        remote.why_here(lps(*CENTRE))
    with pytest.raises(PromptError, match="as a whole"):
        remote.segment(samples=0, triplanar=True)
    with pytest.raises(StudyError, match="window"):
        Session(remote.volume, remote.model, window=(40.0, 400.0))
    with pytest.raises(WeightsError, match="weights on this machine"):
        load_model(remote.model.name)


def test_a_result_tells_the_server_and_no_predicted_iou(remote: Session, address: str) -> None:
    remote.add(click(*CENTRE))
    result = remote.segment(samples=0)
    assert result.provenance.model == f"nninteractive:{address}/nninteractive"
    assert len(result.provenance.weights_sha256) == 64
    assert {record.quality for record in result.trace.records} == {None}
    assert result.trace.anchors() == (CENTRE[0],)


def test_a_session_that_ends_gives_its_place_back(address: str, model: str) -> None:
    with Client(address) as rest:
        before = rest.info()["sessions_held"]
        session = Session(local_session(model).volume, f"nninteractive:{address}/nninteractive")
        session.add(click(*CENTRE))
        session.segment(samples=0)
        assert rest.info()["sessions_held"] == before + 1
        del session
        assert rest.info()["sessions_held"] == before


def test_a_lost_session_is_told_and_the_next_call_says_the_prompts_anew(
    remote: Session, address: str, model: str
) -> None:
    local = local_session(model)
    for session in (local, remote):
        session.add(click(*CENTRE))
    remote.segment(samples=0)
    with Client(address) as rest:
        rest.continue_session(rest.sessions()[0]["id"], take_over=True).release()
    for session in (local, remote):
        session.add(click(15, 41, 52))
    with pytest.raises(ModelServerError, match="Ask again"):
        remote.segment(samples=0)
    assert np.array_equal(mask_of(remote), mask_of(local))


def test_a_server_that_is_away_full_or_something_else_is_told(model: str, tmp_path: Path) -> None:
    with pytest.raises(ModelServerError, match="does not answer"):
        open_model("nninteractive:http://127.0.0.1:9")
    with serving(Settings(out=tmp_path, model=model), Limits(1), token=TOKEN) as address:
        with pytest.raises(ModelServerError, match="NN_INTERACTIVE_API_KEY"):
            open_model(f"nninteractive:{address}/nninteractive")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NN_INTERACTIVE_API_KEY", TOKEN)
            open_model(f"nninteractive:{address}/nninteractive")
            with pytest.raises(ModelServerError, match="404"):
                open_model(f"nninteractive:{address}/nowhere")
            with (
                connected(f"{address}", token=TOKEN),
                pytest.raises(ModelServerError, match="no place left"),
            ):
                open_model(f"nninteractive:{address}/nninteractive")


@pytest.mark.parametrize(
    "name",
    ["nninteractive:", "nninteractive:ftp://host/x", "nninteractive:http://me:secret@host", "nninteractive:host"],
)
def test_a_name_without_an_address_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="NN_INTERACTIVE_API_KEY"):
        require_weights(name)


def test_a_client_of_rest_cannot_name_a_server(address: str) -> None:
    """The server would connect wherever its clients want."""
    with Client(address) as rest:
        study = rest.open_study("abdomen.nii.gz")
        with pytest.raises(ConfigError, match="Expected one of the models"):
            rest.open_session(study, model=f"nninteractive:{address}/nninteractive")


def test_a_service_may_use_another_server_as_its_model_and_tells_its_clients_when_that_is_away(
    model: str, study_path: Path, tmp_path: Path
) -> None:
    local = Session(load_volume(study_path), model)
    local.add(VOXEL_BOX)
    expected = local.segment(samples=0).provenance.mask_sha256
    with ExitStack() as far_away:
        far = far_away.enter_context(serving(Settings(out=tmp_path / "far", model=model)))
        near = Settings(out=tmp_path / "near", model=f"nninteractive:{far}/nninteractive", roots=(study_path.parent,))
        with serving(near) as address, Client(address) as client:
            session = client.open_session(client.open_study(study_path.name))
            session.add("lesion", VOXEL_BOX)
            session.segment("lesion", samples=0)
            result = session.structures()["lesion"].result
            assert result is not None and result["mask_sha256"] == expected
            far_away.close()
            session.add("lesion", Click(LESION_LPS_MM))
            with pytest.raises(ModelServerError, match="does not answer"):
                session.segment("lesion", samples=0)


def test_the_command_line_segments_with_a_server(address: str, study_path: Path, model: str, tmp_path: Path) -> None:
    log = PromptLog("lesion")
    log.add(VOXEL_BOX)
    write_prompt_file(tmp_path / "prompts.json", PromptFile((log,)))
    name = f"nninteractive:{address}/nninteractive"
    command = ["segment", str(study_path), str(tmp_path / "prompts.json"), "--out", str(tmp_path / "out")]
    command += ["--model", name, "--uncertainty", "jitter", "--samples", "2"]
    code = f"from medsam_planner.cli import main; main({command!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    local = Session(load_volume(study_path), model)
    local.add(VOXEL_BOX, structure="lesion")
    expected = local.segment(structure="lesion", samples=0).mask.array
    assert np.array_equal(load_volume(tmp_path / "out" / "mask.nii.gz", modality="MR").array > 0, expected)
    assert name in json.dumps(json.loads((tmp_path / "out" / "result.json").read_text()))
    assert httpx.get(f"{address}/healthz").status_code == 200
