"""A real service on loopback answers what the library computes, and every mistake in one JSON answer."""

import json
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from serve.services import DOCUMENTS, PROMPTS, ask, post, serving
from train.untrained import CLASSES, DIMS, TEXTS

import mrl_edge
from mrl_edge.bundle import open_bundle

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"
ODD = ["", "日本語 🎉 \u200b", "a\x00b", *TEXTS]


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("prompt", [None, "query", "document"])
def test_embed_gives_the_vectors_of_the_graph_of_that_dimension_alone(service, tiny, dim, prompt):
    answer = post(service, "/embed", {"texts": ODD, "dim": dim, "prompt": prompt})
    wanted = mrl_edge.load(tiny, dim, "fp32", threads=1).encode(ODD, prompt)
    assert answer["dim"] == dim
    np.testing.assert_allclose(np.array(answer["embeddings"], np.float32), wanted, atol=2e-6)


def test_embed_of_one_text_at_the_dimension_that_is_served(service, tiny):
    answer = post(service, "/embed", {"texts": "abc"})
    assert answer["dim"] == 10
    wanted = mrl_edge.load(tiny, 10, "fp32").encode(["abc"])
    np.testing.assert_allclose(answer["embeddings"], wanted, atol=2e-6)


@pytest.mark.parametrize("dim", DIMS)
def test_classify_gives_the_most_probable_classes_first(service, tiny, dim):
    answer = post(service, "/classify", {"texts": TEXTS, "dim": dim, "top": 2})
    for found, row in zip(answer["results"], mrl_edge.load(tiny, dim, "fp32").classify(TEXTS), strict=True):
        first, second, _ = sorted(range(3), key=lambda i: -row[i])
        assert [entry["label"] for entry in found] == [CLASSES[first], CLASSES[second]]
        np.testing.assert_allclose([entry["probability"] for entry in found], row[[first, second]], atol=1e-5)


def test_search_gives_the_nearest_documents_by_the_query_prompt(service, tiny):
    """By the cosine at 10; where the index was tuned so, the best of those by the cosine at another dimension."""
    (sized,) = (size for size in open_bundle(tiny).manifest.index.sizes if size.dim == 10)
    plain = mrl_edge.load(tiny, 24, "fp32")
    documents = plain.encode([PROMPTS["document"] + text for text in DOCUMENTS])

    def cosines(vector, dim):
        rows = documents[:, :dim] / np.linalg.norm(documents[:, :dim], axis=1, keepdims=True)
        return rows @ (vector[:dim] / np.linalg.norm(vector[:dim]))

    for query in ("aia", "cmc zm", "what"):
        vector = plain.encode([PROMPTS["query"] + query])[0]
        near, scores = np.argsort(-cosines(vector, 10)), cosines(vector, 10)
        for step in sized.steps:
            near, scores = near[: step.shortlist], cosines(vector, step.dim)
            near = near[np.argsort(-scores[near])]
        answer = post(service, "/search", {"query": query, "k": 7})
        wanted = np.sort(scores[near])[::-1][:7]
        np.testing.assert_allclose([hit["score"] for hit in answer["hits"]], wanted, atol=1e-5)
        for hit in answer["hits"]:
            assert hit["text"] == DOCUMENTS[hit["id"]]
            assert hit["score"] == pytest.approx(scores[hit["id"]], abs=1e-5)


def test_requests_at_once_get_each_its_own_answer(service, tiny):
    encoder = mrl_edge.load(tiny, 24, "fp32")

    def check(number):
        texts = [f"{'abcdefgh'[number % 8]} {'xy' * number} {i}" for i in range(1 + number % 5)]
        found = post(service, "/embed", {"texts": texts, "dim": 24})["embeddings"]
        np.testing.assert_allclose(found, encoder.encode(texts), atol=2e-6)
        return post(service, "/search", {"query": texts[0], "k": 1})["hits"][0]["text"]

    with ThreadPoolExecutor(12) as pool:
        assert len(list(pool.map(check, range(60)))) == 60


