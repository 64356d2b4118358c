"""The published schemas say of real files what our own reading says of them."""

import dataclasses
import json
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from jsonschema import Draft202012Validator
from made_machines import ALL, machine
from mrl_edge.bench.answer import Answer, Boards, Row
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import OBJECTIVES, Candidate
from mrl_edge.bench.results import Results, read_results, write_results
from mrl_edge.devices.profiles import Profile, names
from sizes import at

from mrl_edge.bundle import Manifest
from mrl_edge.choice import Choice
from mrl_edge.cli.schema import File
from mrl_edge.train.record import Record

KINDS = {
    "bundle": Manifest,
    "results": Results,
    "budget": Budget,
    "choice": Choice,
    "model": Record,
    "device": Profile,
}
SWEEP = Path(__file__).parents[1] / "data" / "quickstart.json"


@pytest.fixture(scope="module")
def validators():
    """Each schema as the command prints it, itself checked against the draft's own."""
    made = {}
    for file in File:
        schema = json.loads(mrl_edge_here("schema", file.value))
        Draft202012Validator.check_schema(schema)
        made[file.value] = Draft202012Validator(schema)
    return made


@pytest.fixture(scope="module")
def documents(tiny):
    """Real files, by kind."""
    profile = files("mrl_edge.devices") / "jetson-orin-nano.toml"
    return {
        "bundle": json.loads((tiny / "bundle" / "bundle.json").read_text()),
        "results": json.loads((tiny / "results.json").read_text()),
        "budget": msgspec.toml.decode(b"confidence = 0.95\n[max]\np50_ms = 20.0\n[keep]\nrecall_at_10 = 0.97"),
        "choice": json.loads(mrl_edge_here("pick", tiny / "results.json", "--json")),
        "model": json.loads((tiny / "model" / "mrl.json").read_text()),
        "device": msgspec.toml.decode(profile.read_bytes()),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_file_is_valid(validators, documents, kind):
    assert list(validators[kind].iter_errors(documents[kind])) == []


def test_every_device_is_valid(validators):
    for name in names():
        document = msgspec.toml.decode((files("mrl_edge.devices") / f"{name}.toml").read_bytes())
        assert list(validators["device"].iter_errors(document)) == [], name


def damaged(document):
    """Copies of a document, each with one key of the upper levels gone or of another type."""
    for key, value in document.items():
        yield {name: part for name, part in document.items() if name != key}
        yield {**document, key: {"not": "this"} if isinstance(value, (list, str)) else "not this"}
        part = value[0] if isinstance(value, list) and value else value
        if isinstance(part, dict):
            for worse in damaged(part):
                yield {**document, key: [worse, *value[1:]] if isinstance(value, list) else worse}


def reads(document, kind):
    try:
        msgspec.json.decode(msgspec.json.encode(document), type=KINDS[kind])
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("kind", ["bundle", "results", "model"])
def test_a_damaged_file_is_invalid_where_our_own_reading_refuses_it(validators, documents, kind):
    seen = [(reads(document, kind), validators[kind].is_valid(document)) for document in damaged(documents[kind])]
    assert all(ours == theirs for ours, theirs in seen)
    assert sum(not ours for ours, _ in seen) > 10


def test_a_profile_with_a_key_of_its_own_is_invalid(validators, documents):
    assert not validators["device"].is_valid({**documents["device"], "mhz": 1})
    assert not validators["device"].is_valid({**documents["device"], "name": "with a blank"})


def test_a_file_without_a_schema_is_one_error_line():
    assert "nothing" in the_one_error_line(run_here("schema", "nothing"))


@pytest.fixture(scope="module")
def choices(tmp_path_factory):
    """What `mrl-edge pick` answers, of every kind: JSON as it is printed, by what it is of."""
    folder = tmp_path_factory.mktemp("choices")
    sweep = read_results(SWEEP)
    other = msgspec.structs.replace(sweep.device, name="another")
    looped = [
        msgspec.structs.replace(row, query=msgspec.structs.replace(row.query, p99_ms=None))
        for row in sweep.measurements
    ]
    made = {
        "another": msgspec.structs.replace(sweep, device=other),
        "looped": msgspec.structs.replace(sweep, measurements=tuple(looped)),
        "1000": at(1000),
        "2000": at(2000),
        "a": machine("a", *ALL),
        "b": machine("b", *ALL, speed=3),
    }
    for name, content in made.items():
        write_results(folder / name, content)
    asked = {
        "fits": (SWEEP, "--max-disk-mb", "26", "--keep-recall", "0.8"),
        "nothing fits": (SWEEP, "--max-disk-mb", "24.3", "--min-recall", "0.3"),
        "p99 not known": (folder / "looped", "--max-p99-ms", "5"),
        "several boards": (SWEEP, folder / "another", "--max-disk-mb", "26"),
        "one for all": (SWEEP, folder / "another", "--max-disk-mb", "26", "--one-for-all"),
        "two corpora": (folder / "1000", folder / "2000", "--corpus-now", "2000", "--corpus", "20000"),
        "a board not measured": (folder / "a", folder / "b", "--board", "pi-5-8gb"),
    }
    return {name: json.loads(run_here("pick", *words, "--json").stdout) for name, words in asked.items()}


def test_every_choice_is_valid(validators, choices):
    for name, answer in choices.items():
        assert list(validators["choice"].iter_errors(answer)) == [], name
    assert [name for name, answer in choices.items() if answer.get("fits") is False] == [
        "nothing fits",
        "p99 not known",
    ]
    assert len(choices["several boards"]["boards"]) == 2
    assert choices["p99 not known"]["over"][0]["value"] is None
    assert len(choices["two corpora"]["corpora"]) == 2
    assert choices["a board not measured"]["cold_start_ms"] is None


def test_a_choice_with_a_part_gone_or_of_another_type_is_invalid(validators, choices):
    valid = validators["choice"].is_valid
    answer, none = choices["fits"], choices["nothing fits"]
    for name in msgspec.json.schema(Answer)["$defs"]["Answer"]["required"]:
        assert not valid({key: value for key, value in answer.items() if key != name}), name
        assert not valid({key: value for key, value in none.items() if key != name}), name
        assert not valid({**answer, name: {"not": "this"}}), name
    assert not valid({key: value for key, value in answer.items() if key != "p50_ms"})
    assert not valid({**answer, "p50_ms": "fast"})
    assert not valid({**none, "fits": True})
    boards = choices["several boards"]["boards"]
    assert not valid({"boards": {**boards, "third": {**answer, "pareto": [{"name": "half a row"}]}}})


def test_a_choice_publishes_what_a_candidate_is_and_what_ship_reads():
    """`full` stands in a choice for the model that shares are of, and metrics beside the other figures."""
    own = {field.name for field in dataclasses.fields(Candidate)} - {"quality", "full"}
    assert {*Row.__struct_fields__} == own | {"name", *OBJECTIVES}
    assert {*Choice.__struct_fields__} <= {*Answer.__struct_fields__, *Boards.__struct_fields__, *Row.__struct_fields__}
