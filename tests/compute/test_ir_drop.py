from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute import ir_drop
from compute.device import DeviceError
from compute.ir_drop import effective, first_order
from compute.partition import Matrix64
from tests.compute.nodal import Network

SHAPES = [(4, 4), (16, 16), (5, 11), (11, 5), (1, 9), (9, 1), (2, 1)]


def cells(rows: int, columns: int, seed: int = 7) -> Matrix64:
    """Between 1 and 40 uS."""
    return np.random.default_rng(seed).uniform(1.0, 40.0, (rows, columns))


def segment_for_much_loss(rows: int, columns: int) -> float:
    """Ohms at which the wires take 15 to 40 % of the current."""
    return 0.6e6 / 20.0 / (rows**2 + columns**2)


def nodal_transfer(conductance_us: Matrix64, segment_ohm: float) -> Matrix64:
    """T by driving one word line after the other."""
    rows, columns = conductance_us.shape
    network, left, bottom = (
        Network(conductance_us, segment_ohm),
        np.eye(rows),
        np.zeros((columns, rows)),
    )
    _, out = network.out_of_terminals(network.voltages(left, bottom), left, bottom)
    return -out.T


def share_lost(conductance_us: Matrix64, transfer_us: Matrix64) -> float:
    """Of the current, with all inputs alike."""
    return float(1.0 - transfer_us.sum() / conductance_us.sum())


def assert_near(found: Matrix64, expected: Matrix64, share: float = 1e-9) -> None:
    assert np.abs(found - expected).max() <= share * np.abs(expected).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_currents_are_those_of_the_whole_network(shape: tuple[int, int]) -> None:
    conductance_us, segment_ohm = cells(*shape), segment_for_much_loss(*shape)
    transfer_us = effective(conductance_us, segment_ohm)

    assert_near(transfer_us, nodal_transfer(conductance_us, segment_ohm), share=1e-11)
    assert 0.15 < share_lost(conductance_us, transfer_us) < 0.4


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(1, 8),
    st.floats(-3.0, 6.0),
    st.floats(0.0, 0.9),
    st.integers(0, 1 << 32),
)
def test_any_resistance_and_any_zeros_give_the_network_s_currents(
    rows: int, columns: int, decade: float, zeros: float, seed: int
) -> None:
    conductance_us = cells(rows, columns, seed)
    conductance_us[np.random.default_rng(seed + 1).random((rows, columns)) < zeros] = 0.0
    transfer_us = effective(conductance_us, 10.0**decade)

    assert_near(transfer_us, nodal_transfer(conductance_us, 10.0**decade))
    assert (transfer_us >= 0.0).all()


def test_the_series_gives_the_network_s_currents(monkeypatch: pytest.MonkeyPatch) -> None:
    conductance_us, segment_ohm = cells(24, 20), segment_for_much_loss(24, 20)
    monkeypatch.setattr(ir_drop, "SERIES_ROWS_MIN", 1)

    assert_near(effective(conductance_us, segment_ohm), nodal_transfer(conductance_us, segment_ohm))


