"""A tiny bundle with an index and classes, and real services of it on free ports of this machine."""

import http.client
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from conftest import mrl_edge_here
from train.encoders import sentence_transformer, tiny_bert
from train.untrained import untrained_model

PROMPTS = {"query": "q ", "document": "d "}
DOCUMENTS = [f"{a}{b}{a} {c}{b}" for a in "abcdefgh" for b in "ijklm" for c in "xyz"]
LONG = " ".join("abcdefghij" for _ in range(6))  # as many tokens as the encoder reads


@pytest.fixture(scope="session")
def tiny(made_once):
    """A bundle of dimensions 4, 10 and 24, fp32 and int8, whose index compares exactly; not to be changed."""

    def make(out):
        folder = out.with_name("serve-parts")
        folder.mkdir()
        encoder = sentence_transformer(
            folder / "st", tiny_bert(folder / "bert"), pooling="mean", dense=28, prompts=PROMPTS
        )
        model = untrained_model(folder / "model", encoder, (1, 2))
        mrl_edge_here("export", model, "--out", out, "--precision", "fp32,int8")
        corpus = folder / "corpus.csv"
        corpus.write_text("text\n" + "\n".join(DOCUMENTS) + "\n")
        mrl_edge_here(
            "index", out, corpus, "--tune", "--kinds", "scan", "--vectors", "fp32", "--precision", "fp32",
            "--dims", "10,24",
        )  # fmt: skip

    return made_once("serve-bundle", make)


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


@pytest.fixture(scope="session")
def service(tiny):
    """A service of the tiny bundle at dimension 10, with the default limits."""
    with serving(tiny, "--dim", "10", "--name", "tiny") as running:
        yield running


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
