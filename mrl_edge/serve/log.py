"""A line a request on stderr, for a person or as JSON; of what was asked it holds nothing but the path."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("mrl_edge.serve")
_LONGEST_PATH = 200


class AccessLog:
    """Logs each request when its answer is out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, sent = time.perf_counter(), 500, 0

        async def counted(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            fields = {
                "client": (scope.get("client") or ("-",))[0],
                "method": scope["method"],
                "path": scope["raw_path"].decode("ascii", "replace")[:_LONGEST_PATH],  # still escaped
                "status": status,
                "ms": round((time.perf_counter() - started) * 1e3, 2),
                "bytes": sent,
            }
            logger.info("request", extra={"fields": fields})


class _Lines(logging.Formatter):
    """One line a record; a traceback, which only a fault of ours has, is further lines, or a field of the JSON."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        fields: dict[str, Any] = getattr(record, "fields", {})
        trace = self.formatException(record.exc_info) if record.exc_info else None
        if self._as_json:
            said = {"time": at, "level": record.levelname.lower(), "event": record.getMessage(), **fields}
            return msgspec.json.encode(said | {"traceback": trace} if trace else said).decode()
        if record.msg == "request":
            f = fields
            line = f"{f['client']} {f['method']} {f['path']} {f['status']} {f['ms']} ms {f['bytes']} bytes"
        else:
            line = " ".join([record.getMessage(), *(f"{name} {value}" for name, value in fields.items())])
        # A bundle's name, or a client's path, is one line and steers no terminal, whatever it holds.
        line = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in line)
        return f"{at} {line}" + (f"\n{trace}" if trace else "")


def log_to_stderr(as_json: bool) -> None:
    """Send our lines, and what the HTTP library has to say, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(as_json))
    for name, level in (("mrl_edge.serve", logging.INFO), ("uvicorn", logging.WARNING)):
        named = logging.getLogger(name)
        named.handlers[:] = [handler]
        named.setLevel(level)
        named.propagate = False


def announce(url: str, served: Mapping[str, object], notes: Sequence[str]) -> None:
    """Log where the service listens and what it serves, after what else there is to say of it."""
    for line in notes:
        logger.warning(line)
    logger.info("listening", extra={"fields": {"url": url, **served}})
