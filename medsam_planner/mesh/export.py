"""Surfaces as PLY, STL and GLB files that say their unit and frame.

===== ========================================================= =====================================================
File  Coordinates                                               Where unit and frame are written
===== ========================================================= =====================================================
PLY   mm, LPS (or RAS on request)                               header comments ``SPACE=LPS`` and ``UNIT=mm``
STL   mm, LPS (or RAS on request), no colours                   the 80-byte header, the same words
GLB   vertices in mm, LPS; a node maps them to the metres and   ``asset.extras``
      +Y-up, +Z-front of glTF 2.0, so that viewers show the
      patient upright, from the front, in true size
===== ========================================================= =====================================================

``SPACE=`` is the word 3D Slicer writes and reads. Viewers that assume RAS (NiiVue) need ``WorldFrame.RAS``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import GeometryError
from medsam_planner.io.files import write_whole
from medsam_planner.mesh.triangles import Surface

__all__ = ["GLTF_FROM_LPS_MM", "ColouredSurface", "WorldFrame", "write_scene", "write_surface"]

GLTF_FROM_LPS_MM = np.array([[0.001, 0, 0, 0], [0, 0, 0.001, 0], [0, -0.001, 0, 0], [0, 0, 0, 1.0]])
"""(x, y, z) LPS mm → glTF metres (x, z, −y): left is +X, up is +Y, the patient faces +Z. A rotation, no mirror."""

_DEFAULT_RGB = (222, 206, 176)
"""Bone."""


class WorldFrame(Enum):
    """Directions of +x, +y, +z in the patient."""

    LPS = "LPS"
    """Left, posterior, superior (DICOM)."""
    RAS = "RAS"
    """Right, anterior, superior (NIfTI)."""


@dataclass(frozen=True, slots=True, eq=False)
class ColouredSurface:
    """A surface and its look."""

    surface: Surface
    rgb: NDArray[np.uint8] | tuple[int, int, int] = _DEFAULT_RGB
    """(V, 3) or (3,), 0 to 255."""
    opacity: float = 1.0


def write_surface(
    surface: Surface,
    path: Path | str,
    *,
    rgb: NDArray[np.uint8] | tuple[int, int, int] | None = None,
    name: str = "structure",
    frame: WorldFrame = WorldFrame.LPS,
) -> Path:
    """Write one surface; the suffix (``.ply``, ``.stl``, ``.glb``) says the format.

    Parameters
    ----------
    surface : Surface
        Vertex values are written to PLY as float properties.
    path : path-like
        Its folder must exist.
    rgb : (V, 3) or (3,) uint8, optional
        Colours for PLY and GLB; STL has none.
    name : str
        The structure, written to the header.
    frame : WorldFrame
        For PLY and STL. GLB is always LPS with the node of :data:`GLTF_FROM_LPS_MM`.

    Raises
    ------
    GeometryError
        For another suffix, colours that do not fit, or RAS asked for a GLB.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix == ".glb":
        if frame is not WorldFrame.LPS:
            raise GeometryError("Expected LPS for a GLB file: its node already turns the patient upright.")
        return write_scene({name: ColouredSurface(surface, _DEFAULT_RGB if rgb is None else rgb)}, target)
    if suffix == ".ply":
        write_whole(target, _ply_bytes(surface, rgb, name, frame))
    elif suffix == ".stl":
        write_whole(target, _stl_bytes(surface, name, frame))
    else:
        raise GeometryError(f"Expected a file name ending in .ply, .stl or .glb, got '{target.name}'.")
    return target


def write_scene(surfaces: Mapping[str, ColouredSurface], path: Path | str) -> Path:
    """Write several named surfaces into one GLB file.

    Raises
    ------
    GeometryError
        If the file name does not end in ``.glb``, there is nothing to write, or colours do not fit.
    """
    import trimesh
    from trimesh.exchange.gltf import export_glb

    target = Path(path)
    if target.suffix.lower() != ".glb" or not surfaces:
        raise GeometryError(f"Expected at least one surface and a name ending in .glb, got '{target.name}'.")
    scene = trimesh.Scene()
    for name, item in surfaces.items():
        mesh = _as_trimesh(item.surface, item.rgb, WorldFrame.LPS, opacity=item.opacity)
        scene.add_geometry(mesh, node_name=name, geom_name=name, transform=GLTF_FROM_LPS_MM)

    def label(tree: dict[str, Any]) -> None:
        tree["asset"]["extras"] = {
            "unit": "mm",
            "frame": "LPS",
            "note": "Mesh vertices are LPS mm; each node's matrix maps them to glTF metres, +Y superior, +Z anterior.",
            "frame_of_reference_uids": sorted(
                {str(item.surface.frame_of_reference_uid) for item in surfaces.values()} - {"None"}
            ),
        }
        # glTF draws vertex alpha only where a material says so.
        for mesh, item in zip(tree["meshes"], surfaces.values(), strict=True):
            material = {
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.8},
                "alphaMode": "OPAQUE" if item.opacity >= 1 else "BLEND",
                "doubleSided": item.opacity < 1,
            }
            mesh["primitives"][0]["material"] = len(tree.setdefault("materials", []))
            tree["materials"].append(material)

    return write_whole(target, export_glb(scene, include_normals=True, tree_postprocessor=label))


def _ply_bytes(surface: Surface, rgb: Any, name: str, frame: WorldFrame) -> bytes:
    mesh = _as_trimesh(surface, rgb, frame)
    for key, values in surface.values.items():
        mesh.vertex_attributes[key] = values.astype(np.float32)
    data: bytes = mesh.export(file_type="ply", encoding="binary", vertex_normal=False)
    comments = [
        f"SPACE={frame.value}",
        "UNIT=mm",
        f"STRUCTURE={_one_line(name)}",
        f"FRAME_OF_REFERENCE_UID={surface.frame_of_reference_uid or 'unknown'}",
        *(f"HISTORY={_one_line(step)}" for step in surface.history),
    ]
    head, format_line, rest = data.split(b"\n", 2)
    return b"\n".join([head, format_line, *(f"comment {line}".encode("ascii") for line in comments), rest])


def _stl_bytes(surface: Surface, name: str, frame: WorldFrame) -> bytes:
    data: bytes = _as_trimesh(surface, None, frame).export(file_type="stl")
    # Readers take a file that starts with "solid" for the text form.
    words = f"Binary STL. SPACE={frame.value}; UNIT=mm; {_one_line(name)}".encode("ascii")
    return struct.pack("80s", words[:80]) + data[80:]


def _as_trimesh(surface: Surface, rgb: Any, frame: WorldFrame, *, opacity: float = 1.0) -> Any:
    import trimesh

    vertices = surface.vertices_lps_mm * ((1, 1, 1) if frame is WorldFrame.LPS else (-1, -1, 1))
    rgba = None
    if rgb is not None:
        colours = np.asarray(rgb)
        if colours.shape not in ((3,), vertices.shape) or colours.min(initial=0) < 0 or colours.max(initial=0) > 255:
            raise GeometryError(f"Expected colours 0 to 255 of shape (3,) or {vertices.shape}, got {colours.shape}.")
        rgba = np.empty((len(vertices), 4), dtype=np.uint8)
        rgba[:, :3] = colours
        rgba[:, 3] = round(255 * opacity)
    return trimesh.Trimesh(vertices, surface.faces.copy(), vertex_colors=rgba, process=False)


def _one_line(text: str) -> str:
    """ASCII without line breaks: the headers of both formats allow nothing else."""
    return " ".join(text.replace("→", "to").replace("−", "-").split()).encode("ascii", "replace").decode("ascii")
