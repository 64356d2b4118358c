"""Execution providers as far as a machine without a GPU has them: I/O binding on the processor, and what is refused."""

import os
import threading
import time
import warnings
from contextlib import nullcontext

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import TINY_DIMS, run_here, the_one_error_line
from mrl_edge.bench import jobs
from mrl_edge.bench.answer import configuration
from mrl_edge.bench.budget import Budget
from mrl_edge.bench.candidates import bound, candidate
from mrl_edge.bench.configuration import configuration_of
from mrl_edge.bench.demands import refuse_without_sensor
from mrl_edge.bench.fleet import side_by_side
from mrl_edge.bench.narrowing import narrow
from mrl_edge.bench.preparing import Grid
from mrl_edge.bench.reproduce import command_of
from mrl_edge.bench.results import Unmeasured, write_results
from mrl_edge.bench.roofline import Rooflines
from mrl_edge.bench.slower import slower_than_fp32
from mrl_edge.bench.sweep import sweep
from mrl_edge.devices.energy import find_rapl
from mrl_edge.devices.nvidia import Gpus, find_gpus
from mrl_edge.devices.power import find_power
from rows import measurement, results

import mrl_edge
from mrl_edge.bundle import Bundle, open_bundle
from mrl_edge.cli.bench_table import print_results
from mrl_edge.encoder import open_session
from mrl_edge.errors import UnsupportedError, UsageError
from mrl_edge.gpu import nodes_by_provider, open_on, refuse_fallback, run_bound, tried
from mrl_edge.providers import PROVIDERS

CUDA, HERE = PROVIDERS["cuda"], ort.get_available_providers()
TEXTS = ["abc de f", "g", "a cab, a bed and a bag", "naïve"]
absent = pytest.mark.skipif(CUDA in HERE, reason="this onnxruntime has CUDA: make test-gpu")


