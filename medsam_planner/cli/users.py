"""``medsam-planner users``: who may log in to the service."""

from __future__ import annotations

import getpass
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsam_planner.cli.options import ServerData

if TYPE_CHECKING:
    from medsam_planner.service.core.accounts import Accounts
    from medsam_planner.service.core.audit import Audit

__all__ = ["app"]

app = typer.Typer(help="Add, list and remove the users of the service.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the user.")]


class Role(Enum):
    """What a user may do; each role includes those before it."""

    VIEWER = "viewer"
    ANNOTATOR = "annotator"
    PLANNER = "planner"
    ADMIN = "admin"


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="The most that the user may do.")] = Role.PLANNER,
    data: ServerData = Path("service"),
) -> None:
    """Add a user. The password is asked for, or read from standard input."""
    from medsam_planner.cli.console import say
    from medsam_planner.service.core.actors import Right

    accounts, audit = _of(data)
    is_first = not accounts.path.exists()
    accounts.add(name, Right.of_role(role.value), _password())
    audit.tell("rights changed", "operator", what=f"user {name} added as {role.value}")
    say(f"Added {name} as {role.value}.")
    if is_first:
        say("This is the first user: from its next start the server lets nobody in without a login.")


@app.command("list")
def list_users(data: ServerData = Path("service")) -> None:
    """List the users and their roles."""
    from medsam_planner.cli.console import say

    for account in _of(data)[0].all():
        say(f"{account.name}  {account.right.role}")


@app.command()
def remove(name: Name, data: ServerData = Path("service")) -> None:
    """Remove a user, who is logged out at once; the user's studies stay, for administrators."""
    from medsam_planner.cli.console import say

    accounts, audit = _of(data)
    accounts.remove(name)
    audit.tell("rights changed", "operator", what=f"user {name} removed")
    say(f"Removed {name}.")


@app.command()
def password(name: Name, data: ServerData = Path("service")) -> None:
    """Change a password; the user is logged out everywhere."""
    from medsam_planner.cli.console import say

    accounts, audit = _of(data)
    accounts.set_password(name, _password())
    audit.tell("rights changed", "operator", what=f"password of user {name} changed")
    say(f"Changed the password of {name}.")


def _of(data: Path) -> tuple[Accounts, Audit]:
    from medsam_planner.errors import require_extra
    from medsam_planner.service.core.accounts import Accounts
    from medsam_planner.service.core.audit import AUDIT_FILE, Audit
    from medsam_planner.service.people import USERS_FILE

    require_extra("serve", "`medsam-planner users`")
    return Accounts(data / USERS_FILE), Audit(data / AUDIT_FILE)


def _password() -> str:
    """Never an argument: other users of the machine can read those."""
    from medsam_planner.errors import ConfigError

    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise ConfigError("The two passwords differ. Try again.")
    return first
