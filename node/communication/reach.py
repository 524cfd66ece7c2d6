"""How others get to this node: what NAT is in front of it, and whether it is public.

Two public members that are linked are asked from where they see us, soon after they are found, again every ten minutes
and when this machine's network changes; `nat/probe.py` does that. That we are public ourselves nobody believes before
another node has dialled us back, at an address that means the same host for everybody: so others are asked to, one
after another, until one has come in. Where all our addresses are names or lead no further than this machine, as in a
simulation, there is nothing to find out, and this machine stays silent.
"""

import random
from dataclasses import dataclass
from typing import Protocol

from nat.behaviour import NatClass, SelfKnowledge
from nat.classes import Classes
from nat.endpoint import Endpoint, Scope, endpoint_of, scope
from nat.favours import Favours
from nat.findings import summary
from nat.stun import TRANSACTION_BYTES
from node.communication.desk import Desk, OnlyCalls
from node.effects import Call, DialOut, Effect, ProbeNat, Reply, note
from protocol.digests import LoadDigest, NodeRecord, Public
from protocol.errors import ErrorInfo
from protocol.ids import NodeId, short
from protocol.limits import DIAL_BACK_MAX
from protocol.messages import DialBack, DialedBack, Knock, Response

LOOK_FIRST_S = 0.25
"""After a new link, until the records of who is there have come over it; then twice as long each time."""
LOOK_MAX_S = 8.0
PERIOD_S = 600.0
"""Between two looks at what is known already."""
JITTER = 0.1
LINKS_BACK_S = 15.0
"""So long after the network has changed links stand again, by which packets are asked for: we look once more."""
BLOCKED_AGAIN_S = 60.0
QUIET_S = 60.0
"""Changes that leave our addresses as they are: containers come and go, routers renew what they have given."""
SERVERS_MAX = 4
PROVERS_MAX = 3
"""Asked in one round to dial us back, until one has come in by TCP and UDP."""
PROVE_S = 6.0
"""What the asked node may take: it waits 3 s for an address that does not answer."""
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class NatKnown:
    """Answers `ProbeNat`, each time that more is known."""

    knowledge: SelfKnowledge


@dataclass(frozen=True, slots=True)
class Knocked:
    """A packet that another node was asked to send has come in."""

    token: bytes


@dataclass(frozen=True, slots=True)
class DialedOut:
    """Answers `DialOut`."""

    request: int
    outcome: DialedBack


