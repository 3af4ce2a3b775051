"""What somebody tries who may reach the port, or whose page the person has open beside ours. All over real HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from medsam_planner.service.access import Access
from medsam_planner.service.http.door import OPEN
from medsam_planner.service.pages import Pages
from medsam_planner.service.settings import Settings
from medsam_planner.service.uploads import UploadKind
from tests.ui.serving import page_app, served

TOKEN = "correct-horse-battery-staple"


@dataclass(frozen=True)
class Target:
    """A running server, and a browser that has its page open."""

    address: str
    app: Any
    browser: httpx.Client
    session: str = "victim1session"

    @property
    def pages(self) -> Pages:
        return self.app.state.pages

    def join(
        self, function: Any = 0, data: Any = ("{}",), client: httpx.Client | None = None, **more: Any
    ) -> httpx.Response:
        body = {"data": list(data), "fn_index": function, "session_hash": self.session, **more}
        return (client or self.browser).post("/gradio_api/queue/join", json=body)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    root = tmp_path_factory.mktemp("studies")
    settings = Settings(out=tmp_path_factory.mktemp("runs"), roots=(root,))
    with page_app(settings) as app, served(app) as address, httpx.Client(base_url=address) as browser:
        assert browser.get("/").status_code == 200
        yield Target(address, app, browser)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The same with a secret."""
    settings = Settings(out=tmp_path_factory.mktemp("runs"))
    access = Access(token=TOKEN)
    with page_app(settings, access=access) as app, served(app) as address, httpx.Client(base_url=address) as browser:
        yield Target(address, app, browser)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text("the person's other files", encoding="utf-8")
    return path


def functions_with_inputs(target: Target) -> list[tuple[int, int]]:
    """Index and number of inputs of every event of the page."""
    found = target.browser.get("/config").json()["dependencies"]
    return [(one["id"], len(one["inputs"])) for one in found if one["inputs"]]


