"""The documentation is built without a network, its examples run, and its tables name what the program has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel

import medsam_planner.cli.app as command_line
from medsam_planner.engine.registry import load_model
from medsam_planner.errors import WeightsError
from medsam_planner.lab.training.config import read_config
from medsam_planner.network.pacs_file import read_pacs_file
from medsam_planner.planning.plan_file_tables import PlanFile, StructureTable
from medsam_planner.reading.study_file import StudyFile
from prompts import parse_prompt_file

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

WITHOUT_NETWORK = """
import socket, sys
def refuse(*arguments, **options):
    raise OSError("the documentation asked for the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
sys.argv = ["mkdocs", "build", "--strict", "--quiet", "-f", sys.argv[1], "-d", sys.argv[2]]
cli()
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def pages_with(language: str) -> list[str]:
    pages = (str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    return sorted(page for page in pages if blocks(page, language))


NEEDS_A_SERVER = "service.md"


@pytest.mark.parametrize("page", [page for page in pages_with("python") if page != NEEDS_A_SERVER])
def test_the_python_of_a_page_runs_as_it_stands(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        load_model("compact")
    except WeightsError as error:
        pytest.skip(f"needs weights: {error}")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{page}, block {number}", "exec"), names)


def test_the_python_of_the_service_page_runs_against_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    from medsam_planner.service.settings import Settings
    from tests.medsam_planner.service.phantom import write_phantom
    from tests.medsam_planner.service.rest import TOKEN, serving

    try:
        load_model("compact")
    except WeightsError as error:
        pytest.skip(f"needs weights: {error}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token.txt").write_text(TOKEN, encoding="utf-8")
    write_phantom(tmp_path / "ct.nii.gz")
    (block,) = blocks(NEEDS_A_SERVER, "python")
    with serving(Settings(out=tmp_path / "data", model="compact", roots=()), token=TOKEN) as address:
        exec(compile(block.replace("http://127.0.0.1:7861", address), NEEDS_A_SERVER, "exec"), {})
    assert (tmp_path / "lesion.nii.gz").stat().st_size > 0


def test_the_pages_are_built_without_a_network_and_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK, str(ROOT / "mkdocs.yml"), str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="?(https?:[^" >]+)', page.read_text("utf-8"))
        assert not loaded, f"{page.name} loads {loaded}"


def test_the_reference_shows_every_public_name() -> None:
    shown = {
        name for page in DOCS.glob("api/*.md") for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)
    }
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    for package in setuptools["packages"]:
        if package not in {"medsam_planner.cli", "weights"}:
            assert hasattr(import_module(package), "__all__") == (package in shown), package


def test_the_page_of_the_command_line_names_every_command() -> None:
    command_line._add_commands_of_upper_layers()
    app = command_line.app
    known = {info.name or info.callback.__name__ for info in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    rows = re.findall(r"^\| `([a-z][a-z-]*)", (DOCS / "command-line.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(known)


def test_the_prompt_file_of_the_page_is_read() -> None:
    (text,) = blocks("formats.md", "json")
    read = parse_prompt_file(text)
    assert read.structures == ("liver",)
    assert len(json.loads(text)["structures"]["liver"]) == 3


def test_every_example_file_of_the_pages_is_read_by_a_test() -> None:
    assert pages_with("json") == ["formats.md"]
    assert pages_with("toml") == ["formats.md", "training.md", "use/hospital.md", "use/readers.md"]


def test_the_study_files_of_the_page_are_read() -> None:
    masks, reading = (StudyFile.model_validate(tomllib.loads(text)) for text in blocks("use/readers.md", "toml"))
    assert masks.masks is not None and masks.hypothesis is not None and masks.statements
    assert reading.reading is not None and reading.reading.cases[0].plan is not None


def test_the_pacs_file_of_the_page_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text("\n".join(blocks("use/hospital.md", "toml")), encoding="utf-8")
    pacs = read_pacs_file(path)
    assert (list(pacs.nodes), [rule.name for rule in pacs.rules]) == (["archive", "scanner"], ["pelvis"])


def test_the_training_file_of_the_page_is_read(tmp_path: Path) -> None:
    (text,) = blocks("training.md", "toml")
    path = tmp_path / "train.toml"
    path.write_text(f'out = "weights"\nsteps = 1\n{text}', encoding="utf-8")
    assert read_config(path).evaluation.protocols == ("box", "slices")


def test_the_run_length_mask_of_the_page_is_read() -> None:
    (mask,) = re.findall(
        r'^\{"first_voxel_lps_mm".*\}$', (DOCS / "formats.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    (text,) = blocks("formats.md", "json")
    entry = f'{{"kind": "edit", "mask": {mask}, "positive": false}}'
    read = parse_prompt_file(
        text.replace('"schema_version": 1', '"schema_version": 2').replace("[\n", f"[{entry},\n", 1)
    )
    assert read.log("liver").prompts[0].mask.voxel_count == 6


def test_the_plan_file_of_the_page_is_read_and_every_entry_is_explained() -> None:
    text = blocks("formats.md", "toml")[0]
    case = PlanFile.model_validate(tomllib.loads(text))
    assert [tool.name for tool in case.tools] == ["amygdala", "hippocampus"]
    page = (DOCS / "formats.md").read_text(encoding="utf-8")

    def explained(table: type[BaseModel]) -> None:
        for name, field in table.model_fields.items():
            assert re.search(rf"[`\[]{name}\b", page), f"{table.__name__}.{name} is not on the page"
            for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(part, type) and issubclass(part, BaseModel):
                    explained(part)

    explained(PlanFile)
    defaults = {name: field.default for name, field in StructureTable.model_fields.items()}
    assert (defaults["base_margin_mm"], defaults["spread_factor"], defaults["max_margin_mm"]) == (2, 2, 10)
    assert "`base_margin_mm`, `spread_factor`, `max_margin_mm` | 2, 2, 10 |" in page
