"""The guard: foreign hosts and origins, headers, and sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import streamlit
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from app import security
from app.security import BODY_LIMIT_BYTES, HEADERS, Guard, is_host_allowed, is_same_origin

HOST = "127.0.0.1:8501"


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("localhost", [], True),
        ("localhost:8501", [], True),
        ("127.0.0.1:1", [], True),
        ("[::1]:8501", [], True),
        ("LOCALHOST.", [], True),
        (None, [], False),
        ("", [], False),
        ("evil.example", [], False),
        ("localhost.evil.example", [], False),
        ("127.0.0.1.evil.example", [], False),
        ("evil.example#localhost", [], False),
        ("localhost@evil.example", [], False),
        ("evil.example/localhost", [], False),
        ("localhost:port", [], False),
        ("localhost:99999999", [], False),
        ("[::1", [], False),
        ("localhost", ["masks.example"], False),
        ("masks.example:443", ["masks.example"], True),
        ("a.masks.example", ["masks.example"], False),
        ("a.masks.example", ["*.masks.example"], True),
        ("masks.example", ["*.masks.example"], False),
        ("evilmasks.example", ["*.masks.example"], False),
        ("anything.example", ["*"], False),
        ("[::1]", ["[::1]"], True),
        ("::1", ["::1"], False),
    ],
)
def test_hosts(host: str | None, allowed: list[str], expected: bool) -> None:
    """Only the names that are listed, whatever the port; without a list those of the loopback."""
    assert is_host_allowed(host, allowed) is expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:8501", True),
        ("https://127.0.0.1:8501", True),
        ("http://127.0.0.1:8502", False),
        ("http://127.0.0.1", False),
        ("http://localhost:8501", False),
        ("http://evil.example", False),
        ("http://127.0.0.1:8501.evil.example", False),
        ("http://x@127.0.0.1:8501", False),
        ("null", False),
        ("", False),
        ("file://127.0.0.1:8501", False),
        ("http://[", False),
    ],
)
def test_origins(origin: str, expected: bool) -> None:
    """An origin is ours where it names the very host and port that was asked."""
    assert is_same_origin(origin, HOST) is expected


async def echo(request: Request) -> Response:
    """Answer with the size of the body."""
    return PlainTextResponse(str(len(await request.body())))


async def chat(websocket: WebSocket) -> None:
    """Accept, say one thing, and go."""
    await websocket.accept()
    await websocket.send_text("in")
    await websocket.close()


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A guarded app with a route below /review/, one elsewhere, and a websocket."""
    routes = [
        Route("/review/echo", echo, methods=["GET", "POST"]),
        Route("/elsewhere", echo, methods=["GET", "POST"]),
        WebSocketRoute("/_stcore/stream", chat),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Guard)])
    with TestClient(app, base_url=f"http://{HOST}") as made:
        yield made


@pytest.mark.parametrize("path", ["/review/echo", "/elsewhere", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_a_rebound_name_is_refused(client: TestClient, method: str, path: str) -> None:
    """A request by a foreign host name reaches nothing, whatever it asks for."""
    answer = client.request(method, path, headers={"Host": "evil.example:8501"})
    assert answer.status_code == 403
    if method != "HEAD":
        assert answer.json()["error"] == "foreign_host"


def test_the_configured_names_count(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """server.allowedHosts says which names are ours."""
    monkeypatch.setattr(streamlit, "get_option", {"server.allowedHosts": ["masks.example"]}.get)
    assert client.get("/elsewhere").status_code == 403
    assert client.get("/elsewhere", headers={"Host": "masks.example"}).status_code == 200


@pytest.mark.parametrize("path", ["/review/echo", "/elsewhere"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8502"])
def test_a_foreign_origin_changes_nothing(
    client: TestClient, method: str, path: str, origin: str
) -> None:
    """A request that may change something, sent by another site's page, is refused."""
    answer = client.request(method, path, headers={"Origin": origin})
    assert answer.status_code == 403
    assert answer.json()["error"] == "foreign_origin"


def test_our_own_origin(client: TestClient) -> None:
    """Our own page may, a program without an origin may, and reading is for all."""
    assert client.post("/elsewhere", headers={"Origin": f"http://{HOST}"}).status_code == 200
    assert client.post("/elsewhere").status_code == 200
    assert client.get("/elsewhere", headers={"Origin": "http://evil.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": HOST, "Origin": "http://evil.example"},
        {"Host": HOST, "Origin": "null"},
        {"Host": "evil.example:8501"},
        {"Host": "evil.example:8501", "Origin": "http://evil.example:8501"},
    ],
)
def test_a_foreign_websocket(client: TestClient, headers: dict[str, str]) -> None:
    """A websocket is not opened for another site's page or by a foreign name."""
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect("/_stcore/stream", headers=headers),
    ):
        pass
    assert refused.value.code == 1008


def test_our_own_websocket(client: TestClient) -> None:
    """A websocket is opened for our own page."""
    headers = {"Host": HOST, "Origin": f"http://{HOST}"}
    with client.websocket_connect("/_stcore/stream", headers=headers) as websocket:
        assert websocket.receive_text() == "in"


@pytest.mark.parametrize("path", ["/elsewhere", "/review/echo", "/nowhere"])
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    """The policy and nosniff stand on every answer, refusals too."""
    for headers in ({}, {"Host": "evil.example"}):
        answer = client.get(path, headers=headers)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]


def test_large_bodies(client: TestClient) -> None:
    """A body over the limit is refused by its length, and where that is not given by what arrives."""
    assert client.post("/review/echo", content=b"x" * BODY_LIMIT_BYTES).text == str(
        BODY_LIMIT_BYTES
    )
    over = client.post("/review/echo", content=b"x" * (BODY_LIMIT_BYTES + 1))
    assert (over.status_code, over.json()["error"]) == (413, "too_large")
    over = client.post("/review/echo", content=(b"x" * 1024 for _ in range(100)))
    assert over.status_code == 413
    assert client.post("/elsewhere", content=b"x" * 100_000).text == "100000"


def test_slow_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that never comes to its end is given up, and what lies behind the guard hears nothing of it."""
    monkeypatch.setattr(security, "BODY_LIMIT_S", 0.05)
    sent: list[Message] = []

    async def behind(*_: object) -> None:
        raise AssertionError

    async def receive() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", HOST.encode())]
    scope = {"type": "http", "method": "POST", "path": "/review/decide", "headers": headers}
    # In a thread of its own: a browser of other tests may keep this one's event loop running.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, Guard(behind)(scope, receive, send)).result()
    assert sent[0]["status"] == 408
    assert b"too_slow" in sent[1]["body"]
