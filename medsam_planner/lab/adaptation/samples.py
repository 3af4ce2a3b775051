"""Samples of a structure with the features of the frozen encoder: each slice is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from medsam_planner.engine.memory_network import MemoryNetwork
from medsam_planner.geometry import acquisition_axis, spacing_mm
from medsam_planner.lab.evaluation.cases import Structure
from medsam_planner.lab.training.anatomy import procedural_anatomy
from medsam_planner.lab.training.batches import Batch, batch_of
from medsam_planner.lab.training.data_folder import CT_CEILING_HU, CT_FLOOR_HU
from medsam_planner.lab.training.label_volume import LabelVolume, indexed
from medsam_planner.lab.training.stacks import draw_stack
from medsam_planner.progress import Progress, track

__all__ = ["EncodedBatch", "encoded_batches", "label_volume"]

_CLICK_SHARE = 0.35
_STREAM = 5
"""Second word of the seeds; training and procedural cases use 1 to 4."""
_PROCEDURAL_VOLUMES = 6
_PROCEDURAL_SIDE = 72


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBatch:
    """Samples of one step, and the encoder's features of their slices."""

    batch: Batch
    pyramid: tuple[Tensor, ...]
    """(B * S, …) float16, one for each scale."""


def label_volume(structure: Structure) -> LabelVolume:
    """A structure as training reads cases; two of three samples lie across the axis that is prompted in use."""
    volume = structure.volume
    image = np.asarray(volume.array, dtype=np.float32)
    if structure.case.modality == "CT":
        image = np.clip(image, CT_FLOOR_HU, CT_CEILING_HU)
    steps = spacing_mm(volume.affine)
    axis = acquisition_axis(volume.affine)
    return indexed(
        LabelVolume(
            name=structure.key,
            labels=structure.reference.astype(np.uint16),
            spacing_mm=(float(steps[0]), float(steps[1]), float(steps[2])),
            structures=((1,),),
            image=image,
            axes=(axis, axis, axis, 0, 1, 2),
        )
    )


def encoded_batches(
    network: MemoryNetwork,
    volumes: Sequence[LabelVolume],
    *,
    count: int,
    batch: int,
    rehearsal: float,
    seed: int,
    progress: Progress | None = None,
) -> list[EncodedBatch]:
    """Draw samples and encode their slices.

    Parameters
    ----------
    network : MemoryNetwork
        Its encoder is used, and its size.
    volumes : sequence of LabelVolume
        Of the structure; each is drawn equally often.
    count, batch : int
        Number of batches, and of samples in each.
    rehearsal : float
        Share of samples of procedural anatomy, so that what the model knew is not forgotten.
    seed : int
        Decides all samples.
    progress : Progress, optional
        Told the batches; may cancel.
    """
    rng = np.random.default_rng([seed, _STREAM])
    size = network.architecture.size
    procedural = [
        procedural_anatomy(np.random.default_rng([seed, _STREAM, number]), side=_PROCEDURAL_SIDE)
        for number in range(min(_PROCEDURAL_VOLUMES, count) if rehearsal > 0 else 0)
    ]
    encoded = []
    for _ in track(range(count), "preparing samples", progress, total=count):
        stacks = []
        for _ in range(batch):
            known = procedural if procedural and rng.random() < rehearsal else list(volumes)
            shares = np.full(len(known), 1 / len(known))
            stacks.append(draw_stack(known, shares, rng, size, click_share=_CLICK_SHARE))
        drawn = batch_of(stacks, size)
        images = torch.from_numpy(drawn.images.astype(np.float32)).flatten(0, 1)
        with torch.inference_mode():
            pyramid = network.encoder(images.contiguous(memory_format=torch.channels_last))
        # Only the first view of the intensities is read again, where a slice is shown as reference.
        light = replace(drawn, images=drawn.images[:, :, :1])
        encoded.append(EncodedBatch(light, tuple(scale.half() for scale in pyramid)))
    return encoded
