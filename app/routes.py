"""The HTTP routes: one table says who may call which; each parses, calls one verb, and answers.

A request proves its person with `Authorization: Bearer <token>`; role and status are read from the store each time,
and whose a lease is says the verb. Tokens and leases are never logged.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import SystemRandom
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route

from app import entrance
from app.bodies import BodyError, read_claim, read_decide, read_leases, read_whole, read_word
from app.progress import progress_lately
from app.remembered import Remembered
from app.sessions import has_ended
from app.store_path import open_store
from app.tokens import PaneToken, read_token, renew_token
from mseg_curate import annotators, browse, review, show
from mseg_curate.errors import DatasetError, ImageError, InputError, MsegCurateError, ReviewError
from mseg_curate.store import Store

__all__ = ["ROUTES", "Asked", "Entry", "build_routes"]

_NO_STORE = {"Cache-Control": "no-store"}
# An example is the same for all who may see the task; what a lease shows is for one person, once.
EXAMPLE_CACHE = "private, max-age=3600"
LEAST_PX, MOST_PX = 16, 1024

logger = logging.getLogger(__name__)
_rng = SystemRandom()
_last_tasks: Remembered[tuple[Path, int, str], str] = Remembered(10_000)
_RANKS = {"annotator": 0, "curator": 1, "admin": 2}
_STATUS = {
    "paused": 403,
    "forbidden": 403,
    "not_yours": 403,
    "unknown": 404,
    "unknown_task": 404,
}


@dataclass(frozen=True)
class Asked:
    """A request of a person whose token holds and who may call this route."""

    store: Store
    person: review.Person
    token: PaneToken
    now: float
    body: bytes
    path: Mapping[str, object]
    query: Mapping[str, str]

    def may(self, role: str) -> bool:
        """Say whether the person has this role, and proved it in this browser where it is more than annotator."""
        if role == "annotator":
            return True
        return self.token.bound and _RANKS[self.person.role] >= _RANKS[role]


@dataclass(frozen=True)
class Entry:
    """A route: who may call it at least, and what answers."""

    method: str
    path: str
    least: str
    answer: Callable[[Asked], Response]


@dataclass(frozen=True)
class _RefusedError(Exception):
    status: int
    reason: str
    message: str


# --- answers --------------------------------------------------------------------------------------


def claim(asked: Asked) -> Response:
    """POST /review/claim: lease masks."""
    body = read_claim(asked.body)
    if body.mode == "adjudication" and not asked.may("curator"):
        raise _RefusedError(403, "forbidden", "Adjudication is for curators.")
    items = review.claim_masks(
        asked.store,
        asked.person.id,
        task=body.task,
        count=body.count,
        mode=body.mode,
        class_name=body.class_name,
        client=body.client,
        held=body.held,
        now=asked.now,
        rng=_rng,
    )
    _last_tasks.keep((asked.store.path, asked.person.id, body.client), body.task)
    return _json(
        {"items": [asdict(item) for item in items], "progress": _progress(asked, body.task)}, asked
    )


def decide(asked: Asked) -> Response:
    """POST /review/decide: do operations in their order."""
    body = read_decide(asked.body)
    results = review.apply_operations(
        asked.store, asked.person.id, body.operations, client=body.client, now=asked.now
    )
    task = body.task or _last_tasks.find((asked.store.path, asked.person.id, body.client)) or ""
    try:
        progress = _progress(asked, task) if task else None
    except ReviewError:
        # What was done is done, and its results must arrive.
        progress = None
    return _json({"results": [asdict(result) for result in results], "progress": progress}, asked)


def renew(asked: Asked) -> Response:
    """POST /review/renew: extend leases."""
    body = read_leases(asked.body)
    held = review.renew_leases(
        asked.store, asked.person.id, client=body.client, held=body.held, now=asked.now
    )
    return _json({"held": held}, asked)


def release(asked: Asked) -> Response:
    """POST /review/release: give leases back."""
    body = read_leases(asked.body)
    review.release_leases(asked.store, asked.person.id, client=body.client, held=body.held)
    return JSONResponse({})


def recent(asked: Asked) -> Response:
    """GET /review/recent: the person's last decisions of a task."""
    task = read_word(asked.query, "task")
    limit = read_whole(asked.query.get("limit", "5"), "limit", least=1, most=50)
    found = review.recent_decisions(asked.store, asked.person.id, task=task, limit=limit)
    return _json({"recent": [asdict(entry) for entry in found]}, asked)


