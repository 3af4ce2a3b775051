"""Stochastic runs: each source repeats, differs, is one structure through the volume; what is off the band stays."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.compact import CompactModel
from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork
from medsam_planner.engine.logits import OUTSIDE_LOGIT
from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.engine.stochastic_passes import ImageChange, Jitter, StochasticPass
from medsam_planner.errors import PromptError
from medsam_planner.geometry import lps_from_index, spacing_mm
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.propagation.sampling import sample_box, sample_passes, surface_band
from medsam_planner.propagation.sources import (
    Augmentation,
    Dropout,
    Mixture,
    PromptJitter,
    Triplanar,
    source_named,
)
from medsam_planner.propagation.structure import PropagatedStructure, StructureTracker
from prompts import Box
from tests.medsam_planner.propagation.threshold_model import ThresholdModel

SIDE = 32
NAMES = ("dropout", "jitter", "augment", "triplanar", "dropout+augment+triplanar")


def compact() -> CompactModel:
    """A real network of a few thousand weights that finds something: its answer leans on the prompt's ellipse."""
    import torch

    torch.manual_seed(0)
    architecture = CompactArchitecture(
        size=SIDE, encoder_widths=(8, 16, 24), decoder_widths=(8, 16, 24), encoder_blocks=(0, 1, 1), dropout=0.2
    )
    return CompactModel.from_network(CompactNetwork(architecture), weights_sha256="tiny")


class Asks:
    """Any number of runs as stated."""

    name = "stated"

    def __init__(self, *runs: StochasticPass) -> None:
        self.stated = runs

    def passes(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        return self.stated


def segmented(model, affine, *, triplanar: bool = True) -> tuple[SliceSegmenter, PropagatedStructure]:
    index = np.stack(np.meshgrid(*(np.arange(SIDE),) * 3, indexing="ij"), axis=-1)
    solid = np.linalg.norm((index - 15.5) * spacing_mm(affine), axis=-1) <= 9 * spacing_mm(affine).min()
    noise = np.random.default_rng(0).normal(0, 30, solid.shape)
    volume = highdicom.Volume((solid * 1000 + noise).astype(np.float32), affine, "PATIENT")
    segmenter = SliceSegmenter(volume, model, normalisation_for(volume, (500.0, 1000.0), "full"), EmbeddingCache(10**8))
    section = np.argwhere(solid[15])
    box = Box(*(lps_from_index(affine, (15, *corner)) for corner in (section.min(0), section.max(0))))
    return segmenter, StructureTracker(segmenter).run([box], triplanar=triplanar)


def whole(passes: PropagatedStructure) -> tuple[slice, slice]:
    return (slice(0, SIDE), slice(0, SIDE))


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[2, 0], affine[1, 1], affine[0, 2] = 2.0, 1.0, 1.0
    return affine


@pytest.fixture(scope="module")
def scene(plain):
    return segmented(compact(), plain)


@pytest.mark.parametrize("name", NAMES)
def test_a_source_repeats_with_its_seed_and_its_passes_differ(scene, name):
    segmenter, passes = scene
    first, again, other = (
        sample_passes(segmenter, passes, source_named(name), samples=3, seed=seed).logits for seed in (3, 3, 4)
    )
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)
    assert len({run.tobytes() for run in first}) == 3


@pytest.mark.parametrize(
    "source", [PromptJitter(), Augmentation(), Triplanar(), Mixture((PromptJitter(), Triplanar()))]
)
def test_eight_passes_are_the_first_of_sixteen(source):
    assert source.passes(16, 5)[:8] == source.passes(8, 5)


def test_one_pass_of_a_mixture_differs_in_all_ways_and_dropout_shares_four_views():
    runs = source_named("dropout+jitter+augment+triplanar").passes(16, 2)
    assert all(run.jitter and run.change and run.plane_weights and run.dropout_seed is not None for run in runs)
    assert len({(run.jitter, run.change, run.dropout_seed) for run in runs}) == 4
    assert len({run.plane_weights for run in runs}) == 16
    apart = source_named("jitter+augment").draws(16, 2)
    assert len({run.jitter for run in apart}) == len({run.change for run in apart}) == 16


def test_a_reference_slice_is_given_only_to_a_model_that_reads_it(plain):
    for model, propagated in ((compact(), True), (ThresholdModel(SIDE), False)):
        segmenter, passes = segmented(model, plain, triplanar=False)
        mask = passes.by_axis[0].predictions[15].probability
        asked = SlicePrompt(box=np.array([8.0, 8.0, 22.0, 22.0]), mask=mask, reference_slice=segmenter.image(0, 15))
        assert (segmenter.segment(0, 16, asked).prompt.reference_slice is not None) is propagated


