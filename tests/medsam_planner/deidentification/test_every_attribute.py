"""Of a word planted in every attribute of the dictionary, only what the profile lists is left."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.sequence import Sequence

from medsam_planner.deidentification import Dates, Profile, Pseudonyms
from medsam_planner.deidentification.cleaning import Cleaner
from medsam_planner.deidentification.identifiers import Identifiers
from medsam_planner.deidentification.profile import BINARY, TECHNICAL

PLANTED = {
    **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "PN"), "Quebranto"),
    **dict.fromkeys(("OB", "OW", "UN", "OF", "OD", "OL", "OV"), b"Quebranto_______"),
    "AE": "QUEBRANTO",
    "UR": "http://quebranto",
    "UI": "1.2.3.77777777",
    "DA": "19580312",
    "DT": "19580312101112",
    "TM": "101112",
}
"""Code strings are left out: a value of a code is not free text, and identifiers in it are looked for by name."""


def everything() -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    for tag, (kind, *_) in DicomDictionary.items():
        value = PLANTED.get(kind.split(" or ")[0])
        if value is not None and tag >> 16 > 0x0004 and tag & 0xFFFF and tag >> 16 != 0xFFFE:
            dataset.add_new(tag, kind.split(" or ")[0], value)
    nested = pydicom.Dataset()
    nested.update({tag: dataset[tag] for tag in dataset.keys()})  # noqa: SIM118 - an iteration gives elements
    dataset.ReferencedSeriesSequence = Sequence([nested])
    stream = io.BytesIO()
    dataset.save_as(stream, implicit_vr=False, little_endian=True)
    stream.seek(0)
    return pydicom.dcmread(stream, force=True)


def elements(dataset: pydicom.Dataset) -> Iterator[pydicom.DataElement]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)
        else:
            yield element


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("profile", "tracers"),
    [
        (Profile(), ("quebranto", "77777777", "19580312", "101112")),
        (Profile(Dates.SHIFT, keeps_descriptors=True), ("quebranto", "77777777", "19580312")),
        (Profile(Dates.KEEP), ("quebranto", "77777777")),
    ],
    ids=["basic", "shifted", "kept"],
)
def test_only_what_the_profile_lists_keeps_an_unknown_word(profile: Profile, tracers: tuple[str, ...]) -> None:
    dataset = everything()
    assert len(dataset) > 1000
    Cleaner(profile, Pseudonyms(b"a key of thirty-two bytes for us"), Identifiers(()), "patient").clean(dataset)
    left = {one.keyword for one in elements(dataset) if any(word in repr(one.value).casefold() for word in tracers)}
    assert left <= TECHNICAL | BINARY


@pytest.mark.filterwarnings("ignore")
def test_a_word_that_the_patient_is_called_is_left_nowhere() -> None:
    dataset = everything()
    patient = Identifiers({"quebranto"})
    Cleaner(Profile(Dates.KEEP), Pseudonyms(b"a key of thirty-two bytes for us"), patient, "patient").clean(dataset)
    left = {one.keyword for one in elements(dataset) if "quebranto" in repr(one.value).casefold()}
    assert left <= BINARY