def question(asked: Asked) -> Response:
    """GET /review/task: what a task asks; example masks are addresses. With mode=grid, how many masks a grid holds."""
    found = review.task_question(asked.store, read_word(asked.query, "task"))
    answer = asdict(found)
    # The grid shows its class; who decides masks one by one is told nothing of what a model expects.
    of_grid = asked.query.get("mode") == "grid"
    suggested = review.count_suggested(asked.store, found.name) if of_grid else {}
    for candidate in answer["candidates"]:
        if of_grid:
            candidate["suggested"] = suggested[candidate["name"]]
        candidate["examples"] = [
            f"/review/example/{quote(found.name, safe='')}/{candidate['position']}/{number}"
            for number in range(len(candidate["examples"]))
        ]
    return _json(answer, asked)


def photo(asked: Asked) -> Response:
    """GET /review/lease/…/photo: the photo of a leased mask."""
    leased = _leased(asked)
    shown = show.show_photo(leased.dataset, leased.image)
    return _picture(shown.data, shown.media_type)


def mask(asked: Asked) -> Response:
    """GET /review/lease/…/mask.png: the pixels of a leased mask, in its box."""
    return _picture(show.show_mask(_leased(asked).mask), "image/png")


def crop(asked: Asked) -> Response:
    """GET /review/lease/…/crop: a crop around a leased mask."""
    leased = _leased(asked)
    longest_px = _px(asked, 192)
    made = show.show_crop(leased.dataset, leased.image, mask=leased.mask, longest_px=longest_px)
    answer = _picture(made.jpeg, "image/jpeg")
    box = made.box
    answer.headers["X-Crop-Box"] = f"{box.top},{box.left},{box.bottom},{box.right}"
    return answer


def example(asked: Asked) -> Response:
    """GET /review/example/…: a crop around an example mask of a candidate, its contour drawn in."""
    shown = review.example_mask(
        asked.store,
        str(asked.path["task"]),
        position=_number(asked, "position"),
        number=_number(asked, "number"),
    )
    jpeg = show.show_example(
        shown.dataset, shown.image, mask=shown.mask, longest_px=_px(asked, 160)
    )
    return _picture(jpeg, "image/jpeg", cache=EXAMPLE_CACHE)


def browsed(asked: Asked) -> Response:
    """GET /review/browse/…: a picture of an image or its label map, the mask that is named outlined."""
    kind = next((kind for kind in browse.KINDS if kind == asked.path["kind"]), None)
    if kind is None:
        raise _RefusedError(404, "unknown", "There is no such picture.")
    marked = read_whole(asked.query.get("mask", "0"), "mask", least=0, most=10**9)
    image, longest_px = _number(asked, "image"), _px(asked, 320)
    try:
        drawn = browse.draw_image(
            asked.store,
            image,
            kind=kind,
            longest_px=longest_px,
            marked=marked,
        )
    except (ImageError, DatasetError):
        raise
    except InputError as error:
        raise _RefusedError(404, "unknown", "There is no such image.") from error
    return _picture(*browse.encode_drawn(drawn, kind))


ROUTES = (
    Entry("POST", "/review/claim", "annotator", claim),
    Entry("POST", "/review/decide", "annotator", decide),
    Entry("POST", "/review/renew", "annotator", renew),
    Entry("POST", "/review/release", "annotator", release),
    Entry("GET", "/review/recent", "annotator", recent),
    Entry("GET", "/review/task", "annotator", question),
    Entry("GET", "/review/lease/{lease}/photo", "annotator", photo),
    Entry("GET", "/review/lease/{lease}/mask.png", "annotator", mask),
    Entry("GET", "/review/lease/{lease}/crop", "annotator", crop),
    Entry("GET", "/review/example/{task:path}/{position}/{number}", "annotator", example),
    Entry("GET", "/review/browse/{image}/{kind}", "curator", browsed),
)
"""Every route that needs a token. Claims of mode adjudication need a curator, whatever the table says."""


def build_routes(base: str = "") -> list[BaseRoute]:
    """Return the routes of the table, those of the entrance, and an end for every other address below /review/.

    `base` is the path that the app lives below, '' for none.
    """
    known = [Route(base + entry.path, _endpoint(entry), methods=[entry.method]) for entry in ROUTES]
    known += entrance.build_routes(base)
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return [*known, Route(f"{base}/review/{{rest:path}}", _dead_end(known), methods=methods)]


