"""What stands in the profiles, checked against what does not come from them, and what a bad file is told."""

import json
import re
import subprocess
import sys
from pathlib import Path

import mrl_edge.devices
import msgspec
import pytest
from conftest import mrl_edge_here, run_here, the_one_error_line
from mrl_edge.devices.local import describe
from mrl_edge.devices.profiles import Profile, known, read_profile, resolve

from mrl_edge.cpu import TARGETS
from mrl_edge.errors import DataError, UsageError

FOLDER = Path(mrl_edge.devices.__file__).parent
PROFILES = known()
ON_CPU = [profile for profile in PROFILES if profile.cpu]
NAMES = (
    "android-phone", "beaglebone-ai-64", "h100", "h200", "intel-n100", "jetson-agx-orin", "jetson-nano",
    "jetson-orin-nano", "l4", "laptop", "odroid-n2-plus", "pi-3b-plus", "pi-4-2gb", "pi-4-4gb", "pi-4-8gb", "pi-5-4gb",
    "pi-5-8gb", "pi-5-16gb", "pi-zero-2w", "rock-5b", "t4", "x86-server",
)  # fmt: skip
ADDS_IN_32_BITS = {"asimddp", "i8mm", "avx_vnni", "avx512_vnni", "amx_int8"}  # sums of 8-bit products
# The architecture's version by Arm's Technical Reference Manuals; dot products are in all of ours from 8.2 on.
ARMV8 = {
    "Cortex-A53": (8, 0), "Cortex-A57": (8, 0), "Cortex-A72": (8, 0), "Cortex-A73": (8, 0),
    "Cortex-A55": (8, 2), "Cortex-A76": (8, 2), "Cortex-A78AE": (8, 2),
    "Cortex-A510": (9, 0), "Cortex-A715": (9, 0), "Cortex-X3": (9, 0),
}  # fmt: skip
SOURCED = re.compile(r"^(\[\d\]|no source found: estimated from )")


def ids(profile):
    return profile.name


def text_of(profile):
    return (FOLDER / f"{profile.name}.toml").read_text(encoding="utf-8")


def test_every_device_that_was_promised_is_there_and_named_as_its_file():
    assert [profile.name for profile in PROFILES] == list(NAMES)
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(NAMES)


@pytest.mark.parametrize("profile", PROFILES, ids=ids)
def test_every_figure_has_its_source_in_a_comment(profile):
    text = text_of(profile)
    sources = re.findall(r"^# (\[\d\]) \S", text, re.MULTILINE)
    assert len(set(sources)) == len(sources)
    figures = 0
    for line in text.splitlines():
        key, _, rest = line.partition(" = ")
        value, _, comment = rest.partition("  # ")
        measured = re.match(r"[\d_.]+$", value) and key != "schema_version"
        if measured or key in ("compute_capability", "python", "glibc") or (key == "features" and "]" in value):
            assert SOURCED.match(comment), line
            figures += bool(measured)
        assert set(re.findall(r"\[\d\]", comment)) <= set(sources), line
    assert figures == count_of_numbers(msgspec.toml.decode(text)) - 1  # all but the schema's version
    assert re.search(r"\]  # \[\d\]$", text, re.MULTILINE) or not profile.cpu  # the features
    body = text[text.index("schema_version") :]
    assert all(source in body for source in sources), "a source that nothing is from"


def count_of_numbers(value):
    if isinstance(value, dict):
        return sum(map(count_of_numbers, value.values()))
    if isinstance(value, list):
        return sum(map(count_of_numbers, value))
    return isinstance(value, (int, float))


@pytest.mark.parametrize("profile", PROFILES, ids=ids)
def test_eight_bits_come_first_where_the_processor_sums_their_products_or_the_file_says_why(profile):
    line = next(line for line in text_of(profile).splitlines() if line.startswith("precision"))
    if profile.target == "cuda":
        assert profile.precision == "fp16"
        assert tuple(map(int, profile.gpu.compute_capability.split("."))) >= (5, 3)  # the first to compute in fp16
    else:
        assert profile.precision == "int8"
        assert bool(ADDS_IN_32_BITS & set(profile.cpu.features)) != ("no dot product" in line)


@pytest.mark.parametrize("profile", ON_CPU, ids=ids)
def test_features_are_those_of_the_cores(profile):
    features, cores = set(profile.cpu.features), {cluster.core for cluster in profile.cpu.clusters}
    if profile.cpu.arch == "x86_64":
        assert "avx2" in features
        assert not features & {"asimd", "asimdhp", "asimddp", "i8mm", "sve"}
    else:
        oldest = min(ARMV8[core] for core in cores)
        assert "asimd" in features
        assert ("asimddp" in features) == ("asimdhp" in features) == (oldest >= (8, 2))
        assert ("i8mm" in features) == (oldest >= (8, 6))
    clocks = [cluster.max_mhz for cluster in profile.cpu.clusters]
    assert clocks == sorted(clocks, reverse=True)


