"""Files are read back by trimesh and by Open3D, and their headers by hand."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from scipy import ndimage

from medsam_planner.errors import GeometryError
from medsam_planner.mesh import (
    ColouredSurface,
    WorldFrame,
    colour_by,
    rgb_from_values,
    surface_from_probability,
    write_scene,
    write_surface,
)

from .mesh_shapes import grid_centre_lps_mm, positions, shape_for, soft_volume, volume_of


@pytest.fixture
def surface(any_affine):
    shape = shape_for(any_affine, 30.0)
    centre = grid_centre_lps_mm(any_affine, shape)
    probability = soft_volume(lambda x: np.linalg.norm(x - centre, axis=-1) - 10, any_affine, shape)
    height = volume_of(positions(any_affine, shape)[..., 2], any_affine)
    return colour_by(surface_from_probability(probability, max_triangles=2000), height, name="height_mm")


def load(path):
    import trimesh

    return trimesh.load(path, process=False)


def test_ply_keeps_vertices_colours_and_values(surface, tmp_path):
    import open3d as o3d

    rgb = rgb_from_values(surface.values["height_mm"])
    path = write_surface(surface, tmp_path / "ball.ply", rgb=rgb, name="ball")
    back = load(path)
    assert back.vertices == pytest.approx(surface.vertices_lps_mm, abs=1e-3)
    assert np.array_equal(back.faces, surface.faces)
    assert np.array_equal(back.visual.vertex_colors[:, :3], rgb)
    assert back.volume == pytest.approx(surface.volume_mm3, rel=1e-4)
    other = o3d.io.read_triangle_mesh(str(path))
    assert np.asarray(other.vertices) == pytest.approx(surface.vertices_lps_mm, abs=1e-3)
    assert np.asarray(other.vertex_colors) * 255 == pytest.approx(rgb.astype(float), abs=0.6)


@pytest.mark.parametrize("seed", range(6))
def test_files_are_watertight_for_a_program_that_joins_equal_points(seed, any_affine, tmp_path):
    import trimesh

    # Far from the origin, where 32-bit numbers are coarse, a ragged surface has edges too short for them.
    affine = any_affine.copy()
    affine[:3, 3] += (400.0, -700.0, -900.0)
    noise = np.random.default_rng(seed).normal(0, 1, (24, 28, 30))
    probability = np.clip(0.5 + ndimage.gaussian_filter(noise, 2.0) * 4, 0, 1).astype(np.float32)
    surface = surface_from_probability(volume_of(probability, affine))
    assert surface.is_watertight
    for suffix in ("ply", "stl", "glb"):
        mesh = trimesh.load(write_surface(surface, tmp_path / f"blob.{suffix}"), force="mesh")
        mesh.merge_vertices()
        assert mesh.is_watertight, suffix


def test_ply_header_says_unit_and_frame(surface, tmp_path):
    path = write_surface(surface, tmp_path / "ball.ply", name="Ball −\nleft")
    header = path.read_bytes().split(b"end_header")[0].decode("ascii").splitlines()
    assert header[0] == "ply" and header[1].startswith("format")
    for line in ("comment SPACE=LPS", "comment UNIT=mm", "comment STRUCTURE=Ball - left"):
        assert line in header
    assert any(line.startswith("comment HISTORY=Taubin") for line in header)
    assert any("height_mm" in line for line in header if line.startswith("property"))


def test_ras_turns_left_into_right_and_keeps_the_normals_outwards(surface, tmp_path):
    path = write_surface(surface, tmp_path / "ball.ply", frame=WorldFrame.RAS)
    back = load(path)
    assert b"SPACE=RAS" in path.read_bytes()
    assert back.vertices * (-1, -1, 1) == pytest.approx(surface.vertices_lps_mm, abs=1e-3)
    assert back.volume > 0


def test_stl_header_is_80_bytes_and_triangles_survive(surface, tmp_path):
    import open3d as o3d

    path = write_surface(surface, tmp_path / "ball.STL", name="x" * 200)
    data = path.read_bytes()
    assert b"SPACE=LPS" in data[:80] and b"UNIT=mm" in data[:80] and not data.startswith(b"solid")
    assert struct.unpack("<I", data[80:84])[0] == len(surface.faces)
    assert len(data) == 84 + 50 * len(surface.faces)
    back = load(path)
    assert back.volume == pytest.approx(surface.volume_mm3, rel=1e-4)
    assert len(o3d.io.read_triangle_mesh(str(path)).triangles) == len(surface.faces)


def glb_tree(path):
    data = path.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    return json.loads(data[20 : 20 + length])


def test_glb_keeps_lps_mm_in_the_mesh_and_turns_the_node_upright_in_metres(surface, tmp_path):
    rgb = rgb_from_values(surface.values["height_mm"])
    path = write_surface(surface, tmp_path / "ball.glb", rgb=rgb, name="ball")
    extras = glb_tree(path)["asset"]["extras"]
    assert (extras["unit"], extras["frame"]) == ("mm", "LPS")
    scene = load(path)
    mesh = scene.geometry["ball"]
    assert mesh.vertices == pytest.approx(surface.vertices_lps_mm, abs=1e-3)
    assert np.array_equal(mesh.visual.vertex_attributes["color"][:, :3], rgb)
    shown = scene.to_geometry()
    x, y, z = surface.vertices_lps_mm.T
    assert shown.vertices == pytest.approx(np.stack([x, z, -y], axis=1) / 1000, abs=1e-6)
    assert shown.volume == pytest.approx(surface.volume_mm3 * 1e-9, rel=1e-4)  # positive: no mirror


def test_glb_is_read_by_open3d_in_true_size(surface, tmp_path):
    import open3d as o3d

    path = write_surface(surface, tmp_path / "ball.glb", rgb=(200, 100, 50))
    model = o3d.io.read_triangle_model(str(path))
    (item,) = model.meshes
    points = np.asarray(item.mesh.vertices)
    size = np.ptp(points, axis=0)
    assert (size.min() > 0.018 * 0.9 and size.max() < 0.022) or (size.min() > 18 and size.max() < 22)


def test_scene_keeps_names_and_transparency(surface, tmp_path):
    path = write_scene(
        {"bone": ColouredSurface(surface, opacity=0.4), "vessel": ColouredSurface(surface, (200, 30, 30))},
        tmp_path / "scene.glb",
    )
    scene = load(path)
    assert set(scene.geometry) == {"bone", "vessel"}
    assert (scene.geometry["bone"].visual.vertex_attributes["color"][:, 3] == 102).all()
    tree = glb_tree(path)
    modes = [tree["materials"][mesh["primitives"][0]["material"]]["alphaMode"] for mesh in tree["meshes"]]
    assert modes == ["BLEND", "OPAQUE"]


def test_same_surface_gives_the_same_bytes(surface, tmp_path):
    for suffix in (".ply", ".stl", ".glb"):
        first, second = (write_surface(surface, tmp_path / f"{n}{suffix}", name="s") for n in "ab")
        assert first.read_bytes() == second.read_bytes()


def test_what_cannot_be_written_is_refused(surface, tmp_path):
    with pytest.raises(GeometryError, match=r"\.ply, \.stl or \.glb"):
        write_surface(surface, tmp_path / "ball.obj")
    with pytest.raises(GeometryError, match="LPS for a GLB"):
        write_surface(surface, tmp_path / "ball.glb", frame=WorldFrame.RAS)
    with pytest.raises(GeometryError, match="colours"):
        write_surface(surface, tmp_path / "ball.ply", rgb=np.zeros((3, 3)))
    with pytest.raises(GeometryError, match="at least one"):
        write_scene({}, tmp_path / "scene.glb")
