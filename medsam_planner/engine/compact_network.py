"""The compact promptable network: an image encoder that ignores prompts, and a decoder that combines both.

The only input of the encoder is the normalised crop, so its pyramid can be cached. The decoder is a U-net of its own:
it downsamples the prompt maps, adds the image features at every scale, and upsamples to the mask. Both work at half the
input's resolution and below: pixels are folded into channels at the input and unfolded at the output (Shi et al. 2016,
doi 10.1109/CVPR.2016.207), because on a CPU full-resolution maps take most of the time. Channel dropout is only in the
upsampling part of the decoder (Gal and Ghahramani 2016, arXiv 1506.02142; whole channels as in Tompson et al. 2015, doi
10.1109/CVPR.2015.7298664).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["IMAGE_CHANNELS", "PROMPT_CHANNELS", "CompactArchitecture", "CompactNetwork", "Residual", "channels_last"]

IMAGE_CHANNELS = 3
"""Percentile-stretched, centre-stretched and rank-equalised intensity (see ``compact_inputs.normalise``)."""
PROMPT_CHANNELS = 9
"""See ``compact_inputs.prompt_maps``."""
_FOLD = 2
"""Side of the square of pixels that becomes channels."""


@dataclass(frozen=True, slots=True)
class CompactArchitecture:
    """Parameters that are needed to build the network before its weights are read."""

    size: int = 96
    """Side of the input in pixels; a multiple of 2 ** scales."""
    encoder_widths: tuple[int, ...] = (16, 64, 128, 256)
    """Channels at a half, a quarter, … of the input's resolution."""
    decoder_widths: tuple[int, ...] = (24, 64, 128, 192)
    encoder_blocks: tuple[int, ...] = (0, 2, 2, 2)
    """Residual blocks at each encoder scale, the finest first."""
    dropout: float = 0.15
    """Share of decoder channels dropped in training and in stochastic passes."""

    def to_dict(self) -> dict[str, object]:
        """Plain values, for the metadata of a weights file."""
        return asdict(self)


class Residual(nn.Module):
    """Two 3 × 3 convolutions around the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(x + self.second_norm(self.second(inner)))


class _Step(nn.Module):
    """A 3 × 3 convolution, with stride 2 between scales."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.convolution(x)))


def _steps(channels: int, widths: tuple[int, ...]) -> nn.ModuleList:
    """One step into each scale; the first takes `channels` folded maps."""
    previous = (channels * _FOLD**2, *widths[:-1])
    return nn.ModuleList(
        _Step(channels_in, width, 1 if scale == 0 else 2)
        for scale, (channels_in, width) in enumerate(zip(previous, widths, strict=True))
    )


