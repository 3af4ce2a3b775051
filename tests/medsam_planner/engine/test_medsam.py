"""MedSAM behind the engine's protocol, on a small network with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medsam_planner.engine.encoders import TorchEncoder, computes_bf16
from medsam_planner.engine.medsam import MedSam
from medsam_planner.engine.medsam_network import network_input
from medsam_planner.engine.protocol import Crop, SlicePrompt
from medsam_planner.engine.zoom import extract, paste, prompt_to_crop
from medsam_planner.errors import GeometryError, PromptError
from xai.dropout import require_variance
from xai.errors import UncertaintyError
from xai.saliency import grad_cam, grad_cam_on_embedding

BOX = SlicePrompt(box=np.array([20.0, 30.0, 70.0, 100.0]))
ROUNDING = 2.0**-10
"""Relative distance of neighbouring numbers in float16, to which embeddings are rounded."""
CLICKS = SlicePrompt(points=np.array([[40.0, 60.0], [90.0, 12.0]]), labels=np.array([True, False]))


@pytest.fixture(scope="module")
def model(small_config: Any) -> MedSam:
    return MedSam.with_random_weights(small_config, seed=3)


def picture(seed: int = 0, size: int = 128) -> NDArray[np.float32]:
    row, column = np.mgrid[:size, :size] / size
    waves = np.sin(6 * row + seed) * np.cos(9 * column**2)
    return (0.5 + 0.3 * waves + np.random.default_rng(seed).normal(0, 0.03, (size, size))).astype(np.float32)


@pytest.fixture(scope="module")
def embedding(model: MedSam) -> torch.Tensor:
    return model.encode(picture()[None])


def test_one_prediction_without_samples_and_as_many_as_requested(model: MedSam, embedding: torch.Tensor) -> None:
    for samples, count in ((0, 1), (1, 1), (5, 5)):
        decoded = model.decode(embedding, BOX, samples=samples)
        assert decoded.logits.shape == (count, 128, 128) and decoded.logits.dtype == np.float32
        assert decoded.quality.shape == (count,) and decoded.quality.dtype == np.float32
        assert ((decoded.quality >= 0) & (decoded.quality <= 1)).all()


def test_the_same_slice_and_prompt_give_the_same_bytes(small_config: Any, model: MedSam) -> None:
    again = MedSam.with_random_weights(small_config, seed=3)
    first, second = (m.decode(m.encode(picture()[None]), BOX).logits for m in (model, again))
    assert first.tobytes() == second.tobytes()


def test_slices_embedded_together_are_the_slices_embedded_alone(model: MedSam, embedding: torch.Tensor) -> None:
    together = model.encode(np.stack([picture(1), picture()]))
    torch.testing.assert_close(together[1:], embedding, atol=1e-5, rtol=ROUNDING)


def test_scale_and_offset_of_the_intensities_do_not_matter(model: MedSam, embedding: torch.Tensor) -> None:
    torch.testing.assert_close(model.encode(0.25 * picture()[None] + 0.1), embedding, atol=2e-4, rtol=ROUNDING)


def test_network_input_spans_zero_to_one_in_each_slice_and_three_equal_channels() -> None:
    images = np.stack([picture(1), 1000 * picture(2) - 300, np.full((128, 128), 7, np.float32)])
    before = images.copy()
    pixels = network_input(images)
    assert pixels.shape == (3, 3, 128, 128)
    assert [pixels[index].min() for index in range(3)] == [0, 0, 0]
    assert [pixels[index].max() for index in range(3)] == [1, 1, 0]
    assert (pixels[:, :1] == pixels).all()
    assert (images == before).all()


def test_the_field_is_the_whole_slice_and_boxes_scale_by_its_sides(model: MedSam) -> None:
    """MedSAM scales boxes by size / [W, H]; ours agrees up to where the centre of the first pixel lies."""
    (crop,) = model.crops(SlicePrompt(box=np.array([10.0, 12.0, 20.0, 30.0])), (40, 60), (0.7, 2.5))
    assert crop == Crop((19.5, 29.5), (40.0, 60.0), 128)
    box = prompt_to_crop(SlicePrompt(box=np.array([10.0, 12.0, 20.0, 30.0])), crop).box
    assert box is not None
    scale = np.array([128 / 40, 128 / 60, 128 / 40, 128 / 60])
    np.testing.assert_allclose(box, np.array([10.0, 12.0, 20.0, 30.0]) * scale + (scale - 1) / 2)


def test_a_slice_that_is_not_square_gets_its_prediction_on_its_own_pixels(model: MedSam) -> None:
    image = picture()[:40, :60]
    (crop,) = model.crops(BOX, image.shape, (1.0, 1.0))
    decoded = model.decode(model.encode(extract(image, crop)[None]), BOX)
    pasted = paste(decoded.logits[0], crop, image.shape, -99.0)
    assert pasted.shape == (40, 60) and pasted.min() > -99.0


def test_prompts_of_every_kind_give_different_predictions(model: MedSam, embedding: torch.Tensor) -> None:
    mask = np.zeros((128, 128), np.float32)
    mask[30:60, 40:80] = 1.0
    prompts = [
        BOX,
        CLICKS,
        SlicePrompt(mask=mask),
        SlicePrompt(box=BOX.box, points=CLICKS.points, labels=CLICKS.labels),
    ]
    answers = [model.decode(embedding, prompt).logits for prompt in prompts]
    for index, answer in enumerate(answers):
        assert np.isfinite(answer).all()
        assert all(np.abs(answer - other).max() > 1e-3 for other in answers[:index])


def test_a_click_that_changes_sides_changes_the_prediction(model: MedSam, embedding: torch.Tensor) -> None:
    turned = SlicePrompt(points=CLICKS.points, labels=np.array([True, True]))
    assert np.abs(model.decode(embedding, CLICKS).logits - model.decode(embedding, turned).logits).max() > 1e-4


def test_the_previous_prediction_goes_before_the_mask(model: MedSam, embedding: torch.Tensor) -> None:
    first = model.decode(embedding, BOX).logits[0]
    with_mask = SlicePrompt(box=BOX.box, mask=np.full((128, 128), 0.9, np.float32))
    refined = model.decode(embedding, with_mask, previous_logits=first).logits
    assert (refined == model.decode(embedding, BOX, previous_logits=first).logits).all()
    assert np.abs(refined[0] - first).max() > 1e-4
    assert np.abs(refined - model.decode(embedding, with_mask).logits).max() > 1e-4


def test_certain_masks_enter_as_finite_logits(model: MedSam, embedding: torch.Tensor) -> None:
    mask = np.zeros((128, 128), np.float32)
    mask[:, 64:] = 1.0
    assert np.isfinite(model.decode(embedding, SlicePrompt(mask=mask)).logits).all()


def test_samples_differ_repeat_with_their_seed_and_leave_the_deterministic_prediction_alone(
    model: MedSam, embedding: torch.Tensor
) -> None:
    certain = model.decode(embedding, BOX).logits
    state = torch.random.get_rng_state()
    samples = model.decode(embedding, BOX, samples=4, seed=11)
    require_variance(samples.logits)
    assert samples.logits.tobytes() == model.decode(embedding, BOX, samples=4, seed=11).logits.tobytes()
    assert np.abs(samples.logits - model.decode(embedding, BOX, samples=4, seed=12).logits).max() > 1e-3
    assert certain.tobytes() == model.decode(embedding, BOX).logits.tobytes()
    assert torch.equal(state, torch.random.get_rng_state())


def test_several_prompts_at_once_get_the_predictions_they_get_alone(model: MedSam, embedding: torch.Tensor) -> None:
    together = model.decode_each(embedding, [BOX, BOX], [None, None])
    alone = model.decode(embedding, BOX)
    np.testing.assert_allclose(together.logits, np.repeat(alone.logits, 2, axis=0), atol=1e-5)
    assert together.quality.shape == (2,)
    drawn = model.decode_each(embedding, [BOX, BOX], [None, None], passes=[2, 3])
    assert len({run.tobytes() for run in drawn.logits}) == 5


def test_more_samples_begin_with_the_fewer(model: MedSam, embedding: torch.Tensor) -> None:
    """Runs go in batches of eight: twenty runs begin with the eight, whatever the batches."""
    many = model.decode(embedding, BOX, samples=20, seed=1).logits
    np.testing.assert_allclose(many[:8], model.decode(embedding, BOX, samples=8, seed=1).logits, atol=1e-5)
    np.testing.assert_allclose(many[:3], model.decode(embedding, BOX, samples=3, seed=1).logits, atol=1e-5)
    assert len({run.tobytes() for run in many}) == 20


def test_pass_t_drops_the_same_channels_on_every_slice(model: MedSam) -> None:
    """With one seed the difference between two runs is alike on two nearly equal slices, with two seeds it is not."""
    here, there = model.encode(np.stack([picture(), 1.02 * picture() ** 1.01]))[:, None]
    a = model.decode(here, BOX, samples=6, seed=5).logits
    b = model.decode(there, BOX, samples=6, seed=5).logits
    c = model.decode(there, BOX, samples=6, seed=6).logits
    assert np.abs(a - b).mean() < 0.2 * np.abs(a - c).mean()


def test_inserted_dropout_adds_no_weights(model: MedSam, small_config: Any) -> None:
    from transformers import SamModel

    assert set(model.network.state_dict()) == set(SamModel(small_config).state_dict())
    assert model.dropout_rate == 0.1


def test_a_dropout_rate_of_zero_is_refused(small_config: Any) -> None:
    with pytest.raises(UncertaintyError, match="strictly between 0 and 1"):
        MedSam.with_random_weights(small_config, dropout_rate=0.0)


@pytest.mark.skipif(not computes_bf16(), reason="this processor does not compute bfloat16")
def test_bfloat16_stays_close_and_is_another_engine(small_config: Any, embedding: torch.Tensor) -> None:
    rough = MedSam.with_random_weights(small_config, seed=3, encoder=TorchEncoder("bf16"))
    other = rough.encode(picture()[None])
    assert other.dtype == torch.float32
    similarity = torch.nn.functional.cosine_similarity(other.flatten(), embedding.flatten(), dim=0)
    assert 0.99 < similarity < 1.0
    assert rough.weights_sha256 == "random-3" and rough.engine == "torch:bf16"


def test_the_number_of_threads_is_left_as_it_was(model: MedSam, embedding: torch.Tensor) -> None:
    before = torch.get_num_threads()
    model.decode(model.encode(picture()[None]), BOX, samples=2)
    with pytest.raises(PromptError):
        model.decode(embedding, SlicePrompt())
    assert torch.get_num_threads() == before


def test_saliency_on_the_embedding_is_saliency_at_the_neck(model: MedSam, embedding: torch.Tensor) -> None:
    inside = model.decode(embedding, BOX).logits > 0
    cached = grad_cam_on_embedding(
        lambda tensor: model.embedding_logits(tensor, BOX), embedding, inside, size=(128, 128), relu=False
    )
    rerun = grad_cam(
        lambda images: model.embedding_logits(model.network.vision_encoder(images).last_hidden_state, BOX),
        model.network.vision_encoder.neck,
        torch.from_numpy(network_input(picture()[None])),
        inside,
        channels=32,
        relu=False,
    )
    assert cached.shape == (1, 128, 128) and np.abs(cached).max() > 0
    np.testing.assert_allclose(cached, rerun, atol=1e-3 * np.abs(cached).max())


def test_the_differentiable_prediction_is_the_prediction(model: MedSam, embedding: torch.Tensor) -> None:
    np.testing.assert_allclose(
        model.embedding_logits(embedding, BOX).numpy(), model.decode(embedding, BOX).logits, atol=1e-5
    )


@pytest.mark.parametrize(
    ("prompt", "options", "said"),
    [
        (SlicePrompt(), {}, "got none of them"),
        (SlicePrompt(points=np.zeros((0, 2)), labels=np.zeros(0, bool)), {}, "got none of them"),
        (SlicePrompt(points=CLICKS.points), {}, "one label for each of 2 points, got None"),
        (SlicePrompt(points=CLICKS.points, labels=np.array([True])), {}, "2 points, got 1"),
        (BOX, {"samples": -1}, "got -1"),
    ],
)
def test_prompts_that_cannot_be_decoded_are_refused(
    model: MedSam, embedding: torch.Tensor, prompt: SlicePrompt, options: dict[str, int], said: str
) -> None:
    with pytest.raises(PromptError, match=said):
        model.decode(embedding, prompt, **options)  # type: ignore[arg-type]


def test_arrays_of_another_shape_are_refused(model: MedSam, embedding: torch.Tensor) -> None:
    with pytest.raises(GeometryError, match=r"\(B, 128, 128\), got \(1, 64, 64\)"):
        model.encode(np.zeros((1, 64, 64), np.float32))
    with pytest.raises(GeometryError, match="one slice"):
        model.decode(torch.cat([embedding, embedding]), BOX)
    with pytest.raises(GeometryError, match="128 x 128"):
        model.decode(embedding, SlicePrompt(mask=np.zeros((64, 64), np.float32)))
    with pytest.raises(GeometryError, match="128 x 128"):
        model.decode(embedding, BOX, previous_logits=np.zeros((32, 32), np.float32))
