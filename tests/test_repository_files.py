"""What hosts and readers of the repository rely on says the same as the package."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read_yaml(place: str) -> Any:
    return yaml.safe_load((ROOT / place).read_text(encoding="utf-8"))


def test_the_citation_names_this_version_and_what_the_format_requires() -> None:
    citation = read_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    for work in (citation, *citation["references"]):
        assert work["title"] and all({"name"} <= set(one) or {"family-names"} <= set(one) for one in work["authors"])


def test_the_workflow_calls_the_script_of_this_repository_on_versions_the_package_claims() -> None:
    job = read_yaml(".github/workflows/ci.yml")["jobs"]["run"]
    assert job["steps"][-1] == {"run": ".ci/run"}
    tried = job["strategy"]["matrix"]["python"]
    claimed = [text.split(" :: ")[-1] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert (tried[0], tried[-1]) == (claimed[0], claimed[-1])
    assert PROJECT["requires-python"] == f">={claimed[0]}"


@pytest.mark.parametrize("name", ["bug", "idea", "mask_or_plan"])
def test_an_issue_form_has_what_a_host_needs_to_show_it(name: str) -> None:
    form = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"] and form["description"]
    for field in form["body"]:
        assert field["type"] in {"checkboxes", "input", "textarea"}
        assert field["attributes"]["label"]
    identifiers = [field["id"] for field in form["body"]]
    assert len(set(identifiers)) == len(identifiers)


def test_the_hooks_are_the_commands_of_make_check_and_download_nothing() -> None:
    config = read_yaml(".pre-commit-config.yaml")
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    hooks = {" ".join(hook["entry"].split()[:2]).removesuffix(" --force-exclude") for hook in repository["hooks"]}
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert hooks == {".venv/bin/ruff format", ".venv/bin/ruff check", ".venv/bin/mypy", ".venv/bin/lint-imports"}
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_gpl_decoder_is_no_dependency() -> None:
    wanted = [
        *PROJECT["dependencies"],
        *(line for lines in PROJECT["optional-dependencies"].values() for line in lines),
    ]
    assert not [line for line in wanted if re.match(r"pylibjpeg(\[|-libjpeg)", line)]
    assert "pylibjpeg-libjpeg" in (ROOT / "NOTICE").read_text(encoding="utf-8")
