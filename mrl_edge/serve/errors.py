"""What a request did wrong, or the service could not do, as one JSON answer in the shape that OpenAI's clients read."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

_RETRY = {"Retry-After": "1"}
_CLOSE = {"Connection": "close"}  # the rest of a body that is not read would be taken for the next request


class ApiError(Exception):
    """An answer that is no success: its status, what is wrong, and a code that programs can compare."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        """Return what the answer says."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def answer(self) -> Response:
        """Return the answer."""
        return Response(msgspec.json.encode(self.body()), self.status, self.headers, media_type="application/json")


def wrong(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """Return the error of a body that says what makes no sense; `param` is the field."""
    return ApiError(400, message, code, param)


def too_large(most: int) -> ApiError:
    """Return the error of a body of more than `most` bytes."""
    return ApiError(413, f"the body has more than the {most:,} bytes that it may have", "body_too_large", None, _CLOSE)


def too_slow(seconds: float) -> ApiError:
    """Return the error of a body that did not arrive in time."""
    return ApiError(408, f"the body did not arrive in {seconds:g} s", "body_too_slow", None, _CLOSE)


def full(queue: int) -> ApiError:
    """Return the error of a request that found all places taken."""
    return ApiError(503, f"{queue} requests wait already: try again", "queue_full", None, _RETRY)


def full_of_connections() -> ApiError:
    """Return the error of a connection that is one too many."""
    return ApiError(503, "too many connections are open: try again", "too_many_connections", None, _RETRY)


def timed_out(seconds: float) -> ApiError:
    """Return the error of a request that was not done in time."""
    return ApiError(504, f"not done in {seconds:g} s: send fewer texts, or try again", "timeout", None, _RETRY)


def missing(reason: str) -> ApiError:
    """Return the error of something that this bundle, or this configuration of it, cannot do."""
    return ApiError(501, reason, "not_available")


def gone() -> ApiError:
    """Return what is logged when the client hung up before its answer; nobody reads it."""
    return ApiError(499, "the client closed the connection", "client_gone", None, _CLOSE)
