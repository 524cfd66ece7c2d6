"""Two nodes that knock at each other on loopback, and the routers that may stand between them."""

import asyncio
from collections.abc import Sequence

from nat.candidates import CheckRate
from nat.datagrams import Address, Datagrams, bind
from nat.ice import IceAttempt
from nat.punched import PunchedPath
from nat.quic import open_quic
from protocol.paths import Candidate
from tests.nat.members import founder, member
from tests.nat.test_quic import Stream

LOOPBACK = ["127.0.0.1"]
CA = founder()
ALICE, BOB = member(CA), member(CA)


def attempt(
    *, dialled: bool, servers: tuple[Address, ...] = (), hosts: Sequence[str] = LOOPBACK
) -> IceAttempt:
    rate = CheckRate(asyncio.get_running_loop().time())
    return IceAttempt(dialled=dialled, rate=rate, peer="peer", servers=servers, hosts=hosts)


async def punched(late_s: float = 0.0) -> tuple[PunchedPath, PunchedPath]:
    near, far = attempt(dialled=True), attempt(dialled=False)
    ours, theirs = await near.gather(), await far.gather()
    return await met(near, theirs, far, ours, late_s)


async def met(
    near: IceAttempt,
    told_near: tuple[Candidate, ...],
    far: IceAttempt,
    told_far: tuple[Candidate, ...],
    late_s: float = 0.0,
) -> tuple[PunchedPath, PunchedPath]:
    async with asyncio.TaskGroup() as group:
        one = group.create_task(near.connect(far.username, far.password, told_near))
        await asyncio.sleep(late_s)
        other = group.create_task(far.connect(near.username, near.password, told_far))
    return one.result(), other.result()


async def talking(near: PunchedPath, far: PunchedPath) -> tuple[Stream, Stream]:
    async with asyncio.TaskGroup() as group:
        one = group.create_task(open_quic(near, ALICE.towards(BOB), Stream, dialled=True))
        other = group.create_task(open_quic(far, BOB.towards(ALICE), Stream, dialled=False))
    return one.result()[1], other.result()[1]


class Router:
    """A NAT between Alice, who sends to its inner address, and Bob. It forgets, drops and counts."""

    def __init__(self, bob: Address) -> None:
        self.inner = Datagrams(bind("127.0.0.1"), self._out)
        self.moved = 0
        self.alice: Address | None = None
        self._bob = bob
        self._outer = Datagrams(bind("127.0.0.1"), self._in)

    def forget(self) -> None:
        """Alice will be seen at another port from now on, and the one of before is nobody's."""
        self._outer.close()
        self._outer = Datagrams(bind("127.0.0.1"), self._in)
        self.moved += 1

    @property
    def outer(self) -> Address:
        return self._outer.local

    def close(self) -> None:
        self._outer.close()
        self.inner.close()

    def _out(self, buffer: bytes, segment: int, sender: Address) -> None:
        self.alice = sender
        self._outer.send(cut(buffer, segment), self._bob)

    def _in(self, buffer: bytes, segment: int, sender: Address) -> None:
        if self.alice is not None:
            self.inner.send(cut(buffer, segment), self.alice)


class Gate(Router):
    """A router before Bob: what is sent to him is dropped until he has spoken."""

    opened = False

    def _out(self, buffer: bytes, segment: int, sender: Address) -> None:
        if self.opened:
            super()._out(buffer, segment, sender)
        else:
            self.alice = sender

    def _in(self, buffer: bytes, segment: int, sender: Address) -> None:
        self.opened = True
        super()._in(buffer, segment, sender)


def cut(buffer: bytes, segment: int) -> list[bytes]:
    return [buffer[start : start + segment] for start in range(0, len(buffer), segment)]


async def routed() -> tuple[PunchedPath, PunchedPath, Router]:
    """Alice behind a router that Bob has not heard of."""
    near, far = attempt(dialled=True), attempt(dialled=False)
    await near.gather()
    (bob,) = await far.gather()
    router = Router((bob.host, bob.port))
    shown = Candidate(
        foundation="1",
        host=router.inner.local[0],
        port=router.inner.local[1],
        kind="srflx",
        priority=1,
    )
    one, other = await met(near, (shown,), far, ())
    return one, other, router


def count_through(router: Router, passed: list[str]) -> None:
    out, back = router.inner.on_datagrams, router._outer.on_datagrams

    def outward(buffer: bytes, segment: int, sender: Address) -> None:
        passed.extend(["out"] * len(cut(buffer, segment)))
        out(buffer, segment, sender)

    def inward(buffer: bytes, segment: int, sender: Address) -> None:
        passed.extend(["in"] * len(cut(buffer, segment)))
        back(buffer, segment, sender)

    router.inner.on_datagrams, router._outer.on_datagrams = outward, inward
