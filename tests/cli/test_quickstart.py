"""The whole quickstart, as a new user runs it, on fewer pairs and with shorter measurements."""

import json

import pytest
from conftest import ROWS, mrl_edge, run_mrl_edge

_SHORT = ("--max-rows", ROWS, "--max-seconds", "0.1", "--repeats", "1")


@pytest.fixture(scope="module")
def there(model, cache, tmp_path_factory):
    """The quickstart's folder and what it printed; its texts are those that `model` was trained on, and cached."""
    out = tmp_path_factory.mktemp("quick") / "start"
    out.mkdir()
    (out / "cache").symlink_to(cache)
    return out, mrl_edge("quickstart", "--out", out, *_SHORT)


def test_it_ends_with_three_picks_and_says_where_everything_lies(there):
    out, text = there
    for step, what in enumerate(("train", "export", "index", "bench", "report", "pick"), 1):
        assert f"[{step}/6] {what}" in text
    for budget in ("a tight budget", "a middling budget", "a generous budget"):
        after = text.split(budget)[1].splitlines()[1]
        assert "the best of the" in after or "Nothing fits" in after
    assert "the best of the 28 of 28" in text  # the generous one
    assert {path.name for path in out.iterdir()} == {"model", "bundle", "results.json", "report.html", "cache"}


def test_matryoshka_beats_both_baselines_at_every_dimension(there):
    quality = json.loads((there[0] / "model" / "mrl.json").read_text())["quality"]
    for dim, scores in quality["mrl"].items():
        ours, pca, truncation = (quality[m][dim]["recall_at_10"] for m in ("mrl", "pca", "truncation"))
        assert ours > truncation, dim
        assert ours > pca, dim
        assert scores["ndcg_at_10"] > quality["pca"][dim]["ndcg_at_10"], dim


def test_its_measurements_are_complete_and_a_second_run_keeps_them(there):
    out, _ = there
    before = (out / "results.json").read_bytes()
    rows = json.loads(before)["measurements"]
    assert {row["status"] for row in rows} == {"ok"}
    assert len(rows) == 28
    again = run_mrl_edge("quickstart", "--out", out, *_SHORT)
    assert again.returncode == 0, again.stderr
    assert "epoch" not in again.stderr
    assert (out / "results.json").read_bytes() == before
