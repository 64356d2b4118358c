"""A request's body, no larger and no slower than it may be, as the shape that its endpoint takes."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from mrl_edge.serve.errors import ApiError, gone, too_large, too_slow, wrong
from mrl_edge.serve.limits import Limits

_T = TypeVar("_T")
# Read and thrown away before a 413: a client that still writes when the connection is closed never sees the answer.
_LINGER_BYTES = 16 << 20


async def read_body(request: Request, shape: type[_T], limits: Limits, seconds: float) -> _T:
    """Return the decoded body; raises `ApiError` for one that is no JSON, not of this shape, too large or too slow."""
    _check_head(request, limits)
    try:
        body = await asyncio.wait_for(_receive(request, limits.body_bytes), seconds)
    except asyncio.TimeoutError:
        raise too_slow(limits.timeout_s) from None
    except ClientDisconnect:
        raise gone() from None
    return decode(body, shape)


def decode(body: bytes | bytearray, shape: type[_T]) -> _T:
    """Return a JSON body as a shape; raises `ApiError` that says what is wrong and where."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise wrong(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise wrong(f"the body is no JSON: {error}", code="invalid_json") from None


def _check_head(request: Request, limits: Limits) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which no page of another site may send without asking first
        raise ApiError(415, "send JSON, with the header Content-Type: application/json", "unsupported_media_type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "a compressed body is not taken", "unsupported_encoding")
    declared = request.headers.get("content-length", "")
    waits = request.headers.get("expect", "").lower() == "100-continue"
    if waits and declared.isdecimal() and int(declared) > limits.body_bytes:
        raise too_large(limits.body_bytes)


async def _receive(request: Request, most: int) -> bytearray:
    body, size = bytearray(), 0
    async for block in request.stream():
        size += len(block)
        if size <= most:
            body += block
        elif size > most + _LINGER_BYTES:
            break
    if size > most:
        raise too_large(most)
    return body
