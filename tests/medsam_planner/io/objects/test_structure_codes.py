"""A structure's name gives its code, or it is said that it does not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts

from medsam_planner.errors import ConfigError
from medsam_planner.io.objects import structure_codes as module
from medsam_planner.io.objects.structure_codes import CODES_VARIABLE, structure_codes

TABLE = tomllib.loads(Path(module.__file__).with_name("structure_codes.toml").read_text(encoding="utf-8"))
STANDARD = {code for by_code in concepts["SCT"].values() for code in by_code}


@pytest.mark.parametrize(
    ("name", "meaning", "region", "side"),
    [
        ("liver", "Liver", "Abdomen", None),
        ("Left kidney", "Kidney", "Abdomen", "L"),
        ("kidney_R", "Kidney", "Abdomen", "R"),
        ("kidneys", "Kidney", "Abdomen", None),
        ("external_iliac_artery", "External iliac artery", "Pelvis", None),
        ("supra_acetabular_bone", "Bone", None, None),
        ("liver lesion", "Lesion", "Liver", None),
        ("lesion of the left kidney", "Lesion", "Kidney", "L"),
        ("left_lateral_ventricle", "Lateral Ventricle", "Head", "L"),
        ("lung_middle_lobe_right", "Middle lobe of right lung", "Chest", None),
        ("rib_left_3", "Third rib", "Chest", "L"),
        ("lesion 2", "Lesion", None, None),
        ("vertebrae_L1", "L1 vertebra", "Spine", None),
    ],
)
def test_the_end_of_a_name_says_what_it_is(name: str, meaning: str, region: str | None, side: str | None) -> None:
    found = structure_codes(name)
    assert found.is_known and found.type.meaning == meaning
    assert (None if found.region is None else found.region.meaning) == region
    assert found.laterality == side


@pytest.mark.parametrize("name", ["xyz", "structure 1", "ball", "肝臓"])
def test_an_unknown_name_is_tissue_and_known_to_be_unknown(name: str) -> None:
    found = structure_codes(name)
    assert found.type.meaning == found.category.meaning == "Tissue" and not found.is_known


def test_codes_of_the_standard_are_those_that_the_standard_lists() -> None:
    stated = [*TABLE["categories"].values(), *TABLE["regions"].values()]
    wrong = [code for code, _ in stated if code not in STANDARD]
    wrong += [one["code"] for one in TABLE["structures"]["dicom"] if one["code"] not in STANDARD]
    assert wrong == []
    assert not any(one["code"] in STANDARD for one in TABLE["structures"]["snomed"])


def test_no_name_stands_twice() -> None:
    names = [name for group in TABLE["structures"].values() for one in group for name in one["names"]]
    assert len(names) == len(set(names))


def test_a_table_of_ones_own_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[structures]\nmine = [{ names = ["ball"], code = "706342009", meaning = "Phantom", category = "object" }]\n'
    )
    monkeypatch.setenv(CODES_VARIABLE, str(own))
    assert structure_codes("ball").type.meaning == "Phantom"
    assert structure_codes("liver").type.meaning == "Liver"
    own.with_name("bad.toml").write_text("structures = 3")
    monkeypatch.setenv(CODES_VARIABLE, str(tmp_path / "bad.toml"))
    with pytest.raises(ConfigError, match="table of codes"):
        structure_codes("ball")
