"""Bounds on what is random lie at five standard errors or more: each raises a false alarm once in a million seeds."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.chance import (
    PANEL,
    fill_normal,
    lanes,
    normal,
    normal_table,
    row_states,
    rows_of,
    stream_key,
    uniform,
    words,
)
from compute.partition import Matrix
from tests.compute.laws import far_from_normal

keys = st.integers(0, 2**64 - 1)


def splitmix(state: int) -> int:
    """SplitMix64's finaliser, word for word from the paper, in whole numbers."""
    state ^= state >> 30
    state = state * 0xBF58476D1CE4E5B9 % 2**64
    state ^= state >> 27
    state = state * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


@given(keys, st.integers(0, 2**40))
def test_words_are_those_of_splitmix(key: int, row: int) -> None:
    golden = 0x9E3779B97F4A7C15
    state = splitmix((row * golden + key) % 2**64)

    seen = words(key, rows_of(row, 1), 3)[0]

    assert seen.tolist() == [splitmix((state + step * golden) % 2**64) for step in (1, 2, 3)]


def test_the_first_word_of_splitmix_from_zero_is_the_published_one() -> None:
    assert splitmix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


@given(keys, st.integers(1, 40), st.integers(1, 40), st.data())
def test_any_cut_of_rows_and_columns_gives_the_same_values(
    key: int, rows: int, columns: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, rows - 1))
    narrow = data.draw(st.integers(1, columns))

    whole = normal(key, rows_of(0, rows), columns)

    assert np.array_equal(normal(key, rows_of(cut, rows - cut), columns), whole[cut:])
    assert np.array_equal(normal(key, rows_of(0, rows), narrow), whole[:, :narrow])


def test_many_values_are_made_in_panels_that_do_not_show() -> None:
    columns = PANEL // 8
    whole = normal(3, rows_of(0, 20), columns)

    row_by_row = [normal(3, rows_of(row, 1), columns)[0] for row in range(20)]
    given = np.empty((20, columns), np.float32)

    assert np.array_equal(whole, row_by_row)
    assert normal(3, rows_of(0, 20), columns, out=given) is given
    assert np.array_equal(given, whole)


def test_several_keys_at_once_are_each_by_itself() -> None:
    several = np.array([3, 2**63 + 1], np.uint64)
    states = row_states(several[:, None], rows_of(5, 7))
    values = np.empty((14, 9), np.float32)
    fill_normal(states.ravel(), values)

    assert np.array_equal(values[:7], normal(3, rows_of(5, 7), 9))
    assert np.array_equal(values[7:], normal(2**63 + 1, rows_of(5, 7), 9))


def test_threads_throw_the_same() -> None:
    seen: dict[int, Matrix] = {}

    def throw(row: int) -> None:
        seen[row] = normal(9, rows_of(row, 1), 5000)[0]

    threads = [threading.Thread(target=throw, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert np.array_equal([seen[row] for row in range(4)], normal(9, rows_of(0, 4), 5000))


def test_the_table_is_a_normal_law_cut_off_beyond_four_sigma() -> None:
    table = normal_table().astype(np.float64)

    assert table.mean() == pytest.approx(0.0, abs=1e-9)
    assert np.mean(table**2) == pytest.approx(1.0, abs=1e-7)
    assert np.mean(table**4) == pytest.approx(3.0, abs=2e-3)
    assert 4.3 < table.max() == -table.min() < 4.33


def test_lanes_are_even_chi_square() -> None:
    """256 bins of the high and of the low byte of a million throws: 255 +- 22.6."""
    thrown = lanes(11, rows_of(0, 1000), 1000)
    for byte in (thrown >> 8, thrown & 255):
        counts = np.bincount(byte.ravel(), minlength=256)
        chi_square = float(((counts - 3906.25) ** 2).sum() / 3906.25)
        assert abs(chi_square - 255) < 5.5 * math.sqrt(2 * 255)


def test_normal_values_keep_to_their_law_and_to_themselves() -> None:
    """Neighbours in both directions and other keys are independent."""
    values = normal(21, rows_of(0, 400), 400)
    assert not far_from_normal(values.ravel()[::4], 0.0, 1.0)

    other = normal(22, rows_of(0, 400), 400)
    pairs = [(values[1:], values[:-1]), (values[:, 1:], values[:, :-1]), (values, other)]
    for one, another in pairs:
        assert abs(np.corrcoef(one.ravel(), another.ravel())[0, 1]) < 5 / math.sqrt(one.size)


def test_uniform_values_never_meet_an_end() -> None:
    """64 bins of 200,000 throws: 63 +- 11.2."""
    values = uniform(5, rows_of(0, 200), 1000)
    assert values.min() > 0.0 and values.max() < 1.0
    counts = np.histogram(values, bins=64, range=(0.0, 1.0))[0]
    assert abs(float(((counts - 3125) ** 2).sum() / 3125) - 63) < 5.5 * math.sqrt(2 * 63)


def test_purposes_have_keys_of_their_own() -> None:
    assert stream_key(1, "a") == stream_key(1, "a")
    assert len({stream_key(1, "a"), stream_key(1, "b"), stream_key("1a"), stream_key(11, "a")}) == 4
    assert 0 <= stream_key(1) < 2**64
