"""A results file may come from a board: whatever its bytes are, it is read or refused in one line."""

import pytest
from conftest import run_here, the_one_error_line

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
