"""The viewer's ES modules, served at an address that changes with their content, so that browsers may keep them."""

from __future__ import annotations

import hashlib
import html
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from medsam_planner.service.display import Plane
from ui import wording

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["CSS", "add_viewer_files", "boot_script", "viewer_html"]

_HERE = Path(__file__).parent
_MODULES = _HERE / "viewer"
_FOR_GOOD = "public, max-age=31536000, immutable"
_PANE = """<section class="mv-pane" data-pane="$name"><header><span data-part="title">$name</span>
<button type="button" data-part="enlarge" aria-label="Enlarge the $name plane" title="Enlarge">⤢</button></header>
<canvas tabindex="0" aria-label="$name slice of the study"></canvas></section>"""
CSS = (_HERE / "viewer.css").read_text(encoding="utf-8")


def _folder() -> str:
    """Path under which the modules are served; they import each other by names relative to it."""
    content = b"".join(path.name.encode() + path.read_bytes() for path in sorted(_MODULES.glob("*.js")))
    return f"viewer/{hashlib.sha256(content).hexdigest()[:16]}"


def boot_script(boot: str = "boot", module: str = "main") -> str:
    """JavaScript that Gradio runs when a component is on the page; it loads the module that drives it.

    Parameters
    ----------
    boot, module : str
        Names of the two files.
    """
    script = (_MODULES / f"{boot}.js").read_text(encoding="utf-8")
    return Template(script).substitute(ADDRESS=f"{_folder()}/{module}.js")


def viewer_html() -> str:
    """HTML of the viewer."""
    words = ("LOST_TITLE", "LOST_TEXT", "ELSEWHERE_TITLE", "ELSEWHERE_TEXT", "TAKE_BACK")
    texts = {name: html.escape(getattr(wording, name)) for name in words}
    panes = "\n".join(Template(_PANE).substitute(name=plane.value) for plane in Plane)
    return Template((_HERE / "viewer.html").read_text(encoding="utf-8")).substitute(texts, PANES=panes)


def add_viewer_files(app: FastAPI) -> None:
    """Serve the modules."""
    from starlette.staticfiles import StaticFiles

    class Modules(StaticFiles):
        def file_response(self, *args: Any, **kwargs: Any) -> Any:
            response = super().file_response(*args, **kwargs)
            response.headers["Cache-Control"] = _FOR_GOOD
            return response

    app.mount(f"/{_folder()}", Modules(directory=_MODULES), name="viewer")
