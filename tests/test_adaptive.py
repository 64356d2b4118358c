"""Levels are chosen by the times that were seen, on a clock that only moves when an answer takes time."""

import pytest

from mrl_edge.adaptive import Adaptive, Level, Pace
from mrl_edge.errors import UsageError

TEXT = "a text of some length"


class Machine:
    """Levels whose answers take as many milliseconds as they are told to."""

    def __init__(self, **costs_ms):
        self.costs_ms = costs_ms
        self.now_s = 0.0
        self.opened, self.closed = [], []

    def levels(self, sizes=(0, 0, 0)):
        return [
            Level(name, lambda name=name: self._open(name), size, lambda name=name: self.closed.append(name))
            for name, size in zip(self.costs_ms, sizes, strict=False)
        ]

    def adaptive(self, sizes=(0, 0, 0), **pace):
        return Adaptive(self.levels(sizes), Pace(**pace), clock=lambda: self.now_s)

    def _open(self, name):
        self.opened.append(name)
        self.now_s += 0.5

        def answer(text):
            self.now_s += self.costs_ms[name] / 1000
            return f"{name} of {text}"

        return answer


def used(adaptive, times, deadline_ms, text=TEXT):
    return [adaptive(text, deadline_ms=deadline_ms).level for _ in range(times)]


def test_without_a_deadline_the_best_level_answers_and_says_how_long_it_took():
    adaptive = Machine(large=50, small=5).adaptive()
    adaptive.warm_up(TEXT)
    answer = adaptive(TEXT)
    assert (answer.value, answer.level) == (f"large of {TEXT}", "large")
    assert answer.ms == pytest.approx(50)
    assert answer.expected_ms == pytest.approx(50)


def test_the_best_level_that_was_seen_to_be_fast_enough_answers():
    adaptive = Machine(large=50, middle=20, small=5).adaptive()
    adaptive.warm_up(TEXT)
    assert used(adaptive, 3, 60) == ["large"] * 3
    assert used(adaptive, 3, 30) == ["middle"] * 3
    assert used(adaptive, 3, 10) == ["small"] * 3
    assert used(adaptive, 3, 1) == ["small"] * 3  # nothing is fast enough: the least


def test_it_steps_down_when_the_machine_slows_and_back_when_it_has_recovered():
    machine = Machine(large=8, small=2)
    adaptive = machine.adaptive(window=3, retry=10)
    adaptive.warm_up(TEXT)
    assert used(adaptive, 5, 10) == ["large"] * 5
    machine.costs_ms = {"large": 40, "small": 4}
    assert used(adaptive, 4, 10) == ["large", "large", "small", "small"]  # two of three slow ones move the median
    machine.costs_ms = {"large": 8, "small": 2}
    later = used(adaptive, 20, 10)
    assert later == ["small"] * 8 + ["large"] * 12  # tried again after ten, fast again: it stays


def test_each_failed_trial_doubles_the_wait_for_the_next_one():
    adaptive = Machine(large=50, small=5).adaptive(retry=4)
    adaptive.warm_up(TEXT)
    levels = used(adaptive, 60, 10)
    assert [place for place, level in enumerate(levels) if level == "large"] == [4, 13, 30]  # after 4, 8 and 16 others


def test_lengths_are_judged_apart_and_an_unseen_one_by_a_greater_one():
    machine = Machine(large=50, small=5)
    adaptive = machine.adaptive()
    adaptive.warm_up("x" * 200)
    assert used(adaptive, 2, 10, "x" * 200) == ["small"] * 2
    assert used(adaptive, 1, 10, "x" * 20) == ["small"]  # not seen: no slower than a longer text
    machine.costs_ms["large"] = 8
    assert adaptive("x" * 20).level == "large"  # no deadline
    assert used(adaptive, 2, 10, "x" * 20) == ["large"] * 2
    assert used(adaptive, 2, 10, "x" * 200) == ["small"] * 2


def test_what_was_never_seen_is_tried_once():
    adaptive = Machine(large=50, small=5).adaptive()
    assert used(adaptive, 3, 10) == ["large", "large", "small"]  # opening says nothing of answering


def test_levels_that_do_not_fit_the_memory_are_closed_or_never_opened():
    machine = Machine(large=5, small=5)
    adaptive = machine.adaptive(sizes=(1000, 100))
    adaptive.warm_up(TEXT, max_bytes=500)
    assert machine.opened == ["small"]
    assert adaptive(TEXT).level == "large"
    assert adaptive(TEXT, max_bytes=999).level == "small"
    assert machine.closed == ["large"]
    assert adaptive(TEXT).level == "large"
    assert machine.opened == ["small", "large", "large"]
    with pytest.raises(UsageError, match="smallest takes 100"):
        adaptive(TEXT, max_bytes=99)


def test_a_cascade_asks_no_further_than_it_must():
    import numpy as np

    from mrl_edge.cascade import Cascade

    cascade = Cascade((8, 16, 64), (0.9, 0.6))
    random = np.random.default_rng(0)
    for _ in range(50):
        rows = {dim: random.dirichlet([0.3] * 4).astype(np.float32) for dim in cascade.dims}
        asked = []

        def ask(dim, rows=rows, asked=asked):
            asked.append(dim)
            return rows[dim]

        chosen, dim = cascade.first_sure(ask)
        together = cascade.decide({dim: row[None, :] for dim, row in rows.items()})
        assert (chosen, dim) == (together.classes[0], together.dims[0])
        assert asked == [d for d in cascade.dims if d <= dim]
