import contextlib
import csv
import gzip
import io
import json
import random
import re
import zlib
from importlib import resources

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from mrl_edge.datasets import Columns, Table, read_table
from mrl_edge.errors import DataError, UsageError

TEXT = Columns(text="text")
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


def _refusal(source, columns=TEXT):
    with pytest.raises(DataError) as caught:
        read_table(source, columns)
    message = str(caught.value)
    assert message.startswith(source)
    assert "\n" not in message
    return message.removeprefix(source)


def _line(refusal):
    return int(re.match(r", (?:after )?line (\d+): ", refusal)[1])


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
    refusal = _refusal(_write(tmp_path, "data.csv", b"text\na\n"), Columns())
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
def test_a_bad_row_names_its_line(tmp_path, kind, content, line, packed):
    assert _line(_refusal(_write(tmp_path, f"data{kind}{packed}", content))) == line


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text,kind\na\n", "1 fields, but the header has 2"),
        (b"text,kind\n\xff,b\n", "not UTF-8"),
        (b"text,kind\n,b\n", "column 'text' is empty"),
    ],
)
def test_a_bad_row_says_what_is_wrong(tmp_path, content, reason):
    assert reason in _refusal(_write(tmp_path, "data.csv", content))


def test_a_bad_cell_in_a_column_that_is_not_asked_for_is_no_error(tmp_path):
    source = _write(tmp_path, "data.jsonl", b'{"text": "a", "kind": null}\n{"text": "b"}\n')
    assert read_table(source, TEXT).roles["text"] == ["a", "b"]


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_unknown_column_is_refused_with_those_there_are(tmp_path, kind):
    refusal = _refusal(_write(tmp_path, f"data{kind}", ENCODERS[kind](ROWS)), Columns(text="txet"))
    assert refusal == ": no column 'txet'; it has text, kind"


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", LINE_KINDS)
def test_an_empty_file_is_refused(tmp_path, kind, packed):
    assert "empty" in _refusal(_write(tmp_path, f"data{kind}{packed}", b""))


NO_ROWS = {
    "data.csv": b"text,kind\n",
    "data.tsv": b"text\tkind",
    "data.parquet": _parquet(pyarrow.table({"text": pyarrow.array([], pyarrow.string())})),
}


@pytest.mark.parametrize(("name", "content"), NO_ROWS.items())
def test_a_header_without_rows_is_refused(tmp_path, name, content):
    assert "no rows" in _refusal(_write(tmp_path, name, content))


