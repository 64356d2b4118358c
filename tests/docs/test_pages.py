"""What the pages tell a reader to run is what there is, and the generated pages hold all of it."""

import ast
import importlib.util
import io
import json
import re
import statistics
import sys
import timeit
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import typer
from cli.lines import parse, words
from msgspec.structs import fields
from ship.shipping import ship, write_choice

from mrl_edge.bundle import Graph, Manifest, open_bundle
from mrl_edge.cli import app, schema

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = r"(mrl-edge(?: .*)?)"
OPTIONS = typer.main.get_command(app).get_params(typer.Context(typer.main.get_command(app)))


def module(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    sys.modules[name] = loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def generated():
    return module("generated")


def commands_of(text):
    """Every command line of ours in the blocks of a page, its continuation lines joined."""
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(rf"^\s*(?:\$ |next: |[^#]*; |ExecStart=\S*/)?{COMMAND}$", line)
            if found:
                yield found[1]


def mentions_of(text):
    """Every command of ours within the lines of a page, which may leave out what a reader knows."""
    for span in re.findall(r"`([^`]+)`", FENCE.sub("", text)):
        found = re.fullmatch(COMMAND, " ".join(span.split()))
        if found:
            yield found[1]


def check(line, *, shortened=False):
    arguments = [word for word in words(line)[1:] if word != "…"]
    if arguments and arguments[0].startswith("-"):  # parsed, it would do what it says
        assert arguments[0] in {option for parameter in OPTIONS for option in parameter.opts}
        return
    try:
        if arguments:
            parse(arguments)
    except typer.TyperException as error:
        left_out = re.search("^Missing parameter|requires an argument.$", str(error))
        if not (left_out and (shortened or "…" in line)):
            raise


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_of_a_page_is_one_that_there_is(page):
    text = page.read_text(encoding="utf-8")
    for line in commands_of(text):
        check(line)
    for line in mentions_of(text):
        check(line, shortened=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_block_of_a_page_is_fenced_on_lines_of_its_own(page):
    text = page.read_text(encoding="utf-8")
    fences = [line for line in text.splitlines() if "```" in line]
    assert all(re.fullmatch(r"```\w*", line.strip()) for line in fences)
    assert len(fences) % 2 == 0


def test_every_example_of_the_help_is_a_command_that_there_is():
    def epilogs(command, context):
        yield command.epilog or ""
        for name in getattr(command, "commands", {}):
            yield from epilogs(command.get_command(context, name), context)

    root = typer.main.get_command(app)
    lines = [line for text in epilogs(root, typer.Context(root)) for line in text.splitlines()]
    shown = [line.removeprefix("Example: ") for line in lines if re.match(r"(Example: )?mrl-edge ", line)]
    assert len(shown) > 40
    for line in shown:
        check(line)


def test_a_command_that_there_is_not_would_be_found():
    for line in ("mrl-edge pick results.json --max-rss 5", "mrl-edge fly", "mrl-edge index bundle"):
        with pytest.raises(typer.TyperException):
            check(line)
    for line in ("mrl-edge pick … --max-rss 5", "mrl-edge bench … --max-seconds soon", "mrl-edge fly"):
        with pytest.raises(typer.TyperException):
            check(line, shortened=True)
    check("mrl-edge bench … --dims", shortened=True)
    block = "mrl-edge a \\\n  b\n$ mrl-edge c\nnot mrl-edge d\n  next; mrl-edge e\n# f; mrl-edge f\n"
    page = f"```sh\n{block}```\n`mrl-edge\ng` h\n"
    assert list(commands_of(page)) == ["mrl-edge a    b", "mrl-edge c", "mrl-edge e"]
    assert list(mentions_of(page)) == ["mrl-edge g"]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if PROGRAM.search(page.read_text())], ids=lambda path: path.name
)
def test_every_program_of_a_page_imports_what_there_is(page):
    for program in PROGRAM.findall(page.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(ast.unparse(node), {})


@pytest.fixture(scope="module")
def folder(indexed, tmp_path_factory):
    """A folder with `bundle`, indexed, and `app`, shipped from it, as the pages name them."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "bundle").symlink_to(indexed)
    variant = open_bundle(indexed).variant("int8", None)
    made = {"precision": "int8", "target": variant.target, "depth": variant.depth, "dim": 64}
    ship(indexed, write_choice(indexed, folder / "choice.json", **made), folder / "app", "--also", "d32")
    return folder


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/reference/runtime.md", "docs/shipping.md"])
def test_the_programs_of_a_page_run_one_after_the_other(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    there = {}
    for program in PROGRAM.findall((ROOT / page).read_text(encoding="utf-8")):
        exec(compile(program, page, "exec"), there)
    assert "mrl_edge" in there or "app" in there


def test_the_example_of_measuring_any_callable_measures_it():
    """Beside a bare loop over the middle one of its lists."""
    page = (ROOT / "docs" / "measurement.md").read_text(encoding="utf-8")
    (example,) = PROGRAM.findall(page)
    there = {}
    with redirect_stdout(io.StringIO()) as said:
        exec(compile(example, "measurement.md", "exec"), there)
    times = timeit.repeat(lambda: sorted(there["lists"][1]), number=100, repeat=9)
    p50_ms, rest = said.getvalue().split(" ms, 95% interval ")
    assert statistics.median(times) / 100 * 1e3 / 4 < float(p50_ms) < statistics.median(times) / 100 * 1e3 * 4
    assert rest.startswith("(") or rest.startswith("None")
    assert len(example.splitlines()) <= 6


def test_the_tutorial_is_run_command_by_command():
    run_tutorial = module("run_tutorial")
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    steps = list(run_tutorial.steps(text))
    lines = text.splitlines()
    assert [lines[step.line - 1].removeprefix("$ ") for step in steps] == [step.text.split("\n")[0] for step in steps]
    run = [words(step.text)[1:2] for step in steps if not step.is_python]
    stages = ["train", "export", "verify", "show", "index", "search", "classify", "evaluate", "bench", "report", "pick"]
    assert [name for name, in filter(None, run)] == [
        *stages[:6], "search", *stages[6:], "pick", "pick", "ship", "app/example.py",
    ]  # fmt: skip
    assert sum(step.is_python for step in steps) == 1
    assert run_tutorial.ENCODER in text


def test_the_command_reference_has_every_command_and_option(generated):
    page = generated.commands_page()

    def walk(command, context, path):
        assert f" `{path}`\n" in page or path == "mrl-edge"
        for parameter in command.get_params(context):
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert option in page
        for name in getattr(command, "commands", {}):
            walk(command.get_command(context, name), context, f"{path} {name}")

    root = typer.main.get_command(app)
    walk(root, typer.Context(root, info_name="mrl-edge"), "mrl-edge")
    assert "```\nmrl-edge compare before.json after.json\n```" in page
    assert (
        "* `pick`: Pick the best configuration within a budget, and say what more would buy and less would cost.\n"
        in page
    )


def test_short_code_within_a_line_is_marked_and_blocks_are_not(generated):
    page = "<p><code>--dims</code> <code>%s</code></p><pre><code>mrl-edge\n</code></pre>" % ("x" * 25)
    marked = generated.on_page_content(page, None, None, None)
    assert marked == page.replace("<code>--dims", '<code class="short">--dims')


def test_the_page_of_files_has_every_field_with_what_the_source_says(generated):
    page = generated.formats_page()
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")}
    for kind in (Manifest, Graph):
        assert {f"`{field.name}`" for field in fields(kind)} <= set(rows)
    assert "empty when the model does not classify" in rows["`classes`"]
    assert "list of Graph" in rows["`graphs`"]
    for file in schema.File:
        assert f"mrl-edge schema {file.value}" in page


def test_types_read_as_words(generated):
    said = generated.type_in_words
    assert said({"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Graph"}}, {"type": "null"}]}) == (
        "list of Graph or null"
    )
    assert said({"type": "array", "prefixItems": [{"type": "number"}, {"type": "integer"}]}) == "[number, integer]"
    assert said({"enum": ["a", 1]}) == '`"a"` or `1`'
    assert said({"type": "object", "additionalProperties": {"type": "string"}}) == "map of string"
    assert json.loads(json.dumps(said({}))) == "anything"
