"""The whole quickstart, as a new user runs it: on few rows and two dimensions, and as `slow` on its own data."""

import json

import pytest
from conftest import mrl_edge, run_mrl_edge

_SHORT = ("--max-rows", "400", "--max-dev-rows", "300", "--dims", "16,384", "--max-seconds", "0.1", "--repeats", "1")
_FULL = ("--max-rows", "4000", "--max-seconds", "0.1", "--repeats", "1")


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """The folder of a short one and what it printed."""
    out = tmp_path_factory.mktemp("quick") / "start"
    return out, mrl_edge("quickstart", "--out", out, *_SHORT)


def test_it_ends_with_three_picks_and_says_where_everything_lies(there):
    out, text = there
    for step, what in enumerate(("train", "export", "index", "bench", "report", "pick"), 1):
        assert f"[{step}/6] {what}" in text
    for budget in ("a tight budget", "a middling budget", "a generous budget"):
        after = text.split(budget)[1].splitlines()[1]
        assert "the best of the" in after or "Nothing fits" in after
    assert "the best of the 8 of 8" in text  # the generous one
    made = {path.name for path in out.iterdir()}
    assert made == {"dev.csv", "model", "bundle", "results.json", "report.html", "cache"}


def test_its_measurements_are_complete_and_a_second_run_keeps_them(there):
    out, _ = there
    before = (out / "results.json").read_bytes()
    found = json.loads(before)
    assert {row["status"] for row in found["measurements"]} == {"ok"}
    assert [row["dim"] for row in found["measurements"]] == [16, 16, 384, 384] * 2
    assert found["settings"]["queries"] == 300
    again = run_mrl_edge("quickstart", "--out", out, *_SHORT)
    assert again.returncode == 0, again.stderr
    assert "epoch" not in again.stderr
    assert (out / "results.json").read_bytes() == before


@pytest.mark.slow
def test_matryoshka_beats_both_baselines_at_every_dimension(tmp_path):
    """On all dev rows, with 4,000 rows to learn from: fewer do not beat truncation at the full dimension."""
    text = mrl_edge("quickstart", "--out", tmp_path / "start", *_FULL, timeout=1800)
    assert "the best of the 28 of 28" in text
    quality = json.loads((tmp_path / "start" / "model" / "mrl.json").read_text())["quality"]
    for dim, scores in quality["mrl"].items():
        ours, pca, truncation = (quality[m][dim]["recall_at_10"] for m in ("mrl", "pca", "truncation"))
        assert ours > truncation, dim
        assert ours > pca, dim
        assert scores["ndcg_at_10"] > quality["pca"][dim]["ndcg_at_10"], dim
