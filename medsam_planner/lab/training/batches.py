"""Batches of samples, built in worker processes and delivered in order.

Batch i depends only on the seed and on i, so that training can be resumed at any step and the number of workers has no
effect on the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from queue import Empty, Full

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.compact_inputs import normalise, prompt_maps
from medsam_planner.engine.memory_network import PROMPT_CHANNELS
from medsam_planner.engine.threads import compute_threads
from medsam_planner.errors import MedsamPlannerError
from medsam_planner.lab.training.anatomy import procedural_anatomy
from medsam_planner.lab.training.config import DataConfig, TrainingConfig
from medsam_planner.lab.training.data_folder import case_folders, is_ct, map_files, read_case, read_label_map
from medsam_planner.lab.training.label_volume import LabelVolume
from medsam_planner.lab.training.rule_based import with_rule_based_structures
from medsam_planner.lab.training.stacks import Stack, draw_stack

__all__ = ["Batch", "SampleFactory", "batch_of", "batches", "training_sources"]

_SERIAL = re.compile(r"([_-]?[0-9][0-9A-Za-z]*|TCGA.*)$")
"""The part of a name that distinguishes volumes of one kind."""
WORKER_SILENCE_S = 60.0
"""After so long without a batch, check that the worker process is alive."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The samples of one step: B structures on S slices each, the prompted slice first."""

    images: NDArray[np.float16]
    """(B, S, 3, N, N) normalised."""
    prompts: NDArray[np.float16]
    """(B, 10, N, N) prompt maps of the first slice."""
    reference: NDArray[np.bool_]
    """(B, S, N, N)"""
    outside_px: NDArray[np.float32]
    """(B, S) area of the structure beyond each crop, in model pixels."""
    centres_mm: NDArray[np.float32]
    """(B, S, 2) middle of each crop in the plane."""
    sides_mm: NDArray[np.float32]
    """(B, S)"""
    heights_mm: NDArray[np.float32]
    """(B, S) position of each slice across the plane."""
    ambiguous: NDArray[np.bool_]
    """(B,) whether the first prompt may mean several structures."""


def training_sources(data: DataConfig) -> tuple[list[LabelVolume], list[LabelVolume]]:
    """Label maps and real cases of the data folder, with sampling weights; both empty where the folder is absent."""
    if data.root is None or not data.root.is_dir():
        return [], []
    maps = [read_label_map(path) for path in map_files(data)]
    cases: list[LabelVolume] = []
    if (data.root / "cases").is_dir() and data.case_share > 0:
        for index, folder in enumerate(case_folders(data.root / "cases", exclude=data.held_out)):
            case = read_case(folder)
            cases.append(case)
            if case.image is not None and case.image.size > 300_000 and data.rule_based_weight > 0:
                ruled = with_rule_based_structures(case, is_ct=is_ct(folder), seed=index)
                if ruled is not None:
                    cases.append(replace(ruled, weight=data.rule_based_weight))
    return _weighted(maps), _weighted(cases)


def _weighted(volumes: list[LabelVolume]) -> list[LabelVolume]:
    """Balance the weights, so that kinds with many volumes, or volumes with many structures, do not dominate."""
    kinds = [_SERIAL.sub("", volume.name) for volume in volumes]
    return [
        replace(volume, weight=volume.weight * float(np.sqrt(len(volume.structures) / kinds.count(kind))))
        for volume, kind in zip(volumes, kinds, strict=True)
    ]


class SampleFactory:
    """Builds batch i of a configuration."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._maps, self._cases = training_sources(config.data)
        self._procedural: dict[int, LabelVolume] = {}

    def _procedural_pool(self, index: int) -> list[LabelVolume]:
        newest = index // self._config.data.procedural_refresh + self._config.data.procedural_pool
        wanted = range(newest - self._config.data.procedural_pool, newest)
        self._procedural = {
            number: self._procedural.get(number) or self._procedural_volume(number) for number in wanted
        }
        return list(self._procedural.values())

    def _procedural_volume(self, number: int) -> LabelVolume:
        rng = np.random.default_rng([self._config.seed, 1, number])
        return procedural_anatomy(rng, side=self._config.data.procedural_side)

    def batch(self, index: int) -> Batch:
        """The batch of a step."""
        config, data = self._config, self._config.data
        rng = np.random.default_rng([config.seed, 2, index])
        size = config.size_at(index)
        kinds = [
            (self._procedural_pool(index) if data.procedural_share > 0 else [], data.procedural_share),
            (self._maps, data.label_map_share),
            (self._cases, data.case_share),
        ]
        kinds = [(volumes, share) for volumes, share in kinds if volumes and share > 0]
        if not kinds:
            kinds = [(self._procedural_pool(index), 1.0)]
        shares = np.array([share for _, share in kinds])
        stacks = []
        for kind in rng.choice(len(kinds), config.batch, p=shares / shares.sum()):
            volumes = kinds[int(kind)][0]
            weights = np.array([volume.weight for volume in volumes])
            stacks.append(draw_stack(volumes, weights / weights.sum(), rng, size, click_share=data.click_share))
        return batch_of(stacks, size)


def batch_of(stacks: Sequence[Stack], size: int) -> Batch:
    """The samples of one step as arrays, with images normalised and prompts drawn as maps of `size` pixels."""
    images = np.stack([stack.images for stack in stacks])
    prompts = [prompt_maps(stack.prompt, size, channels=PROMPT_CHANNELS) for stack in stacks]
    return Batch(
        images=normalise(images.reshape(-1, size, size)).reshape(*images.shape[:2], 3, size, size).astype(np.float16),
        prompts=np.stack(prompts).astype(np.float16),
        reference=np.stack([stack.reference for stack in stacks]),
        outside_px=np.stack([stack.outside_px for stack in stacks]),
        centres_mm=np.stack([stack.centres_mm for stack in stacks]),
        sides_mm=np.stack([stack.sides_mm for stack in stacks]),
        heights_mm=np.stack([stack.heights_mm for stack in stacks]),
        ambiguous=np.array([stack.ambiguous for stack in stacks]),
    )


def _work(config: TrainingConfig, start: int, stride: int, results: Queue[Batch]) -> None:
    factory = SampleFactory(config)
    parent = parent_process()
    for index in range(start, config.steps, stride):
        with compute_threads(1):  # small matrices: several threads would be slower
            batch = factory.batch(index)
        while parent is None or parent.is_alive():
            try:
                results.put(batch, timeout=5.0)
                break
            except Full:
                continue
        else:
            results.cancel_join_thread()  # the parent has ended, nobody reads the queue
            return


def _next(queue: Queue[Batch], process: BaseProcess, number: int) -> Batch:
    while True:
        try:
            return queue.get(timeout=WORKER_SILENCE_S)
        except Empty as error:
            if not process.is_alive():
                raise MedsamPlannerError(
                    f"Expected all batches from data worker {number}, but it ended with exit code {process.exitcode}. "
                    "Resume the training."
                ) from error


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
            yield _next(queues[number], processes[number], number)
    finally:
        for process in processes:
            process.terminate()
