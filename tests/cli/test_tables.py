"""Tables fit 80 columns, lose nothing, and are plain text in a pipe and on a terminal that takes little."""

import fcntl
import io
import json
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios
from contextlib import redirect_stdout

import pytest
from conftest import mrl_edge_here, run_mrl_edge
from mrl_edge.bench.results import IndexPlan
from msgspec.structs import replace
from rich.cells import cell_len
from rows import measurement, results

from mrl_edge.cli import bench_table, console, run
from mrl_edge.cli.table import GAP, Column, fold

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
SIGNS = re.compile(r"[\u2500-\u259f\x1b]")  # boxes, blocks, escapes


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    """Whatever terminal these tests run in."""
    monkeypatch.setattr(console._out, "_width", 80)


def printed(print_it, *arguments):
    with redirect_stdout(io.StringIO()) as out:
        print_it(*arguments)
    return out.getvalue()


def widest(text):
    return max(cell_len(line) for line in text.splitlines())


def random_table(draw):
    """Heads and rows of numbers, words and 漢字, as wide as a draw makes them."""
    words = ["a", "tune", "catastrophe", "漢字", "phrase", "--option", "1,234"]
    heads = [f"head{i}" + " of it" * draw.randint(0, 2) for i in range(draw.randint(1, 14))]
    numeric = [draw.random() < 0.6 for _ in heads]
    rows = [
        [
            draw.choice([None, draw.randint(0, 10**6), draw.random()])
            if number
            else " ".join(draw.choices(words, k=draw.randint(1, 9)))
            for number in numeric
        ]
        for _ in range(draw.randint(1, 6))
    ]
    return heads, rows


def cut(line, start, width):
    """The signs of a line from one column of the terminal on, so many columns wide; 漢 takes two."""
    place, kept = 0, ""
    for sign in line:
        kept += sign if start <= place < start + width else ""
        place += cell_len(sign)
    return kept


@pytest.mark.parametrize("seed", range(40))
def test_a_table_of_any_width_fits_and_every_cell_is_in_its_column(seed):
    draw = random.Random(seed)
    heads, rows = random_table(draw)
    text = printed(console.print_table, "", heads, rows)
    assert widest(text) <= 80
    told = [i for i in range(len(heads)) if i == 0 or any(row[i] is not None for row in rows)]
    cells = [[console.cell(row[i]) for row in rows] for i in told]
    numeric = [not any(isinstance(row[i], str) for row in rows) for i in told]
    columns = [Column(heads[i], tuple(texts), right) for i, texts, right in zip(told, cells, numeric, strict=True)]
    blocks = fold(columns, 80, 1)
    for block, part in zip(blocks, text.split("\n\n"), strict=True):
        start = 0
        for i, width in zip(block.columns, block.widths, strict=True):
            shown = "".join(cut(line, start, width) for line in part.splitlines())
            expected = heads[told[i]] + "".join(cells[i])
            assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", expected)
            start += width + GAP


@pytest.mark.parametrize("seed", range(40))
def test_every_column_stands_once_beside_the_columns_that_name_a_row(seed):
    draw = random.Random(seed)
    columns = [
        Column("h", tuple("x" * draw.randint(1, 12) for _ in range(3)), draw.random() < 0.5)
        for _ in range(draw.randint(3, 30))
    ]
    blocks = fold(columns, 60, keys=2)
    assert all(block.columns[:2] == (0, 1) for block in blocks)
    assert [i for block in blocks for i in block.columns[2:]] == list(range(2, len(columns)))
    for block in blocks:
        assert sum(block.widths) + GAP * (len(block.widths) - 1) <= 60
        assert all(columns[i].least <= width for i, width in zip(block.columns, block.widths, strict=True))


def test_what_fits_is_one_table_and_no_text_wraps():
    rows = [["annoy", 8, 0.5], ["a scan of all", 16, 0.25]]
    lines = printed(console.print_table, "title", ["kind", "dim", "recall"], rows).splitlines()
    assert lines[0] == "title"
    assert [re.split(r" {2,}", line.strip()) for line in lines[1:]] == [
        ["kind", "dim", "recall"],
        ["annoy", "8", "0.500"],
        ["a scan of all", "16", "0.250"],
    ]


