"""Slices grow where they leave quickly, within what a frame can hold, and shrink where they do not."""

from node.runtime.pace import QUICK_S, Pace
from protocol.limits import BODY_BYTES_MAX, SLICE_BYTES

SLOW_S = 2 * QUICK_S


def after(pace: Pace, *took_s: float) -> int:
    for seconds in took_s:
        pace.handed_over(now=7.0)
        pace.left(now=7.0 + seconds)
    return pace.slice_bytes


def test_slices_that_leave_quickly_grow_up_to_a_frame() -> None:
    assert after(Pace(), 0.0) == 2 * SLICE_BYTES
    assert after(Pace(), *[0.0] * 10) == BODY_BYTES_MAX


def test_slices_that_leave_slowly_shrink_to_where_they_began() -> None:
    assert after(Pace(), 0.0, 0.0, SLOW_S) == 2 * SLICE_BYTES
    assert after(Pace(), 0.0, SLOW_S, SLOW_S, SLOW_S) == SLICE_BYTES


def test_a_link_may_set_its_own_bound() -> None:
    pace = Pace()
    pace.slice_bytes_max = SLICE_BYTES

    assert after(pace, 0.0, 0.0) == SLICE_BYTES
