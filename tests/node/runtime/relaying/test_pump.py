"""What a pump carries between a socket and a channel, and how much it holds."""

import asyncio
import contextlib
import socket
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field

from nat.relay_wire import PAYLOAD_BYTES_MAX, WINDOW_BYTES, Data, Message, Window
from node.runtime.relaying.pump import GIVE_BYTES, Pump
from tests.node.runtime.relaying.small_relay import drained, eventually

KEY = bytes(32), 5


@dataclass(slots=True)
class Pumped:
    """`end` is the user's end of the socket; what the pump says to the relay is in `said`."""

    end: socket.socket
    pump: Pump
    said: list[Message] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    @property
    def sent_bytes(self) -> int:
        return sum(len(one.payload) for one in self.said if isinstance(one, Data))

    @property
    def given_bytes(self) -> int:
        return sum(one.nbytes for one in self.said if isinstance(one, Window))


@contextlib.contextmanager
def pumped(*, full: bool = False) -> Iterator[Pumped]:
    end, ours = socket.socketpair()
    for one in (end, ours):
        one.setblocking(False)
    said: list[Message] = []
    ended: list[str] = []
    pump = Pump(KEY, ours, said.append, lambda _, reason: ended.append(reason), full)
    try:
        yield Pumped(end, pump, said, ended)
    finally:
        end.close()
        pump.finish()


async def test_no_more_is_read_than_there_is_credit_for() -> None:
    with pumped() as one:
        sending = asyncio.create_task(
            asyncio.get_running_loop().sock_sendall(one.end, bytes(2 * WINDOW_BYTES))
        )
        await eventually(lambda: one.sent_bytes == WINDOW_BYTES)
        await asyncio.sleep(0.02)
        assert one.sent_bytes == WINDOW_BYTES

        one.pump.granted(1000)
        await eventually(lambda: one.sent_bytes == WINDOW_BYTES + 1000)
        one.pump.granted(WINDOW_BYTES - 1000)
        await eventually(lambda: one.sent_bytes == 2 * WINDOW_BYTES)
        await sending


async def test_nothing_is_read_while_the_way_out_is_full() -> None:
    with pumped(full=True) as one:
        one.end.send(b"later")
        await asyncio.sleep(0.02)
        assert one.said == []

        one.pump.set_full(False)
        await eventually(lambda: one.said == [Data(*KEY, b"later")])


async def test_credit_is_given_for_what_has_been_taken() -> None:
    with pumped() as one:
        for _ in range(WINDOW_BYTES // PAYLOAD_BYTES_MAX):
            one.pump.arrived(bytes(PAYLOAD_BYTES_MAX))
        given_bytes = one.given_bytes

        assert len(await drained(one.end, WINDOW_BYTES)) == WINDOW_BYTES
        await eventually(lambda: one.given_bytes > WINDOW_BYTES - GIVE_BYTES)
        assert given_bytes < WINDOW_BYTES
        assert one.ended == []


async def test_who_takes_more_than_was_sent_loses_the_channel() -> None:
    with pumped() as one:
        one.pump.granted(1)

        assert one.ended == ["more was taken than had been sent"]


async def test_who_sends_more_than_there_is_room_for_loses_the_channel() -> None:
    with pumped() as one:
        one.pump.arrived(bytes(WINDOW_BYTES + 1))

        assert one.ended == ["more was sent than there was room for"]


async def test_what_has_come_in_may_be_read_after_the_end() -> None:
    with pumped() as one:
        one.pump.arrived(bytes(WINDOW_BYTES))
        one.pump.finish()

        assert len(await asyncio.wait_for(drained(one.end), 5.0)) == WINDOW_BYTES


async def test_bytes_that_come_one_by_one_take_no_more_memory_than_others() -> None:
    with pumped() as one:
        one.pump.arrived(bytes(PAYLOAD_BYTES_MAX))
        tracemalloc.start()
        try:
            for _ in range(100_000):
                one.pump.arrived(bytes(1))
            held_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert held_bytes < 2 * WINDOW_BYTES
