"""Tables in files: every kind gives back what went in, and what cannot be read is named with its line."""

import contextlib
import csv
import gzip
import io
import json
import random
import zlib

import pyarrow
import pytest
from pyarrow import parquet
from refusals import TEXT, line_of, refusal_of

from mrl_edge.datasets import Columns, read_table
from mrl_edge.errors import DataError

ROWS = [
    {"text": "plain", "kind": "a"},
    {"text": 'a "quoted" word, and a comma', "kind": "b"},
    {"text": "two\nlines", "kind": "a"},
    {"text": "windows\r\nlines\tand a tab", "kind": "b"},
    {"text": "naïve 漢字 🙂 line\u2028separator", "kind": "c"},
    {"text": "  spaces kept  ", "kind": "a"},
]


def _separated(rows, delimiter):
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def _parquet(table):
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    return stream.getvalue()


def _parquet_of(rows):
    return _parquet(pyarrow.Table.from_pylist(rows))


ENCODERS = {
    ".csv": lambda rows: _separated(rows, ","),
    ".tsv": lambda rows: _separated(rows, "\t"),
    ".jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode(),
    ".parquet": _parquet_of,
}
LINE_KINDS = [".csv", ".tsv", ".jsonl"]


def _write(folder, name, content):
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(path)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_every_kind_of_file_gives_back_the_texts_that_went_in(tmp_path, kind, packed):
    source = _write(tmp_path, f"data{kind}{packed}", ENCODERS[kind](ROWS))
    table = read_table(source, Columns(text="text", label="kind"))
    assert table.roles == {"text": [row["text"] for row in ROWS], "label": [row["kind"] for row in ROWS]}
    assert len(table) == len(ROWS)


def test_the_suffix_is_read_in_any_case(tmp_path):
    source = _write(tmp_path, "DATA.CSV", ENCODERS[".csv"](ROWS))
    assert len(read_table(source, TEXT)) == len(ROWS)


@pytest.mark.parametrize("kind", LINE_KINDS)
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path, kind):
    source = _write(tmp_path, f"data{kind}", b"\xef\xbb\xbf" + ENCODERS[kind](ROWS))
    assert read_table(source, TEXT).roles["text"] == [row["text"] for row in ROWS]


@pytest.mark.parametrize("kind", [".csv", ".jsonl"])
def test_blank_lines_are_no_rows(tmp_path, kind):
    content = ENCODERS[kind]([{"text": "a"}, {"text": "b"}]).replace(b"\n", b"\n\n")
    assert read_table(_write(tmp_path, f"data{kind}", content), TEXT).roles["text"] == ["a", "b"]


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_numbers_become_labels(tmp_path, kind):
    rows = [{"text": "a", "whole": 3, "part": 0.5}, {"text": "b", "whole": -1, "part": 2.25}]
    source = _write(tmp_path, f"data{kind}", ENCODERS[kind](rows))
    assert read_table(source, Columns(label="whole")).roles == {"label": ["3", "-1"]}
    assert read_table(source, Columns(label="part")).roles == {"label": ["0.5", "2.25"]}


def test_each_role_reads_the_column_named_for_it(tmp_path):
    rows = [{"a": "1a", "b": "1b", "c": "1c", "d": "1d"}, {"a": "2a", "b": "2b", "c": "2c", "d": "2d"}]
    source = _write(tmp_path, "data.csv", ENCODERS[".csv"](rows))
    table = read_table(source, Columns(text="d", label="c", query="b", positive="b"))
    assert table.roles == {
        "text": ["1d", "2d"],
        "label": ["1c", "2c"],
        "query": ["1b", "2b"],
        "positive": ["1b", "2b"],
    }


def test_naming_no_column_is_refused_with_the_options_to_use(tmp_path):
    refusal = refusal_of(_write(tmp_path, "data.csv", b"text\na\n"), Columns())
    assert all(option in refusal for option in ("--text", "--label", "--query", "--positive"))


