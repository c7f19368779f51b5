"""The guard before every request: the names we answer to, the origins we act for, headers, and sizes.

Streamlit checks `server.allowedHosts` for its websocket alone; routes of our own get neither that nor an XSRF check.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.base_path import base_path

__all__ = ["BODY_LIMIT_BYTES", "HEADERS", "PREFIX", "Guard", "is_host_allowed", "is_same_origin"]

PREFIX = "/review/"
"""All our routes begin so, behind `server.baseUrlPath`."""
BODY_LIMIT_BYTES = 64 * 1024
BODY_LIMIT_S = 60.0
"""Who sends a letter now and then keeps no connection open for good."""

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self' ws: wss: blob: data:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    # `no-referrer` would make browsers send `Origin: null` with the sign-in form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_POLICY_VIOLATION = 1008


class Guard:
    """ASGI middleware: refuses foreign hosts, foreign origins and large bodies, and adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or websocket handshake, or hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        guarded = send if scope["type"] == "websocket" else _with_headers(send)
        refusal = _refusal(scope)
        if refusal is not None:
            await _refuse(scope, receive, guarded, status=403, reason=refusal[0], text=refusal[1])
            return
        if scope["type"] == "http" and scope["path"].startswith(base_path() + PREFIX):
            try:
                async with asyncio.timeout(BODY_LIMIT_S):
                    body = await _read_body(scope, receive)
            except TimeoutError:
                text = f"the request did not arrive within {BODY_LIMIT_S:.0f} seconds"
                await _refuse(scope, receive, guarded, status=408, reason="too_slow", text=text)
                return
            if body is None:
                text = f"the request is larger than {BODY_LIMIT_BYTES // 1024} KiB"
                await _refuse(scope, receive, guarded, status=413, reason="too_large", text=text)
                return
            await self._app(scope, _replay(body, receive), guarded)
            return
        await self._app(scope, receive, guarded)


def is_host_allowed(host: str | None, allowed: Sequence[str]) -> bool:
    """Say whether a Host header names one of the allowed host names; its port is free.

    `*.example` allows the names below it. An empty list allows loopback names alone, and `*` is no name: it would
    let any web page reach the app under a name of its own.
    """
    name = _host_name(host)
    if name is None:
        return False
    for entry in allowed or _LOOPBACK:
        pattern = entry.strip().lower().rstrip(".").strip("[]")
        if pattern.startswith("*.") and name.endswith(pattern[1:]):
            return True
        if name == pattern:
            return True
    return False


def is_same_origin(origin: str, host: str) -> bool:
    """Say whether an Origin header names the host and port that the request was sent to."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _host_name(host: str | None) -> str | None:
    if not host:
        return None
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.netloc != host or parts.username is not None or name is None:
        return None
    return name.rstrip(".")


def _refusal(scope: Scope) -> tuple[str, str] | None:
    headers = Headers(scope=scope)
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    allowed = st.get_option("server.allowedHosts") or ()
    if len(hosts) != 1 or not is_host_allowed(hosts[0], allowed):
        return (
            "foreign_host",
            "this server is not known under that name; open it by its own address, or add the name to "
            "server.allowedHosts",
        )
    acts = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
    if acts and any(not is_same_origin(origin, hosts[0]) for origin in origins):
        return "foreign_origin", "the request came from a page of another site"
    return None


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return send_with_headers


async def _read_body(scope: Scope, receive: Receive) -> bytes | None:
    """Return the whole body, or None as soon as it is known to be too large."""
    length = Headers(scope=scope).get("content-length", "")
    if length.isdigit() and int(length) > BODY_LIMIT_BYTES:
        return None
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > BODY_LIMIT_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def receive_again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _refuse(
    scope: Scope, receive: Receive, send: Send, *, status: int, reason: str, text: str
) -> None:
    if scope["type"] == "websocket":
        # Closed before it was accepted, a handshake is answered with 403.
        await receive()
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})
        return
    body = json.dumps({"error": reason, "message": text}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
