"""The annotation project of a server, over the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from medsam_planner.client.session import RemoteSession

if TYPE_CHECKING:
    from medsam_planner.client.transport import Transport

__all__ = ["RemoteProject"]


class RemoteProject:
    """A project that several people work on; from :attr:`Client.project`.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def listed(self, order: str = "name") -> Mapping[str, Any]:
        """The project and its studies.

        Parameters
        ----------
        order : {"name", "random", "worth"}
            Of the studies that are to be annotated; the others follow by name.

        Returns
        -------
        mapping
            ``name``, ``structures``, ``condition`` of the order, and ``studies``, each with ``name``, ``patient``,
            ``modality``, ``state``, ``held_by`` (who has it open), ``reason`` and ``uncertainty_bits``.

        Raises
        ------
        NotThereError
            If the server has no project.
        """
        answer: Mapping[str, Any] = self._transport.ask("GET", f"/project?order={quote(order)}")
        return answer

    def begin_order(self) -> None:
        """Have the order ``"worth"`` computed anew; returns at once."""
        self._transport.ask("POST", "/project/order")

    def history(self, study: str) -> Sequence[Mapping[str, Any]]:
        """What was done to a study: ``at``, ``who``, ``kind``, ``structure`` and ``reason``."""
        answer: Sequence[Mapping[str, Any]] = self._transport.ask("GET", _path(study))
        return answer

    def open(self, study: str, *, take_over: bool = False) -> RemoteSession:
        """Hold a session on a study: your own, or a new one that begins from the project's masks.

        Parameters
        ----------
        study : str
            Its name.
        take_over : bool
            Whether another client of yours that holds it loses it.

        Raises
        ------
        LeaseHeldError
            If somebody has it open; the message says who.
        ConfigError
            If it is excluded, or you are none of the project's annotators.
        """
        held = self._transport.ask("POST", f"{_path(study)}/session", body={"take_over": take_over})
        return RemoteSession(self._transport, held["id"], held["lease"])

    def exclude(self, study: str, reason: str) -> Mapping[str, Any]:
        """Exclude a study, with a reason; its masks stay."""
        answer: Mapping[str, Any] = self._transport.ask("POST", f"{_path(study)}/exclude", body={"reason": reason})
        return answer

    def reopen(self, study: str) -> Mapping[str, Any]:
        """Take back a review or an exclusion."""
        answer: Mapping[str, Any] = self._transport.ask("POST", f"{_path(study)}/reopen")
        return answer


def _path(study: str) -> str:
    return f"/project/studies/{quote(study, safe='')}"
