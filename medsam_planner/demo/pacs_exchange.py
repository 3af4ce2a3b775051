"""From a PACS and back: Orthanc, the listener, and a rule that segments and plans; ``make pacs-demo``.

``python -m medsam_planner.demo.pacs_exchange OUT`` starts Orthanc and `listen`, sends a pelvis phantom to Orthanc
(STOW-RS), has Orthanc route it to the listener (C-STORE), and waits until the results are in Orthanc. It ends what it
started: at once, or on Enter where somebody watches. Orthanc refuses other machines, and its DIMSE port stays shut.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import typer

from medsam_planner.demo.ohif import ohif_folder, serve_ohif, viewer_address
from medsam_planner.demo.pelvic_screw import PELVIC_WINDOW, pelvic_logs
from medsam_planner.demo.pelvis_phantom import PelvisPhantom, PhantomScan, pelvis_phantom
from medsam_planner.errors import MissingDependencyError, OutputError, PeerError
from medsam_planner.io.dicom_writer import write_ct_series
from medsam_planner.network.connecting import connect
from medsam_planner.network.pacs_file import read_pacs_file
from medsam_planner.network.push import outgoing, push
from prompts import PromptFile, write_prompt_file
from prompts.whole_file import write_whole

__all__ = ["run_pacs_exchange"]

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_HTTP, _LISTENER = 8042, 11112
_ORTHANC = f"http://127.0.0.1:{_HTTP}"
_LONGEST_S = 1800.0
_START_S = 60.0
_PACS = f"""
[local]
ae_title = "MEDSAMPLANNER"
host = "127.0.0.1"
port = {_LISTENER}

[nodes.orthanc]
kind = "dicomweb"
url = "{_ORTHANC}/dicom-web"

[listen]
peers = [{{ ae_title = "ORTHANC", address = "127.0.0.1" }}]
quiet_s = 5
keep_free_mb = 200

[[rules]]
name = "pelvic screw"
modality = "CT"
series = "pelvis"
prompts = "prompts.json"
plan = "plan.toml"
options = ["--samples", "4", "--window", "{PELVIC_WINDOW}"]
send_to = "orthanc"
"""


def run_pacs_exchange(out: Path, *, wait: bool = False) -> Path:
    """Run the demonstration; the folder of the results.

    Parameters
    ----------
    out : Path
        Folder that is absent or empty.
    wait : bool
        Whether to wait for Enter before Orthanc and the listener end.

    Raises
    ------
    MissingDependencyError
        If Orthanc or its DICOMweb plugin is not installed.
    OutputError
        If the folder holds something.
    PeerError
        If a step fails; the message says where its log is.
    """
    orthanc = shutil.which("Orthanc")
    if orthanc is None or not _PLUGIN.is_file():
        raise MissingDependencyError(
            "The demonstration needs Orthanc with its DICOMweb plugin. Install them: "
            "apt-get install --no-install-recommends orthanc orthanc-dicomweb."
        )
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"Expected an absent or empty folder for the demonstration, {out} is not. Remove it.")
    out.mkdir(parents=True, exist_ok=True)
    typer.echo("1/5 Building the pelvis phantom, its prompts and the plan request.")
    _write_inputs(out)
    with ExitStack() as running:
        typer.echo("2/5 Starting Orthanc and the listener.")
        write_whole(out / "orthanc.json", json.dumps(_orthanc_settings(out), indent=2))
        running.enter_context(_started([orthanc, str(out / "orthanc.json")], out / "orthanc.log"))
        _until(lambda: _asked("/system") is not None, _START_S, out / "orthanc.log")
        command = [sys.executable, "-c", "from medsam_planner.cli import main; main()", "listen"]
        log = out / "listen.log"
        command += ["--pacs", str(out / "pacs.toml"), "--data", str(out / "received")]
        running.enter_context(_started(command, log))
        _until(lambda: "receives at" in log.read_text(encoding="utf-8"), _START_S, log)
        typer.echo("3/5 Sending the study to Orthanc, which routes it to the listener.")
        push(connect(read_pacs_file(out / "pacs.toml"), "orthanc"), outgoing([out / "study"]))
        (series,) = _asked("/series")
        _asked("/modalities/planner/store", series)
        typer.echo("4/5 The listener segments and plans by rule (one to several minutes).")
        _until(lambda: any(_ended(out)), _LONGEST_S, log)
        (job,) = _ended(out)
        if job.parent.name == "dead":
            raise PeerError(f"The rule failed: {(job / 'reason.txt').read_text(encoding='utf-8').strip()}")
        results = max(job.glob("results-*"))
        study = _asked("/studies")[0]
        typer.echo(f"5/5 {len(list(results.glob('*.dcm')))} results are in Orthanc.")
        typer.echo(f"Study:    {_ORTHANC}/app/explorer.html#study?uuid={study}")
        typer.echo(f"DICOMweb: {_ORTHANC}/dicom-web/studies")
        typer.echo(f"Report:   {results / 'report.html'}")
        viewer = ohif_folder()
        typer.echo(f"Workbench: medsam-planner ui {out / 'study'}")
        if viewer is None:
            typer.echo("To look at the results in OHIF: python -m medsam_planner.demo.ohif, and this again.")
        elif wait:
            uid = _asked(f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"]
            address = viewer_address(running.enter_context(serve_ohif(viewer, _HTTP)), uid)
            typer.echo(f"OHIF:     {address}")
            if os.environ.get("DISPLAY"):  # else it might be a browser that takes the terminal
                webbrowser.open(address)
        if wait:
            typer.prompt("Enter ends Orthanc and the listener", default="", show_default=False)
    return results


def _write_inputs(out: Path) -> None:
    phantom = pelvis_phantom(PhantomScan())
    write_ct_series(phantom.volume_hu, out / "study", series_description="Pelvis phantom, oblique")
    logs = pelvic_logs(phantom)
    write_prompt_file(out / "prompts.json", PromptFile(logs))
    bone, *vessels = (log.structure for log in logs)
    write_whole(out / "plan.toml", _plan(phantom, bone, vessels))
    write_whole(out / "pacs.toml", _PACS)


def _plan(phantom: PelvisPhantom, bone: str, vessels: list[str]) -> str:
    """The plan file of a 4 mm screw: on this coarser scan the corridor holds no certified path for 6.5 mm."""
    corridor = phantom.corridor
    avoided = "".join(
        f'[[structures]]\nname = "{name}"\nrole = "avoid"\nbase_margin_mm = 2.0\nspread_factor = 2.0\n\n'
        for name in vessels
    )
    return f"""title = "Pelvic screw by rule (demonstration on a phantom)"