def graph(bundle, precision, dim=None):
    opened = open_bundle(bundle)
    return opened.folder / opened.graph(opened.variant(precision, None), dim).file


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_run_by_io_binding_gives_the_same_bits_as_a_plain_one(tiny_bundle, precision, count):
    session = open_session(graph(tiny_bundle, precision), threads=1)
    batch = mrl_edge.load(tiny_bundle, None, precision).prepare(TEXTS[-count:])
    outputs = [f"embedding_{dim}" for dim in reversed(TINY_DIMS)]  # in the order that was asked for, not the graph's
    plain = session.run(outputs, batch)
    transposed = {name: np.asfortranarray(values) for name, values in batch.items()}  # not as a binding reads memory
    for inputs in (batch, transposed):
        bound = run_bound(session, inputs, outputs, "cpu")
        assert [values.shape for values in bound] == [(count, dim) for dim in reversed(TINY_DIMS)]
        for ours, theirs in zip(bound, plain, strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_array_equal(ours, theirs)


def recorded(path, *providers):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return ort.InferenceSession(path, options, providers=providers, enable_fallback=0)


@absent
def test_a_session_that_fell_back_is_no_session_of_the_provider(tiny_bundle):
    path = graph(tiny_bundle, "fp32", TINY_DIMS[0])
    with warnings.catch_warnings(record=True):  # onnxruntime's own word, which it has for this case alone
        session = recorded(path, CUDA, PROVIDERS["cpu"])
    with pytest.raises(
        UnsupportedError, match=r"provider cuda did not start, .* took CPUExecutionProvider in its place"
    ):
        refuse_fallback(session, "cuda")
    refuse_fallback(session, "cpu")
    ((name, count),) = nodes_by_provider(session).items()
    written = onnx.load(path, load_external_data=False).graph.node  # of which onnxruntime folds some before
    assert name == PROVIDERS["cpu"]
    assert len(written) / 2 < count <= len(written)


@pytest.mark.skipif("AzureExecutionProvider" not in HERE, reason="needs a provider that starts and computes nothing")
def test_a_provider_that_starts_and_computes_nothing_is_refused(tiny_bundle, monkeypatch):
    monkeypatch.setitem(PROVIDERS, "azure", "AzureExecutionProvider")
    session = recorded(graph(tiny_bundle, "fp32", TINY_DIMS[0]), "AzureExecutionProvider", PROVIDERS["cpu"])
    assert session.get_providers()[0] == "AzureExecutionProvider"
    with pytest.raises(UnsupportedError, match="azure computes no node of this graph: CPUExecutionProvider would, all"):
        refuse_fallback(session, "azure")


@absent
def test_a_provider_that_is_not_there_says_what_is_and_what_to_install(tiny_bundle):
    with pytest.raises(UnsupportedError) as error:
        mrl_edge.load(tiny_bundle, provider="cuda")
    for part in (f"onnxruntime {ort.__version__}", *HERE, "pip install 'onnxruntime-gpu[cuda,cudnn]'"):
        assert part in str(error.value)
    assert "board" not in str(error.value)  # there is none here
    with pytest.raises(UsageError, match="unknown provider 'gpu': there is cpu, cuda, tensorrt"):
        mrl_edge.load(tiny_bundle, provider="gpu")
    with pytest.raises(UnsupportedError, match="mapped-prepack is of the processor's kernels"):
        mrl_edge.load(tiny_bundle, levers=("mapped-prepack",), provider="cuda")


BENCH = ("--data", "DATA", "--text", "answer", "--label", "label")


@absent
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", "BUNDLE", "abc", "--provider", "cuda"), "onnxruntime-gpu"),
        (("classify", "BUNDLE", "abc", "--provider", "tensorrt"), "onnxruntime-gpu"),
        (("index", "BUNDLE", "DATA", "--text", "answer", "--provider", "cuda"), "onnxruntime-gpu"),
        (("serve", "BUNDLE", "--provider", "cuda"), "onnxruntime-gpu"),
        (("bench", "BUNDLE", *BENCH, "--provider", "cpu,cuda"), "onnxruntime-gpu"),
        (("tune", "BUNDLE", *BENCH, "--max-p50-ms", "9", "--provider", "cpu,cuda"), "onnxruntime-gpu"),
        (("evaluate", "BUNDLE", *BENCH, "--provider", "cuda"), "onnxruntime-gpu"),
        (("bench", "BUNDLE", *BENCH, "--provider", "rocm", "--device", "pi@board"), "unknown provider 'rocm'"),
        (("bench", "BUNDLE", *BENCH, "--provider", "cpu,cpu"), "name each provider once"),
        (("bench", "BUNDLE", *BENCH, "--provider", "rocm"), "unknown provider 'rocm'"),
        (("bench", "BUNDLE", *BENCH[:4], "--compare", "fp32:d4:cuda", "fp32:d4"), "onnxruntime-gpu"),
    ],
)
def test_every_command_refuses_it_in_one_line(tiny, arguments, said):
    places = {"BUNDLE": tiny / "bundle", "DATA": tiny / "dev.csv"}
    assert said in the_one_error_line(run_here(*(places.get(word, word) for word in arguments)))


@absent
def test_a_row_of_a_provider_that_is_not_there_is_no_row_of_the_processors(tiny, tmp_path):
    """As on a machine whose onnxruntime lost its GPU between the command line's look and the process."""
    task = jobs.Task([], [], [], ["abc", "def"], ["one", "two"])
    grid = Grid(
        ("fp32",), (2,), (4,), (1,), (), (), max_seconds=0.1, target_recall=0.9, providers=("cpu", "cuda"),
        for_choice=True,
    )  # fmt: skip
    found = sweep(open_bundle(tiny / "bundle"), task, "task", grid, tmp_path / "results.json").measurements
    assert {row.provider: row.status for row in found} == {PROVIDERS["cpu"]: "ok", CUDA: "unsupported"}
    ours = next(row for row in found if row.provider == CUDA)
    assert "onnxruntime-gpu" in ours.reason
    assert (ours.encode, ours.memory, ours.cold_start_ms) == (None, None, None)


@absent
def test_what_no_gpu_computed_is_tried_again(tiny, tmp_path):
    """Its libraries may be there by now; what the processor measured is not measured again."""
    out, task = tmp_path / "results.json", jobs.Task([], [], [], ["abc", "def"], ["one", "two"])
    grid = Grid(
        ("fp32",), (2,), (4,), (1,), (), (), max_seconds=0.1, target_recall=0.9, providers=("cpu", "cuda"),
        for_choice=True,
    )  # fmt: skip
    first = sweep(open_bundle(tiny / "bundle"), task, "task", grid, out)
    earlier = [msgspec.structs.replace(row, reason=row.reason and "of then") for row in first.measurements]
    write_results(out, msgspec.structs.replace(first, measurements=tuple(earlier)))
    again = sweep(open_bundle(tiny / "bundle"), task, "task", grid, out).measurements
    assert [row.encode for row in again] == [row.encode for row in first.measurements]
    assert [row.reason for row in again] == [row.reason for row in first.measurements]


