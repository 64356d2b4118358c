"""A classifier asks better levels while it is not sure, within a deadline and a memory limit, on a clock of its own."""

from functools import partial

import numpy as np
import pytest
from clocked import TEXT, Held, Machine

from mrl_edge.adaptive import Adaptive, Level
from mrl_edge.cascade import AdaptiveClassifier, Cascade
from mrl_edge.errors import UsageError


def test_a_classifier_asks_no_further_than_it_must_and_decides_as_the_cascade():
    """No deadline, no limit: what a cascade over the same shares says."""
    machine = Machine(large=50, middle=20, small=5)
    classify = machine.classifier((0.9, 0.6))
    random = np.random.default_rng(0)
    for _ in range(50):
        shares = random.dirichlet([0.3, 0.3], size=3).astype(np.float32)  # of the least level first
        machine.shares = dict(zip(("small", "middle", "large"), shares, strict=True))
        machine.asked.clear()
        answer = classify(TEXT)
        wanted = Cascade((1, 2, 3), (0.9, 0.6)).decide({place + 1: row[None, :] for place, row in enumerate(shares)})
        place = int(wanted.dims[0])
        assert answer.value.name == ("one", "two")[wanted.classes[0]]
        assert answer.value.probability == shares[place - 1].max()
        assert machine.asked == ["small", "middle", "large"][:place]
        assert (answer.level, answer.stopped) == (machine.asked[-1], "best" if place == 3 else "sure")


def unsure(**costs_ms):
    """Return a machine of which no level is sure, and each has a share of its own."""
    machine = Machine(**costs_ms)
    machine.shares = {name: np.float32([0.6, 0.4]) + place / 100 for place, name in enumerate(costs_ms)}
    return machine


def climbed(classify, times, deadline_ms):
    answers = [classify(TEXT, deadline_ms) for _ in range(times)]
    assert all((answer.stopped == "deadline") == (answer.level != "large") for answer in answers)
    return [answer.level for answer in answers]


def test_a_classifier_goes_on_while_the_next_level_is_expected_within_what_is_left():
    machine = unsure(large=50, middle=20, small=5)
    classify = machine.classifier((0.9, 0.9))
    classify.warm_up(TEXT)
    for deadline_ms, level, stopped, ms in (
        (76, "large", "best", 75),
        (74, "middle", "deadline", 25),
        (26, "middle", "deadline", 25),
        (24, "small", "deadline", 5),
        (1, "small", "deadline", 5),  # nothing is fast enough: the least
        (None, "large", "best", 75),
    ):
        answer = classify(TEXT, deadline_ms)
        assert (answer.level, answer.stopped) == (level, stopped)
        assert (answer.ms, answer.expected_ms) == (pytest.approx(ms), pytest.approx(ms))
        assert answer.value.probability == machine.shares[level].max()
    machine.shares["small"] = np.float32([0.05, 0.95])
    answer = classify(TEXT, 1)
    assert (answer.value.name, answer.level, answer.stopped) == ("two", "small", "sure")


def test_a_classifier_steps_down_when_the_machine_slows_and_back_when_it_has_recovered():
    machine = unsure(large=8, small=2)
    classify = machine.classifier((0.9,), window=3, retry=10)
    classify.warm_up(TEXT)
    assert climbed(classify, 5, 14) == ["large"] * 5
    machine.costs_ms = {"large": 40, "small": 4}
    assert climbed(classify, 4, 14) == ["large", "large", "small", "small"]
    machine.costs_ms = {"large": 8, "small": 2}
    assert climbed(classify, 20, 14) == ["small"] * 8 + ["large"] * 12  # tried again after ten, and it stays


def test_no_better_level_is_tried_where_the_least_has_spent_the_deadline():
    machine = unsure(large=50, small=5)
    classify = machine.classifier((0.9,), retry=4)
    classify.warm_up(TEXT)
    assert climbed(classify, 60, 4) == ["small"] * 60
    levels = climbed(classify, 60, 10)  # something is left, and so it is tried after 4, 8 and 16 others
    assert [place for place, level in enumerate(levels) if level == "large"] == [4, 13, 30]


