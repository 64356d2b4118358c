"""The least time by given ceilings, and where ceilings are kept."""

import os
from types import SimpleNamespace

import msgspec
import pytest
from mrl_edge.bench import ceilings as ceilings_module
from mrl_edge.bench import roofline as module
from mrl_edge.bench.ceilings import measure_ceilings
from mrl_edge.bench.jobs import CeilingsJob, CeilingsResult, CountedCalls, CountResult, Failure
from mrl_edge.bench.results import Bandwidth, Ceilings, Work
from mrl_edge.bench.roofline import Rooflines, judged, least_ms
from mrl_edge.bench.search_roofline import bandwidth, bytes_of_query
from mrl_edge.devices.local import describe
from onnx import TensorProto, helper
from rows import measurement

from mrl_edge.description import Step

CEILINGS = Ceilings(1, 100.0, 200.0, (Bandwidth(10**6, 50.0), Bandwidth(10**7, 40.0), Bandwidth(10**8, 10.0)), "now")


def test_operations_take_the_time_of_their_kind():
    computing, _ = least_ms(Work(4 * 10**9, 10**9, 2 * 10**9, 0), CEILINGS)
    assert computing == pytest.approx(1e3 * (1 / 100 + 1 / 200 + 2 / 200))


def test_weights_are_read_at_the_rate_of_so_many_bytes():
    assert [bandwidth(CEILINGS, size) for size in (10, 10**6, 99 * 10**5, 10**7, 10**9)] == [50, 50, 50, 40, 10]
    bumpy = msgspec.structs.replace(CEILINGS, bandwidths=(Bandwidth(10**6, 5.0), Bandwidth(10**7, 40.0)))
    assert bandwidth(bumpy, 10**6) == 40  # what more bytes were read at, fewer can be
    assert least_ms(Work(0, 0, 0, 10**8), CEILINGS)[1] == pytest.approx(10)


def test_the_longer_of_the_two_times_binds():
    computes = judged(Work(10**9, 0, 0, 10**7), CEILINGS, p50_ms=40)
    assert (computes.bound, computes.least_ms, computes.fraction) == ("compute", 10, 0.25)
    reads = judged(Work(10**6, 0, 0, 10**8), CEILINGS, p50_ms=40)
    assert (reads.bound, reads.least_ms, reads.fraction) == ("bandwidth", 10, 0.25)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def rooflines(home, monkeypatch, *, new=False, there=(), device=None, ceilings=CEILINGS):
    """Rooflines whose processes are answered for here, and the list of what was asked of them."""
    asked = []
    counted = CountResult(
        (CountedCalls(64, None, 1, Work(10**8, 0, 0, 0)), CountedCalls(384, None, 1, Work(2, 0, 0, 0)))
    )

    def run(job, kind, work, threads):
        asked.append(type(job).__name__)
        found = (
            CeilingsResult(msgspec.structs.replace(ceilings, threads=job.threads))
            if kind is CeilingsResult
            else counted
        )
        return found if not isinstance(ceilings, str) else Failure("failed", ceilings)

    monkeypatch.setattr(module, "run_job", run)
    grid = SimpleNamespace(new_ceilings=new, dims=(64, 384), plans=(), tokens=(), batches=())
    bundle = SimpleNamespace(folder=home, manifest=SimpleNamespace(dims=(64, 384)))
    return Rooflines(bundle, None, grid, device or describe(), there, home), asked


def test_ceilings_are_measured_once_a_machine_and_number_of_threads(home, monkeypatch):
    first, asked = rooflines(home, monkeypatch)
    row = first.of(measurement("fp32", 64, encode_ms=2.0))
    assert row.roofline.fraction == pytest.approx(0.5)
    assert first.ceilings == (CEILINGS,)
    assert asked == ["CountJob", "CeilingsJob"]

    second, asked = rooflines(home, monkeypatch)
    second.of(measurement("fp32", 64))
    assert asked == ["CountJob"]
    second.of(measurement("fp32", 64, threads=2))
    assert asked == ["CountJob", "CeilingsJob"]

    device = describe()
    for changed in (
        msgspec.structs.replace(device, cpu="another"),
        msgspec.structs.replace(device, versions={**device.versions, "onnxruntime": "0.0"}),
    ):
        other, asked = rooflines(home, monkeypatch, device=changed)
        other.of(measurement("fp32", 64))
        assert asked == ["CountJob", "CeilingsJob"]
    again, asked = rooflines(home, monkeypatch)  # those of the others took nobody's place
    again.of(measurement("fp32", 64))
    assert asked == ["CountJob"]


