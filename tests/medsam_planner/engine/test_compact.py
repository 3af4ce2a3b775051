"""The compact model keeps the engine's promises with any weights, and the shipped weights segment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.engine.compact import PROPAGATED_BOX_PADDINGS_PX, CompactModel
from medsam_planner.engine.compact_inputs import normalise, prompt_maps
from medsam_planner.engine.compact_weights import save_weights
from medsam_planner.engine.memory_model import open_compact
from medsam_planner.engine.protocol import Crop, SlicePrompt
from medsam_planner.engine.zoom import extract, paste, prompt_to_crop
from medsam_planner.errors import GeometryError, PromptError, WeightsError

SHIPPED = Path(__file__).resolve().parents[3] / "weights" / "compact.safetensors"


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory) -> Path:
    """A network of a few thousand random weights, written as training writes it."""
    import torch

    from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork

    torch.manual_seed(0)
    architecture = CompactArchitecture(
        size=32, encoder_widths=(8, 16, 24), decoder_widths=(8, 16, 24), encoder_blocks=(0, 1, 1), dropout=0.2
    )
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(CompactNetwork(architecture), path, trained_on=["nothing"], notes={"seed": "0"})
    return path


@pytest.fixture(scope="module")
def tiny(tiny_weights) -> CompactModel:
    return CompactModel(tiny_weights)


@pytest.fixture(scope="module")
def shipped() -> CompactModel:
    return open_compact(SHIPPED)


def _box(*corners: float) -> SlicePrompt:
    return SlicePrompt(box=np.array(corners, dtype=np.float64))


def _answer(model: CompactModel, image: np.ndarray, prompt: SlicePrompt, spacing=(1.0, 1.0)) -> np.ndarray:
    """Logits on the slice from the field that predicts the best quality."""
    answers = []
    for crop in model.crops(prompt, image.shape, spacing):
        decoded = model.decode(model.encode(extract(image, crop)[None]), prompt_to_crop(prompt, crop))
        answers.append((float(decoded.quality[0]), paste(decoded.logits[0], crop, image.shape)))
    return max(answers, key=lambda answer: answer[0])[1]


# -- propagated masks -------------------------------------------------------------------------------------------------


def _propagated(size: int) -> SlicePrompt:
    mask = np.zeros((size, size), dtype=np.float32)
    mask[8:20, 10:22] = 1
    return SlicePrompt(box=np.array([8.0, 10.0, 19.0, 21.0]), mask=mask)


def test_a_propagated_mask_is_decoded_with_its_box_and_by_the_box_alone(tiny):
    embedding = tiny.encode(np.random.default_rng(1).random((1, 32, 32), dtype=np.float32))
    propagated = _propagated(32)
    padding = PROPAGATED_BOX_PADDINGS_PX[0]
    alone = tiny.decode(embedding, _box(8 - padding, 10 - padding, 19 + padding, 21 + padding))
    # With a click the same mask and box are one question: the person has seen the slice.
    before = np.zeros((32, 32), dtype=np.float32)
    once = tiny.decode(embedding, propagated, previous_logits=before)
    both = tiny.decode(embedding, propagated)
    assert not np.allclose(both.logits, alone.logits)
    assert once.logits.shape == both.logits.shape == (1, 32, 32)
    maps = np.stack(
        [prompt_maps(propagated, 32), prompt_maps(_box(8 - padding, 10 - padding, 19 + padding, 21 + padding), 32)]
    )
    import torch

    with torch.inference_mode():
        pyramid = [feature.expand(2, -1, -1, -1) for feature in embedding]
        logits, quality = tiny.network.decoder(pyramid, torch.from_numpy(maps))
    np.testing.assert_allclose(both.logits[0], logits.numpy().mean(0), atol=1e-4)
    np.testing.assert_allclose(both.quality[0], torch.sigmoid(quality).numpy().mean(), atol=1e-5)


def test_the_padding_of_a_propagated_box_can_be_chosen(tiny):
    embedding = tiny.encode(np.random.default_rng(1).random((1, 32, 32), dtype=np.float32))
    wide = SlicePrompt(box=_propagated(32).box, padding_px=4.0)
    np.testing.assert_array_equal(
        tiny.decode(embedding, wide).logits, tiny.decode(embedding, _box(4, 6, 23, 25)).logits
    )
    usual, chosen = _propagated(32), replace(_propagated(32), padding_px=4.0)
    assert not np.allclose(tiny.decode(embedding, usual).logits, tiny.decode(embedding, chosen).logits)
    moved = prompt_to_crop(chosen, Crop((15.5, 15.5), (32.0, 32.0), 32))
    assert moved.padding_px == 4.0


def test_several_prompts_in_one_batch_are_decoded_as_one_by_one(tiny):
    embedding = tiny.encode(np.random.default_rng(2).random((1, 32, 32), dtype=np.float32))
    prompts = [_propagated(32), _box(4, 4, 20, 20), _propagated(32)]
    together = tiny.decode_each(embedding, prompts, [None] * 3)
    for number, prompt in enumerate(prompts):
        apart = tiny.decode(embedding, prompt)
        np.testing.assert_allclose(together.logits[number], apart.logits[0], atol=1e-4)
        np.testing.assert_allclose(together.quality[number], apart.quality[0], atol=1e-5)


def test_passes_of_several_prompts_belong_to_their_prompts_and_none_drops_what_another_does(tiny, monkeypatch):
    images = np.random.default_rng(3).random((2, 32, 32), dtype=np.float32)
    prompts, embedding = (
        [_propagated(32), replace(_propagated(32), box=np.array([2.0, 4.0, 18.0, 26.0]))],
        tiny.encode(images),
    )
    certain = tiny.decode_each(embedding, prompts, [None] * 2)
    drawn = tiny.decode_each(embedding, prompts, [None] * 2, passes=[3, 2], seed=4)
    assert len({run.tobytes() for run in drawn.logits}) == 5
    again = tiny.decode_each(embedding, prompts, [None] * 2, passes=[3, 2], seed=4)
    assert drawn.logits.tobytes() == again.logits.tobytes()
    for dropout in tiny.network.decoder.dropouts:
        monkeypatch.setattr(dropout, "p", 0.0)
    kept = tiny.decode_each(embedding, prompts, [None] * 2, passes=[3, 2], seed=4)
    np.testing.assert_allclose(kept.logits, certain.logits[[0, 0, 0, 1, 1]], atol=1e-4)
    np.testing.assert_allclose(kept.quality, certain.quality[[0, 0, 0, 1, 1]], atol=1e-5)


# -- intensities ------------------------------------------------------------------------------------------------------


def test_scale_and_offset_of_the_intensities_change_nothing():
    image = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(normalise(image * 812 - 1024), normalise(image), atol=1e-3)


def test_any_increasing_map_keeps_the_ranks():
    image = np.random.default_rng(1).random((1, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(normalise(np.exp(3 * image))[:, 2], normalise(image)[:, 2])


def test_equal_pixels_share_their_rank_and_a_flat_crop_is_zero():
    image = np.zeros((1, 32, 32), dtype=np.float32)
    np.testing.assert_array_equal(normalise(image), 0.0)
    image[0, :16] = 1.0
    ranks = normalise(image)[0, 2]
    np.testing.assert_allclose(ranks[16:], -0.5)
    np.testing.assert_allclose(ranks[:16], 0.5)


# -- prompts ----------------------------------------------------------------------------------------------------------


def test_prompt_maps_mark_box_clicks_mask_and_previous_prediction_where_they_are():
    mask = np.zeros((32, 32), dtype=np.float32)
    mask[3, 4] = 1.0
    prompt = SlicePrompt(
        box=np.array([8.0, 8.0, 24.0, 16.0]),
        points=np.array([[12.0, 10.0], [28.0, 2.0]]),
        labels=np.array([True, False]),
        mask=mask,
    )
    maps = prompt_maps(prompt, 32, np.full((32, 32), 40.0, dtype=np.float32))
    assert maps[0, 16, 12] > 0.99
    assert maps[0, 9, 9] < 0.5 < maps[1, 9, 9]
    assert maps[1, 16, 25] < 0.01
    assert np.unravel_index(maps[2].argmax(), (32, 32)) == (12, 10)
    assert np.unravel_index(maps[3].argmax(), (32, 32)) == (28, 2)
    np.testing.assert_array_equal(maps[4], mask)
    np.testing.assert_allclose(maps[5:8], 1.0)
    np.testing.assert_array_equal(maps[8], 0.0)


def test_a_reference_slice_shows_its_intensities_above_nothing_whatever_their_unit():
    ramp = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    shown = prompt_maps(SlicePrompt(mask=ramp, reference_slice=ramp), 32)[8]
    assert shown.min() >= 0.25 and shown.max() <= 1.75
    assert np.all(np.diff(shown[0]) > 0)
    assert shown[0, 16] == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(
        shown, prompt_maps(SlicePrompt(mask=ramp, reference_slice=900 * ramp - 1000), 32)[8], atol=1e-5
    )
    flat = prompt_maps(SlicePrompt(mask=ramp, reference_slice=np.full((32, 32), 7.0, np.float32)), 32)[8]
    np.testing.assert_array_equal(flat, 1.0)
    with pytest.raises(GeometryError, match="reference slice of 32 x 32"):
        prompt_maps(SlicePrompt(mask=ramp, reference_slice=np.zeros((40, 40), np.float32)), 32)


def test_a_prompt_of_nothing_has_empty_maps():
    np.testing.assert_array_equal(prompt_maps(SlicePrompt(), 32), 0.0)


def test_a_mask_of_the_slice_instead_of_the_field_is_refused():
    with pytest.raises(GeometryError, match="32 x 32"):
        prompt_maps(SlicePrompt(mask=np.zeros((40, 40), dtype=np.float32)), 32)


# -- fields -----------------------------------------------------------------------------------------------------------


def test_a_box_opens_one_field_of_nine_fifths_its_longer_side_around_its_middle(tiny):
    (crop,) = tiny.crops(_box(20, 30, 69, 49), (200, 200), (1.0, 1.0))
    assert crop.centre_rc == (44.5, 39.5)
    np.testing.assert_allclose(crop.side_rc, 1.8 * 50)
    assert crop.size == 32


def test_on_anisotropic_pixels_the_field_is_square_in_millimetres(tiny):
    (crop,) = tiny.crops(_box(10, 30, 19, 49), (60, 200), (3.0, 1.0))
    np.testing.assert_allclose(np.array(crop.side_rc) * (3.0, 1.0), 1.8 * 30)


@pytest.mark.parametrize("box", [(0, 0, 199, 199), (195, 195, 199, 199), (0, 90, 0, 90), (90, 5, 95, 190)])
def test_the_field_holds_the_whole_box_wherever_it_lies(tiny, box):
    for crop in tiny.crops(_box(*box), (200, 200), (1.0, 1.0)):
        low = np.array(crop.centre_rc) - np.array(crop.side_rc) / 2
        assert np.all(low <= box[:2])
        assert np.all(low + crop.side_rc >= box[2:])


def test_corners_in_any_order_open_the_same_field(tiny):
    assert tiny.crops(_box(69, 30, 20, 49), (99, 99), (1.0, 1.0)) == tiny.crops(
        _box(20, 49, 69, 30), (99, 99), (1.0, 1.0)
    )


def test_a_correction_outside_the_field_widens_it_until_it_holds_box_and_click(tiny):
    prompt = SlicePrompt(
        box=np.array([40.0, 40.0, 49.0, 49.0]), points=np.array([[45.0, 90.0]]), labels=np.array([True])
    )
    (crop,) = tiny.crops(prompt, (200, 200), (1.0, 1.0))
    low = np.array(crop.centre_rc) - np.array(crop.side_rc) / 2
    assert np.all(low < [40, 40])
    assert np.all(low + crop.side_rc > [49, 90])


def test_a_mask_opens_the_field_of_its_pixels_above_one_half(tiny):
    mask = np.full((100, 100), 0.4, dtype=np.float32)
    mask[20:70, 30:50] = 0.9
    assert tiny.crops(SlicePrompt(mask=mask), (100, 100), (1.0, 1.0)) == tiny.crops(
        _box(20, 30, 69, 49), (100, 100), (1.0, 1.0)
    )


def test_a_single_click_opens_a_ladder_of_zooms_from_near_to_the_whole_slice(tiny):
    prompt = SlicePrompt(points=np.array([[50.0, 60.0]]), labels=np.array([True]))
    crops = tiny.crops(prompt, (300, 300), (1.0, 1.0))
    sides = [crop.side_rc[0] for crop in crops]
    assert len(crops) >= 4
    assert sides == sorted(sides)
    assert sides[0] <= 24
    assert sides[-1] > 300 / 2
    assert all(crop.centre_rc == (50.0, 60.0) for crop in crops)


@pytest.mark.parametrize("prompt", [SlicePrompt(), SlicePrompt(mask=np.zeros((20, 20), dtype=np.float32))])
def test_nothing_to_look_at_is_refused(tiny, prompt):
    with pytest.raises(PromptError, match="box, a click or a mask"):
        tiny.crops(prompt, (20, 20), (1.0, 1.0))


# -- decoding ---------------------------------------------------------------------------------------------------------


def test_the_same_question_gives_the_same_bytes(tiny_weights):
    image = np.random.default_rng(3).random((1, 32, 32)).astype(np.float32)
    prompt = _box(8, 8, 20, 22)
    answers = []
    for _ in range(2):
        model = CompactModel(tiny_weights)
        answers.append(model.decode(model.encode(image), prompt, samples=3, seed=5).logits.tobytes())
        answers.append(model.decode(model.encode(image), prompt).logits.tobytes())
    assert answers[0] == answers[2]
    assert answers[1] == answers[3]


def test_samples_differ_by_dropped_channels_and_repeat_with_their_seed(tiny):
    embedding = tiny.encode(np.random.default_rng(4).random((1, 32, 32)).astype(np.float32))
    prompt = _box(8, 8, 20, 22)
    first = tiny.decode(embedding, prompt, samples=4, seed=1)
    assert first.logits.shape == (4, 32, 32)
    assert first.quality.shape == (4,)
    assert np.all(first.logits.std(axis=0).max() > 0)
    np.testing.assert_array_equal(first.logits, tiny.decode(embedding, prompt, samples=4, seed=1).logits)
    assert not np.array_equal(first.logits, tiny.decode(embedding, prompt, samples=4, seed=2).logits)


def test_one_seed_drops_the_same_channels_on_every_slice(tiny):
    import torch

    alive, silent = [], []

    def keep(_module, inputs, output):
        alive.append((inputs[0] != 0).flatten(2).any(2))
        silent.append((output == 0).flatten(2).all(2))

    images = np.random.default_rng(5).random((2, 32, 32)).astype(np.float32)
    with tiny.network.decoder.dropouts[1].register_forward_hook(keep):
        for image in images:
            tiny.decode(tiny.encode(image[None]), _box(8, 8, 20, 22), samples=6, seed=9)
    both_alive = alive[0] & alive[1]
    assert torch.equal(silent[0][both_alive], silent[1][both_alive])
    assert 0 < silent[0][both_alive].float().mean() < 0.6


def test_passes_that_share_the_downsampling_equal_passes_that_repeat_it(tiny):
    import torch

    image = np.random.default_rng(8).random((1, 32, 32)).astype(np.float32)
    prompt = _box(8, 8, 20, 22)
    shared = tiny.decode(tiny.encode(image), prompt, samples=4, seed=1).logits
    decoder = tiny.network.decoder
    maps = torch.from_numpy(prompt_maps(prompt, 32)[None])
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        decoder.dropouts.train()
        logits, _ = decoder([level.expand(4, -1, -1, -1) for level in tiny.encode(image)], maps.expand(4, -1, -1, -1))
        decoder.dropouts.eval()
    np.testing.assert_allclose(shared, logits.numpy(), atol=1e-5)


def test_several_prompts_at_once_get_the_predictions_they_get_alone(tiny):
    images = np.random.default_rng(9).random((2, 32, 32)).astype(np.float32)
    prompts = [_box(8, 8, 20, 22), _box(4, 10, 25, 20)]
    previous = [None, np.random.default_rng(10).normal(size=(32, 32)).astype(np.float32)]
    on_one = tiny.decode_each(tiny.encode(images[:1]), prompts, previous)
    on_each = tiny.decode_each(tiny.encode(images), prompts, previous)
    for number, (prompt, before) in enumerate(zip(prompts, previous, strict=True)):
        for together, image in ((on_one, images[:1]), (on_each, images[number : number + 1])):
            alone = tiny.decode(tiny.encode(image), prompt, previous_logits=before)
            np.testing.assert_allclose(together.logits[number], alone.logits[0], atol=1e-5)
            np.testing.assert_allclose(together.quality[number], alone.quality[0], atol=1e-5)


def test_a_deterministic_prediction_leaves_neither_dropout_nor_the_random_state_changed(tiny):
    import torch

    state = torch.random.get_rng_state()
    embedding = tiny.encode(np.random.default_rng(6).random((1, 32, 32)).astype(np.float32))
    tiny.decode(embedding, _box(8, 8, 20, 22), samples=2, seed=3)
    certain = tiny.decode(embedding, _box(8, 8, 20, 22))
    assert certain.logits.shape == (1, 32, 32)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(module.training for module in tiny.network.modules())


def test_crops_of_another_size_and_a_negative_number_of_samples_are_refused(tiny):
    with pytest.raises(GeometryError, match="32, 32"):
        tiny.encode(np.zeros((1, 40, 40), dtype=np.float32))
    with pytest.raises(PromptError, match="0 samples"):
        tiny.decode(tiny.encode(np.zeros((1, 32, 32), dtype=np.float32)), _box(1, 1, 5, 5), samples=-1)


# -- weights ----------------------------------------------------------------------------------------------------------


def test_weights_that_are_absent_broken_or_of_another_format_are_refused(tmp_path, tiny_weights):
    from safetensors.numpy import save_file

    with pytest.raises(WeightsError, match="found nothing"):
        CompactModel(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(tiny_weights.read_bytes()[:100])
    with pytest.raises(WeightsError, match="no readable safetensors"):
        CompactModel(broken)
    save_file(
        {"x": np.zeros(3, dtype=np.float32)},
        tmp_path / "other.safetensors",
        metadata={"medsam_planner": '{"format": "other"}'},
    )
    with pytest.raises(WeightsError, match="other"):
        CompactModel(tmp_path / "other.safetensors")


def test_weights_that_do_not_fit_their_architecture_are_refused(tmp_path, tiny_weights):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(tiny_weights, framework="numpy") as handle:
        metadata = {key: value.replace("24", "32") for key, value in handle.metadata().items()}
    save_file(load_file(tiny_weights), tmp_path / "wrong.safetensors", metadata=metadata)
    with pytest.raises(WeightsError, match="does not fit"):
        CompactModel(tmp_path / "wrong.safetensors")


def test_the_shipped_weights_are_small_and_say_what_they_saw(shipped):
    assert SHIPPED.stat().st_size < 20e6
    assert "procedural anatomy" in shipped.metadata["trained_on"]
    assert "skull" not in shipped.metadata["trained_on"]


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.4, 0.8)])
def test_the_shipped_weights_find_a_bright_disc_from_a_loose_box_and_from_one_click(shipped, spacing):
    rows, columns = np.mgrid[:120, :160].astype(np.float64)
    disc = np.hypot((rows - 60) * spacing[0], (columns - 80) * spacing[1]) < 22
    image = 0.3 + 0.3 * disc + 0.05 * np.random.default_rng(8).standard_normal(disc.shape)
    half = np.array([22 / spacing[0], 22 / spacing[1]])
    box = np.concatenate([[60, 80] - half - 2, [60, 80] + half + 3])
    for prompt in (_box(*box), SlicePrompt(points=np.array([[57.0, 84.0]]), labels=np.array([True]))):
        found = _answer(shipped, image.astype(np.float32), prompt, spacing) > 0
        assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.9


def test_the_shipped_weights_beat_the_inscribed_ellipse_on_organs_never_trained_on(shipped, shared_data):
    from medsam_planner.lab.evaluation.cases import find_cases
    from medsam_planner.lab.evaluation.references import label_values
    from medsam_planner.lab.evaluation.slices import score_slices

    (case,) = find_cases(shared_data / "cases" / "ct_trunk_totalseg_siemens")
    asked = [score for *_, scores in score_slices(shipped, case, labels=label_values(case, 10)) for score in scores]
    scores = [score for score in asked if "slab" not in score.group]
    assert len(scores) >= 8
    for kind in ("exact", "loose"):
        found, ellipse = (np.mean([s.dice[f"{name}_{kind}"] for s in scores]) for name in ("box", "ellipse"))
        assert found > ellipse
