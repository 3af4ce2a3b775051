from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from prompts import (
    Box,
    Click,
    Edit,
    InitialMask,
    OutputError,
    PromptError,
    PromptFile,
    PromptLog,
    Provenance,
    Scribble,
    VoxelMask,
    parse_prompt_file,
    read_prompt_file,
    render_prompt_file,
    write_prompt_file,
)

SMALL = """\
{
  "schema_version": 1,
  "frame": "LPS",
  "unit": "mm",
  "structures": {
    "left kidney": [
      {"kind": "box", "corner_lps_mm": [-31.25, 12.5, 204.0], "opposite_lps_mm": [18.75, 62.5, 204.0]},
      {"kind": "click", "position_lps_mm": [0.1, 20.0, 204.0], "positive": false},
      {"kind": "clear", "undone": true}
    ]
  },
  "provenance": {"seed": 7, "versions": {"numpy": "2.4.1", "torch": "2.13.0"}, "settings": {"a": [1, 2.5], "b": null}}
}
"""


def small_file():
    log = PromptLog("left kidney")
    log.add(Box((-31.25, 12.5, 204), (18.75, 62.5, 204)))
    log.add(Click((0.1, 20, 204), positive=False))
    log.clear()
    log.undo()
    provenance = Provenance(seed=7, versions={"torch": "2.13.0", "numpy": "2.4.1"}, settings={"b": None, "a": (1, 2.5)})
    return PromptFile((log,), provenance)


def full_provenance(affine):
    return Provenance(
        image_sha256="ab" * 32,
        affine=tuple(tuple(row) for row in affine.tolist()),
        shape=(20, 512, 512),
        frame_of_reference_uid="1.2.840.1",
        modality="CT",
        window="soft-tissue",
        model="compact",
        weights_sha256="cd" * 32,
        seed=0,
        samples=16,
        versions={"medsam-planner": "0.1.0"},
        settings={"propagation": {"stop_overlap": 0.6}},
    )


def test_a_file_reads_as_a_user_would_write_it():
    assert render_prompt_file(small_file()) == SMALL
    assert parse_prompt_file(SMALL) == small_file()


def test_what_a_user_may_leave_out_has_defaults():
    text = """{"schema_version": 1, "frame": "LPS", "unit": "mm", "structures": {"liver": [
        {"kind": "click", "position_lps_mm": [1, 2, 3]}, {"kind": "scribble", "positions_lps_mm": [[1, 2, 3]]}]}}"""
    file = parse_prompt_file(text)
    assert file.log("liver").prompts == (Click((1, 2, 3)), Scribble([(1, 2, 3)]))
    assert file.provenance == Provenance()


def test_undone_entries_can_be_redone_after_a_resume(tmp_path):
    log = PromptLog("liver")
    for x in range(5):
        log.add(Click((x, 0, 0)))
    log.undo()
    log.undo()
    write_prompt_file(tmp_path / "prompts.json", PromptFile((log,)))
    resumed = read_prompt_file(tmp_path / "prompts.json").log("liver")
    assert resumed == log
    assert [resumed.redo(), resumed.redo()] == [Click((3, 0, 0)), Click((4, 0, 0))]


def test_everything_known_of_the_study_and_the_model_is_kept(tmp_path, oblique_affine):
    log = PromptLog("liver")
    log.add(Click((1, 2, 3)))
    file = PromptFile((log, PromptLog("spleen")), full_provenance(oblique_affine))
    write_prompt_file(tmp_path / "prompts.json", file)
    read = read_prompt_file(tmp_path / "prompts.json")
    assert read == file
    assert read.structures == ("liver", "spleen")
    assert np.array_equal(np.array(read.provenance.affine), oblique_affine)


