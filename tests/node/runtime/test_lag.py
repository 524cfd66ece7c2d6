"""What holds up the loop shows, and is forgotten after a while."""

import asyncio
import time

from node.runtime.lag import WINDOW_S, Lag, Lateness


def test_the_worst_delay_is_of_this_window_and_the_one_before() -> None:
    late = Lateness(now=0.0)
    late.noted(0.3, now=1.0)
    late.noted(0.1, now=WINDOW_S + 1.0)

    assert late.worst_s(now=WINDOW_S + 2.0) == 0.3
    assert late.worst_s(now=2 * WINDOW_S + 2.0) == 0.1
    assert late.worst_s(now=3 * WINDOW_S + 3.0) == 0.0


def test_after_a_long_silence_nothing_of_before_is_told() -> None:
    late = Lateness(now=0.0)
    late.noted(0.3, now=1.0)

    assert late.worst_s(now=10 * WINDOW_S) == 0.0


def test_sum_and_number_grow_for_ever() -> None:
    late = Lateness(now=0.0)
    for moment in range(4):
        late.noted(0.25, now=moment * WINDOW_S)

    assert (late.sum_s, late.count) == (1.0, 4)


def test_a_timer_that_comes_early_is_not_late() -> None:
    late = Lateness(now=0.0)
    late.noted(-0.001, now=1.0)

    assert (late.sum_s, late.count, late.worst_s(now=1.0)) == (0.0, 1, 0.0)


async def test_whoever_holds_up_the_loop_shows() -> None:
    lag = Lag(period_s=0.01)
    await asyncio.sleep(0.03)
    time.sleep(0.05)  # noqa: ASYNC251
    await asyncio.sleep(0.01)
    lag.stop()

    assert lag.lateness.count >= 2
    assert 0.03 < lag.worst_s <= lag.lateness.sum_s
