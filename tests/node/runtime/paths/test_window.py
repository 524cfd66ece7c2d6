"""How much may be under way grows on a path that is held up by it, and shrinks on a slow one."""

from hypothesis import given
from hypothesis import strategies as st

from node.runtime.paths.window import (
    QUICK_S,
    SLOW_S,
    WINDOW_BYTES,
    WINDOW_BYTES_MAX,
    WINDOW_BYTES_MIN,
    WINDOW_RELAY_BYTES_MAX,
    Window,
)


def turn(window: Window, took_s: float, *, full: bool) -> int:
    window.written(100, 0.0)
    if full:
        window.filled()
    window.acknowledged(100, took_s)
    return window.nbytes


def test_a_quick_path_that_is_held_up_gets_more() -> None:
    assert turn(Window(), QUICK_S / 2, full=True) == 2 * WINDOW_BYTES


def test_a_quick_path_that_is_not_held_up_keeps_what_it_has() -> None:
    assert turn(Window(), QUICK_S / 2, full=False) == WINDOW_BYTES


def test_a_path_that_is_neither_quick_nor_slow_keeps_what_it_has() -> None:
    assert turn(Window(), (QUICK_S + SLOW_S) / 2, full=True) == WINDOW_BYTES


def test_a_slow_path_gets_less_though_never_nothing() -> None:
    window = Window()

    assert turn(window, 2 * SLOW_S, full=True) == WINDOW_BYTES // 2
    for _ in range(10):
        turn(window, 2 * SLOW_S, full=True)
    assert window.nbytes == WINDOW_BYTES_MIN


def test_by_way_of_a_relay_it_stays_small_and_grows_again_on_the_next_path() -> None:
    window = Window()
    window.bound(WINDOW_RELAY_BYTES_MAX)

    assert window.nbytes == WINDOW_RELAY_BYTES_MAX
    assert turn(window, QUICK_S / 2, full=True) == WINDOW_RELAY_BYTES_MAX
    window.bound(WINDOW_BYTES_MAX)
    assert turn(window, QUICK_S / 2, full=True) == 2 * WINDOW_RELAY_BYTES_MAX


def test_only_what_was_written_when_the_clock_began_ends_the_turn() -> None:
    window = Window()
    window.written(100, 0.0)
    window.written(200, 0.1)
    window.filled()
    window.acknowledged(99, 0.1)
    assert window.nbytes == WINDOW_BYTES
    window.acknowledged(100, 0.2)
    assert window.nbytes == 2 * WINDOW_BYTES


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.booleans()), max_size=50))
def test_it_stays_within_its_bounds(turns: list[tuple[float, bool]]) -> None:
    window = Window()
    for took_s, full in turns:
        assert WINDOW_BYTES_MIN <= turn(window, took_s, full=full) <= WINDOW_BYTES_MAX
