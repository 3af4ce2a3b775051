"""Landmarks: known angles, known extrema, and files that say what is wrong."""

from __future__ import annotations

import json
import math

import highdicom
import numpy as np
import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.lab.readers.landmark_error import landmark_study
from medsam_planner.landmarks.frames import (
    LEWINNEK,
    Definition,
    acetabular_rim,
    commissural_frame,
    cup_angles,
    pelvic_frame,
)
from medsam_planner.landmarks.landmark_file import Landmark, Landmarks, read_landmarks, write_landmarks
from medsam_planner.landmarks.refine import refined_on_image, refined_on_mask
from medsam_planner.registration.rigid_transform import RigidTransform

PELVIS = {
    "ASIS left": (120.0, -80.0, 50.0),
    "ASIS right": (-120.0, -80.0, 50.0),
    "pubic tubercle left": (25.0, -80.0, -40.0),
    "pubic tubercle right": (-25.0, -80.0, -40.0),
}
RADIOGRAPHIC, OPERATIVE, ANATOMICAL = Definition


def axis_of(inclination_deg: float, anteversion_deg: float, side: str = "left") -> np.ndarray:
    """Axis of a cup by its radiographic angles, in LPS of a pelvis whose plane is coronal."""
    ri, ra = math.radians(inclination_deg), math.radians(anteversion_deg)
    lateral = math.cos(ra) * math.sin(ri) * (1 if side == "left" else -1)
    return np.array([lateral, -math.sin(ra), -math.cos(ra) * math.cos(ri)])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("inclination", "anteversion"), [(40, 15), (30, 5), (55, -10), (45, 0)])
def test_the_angles_of_a_cup_follow_murrays_relations(side: str, inclination: float, anteversion: float) -> None:
    axis, frame = axis_of(inclination, anteversion, side), pelvic_frame(PELVIS)
    radiographic = cup_angles(axis, frame, side, RADIOGRAPHIC)
    assert radiographic.inclination_deg == pytest.approx(inclination)
    assert radiographic.anteversion_deg == pytest.approx(anteversion, abs=1e-9)
    ri, ra = math.radians(inclination), math.radians(anteversion)
    operative, anatomical = cup_angles(axis, frame, side, OPERATIVE), cup_angles(axis, frame, side, ANATOMICAL)
    assert math.sin(math.radians(operative.inclination_deg)) == pytest.approx(math.sin(ri) * math.cos(ra))
    assert math.tan(math.radians(operative.anteversion_deg)) == pytest.approx(math.tan(ra) / math.cos(ri), abs=1e-9)
    assert math.cos(math.radians(anatomical.inclination_deg)) == pytest.approx(math.cos(ri) * math.cos(ra))
    assert math.tan(math.radians(anatomical.anteversion_deg)) == pytest.approx(math.tan(ra) / math.sin(ri), abs=1e-9)


def test_a_patient_who_lies_askew_has_the_same_angles() -> None:
    step = RigidTransform.about((10, 20, 30), (0.2, -0.15, 0.1), (40, -60, 900))
    turned = {name: step.apply(place) for name, place in PELVIS.items()}
    found = cup_angles(step.turn(axis_of(40, 15)), pelvic_frame(turned), "left", RADIOGRAPHIC)
    assert (found.inclination_deg, found.anteversion_deg) == pytest.approx((40, 15))


def test_lewinneks_zone_holds_its_middle_and_its_ends_and_refuses_other_definitions() -> None:
    frame = pelvic_frame(PELVIS)
    angles = [cup_angles(axis_of(*one), frame, "left", RADIOGRAPHIC) for one in ((40, 15), (51, 15), (40, 26))]
    assert [LEWINNEK.holds(one) for one in angles] == [True, False, False]
    with pytest.raises(ConfigError, match="radiographic angles"):
        LEWINNEK.holds(cup_angles(axis_of(40, 15), frame, "left", OPERATIVE))


def test_swapped_sides_and_missing_points_are_refused() -> None:
    swapped = {
        name.replace("left", "x").replace("right", "left").replace("x", "right"): p for name, p in PELVIS.items()
    }
    with pytest.raises(ConfigError, match="Check the sides"):
        pelvic_frame(swapped)
    with pytest.raises(ConfigError, match="missing: ASIS right"):
        pelvic_frame({name: place for name, place in PELVIS.items() if name != "ASIS right"})
    with pytest.raises(ConfigError, match="Turn it round"):
        cup_angles(axis_of(40, 15), pelvic_frame(PELVIS), "right", RADIOGRAPHIC)