def test_health_says_what_is_served(service):
    status, _, answer = ask(service, "/healthz")
    assert status == 200
    assert (answer["model"], answer["precision"], answer["dim"], answer["dims"]) == ("tiny", "fp32", 10, list(DIMS))
    assert (answer["documents"], answer["classes"]) == (len(DOCUMENTS), 3)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/embed", b"{", "is no JSON"),
        ("/embed", b"", "is no JSON"),
        ("/embed", b'{"texts": ["\xff"]}', "is no JSON"),
        ("/embed", b"[" * 100_000, "Expected `object`, got `array`"),
        ("/v1/embeddings", b'{"x": ' + b"[" * 100_000, "is no JSON"),
        ("/embed", b'{"texts": "\\ud800"}', "is no JSON"),
        ("/embed", [], "Expected `object`, got `array`"),
        ("/embed", {}, "missing required field `texts`"),
        ("/embed", {"texts": [1]}, "Expected `str`, got `int` - at `$.texts[0]`"),
        ("/embed", {"texts": "a", "dims": 4}, "unknown field `dims`"),
        ("/embed", {"texts": "a", "dim": 5}, "5 is no nesting dimension of this model, which has 4, 10, 24"),
        ("/embed", {"texts": "a", "dim": 1e300}, "Expected `int | null`"),
        ("/embed", {"texts": "a", "prompt": "poem"}, "no prompt 'poem' in this encoder; it has document, query"),
        ("/embed", {"texts": []}, "there is no text"),
        ("/embed", {"texts": ["a"] * 129}, "129 texts: 128 at most"),
        ("/embed", {"texts": ["a" * 32_769]}, "a text of 32,769 characters: 32,768 at most"),
        ("/search", {"query": "a", "k": 0}, "Expected `int` >= 1 - at `$.k`"),
        ("/search", {"query": "a", "k": 1001}, "k 1001: 1000 at most"),
        ("/search", {"query": ["a"]}, "Expected `str`, got `array`"),
        ("/classify", {"texts": "a", "top": -1}, "Expected `int` >= 1"),
        ("/classify", {"texts": "a", "dim": 11}, "11 is no nesting dimension"),
        ("/v1/embeddings", {"input": [[1, 2]], "model": "tiny"}, "tokens are not taken"),
        ("/v1/embeddings", {"input": "a"}, "missing required field `model`"),
        ("/v1/embeddings", {"input": "a", "model": "tiny", "encoding_format": "hex"}, "Invalid enum value 'hex'"),
    ],
)
def test_a_body_that_makes_no_sense_is_a_400_that_says_what(service, path, body, said):
    status, _, answer = ask(service, path, body)
    assert status == 400
    assert said in answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (("/nothing",), 404, "not_found"),
        (("/embed",), 405, "method_not_allowed"),
        (("/healthz", {}), 405, "method_not_allowed"),
        (("/v1/models/other",), 404, "model_not_found"),
        (("/embed", {"texts": "a"}, {"Content-Type": "text/plain"}), 415, "unsupported_media_type"),
        (("/embed", {"texts": "a"}, {}), 415, "unsupported_media_type"),
        (
            ("/embed", {"texts": "a"}, {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
            415,
            "unsupported_encoding",
        ),
        (("/embed", b'"' + b"a" * 2_000_000 + b'"'), 413, "body_too_large"),
        (("/healthz", None, {"Host": "evil.example"}), 421, "unknown_host"),
        (("/embed", {"texts": "a"}, {"Host": "127.0.0.1.evil.example"}), 421, "unknown_host"),
    ],
)
def test_a_request_that_is_not_served_says_why(service, request_, status, code):
    found, headers, answer = ask(service, *request_)
    assert (found, answer["error"]["code"]) == (status, code)
    if status == 405:
        assert headers["Allow"]


def exchange(service, sent):
    """Send bytes and return all that comes back until the service closes the connection."""
    place = urlsplit(service.url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall(sent)
        back = b""
        while block := connection.recv(1 << 16):
            back += block
    return back


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\x16\x03\x01 nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/x\r\nHost: localhost\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /embed HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 60_000,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb\x00\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_400_and_the_service_lives_on(service, sent):
    assert exchange(service, sent).startswith(b"HTTP/1.1 400 ")
    assert ask(service, "/healthz")[0] == 200
    assert service.process.poll() is None


def test_a_body_in_chunks_without_a_length_is_counted_too(service):
    head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    small = exchange(service, head + b'f\r\n{"texts": "ab"}\r\n0\r\n\r\n')
    assert small.startswith(b"HTTP/1.1 200 OK")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert exchange(service, head + 17 * chunk + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")


def test_each_request_is_one_line_of_json_that_holds_nothing_of_its_texts(service):
    ask(service, "/embed?%0aforged=1", {"texts": "a-secret-text"})
    ask(service, "/%0d%0aforged")
    rows = []
    for _ in range(200):  # a line follows its answer
        rows = [json.loads(line) for line in list(service.lines)]
        if any(row.get("path") == "/%0d%0aforged" for row in rows):
            break
        time.sleep(0.02)
    (row,) = [row for row in rows if row.get("path") == "/embed" and row["bytes"] > 0 and row["status"] == 200][-1:]
    assert (row["client"], row["method"], row["level"], row["event"]) == ("127.0.0.1", "POST", "info", "request")
    assert row["ms"] > 0
    assert any(row.get("path") == "/%0d%0aforged" and row["status"] == 404 for row in rows)
    assert not any("a-secret-text" in line for line in service.lines)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_examples_of_the_documentation_work_as_they_stand(tiny):
    examples = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("curl ")]
    assert len(examples) >= 6
    with serving(tiny, "--name", "bundle") as running:
        for example in examples:
            command = example.replace("http://127.0.0.1:8000", running.url).replace('"dim": 64', '"dim": 10')
            command = command.replace('"dimensions": 64', '"dimensions": 10').replace("curl ", "curl -sS --fail ", 1)
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
            assert done.returncode == 0, (example, done.stderr)
            assert json.loads(done.stdout)


def test_what_a_device_runs_does_not_load_the_service_nor_the_service_torch():
    program = """
import sys
import mrl_edge.encoder, mrl_edge.search, mrl_edge.cli
print(sorted({"starlette", "uvicorn", "mrl_edge.serve"} & set(sys.modules)))
import mrl_edge.serve.app, mrl_edge.serve.run
print(sorted({"torch", "transformers", "onnx", "datasets"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]
