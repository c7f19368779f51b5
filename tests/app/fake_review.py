"""A small review server in memory, for the tests of the panes: the contract of the routes on a list of masks."""

from __future__ import annotations

import asyncio
import io
import json
import random
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import cast

import numpy as np
import uvicorn
from PIL import Image, ImageFilter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from app.panes import pane_script, pane_style

# As strict as the real server's, so that a pane that needs more fails here.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self' blob: data:; frame-ancestors 'none'"
)
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>pane</title>
<body style="margin:8px;font-family:sans-serif"><h1 style="font-size:1px;margin:0">Pane</h1>
<label>Outside <input id="outside"></label><main id="place"></main>
<script type="module">
import mount from '/pane.js?name=NAME';
window.triggers = [];
const root = document.getElementById('place').attachShadow({ mode: 'open' });
root.append(Object.assign(document.createElement('style'), { textContent: STYLE }));
const component = (more) => ({ parentElement: root, key: 'k', name: 'n', data: { ...DATA, ...more },
  setTriggerValue: (name, value) => window.triggers.push([name, value]), setStateValue: () => {} });
window.mountPane = (more = {}) => { window.unmountPane = mount(component(more)); };
window.mountPane();
</script></body></html>"""
CLASSES = ("cow", "sheep", "<img src=x onerror='window.pwned=1'><b>horse</b>")


Bits = np.ndarray[tuple[int, int], np.dtype[np.bool_]]
Body = dict[str, object]
Answer = Callable[[Request, Body], Response]
Endpoint = Callable[[Request], Awaitable[Response]]
Page = Callable[[Request], Response]


@dataclass
class Leased:
    """A lease of the fake: whose mask, which tab, which mode."""

    mask: int
    client: str
    mode: str


@dataclass
class FakeReview:
    """The contract of the review routes on a list of masks in memory, for one person."""

    masks: int = 200
    photo_size: tuple[int, int] = (2048, 1024)
    question: Body = field(default_factory=dict)
    leases: dict[str, Leased] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    done: dict[str, Body] = field(default_factory=dict)
    log: list[Body] = field(default_factory=list)
    standing: dict[int, str] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)
    excepted: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    practice: dict[int, str] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    token: str = "first"
    blocked: tuple[int, str, str] | None = None
    deaf_to: int = 0
    away: bool = False
    stuck: bool = False
    lag_s: float = 0.0
    failing: float = 0.0
    luck: random.Random = field(default_factory=lambda: random.Random(5))
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.question = {
            "name": "animals",
            "dataset": "farm",
            "source_class": "animal",
            "instructions": "Judge what the region shows, not what is beside it.",
            "candidates": [
                {
                    "position": number,
                    "name": name,
                    "definition": f"What a dictionary says of {name[:5]}, in one sentence or two.",
                    "examples": [f"/review/example/animals/{number}/{n}" for n in range(3)],
                }
                for number, name in enumerate(CLASSES)
            ],
            "status": "open",
            "lease_s": 600,
        }
        self._pictures = {n: _draw_photo(n, self.photo_size) for n in range(3)}

    # --- what the routes do ---

    def claim(self, body: Body) -> Body:
        """Hand out leases of this client that it does not hold yet, then new ones."""
        with self.lock:
            held = set(cast("list[str]", body["held"]))
            client, mode = str(body["client"]), str(body["mode"])
            mine = [
                token
                for token, lease in self.leases.items()
                if lease.client == client and lease.mode == mode and token not in held
            ]
            taken = {lease.mask for lease in self.leases.values()} | set(self.standing)
            taken |= self.skipped | (self.excepted if mode == "grid" else set())
            free = [n for n in range(self.masks) if n not in taken]
            count = cast("int", body["count"])
            for mask in free[: max(0, count - len(mine))]:
                token = secrets.token_hex(16)
                self.leases[token] = Leased(mask, client, mode)
                mine.append(token)
            return {"items": [self.item(token) for token in mine[:count]]}

    def item(self, token: str) -> Body:
        """Return a lease as a client sees it."""
        top, left, bottom, right = self.box(self.leases[token].mask)
        return {
            "lease": token,
            "size_hw": [self.photo_size[1], self.photo_size[0]],
            "box": [top, left, bottom, right],
            "area_px": int(self.shape(self.leases[token].mask).sum()),
            "expires_in_s": 600.0,
        }

    def box(self, mask: int) -> tuple[int, int, int, int]:
        """Return top, left, bottom, right of a mask; sizes and places differ from mask to mask."""
        width, height = self.photo_size
        w, h = 60 + (mask * 37) % (width // 4), 50 + (mask * 53) % (height // 3)
        left, top = (mask * 211) % (width - w), (mask * 131) % (height - h)
        return top, left, top + h, left + w

    def shape(self, mask: int) -> Bits:
        """Return the pixels of a mask in its box: (h, w) bool, a wavy ellipse."""
        top, left, bottom, right = self.box(mask)
        return _draw_shape(bottom - top, right - left, mask)

    def apply(self, body: Body) -> Body:
        """Do operations in order, each uuid once."""
        with self.lock:
            operations = cast("list[Body]", body["operations"])
            results = [self.apply_one(one, str(body["client"])) for one in operations]
            return {"results": results}

    def apply_one(self, op: Body, client: str) -> Body:
        """Do one operation."""
        uuid, lease = str(op["uuid"]), str(op["lease"])
        if uuid in self.done:
            return {**self.done[uuid], "status": "known"}
        result: Body = {"uuid": uuid, "status": "stored"}
        if op["op"] == "undo":
            of = next((entry for entry in self.log if op["of"] in named(entry)), None)
            if of is None:
                return self.refuse(uuid, "unknown", "There is no such decision.")
            mask, mode = cast("int", of["mask"]), str(of["mode"])
            self.standing.pop(mask, None)
            self.excepted.discard(mask)
            if mask in self.settled:
                return self.finish(op, mask, mode, client, result)
            self.leases[lease] = Leased(mask, client, mode)
            result["item"] = self.item(lease)
        elif lease in self.expired or lease not in self.leases:
            return self.refuse(
                uuid, "expired", "The time for this mask ran out; another person has it now."
            )
        else:
            mask, mode = self.leases[lease].mask, self.leases[lease].mode
            result |= self.settle(op, lease, mask)
        return self.finish(op, mask, mode, client, result)

    def finish(self, op: Body, mask: int, mode: str, client: str, result: Body) -> Body:
        """Write an operation that was done into the log."""
        self.log.append({**op, "mask": mask, "mode": mode, "client": client})
        self.done[str(op["uuid"])] = result
        return result

    def settle(self, op: Body, lease: str, mask: int) -> Body:
        """Store what was said of a leased mask; return what the answer adds."""
        if op["op"] == "flag":
            return {}
        self.spent[lease] = mask
        mode = self.leases.pop(lease).mode
        if op["op"] == "skip":
            self.skipped.add(mask)
            return {}
        if op["op"] == "except":
            self.excepted.add(mask)
            return {}
        self.standing[mask] = str(op["uuid"])
        if mode == "adjudication":
            vote = {"annotator": "Vote A", "outcome": "class", "class_name": "sheep"}
            return {"votes": [{**vote, "mode": "single"}]}
        if mask in self.practice:
            answer = self.practice[mask]
            right = op.get("class_name") == answer
            return {"feedback": {"right": right, "answer": answer, "note": "Look at the legs."}}
        return {}

    def refuse(self, uuid: str, reason: str, message: str) -> Body:
        """Return a refusal; it is not remembered."""
        return {"uuid": uuid, "status": "refused", "reason": reason, "message": message}

    def recent(self) -> list[Body]:
        """Return the last five standing decisions, newest first."""
        with self.lock:
            alive = set(self.standing.values())
            found = [entry for entry in reversed(self.log) if entry["uuid"] in alive]
            keys = ("uuid", "outcome")
            return [
                {**{key: entry[key] for key in keys}, "class_name": entry.get("class_name", "")}
                for entry in found[:5]
            ]

    def progress(self) -> Body:
        """Return how far the task is."""
        done = len(self.standing)
        return {
            "masks": self.masks,
            "done": done,
            "mine": done,
            "mine_today": done,
            "pace_per_hour": 612.0,
        }

    # --- what tests ask ---

    @property
    def decided(self) -> list[Body]:
        """Every decision in the order in which it was stored."""
        with self.lock:
            return [entry for entry in self.log if entry["op"] == "decide"]

    def photo(self, mask: int) -> bytes:
        """Return the photo of a mask as JPEG."""
        return self._pictures[mask % 3]

    def mask_of(self, lease: str) -> int:
        """Return the mask of a lease, live or spent."""
        with self.lock:
            return self.leases[lease].mask if lease in self.leases else self.spent[lease]


def named(entry: Body) -> tuple[object, ...]:
    """By what an undo names an operation: its uuid, an exception by its lease."""
    return (entry["lease"],) if entry["op"] == "except" else (entry["uuid"],)


@cache
def _draw_photo(seed: int, size: tuple[int, int]) -> bytes:
    """Draw something that has the weight of a photo: soft shapes and grain."""
    rng = np.random.default_rng(seed)
    width, height = size
    coarse = rng.integers(30, 225, (9, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    grain = rng.normal(0, 9, (height, width, 3))
    noisy = np.clip(np.asarray(picture, dtype=np.float32) + grain, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noisy).filter(ImageFilter.GaussianBlur(0.7)).save(out, "JPEG", quality=88)
    return out.getvalue()


@cache
def _draw_shape(height: int, width: int, seed: int) -> Bits:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray(np.hypot(x, y) < 0.86 + 0.12 * np.sin(7 * np.arctan2(y, x) + seed))


def _png_of(bits: Bits) -> bytes:
    out = io.BytesIO()
    Image.fromarray(bits).convert("1").save(out, "PNG")
    return out.getvalue()


class FakeServer:
    """The fake behind HTTP on a port of its own; it can go away and come back."""

    def __init__(self, review: FakeReview) -> None:
        self.review = review
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Listen, and return once the server answers."""
        settings = uvicorn.Config(
            self._app(),
            host="127.0.0.1",
            port=self.port,
            log_level="critical",
            ws="none",
            lifespan="off",
        )
        settings.timeout_graceful_shutdown = 0
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started:
            if time.monotonic() > until:
                raise TimeoutError("the fake server did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Go away: connections break, nobody answers."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)

    def page_url(self, name: str = "review", **data: object) -> str:
        """Return the address of a page with one pane."""
        given = {"token": self.review.token, "task": "animals", "mode": "single", "person": "7"}
        return f"{self.url}/?name={name}&data={json.dumps({**given, **data})}"

    def _app(self) -> Starlette:
        review = self.review

        def page(request: Request) -> Response:
            name, data = request.query_params["name"], request.query_params["data"]
            style = json.dumps(pane_style(name)).replace("</", "<\\/")
            text = PAGE.replace("NAME", name).replace("STYLE", style).replace("DATA", data)
            return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})

        def script(request: Request) -> Response:
            return Response(pane_script(request.query_params["name"]), media_type="text/javascript")

        def guard(answer: Answer) -> Endpoint:
            async def endpoint(request: Request) -> Response:
                if review.away:
                    return JSONResponse({"error": "away"}, status_code=503)
                if request.headers.get("authorization") != f"Bearer {review.token}":
                    return JSONResponse({"error": "token", "message": "Expired."}, status_code=401)
                if review.blocked:
                    status, reason, message = review.blocked
                    return JSONResponse({"error": reason, "message": message}, status_code=status)
                raw = await request.body()
                await asyncio.sleep(review.lag_s)
                # Of the failures half come before anything was done, half after it.
                fate = review.luck.random() if review.failing else 1.0
                if fate < review.failing / 2:
                    return HTMLResponse("<h1>Bad gateway</h1>", status_code=502)
                answered = answer(request, json.loads(raw) if raw else {})
                if fate < review.failing:
                    return HTMLResponse("<h1>Gateway timeout</h1>", status_code=504)
                return answered

            return endpoint

        def decide(request: Request, body: Body) -> Response:
            if review.stuck:
                return JSONResponse({"error": "store"}, status_code=503)
            answer = review.apply(body)
            if review.deaf_to > 0:
                # Stored, but the answer is lost: the client has to ask again.
                review.deaf_to -= 1
                return JSONResponse({"error": "gone"}, status_code=502)
            return JSONResponse({**answer, "progress": review.progress()})

        def claim(request: Request, body: Body) -> Response:
            return JSONResponse({**review.claim(body), "progress": review.progress()})

        def renew(request: Request, body: Body) -> Response:
            held = cast("list[str]", body["held"])
            return JSONResponse({"held": [x for x in held if x not in review.expired]})

        def release(request: Request, body: Body) -> Response:
            for lease in cast("list[str]", body["held"]):
                review.leases.pop(lease, None)
            return JSONResponse({})

        def photo(request: Request, body: Body) -> Response:
            mask = review.mask_of(request.path_params["lease"])
            return Response(review.photo(mask), media_type="image/jpeg")

        def mask_png(request: Request, body: Body) -> Response:
            mask = review.mask_of(request.path_params["lease"])
            return Response(_png_of(review.shape(mask)), media_type="image/png")

        def crop(request: Request, body: Body) -> Response:
            return _crop_of(review, review.mask_of(request.path_params["lease"]))

        def example(request: Request, body: Body) -> Response:
            number = int(request.path_params["number"])
            return Response(_draw_photo(number + 10, (160, 110)), media_type="image/jpeg")

        def recent(_request: Request, _body: Body) -> Response:
            return JSONResponse({"recent": review.recent()})

        def question(_request: Request, _body: Body) -> Response:
            return JSONResponse(review.question)

        routes: list[tuple[str, str, Endpoint | Page]] = [
            ("/review/claim", "POST", guard(claim)),
            ("/review/decide", "POST", guard(decide)),
            ("/review/renew", "POST", guard(renew)),
            ("/review/release", "POST", guard(release)),
            ("/review/recent", "GET", guard(recent)),
            ("/review/task", "GET", guard(question)),
            ("/review/lease/{lease}/photo", "GET", guard(photo)),
            ("/review/lease/{lease}/mask.png", "GET", guard(mask_png)),
            ("/review/lease/{lease}/crop", "GET", guard(crop)),
            ("/review/example/{task}/{position}/{number}", "GET", guard(example)),
            ("/", "GET", page),
            ("/pane.js", "GET", script),
        ]
        return Starlette(routes=[Route(path, end, methods=[verb]) for path, verb, end in routes])


def _crop_of(review: FakeReview, mask: int) -> Response:
    top, left, bottom, right = review.box(mask)
    margin_y, margin_x = (bottom - top) // 4, (right - left) // 4
    width, height = review.photo_size
    area = (
        max(0, left - margin_x),
        max(0, top - margin_y),
        min(width, right + margin_x),
        min(height, bottom + margin_y),
    )
    picture = Image.open(io.BytesIO(review.photo(mask))).crop(area)
    picture.thumbnail((192, 192))
    out = io.BytesIO()
    picture.save(out, "JPEG")
    box = f"{area[1]},{area[0]},{area[3]},{area[2]}"
    return Response(out.getvalue(), media_type="image/jpeg", headers={"X-Crop-Box": box})
