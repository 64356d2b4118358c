"""A results file may come from a board: whatever its bytes are, it is read or refused in one line."""

import json
from pathlib import Path

import pytest
from conftest import run_here, the_one_error_line

SWEPT = Path(__file__).parents[1] / "data" / "quickstart.json"
DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        b'{"schema_version": 1, "bundle": {"name": "\xff\xfe"}}',
        b'{"schema_version": 1, "bundle": {"name": "b", "sha256": "", "training": {"a": ' + DEEP + b"}}}",
        b'{"schema_version": 1',
    ],
    ids=["no UTF-8", "nested without end", "cut off"],
)
def test_a_file_of_odd_bytes_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    line = the_one_error_line(run_here("pick", path, "--max-p50-ms", "9"))
    assert "results.json is no results file, or damaged" in line


@pytest.mark.parametrize(
    ("name", "value"), [("data_sha256", [1]), ("like", 5), ("like", {"sha256": 1}), ("repeats", "3"), ("asked", [])]
)
def test_a_setting_of_another_kind_is_damage(tmp_path, name, value):
    content = json.loads(SWEPT.read_bytes())
    content["settings"][name] = value
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    line = the_one_error_line(run_here("compare", path, SWEPT))
    assert "results.json is no results file, or damaged" in line
    assert name in line
