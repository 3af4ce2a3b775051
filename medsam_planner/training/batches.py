"""Batches of samples, made in worker processes and handed over in order.

Batch i depends on the seed and on i alone, so training resumes at any step, and any number of workers gives the same
weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.queues import Queue
from queue import Empty, Full

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.compact_inputs import normalise, prompt_maps
from medsam_planner.errors import MedsamPlannerError
from medsam_planner.training.anatomy import LabelVolume, procedural_anatomy
from medsam_planner.training.config import DataConfig, TrainingConfig
from medsam_planner.training.sampling import draw_sample
from medsam_planner.training.sources import (
    case_folders,
    is_ct,
    read_case,
    read_label_map,
    with_rule_based_structures,
)

__all__ = ["Batch", "SampleFactory", "batches", "training_sources"]

WORKER_SILENCE_S = 600.0
"""A worker that says nothing for so long is taken for dead; the first batch needs every volume read."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples of one step."""

    images: NDArray[np.float16]
    """(B, 3, N, N) normalised."""
    prompts: NDArray[np.float16]
    """(B, 9, N, N) maps of the first prompts."""
    truth: NDArray[np.bool_]
    """(B, N, N)"""
    outside_px: NDArray[np.float32]
    """(B,) area of the structure beyond the field."""
    walked: NDArray[np.intp]
    """(W,) samples whose walk goes on to a next slice, which the arrays below hold."""
    onward_images: NDArray[np.float16]
    """(W, 3, N, N)"""
    onward_truth: NDArray[np.bool_]
    """(W, N, N)"""
    onward_outside_px: NDArray[np.float32]
    """(W,)"""


def training_sources(data: DataConfig) -> tuple[list[LabelVolume], list[LabelVolume]]:
    """Label maps and real cases named by the configuration; both empty where the folder is absent."""
    if data.root is None or not data.root.is_dir():
        return [], []
    maps = [read_label_map(path) for path in sorted((data.root / "label_maps").glob("*.nii.gz"))]
    maps += [
        read_label_map(path, smallest_voxels=40) for path in sorted((data.root / "readers").glob("*/labels_*.nii.gz"))
    ]
    cases: list[LabelVolume] = []
    if (data.root / "cases").is_dir():
        folders = case_folders(data.root / "cases", exclude=data.held_out)
        groups = [folder.name.rsplit("_", 1)[0] for folder in folders]
        for index, folder in enumerate(folders):
            # Many small crops of one kind must not drown the few large cases.
            weight = 1.0 / float(np.sqrt(groups.count(groups[index])))
            case = replace(read_case(folder), weight=weight)
            cases.append(case)
            if case.image is not None and case.image.size > 300_000:
                ruled = with_rule_based_structures(case, is_ct=is_ct(folder), seed=index)
                if ruled is not None:
                    cases.append(replace(ruled, weight=weight * data.rule_based_weight))
    return maps, cases


class SampleFactory:
    """Makes batch i of a configuration."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._maps, self._cases = training_sources(config.data)
        self._procedural: dict[int, LabelVolume] = {}

    def _procedural_pool(self, index: int) -> list[LabelVolume]:
        newest = index // self._config.data.procedural_refresh + self._config.data.procedural_pool
        wanted = range(newest - self._config.data.procedural_pool, newest)
        self._procedural = {number: self._procedural.get(number) or self._drawn(number) for number in wanted}
        return list(self._procedural.values())

    def _drawn(self, number: int) -> LabelVolume:
        rng = np.random.default_rng([self._config.seed, 1, number])
        return procedural_anatomy(rng, side=self._config.data.procedural_side)

    def batch(self, index: int) -> Batch:
        """(seed, index) → samples."""
        config, data = self._config, self._config.data
        rng = np.random.default_rng([config.seed, 2, index])
        size = config.coarse_size if index < config.coarse_steps else config.size
        kinds = [
            (self._procedural_pool(index) if data.procedural_share > 0 else [], data.procedural_share),
            (self._maps, data.label_map_share),
            (self._cases, data.case_share),
        ]
        kinds = [(volumes, share) for volumes, share in kinds if volumes and share > 0]
        if not kinds:
            kinds = [(self._procedural_pool(index), 1.0)]
        shares = np.array([share for _, share in kinds])
        samples = [
            draw_sample(kinds[int(kind)][0], rng, size)
            for kind in rng.choice(len(kinds), config.batch, p=shares / shares.sum())
        ]
        onward = [(index, sample.onward) for index, sample in enumerate(samples) if sample.onward is not None]
        onward = onward[: round(config.walk_share * config.batch)]
        return Batch(
            images=_stacked([sample.image for sample in samples], size),
            prompts=np.stack([prompt_maps(sample.prompt, size) for sample in samples]).astype(np.float16),
            truth=np.stack([sample.truth for sample in samples]),
            outside_px=np.array([sample.outside_px for sample in samples], dtype=np.float32),
            walked=np.array([index for index, _ in onward], dtype=np.intp),
            onward_images=_stacked([after.image for _, after in onward], size),
            onward_truth=np.array([after.truth for _, after in onward], dtype=bool).reshape(-1, size, size),
            onward_outside_px=np.array([after.outside_px for _, after in onward], dtype=np.float32),
        )


def _stacked(images: list[NDArray[np.float32]], size: int) -> NDArray[np.float16]:
    return normalise(np.array(images, dtype=np.float32).reshape(-1, size, size)).astype(np.float16)


def _work(config: TrainingConfig, start: int, stride: int, results: Queue[Batch]) -> None:
    factory = SampleFactory(config)
    parent = parent_process()
    for index in range(start, config.steps, stride):
        batch = factory.batch(index)
        while parent is None or parent.is_alive():
            try:
                results.put(batch, timeout=5.0)
                break
            except Full:
                continue
        else:
            results.cancel_join_thread()  # nobody reads what is still queued
            return


def batches(config: TrainingConfig, first: int) -> Iterator[Batch]:
    """Batches `first` … `steps` − 1, in order.

    Raises
    ------
    MedsamPlannerError
        If a worker process died.
    """
    workers = config.data.workers
    if workers == 0:
        factory = SampleFactory(config)
        for index in range(first, config.steps):
            yield factory.batch(index)
        return
    context = get_context("spawn")
    queues: list[Queue[Batch]] = [context.Queue(maxsize=6) for _ in range(workers)]
    processes = [
        context.Process(target=_work, args=(config, first + number, workers, queue), daemon=True)
        for number, queue in enumerate(queues)
    ]
    for process in processes:
        process.start()
    try:
        for index in range(first, config.steps):
            number = (index - first) % workers
            try:
                yield queues[number].get(timeout=WORKER_SILENCE_S)
            except Empty as error:
                raise MedsamPlannerError(
                    f"The data worker {number} made no batch within {WORKER_SILENCE_S:g} s."
                ) from error
    finally:
        for process in processes:
            process.terminate()
