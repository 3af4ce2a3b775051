"""The compact promptable network with a memory: an ImageNet encoder and a decoder that attends to predicted slices.

The encoder is EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946) up to its stride of 16; its only input is the
normalised crop, so its pyramid can be cached. The decoder first downsamples the prompt maps and adds the image features
at every scale. At a stride of 8 it attends to any number of slices that were predicted before (space-time memory: Oh et
al. 2019, arXiv 1904.00607; for interactive volumes: Zhou et al. 2021, arXiv 2106.10686). Each token of a remembered
slice holds the image features, the 8 x 8 mask pixels that it covers, its position and the distance of its slice. The
outputs are three candidate masks, each with its predicted IoU, because a box alone may mean a ring, its disc or one of
its parts (Kirillov et al. 2023, arXiv 2304.02643).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from medsam_planner.engine.compact_network import Residual

__all__ = ["CANDIDATES", "PROMPT_CHANNELS", "MemoryArchitecture", "MemoryNetwork", "SliceMemory"]

CANDIDATES = 3
"""Number of candidate masks for one prompt."""
PROMPT_CHANNELS = 10
"""See ``compact_inputs.prompt_maps``, and the closeness of the nearest remembered slice."""
_FOLD = 2
"""Side of the square of pixels that becomes channels."""
_TOKEN = 8
"""Side in pixels of the square that a memory token covers."""
_ENCODER_STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))
"""EfficientNet-Lite0: kernel, stride, expansion, channels and blocks of each stage up to a stride of 16."""
_PYRAMID_STAGES = (0, 1, 2, 4)
_LOCALITY = (0.0, 20.0, 100.0, 300.0)
"""Initial decrease of each head's attention logit per squared distance between tokens, in sides of the crop."""


@dataclass(frozen=True, slots=True)
class MemoryArchitecture:
    """Parameters that are needed to build the network before its weights are read."""

    size: int = 96
    """Side of the input in pixels; a multiple of 16."""
    decoder_widths: tuple[int, ...] = (16, 48, 96, 160)
    """Channels at a half, a quarter, an eighth and a sixteenth of the input's resolution."""
    head_channels: int = 32
    """Channels of each attention head's keys and values."""
    dropout: float = 0.15
    """Share of decoder channels dropped in training and in stochastic passes."""

    def to_dict(self) -> dict[str, object]:
        """Plain values, for the metadata of a weights file."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class SliceMemory:
    """Tokens of predicted slices, T in total, for B prompts."""

    keys: Tensor
    """(B, heads, T, channels)"""
    values: Tensor
    """(B, heads, T, channels)"""
    positions: Tensor
    """(B, T, 2) row and column of each token's centre, in sides of the current crop, 0 at its corner."""
    distance: Tensor
    """(B, T) distance between the token's slice and the current one, in sides of the current crop."""


def _normalised(convolution: nn.Conv2d, *, active: bool = True) -> nn.Sequential:
    parts: list[nn.Module] = [convolution, nn.BatchNorm2d(convolution.out_channels, eps=1e-3)]
    return nn.Sequential(*parts, nn.ReLU6()) if active else nn.Sequential(*parts)


def _step(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


class _InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow (Sandler et al. 2018, doi 10.1109/CVPR.2018.00474)."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        widened = [_normalised(nn.Conv2d(channels_in, inner, 1, bias=False))] if expansion > 1 else []
        self.body = nn.Sequential(
            *widened,
            _normalised(nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False)),
            _normalised(nn.Conv2d(inner, channels, 1, bias=False), active=False),
        )
        self.adds = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.body(x)
        return x + inner if self.adds else inner


