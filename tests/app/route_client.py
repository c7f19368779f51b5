"""The routes alone over a small store, without Streamlit's server: who asks, and what they send."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from app.routes import build_routes
from app.security import Guard
from app.tokens import mint_token
from mseg_curate.annotators import pause_person, set_role, sign_in_person
from mseg_curate.store import Store

TASK = "kinds"
SECRETS = ("cat", "dog", "cow", "animal", "farm")
GOOD_CLAIM: dict[str, object] = {"task": TASK, "count": 1, "client": "tab", "held": []}


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


@contextlib.contextmanager
def serving_routes(farm_store: Store, farm: Path) -> Iterator[Server]:
    """The guarded routes over the store of the farm, with people of every role."""
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
