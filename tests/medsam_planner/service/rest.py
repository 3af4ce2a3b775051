"""A server of the REST interface on a real port, in this process or in one that can be killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from medsam_planner.service.access import Access
from medsam_planner.service.core.actors import Right
from medsam_planner.service.core.options import Limits
from medsam_planner.service.core.service import Service
from medsam_planner.service.http.app import make_app
from medsam_planner.service.people import People
from medsam_planner.service.settings import Settings
from prompts import Box
from tests.medsam_planner.service.phantom import LESION_LPS_MM
from tests.ui.serving import served

TOKEN = "correct-horse-battery-staple"


@contextmanager
def serving(
    settings: Settings, limits: Limits | None = None, *, token: str | None = None, people: People | None = None
) -> Iterator[str]:
    """Serve in a thread; gives the address, without a slash at its end."""
    service = Service(settings, limits)
    with closing(service), served(make_app(service, access=Access(token=token, people=people))) as address:
        yield address


PASSWORDS = {name: f"the password of {name}" for name in ("ann", "paul", "vera", "mallory", "adam")}
ROLES = {"ann": "annotator", "paul": "planner", "vera": "viewer", "mallory": "planner", "adam": "admin"}


def people_of(data: Path) -> People:
    """A server's people: Ann annotates, Paul and Mallory plan, Vera views, Adam administers."""
    people = People(data)
    for name, role in ROLES.items():
        people.accounts.add(name, Right.of_role(role), PASSWORDS[name])
    return people


def logged_in(address: str, name: str) -> dict[str, str]:
    """Headers of a program that has logged in."""
    answer = httpx.post(f"{address}/api/v1/login", json={"name": name, "password": PASSWORDS[name]})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


class Process:
    """``medsam-planner serve`` in a process of its own."""

    def __init__(self, data: Path, allow: Path, *, log: Path) -> None:
        command = ["serve", "--port", "0", "--data", str(data), "--allow", str(allow)]
        code = f"from medsam_planner.cli import main; main({command!r})"
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "COLUMNS": "400"}
            )

    def address(self) -> str:
        """Where it listens, once it does."""
        while self.process.poll() is None:
            found = re.search(r"http://127\.0\.0\.1:\d+", self._log.read_text(encoding="utf-8"))
            if found:
                return found[0]
            try:
                self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(self._log.read_text(encoding="utf-8"))

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait()


def lesion_box(shift_mm: float = 0.0) -> Box:
    """A box around the lesion of the phantom, on its middle slice."""
    x, y, _ = LESION_LPS_MM + shift_mm
    return Box((x - 15.0, y - 15.0, 1.25), (x + 15.0, y + 15.0, 1.25))
