"""Levels are chosen by the times that were seen, on a clock that only moves when an answer takes time."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clocked import TEXT, Held, Machine

from mrl_edge.adaptive import Adaptive, Level
from mrl_edge.errors import UsageError


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


def test_a_level_that_is_named_answers_whatever_it_takes():
    machine = Machine(large=50, small=5)
    adaptive = machine.adaptive(sizes=(9, 3))
    assert adaptive(TEXT, deadline_ms=1, level="large").level == "large"
    assert adaptive(TEXT, level="small").value == f"small of {TEXT}"
    with pytest.raises(UsageError, match="there is no level middle: there is large, small"):
        adaptive(TEXT, level="middle")
    with pytest.raises(UsageError, match="no level fits 5 bytes: the smallest takes 9"):
        adaptive(TEXT, level="large", max_bytes=5)


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


def test_the_first_answer_of_a_level_does_not_count_whoever_opened_it():
    machine = Machine(large=50, small=5)
    adaptive = machine.adaptive((500, 300), window=1)
    other = adaptive.asking(lambda opened, text: opened(text))
    for _ in range(2):
        adaptive.opened(0)
        machine.costs_ms["large"] = 50
        assert used(adaptive, 1, 20) == ["large"]
        machine.costs_ms["large"] = 8
        assert used(adaptive, 3, 20) == ["large"] * 3
        other(TEXT, max_bytes=300)
        assert machine.closed[-1] == "large"  # and so the next answer is a first one again


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


def test_what_is_open_together_never_exceeds_the_memory():
    """Each level fits by itself, and two of the three do."""
    machine = Machine(large=50, middle=20, small=5)
    sizes = (500, 400, 300)
    adaptive = machine.adaptive(sizes)
    adaptive.warm_up(TEXT, max_bytes=800)
    most = [machine.held(sizes)]
    for deadline_ms in (60, 10, 30, 10, 60):
        adaptive(TEXT, deadline_ms=deadline_ms, max_bytes=800)
        most.append(machine.held(sizes))
    assert max(most) == 800
    adaptive(TEXT, max_bytes=500)
    assert machine.held(sizes) == 500


def test_a_level_that_is_too_slow_for_short_texts_is_not_tried_on_longer_ones():
    adaptive = Machine(large=50, small=5).adaptive()
    adaptive.warm_up("abc")
    lengths = [2**power for power in range(2, 15)]
    assert [adaptive("x" * length, deadline_ms=10).level for length in lengths] == ["small"] * len(lengths)


def test_warming_up_sees_longer_texts_than_it_was_given():
    """A level whose time grows with the text misses no deadline that was to be foreseen."""
    now = [0.0]

    def answer(text):
        now[0] += len(text) / 1000

    levels = [Level("large", lambda: answer), Level("small", lambda: lambda text: None)]
    adaptive = Adaptive(levels, clock=lambda: now[0])
    adaptive.warm_up("x" * 10)
    assert adaptive("x" * 10, deadline_ms=20).level == "large"
    assert adaptive("x" * 100, deadline_ms=20).level == "small"


def test_threads_share_it_and_each_gets_its_own_answer():
    opened, active, most = [], [], []

    def open_level():
        opened.append(1)
        time.sleep(0.01)

        def answer(text):
            active.append(1)
            most.append(len(active))
            time.sleep(0.001)
            active.pop()
            return text.upper()

        return answer

    adaptive = Adaptive([Level("only", open_level)])
    texts = [f"text {number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert [answer.value for answer in pool.map(adaptive, texts)] == [text.upper() for text in texts]
    assert (len(opened), max(most)) == (1, 1)


def test_a_wait_for_another_thread_is_taken_off_the_deadline():
    """Both levels take no time: only the wait tells them apart."""
    held = Held()
    levels = [Level("large", lambda: held.answer), Level("small", lambda: lambda text: None)]
    adaptive = Adaptive(levels, clock=held.clock)
    first, second = held.two_threads(adaptive)
    assert (first.level, second.level, second.ms) == ("large", "small", 0)
    assert adaptive("second", deadline_ms=10).level == "large"


def test_no_better_level_is_tried_again_where_nothing_is_left_of_the_deadline():
    adaptive = Machine(large=50, small=5).adaptive(retry=4)
    adaptive.warm_up(TEXT)
    assert used(adaptive, 60, 0) == ["small"] * 60


def test_levels_that_are_asked_for_two_things_share_their_memory_and_not_their_times():
    machine = Machine(large=50, small=5)
    adaptive = machine.adaptive(sizes=(500, 300))
    louder = adaptive.asking(lambda opened, text: opened(text).upper())
    adaptive.warm_up(TEXT)
    assert louder(TEXT, deadline_ms=10).value == f"LARGE OF {TEXT.upper()}"  # not seen yet: tried
    assert louder(TEXT, deadline_ms=10).level == "small"
    assert machine.opened == ["small", "large"]
    assert louder(TEXT, max_bytes=300).level == "small"
    assert machine.held((500, 300)) == 300


def test_levels_that_are_asked_for_another_thing_are_tried_again_as_often():
    louder = Machine(large=50, small=5).adaptive(retry=3).asking(lambda opened, text: opened(text).upper())
    louder.warm_up(TEXT)
    assert used(louder, 4, 10) == ["small"] * 3 + ["large"]
