"""What the routes answer to those who may ask."""

from __future__ import annotations

import io
import time
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from app.tokens import TOKEN_S, read_token
from mseg_curate import review
from tests.app.route_client import TASK, Server, decision


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
    assert picture.headers["cache-control"] == "private, max-age=3600"
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
    assert photo.headers["cache-control"] == "no-store"
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


@pytest.mark.parametrize("kind", ["photo", "before", "after", "overlay", "pair"])
def test_pictures_to_browse(server: Server, kind: str) -> None:
    """A curator gets an image's photo and label maps, which no cache keeps; a browser without proof does not."""
    answer = server.get("cur", f"/review/browse/1/{kind}?px=64&mask=1")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert max(picture.size) <= (128 if kind == "pair" else 64)
    unproved = server.headers("cur", bound=False)
    assert server.client.get(f"/review/browse/1/{kind}", headers=unproved).status_code == 403


def test_a_photo_to_browse_that_is_gone(server: Server) -> None:
    """A file that is lost or was changed is said so, without its path."""
    (server.farm / "labels" / "a.png").write_bytes(b"no picture")
    answer = server.get("cur", "/review/browse/1/after")
    assert (answer.status_code, answer.json()["error"]) == (409, "picture")
    assert str(server.farm) not in answer.text
