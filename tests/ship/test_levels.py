"""Levels of a shipped folder, or of a bundle: each answers for its dimension and depth, and a deadline steps down."""

import json
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import weakref
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from ship.shipping import QUERIES, K, assert_exact, funnel, ship
from train.untrained import CLASSES

import mrl_edge
from mrl_edge.adaptive import Adaptive, Level, Pace
from mrl_edge.app import open_app
from mrl_edge.bundle_levels import adaptive_classes, adaptive_search
from mrl_edge.cascade import AdaptiveClassifier
from mrl_edge.errors import UsageError
from mrl_edge.search import Search


def test_a_bundles_own_dimensions_and_exits_are_levels_too(small):
    search = adaptive_search(small, threads=1)
    search.warm_up("abc", 3)
    assert [level.name for level in search.levels] == ["d10-L2", "d4-L2"]
    for deadline_ms, dim in ((None, 10), (1e-6, 4), (60_000, 10)):
        answer = search("abc de f", 3, deadline_ms=deadline_ms)
        assert answer.level == f"d{dim}-L2"
        assert answer.value == Search(small, dim, threads=1)("abc de f", 3)
    with pytest.raises(UsageError, match="dimension 24"):
        adaptive_search(small, [24])
    classes = adaptive_classes(small, [(24, 2), (4, 1)], threads=1)
    classes.warm_up("abc")
    unsure = AdaptiveClassifier(classes, [1.1], CLASSES)
    for deadline_ms, dim, depth in ((None, 24, 2), (1e-6, 4, 1)):
        wanted = mrl_edge.load(small, dim, "fp32", depth).classify(["abc de f"])[0]
        np.testing.assert_allclose(classes("abc de f", deadline_ms=deadline_ms).value, wanted, atol=1e-6)
        answer = unsure("abc de f", deadline_ms)
        assert (answer.level, answer.value.name) == (f"d{dim}-L{depth}", CLASSES[wanted.argmax()])


def test_levels_share_their_bytes_and_each_answers_for_its_depth(small, choose, embedded, documents, tmp_path):
    ship(small, choose(dim=24), tmp_path / "alone")
    ship(small, choose(dim=24), tmp_path / "app", "--also", "d4,d10-L1")
    app = open_app(tmp_path / "app")
    assert [level.name for level in app.info.levels] == ["d24-L2", "d4-L2", "d10-L1"]
    for number, (dim, depth) in enumerate([(24, 2), (4, 2), (10, 1)]):
        assert_exact(lambda query, at=number: app.level(at).search(query, K), embedded[depth], dim, documents)
    sizes = [(tmp_path / name / "model" / "weights.bin").stat().st_size for name in ("alone", "app")]
    heads = 4 * 32 * 10  # of the exit after layer 1; its classes are few
    assert sizes[0] < sizes[1] < sizes[0] + heads + 3 * 4096
    assert app.info.levels[2].resident_bytes < app.info.levels[1].resident_bytes < app.info.levels[0].resident_bytes


def test_a_deadline_that_only_the_least_level_meets_steps_down_and_none_steps_back(small, choose, documents, tmp_path):
    """On the real clock: what no level meets goes to the least one, what all meet to the best."""
    ship(small, choose(dim=24), tmp_path / "app", "--also", "d4-L1")
    app = open_app(tmp_path / "app", threads=1)
    app.warm_up("abc")
    assert app.ask("abc").level == "d24-L2"
    stepped = app.ask("abc", deadline_ms=1e-6)
    assert stepped.level == "d4-L1"
    assert [hit.id for hit in stepped.value] == [hit.id for hit in app.level(1).search("abc", K)]
    assert app.ask("abc", deadline_ms=60_000).level == "d24-L2"
    smallest, best = app.info.levels[1].resident_bytes, weakref.ref(app.level(0))
    assert app.ask("abc", max_bytes=smallest).level == "d4-L1"
    assert best() is None  # whatever opened it
    with pytest.raises(UsageError, match="no level fits"):
        app.ask("abc", max_bytes=smallest - 1)