def test_a_classifier_asks_what_fits_the_memory_together_and_opens_nothing_twice():
    sizes = (500, 400, 300)
    machine = unsure(large=50, middle=20, small=5)
    classify = machine.classifier((0.9, 0.9), sizes)
    classify.warm_up(TEXT, max_bytes=800)
    assert machine.opened == ["small", "middle"]
    for max_bytes, level, held in ((800, "middle", 700), (699, "small", 300), (300, "small", 300)):
        answers = [classify(TEXT, max_bytes=max_bytes) for _ in range(3)]
        assert [(answer.level, answer.stopped) for answer in answers] == [(level, "memory")] * 3
        assert machine.held(sizes) == held
    assert [classify(TEXT, deadline_ms, 800).stopped for deadline_ms in (30, 20)] == ["memory", "deadline"]
    assert machine.opened == ["small", "middle", "middle"]
    answer = classify(TEXT, max_bytes=1200)
    assert (answer.level, answer.stopped) == ("large", "best")
    with pytest.raises(UsageError, match="no level fits 299 bytes: the smallest takes 300"):
        classify(TEXT, max_bytes=299)


@pytest.mark.parametrize("thresholds", [(), (0.9, 0.9)])
def test_a_classifier_takes_one_threshold_fewer_than_levels(thresholds):
    with pytest.raises(UsageError, match=f"2 levels take one threshold fewer, not {len(thresholds)}"):
        Machine(large=50, small=5).classifier(thresholds)


@pytest.mark.parametrize("classes", [1, 3])
def test_a_classifier_takes_as_many_names_as_there_are_classes(classes):
    levels = unsure(large=50, small=5).adaptive()
    classify = AdaptiveClassifier(levels, (0.5,), ["one", "two", "three"][:classes])
    with pytest.raises(UsageError, match=f"small tells 2 classes apart, not {classes}"):
        classify(TEXT)


def test_a_classifier_closes_nothing_for_levels_that_it_does_not_ask():
    machine = Machine(large=50, middle=20, small=5)
    machine.shares["small"] = np.float32([0.05, 0.95])
    ask = machine.adaptive((800, 300, 200))
    classify = AdaptiveClassifier(ask.asking(lambda opened, text: opened(text)), (0.9, 0.9), ["one", "two"])
    for _ in range(2):
        assert ask(TEXT, max_bytes=1000).level == "large"
        assert classify(TEXT, max_bytes=1000).stopped == "sure"
    assert (machine.opened, machine.closed) == (["large", "small"], [])


def test_more_memory_never_gives_a_lesser_level():
    """The middle one is the largest, so that it is the last to fit."""
    machine = unsure(large=50, middle=20, small=5)
    classify = machine.classifier((0.9, 0.9), (300, 600, 200))
    for max_bytes, asked in (
        (499, ["small"]),
        (500, ["small", "large"]),
        (600, ["small", "large"]),
        (800, ["small", "large"]),  # the middle one would fit in place of the large
        (1100, ["small", "middle", "large"]),
    ):
        machine.asked.clear()
        assert classify(TEXT, max_bytes=max_bytes).stopped == ("best" if "large" in asked else "memory")
        assert machine.asked == asked


def test_a_wait_for_another_thread_is_taken_off_the_deadline():
    held = Held()
    levels = [Level("large", lambda: lambda text: None), Level("small", lambda: held.answer)]
    climb = partial(Adaptive(levels, clock=held.clock).climb, enough=lambda number, value: False)
    first, second = held.two_threads(climb)
    assert (first.level, first.stopped) == ("large", "best")
    assert (second.level, second.stopped) == ("small", "deadline")
    third = climb("second", deadline_ms=10)
    assert (third.level, third.stopped) == ("large", "best")