def test_an_emulator_has_no_roofline_and_is_asked_for_none(home, monkeypatch):
    run, asked = rooflines(home, monkeypatch, device=msgspec.structs.replace(describe(), emulated=True))
    row = run.of(measurement("fp32", 64))
    assert row.roofline is None
    assert "emulator" in row.null_because["roofline"]
    assert asked == []


def test_new_ceilings_judge_the_rows_of_an_earlier_run_too(home, monkeypatch):
    old = rooflines(home, monkeypatch)[0].of(measurement("fp32", 64, encode_ms=2.0))
    faster = msgspec.structs.replace(CEILINGS, fp32_gops=200.0)
    run, asked = rooflines(home, monkeypatch, new=True, there=(CEILINGS,), ceilings=faster)
    run.of(measurement("fp32", 64))
    assert asked == ["CountJob", "CeilingsJob"]
    (row,) = run.judged_again([old])
    assert row.roofline.fraction == pytest.approx(0.25)
    assert run.ceilings == (faster,)


@pytest.mark.parametrize("content", [b"[{]", b'[{"cpu": "\xff"}]'])
def test_a_damaged_file_of_ceilings_is_measured_anew(home, monkeypatch, content):
    module.cache_file().parent.mkdir(parents=True)
    module.cache_file().write_bytes(content)
    run, asked = rooflines(home, monkeypatch)
    run.of(measurement("fp32", 64))
    assert asked == ["CountJob", "CeilingsJob"]


@pytest.mark.parametrize("found", [{"rerank_dim": 384}, {"parameters": {"cluster_dim": 384, "probes": 2}}])
def test_the_work_is_of_the_dimension_that_is_encoded(home, monkeypatch, found):
    run, _ = rooflines(home, monkeypatch)
    row = measurement("fp32", 64, search_ms=1.0)
    assert run.of(row).roofline.work.operations == 10**8
    row = msgspec.structs.replace(row, search=msgspec.structs.replace(row.search, **found))
    assert run.of(row).roofline.work.operations == 2


def _searched(kind, *, touched=10**9, **fields):
    row = measurement("fp32", 64, search_ms=2.0)
    search = msgspec.structs.replace(row.search, index=kind, n_items=1000, **fields)
    memory = msgspec.structs.replace(row.memory, index_touched_bytes=touched)
    return msgspec.structs.replace(row, search=search, memory=memory)


@pytest.mark.parametrize(
    ("kind", "fields", "read"),
    [
        ("scan", {}, 1000 * (64 * 4 + 4)),
        ("scan", {"vectors": "int8"}, 1000 * (64 + 4)),
        ("scan", {"shortlist": 200, "rerank_dim": 384}, 1000 * (64 * 4 + 4) + 200 * (384 * 4 + 4)),
        ("binary", {"shortlist": 100, "rerank_dim": 64}, 1000 * 8 + 100 * (64 * 4 + 4)),
        (
            "binary",
            {"shortlist": 300, "rerank_dim": 384, "funnel": (Step(300, 64), Step(50, 384))},
            1000 * 8 + 300 * (64 * 4 + 4) + 50 * (320 * 4 + 4),  # of the 50 the first columns were just read
        ),
        (
            "ivf",
            {"parameters": {"lists": 100, "probes": 10, "cluster_dim": 64}},
            1000 * (64 * 4 + 4) / 10 + 4 * 100 * 64,
        ),
    ],
)
def test_a_search_is_held_to_reading_what_a_query_reads(home, monkeypatch, kind, fields, read):
    """At 50 GB/s, the least of the ceilings' sizes."""
    row = rooflines(home, monkeypatch)[0].of(_searched(kind, **fields))
    found = row.search_roofline
    assert found.bytes == read
    assert found.least_ms == pytest.approx(read / 50e9 * 1e3)
    assert found.fraction == pytest.approx(found.least_ms / 2.0)
    assert "search_roofline" not in row.null_because
    few = rooflines(home, monkeypatch)[0].of(_searched(kind, touched=1000, **fields))
    assert few.search_roofline.bytes == 1000  # no more than all of them read


