"""INA3221 chips, on folders as Linux's hwmon makes them (kernel.org/doc/html/latest/hwmon/ina3221.html)."""

import pytest
from mrl_edge.devices.jetson import find_rails
from mrl_edge.devices.power import find_power


def chip(root, number, *channels):
    """One chip: label, mV and mA of each channel, and the sum of the shunts' voltages that the driver adds."""
    folder = root / f"hwmon{number}"
    folder.mkdir(parents=True)
    files = {"name": "ina3221", "in7_input": 480, "in7_label": "sum of shunt voltages"}
    for place, (label, millivolts, milliamperes) in enumerate(channels, start=1):
        files |= {f"in{place}_label": label, f"in{place}_enable": 1, f"in{place}_input": millivolts}
        files |= {f"curr{place}_input": milliamperes, f"in{place + 3}_input": 5 * milliamperes}
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")
    return folder


def test_the_input_of_a_module_is_its_power(tmp_path):
    """The labels are those of Orin NX and Nano (Linux, tegra234-p3767.dtsi)."""
    (tmp_path / "hwmon0").mkdir(parents=True)
    (tmp_path / "hwmon0" / "name").write_text("tmp451\n")
    chip(tmp_path, 1, ("VDD_IN", 5072, 1184), ("VDD_CPU_GPU_CV", 5072, 216), ("VDD_SOC", 5072, 384))
    rails = find_rails(tmp_path)
    assert rails.names == ("VDD_IN",)
    assert rails.read_w() == pytest.approx(5.072 * 1.184)
    (tmp_path / "hwmon1" / "curr1_input").write_text("2000\n")
    assert rails.read_w() == pytest.approx(5.072 * 2)


def test_without_it_the_rails_are_summed(tmp_path):
    """As on AGX Orin, whose two chips have a channel that is not connected."""
    chip(tmp_path, 3, ("VDD_GPU_SOC", 19000, 240), ("VDD_CPU_CV", 19000, 40), ("VIN_SYS_5V0", 5000, 700))
    off = chip(tmp_path, 4, ("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 100), ("VDD_OTHER", 5000, 100))
    (off / "in3_enable").write_text("0\n")
    rails = find_rails(tmp_path)
    assert rails.names == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")
    assert rails.read_w() == pytest.approx(19 * 0.28 + 5 * 0.8)
    assert find_power(tmp_path).name == "INA3221: VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0, VDDQ_VDD2_1V8AO"


def test_a_chip_without_labels_is_no_sensor_of_a_board(tmp_path):
    folder = tmp_path / "hwmon0"
    folder.mkdir()
    for name, content in (("name", "ina3221"), ("in1_input", 5000), ("curr1_input", 100)):
        (folder / name).write_text(f"{content}\n")
    assert find_rails(tmp_path) is None
