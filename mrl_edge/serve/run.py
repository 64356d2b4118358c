"""From an application to a running service: the socket, the signals, and connections that send no request."""

from __future__ import annotations

import asyncio
import errno
import math
import signal
import socket
from types import FrameType

import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from mrl_edge.errors import UsageError
from mrl_edge.serve.errors import full_of_connections
from mrl_edge.serve.limits import Limits

_HEAD_BYTES = 32 << 10
_BACKLOG = 512
_CONTENT = msgspec.json.encode(full_of_connections().body())
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_CONTENT), _CONTENT)
)


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


def run(app: ASGIApp, listening: socket.socket, limits: Limits) -> None:
    """Serve until SIGTERM, then finish what is under way and return; after Ctrl-C raise `KeyboardInterrupt` instead."""
    server = make_server(app, limits)
    # uvicorn raises each signal again once it has ended: by then this is the handler.
    signal.signal(signal.SIGTERM, server.end)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        server.interrupted = True
    if server.interrupted:
        raise KeyboardInterrupt


def make_server(app: ASGIApp, limits: Limits) -> Server:
    """Return uvicorn's server with our bounds on what a connection may cost."""

    class Protocol(_Protocol):
        patience_s = limits.timeout_s
        most = limits.connections

    return Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a header says nothing of who asks
            server_header=False,
            timeout_graceful_shutdown=math.ceil(limits.timeout_s) + 1,
            h11_max_incomplete_event_size=_HEAD_BYTES,
        )
    )


class Server(uvicorn.Server):
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
    """Bounds what a connection holds: how many there are, and how long each waits for its client.

    uvicorn itself waits for ever for the rest of a head, for the rest of a body whose answer is out (any further byte
    ends its own keep-alive timer), and for a client that does not read.
    """

    patience_s = 30.0
    most = 1024
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head, or turn away what is too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.write(_TOO_MANY)
            transport.close()
            return
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of a request while none is under way; what has begun in time has the time of an answer."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_request()
        else:
            self._stop_waiting_for_request()

    def on_response_complete(self) -> None:
        """Wait for the client to take what is written, also where the connection is then closed."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._wait_for_reading()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._wait_for_reading()

    def resume_writing(self) -> None:
        """Wait no longer."""
        super().resume_writing()
        self._stop_waiting_for_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting_for_request()
        self._stop_waiting_for_reading()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.patience_s, self.transport.close)

    def _stop_waiting_for_request(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _wait_for_reading(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.patience_s, self._give_up)

    def _stop_waiting_for_reading(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # close() would wait for the client to read
