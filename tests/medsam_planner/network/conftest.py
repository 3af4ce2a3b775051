"""A real Orthanc with its DICOMweb plugin, in a network namespace of its own."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.network.pacs_file import PacsFile, read_pacs_file
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series

CLONE_NEWNET = 0x40000000
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture(scope="module")
def own_network() -> Iterator[None]:
    """This thread, and all that it starts, in a network namespace that has a loopback address and nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if libc.unshare(CLONE_NEWNET) != 0:
        os.close(before)
        pytest.skip(f"needs a network namespace of its own: {os.strerror(ctypes.get_errno())}")
    try:
        ip = shutil.which("ip")
        if ip is None or subprocess.run([ip, "link", "set", "lo", "up"], check=False).returncode:
            pytest.skip("needs `ip` (iproute2) to open the loopback address of its network namespace")
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    folder: Path
    settings: Path

    @property
    def pacs(self) -> PacsFile:
        return read_pacs_file(self.settings)

    def count(self) -> int:
        with urllib.request.urlopen("http://127.0.0.1:8042/statistics", timeout=10) as answer:
            return int(json.load(answer)["CountInstances"])

    def clear(self) -> None:
        with urllib.request.urlopen("http://127.0.0.1:8042/patients", timeout=10) as answer:
            patients = json.load(answer)
        for one in patients:
            address = f"http://127.0.0.1:8042/patients/{one}"
            urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=10).close()


PACS_TOML = """
[local]
ae_title = "MEDSAMPLANNER"
host = "127.0.0.1"
port = 11112

[nodes.web]
kind = "dicomweb"
url = "http://127.0.0.1:8042/dicom-web"

[nodes.get]
kind = "dimse"
host = "127.0.0.1"
port = 4242
ae_title = "ORTHANC"

[nodes.move]
kind = "dimse"
host = "127.0.0.1"
port = 4242
ae_title = "ORTHANC"
retrieve = "move"
"""


@pytest.fixture(scope="module")
def running_orthanc(own_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    program = shutil.which("Orthanc")
    if program is None or not PLUGIN.is_file():
        pytest.skip("needs the Debian packages orthanc and orthanc-dicomweb")
    folder = tmp_path_factory.mktemp("orthanc")
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGIN)],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {"us": ["MEDSAMPLANNER", "127.0.0.1", 11112]},
        "UnknownSopClassAccepted": True,
        "DicomAlwaysAllowGet": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "pacs.toml").write_text(PACS_TOML, encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        found = Orthanc(folder, folder / "pacs.toml")
        _wait_for(found, process)
        yield found
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def orthanc(running_orthanc: Orthanc) -> Orthanc:
    """The running Orthanc, empty."""
    running_orthanc.clear()
    return running_orthanc


def _wait_for(orthanc: Orthanc, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        assert process.poll() is None, (orthanc.folder / "log").read_text()
        try:
            orthanc.count()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError((orthanc.folder / "log").read_text())


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """A CT series of seven slices."""
    affine = np.diag([2.5, 0.8, 0.8, 1.0])[:, [2, 1, 0, 3]]
    write_ct_series(tmp_path / "ct", blob_hu(), affine)
    return tmp_path / "ct"
