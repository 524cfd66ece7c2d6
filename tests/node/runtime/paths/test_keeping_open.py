"""What a link costs whose punched path is idle: every datagram of two such minutes is counted.

Real sockets, QUIC and STUN on loopback, by a clock that runs faster than the one on the wall.
"""

import asyncio
import selectors
import time
from pathlib import Path

import pytest

from nat.datagrams import Datagrams
from nat.path_keeper import INTERVAL_S
from node.runtime.paths.punching import Puncher
from protocol.messages import Release, Taken
from protocol.paths import PathKind
from tests.node.runtime.paths.intruder import carriers
from tests.node.runtime.paths.punched_pair import Site, linked_by_punching, punched
from tests.node.runtime.relaying.small_relay import signatures
from tests.node.runtime.stations import three_members, tls_station

SPEED = 20
MINUTES = 2.0
PACKETS_PER_MINUTE_MAX = 4
"""One in 15 s."""


class FastSelector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / SPEED)


class FastLoop(asyncio.SelectorEventLoop):
    """Its seconds are shorter."""

    def __init__(self) -> None:
        super().__init__(FastSelector())

    def time(self) -> float:
        return time.monotonic() * SPEED


class Counted:
    """Datagrams that leave each end, in the order in which sockets are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: dict[int, int] = {}
        send = Datagrams.send

        def counted(one: Datagrams, datagrams: list[bytes], to: tuple[str, int]) -> int:
            self.left[one.local[1]] = self.left.get(one.local[1], 0) + len(datagrams)
            return send(one, datagrams, to)

        monkeypatch.setattr(Datagrams, "send", counted)


def test_an_idle_punched_path_costs_each_side_less_than_a_packet_in_fifteen_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = three_members(tmp_path)

    async def story() -> list[int]:
        counted = Counted(monkeypatch)
        left, right = await linked_by_punching(members)
        right.answer(lambda request: Taken())
        await left.ask(right, Release(put="p"), deadline_s=60.0).answer()
        assert carriers(left)[0].kinds == carriers(right)[0].kinds == [PathKind.PUNCHED]
        # What was said last is acknowledged by then.
        await asyncio.sleep(INTERVAL_S / 2)
        before = dict(counted.left)
        await asyncio.sleep(60.0 * MINUTES)
        cost = [counted.left[port] - nbefore for port, nbefore in before.items()]
        assert carriers(left)[0].kinds == [PathKind.PUNCHED]
        # It works as if nothing had been.
        assert isinstance(await left.ask(right, Release(put="q"), 60.0).answer(), Taken)
        for station in (left, right):
            await station.board.close("test over")
        return cost

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        cost = runner.run(story())

    assert len(cost) == 2
    assert all(
        PACKETS_PER_MINUTE_MAX / 2 <= one / MINUTES <= PACKETS_PER_MINUTE_MAX for one in cost
    ), cost


def test_a_path_that_is_there_is_kept_by_what_is_measured_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = three_members(tmp_path)[0]

    async def story() -> list[int]:
        counted, site, station = Counted(monkeypatch), Site([]), tls_station(one)
        ways = station.board.ways
        puncher = Puncher(station.id, one.membership, signatures(one), site, ways, keepalive_s=None)
        ways.make_puncher = lambda: puncher
        ways.nat_known()
        assert ways._punching is puncher
        near, far = await punched()
        puncher._keep(near)
        await asyncio.sleep(10.0)
        costs = []
        for site.measured_s in (None, 6.0):
            ways.nat_known()
            before = counted.left[near.local[1]]
            await asyncio.sleep(60.0)
            costs.append(counted.left[near.local[1]] - before)
        near.close()
        far.close()
        # Of a path that is closed nothing is left to keep.
        ways.nat_known()
        await asyncio.sleep(10.0)
        await station.board.close("test over")
        return costs

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        unmeasured, measured = runner.run(story())

    assert 2 <= unmeasured <= 4
    assert 9 <= measured <= 11
