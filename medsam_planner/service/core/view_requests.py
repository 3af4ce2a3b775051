"""What a worker draws for the 3D view of a client: the surface of a 3D result, and pictures of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medsam_planner.drawing.camera import EdgeLetters, View, camera_for
from medsam_planner.drawing.render3d import Scene3D
from medsam_planner.drawing.tool_cylinder import ToolTrajectory
from medsam_planner.errors import NotThereError
from medsam_planner.mesh import ColouredSurface, Surface, surface_from_probability
from medsam_planner.mesh.export import write_scene, write_surface
from medsam_planner.progress import Progress
from medsam_planner.service.core.requests import Request
from medsam_planner.service.core.worker_memory import StudyKey, WorkerMemory
from prompts import PositionLpsMm

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["DRAWN_NAME", "DrawPicture", "DrawSurface", "Part"]

DRAWN_NAME = "drawn.ply"
"""The surface of a 3D result, in its folder."""
_TRIANGLES = 40_000
_PICTURE_PX = (620, 620)
_BACKGROUND_RGB = (13, 18, 24)
_PATH_RGB = (125, 255, 154)
_LETTER_RGB = (232, 237, 242)
_LETTER_PX, _EDGE_PX = 22, 10


@dataclass(frozen=True, slots=True)
class Part:
    """One surface of a scene, and its look."""

    path: Path
    """PLY file, LPS mm; its own colours go first."""
    name: str
    colour: str
    """CSS colour, ``#rrggbb``."""
    opacity: float


@dataclass(frozen=True, slots=True)
class DrawSurface:
    """Draw the surface of a 3D result."""

    session: str
    study: StudyKey
    path: Path
    """Of the result."""

    def may_interrupt(self, running: Request) -> bool:
        """It changes nothing that a running request reads."""
        return True

    def run(self, memory: WorkerMemory, progress: Progress) -> None:
        """Write it beside the result, unless it is there."""
        target = self.path.with_name(DRAWN_NAME)
        if target.exists():
            return
        result = memory.result(self.path, self.study)
        if not result.mask.array.any():
            raise NotThereError(f"‘{result.structure}’ is empty, so it has no surface.")
        surface = surface_from_probability(result.probability, max_triangles=_TRIANGLES, progress=progress)
        write_surface(surface, target, name=result.structure)


@dataclass(frozen=True, slots=True)
class DrawPicture:
    """Take a picture of surfaces and paths, or write them as GLB, for a browser that cannot draw them."""

    session: str
    parts: tuple[Part, ...]
    paths_lps_mm: tuple[tuple[PositionLpsMm, PositionLpsMm], ...]
    """Entry and target of each."""
    radius_mm: float
    """Of the tool."""
    view: View | None
    """None for a GLB file."""
    target: Path

    def may_interrupt(self, running: Request) -> bool:
        """It changes nothing that a running request reads."""
        return True

    def run(self, memory: WorkerMemory, progress: Progress) -> None:
        """Write the file."""
        coloured = {f"{number} {part.name}": _coloured(part) for number, part in enumerate(self.parts)}
        if self.view is None:
            write_scene(coloured, self.target)
            return
        from PIL import Image

        tools = [ToolTrajectory(entry, target, self.radius_mm, _PATH_RGB) for entry, target in self.paths_lps_mm]
        scene = Scene3D(list(coloured.values()), tools, occlusion=False)
        camera = camera_for(self.view, scene.bounds_lps_mm, _PICTURE_PX)
        picture = scene.render(camera, _PICTURE_PX, background_rgb=_BACKGROUND_RGB, supersampling=1)
        image = Image.fromarray(picture.rgb)
        _write_letters(image, picture.letters)
        image.save(self.target, format="PNG")


def _write_letters(image: PIL.Image.Image, letters: EdgeLetters) -> None:
    """Write the patient's sides at the edges of a picture."""
    from PIL import ImageDraw, ImageFont

    width, height = image.size
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(_LETTER_PX)
    places = {
        letters.left: ((_EDGE_PX, height / 2), "lm"),
        letters.right: ((width - _EDGE_PX, height / 2), "rm"),
        letters.top: ((width / 2, _EDGE_PX), "mt"),
        letters.bottom: ((width / 2, height - _EDGE_PX), "mb"),
    }
    for words, (place, anchor) in places.items():
        pen.text(place, words, fill=_LETTER_RGB, font=font, anchor=anchor, stroke_width=2, stroke_fill=_BACKGROUND_RGB)


def _coloured(part: Part) -> ColouredSurface:
    import trimesh

    mesh: Any = trimesh.load(part.path, process=False)
    surface = Surface(np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64))
    if mesh.visual.kind == "vertex":
        return ColouredSurface(surface, np.asarray(mesh.visual.vertex_colors)[:, :3], part.opacity)
    red, green, blue = (int(part.colour[start : start + 2], 16) for start in (1, 3, 5))
    return ColouredSurface(surface, (red, green, blue), part.opacity)
