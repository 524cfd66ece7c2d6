import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ConfigError
from protocol.quantities import duration_s, duration_text, size_bytes, size_text, tolerance


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("2GiB", 2 << 30), ("512 MiB", 512 << 20), ("1.5kb", 1500), ("7", 7), ("20gib", 20 << 30)],
)
def test_a_size_is_read_as_people_write_it(text: str, nbytes: int) -> None:
    assert size_bytes(text) == nbytes


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("500ms", 0.5), ("2m", 120.0), ("1.5 h", 5400.0), ("3", 3)]
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "GiB", "2 GiB free", "-1GiB", "1e9", "2XiB", "nan", "9999999TiB"]
)
def test_what_is_no_size_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match="GiB|PiB"):
        size_bytes(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "30 minutes", "1M", "inf"])
def test_what_is_no_duration_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match='as in "30s"'):
        duration_s(text)


def test_a_tolerance_is_a_part_of_the_answer_or_none() -> None:
    assert (tolerance("1e-2"), tolerance("0.999"), tolerance("none")) == (0.01, 0.999, None)


@pytest.mark.parametrize("text", ["0", "-0.1", "1", "2", "nan", "inf", "-inf", "", "1%", "None"])
def test_what_is_no_tolerance_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match="write a number between 0 and 1 such as 1e-2, or none"):
        tolerance(text)


@given(st.integers(0, 1 << 59))
def test_a_size_that_was_told_reads_back_within_a_percent(nbytes: int) -> None:
    assert size_bytes(size_text(nbytes)) == pytest.approx(nbytes, rel=0.01)


def test_durations_are_told_in_two_steps_at_most() -> None:
    told = [duration_text(s) for s in (0.35, 12.54, 200.0, 7260.0, 187_200.0)]

    assert told == ["350 ms", "12.5 s", "3m 20s", "2h 1m", "2d 4h"]


@given(st.text(max_size=12))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    for read in (size_bytes, duration_s):
        with contextlib.suppress(ConfigError):
            assert read(text) >= 0
