"""Two pages and two programs on one server at once: each ends with exactly the mask of its own prompts."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner import Session, load_volume
from medsam_planner.client import Client
from medsam_planner.service.display import Plane
from medsam_planner.service.pages import Pages
from medsam_planner.service.settings import Settings
from prompts import Click, PromptLog
from tests.medsam_planner.service.phantom import LESION_LPS_MM
from tests.medsam_planner.service.rest import lesion_box
from tests.ui.serving import page_app, served
from tests.ui.test_handlers import lesion_box as dragged_box
from ui import segment_handlers, study_handlers
from ui.events import on_workbench

Made = tuple[PromptLog, NDArray[np.bool_]]
"""What a client has asked for, as it remembers it, and the mask that it got."""


@dataclass(frozen=True)
class Race:
    """All clients begin together, when each has made its first prompt, and end together."""

    address: str
    pages: Pages
    study: Path
    seconds: float
    start: threading.Barrier


def choices(seed: int, race: Race) -> Any:
    """Random wishes until the time is over: a position near the lesion and a sign, or None to undo."""
    race.start.wait(120)
    chance, until = random.Random(seed), time.monotonic() + race.seconds
    while time.monotonic() < until:
        x, y, z = (float(value) + chance.uniform(-12, 12) for value in LESION_LPS_MM)
        yield None if chance.random() < 0.2 else ((x, y, z), chance.random() < 0.6)


def work_on_page(race: Race, seed: int) -> Made:
    """What the page's events do, each with its step, and a slice over HTTP after each."""
    workbench = race.pages.begin(f"page {seed}")
    study_handlers.open_study(workbench, str(race.study))
    display, log, step = workbench.snapshot.displays[Plane.AXIAL], PromptLog("structure 1"), 1

    def act(**payload: Any) -> None:
        def on_viewer(bench: Any) -> Any:
            return segment_handlers.on_viewer(bench, {"plane": "axial", "step": step, **payload})

        shown = on_workbench(race.pages, on_viewer)(workbench.token)
        assert "mv-error" not in shown["notice"], shown["notice"]

    act(**dragged_box(workbench))
    log.add(workbench.structure.prompts[0])
    with httpx.Client(base_url=race.address) as browser:
        for wish in choices(seed, race):
            step += 1
            if wish is None and len(log.prompts) > 1:
                log.undo()
                act(kind="undo", index=0)
            elif wish is not None:
                column, row, index = (float(value) for value in display.screen_from_lps(np.array(wish[0])))
                place = (round(index), float(round(column)), float(round(row)))
                log.add(Click(tuple(display.lps_at(*place).tolist()), positive=wish[1]))
                act(kind="positive" if wish[1] else "negative", index=place[0], first=place[1:])
            else:
                step -= 1
            query = {"plane": "axial", "index": 20}
            assert browser.get(f"/views/{workbench.token}", params=query).status_code == 200
    shown = segment_handlers.run_to_3d(workbench, 0, saliency=False, triplanar=False, after=step)
    assert "mv-done" in shown.notice, shown.notice
    result = workbench.structure.result
    assert result is not None
    return log, result.mask.array


def work_as_program(race: Race, seed: int) -> Made:
    log = PromptLog("lesion")
    with Client(race.address) as client:
        session = client.open_session(client.open_study(str(race.study)))
        session.add("lesion", lesion_box())
        log.add(lesion_box())
        for wish in choices(seed, race):
            if wish is None and len(log.prompts) > 1:
                session.undo("lesion")
                log.undo()
            elif wish is not None:
                session.add("lesion", Click(wish[0], positive=wish[1]))
                log.add(Click(wish[0], positive=wish[1]))
        session.segment("lesion", samples=0)
        path = session.save("lesion", "mask.nii.gz", race.study.with_name(f"{seed}.nii.gz"))
        session.release()
    return log, np.asarray(nibabel.load(path).dataobj) > 0


@pytest.mark.parametrize("seconds", [4.0, pytest.param(120.0, marks=pytest.mark.slow)])
def test_two_pages_and_two_programs_at_once_do_not_disturb_each_other(
    settings: Settings, model: str, study_path: Path, tmp_path: Path, seconds: float
) -> None:
    study = tmp_path / "mine" / study_path.name
    study.parent.mkdir()
    study.write_bytes(study_path.read_bytes())
    settings = Settings(out=settings.out, model=model, roots=(study.parent,))
    clients = (work_on_page, work_on_page, work_as_program, work_as_program)
    with page_app(settings) as app, served(app) as address, ThreadPoolExecutor(len(clients)) as pool:
        race = Race(address, app.state.pages, study, seconds, threading.Barrier(len(clients)))
        made = list(pool.map(lambda number: clients[number](race, number), range(len(clients))))
    volume = load_volume(study)
    for log, mask in made:
        assert len(log.history) > 1
        local = Session(volume, model)
        local.restore(log)
        np.testing.assert_array_equal(mask, local.segment(structure=log.structure, samples=0).mask.array)
    assert len({mask.tobytes() for _, mask in made}) > 1
