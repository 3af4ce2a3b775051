"""Surfaces handed to Open3D, near the origin: it adds coordinates up, and casts rays in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MissingDependencyError
from medsam_planner.mesh.triangles import Surface

__all__ = ["open3d_mesh", "raycasting_scene", "require_open3d"]

_DEBIAN_LIBRARIES = "apt-get install libusb-1.0-0 libgl1 libegl1 libgomp1 libx11-6"


def require_open3d() -> None:
    """Find out before anything is computed whether Open3D, and what it needs of the system, is there.

    Raises
    ------
    MissingDependencyError
        With what installs it.
    """
    try:
        import open3d  # noqa: F401
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"Expected Open3D and the system libraries it needs, got: {error}. Install open3d-cpu; on Debian also: "
            f"{_DEBIAN_LIBRARIES}."
        ) from error


def open3d_mesh(surface: Surface, origin_lps_mm: NDArray[np.float64]) -> Any:
    """An ``open3d.geometry.TriangleMesh`` relative to `origin_lps_mm`."""
    import open3d as o3d

    return o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(surface.vertices_lps_mm - origin_lps_mm),
        o3d.utility.Vector3iVector(surface.faces.astype(np.int32)),
    )


def raycasting_scene(*surfaces: Surface, origin_lps_mm: NDArray[np.float64]) -> Any:
    """An ``open3d.t.geometry.RaycastingScene`` (CPU) relative to `origin_lps_mm`; geometry ids in the order given."""
    import open3d as o3d

    # Built by one thread: the same tree, and so the same answers at ties, on every machine.
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    for surface in surfaces:
        scene.add_triangles(
            o3d.core.Tensor.from_numpy((surface.vertices_lps_mm - origin_lps_mm).astype(np.float32)),
            o3d.core.Tensor.from_numpy(surface.faces.astype(np.uint32)),
        )
    return scene
