from __future__ import annotations

import pytest
from torch import nn

from xai.errors import SaliencyError
from xai.layer_layout import require_channels_first

SQUARE = (1024, 1024)


@pytest.mark.parametrize(
    ("shape", "layer", "field"),
    [
        ((1, 256, 64, 64), nn.Identity(), SQUARE),
        ((2, 64, 64, 64), nn.Conv2d(8, 64, 1), SQUARE),  # shape alone would not tell
        ((2, 64, 64, 64), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(64)), SQUARE),
        ((1, 32, 25, 16), nn.Identity(), (400, 256)),
        ((1, 32, 7, 4), nn.Identity(), (100, 64)),  # a strided layer rounds
    ],
)
def test_channels_first_is_accepted(shape: tuple[int, ...], layer: nn.Module, field: tuple[int, int]) -> None:
    require_channels_first(shape, layer, input_shape=field)


@pytest.mark.parametrize(
    ("shape", "layer", "field"),
    [
        ((1, 64, 64, 768), nn.Identity(), SQUARE),  # a block of SAM ViT-B
        ((1, 25, 16, 32), nn.Identity(), (400, 256)),
        ((1, 64, 64, 64), nn.Linear(64, 64), SQUARE),
        ((1, 64, 64, 64), nn.LayerNorm(64), SQUARE),
    ],
)
def test_channels_last_is_refused(shape: tuple[int, ...], layer: nn.Module, field: tuple[int, int]) -> None:
    with pytest.raises(SaliencyError, match="channels last"):
        require_channels_first(shape, layer, input_shape=field)


def test_the_number_of_channels_settles_or_refuses() -> None:
    require_channels_first((1, 16, 16, 16), nn.Conv2d(3, 16, 1), input_shape=SQUARE, channels=16)
    require_channels_first((1, 32, 16, 16), nn.Identity(), input_shape=SQUARE, channels=32)
    with pytest.raises(SaliencyError, match="32 channels"):
        require_channels_first((1, 48, 16, 16), nn.Identity(), input_shape=SQUARE, channels=32)
    with pytest.raises(SaliencyError, match="channels last"):  # (400, 256) → (25, 16): both readings have fitting sides
        require_channels_first((1, 25, 16, 10), nn.Identity(), input_shape=(400, 256), channels=10)


@pytest.mark.parametrize("channels", [None, 16])
def test_what_reads_both_ways_is_refused(channels: int | None) -> None:
    with pytest.raises(SaliencyError, match="reads as"):
        require_channels_first((1, 16, 16, 16), nn.Identity(), input_shape=SQUARE, channels=channels)


@pytest.mark.parametrize("shape", [(1, 4096, 768), (1, 768), (1, 32, 4, 16, 16)])
def test_tokens_vectors_and_volumes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SaliencyError, match="B, C, H, W"):
        require_channels_first(shape, nn.Identity(), input_shape=SQUARE)


def test_sides_that_do_not_follow_the_input_are_refused() -> None:
    with pytest.raises(SaliencyError, match="sides as"):
        require_channels_first((1, 8, 16, 20), nn.Identity(), input_shape=SQUARE)
