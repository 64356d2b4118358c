import time
from types import SimpleNamespace

import msgspec
import pytest
from mrl_edge.bench import watching as module
from mrl_edge.bench.jobs import Loop
from mrl_edge.bench.seen import with_energy
from mrl_edge.bench.watching import Watch, watching
from mrl_edge.devices.nvidia import find_gpus
from mrl_edge.devices.power import PowerSensor
from mrl_edge.devices.throttling import Counted
from rows import measurement

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def test_the_least_and_the_median_of_what_is_sampled_meanwhile(monkeypatch):
    frequencies, degrees = iter([3000, 1000, 2000]), iter([50, 70, 60])
    throttled = iter([Counted(4), Counted(6)])
    monkeypatch.setattr(module, "_INTERVAL_S", 0.01)
    cores = lambda percpu: [SimpleNamespace(current=mhz) for mhz in (400, next(frequencies, 2000))]  # noqa: E731
    monkeypatch.setattr(module.psutil, "cpu_freq", cores)
    monkeypatch.setattr(module, "temperature_c", lambda: next(degrees, 60))
    monkeypatch.setattr(module, "read_throttling", lambda: next(throttled))
    with watching(CPU) as watch:
        time.sleep(0.1)
    assert (watch.frequency_min_mhz, watch.frequency_median_mhz) == (1000, 2000)
    assert watch.temperature_max_c == 70
    assert watch.throttled is True
    assert watch.missing() == {}


def test_a_machine_that_says_nothing_gives_nulls_with_reasons(monkeypatch):
    monkeypatch.setattr(module.psutil, "cpu_freq", lambda percpu: [])
    monkeypatch.setattr(module, "temperature_c", lambda: None)
    monkeypatch.setattr(module, "read_throttling", lambda: "nobody counts")
    with watching(CPU) as watch:
        pass
    assert (watch.frequency_min_mhz, watch.temperature_max_c) == (None, None)
    assert set(watch.missing()) == {"temperature_c", "system.frequency_median_mhz", "throttled"}
    assert watch.missing()["throttled"] == "nobody counts"


def test_energy_is_the_mean_power_of_the_time_in_which_calls_were_made():
    watch = Watch(power=PowerSensor("a sensor", lambda: 0.0))
    watch.watts[:] = [(0, 100.0), (2_000_000_000, 5.0), (4_000_000_000, 7.0), (9_000_000_000, 100.0)]
    assert watch.energy_mj(Loop(1_000_000_000, 6_000_000_000, 50)) == pytest.approx(6 * 5 / 50 * 1e3)
    assert "read 1 times" in watch.energy_mj(Loop(3_000_000_000, 6_000_000_000, 50))


def test_a_power_sensor_that_fails_is_no_energy(monkeypatch):
    def fail():
        raise OSError("input/output error")

    monkeypatch.setattr(module, "find_power", lambda: PowerSensor("a sensor", fail))
    with watching(CPU) as watch:
        pass
    assert watch.energy_mj(Loop(0, 1, 1)) == "reading it failed: OSError: input/output error"


def answer(energy, loop=None):
    return SimpleNamespace(energy_mj=energy, loop=loop)


def test_a_counter_goes_before_a_sensor_and_each_is_named(monkeypatch):
    sensor = PowerSensor("a sensor", lambda: 4.0)
    monkeypatch.setattr(module, "_INTERVAL_S", 0.01)
    monkeypatch.setattr(module, "find_power", lambda: sensor)
    started = time.monotonic_ns()
    with watching(CPU) as watch:
        time.sleep(0.1)
    loop, row = Loop(started, time.monotonic_ns(), 10), measurement("int8", 64)
    counted = with_energy(row, answer(3.0, loop), watch)
    assert (counted.energy_mj, counted.energy_source) == (3.0, "RAPL")
    sampled = with_energy(row, answer("no RAPL", loop), watch)
    assert sampled.energy_mj == pytest.approx(4.0 * (loop.ended_ns - loop.started_ns) / 1e6 / 10)
    assert sampled.energy_source == "a sensor"
    assert with_energy(row, answer("single queries alone"), watch).null_because == {"energy_mj": "single queries alone"}


def test_a_row_of_a_gpu_asks_nvml_or_says_why_it_could_not():
    """The real library; on a machine without a driver that is all it can show."""
    with watching(CUDA) as watch:
        time.sleep(0.05)
    if isinstance(find_gpus(), str):
        assert watch.gpu_peak_bytes is None
        assert watch.missing()["memory.gpu_bytes"].startswith("NVML does not answer")
        row = msgspec.structs.replace(measurement("fp16", 64), provider=CUDA)
        assert "NVML" in with_energy(row, answer(3.0, Loop(0, 1, 1)), watch).null_because["energy_mj"]
    else:
        assert watch.power.name == "NVML"
        assert watch.celsius


def test_a_row_of_the_cpu_has_no_gpu_memory_and_asks_no_gpu():
    with watching(CPU) as watch:
        pass
    assert watch.gpu_peak_bytes is None
    assert "memory.gpu_bytes" not in watch.missing()


def test_a_sensor_that_fails_is_a_reason_and_not_silence(monkeypatch):
    """Once it has failed the figure is null: what was read until then is of a part of the time."""
    reads = iter([1000.0])

    def fail():
        try:
            return next(reads)
        except StopIteration:
            raise OSError("input/output error") from None

    monkeypatch.setattr(module, "_INTERVAL_S", 0.01)
    monkeypatch.setattr(module, "fastest_core_mhz", fail)
    monkeypatch.setattr(module, "temperature_c", lambda: 50)
    with watching(CPU) as watch:
        time.sleep(0.1)
    assert watch.frequency_median_mhz is None
    assert watch.missing()["system.frequency_median_mhz"] == "reading it failed: OSError: input/output error"
    assert watch.temperature_max_c == 50
    assert len(watch.celsius) > 1
