"""A few minutes of training on procedural stacks, and what the memory is worth then."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.engine.zoom import prompt_to_crop
from medsam_planner.geometry import lps_from_index
from medsam_planner.lab.model_card.procedural_cases import procedural_case
from medsam_planner.lab.training.config import DataConfig, TrainingConfig
from medsam_planner.lab.training.loop import train
from medsam_planner.propagation.front import StopRules
from prompts import Box

AFFINE = np.eye(4)[[2, 1, 0, 3]]


def _structures(cases: int):
    """Volumes that training never drew, with a structure of eight slices or more."""
    for number in range(cases):
        image, labels = (np.ascontiguousarray(np.moveaxis(one, -1, 0)) for one in procedural_case(7, number, 64))
        volume = highdicom.Volume((image - image.min() + 1.0).astype(np.float32), AFFINE, "PATIENT")
        for label in np.unique(labels)[1:4]:
            reference = labels == label
            if reference.any(axis=(1, 2)).sum() >= 8:
                yield volume, reference


def _dice_from_box(volume: highdicom.Volume, reference: np.ndarray, weights: str) -> float:
    """3D, after a box on the middle slice; the ends are told, so that only the shape counts."""
    filled = np.flatnonzero(reference.any(axis=(1, 2)))
    middle = int(filled[len(filled) // 2])
    section = np.argwhere(reference[middle])
    low, high = section.min(0) - 1, section.max(0) + 1
    session = mp.Session(volume, weights, rules=StopRules(min_quality=0.0))
    for first, last in ((int(filled[0]), int(filled[-1])), (middle, middle)):
        session.add(Box(lps_from_index(AFFINE, (first, *low)), lps_from_index(AFFINE, (last, *high))))
    found = session.segment(samples=0).mask.array
    return float(2 * (found & reference).sum() / (found.sum() + reference.sum()))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_memory_that_was_trained_is_worth_more_than_an_emptied_one(tmp_path, monkeypatch):
    weights = train(
        TrainingConfig(
            out=tmp_path / "run",
            steps=240,
            size=32,
            warmup_steps=20,
            norm_steps=80,
            learning_rate=2e-3,
            encoder_rate=0.5,
            ema_decay=0.97,
            decoder_widths=(16, 32, 48, 64),
            data=DataConfig(procedural_pool=6, procedural_refresh=100, procedural_side=64, workers=0),
        )
    )
    structures = list(_structures(5))
    recalled = [_dice_from_box(volume, reference, str(weights)) for volume, reference in structures]
    monkeypatch.setattr(
        SliceSegmenter, "_prompt_in_crop", lambda self, axis, index, prompt, crop, memory: prompt_to_crop(prompt, crop)
    )
    emptied = [_dice_from_box(volume, reference, str(weights)) for volume, reference in structures]
    assert len(structures) >= 10
    assert np.mean(recalled) > np.mean(emptied) + 0.05
