import numpy as np
import pytest

from compute.chance import rows_of
from compute.device import DeviceModel, Writing
from compute.partition import Matrix
from compute.presets import PRESETS
from compute.write_verify import write_verify
from compute.writing import Cells, write
from tests.compute.cells import CLUMSY, in_us
from tests.compute.laws import far_apart, far_from_normal

WAN = PRESETS["rram-wan2022"]
ROWS = rows_of(0, 128)


def all_shares() -> Matrix:
    return np.linspace(0.0, 1.0, 256 * 256, dtype=np.float32).reshape(256, 256)


def test_each_pulse_goes_its_share_of_the_way_until_the_cell_is_near_enough() -> None:
    halving = Writing(acceptance_us=1.0, pulse_share=0.5, pulses_max=9)
    device = DeviceModel(name="x", writing=halving)
    targets = np.array([[0.0, 1.0, 8.0, 64.0]], np.float32)

    got = write_verify(targets, device, 1, rows_of(0, 1))
    assert got.pulses.tolist() == [[0, 0, 3, 6]]
    assert got.conductance_us.tolist() == [[0.0, 0.0, 7.0, 63.0]]
    assert got.accepted.all()


def test_a_cell_is_given_up_after_the_last_pulse() -> None:
    halving = Writing(acceptance_us=1.0, pulse_share=0.5, pulses_max=5)
    targets = np.array([[64.0, 32.0]], np.float32)

    got = write_verify(targets, DeviceModel(name="x", writing=halving), 1, rows_of(0, 1))
    assert got.pulses.tolist() == [[5, 5]]
    assert got.accepted.tolist() == [[False, True]]


def test_accepted_cells_lie_within_the_acceptance() -> None:
    targets = in_us(all_shares()[:128], WAN)
    got = write_verify(targets, WAN, 1, ROWS)

    off = np.abs(got.conductance_us - targets)[got.accepted]
    assert off.max() <= 1.0 + 1e-5
    assert off.mean() == pytest.approx(0.5, abs=0.05)


def test_the_loop_takes_as_many_pulses_on_wans_cells_as_they_say() -> None:
    targets = np.linspace(1.0, 39.0, 128 * 256, dtype=np.float32).reshape(128, 256)
    got = write_verify(targets, WAN, 1, ROWS)

    assert got.pulses.mean() == pytest.approx(8.5, abs=0.25)
    assert got.accepted.mean() == pytest.approx(0.99, abs=0.003)


def test_without_a_reading_the_first_pulse_is_the_last() -> None:
    device = DeviceModel(name="x", writing=Writing(pulse_sigma_us=2.0))
    got = write_verify(np.full((128, 100), 50.0, np.float32), device, 1, ROWS)

    assert (got.pulses == 1).all() and got.accepted.all()
    assert not far_from_normal(got.conductance_us, 50.0, 2.0)


def test_no_pulse_leads_below_zero_conductance() -> None:
    wild = Writing(acceptance_us=0.5, pulse_share=0.5, pulse_sigma_us=5.0, pulses_max=3)
    targets = np.full((128, 64), 1.0, np.float32)
    got = write_verify(targets, DeviceModel(name="x", writing=wild), 1, ROWS)

    assert got.conductance_us.min() == 0.0


def test_the_loop_is_the_same_for_any_cut_of_the_rows() -> None:
    targets = in_us(all_shares()[:128], CLUMSY)
    whole = write_verify(targets, CLUMSY, 1, ROWS)
    part = write_verify(targets[40:50], CLUMSY, 1, ROWS[40:50])

    assert (whole.conductance_us[40:50] == part.conductance_us).all()
    assert (whole.pulses[40:50] == part.pulses).all()


@pytest.mark.parametrize("share", [0.0, 0.03, 0.04, 0.3, 0.77, 1.0])
def test_a_block_is_written_by_the_law_of_the_loop(share: float) -> None:
    targets = np.full((2, 128, 64), share, np.float32)
    held, report = write(targets, CLUMSY, Cells(), 1, ROWS)
    loop = write_verify(in_us(targets.reshape(256, 64), CLUMSY), CLUMSY, 2, rows_of(0, 256))

    assert not far_apart(in_us(held, CLUMSY), loop.conductance_us)
    assert report.pulses / report.cells == pytest.approx(loop.pulses.mean(), rel=0.03, abs=0.02)
    missed = 1.0 - loop.accepted.mean()
    assert report.unwritten / report.cells == pytest.approx(missed, abs=0.01)


def test_over_all_targets_pulses_and_misses_are_those_of_the_loop() -> None:
    targets = all_shares().reshape(2, 128, 256)
    report = write(targets, WAN, Cells(), 1, ROWS)[1]
    loop = write_verify(in_us(targets.reshape(256, 256), WAN), WAN, 2, rows_of(0, 256))

    assert report.cells == 65_536
    assert report.pulses == pytest.approx(int(loop.pulses.sum()), rel=0.01)
    assert report.unwritten == pytest.approx(int((~loop.accepted).sum()), rel=0.2)
    slowest = loop.pulses.reshape(128, 512).max(axis=1).mean()
    assert report.time_ns == pytest.approx(128 * slowest * WAN.writing.pulse_ns, rel=0.1)
    assert report.energy_pj == pytest.approx(report.pulses * 80.0)


@pytest.mark.parametrize(
    "writing",
    [
        Writing(acceptance_us=1_000.0),  # wider than the window: every cell is near enough at once
        Writing(
            acceptance_us=0.1, verify_sigma_us=5.0, pulses_max=5
        ),  # reads worse than it accepts
        Writing(acceptance_us=0.001, pulse_sigma_us=3.0),  # one pulse, hardly ever near enough
        Writing(acceptance_us=1.0),  # one pulse that always is
    ],
)
def test_the_law_holds_for_odd_devices_too(writing: Writing) -> None:
    device = DeviceModel(name="x", writing=writing)
    targets = np.full((2, 128, 64), 0.4, np.float32)
    held, report = write(targets, device, Cells(), 1, ROWS)
    loop = write_verify(in_us(targets.reshape(256, 64), device), device, 2, rows_of(0, 256))

    assert not far_apart(np.round(in_us(held, device), 3), np.round(loop.conductance_us, 3))
    assert report.pulses == pytest.approx(int(loop.pulses.sum()), rel=0.03)
    missed = int((~loop.accepted).sum())
    assert report.unwritten == pytest.approx(missed, rel=0.03, abs=0.002 * report.cells)
