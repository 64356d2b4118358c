"""What a connection may cost: real sockets to uvicorn with our bounds, before a small application."""

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from mrl_edge.serve.limits import Limits
from mrl_edge.serve.log import announce, log_to_stderr
from mrl_edge.serve.rest import Rest
from mrl_edge.serve.run import listen, make_server

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n"
LARGE = 64 << 20  # more than the buffers of two sockets


async def early(request):
    """Answer before the body is read."""
    return Response(b"no", 401)


async def large(request):
    return Response(b"x" * LARGE)


@contextmanager
def running(timeout_s, *middleware):
    app = Starlette(
        routes=[Route("/", early, methods=["POST"]), Route("/large", large)], middleware=[*map(Middleware, middleware)]
    )
    with listen("127.0.0.1", 0) as listening:
        server = make_server(app, Limits(concurrency=1, queue=0, timeout_s=timeout_s))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield server, listening.getsockname()
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@pytest.fixture(scope="module")
def hasty():
    with running(0.4) as found:
        yield found


@pytest.fixture(scope="module")
def patient():
    with running(30, Rest) as found:
        yield found


def until(true, seconds=10):
    """Return how long it took until something is true."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds
        time.sleep(0.01)
    return time.monotonic() - started


def test_a_body_whose_answer_is_out_is_waited_for_no_longer_than_anything_else(hasty):
    server, address = hasty
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(HEAD + b"\r\n123")
        assert b" 401 " in connection.recv(1 << 16)
        until(lambda: server.server_state.connections)
        connection.sendall(b"4")  # which ends uvicorn's own timer
        assert until(lambda: not server.server_state.connections) < 4  # uvicorn's timer has 5 s


def test_a_client_that_drips_bytes_gains_no_time(hasty):
    _, address = hasty
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(HEAD)
        began = time.monotonic()
        while not connection_ended(connection):
            assert time.monotonic() - began < 4
            time.sleep(0.05)


def connection_ended(connection):
    """Send one more byte of a head without end; whether the other side has closed."""
    try:
        connection.sendall(b"X")
        connection.settimeout(0.01)
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_client_that_does_not_read_is_cut_off(hasty):
    server, address = hasty
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: server.server_state.connections)
        assert until(lambda: not server.server_state.connections) < 8


def test_an_early_answer_leaves_no_half_request_on_its_connection(patient):
    _, address = patient
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(HEAD + b"\r\n123")
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))  # until it is closed
    assert b" 401 " in answer
    assert b"connection: close" in answer.lower()
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_short_body_that_is_there_is_passed_over_and_the_connection_stays(patient):
    _, address = patient
    connection = http.client.HTTPConnection(*address, timeout=10)
    for _ in range(3):
        connection.request("POST", "/", b"x" * 1000)
        answer = connection.getresponse()
        assert (answer.status, answer.read(), answer.headers["Connection"]) == (401, b"no", None)
        assert connection.sock is not None
    connection.close()


def test_one_connection_too_many_is_told_so_and_there_is_room_again_later(patient):
    server, address = patient
    until(lambda: not server.server_state.connections)
    most = Limits(concurrency=1, queue=0).connections
    silent = [socket.create_connection(address, timeout=10) for _ in range(most)]
    until(lambda: len(server.server_state.connections) == most)
    with socket.create_connection(address, timeout=10) as connection:
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body)["error"]["code"] == "too_many_connections"
    for connection in silent:
        connection.close()
    until(lambda: not server.server_state.connections)
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request("POST", "/", b"")
    assert connection.getresponse().status == 401
    connection.close()


def test_a_hostile_name_is_one_line_and_steers_no_terminal(capsys):
    log_to_stderr(as_json=False)
    announce("http://127.0.0.1:1", {"model": "a\n2026-01-01 forged\x1b[31m"}, ["a note\rof it"])
    lines = capsys.readouterr().err.split("\n")
    assert len(lines) == 3
    assert lines[2] == ""
    assert r"\x0a2026-01-01 forged\x1b[31m" in lines[1]
    assert "".join(lines).isprintable()
