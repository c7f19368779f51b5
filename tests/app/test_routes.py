"""The routes: who may call which, what reaches whom, and how errors are said."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.testclient import TestClient

from app import routes, store_path
from app.routes import ROUTES, build_routes
from app.security import Guard
from app.tokens import TOKEN_S, mint_token, read_token, secret_of, sign_claims
from mseg_curate import review
from mseg_curate.annotators import pause_person, set_role, sign_in_person
from mseg_curate.errors import StoreError
from mseg_curate.store import Store

TASK = "kinds"
SECRETS = ("cat", "dog", "cow", "animal", "farm")


@dataclass(frozen=True)
class Server:
    """The routes over a store, and tokens for its people."""

    client: TestClient
    store: Store
    farm: Path

    def headers(self, who: str, *, bound: bool = True, age_s: float = 0.0) -> dict[str, str]:
        """Return the headers of a request of a person, who is made at first use."""
        person = sign_in_person(self.store, who, now=time.time())
        token = mint_token(self.store.path, person.id, bound=bound, now=time.time() - age_s)
        return {"Authorization": f"Bearer {token}"}

    def claim(self, who: str, *, count: int = 1, mode: str = "single") -> list[dict[str, Any]]:
        """Claim masks for a person."""
        body = {"task": TASK, "count": count, "mode": mode, "client": f"tab-{who}", "held": []}
        answer = self.client.post("/review/claim", json=body, headers=self.headers(who))
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def lease(self, who: str) -> str:
        """Claim one mask for a person and return its lease."""
        (item,) = self.claim(who)
        return str(item["lease"])

    def decide(self, who: str, *operations: dict[str, object]) -> list[dict[str, Any]]:
        """Send operations of a person."""
        body = {"client": f"tab-{who}", "operations": list(operations)}
        answer = self.client.post("/review/decide", json=body, headers=self.headers(who))
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def get(self, who: str, path: str) -> Any:
        """Ask for something as a person."""
        return self.client.get(path, headers=self.headers(who))


@pytest.fixture
def server(farm_store: Store, farm: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The guarded routes over the store of the farm, with people of every role."""
    monkeypatch.setenv(store_path.VARIABLE, str(farm_store.path))
    now = time.time()
    for name, role in (("ann", "annotator"), ("cur", "curator"), ("adm", "admin")):
        sign_in_person(farm_store, name, now=now)
        set_role(farm_store, name, role=role, by="test", now=now)
    sign_in_person(farm_store, "paul", now=now)
    pause_person(farm_store, "paul", by="cur", note="test", now=now)
    with farm_store.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO task_example (task_id, position, number, mask_id) "
            "SELECT task_id, 0, 0, MIN(mask_id) FROM task_mask"
        )
        connection.exec_driver_sql(
            "INSERT INTO annotator (name, kind, created_at, role, status) "
            "VALUES ('robot', 'simulated', '2026-01-01', 'admin', 'active')"
        )
    app = Starlette(routes=build_routes(), middleware=[Middleware(Guard)])
    with TestClient(app, base_url="http://127.0.0.1:8501") as client:
        yield Server(client, farm_store, farm)


def decision(lease: str, **changes: object) -> dict[str, object]:
    """Return an operation that decides `cat`."""
    made = {"op": "decide", "uuid": uuid4().hex, "lease": lease, "outcome": "class"}
    return made | {"class_name": "cat", "milliseconds": 700, "age_s": 0.5} | changes


# --- the table of routes × roles --------------------------------------------------------------------

LEASES: dict[str, object] = {"client": "tab", "held": ["0" * 32]}
REQUESTS: dict[str, Callable[[str], tuple[str, dict[str, object] | None]]] = {
    "/review/claim": lambda _: (
        "/review/claim",
        {"task": TASK, "count": 1, "mode": "single", "client": "tab", "held": []},
    ),
    "/review/decide": lambda lease: (
        "/review/decide",
        {"client": "tab", "operations": [decision(lease)]},
    ),
    "/review/renew": lambda _: ("/review/renew", LEASES),
    "/review/release": lambda _: ("/review/release", LEASES),
    "/review/recent": lambda _: (f"/review/recent?task={TASK}", None),
    "/review/task": lambda _: (f"/review/task?task={TASK}", None),
    "/review/lease/{lease}/photo": lambda lease: (f"/review/lease/{lease}/photo", None),
    "/review/lease/{lease}/mask.png": lambda lease: (f"/review/lease/{lease}/mask.png", None),
    "/review/lease/{lease}/crop": lambda lease: (f"/review/lease/{lease}/crop", None),
    "/review/example/{task:path}/{position:int}/{number:int}": lambda _: (
        f"/review/example/{TASK}/0/0",
        None,
    ),
}


