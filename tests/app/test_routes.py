"""The routes: who may call which, and whose is what."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from starlette.routing import Route

from app import routes
from app.routes import ROUTES, build_routes
from app.tokens import TOKEN_S, mint_token, secret_of, sign_claims
from mseg_curate.annotators import pause_person, set_role, sign_in_person
from tests.app.route_client import SECRETS, TASK, Server, decision

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
    "/review/example/{task:path}/{position}/{number}": lambda _: (
        f"/review/example/{TASK}/0/0",
        None,
    ),
    "/review/browse/{image}/{kind}": lambda _: ("/review/browse/1/pair?px=64&mask=1", None),
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
        may = entry.least == "annotator" or who in ("cur", "adm")
        assert answer.status_code == (200 if may else 403), (who, answer.text)


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
