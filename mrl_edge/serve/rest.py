"""What is left of a body when its request was answered early: read where that is soon done, else cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BYTES, _SECONDS = 64 << 10, 0.5  # that a client gets to send what is left, so that it can read its answer
_CLOSE = (b"connection", b"close")


class Rest:
    """Makes sure that no connection is kept with half a request in it.

    An answer to a request whose body was not read (401, 404, 415, …) waits a moment for the rest; where that is long or
    does not come, it says `Connection: close`. A client that waits to be told to send its body is told no such thing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and close what cannot be kept."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        left = "transfer-encoding" in headers or headers.get("content-length", "0").strip() != "0"
        waits = headers.get("expect", "").lower() == "100-continue"

        async def watched() -> Message:
            nonlocal left
            message = await receive()
            left = left and bool(message.get("more_body", False))
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and left and not _closes(message["headers"]):
                if not waits:
                    await _soon(watched)
                if left:
                    message = {**message, "headers": [*message["headers"], _CLOSE]}
            await send(message)

        await self._app(scope, watched, closing)


def _closes(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"connection" for name, _ in headers)


async def _soon(receive: Receive) -> None:
    """Read a little more, for a moment."""

    async def read() -> None:
        size, more = 0, True
        while more and size <= _BYTES:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)

    try:
        await asyncio.wait_for(read(), _SECONDS)
    except asyncio.TimeoutError:
        return
