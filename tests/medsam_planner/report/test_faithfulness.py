"""Saliency figures in plain words, none without its chance level."""

from __future__ import annotations

from medsam_planner.report.faithfulness import faithfulness_rows


def test_every_known_figure_stands_beside_chance_and_says_what_is_good() -> None:
    rows = faithfulness_rows(
        {
            "slice_index": 41,
            "infidelity": 0.31,
            "infidelity_of_chance": 0.92,
            "randomisation_rank_correlation": -0.02,
            "randomisation_ssim": 0.11,
            "overlap": {"energy_inside": 0.61, "top_inside": 0.8, "top_share": 0.05, "chance": 0.03},
        }
    )
    assert [(row.value, row.chance) for row in rows] == [
        ("61.0 %", "3.0 %"),
        ("80.0 %", "3.0 %"),
        ("31.0 %", "92.0 %"),
        ("−0.02", "1 if weights did not matter"),
        ("0.11", "1 if weights did not matter"),
        ("42", ""),
    ]
    assert "most salient 5.0 % of voxels" in rows[1].name
    assert all(row.reading for row in rows[:5])


def test_an_unknown_figure_is_shown_and_not_dropped() -> None:
    rows = faithfulness_rows({"sensitivity": 0.2, "sensitivity_of_chance": 0.9, "game": {"hit": True, "chance": 0.02}})
    assert [(row.name, row.value, row.chance) for row in rows] == [
        ("sensitivity", "0.2", "0.9"),
        ("game.hit", "yes", "0.02"),
    ]