@pytest.mark.parametrize("name", ["data.json", "data.txt.gz", "data", "csv"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path, name):
    refusal = _refusal(_write(tmp_path, name, b"text\na\n"))
    assert all(kind in refusal for kind in ENCODERS)


def test_a_missing_file_is_refused(tmp_path):
    assert "no such file" in _refusal(str(tmp_path / "data.csv"))


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
    refusal = _refusal(str(path))
    assert "damaged gzip" in refusal
    assert 0 < _line(refusal) <= intact


@pytest.mark.parametrize("kind", LINE_KINDS)
def test_a_gzip_with_a_wrong_checksum_is_refused_after_its_last_line(tmp_path, kind):
    content = _many_lines(kind)
    packed = bytearray(gzip.compress(content))
    packed[-8] ^= 0xFF  # the first byte of the CRC-32
    path = tmp_path / f"data{kind}.gz"
    path.write_bytes(packed)
    refusal = _refusal(str(path))
    assert "damaged gzip" in refusal
    assert _line(refusal) == content.count(b"\n")


def test_a_file_that_is_gzip_only_by_name_is_refused_before_its_first_line(tmp_path):
    path = tmp_path / "data.csv.gz"
    path.write_bytes(b"text\na\n")
    refusal = _refusal(str(path))
    assert "damaged gzip" in refusal
    assert _line(refusal) == 0


@pytest.mark.parametrize("keep", [0, 4, -3])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_truncated_parquet_is_refused(tmp_path, keep, packed):
    refusal = _refusal(_write(tmp_path, f"data.parquet{packed}", _parquet_of(ROWS)[:keep]))
    assert "not a readable Parquet file" in refusal


@pytest.mark.parametrize("cut", [slice(-20), slice(5)])
def test_a_parquet_in_a_truncated_gzip_is_refused(tmp_path, cut):
    path = tmp_path / "data.parquet.gz"
    path.write_bytes(gzip.compress(_parquet_of(ROWS))[cut])
    assert "not a readable Parquet file" in _refusal(str(path))


def _dataset(**columns):
    classes = datasets.ClassLabel(names=["no", "maybe", "yes"])
    features = {"text": datasets.Value("string"), "label": classes, "score": datasets.Value("int64")}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def test_a_datasets_folder_gives_its_class_names(tmp_path):
    _dataset(text=["a", "b", "c"], label=[2, 0, 1], score=[2, 0, 1]).save_to_disk(tmp_path / "set")
    source = str(tmp_path / "set")
    table = read_table(source, Columns(text="text", label="label"))
    assert table.roles == {"text": ["a", "b", "c"], "label": ["yes", "no", "maybe"]}
    assert read_table(source, Columns(label="score")).roles == {"label": ["2", "0", "1"]}


def test_a_bad_row_of_a_datasets_folder_names_its_number(tmp_path):
    _dataset(text=["a", "b", None], label=[0, None, 1], score=[0, 0, 0]).save_to_disk(tmp_path / "set")
    assert _line(_refusal(str(tmp_path / "set"))) == 3
    assert _line(_refusal(str(tmp_path / "set"), Columns(label="label"))) == 2


def test_an_unknown_column_of_a_datasets_folder_is_refused(tmp_path):
    _dataset(text=["a"], label=[0], score=[0]).save_to_disk(tmp_path / "set")
    refusal = _refusal(str(tmp_path / "set"), Columns(text="txet"))
    assert refusal == ": no column 'txet'; it has text, label, score"


def test_a_folder_of_several_splits_is_refused_naming_them(tmp_path):
    part = _dataset(text=["a"], label=[0], score=[0])
    datasets.DatasetDict({"train": part, "validation": part}).save_to_disk(tmp_path / "set")
    refusal = _refusal(str(tmp_path / "set"))
    assert "'train'" in refusal
    assert "'validation'" in refusal
    assert read_table(str(tmp_path / "set" / "validation"), TEXT).roles["text"] == ["a"]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    assert "state.json" in _refusal(str(tmp_path))


def test_the_builtin_data_are_the_rows_of_the_packaged_file():
    packaged = resources.files("mrl_edge") / "data" / "wordnet_nouns" / "dev.csv.gz"
    with packaged.open("rb") as file:
        rows = list(csv.DictReader(io.StringIO(gzip.decompress(file.read()).decode(), newline="")))
    table = read_table("builtin:wordnet_nouns/dev", Columns(query="gloss", positive="lemmas", label="label"))
    assert table.source == "builtin:wordnet_nouns/dev"
    assert len(table) == 4000  # as its README says
    assert table.roles == {
        "query": [row["gloss"] for row in rows],
        "positive": [row["lemmas"] for row in rows],
        "label": [row["label"] for row in rows],
    }


@pytest.mark.parametrize("name", ["", "wordnet_nouns", "wordnet_nouns/test", "nothing/dev"])
def test_unknown_builtin_data_are_refused_with_those_there_are(name):
    refusal = _refusal(f"builtin:{name}", Columns(text="gloss"))
    assert "builtin:wordnet_nouns/dev" in refusal
    assert "builtin:wordnet_nouns/train" in refusal


@pytest.mark.parametrize("relative", [True, False])
def test_builtin_data_never_lead_out_of_the_package(tmp_path, relative):
    _write(tmp_path, "secret.csv.gz", b"text\na\n")
    data = resources.files("mrl_edge") / "data"
    up = "../" * len(data.parts)
    path = f"{up}{tmp_path.relative_to('/')}/secret" if relative else f"{tmp_path}/secret"
    assert (data / f"{path}.csv.gz").is_file()  # there is something to escape to
    assert "no such built-in data" in _refusal(f"builtin:{path}")


def test_builtin_one_folder_up_is_refused():
    assert "no such built-in data" in _refusal("builtin:../x")


def _pairs(count):
    return Table("made", {"query": [f"q{i}" for i in range(count)], "positive": [f"p{i}" for i in range(count)]})


@pytest.mark.parametrize(("fraction", "held"), [(0.2, 20), (0.5, 50), (0.0, 1), (0.001, 1)])
def test_a_split_deals_out_every_row_once_and_keeps_pairs_together(fraction, held):
    table = _pairs(100)
    parts = table.split(fraction, seed=7)
    assert [len(part) for part in parts] == [100 - held, held]
    dealt = [pair for part in parts for pair in zip(part.roles["query"], part.roles["positive"], strict=True)]
    assert sorted(dealt) == sorted(zip(table.roles["query"], table.roles["positive"], strict=True))


def test_a_split_depends_on_its_seed_alone():
    assert _pairs(100).split(0.3, seed=1) == _pairs(100).split(0.3, seed=1)
    assert _pairs(100).split(0.3, seed=1) != _pairs(100).split(0.3, seed=2)


def test_a_split_is_random_and_not_the_tail():
    held = _pairs(1000).split(0.5, seed=0)[1].roles["query"]
    numbers = [int(query[1:]) for query in held]
    assert 400 < sum(numbers) / len(numbers) < 600


def test_no_text_or_image_is_on_both_sides_of_a_split():
    """Queries of many positives, positives of many queries, and texts that are a query here and a positive there."""
    rng = random.Random(3)
    queries = [f"t{rng.randrange(300)}" for _ in range(300)]
    positives = [query if rng.random() < 0.3 else f"t{rng.randrange(3000)}" for query in queries]
    pairs = Table("made", {"query": queries, "positive": positives})
    images = Table("made", {"image": [f"{number // 3}.png" for number in range(300)], "label": ["a"] * 300})
    for table in (pairs, images):
        kept, held = (
            {t for role, ts in part.roles.items() if role != "label" for t in ts} for part in table.split(0.1, 0)
        )
        assert not kept & held
        assert 15 <= len(table.split(0.1, 0)[1]) <= 60
        assert table.split(0.1, 0) == table.split(0.1, 0)


def test_a_split_of_few_positives_keeps_queries_apart_and_lets_positives_repeat():
    queries = [f"q{number // 2}" for number in range(200)]
    kept, held = Table("made", {"query": queries, "positive": ["yes", "no"] * 100}).split(0.1, seed=0)
    assert len(held) == 20
    assert not {*kept.roles["query"]} & {*held.roles["query"]}


def test_a_table_of_one_text_cannot_be_split():
    with pytest.raises(UsageError, match="give them with --dev"):
        Table("made", {"text": ["same"] * 50, "label": ["a", "b"] * 25}).split(0.1, seed=0)


def test_a_row_without_a_class_is_refused_and_not_given_the_last_one(tmp_path):
    folder = tmp_path / "data"
    features = datasets.Features({"label": datasets.ClassLabel(names=["no", "yes"])})
    datasets.Dataset.from_dict({"label": [0, -1]}, features=features).save_to_disk(folder)
    with pytest.raises(DataError, match=r"line 2: column 'label' is missing"):
        read_table(str(folder), Columns(label="label"))


@pytest.mark.parametrize("name", ["state.json", "data-00000-of-00001.arrow"])
def test_a_damaged_datasets_folder_is_refused(tmp_path, name):
    folder = tmp_path / "data"
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(folder)
    (folder / name).write_bytes(b"junk")
    with pytest.raises(DataError, match="not a readable datasets folder"):
        read_table(str(folder), Columns(text="text"))


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
