"""Arrays become pictures whose pixels can be told in advance."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from medsam_planner.drawing.pictures import ColourScale, colour_bar_uri, grey_uri, overlay_uri
from medsam_planner.errors import GeometryError


def decode(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_the_window_maps_its_ends_to_black_and_white_and_marks_the_unknown() -> None:
    values = np.array([[-500.0, -160.0, 40.0, 240.0, 900.0, np.nan]], dtype=np.float32)
    assert np.asarray(decode(grey_uri(values, (-160.0, 240.0)))).tolist() == [[0, 0, 128, 255, 255, 28]]


def test_an_overlay_is_clear_where_there_is_nothing_and_never_hides_the_anatomy() -> None:
    values = np.array([[0.0, 0.1, 0.5, 1.0, np.nan]], dtype=np.float32)
    uri = overlay_uri(values, ColourScale("magma", 0.0, 1.0, "bit"))
    assert uri is not None
    alpha = np.asarray(decode(uri).convert("RGBA"))[0, :, 3]
    assert alpha[0] == alpha[4] == 0
    assert 0 < alpha[1] < alpha[2] <= alpha[3] < 200


def test_an_empty_overlay_takes_no_room() -> None:
    scale = ColourScale("viridis", 0.0, 1.0, "")
    assert overlay_uri(np.zeros((4, 4), np.float32), scale) is None
    assert overlay_uri(np.full((4, 4), np.nan, np.float32), scale) is None


def test_the_colour_bar_runs_through_the_colours_of_the_overlay() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None]
    uri = overlay_uri(ramp, ColourScale("viridis", 0.0, 1.0, ""))
    assert uri is not None
    overlay = np.asarray(decode(uri).convert("RGB"))[0]
    np.testing.assert_array_equal(np.asarray(decode(colour_bar_uri("viridis")))[0], overlay)


def test_a_scale_or_window_without_width_is_refused() -> None:
    with pytest.raises(GeometryError, match="low below high"):
        ColourScale("viridis", 1.0, 1.0, "mm")
    with pytest.raises(GeometryError, match="display window"):
        grey_uri(np.zeros((2, 2), np.float32), (40.0, 40.0))