[tool]
radius_mm = 2.0
entry_error_mm = 0.5
target_error_mm = 0.8

[target]
point_lps_mm = {list(corridor.target_lps_mm)}
radius_mm = {corridor.target_radius_mm}

[entry]
structure = "{bone}"
centre_lps_mm = {list(corridor.entry_lps_mm)}
radius_mm = {corridor.entry_radius_mm}

[[structures]]
name = "{bone}"
role = "inside"
base_margin_mm = 0.0
spread_factor = 1.0
max_margin_mm = 2.0
free_entry_mm = {corridor.free_entry_mm}

{avoided}[limits]
max_length_mm = 130.0
min_length_mm = 60.0
max_entry_angle_deg = 60.0
"""


def _orthanc_settings(out: Path) -> dict[str, Any]:
    return {
        "Name": "MedSAM Planner demonstration",
        "StorageDirectory": str((out / "orthanc").absolute()),
        "IndexDirectory": str((out / "orthanc").absolute()),
        "Plugins": [str(_PLUGIN)],
        "HttpPort": _HTTP,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomModalities": {"planner": ["MEDSAMPLANNER", "127.0.0.1", _LISTENER]},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }


@contextmanager
def _started(command: list[str], log: Path) -> Iterator[None]:
    """A program for the duration of the block."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _asked(path: str, body: str | None = None) -> Any:
    """Ask Orthanc; None while it does not answer."""
    request = urllib.request.Request(f"{_ORTHANC}{path}", data=None if body is None else body.encode())
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        words = error.read().decode(errors="replace")
        raise PeerError(f"Orthanc answered {path} with {error.code}: {words}") from error
    except OSError:
        return None


def _ended(out: Path) -> list[Path]:
    return [job for place in ("done", "dead") for job in (out / "received" / place).glob("*")]


def _until(what: Callable[[], bool], longest_s: float, log: Path) -> None:
    ends = time.monotonic() + longest_s
    while not what():
        if time.monotonic() > ends:
            raise PeerError(f"The demonstration waited {longest_s:g} s in vain. See {log}.")
        time.sleep(0.5)


if __name__ == "__main__":
    run_pacs_exchange(Path(sys.argv[1]), wait=sys.stdin.isatty())
