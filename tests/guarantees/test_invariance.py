"""Scores and margins do not depend on how the patient lies in the scanner, and move the right way."""

from __future__ import annotations

from itertools import pairwise, permutations

import highdicom
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medsam_planner.geometry import lps_from_index, spacing_mm
from medsam_planner.planning import Avoid, Tool, clearance
from tests.guarantees.synthetic_patients import Population, draw_patient
from xai.conformal import conformal_quantile, nonconformity_score, stretch
from xai.weighted_distance import widened_mask

pytestmark = pytest.mark.guarantee

POPULATION = Population(lobes=0.2, heteroscedastic=0.6, u_knows=True)


@pytest.fixture(scope="module")
def patients():
    generator = np.random.default_rng(11)
    return [draw_patient(POPULATION, generator)[0] for _ in range(60)]


def score(part) -> float:
    return nonconformity_score(part.truth, part.predicted, part.u, part.spacing_mm)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("mirrored", [False, True])
def test_scores_do_not_depend_on_the_order_or_direction_of_the_axes(patients, order, mirrored):
    for part in patients:
        turned = [np.transpose(values, order) for values in (part.truth, part.predicted, part.u)]
        if mirrored:
            turned = [np.flip(values, axis=(0, 2)) for values in turned]
        moved = nonconformity_score(*turned, part.spacing_mm[list(order)])
        assert moved == pytest.approx(score(part), rel=1e-12)


def test_a_rigid_motion_changes_neither_scores_nor_certified_clearance(patients):
    generator = np.random.default_rng(12)
    tool = Tool(radius_mm=1.0, entry_error_mm=0.0, target_error_mm=0.0)
    for part in patients:
        affine = np.diag([*part.spacing_mm, 1.0])
        motion = np.eye(4)
        motion[:3, :3] = Rotation.random(random_state=generator).as_matrix()
        motion[:3, 3] = generator.uniform(-200, 200, 3)
        ends = generator.uniform(-10, 32, (20, 2, 3))
        rooms = []
        for frame in (affine, motion @ affine):
            spacing = spacing_mm(frame)
            q = nonconformity_score(part.truth, part.predicted, part.u, spacing)
            assert q == pytest.approx(score(part), rel=1e-9)
            mask = highdicom.Volume(part.predicted, frame, "PATIENT")
            margin = highdicom.Volume((q * part.u).astype(np.float32), frame, "PATIENT")
            lines = lps_from_index(frame, ends.reshape(-1, 3)).reshape(-1, 2, 3)
            rooms.append(clearance(lines, [Avoid("vessel", mask, margin)], tool).certified_mm)
        assert rooms[0] == pytest.approx(rooms[1], abs=0.03)  # the walk's own tolerance is 0.01 mm


def test_scores_shrink_with_a_larger_prediction_and_a_larger_u_and_grow_with_the_truth(patients):
    for part, other in zip(patients[::2], patients[1::2], strict=True):
        grown = part.predicted | other.predicted
        larger_u = part.u * (1 + (np.arange(part.u.shape[2]) % 2))
        assert nonconformity_score(part.truth, grown, part.u, part.spacing_mm) <= score(part) + 1e-9
        assert nonconformity_score(part.truth, part.predicted, larger_u, part.spacing_mm) <= score(part) + 1e-9
        assert (
            nonconformity_score(part.truth | other.truth, part.predicted, part.u, part.spacing_mm) >= score(part) - 1e-9
        )
        assert nonconformity_score(part.truth, part.predicted, 3 * part.u, part.spacing_mm) == pytest.approx(
            score(part) / 3
        )


def test_more_confidence_is_a_wider_margin_and_never_less_of_the_structure(patients):
    scores = [score(part) for part in patients]
    quantiles = [conformal_quantile(scores, alpha) for alpha in (0.5, 0.3, 0.2, 0.1, 0.05, 0.02)]
    assert quantiles == sorted(quantiles)
    for part in patients[:10]:
        widened = [widened_mask(part.predicted, part.u, q, part.spacing_mm) for q in quantiles]
        assert not any((narrow & ~wide).any() for narrow, wide in pairwise(widened))
        sizes = [stretch(part.truth, part.predicted, part.u, q, part.spacing_mm) for q in quantiles]
        assert sizes == sorted(sizes)


def test_the_planner_keeps_clear_of_every_true_voxel_when_the_score_is_within_the_quantile(patients):
    """The planner's own field, with the margin q u, is at most the distance to the true voxels less the tool."""
    generator = np.random.default_rng(13)
    tool = Tool(radius_mm=0.7, entry_error_mm=0.0, target_error_mm=0.0)
    for part in patients:
        frame = np.diag([*part.spacing_mm, 1.0])
        mask = highdicom.Volume(part.predicted, frame, "PATIENT")
        margin = highdicom.Volume((score(part) * part.u).astype(np.float32), frame, "PATIENT")
        ends = generator.uniform(-10, 32, (50, 2, 3))
        lines = lps_from_index(frame, ends.reshape(-1, 3)).reshape(-1, 2, 3)
        certified = clearance(lines, [Avoid("vessel", mask, margin)], tool).certified_mm
        along = np.linspace(0, 1, 200)[:, None]
        centres = lps_from_index(frame, np.argwhere(part.truth))
        for line, promised in zip(lines, certified, strict=True):
            places = line[0] + along * (line[1] - line[0])
            nearest = np.linalg.norm(places[:, None] - centres[None], axis=-1).min()
            assert promised <= nearest - tool.radius_mm + 1e-6
