import math

import msgspec
import numpy as np
import pytest

from compute.chance import rows_of
from compute.device import DeviceModel, Faults, Variation, Window, Writing
from compute.partition import Matrix
from compute.presets import PRESETS
from compute.writing import Cells, WriteReport, make_cells, sigma_us, write
from tests.compute.cells import CLUMSY, in_us
from tests.compute.laws import far_from_normal, far_from_share

WAN = PRESETS["rram-wan2022"]
ROWS = rows_of(0, 128)


def everywhere(share: float, columns: int = 256) -> Matrix:
    """Both polarities of 128 rows."""
    return np.full((2, len(ROWS), columns), share, np.float32)


def all_shares(columns: int = 256) -> Matrix:
    return np.linspace(0.0, 1.0, 2 * len(ROWS) * columns, dtype=np.float32).reshape(
        2, len(ROWS), columns
    )


@pytest.mark.parametrize("name", ["rram-milo2021", "rram-cmo-hfox-2025", "pcm-joshi"])
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_what_is_held_has_the_measured_noise(name: str, share: float) -> None:
    device = PRESETS[name]
    held = in_us(write(everywhere(share, 64), device, Cells(), 3, ROWS)[0], device)

    target_us = device.window.g_min_us + share * device.window.width_us
    assert not far_from_normal(held, target_us, device.written_sigma_us(target_us))


def test_the_spread_is_the_measured_one_to_one_in_a_hundred() -> None:
    device = PRESETS["rram-milo2021"]
    held = in_us(write(everywhere(0.5, 512), device, Cells(), 3, ROWS)[0], device)

    # 131,072 cells: the standard deviation of their standard deviation is 0.2 %.
    assert held.std() == pytest.approx(device.written_sigma_us(137.5), rel=0.01)
    assert held.mean() == pytest.approx(137.5, abs=0.05)


def test_cells_that_are_not_read_are_where_their_one_pulse_led() -> None:
    device = DeviceModel(
        name="x", writing=Writing(pulse_sigma_us=2.0, pulse_pj=3.0), faults=Faults(stuck_low=0.25)
    )
    cells = make_cells(device, 1, ROWS, 64)
    held, report = write(everywhere(0.5, 64), device, cells, 2, ROWS)
    assert cells.stuck is not None

    assert not far_from_normal(held[cells.stuck == 0] * 100.0, 50.0, 2.0)
    assert report.pulses == int(np.count_nonzero(cells.stuck == 0))
    assert report.energy_pj == 3.0 * report.pulses


def test_what_wan_holds_has_the_measured_noise_but_for_cells_that_were_given_up() -> None:
    held, report = write(everywhere(0.5), WAN, Cells(), 3, ROWS)
    off = in_us(held, WAN) - 19.63

    assert not far_from_share(report.unwritten, report.cells, 0.0105)
    # One in a hundred lies anywhere: less than KS can tell among so many of the others.
    assert not far_from_normal(off[:, :32, :64], 0.0, WAN.written_sigma_us(19.63))


def test_the_noise_of_an_array_of_conductances_is_that_of_each() -> None:
    conductances = np.array([[0.0, 7.5, 39.26]], np.float32)

    each = [WAN.written_sigma_us(float(value)) for value in conductances[0]]
    assert np.allclose(sigma_us(conductances, WAN), [each])


def test_no_cell_conducts_less_than_nothing() -> None:
    held = in_us(write(everywhere(0.01), WAN, Cells(), 1, ROWS)[0], WAN)

    assert held.min() == 0.0
    below = int(np.count_nonzero(held == 0.0))
    target_us = 0.01 * WAN.window.g_max_us
    probability = 0.5 * math.erfc(target_us / WAN.written_sigma_us(target_us) / math.sqrt(2.0))
    assert not far_from_share(below, held.size, probability)


def test_the_ideal_device_holds_what_it_is_told() -> None:
    targets = all_shares()
    held, report = write(targets, PRESETS["ideal"], Cells(), 1, ROWS)

    assert (held == targets).all() and held is not targets
    assert report == WriteReport(cells=targets.size, pulses=targets.size)


def test_cells_stand_in_the_memory_of_their_targets_only_where_that_is_allowed() -> None:
    targets = all_shares()
    held, _ = write(targets, WAN, Cells(), 1, ROWS)
    assert np.array_equal(targets, all_shares())

    used, _ = write(targets, WAN, Cells(), 1, ROWS, overwrite=True)
    assert used is targets and np.array_equal(used, held)


def test_targets_go_to_the_nearest_level() -> None:
    held = write(all_shares(), PRESETS["rram-isaac"], Cells(), 1, ROWS)[0]

    assert np.unique(held) == pytest.approx([0.0, 1 / 3, 2 / 3, 1.0])
    assert np.abs(held - all_shares()).max() <= 1 / 6 + 1e-6