def test_writing_what_was_read_gives_the_same_bytes(tmp_path, oblique_affine):
    write_prompt_file(tmp_path / "a.json", PromptFile(small_file().logs, full_provenance(oblique_affine)))
    write_prompt_file(tmp_path / "b.json", read_prompt_file(tmp_path / "a.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


coordinates = st.tuples(*[st.floats(-1e5, 1e5, allow_nan=False)] * 3)
voxel_masks = st.builds(
    lambda inside, first: VoxelMask.from_array(inside, np.diag([2.5, 0.7, 0.7, 1.0]), first_index=first),
    arrays.arrays(bool, (2, 3, 4)).filter(np.any),
    st.tuples(*[st.integers(0, 500)] * 3),
)
entries = st.one_of(
    st.builds(Click, coordinates, st.booleans()),
    st.tuples(coordinates, coordinates).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: Box(*pair)),
    st.builds(Scribble, st.lists(coordinates, min_size=1, max_size=6), st.booleans()),
    st.builds(InitialMask, voxel_masks),
    st.builds(Edit, voxel_masks, st.booleans()),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@st.composite
def prompt_files(draw):
    names = draw(st.lists(st.sampled_from(["liver", "left kidney", "Milz (Größe)", "肝臓"]), min_size=1, unique=True))
    logs = []
    for name in names:
        log = PromptLog(name)
        for entry in draw(st.lists(entries, max_size=5)):
            log.add(entry)
            if draw(st.integers(0, 5)) == 0:
                log.clear()
            if log.prompts and draw(st.integers(0, 5)) == 0:
                log.remove(draw(st.integers(0, len(log) - 1)))
        for _ in range(draw(st.integers(0, len(log.history)))):
            log.undo()
        logs.append(log)
    settings_ = draw(st.dictionaries(st.text(), json_values, max_size=3))
    return PromptFile(tuple(logs), Provenance(seed=draw(st.none() | st.integers(0, 2**32)), settings=settings_))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(file=prompt_files())
def test_every_file_that_can_be_made_reads_back_equal_and_writes_back_the_same(file):
    text = render_prompt_file(file)
    read = parse_prompt_file(text)
    assert read == file
    assert render_prompt_file(read) == text
    assert "undone" not in text or any(log.can_redo for log in file.logs) or "undone" in str(file.provenance)


def test_equal_settings_give_equal_bytes_however_they_were_filled():
    logs = (PromptLog("liver"),)
    one = Provenance(versions={"a": "1", "b": "2"}, settings={"x": {"p": 1, "q": 2}, "y": 3})
    other = Provenance(versions={"b": "2", "a": "1"}, settings={"y": 3, "x": {"q": 2, "p": 1}})
    assert render_prompt_file(PromptFile(logs, one)) == render_prompt_file(PromptFile(logs, other))


def test_a_file_saved_by_an_editor_that_adds_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "prompts.json").write_text(SMALL, encoding="utf-8-sig")
    assert read_prompt_file(tmp_path / "prompts.json") == small_file()


# --- what is refused ---


def changed(**changes):
    document = json.loads(SMALL)
    document.update(changes)
    return json.dumps({key: value for key, value in document.items() if value != "absent"})


def with_entry(**entry):
    return changed(structures={"liver": [{"kind": "clear"}, entry]})


WRONG_FILES = {
    "empty": ("", "expected a JSON object, got an empty file"),
    "blank": (" \n\t\n", "expected a JSON object, got an empty file"),
    "not JSON": ('{\n  "frame" "LPS"\n}', "line 2, column 11"),
    "cut short": (SMALL[:200], "expected JSON, got something else at line"),
    "a list": ("[1, 2]", "expected an object {...}, got [1, 2]"),
    "nested without end": ("[" * 100_000, "nested too deeply"),
    "NaN": (SMALL.replace("0.1", "NaN"), '["left kidney"][1].position_lps_mm[0]: expected a finite number, got nan'),
    "infinity": (SMALL.replace("0.1", "-Infinity"), "expected a finite number, got -inf"),
    "a number too large for a float": (SMALL.replace("0.1", "1e999"), "expected a finite number, got inf"),
    "an integer of 5,000 digits": (SMALL.replace("0.1", "9" * 5000), "expected numbers of ordinary size"),
    "an integer of 100 digits": (SMALL.replace("0.1", "9" * 100), "expected a whole number of at most 64 bits"),
    "a key twice": (
        SMALL.replace('"seed": 7', '"seed": 7, "seed": 8'),
        "provenance: expected each key once, got 'seed' twice",
    ),
    "a structure twice": (
        '{"schema_version": 1, "frame": "LPS", "unit": "mm", "structures": {"liver": [], "liver": []}}',
        "structures: expected each key once, got 'liver' twice",
    ),
    "half a character": (
        changed(provenance={"model": "\ud800"}),
        "provenance.model: expected text, got half a surrogate",
    ),
    "no version": (changed(schema_version="absent"), "expected the key 'schema_version'"),
    "a later version": (changed(schema_version=4), "schema_version: expected 1 to 3, got 4. A file of a later version"),
    "a kind of a later version": (
        with_entry(kind="removal", prompt=0),
        'kind: expected "box" or "choice" or "clear" or "click" or "scribble", got "removal". This kind needs',
    ),
    "version as text": (changed(schema_version="1"), 'schema_version: expected a whole number, got "1"'),
    "version as truth value": (changed(schema_version=True), "schema_version: expected a whole number, got true"),
    "centimetres": (changed(unit="cm"), 'unit: expected "mm", got "cm". Convert every position'),
    "RAS": (changed(frame="RAS"), 'frame: expected "LPS", got "RAS". From RAS, change the sign'),
    "no structures": (changed(structures={}), "structures: expected at least one structure, got {}"),
    "structures as a list": (changed(structures=[]), "structures: expected an object {...}, got []"),
    "a misspelt key": (changed(structure={}), "got 'structure'. Did you mean 'structures'?"),
    "a name that is a path": (
        changed(structures={"../liver": []}),
        'structures["../liver"]: Expected a structure\'s name',
    ),
    "entries as an object": (changed(structures={"liver": {}}), "structures.liver: expected a list [...], got {}"),
    "an entry without kind": (with_entry(position_lps_mm=[1, 2, 3]), "structures.liver[1]: expected the key 'kind'"),
    "an unknown kind": (
        with_entry(kind="lasso"),
        'liver[1].kind: expected "box" or "choice" or "clear" or "click" or "scribble", got "lasso"',
    ),
    "a click without position": (
        with_entry(kind="click"),
        "liver[1]: expected the key 'position_lps_mm', got only ['kind']",
    ),
    "two numbers": (
        with_entry(kind="click", position_lps_mm=[1, 2]),
        "position_lps_mm: expected a list of 3 numbers, got [1, 2]",
    ),
    "numbers as text": (
        with_entry(kind="click", position_lps_mm=["1", "2", "3"]),
        'expected a list of 3 numbers, got ["1", "2", "3"]',
    ),
    "an answer of 64 bits": (with_entry(kind="choice", answer=2**63), "expected a whole number"),
    "truth values as numbers": (with_entry(kind="click", position_lps_mm=[1, 2, True]), "expected a list of 3 numbers"),
    "a position a kilometre away": (
        with_entry(kind="click", position_lps_mm=[1, 2, 1e6]),
        "liver[1]: Expected the click's position within",
    ),
    "positive as a number": (
        with_entry(kind="click", position_lps_mm=[1, 2, 3], positive=1),
        "positive: expected true or false, got 1",
    ),
    "a key of another kind": (
        with_entry(kind="click", position_lps_mm=[1, 2, 3], label="x"),
        "expected the keys ['kind', 'position_lps_mm', 'positive', 'undone'], got 'label'",
    ),
    "a box of one point": (
        with_entry(kind="box", corner_lps_mm=[1, 2, 3], opposite_lps_mm=[1, 2, 3]),
        "liver[1]: Expected two different corners",
    ),
    "a box with a sign": (
        with_entry(kind="box", corner_lps_mm=[1, 2, 3], opposite_lps_mm=[1, 2, 4], positive=True),
        "got 'positive'",
    ),
    "an empty scribble": (
        with_entry(kind="scribble", positions_lps_mm=[]),
        "liver[1]: Expected the scribble's positions as N >= 1",
    ),
    "a scribble with a hole": (
        with_entry(kind="scribble", positions_lps_mm=[[1, 2, 3], None]),
        "positions_lps_mm[1]: expected a list of 3 numbers, got null",
    ),
    "undone before done": (
        changed(structures={"liver": [{"kind": "clear", "undone": True}, {"kind": "clear"}]}),
        "liver[1]: expected an undone entry after an undone one",
    ),
    "provenance as text": (changed(provenance="CT"), 'provenance: expected an object {...}, got "CT"'),
    "unknown provenance": (changed(provenance={"sha256": "ab"}), "Did you mean 'image_sha256'?"),
    "affine of three rows": (
        changed(provenance={"affine": [[1, 0, 0, 0]] * 3}),
        "provenance.affine: expected a list of 4 elements",
    ),
    "affine row of three": (
        changed(provenance={"affine": [[1, 0, 0]] * 4}),
        "provenance.affine[0]: expected a list of 4 numbers",
    ),
    "a shape of zero": (
        changed(provenance={"shape": [0, 2, 3]}),
        "provenance.shape[0]: expected a whole number of at least 1, got 0",
    ),
    "a negative seed": (
        changed(provenance={"seed": -1}),
        "provenance.seed: expected a whole number of at least 0, got -1",
    ),
    "samples with a fraction": (
        changed(provenance={"samples": 1.5}),
        "provenance.samples: expected a whole number of at least 0, got 1.5",
    ),
    "an empty hash": (changed(provenance={"image_sha256": ""}), 'provenance.image_sha256: expected a text, got ""'),
    "a version as a number": (
        changed(provenance={"versions": {"torch": 2.13}}),
        "provenance.versions.torch: expected a text, got 2.13",
    ),
    "settings as a list": (
        changed(provenance={"settings": []}),
        "provenance.settings: expected an object {...}, got []",
    ),
}


@pytest.mark.parametrize("text, message", WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_wrong_file_is_refused_with_place_expectation_and_what_came(tmp_path, text, message):
    path = tmp_path / "prompts.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PromptError, match=re.escape(message)) as refusal:
        read_prompt_file(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert len(str(refusal.value)) < 500


def test_a_missing_file_a_folder_and_bytes_that_are_no_text_are_refused(tmp_path):
    with pytest.raises(PromptError, match="got no such file"):
        read_prompt_file(tmp_path / "prompts.json")
    with pytest.raises(PromptError, match="got a folder"):
        read_prompt_file(tmp_path)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(PromptError, match="other bytes in line 1"):
        read_prompt_file(tmp_path / "image.png")


def test_a_file_too_large_to_be_prompts_is_not_read_into_memory(tmp_path):
    with (tmp_path / "volume.nii").open("wb") as stream:
        stream.truncate(65 * 2**20)
    with pytest.raises(PromptError, match="got 65 MiB"):
        read_prompt_file(tmp_path / "volume.nii")


@pytest.mark.parametrize(
    ("provenance", "message"),
    [
        (Provenance(seed=-1), "provenance.seed: expected a whole number of at least 0"),
        (Provenance(seed=1.5), "provenance.seed: expected a whole number"),
        (Provenance(model=""), "provenance.model: expected a text"),
        (Provenance(affine=((1.0, 0.0),)), "provenance.affine: expected a list of 4 elements"),
    ],
)
def test_what_could_not_be_read_back_is_never_written_and_an_older_file_stays(tmp_path, provenance, message):
    path = tmp_path / "prompts.json"
    write_prompt_file(path, small_file())
    with pytest.raises(PromptError, match=re.escape(message)):
        write_prompt_file(path, PromptFile((PromptLog("liver"),), provenance))
    assert path.read_text() == SMALL
    assert [file.name for file in tmp_path.iterdir()] == ["prompts.json"]


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"a": float("nan")}, "settings.a: expected a finite number"),
        ({"a": [1, {2, 3}]}, "settings.a[1]: expected numbers, text, lists and objects, got a set"),
        ({"a": np.float32(1)}, "settings.a: expected numbers, text, lists and objects, got a float32"),
        ({1: 2}, "settings: expected text as keys, got 1"),
    ],
)
def test_settings_that_are_no_json_are_refused_at_once(settings_, message):
    with pytest.raises(PromptError, match=re.escape(message)):
        Provenance(settings=settings_)


