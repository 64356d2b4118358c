"""Answer over HTTP until it is stopped: python serve.py [--port 8080]; GET /?text=…&k=10&deadline_ms=20 gives JSON."""

import argparse
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mrl_edge.app import open_app
from mrl_edge.errors import MrlEdgeError

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8080)
options = parser.parse_args()

app = open_app(Path(__file__).parent)
app.warm_up("a text to begin with")
one_at_a_time = threading.Lock()  # times that are to be compared must not be of two at once


class Handler(BaseHTTPRequestHandler):
    """Texts in the address, JSON in return."""

    def do_GET(self) -> None:
        """Answer one text."""
        asked = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if "text" not in asked:
            return self.reply(400, {"error": "give a text, as in /?text=hello"})
        try:
            deadline_ms = float(asked["deadline_ms"]) if "deadline_ms" in asked else None
            with one_at_a_time:
                answer = app.ask(asked["text"], max(1, int(asked.get("k", "10"))), deadline_ms)
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


server = ThreadingHTTPServer((options.host, options.port), Handler)
print(f"http://{options.host}:{server.server_port}/?text=hello", flush=True)
server.serve_forever()
