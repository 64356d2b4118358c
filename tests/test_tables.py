"""Tables that are no file of the user's: `datasets` folders, the built-in data, and the two parts of a split."""

import csv
import gzip
import io
import random
from importlib import resources

import datasets
import pytest
from refusals import TEXT, line_of, refusal_of

from mrl_edge.datasets import Columns, Table, read_table
from mrl_edge.errors import DataError, UsageError


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
    assert line_of(refusal_of(str(tmp_path / "set"))) == 3
    assert line_of(refusal_of(str(tmp_path / "set"), Columns(label="label"))) == 2


def test_an_unknown_column_of_a_datasets_folder_is_refused(tmp_path):
    _dataset(text=["a"], label=[0], score=[0]).save_to_disk(tmp_path / "set")
    refusal = refusal_of(str(tmp_path / "set"), Columns(text="txet"))
    assert refusal == ": no column 'txet'; it has text, label, score"


def test_a_folder_of_several_splits_is_refused_naming_them(tmp_path):
    part = _dataset(text=["a"], label=[0], score=[0])
    datasets.DatasetDict({"train": part, "validation": part}).save_to_disk(tmp_path / "set")
    refusal = refusal_of(str(tmp_path / "set"))
    assert "'train'" in refusal
    assert "'validation'" in refusal
    assert read_table(str(tmp_path / "set" / "validation"), TEXT).roles["text"] == ["a"]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    assert "state.json" in refusal_of(str(tmp_path))


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
    refusal = refusal_of(f"builtin:{name}", Columns(text="gloss"))
    assert "builtin:wordnet_nouns/dev" in refusal
    assert "builtin:wordnet_nouns/train" in refusal


@pytest.mark.parametrize("relative", [True, False])
def test_builtin_data_never_lead_out_of_the_package(tmp_path, relative):
    (tmp_path / "secret.csv.gz").write_bytes(gzip.compress(b"text\na\n"))
    data = resources.files("mrl_edge") / "data"
    up = "../" * len(data.parts)
    path = f"{up}{tmp_path.relative_to('/')}/secret" if relative else f"{tmp_path}/secret"
    assert (data / f"{path}.csv.gz").is_file()  # there is something to escape to
    assert "no such built-in data" in refusal_of(f"builtin:{path}")


def test_builtin_one_folder_up_is_refused():
    assert "no such built-in data" in refusal_of("builtin:../x")


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
