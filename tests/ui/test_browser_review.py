"""The review in a real browser: a path is dragged, read, kept, compared, decided on, and loses its acceptance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from medsam_planner.service import reviewing, studies
from medsam_planner.service.core.actors import LOCAL
from medsam_planner.service.display import Plane
from medsam_planner.service.workbench import Workbench
from tests.ui.browser import Bench, Server
from tests.ui.test_accessibility import serious
from tests.ui.test_planning import NUMBERS, aimed, with_vessel

pytestmark = pytest.mark.browser


def planned(server: Server, study_path: Path) -> str:
    """Identifier of a session with a plan."""
    workbench = Workbench(server.pages.service)
    studies.open_study(workbench, str(study_path))
    aimed(with_vessel(workbench))
    reviewing.plan_at_once(workbench, NUMBERS)
    workbench.give_back()
    return workbench.require_work().identifier


def pixel(bench: Bench, position_lps_mm: np.ndarray) -> tuple[float, float]:
    column, row, _ = bench.workbench.snapshot.displays[Plane.AXIAL].screen_from_lps(position_lps_mm)
    return bench.pixel("axial", column, row)


def test_a_person_drags_a_path_reads_it_keeps_it_and_decides(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    server = serve()
    key = planned(server, study_path)
    bench = open_bench(server)
    page = bench.page
    page.goto(f"{server.address}#{key}")
    page.reload()
    bench.is_open()
    page.get_by_role("tab", name="Review").click()
    reading = page.locator("[data-rv=reading]")
    read = "words => document.querySelector('[data-rv=reading]:not(.rv-stale)')?.textContent.includes(words)"
    page.wait_for_function(read, arg="certified, limited by vessel")
    before = reading.inner_text()
    count = page.locator("[data-rv=lines] tr").count()
    line = bench.workbench.snapshot.chosen_trajectory_lps_mm
    assert line is not None

    x, y = pixel(bench, line[0])
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 3, y - 24, steps=6)
    page.wait_for_function("before => document.querySelector('[data-rv=reading]').innerText !== before", arg=before)
    page.mouse.up()
    bench.says("kept as an alternative")
    page.wait_for_function("count => document.querySelectorAll('[data-rv=lines] tr').length === count", arg=count + 1)
    moved = bench.workbench.snapshot.plan
    assert moved is not None and moved.alternatives[-1].is_by_hand
    page.wait_for_function(read, arg=f"{moved.alternatives[-1].certified_clearance_mm:.1f} mm")

    page.locator("[data-rv=compare]").select_option("0")
    assert page.locator("[data-rv=compared] tr").count() == 7
    page.locator("[data-rv=depth]").fill("40")
    page.wait_for_function("document.querySelector('[data-rv=at-depth]').textContent.startsWith('40.0 mm: vessel')")
    page.locator("[data-rv=target]").fill("no numbers")
    page.locator("[data-rv=target]").press("Enter")
    page.wait_for_function("document.querySelector('[data-rv=reading]').textContent.includes('three numbers')")
    page.locator("[data-rv-act=back]").click()

    assert serious(page) == []
    page.locator("[data-rv-act=reject]").click()
    bench.says("Enter your name")
    page.locator("[data-rv=name]").fill("Ada")
    page.locator("[data-rv=comment]").fill("too near the rib")
    page.locator("[data-rv-act=reject]").click()
    page.wait_for_function("document.querySelector('[data-rv=decision]').textContent.startsWith('Rejected: path')")
    assert "too near the rib" in page.locator("[data-rv=decision]").inner_text()
    assert bench.foreign == []
    assert bench.complaints == []


def test_routes_of_the_review_refuse_strangers_other_sites_and_what_is_no_line(
    serve: Callable[..., Server], study_path: Path
) -> None:
    server = serve()
    workbench = Workbench(server.pages.service)
    address = f"{server.address}review/"
    line = {"number": 1, "entry_lps_mm": [0, 0, 0], "target_lps_mm": [1, 1, 1]}
    assert httpx.post(f"{address}{workbench.token}/line", json=line).status_code == 404  # of no page
    foreign = {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"}
    assert httpx.post(f"{address}x/line", json=line, headers=foreign).status_code == 403
    assert httpx.delete(f"{address}x/line").status_code == 404
    with httpx.Client() as client:
        page = server.pages.begin("page of a test", LOCAL)
        here = f"{address}{page.token}"
        for body in (b"", b"{", b"[]", b"x" * 5000, b'{"number": true}', b"[" * 4000):
            assert client.post(f"{here}/line", content=body).status_code == 400, body[:20]
        told = client.post(f"{here}/line", json=line).json()
        assert told["number"] == 1 and "Open a study first" in told["detail"]
        for query in ("line=1,2", "line=a", "line=0,0,0,1,1,nan", "line=0,0,0,0,0,1e99", "kind=up&line=0,0,0,1,1,1"):
            assert client.get(f"{here}/slice?{query}").status_code == 404, query
