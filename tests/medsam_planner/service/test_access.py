"""Names under which the server answers, its port, and its secret."""

from __future__ import annotations

import socket

import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.service import listening
from medsam_planner.service.access import Access

TOKEN = "0123456789abcdefghij"


def test_an_ipv6_address_is_written_as_browsers_want_it() -> None:
    try:
        with listening.listen("::1", 0) as bound:
            assert listening.address_of(bound, "::1") == f"http://[::1]:{bound.getsockname()[1]}/"
    except ConfigError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "[fd00::1]:80", socket.gethostname(), "Planner.Clinic.Example:7860", "localhost"]
)
def test_beyond_loopback_addresses_and_own_names_are_answered(host: str) -> None:
    access = Access("0.0.0.0", TOKEN, ("planner.clinic.example",))
    assert access.is_own_host(host)
    assert not access.is_own_host("evil.example")


def test_the_secret_is_not_printed() -> None:
    assert TOKEN not in repr(Access("0.0.0.0", TOKEN))
