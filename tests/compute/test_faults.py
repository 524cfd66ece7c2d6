import msgspec
import numpy as np

from compute.chance import rows_of
from compute.device import DeviceModel, Faults, ReadNoise
from compute.faults import draw, march, march_error_rate
from compute.presets import PRESETS
from tests.compute.laws import far_from_share

HARSH = PRESETS["rram-harsh"]
ROWS = rows_of(0, 256)


def with_faults(low: float, high: float, noise: float = 0.0) -> DeviceModel:
    """On the ideal device."""
    faults, reading = Faults(stuck_low=low, stuck_high=high), ReadNoise(constant=noise)
    return DeviceModel(name="x", faults=faults, reading=reading)


def test_a_device_without_faults_has_none() -> None:
    assert draw(PRESETS["rram-wan2022"], 1, ROWS, 64) is None
    assert march(None, PRESETS["rram-wan2022"], 1, ROWS) is None


def test_as_many_cells_are_stuck_as_the_device_says() -> None:
    stuck = draw(HARSH, 1, ROWS, 1001)
    assert stuck is not None and stuck.shape == (2, 256, 1001)

    assert not far_from_share(int(np.count_nonzero(stuck < 0)), stuck.size, 0.0175)
    assert not far_from_share(int(np.count_nonzero(stuck > 0)), stuck.size, 0.0904)


def test_all_cells_may_be_stuck() -> None:
    low, high = draw(with_faults(1.0, 0.0), 1, ROWS, 9), draw(with_faults(0.0, 1.0), 1, ROWS, 9)

    assert low is not None and (low == -1).all()
    assert high is not None and (high == 1).all()


def test_a_cell_is_stuck_for_life_whatever_rows_are_asked_for() -> None:
    whole, part = draw(HARSH, 3, ROWS, 77), draw(HARSH, 3, ROWS[100:130], 77)

    assert whole is not None and part is not None
    assert (whole[:, 100:130] == part).all()


def test_other_cells_have_other_faults() -> None:
    one, other = draw(HARSH, 3, ROWS, 77), draw(HARSH, 4, ROWS, 77)

    assert one is not None and other is not None
    assert (one != other).any()
    assert (one[0] != one[1]).any()


def test_a_march_finds_the_stuck_cells_of_a_real_device_and_no_others() -> None:
    stuck = draw(HARSH, 1, ROWS, 512)
    found = march(stuck, HARSH, 2, ROWS)

    assert stuck is not None and found is not None and found is not stuck
    assert (found == stuck).all()
    assert march_error_rate(HARSH) < 1e-12


def test_a_noisy_march_errs_at_the_rate_it_states() -> None:
    noisy = with_faults(0.05, 0.05, noise=0.25)  # the middle is two standard deviations away
    stuck = draw(noisy, 1, ROWS, 1024)
    found = march(stuck, noisy, 2, ROWS)
    assert stuck is not None and found is not None

    sound = stuck == 0
    invented = int(np.count_nonzero(found[sound]))
    assert not far_from_share(invented, int(sound.sum()), march_error_rate(noisy))
    # Q(2): one of the two readings decides whether a stuck cell is seen.
    for kind in (-1, 1):
        there = stuck == kind
        seen = int(np.count_nonzero(found[there] == kind))
        hidden = int(there.sum()) - seen
        one_reading = 0.0227501
        other = (
            0.0 if kind == -1 else one_reading
        )  # the later reading can overrule a stuck-high one
        share = one_reading + other - one_reading * other
        assert not far_from_share(hidden, int(there.sum()), share)


def test_cells_written_and_made_badly_are_taken_for_stuck_more_often() -> None:
    noisy = with_faults(0.05, 0.05, noise=0.2)
    unlike = msgspec.structs.replace(
        noisy, variation=msgspec.structs.replace(noisy.variation, ceiling=0.2)
    )
    written = msgspec.structs.replace(
        noisy, writing=msgspec.structs.replace(noisy.writing, sigma_us=(20.0,))
    )

    assert march_error_rate(unlike) > 2.0 * march_error_rate(noisy)
    assert march_error_rate(written) > 5.0 * march_error_rate(noisy)


def test_a_noisy_march_is_the_same_for_any_cut_of_the_rows() -> None:
    noisy = with_faults(0.05, 0.05, noise=0.25)
    stuck = draw(noisy, 1, ROWS, 33)
    assert stuck is not None

    whole, part = march(stuck, noisy, 2, ROWS), march(stuck[:, 50:60], noisy, 2, ROWS[50:60])
    assert whole is not None and part is not None
    assert (whole[:, 50:60] == part).all()
