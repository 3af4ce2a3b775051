from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompts import (
    Box,
    Choice,
    Clear,
    Click,
    Edit,
    InitialMask,
    PromptError,
    PromptLog,
    Removal,
    Scribble,
    VoxelMask,
)

A, B, C = Click((0, 0, 0)), Click((1, 0, 0), positive=False), Box((0, 0, 0), (5, 5, 0))

VOXELS = VoxelMask.from_array(np.ones((1, 2, 2), bool), np.eye(4))
MASK, PAINTED, ERASED = InitialMask(VOXELS), Edit(VOXELS), Edit(VOXELS, positive=False)

steps = st.lists(
    st.one_of(
        st.integers(0, 99).map(lambda x: Click((x, 0, 0))),
        st.sampled_from(["undo", "redo", "clear", PAINTED, MASK]),
        st.integers(0, 3).map(Removal),
    ),
    max_size=40,
)


def play(log, moves):
    for move in moves:
        if move == "undo":
            if log.can_undo:
                log.undo()
        elif move == "redo":
            if log.can_redo:
                log.redo()
        elif move == "clear":
            log.clear()
        elif isinstance(move, Removal):
            if move.prompt < len(log):
                log.remove(move.prompt)
        else:
            log.add(move)
    return log


def test_prompts_stand_in_the_order_they_were_given():
    assert play(PromptLog(), [A, C, B]).prompts == (A, C, B)


def test_undo_takes_back_any_number_of_steps_and_redo_brings_them_back():
    log = play(PromptLog("liver"), [A, B, C])
    assert [log.undo(), log.undo(), log.undo()] == [C, B, A]
    assert log.prompts == () and not log.can_undo and log.undone == 3
    assert [log.redo(), log.redo(), log.redo()] == [A, B, C]
    assert log.prompts == (A, B, C) and not log.can_redo


def test_a_prompt_after_an_undo_drops_what_could_be_redone():
    log = play(PromptLog(), [A, B, "undo", "undo", C])
    assert log.prompts == (C,)
    assert log.history == (C,)
    assert not log.can_redo


def test_clearing_is_one_step_that_undo_takes_back_whole():
    log = play(PromptLog(), [A, B, "clear", C])
    assert log.prompts == (C,)
    assert log.history == (A, B, Clear(), C)
    log.undo()
    assert log.prompts == ()
    assert log.undo() == Clear()
    assert log.prompts == (A, B)


def test_clearing_nothing_is_no_step():
    log = play(PromptLog(), ["clear", A, "undo", "clear"])
    assert log.can_redo and not log.can_undo
    assert log.redo() == A


def test_there_is_an_end_to_undo_and_redo():
    log = PromptLog("liver")
    with pytest.raises(PromptError, match="Nothing to undo for 'liver'"):
        log.undo()
    with pytest.raises(PromptError, match="Nothing to redo for 'liver'"):
        log.redo()


def _after(standing, move):
    """Prompts after a step; None where there is no step to take."""
    if isinstance(move, Removal):
        gone = move.prompt
        return (*standing[:gone], *standing[gone + 1 :]) if gone < len(standing) else None
    if move == "clear":
        return () if standing else None
    return (move,) if isinstance(move, InitialMask) else (*standing, move)


@settings(derandomize=True, deadline=None)
@given(moves=steps)
def test_the_log_agrees_with_a_stack_of_snapshots(moves):
    log, snapshots, now = PromptLog(), [()], 0
    for move in moves:
        play(log, [move])
        if move == "undo":
            now = max(now - 1, 0)
        elif move == "redo":
            now = min(now + 1, len(snapshots) - 1)
        elif (after := _after(snapshots[now], move)) is not None:
            snapshots = [*snapshots[: now + 1], after]
            now += 1
        assert log.prompts == snapshots[now]
        assert (log.can_undo, log.can_redo) == (now > 0, now < len(snapshots) - 1)


@settings(derandomize=True, deadline=None)
@given(moves=steps, data=st.data())
def test_undoing_n_steps_and_redoing_them_changes_nothing(moves, data):
    log = play(PromptLog(), moves)
    before = (log.history, log.undone, log.prompts)
    n = data.draw(st.integers(0, len(log.history) - log.undone))
    undone = [log.undo() for _ in range(n)]
    assert [log.redo() for _ in range(n)] == undone[::-1]
    assert (log.history, log.undone, log.prompts) == before


@settings(derandomize=True, deadline=None)
@given(moves=steps)
def test_a_log_is_rebuilt_from_its_history(moves):
    log = play(PromptLog("liver"), moves)
    rebuilt = PromptLog.from_history("liver", log.history, undone=log.undone)
    assert rebuilt == log
    assert rebuilt.prompts == log.prompts
    assert play(rebuilt, ["redo"] * 50) == play(log, ["redo"] * 50)


def test_logs_are_equal_when_structure_entries_and_undone_are():
    log = play(PromptLog("liver"), [A, B])
    assert log == play(PromptLog("liver"), [A, B])
    assert log != play(PromptLog("spleen"), [A, B])
    assert log != play(PromptLog("liver"), [A, B, "undo"])
    assert log != play(PromptLog("liver"), [A])
    assert log != (A, B)
    with pytest.raises(TypeError):
        hash(log)


def test_what_was_read_from_a_log_does_not_follow_it():
    log = play(PromptLog(), [A])
    prompts, history = log.prompts, log.history
    log.add(B)
    assert prompts == (A,) and history == (A,)


