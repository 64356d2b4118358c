"""Answers of a Raspberry Pi's firmware, as they were recorded, and a program that answers so."""

import os
import stat

import pytest
from mrl_edge.devices.jetson import find_rails
from mrl_edge.devices.power import PowerSensor, find_power
from mrl_edge.devices.raspberry import FirmwareError, rails_w, throttle_flags, vcgencmd
from mrl_edge.devices.throttling import Counted, Flagged, read_throttling, throttled_between

# `vcgencmd pmic_read_adc` of a Raspberry Pi 5 Model B Rev 1.0 with four busy cores, as the tests of zeus
# (github.com/ml-energy/zeus, Raspberry Pi support) record it.
PMIC = """ 3V7_WL_SW_A current(0)=0.09368929A
   3V3_SYS_A current(1)=0.08783370A
   1V8_SYS_A current(2)=0.18054710A
  DDR_VDD2_A current(3)=0.22543980A
  DDR_VDDQ_A current(4)=0.06666720A
   1V1_SYS_A current(5)=0.17566740A
    0V8_SW_A current(6)=0.37670900A
  VDD_CORE_A current(7)=6.22421000A
   3V3_DAC_A current(17)=0.00006105A
   3V3_ADC_A current(18)=0.00036630A
   0V8_AON_A current(16)=0.00305250A
      HDMI_A current(22)=0.02417580A
 3V7_WL_SW_V volt(8)=3.69977600V
   3V3_SYS_V volt(9)=3.31003300V
   1V8_SYS_V volt(10)=1.80512600V
  DDR_VDD2_V volt(11)=1.10476100V
  DDR_VDDQ_V volt(12)=0.60146460V
   1V1_SYS_V volt(13)=1.11025500V
    0V8_SW_V volt(14)=0.80146440V
  VDD_CORE_V volt(15)=0.86173300V
   3V3_DAC_V volt(20)=3.31318300V
   3V3_ADC_V volt(21)=3.30677300V
   0V8_AON_V volt(19)=0.80029220V
      HDMI_V volt(23)=5.08664000V
     EXT5V_V volt(24)=5.09066000V
      BATT_V volt(25)=0.00000000V
"""
# Under-voltage and throttled, now and before: the documentation of `get_throttled` on raspberrypi.com has the bits.
THROTTLED = "throttled=0x50005\n"


@pytest.fixture
def firmware(tmp_path, monkeypatch):
    """A `vcgencmd` that answers as told; what it is asked stands before each answer."""
    program = tmp_path / "bin" / "vcgencmd"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    def answers(**by_question):
        cases = "".join(f"{question}) cat <<'END'\n{answer}END\n;;\n" for question, answer in by_question.items())
        unknown = "*) echo 'error=2 error_msg=\"Invalid arguments\"';;"  # what an older Pi says to pmic_read_adc
        program.write_text(f"#!/bin/sh\ncase $1 in\n{cases}{unknown}\nesac\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return answers


def test_the_power_of_the_rails_that_have_a_current_and_a_voltage():
    rails = (
        (0.09368929, 3.699776), (0.0878337, 3.310033), (0.1805471, 1.805126), (0.2254398, 1.104761),
        (0.0666672, 0.6014646), (0.1756674, 1.110255), (0.376709, 0.8014644), (6.22421, 0.861733),
        (0.00006105, 3.313183), (0.0003663, 3.306773), (0.0030525, 0.8002922), (0.0241758, 5.08664),
    )  # fmt: skip
    assert rails_w(PMIC) == pytest.approx(sum(amperes * volts for amperes, volts in rails))
    with pytest.raises(FirmwareError, match="no rail"):
        rails_w("EXT5V_V volt(24)=5.09066000V")


def test_the_throttle_flags():
    assert throttle_flags(THROTTLED) == 0x50005
    assert throttle_flags("throttled=0x0\n") == 0
    with pytest.raises(FirmwareError, match="VCHI"):
        throttle_flags("VCHI initialization failed")


def test_the_sensor_of_a_raspberry_pi_5(firmware, tmp_path):
    firmware(pmic_read_adc=PMIC)
    sensor = find_power(tmp_path / "hwmon")
    assert isinstance(sensor, PowerSensor)
    assert sensor.name == "Raspberry Pi's PMIC"
    assert sensor.read_w() == pytest.approx(rails_w(PMIC))


def test_a_raspberry_pi_without_a_pmic_says_so(firmware, tmp_path):
    firmware(get_throttled=THROTTLED)
    assert "Invalid arguments" in find_power(tmp_path / "hwmon")


def test_throttling_by_the_flags(firmware, tmp_path):
    def read(value):
        firmware(get_throttled=f"throttled={value:#x}\n")
        return read_throttling(tmp_path)

    cool, was_hot, is_hot = 0, 0x80000, 0x80008
    assert read(cool) == Flagged(0)
    assert throttled_between(read(cool), read(cool)) is False
    assert throttled_between(read(cool), read(was_hot)) is True
    assert throttled_between(read(is_hot), read(was_hot)) is True
    assert "throttled before" in throttled_between(read(was_hot), read(was_hot))
    under_voltage = 0x10001  # which alone slows nothing
    assert throttled_between(read(cool), read(under_voltage)) is False
    firmware()
    assert "Invalid arguments" in throttled_between(Flagged(0), read_throttling(tmp_path))


def test_throttling_by_linux_counters(tmp_path):
    assert "no counters" in read_throttling(tmp_path)
    for core, count in (("cpu0", 3), ("cpu1", 4)):
        folder = tmp_path / core / "thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{count}\n")
    before = read_throttling(tmp_path)
    assert before == Counted(7)
    assert throttled_between(before, read_throttling(tmp_path)) is False
    (tmp_path / "cpu1" / "thermal_throttle" / "core_throttle_count").write_text("5\n")
    assert throttled_between(before, read_throttling(tmp_path)) is True


def test_a_machine_without_vcgencmd(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FirmwareError, match="there is no vcgencmd"):
        vcgencmd("get_throttled")
    assert find_rails(tmp_path) is None
    assert find_power(tmp_path) == f"no INA3221 in {tmp_path}; no Raspberry Pi's PMIC: there is no vcgencmd"
