"""OHIF beside an Orthanc: what a hospital's viewer makes of the objects that this program writes.

``python -m medsam_planner.demo.ohif`` fetches the built viewer (MIT, 50 MB) from the npm registry into the cache folder
of this user. Nothing of it is part of this program. It is served to this machine alone, from one origin with the
DICOMweb of an Orthanc, whose answers are passed on.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import platformdirs
import typer

from medsam_planner.errors import MissingDependencyError

__all__ = ["fetch_ohif", "ohif_folder", "serve_ohif", "viewer_address"]

_VERSION = "3.13.2"
_SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
"""Of the package of this version, as the registry states it."""
_FETCH_S = 300.0
_DICOMWEB = "/dicom-web"
_LOOPBACK = "127.0.0.1"
_PASSED_ON = ("Accept", "Content-Type", "Host")  # the host, because Orthanc's answers hold addresses of bulk data
_SETTINGS = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "showLoadingIndicator": True,
    "showCPUFallbackMessage": False,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "wadoUriRoot": "/wado",
                "qidoRoot": _DICOMWEB,
                "wadoRoot": _DICOMWEB,
                "qidoSupportsIncludeField": True,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsWildcard": True,
                "singlepart": "pdf,video",
                "bulkDataURI": {"enabled": True},
                "omitQuotationForMultipartRequest": True,
            },
        }
    ],
}


def ohif_folder() -> Path | None:
    """Where the built viewer lies; None if it was not fetched."""
    folder = _place()
    return folder if (folder / "index.html").is_file() else None


def fetch_ohif() -> Path:
    """Fetch the built viewer, once.

    Returns
    -------
    Path
        Folder of the files to serve.

    Raises
    ------
    MissingDependencyError
        If there is no npm, the registry does not answer, or it gives another file than is expected.
    """
    there = ohif_folder()
    if there is not None:
        return there
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError("OHIF is fetched with npm, which is not installed: apt-get install npm.")
    place = _place()
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as name:
        folder = Path(name)
        packed = _packed(npm, folder)
        digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
        if digest != _SHA512:
            raise MissingDependencyError(
                f"Expected OHIF {_VERSION} with the SHA-512 {_SHA512}, got {digest}. It was not unpacked."
            )
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
        (folder / "package" / "dist").rename(place)
    return place


@contextmanager
def serve_ohif(folder: Path, orthanc_port: int, port: int = 0) -> Iterator[str]:
    """Serve the viewer to this machine for the duration of the block.

    Parameters
    ----------
    folder : Path
        From :func:`fetch_ohif`.
    orthanc_port : int
        HTTP port of an Orthanc on this machine, with its DICOMweb plugin at ``/dicom-web``.
    port : int
        0 picks a free one.

    Yields
    ------
    str
        Address, without a slash at its end.
    """
    handler = partial(_Handler, directory=str(folder), orthanc_port=orthanc_port)
    with ThreadingHTTPServer((_LOOPBACK, port), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="ohif", daemon=True).start()
        try:
            yield f"http://{_LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()


def viewer_address(base: str, study_uid: str) -> str:
    """Address of a study in the viewer."""
    return f"{base}/viewer?StudyInstanceUIDs={quote(study_uid, safe='')}"


def _place() -> Path:
    return Path(platformdirs.user_cache_dir("medsam-planner")) / f"ohif-{_VERSION}"


def _packed(npm: str, folder: Path) -> Path:
    """The package as the registry has it."""
    command = [npm, "pack", f"@ohif/app@{_VERSION}", "--silent"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_FETCH_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingDependencyError(f"OHIF cannot be fetched from the npm registry: {error}.") from error
    found = sorted(folder.glob("*.tgz"))
    if done.returncode or len(found) != 1:
        last = (done.stderr.strip().splitlines() or ["npm gave no file"])[-1]
        raise MissingDependencyError(f"OHIF cannot be fetched from the npm registry: {last}")
    return found[0]


class _Handler(SimpleHTTPRequestHandler):
    """The viewer's files, its settings, and what Orthanc answers."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: object, directory: str, orthanc_port: int) -> None:
        self._orthanc_port = orthanc_port
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """A file; the page itself for an address of its router."""
        path = self.path.partition("?")[0]
        if not self._is_ours():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif path.startswith(f"{_DICOMWEB}/"):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(f"window.config = {json.dumps(_SETTINGS)};".encode(), "text/javascript")
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"
            super().do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: addresses have UIDs."""

    def _is_ours(self) -> bool:
        """Whether it was asked by its own name: a foreign page that had its name point here reads nothing."""
        return self.headers.get("Host") == f"{_LOOPBACK}:{self.connection.getsockname()[1]}"

    def _pass_on(self) -> None:
        asked = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        orthanc = http.client.HTTPConnection(_LOOPBACK, self._orthanc_port, timeout=_FETCH_S)
        try:
            orthanc.request("GET", self.path, headers=asked)
            answer = orthanc.getresponse()
            self._answer(answer.read(), answer.headers.get("Content-Type", ""), answer.status)
        except OSError:
            self.send_error(HTTPStatus.BAD_GATEWAY)
        finally:
            orthanc.close()

    def _answer(self, body: bytes, kind: str, status: int = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    typer.echo(f"OHIF {_VERSION} lies in {fetch_ohif()}.")