def test_settings_do_not_follow_the_mapping_they_came_from():
    mapping = {"a": {"b": 1}}
    provenance = Provenance(settings=mapping)
    mapping["a"]["b"] = 2
    assert provenance.settings == {"a": {"b": 1}}


def test_a_place_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder cannot be written: it is a folder"):
        write_prompt_file(tmp_path / "folder", small_file())
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_file_holds_at_least_one_structure_and_each_once():
    with pytest.raises(PromptError, match="at least one structure"):
        PromptFile(())
    with pytest.raises(PromptError, match="one log for each structure"):
        PromptFile((PromptLog("liver"), PromptLog("liver")))


def test_asking_for_an_absent_structure_lists_those_there_are():
    with pytest.raises(PromptError, match=r"one of the structures \['left kidney'\], got 'liver'"):
        small_file().log("liver")


def test_a_choice_is_kept_and_a_wrong_one_is_refused(tmp_path):
    log = PromptLog("liver")
    log.add(Box((0, 0, 0), (5, 5, 0)))
    log.choose(1)
    log.choose(2)
    log.undo()
    path = tmp_path / "prompts.json"
    write_prompt_file(path, PromptFile((log,)))
    assert read_prompt_file(path).logs == (log,)
    entries = json.loads(path.read_text())["structures"]["liver"]
    assert entries[1:] == [{"kind": "choice", "answer": 1}, {"kind": "choice", "answer": 2, "undone": True}]
    path.write_text(path.read_text().replace('"answer": 1', '"answer": -1'))
    with pytest.raises(PromptError, match=re.escape("liver[1].answer: expected")):
        read_prompt_file(path)