@dataclass(frozen=True, slots=True)
class Relocated:
    """This machine's network has changed; where the node listens now."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HomesAre:
    """Answers `KeepRelays`: by way of these others reach us now, the nearest first."""

    homes: tuple[NodeId, ...]


Fact = NatKnown | Knocked | DialedOut | Relocated


class Peers(Protocol):
    """Who is there."""

    @property
    def linked(self) -> list[NodeId]: ...

    def record(self, peer: NodeId) -> NodeRecord | None: ...

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]: ...


class Reach(OnlyCalls):
    """`knowledge` is what was found; `proven` the addresses at which another node has come in."""

    def __init__(self, peers: Peers, desk: Desk, dice: random.Random) -> None:
        self.deadline: float | None = None
        self.knowledge = SelfKnowledge()
        self.classes = Classes()
        """What the others are told of it."""
        self.proven: tuple[str, ...] = ()
        self.udp = False
        """Packets come in there too, from a port to which we have sent nothing."""
        self.servers_at: tuple[Endpoint, ...] = ()
        """Where public members answer those who ask from where they are seen."""
        self.news = False
        """What we say of ourselves may be different now; whoever says it asks, and resets this."""
        self.favours: Favours | None = None
        """Once somebody has asked for one."""
        self._peers = peers
        self._desk = desk
        self._dice = dice
        self._listens: tuple[str, ...] = ()
        self._look_at = self._probe_at = self._again_at = self._prove_at = NEVER
        self._look_s = LOOK_FIRST_S
        self._relocated_at = -QUIET_S
        self._servers: tuple[NodeId, ...] = ()
        """That were asked last."""
        self._asked: list[NodeId] = []
        """To dial us back, in this round."""
        self._requests: set[int] = set()
        """Of others, which are being seen to."""
        self._call: int | None = None
        self._came: set[str] = set()
        self._tried: set[str] = set()
        self._tokens: set[bytes] = set()
        self._knocked = False
        self._missed = False
        """Somebody has tried, and did not come in."""

    @property
    def public(self) -> Public:
        if not self.proven:
            return Public.NO
        return Public.BOTH if self.udp else Public.TCP

    @property
    def summary(self) -> str:
        """In one line; empty where there is nothing to find out."""
        if not leads_somewhere(self._listens):
            return ""
        return summary(self.knowledge, self.proven, udp=self.udp)

    # -- what happens --------------------------------------------------------------------------------

    def introduced(self, addresses: tuple[str, ...], now: float) -> None:
        """Where the node listens."""
        self._listens = addresses
        self._look_soon(now)

    def linked(self, peer: NodeId, now: float) -> None:
        self._look_soon(now)
        if not self.proven and self._prove_at == NEVER and self._candidates():
            # All that were there have been asked in vain; here is one more.
            self._prove_at = now + LOOK_FIRST_S

    def learn(self, fact: Fact, now: float) -> list[Effect]:
        match fact:
            case NatKnown(knowledge=knowledge):
                return self._known(knowledge, now)
            case Knocked(token=token):
                if token in self._tokens:
                    self.udp = self._knocked = self.news = True
                return []
            case DialedOut(request=request, outcome=outcome):
                if request not in self._requests:
                    return []
                self._requests.discard(request)
                return [Reply(request, outcome)]
            case Relocated(addresses=addresses):
                if addresses == self._listens and now < self._relocated_at + QUIET_S:
                    return []
                self._relocated_at = now
                self.classes = Classes()
                self.introduced(addresses, now)
                self.news = True
                self._servers = ()
                self._again_at = self._prove_at = now + LINKS_BACK_S
                self._rearm()
                return [note("network.changed", addresses=addresses)]

    def asked(
        self, request: int, peer: NodeId, asked: DialBack, own: tuple[str, ...], now: float
    ) -> list[Effect]:
        """A member wants to be dialled back."""
        if self.favours is None:
            self.favours = Favours(now)
        # Behind the same router its hairpin would lead us in where nobody else comes.
        ours = (*own, *map(str, self._seen_at()))
        addresses, knocks = self.favours.granted(peer, asked, ours, now)
        if not addresses and not knocks:
            return [Reply(request, DialedBack())]
        self._requests.add(request)
        return [DialOut(request, peer, addresses, knocks)]

    def request_gone(self, request: int) -> None:
        """Who wanted to be dialled back does not wait for the answer any more."""
        self._requests.discard(request)

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        assert isinstance(response, DialedBack)
        if call != self._call:
            return []
        self._missed = self._missed or bool(response.missed)
        self._came.update(one for one in response.reached if one in self._candidates())
        return self._next_prover(now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._next_prover(now) if call == self._call else []

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        effects: list[Effect] = []
        if now >= self._look_at:
            self._look(now)
        if now >= min(self._probe_at, self._again_at):
            effects += self._probe(now)
        if now >= self._prove_at:
            effects += self._begin_round(now)
        self._rearm()
        return effects

    def _seen_at(self) -> list[Endpoint]:
        families = (self.knowledge.ipv4, self.knowledge.ipv6)
        return [one for family in families if family is not None for one in family.mapped]

    # -- whom to ask from where we are seen ----------------------------------------------------------

    def _look_soon(self, now: float) -> None:
        if not leads_somewhere(self._listens):
            self._look_at = self._probe_at = self._prove_at = NEVER
        else:
            self._look_s = LOOK_FIRST_S
            self._look_at = now + LOOK_FIRST_S
        self._rearm()

    def _look(self, now: float) -> None:
        """Whether there are more public members than were asked last, and whether there is something to prove."""
        if len(self._public()) > len(self._servers) < 2:
            self._probe_at = now
        if self._prove_at == NEVER and not self._asked and self._candidates():
            self._prove_at = now
        self._look_s = min(2 * self._look_s, LOOK_MAX_S)
        self._look_at = now + self._look_s

    def _public(self) -> list[NodeId]:
        return [
            peer
            for peer in self._peers.linked
            if (record := self._peers.record(peer)) is not None and record.public is Public.BOTH
        ]

    def _probe(self, now: float) -> list[Effect]:
        if now >= self._again_at:
            self._again_at = NEVER
        public = self._public()
        chosen = self._dice.sample(public, min(len(public), SERVERS_MAX))
        servers = [(peer, _global(self._peers.addresses_of(peer))) for peer in chosen]
        servers = [one for one in servers if one[1]]
        self._servers = tuple(peer for peer, _ in servers)
        found = (endpoint_of(one) for _, addresses in servers for one in addresses)
        self.servers_at = tuple(endpoint for endpoint in found if endpoint is not None)
        self._probe_at = now + self._period_s() if servers else NEVER
        return [ProbeNat(tuple(servers))] if servers else []

    def _known(self, knowledge: SelfKnowledge, now: float) -> list[Effect]:
        before, self.knowledge = self.knowledge, knowledge
        told, self.classes = self.classes, self.classes.after(knowledge)
        self.news = self.news or self.classes != told
        if NatClass.BLOCKED.value in _kinds(knowledge).values():
            # Perhaps it is only that who was asked was not there.
            self._probe_at = min(self._probe_at, now + BLOCKED_AGAIN_S)
        if self._call is None and self._untried():
            self._prove_at = now
        self._rearm()
        if _kinds(knowledge) in (_kinds(before), {}):
            return []
        return [note("nat.found", **_kinds(knowledge))]

    # -- whether we are public -----------------------------------------------------------------------

    def _candidates(self) -> tuple[str, ...]:
        """Where somebody might come in: at where we are seen, and at what we announce."""
        ports = [one.port for one in map(endpoint_of, self._listens) if one is not None]
        found: list[str] = []
        for outside in self.knowledge.outside:
            if ports and scope(outside.host) is Scope.GLOBAL:
                # The router may lead in there what has the port of our socket outside, or that of our listener.
                found += [str(outside), str(Endpoint(outside.host, ports[0]))]
        return tuple(dict.fromkeys([*found, *_global(self._listens)]))[:DIAL_BACK_MAX]

    def _untried(self) -> bool:
        """Whether there is an address that nobody was asked about in this round or the last one."""
        return not self._tried.issuperset(self._candidates())

    def _begin_round(self, now: float) -> list[Effect]:
        self._prove_at = NEVER
        if self._call is not None:
            return []
        if self.proven and not self._peers.linked:
            # Nobody is there to say otherwise.
            self._prove_at = now + self._period_s()
            return []
        self._asked, self._came, self._tokens, self._tried = [], set(), set(), set()
        self._knocked = self._missed = False
        if not self._candidates():
            self.proven, self.news = (), True
            return []
        return self._next_prover(now)

    def _next_prover(self, now: float) -> list[Effect]:
        self._call = None
        self.news = True
        if self._came:
            self.proven = tuple(one for one in self._candidates() if one in self._came)
        left = [peer for peer in self._peers.linked if peer not in self._asked]
        if (self._came and self._knocked) or not left or len(self._asked) == PROVERS_MAX:
            return self._end_round(now, exhausted=not left)
        public = [peer for peer in left if peer in self._public()]
        prover = self._dice.choice(public or left)
        self._asked.append(prover)
        candidates = self._candidates()
        self._tried.update(candidates)
        tokens = [self._dice.randbytes(TRANSACTION_BYTES) for _ in candidates]
        self._tokens.update(tokens)
        knocks = tuple(map(_knock, candidates, tokens))
        self._call = self._desk.number(self)
        return [Call(self._call, prover, DialBack(addresses=candidates, knocks=knocks), PROVE_S)]

    def _end_round(self, now: float, *, exhausted: bool) -> list[Effect]:
        before = self.proven
        if self._came or self._missed:
            self.udp = self._knocked
        if self._missed and not self._came:
            self.proven = ()
        self._prove_at = now + self._period_s()
        if exhausted and not self.proven and len(self._asked) < PROVERS_MAX:
            # Whoever is linked next is asked at once.
            self._prove_at = NEVER
        if self._asked and self._untried():
            self._prove_at = now
        self._rearm()
        if self._came and self._asked:
            return [note("node.public", at=self.proven, by=short(self._asked[-1]), udp=self.udp)]
        return [note("node.not_public", was=before)] if before and not self.proven else []

    # -- within --------------------------------------------------------------------------------------

    def _period_s(self) -> float:
        return PERIOD_S * self._dice.uniform(1 - JITTER, 1 + JITTER)

    def _rearm(self) -> None:
        soonest = min(self._look_at, self._probe_at, self._again_at, self._prove_at)
        self.deadline = None if soonest == NEVER else soonest


def leads_somewhere(addresses: tuple[str, ...]) -> bool:
    """Whether one of them can be reached from another machine."""
    scopes = {scope(one.host) for one in map(endpoint_of, addresses) if one is not None}
    return bool(scopes & {Scope.PRIVATE, Scope.GLOBAL})


def _global(addresses: tuple[str, ...]) -> tuple[str, ...]:
    found = [one for one in map(endpoint_of, addresses) if one is not None]
    return tuple(str(one) for one in found if scope(one.host) is Scope.GLOBAL)


def _kinds(knowledge: SelfKnowledge) -> dict[str, str]:
    """What is known, for the log."""
    families = {"ipv4": knowledge.ipv4, "ipv6": knowledge.ipv6}
    return {
        name: one.nat.value
        for name, one in families.items()
        if one is not None and one.nat is not NatClass.UNKNOWN
    }


def _knock(address: str, token: bytes) -> Knock:
    return Knock(address, token, alternate=True)
