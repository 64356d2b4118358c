"""The report as a reader has it in Chromium, whatever the budget: figures, sections, paper, speed, access, names."""

import re

import numpy as np
import pytest
from browser.pages import EVIL
from mrl_edge.bench.candidates import candidates
from mrl_edge.bench.results import read_results

pytestmark = pytest.mark.browser


def test_whiskers_are_the_intervals_and_lie_within_the_frame(folder, seen):
    """Pixels of all bars of the first figure, by the scale that its ticks' numbers and places give."""
    figure = seen["figure"]
    rows = candidates(read_results(folder / "results.json"))
    numbers = np.array([float(text) for text, _ in figure["ticks"]])
    slope, start = np.polyfit(numbers, [x for _, x in figure["ticks"]], 1)
    bars = np.array(figure["whiskers"])
    wanted = np.array([row.p50_ci95_ms for row in rows]) * slope + start
    assert bars.shape == wanted.shape
    for end in (0, 1):
        np.testing.assert_allclose(np.sort(bars[:, end]), np.sort(wanted[:, end]), atol=0.5)
    np.testing.assert_allclose(np.sort(np.ptp(bars, axis=1)), np.sort(np.ptp(wanted, axis=1)), atol=0.5)
    left, right = figure["frame"]
    assert left < np.min(wanted)
    assert np.max(wanted) < right


def test_every_section_of_several_files_says_what_it_is_of(seen):
    sections = seen["sections"]
    assert {"a board", "The 84 configurations that several devices measured"} <= set(sections["devices"].split("\n"))
    assert "MRL (this model)" in sections["baselines"]
    assert "0.684" in sections["baselines"]  # at 384 dimensions
    assert "head: 1-NN accuracy" in sections["classes"]
    assert "3 classes, 150 texts" in sections["classes"]
    for wanted in ("another", "9.00", "not installed"):
        assert wanted in sections["peers"]
    assert "200 on" in sections["all"]
    assert "84 on a board" in sections["all"]
    assert "USER@HOST" in sections["reproduce"]


def test_paper_says_the_device_and_the_form_of_each_figure_and_unfolds_all(folder, seen):
    """What print's style shows, with no form to read them from."""
    printed = seen["printed"]
    cpu = read_results(folder / "results.json").device.cpu
    assert printed["hidden"] == ["#budget", ".switch", ".by"]
    assert f"Shown: {cpu}." in printed["text"]
    assert re.search(rf"Shown: {re.escape(cpu)}, \w+ search, \d layers, 1 thread, default runtime\.", printed["text"])
    assert "Budget: query p50 ≤ 2.5 ms" in printed["text"]
    assert printed["folded"] == 0
    rows = candidates(read_results(folder / "board.json"))
    assert all(f"{row.peak_rss_mb:.1f}" in printed["text"] for row in rows)
    assert set(printed["widths"]) == {230, 360}  # of figures three and two in a row, on whatever screen


def test_nothing_is_asked_of_a_network_and_the_console_is_silent(seen):
    assert seen["requests"] == []
    assert seen["complaints"] == []


def test_200_configurations_open_within_two_seconds_and_weigh_less_than_6_mb(folder, seen):
    assert len(candidates(read_results(folder / "results.json"))) == 200
    assert seen["openedMs"][0] < 2000  # the first, nothing of it cached
    assert (folder / "several.html").stat().st_size < 6e6


def test_axe_finds_nothing_in_light_dark_or_narrow(seen):
    assert seen["violations"] == []


def test_400_pixels_are_wide_enough(seen):
    assert seen["narrowWidth"] <= 400
    assert seen["pdf"] > 10_000


def test_hostile_names_are_text(seen):
    assert seen["hostile"]["names"][0].startswith(EVIL)