def test_a_funnel_ranks_again_at_every_step(small, choose, embedded, documents, tmp_path):
    ship(small, choose(dim=4), tmp_path / "app", "--funnel", "60@10,20@24")
    app = open_app(tmp_path / "app")
    stored, queries = embedded[2]
    for query, vector in zip(QUERIES, queries, strict=True):
        assert [hit.id for hit in app.search(query, K)] == funnel(stored, vector, (4, 60), (10, 20), (24, K))


def test_a_funnel_steps_down_and_back_within_a_deadline_and_a_memory_limit(small, choose, embedded, tmp_path):
    """The shipped levels' own answers, on a clock that moves as it is told to; the extremes on the real one too."""
    ship(small, choose(dim=10), tmp_path / "app", "--funnel", "60@24", "--also", "d4,d4-L1")
    app = open_app(tmp_path / "app", threads=1)
    best, less, least = (level.name for level in app.info.levels)
    query = QUERIES[1]
    wanted = {
        best: funnel(embedded[2][0], embedded[2][1][1], (10, 60), (24, K)),
        less: funnel(embedded[2][0], embedded[2][1][1], (4, 60), (24, K)),
        least: funnel(embedded[1][0], embedded[1][1][1], (4, K)),
    }
    assert wanted[best] != wanted[less] != wanted[least]
    now_s, costs_ms = [0.0], {best: 8, less: 5, least: 2}

    def opened(number, name):
        def answer(text, k):
            now_s[0] += costs_ms[name] / 1000
            return app.level(number).ask(text, k)

        return answer

    levels = [
        Level(each.name, partial(opened, n, each.name), each.resident_bytes) for n, each in enumerate(app.info.levels)
    ]
    clocked = Adaptive(levels, Pace(window=3, retry=10), clock=lambda: now_s[0])

    def used(times, ask=clocked, **limits):
        answers = [ask(query, K, **limits) for _ in range(times)]
        assert all([hit.id for hit in answer.value] == wanted[answer.level] for answer in answers)
        return [answer.level for answer in answers]

    clocked.warm_up(query, K)
    assert used(5, deadline_ms=10) == [best] * 5
    assert used(2, deadline_ms=6) == [less] * 2
    costs_ms.update({best: 32, less: 20, least: 8})
    assert used(6, deadline_ms=10) == [best, best, less, less, least, least]  # two of three slow ones move a median
    costs_ms.update({best: 8, less: 5, least: 2})
    assert used(10, deadline_ms=10)[-4:] == [best] * 4
    app.warm_up(query)
    for ask in (clocked, app.ask):
        assert used(1, ask, deadline_ms=1e-6) == [least]
        assert used(1, ask, deadline_ms=60_000) == [best]
        assert used(1, ask, max_bytes=app.info.levels[2].resident_bytes) == [least]
        assert used(1, ask) == [best]


def test_a_choice_without_an_index_ships_no_corpus_and_classifies_or_encodes(small, choose, tmp_path):
    ship(small, choose(index=None, vectors=None), tmp_path / "app", "--also", "d4-L1")
    app = open_app(tmp_path / "app")
    assert not (tmp_path / "app" / "index").exists()
    best, least = (mrl_edge.load(small, dim, "fp32", depth) for dim, depth in ((10, 2), (4, 1)))
    np.testing.assert_allclose(app.encode(QUERIES), best.encode(QUERIES, "query"), atol=1e-6)
    shares = best.classify(list(QUERIES))
    assert [app.ask(text).value[0].text for text in QUERIES] == [CLASSES[row.argmax()] for row in shares]
    with pytest.raises(UsageError, match="without documents"):
        app.search("abc")
    with pytest.raises(UsageError, match="k 0: expected at least 1"):
        app.ask("abc", k=0)
    smallest = app.info.levels[1].resident_bytes
    for threshold, limits, encoder, level, stopped in (
        (0.0, {}, least, "d4-L1", "sure"),
        (1.1, {}, best, "d10-L2", "best"),
        (1.1, {"deadline_ms": 1e-6}, least, "d4-L1", "deadline"),
        (1.1, {"max_bytes": smallest}, least, "d4-L1", "memory"),
        (1.1, {"deadline_ms": 60_000}, best, "d10-L2", "best"),
    ):
        answer = app.adaptive_classifier([threshold])("abc de f", **limits)
        row = encoder.classify(["abc de f"])[0]
        assert (answer.value.name, answer.level, answer.stopped) == (CLASSES[row.argmax()], level, stopped)
        assert answer.value.probability == pytest.approx(row.max(), abs=1e-5)
    unsure = app.adaptive_classifier([1.1])
    unsure.warm_up("abc de f")
    assert [unsure("abc de f", ms).level for ms in (60_000, 1e-6, 60_000)] == ["d10-L2", "d4-L1", "d10-L2"]