def test_new_ceilings_judge_searches_too(home, monkeypatch):
    old = rooflines(home, monkeypatch)[0].of(_searched("scan"))
    faster = msgspec.structs.replace(CEILINGS, bandwidths=(Bandwidth(10**6, 100.0),))
    run, _ = rooflines(home, monkeypatch, new=True, there=(CEILINGS,), ceilings=faster)
    run.of(measurement("fp32", 64))
    (row,) = run.judged_again([old])
    assert row.search_roofline.fraction == pytest.approx(old.search_roofline.fraction / 2)


def test_a_search_whose_reads_are_not_known_says_why(home, monkeypatch):
    run, _ = rooflines(home, monkeypatch)
    assert "depends on the query" in run.of(_searched("annoy")).null_because["search_roofline"]
    silent = msgspec.structs.replace(
        _searched("scan", touched=None), null_because={"memory.index_touched_bytes": "no smaps"}
    )
    assert run.of(silent).null_because["search_roofline"] == "no smaps"
    assert bytes_of_query(measurement("fp32", 64), (64, 384)) == "nothing is searched"
    assert "search_roofline" not in run.of(measurement("fp32", 64)).null_because
    emulated, _ = rooflines(home, monkeypatch, device=msgspec.structs.replace(describe(), emulated=True))
    assert "emulator" in emulated.of(_searched("scan")).null_because["search_roofline"]


def test_what_has_no_roofline_says_why(home, monkeypatch):
    run, _ = rooflines(home, monkeypatch)

    def reason(**fields):
        row = msgspec.structs.replace(measurement("fp32", 64), **fields)
        return run.of(row).null_because["roofline"]

    assert "one caller" in reason(callers=2)
    assert "not counted" in reason(tokens=7)
    failing, _ = rooflines(home, monkeypatch, ceilings="no memory")
    assert "no memory" in failing.of(measurement("fp32", 64)).null_because["roofline"]
    failed = msgspec.structs.replace(measurement("fp32", 64), status="failed", encode=None)
    assert run.of(failed) == failed


def test_the_products_that_are_timed_are_what_their_files_say():
    """The graphs are made here, as a board has no onnx to make them with."""
    kinds = (
        ("fp32", "MatMul", TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT),
        ("int8", "MatMulInteger", TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32),
    )
    for name, operator, first, second, product in kinds:
        filled = helper.make_tensor("value", second, [1], [3])
        nodes = [
            helper.make_node("ConstantOfShape", ["shape"], ["w"], value=filled),
            helper.make_node(operator, ["x", "w"], ["y"]),
        ]
        graph = helper.make_graph(
            nodes, f"product-{name}",
            [helper.make_tensor_value_info("x", first, ["rows", 768])],
            [helper.make_tensor_value_info("y", product, ["rows", 768])],
            [helper.make_tensor("shape", TensorProto.INT64, [2], [768, 768])],
        )  # fmt: skip
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="mrl-edge"
        )
        there = (module.Path(module.__file__).parent / f"product-{name}.onnx").read_bytes()
        assert there == model.SerializeToString(deterministic=True)


@pytest.fixture
def short(monkeypatch):
    """A rate is the best of a tenth of the time that it has otherwise, or less."""
    monkeypatch.setattr(ceilings_module, "_PRODUCT_SECONDS", 0.1)
    monkeypatch.setattr(ceilings_module, "_READ_SECONDS", 0.01)


@pytest.mark.usefixtures("short")
def test_a_machines_ceilings_are_measured_with_the_threads_asked_for():
    found = measure_ceilings(CeilingsJob(2, 3 << 20)).ceilings
    assert found.threads == 2
    assert min(found.fp32_gops, found.int8_gops) > 0
    assert [round(one.bytes / 2**20, 2) for one in found.bandwidths] == [1.0, 1.41, 2.0, 2.83]
    assert all(one.gb_per_s > 0 for one in found.bandwidths)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot hold a process to cores")
@pytest.mark.usefixtures("short")
def test_threads_beyond_the_cores_raise_no_ceiling():
    """Each counts its own processor time alone, so four on one core would add up to four cores."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        one, four = (measure_ceilings(CeilingsJob(threads, 1 << 20)).ceilings for threads in (1, 4))
    finally:
        os.sched_setaffinity(0, cores)
    assert four.threads == 4
    assert four.fp32_gops < 2.5 * one.fp32_gops
