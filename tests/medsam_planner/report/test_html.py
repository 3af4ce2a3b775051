"""The page as a whole: complete, self-contained, safe against hostile names, and the same bytes every time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import highdicom
import numpy as np
import pytest

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE
from medsam_planner.errors import GeometryError
from medsam_planner.planning.alternatives import ClearanceProfile
from medsam_planner.planning.relaxations import Relaxation
from medsam_planner.planning.search import PlanResult
from medsam_planner.planning.structures import StructureRole
from medsam_planner.provenance import PlanOrigin, PlanProvenance
from medsam_planner.report import PlanReport, write_report
from medsam_planner.report.html import render_html

CREATED = "2026-01-02 03:04"


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside of style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.text += data


@pytest.fixture(scope="module")
def page(make_report: Callable[..., PlanReport], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "deep" / "report.html"
    return write_report(make_report(created=CREATED), path).read_text("utf-8")


def test_the_page_reaches_for_nothing_outside_itself(page: str) -> None:
    elements = Elements(page).elements
    assert not [tag for tag, _ in elements if tag in ("script", "link", "iframe", "object", "embed", "base")]
    for tag, attributes in elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), f"{tag} {name}={value[:60]}"
        assert not [name for name in attributes if name.startswith("on")]
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page


def test_every_part_is_there(page: str) -> None:
    text = Elements(page).text
    assert text.count(RESEARCH_USE_NOTICE) == 2
    assert text.index(RESEARCH_USE_NOTICE) < text.index("A path satisfies every constraint")
    assert text.rstrip().endswith(RESEARCH_USE_NOTICE)
    for part in (
        "A path satisfies every constraint",
        "iliac vessel",
        "1.3 %",
        "0.20 % to 4.6 %",
        "Entry",
        "Target",
        "Tightest place",
        "Along the tool 1",
        "Along the tool 2",
        "Probe's-eye view",
        "Uncertainty",
        "bit",
        "Saliency of lesion",
        "soft tissue window, −160 to 240 HU",
        "20 mm",
        "Clearance along the path",
        "Alternatives",
        "2D box",
        "scribble",
        "background",
        "too little overlap with the slice before",
        "chance level",
        "ab" * 32,
        CREATED,
    ):
        assert part in text, part


def test_the_page_is_small_enough_to_send_by_mail(page: str) -> None:
    assert len(page.encode()) < 8e6


def test_the_same_plan_gives_the_same_bytes(page: str, make_report: Callable[..., PlanReport], tmp_path: Path) -> None:
    again = write_report(make_report(created=CREATED), tmp_path / "report.html")
    assert again.read_text("utf-8") == page
    assert list(tmp_path.iterdir()) == [again]


def test_names_cannot_smuggle_markup_into_the_page(make_report: Callable[..., PlanReport]) -> None:
    example = make_report()
    hostile = "<script>alert(1)</script>"
    quoted = '"><img src=x onerror=alert(1)>'
    result = example.segmentations["iliac vessel"]
    line = example.plan.alternatives[0]
    room = line.clearance_profile.clearance_mm_by_structure["iliac vessel"]
    line = replace(
        line,
        limiting_structure=hostile,
        reason=quoted,
        clearance_mm_by_structure={hostile: 3.0},
        hit_probability_by_structure={hostile: 0.01, quoted: 0.0},
        clearance_profile=ClearanceProfile(line.clearance_profile.distance_mm, {hostile: room}),
    )
    relaxation = Relaxation(hostile, 1.4, quoted, None, np.array([line.entry_lps_mm, line.target_lps_mm]), hostile)
    page = render_html(
        make_report(
            title=quoted,
            segmentations={hostile: result, quoted: result},
            roles={hostile: StructureRole.AVOID, quoted: StructureRole.TARGET},
            margins_mm={hostile: 1.0},
            plan=PlanResult(True, (line,), (relaxation,), 10, 1),
            provenance=PlanProvenance(PlanOrigin(plan_file={hostile: quoted}), {}, 0, {}),
            surfaces={},
            created=hostile,
        )
    )
    assert "<script" not in page
    elements = Elements(page).elements
    assert not [tag for tag, _ in elements if tag == "script"]
    assert not [attributes for tag, attributes in elements if tag == "img" and attributes.get("src") == "x"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_without_a_plan_the_nearest_miss_is_shown_and_not_called_a_plan(
    make_report: Callable[..., PlanReport],
) -> None:
    line = make_report().plan.alternatives[0]
    ends = np.array([line.entry_lps_mm, line.target_lps_mm])
    advice = "Narrow the margin of iliac vessel by 1.4 mm; all other limits stay."
    plan = PlanResult(False, (), (Relaxation("margin_mm:iliac vessel", 1.4, "mm", None, ends, advice),), 20000, 0)
    page = render_html(make_report(plan=plan, surfaces={}))
    text = Elements(page).text
    assert "Not feasible: no path satisfies every constraint" in text
    assert text.count(advice) == 2
    assert "is not a plan" in text
    assert "No plan: the trajectory drawn is the one that comes nearest to satisfying the constraints." in text
    assert "Along the tool 1" in text
    assert "certified clearance</span>" not in page
    assert 'class="certified lines-tool"' not in page
    assert "No path, so no clearance profile." in text


def test_a_plan_without_any_line_still_shows_the_anatomy(make_report: Callable[..., PlanReport]) -> None:
    text = Elements(render_html(make_report(plan=PlanResult(False, (), (), 20000, 0), surfaces={}))).text
    assert "Relaxing a single limit does not help" in text
    assert "Axial" in text
    assert "Along the tool 1" not in text


def test_a_plan_from_bare_masks_has_no_overlays_and_says_what_is_missing(
    make_report: Callable[..., PlanReport],
) -> None:
    example = make_report()
    masks = {name: result.mask for name, result in example.segmentations.items()}
    text = Elements(
        render_html(make_report(segmentations={}, masks=masks, prompts={}, provenance=None, surfaces={}))
    ).text
    assert "Uncertainty" not in text
    for sentence in ("No prompts were recorded.", "No structure was propagated.", "No provenance was recorded."):
        assert sentence in text


def test_the_true_clearance_stands_beside_the_planned_one(make_report: Callable[..., PlanReport]) -> None:
    text = Elements(render_html(make_report(true_clearance_mm={"iliac vessel": 6.25, "nerve": 9.0}, surfaces={}))).text
    assert re.search(r"6\.2 mm\s*true clearance", text)


def test_a_saliency_no_better_than_chance_says_so_across_each_of_its_pictures(
    page: str, make_report: Callable[..., PlanReport]
) -> None:
    assert 'across"' not in page
    report = make_report()
    name = next(iter(report.segmentations))
    result = report.segmentations[name]
    poor = replace(result, faithfulness={**result.faithfulness, "infidelity": 0.95})
    told = render_html(replace(report, segmentations={**report.segmentations, name: poor}))
    pictures = told.count('<image class="layer layer-saliency-0"')
    assert pictures > 3 and told.count("Saliency no better than chance</text>") == pictures
    assert 'layer-saliency-1 across"' not in told


def test_a_view_that_cannot_be_drawn_costs_no_report(
    make_report: Callable[..., PlanReport], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no <GL>")

    monkeypatch.setenv("MEDSAM_PLANNER_LOGS", str(tmp_path))
    monkeypatch.setattr("medsam_planner.report.parts.views_3d", fails)
    told = render_html(make_report())
    assert "The 3D views could not be made: RuntimeError: no &lt;GL&gt;" in told and 'id="clearance"' in told


def test_the_letters_drawn_are_those_of_the_plane(page: str) -> None:
    start = page.index("<figure")
    first = page[start : page.index("</figure>", start)]
    assert re.findall(r'class="letter"[^>]*>([A-Z]+)<', first) == ["R", "L", "A", "P"]


def test_a_mask_on_another_grid_is_refused(make_report: Callable[..., PlanReport]) -> None:
    study = make_report().study
    other = highdicom.Volume(array=np.ones((3, 3, 3), bool), affine=study.affine, coordinate_system="PATIENT")
    with pytest.raises(GeometryError, match="'no-go' on the study's grid"):
        make_report(masks={"no-go": other})


def test_a_path_without_length_is_refused(make_report: Callable[..., PlanReport]) -> None:
    line = make_report().plan.alternatives[0]
    line = replace(line, entry_lps_mm=line.target_lps_mm)
    with pytest.raises(GeometryError, match="path with a length"):
        render_html(make_report(plan=PlanResult(True, (line,), (), 1, 1)))
