"""Asks peers how busy they are, after a decision and never before it; and whether they are still there.

A probe asks for nothing but the load that rides on every answer. Two of them after a decision make the next one
better. A peer that works for us for long is asked now and then, too: frozen or cut off it cannot answer, while one
that is honestly at work can. So its silence is found within about a second, however long its work may take.
"""

from collections.abc import Iterable

from node.communication.desk import Desk, OnlyCalls
from node.communication.policies import Chooser
from node.effects import Call, Effect
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.ids import NodeId
from protocol.limits import PEERS_MAX
from protocol.messages import Probe, Response

ANSWER_S = 4.0
"""An answer that comes later tells nothing any more."""
QUIET_S = 0.8
"""A peer that owes us an answer for longer than this and two round trips counts as silent: a busy machine may take
half a second to find the time."""


class Asking(OnlyCalls):
    """Told who should be asked and who was heard; knows who owes an answer."""

    def __init__(self, desk: Desk, chooser: Chooser) -> None:
        self.after_decisions = 0
        """Probes, of which none was sent to see whether a peer is alive."""
        self.for_life = 0
        self._desk = desk
        self._chooser = chooser
        self._calls: dict[int, NodeId] = {}
        self._asked: dict[NodeId, int] = {}
        """Peer to the probe under way."""
        self._owes_since: dict[NodeId, float] = {}
        """Since when a peer has been silent on a probe."""
        self._heard_at: dict[NodeId, float] = {}

    def ask(self, peers: Iterable[str], now: float) -> list[Effect]:
        """For the next decision: whoever is not being asked already."""
        calls = [call for peer in peers for call in self._probe(NodeId(peer), now)]
        self.after_decisions += len(calls)
        return calls

    def see_to(self, peer: NodeId, now: float) -> list[Effect]:
        """Find out whether it is alive."""
        calls = self._probe(peer, now)
        self.for_life += len(calls)
        return calls

    def heard(self, peer: NodeId, now: float) -> None:
        """Any answer is a sign of life."""
        self._owes_since.pop(peer, None)
        self._heard_at.pop(peer, None)
        self._heard_at[peer] = now
        if len(self._heard_at) > PEERS_MAX:
            del self._heard_at[next(iter(self._heard_at))]

    def lost(self, peer: NodeId) -> None:
        """There is no link to it any more, or a new one: what it owed on the old one will not come."""
        self._owes_since.pop(peer, None)
        if (call := self._asked.pop(peer, None)) is not None:
            del self._calls[call]
            self._desk.forget(call)

    def heard_at(self, peer: NodeId) -> float:
        return self._heard_at.get(peer, float("-inf"))

    def silent_s(self, peer: str, rtt_s: float, now: float) -> float:
        """How long it has owed us an answer, if that is too long; else 0."""
        since = self._owes_since.get(NodeId(peer), now)
        return now - since if now > self.silent_at(peer, rtt_s, now) else 0.0

    def silent_at(self, peer: str, rtt_s: float, now: float) -> float:
        """When it counts as silent, if it goes on owing us an answer."""
        return self._owes_since.get(NodeId(peer), now) + QUIET_S + 2 * rtt_s

    # -- what happens --------------------------------------------------------------------------------

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        self._over(call)
        self.heard(peer, now)
        self._chooser.probed(peer, load, now)
        return []

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        # Out of time, or without a link: it goes on owing us a sign until it is heard or its link is lost.
        self._over(call)
        return []

    # -- within --------------------------------------------------------------------------------------

    def _probe(self, peer: NodeId, now: float) -> list[Effect]:
        if peer in self._asked:
            return []
        call = self._desk.number(self)
        self._calls[call] = peer
        self._asked[peer] = call
        self._owes_since.setdefault(peer, now)
        return [Call(call, peer, Probe(), deadline_s=ANSWER_S)]

    def _over(self, call: int) -> None:
        del self._asked[self._calls.pop(call)]
