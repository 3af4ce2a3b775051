"""Defects are counted, the small ones mended, the others refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medsam_planner.errors import GeometryError
from medsam_planner.mesh import Surface, check_surface, require_closed


@pytest.fixture
def cube() -> Surface:
    """Side 2 mm, 12 triangles, volume 8 mm³."""
    import trimesh

    box = trimesh.creation.box(extents=(2, 2, 2))
    return Surface(box.vertices, box.faces)


def test_sound_cube_passes_untouched(cube):
    found = check_surface(cube)
    assert found.is_closed and found.component_count == 1
    assert found.volume_mm3 == pytest.approx(8.0)
    assert require_closed(cube) is cube


def test_missing_triangle_is_counted_and_mended(cube):
    torn = replace(cube, faces=cube.faces[1:])
    assert check_surface(torn).open_edges == 3
    mended = require_closed(torn)
    assert mended.volume_mm3 == pytest.approx(8.0)
    assert mended.history == ("mended: 11 → 12 triangles",)


def test_triangle_inside_out_is_counted_and_mended(cube):
    faces = cube.faces.copy()
    faces[0] = faces[0][::-1]
    twisted = replace(cube, faces=faces)
    assert check_surface(twisted).twisted_edges == 3
    assert require_closed(twisted).volume_mm3 == pytest.approx(8.0)


def test_surface_inside_out_is_counted_and_mended(cube):
    inverted = replace(cube, faces=cube.faces[:, ::-1])
    assert check_surface(inverted).volume_mm3 == pytest.approx(-8.0)
    assert not check_surface(inverted).is_closed
    assert require_closed(inverted).volume_mm3 == pytest.approx(8.0)


def test_triangles_that_share_no_vertices_are_welded(cube):
    soup = Surface(cube.vertices_lps_mm[cube.faces].reshape(-1, 3), np.arange(36).reshape(12, 3))
    assert check_surface(soup).open_edges == 36
    assert require_closed(soup).is_watertight


def test_face_without_area_is_counted_and_mended(cube):
    spoiled = replace(cube, faces=np.vstack([cube.faces, [[0, 0, 1]]]))
    assert check_surface(spoiled).degenerate_faces == 1
    assert check_surface(require_closed(spoiled)).is_closed


def test_wide_open_surface_is_refused_with_the_count():
    import trimesh

    bowl = trimesh.creation.icosphere(subdivisions=3)
    lower = bowl.triangles_center[:, 2] < 0
    with pytest.raises(GeometryError, match=r"\d+ open"):
        require_closed(Surface(bowl.vertices, bowl.faces[lower]))


def test_fin_on_a_cube_is_refused_or_removed(cube):
    fin = Surface(np.vstack([cube.vertices_lps_mm, [[5, 5, 5]]]), np.vstack([cube.faces, [[*cube.faces[0][:2], 8]]]))
    assert check_surface(fin).crowded_edges == 1
    with pytest.raises(GeometryError, match="crowded"):
        require_closed(fin)


def test_no_triangles_at_all_is_refused():
    empty = Surface(np.zeros((0, 3)), np.zeros((0, 3), dtype=int))
    assert not empty.is_watertight
    with pytest.raises(GeometryError):
        require_closed(empty)
