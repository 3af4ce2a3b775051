"""Training learns, repeats itself, resumes where it stopped, and stops when asked."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from medsam_planner.engine.compact_weights import save_weights
from medsam_planner.engine.memory_model import open_compact
from medsam_planner.errors import ConfigError, OperationCancelledError
from medsam_planner.lab.training.config import DataConfig, TrainingConfig, read_config
from medsam_planner.lab.training.loop import train


@pytest.fixture
def short(tmp_path) -> TrainingConfig:
    """Four steps of a tiny network on procedural anatomy, in this process."""
    return TrainingConfig(
        out=tmp_path / "run",
        steps=4,
        batch=2,
        size=32,
        warmup_steps=2,
        decoder_widths=(8, 8, 16, 16),
        data=DataConfig(procedural_pool=1, procedural_refresh=100, procedural_side=36, workers=0),
    )


class _StopAfter:
    """A watcher that wants to stop after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.seen: list[int] = []

    def update(self, stage: str, done: int, total: int) -> None:
        self.seen.append(done)

    @property
    def is_cancelled(self) -> bool:
        return len(self.seen) >= self.steps


def test_two_runs_of_one_seed_write_the_same_bytes_and_another_seed_does_not(short, tmp_path):
    first = train(short).read_bytes()
    again = train(replace(short, out=tmp_path / "again")).read_bytes()
    other = train(replace(short, out=tmp_path / "other", seed=1)).read_bytes()
    assert first == again
    assert first != other


def test_a_run_stopped_and_resumed_ends_with_the_same_bytes_as_one_in_one_go(short, tmp_path):
    whole = train(replace(short, out=tmp_path / "whole")).read_bytes()
    watcher = _StopAfter(3)
    with pytest.raises(OperationCancelledError, match="after step 3"):
        train(short, progress=watcher)
    assert watcher.seen == [1, 2, 3]
    assert train(short, resume=True).read_bytes() == whole


def test_a_training_is_not_overwritten_without_a_request(short):
    train(short)
    with pytest.raises(ConfigError, match="Resume it"):
        train(short)


def test_fine_tuned_weights_name_their_first_training_data_too(short, tmp_path):
    first = train(short)
    known = open_compact(first)
    older = tmp_path / "older.safetensors"
    save_weights(known.network, older, trained_on=["an older case"])
    tuned = open_compact(train(replace(short, out=tmp_path / "tuned", start_from=older)))
    assert json.loads(tuned.metadata["trained_on"]) == ["an older case", "procedural anatomy"]


def test_a_checkpoint_of_another_architecture_is_refused(short):
    train(short)
    with pytest.raises(ConfigError, match="Expected a checkpoint of the configured architecture"):
        train(replace(short, decoder_widths=(8, 8, 16, 24)), resume=True)


def test_a_file_trains_weights_that_load_and_name_their_data(short, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(
        'out = "filed"\nsteps = 2\nbatch = 2\nsize = 32\n'
        "decoder_widths = [8, 8, 16, 16]\n"
        '[data]\nroot = "absent"\nprocedural_pool = 1\nprocedural_side = 36\nworkers = 1\n'
    )
    model = open_compact(train(read_config(path)))
    assert model.size == 32
    assert model.metadata["trained_on"] == '["procedural anatomy"]'
    assert list((tmp_path / "filed" / "tensorboard").iterdir())


def test_statistics_are_held_after_their_steps_and_the_rest_goes_on_learning(short, tmp_path):
    def states(steps: int) -> dict[str, torch.Tensor]:
        config = replace(short, out=tmp_path / str(steps), steps=steps, norm_steps=2, ema_decay=0.0)
        train(config)
        return torch.load(config.out / "checkpoint.pt", weights_only=True)["network"]

    after, later = states(2), states(4)
    moved = {name for name in after if not torch.equal(after[name], later[name])}
    statistics = {name for name in after if "running_" in name or "num_batches" in name}
    assert statistics and not moved & statistics
    assert any(name.startswith("decoder") for name in moved)


def test_an_encoder_begins_from_a_file_of_the_same_network_and_no_other(short, tmp_path):
    from medsam_planner.engine.memory_network import MemoryArchitecture, MemoryNetwork

    torch.manual_seed(5)
    given = MemoryNetwork(MemoryArchitecture(size=32)).encoder
    torch.save({f"their.{name}": tensor for name, tensor in given.state_dict().items()}, tmp_path / "imagenet.pth")
    config = replace(short, steps=1, learning_rate=1e-9, ema_decay=0.0, encoder_from=tmp_path / "imagenet.pth")
    model = open_compact(train(config))
    torch.testing.assert_close(model.network.encoder.stem[0].weight, given.stem[0].weight, atol=1e-3, rtol=1e-2)
    assert json.loads(model.metadata["trained_on"])[0] == "ImageNet (encoder)"
    torch.save({"layer": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="Expected EfficientNet-Lite0"):
        train(replace(config, out=tmp_path / "other", encoder_from=tmp_path / "other.pth"))


@pytest.mark.slow
def test_minutes_of_training_beat_guessing(short):
    config = replace(short, steps=300, batch=8, learning_rate=3e-3, ema_decay=0.9)
    seen: list[str] = []

    class Listener(_StopAfter):
        def update(self, stage: str, done: int, total: int) -> None:
            seen.append(stage)

    train(config, progress=Listener(10**9))
    iou = [float(stage.split("iou_first ")[1].split()[0]) for stage in seen]
    assert np.nanmean(iou[-40:]) > np.nanmean(iou[:20]) + 0.1


def test_weights_are_used_at_the_crop_size_they_were_last_trained_on(short):
    staged = replace(short, size=64, coarse_size=32, coarse_steps=3)
    with pytest.raises(OperationCancelledError, match="after step 2"):
        train(staged, progress=_StopAfter(2))
    assert open_compact(staged.out / "compact.safetensors").size == 32
    assert open_compact(train(staged, resume=True)).size == 64
