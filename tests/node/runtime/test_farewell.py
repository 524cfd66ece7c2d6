"""A node that goes waits until its goodbyes are heard, and not for ever."""

import asyncio
import time

from node.runtime.farewell import FAREWELL_S, Farewell


async def test_nobody_to_tell_is_nobody_to_wait_for() -> None:
    began = time.monotonic()

    await Farewell().heard(())

    assert time.monotonic() - began < FAREWELL_S / 2


async def test_it_waits_until_the_last_goodbye_is_over_and_for_no_other_call() -> None:
    farewell = Farewell()
    waiting = asyncio.create_task(farewell.heard({1, 2}))
    await asyncio.sleep(0)

    farewell.call_over(7)
    farewell.call_over(1)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    farewell.call_over(2)

    async with asyncio.timeout(FAREWELL_S / 2):
        await waiting


async def test_who_does_not_answer_is_given_a_moment() -> None:
    began = time.monotonic()

    await Farewell().heard({1})

    assert FAREWELL_S <= time.monotonic() - began < 10 * FAREWELL_S
