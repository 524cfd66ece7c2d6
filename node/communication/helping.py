"""Pings others on behalf of members that had no answer from them (SWIM's indirect probe).

A helper says yes when the target has answered, and no when it has not for a while: so the asker knows that at least
the helper is there (Lifeguard's nack).
"""

from node.communication.paths import Paths
from node.communication.post import Post
from node.communication.probing import SEQUENCES
from node.communication.roster import Roster
from node.effects import Effect
from protocol.ids import NodeId
from protocol.members import PingFor

HELPED_MAX = 1_024
"""Pings for others under way; past it we say no at once."""
KEPT_S = 2.0
"""A late answer of the target is still passed on after our no."""


class Helping:
    """`at` says when somebody has waited long enough for an answer."""

    def __init__(self, roster: Roster, paths: Paths, post: Post) -> None:
        self.at = float("inf")
        self._roster = roster
        self._paths = paths
        self._post = post
        self._last = 0
        self._asked: dict[int, tuple[NodeId, int, float]] = {}
        """By the sequence of our ping: who asked, the sequence of that, and when to say no (or to forget it)."""
        self._refused: dict[int, None] = {}

    def asked(self, peer: NodeId, packet: PingFor, now: float, out: list[Effect]) -> None:
        if packet.target not in self._roster.members or len(self._asked) >= HELPED_MAX:
            self._post.nack(peer, packet.sequence, out)
            return
        self._last += 1
        sequence = SEQUENCES + self._last % SEQUENCES
        until = now + self._paths.timeout_s(packet.target)
        self._asked[sequence] = (peer, packet.sequence, until)
        self.at = min(self.at, until)
        self._post.ping(packet.target, sequence, out)

    def acked(self, sequence: int, out: list[Effect]) -> None:
        """The target has answered us."""
        asked = self._asked.pop(sequence, None)
        if asked is not None:
            self._refused.pop(sequence, None)
            self._post.ack(asked[0], asked[1], out)

    def tick(self, now: float, out: list[Effect]) -> None:
        for sequence in [one for one, (_, _, until) in self._asked.items() if until <= now]:
            peer, asked, _ = self._asked[sequence]
            if sequence in self._refused:
                del self._refused[sequence], self._asked[sequence]
            else:
                self._refused[sequence] = None
                self._asked[sequence] = (peer, asked, now + KEPT_S)
                self._post.nack(peer, asked, out)
        self.at = min((until for _, _, until in self._asked.values()), default=float("inf"))

    def stalled(self) -> None:
        """Whoever asked has given us up."""
        self._asked.clear()
        self._refused.clear()
        self.at = float("inf")
