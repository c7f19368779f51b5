"""The command that serves the review: a real server on a free port, and what it refuses to start on."""

from __future__ import annotations

import base64
import http.client
import importlib.util
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mseg_curate.annotators import sign_in_person
from mseg_curate.store import Store

CallCli = Callable[..., Any]
ROOT = Path(__file__).parents[2]
START_S = 60

needs_streamlit = pytest.mark.skipif(
    importlib.util.find_spec("streamlit") is None, reason="streamlit is not installed"
)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(store: Path, port: int, here: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the command in a folder of its own until its server answers; end it by its id."""
    words = ["review", "--db", str(store), "--port", str(port), "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(here)}
    process = subprocess.Popen(
        [sys.executable, "-m", "mseg_curate.cli", *words],
        cwd=here,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until_up(process, port)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_until_up(process: subprocess.Popen[str], port: int) -> None:
    """Wait until the server says that it is well."""
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        if process.poll() is not None:
            assert process.stdout is not None
            pytest.fail(f"the server ended: {process.stdout.read()}")
        try:
            if ask(port, "/_stcore/health")[1] == b"ok":
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail("the server does not answer")


def ask(
    port: int, path: str, *, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Send a request and return status and body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=data, headers=headers or {}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def shake_hands(port: int, origin: str, *, host: str = "") -> int:
    """Ask for the app's websocket and return the status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {
        "Host": host or f"127.0.0.1:{port}",
        "Origin": origin,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    with closing(connection):
        connection.request("GET", "/_stcore/stream", headers=headers)
        return connection.getresponse().status


@needs_streamlit
@pytest.mark.slow
def test_a_real_server(farm_store: Store, tmp_path: Path) -> None:
    """From any folder the server shows its page, guards its routes, and ends by Ctrl-C with exit code 0."""
    here = tmp_path / "elsewhere"
    here.mkdir()
    port = free_port()
    with serving(farm_store.path, port, here) as process:
        status, page = ask(port, "/")
        assert status == 200
        assert b"<title>" in page
        assert ask(port, "/review/task?task=kinds")[0] == 401
        assert ask(port, "/", headers={"Host": "evil.example"})[0] == 403
        foreign = {"Origin": "http://evil.example"}
        assert ask(port, "/review/claim", body={}, headers=foreign)[0] == 403
        assert shake_hands(port, f"http://127.0.0.1:{port}") == 101
        assert shake_hands(port, "http://evil.example") == 403
        assert shake_hands(port, f"http://127.0.0.1:{port}", host="evil.example") == 403
        assert b"st.App" not in ask(port, "/app/static/main.py")[1]
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said.splitlines()[0] == (
        f"{farm_store.path}: review at http://127.0.0.1:{port}/ (Ctrl-C ends it)"
    )
    assert "Traceback" not in said
    assert "the review has ended" in said
    assert list(here.iterdir()) == []


@needs_streamlit
@pytest.mark.slow
def test_answers_leave_at_once(farm_store: Store, tmp_path: Path) -> None:
    """On a kept connection a small answer is not held back until the client acknowledges its head, 40 ms later."""
    port = free_port()
    with (
        serving(farm_store.path, port, tmp_path),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection,
    ):
        took_s = []
        for _ in range(25):
            began = time.perf_counter()
            connection.request("GET", "/review/nothing")
            assert connection.getresponse().read()
            took_s.append(time.perf_counter() - began)
    assert sorted(took_s)[12] < 0.03


@needs_streamlit
@pytest.mark.slow
def test_a_server_that_is_killed(farm_store: Store, tmp_path: Path) -> None:
    """A token and a lease outlive the server: what was sent to the killed one is sent again, and stored once."""
    from app.tokens import mint_token  # noqa: PLC0415

    person = sign_in_person(farm_store, "ann", now=time.time())
    token = mint_token(farm_store.path, person.id, bound=False, now=time.time())
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    port = free_port()
    claim = {"task": "kinds", "count": 1, "client": "tab", "held": []}
    with serving(farm_store.path, port, tmp_path) as process:
        (item,) = json.loads(ask(port, "/review/claim", body=claim, headers=headers)[1])["items"]
        operation = {"op": "decide", "uuid": uuid4().hex, "lease": item["lease"]}
        operation |= {"outcome": "class", "class_name": "cat"}
        body = {"client": "tab", "operations": [operation]}
        first = json.loads(ask(port, "/review/decide", body=body, headers=headers)[1])
        process.kill()
    with serving(farm_store.path, port, tmp_path):
        again = json.loads(ask(port, "/review/decide", body=body, headers=headers)[1])
    assert [first["results"][0]["status"], again["results"][0]["status"]] == ["stored", "known"]


@needs_streamlit
def test_no_store_to_review(call_cli: CallCli, tmp_path: Path) -> None:
    """A store that is missing is refused before anything starts."""
    called = call_cli("review", "--db", tmp_path / "none.db", "--no-browser")
    assert called.code == 1
    assert "mseg-curate init" in called.message
    assert called.out == ""


@needs_streamlit
@pytest.mark.parametrize(("version", "words"), [(99, "newer version"), (0, "older version")])
def test_a_store_of_another_version(
    farm_store: Store, call_cli: CallCli, version: int, words: str
) -> None:
    """A store of another schema is refused before anything starts."""
    with closing(sqlite3.connect(farm_store.path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    called = call_cli("review", "--db", farm_store.path, "--no-browser")
    assert called.code == 1
    assert words in called.message


@needs_streamlit
def test_a_port_that_is_taken(farm_store: Store, call_cli: CallCli) -> None:
    """A port that another program has is one line."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        called = call_cli("review", "--db", farm_store.path, "--port", str(port), "--no-browser")
    assert called.code == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in called.message
    assert len(called.message.splitlines()) == 1


@needs_streamlit
@pytest.mark.parametrize(
    ("words", "secrets", "message"),
    [
        (["--address", "0.0.0.0"], None, "expected OIDC"),
        (["--address", "192.0.2.7"], "", "expected OIDC"),
        (["--address", "0.0.0.0"], "[auth]\nclient_id = 'x'\n", "--host-name"),
        (["--address", "0.0.0.0"], "[auth", "secrets.toml"),
        (["--address", "masks.example"], None, "an IP address or localhost"),
    ],
)
def test_an_address_for_others(
    farm_store: Store,
    call_cli: CallCli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    words: list[str],
    secrets: str | None,
    message: str,
) -> None:
    """Listening for other machines needs OIDC, and the names under which they come."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    if secrets is not None:
        (tmp_path / ".streamlit").mkdir()
        (tmp_path / ".streamlit/secrets.toml").write_text(secrets, encoding="utf-8")
    called = call_cli("review", "--db", farm_store.path, "--no-browser", *words)
    assert called.code == 1
    assert message in called.message


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("streamlit", "pip install 'mseg-curate[app]'"),
        pytest.param("authlib", "pip install 'streamlit[auth]'", marks=needs_streamlit),
    ],
)
def test_without_a_library(
    farm_store: Store,
    call_cli: CallCli,
    monkeypatch: pytest.MonkeyPatch,
    *,
    missing: str,
    message: str,
) -> None:
    """Without streamlit, or without Authlib where OIDC is configured, the command says what to install."""
    folder = farm_store.path.parent / ".streamlit"
    folder.mkdir()
    (folder / "secrets.toml").write_text("[auth]\nclient_id = 'x'\n", encoding="utf-8")
    monkeypatch.chdir(folder.parent)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else found(name)
    )
    called = call_cli("review", "--db", farm_store.path)
    assert called.code == 1
    assert message in called.message