def test_the_server_of_the_unit_answers_over_http(small, choose, embedded, documents, tmp_path):
    ship(small, choose(dim=24), tmp_path / "app", "--also", "d4-L1", "--systemd")
    unit = tmp_path / "app" / "app.service"
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
        complaints = [
            line for line in done.stderr.splitlines() if "app.service" in line and "not executable" not in line
        ]
        assert complaints == []
    process = subprocess.Popen(
        [sys.executable, "-B", tmp_path / "app" / "serve.py", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().strip().partition("?")[0]
        answer = get(f"{address}?text=abc%20de%20f&k=3")
        stored, queries = embedded[2]
        assert [row["id"] for row in answer["rows"]] == np.argsort(-(stored @ queries[1]))[:3].tolist()
        assert answer["level"] == "d24-L2"
        assert get(f"{address}?text=abc&deadline_ms=0.000001")["level"] == "d4-L1"
        for wrong in ("", "?text=a&k=many", "?text=a&k=1001", "?text=a&deadline_ms=nan", f"?text={'a' * 32_769}"):
            assert status(f"{address}{wrong}") == 400
        assert len(get(f"{address}?text={'a%20' * 9_000}&k=1000")["rows"]) == len(documents)
        assert status(f"{address}?text=a", Host="evil.example") == 421
        assert status(f"{address}?text=a", Host="localhost:80") == 200
        assert status(f"{address}?text=a", Host="[") == 421
        place = urlsplit(address)
        held = [socket.create_connection((place.hostname, place.port), timeout=20) for _ in range(16)]
        assert status(f"{address}?text=a") == 503
        for connection in held:
            connection.close()
        assert status_soon(f"{address}?text=a") == 200
        assert_room(unit.read_text(), process.pid)
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_the_server_of_the_unit_tells_the_journal_of_a_fault_of_ours_and_of_no_client(small, choose, tmp_path):
    """What a client did wrong is its answer; what failed here is the traceback that someone needs to mend it."""
    ship(small, choose(index=None, vectors=None), tmp_path / "app", "--systemd")
    program = (
        f"import runpy, sys; sys.path.insert(0, {str(tmp_path / 'app')!r}); sys.argv = ['serve.py', '--port', '0']\n"
        "from mrl_edge.opened import App; App.ask = lambda *arguments: 1 / 0\n"
        f"runpy.run_path({str(tmp_path / 'app' / 'serve.py')!r}, run_name='__main__')"
    )
    command = [sys.executable, "-B", "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip().partition("?")[0]
        place = urlsplit(address)
        left = socket.create_connection((place.hostname, place.port), timeout=20)
        left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # gone without a word
        left.close()
        assert status(f"{address}?text=a&k=many") == 400
        with pytest.raises(OSError, match="closed connection without response"):
            get(f"{address}?text=a")
    finally:
        process.terminate()
        said = process.communicate(timeout=10)[1]
    assert said.count("Traceback") == 1
    assert "ZeroDivisionError" in said


def assert_room(unit, pid):
    """The service has had all that it accepts: it took less than the unit allows, which is not much more either."""
    limits = dict(line.split("=", 1) for line in unit.splitlines() if line.startswith("Memory"))
    assert limits["MemorySwapMax"] == "0"
    most = int(limits["MemoryMax"].removesuffix("M")) * 2**20
    said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    took = 1024 * int(said["VmHWM"].split()[0])
    assert took < 0.8 * most
    assert most < 4 * took


def status(address, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def status_soon(address):
    """Ask until there is a place again."""
    for _ in range(100):
        if (found := status(address)) != 503:
            break
        time.sleep(0.02)
    return found


def get(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return json.load(answer)
