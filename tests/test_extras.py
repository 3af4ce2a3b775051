"""A plain install imports and works; what needs an extra says which one, in one line, before anything is computed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from medsam_planner.errors import EXTRAS, MissingDependencyError, require_extra

ROOT = Path(__file__).resolve().parents[1]

HIDDEN = (
    "argon2",
    "authlib",
    "blosc2",
    "dicomanonymizer",
    "dicomweb_client",
    "fastapi",
    "fhir",
    "gradio",
    "httpx",
    "nnInteractive",
    "onnx",
    "onnxruntime",
    "openvino",
    "huggingface_hub",
    "joserfc",
    "pynetdicom",
    "python_multipart",
    "starlette",
    "statsmodels",
    "tensorboard",
    "transformers",
    "uvicorn",
)
"""What the extras bring; importing it fails below, as where it is not installed."""

WEB = {
    "medsam_planner.client.transport",
    "medsam_planner.service.cookies",
    "medsam_planner.service.guard",
    "medsam_planner.service.live_routes",
    "medsam_planner.service.login",
    "medsam_planner.service.page_requests",
    "medsam_planner.service.review_routes",
    "medsam_planner.service.routes",
    "medsam_planner.service.short_body",
    "medsam_planner.service.view3d_routes",
    *(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (
            *(ROOT / "medsam_planner/service/http").rglob("*.py"),
            *(ROOT / "medsam_planner/service").glob("*_routes.py"),
        )
        if path.stem != "__init__"
    ),
}
"""Modules of the extras 'serve' and 'ui': a server or a connected client imports them, and nothing else does."""

PACS = {f"medsam_planner.network.{name}" for name in ("commitment", "dicomweb", "dimse", "dimse_words", "receiver")}
"""Modules of the extra 'pacs', which `connect` imports when it is there."""

COMMANDS = {
    "ui": ("ui", ["ui", "--port", "0", "--out", "runs"]),
    "serve": ("serve", ["serve", "--port", "0", "--data", "data"]),
    "train": ("train", ["train", "train.toml"]),
    "fetch": ("medsam", ["weights", "fetch", "medsam-vit-b"]),
    "convert": ("medsam", ["weights", "convert", "medsam.pth", "converted"]),
    "deidentify": ("deid", ["deidentify", "ct", "--out", "out", "--key-file", "key"]),
    "pacs": ("pacs", ["pacs", "echo", "archive"]),
    "listen": ("pacs", ["listen", "--data", "received"]),
    "fhir": ("fhir", ["fhir", "run", "--out", "bundle.json"]),
    "optimise": ("onnx", ["weights", "optimise", "medsam.pth", "--engine", "onnx", "--calibrate", "ct"]),
    "segment": ("medsam", ["segment", "ct", "prompts.json", "--out", "runs", "--model", "medsam-vit-b"]),
}

TRAINING = 'out = "weights"\nsteps = 1\n'
PACS_FILE = '[nodes.archive]\nkind = "dicomweb"\nurl = "http://127.0.0.1:9/"\n'


MODULES = {
    "argon2_cffi": "argon2",
    "dicom_anonymizer": "dicomanonymizer",
    "fhir.resources": "fhir",
    "nninteractive_client": "nnInteractive",
    "mlflow_skinny": "mlflow",
}
"""Where a distribution's module has another name."""


def run_plain(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in an interpreter that has none of the extras."""
    hide = f"import sys\nfor name in {HIDDEN!r}:\n    sys.modules[name] = None\n"
    return subprocess.run(
        [sys.executable, "-c", hide + code], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def declared() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {**project["optional-dependencies"], "": project["dependencies"]}
    return {
        extra: [_module(re.split(r"[<>=;\[ ]", line)[0].replace("-", "_")) for line in lines]
        for extra, lines in wanted.items()
    }


def _module(distribution: str) -> str:
    return MODULES.get(distribution, distribution)


def test_the_extras_are_those_of_the_distribution() -> None:
    extras = declared()
    assert set(extras) - {"", "dev", "docs"} == set(EXTRAS)
    for extra, modules in EXTRAS.items():
        assert sorted(extras[extra]) == list(modules)
        assert not set(extras[""]) & set(modules), "a plain install would bring them"


def test_an_extra_that_is_there_is_no_error() -> None:
    installed = re.search(r"-e '\.\[(.+)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert installed is not None
    for extra in set(EXTRAS) & set(installed[1].split(",")):
        require_extra(extra, "The test")


def test_the_message_names_the_extra_and_what_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingDependencyError) as caught:
        require_extra("train", "Training")
    assert str(caught.value) == (
        "Training needs the extra 'train', whose tensorboard cannot be imported. Install it: "
        "pip install 'medsam-planner[train]' (in a copy of the repository: pip install -e '.[train]')."
    )


def test_every_module_below_the_page_imports_without_the_extras(tmp_path: Path) -> None:
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("prompts", "xai", "medsam_planner")
        for file in (ROOT / package).rglob("*.py")
        if file.stem != "__main__"
    }
    plain = sorted({*modules, "ui.command"} - WEB - PACS)
    done = run_plain(f"import importlib\nfor name in {plain!r}:\n    importlib.import_module(name)", tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_plain_install_is_well(tmp_path: Path) -> None:
    done = run_plain("from medsam_planner.cli import main; main(['doctor'])", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for extra in EXTRAS:
        assert f"medsam-planner[{extra}]" in "".join(done.stdout.split())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("from ui.app import make_app; make_app(None)", "The page needs the extra 'ui'"),
        (
            "from medsam_planner.engine.medsam import MedSam; MedSam.with_random_weights()",
            "MedSAM needs the extra 'medsam'",
        ),
    ],
)
def test_a_function_without_its_extra_names_it(call: str, said: str, tmp_path: Path) -> None:
    assert f"MissingDependencyError: {said}" in run_plain(call, tmp_path).stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_its_extra_ends_with_2_and_one_line_that_names_it(command: str, tmp_path: Path) -> None:
    extra, arguments = COMMANDS[command]
    (tmp_path / "train.toml").write_text(TRAINING, encoding="utf-8")
    (tmp_path / "pacs.toml").write_text(PACS_FILE, encoding="utf-8")
    (tmp_path / "ct").mkdir()
    (tmp_path / "medsam.pth").write_bytes(b"")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run_plain(f"from medsam_planner.cli import main; main({arguments!r})", tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"needs the extra '{extra}'" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_help_of_every_command_needs_no_extra(tmp_path: Path) -> None:
    for command in ("ui", "serve", "train"):
        done = run_plain(f"from medsam_planner.cli import main; main([{command!r}, '--help'])", tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("--resume" if command == "train" else "--port") in done.stdout
