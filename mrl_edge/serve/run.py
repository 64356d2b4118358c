"""From an application to a running service: the socket, the signals, and connections that send no request."""

from __future__ import annotations

import asyncio
import errno
import math
import signal
import socket
from types import FrameType

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from mrl_edge.errors import UsageError

_HEAD_BYTES = 32 << 10
_BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket (port 0: a free one); `UsageError` where there can be none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise UsageError(f"--host {host}: {error.strerror}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} of {host} is taken: choose another --port, or 0 for a free one") from None
        raise UsageError(f"cannot listen on port {port} of {host}: {error.strerror}") from None


def url_of(listening: socket.socket) -> str:
    """Return the address that clients take."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGIApp, listening: socket.socket, timeout_s: float) -> None:
    """Serve until SIGTERM, then finish what is under way and return; after Ctrl-C raise `KeyboardInterrupt` instead."""

    class Protocol(_Protocol):
        head_s = timeout_s

    server = _Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a header says nothing of who asks
            server_header=False,
            timeout_graceful_shutdown=math.ceil(timeout_s) + 1,
            h11_max_incomplete_event_size=_HEAD_BYTES,
        )
    )
    # uvicorn raises each signal again once it has ended: by then this is the handler.
    signal.signal(signal.SIGTERM, server.end)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        server.interrupted = True
    if server.interrupted:
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """Remembers which signal ended it."""

    interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        self.interrupted = self.interrupted or sig == signal.SIGINT
        super().handle_exit(sig, frame)

    def end(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, before uvicorn listens to signals itself."""
        self.should_exit = True


class _Protocol(H11Protocol):
    """Closes a connection on which no whole head of a request arrives in time: uvicorn waits for one for ever."""

    head_s = 30.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a head, or no longer."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.head_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
