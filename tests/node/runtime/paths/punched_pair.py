"""Two stations whose link runs over a path that was punched on loopback, and what punching asks of a node."""

import asyncio

from nat.candidates import CheckRate
from nat.endpoint import Endpoint
from nat.ice import IceAttempt
from nat.punched import PunchedPath
from nat.quic import open_quic
from node.runtime.paths.arrival import Unattached
from node.runtime.paths.dialing import Opened
from node.runtime.paths.end import PathEnd
from protocol.ids import NodeId
from protocol.paths import PathKind
from tests.nat.members import founder, member
from tests.node.runtime.relaying.small_relay import signatures
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station, tls_station


class Site:
    """Where a node is, as a test says; it knows the keys of these members."""

    def __init__(self, members: list[Member]) -> None:
        self.keys = {one.identity.id: signatures(one).key for one in members}
        self.measured_s: float | None = None
        """How often its NAT wants a mapping to be used."""

    def key_of(self, peer: NodeId) -> bytes | None:
        return self.keys.get(peer)

    def stun_servers(self) -> tuple[Endpoint, ...]:
        return ()

    def seen_at(self) -> tuple[Endpoint, ...]:
        return ()

    def keepalive_s(self) -> float | None:
        return self.measured_s


async def punched() -> tuple[PunchedPath, PunchedPath]:
    rate = CheckRate(asyncio.get_running_loop().time())
    near, far = (
        IceAttempt(dialled=dialled, rate=rate, peer="peer", hosts=["127.0.0.1"])
        for dialled in (True, False)
    )
    ours, theirs = await near.gather(), await far.gather()
    async with asyncio.TaskGroup() as group:
        one = group.create_task(near.connect(far.username, far.password, theirs))
        other = group.create_task(far.connect(near.username, near.password, ours))
    return one.result(), other.result()


async def linked_by_punching(members: list[Member]) -> tuple[Station, Station]:
    """The link begins with the punched path, and has no other."""
    left, right = (tls_station(one) for one in members[:2])
    issuer = founder()
    anna, bert = member(issuer), member(issuer)
    near, far = await punched()
    async with asyncio.TaskGroup() as group:
        opened = group.create_task(
            open_quic(
                near,
                anna.towards(bert),
                lambda: PathEnd(Unattached(), PathKind.PUNCHED),
                dialled=True,
            )
        )
        group.create_task(
            open_quic(
                far,
                bert.towards(anna),
                lambda: right.board.ways.arrival(left.id, PathKind.PUNCHED),
                dialled=False,
            )
        )
    _, end = opened.result()
    left.board.ways.open_over(Opened(end, right.id), left.board._begin)
    await left.up(right)
    await right.up(left)
    return left, right
