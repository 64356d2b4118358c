"""Real services of a bundle on free ports of this machine, and what a client does with them."""

import http.client
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

PROMPTS = {"query": "q ", "document": "d "}
DOCUMENTS = [f"{a}{b}{a} {c}{b}" for a in "abcdefgh" for b in "ijklm" for c in "xyz"]
LONG = " ".join("abcdefghij" for _ in range(6))  # as many tokens as the encoder reads


@contextmanager
def serving(bundle, *options):
    """Run `mrl-edge serve` on a free port until the block ends; what it logs is in `lines`."""
    command = [sys.executable, "-m", "mrl_edge", "serve", str(bundle), "--port", "0", "--json", *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = []
    listening = threading.Event()

    def read():
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            if '"listening"' in line:
                listening.set()
        listening.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert listening.wait(120)
        assert process.poll() is None, lines
        yield SimpleNamespace(process=process, lines=lines, url=json.loads(lines[-1])["url"], reader=reader)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        reader.join()
        process.stderr.close()


def ask(service, path, body=None, headers=None, method=None, timeout=120):
    """Send one request and return its status, its headers, and its body decoded."""
    place = urlsplit(service.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=timeout)
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} if headers is None else headers
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, content, sent)
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


def post(service, path, body):
    """Send JSON, expect success, and return the answer."""
    status, _, answer = ask(service, path, body)
    assert status == 200, answer
    return answer


def wait_until(service, **busy):
    """Wait until /healthz says how many requests run or wait."""
    for _ in range(1200):
        health = ask(service, "/healthz")[2]
        if all(health[name] == count for name, count in busy.items()):
            return
        time.sleep(0.02)
    raise AssertionError(health)