class Encoder(nn.Module):
    """(B, 3, N, N) normalised crops → one map per scale, already projected to the decoder's widths."""

    def __init__(self, architecture: CompactArchitecture) -> None:
        super().__init__()
        widths = architecture.encoder_widths
        self.stages = nn.ModuleList(
            nn.Sequential(step, *(Residual(width) for _ in range(blocks)))
            for step, width, blocks in zip(
                _steps(IMAGE_CHANNELS, widths), widths, architecture.encoder_blocks, strict=True
            )
        )
        self.necks = nn.ModuleList(
            nn.Conv2d(width, out, 1) for width, out in zip(widths, architecture.decoder_widths, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        pyramid = []
        x = functional.pixel_unshuffle(images, _FOLD)
        for stage, neck in zip(self.stages, self.necks, strict=True):
            x = stage(x)
            pyramid.append(neck(x))
        return pyramid


class Decoder(nn.Module):
    """Image pyramid and (B, 9, N, N) prompt maps → (B, N, N) logits and (B,) predicted-IoU logits."""

    def __init__(self, architecture: CompactArchitecture) -> None:
        super().__init__()
        widths = architecture.decoder_widths
        self.prompt_steps = _steps(PROMPT_CHANNELS, widths)
        # At the finest scale prompt and image are only added: maps of that size are the most expensive and add the
        # least.
        self.meetings = nn.ModuleList(nn.ReLU() if scale == 0 else Residual(n) for scale, n in enumerate(widths))
        self.fusions = nn.ModuleList(Residual(width) for width in widths)
        self.dropouts = nn.ModuleList(nn.Dropout2d(architecture.dropout) for _ in widths)
        self.ascents = nn.ModuleList(nn.Conv2d(widths[i + 1], widths[i], 1) for i in range(len(widths) - 1))
        self.mask_head = nn.Conv2d(widths[0], _FOLD**2, 1)
        self.quality_head = nn.Sequential(
            nn.Linear(widths[-1] + widths[1] + widths[0] + 2, 96), nn.ReLU(), nn.Linear(96, 1)
        )

    def forward(self, pyramid: list[Tensor], prompts: Tensor) -> tuple[Tensor, Tensor]:
        return self.ascend(self.meet(pyramid, prompts))

    def meet(self, pyramid: list[Tensor], prompts: Tensor) -> list[Tensor]:
        """Downsample prompts and combine them with the image at every scale; without dropout."""
        met = []
        x = functional.pixel_unshuffle(prompts, _FOLD)
        for step, image, meeting in zip(self.prompt_steps, pyramid, self.meetings, strict=True):
            x = meeting(step(x) + image)
            met.append(x)
        return met

    def ascend(self, met: list[Tensor], owners: list[int] | None = None) -> tuple[Tensor, Tensor]:
        """Upsample to the mask, with dropout if it is active.

        With `owners` there is one output for each entry, from the batch item of that number; outputs of one item share
        its coarsest fusion.
        """
        coarsest = len(met) - 1
        x = self.fusions[coarsest](met[coarsest])
        if owners is not None and len(x) == 1:
            x = x.expand(len(owners), -1, -1, -1)
        elif owners is not None:
            x, *finer = (part[owners] for part in (x, *met[:coarsest]))
            met = [*finer, x]
        x = self.dropouts[coarsest](x)
        summaries = {coarsest: x}
        for scale in reversed(range(coarsest)):
            x = met[scale] + functional.interpolate(
                self.ascents[scale](x), scale_factor=2.0, mode="bilinear", align_corners=False
            )
            x = self.dropouts[scale](self.fusions[scale](x))
            summaries[scale] = x
        logits = functional.pixel_shuffle(self.mask_head(x).float(), _FOLD)
        quality = self.quality_head(self._summary(summaries, logits).to(logits.dtype))
        return logits[:, 0], quality[:, 0]

    @staticmethod
    def _summary(maps: dict[int, Tensor], logits: Tensor) -> Tensor:
        """(B, features): mean features inside the mask, its area and its contrast."""
        inside = torch.sigmoid(logits.detach())
        half, quarter = functional.avg_pool2d(inside, 2), functional.avg_pool2d(inside, 4)
        finest, middle, coarsest = maps[0].float(), maps[1].float(), maps[max(maps)].float()
        area = inside.mean((2, 3))
        contrast = (inside * (1 - inside)).mean((2, 3)) / (area + 1e-3)
        return torch.cat(
            [
                coarsest.mean((2, 3)),
                (middle * quarter).sum((2, 3)) / (quarter.sum((2, 3)) + 1.0),
                (finest * half).sum((2, 3)) / (half.sum((2, 3)) + 1.0),
                area,
                contrast,
            ],
            dim=1,
        )


class CompactNetwork(nn.Module):
    """Encoder and decoder; ``forward`` runs both, for training and saliency."""

    candidates = 1
    prompt_channels = PROMPT_CHANNELS

    def __init__(self, architecture: CompactArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.decoder = Decoder(architecture)

    def forward(self, images: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, N, N) and (B, 9, N, N) → (B, N, N) mask logits, (B,) logits of the predicted IoU."""
        return self.decoder(self.encoder(images), prompts)


Network = TypeVar("Network", bound=nn.Module)


def channels_last(network: Network) -> Network:
    """The same module with its convolution weights laid out channels-last, which oneDNN runs fastest."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network
