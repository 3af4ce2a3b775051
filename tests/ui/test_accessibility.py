"""No serious finding of axe-core on any tab of the workbench, in its dialogs, or at the login."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ui.browser import Bench, Server

pytestmark = pytest.mark.browser


def serious(page: Any) -> list[str]:
    """Findings of axe-core that keep people out, each with the first elements concerned."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'][:160] for node in one['nodes'][:4]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def test_nothing_on_the_page_keeps_people_out(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    bench = open_bench(serve(study=study_path))
    bench.is_open()
    bench.drag((-16, -16), (16, 16))
    bench.has_prompts(1)
    bench.settled()
    for tab in ("Study", "Segment", "Plan", "Review"):
        bench.page.get_by_role("tab", name=tab).click()
        assert serious(bench.page) == [], tab
    bench.page.keyboard.press("?")
    assert serious(bench.page) == []
