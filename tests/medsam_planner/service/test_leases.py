"""One client acts on a session; it keeps it while it lives, and loses it afterwards."""

from __future__ import annotations

import threading

import pytest

from medsam_planner.errors import AtCapacityError, LeaseHeldError, LeaseLostError
from medsam_planner.service.core.leases import Leases


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def leases(clock: Clock) -> Leases:
    return Leases(2, idle_s=60.0, clock=clock)


def test_only_the_holder_may_act(leases: Leases) -> None:
    token = leases.claim("a")
    leases.require("a", token)
    for other in (None, "", "wrong", "é"):
        with pytest.raises(LeaseHeldError, match="Another client holds"):
            leases.require("a", other)
    with pytest.raises(LeaseHeldError, match="which nobody holds"):
        leases.require("b", token)


def test_a_second_claim_is_refused_and_a_take_over_is_told_to_the_first(leases: Leases) -> None:
    first = leases.claim("a")
    with pytest.raises(LeaseHeldError):
        leases.claim("a")
    second = leases.claim("a", take_over=True)
    leases.require("a", second)
    with pytest.raises(LeaseLostError, match="taken the session over"):
        leases.require("a", first)


def test_the_session_beyond_the_limit_is_refused_until_one_is_given_back(leases: Leases) -> None:
    first = leases.claim("a")
    leases.claim("b")
    with pytest.raises(AtCapacityError, match="at most 2 sessions"):
        leases.claim("c")
    leases.release("a", first)
    leases.claim("c")
    assert leases.held_count == 2


def test_a_client_that_vanished_frees_its_place_and_one_that_beats_keeps_it(leases: Leases, clock: Clock) -> None:
    gone, alive = leases.claim("a"), leases.claim("b")
    for _ in range(10):
        clock.now_s += 20
        leases.require("b", alive)
    leases.claim("c")
    with pytest.raises(LeaseLostError, match="without a sign of life"):
        leases.require("a", gone)


def test_work_for_a_session_is_a_sign_of_life(leases: Leases, clock: Clock) -> None:
    token = leases.claim("a")
    for _ in range(5):
        clock.now_s += 50
        leases.touch("a")
    leases.require("a", token)


def test_another_client_cannot_give_a_session_back(leases: Leases) -> None:
    token = leases.claim("a")
    with pytest.raises(LeaseHeldError):
        leases.release("a", "wrong")
    leases.require("a", token)


def test_of_many_clients_that_claim_at_once_exactly_as_many_as_fit_are_let_in() -> None:
    leases, held, refused = Leases(3), [], []
    start = threading.Barrier(20)

    def claims(number: int) -> None:
        start.wait()
        try:
            held.append(leases.claim(str(number)))
        except AtCapacityError as error:
            refused.append(error)

    threads = [threading.Thread(target=claims, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (3, 17)


def test_a_client_that_beats_on_its_own_is_gone_when_the_beats_end_or_nobody_acts(leases: Leases, clock: Clock) -> None:
    dead, unused = leases.claim("a", liveness_s=20.0), leases.claim("b", liveness_s=20.0)
    for _ in range(5):
        clock.now_s += 11
        leases.require("b", unused, is_action=False)
    with pytest.raises(LeaseLostError, match="after 20 s"):
        leases.require("a", dead)
    assert leases.remaining_s("b", unused) == 5.0
    clock.now_s += 6
    with pytest.raises(LeaseLostError, match="after 60 s"):
        leases.require("b", unused, is_action=False)


def test_whoever_waits_for_an_answer_is_there(leases: Leases, clock: Clock) -> None:
    token = leases.claim("a", liveness_s=20.0)
    with leases.in_flight("a", token):
        clock.now_s += 500
        leases.require("a", token)
        clock.now_s += 500
    clock.now_s += 19
    leases.require("a", token)


def test_a_lease_moves_to_another_session_and_counts_once(leases: Leases) -> None:
    token = leases.claim("a")
    leases.move("a", token, to="b")
    leases.require("b", token)
    assert leases.held_count == 1
    with pytest.raises(LeaseHeldError):
        leases.require("a", token)
    with pytest.raises(LeaseHeldError):
        leases.move("b", "wrong", to="c")
