import asyncio
import errno
import os
import socket
from typing import Any

import pytest

from nat.datagrams import SOL_UDP, Address, Datagrams, bind

IP_RECVERR = 11
"""Of Linux; Python has no name for it."""


class Ear:
    """Hears datagrams, and cuts joined ones apart."""

    def __init__(self, bound: socket.socket | None = None) -> None:
        self.heard: list[bytes] = []
        self.buffers = 0
        self.senders: set[Address] = set()
        self._arrived = asyncio.Event()
        self.bound = bind("127.0.0.1") if bound is None else bound
        self.datagrams = Datagrams(self.bound, self._came)

    def _came(self, buffer: bytes, segment: int, sender: Address) -> None:
        self.buffers += 1
        self.senders.add(sender)
        self._arrived.set()
        self.heard += [buffer[at : at + segment] for at in range(0, len(buffer), segment)]

    async def has(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.heard) < count:
                self._arrived.clear()
                await self._arrived.wait()


class Kernel(socket.socket):
    """As another kernel would have it: says `says` to so many calls that send."""

    def __init__(self, *, segments: bool = True) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.says = 0
        self.times = 0
        self.calls: list[str] = []
        self._segments = segments
        self.setblocking(False)
        self.bind(("127.0.0.1", 0))

    def setsockopt(self, *given: Any) -> None:
        if given[0] == SOL_UDP and not self._segments:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        super().setsockopt(*given)

    def sendto(self, *given: Any) -> int:
        self._refuse("one")
        return super().sendto(*given)

    def sendmsg(self, *given: Any) -> int:
        self._refuse("many")
        return super().sendmsg(*given)

    def _refuse(self, call: str) -> None:
        self.calls.append(call)
        if self.times:
            self.times -= 1
            raise OSError(self.says, os.strerror(self.says))


@pytest.mark.parametrize(
    "sizes",
    [
        [1200] * 30,
        [1200] * 100,
        [1200] * 5 + [300] + [1200] * 5,
        [100, 200, 300, 200, 100, 100],
        [1],
        [9000] * 20,
    ],
)
async def test_datagrams_arrive_as_they_were_sent(sizes: list[int]) -> None:
    one, other = Ear(), Ear()
    sent = [bytes([number % 256]) * size for number, size in enumerate(sizes)]

    assert one.datagrams.send(list(sent), other.datagrams.local) == len(sent)
    await other.has(len(sent))

    assert other.heard == sent
    assert other.senders == {one.datagrams.local}
    one.datagrams.close()
    other.datagrams.close()


async def test_many_of_one_size_come_joined() -> None:
    one, other = Ear(), Ear()

    one.datagrams.send([bytes(1200)] * 50, other.datagrams.local)
    await other.has(50)

    assert other.buffers < 10
    one.datagrams.close()
    other.datagrams.close()


async def test_a_datagram_too_large_for_any_way_is_lost_and_the_others_go() -> None:
    one, other = Ear(), Ear()

    assert one.datagrams.send([b"a", bytes(70_000), b"b"], other.datagrams.local) == 3
    await other.has(2)

    assert other.heard == [b"a", b"b"]
    assert one.datagrams.troubles == {"not sent: Message too long": 1}
    one.datagrams.close()
    other.datagrams.close()


async def test_what_a_full_socket_does_not_take_is_sent_when_there_is_room_again() -> None:
    kernel = Kernel()
    one, other = Ear(kernel), Ear()
    kernel.says, kernel.times = errno.EAGAIN, 1
    room = asyncio.Event()
    one.datagrams.on_writable = room.set

    assert one.datagrams.send([b"first"], other.datagrams.local) == 0
    assert one.datagrams.send([b"first"], other.datagrams.local) == 1
    await asyncio.wait_for(room.wait(), 5)
    await other.has(1)

    assert other.heard == [b"first"]
    assert one.datagrams.troubles == {}
    one.datagrams.close()
    other.datagrams.close()


async def test_a_full_socket_may_be_closed() -> None:
    kernel = Kernel()
    one = Ear(kernel)
    kernel.says, kernel.times = errno.ENOBUFS, 1
    one.datagrams.send([b"lost"], one.datagrams.local)

    one.datagrams.close()
    await asyncio.sleep(0)

    assert one.heard == []


async def test_a_card_that_cannot_cut_gets_each_datagram_by_itself() -> None:
    kernel = Kernel()
    one, other = Ear(kernel), Ear()
    kernel.says, kernel.times = errno.EIO, 1

    assert one.datagrams.send([bytes(1200)] * 3, other.datagrams.local) == 3
    await other.has(3)

    assert kernel.calls == ["many", "one", "one", "one"]
    assert one.datagrams.troubles == {}
    one.datagrams.close()
    other.datagrams.close()


async def test_a_kernel_that_can_neither_cut_nor_join_does_without() -> None:
    kernel = Kernel(segments=False)
    one, other = Ear(kernel), Ear()

    one.datagrams.send([bytes(1200)] * 3, other.datagrams.local)
    other.datagrams.send([bytes(1200)] * 3, one.datagrams.local)
    await asyncio.gather(other.has(3), one.has(3))

    assert kernel.calls == ["one", "one", "one"]
    assert one.buffers == 3
    one.datagrams.close()
    other.datagrams.close()


async def test_a_port_where_nobody_listens_harms_nobody() -> None:
    one, other = Ear(), Ear()
    # Else Linux keeps to itself what an unconnected socket is told by ICMP.
    one.bound.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nowhere = gone.getsockname()

    assert one.datagrams.send([b"anybody?"], nowhere) == 1
    other.datagrams.send([b"me"], one.datagrams.local)
    await one.has(1)

    assert one.datagrams.troubles == {"sent back: Connection refused": 1}
    one.datagrams.close()
    other.datagrams.close()
