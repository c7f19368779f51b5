"""Answers that leave at once: without this every answer on a kept connection arrives 40 ms late.

Streamlit opens its listening socket without naming TCP, so asyncio does not switch Nagle's algorithm off for the
connections. The server writes head and body of an answer apart; the body then waits until the browser acknowledges
the head, which Linux delays by 40 ms. Measured: 44 ms a request without this, 1 to 2 ms with it.
"""

from __future__ import annotations

import asyncio
import socket

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Promptness"]


class Promptness:
    """ASGI middleware that switches Nagle's algorithm off for the connection of a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set TCP_NODELAY where the server lets us reach the connection, and hand the request on."""
        # ASGI itself does not show the connection; the server's own `receive` is a method of what holds it.
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        if isinstance(transport, asyncio.BaseTransport):
            connection = transport.get_extra_info("socket")
            if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._app(scope, receive, send)
