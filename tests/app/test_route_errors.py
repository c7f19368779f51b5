"""What the routes answer to what is malformed, unknown or broken."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from app import store_path
from mseg_curate import review
from mseg_curate.errors import StoreError
from tests.app.route_client import GOOD_CLAIM, TASK, Server, decision


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("claim", b"", "not JSON"),
        ("claim", b"{", "not JSON"),
        ("claim", b"[" * 5000, "not JSON"),
        ("claim", b"[]", "a JSON object"),
        ("claim", b'"\xff"', "not JSON"),
        ("claim", GOOD_CLAIM | {"count": 0}, "count"),
        ("claim", GOOD_CLAIM | {"count": 101}, "count"),
        ("claim", GOOD_CLAIM | {"count": 1.5}, "count"),
        ("claim", GOOD_CLAIM | {"count": True}, "count"),
        ("claim", GOOD_CLAIM | {"task": ""}, "task"),
        ("claim", GOOD_CLAIM | {"task": ["kinds"]}, "task"),
        ("claim", GOOD_CLAIM | {"task": "\ud800"}, "task"),
        ("claim", GOOD_CLAIM | {"mode": "import"}, "mode"),
        ("claim", GOOD_CLAIM | {"client": "a b"}, "client"),
        ("claim", GOOD_CLAIM | {"client": "x" * 65}, "client"),
        ("claim", GOOD_CLAIM | {"held": "x"}, "held"),
        ("claim", GOOD_CLAIM | {"held": ["zz"]}, "held[0]"),
        ("claim", GOOD_CLAIM | {"held": ["0" * 32] * 1501}, "held"),
        ("claim", GOOD_CLAIM | {"class_name": "cat"}, "class_name"),
        ("claim", GOOD_CLAIM | {"person_id": 2}, "person_id"),
        ("renew", {"client": "tab", "held": [1]}, "held[0]"),
        ("release", {"held": []}, "client"),
        ("decide", {"client": "tab"}, "operations"),
        ("decide", {"client": "tab", "operations": []}, "operations"),
        ("decide", {"client": "tab", "operations": [{}] * 101}, "operations"),
        ("decide", {"client": "tab", "operations": [7]}, "operations[0]"),
    ],
)
def test_malformed_bodies(
    server: Server, path: str, body: bytes | dict[str, object], word: str
) -> None:
    """A body that cannot be understood is refused with a sentence that names the place."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = server.client.post(f"/review/{path}", content=content, headers=server.headers("ann"))
    assert (answer.status_code, answer.json()["error"]) == (422, "malformed")
    assert word in answer.json()["message"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"op": "erase"}, "op"),
        ({"uuid": "x"}, "uuid"),
        ({"uuid": "A" * 32}, "uuid"),
        ({"lease": 5}, "lease"),
        ({"outcome": "withdrawn"}, "outcome"),
        ({"outcome": ""}, "outcome"),
        ({"class_name": ""}, "class_name"),
        ({"outcome": "unsure"}, "class_name"),
        ({"of": "0" * 32}, "of"),
        ({"op": "undo", "outcome": "", "class_name": ""}, "of"),
        ({"op": "skip"}, "outcome"),
        ({"milliseconds": -1}, "milliseconds"),
        ({"milliseconds": "soon"}, "milliseconds"),
        ({"age_s": -1}, "age_s"),
        ({"age_s": True}, "age_s"),
        ({"age_s": 10**400}, "age_s"),
        ({"milliseconds": 10**400}, "milliseconds"),
        ({"comment": "x" * 2001}, "comment"),
        ({"annotator": "cur"}, "annotator"),
        ({"mode": "adjudication"}, "mode"),
    ],
)
def test_malformed_operations(server: Server, changes: dict[str, object], word: str) -> None:
    """An operation that cannot be understood is refused, and none of its batch is done."""
    lease = server.lease("ann")
    body = {"client": "tab", "operations": [decision(lease), decision(lease) | changes]}
    answer = server.client.post("/review/decide", json=body, headers=server.headers("ann"))
    assert answer.status_code == 422
    assert "operations[1]" in answer.json()["message"]
    assert word in answer.json()["message"]
    assert server.get("ann", f"/review/recent?task={TASK}").json() == {"recent": []}


