"""Pictures of surfaces and tools by ray casting on the CPU: no GPU, no window system.

Open3D's ray caster (Embree) finds the hits. The shading is a headlight with some skylight, darkened by ambient
occlusion, which makes depth visible in a parallel projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.camera import Camera, EdgeLetters, scale_bar_mm
from medsam_planner.drawing.ray_casting import cast, skylight
from medsam_planner.drawing.tool_cylinder import ToolTrajectory, tool_cylinder
from medsam_planner.errors import GeometryError
from medsam_planner.mesh import ColouredSurface
from medsam_planner.mesh.open3d_mesh import raycasting_scene

__all__ = ["Rendering", "Scene3D"]

_MAX_LAYERS = 10
"""Translucent surfaces that one ray passes; ten of opacity 0.3 leave 3 % of the light."""

_STEP_MM = 1e-2
"""A ray continues this far behind a hit: above the float32 rounding of coordinates within a metre."""


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """A picture with what is needed to label it."""

    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    mm_per_pixel: float
    letters: EdgeLetters
    scale_bar_mm: float
    depth_mm: NDArray[np.float32]
    """(H, W) distance of the nearest surface behind the camera's centre plane (negative before it), NaN without one."""

    @property
    def scale_bar_pixels(self) -> float:
        """Length of the scale bar in the picture."""
        return self.scale_bar_mm / self.mm_per_pixel


