"""A real server whose disk fills, whose worker is killed, and which is killed itself."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medsam_planner.client import Client, RemoteSession
from medsam_planner.errors import OperationCancelledError, OutputError, ServiceError, WorkerDiedError
from prompts import Click, Scribble
from tests.medsam_planner.service.rest import Process, lesion_box

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and limits another process")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults") / "data"


@pytest.fixture(scope="module")
def server(study_path: Path, data: Path) -> Iterator[Process]:
    """One for all tests; the last one kills it."""
    server = Process(data, study_path.parent, log=data.with_suffix(".log"))
    yield server
    server.kill()


@pytest.fixture
def session(server: Process, study_path: Path) -> Iterator[RemoteSession]:
    with Client(server.address()) as client:
        session = client.open_session(client.open_study(study_path.name))
        session.add("lesion", lesion_box())
        yield session
        with contextlib.suppress(ServiceError):  # the last test has killed the server
            session.release()


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Worker processes of a server."""
    children = [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    for task in Path(f"/proc/{process.pid}/task").iterdir():  # a worker belongs to the thread that began it
        children += [int(one) for one in (task / "children").read_text().split()]
    return [one for one in dict.fromkeys(children) if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def begun_and_moving(session: RemoteSession, structure: str, **options: object) -> str:
    """A job that has done its first step."""
    job = session.begin_segment(structure, **options)  # type: ignore[arg-type]
    until = time.monotonic() + 60
    while session.job(job).done == 0 and time.monotonic() < until:
        time.sleep(0.01)
    return job


def test_a_full_disk_refuses_a_prompt_keeps_nothing_of_it_and_goes_on_when_there_is_room(
    server: Process, session: RemoteSession, data: Path
) -> None:
    session.add("lesion", Scribble([(-30.0 + 0.01 * step, -10.0, 1.25) for step in range(400)]))
    journal = data / "sessions" / session.identifier / "journal.jsonl"
    before, kept = journal.read_bytes(), session.structures()["lesion"]
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
    try:
        with pytest.raises(OutputError, match="Nothing was changed"):
            session.add("lesion", Click((0.0, 0.0, 1.25), positive=False))
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    assert journal.read_bytes() == before
    assert session.structures()["lesion"] == kept
    n = session.add("lesion", Click((0.0, 0.0, 1.25), positive=False))
    assert session.structures()["lesion"].numbers[-1] == n


def test_a_full_disk_fails_a_segmentation_and_the_next_one_works(server: Process, session: RemoteSession) -> None:
    session.segment("lesion", samples=0)
    for pid in workers_of(server.process):
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    with pytest.raises(OutputError):
        session.segment("lesion", samples=0)
    for pid in workers_of(server.process):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    session.segment("lesion", samples=0)


def test_a_worker_that_is_killed_once_costs_time_and_no_result(server: Process, session: RemoteSession) -> None:
    mask = session.segment("lesion", samples=0)["mask_sha256"]
    job = begun_and_moving(session, "lesion", samples=64)
    for pid in workers_of(server.process):
        os.kill(pid, signal.SIGKILL)
    assert session.wait(job)["mask_sha256"] == mask


def test_a_worker_that_is_killed_twice_fails_the_job_and_the_next_one_works(
    server: Process, session: RemoteSession
) -> None:
    session.segment("lesion", samples=0)
    job = session.begin_segment("lesion", samples=1000)
    is_over = threading.Event()

    def kills() -> None:
        for _ in range(2):
            before = set(workers_of(server.process))
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            while not is_over.is_set() and not set(workers_of(server.process)) - before:
                time.sleep(0.05)

    killing = threading.Thread(target=kills)
    killing.start()
    try:
        with pytest.raises(WorkerDiedError, match="ended twice"):
            session.wait(job)
    finally:
        is_over.set()
        killing.join()
    assert session.job(job).problem == {"code": "worker-died", "detail": session.job(job).problem["detail"]}  # type: ignore[index]
    session.segment("lesion", samples=0)


def test_a_thousand_passes_stop_within_a_second_and_the_next_segmentation_is_the_same(
    server: Process, session: RemoteSession
) -> None:
    mask = session.segment("lesion", samples=0)["mask_sha256"]
    job = begun_and_moving(session, "lesion", samples=1000)
    began_s = time.monotonic()
    session.cancel(job)
    with pytest.raises(OperationCancelledError):
        session.wait(job)
    assert time.monotonic() - began_s < 1.0
    assert session.segment("lesion", samples=0)["mask_sha256"] == mask


def test_the_server_itself_never_loads_torch(study_path: Path, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from medsam_planner.service.core.exports import ResultFile
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.prompt_steps import entry_of
from medsam_planner.service.core.service import Service
from medsam_planner.service.display import Plane
from medsam_planner.service.http.app import make_app
from medsam_planner.service.settings import Settings
from medsam_planner.planning.plan_file_tables import StructureTable
from medsam_planner.planning.tool import Tool
from tests.medsam_planner.service.rest import lesion_box

study = Path(sys.argv[1])
service = Service(Settings(out=Path(sys.argv[2]), roots=(study.parent,)))
make_app(service)
work, lease = service.open_session(service.open_path(study.name).identifier)
work.add("lesion", entry_of(lesion_box()))
assert service.preview(work, "lesion")
service.slice_png(work, Plane.AXIAL, 3)
job = service.segment(work, "lesion", SegmentOptions(samples=2))
while not service.jobs.find(job).state.is_final:
    pass
assert service.jobs.find(job).state.value == "done", service.jobs.find(job)
service.loaded.result(work, "lesion", work.state.result("lesion"))
service.result_file(work, "lesion", ResultFile.MESH_STL)
wanted = StructureTable.model_validate({"name": "lesion", "role": "avoid"}).request()
service.clearance(work, (wanted,), Tool(1.0), [[[0, -84, 0], [0, -30, 0]]])
service.close()
print([name for name in ("torch", "open3d", "captum", "monai") if name in sys.modules])
"""
    command = [sys.executable, "-c", code, str(study_path), str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_server_that_is_killed_leaves_no_worker(server: Process, session: RemoteSession) -> None:
    begun_and_moving(session, "lesion", samples=200)
    workers = workers_of(server.process)
    assert workers
    server.kill()
    until = time.monotonic() + 10
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
