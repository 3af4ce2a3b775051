"""The manifest, where weights live, and fetching them from a hub that runs on this machine."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medsam_planner.engine import compact, manifest, registry, weights_files
from medsam_planner.engine.hub import fetch
from medsam_planner.engine.manifest import read_manifest
from medsam_planner.engine.registry import WeightsState, list_weights, load_model, user_folder, verify, weights_path
from medsam_planner.errors import ConfigError, OperationCancelledError, WeightsError
from medsam_planner.io.files import file_sha256

CONTENT = bytes(range(256)) * 100_000  # 25.6 MB: three of the hub client's chunks
COMMIT = "1" * 40
SHIPPED = b"compact weights"

MANIFEST = """
schema_version = 1

[weights.big]
model = "medsam"
hub_id = "lab/big"
revision = "{commit}"
file = "pytorch_model.bin"
sha256 = "{sha256}"
size_mb = 25.6
licence = "Apache-2.0"
input_size = 1024
description = "Fetched."

[weights.small]
model = "compact"
file = "small.safetensors"
sha256 = "{shipped_sha256}"
licence = "Apache-2.0"
input_size = 128
description = "Shipped."
"""


class Watcher:
    """Notes the progress; asks to stop once `stop_after` bytes have come."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.seen: list[tuple[str, int, int]] = []

    def update(self, stage: str, done: int, total: int) -> None:
        self.seen.append((stage, done, total))

    @property
    def is_cancelled(self) -> bool:
        return self.stop_after is not None and bool(self.seen) and self.seen[-1][1] >= self.stop_after