@pytest.mark.parametrize(("name", "asked"), [("jitter", 6), ("augment", 3), ("jitter+augment", 3)])
def test_sixteen_passes_are_blended_from_few_predictions_and_all_differ(scene, name, asked):
    segmenter, passes = scene
    runs = source_named(name).passes(16, 3)
    parts = {part for run in runs for part, _ in run.blend}
    assert len(parts - {StochasticPass()}) == asked
    assert all(sum(weight for _, weight in run.blend) == pytest.approx(1) for run in runs)
    sampled = sample_passes(segmenter, passes, source_named(name), samples=16, seed=3)
    assert len({run.tobytes() for run in sampled.logits}) == 16


def test_a_pass_is_the_same_on_every_slice(plain):
    """Two slices with the same image and the same question get the same answer in run t, and another one in run s."""
    segmenter, passes = segmented(compact(), plain, triplanar=False)
    index = 15
    prediction = passes.by_axis[0].predictions[index]
    segmenter.volume.array[index + 1] = segmenter.volume.array[index]
    fresh = SliceSegmenter(segmenter.volume, segmenter.model, segmenter.normalisation, EmbeddingCache(10**8))
    for name in ("dropout", "jitter", "augment", "dropout+jitter+augment"):
        runs = source_named(name).passes(5, 1)
        here, beside = (fresh.sample(0, where, prediction, whole(passes), runs) for where in (index, index + 1))
        np.testing.assert_array_equal(here, beside)
        assert np.abs(here[0] - here[1]).max() > 0


@pytest.mark.parametrize("model", [compact, lambda: ThresholdModel(SIDE)], ids=["compact", "threshold"])
@pytest.mark.parametrize(
    "run",
    [
        StochasticPass(),
        StochasticPass(jitter=Jitter((0.0, 0.0))),
        StochasticPass(change=ImageChange()),
        StochasticPass(blend=((StochasticPass(), 1.0),)),
        StochasticPass(blend=((StochasticPass(), 0.25), (StochasticPass(jitter=Jitter((0.0, 0.0))), 0.75))),
    ],
    ids=["nothing", "jitter", "augment", "known", "blend"],
)
def test_a_pass_that_changes_nothing_is_the_deterministic_prediction(plain, model, run):
    segmenter, passes = segmented(model(), plain)
    sampled = sample_passes(segmenter, passes, Asks(run, run), samples=2, seed=0)
    for found in sampled.probabilities():
        np.testing.assert_allclose(found, passes.probability[sampled.band.box], atol=2e-3)  # logits are kept as float16
    np.testing.assert_array_equal(sampled.masks()[0], passes.probability[sampled.band.box] > 0.5)


@pytest.mark.parametrize("flip", [(True, False), (False, True), (True, True)])
def test_flips_are_undone_exactly(plain, flip):
    """A model without handedness answers a turned question as it answers the question."""
    segmenter, passes = segmented(ThresholdModel(SIDE), plain)
    prediction = passes.by_axis[0].predictions[15]
    asymmetric = SlicePrompt(
        box=np.array([9.0, 10.0, 20.0, 25.0]), points=np.array([[15.0, 14.0]]), labels=np.array([True])
    )
    asked = segmenter.segment(0, 15, asymmetric)
    for question in (prediction, asked):
        certain, turned = segmenter.sample(
            0, 15, question, whole(passes), (StochasticPass(), StochasticPass(change=ImageChange(flip=flip)))
        )
        np.testing.assert_array_equal(certain, turned)
        np.testing.assert_array_equal(certain > 0, question.mask())


def test_jitter_moves_and_grows_box_clicks_and_mask_together(plain):
    """A shift of a quarter of a side of 16 pixels is 4 pixels; a growth of 1.25 makes the side 20."""
    from medsam_planner.engine.stochastic_passes import PromptInCrop

    mask = np.zeros((SIDE, SIDE), dtype=np.float32)
    mask[8:24, 8:24] = 1
    prompt = SlicePrompt(
        box=np.array([7.5, 7.5, 23.5, 23.5]), points=np.array([[15.5, 15.5]]), labels=np.array([True]), mask=mask
    )
    asked = PromptInCrop(prompt, None, SIDE, np.array([15.5, 15.5]), np.array([16.0, 16.0]))
    moved = asked.perturbed(StochasticPass(jitter=Jitter((0.25, 0.0)))).prompt
    np.testing.assert_allclose(moved.box, [11.5, 7.5, 27.5, 23.5])
    np.testing.assert_allclose(moved.points, [[19.5, 15.5]])
    np.testing.assert_allclose(moved.mask, np.roll(mask, 4, axis=0), atol=1e-6)
    grown = asked.perturbed(StochasticPass(jitter=Jitter((0.0, 0.0), growth=1.25))).prompt
    np.testing.assert_allclose(grown.box, [5.5, 5.5, 25.5, 25.5])
    assert grown.mask.sum() == pytest.approx(20 * 20, rel=0.02)