@absent
def test_a_tuning_goes_on_with_the_processor_where_a_gpu_is_not_there(tiny, tmp_path):
    task = jobs.Task([], [], [], ["abc", "def"], ["one", "two"])
    grid = Grid(
        ("fp32",), (2,), (4, 24), (1,), (), (), max_seconds=0.1, target_recall=0.9, providers=("cuda", "cpu")
    )  # fmt: skip
    budget = Budget(max={"p50_ms": 1000.0})
    found = narrow(open_bundle(tiny / "bundle"), task, "task", grid, budget, tmp_path / "tuned.json")
    assert {(row.provider, row.status) for row in found.measurements} == {(PROVIDERS["cpu"], "ok")}
    ((why, count),) = found.narrowing.failed.items()
    assert "onnxruntime-gpu" in why
    assert count == 2


def test_energy_is_asked_of_what_computes(tiny, tmp_path, monkeypatch):
    """A GPU's is NVML's to say. Where that answers and nothing does for the processor, its rows alone have failed."""
    budget = Budget(max={"energy_mj": 5.0, "p50_ms": 1000.0})
    cpu, gpu = isinstance(find_rapl(), str) and isinstance(find_power(), str), isinstance(find_gpus(), str)
    for providers, refused in ((("cpu",), cpu), (("cuda",), gpu), (("cpu", "cuda"), cpu and gpu)):
        with pytest.raises(UsageError, match="what a query takes of energy: ") if refused else nullcontext() as error:
            refuse_without_sensor(budget, providers)
        if refused:
            assert [word in str(error.value) for word in ("RAPL", "NVML")] == ["cpu" in providers, "cuda" in providers]
    if not cpu or not gpu or CUDA in HERE:
        return
    monkeypatch.setattr("mrl_edge.bench.demands.find_gpus", lambda: Gpus)
    task = jobs.Task([], [], [], ["abc", "def"], ["one", "two"])
    grid = Grid(("fp32",), (2,), (4,), (1,), (), (), max_seconds=0.1, target_recall=0.9, providers=("cuda", "cpu"))
    found = narrow(open_bundle(tiny / "bundle"), task, "task", grid, budget, tmp_path / "tuned.json")
    assert found.narrowing.finished
    assert [any(word in why for why in found.narrowing.failed) for word in ("onnxruntime-gpu", "RAPL")] == [True, True]


