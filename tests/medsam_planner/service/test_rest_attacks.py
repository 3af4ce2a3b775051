"""What somebody tries who may reach REST: files, paths, foreign pages, sizes, with a login and without; real HTTP."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest

from medsam_planner.service.access import read_access
from medsam_planner.service.listening import address_of, listen, serve_on
from medsam_planner.service.settings import Settings
from tests.medsam_planner.service.rest import PASSWORDS, TOKEN, logged_in, people_of, serving
from tests.medsam_planner.service.test_entrance import application


@dataclass(frozen=True)
class Target:
    """A server, a user's login, and a file that the user must not get."""

    address: str
    data: Path
    secret: Path
    paul: dict[str, str]
    study: str
    session: str

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.paul, **options.pop("headers", {})}
        with httpx.Client(timeout=60) as client:
            return client.send(client.build_request(method, f"{self.address}/api/v1{path}", headers=headers, **options))


@pytest.fixture(scope="module")
def target(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("attacks")
    secret = folder / "secret.nii.gz"
    secret.write_bytes(study_path.read_bytes())
    settings = Settings(out=folder / "data", model=model, roots=(study_path.parent,))
    with serving(settings, token=TOKEN, people=people_of(settings.out)) as address:
        paul = logged_in(address, "paul")
        study = httpx.post(f"{address}/api/v1/studies", json={"path": study_path.name}, headers=paul).json()["id"]
        session = httpx.post(f"{address}/api/v1/sessions", json={"study": study}, headers=paul).json()["id"]
        yield Target(address, settings.out, secret, paul, study, session)


# ---- files ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "way", ["{secret}", "../attacks0/{name}", "file://{secret}", "/proc/self/root{secret}", "~root"]
)
def test_no_path_leads_out_of_the_allowed_folders(target: Target, way: str) -> None:
    path = way.format(secret=target.secret, name=target.secret.name)
    answer = target.ask("POST", "/studies", json={"path": path})
    assert (answer.status_code, answer.json()["code"]) == (422, "study")
    assert str(target.secret.parent) not in answer.text


