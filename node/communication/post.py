"""Puts news on packets, and sends each by the way that passes: UDP, or the link where UDP does not.

Whatever is said to a member that is suspected or buried begins with that news: only it can deny it, and the sooner it
hears of it the better (Lifeguard's buddy system).
"""

from collections.abc import Sequence

from node.communication.desk import Desk, Waiter
from node.communication.own_member import OwnMember
from node.communication.paths import Paths
from node.communication.roster import Roster
from node.communication.rumours import ROOM_BYTES, Rumours, news_bytes
from node.effects import Call, Effect, SendPacket
from protocol.ids import NodeId
from protocol.limits import NEWS_PER_PACKET_MAX
from protocol.members import Ack, Gossip, Nack, News, Packet, Ping, PingFor
from protocol.messages import Carry

CARRY_S = 5.0
"""The longest that a packet by the link may take: later it would say nothing any more."""
CARRIED_MAX = 512
"""Packets on links and not answered yet; past it further ones are dropped, as UDP would."""


class Post:
    """What leaves this node about membership."""

    __slots__ = ("_carried", "_desk", "_own", "_paths", "_roster", "_waiter", "rumours")

    def __init__(
        self, own: OwnMember, roster: Roster, paths: Paths, desk: Desk, waiter: Waiter
    ) -> None:
        self.rumours = Rumours()
        self._own = own
        self._roster = roster
        self._paths = paths
        self._desk = desk
        self._waiter = waiter
        self._carried: dict[int, int | None] = {}
        """Calls that carry a packet, each with the sequence if that is a ping."""

    # -- packets -------------------------------------------------------------------------------------

    def ping(self, peer: NodeId, sequence: int, out: list[Effect]) -> None:
        """By UDP."""
        record = self._roster.record(peer)
        # Forgotten in the meantime: there is nobody to ask.
        if record is not None:
            out.append(SendPacket(peer, record.addresses, Ping(sequence, self._news(peer))))

    def ping_by_link(
        self, peer: NodeId, sequence: int, deadline_s: float, out: list[Effect]
    ) -> None:
        """Its answer is that the call is answered."""
        self._carry(peer, Ping(sequence, self._news(peer)), deadline_s, sequence, out)

    def ack(
        self, peer: NodeId, sequence: int, out: list[Effect], first: Sequence[News] = ()
    ) -> None:
        self._send(peer, Ack(sequence, self._news(peer, first)), out)

    def nack(self, peer: NodeId, sequence: int, out: list[Effect]) -> None:
        self._send(peer, Nack(sequence, self._news(peer)), out)

    def ping_for(self, helper: NodeId, sequence: int, target: NodeId, out: list[Effect]) -> None:
        self._send(helper, PingFor(sequence, target, self._news(helper)), out)

    def gossip(self, peer: NodeId, out: list[Effect], first: Sequence[News] = ()) -> None:
        if news := self._news(peer, first):
            self._send(peer, Gossip(news), out)

    def introduce(self, peer: NodeId, out: list[Effect]) -> None:
        """Over a new link: our own record, and what the peer must be told of itself."""
        self._carry(peer, Gossip(self._news(peer, (self._own.news,))), CARRY_S, None, out)

    # -- calls ---------------------------------------------------------------------------------------

    def settle(self, call: int) -> int | None:
        """A call has come to its end: the sequence of the ping that it carried."""
        return self._carried.pop(call, None)

    # -- within --------------------------------------------------------------------------------------

    def _news(self, peer: NodeId, first: Sequence[News] = ()) -> tuple[News, ...]:
        roster = self._roster
        usual = peer in roster.members and peer not in roster.suspicions
        if usual and not first and not self.rumours.nbytes:
            return ()
        news: list[News] = []
        room = ROOM_BYTES
        if not usual:
            first = [*self._due(peer, first), *first]
        for one in first:
            size = news_bytes(one)
            if size <= room:
                news.append(one)
                room -= size
        nodes = len(roster.members) + 1
        news += self.rumours.take(room, NEWS_PER_PACKET_MAX - len(news), nodes)
        return tuple(news)

    def _due(self, peer: NodeId, first: Sequence[News]) -> list[News]:
        bad = self._roster.bad_news(peer)
        due: list[News] = [] if bad is None else [bad]
        ours = self._own.news
        if peer not in self._roster.members and ours not in first:
            # It may have buried us, or never have heard of us.
            due.append(ours)
        return due

    def _send(self, peer: NodeId, packet: Packet, out: list[Effect]) -> None:
        record = self._roster.record(peer)
        if record is None or self._paths.takes_link(peer):
            self._carry(peer, packet, CARRY_S, None, out)
        else:
            out.append(SendPacket(peer, record.addresses, packet))

    def _carry(
        self, peer: NodeId, packet: Packet, deadline_s: float, ping: int | None, out: list[Effect]
    ) -> None:
        if len(self._carried) >= CARRIED_MAX:
            return
        call = self._desk.number(self._waiter)
        self._carried[call] = ping
        out.append(Call(call, peer, Carry(packet=packet), deadline_s))
