"""Answer over HTTP until it is stopped: python serve.py [--port 8080]; GET /?text=…&k=10&deadline_ms=20 gives JSON."""

import argparse
import contextlib
import ipaddress
import json
import math
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mrl_edge.app import open_app
from mrl_edge.errors import MrlEdgeError

MOST_HITS, MOST_CHARS = 1000, 32_768
MOST_CONNECTIONS = 16  # further ones get 503
SECONDS = 30  # from a connection to its end

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8080)
parser.add_argument("--allow-host", action="append", default=[], help="a name of this machine that clients ask for")
options = parser.parse_args()
names = {"localhost", *(name.lower() for name in options.allow_host)}

app = open_app(Path(__file__).parent)
app.warm_up("a text to begin with")


def known(host: str) -> bool:
    """Whether a Host header is an address or one of our names: a web page may lead a name of its own to us."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:  # a bracket alone
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True


class Server(ThreadingHTTPServer):
    """A thread a connection, so many at most, each for so long at most."""

    daemon_threads = True
    places = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin with a connection, or refuse it."""
        if self.places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(1)
        with contextlib.suppress(OSError):
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it has its answer, or had its time."""
        late = threading.Timer(SECONDS, lambda: request.shutdown(socket.SHUT_RDWR))
        late.daemon = True
        late.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            late.cancel()
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what failed here, and nothing of a client that left: a board's journal is small."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Texts in the address, JSON in return."""

    timeout = SECONDS  # of one wait for a client

    def do_GET(self) -> None:
        """Answer one text."""
        if not known(self.headers.get("Host", "")):
            return self.reply(421, {"error": "this is no name of this service: start it with --allow-host"})
        try:
            asked = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
            text, k, deadline_ms = asked.get("text", ""), int(asked.get("k", "10")), None
            if "deadline_ms" in asked:
                deadline_ms = float(asked["deadline_ms"])
            if not 0 < len(text) <= MOST_CHARS:
                raise ValueError(f"give a text of at most {MOST_CHARS} characters, as in /?text=hello")
            if not 1 <= k <= MOST_HITS or (deadline_ms is not None and not math.isfinite(deadline_ms)):
                raise ValueError(f"k is from 1 to {MOST_HITS}, deadline_ms a number")
            answer = app.ask(text, k, deadline_ms)
        except (ValueError, MrlEdgeError) as error:
            return self.reply(400, {"error": str(error)})
        rows = [{"id": hit.id, "score": hit.score, "text": hit.text} for hit in answer.value]
        return self.reply(200, {"rows": rows, "level": answer.level, "ms": answer.ms})

    def reply(self, status: int, content: dict[str, object]) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *parts: object) -> None:
        """Say nothing of each request: a board's journal is small."""


server = Server((options.host, options.port), Handler)
print(f"http://{options.host}:{server.server_port}/?text=hello", flush=True)
server.serve_forever()