def file_data(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def copies_of(secret: Path) -> list[Path]:
    """Where Gradio could have put it."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder())
    return [path for path in folder.rglob(secret.name) if path.is_file()] if folder.is_dir() else []


# ---- files through events -------------------------------------------------------------------------------------------
def test_no_event_takes_a_file_of_the_disk(target: Target, secret: Path) -> None:
    functions = functions_with_inputs(target)
    assert len(functions) > 10
    for function, count in functions:
        for place in range(count):
            data: list[Any] = [None] * count
            data[place] = file_data(str(secret))
            assert target.join(function, data).status_code == 400
    assert copies_of(secret) == []
    for kind in ("file=", "file/"):
        assert target.browser.get(f"/gradio_api/{kind}{secret}").status_code == 404


@pytest.mark.parametrize(
    "hidden",
    [
        lambda path: [[[{"deep": file_data(path)}]]],
        lambda path: file_data("file://" + path),
        lambda path: file_data(f"/proc/self/cwd/{path}"),
        lambda path: {"url": f"file://{path}", "meta": {"_type": "gradio.FileData"}},
        lambda path: [file_data(path), file_data(path)],
        lambda path: {"path": path, "is_stream": True},
    ],
    ids=["nested", "file-url", "proc", "url", "list", "stream"],
)
def test_no_disguise_brings_a_file_in(target: Target, secret: Path, hidden: Any) -> None:
    for function, count in functions_with_inputs(target):
        assert target.join(function, [hidden(str(secret))] * count).status_code == 400
    assert target.join(0, [], event_data=hidden(str(secret))).status_code == 400
    assert copies_of(secret) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_no_spelling_of_the_body_hides_a_file(target: Target, secret: Path, encoding: str) -> None:
    body = json.dumps({"data": [file_data(str(secret))], "fn_index": 3, "session_hash": target.session})
    spelled = body.replace('"path"', '"\\u0070ath"').replace('"meta"', '"m\\u0065ta"').encode(encoding)
    headers = {"Content-Type": "application/json"}
    assert target.browser.post("/gradio_api/queue/join", content=spelled, headers=headers).status_code == 400


def test_the_server_fetches_nothing_that_an_event_names(target: Target) -> None:
    asked: list[str] = []

    class Inner(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Inner) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        inner = f"http://127.0.0.1:{server.server_port}/latest/meta-data"
        for function, count in functions_with_inputs(target):
            assert target.join(function, [file_data(inner, url=inner)] * count).status_code == 400
        for path in (f"/gradio_api/file={inner}", f"/gradio_api/proxy={inner}"):
            assert target.browser.get(path).status_code == 404
        server.shutdown()
    assert asked == []


def test_gradio_itself_refuses_foreign_files_should_an_event_pass_the_door(target: Target, secret: Path) -> None:
    """The second lock: Gradio checks paths only of Blocks that it takes for launched."""
    from gradio import processing_utils
    from gradio.context import LocalContext
    from gradio.exceptions import InvalidPathError

    blocks = target.app.routes[-1].app.get_blocks()
    unset = LocalContext.blocks.set(blocks)
    try:
        with pytest.raises(InvalidPathError, match="not uploaded"):
            asyncio.run(
                processing_utils.async_move_files_to_cache(
                    file_data(str(secret)), blocks.blocks[blocks.fns[3].inputs[1]._id], check_in_upload_folder=True
                )
            )
    finally:
        LocalContext.blocks.reset(unset)


def test_an_event_of_a_megabyte_is_refused(target: Target) -> None:
    assert target.join(3, ["x" * (1 << 20)]).status_code == 400


@pytest.mark.parametrize("function", [9999, -1, 1 << 70, None, "0", 0.0, 0.5, True, [0], {}])
def test_an_event_that_the_page_does_not_have_is_refused_without_an_error_in_the_log(
    target: Target, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], function: Any
) -> None:
    answer = target.join(function)
    assert (answer.status_code, answer.text) == (400, "Expected an event of the page: short JSON without files.")
    assert caplog.records == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"data": 3},
        {"data": "abc"},
        {"data": None},
        {"session_hash": 5},
        {"session_hash": None},
        {"trigger_id": "x"},
        {"event_id": []},
        {"simple_format": {}},
        {"batched": True},
        {"data": []},
        {"fn_index": 9, "data": []},
        {"fn_index": 9, "data": [None] * 30},
        {"fn_index": 13, "event_data": "x"},
    ],
    ids=str,
)
def test_no_odd_event_ends_in_an_error_of_the_server(
    target: Target, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], changed: dict[str, Any]
) -> None:
    body = {"data": ["{}"], "fn_index": 0, "session_hash": target.session, **changed}
    assert target.browser.post("/gradio_api/queue/join", json=body).status_code < 500
    time.sleep(1.0)
    assert "Traceback" not in capfd.readouterr().err + caplog.text


# ---- routes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/redoc",
        "/openapi.json",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/upload",
        "/gradio_api/upload_progress?upload_id=a",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/stream/anything",
        "/gradio_api/stream/a/b/1/playlist.m3u8",
        "/gradio_api/component_server",
        "/gradio_api/run/predict",
        "/gradio_api/api/predict",
        "/gradio_api/call/begin",
        "/gradio_api/call/v2/begin",
        "/gradio_api/queue/status",
        "/gradio_api/process_recording",
        "/gradio_api/runs",
        "/gradio_api/run-history/buckets",
        "/gradio_api/vibe-code",
        "/gradio_api/vibe-edit",
        "/gradio_api/dev/reload",
        "/gradio_api/token",
        "/gradio_api/deep_link?session_hash=victim1session",
        "/gradio_api/custom_component/a/client/b/c",
        "/monitoring",
        "/monitoring/summary",
        "/svelte/x.js",
        "/login",
        "/logout",
    ],
)
def test_routes_that_the_page_does_not_use_are_shut(target: Target, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        answer = target.browser.request(method, path)
        assert (answer.status_code, answer.text) == (404, "There is nothing here.")


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/%2e%2e/%2e%2e/%2e%2e/routes.py",
        "/assets//etc/passwd",
        "/static/..\\..\\routes.py",
        "/assets/%2fetc%2fpasswd",
        "/files/x/..%2f..%2fetc%2fpasswd",
        "/views/..%2f..",
        "/assets/%00",
    ],
)
def test_no_way_of_writing_a_path_leads_out_of_the_pages_files(target: Target, path: str) -> None:
    answer = target.browser.send(httpx.Request("GET", target.address + path))
    assert answer.status_code in (403, 404, 422)
    assert "root:" not in answer.text


def every_route(app: Any) -> set[tuple[str, str]]:
    """Method and a path of every route of the application and of what is mounted in it."""
    found = set()
    for route in app.routes:
        inner = getattr(route, "original_router", getattr(route, "app", None))
        if hasattr(inner, "routes"):
            found |= every_route(inner)
        elif getattr(route, "methods", None):
            path = re.sub(r"\{[^}]*\}", "1", route.path)
            found |= {(method, path) for method in route.methods}
    return found


def test_without_the_secret_every_route_is_shut(locked: Target) -> None:
    routes = every_route(locked.app)
    assert len(routes) > 60
    parts = {"views", "files", "uploads", "gradio_api", "assets", "", "api", "nninteractive"}
    assert {path.split("/")[1] for _, path in routes} >= parts
    with httpx.Client(base_url=locked.address) as stranger:
        for method, path in routes:
            if (method, path) not in OPEN:
                assert stranger.request(method, path).status_code == 401, (method, path)


# ---- the secret -----------------------------------------------------------------------------------------------------
def test_the_secret_opens_the_page_and_the_browser_keeps_something_else(locked: Target) -> None:
    with httpx.Client(base_url=locked.address) as browser:
        assert "Token" in browser.get("/").text
        answer = browser.post("/login", data={"token": f" {TOKEN}\n"}, headers={"Origin": locked.address})
        assert answer.status_code == 303
        assert "token" not in answer.headers["location"]
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie and TOKEN not in cookie
        assert "gradio_config" in browser.get("/").text


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 30])
def test_another_secret_opens_nothing(locked: Target, token: str) -> None:
    with httpx.Client(base_url=locked.address) as stranger:
        assert stranger.get("/", params={"token": token}).status_code == 401
        answer = stranger.post("/login", data={"token": token})
        assert answer.status_code == 401
        assert "That is not the token" in answer.text
        stranger.cookies.set(f"medsam-planner-pass-{httpx.URL(locked.address).port}", token.encode().hex())
        assert stranger.get("/config").status_code == 401


def test_a_web_socket_is_refused(target: Target) -> None:
    """No part of the page uses one."""

    async def knock() -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            said.append(message)

        scope = {"type": "websocket", "path": "/gradio_api/queue/join", "headers": [], "query_string": b""}
        await target.app(scope, receive, send)
        return said

    assert asyncio.run(knock()) == [{"type": "websocket.close", "code": 1008}]


# ---- other pages ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost"},
        {"Origin": "file://"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_another_page_can_neither_post_nor_read(target: Target, headers: dict[str, str]) -> None:
    body = {"data": [], "fn_index": 0, "session_hash": target.session}
    answers = [
        target.browser.post("/gradio_api/queue/join", json=body, headers=headers),
        target.browser.post("/uploads/x/study?name=a", content=b"a", headers=headers),
        target.browser.get("/config", headers=headers),
        target.browser.get("/views/x?plane=axial&index=1", headers=headers),
    ]
    for answer in answers:
        assert answer.status_code == 403
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_our_own_page_and_a_link_to_it_are_no_other_page(target: Target) -> None:
    own = {"Origin": target.address, "Sec-Fetch-Site": "same-origin"}
    assert target.browser.get("/config", headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert target.browser.get("/", headers=link).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:7860",
        "10.0.0.1",
        "a@127.0.0.1",
        "127.0.0.1/x",
        "[::1",
        ":",
        "",
    ],
)
def test_another_name_of_this_machine_is_not_answered(target: Target, host: str) -> None:
    assert target.browser.get("/config", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "LOCALHOST", "[::1]:7860", "127.0.0.2"])
def test_the_names_of_the_loopback_are_answered(target: Target, host: str) -> None:
    assert target.browser.get("/config", headers={"Host": host}).status_code == 200


# ---- other people ---------------------------------------------------------------------------------------------------
def test_nobody_acts_in_or_listens_to_the_session_of_another_browser(target: Target) -> None:
    assert target.join().status_code == 200
    with httpx.Client(base_url=target.address) as other:
        for _ in range(2):  # without a cookie, then with one of its own
            assert target.join(client=other).status_code == 403
            assert other.get(f"/gradio_api/queue/data?session_hash={target.session}").status_code == 403
            assert other.get(f"/gradio_api/heartbeat/{target.session}").status_code == 403
            other.get("/")


def test_uploads_need_the_secret_name_of_an_open_page(target: Target) -> None:
    assert target.browser.post("/uploads/guessed/study?name=a", content=b"a").status_code == 404
    token = target.pages.begin("some page").token
    assert target.browser.post(f"/uploads/{token}/anything?name=a", content=b"a").status_code == 422
    answer = target.browser.post(f"/uploads/{token}/study?name=..%2F..%2Fetc%2Fscan.nii", content=b"abc")
    assert answer.json() == {"name": "scan.nii"}


def test_a_file_too_large_or_of_unknown_length_is_refused(target: Target) -> None:
    workbench = target.pages.begin("another page")
    with httpx.Client(base_url=target.address) as client:
        answer = client.post(f"/uploads/{workbench.token}/prompts?name=a", content=bytes(33 << 20))
        assert answer.status_code == 413
        assert "at most 32 MiB" in answer.json()["detail"]
    with httpx.Client(base_url=target.address) as client:
        answer = client.post(f"/uploads/{workbench.token}/study?name=a", content=(piece for piece in [b"a"]))
        assert answer.status_code == 411
    assert workbench.uploads.find(UploadKind.PROMPTS) is workbench.uploads.find(UploadKind.STUDY) is None


# ---- what is told ---------------------------------------------------------------------------------------------------
def test_every_answer_carries_the_security_headers(target: Target) -> None:
    for path in ("/", "/config", "/theme.css", "/views/x?plane=axial&index=1", "/nothing", "/gradio_api/info"):
        headers = target.browser.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_only_the_pages_own_scripts_run(target: Target) -> None:
    first, second = (target.browser.get("/", headers={"Accept-Encoding": "br"}) for _ in range(2))
    policy = first.headers["content-security-policy"]
    (script,) = (part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe-inline" not in script and "http" not in script
    nonce = re.search(r"'nonce-([^']+)'", script)
    assert nonce is not None
    assert first.text.count("<script") == first.text.count(f'<script nonce="{nonce[1]}"') > 3
    assert nonce[1] not in second.text


def test_nothing_is_recorded_and_no_folder_is_named(target: Target, tmp_path: Path) -> None:
    text = target.browser.get("/config").text
    config = json.loads(text)
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
    assert config["show_error"] is False
    for folder in (Path.cwd(), Path.home(), tmp_path.parent):
        assert str(folder) + "/" not in text
        assert str(folder) + "/" not in target.browser.get("/").text
    blocks = target.app.routes[-1].app.get_blocks()
    assert not blocks.enable_monitoring
    assert not blocks.mcp_server