@pytest.mark.parametrize(
    ("segment_ohm", "lost", "share"),
    [(0.25, 0.05, 1e-10), (1.95, 0.3, 1e-9), (22.0, 0.8, 1e-8), (1e4, 0.999, 1e-9)],
)
def test_the_series_is_the_inversion_at_full_size(
    segment_ohm: float, lost: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    conductance_us = cells(128, 128)
    transfer_us = effective(conductance_us, segment_ohm)
    monkeypatch.setattr(ir_drop, "SERIES_MAX", 0.0)

    assert_near(transfer_us, effective(conductance_us, segment_ohm), share)
    assert share_lost(conductance_us, transfer_us) == pytest.approx(lost, rel=0.1)


def test_the_same_transfer_serves_the_product_from_the_other_side() -> None:
    conductance_us, segment_ohm = cells(7, 12), 300.0
    network, dice = Network(conductance_us, segment_ohm), np.random.default_rng(3)
    left, bottom = np.zeros((7, 4)), dice.standard_normal((12, 4))
    out, _ = network.out_of_terminals(network.voltages(left, bottom), left, bottom)

    assert_near(-out, effective(conductance_us, segment_ohm) @ bottom)


def test_a_square_array_turned_about_has_the_transfer_turned_about() -> None:
    conductance_us = cells(24, 24)
    turned = effective(conductance_us[::-1, ::-1].T, 50.0)

    assert_near(turned[::-1, ::-1].T, effective(conductance_us, 50.0), share=1e-10)


def test_sources_give_what_cells_and_wires_turn_into_heat() -> None:
    network, dice = Network(cells(9, 6), segment_ohm=500.0), np.random.default_rng(5)
    left, bottom = dice.standard_normal((9, 1)), dice.standard_normal((6, 1))
    voltages = network.voltages(left, bottom)
    currents = network.out_of_terminals(voltages, left, bottom)
    from_sources = sum(
        float((current * volts).sum())
        for current, volts in zip(currents, (left, bottom), strict=True)
    )
    in_branches = sum(
        float((us * (voltages[a, 0] - voltages[b, 0]) ** 2).sum())
        for a, b, us in network.branches()
    )
    at_terminals = sum(float((current**2).sum()) / network.wire_us for current in currents)

    assert from_sources == pytest.approx(in_branches + at_terminals, rel=1e-12)
    assert at_terminals > 0.01 * from_sources


def test_power_by_the_transfer_is_power_in_the_network() -> None:
    conductance_us, segment_ohm = cells(9, 6), 500.0
    network, left = Network(conductance_us, segment_ohm), np.ones((9, 1))
    into_word_lines, out = network.out_of_terminals(
        network.voltages(left, np.zeros((6, 1))), left, np.zeros((6, 1))
    )

    assert float(into_word_lines.sum()) == pytest.approx(-float(out.sum()), rel=1e-12)
    assert effective(conductance_us, segment_ohm).sum() == pytest.approx(
        -float(out.sum()), rel=1e-10
    )


def test_wires_without_resistance_leave_the_cells_as_they_are() -> None:
    conductance_us = cells(6, 5).astype(np.float32)

    assert (effective(conductance_us, 0.0) == conductance_us).all()
    assert (effective(conductance_us, 1e-300) == conductance_us).all()
    assert (first_order(conductance_us, 0.0) == conductance_us).all()


def test_the_result_is_the_caller_s_own() -> None:
    conductance_us = cells(3, 3)
    effective(conductance_us, 0.0)[...] = 0.0
    effective(conductance_us, 1.0)[...] = 0.0

    assert conductance_us.min() >= 1.0


def test_a_bit_line_without_cells_carries_nothing_and_disturbs_nobody() -> None:
    conductance_us = cells(6, 5)
    conductance_us[:, 4] = 0.0
    transfer_us = effective(conductance_us, 1000.0)

    assert (transfer_us[:, 4] == 0.0).all()
    assert_near(transfer_us[:, :4], effective(conductance_us[:, :4], 1000.0), share=1e-12)
    assert (effective(np.zeros((4, 4)), 1000.0) == 0.0).all()


def test_a_cell_that_does_not_conduct_is_passed_by_sneak_currents() -> None:
    conductance_us = cells(6, 5)
    conductance_us[2, 3] = 0.0

    assert effective(conductance_us, 1000.0)[2, 3] > 0.0


@pytest.mark.parametrize("cell_us", [1e3, 1e6])
def test_cells_that_conduct_far_better_than_wires_do_no_harm(
    cell_us: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    conductance_us = cells(12, 16) * cell_us / 40.0
    expected = nodal_transfer(conductance_us, 1e6)

    assert_near(effective(conductance_us, 1e6), expected)
    monkeypatch.setattr(ir_drop, "GROWTH_MAX", 1.0)
    assert_near(effective(conductance_us, 1e6), expected)


def test_a_long_line_whose_solutions_overflow_is_inverted_as_a_whole() -> None:
    transfer_us = effective(np.full((64, 64), 1e6), 1e6)

    # As good as shorted: at the corner that both terminals share, wires alone carry the current.
    assert np.isfinite(transfer_us).all()
    assert transfer_us.argmax() == 63 * 64
    assert (transfer_us >= -1e-9).all()


def test_a_stack_is_solved_array_by_array() -> None:
    stack = np.stack([[cells(5, 8, seed) for seed in range(3)], [cells(5, 8, 9)] * 3])
    transfer_us = effective(stack, 200.0)

    assert transfer_us.shape == stack.shape
    assert transfer_us.dtype == np.float64
    assert (transfer_us[0, 2] == effective(stack[0, 2], 200.0)).all()
    assert (first_order(stack, 200.0)[1, 0] == first_order(stack[1, 0], 200.0)).all()


@pytest.mark.parametrize(
    ("segment_ohm", "lost", "left_over"), [(0.25, 0.05, 0.012), (2.0, 0.3, 0.06)]
)
def test_the_preview_takes_away_most_of_the_drop(
    segment_ohm: float, lost: float, left_over: float
) -> None:
    conductance_us = cells(128, 128)
    exact, preview = (
        effective(conductance_us, segment_ohm),
        first_order(conductance_us, segment_ohm),
    )

    assert share_lost(conductance_us, exact) == pytest.approx(lost, rel=0.15)
    assert np.linalg.norm(preview - exact) <= left_over * np.linalg.norm(conductance_us - exact)
    assert preview.dtype == np.float32


def test_the_preview_s_error_falls_with_the_square_of_the_resistance() -> None:
    conductance_us = cells(16, 16)
    errors = [
        np.abs(first_order(conductance_us, ohm) - effective(conductance_us, ohm)).max()
        for ohm in (4.0, 8.0)
    ]

    assert errors[1] == pytest.approx(4.0 * errors[0], rel=0.1)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("solve", [effective, first_order])
def test_a_conductance_that_cannot_be_is_refused_with_its_position(
    solve: Callable[[Matrix64, float], object], bad: float
) -> None:
    conductance_us = cells(4, 6)
    conductance_us[2, 5] = bad

    with pytest.raises(DeviceError, match=rf"\[2, 5\] is {bad:g} uS"):
        solve(conductance_us, 1.0)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_a_wire_that_cannot_be_is_refused(bad: float) -> None:
    with pytest.raises(DeviceError, match="segment_ohm must be 0 or more"):
        effective(cells(4, 6), bad)


def test_what_has_no_rows_and_columns_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"not the shape \(4,\)"):
        effective(np.ones(4), 1.0)