def test_not_a_number(server: Server) -> None:
    """NaN, which JSON readers let pass, is refused."""
    text = json.dumps({"client": "tab", "operations": [decision("0" * 32, age_s=float("nan"))]})
    answer = server.client.post(
        "/review/decide", content=text.encode(), headers=server.headers("ann")
    )
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("browse/99/photo", 404),
        ("browse/1/eaten", 404),
        ("browse/-1/photo", 404),
        ("browse/x/photo", 404),
        ("browse/" + "9" * 5000 + "/photo", 404),
        ("browse/1/photo?px=9999", 422),
        ("browse/1/after?mask=x", 422),
        ("browse/1/after?mask=" + "9" * 30, 422),
        ("example/kinds/" + "9" * 30 + "/0", 404),
        ("example/kinds/0/x", 404),
    ],
)
def test_pictures_of_nothing(server: Server, path: str, status: int) -> None:
    """An address of a picture that is none, or has endless numbers in it, is refused in words."""
    answer = server.get("cur", f"/review/{path}")
    assert answer.status_code == status
    assert answer.json().keys() == {"error", "message"}


@pytest.mark.parametrize("query", ["px=5", "px=9999", "px=x", "px=-1"])
def test_sizes_are_bounded(server: Server, query: str) -> None:
    """A crop of a size that is none, or enormous, is refused."""
    assert server.get("ann", f"/review/lease/{server.lease('ann')}/crop?{query}").status_code == 422


def test_a_body_too_large(server: Server) -> None:
    """A body over 64 KiB is refused before it is read."""
    answer = server.client.post(
        "/review/decide", content=b" " * 70_000, headers=server.headers("ann")
    )
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/review/claim", 405),
        ("POST", "/review/task", 405),
        ("OPTIONS", "/review/claim", 405),
        ("DELETE", "/review/sign-in", 405),
        ("GET", "/review/nothing", 404),
        ("POST", "/review/", 404),
    ],
)
def test_other_addresses(server: Server, method: str, path: str, status: int) -> None:
    """Another method or address below /review/ is refused in words, never answered with the app's page."""
    answer = server.client.request(method, path, headers=server.headers("ann"))
    assert answer.status_code == status
    assert answer.json().keys() == {"error", "message"}
    assert ("allow" in answer.headers) == (status == 405)


def test_unknown_and_closed_tasks(server: Server) -> None:
    """An unknown task is not found; a closed one is a conflict."""
    body = GOOD_CLAIM | {"task": "nothing"}
    answer = server.client.post("/review/claim", json=body, headers=server.headers("ann"))
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_task")
    assert server.get("ann", "/review/task?task=nothing").status_code == 404
    assert server.get("ann", "/review/task").status_code == 422
    with server.store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET status = 'closed'")
    answer = server.client.post("/review/claim", json=GOOD_CLAIM, headers=server.headers("ann"))
    assert (answer.status_code, answer.json()["error"]) == (409, "task_closed")


def test_a_photo_that_is_gone(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A photo that cannot be read is said in a sentence without its path, which the log has."""
    lease = server.lease("ann")
    for path in (server.farm / "images").iterdir():
        path.unlink()
    for picture in ("photo", "crop"):
        answer = server.get("ann", f"/review/lease/{lease}/{picture}")
        assert (answer.status_code, answer.json()["error"]) == (409, "picture")
        assert str(server.farm) not in answer.text
    assert str(server.farm) in caplog.text
    assert lease not in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [(ZeroDivisionError("secret"), 500, "failed"), (StoreError("secret path"), 503, "store")],
)
def test_what_nobody_foresaw(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    error: Exception,
    status: int,
    reason: str,
) -> None:
    """Another error is a fixed sentence to the client; the log says what it was, without token or lease."""

    def fail(*_: object, **__: object) -> None:
        raise error

    lease = server.lease("ann")
    monkeypatch.setattr(review, "leased_mask", fail)
    headers = server.headers("ann")
    with caplog.at_level(logging.DEBUG):
        answer = server.client.get(f"/review/lease/{lease}/photo", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, reason)
    assert "secret" not in answer.text
    assert "secret" in caplog.text
    assert "/review/lease/{lease}/photo" in caplog.text
    assert headers["Authorization"].split()[1] not in caplog.text


def test_no_store(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without its store a server answers in a sentence, not with a traceback."""
    headers = server.headers("ann")
    monkeypatch.setenv(store_path.VARIABLE, str(tmp_path / "none.db"))
    answer = server.client.get(f"/review/task?task={TASK}", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (503, "store")