@pytest.mark.parametrize("inside", ["users.json", "logins.json", "audit.jsonl", "studies", "", "lock"])
def test_the_data_folder_is_no_study(target: Target, inside: str) -> None:
    answer = target.ask("POST", "/studies", json={"path": str(target.data / inside)})
    assert answer.status_code == 422
    assert "argon2" not in answer.text and str(target.data.parent) not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/sessions/{session}/structures/..%2F..%2F..%2Fusers/mask.nii.gz",
        "/sessions/{session}/structures/lesion/..%2F..%2Fjournal.jsonl",
        "/sessions/{session}/structures/lesion/%2Fetc%2Fpasswd",
        "/sessions/{session}/plans/..%2F..%2F..%2F../report.html",
        "/sessions/{session}/plans/../../../../users.json",
        "/sessions/..%2F..%2Fusers.json",
        "/sessions/%2e%2e",
        "/studies/..%2F../rights",
        "/studies/{study}%00/rights",
        "/jobs/..%2f..%2fetc%2fpasswd/events",
    ],
)
def test_no_way_of_writing_a_path_reads_a_file(target: Target, path: str) -> None:
    url = target.address + "/api/v1" + path.format(session=target.session, study=target.study)
    answer = httpx.Client().send(httpx.Request("GET", url, headers=target.paul))
    assert answer.status_code in (404, 422), answer.text
    assert "root:" not in answer.text and "argon2" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_no_way_of_writing_an_identifier_changes_another_folder(target: Target, method: str) -> None:
    before = sorted(path.name for path in target.data.rglob("*"))
    for identifier in ("..", "%2e%2e", "..%2Fsessions", ".", "%2F"):
        for path in (f"/studies/{identifier}", f"/studies/{identifier}/rights", f"/sessions/{identifier}"):
            url = f"{target.address}/api/v1{path}"
            body = b'{"ann": "viewer"}'
            headers = {**target.paul, "Content-Type": "application/json"}
            answer = httpx.Client().send(httpx.Request(method, url, headers=headers, content=body))
            assert answer.status_code in (404, 405), (path, answer.status_code)
    assert sorted(path.name for path in target.data.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../../../users.json", "/etc/passwd", "..\\..\\users.json", "study.json", "a\0b"])
def test_an_upload_is_kept_in_its_own_folder_under_any_name(target: Target, study_path: Path, name: str) -> None:
    users = (target.data / "users.json").read_bytes()
    answer = target.ask("POST", "/studies", files={"file": (name, b"not a study")})
    assert answer.status_code in (400, 422)
    assert (target.data / "users.json").read_bytes() == users


def test_a_plan_that_names_files_of_the_server_is_refused(target: Target) -> None:
    plan = {
        "structures": [{"name": "lesion", "role": "avoid", "mask": str(target.secret)}],
        "tools": [{"radius_mm": 1.0, "entry": {"structure": "lesion"}, "target": {"structure": "lesion"}}],
    }
    lease = target.ask("POST", f"/sessions/{target.session}/lease", json={"take_over": True}).json()["lease"]
    answer = target.ask("POST", f"/sessions/{target.session}/plans", json=plan, headers={"Lease": lease})
    assert answer.status_code == 422 and str(target.secret) not in answer.text


# ---- foreign pages, secrets, sizes ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
    ],
    ids=str,
)
def test_a_foreign_page_is_refused_even_with_a_login(target: Target, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/studies"), ("POST", "/sessions"), ("DELETE", f"/studies/{target.study}")):
        answer = target.ask(method, path, headers=headers)
        assert answer.status_code in (400, 403) and answer.json()["code"] in ("host", "origin")
        assert not any(name.startswith("access-control") for name in answer.headers)
    asked = {"name": "paul", "password": PASSWORDS["paul"]}
    answer = httpx.post(f"{target.address}/api/v1/login", json=asked, headers=headers)
    assert answer.status_code in (400, 403) and "token" not in answer.json()


def test_secrets_count_in_their_header_alone(target: Target) -> None:
    token = target.paul["Authorization"].removeprefix("Bearer ")
    for options in (
        {"params": {"token": token}},
        {"params": {"access_token": token}},
        {"cookies": {"token": token}},
        {"cookies": {f"medsam-planner-pass-{httpx.URL(target.address).port}": token}},
        {"headers": {"Authorization": f"Basic {token}"}},
        {"headers": {"Authorization": token}},
        {"headers": {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}},
    ):
        assert httpx.get(f"{target.address}/api/v1/studies", **options).status_code == 401  # type: ignore[arg-type]


def test_a_body_beyond_the_limit_is_refused_before_it_is_read_whole(target: Target) -> None:
    lease = {"Lease": "x"}
    for path in (f"/sessions/{target.session}/prompts", "/studies", f"/studies/{target.study}/rights", "/login"):
        method = "PUT" if path.endswith("rights") else "POST"
        headers = {**lease, "Content-Type": "application/json"}
        answer = target.ask(method, path, content=(b" " * 65536 for _ in range(200)), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large"), path


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"name": ' + b"9" * 100_000 + b"}", b"\xff\xfe", b"", b"null", b"NaN"]
)
def test_no_odd_json_is_an_error_of_the_server(target: Target, body: bytes) -> None:
    for path in ("/login", "/sessions", "/studies", f"/sessions/{target.session}/prompts"):
        answer = target.ask("POST", path, content=body, headers={"Content-Type": "application/json", "Lease": "x"})
        assert 400 <= answer.status_code < 500, (path, answer.text)


HUGE = "9" * 400


@pytest.mark.parametrize(
    "prompt",
    [
        f'{{"kind": "click", "positive": true, "position_lps_mm": [{HUGE}, 1, 1]}}',
        f'{{"kind": "box", "corner_lps_mm": [1, 1, 1], "opposite_lps_mm": [2, 2, -{HUGE}]}}',
        f'{{"kind": "scribble", "positive": true, "positions_lps_mm": [[1, 1, 1], [1, {HUGE}, 1]]}}',
        f'{{"kind": "choice", "answer": {HUGE}}}',
        '{"kind": "click", "positive": true, "position_lps_mm": [NaN, 1, 1]}',
        '{"kind": "click", "positive": true, "position_lps_mm": [1e999, 1, 1]}',
    ],
    ids=lambda text: text[:24],
)
def test_a_number_that_is_no_position_is_a_prompt_that_cannot_be_used(target: Target, prompt: str) -> None:
    lease = target.ask("POST", f"/sessions/{target.session}/lease", json={"take_over": True}).json()["lease"]
    headers = {"Lease": lease, "Content-Type": "application/json"}
    body = f'{{"structure": "vessel", "prompt": {prompt}}}'
    answer = target.ask("POST", f"/sessions/{target.session}/prompts", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "prompt"), answer.text


@pytest.mark.parametrize("far", ["1e300", "-1.1e10", HUGE])
def test_a_line_beyond_every_patient_is_refused(target: Target, far: str) -> None:
    lines = f"[[[{far}, 0, 0], [1, 1, 1]]]"
    structures = '[{"name": "lesion", "role": "avoid"}]'
    body = f'{{"tool": {{"radius_mm": 1}}, "structures": {structures}, "lines_lps_mm": {lines}}}'
    answer = target.ask(
        "POST",
        f"/sessions/{target.session}/clearance",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "request"), answer.text


NESTED = b'{"structure": "x", "prompt": {"a": [' + b"[]," * 2_500_000 + b"1]}}"
KEYS = b'{"structure": "x", "prompt": {' + b",".join(b'"%d": 1' % n for n in range(500_000)) + b"}}"


@pytest.mark.parametrize("body", [NESTED, KEYS], ids=["lists", "keys"])
@pytest.mark.parametrize("path", ["/login", "/sessions", "/sessions/{session}/prompts", "/sessions/{session}/plans"])
def test_no_long_body_keeps_the_others_waiting(target: Target, path: str, body: bytes) -> None:
    headers = {"Lease": "x", "Content-Type": "application/json"}
    began = time.process_time()
    with httpx.Client(timeout=60) as client:  # a stranger, where that is possible
        known = {} if path == "/login" else target.paul
        url = f"{target.address}/api/v1{path.format(session=target.session)}"
        answer = client.post(url, content=body, headers={**headers, **known})
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert time.process_time() - began < 0.5  # of the client, too; read as JSON they take 1 s and more


# ---- TLS ------------------------------------------------------------------------------------------------------------
def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine that nobody signed, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "planner")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=2999)
    )
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    pem = made.add_extension(here, critical=False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


def test_with_a_certificate_only_tls_is_spoken_and_cookies_need_it(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    people_of(tmp_path)
    access = read_access("127.0.0.1", tmp_path, certificate=chain, private_key=key)
    bound = listen("127.0.0.1", 0)
    address = address_of(bound, "127.0.0.1", is_tls=True).rstrip("/")
    threading.Thread(target=serve_on, args=(bound, application(access), access), daemon=True).start()
    with httpx.Client(base_url=address, verify=ssl.create_default_context(cafile=str(chain))) as browser:
        answer = browser.post("/login", data={"name": "ann", "password": PASSWORDS["ann"]}, timeout=30)
        assert answer.status_code == 303 and "Secure" in answer.headers["set-cookie"]
        assert browser.get("/config").json() == "ann"
    with pytest.raises(httpx.HTTPError):
        httpx.get(address.replace("https", "http"))
    with socket.create_connection(("127.0.0.1", bound.getsockname()[1])) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        plain.settimeout(5)
        assert b"200 OK" not in plain.recv(1024)
