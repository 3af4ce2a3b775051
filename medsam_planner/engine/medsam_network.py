"""SAM's network without trained weights: its input, and a network with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import require_extra

if TYPE_CHECKING:
    from transformers import SamConfig, SamModel

__all__ = ["network_input", "random_network"]


def network_input(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, N, N) intensities → (B, 3, N, N) pixels, each stretched to [0, 1] by its own minimum and maximum.

    An image of one value gives zeros.
    """
    low = images.min(axis=(1, 2), keepdims=True)
    high = images.max(axis=(1, 2), keepdims=True)
    stretched = (images - low) / np.maximum(high - low, 1e-8)
    return np.repeat(stretched[:, None].astype(np.float32), 3, axis=1)


def random_network(config: SamConfig | None = None, *, seed: int = 0) -> SamModel:
    """SAM network with random weights of a scale at which signals neither vanish nor explode.

    ``transformers`` initialises the image encoder with 1e-10, which gives every image the same embedding.

    Raises
    ------
    MissingDependencyError
        If the extra ``medsam`` is not installed.
    """
    require_extra("medsam", "MedSAM")
    import torch
    from transformers import SamConfig, SamModel

    network = SamModel(config if config is not None else SamConfig())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            spread = 0.02 if parameter.ndim == 1 else 1.0 / parameter[0].numel() ** 0.5
            noise = torch.randn(parameter.shape, generator=generator) * spread
            parameter.copy_(noise + 1.0 if "norm" in name and name.endswith("weight") else noise)
    return network.eval()
