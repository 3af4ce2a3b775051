"""Saliency figures in plain words, none without its chance level."""

from __future__ import annotations

from medsam_planner.report.faithfulness import faithfulness_rows, saliency_warning


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


def test_a_map_is_above_chance_only_when_both_checks_say_so():
    good = {"overlap": {"energy_inside": 0.5, "chance": 0.2}, "infidelity": 0.4, "infidelity_of_chance": 0.6}
    assert saliency_warning(good) == ""
    assert "no better than chance" in saliency_warning({**good, "overlap": {"energy_inside": 0.2, "chance": 0.2}})
    assert "no better than chance" in saliency_warning({**good, "infidelity": 0.6})
    assert "not checked" in saliency_warning({**good, "infidelity": None}) and "not checked" in saliency_warning({})