PAINTED = """\
{
  "schema_version": 2,
  "frame": "LPS",
  "unit": "mm",
  "structures": {
    "liver": [
      {
        "kind": "initial_mask",
        "mask": {
          "first_voxel_lps_mm": [-8.0, 20.0, 30.0],
          "voxel_steps_lps_mm": [[0.0, 0.0, 3.0], [0.0, 0.5, 0.0], [0.5, 0.0, 0.0]],
          "size": [2, 2, 3],
          "runs": "0 5 1 6"
        }
      },
      {
        "kind": "edit",
        "mask": {
          "first_voxel_lps_mm": [-7.0, 20.5, 30.0],
          "voxel_steps_lps_mm": [[0.0, 0.0, 3.0], [0.0, 0.5, 0.0], [0.5, 0.0, 0.0]],
          "size": [1, 1, 1],
          "runs": "0 1"
        },
        "positive": false
      },
      {"kind": "removal", "prompt": 1, "undone": true}
    ]
  }
}
"""


def painted_file():
    affine = np.array([[0, 0, 0.5, -8.0], [0, 0.5, 0, 20.0], [3.0, 0, 0, 30.0], [0, 0, 0, 1.0]])
    inside = np.ones((2, 2, 3), bool)
    inside[0, 1, 2] = False
    log = PromptLog("liver")
    log.add(InitialMask(VoxelMask.from_array(inside, affine)))
    log.add(Edit(VoxelMask.from_array(~inside, affine), positive=False))
    log.remove(1)
    log.undo()
    return PromptFile((log,))