def test_a_block_is_the_same_for_any_cut_of_the_rows() -> None:
    device = msgspec.structs.replace(
        CLUMSY, variation=Variation(floor=0.2, ceiling=0.2), faults=Faults(stuck_low=0.1)
    )
    targets = all_shares(67)
    whole, report = write(targets, device, make_cells(device, 1, ROWS, 67), 2, ROWS)

    reports = []
    for cut in (slice(0, 1), slice(1, 100), slice(100, 128)):
        cells = make_cells(device, 1, ROWS[cut], 67)
        held, part = write(targets[:, cut], device, cells, 2, ROWS[cut])
        assert (held == whole[:, cut]).all()
        reports.append(part)
    together = reports[0] + reports[1] + reports[2]
    assert (together.cells, together.pulses) == (report.cells, report.pulses)
    assert together.unwritten == report.unwritten
    assert together.time_ns == pytest.approx(report.time_ns)


def test_another_writing_has_another_noise() -> None:
    one, other = (write(everywhere(0.5), WAN, Cells(), key, ROWS)[0] for key in (1, 2))

    correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
    assert abs(correlation) < 5.0 / math.sqrt(one.size)
    assert abs(np.corrcoef(one[0].ravel(), one[1].ravel())[0, 1]) < 5.0 / math.sqrt(one[0].size)


# -- cells -----------------------------------------------------------------------------------------


def test_stuck_cells_stay_and_are_not_pulsed() -> None:
    device = msgspec.structs.replace(WAN, faults=Faults(stuck_low=0.4, stuck_high=0.6))
    cells = make_cells(device, 1, ROWS, 256)
    held, report = write(everywhere(0.5), device, cells, 2, ROWS)

    assert cells.stuck is not None
    assert (held == (cells.stuck + 1) // 2).all()
    assert (report.pulses, report.unwritten, report.energy_pj) == (0, 0, 0.0)


def test_a_device_without_variation_has_cells_like_all_others() -> None:
    assert make_cells(WAN, 1, ROWS, 64) == Cells(None, None, None)


def test_cells_have_windows_of_their_own_by_the_lognormal_law() -> None:
    device = DeviceModel(
        name="x",
        window=Window(g_min_us=10.0, g_max_us=100.0),
        variation=Variation(floor=0.3, ceiling=0.2),
    )
    cells = make_cells(device, 1, ROWS, 64)
    assert cells.floor is not None and cells.ceiling is not None

    for ends, end_us, sigma, sign in ((cells.floor, 10.0, 0.3, 1), (cells.ceiling, 100.0, 0.2, -1)):
        logs = sign * np.log((ends * 90.0 + 10.0) / end_us)
        # Half of them have a wider window than the nominal one, which is of no use.
        wider = int(np.count_nonzero(logs < 1e-6))
        assert not far_from_share(wider, logs.size, 0.5)
        half = logs[logs >= 1e-6]
        assert not far_from_normal(np.concatenate((half, -half)), 0.0, sigma)


def test_a_target_beyond_a_cells_own_window_ends_at_its_edge_and_counts_as_unwritten() -> None:
    device = msgspec.structs.replace(
        PRESETS["rram-cmo-hfox-2025"], variation=Variation(ceiling=0.1)
    )
    cells = make_cells(device, 1, ROWS, 256)
    held, report = write(everywhere(1.0), device, cells, 2, ROWS)
    assert cells.ceiling is not None

    relaxed_us = np.abs(held - cells.ceiling) * device.window.width_us
    assert relaxed_us.max() < 5.0 * device.written_sigma_us(88.19)
    # Out of reach is a ceiling that is lower by more than the acceptance: ln(1 - 0.1778 / 88.19) / 0.1.
    short = 0.5 * math.erfc(0.02018 / math.sqrt(2.0))
    assert not far_from_share(report.unwritten, report.cells, short)
    assert report.pulses > 0.4 * report.cells * device.writing.pulses_max


def test_no_pulse_leads_below_a_cells_own_floor() -> None:
    device = DeviceModel(
        name="x", window=Window(g_min_us=10.0), variation=Variation(floor=0.5, ceiling=0.5)
    )
    cells = make_cells(device, 1, ROWS, 64)
    assert cells.floor is not None and cells.ceiling is not None
    held = write(everywhere(0.0, 64), device, cells, 2, ROWS)[0]

    assert (held == cells.floor).all()
    assert held.max() > 0.1


def test_no_cells_floor_lies_above_its_ceiling() -> None:
    device = DeviceModel(
        name="x", window=Window(g_min_us=10.0), variation=Variation(floor=3.0, ceiling=3.0)
    )
    cells = make_cells(device, 1, ROWS, 64)

    assert cells.floor is not None and cells.ceiling is not None
    assert (cells.floor <= cells.ceiling).all()


def test_the_same_cells_come_back_by_their_key() -> None:
    device = msgspec.structs.replace(
        PRESETS["rram-harsh"], variation=Variation(ceiling=0.1), name="x"
    )
    one, again = make_cells(device, 1, ROWS, 64), make_cells(device, 1, ROWS[64:], 64)

    assert one.stuck is not None and again.stuck is not None
    assert one.ceiling is not None and again.ceiling is not None
    assert (one.stuck[:, 64:] == again.stuck).all()
    assert (one.ceiling[:, 64:] == again.ceiling).all()


def test_targets_outside_of_the_window_are_our_own_mistake() -> None:
    for wrong in (-0.01, 1.01, math.nan):
        with pytest.raises(AssertionError):
            write(everywhere(wrong), WAN, Cells(), 1, ROWS)