@pytest.mark.parametrize("profile", ON_CPU, ids=ids)
def test_an_application_gets_a_part_of_the_memory_whose_rate_and_width_give_the_bandwidth(profile):
    memory = profile.memory
    assert 0.4 * memory.ram_bytes < memory.application_bytes < memory.ram_bytes
    rate = re.search(r"-(\d{4})$", memory.kind or "")
    if rate and memory.bandwidth_gb_s:
        width_bytes = memory.bandwidth_gb_s * 1000 / int(rate[1])
        assert min(abs(width_bytes / width - 1) for width in (2, 4, 8, 16, 32, 64)) < 0.01


def test_boards_that_differ_in_their_memory_alone_differ_in_nothing_else():
    for family in ("pi-4", "pi-5"):
        boards = [msgspec.to_builtins(profile) for profile in PROFILES if profile.name.startswith(family)]
        assert len(boards) == 3
        for board in boards:
            assert board["title"].endswith(board.pop("name").removeprefix(f"{family}-").replace("gb", " GB"))
            assert round(board["memory"].pop("ram_bytes") / 2**30) == int(board.pop("title").split()[-2])
            board["memory"].pop("application_bytes")
        assert boards[0] == boards[1] == boards[2]


def test_the_target_is_one_that_precisions_are_made_for():
    assert {profile.name: profile.target for profile in PROFILES if profile.name in ("laptop", "t4", "rock-5b")} == {
        "laptop": "avx512-vnni",
        "t4": "cuda",
        "rock-5b": "arm64",
    }
    assert all(profile.target in TARGETS for profile in PROFILES)


def test_what_this_machine_says_of_itself_fits_a_profile():
    here = describe()
    cores = [{"core": "?", "cores": here.cores}]
    cpu = {"name": here.cpu, "arch": here.arch, "features": here.features, "clusters": cores}
    memory = {"ram_bytes": here.ram_bytes, "application_bytes": here.ram_bytes // 2}
    profile = resolve("laptop")
    fields = {**msgspec.to_builtins(profile), "name": here.name, "cpu": cpu, "memory": memory}
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(fields)), Profile).cpu.cores == here.cores


def test_a_file_of_your_own_is_shown_as_ours_are_wherever_it_lies(tmp_path, monkeypatch):
    text = text_of(resolve("pi-5-8gb")).replace('"pi-5-8gb"', '"myboard"')
    (tmp_path / "my board.toml").write_text(text, encoding="utf-8")
    shown = json.loads(mrl_edge_here("devices", "show", tmp_path / "my board.toml", "--json"))
    ours = json.loads(mrl_edge_here("devices", "show", "pi-5-8gb", "--json"))
    assert shown.pop("name") == "myboard"
    assert ours.pop("name") == "pi-5-8gb"
    assert shown == ours
    monkeypatch.chdir(tmp_path)
    assert resolve("my board.toml") == resolve("./my board.toml")


def test_json_is_the_file_and_reads_as_a_profile():
    for profile, shown in zip(PROFILES, json.loads(mrl_edge_here("devices", "list", "--json")), strict=True):
        assert shown == msgspec.toml.decode(text_of(profile))
        assert msgspec.convert(shown, Profile) == profile


def test_the_table_and_every_profile_fit_80_columns():
    table = mrl_edge_here("devices", "list")
    for profile in PROFILES:
        assert re.search(rf"^{profile.name} .* {profile.precision} +{profile.target} *$", table, re.MULTILINE)
        shown = mrl_edge_here("devices", "show", profile.name)
        assert profile.title in shown
        assert max(map(len, shown.splitlines())) <= 80
    assert max(map(len, table.splitlines())) <= 80


def test_the_documentation_holds_the_table_and_a_profile_that_is_valid(tmp_path):
    document = (Path(__file__).parents[2] / "docs" / "devices.md").read_text(encoding="utf-8")
    table = "\n".join(line.rstrip() for line in mrl_edge_here("devices", "list").splitlines())
    assert f"```\n{table}\n```" in document
    example = document.split("```toml\n")[1].split("```")[0]
    (tmp_path / "example.toml").write_text(example, encoding="utf-8")
    assert read_profile(tmp_path / "example.toml").target == "arm64"


