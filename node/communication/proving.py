"""Whether this node is public: it asks other members to dial it back, one after another, until one has come in.

A round asks a few members, public ones first. A new round begins every ten minutes and when a new address comes to
light; if nobody came in, or nobody could be asked, also when the next member is linked. A proof is lost only if
somebody has tried and did not come in.
"""

import random
from collections.abc import Callable
from typing import Protocol

from nat.stun import TRANSACTION_BYTES
from node.effects import Call, Note, note
from protocol.digests import NodeRecord, Public
from protocol.ids import NodeId, short
from protocol.messages import DialBack, DialedBack, Knock

PERIOD_S = 600.0
"""Between two looks at what is known already."""
JITTER = 0.1
PROVERS_MAX = 3
"""Asked in one round, until one has come in by TCP and UDP."""
PROVE_S = 6.0
"""What the asked node may take: it waits 3 s for an address that does not answer."""
SOON_S = 0.25
"""After a new link."""
NEVER = float("inf")


class Peers(Protocol):
    """Who is there."""

    @property
    def linked(self) -> list[NodeId]: ...

    def record(self, peer: NodeId) -> NodeRecord | None: ...

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]: ...


def public_of(peers: Peers) -> list[NodeId]:
    """Those that are linked and say that others come in by UDP too."""
    return [
        peer
        for peer in peers.linked
        if (record := peers.record(peer)) is not None and record.public is Public.BOTH
    ]


class Proving:
    """`at` says when the next round is due; `candidates` are the addresses that are to be proven."""

    def __init__(self, peers: Peers, number: Callable[[], int], dice: random.Random) -> None:
        self.at = NEVER
        self.candidates: tuple[str, ...] = ()
        self.proven: tuple[str, ...] = ()
        self.udp = False
        self._peers = peers
        self._number = number
        self._dice = dice
        self._call: int | None = None
        """Under way."""
        self._asked: list[NodeId] = []
        """In this round or the last one, as is all that follows."""
        self._tried: set[str] = set()
        self._came: set[str] = set()
        self._missed = False
        """Somebody has tried, and did not come in."""
        self._tokens: set[bytes] = set()
        self._sent = False
        """Somebody has sent a packet that was asked for."""
        self._knocked = False
        """One has come in."""

    # -- what happens --------------------------------------------------------------------------------

    def linked(self, now: float) -> None:
        if self.at == NEVER and (self.candidates or self.proven):
            # All that were there have been asked in vain, or nobody was when it was time; here is one more.
            self.at = now + SOON_S

    def looked(self, now: float) -> None:
        """Time has passed: if no round ever had anybody to ask, perhaps one has now."""
        if self.at == NEVER and not self._asked and self.candidates:
            self.at = now

    def try_new(self, now: float) -> None:
        """Addresses may have come to light."""
        if self._call is None and self._untried():
            self.at = now

    def knocked(self, token: bytes) -> bool:
        """A packet has come in; whether it is one that we wait for."""
        if token not in self._tokens:
            return False
        self.udp = self._knocked = True
        return True

    def begin(self, now: float) -> list[Call | Note]:
        self.at = NEVER
        if self._call is not None:
            return []
        if self.proven and not self._peers.linked:
            # Nobody is there to say otherwise: whoever is linked next is asked.
            return []
        self._asked, self._came, self._tokens, self._tried = [], set(), set(), set()
        self._knocked = self._sent = self._missed = False
        if not self.candidates:
            self.proven, self.udp = (), False
            return []
        return self._next(now)

    def answered(self, call: int, response: DialedBack, now: float) -> list[Call | Note]:
        if call != self._call:
            return []
        self._missed = self._missed or bool(response.missed)
        self._sent = self._sent or bool(response.sent)
        self._came.update(one for one in response.reached if one in self.candidates)
        return self._next(now)

    def failed(self, call: int, now: float) -> list[Call | Note]:
        """It cannot be asked, or does not know what we ask for."""
        return self._next(now) if call == self._call else []

    # -- within --------------------------------------------------------------------------------------

    def _untried(self) -> bool:
        return not self._tried.issuperset(self.candidates)

    def _next(self, now: float) -> list[Call | Note]:
        self._call = None
        if self._came:
            self.proven = tuple(one for one in self.candidates if one in self._came)
        left = [peer for peer in self._peers.linked if peer not in self._asked]
        if (self._came and self._knocked) or not left or len(self._asked) == PROVERS_MAX:
            return self._end(now, exhausted=not left)
        public = [peer for peer in public_of(self._peers) if peer in left]
        return [self._ask(self._dice.choice(public or left))]

    def _ask(self, prover: NodeId) -> Call:
        self._asked.append(prover)
        self._tried.update(self.candidates)
        knocks = tuple(
            Knock(one, self._dice.randbytes(TRANSACTION_BYTES), alternate=True)
            for one in self.candidates
        )
        self._tokens.update(one.token for one in knocks)
        self._call = self._number()
        return Call(self._call, prover, DialBack(addresses=self.candidates, knocks=knocks), PROVE_S)

    def _end(self, now: float, *, exhausted: bool) -> list[Call | Note]:
        before = self.proven
        if self._sent or self._knocked:
            self.udp = self._knocked
        if self._missed and not self._came:
            self.proven, self.udp = (), self._knocked
        self.at = now + self._period_s()
        if exhausted and not self.proven and len(self._asked) < PROVERS_MAX:
            # Whoever is linked next is asked at once.
            self.at = NEVER
        if self._asked and self._untried():
            self.at = now
        if self._came:
            return [note("node.public", at=self.proven, by=short(self._asked[-1]), udp=self.udp)]
        return [note("node.not_public", was=before)] if before and not self.proven else []

    def _period_s(self) -> float:
        return PERIOD_S * self._dice.uniform(1 - JITTER, 1 + JITTER)