def test_graphs_are_opened_on_a_gpu_one_after_the_other(tiny_bundle, monkeypatch):
    """Or one would leave the logger of another's as it found it: silenced."""
    path, open_now, most = graph(tiny_bundle, "fp32"), [], []

    class Session:
        def __init__(self, *arguments, **options):
            open_now.append(self)
            time.sleep(0.05)
            most.append(len(open_now))
            open_now.remove(self)

    monkeypatch.setattr("mrl_edge.gpu.check_provider", lambda provider: None)
    monkeypatch.setattr("mrl_edge.gpu.refuse_fallback", lambda *found: None)
    monkeypatch.setattr(ort, "InferenceSession", Session)
    threads = [threading.Thread(target=open_on, args=("cuda", path, ort.SessionOptions(), "fp32")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_each_provider_takes_the_variant_that_was_made_for_it(tiny_bundle):
    opened = open_bundle(tiny_bundle)
    one = opened.variant("fp32", None)
    made = [msgspec.structs.replace(one, target=target) for target in ("arm64,avx2,avx512,avx512-vnni", "cuda")]
    bundle = Bundle(opened.folder, msgspec.structs.replace(opened.manifest, variants=tuple(made)))
    assert [bundle.variant("fp32", None, name).target == "cuda" for name in PROVIDERS] == [False, True, True]
    assert bundle.leanest(None, "cuda").target == "cuda"


def test_what_a_gpu_leaves_to_the_processor_is_exact_there_too(tiny_bundle, monkeypatch):
    opened = open_bundle(tiny_bundle)
    one = opened.variant("int8", None)
    targets = ("arm64,avx512-vnni", "avx2,avx512")  # neither was made for CUDA
    made = [msgspec.structs.replace(one, target=target) for target in targets]
    bundle = Bundle(opened.folder, msgspec.structs.replace(opened.manifest, variants=tuple(made)))
    taken = []
    monkeypatch.setattr("mrl_edge.runtime.open_on", lambda provider, path, options, precision: taken.append(options))
    for here, target in (("avx2", targets[1]), ("avx512-vnni", targets[0])):
        for module in ("bundle", "runtime"):
            monkeypatch.setattr(f"mrl_edge.{module}.this_target", lambda here=here: here)
        assert bundle.variant("int8", None, "cuda").target == target
        open_session(graph(tiny_bundle, "int8"), 1, targets[0], provider="cuda")
    assert taken[0].get_session_config_entry("session.x64quantprecision") == "1"
    with pytest.raises(RuntimeError):  # it was never set
        taken[1].get_session_config_entry("session.x64quantprecision")


def test_tensorrt_computes_in_what_the_precision_says_and_keeps_engines_by_their_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths = [tmp_path / name for name in ("d8.onnx", "d16.onnx")]
    for path in paths:
        path.write_bytes(path.name.encode())
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"one")

    def options(path, precision):
        names, found = zip(*tried("tensorrt", path, precision), strict=True)
        assert names == (PROVIDERS["tensorrt"], CUDA, PROVIDERS["cpu"])
        assert (tmp_path / "cache").resolve() in (tmp_path / found[0]["trt_engine_cache_path"]).parents
        return found[0]

    halves = [options(paths[0], name).get("trt_fp16_enable") for name in ("fp32", "fp16", "int8-static")]
    assert halves == [None, "True", None]
    folders = [options(path, "fp32")["trt_engine_cache_path"] for path in (*paths, paths[0])]
    assert folders[0] == folders[2] != folders[1]
    weights.write_bytes(b"another")
    os.utime(weights, ns=(0, 0))
    assert options(paths[0], "fp32")["trt_engine_cache_path"] not in folders
    assert tried("cuda", paths[0], "fp32")[0] == (CUDA, {"use_tf32": "0"})


def on(provider, row):
    return msgspec.structs.replace(row, provider=PROVIDERS[provider])


def test_a_row_on_a_gpu_is_a_configuration_of_its_own(capsys):
    plain = measurement("fp16", 64, accuracy=0.5)
    gpu = msgspec.structs.replace(on("cuda", plain), nodes={CUDA: 40, PROVIDERS["cpu"]: 3})
    content = results(plain, gpu)
    assert [str(configuration_of(row)) for row in (plain, gpu)] == ["fp16 d64-L6", "fp16 d64-L6 on cuda"]
    first, second = (candidate(row, content.settings) for row in (plain, gpu))
    assert len(side_by_side([[first], [second]])) == 2
    assert second.name == "fp16 at dimension 64, on cuda"
    assert (configuration(first).provider, configuration(second).provider) == ("cpu", "cuda")
    assert "--provider cpu,cuda" in command_of(content, "new.json")
    assert "--provider" not in command_of(results(plain), "new.json")
    print_results(content)
    out, errors = capsys.readouterr()
    assert "cuda" in out
    assert "fp16 of 6 layers on cuda: nodes computed 40 by cuda, 3 by cpu" in errors


def test_what_a_tuning_left_out_on_a_gpu_is_not_taken_for_the_processors():
    left_out = Unmeasured("fp16", 6, 64, 1, None, "", 1.0, 1.0, 1.0, 1.0, {}, scored=False, provider=CUDA)
    assert bound(left_out, {}).name == "fp16 at dimension 64, on cuda, not measured"


def test_the_processors_ceilings_and_instructions_say_nothing_of_a_gpu(tiny_bundle, tmp_path):
    slow, fast = measurement("fp16", 64, encode_ms=9.0), measurement("fp32", 64, encode_ms=1.0)
    device = results(fast).device
    assert [one.precision for one in slower_than_fp32([slow, fast], device)] == ["fp16"]
    assert slower_than_fp32([on("cuda", slow), on("cuda", fast)], device) == []
    grid = Grid(("fp32",), (6,), (64,), (1,), (), (), max_seconds=0.1, target_recall=0.9)
    rooflines = Rooflines(open_bundle(tiny_bundle), jobs.LatencySample(["a"], "text"), grid, device, (), tmp_path)
    row = rooflines.of(on("tensorrt", fast))
    assert row.roofline is None
    assert "a GPU computed this" in row.null_because["roofline"]