# --- from a request to an answer --------------------------------------------------------------------


def _endpoint(entry: Entry) -> Callable[[Request], object]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_answer, entry, request, await request.body())

    return endpoint


def _answer(entry: Entry, request: Request, body: bytes) -> Response:
    try:
        return entry.answer(_admit(entry, request, body))
    except _RefusedError as refused:
        return _error(refused.status, refused.reason, refused.message)
    except MsegCurateError as error:
        return _say_error(entry, error)
    except Exception:
        # The edge: whatever it is, the client gets a sentence and the log the rest.
        logger.exception("%s %s failed", entry.method, entry.path)
        return _error(500, "failed", "Something went wrong on the server; its log says what.")


def _say_error(entry: Entry, error: MsegCurateError) -> Response:
    if isinstance(error, BodyError):
        return _error(422, "malformed", str(error))
    if isinstance(error, ReviewError):
        return _error(_STATUS.get(error.reason, 409), error.reason, str(error))
    logger.warning("%s %s: %s", entry.method, entry.path, error)
    if isinstance(error, ImageError | DatasetError):
        return _error(409, "picture", "The picture cannot be shown; tell a curator.")
    # A client tries again what was answered with 503.
    return _error(503, "store", "The store cannot do that now; try again, or tell an admin.")


def _admit(entry: Entry, request: Request, body: bytes) -> Asked:
    """Return who asks, or raise _RefusedError: 401 without a token that holds, 403 where the person may not."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    now = time.time()
    store = open_store()
    token = read_token(store.path, text.strip(), now=now) if scheme.lower() == "bearer" else None
    if token is not None and has_ended(store.path, token.session):
        token = None
    person = None if token is None else annotators.find_person(store, token.person_id)
    if token is None or person is None:
        raise _RefusedError(
            401, "token", "The token is missing, wrong or expired; reload the page."
        )
    asked = Asked(store, person, token, now, body, request.path_params, request.query_params)
    if person.status == "paused":
        raise _RefusedError(403, "paused", "Your reviewing is paused; ask a curator to resume it.")
    if not asked.may(entry.least):
        raise _RefusedError(403, "forbidden", f"This needs the role {entry.least}.")
    return asked


def _progress(asked: Asked, task: str) -> dict[str, object]:
    return progress_lately(asked.store, asked.person.id, task=task, now=asked.now)


def _leased(asked: Asked) -> review.LeasedMask:
    lease = str(asked.path["lease"])
    if not re.fullmatch(r"[0-9a-f]{32}", lease):
        raise _RefusedError(404, "unknown", "There is no such lease.")
    return review.leased_mask(asked.store, asked.person.id, lease, now=asked.now)


def _number(asked: Asked, name: str) -> int:
    """Return a whole number of the address; raises _RefusedError for what is none that a store could hold."""
    digits = str(asked.path[name])
    if not re.fullmatch(r"[0-9]{1,18}", digits):
        raise _RefusedError(404, "unknown", "There is nothing at this address.")
    return int(digits)


def _px(asked: Asked, default: int) -> int:
    return read_whole(asked.query.get("px", str(default)), "px", least=LEAST_PX, most=MOST_PX)


def _json(body: dict[str, object], asked: Asked) -> Response:
    fresh = renew_token(asked.store.path, asked.token, now=asked.now)
    return JSONResponse(body if fresh is None else body | {"token": fresh}, headers=_NO_STORE)


def _picture(data: bytes, media_type: str, *, cache: str = "no-store") -> Response:
    return Response(data, media_type=media_type, headers={"Cache-Control": cache})


def _error(status: int, reason: str, message: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(
        {"error": reason, "message": message}, status_code=status, headers=headers | _NO_STORE
    )


def _dead_end(known: Sequence[Route]) -> Callable[[Request], object]:
    """Without it, an address that no route knows would be answered with the page of the app."""

    async def answer(request: Request) -> Response:
        allowed = sorted(
            {
                method
                for route in known
                if route.matches(request.scope)[0] is Match.PARTIAL
                for method in route.methods or ()
            }
        )
        if not allowed:
            return _error(404, "unknown", "There is nothing at this address.")
        refusal = _error(405, "method", f"This address is asked with {' or '.join(allowed)}.")
        refusal.headers["Allow"] = ", ".join(allowed)
        return refusal

    return answer