def test_gamma_and_noise_keep_order_and_scale():
    field = np.linspace(100, 300, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    bent = ImageChange(gamma=1.5).image(field)
    assert np.all(np.diff(bent.ravel()) >= 0)
    assert np.abs(bent - field).max() > 10
    noisy = ImageChange(noise=0.05, noise_seed=1).image(field)
    assert (noisy - field).std() == pytest.approx(0.05 * 0.98 * 200, rel=0.1)
    flat = np.full((SIDE, SIDE), 7.0, dtype=np.float32)
    np.testing.assert_array_equal(ImageChange(gamma=2.0, noise=0.1).image(flat), flat)


@pytest.mark.parametrize("triplanar", [False, True], ids=["one pass", "three passes"])
@pytest.mark.parametrize("name", ["dropout", "jitter"])
def test_inside_the_band_passes_are_what_sampling_everywhere_gives_and_outside_the_deterministic_prediction(
    plain, name, triplanar
):
    segmenter, passes = segmented(compact(), plain, triplanar=triplanar)
    everywhere, near = (
        sample_passes(segmenter, passes, source_named(name), samples=4, seed=1, band_mm=band) for band in (1e6, 0.5)
    )
    assert everywhere.band.inside.all() and 0 < near.band.inside.mean() < 1
    whole_runs = everywhere.logits.reshape(4, *everywhere.band.inside.shape)
    np.testing.assert_allclose(near.logits, whole_runs[:, near.band.inside], atol=2e-2)
    off = ~near.band.inside
    base = passes.probability[near.band.box]
    assert all(np.array_equal(mask[off], base[off] > 0.5) for mask in near.masks())
    entropy, disagreement = near.entropy_bits()
    p = base[off].astype(np.float64)
    expected = -p * np.log2(np.maximum(p, 1e-300)) - (1 - p) * np.log2(np.maximum(1 - p, 1e-300))
    np.testing.assert_allclose(entropy[off], expected, atol=1e-4)
    assert not disagreement[off].any()


def test_the_band_is_the_voxels_near_the_surface_and_the_unsure_ones():
    probability = np.zeros((1, 1, 41), dtype=np.float32)
    probability[..., 10:31] = 1.0
    probability[..., 20] = 0.9
    band = surface_band(np.repeat(np.repeat(probability, 9, 0), 9, 1), np.array([50.0, 50.0, 1.0]), band_mm=2.0)
    assert band.box[2] == slice(6, 35)
    inside = np.flatnonzero(band.inside[4, 4]) + 6
    np.testing.assert_array_equal(inside, [8, 9, 10, 11, 12, 20, 28, 29, 30, 31, 32])


def test_without_a_surface_the_band_is_the_whole_grid():
    nothing = np.zeros((4, 5, 6), dtype=np.float32)
    assert sample_box(nothing) == (slice(0, 4), slice(0, 5), slice(0, 6))
    assert surface_band(nothing, np.ones(3)).inside.all()


def test_triplanar_passes_are_convex_mixes_of_the_passes(scene):
    segmenter, passes = scene
    weights = (0.2, 0.3, 0.5)
    sampled = sample_passes(
        segmenter, passes, Asks(StochasticPass(plane_weights=weights), StochasticPass()), samples=2, seed=0, band_mm=1e6
    )
    shape = segmenter.volume.spatial_shape
    expected = sum(w * passes.by_axis[axis].probability(shape) for axis, w in enumerate(weights))
    for index in dict(passes.kept)[0]:
        expected[index] = passes.by_axis[0].predictions[index].probability
    mixed, equal = sampled.probabilities()
    np.testing.assert_allclose(mixed, expected[sampled.band.box], atol=3e-3)
    np.testing.assert_allclose(equal, passes.probability[sampled.band.box], atol=3e-3)


def test_planes_that_are_absent_and_unknown_sources_are_refused(plain):
    segmenter, passes = segmented(ThresholdModel(SIDE), plain, triplanar=False)
    with pytest.raises(PromptError, match="across three planes"):
        sample_passes(segmenter, passes, Triplanar(), samples=2, seed=0)
    for name in ("guess", "dropout+dropout", ""):
        with pytest.raises(PromptError, match="dropout, jitter, augment, triplanar"):
            source_named(name)


def test_a_temperature_changes_the_entropy_of_passes_and_not_their_masks(scene):
    segmenter, passes = scene
    sampled = sample_passes(segmenter, passes, Dropout(), samples=4, seed=0)
    plain_bits, _ = sampled.entropy_bits()
    cooler, _ = sampled.entropy_bits(4.0)
    p = sampled.probabilities()
    sure = np.all(np.abs(p - 0.5) > 0.2, axis=0) & (np.all(p > 0.5, axis=0) | np.all(p < 0.5, axis=0)) & (p.min(0) > 0)
    unlooked = np.all(sampled.logits <= OUTSIDE_LOGIT, axis=0)
    assert np.all(cooler[sure] >= plain_bits[sure])
    assert not cooler[sampled.band.inside][unlooked].any()
