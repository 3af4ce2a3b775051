"""Options about the files of a run are read, and refused before any work."""

from __future__ import annotations

import pytest

from medsam_planner.cli.segmentation_options import output_options
from medsam_planner.errors import ConfigError
from medsam_planner.io.objects.segmentation import SegmentEncoding


def test_results_name_no_path_and_hold_a_label_map_unless_asked_for() -> None:
    plain = output_options("auto", rtstruct=False, paths=False)
    assert (plain.encoding, plain.has_contours, plain.with_paths) == (None, False, False)
    asked = output_options("Binary", rtstruct=True, paths=True)
    assert (asked.encoding, asked.has_contours, asked.with_paths) == (SegmentEncoding.BINARY, True, True)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto, labelmap, binary"):
        output_options("fractional", rtstruct=False, paths=False)