def strangers(server: Server) -> dict[str, dict[str, str]]:
    """Return the headers of everybody who is nobody."""
    now = time.time()
    path = server.store.path
    ann = sign_in_person(server.store, "ann", now=now).id
    with server.store.reading() as connection:
        robot = connection.exec_driver_sql("SELECT id FROM annotator WHERE name = 'robot'").scalar()
    claims = {"who": ann, "bound": True, "since": int(now), "until": int(now) + 900}
    right = mint_token(path, ann, bound=True, now=now)
    tokens = {
        "garbage": "x" * 40,
        "empty": "",
        "unsigned": right.partition(".")[0],
        "forged": sign_claims(b"k" * 32, "pane", claims),
        "a cookie": sign_claims(secret_of(path), "browser", claims),
        "expired": mint_token(path, ann, bound=True, now=now - TOKEN_S - 1),
        "of a deleted person": mint_token(path, 9999, bound=True, now=now),
        "of no person": mint_token(path, int(str(robot)), bound=True, now=now),
    }
    headers = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
    return headers | {
        "no token": {},
        "another scheme": {"Authorization": f"Basic {right}"},
        "no scheme": {"Authorization": right},
        "in a cookie": {"Cookie": f"token={right}"},
    }


@pytest.mark.parametrize("entry", ROUTES, ids=lambda entry: f"{entry.method} {entry.path}")
def test_routes_by_roles(server: Server, entry: routes.Entry) -> None:
    """Nobody without a token that holds gets past any route; the paused are refused, the others answered."""
    leases = {who: server.lease(who) for who in ("ann", "cur", "adm")}
    seen: dict[str, int] = {}
    for name, headers in (strangers(server) | {"paused": server.headers("paul")}).items():
        path, body = REQUESTS[entry.path](leases["ann"])
        answer = server.client.request(entry.method, path, json=body, headers=headers)
        seen[name] = answer.status_code
        assert answer.json().keys() == {"error", "message"}
        assert not any(secret in answer.text for secret in SECRETS)
    assert seen.pop("paused") == 403
    assert set(seen.values()) == {401}
    for who, lease in leases.items():
        path, body = REQUESTS[entry.path](lease)
        answer = server.client.request(entry.method, path, json=body, headers=server.headers(who))
        assert answer.status_code == 200, (who, answer.text)


def test_the_table_is_whole() -> None:
    """Every route is in the table of this test, or is one by which people come and go."""
    built = [route for route in build_routes() if isinstance(route, Route)]
    tabled = {entry.path for entry in ROUTES}
    assert tabled == REQUESTS.keys()
    assert [route.path for route in built if route.path not in tabled] == [
        "/review/sign-in",
        "/review/sign-out",
        "/review/link/{token}",
        "/review/{rest:path}",
    ]
    assert all(entry.least in ("annotator", "curator", "admin") for entry in ROUTES)


@pytest.mark.parametrize(
    ("who", "bound", "status"),
    [("ann", True, 403), ("cur", True, 200), ("adm", True, 200), ("cur", False, 403)],
)
def test_adjudication_is_for_curators(server: Server, who: str, bound: bool, status: int) -> None:
    """Masks to adjudicate go to curators and admins whose browser proved who they are."""
    body = {"task": TASK, "count": 1, "mode": "adjudication", "client": "tab", "held": []}
    headers = server.headers(who, bound=bound)
    assert server.client.post("/review/claim", json=body, headers=headers).status_code == status


def test_the_role_is_read_each_time(server: Server) -> None:
    """A curator who is demoted, and a person who is paused, lose their rights with their next request."""
    body = {"task": TASK, "count": 1, "mode": "adjudication", "client": "tab", "held": []}
    headers = server.headers("cur")
    assert server.client.post("/review/claim", json=body, headers=headers).status_code == 200
    set_role(server.store, "cur", role="annotator", by="adm", now=time.time())
    assert server.client.post("/review/claim", json=body, headers=headers).status_code == 403
    pause_person(server.store, "cur", by="adm", note="test", now=time.time())
    answer = server.client.get(f"/review/task?task={TASK}", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "paused")


