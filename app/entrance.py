"""The routes by which one signs in and out: no token is asked for, the browser's signed cookie is set.

They change cookies, so a browser's own word on where the request comes from, the Origin header, must be there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from app.base_path import base_path
from app.bodies import BodyError, read_form
from app.sign_in import (
    BROWSER_S,
    Browser,
    SignInError,
    cookie_name,
    read_browser,
    refusal_of_names,
    sign_in_by_link,
    sign_in_by_name,
    sign_out,
    write_browser,
)
from app.store_path import open_store
from mseg_curate.errors import MsegCurateError
from mseg_curate.store import Store

__all__ = ["build_routes", "is_oidc_configured", "refusal_here"]

_FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


def build_routes(base: str = "") -> list[Route]:
    """Return the routes of the entrance, below the path `base`."""
    return [
        Route(f"{base}/review/sign-in", _in_thread(_sign_in), methods=["POST"]),
        Route(f"{base}/review/sign-out", _in_thread(_sign_out), methods=["POST"]),
        Route(f"{base}/review/link/{{token}}", _in_thread(_follow_link), methods=["GET"]),
    ]


def is_oidc_configured() -> bool:
    """Say whether the [auth] section of Streamlit's secrets names an identity provider."""
    return bool(st.secrets.load_if_toml_exists()) and "auth" in st.secrets


def refusal_here(headers: dict[str, str]) -> str | None:
    """Say why nobody may sign in by name at this server by a request with these headers (lower-case names)."""
    return refusal_of_names(
        address=st.get_option("server.address"),
        host=headers.get("host"),
        forwarded=any(name in headers for name in _FORWARDING),
        oidc=is_oidc_configured(),
    )


def _sign_in(request: Request, body: bytes) -> Response:
    refusal = _refusal(request)
    if refusal is not None:
        return refusal
    store, now = open_store(), time.time()
    browser = read_browser(store.path, request.cookies, now=now)
    name = read_form(body).get("annotator", "")
    signed_in, is_first = sign_in_by_name(store, name, browser=browser, now=now)
    return _with_cookie(_to_page("notice=admin" if is_first else ""), request, store, signed_in)


def _sign_out(request: Request, _: bytes) -> Response:
    if "origin" not in request.headers:
        return _forbidden("A sign-out comes from this server's own page.")
    store, now = open_store(), time.time()
    browser = read_browser(store.path, request.cookies, now=now)
    return _with_cookie(_to_page(""), request, store, sign_out(store, browser, now=now))


def _follow_link(request: Request, _: bytes) -> Response:
    if request.method == "HEAD":
        # Who only looks whether the link is there must not use it up.
        return Response(status_code=204)
    refusal = _refusal_of_names(request)
    if refusal is not None:
        return refusal
    store, now = open_store(), time.time()
    browser = read_browser(store.path, request.cookies, now=now)
    token = str(request.path_params["token"])
    signed_in = sign_in_by_link(store, token, browser=browser, now=now)
    return _with_cookie(_to_page(""), request, store, signed_in)


def _refusal(request: Request) -> Response | None:
    if "origin" not in request.headers:
        return _forbidden("A sign-in comes from this server's own page.")
    return _refusal_of_names(request)


def _refusal_of_names(request: Request) -> Response | None:
    reason = refusal_here(dict(request.headers))
    return None if reason is None else _forbidden(reason)


def _in_thread(answer: Callable[[Request, bytes], Response]) -> Callable[[Request], object]:
    def safely(request: Request, body: bytes) -> Response:
        try:
            return answer(request, body)
        except SignInError as error:
            return _to_page(f"problem={error.problem}")
        except BodyError as error:
            return PlainTextResponse(str(error), status_code=422)
        except MsegCurateError:
            # The page opens the same store, and says what is wrong with it.
            return _to_page("")

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(safely, request, await request.body())

    return endpoint


def _to_page(query: str) -> Response:
    page = f"{base_path()}/"
    return RedirectResponse(f"{page}?{query}" if query else page, status_code=303)


def _forbidden(reason: str) -> Response:
    return PlainTextResponse(reason, status_code=403)


def _with_cookie(response: Response, request: Request, store: Store, browser: Browser) -> Response:
    response.set_cookie(
        cookie_name(store.path),
        write_browser(store.path, browser, now=time.time()),
        max_age=BROWSER_S,
        path=f"{base_path()}/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    response.headers["Cache-Control"] = "no-store"
    return response
