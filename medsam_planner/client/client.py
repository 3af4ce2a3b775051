"""The client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from medsam_planner.client.project import RemoteProject
from medsam_planner.client.session import RemoteSession
from medsam_planner.client.values import StudyValue
from medsam_planner.errors import require_extra

__all__ = ["Client"]


class Client:
    """A connection to a server that ``medsam-planner serve`` runs.

    Parameters
    ----------
    address : str
        For example ``"http://127.0.0.1:7861"``.
    token : str, optional
        The server's secret, where it has one; a server with users: see :meth:`log_in`.

    Raises
    ------
    MissingDependencyError
        If the extra ``serve`` is not installed here.

    Examples
    --------
    >>> with Client("http://127.0.0.1:7861", token=token) as client:  # doctest: +SKIP
    ...     session = client.open_session(client.open_study("patient-7/ct"))
    ...     session.add("liver", Click((-30.0, -10.0, 0.0)))
    ...     session.segment("liver")
    ...     session.save("liver", "mask.nii.gz", Path("liver.nii.gz"))
    """

    def __init__(self, address: str, *, token: str | None = None) -> None:
        require_extra("serve", "The client")
        from medsam_planner.client.transport import Transport

        self._transport = Transport(address, token)

    @classmethod
    def log_in(cls, address: str, name: str, password: str) -> Client:
        """A connection as a user of the server; it acts for at most 12 hours.

        Parameters
        ----------
        address, name, password : str

        Raises
        ------
        ServiceError
            If the name or the password is wrong, or there were too many tries.
        NotThereError
            If the server has no users.
        """
        with cls(address) as stranger:
            answer = stranger._transport.ask("POST", "/login", body={"name": name, "password": password})
        return cls(address, token=answer["token"])

    def log_out(self) -> None:
        """End the login; the connection can then do nothing more."""
        self._transport.ask("DELETE", "/login")

    def __enter__(self) -> Client:
        """The client; it is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection. Sessions stay held until they are given back or idle for too long."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def info(self) -> Mapping[str, Any]:
        """The server: its version, models and limits."""
        answer: Mapping[str, Any] = self._transport.ask("GET", "/info")
        return answer

    def open_study(
        self,
        path: str,
        *,
        series: str | None = None,
        volume: int | None = None,
        resample_tilt: bool = False,
        modality: str | None = None,
    ) -> StudyValue:
        """Open a study that lies on the server.

        Parameters
        ----------
        path : str
            On the server, within the folders that it may read.
        series : str, optional
            Which of several.
        volume : int, optional
            Which of several in the series, from 1.
        resample_tilt : bool
            Whether a gantry tilt is resampled away.
        modality : {"CT", "MR"}, optional
            Where the files do not say.

        Raises
        ------
        StudyError
            If it may not be read, or not as one volume.
        """
        body = {
            "path": path,
            "series": series,
            "volume": volume,
            "resample_tilt": resample_tilt,
            "modality": modality,
        }
        return StudyValue.from_json(self._transport.ask("POST", "/studies", body=body))

    def upload_study(
        self,
        file: Path,
        *,
        series: str | None = None,
        volume: int | None = None,
        resample_tilt: bool = False,
        modality: str | None = None,
    ) -> StudyValue:
        """Send a study as one file: NIfTI, a zip of DICOM files, or one DICOM file.

        Parameters
        ----------
        file : Path
        series : str, optional
            Which of several.
        volume : int, optional
            Which of several in the series, from 1.
        resample_tilt : bool
            Whether a gantry tilt is resampled away.
        modality : {"CT", "MR"}, optional
            Where the files do not say.

        Raises
        ------
        StudyError
            If it is not one volume.
        """
        tilt = "true" if resample_tilt else "false"
        stated = {"series": series, "volume": volume, "resample_tilt": tilt, "modality": modality}
        fields = {name: str(value) for name, value in stated.items() if value is not None}
        return StudyValue.from_json(self._transport.ask("POST", "/studies", file=file, fields=fields))

    def studies(self) -> list[StudyValue]:
        """Every study of the server, the oldest first."""
        return [StudyValue.from_json(one) for one in self._transport.ask("GET", "/studies")]

    @property
    def project(self) -> RemoteProject:
        """The server's annotation project; asking it raises :class:`NotThereError` where there is none."""
        return RemoteProject(self._transport)

    def sessions(self) -> list[Mapping[str, Any]]:
        """Every session that can be continued, the one changed last first."""
        answer: list[Mapping[str, Any]] = self._transport.ask("GET", "/sessions")
        return answer

    def open_session(self, study: StudyValue, *, model: str | None = None) -> RemoteSession:
        """Begin a session on a study and hold it.

        Parameters
        ----------
        study : StudyValue
        model : str, optional
            By default the server's.

        Raises
        ------
        AtCapacityError
            If as many sessions are held as the server allows.
        """
        held = self._transport.ask("POST", "/sessions", body={"study": study.id, "model": model})
        return RemoteSession(self._transport, held["id"], held["lease"])

    def continue_session(self, identifier: str, *, take_over: bool = False) -> RemoteSession:
        """Hold a session that was begun before, here or elsewhere.

        Parameters
        ----------
        identifier : str
            From :meth:`sessions`.
        take_over : bool
            Whether another client that holds it loses it.

        Raises
        ------
        LeaseHeldError
            If another client holds it, unless `take_over`.
        AtCapacityError
            If as many sessions are held as the server allows.
        """
        held = self._transport.ask("POST", f"/sessions/{identifier}/lease", body={"take_over": take_over})
        return RemoteSession(self._transport, held["id"], held["lease"])