def test_a_rim_has_the_axis_that_it_was_drawn_around() -> None:
    axis = axis_of(43, 18)
    one = np.cross(axis, (0, 0, 1))
    one /= np.linalg.norm(one)
    other = np.cross(axis, one)
    turn = np.linspace(0, 2 * np.pi, 7)[:-1, None]
    rim = np.array([85.0, -10, -20]) + 26 * (np.cos(turn) * one + np.sin(turn) * other)
    found, off = acetabular_rim(rim, (0, -80, 50))
    assert np.allclose(found, axis)
    assert off == pytest.approx(0, abs=1e-9)


def test_coordinates_from_ac_to_pc_are_halfway_back_and_up() -> None:
    frame = commissural_frame({"AC": (0, -12, 50), "PC": (0, 12, 50), "midline": (0, 5, 90)})
    assert np.allclose(frame.coordinates_mm([(0, 0, 50), (0, 12, 50), (3, 0, 57)]), [(0, 0, 0), (0, 12, 0), (3, 0, 7)])


def grid() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * (2.0, 1.0, 1.0)
    affine[:3, 3] = (-20, -20, 0)
    return affine


def test_a_click_near_a_spine_moves_to_its_most_anterior_place() -> None:
    k, j, i = np.indices((20, 40, 40))
    ball = (((k - 10) * 2.0) ** 2 + (j - 20) ** 2 + (i - 20) ** 2) <= 64
    mask = highdicom.Volume(ball, grid(), "PATIENT")
    found = refined_on_mask((1.0, -6.0, 21.0), mask, "anterior", 8)
    assert found.position_lps_mm == pytest.approx((0, -8, 20))  # index (10, 12, 20)
    assert found.clicked_lps_mm == (1.0, -6.0, 21.0)
    with pytest.raises(ConfigError, match="still rise at the edge"):
        refined_on_mask((6.0, 2.0, 20.0), mask, "anterior", 3)
    with pytest.raises(ConfigError, match="Click nearer"):
        refined_on_mask((-18.0, -18.0, 2.0), mask, "anterior", 3)


def test_a_click_near_a_bright_point_moves_to_it_between_the_voxels() -> None:
    affine = grid()
    index = np.moveaxis(np.indices((20, 40, 40)), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    place = np.array([2.3, -4.4, 19.2])
    study = highdicom.Volume(np.exp(-(((index - place) / 4) ** 2).sum(-1)), affine, "PATIENT")
    found = refined_on_image((4, -3, 21), study, 6, brightest=True)
    assert np.linalg.norm(np.array(found.position_lps_mm) - place) < 0.3
    with pytest.raises(ConfigError, match="still rise"):
        refined_on_image((12, -3, 21), study, 4, brightest=True)


def test_a_landmark_file_comes_back_as_it_was_written(tmp_path) -> None:
    given = Landmarks({"AC": Landmark((0.5, 1, 2), (1, 1, 2), "darkest within 3 mm"), "PC": Landmark((0, 25, 2))}, "ab")
    write_landmarks(tmp_path / "l.json", given)
    assert read_landmarks(tmp_path / "l.json") == given


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"frame": "RAS"}, "frame: expected 'LPS'"),
        ({"landmarks": {}}, "at least one named landmark"),
        ({"landmarks": {"AC": {"position_lps_mm": [1, 2]}}}, "landmarks.AC.position_lps_mm: expected a list of 3"),
        ({"landmarks": {"AC": {"position": [1, 2, 3]}}}, "landmarks.AC"),
        ({"more": 1}, "'more'"),
        ({"landmarks": {"AC": {"position_lps_mm": [1e9, 2, 3]}}}, "landmarks.AC"),
    ],
)
def test_a_wrong_landmark_file_is_refused_with_its_place(tmp_path, change, told) -> None:
    path = tmp_path / "l.json"
    write_landmarks(path, Landmarks({"AC": Landmark((1, 2, 3))}))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError) as refused:
        read_landmarks(path)
    assert told in str(refused.value)


def test_the_error_against_readers_is_the_distance_from_their_middle() -> None:
    readers = [{"AC": (0, 0, 0)}, {"AC": (2, 0, 0)}]
    study = landmark_study({"a": {"AC": (1, 3, 0)}, "b": {"AC": (1, 5, 0)}}, {"a": readers, "b": readers})
    assert (study.error_mm.mean, study.error_mm.low, study.error_mm.high) == pytest.approx((4, 3, 5))
    assert study.reader_mm is not None
    assert study.reader_mm.mean == pytest.approx(2)
    with pytest.raises(ConfigError, match="at least one reader"):
        landmark_study({"c": {"AC": (0, 0, 0)}}, {})
