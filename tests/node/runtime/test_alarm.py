"""An alarm rings at its deadline, wherever that has moved to."""

import asyncio

from node.runtime.alarm import Alarm


class Ringing:
    """Takes its deadlines from a list, a new one at each ring."""

    def __init__(self, *deadlines: float | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.rang: list[float] = []
        self.all = asyncio.Event()
        self._left = list(deadlines)
        self.alarm = Alarm(self._ring)

    def _ring(self, now: float) -> None:
        self.rang.append(now)
        self.alarm.set(self._left.pop(0) if self._left else None)
        if not self._left:
            self.all.set()


async def test_it_rings_at_its_deadline_and_once() -> None:
    ringing = Ringing(None)
    due = ringing.loop.time() + 0.0505

    ringing.alarm.set(due)
    await asyncio.wait_for(ringing.all.wait(), 5.0)
    await asyncio.sleep(0.02)

    assert len(ringing.rang) == 1
    assert ringing.rang[0] >= due - 0.002


async def test_a_deadline_that_moves_to_earlier_is_kept() -> None:
    ringing = Ringing(None)
    now = ringing.loop.time()

    ringing.alarm.set(now + 60.0)
    ringing.alarm.set(now + 0.01)

    await asyncio.wait_for(ringing.all.wait(), 5.0)


async def test_deadlines_in_the_past_ring_one_after_the_other_and_not_in_a_circle() -> None:
    now = asyncio.get_running_loop().time()
    ringing = Ringing(now - 1.0, now - 1.0, now - 1.0, now - 1.0)

    ringing.alarm.set(now - 1.0)
    ringing.alarm.set(now - 2.0)
    await asyncio.wait_for(ringing.all.wait(), 5.0)

    assert ringing.loop.time() - now >= 0.002
    ringing.alarm.set(None)


async def test_without_a_deadline_it_is_silent() -> None:
    ringing = Ringing()
    ringing.alarm.set(ringing.loop.time() + 0.01)

    ringing.alarm.set(None)
    await asyncio.sleep(0.05)

    assert ringing.rang == []
