"""`mrl-edge` alone names what lies in the folder and the next command for each, which typer then accepts."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from cli.lines import parse, words
from conftest import run_here
from pyarrow import parquet

from mrl_edge.bundle import open_bundle

HEAVY = ("torch", "transformers", "numpy", "onnxruntime", "pyarrow", "pydantic", "datasets")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said():
    """Run it and return its lines."""
    done = run_here()
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def commands(lines):
    """Every command that was named, checked by typer, and the last, which is the one to run now."""
    named = [line.split("next: ")[-1].strip() for line in lines if line.startswith(("  mrl-edge ", "next: mrl-edge "))]
    for line in named:
        program, *arguments = words(line)
        assert program == "mrl-edge"
        parse(arguments)
    assert lines[-1] == "mrl-edge --help lists every command."
    assert lines[-2] == f"next: {named[-1]}"
    return named


def test_an_empty_folder_is_for_quickstart(here):
    assert commands(said()) == ["mrl-edge quickstart"]


def test_tables_are_trained_on_by_their_columns_and_the_held_out_one_is_dev(here):
    (here / "my train.csv").write_text("Question,other,answer\na,b,c\n")
    (here / "dev.jsonl").write_text(json.dumps({"Question": "a", "other": "b", "answer": "c"}))
    parquet.write_table(pyarrow.table({"body": ["a"], "topic": ["b"]}), here / "sorted.parquet")
    (here / "strange.tsv").write_text("left\tright\na\tb\n")
    (here / "notes.txt").write_text("no table")
    lines = said()
    assert "a table with the columns body, topic" in "\n".join(lines)
    found = [parse(words(line)[1:]) for line in commands(lines)[:-1]]
    roles = [
        {name: call[name] for name in ("dev", "query", "positive", "text", "label") if call[name]} for call in found
    ]
    assert roles == [
        {"dev": "dev.jsonl", "query": "Question", "positive": "answer"},
        {"text": "body", "label": "topic"},
        {"text": "left"},
    ]
    assert found[0]["data"] == "my train.csv"


def test_every_stage_leads_to_the_next(here, tiny):
    shutil.copytree(tiny / "model", here / "model")
    assert commands(said())[-1] == "mrl-edge export model --out bundle"
    shutil.copytree(tiny / "bundle", here / "bundle")
    manifest = json.loads((here / "bundle" / "bundle.json").read_text())
    files = {name: entry for name, entry in manifest["files"].items() if not name.startswith("index/")}
    (here / "bundle" / "bundle.json").write_text(json.dumps({**manifest, "index": None, "files": files}))
    assert commands(said())[-1] == "mrl-edge index bundle builtin:wordnet_nouns/dev --positive lemmas"
    shutil.copy(tiny / "dev.csv", here)
    assert commands(said())[-1] == "mrl-edge index bundle dev.csv --positive answer"
    shutil.copy(tiny / "bundle" / "bundle.json", here / "bundle")
    assert commands(said())[-1] == "mrl-edge bench bundle --data dev.csv --query question --positive answer"
    shutil.copy(tiny / "results.json", here)
    pick = commands(said())[-1]
    assert pick.endswith("--out choice.json")
    assert run_here(*words(pick)[1:]).returncode == 0
    lines = said()
    assert any("the choice of pick: " in line for line in lines)
    assert any(line.startswith("  mrl-edge report results.json") for line in lines)
    assert "mrl-edge export model --out bundle-2" in commands(lines)
    assert commands(lines)[-1] == "mrl-edge ship bundle --pick choice.json --out app"
    (here / "app").mkdir()
    for name in ("app.json", "example.py"):
        (here / "app" / name).write_text("{}")
    assert said()[-2] == 'next: python app/example.py "your query"'


def test_a_choice_is_shipped_from_the_bundle_that_it_was_measured_on(here, tiny):
    bundle = tiny / "bundle"
    shutil.copytree(bundle, here / "another")
    manifest = json.loads((bundle / "bundle.json").read_text())
    (here / "another" / "bundle.json").write_text(json.dumps({**manifest, "name": "another"}))
    choice = {"fits": True, "bundle": {"name": "two", "sha256": open_bundle(bundle).identity()}, "configuration": {}}
    (here / "choice.json").write_text(json.dumps(choice))
    assert not any("mrl-edge ship" in line for line in said())
    shutil.copytree(bundle, here / "two")
    assert commands(said())[-1] == "mrl-edge ship two --pick choice.json --out app"


def test_an_interrupted_tuning_is_no_ground_to_pick_from(here, tiny):
    results = json.loads((tiny / "results.json").read_text())
    narrowing = {"rules": {}, "depth": 2, "dim": 24, "finished": False}
    (here / "tuned.json").write_text(json.dumps({**results, "narrowing": narrowing}))
    lines = said()
    assert "interrupted: the same mrl-edge tune goes on" in " ".join(" ".join(lines).split())
    assert not any("mrl-edge pick" in line for line in lines)


def test_an_earlier_runs_folder_is_looked_into_and_a_bundle_is_known_from_inside(here, tiny, monkeypatch):
    shutil.copytree(tiny, here / "start")
    lines = said()
    assert [line.split()[0] for line in lines if line.startswith("start/")] == [
        "start/model", "start/bundle", "start/results.json",
    ]  # fmt: skip
    monkeypatch.chdir(here / "start" / "bundle")
    assert commands(said())[-1] == "mrl-edge search . 'your query' --dim 24".replace("'", '"')


def test_what_is_damaged_or_hostile_is_said_and_no_command_is_made_of_it(here):
    for name in ("bundle", "model"):
        (here / name).mkdir()
    (here / "bundle" / "bundle.json").write_text("{")
    (here / "model" / "mrl.json").write_text("[]")
    (here / "empty.csv").write_bytes(b"")
    (here / "-x; touch pwned.csv").write_text("text\na\n")
    (here / "esc\x1b[31m.csv").write_text("text\na\n")
    for content in ("[1, 2]", "{", '{"measurements": 1}', '{"fits": "no"}', "[" * 100_000):
        (here / f"{len(content)}.json").write_text(content)
    lines = said()
    text = "\n".join(lines)
    assert "is damaged" in text
    assert "mrl.json is damaged" in text
    assert "the file is empty" in text
    assert "\x1b" not in text
    (command,) = set(commands(lines))
    assert parse(words(command)[1:])["data"] == "./-x; touch pwned.csv"


def test_an_answer_that_nothing_fits_is_no_choice(here, tiny):
    shutil.copy(tiny / "results.json", here)
    (here / "choice.json").write_text(run_here("pick", "results.json", "--max-rss-mb", "1", "--json").stdout)
    lines = said()
    assert any("nothing fits" in line for line in lines)
    assert commands(lines)[-1].startswith("mrl-edge pick results.json")


def test_the_page_shows_what_it_prints(here, tiny):
    shutil.copytree(tiny / "bundle", here / "bundle")
    shutil.copy(tiny / "dev.csv", here)
    shutil.copy(tiny / "results.json", here)
    cpu = json.loads((here / "results.json").read_text())["device"]["cpu"]
    page = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text(encoding="utf-8")
    shown = page.split("$ mrl-edge\n")[1].split("\n```")[0]
    assert " ".join(said()).split() == shown.replace("AMD EPYC", cpu).split()


def test_it_loads_nothing_that_takes_a_while(tiny):
    code = f"import sys; from mrl_edge.cli import run; run([]); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tiny, capture_output=True, text=True, check=True, timeout=60
    )
    assert "a bundle: fp32, int8 at dimensions 4 to 24" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
