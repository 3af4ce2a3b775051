"""The distribution brings its own `prompts`, `xai`, `ui` and `medsam_planner`, in layers, and starts fast."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMPORT_PACKAGES = ("prompts", "xai", "medsam_planner", "ui")


def run_python(code, folder):
    """Run `code` in a fresh interpreter, away from the repository, so that only what is installed can be imported."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", IMPORT_PACKAGES)
def test_each_package_is_imported_from_this_distribution(name, tmp_path):
    """`prompts`, `xai` and `ui` are common words: a stranger of that name must be noticed, not used."""
    where = run_python(f"import {name}; print({name}.__file__)", tmp_path).strip()
    assert Path(where) == ROOT / name / "__init__.py"
    assert set(packages_distributions()[name]) == {"medsam-planner"}


def test_the_build_lists_every_package_and_no_other():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for name in IMPORT_PACKAGES
        for init in (ROOT / name).rglob("__init__.py")
    }
    assert sorted(listed) == sorted({*found, "weights"})  # weights holds no code


def test_prompts_needs_only_numpy_to_import(tmp_path):
    code = """
import sys, json
import numpy
before = set(sys.modules)
import prompts
print(json.dumps(sorted({name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))))
"""
    assert set(json.loads(run_python(code, tmp_path))) <= {"prompts", "numpy"}


def test_importing_the_program_imports_no_heavy_library(tmp_path):
    code = """
import sys, json
import medsam_planner, medsam_planner.cli, ui, xai, prompts
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    heavy = {
        "torch",
        "open3d",
        "gradio",
        "monai",
        "transformers",
        "captum",
        "matplotlib",
        "nilearn",
        "SimpleITK",
        "skimage",
    }
    assert heavy.isdisjoint(json.loads(run_python(code, tmp_path)))


def test_the_names_other_programs_rely_on_can_be_imported():
    medsam_planner = importlib.import_module("medsam_planner")
    for name in ("Session", "load_volume", "save_nifti"):
        assert name in medsam_planner.__all__
    for name in medsam_planner.__all__:
        assert callable(getattr(medsam_planner, name))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        medsam_planner.absent


@pytest.mark.parametrize("name", IMPORT_PACKAGES)
def test_every_name_a_module_declares_public_exists(name):
    for file in sorted((ROOT / name).rglob("*.py")):
        if file.stem == "__main__":
            continue
        module = importlib.import_module(
            ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        )
        missing = [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)]
        assert not missing, f"{module.__name__} declares {missing}"


def test_the_layers_are_kept(tmp_path):
    """The contracts of pyproject.toml; the output says who reached back up, and where."""
    code = f"""
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(config_filename={str(ROOT / "pyproject.toml")!r}, no_cache=True))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contracts_refuse_a_layer_that_reaches_back_up(tmp_path):
    for name, text in (("lower", "import upper\n"), ("upper", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_packages = ["lower", "upper"]\n'
        '[[tool.importlinter.contracts]]\nname = "layers"\ntype = "layers"\nlayers = ["upper", "lower"]\n'
    )
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "lower is not allowed to import upper" in done.stdout