class Scene3D:
    """Surfaces and tools prepared for ray casting.

    Parameters
    ----------
    surfaces : sequence of ColouredSurface
    tools : sequence of ToolTrajectory
    occlusion : bool
        Darken places that little light reaches (ambient occlusion); takes about a second, once.

    Raises
    ------
    GeometryError
        If there is nothing to show, a tool has no length or radius, or colours or opacities do not fit.
    """

    def __init__(
        self, surfaces: Sequence[ColouredSurface], tools: Sequence[ToolTrajectory] = (), *, occlusion: bool = True
    ) -> None:
        items = [*surfaces, *(tool_cylinder(tool) for tool in tools)]
        if not items:
            raise GeometryError("Expected at least one surface or tool to show, got none.")
        self.bounds_lps_mm = _union([item.surface.bounds_lps_mm for item in items])
        self._origin = self.bounds_lps_mm.mean(axis=0)
        self._scene = raycasting_scene(*(item.surface for item in items), origin_lps_mm=self._origin)
        face_counts = [len(item.surface.faces) for item in items]
        vertex_counts = [len(item.surface.vertices_lps_mm) for item in items]
        self._first_face = np.cumsum([0, *face_counts[:-1]])
        first_vertex = np.cumsum([0, *vertex_counts[:-1]])
        self._faces = np.concatenate([item.surface.faces + n for item, n in zip(items, first_vertex, strict=True)])
        self._normals = np.concatenate([item.surface.vertex_normals for item in items]).astype(np.float32)
        self._rgb = np.concatenate([_vertex_rgb(item) for item in items]).astype(np.float32) / 255
        self._opacity = np.array([_opacity(item) for item in items], dtype=np.float32)
        self._light = np.ones(len(self._normals), dtype=np.float32)
        opaque = [item.surface for item in items if item.opacity >= 1]
        if occlusion and opaque:
            vertices = np.concatenate([item.surface.vertices_lps_mm for item in items]) - self._origin
            blockers = raycasting_scene(*opaque, origin_lps_mm=self._origin)
            self._light = skylight(blockers, vertices.astype(np.float32), self._normals, self._faces)
            # A tool has vertices at its ends only, often inside a structure: their light does not apply to its shaft.
            self._light[sum(vertex_counts[: len(surfaces)]) :] = 1.0

    def render(
        self,
        camera: Camera,
        size: tuple[int, int] = (500, 500),
        *,
        background_rgb: tuple[int, int, int] = (255, 255, 255),
        supersampling: int = 2,
    ) -> Rendering:
        """Take a picture of `size` (rows, columns), with `supersampling`² rays a pixel.

        Raises
        ------
        GeometryError
            If `size` or `supersampling` is not positive.
        """
        if min(size) < 1 or supersampling < 1:
            raise GeometryError(f"Expected a positive size and supersampling, got {size} and {supersampling}.")
        rows, columns = size[0] * supersampling, size[1] * supersampling
        rays, start_depth_mm = self._rays(camera, (rows, columns))
        colour, first_mm = self._trace(rays, camera, np.array(background_rgb, dtype=np.float32) / np.float32(255))
        blocks = (size[0], supersampling, size[1], supersampling)
        rgb = colour.reshape(*blocks, 3).mean(axis=(1, 3))
        depth = first_mm.reshape(blocks).min(axis=(1, 3)) + start_depth_mm
        return Rendering(
            rgb=np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8),
            mm_per_pixel=camera.mm_per_pixel(size),
            letters=camera.letters,
            scale_bar_mm=scale_bar_mm(camera.width_mm),
            depth_mm=np.where(np.isfinite(depth), depth, np.nan).astype(np.float32),
        )

    def _rays(self, camera: Camera, size: tuple[int, int]) -> tuple[NDArray[np.float32], float]:
        forward, right, up = (np.array(v) for v in (camera.forward, camera.right, camera.up))
        centre = np.array(camera.centre_lps_mm)
        corners = np.stack(np.meshgrid(*self.bounds_lps_mm.T, indexing="ij"), axis=-1).reshape(-1, 3)
        start_depth_mm = float(((corners - centre) @ forward).min()) - 1.0
        if camera.cut_depth_mm is not None:
            start_depth_mm = max(start_depth_mm, camera.cut_depth_mm)
        scale = camera.mm_per_pixel(size)
        along_columns = ((np.arange(size[1]) - (size[1] - 1) / 2) * scale)[None, :, None] * right
        along_rows = (((size[0] - 1) / 2 - np.arange(size[0])) * scale)[:, None, None] * up
        rays = np.empty((*size, 6), dtype=np.float32)
        rays[..., :3] = centre - self._origin + forward * start_depth_mm + along_columns + along_rows
        rays[..., 3:] = forward
        return rays.reshape(-1, 6), start_depth_mm

    def _trace(
        self, rays: NDArray[np.float32], camera: Camera, background: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Colours (N, 3) and distances to the first hit (N,), infinite without one: front to back, layer by layer."""
        colour = np.zeros((len(rays), 3), dtype=np.float32)
        passing = np.ones(len(rays), dtype=np.float32)
        first_mm = np.full(len(rays), np.inf, dtype=np.float32)
        active = np.arange(len(rays))
        for layer in range(_MAX_LAYERS):
            hit_mm, ids, primitives, uv = cast(self._scene, rays)
            hit = np.flatnonzero(np.isfinite(hit_mm))
            active, rays, hit_mm = active[hit], rays[hit], hit_mm[hit]
            if layer == 0:
                first_mm[active] = hit_mm
            shade, alpha = self._shade(ids[hit], primitives[hit], uv[hit], camera)
            colour[active] += (passing[active] * alpha)[:, None] * shade
            passing[active] *= 1 - alpha
            on = np.flatnonzero(passing[active] > 0.02)
            if on.size == 0:
                break
            active, rays = active[on], rays[on].copy()
            rays[:, :3] += rays[:, 3:] * (hit_mm[on] + _STEP_MM)[:, None]
        return colour + passing[:, None] * background, first_mm

    def _shade(
        self, ids: NDArray[np.uint32], primitives: NDArray[np.uint32], uv: NDArray[np.float32], camera: Camera
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        corners = self._faces[self._first_face[ids] + primitives]
        weights = np.stack([1 - uv[:, 0] - uv[:, 1], uv[:, 0], uv[:, 1]], axis=1)
        normals = np.einsum("nc,ncx->nx", weights, self._normals[corners])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
        rgb = np.einsum("nc,ncx->nx", weights, self._rgb[corners])
        light = np.einsum("nc,nc->n", weights, self._light[corners])
        towards, up, right = (np.array(v, dtype=np.float32) for v in (camera.forward, camera.up, camera.right))
        facing = -(normals @ towards)
        normals = np.where(facing[:, None] < 0, -normals, normals)  # the inside of a surface that is looked into
        facing = np.abs(facing)
        lamp = -towards + 0.45 * up - 0.3 * right
        lamp /= np.linalg.norm(lamp)
        half = lamp - towards
        half /= np.linalg.norm(half)
        diffuse = np.maximum(0.7 * (normals @ lamp) + 0.3, 0) * (0.2 + 0.8 * light)
        sky = (0.75 + 0.25 * (normals @ up)) * light
        shine = 0.12 * np.maximum(normals @ half, 0) ** 40 * light
        shade = rgb * (0.04 + 0.42 * sky + 0.62 * diffuse)[:, None] + shine[:, None]
        opacity = self._opacity[ids]
        # An oblique ray passes a longer way through a thin sheet: this draws the outline of translucent surfaces.
        slanted = 1 - (1 - np.minimum(opacity, 0.999)) ** (1 / np.maximum(facing, 0.12))
        alpha = np.where(opacity >= 1, np.float32(1), slanted)
        return shade.astype(np.float32), alpha.astype(np.float32)


def _vertex_rgb(item: ColouredSurface) -> NDArray[np.float64]:
    rgb = np.asarray(item.rgb, dtype=np.float64)
    shape = item.surface.vertices_lps_mm.shape
    if rgb.shape not in ((3,), shape):
        raise GeometryError(f"Expected colours of shape (3,) or {shape}, got {rgb.shape}.")
    return np.broadcast_to(rgb, shape)


def _opacity(item: ColouredSurface) -> float:
    if not 0 < item.opacity <= 1:
        raise GeometryError(f"Expected an opacity above 0 and up to 1, got {item.opacity}.")
    return item.opacity


def _union(bounds: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    stacked = np.stack(bounds)
    return np.stack([stacked[:, 0].min(axis=0), stacked[:, 1].max(axis=0)])