# --- whose is what ----------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", ["photo", "mask.png", "crop"])
def test_another_ones_pictures(server: Server, picture: str) -> None:
    """The pictures of somebody else's lease are refused, to curators and admins too, without any data."""
    lease = server.lease("ann")
    assert server.get("ann", f"/review/lease/{lease}/{picture}").status_code == 200
    for who in ("ben", "cur", "adm"):
        answer = server.get(who, f"/review/lease/{lease}/{picture}")
        assert answer.status_code in (403, 404)
        assert answer.json().keys() == {"error", "message"}


@pytest.mark.parametrize("lease", ["0" * 32, "nothing", "A" * 32, "%00", "..%2f..%2fstore.db"])
def test_a_lease_that_is_none(server: Server, lease: str) -> None:
    """What is no lease at all has no pictures."""
    assert server.get("ann", f"/review/lease/{lease}/photo").status_code in (403, 404)


def test_another_ones_lease(server: Server) -> None:
    """Somebody else's lease can be neither decided, nor extended, nor given back."""
    lease = server.lease("ann")
    (result,) = server.decide("ben", decision(lease))
    assert (result["status"], result["reason"]) == ("refused", "not_yours")
    body = {"client": "tab-ann", "held": [lease]}
    answer = server.client.post("/review/renew", json=body, headers=server.headers("ben"))
    assert answer.json() == {"held": []}
    server.client.post("/review/release", json=body, headers=server.headers("ben"))
    answer = server.client.post("/review/renew", json=body, headers=server.headers("ann"))
    assert answer.json() == {"held": [lease]}


def test_another_ones_decision(server: Server) -> None:
    """Somebody else's decision can be neither seen nor taken back."""
    made = decision(server.lease("ann"))
    assert server.decide("ann", made)[0]["status"] == "stored"
    undo = {"op": "undo", "uuid": uuid4().hex, "lease": uuid4().hex, "of": made["uuid"]}
    assert server.decide("ben", undo)[0]["reason"] == "not_yours"
    assert server.get("ben", f"/review/recent?task={TASK}").json() == {"recent": []}
    (mine,) = server.get("ann", f"/review/recent?task={TASK}").json()["recent"]
    assert (mine["uuid"], mine["class_name"]) == (made["uuid"], "cat")


# --- what is answered -------------------------------------------------------------------------------


def test_a_claim(server: Server) -> None:
    """A claim says where masks lie and how far the task is, and nothing about what they are."""
    items = server.claim("ann", count=9)
    assert len(items) == 3
    assert all(
        item.keys() == {"lease", "size_hw", "box", "area_px", "expires_in_s"} for item in items
    )
    assert server.claim("ben") == []
    body = {"task": TASK, "count": 1, "client": "tab-ann", "held": [i["lease"] for i in items]}
    answer = server.client.post("/review/claim", json=body, headers=server.headers("ann"))
    assert answer.json()["items"] == []
    assert answer.json()["progress"]["masks"] == 3
    assert answer.headers["cache-control"] == "no-store"


def test_a_reload_gets_its_masks_back(server: Server) -> None:
    """The same browser tab, holding nothing after a reload, is given its live leases again."""
    first = {item["lease"] for item in server.claim("ann", count=2)}
    assert {item["lease"] for item in server.claim("ann", count=2)} == first


def test_decisions_in_their_order(server: Server) -> None:
    """Operations are done in order, and a retry changes nothing and is told so."""
    first, second = (item["lease"] for item in server.claim("ann", count=2))
    made = decision(first)
    undo = {"op": "undo", "uuid": uuid4().hex, "lease": uuid4().hex, "of": made["uuid"]}
    again = decision(str(undo["lease"]), outcome="unsure", class_name="")
    skip = {"op": "skip", "uuid": uuid4().hex, "lease": second}
    results = server.decide("ann", made, undo, again, skip)
    assert [result["status"] for result in results] == ["stored"] * 4
    assert results[1]["item"]["lease"] == undo["lease"]
    results = server.decide("ann", made, undo, again)
    assert [result["status"] for result in results] == ["known"] * 3
    (recent,) = server.get("ann", f"/review/recent?task={TASK}").json()["recent"]
    assert recent["outcome"] == "unsure"


