"""An automatic network: how a study is prepared for it, and its answer on the study's own voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.automatic_weights import AutomaticCard, read_automatic
from medsam_planner.errors import WeightsError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.intensity import volume_modality
from prompts.masks import largest_component

if TYPE_CHECKING:
    import torch
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.compose import Compose

__all__ = ["AutomaticNetwork", "along_ras", "as_monai", "build_network", "preparation"]

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_CHANNELS = (16, 32, 64, 128)
_OVERLAP = 0.5
_FAR_SPACING = 1.5
"""Spacing outside that of the cases by more than this factor is told."""


def build_network() -> torch.nn.Module:
    """The residual U-Net, (B, 1, X, Y, Z) to (B, 2, X, Y, Z) logits of background and structure; sides divide by 8."""
    from monai.networks.nets import UNet

    return UNet(3, 1, 2, _CHANNELS, (2, 2, 2), num_res_units=2, norm="instance")


def as_monai(volume: highdicom.Volume, array: NDArray[Any]) -> MetaTensor:
    """(1, K, J, I) float32 with the affine in RAS mm, as MONAI's transforms take it."""
    import torch
    from monai.data.meta_tensor import MetaTensor

    affine = torch.from_numpy(_RAS_FROM_LPS @ np.asarray(volume.affine, dtype=np.float64))
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None], affine=affine)


def along_ras(volume: highdicom.Volume, of_axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) values of the array axes, in the order of the axes nearest to right, anterior, superior."""
    from nibabel.orientations import io_orientation

    return of_axes[np.argsort(io_orientation(np.asarray(volume.affine))[:, 0])]


def preparation(
    modality: str,
    spacing_mm: tuple[float, float, float],
    intensity: tuple[float, float, float, float],
    *masks: str,
) -> Compose:
    """MONAI's transforms from ``image``, and masks by these keys, to the network's grid and intensities.

    CT is clipped and scaled by the structure's own HU, as in nnU-Net (doi 10.1038/s41592-020-01008-z); MR by the mean
    and standard deviation of its own voxels that are not 0.
    """
    from monai.transforms.compose import Compose
    from monai.transforms.intensity.dictionary import NormalizeIntensityd, ScaleIntensityRanged
    from monai.transforms.spatial.dictionary import Orientationd, Spacingd

    keys = ["image", *masks]
    steps: list[Any] = [
        Orientationd(keys=keys, axcodes="RAS", labels=None),
        Spacingd(keys=keys, pixdim=spacing_mm, mode=["bilinear", *("nearest" for _ in masks)]),
    ]
    if modality == "CT":
        low, high, mean, spread = intensity
        steps.append(ScaleIntensityRanged("image", low, high, (low - mean) / spread, (high - mean) / spread, clip=True))
    else:
        steps.append(NormalizeIntensityd("image", nonzero=True))
    return Compose(steps)


@dataclass(frozen=True, slots=True, eq=False)
class AutomaticNetwork:
    """A network with its card."""

    network: torch.nn.Module
    card: AutomaticCard

    @classmethod
    def load(cls, path: Path) -> AutomaticNetwork:
        """Read the file of ``medsam-planner train-auto``.

        Raises
        ------
        WeightsError
            If it is absent, damaged or of another network.
        """
        tensors, card = read_automatic(path)
        network = build_network()
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise WeightsError(f"{path} does not fit the network of this version. Train again.") from error
        return cls(network, card)

    def mask(self, volume: highdicom.Volume) -> NDArray[np.bool_]:
        """(K, J, I) the structure on the voxels of a study; empty where the network finds nothing."""
        import torch
        from monai.inferers.utils import sliding_window_inference
        from monai.transforms.spatial.array import ResampleToMatch

        card = self.card
        given = as_monai(volume, np.asarray(volume.array))
        prepared = preparation(card.modality, card.spacing_mm, card.intensity)({"image": given})["image"]
        self.network.eval()
        with torch.inference_mode():
            logits: Any = sliding_window_inference(
                prepared[None], card.patch, 1, self.network, overlap=_OVERLAP, mode="gaussian"
            )
            share = prepared.clone()
            share.data = torch.softmax(logits[0], dim=0)[1:]
            found = ResampleToMatch(mode="bilinear", padding_mode="zeros")(share, given)
        mask = np.asarray(found[0].numpy() > 0.5)
        return largest_component(mask) if card.is_one_part and mask.any() else mask

    def cautions(self, volume: highdicom.Volume) -> list[str]:
        """Ways in which a study is unlike the cases, each with what to do."""
        card, found = self.card, []
        modality = volume_modality(volume)
        if modality != card.modality:
            found.append(
                f"The network learned on {card.modality}, this study is {modality}. Check every slice, or train on "
                f"{modality}."
            )
        low, high = np.array(card.spacing_range_mm)
        own = along_ras(volume, spacing_mm(volume.affine))
        if np.any(own < low / _FAR_SPACING) or np.any(own > high * _FAR_SPACING):
            found.append(
                f"The cases had voxels of {_mm(low)} to {_mm(high)}, this study has {_mm(own)}. Check every slice."
            )
        return found


def _mm(spacing: NDArray[np.float64]) -> str:
    return " × ".join(f"{one:.2g}" for one in spacing) + " mm"
