"""The published schemas say of real files what our own reading says of them."""

import json
from importlib.resources import files

import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from jsonschema import Draft202012Validator
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.results import Results
from mrl_edge.devices.profiles import Profile, names

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
