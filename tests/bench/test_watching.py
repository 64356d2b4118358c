import time
from types import SimpleNamespace

from mrl_edge.bench import watching as module
from mrl_edge.bench.watching import watching
from mrl_edge.devices.local import throttle_count


def test_the_least_and_the_median_of_what_is_sampled_meanwhile(monkeypatch):
    frequencies, degrees, throttled = iter([3000, 1000, 2000]), iter([50, 70, 60]), iter([4, 6])
    monkeypatch.setattr(module, "_INTERVAL_S", 0.01)
    cores = lambda percpu: [SimpleNamespace(current=mhz) for mhz in (400, next(frequencies, 2000))]  # noqa: E731
    monkeypatch.setattr(module.psutil, "cpu_freq", cores)
    monkeypatch.setattr(module, "temperature_c", lambda: next(degrees, 60))
    monkeypatch.setattr(module, "throttle_count", lambda: next(throttled))
    with watching() as watch:
        time.sleep(0.1)
    assert (watch.frequency_min_mhz, watch.frequency_median_mhz) == (1000, 2000)
    assert watch.temperature_max_c == 70
    assert watch.throttled is True
    assert watch.missing() == {}


def test_a_machine_that_says_nothing_gives_nulls_with_reasons(monkeypatch):
    monkeypatch.setattr(module.psutil, "cpu_freq", lambda percpu: [])
    for name in ("temperature_c", "throttle_count"):
        monkeypatch.setattr(module, name, lambda: None)
    with watching() as watch:
        pass
    assert (watch.frequency_min_mhz, watch.temperature_max_c, watch.throttled) == (None, None, None)
    assert set(watch.missing()) == {"temperature_c", "system.frequency_median_mhz", "throttled"}
    assert "not read by this version" in watch.missing()["throttled"]


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
    with watching() as watch:
        time.sleep(0.1)
    assert watch.frequency_median_mhz is None
    assert watch.missing()["system.frequency_median_mhz"] == "reading it failed: OSError: input/output error"
    assert watch.temperature_max_c == 50
    assert len(watch.celsius) > 1


def test_throttling_is_counted_over_all_cores(tmp_path):
    assert throttle_count(tmp_path) is None
    for core, count in (("cpu0", 3), ("cpu1", 4)):
        folder = tmp_path / core / "thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{count}\n")
    assert throttle_count(tmp_path) == 7
