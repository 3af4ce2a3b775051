"""`make pacs-demo` from the phantom to results in Orthanc; nothing is left running; what OHIF makes of the results."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from medsam_planner.demo.ohif import fetch_ohif, serve_ohif, viewer_address
from medsam_planner.demo.pacs_exchange import run_pacs_exchange
from medsam_planner.errors import MissingDependencyError
from tests.ui.browser import ARGUMENTS, PATIENCE_MS, chromium

__all__ = ["chromium"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

PICTURES = Path(__file__).parents[3] / "out" / "ohif"
"""Git ignores it. They are to be looked at."""
WEBGL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


@pytest.fixture(scope="module")
def results(own_network: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("Orthanc") is None:
        pytest.skip("needs the Debian packages orthanc and orthanc-dicomweb")
    return run_pacs_exchange(tmp_path_factory.mktemp("demo") / "demo")


def test_the_demonstration_brings_a_feasible_plan_into_the_pacs(results: Path) -> None:
    assert json.loads((results / "plan.json").read_text())["verdict"]["kind"] == "feasible"
    state = json.loads((results.parent / "job.json").read_text())
    assert {"seg.dcm", "plan_seg.dcm", "plan.dcm", "report.pdf.dcm"} <= set(state["sent"])
    for port in (8042, 11112):
        with socket.socket() as one:
            assert one.connect_ex(("127.0.0.1", port)) != 0


def test_each_object_of_the_demonstration_is_smaller_than_10_mb(results: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in results.glob("*.dcm")}
    assert len(sizes) > 15 and max(sizes.values()) < 10_000_000, sizes


@dataclass
class Viewer:
    """OHIF in Chromium, and what it asked for and complained of."""

    page: Any
    address: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def watch(self) -> None:
        base = self.address.partition("/viewer")[0]
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "request",
            lambda asked: None if asked.url.startswith((base, "data:", "blob:")) else self.foreign.append(asked.url),
        )

    def show(self, sop_instance_uid: str) -> str:
        """Open the study anew and show one object; gives the identifier of its display set."""
        page = self.page
        page.goto(self.address, timeout=PATIENCE_MS)
        there = f"uid => {FOUND}(uid) && {SETTLED}"
        page.wait_for_function(there, arg=sop_instance_uid, timeout=PATIENCE_MS)
        return str(
            page.evaluate(
                f"""uid => {{ const shown = {FOUND}(uid).displaySetInstanceUID;
                const grid = window.services.viewportGridService;
                grid.setDisplaySetsForViewport(
                    {{ viewportId: grid.getActiveViewportId(), displaySetInstanceUIDs: [shown] }});
                return shown; }}""",
                sop_instance_uid,
            )
        )

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(3000)
        self.page.screenshot(path=str(PICTURES / f"{name}.png"))


FOUND = """(uid => window.services?.displaySetService?.activeDisplaySets.find(
    one => one.SOPInstanceUID === uid || one.instances?.some(each => each.SOPInstanceUID === uid)))"""
SETTLED = "window.services.viewportGridService.getActiveViewportId()"
COUNTS = """() => { for (const one of window.services.segmentationService.getSegmentations()) {
    const images = (one.representationData.Labelmap?.imageIds || []).map(id => window.cornerstone.cache.getImage(id));
    if (!images.length || images.includes(undefined)) continue;
    const counts = {};
    for (const image of images) for (const value of image.voxelManager.getScalarData())
        if (value) counts[value] = (counts[value] || 0) + 1;
    const named = Object.values(one.segments).filter(each => each.segmentIndex);
    if (named.every(each => counts[each.segmentIndex]))
        return Object.fromEntries(named.map(each => [each.label, counts[each.segmentIndex]])); }
    return null; }"""


@pytest.fixture(scope="module")
def viewer(results: Path, chromium: str) -> Iterator[Viewer]:
    playwright = pytest.importorskip("playwright.sync_api")
    try:
        files = fetch_ohif()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    demo = results.parents[3]
    study = str(pydicom.dcmread(results / "seg.dcm", stop_before_pixels=True).StudyInstanceUID)
    with (demo / "orthanc-again.log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(demo / "orthanc.json")], stdout=log, stderr=log)
    try:
        until_orthanc_answers()
        with serve_ohif(files, 8042) as base, playwright.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=chromium, args=[*ARGUMENTS, *WEBGL])
            page = browser.new_page(viewport={"width": 1500, "height": 950})
            page.add_init_script("localStorage.setItem('shownTours', '[\"basicViewerTour\"]')")
            shown = Viewer(page, viewer_address(base, study))
            shown.watch()
            yield shown
            browser.close()
    finally:
        process.terminate()
        process.wait(60)


def until_orthanc_answers() -> None:
    ends = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen("http://127.0.0.1:8042/system", timeout=10).close()
            return
        except OSError:
            assert time.monotonic() < ends, "Orthanc does not answer"
            time.sleep(0.5)


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def test_ohif_counts_the_voxels_of_each_structure_exactly(viewer: Viewer, results: Path) -> None:
    masks = {path.parent.name: np.asarray(nibabel.load(path).dataobj) for path in results.glob("*/mask.nii.gz")}
    assert len(masks) == 3
    viewer.show(uid_of(results / "seg.dcm"))
    found = viewer.page.wait_for_function(COUNTS, timeout=PATIENCE_MS).json_value()
    viewer.picture("seg")
    assert found == {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    assert not viewer.complaints and not viewer.foreign


def test_ohif_shows_the_planned_tool_and_its_margin(viewer: Viewer, results: Path) -> None:
    planned = pydicom.dcmread(results / "plan_seg.dcm")
    expected = dict.fromkeys((one.SegmentLabel for one in planned.SegmentSequence if one.SegmentNumber), 0)
    labels = {one.SegmentNumber: one.SegmentLabel for one in planned.SegmentSequence}
    stored = planned.pixel_array
    if planned.SegmentationType == "LABELMAP":
        for number, label in labels.items():
            if number:
                expected[label] = int((stored == number).sum())
    else:
        for frame, groups in zip(stored, planned.PerFrameFunctionalGroupsSequence, strict=True):
            number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            expected[labels[number]] += int(frame.sum())
    viewer.show(uid_of(results / "plan_seg.dcm"))
    found = viewer.page.wait_for_function(COUNTS, timeout=PATIENCE_MS).json_value()
    viewer.picture("tool")
    assert found == expected


def test_ohif_reads_the_values_of_a_parametric_map(viewer: Viewer, results: Path) -> None:
    path = min(results.glob("uncertainty_*artery*.dcm"))
    stored = pydicom.dcmread(path).pixel_array
    shown = viewer.show(uid_of(path))
    found = viewer.page.wait_for_function(
        """uid => { const volume = window.cornerstone.cache.getVolume(uid);
        if (!volume?.loadStatus?.loaded) return null;
        let count = 0, most = 0, sum = 0;
        for (const value of volume.voxelManager.getCompleteScalarDataArray())
            if (value) { count += 1; sum += value; most = Math.max(most, value); }
        return [count, sum, most]; }""",
        arg=shown,
        timeout=PATIENCE_MS,
    ).json_value()
    viewer.picture("map")
    assert found[0] == np.count_nonzero(stored)
    # OHIF multiplies by 100
    np.testing.assert_allclose(found[1:], [100 * stored.sum(dtype=float), 100 * stored.max()], rtol=1e-5)


def test_ohif_opens_the_structured_report_and_places_all_of_its_measurements(viewer: Viewer, results: Path) -> None:
    shown = viewer.show(uid_of(results / "plan.dcm"))
    measurements = viewer.page.wait_for_function(
        """uid => { const one = window.services.displaySetService.getDisplaySetByUID(uid);
        return one.isLoaded && one.measurements.every(each => each.loaded) && one.measurements.map(
            each => [each.TrackingIdentifier, each.coords[0].GraphicType]); }""",
        arg=shown,
        timeout=PATIENCE_MS,
    ).json_value()
    viewer.picture("report")
    assert "went wrong" not in viewer.page.locator("body").inner_text()
    assert ["tool, path 1", "POLYLINE"] in measurements
    assert ["tool: planned tool", "POINT"] in measurements and len(measurements) >= 6
    assert not viewer.complaints