def test_every_table_of_the_commands_fits(tiny, tmp_path):
    bundle, table, file = tiny / "bundle", tiny / "dev.csv", tiny / "results.json"
    columns = ("--query", "question", "--positive", "answer", "--text", "answer", "--label", "label")
    commands = [
        ("show", bundle),
        ("search", bundle, "a little phrase", "--dim", "all"),
        ("search", bundle, "a little phrase", "--dim", "4"),
        ("classify", bundle, "a little phrase"),
        ("compare", file, file),
        ("devices", "list"),
        ("evaluate", bundle, "--data", table, *columns),
    ]
    for command in commands:
        text = mrl_edge_here(*command).replace(str(tiny), "")
        assert [line for line in text.splitlines() if cell_len(line) > 80] == [], command
        assert not SIGNS.search(text)


def test_the_widest_bench_fits():
    rows = [
        replace(
            measurement(precision, dim, threads=threads, search_ms=0.4, recall=0.5, accuracy=0.25),
            plan=IndexPlan("binary", 1600, 384), runtime=("no-arena", "no-prepack"), depth=depth,
        )
        for precision in ("int8-static", "fp32") for dim in (8, 384) for depth in (3, 6) for threads in (1, 16)
    ]  # fmt: skip
    settings = {"target_recall": 0.9, "queries": 1000, "documents": 5}
    text = printed(bench_table.print_results, replace(results(*rows), settings=settings))
    tables = text.split("\nshared:")[0]
    assert widest(tables) <= 80
    assert {"runtime", "depth", "dim", "encode", "recall", "acc."} <= set(tables.split())


def test_ranks_by_dimension_are_those_of_the_hits(tiny):
    query = "a little phrase"
    by_dim = json.loads(mrl_edge_here("search", tiny / "bundle", query, "-k", "4", "--json"))
    lines = mrl_edge_here("search", tiny / "bundle", query, "-k", "4").splitlines()
    assert lines[1].split() == list(by_dim)
    ranks = {line[: -9 * len(by_dim)].strip(): line.split()[-len(by_dim) :] for line in lines[2:]}
    texts = {hit["text"] for hits in by_dim.values() for hit in hits}
    assert len(ranks) == len(texts)
    for column, hits in enumerate(by_dim.values()):
        expected = {str(rank) for rank in range(1, len(hits) + 1)}
        assert {row[column] for row in ranks.values()} - {"–"} == expected
    last = [row[-1] for row in ranks.values() if row[-1] != "–"]
    assert last == ["1", "2", "3", "4"]  # the largest dimension's order


def test_a_pipe_gets_the_text_that_a_terminal_shows():
    piped = run_mrl_edge("devices", "list", env={**os.environ, "COLUMNS": "80"}).stdout
    assert not SIGNS.search(piped)
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "mrl_edge", "devices", "list"], stdin=terminal, stdout=terminal, stderr=terminal,
        env={**environment, "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        shown += part
    assert process.wait(timeout=60) == 0
    os.close(controller)
    text = shown.decode().replace("\r\n", "\n")
    assert "\x1b[1m" in text  # heads are bold on a terminal
    assert ESCAPES.sub("", text) == piped


def written_in_ascii(*arguments):
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "ascii")) as out:
        assert run([*map(str, arguments)]) == 0
        out.flush()
        return out.buffer.getvalue().decode("ascii")


def test_where_only_ascii_is_taken_signs_are_spelled_and_json_stays_exact(tiny):
    plain = mrl_edge_here("devices", "list")
    assert "–" in plain
    assert written_in_ascii("devices", "list") == plain.replace("–", "-")
    command = ("search", tiny / "bundle", "a little phrase", "--dim", "24", "--json")
    as_json = written_in_ascii(*command)
    assert "na\\u00efve" in as_json
    assert json.loads(as_json) == json.loads(mrl_edge_here(*command))


def test_help_and_documents_are_no_error_where_only_ascii_is_taken(tiny):
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run_mrl_edge("search", tiny / "bundle", "a little phrase", "--dim", "24", env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "na?ve" in done.stdout