BAD_LINES = {
    "too few fields": (".csv", b"text,kind\na,b\nc\n", 3),
    "too many fields": (".csv", b"text,kind\na,b,c\n", 2),
    "too few fields, tsv": (".tsv", b"text\tkind\na\tb\nc,d\n", 3),
    "windows line ends": (".csv", b"text,kind\r\na,b\r\nc\r\n", 3),
    "after quoted newlines": (".csv", b'text,kind\n"1\n2\n3",x\n"4\n5",y\nbad\n', 7),
    "after a quoted header": (".csv", b'text,"ki\nnd"\na,b\nbad\n', 4),
    "after a blank line": (".csv", b"text,kind\n\n\nbad\n", 4),
    "starts here, ends below": (".csv", b'text,kind\na,b\n"1\n2\n3"\n', 3),
    "after a line separator in a text": (".csv", "text,kind\na\u2028b,c\nbad\n".encode(), 3),
    "quote never closed": (".csv", b'text,kind\na,b\n"c\nd,e\n', 3),
    "text after the closing quote": (".csv", b'text,kind\na,b\n"c"d,e\n', 3),
    "not UTF-8, csv": (".csv", b'text,kind\n"1\n2",b\n\xff,c\n', 4),
    "not UTF-8, jsonl": (".jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', 2),
    "not UTF-8, first line": (".csv", "text".encode("utf-16"), 1),
    "empty cell": (".csv", b"text,kind\na,b\n,c\n", 3),
    "cell of spaces": (".tsv", b"text\tkind\n \t b\n", 2),
    "empty text, jsonl": (".jsonl", b'{"text": "a"}\n{"text": ""}\n', 2),
    "invalid JSON": (".jsonl", b'{"text": "a"}\n\n{"text": \n', 3),
    "not a number": (".jsonl", b'{"text": 1}\n{"text": NaN}\n', 2),
    "no object": (".jsonl", b'{"text": "a"}\n["text"]\n', 2),
    "column missing from a later row": (".jsonl", b'{"text": "a"}\n{"other": "b"}\n', 2),
    "null": (".jsonl", b'{"text": "a"}\n{"text": null}\n', 2),
    "true": (".jsonl", b'{"text": "a"}\n{"text": "b"}\n{"text": true}\n', 3),
    "a list": (".jsonl", b'{"text": ["a"]}\n', 1),
    "null, parquet": (".parquet", _parquet_of([{"text": "a"}, {"text": "b"}, {"text": None}]), 3),
    "empty text, parquet": (".parquet", _parquet_of([{"text": "a"}, {"text": ""}]), 2),
    "bytes, parquet": (".parquet", _parquet_of([{"text": b"a"}]), 1),
}


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(("kind", "content", "line"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_row_names_itsline_of(tmp_path, kind, content, line, packed):
    assert line_of(refusal_of(_write(tmp_path, f"data{kind}{packed}", content))) == line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text,kind\na\n", "1 fields, but the header has 2"),
        (b"text,kind\n\xff,b\n", "not UTF-8"),
        (b"text,kind\n,b\n", "column 'text' is empty"),
    ],
)
def test_a_bad_row_says_what_is_wrong(tmp_path, content, reason):
    assert reason in refusal_of(_write(tmp_path, "data.csv", content))


def test_a_bad_cell_in_a_column_that_is_not_asked_for_is_no_error(tmp_path):
    source = _write(tmp_path, "data.jsonl", b'{"text": "a", "kind": null}\n{"text": "b"}\n')
    assert read_table(source, TEXT).roles["text"] == ["a", "b"]


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_unknown_column_is_refused_with_those_there_are(tmp_path, kind):
    refusal = refusal_of(_write(tmp_path, f"data{kind}", ENCODERS[kind](ROWS)), Columns(text="txet"))
    assert refusal == ": no column 'txet'; it has text, kind"


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", LINE_KINDS)
def test_an_empty_file_is_refused(tmp_path, kind, packed):
    assert "empty" in refusal_of(_write(tmp_path, f"data{kind}{packed}", b""))


NO_ROWS = {
    "data.csv": b"text,kind\n",
    "data.tsv": b"text\tkind",
    "data.parquet": _parquet(pyarrow.table({"text": pyarrow.array([], pyarrow.string())})),
}


@pytest.mark.parametrize(("name", "content"), NO_ROWS.items())
def test_a_header_without_rows_is_refused(tmp_path, name, content):
    assert "no rows" in refusal_of(_write(tmp_path, name, content))


@pytest.mark.parametrize("name", ["data.json", "data.txt.gz", "data", "csv"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path, name):
    refusal = refusal_of(_write(tmp_path, name, b"text\na\n"))
    assert all(kind in refusal for kind in ENCODERS)


def test_a_missing_file_is_refused(tmp_path):
    assert "no such file" in refusal_of(str(tmp_path / "data.csv"))


def _many_lines(kind):
    noise = random.Random(0)
    return ENCODERS[kind]([{"text": f"{noise.getrandbits(128):x}"} for _ in range(20_000)])


@pytest.mark.parametrize("kind", LINE_KINDS)
def test_a_truncated_gzip_names_the_last_line_before_the_damage(tmp_path, kind):
    packed = gzip.compress(_many_lines(kind))
    packed = packed[: len(packed) // 2]
    path = tmp_path / f"data{kind}.gz"
    path.write_bytes(packed)
    intact = zlib.decompressobj(wbits=31).decompress(packed).count(b"\n")
    refusal = refusal_of(str(path))
    assert "damaged gzip" in refusal
    assert 0 < line_of(refusal) <= intact


@pytest.mark.parametrize("kind", LINE_KINDS)
def test_a_gzip_with_a_wrong_checksum_is_refused_after_its_lastline_of(tmp_path, kind):
    content = _many_lines(kind)
    packed = bytearray(gzip.compress(content))
    packed[-8] ^= 0xFF  # the first byte of the CRC-32
    path = tmp_path / f"data{kind}.gz"
    path.write_bytes(packed)
    refusal = refusal_of(str(path))
    assert "damaged gzip" in refusal
    assert line_of(refusal) == content.count(b"\n")


def test_a_file_that_is_gzip_only_by_name_is_refused_before_its_firstline_of(tmp_path):
    path = tmp_path / "data.csv.gz"
    path.write_bytes(b"text\na\n")
    refusal = refusal_of(str(path))
    assert "damaged gzip" in refusal
    assert line_of(refusal) == 0


@pytest.mark.parametrize("keep", [0, 4, -3])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_truncated_parquet_is_refused(tmp_path, keep, packed):
    refusal = refusal_of(_write(tmp_path, f"data.parquet{packed}", _parquet_of(ROWS)[:keep]))
    assert "not a readable Parquet file" in refusal


@pytest.mark.parametrize("cut", [slice(-20), slice(5)])
def test_a_parquet_in_a_truncated_gzip_is_refused(tmp_path, cut):
    path = tmp_path / "data.parquet.gz"
    path.write_bytes(gzip.compress(_parquet_of(ROWS))[cut])
    assert "not a readable Parquet file" in refusal_of(str(path))


def test_no_flipped_byte_of_a_compressed_file_escapes_as_another_error(tmp_path):
    whole = gzip.compress("".join(f"row {i}, with some text\n" for i in range(300)).encode(), mtime=0)
    path = tmp_path / "data.tsv.gz"
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with contextlib.suppress(DataError):
            read_table(str(path), Columns(text="row 0, with some text"))


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,text\na,b\n")
    with pytest.raises(DataError, match="two columns are called 'text'"):
        read_table(str(path), Columns(text="text"))
