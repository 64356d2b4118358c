"""A machine of a clock that moves only when an answer takes time, and that takes as long as it is told to."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

from mrl_edge.adaptive import Adaptive, Level, Pace
from mrl_edge.cascade import AdaptiveClassifier

TEXT = "a text of some length"


class Machine:
    """Levels whose answers take as many milliseconds as they are told to, and are class shares where they have some."""

    def __init__(self, **costs_ms):
        self.costs_ms = costs_ms
        self.shares = {}
        self.now_s = 0.0
        self.opened, self.closed, self.asked = [], [], []

    def levels(self, sizes=(0, 0, 0)):
        named = zip(self.costs_ms, sizes, strict=False)
        return [Level(name, lambda name=name: self._open(name), size) for name, size in named]

    def adaptive(self, sizes=(0, 0, 0), **pace):
        return Adaptive(self.levels(sizes), Pace(**pace), clock=lambda: self.now_s)

    def classifier(self, thresholds, sizes=(0, 0, 0), **pace):
        return AdaptiveClassifier(self.adaptive(sizes, **pace), thresholds, ["one", "two"])

    def held(self, sizes):
        """Bytes of what was opened and not yet let go of."""
        still = list(self.opened)
        for name in self.closed:
            still.remove(name)
        return sum(dict(zip(self.costs_ms, sizes, strict=True))[name] for name in still)

    def _open(self, name):
        self.opened.append(name)
        self.now_s += 0.5

        def answer(text):
            self.now_s += self.costs_ms[name] / 1000
            self.asked.append(name)
            return self.shares.get(name, f"{name} of {text}")

        weakref.finalize(answer, self.closed.append, name)
        return answer


class Held:
    """A clock and a level of no cost but for its first answer: 50 ms, and not before another thread read the clock."""

    def __init__(self):
        self._now_s = 0.0
        self._answering, self._waiting = threading.Event(), threading.Event()

    def clock(self):
        read_s = self._now_s
        if self._answering.is_set():
            self._waiting.set()
        return read_s

    def answer(self, text):
        if text == "first":
            self._answering.set()
            self._waiting.wait(timeout=1)  # for the second to have read the clock
            self._now_s += 0.05

    def two_threads(self, ask):
        """Return the answers to `first` and, within 10 ms and begun while the level is held, to `second`."""
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(ask, "first")
            self._answering.wait()
            second = ask("second", deadline_ms=10)
        return first.result(), second