class Hub:
    """The hub's file endpoint on the loopback interface: HEAD and GET with ranges."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.cut_once_after: int | None = None
        self.ignores_ranges = False
        self.requests: list[tuple[str, str, str | None]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _start(self) -> bytes | None:
                asked = self.headers.get("Range")
                hub.requests.append((self.command, self.path, asked))
                if self.path != f"/lab/big/resolve/{COMMIT}/pytorch_model.bin":
                    self.send_response(404)
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return None
                body, status = hub.content, 200
                if asked and not hub.ignores_ranges:
                    first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
                    body, status = body[first:], 206
                self.send_response(status)
                if status == 206:
                    last = len(hub.content) - 1
                    self.send_header("Content-Range", f"bytes {first}-{last}/{len(hub.content)}")
                self.send_header("ETag", f'"{hashlib.sha256(hub.content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                return body

            def do_HEAD(self) -> None:
                self._start()

            def do_GET(self) -> None:
                body = self._start()
                if body is None:
                    return
                try:
                    if hub.cut_once_after is not None:
                        body, hub.cut_once_after = body[: hub.cut_once_after], None
                        self.wfile.write(body)
                        self.close_connection = True
                        return
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client was cancelled

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def ranges(self) -> list[str | None]:
        return [asked for method, _, asked in self.requests if method == "GET"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    running = Hub()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder with one shipped and one fetched entry; returns the user's folder."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "manifest.toml").write_text(
        MANIFEST.format(
            commit=COMMIT,
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            shipped_sha256=hashlib.sha256(SHIPPED).hexdigest(),
        )
    )
    (shipped / "small.safetensors").write_bytes(SHIPPED)
    for module in (manifest, registry):
        monkeypatch.setattr(module, "shipped_folder", lambda: shipped)
    monkeypatch.setenv("MEDSAM_PLANNER_WEIGHTS", str(tmp_path / "user"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path / "user"


@pytest.fixture
def online(weights: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return hub


def test_the_manifest_in_the_repository_is_valid_and_pins_medsam_to_a_commit_and_a_checksum() -> None:
    entry = read_manifest()["medsam-vit-b"]
    assert not entry.is_shipped and entry.input_size == 1024 and entry.licence == "Apache-2.0"


GOOD = MANIFEST.format(commit=COMMIT, sha256="a" * 64, shipped_sha256="b" * 64)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weights = [", "not valid TOML"),
        (GOOD.replace("schema_version = 1", ""), "schema_version = 1, got None"),
        (GOOD.replace("schema_version = 1", "schema_version = 2"), "got 2"),
        (GOOD + "\n[weighst.x]\nfile = 'a'", r"got \['weighst'\]"),
        (GOOD.replace('licence = "Apache-2.0"', "", 1), r"\[weights.big\]: licence"),
        (GOOD.replace("input_size = 128", "input_size = -3"), r"\[weights.small\]: input_size"),
        (GOOD.replace('model = "compact"', 'model = "sam9"'), "model"),
        (GOOD.replace("a" * 64, "a" * 63), "sha256"),
        (GOOD.replace(COMMIT, "main"), "revision"),
        (GOOD.replace("size_mb = 25.6", ""), "come together"),
        (GOOD.replace("small.safetensors", "../../etc/passwd"), "file"),
        (GOOD + 'colour = "red"\n', "colour"),
        ("schema_version = 1\nweights = 3", "tables"),
        ("schema_version = 1\n[weights]\nx = 3", r"\[weights.x\]"),
    ],
)
def test_a_wrong_manifest_is_refused_and_the_entry_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_manifest(path)


def test_an_absent_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is none"):
        read_manifest(tmp_path / "manifest.toml")


def test_the_list_tells_shipped_fetched_absent_and_damaged_apart(weights: Path) -> None:
    def states() -> dict[str, WeightsState]:
        return {row.name: row.state for row in list_weights()}

    assert states() == {"big": WeightsState.ABSENT, "small": WeightsState.SHIPPED}
    assert [row.size_bytes for row in list_weights()] == [25_600_000, len(SHIPPED)]
    (weights / "big").mkdir(parents=True)
    (weights / "big" / "pytorch_model.bin").write_bytes(CONTENT)
    registry.weights_path("small").write_bytes(b"other")
    assert states() == {"big": WeightsState.FETCHED, "small": WeightsState.DAMAGED}


def test_verify_says_what_was_expected_what_came_and_what_to_do(weights: Path) -> None:
    assert verify("small").is_intact and verify("small").advice == ""
    assert not verify("big").is_intact and "weights fetch big" in verify("big").advice
    path = weights_path("small")
    path.write_bytes(b"other")
    outcome = verify("small")
    assert not outcome.is_intact
    assert hashlib.sha256(b"other").hexdigest() in outcome.advice
    assert hashlib.sha256(SHIPPED).hexdigest() in outcome.advice
    assert "reinstall" in outcome.advice


def test_absent_weights_say_exactly_where_the_file_goes_and_which_command_checks_it(weights: Path) -> None:
    for refused in (lambda: weights_path("big"), lambda: load_model("big")):
        with pytest.raises(WeightsError) as caught:
            refused()
        message = str(caught.value)
        assert str(weights / "big" / "pytorch_model.bin") in message
        assert "medsam-planner weights verify big" in message
        assert "https://huggingface.co/lab/big" in message


def test_unknown_names_are_refused_with_the_names_there_are(weights: Path) -> None:
    for refused in (
        lambda: weights_path("bigg"),
        lambda: verify("bigg"),
        lambda: fetch("bigg"),
        lambda: load_model("bigg"),
    ):
        with pytest.raises(WeightsError, match=r"big, small.*'bigg'"):
            refused()


def test_damaged_shipped_weights_are_not_loaded(weights: Path) -> None:
    weights_path("small").write_bytes(b"other")
    with pytest.raises(WeightsError, match="reinstall"):
        load_model("small")


def test_shipped_weights_of_an_earlier_version_are_recognised(weights: Path) -> None:
    path, listed = weights_path("small"), registry.shipped_folder() / "manifest.toml"
    path.write_bytes(b"earlier")
    known = hashlib.sha256(b"earlier").hexdigest()
    listed.write_text(listed.read_text() + f'earlier_sha256 = ["{known}"]\n')
    with pytest.raises(WeightsError, match="an earlier version, which are loaded by their path"):
        load_model("small")


def test_paths_to_the_compact_models_weights_open_as_the_compact_model(tmp_path: Path) -> None:
    from medsam_planner.engine.compact import CompactModel
    from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork
    from medsam_planner.engine.compact_weights import save_weights

    path = tmp_path / "mine.safetensors"
    sha256 = save_weights(CompactNetwork(CompactArchitecture()), path, trained_on=["nothing"])
    model = load_model(path)
    assert isinstance(model, CompactModel) and model.weights_sha256 == sha256


def test_weights_are_read_and_hashed_once_and_every_model_has_a_module_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork
    from medsam_planner.engine.compact_weights import save_weights

    path = tmp_path / "mine.safetensors"
    save_weights(CompactNetwork(CompactArchitecture()), path, trained_on=["nothing"])
    opened, hashed = [], []
    open_weights = registry._open
    monkeypatch.setattr(registry, "_open", lambda *known: opened.append(known) or open_weights(*known))
    for module in (weights_files, compact):
        monkeypatch.setattr(module, "file_sha256", lambda path: hashed.append(path) or file_sha256(path))
    first, second = load_model(path), load_model(path)
    assert len(opened) == len(hashed) == 1
    assert first.network is not second.network
    tensors = [
        {tensor.data_ptr() for tensor in model.network.parameters() if tensor.numel()} for model in (first, second)
    ]
    assert tensors[0] == tensors[1]
    first.network.decoder.dropouts.train()
    assert not any(dropout.training for dropout in second.network.decoder.dropouts)
    second.metadata["temperature"] = "3.0"
    assert first.temperature == 1.0

    save_weights(CompactNetwork(CompactArchitecture(dropout=0.5)), path, trained_on=["nothing"])
    assert load_model(path).architecture.dropout == 0.5
    assert len(opened) == len(hashed) == 2


def test_the_users_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDSAM_PLANNER_WEIGHTS", str(tmp_path / "mine"))
    assert user_folder() == tmp_path / "mine"
    monkeypatch.delenv("MEDSAM_PLANNER_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert user_folder() == tmp_path / "cache" / "medsam-planner" / "weights"


def test_fetching_reports_progress_and_ends_with_whole_weights(weights: Path, online: Hub) -> None:
    watcher = Watcher()
    path = fetch("big", watcher)
    assert path == weights / "big" / "pytorch_model.bin" and path.read_bytes() == CONTENT
    assert verify("big").state is WeightsState.FETCHED
    done = [seen[1] for seen in watcher.seen]
    assert len(done) >= 3 and done == sorted(done) and watcher.seen[-1] == ("fetch big", len(CONTENT), len(CONTENT))
    asked = len(online.requests)
    assert fetch("big") == path
    assert len(online.requests) == asked, "whole weights are not fetched again"


def test_a_cancelled_download_goes_on_where_it_stopped(weights: Path, online: Hub) -> None:
    with pytest.raises(OperationCancelledError, match="goes on from there"):
        fetch("big", Watcher(stop_after=1))
    (part,) = (weights / "big").glob("*.part")
    held = part.stat().st_size
    assert 0 < held < len(CONTENT)
    watcher = Watcher()
    assert fetch("big", watcher).read_bytes() == CONTENT
    assert online.ranges() == [None, f"bytes={held}-"]
    assert watcher.seen[0][1] > held
    assert not list((weights / "big").glob("*.part"))


def test_a_server_without_ranges_starts_over(weights: Path, online: Hub) -> None:
    with pytest.raises(OperationCancelledError):
        fetch("big", Watcher(stop_after=1))
    online.ignores_ranges = True
    assert fetch("big").read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_again(weights: Path, online: Hub) -> None:
    online.cut_once_after = 11_000_000
    assert fetch("big").read_bytes() == CONTENT
    first, second = online.ranges()
    assert first is None and second is not None and 0 < int(second[6:-1]) <= 11_000_000


def test_other_content_on_the_hub_is_refused_and_deleted(weights: Path, online: Hub) -> None:
    online.content = CONTENT[:-1] + b"\0"
    with pytest.raises(WeightsError, match=r"Expected SHA-256 .* got .* deleted"):
        fetch("big")
    assert not list((weights / "big").glob("*.part"))
    assert verify("big").state is WeightsState.ABSENT


def test_damaged_weights_are_fetched_again(weights: Path, online: Hub) -> None:
    fetch("big").write_bytes(b"damaged")
    assert fetch("big").read_bytes() == CONTENT


def test_a_file_the_hub_does_not_have_is_a_weights_error(
    weights: Path, online: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", online.url + "/elsewhere")
    with pytest.raises(WeightsError, match=r"answered 404.*weights verify big"):
        fetch("big")


def test_without_a_network_the_error_says_where_to_put_the_file(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens
    with pytest.raises(WeightsError) as caught:
        fetch("big")
    assert str(weights / "big" / "pytorch_model.bin") in str(caught.value)
    assert "medsam-planner weights verify big" in str(caught.value)


def test_offline_mode_is_obeyed(weights: Path, online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"(?i)offline.*weights verify big"):
        fetch("big")
    assert online.requests == []


def test_shipped_weights_are_not_fetched(weights: Path, online: Hub) -> None:
    assert fetch("small") == weights_path("small")
    weights_path("small").unlink()
    with pytest.raises(WeightsError, match="reinstall"):
        fetch("small")
    assert online.requests == []
