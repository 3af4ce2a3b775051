"""A study that is uploaded as one file of a multipart form, within limits, straight into the data folder."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect, Request

from medsam_planner.io.files import whole_file
from medsam_planner.service.http.models import ReadingRequest
from medsam_planner.service.uploads import (
    PATIENCE_S,
    UploadKind,
    UploadRefusedError,
    checked_length,
    require_free,
    safe_name,
)
from medsam_planner.workflow.study_reading import ReadingOptions

if TYPE_CHECKING:
    from starlette.types import Message

    from medsam_planner.service.core.on_behalf import OnBehalf
    from medsam_planner.service.core.study_store import StoredStudy

__all__ = ["uploaded_study"]

_FORM_BYTES = 1 << 20
"""What a form may hold beside its file."""


@dataclass(frozen=True, slots=True)
class _Fields:
    file: UploadFile
    reading: ReadingOptions


async def uploaded_study(request: Request, service: OnBehalf) -> StoredStudy:
    """Keep the file of a form and open it as a study.

    Parameters
    ----------
    request : Request
        A form with ``file``, and perhaps ``series``, ``volume``, ``resample_tilt`` and ``modality``.
    service : OnBehalf

    Raises
    ------
    UploadRefusedError
        If it is too large, of unknown length, stalls, or is no such form. Nothing of it is kept.
    StudyError
        If it is no study.
    """
    declared = request.headers.get("content-length", "")
    length = checked_length(UploadKind.STUDY, int(declared) if declared.isdecimal() else None, form_bytes=_FORM_BYTES)
    require_free(service.service.data, 2 * length)  # once as it comes, once as it is kept
    try:
        async with _patient(request).form(max_files=1, max_fields=4) as form:
            return await run_in_threadpool(_open, service, _fields(form))
    except ClientDisconnect as error:
        raise UploadRefusedError(400, "The upload ended early. Try again.") from error


def _open(service: OnBehalf, fields: _Fields) -> StoredStudy:
    with service.service.upload_folder() as (identifier, folder):
        path = folder / safe_name(fields.file.filename or "study")
        with whole_file(path) as out:
            shutil.copyfileobj(fields.file.file, out, 1 << 20)
        return service.open_upload(identifier, path, reading=fields.reading)


def _fields(form: FormData) -> _Fields:
    file = form.get("file")
    stated = {name: value for name, value in form.items() if name != "file"}
    try:
        reading = ReadingRequest.model_validate_strings(stated).reading
    except ValidationError:
        reading = None
    if reading is None or not isinstance(file, UploadFile):
        raise UploadRefusedError(
            422,
            "Expected a form with a 'file', and perhaps 'series', 'volume' (a number from 1), 'resample_tilt' (true or "
            "false) and 'modality' (CT or MR).",
        )
    return _Fields(file, reading)


def _patient(request: Request) -> Request:
    """The request, refused where it stalls."""

    async def receive() -> Message:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await request.receive()
        except TimeoutError as error:
            raise UploadRefusedError(408, "The upload stalled. Try again.") from error

    return Request(request.scope, receive)