class Encoder(nn.Module):
    """(B, 3, N, N) normalised crops → one map per scale, already projected to the decoder's widths."""

    def __init__(self, architecture: MemoryArchitecture) -> None:
        super().__init__()
        self.stem = _normalised(nn.Conv2d(3, 32, 3, 2, 1, bias=False))
        stages, channels_in = [], 32
        for kernel, stride, expansion, channels, blocks in _ENCODER_STAGES:
            stage = []
            for block in range(blocks):
                stage.append(_InvertedResidual(channels_in, channels, kernel, 1 if block else stride, expansion))
                channels_in = channels
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.necks = nn.ModuleList(
            nn.Conv2d(_ENCODER_STAGES[stage][3], width, 1)
            for stage, width in zip(_PYRAMID_STAGES, architecture.decoder_widths, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return [neck(found[stage]) for stage, neck in zip(_PYRAMID_STAGES, self.necks, strict=True)]


class MemoryReader(nn.Module):
    """Attention from the current slice to the tokens of remembered slices."""

    def __init__(self, width: int, head_channels: int) -> None:
        super().__init__()
        self.heads, self.channels = len(_LOCALITY), head_channels
        inner = self.heads * head_channels
        self.query = nn.Conv2d(width, inner, 1)
        self.key = nn.Conv2d(width, inner, 1)
        # Image features, the mask pixels under the token, whether the user prompted the slice.
        self.value = nn.Sequential(nn.Conv2d(width + _TOKEN**2 + 1, inner, 1), nn.ReLU(), nn.Conv2d(inner, inner, 1))
        self.far_value = nn.Parameter(torch.zeros(inner))
        """Added to a value, times the distance of its slice in sides of the crop."""
        self.locality = nn.Parameter(torch.tensor(_LOCALITY))
        self.farness = nn.Parameter(torch.full((self.heads,), 1.0))
        self.null = nn.Parameter(torch.zeros(self.heads))
        """Attention logit of an additional token whose value is 0."""
        self.out = nn.Conv2d(inner, width, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def remember(self, features: Tensor, masks: Tensor, prompted: Tensor) -> tuple[Tensor, Tensor]:
        """(B, heads, T, channels) keys and values of predicted slices, T tokens each.

        Parameters
        ----------
        features : (B, width, N / 8, N / 8)
            Of the encoder at a stride of 8.
        masks : (B, N, N)
            Predicted probability.
        prompted : (B,)
            1 where the user prompted the slice, else 0.
        """
        patches = functional.pixel_unshuffle(masks[:, None], _TOKEN)
        said = prompted[:, None, None, None].expand(-1, 1, *patches.shape[2:])
        values = self.value(torch.cat([features, patches, said], dim=1))
        return self._by_head(self.key(features)), self._by_head(values)

    def forward(self, x: Tensor, memory: SliceMemory) -> Tensor:
        batch, _, height, width = x.shape
        queries = self._by_head(self.query(x))
        axis = (torch.arange(height, device=x.device) + 0.5) / height
        own = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(1, -1, 2)
        squares = torch.cdist(own.expand(batch, -1, -1), memory.positions).square()
        logits = queries @ memory.keys.transpose(-1, -2) / math.sqrt(self.channels)
        logits = logits - functional.relu(self.locality)[None, :, None, None] * squares[:, None]
        logits = logits - (functional.relu(self.farness)[None, :, None] * memory.distance[:, None])[:, :, None]
        null = self.null[None, :, None, None].expand(batch, -1, height * width, 1)
        attention = torch.softmax(torch.cat([logits, null], dim=-1), dim=-1)[..., :-1]
        far = self.far_value.view(1, self.heads, 1, self.channels) * memory.distance[:, None, :, None]
        read = attention @ (memory.values + far)
        return self.out(read.transpose(-1, -2).reshape(batch, -1, height, width))

    def _by_head(self, maps: Tensor) -> Tensor:
        return maps.flatten(2).unflatten(1, (self.heads, self.channels)).transpose(-1, -2)


class Decoder(nn.Module):
    """Image pyramid, (B, 10, N, N) prompt maps and memory → (B, 3, N, N) logits and (B, 3) predicted-IoU logits."""

    def __init__(self, architecture: MemoryArchitecture) -> None:
        super().__init__()
        widths = architecture.decoder_widths
        previous = (PROMPT_CHANNELS * _FOLD**2, *widths[:-1])
        self.prompt_steps = nn.ModuleList(
            _step(channels, width, 1 if scale == 0 else 2)
            for scale, (channels, width) in enumerate(zip(previous, widths, strict=True))
        )
        # Fewer layers at fine scales, where maps are the most expensive and add the least.
        self.meetings = nn.ModuleList(nn.ReLU() if scale < 2 else Residual(n) for scale, n in enumerate(widths))
        self.memory_reader = MemoryReader(widths[2], architecture.head_channels)
        self.fusions = nn.ModuleList(
            _step(width, width, 1) if scale == 0 else Residual(width) for scale, width in enumerate(widths)
        )
        self.dropouts = nn.ModuleList(
            nn.Identity() if scale == 0 else nn.Dropout2d(architecture.dropout) for scale in range(len(widths))
        )
        self.ascents = nn.ModuleList(nn.Conv2d(widths[i + 1], widths[i], 1) for i in range(len(widths) - 1))
        self.mask_head = nn.Conv2d(widths[0], CANDIDATES * _FOLD**2, 1)
        self.quality_head = nn.Sequential(
            nn.Linear(widths[-1] + widths[1] + widths[0] + 2 + CANDIDATES, 96), nn.ReLU(), nn.Linear(96, 1)
        )

    def forward(
        self, pyramid: list[Tensor], prompts: Tensor, memory: SliceMemory | None = None
    ) -> tuple[Tensor, Tensor]:
        return self.ascend(self.meet(pyramid, prompts, memory))

    def meet(self, pyramid: list[Tensor], prompts: Tensor, memory: SliceMemory | None = None) -> list[Tensor]:
        """Downsample prompts and combine them with image and memory at every scale; without dropout."""
        met = []
        x = functional.pixel_unshuffle(prompts, _FOLD)
        for scale, (step, image, meeting) in enumerate(zip(self.prompt_steps, pyramid, self.meetings, strict=True)):
            x = meeting(step(x) + image)
            if scale == 2 and memory is not None:
                x = x + self.memory_reader(x, memory)
            met.append(x)
        return met

    def ascend(self, met: list[Tensor], owners: list[int] | None = None) -> tuple[Tensor, Tensor]:
        """Upsample to masks, with dropout if it is active.

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
        maps = {coarsest: x}
        for scale in reversed(range(coarsest)):
            x = met[scale] + functional.interpolate(
                self.ascents[scale](x), scale_factor=2.0, mode="bilinear", align_corners=False
            )
            x = self.dropouts[scale](self.fusions[scale](x))
            maps[scale] = x
        logits = functional.pixel_shuffle(self.mask_head(x).float(), _FOLD)
        return logits, self.quality_head(self._summary(maps, logits).to(logits.dtype))[..., 0]

    @staticmethod
    def _summary(maps: dict[int, Tensor], logits: Tensor) -> Tensor:
        """(B, candidates, features): mean features inside each mask, its area and contrast, and its number."""
        inside = torch.sigmoid(logits.detach())
        half, quarter = functional.avg_pool2d(inside, 2), functional.avg_pool2d(inside, 4)
        finest, middle, coarsest = maps[0].float(), maps[1].float(), maps[max(maps)].float()
        area = inside.mean((2, 3))
        contrast = (inside * (1 - inside)).mean((2, 3)) / (area + 1e-3)
        count = inside.shape[1]
        return torch.cat(
            [
                coarsest.mean((2, 3))[:, None].expand(-1, count, -1),
                torch.einsum("bchw,bahw->bac", middle, quarter) / (quarter.sum((2, 3)) + 1.0)[..., None],
                torch.einsum("bchw,bahw->bac", finest, half) / (half.sum((2, 3)) + 1.0)[..., None],
                area[..., None],
                contrast[..., None],
                torch.eye(count, device=inside.device).expand(len(inside), -1, -1),
            ],
            dim=-1,
        )


class MemoryNetwork(nn.Module):
    """Encoder and decoder; ``forward`` runs both without a memory."""

    candidates = CANDIDATES
    prompt_channels = PROMPT_CHANNELS

    def __init__(self, architecture: MemoryArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.decoder = Decoder(architecture)

    def forward(self, images: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, N, N) and (B, 10, N, N) → (B, 3, N, N) mask logits, (B, 3) logits of the predicted IoU."""
        return self.decoder(self.encoder(images), prompts)
