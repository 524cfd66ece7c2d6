"""By way of whichever relay has the peer, and without long waiting for one that has not."""

import asyncio
import contextlib
import socket
from asyncio import FIRST_COMPLETED

import pytest

from node.runtime.paths import by_relays as module
from node.runtime.paths.arrival import Unattached
from node.runtime.paths.by_relays import by_relays
from node.runtime.paths.dialing import Opened
from node.runtime.paths.end import PathEnd
from node.runtime.relaying.channels import PeerAbsent
from protocol.ids import NodeId
from protocol.paths import PathKind

GOOD, ALSO_GOOD, ABSENT, MUTE = (NodeId(name) for name in ("good", "good too", "absent", "mute"))


class Relays:
    """Real sockets stand for channels; far ends are kept."""

    def __init__(self) -> None:
        self.asked: list[NodeId] = []
        self.given_up: list[NodeId] = []
        self.far: dict[NodeId, socket.socket] = {}

    async def open(self, relay: NodeId) -> Opened:
        self.asked.append(relay)
        if relay == ABSENT:
            raise PeerAbsent("it is no guest of this relay")
        if relay == MUTE:
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up.append(relay)
        near, self.far[relay] = socket.socketpair()
        near.setblocking(False)
        self.far[relay].setblocking(False)
        _, end = await asyncio.get_running_loop().create_unix_connection(
            lambda: PathEnd(Unattached(), PathKind.RELAY), sock=near
        )
        return Opened(end, NodeId("peer"))

    def close(self) -> None:
        for far in self.far.values():
            far.close()


async def test_the_first_relay_that_has_the_peer_is_the_only_one_that_is_used() -> None:
    with contextlib.closing(Relays()) as relays:
        opened, failures = await by_relays(relays.open, [GOOD, ALSO_GOOD])

        assert opened is not None and failures == {}
        assert relays.asked == [GOOD]
        opened.end.abort()


async def test_one_that_is_wrong_about_its_guest_is_not_waited_for() -> None:
    with contextlib.closing(Relays()) as relays:
        async with asyncio.timeout(10 * module.STAGGER_S):
            opened, _ = await by_relays(relays.open, [MUTE, GOOD])

        assert opened is not None
        assert relays.given_up == [MUTE]
        opened.end.abort()


async def test_after_a_refusal_the_next_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STAGGER_S", 60.0)
    with contextlib.closing(Relays()) as relays:
        async with asyncio.timeout(5.0):
            opened, failures = await by_relays(relays.open, [ABSENT, GOOD])

        assert opened is not None
        assert [(relay, type(wrong)) for relay, wrong in failures.items()] == [(ABSENT, PeerAbsent)]
        opened.end.abort()


async def test_one_to_which_the_peer_comes_back_meanwhile_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A router has forgotten the peer: one relay knows it, the other takes it for its guest still."""
    monkeypatch.setattr(module, "STAGGER_S", 0.01)
    refusals = 3
    with contextlib.closing(Relays()) as relays:

        async def comes_back(relay: NodeId) -> Opened:
            back = relays.asked.count(ABSENT) >= refusals
            return await relays.open(GOOD if back and relay == ABSENT else relay)

        async with asyncio.timeout(5.0):
            opened, failures = await by_relays(comes_back, [MUTE, ABSENT])

        assert opened is not None and failures == {}
        assert relays.asked == [MUTE, *[ABSENT] * refusals, GOOD]
        assert relays.given_up == [MUTE]
        opened.end.abort()


async def test_where_none_has_the_peer_each_says_why() -> None:
    opened, failures = await by_relays(Relays().open, [ABSENT])

    assert opened is None
    assert list(failures) == [ABSENT]
    assert await by_relays(Relays().open, []) == (None, {})


async def test_of_two_that_come_at_the_same_moment_one_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both, came = asyncio.Event(), list[NodeId]()
    monkeypatch.setattr(module, "STAGGER_S", 0.0)
    with contextlib.closing(Relays()) as relays:

        async def at_once(relay: NodeId) -> Opened:
            opened = await relays.open(relay)
            came.append(relay)
            if len(came) == 2:
                both.set()
            await both.wait()
            return opened

        opened, _ = await by_relays(at_once, [GOOD, ALSO_GOOD])
        assert opened is not None

        loop = asyncio.get_running_loop()
        ends = [loop.create_task(loop.sock_recv(far, 1)) for far in relays.far.values()]
        ended, open_still = await asyncio.wait(ends, timeout=5.0, return_when=FIRST_COMPLETED)
        assert [one.result() for one in ended] == [b""]
        opened.end.abort()
        assert [await one for one in open_still] == [b""]


async def test_whoever_gives_up_leaves_nothing_under_way() -> None:
    with contextlib.closing(Relays()) as relays:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await by_relays(relays.open, [MUTE])

        assert relays.given_up == [MUTE]
