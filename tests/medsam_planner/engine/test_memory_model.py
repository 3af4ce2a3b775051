"""A model with a memory is asked as it is trained, and every stochastic pass asks it the same way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.compact import CompactModel
from medsam_planner.engine.compact_inputs import prompt_maps
from medsam_planner.engine.memory_model import MemoryModel, open_compact
from medsam_planner.engine.protocol import Crop, ModelWithMemory, RememberedSlice, SlicePrompt
from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.engine.slice_memory import PredictedSlice
from medsam_planner.engine.stochastic_passes import ImageChange, Jitter, StochasticPass
from medsam_planner.engine.zoom import extract, prompt_to_crop
from medsam_planner.errors import PromptError, WeightsError
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.lab.training.batches import Batch, SampleFactory
from medsam_planner.lab.training.config import DataConfig, TrainingConfig
from medsam_planner.lab.training.interactions import Interaction, StepKind

from ..memory_studies import OTHER, PROMPTED, SHAPE, study, write_memory_weights

WHOLE = (slice(0, SHAPE[1]), slice(0, SHAPE[2]))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> MemoryModel:
    opened = open_compact(write_memory_weights(tmp_path_factory.mktemp("weights") / "memory.safetensors"))
    assert isinstance(opened, MemoryModel)
    return opened


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> Batch:
    data = DataConfig(procedural_pool=2, procedural_side=48)
    return SampleFactory(TrainingConfig(out=tmp_path_factory.mktemp("x"), batch=6, size=32, data=data)).batch(0)


@pytest.fixture
def segmenter(model) -> SliceSegmenter:
    volume = study()
    return SliceSegmenter(volume, model, normalisation_for(volume, None, "full"), EmbeddingCache(10_000_000))


def _box() -> SlicePrompt:
    return SlicePrompt(box=np.array([12.0, 10.0, 36.0, 34.0]))


def _remembered(segmenter: SliceSegmenter) -> list[PredictedSlice]:
    first = segmenter.segment(0, PROMPTED, _box())
    return [PredictedSlice(PROMPTED, first.probability, prompted=True)]


def test_weights_with_a_memory_open_as_a_model_with_a_memory_and_not_as_one_without(model, tmp_path):
    assert isinstance(model, ModelWithMemory)
    assert not isinstance(CompactModel, ModelWithMemory)
    with pytest.raises(WeightsError, match="open_compact"):
        CompactModel(write_memory_weights(tmp_path / "memory.safetensors"))


def test_a_question_with_a_memory_is_put_as_training_puts_it(model, batch):
    """Places, distances, closeness and masks of the memory: the logits of an interaction come out again."""
    interaction = Interaction(model.network, batch, torch.device("cpu"), np.random.default_rng(0), low_precision=False)
    with torch.inference_mode():
        interaction.predict(StepKind.FIRST, 0)
        interaction.predict(StepKind.PROPAGATED, 1)
        prompt = SlicePrompt(points=np.array([[10.0, 12.0]]), labels=np.array([True]))
        interaction._maps[2] = np.stack([prompt_maps(prompt, 32, channels=10)] * 6)
        expected, quality = interaction._decoded(2)
    for number in range(6):
        pyramid = [scale.unflatten(0, (6, -1))[number, :].unsqueeze(1) for scale in interaction._pyramid]
        memory = []
        for other in (0, 1):
            mask = interaction._memory[other].probability[number].numpy()
            tokens = model.remember([scale[other] for scale in pyramid], mask, prompted=other == 0)
            # In pixels of a slice of 1 mm: the crops' sides are theirs in mm.
            memory.append(
                RememberedSlice(
                    tokens,
                    tuple(batch.centres_mm[number, other].tolist()),
                    float(batch.sides_mm[number, other]),
                    float(abs(batch.heights_mm[number, other] - batch.heights_mm[number, 2])),
                )
            )
        side = float(batch.sides_mm[number, 2])
        crop = Crop(tuple(batch.centres_mm[number, 2].tolist()), (side, side), 32)
        seen = prompt_to_crop(SlicePrompt(memory=tuple(memory)), crop)
        found = model.decode([scale[2] for scale in pyramid], replace(prompt, memory=seen.memory, candidate=0))
        np.testing.assert_allclose(found.logits[0], expected[number, 0].numpy(), atol=2e-4)
        np.testing.assert_allclose(found.quality[0], torch.sigmoid(quality[number, 0]).numpy(), atol=1e-5)


def test_what_is_remembered_changes_a_prediction_and_what_is_not_leaves_it(segmenter):
    alone = segmenter.segment(0, OTHER, _box())
    recalled = segmenter.segment(0, OTHER, _box(), memory=_remembered(segmenter))
    again = segmenter.segment(0, OTHER, _box())
    assert not np.allclose(alone.probability, recalled.probability)
    assert again.probability.tobytes() == alone.probability.tobytes()
    assert [one.index for one in recalled.memory] == [PROMPTED]


def test_it_counts_how_far_a_remembered_slice_is_and_whether_a_user_prompted_it(segmenter):
    (known,) = _remembered(segmenter)
    walked = PredictedSlice(PROMPTED, known.probability, prompted=False)
    farther = PredictedSlice(PROMPTED - 3, known.probability, prompted=True)
    answers = [segmenter.segment(0, OTHER, _box(), memory=[one]) for one in (known, walked, farther)]
    assert len({answer.probability.tobytes() for answer in answers}) == 3


def test_a_model_without_a_memory_refuses_to_use_one(segmenter):
    from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork

    architecture = CompactArchitecture(
        size=32, encoder_widths=(8, 16, 24), decoder_widths=(8, 16, 24), encoder_blocks=(0, 1, 1)
    )
    older = CompactModel.from_network(CompactNetwork(architecture).eval())
    plain = SliceSegmenter(segmenter.volume, older, segmenter.normalisation, EmbeddingCache(1_000_000))
    with pytest.raises(PromptError, match="no memory"):
        plain.segment(0, OTHER, _box(), memory=_remembered(segmenter))
    assert len(plain.candidate_masks(0, OTHER, _box())) == 1


def test_three_candidates_are_offered_best_first_and_each_can_be_chosen(segmenter):
    offered = segmenter.candidate_masks(0, PROMPTED, _box())
    own = segmenter.segment(0, PROMPTED, _box())
    assert len(offered) == 3
    qualities = [answer.quality for answer in offered]
    assert qualities == sorted(qualities, reverse=True)
    assert offered[0].probability.tobytes() == own.probability.tobytes()
    assert len({answer.probability.tobytes() for answer in offered}) == 3


@pytest.mark.parametrize("answer", [0, 1, 2])
def test_a_stochastic_pass_that_changes_nothing_gives_the_prediction_that_was_taken(segmenter, answer):
    taken = segmenter.candidate_masks(0, OTHER, _box(), memory=_remembered(segmenter))[answer]
    again = segmenter.sample(0, OTHER, taken, WHOLE, [StochasticPass(), StochasticPass()])
    inside = again[0] > -19
    expected = np.log(taken.probability) - np.log1p(-taken.probability)
    np.testing.assert_allclose(again[0][inside], expected[inside], atol=2e-3)


def test_passes_drop_move_and_repaint_with_the_memory_and_repeat_themselves(segmenter):
    taken = segmenter.segment(0, OTHER, _box(), memory=_remembered(segmenter))
    change = ImageChange(flip=(True, False), gamma=1.2, noise=0.02, noise_seed=4)
    ways = {
        "dropout": [StochasticPass(dropout_seed=1)] * 4,
        "jitter": [StochasticPass(jitter=Jitter((0.05, -0.03), 1.05))],
        "augment": [StochasticPass(change=change)],
        "all": [StochasticPass(dropout_seed=1, jitter=Jitter((0.05, -0.03), 1.05), change=change)],
    }
    plain = segmenter.sample(0, OTHER, taken, WHOLE, [StochasticPass()])
    for name, runs in ways.items():
        first = segmenter.sample(0, OTHER, taken, WHOLE, runs)
        assert not np.allclose(first[0], plain[0], atol=1e-3), name
        assert segmenter.sample(0, OTHER, taken, WHOLE, runs).tobytes() == first.tobytes(), name


def test_under_a_changed_image_the_remembered_slice_is_of_the_changed_study(segmenter, model):
    (known,) = _remembered(segmenter)
    taken = segmenter.segment(0, OTHER, _box(), memory=[known])
    change = ImageChange(flip=(False, True), gamma=1.3)
    question = change.prompt(segmenter.prompt_in_crop(0, OTHER, taken, taken.crop), 32)
    field = change.image(segmenter.crop_image(0, PROMPTED, taken.crop))
    mask = change.flipped(extract(known.probability, taken.crop))
    expected = model.remember(model.encode(field[None]), mask, prompted=True)
    for found, wanted in zip(question.memory[0].tokens, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert question.memory[0].centre_rc == pytest.approx((15.5, 15.5))


def test_a_moved_prompt_takes_its_memory_along(segmenter):
    taken = segmenter.segment(0, OTHER, _box(), memory=_remembered(segmenter))
    question = segmenter.prompt_in_crop(0, OTHER, taken, taken.crop)
    field = Crop((13.5, 15.5), (32.0, 32.0), 32)  # read two model pixels higher: everything lies two lower
    moved = prompt_to_crop(question, field)
    assert moved.memory[0].centre_rc == pytest.approx((17.5, 15.5))
    assert moved.memory[0].side == pytest.approx(32.0)
    assert moved.box[0] == pytest.approx(question.box[0] + 2)


def test_saliency_explains_the_prediction_that_was_given_from_memory(segmenter, model):
    taken = segmenter.segment(0, OTHER, _box(), memory=_remembered(segmenter))
    question = segmenter.prompt_in_crop(0, OTHER, taken, taken.crop)
    graph = model.saliency_graph(
        segmenter.crop_image(0, OTHER, taken.crop), segmenter.embedding(0, OTHER, taken.crop), question
    )
    logits = graph.forward(graph.inputs.repeat(2, 1, 1, 1).requires_grad_())
    logits.sum().backward()
    given = model.decode(segmenter.embedding(0, OTHER, taken.crop), question)
    np.testing.assert_allclose(logits[1].detach().numpy(), given.logits[0], atol=1e-3)
