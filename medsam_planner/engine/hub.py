"""Download of weights from the Hugging Face hub: with progress, resumed after interruptions, and checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from medsam_planner.engine.registry import absence_advice, expected_path, verify, weights_entry
from medsam_planner.errors import OperationCancelledError, WeightsError, require_extra
from medsam_planner.io.files import file_sha256
from medsam_planner.progress import Progress

__all__ = ["fetch"]


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Download the weights `name`, unless the file exists with the right checksum.

    An interrupted download is kept as ``<file>.part`` and completed by the next call. The environment variables
    ``HF_ENDPOINT`` (a mirror), ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` are respected.

    Parameters
    ----------
    name : str
        Name in the manifest.
    progress : Progress, optional
        Told the bytes received; may cancel.

    Returns
    -------
    Path
        The file, whose SHA-256 is that of the manifest.

    Raises
    ------
    WeightsError
        If the name is unknown, the hub cannot be reached (says where to put the file by hand), or what came has
        another checksum (it is deleted).
    MissingDependencyError
        If something is to be fetched and the extra ``medsam`` is not installed.
    OperationCancelledError
        If cancellation was requested.
    """
    entry = weights_entry(name)
    if verify(name).is_intact:
        return expected_path(entry)
    if entry.is_shipped:
        raise WeightsError(verify(name).advice)

    require_extra("medsam", f"Fetching {name}")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    path = expected_path(entry)
    part = path.with_name(f"{path.name}.{entry.sha256[:12]}.part")  # never a continuation of other weights
    endpoint = os.environ.get("HF_ENDPOINT") or None
    url = hf_hub_url(str(entry.hub_id), entry.file, revision=entry.revision, endpoint=endpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(part.with_suffix(".lock")):
            size = get_hf_file_metadata(url, endpoint=endpoint).size
            held = part.stat().st_size if part.is_file() else 0
            if size is not None and held > size:
                part.unlink()
                held = 0
            with part.open("ab") as file:
                http_get(
                    url,
                    file,
                    resume_size=held,
                    headers=build_hf_headers(),
                    expected_size=size,
                    displayed_filename=entry.file,
                    tqdm_class=_bar_class(f"fetch {name}", progress),
                )
            found = file_sha256(part)
            if found != entry.sha256:
                part.unlink()
                raise WeightsError(
                    f"Expected SHA-256 {entry.sha256} of {entry.file} from {url}, got {found}; what came was deleted. "
                    f"Try again; if it persists the file on the hub is not the one this version was made for."
                )
            os.replace(part, path)
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise WeightsError(f"The hub answered {status} for {url}. {absence_advice(entry)}") from error
    except (HTTPError, OSError) as error:
        raise WeightsError(f"Fetching {url} failed: {error}. {absence_advice(entry)}") from error
    return path


def _bar_class(stage: str, progress: Progress | None) -> type[Any]:
    """A class with tqdm's interface that reports to `progress` and prints nothing."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.received = int(options.get("initial") or 0)
            self.expected = int(options.get("total") or 0)
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if progress is not None and progress.is_cancelled:  # before this chunk is written
                raise OperationCancelledError(
                    f"Stopped on request during '{stage}' after {self.received} of {self.expected} bytes; "
                    "the next fetch goes on from there."
                )
            self.received += int(n or 0)
            if progress is not None:
                progress.update(stage, self.received, self.expected)

    return Bar