def test_listing_devices_loads_no_runtime():
    code = (
        "import sys; from mrl_edge.cli import run; code = run(['devices', 'list']);"
        "assert code == 0; assert not {'numpy', 'onnxruntime', 'tokenizers', 'annoy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("name", "near"),
    [("pi5-8gb", "pi-5-8gb"), ("PI-ZERO-2W", "pi-zero-2w"), ("jetson", "jetson-nano"), ("rock5b", "rock-5b")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, near):
    line = the_one_error_line(run_here("devices", "show", name))
    assert repr(name) in line
    assert f"did you mean {near}" in line or f" or {near}" in line


@pytest.mark.parametrize("name", ["", "x", "../pi-5-8gb", "pi-5-8gb.json", "a" * 5000, "pi\x1b[31m\n"])
def test_a_name_near_nothing_and_one_that_is_no_name_are_one_clear_line(name):
    line = the_one_error_line(run_here("devices", "show", name))
    assert "mrl-edge devices list shows all; a file of your own ends in .toml" in line
    assert len(line) < 300
    assert "\x1b" not in line


GOOD = text_of(resolve("jetson-orin-nano"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema_version = 1", "schema_version = 2", "schema_version: Invalid enum value 2"),
        ("schema_version = 1\n", "", "the file: Object missing required field `schema_version`"),
        ('name = "jetson-orin-nano"', 'name = "../x"', "name: "),
        ('precision = "fp16"', 'precision = "fp8"', "precision: Invalid enum value 'fp8'"),
        ("CUDAExecution", "CudaExecution", "providers[0]: Invalid enum value 'CudaExecutionProvider'"),
        ('"asimddp"', '"dotprod"', "cpu: features: 'dotprod' is none of avx2, "),
        ("cores = 4", "core_count = 4", "cpu.clusters[0]: Object contains unknown field `core_count`"),
        ("cores = 2", "cores = 2.5", "cpu.clusters[1].cores: Expected `int`, got `float`"),
        ("cores = 2", "cores = 0", "cpu.clusters[1].cores: Expected `int` >= 1"),
        ("max_mhz = 1700", "max_mhz = nan", "cpu.clusters[0].max_mhz: Expected `float` > 0.0"),
        ("ram_bytes = 8_", 'ram_bytes = "8 GB" # ', "memory.ram_bytes: Expected `int`, got `str`"),
        ("6_300_000_000", "8_589_934_592", "memory: application_bytes must be less than ram_bytes"),
        ("bandwidth_gb_s = 102.0", "bandwidth_gb_s = inf", "memory.bandwidth_gb_s: Expected `float` <= 1000000.0"),
        ("bandwidth_gb_s = 102.0", "bandwidth_gb_s = -1", "memory.bandwidth_gb_s: Expected `float` > 0.0"),
        ('"8.7"', '"Ampere"', "gpu.compute_capability: "),
        ("[storage]", "[disk]", "the file: Object contains unknown field `disk`"),
        ("[memory]", "[memory", "is no TOML: "),
        ('name = "jetson', 'name = jetson', "is no TOML: "),
        ("LPDDR5", "LP\x1b[31mDDR5", "is no TOML: "),
        ("LPDDR5", "LP\\u001b[31mDDR5", "memory.kind: "),
        ('"LPDDR5"', '"LPDDR5\\n"', "memory.kind: "),
        ('name = "jetson-orin-nano"', 'name = "nano\\n"', "name: "),
        ('"asimddp"', '"\\u001b[31m"', "features: '\\x1b[31m' is none of"),
        ("[storage]", '["\\u001b[31m"]', "contains unknown field `\\x1b[31m`"),
        ("[storage]", "[" + "x" * 9999 + "]", "contains unknown field `xxx"),
        ("cores = 2", "cores = 1" + "0" * 30, "cpu.clusters[1].cores: "),
        ("cores = 2", "cores = 1" + "0" * 9999, "is no TOML: "),
        ("cores = 2", "cores = " + "[" * 9999, "is no TOML: "),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_line_that_names_the_file_the_field_and_what_to_do(tmp_path, old, new, said):
    assert old in GOOD
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    line = the_one_error_line(run_here("devices", "show", path))
    assert f"{path}" in line
    assert said in line, line
    assert "correct" in line
    assert len(line) < 600
    assert "\x1b" not in line


def test_a_device_without_gpu_cannot_name_its_provider_and_a_card_needs_nothing_else(tmp_path):
    path = tmp_path / "board.toml"
    path.write_text(GOOD[: GOOD.index("[gpu]")], encoding="utf-8")
    with pytest.raises(DataError, match="and CPUExecutionProvider alone"):
        read_profile(path)
    path.write_text(GOOD[: GOOD.index("[memory]")] + GOOD[GOOD.index("[gpu]") :], encoding="utf-8")
    with pytest.raises(DataError, match="come together"):
        read_profile(path)
    card = text_of(resolve("t4")).replace('"CUDAExecutionProvider", "TensorrtExecutionProvider", ', "")
    path.write_text(card, encoding="utf-8")
    with pytest.raises(DataError, match="names its own provider first"):
        read_profile(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    for path, why in ((tmp_path / "none.toml", "No such file"), (tmp_path, "no device is named")):
        with pytest.raises(UsageError, match=why):
            resolve(str(path))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        resolve(str(tmp_path / "folder.toml"))
    (tmp_path / "latin.toml").write_bytes(b'name = "Stra\xdfe"')
    with pytest.raises(DataError, match="is no TOML"):
        resolve(str(tmp_path / "latin.toml"))
    (tmp_path / "endless.toml").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="more than 65536 bytes"):
        resolve(str(tmp_path / "endless.toml"))


def test_the_name_of_a_file_cannot_write_to_the_terminal(tmp_path):
    path = tmp_path / "red\x1b[31m.toml"
    assert "\\x1b[31m" in the_one_error_line(run_here("devices", "show", path))
    path.write_text("name", encoding="utf-8")
    assert "\\x1b[31m" in the_one_error_line(run_here("devices", "show", path))


def test_the_command_line_itself_exits_2():
    assert "did you mean pi-zero-2w" in the_one_error_line(run_here("devices", "show", "pi-zero-2"))
