"""The gate's promises on real threads, with work that ends when the test says so."""

import asyncio
import threading

import pytest

from mrl_edge.serve.gate import Full, Gate


def test_as_many_compute_and_wait_as_there_are_places():
    async def run():
        gate, go, began = Gate(2, 1), threading.Event(), []

        def work(stop):
            began.append(threading.get_ident())
            assert go.wait(20)
            return threading.get_ident()

        tasks = [asyncio.create_task(gate.run(work, 20)) for _ in range(3)]
        while len(began) < 2:
            await asyncio.sleep(0.001)
        assert (gate.running, gate.waiting, len(set(began))) == (2, 1, 2)
        with pytest.raises(Full):
            await gate.run(work, 20)
        go.set()
        assert set(await asyncio.gather(*tasks)) == set(began)
        await asyncio.sleep(0)
        assert (gate.running, gate.waiting) == (0, 0)
        assert await gate.run(lambda stop: 7, 20) == 7
        gate.close()

    asyncio.run(run())


def test_work_that_is_given_up_hears_it_and_keeps_its_place_until_it_ends():
    async def run():
        gate, told, end = Gate(1, 0), threading.Event(), threading.Event()

        def work(stop):
            assert stop.wait(20)
            told.set()
            assert end.wait(20)

        with pytest.raises(asyncio.TimeoutError):
            await gate.run(work, 0.05)
        while not told.is_set():
            await asyncio.sleep(0.001)
        assert gate.running == 1
        with pytest.raises(Full):
            await gate.run(work, 0.05)
        end.set()
        while gate.running:
            await asyncio.sleep(0.001)
        gate.close()

    asyncio.run(run())


def test_work_that_waits_when_it_is_given_up_is_never_begun():
    async def run():
        gate, go, began = Gate(1, 1), threading.Event(), threading.Event()
        first = asyncio.create_task(gate.run(lambda stop: go.wait(20), 20))
        while not gate.running:
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.TimeoutError):
            await gate.run(lambda stop: began.set(), 0.05)
        await asyncio.sleep(0)
        assert gate.waiting == 0
        go.set()
        assert await first
        gate.close()
        assert not began.is_set()

    asyncio.run(run())


def test_no_more_bodies_are_read_at_once_than_there_are_places():
    async def run():
        gate = Gate(1, 1)
        with gate.reading(), gate.reading(), pytest.raises(Full), gate.reading():
            pass
        with gate.reading():
            gate.close()

    asyncio.run(run())


def test_what_the_work_raises_is_raised():
    async def run():
        gate = Gate(1, 0)
        with pytest.raises(ZeroDivisionError):
            await gate.run(lambda stop: 1 // 0, 20)
        gate.close()

    asyncio.run(run())