def test_masks_edits_and_removals_make_a_file_of_version_2():
    assert render_prompt_file(painted_file()) == PAINTED
    assert parse_prompt_file(PAINTED) == painted_file()


def test_notes_on_an_initial_mask_make_a_file_of_version_3():
    log = PromptLog("liver")
    log.add(InitialMask(painted_file().logs[0].history[0].mask, ("It has no contour on slice 4.",)))
    text = render_prompt_file(PromptFile((log,)))
    assert '"schema_version": 3' in text and '"notes": ["It has no contour on slice 4."]' in text
    assert parse_prompt_file(text).logs == (log,)
    with pytest.raises(PromptError, match=r"liver\[0\]: .*'notes'"):
        parse_prompt_file(text.replace('"schema_version": 3', '"schema_version": 2'))
    with pytest.raises(PromptError, match="at most 10 notes of 500 characters"):
        parse_prompt_file(text.replace("slice 4", "4" * 500))


def test_a_large_mask_takes_one_line_of_runs(tmp_path):
    k, j, i = np.indices((60, 80, 80))
    ball = ((k - 30) / 28) ** 2 + ((j - 40) / 38) ** 2 + ((i - 40) / 38) ** 2 <= 1
    log = PromptLog("liver")
    log.add(InitialMask(VoxelMask.from_array(ball, np.eye(4))))
    path = tmp_path / "prompts.json"
    write_prompt_file(path, PromptFile((log,)))
    text = path.read_text()
    assert len(text.splitlines()) < 25
    assert len(text) < ball.sum() / 8  # smaller than one bit a voxel
    assert read_prompt_file(path).logs == (log,)


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ('"0 5 1 6"', '"0 5 1 5"', "liver[0].mask: Expected runs that add up to the 12 voxels of the box"),
        ('"0 5 1 6"', '"0 5  1 6"', "liver[0].mask.runs: expected numbers of voxels with one space between them"),
        ('"0 5 1 6"', '"0 5 -1 8"', "liver[0].mask.runs: expected numbers of voxels"),
        ('"0 5 1 6"', f'"0 {"9" * 40}"', "liver[0].mask.runs: expected numbers of voxels"),
        ('"0 5 1 6"', '"12"', "liver[0].mask: Expected a mask with at least one voxel inside, got an empty one"),
        ('"0 5 1 6"', "[0, 5, 1, 6]", "liver[0].mask.runs: expected a text"),
        ('"size": [1, 1, 1]', '"size": [1, 1, 0]', "liver[1].mask.size[2]: expected a whole number of at least 1"),
        ('"size": [1, 1, 1]', '"size": [1, 1]', "liver[1].mask.size: expected a list of 3 elements"),
        ("[0.5, 0.0, 0.0]", "[0.0, 0.0, 3.0]", "liver[0].mask: Expected three steps in different directions"),
        ('"prompt": 1', '"prompt": 2', "Expected the number of one of the 2 prompts that hold"),
        ('"prompt": 1', '"prompt": -1', "liver[2].prompt: expected a whole number of at least 0"),
        ('"positive": false', '"positive": 0', "liver[1].positive: expected true or false"),
        ('"schema_version": 2', '"schema_version": 1', 'This kind needs "schema_version": 2.'),
    ],
)
def test_a_wrong_mask_edit_or_removal_is_refused_at_its_place(was, becomes, message):
    assert was in PAINTED
    with pytest.raises(PromptError, match=re.escape(message)):
        parse_prompt_file(PAINTED.replace(was, becomes, 1))
