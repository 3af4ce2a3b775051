"""Readings compared between modes: known answers, and the files that a finished study gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.lab.readers.acceptability import acceptable_odds, ordinal_odds
from medsam_planner.lab.readers.reading_report import analyse_readings
from medsam_planner.lab.readers.reading_statistics import complete_readings, reading_statistics
from medsam_planner.reading.design import reading_order
from medsam_planner.reading.records import Answer, Reading, ReadingRecords
from medsam_planner.reading.study_file import ReadingCase, ReadingTable, StudyFile

TABLE = ReadingTable(
    readers=("a", "b", "c"),
    modes=("unaided", "model"),
    cases=tuple(
        ReadingCase(name=f"p{number}", image=Path("x"), masks={"m": Path("y")}, positive=number % 2 == 0)
        for number in range(12)
    ),
    washout_days=0,
)


def rated(better: int, seed: int = 0) -> list[Reading]:
    """Readings whose ratings are higher with the model by `better` on average; positives are rated higher."""
    random = np.random.default_rng(seed)
    found = []
    for reader in TABLE.readers:
        for slot in reading_order(TABLE, reader):
            shift = better if slot.mode == "model" else 0
            rating = int(np.clip(2 + slot.case.positive + shift * random.integers(0, 2) - random.integers(0, 2), 1, 4))
            answer = Answer(rating, rating > 2, None, "", 1.0)
            seconds = 60.0 - 20.0 * (slot.mode == "model") + random.normal()
            found.append(Reading(reader, slot, answer, "2026-01-01T00:00:00", seconds, 0, ()))
    return found


def odds_of(case_count: int, shift: float, seed: int) -> tuple[list[int], list[str], list[str], list[str]]:
    """Ratings, modes, readers and cases from a latent logistic scale, where `shift` is the log odds ratio."""
    random = np.random.default_rng(seed)
    case, reader = random.normal(0, 1, case_count), random.normal(0, 0.5, 4)
    ratings, modes, readers, cases = [], [], [], []
    for mode in ("unaided", "model"):
        for one in range(4):
            for each in range(case_count):
                latent = case[each] + reader[one] + shift * (mode == "model") + random.logistic()
                ratings.append(1 + int(np.searchsorted([-1.5, 0, 1.5], latent)))
                modes.append(mode)
                readers.append(f"r{one}")
                cases.append(f"c{each}")
    return ratings, modes, readers, cases


def test_odds_ratios_find_the_better_mode_and_the_marginal_one_is_nearer_to_one_than_the_truth() -> None:
    ratings, modes, readers, cases = odds_of(60, 1.0, seed=1)
    (marginal,) = ordinal_odds(ratings, modes, readers, cases)
    assert marginal.mode == "model" and marginal.against == "unaided" and marginal.readings == 480
    assert 1 < marginal.low < marginal.ratio < np.e
    (mixed,) = acceptable_odds(np.array(ratings) >= 3, modes, readers, cases)
    assert mixed.low < np.e < mixed.high and mixed.low > 1


def test_the_share_acceptable_is_the_mean_and_both_analyses_agree_on_the_difference() -> None:
    complete = complete_readings(TABLE, rated(2))
    found = reading_statistics(TABLE, complete)
    merit = found["merits"]["share acceptable"]
    assert merit["by_mode"]["model"]["estimate"] == pytest.approx((complete.rating[1] >= 3).mean())
    pair = "model − unaided"
    both = [merit[method]["differences"][pair] for method in ("obuchowski_rockette", "dorfman_berbaum_metz")]
    assert both[0]["estimate"] == pytest.approx(both[1]["estimate"]) and both[0]["estimate"] > 0
    area = found["merits"]["area under the ROC curve"]["by_mode"]["unaided"]
    assert 0.5 < area["estimate"] <= 1
    assert found["seconds"][pair]["mean"] == pytest.approx(-20, abs=1) and found["seconds"][pair]["high"] < 0


def test_readings_that_not_all_have_given_are_left_out_and_counted() -> None:
    readings = [one for one in rated(1) if not (one.reader == "c" and one.slot.case.name == "p3")]
    complete = complete_readings(TABLE, readings)
    assert "p3" not in complete.cases and len(complete.cases) == 11 and complete.left_out == 4
    with pytest.raises(ConfigError, match="by all 1 readers in all modes yet; no reading at all by b, c"):
        complete_readings(TABLE, [one for one in readings if one.reader == "a" and one.slot.mode == "model"])


def test_ratings_that_say_nothing_are_refused_with_the_reason() -> None:
    equal = [replace(one, answer=replace(one.answer, rating=4)) for one in rated(0)]
    found = reading_statistics(TABLE, complete_readings(TABLE, equal))
    assert "not all equal" in found["odds"]["ratings (marginal)"]["why"]
    with pytest.raises(ConfigError, match="10 or more cases, got 2"):
        ordinal_odds([1, 2, 2, 1], ["a", "b", "a", "b"], ["r"] * 4, ["p", "p", "q", "q"])


class Given(ReadingRecords):
    """Records whose readings are given beforehand."""

    def __init__(self, readings: list[Reading]) -> None:
        self.table, self.design_sha256 = TABLE, "0" * 64
        self._readings = readings

    def readings(self) -> list[Reading]:
        return self._readings


def test_a_finished_study_gives_tables_figures_imrmc_and_a_page(tmp_path: Path) -> None:
    source = tmp_path / "study.toml"
    source.write_text("", encoding="utf-8")
    study = StudyFile(title="Lesions", reading=TABLE)
    analysed = analyse_readings(study, Given(rated(2)), tmp_path / "out", source=source)
    assert analysed.cautions == () and "Share of acceptable readings" in analysed.headline
    document = json.loads((tmp_path / "out/readings.json").read_text(encoding="utf-8"))
    assert sum(map(sum, document["counts"].values())) == 72
    assert (tmp_path / "out/readings.imrmc").read_text(encoding="utf-8").startswith("Lesions\nNR: 3\n")
    assert "n = 36" in (tmp_path / "out/figures/ratings.svg").read_text(encoding="utf-8")
    assert "3 × 12" in (tmp_path / "out/figures/acceptable.svg").read_text(encoding="utf-8")
    assert "Dorfman–Berbaum–Metz" in analysed.page.read_text(encoding="utf-8")
    unfinished = analyse_readings(study, Given(rated(2)[:20]), tmp_path / "early", source=source)
    assert any("20 of 72 readings" in caution for caution in unfinished.cautions)
    with pytest.raises(ConfigError, match="got none: nobody has finished"):
        analyse_readings(study, Given([]), tmp_path / "none", source=source)


@pytest.mark.slow
def test_the_intervals_of_the_odds_ratio_hold_as_often_as_they_say() -> None:
    """Where modes do not differ, both ratios are 1. The mixed model's prior widens its interval beyond nominal."""
    held = {"marginal": 0, "mixed": 0}
    draws = 2000
    for seed in range(draws):
        ratings, modes, readers, cases = odds_of(30, 0.0, seed)
        (marginal,) = ordinal_odds(ratings, modes, readers, cases)
        held["marginal"] += marginal.low <= 1 <= marginal.high
        (mixed,) = acceptable_odds(np.array(ratings) >= 3, modes, readers, cases)
        held["mixed"] += mixed.low <= 1 <= mixed.high
    shares = {name: count / draws for name, count in held.items()}
    assert 0.93 <= shares["marginal"] <= 0.97, shares
    assert shares["mixed"] >= 0.94, shares