def test_progress_beside_decisions(server: Server) -> None:
    """Decisions bring the progress of their task: the one that is named, or the tab's last claim; else none."""
    body = {"client": "tab-ann", "operations": [decision("0" * 32)]}
    headers = server.headers("ann")
    assert (
        server.client.post("/review/decide", json=body, headers=headers).json()["progress"] is None
    )
    for task, masks in ((TASK, 3), ("no such task", None)):
        answer = server.client.post("/review/decide", json=body | {"task": task}, headers=headers)
        assert (answer.json()["progress"] or {}).get("masks") == masks
    server.claim("ann")
    answer = server.client.post("/review/decide", json=body, headers=headers)
    assert answer.json()["progress"]["masks"] == 3


def test_progress_is_counted_now_and_then(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is counted once in two seconds, however often it is asked for."""
    counts = []
    counted = review.progress_of

    def count(*words: Any, **more: Any) -> review.Progress:
        counts.append(1)
        return counted(*words, **more)

    monkeypatch.setattr(review, "progress_of", count)
    clock = [1000.0]
    monkeypatch.setattr("app.routes.time.monotonic", lambda: clock[0])
    for _ in range(5):
        server.claim("ann")
    assert len(counts) == 1
    clock[0] += 2
    server.claim("ann")
    assert len(counts) == 2


def test_the_question(server: Server) -> None:
    """The question names candidates and definitions; its examples are addresses, not row ids."""
    answer = server.get("ann", f"/review/task?task={TASK}").json()
    assert answer["name"] == TASK
    assert answer["source_class"] == "animal"
    assert [c["name"] for c in answer["candidates"]] == ["cat", "dog", "cow"]
    assert [c["examples"] for c in answer["candidates"]] == [["/review/example/kinds/0/0"], [], []]
    picture = server.get("ann", answer["candidates"][0]["examples"][0] + "?px=64")
    assert picture.headers["content-type"] == "image/jpeg"
    assert server.get("ann", "/review/example/kinds/0/1").status_code in (403, 404)
    assert server.get("ann", "/review/example/kinds/9/0").status_code in (403, 404)
    assert server.get("ann", "/review/example/nothing/0/0").status_code == 404


def test_a_task_of_any_name(server: Server) -> None:
    """The examples of a task whose name has blanks, slashes and marks are found by the address that is given."""
    name = "kinds/of <b>animals</b> & co? 100 %"
    with server.store.writing() as connection:
        connection.exec_driver_sql("UPDATE task SET name = ?", (name,))
    answer = server.client.get(
        "/review/task", params={"task": name}, headers=server.headers("ann")
    ).json()
    assert answer["name"] == name
    assert server.get("ann", answer["candidates"][0]["examples"][0]).status_code == 200


def test_the_pictures(server: Server) -> None:
    """The photo is the file's bytes, the mask has its box's size and area, the crop says what it shows."""
    (item,) = server.claim("ann")
    path = f"/review/lease/{item['lease']}"
    photo = server.get("ann", f"{path}/photo")
    assert photo.headers["content-type"] == "image/jpeg"
    assert photo.headers["cache-control"] == "private, max-age=3600"
    files = [p.read_bytes() for p in (server.farm / "images").iterdir()]
    assert photo.content in files
    mask = server.get("ann", f"{path}/mask.png")
    with Image.open(io.BytesIO(mask.content)) as picture:
        assert picture.mode == "1"
        pixels = np.asarray(picture)
    top, left, bottom, right = item["box"]
    assert pixels.shape == (bottom - top, right - left)
    assert int(pixels.sum()) == item["area_px"]
    crop = server.get("ann", f"{path}/crop?px=64")
    box = [int(side) for side in crop.headers["x-crop-box"].split(",")]
    with Image.open(io.BytesIO(crop.content)) as picture:
        assert picture.size == (box[3] - box[1], box[2] - box[0])


def test_a_fresh_token_comes_along(server: Server) -> None:
    """An answer to a token past half its life brings a fresh one, and to a younger one none."""
    old = server.headers("ann", bound=False, age_s=TOKEN_S * 0.6)
    fresh = server.client.get(f"/review/task?task={TASK}", headers=old).json()["token"]
    token = read_token(server.store.path, fresh, now=time.time())
    assert token is not None
    assert token.bound is False
    assert token.expires_s > time.time() + TOKEN_S * 0.9
    headers = {"Authorization": f"Bearer {fresh}"}
    assert "token" not in server.client.get(f"/review/task?task={TASK}", headers=headers).json()


# --- errors -------------------------------------------------------------------------------------------

GOOD_CLAIM: dict[str, object] = {"task": TASK, "count": 1, "client": "tab", "held": []}


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
        ("claim", GOOD_CLAIM | {"held": ["0" * 32] * 201}, "held"),
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
