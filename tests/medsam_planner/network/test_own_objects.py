"""The objects that this program writes come back from a real Orthanc as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import PeerError
from medsam_planner.network.connecting import connect
from medsam_planner.network.pull import pull
from medsam_planner.network.push import outgoing, push
from tests.medsam_planner.network.balls import write_ball
from tests.medsam_planner.network.conftest import Orthanc


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on DICOM with every object that `segment` writes."""
    folder = tmp_path_factory.mktemp("run")
    study, prompts = write_ball(folder)
    arguments = [str(study), str(prompts), "--out", str(folder / "out"), "--samples", "2", "--rtstruct"]
    assert run(["segment", *arguments]) == 0
    return folder / "out"


@pytest.mark.parametrize("name", ["web", "get", "move"])
def test_segmentation_maps_contours_and_meshes_survive(
    name: str, orthanc: Orthanc, results: Path, tmp_path: Path
) -> None:
    files = outgoing([results])
    names = {one.path.name for one in files}
    assert {"seg.dcm", "rtstruct.dcm"} < names and any(name.startswith("uncertainty") for name in names)
    node = connect(orthanc.pacs, name)
    if name == "get":  # Orthanc 1.10 does not know label maps (2023), and accepts no role for them
        (label_map,) = (one for one in files if one.path.name == "seg.dcm")
        with pytest.raises(PeerError, match="With retrieve = 'move'"):
            push(node, [label_map])
        orthanc.clear()
        files.remove(label_map)
    pushed = push(node, files)
    assert (pushed.sent, pushed.checked, pushed.changed) == (len(files), len(files), ())
    pulled = pull(node, files[0].instance.study_uid, tmp_path / "back")
    assert pulled.fetched == len(files)
    for one in files:
        back = pydicom.dcmread(tmp_path / "back" / one.instance.series_uid / f"{one.instance.uid}.dcm")
        sent = pydicom.dcmread(one.path)
        assert back == sent, one.path.name
        if "PixelData" in sent:
            np.testing.assert_array_equal(back.pixel_array, sent.pixel_array)