@pytest.mark.parametrize(
    "name", ["", " liver", "liver ", "../liver", "a/b", "a\\b", ".hidden", "a\nb", "a:b", "x" * 65, None, 3]
)
def test_a_name_that_could_not_name_a_file_is_refused(name):
    with pytest.raises(PromptError, match="structure's name"):
        PromptLog(name)


@pytest.mark.parametrize("name", ["liver", "left kidney", "Milz (Größe)", "肝臓", "vertebra_L5", "GTV-1.2"])
def test_names_of_any_language_are_kept(name):
    assert PromptLog(name).structure == name


@pytest.mark.parametrize("entry", [(0, 0, 0), None, "click", Clear()])
def test_only_prompts_can_be_added(entry):
    with pytest.raises(PromptError, match="Expected a Click, Box, Scribble, InitialMask or Edit, got"):
        PromptLog().add(entry)


def test_a_history_of_other_things_or_of_fewer_entries_than_undone_is_refused():
    with pytest.raises(PromptError, match="InitialMask, Edit, Clear, Choice or Removal, got str"):
        PromptLog.from_history("liver", [A, "undo"])
    for undone in (-1, 2):
        with pytest.raises(PromptError, match="between 0 and 1 undone entries"):
            PromptLog.from_history("liver", [A], undone=undone)


def test_a_log_tells_what_it_holds():
    log = play(PromptLog("liver"), [A, Scribble([(0, 0, 0)]), "undo"])
    assert repr(log) == "PromptLog('liver', 1 prompts, 1 undone)"
    assert len(log) == 1


def test_a_choice_is_a_step_that_stands_in_the_prompt_before_it():
    log = play(PromptLog(), [C])
    log.choose(2)
    assert log.history == (C, Choice(2))
    assert log.prompts == (Box(C.corner_lps_mm, C.opposite_lps_mm, candidate=2),)
    log.choose(1)
    assert log.prompts[0].candidate == 1
    assert log.undo() == Choice(1)
    assert log.prompts[0].candidate == 2
    log.undo()
    assert log.prompts == (C,)


def test_a_choice_without_a_box_or_a_positive_click_is_refused_and_changes_nothing():
    for moves in ([], [B], [C, "clear"], [Scribble([(0, 0, 0), (1, 0, 0)])]):
        log = play(PromptLog(), moves)
        before = log.history
        with pytest.raises(PromptError, match="box or a positive click before a choice"):
            log.choose(0)
        assert log.history == before
    with pytest.raises(PromptError, match="counted from the best"):
        play(PromptLog(), [A]).choose(-1)
    with pytest.raises(PromptError, match="before a choice"):
        PromptLog.from_history("liver", [Choice(1), A])


def test_a_prompt_is_added_as_it_was_given():
    with pytest.raises(PromptError, match="a step of its own"):
        PromptLog().add(Click((0, 0, 0), candidate=1))


def test_an_initial_mask_takes_the_place_of_all_prompts_before_it_and_undo_brings_them_back():
    log = play(PromptLog(), [A, C, MASK, PAINTED, ERASED])
    assert log.prompts == (MASK, PAINTED, ERASED)
    assert [log.undo(), log.undo(), log.undo()] == [ERASED, PAINTED, MASK]
    assert log.prompts == (A, C)


def test_one_earlier_prompt_is_removed_with_its_choice_and_undo_brings_it_back():
    log = play(PromptLog(), [C])
    log.choose(2)
    play(log, [A, B])
    with_choice = log.prompts[0]
    log.remove(0)
    assert log.prompts == (A, B)
    log.remove(1)
    assert log.prompts == (A,)
    assert log.history[-2:] == (Removal(0), Removal(1))
    assert [log.undo(), log.undo()] == [Removal(1), Removal(0)]
    assert log.prompts == (with_choice, A, B)


def test_what_does_not_hold_cannot_be_removed_and_nothing_changes():
    log = play(PromptLog(), [A, B, "undo"])
    for wrong in (1, -1, True, 0.0, "0"):
        with pytest.raises(PromptError, match="counted from the first as 0, got"):
            log.remove(wrong)
    assert log.history == (A, B) and log.undone == 1
    with pytest.raises(PromptError, match="one of the 0 prompts that hold"):
        PromptLog.from_history("liver", [A, Clear(), Removal(0)])


def test_a_choice_after_a_mask_an_edit_or_a_removal_needs_a_box_or_a_click_before_it():
    for moves in ([MASK], [C, PAINTED], [C, Removal(0)]):
        with pytest.raises(PromptError, match="box or a positive click before a choice"):
            play(PromptLog(), moves).choose(0)


def test_a_mask_and_an_edit_hold_a_voxel_mask_and_a_sign():
    for wrong in (np.ones((1, 2, 2), bool), None):
        with pytest.raises(PromptError, match="Use VoxelMask"):
            InitialMask(wrong)
        with pytest.raises(PromptError, match="Use VoxelMask"):
            Edit(wrong)
    with pytest.raises(PromptError, match="positive=False for an edit, got 1"):
        Edit(VOXELS, positive=1)


def test_every_prompt_that_holds_knows_its_place_in_the_history() -> None:
    log = PromptLog()
    log.add(Click((0, 0, 0)))
    log.clear()
    log.add(Click((1, 0, 0)))
    log.choose(1)
    log.add(Click((2, 0, 0), positive=False))
    log.remove(0)
    assert log.places == (4,)
    log.undo()
    assert log.places == (2, 4)
    assert [prompt.position_lps_mm[0] for prompt in log.prompts] == [1, 2]
