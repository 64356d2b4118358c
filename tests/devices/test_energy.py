"""RAPL's counters, on folders made as Linux's powercap makes them."""

import os

import pytest
from mrl_edge.devices.energy import Rapl, find_rapl


def test_amds_packages_are_counted_by_the_same_driver(tmp_path):
    """Linux's intel_rapl_msr names them so on Zen; psys and the parts within a package are not counted."""
    for domain, name in (("0", "package-0"), ("0:0", "core")):
        folder = tmp_path / f"intel-rapl:{domain}"
        folder.mkdir()
        for file, content in (("name", name), ("energy_uj", 5), ("max_energy_range_uj", 65532610987)):
            (folder / file).write_text(f"{content}\n")
    rapl = find_rapl(tmp_path)
    assert rapl.read_uj() == (5,)
    assert rapl.ranges_uj == (65532610987,)


@pytest.fixture
def powercap(tmp_path):
    """Two packages, and a part of one that must not be counted twice."""
    for domain, name, counter in (("0", "package-0", 1000), ("0:0", "core", 600), ("1", "package-1", 5000)):
        folder = tmp_path / f"intel-rapl:{domain}"
        folder.mkdir()
        for file, content in (("name", name), ("energy_uj", counter), ("max_energy_range_uj", 9999)):
            (folder / file).write_text(f"{content}\n")
    return tmp_path


def test_the_energy_of_all_packages_is_counted_once(powercap):
    rapl = find_rapl(powercap)
    before = rapl.read_uj()
    assert before == (1000, 5000)
    for domain, now in (("0", 3000), ("0:0", 2000), ("1", 5500)):
        (powercap / f"intel-rapl:{domain}" / "energy_uj").write_text(str(now))
    assert rapl.spent_mj(before, rapl.read_uj()) == pytest.approx(2.5)


def test_a_counter_that_started_over_is_no_negative_energy(powercap):
    rapl = find_rapl(powercap)
    (powercap / "intel-rapl:1" / "energy_uj").write_text("100")
    assert rapl.spent_mj((1000, 5000), rapl.read_uj()) == pytest.approx((9999 - 5000 + 1 + 100) / 1e3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_counters_that_only_root_reads_say_so(powercap):
    (powercap / "intel-rapl:0" / "energy_uj").chmod(0)
    assert "needs root" in find_rapl(powercap)


def test_without_counters_the_reason_is_given(tmp_path):
    assert "no RAPL counter" in find_rapl(tmp_path)
    assert "is missing" in find_rapl(tmp_path / "none")
    broken = tmp_path / "intel-rapl:0"
    broken.mkdir()
    (broken / "name").write_text("package-0")
    (broken / "energy_uj").write_text("much")
    assert "cannot be read" in find_rapl(tmp_path)
    assert not isinstance(find_rapl(tmp_path), Rapl)
