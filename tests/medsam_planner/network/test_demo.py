"""`make pacs-demo` from the phantom to results in Orthanc, and nothing is left running."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

from medsam_planner.demo.pacs_exchange import run_pacs_exchange


@pytest.mark.slow
def test_the_demonstration_brings_a_feasible_plan_into_the_pacs(own_network: None, tmp_path: Path) -> None:
    if shutil.which("Orthanc") is None:
        pytest.skip("needs the Debian packages orthanc and orthanc-dicomweb")
    results = run_pacs_exchange(tmp_path / "demo")
    assert json.loads((results / "plan.json").read_text())["verdict"]["kind"] == "feasible"
    state = json.loads((results.parent / "job.json").read_text())
    assert {"seg.dcm", "plan.dcm", "report.pdf.dcm"} <= set(state["sent"])
    for port in (8042, 11112):
        with socket.socket() as one:
            assert one.connect_ex(("127.0.0.1", port)) != 0
