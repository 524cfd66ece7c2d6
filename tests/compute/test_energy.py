"""What a certificate's joules hold, and what they do not."""

import pytest

from compute.analog import AnalogMatrix
from compute.energy import READ_BACK_READS, read_back
from compute.presets import PRESETS
from compute.write_verify import law_of
from tests.compute.matrices import normal

WAN = PRESETS["rram-wan2022"]
CHECK_MAC_PJ = 4.9 * 4.6
"""In float64."""
CHECK_WORDS_PJ = 2 * 50.0


@pytest.mark.parametrize("rtol", [None, 1e-1, 1e-4, 1e-6])
@pytest.mark.parametrize("transpose", [False, True])
def test_joules_are_of_arrays_arithmetic_and_check(rtol: float | None, transpose: bool) -> None:
    matrix = AnalogMatrix(normal(200, 150), WAN, seed=2)
    x = normal(6, 150 if transpose else 200, seed=3)

    answer = (matrix.rmatmul if transpose else matrix.matmul)(x, rtol)

    report, outliers = answer.report, next(iter(matrix.blocks.values())).outliers[0].count
    assert report.rows_redone == 0
    assert answer.certificate.energy_j == pytest.approx(
        report.arrays_j + report.digital_j + report.check_j
    )
    assert report.check_j == pytest.approx(1e-12 * 16 * 350 * (6 * CHECK_MAC_PJ + CHECK_WORDS_PJ))
    if answer.certificate.regime == "fast":
        assert outliers > 0 and report.digital_macs == 6 * outliers
        assert report.digital_j == pytest.approx(1e-12 * outliers * (6 * 4.6 + 1.5 * 50.0))
    assert report.arrays_j > 0.0


def test_digital_rows_pay_for_the_weights_that_they_fetch() -> None:
    matrix = AnalogMatrix(normal(64, 32), "rram-harsh", seed=2)

    answer = matrix.matmul(normal(4, 64), 1e-6)

    assert answer.certificate.regime == "digital" and answer.report.arrays_j == 0.0
    least = 1e-12 * 64 * 32 * (4 * 4.6 + 640.0)
    assert least <= answer.report.digital_j <= 5.0 * least


def test_the_read_back_reads_every_pair_by_itself() -> None:
    spent = read_back(WAN, 128, 128)

    lines, cells, conversions = 3.1, 2 * 30.0 / 128, 128 * 1.7
    each = lines + cells + conversions
    assert spent.energy_pj == pytest.approx(128 * READ_BACK_READS * each)
    assert spent.latency_ns == 128 * READ_BACK_READS * 100.0


def test_writing_is_told_by_the_matrix_and_by_no_certificate() -> None:
    matrix = AnalogMatrix(normal(128, 64), WAN, seed=2)
    (block,) = matrix.blocks.values()
    written = matrix.programming

    raw = matrix.matmul(normal(4, 128))

    back = read_back(WAN, 128, 64)
    assert written.energy_pj == pytest.approx(block.written.energy_pj + back.energy_pj)
    assert matrix.programming == written
    assert 1e-12 * written.energy_pj > 1000.0 * raw.report.arrays_j


def test_a_slice_that_a_tolerance_asks_for_is_written_once() -> None:
    matrix = AnalogMatrix(normal(128, 64), "rram-cmo-hfox-2025", seed=2)
    one = matrix.programming
    asked = normal(4, 128)

    matrix.age(3600.0)
    aged = matrix.programming
    matrix.refresh()
    refreshed = matrix.programming
    matrix.matmul(asked, 1e-4)
    worked = matrix.programming
    matrix.matmul(asked, 1e-4)

    back = read_back(matrix.device, 128, 64)
    assert aged.energy_pj - one.energy_pj == pytest.approx(back.energy_pj)
    assert refreshed.energy_pj - aged.energy_pj == pytest.approx(one.energy_pj, rel=1e-3)
    assert worked.energy_pj > refreshed.energy_pj
    assert matrix.programming == worked


def test_digits_are_written_when_they_are_first_read_and_again_after_a_refresh() -> None:
    matrix = AnalogMatrix(normal(128, 64), WAN, seed=2)
    before, asked = matrix.programming, normal(4, 128)

    regimes = [matrix.matmul(asked, 1e-5, draw=draw).certificate.regime for draw in (1, 1)]
    once = matrix.programming
    matrix.refresh()
    matrix.matmul(asked, 1e-5, draw=1)

    assert regimes == ["integer", "integer"]
    digits = once.less(before)
    assert digits.energy_pj > 64 * 128 * float(law_of(WAN).pulses[-1]) * 80.0
    both = matrix.programming.less(once).energy_pj
    assert both == pytest.approx(before.energy_pj + digits.energy_pj, rel=1e-2)
