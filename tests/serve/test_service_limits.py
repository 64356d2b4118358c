"""A service that is asked for too much, or told to end: what is under way is finished, the rest is told so."""

import http.client
import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import openai
import pytest
from serve.services import LONG, ask, post, serving, wait_until

import mrl_edge

# Seconds of work in one request.
MANY = {"texts": [LONG] * 12_000, "dim": 4}
LARGE = ("--max-texts", 100_000, "--max-body-bytes", 10_000_000)


@pytest.fixture
def narrow(tiny):
    """A service that computes one request, lets one wait, and takes large ones."""
    with serving(tiny, "--concurrency", 1, "--queue", 1, *LARGE) as running:
        yield running


def test_one_computes_one_waits_and_the_third_is_told_to_come_again(narrow):
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, narrow, "/embed", MANY)
        wait_until(narrow, running=1)
        second = pool.submit(ask, narrow, "/embed", {"texts": "b"})
        wait_until(narrow, running=1, waiting=1)
        status, headers, answer = ask(narrow, "/embed", {"texts": "c"})
        assert (status, answer["error"]["code"]) == (503, "queue_full")
        assert int(headers["Retry-After"]) >= 1
        assert not first.done()
        assert first.result()[0] == 200
        assert second.result()[0] == 200
    wait_until(narrow, running=0, waiting=0)


def send_only(service, body, path="/embed"):
    """Open a connection, send a request, and return the connection without reading."""
    place = urlsplit(service.url)
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection((place.hostname, place.port), timeout=60)
    connection.sendall(head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


def test_a_client_that_hangs_up_is_computed_for_no_longer(narrow):
    started = time.monotonic()
    post(narrow, "/embed", MANY)
    whole = time.monotonic() - started
    connection = send_only(narrow, MANY)
    wait_until(narrow, running=1)
    connection.close()
    started = time.monotonic()
    wait_until(narrow, running=0)
    assert time.monotonic() - started < whole / 2
    assert any(json.loads(line).get("status") == 499 for line in list(narrow.lines))


def test_bodies_that_are_still_sent_take_places_too(narrow):
    """Two places: two clients that are slow to send hold them, and a third is told to come again."""
    place = urlsplit(narrow.url)
    head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
    slow = [socket.create_connection((place.hostname, place.port), timeout=60) for _ in range(2)]
    for connection in slow:
        connection.sendall(head + b'{"texts"')
    time.sleep(0.2)
    status, _, answer = ask(narrow, "/embed", {"texts": "c"})
    assert (status, answer["error"]["code"]) == (503, "queue_full")
    for connection in slow:
        connection.sendall(b': "a"}')
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        connection.close()


def refuses_soon(service):
    """Whether new connections are refused within seconds."""
    for _ in range(400):
        try:
            ask(service, "/healthz")
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_sigterm_finishes_what_is_under_way_and_takes_nothing_new(narrow, tiny):
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, narrow, "/embed", MANY)
        wait_until(narrow, running=1)
        narrow.process.send_signal(signal.SIGTERM)
        assert refuses_soon(narrow)
        assert not answer.done()
        status, _, body = answer.result()
    assert status == 200
    wanted = mrl_edge.load(tiny, 4, "fp32").encode([LONG])[0]
    np.testing.assert_allclose(body["embeddings"][-1], wanted, atol=2e-6)
    assert narrow.process.wait(30) == 0
    narrow.reader.join()
    assert not any("Traceback" in line for line in narrow.lines)


def test_what_takes_too_long_is_given_up_and_ctrl_c_ends_it(tiny):
    with serving(tiny, "--timeout", 0.5, "--concurrency", 1, "--max-chars", 100, *LARGE) as hasty:
        status, _, answer = ask(hasty, "/embed", MANY)
        assert (status, answer["error"]["code"]) == (504, "timeout")
        wait_until(hasty, running=0)
        assert len(post(hasty, "/embed", {"texts": "a"})["embeddings"]) == 1
        place = urlsplit(hasty.url)
        with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
            head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            connection.sendall(head + b"Content-Length: 9\r\n\r\n{")
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))  # until it is closed
            assert answer.startswith(b"HTTP/1.1 408 ")
        with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
            connection.sendall(b"POST /embed HTT")  # and no more: no head may take for ever
            assert connection.recv(1 << 16) == b""
        hasty.process.send_signal(signal.SIGINT)
        assert hasty.process.wait(30) == 130
        hasty.reader.join()
        assert hasty.lines[-1] == "interrupted"


def test_many_connections_that_say_nothing_leave_the_others_their_answers(service):
    place = urlsplit(service.url)
    silent = [socket.create_connection((place.hostname, place.port)) for _ in range(100)]
    try:
        assert len(post(service, "/embed", {"texts": ["a", "b"]})["embeddings"]) == 2
    finally:
        for connection in silent:
            connection.close()


def test_only_who_has_the_token_may_ask(tiny, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret-token\n")
    with serving(tiny, "--token-file", token, "--depth", 1, "--precision", "int8", "--threads", 2) as running:
        assert ask(running, "/healthz")[0] == 200
        sent = {"Content-Type": "application/json"}
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret-token"}):
            status, headers, answer = ask(running, "/embed", {"texts": "a"}, {**sent, **wrong})
            assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
            assert headers["WWW-Authenticate"] == "Bearer"
        right = {**sent, "Authorization": "Bearer s3cret-token", "Host": "any.example"}
        status, _, answer = ask(running, "/embed", {"texts": "a"}, right)
        wanted = mrl_edge.load(tiny, 24, "int8", depth=1).encode(["a"])
        np.testing.assert_allclose(answer["embeddings"], wanted, atol=2e-6)
        status, _, answer = ask(running, "/search", {"query": "a"}, right)
        assert status == 501
        assert "the index was made with fp32 at depth 2, and int8 at depth 1 is served" in answer["error"]["message"]
        with openai.OpenAI(base_url=f"{running.url}/v1", api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
            assert len(list(client.with_options(api_key="s3cret-token").models.list())) == 1
        assert not any("s3cret" in line for line in running.lines)


def test_answers_on_connections_that_stay_open_are_not_mixed_up(service):
    place = urlsplit(service.url)
    failures = []

    def talk(number):
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        for turn in range(10):
            top = 1 + (number + turn) % 3
            connection.request(
                "POST", "/classify", json.dumps({"texts": "abc", "top": top}), {"Content-Type": "application/json"}
            )
            if len(json.loads(connection.getresponse().read())["results"][0]) != top:
                failures.append((number, turn))
        connection.close()

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
