"""The viewer's ES modules: their own tests under Node, their syntax, and how they are served."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ui.viewer_files import add_viewer_files, boot_script

HERE = Path(__file__).parent
MODULES = sorted((HERE.parents[1] / "ui" / "viewer").glob("*.js"))


@pytest.fixture
def node() -> str:
    """Node 20 or later."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs Node (apt install nodejs)")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"needs Node 20, this is {version.strip()}")
    return found


def test_the_modules_pass_their_tests(node: str) -> None:
    run = subprocess.run(
        [node, "--test", *map(str, sorted((HERE / "viewer").glob("*.test.js")))], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_is_valid_and_short(node: str, path: Path) -> None:
    checked = subprocess.run([node, "--check", str(path)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert path.name == "boot.js" or not re.search(r"\bwindow\.\w+ *=[^=]", path.read_text(encoding="utf-8"))


def test_modules_are_kept_by_browsers_at_an_address_of_their_content() -> None:
    app = Starlette()
    add_viewer_files(app)  # type: ignore[arg-type]
    client = TestClient(app)
    (address,) = re.findall(r"'(viewer/[0-9a-f]{16}/main\.js)'", boot_script())
    answer = client.get(f"/{address}")
    assert answer.headers["content-type"].startswith(("text/javascript", "application/javascript"))
    assert "immutable" in answer.headers["cache-control"]
    for name in re.findall(r"from '\./(.+?)'", "".join(path.read_text(encoding="utf-8") for path in MODULES)):
        assert client.get(f"/{address.replace('main.js', name)}").status_code == 200, name
    assert client.get(f"/{address.replace('main.js', '..%2fviewer_files.py')}").status_code == 404
