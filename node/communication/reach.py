"""How others reach this node: what NAT is in front of it, and whether it is public.

It asks two public members with which it is linked at what address they see it (STUN, `nat/probe.py`): soon after they
are found, every ten minutes, and when this machine's network changes. It calls itself public only once another node has
dialled it back at an address that means the same host for everybody (`proving.py`). A node whose addresses are all host
names or loopback, as in a simulation, has nothing to find out and asks nobody.
"""

import random
from dataclasses import dataclass

from nat.behaviour import NatClass, SelfKnowledge
from nat.classes import Classes
from nat.endpoint import Endpoint, Scope, endpoint_of, scope
from nat.favours import Favours
from nat.findings import summary
from node.communication.desk import Desk, OnlyCalls
from node.communication.proving import JITTER, NEVER, PERIOD_S, Peers, Proving, public_of
from node.effects import Call, DialOut, Effect, Note, ProbeNat, Reply, note
from protocol.digests import LoadDigest, Public, Reachability
from protocol.errors import ErrorInfo
from protocol.ids import NodeId
from protocol.limits import DIAL_BACK_MAX
from protocol.messages import DialBack, DialedBack, Response

LOOK_FIRST_S = 0.25
"""After a new link, until the records of who is there have come over it; then twice as long each time."""
LOOK_MAX_S = 8.0
LINKS_BACK_S = 15.0
"""So long after the network has changed links stand again, by which packets are asked for: we look once more."""
BLOCKED_AGAIN_S = 60.0
QUIET_S = 60.0
"""For so long after a change of the network a further one that leaves our addresses as they are is passed over:
containers come and go, leases are renewed."""
SERVERS_MAX = 4


@dataclass(frozen=True, slots=True)
class NatKnown:
    """Told after `ProbeNat`, each time that more is known."""

    knowledge: SelfKnowledge


@dataclass(frozen=True, slots=True)
class Knocked:
    """A bare STUN indication has come in: perhaps a packet that another node was asked to send."""

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


def reachability(before: Reachability, *, dialled: bool) -> Reachability:
    """By the links that we have had: with one more, `dialled` by us or by the peer."""
    if not dialled or before is Reachability.DIRECT:
        return Reachability.DIRECT
    return Reachability.OUTGOING


class Reach(OnlyCalls):
    """`knowledge` is what was found; `proven` the addresses at which another node has come in."""

    def __init__(self, peers: Peers, desk: Desk, dice: random.Random) -> None:
        self.deadline: float | None = None
        self.knowledge = SelfKnowledge()
        self.classes = Classes()
        """What the others are told of it."""
        self.servers_at: tuple[Endpoint, ...] = ()
        """Where public members answer STUN requests."""
        self.news = False
        """What we say of ourselves may be different now; whoever says it asks, and resets this."""
        self.favours: Favours | None = None
        """Once somebody has asked for one."""
        self._peers = peers
        self._dice = dice
        self._proving = Proving(peers, lambda: desk.number(self), dice)
        self._listens: tuple[str, ...] = ()
        self._look_at = self._probe_at = self._again_at = NEVER
        self._look_s = LOOK_FIRST_S
        self._relocated_at = -QUIET_S
        self._servers: tuple[NodeId, ...] = ()
        """That were asked last."""
        self._requests: set[int] = set()
        """Of others, which are being seen to."""

    @property
    def proven(self) -> tuple[str, ...]:
        return self._proving.proven

    @property
    def udp(self) -> bool:
        """Packets come in there too, from a port to which we have sent nothing."""
        return self._proving.udp

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
        self._proving.linked(now)
        self._look_soon(now)

    def learn(self, fact: Fact, now: float) -> list[Effect]:
        match fact:
            case NatKnown(knowledge=knowledge):
                return self._known(knowledge, now)
            case Knocked(token=token):
                self.news = self._proving.knocked(token) or self.news
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
                self._again_at = self._proving.at = now + LINKS_BACK_S
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
        return self._proved(self._proving.answered(call, response, now))

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._proved(self._proving.failed(call, now))

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        effects: list[Effect] = []
        if now >= self._look_at:
            self._look(now)
        if now >= min(self._probe_at, self._again_at):
            effects += self._probe(now)
        if now >= self._proving.at:
            effects += self._proved(self._proving.begin(now))
        self._rearm()
        return effects

    def _seen_at(self) -> list[Endpoint]:
        families = (self.knowledge.ipv4, self.knowledge.ipv6)
        return [one for family in families if family is not None for one in family.mapped]

    # -- whom to ask from where we are seen ----------------------------------------------------------

    def _look_soon(self, now: float) -> None:
        if not leads_somewhere(self._listens):
            self._look_at = self._probe_at = NEVER
        else:
            self._look_s = LOOK_FIRST_S
            self._look_at = now + LOOK_FIRST_S
        self._proving.candidates = self._candidates()
        self._rearm()

    def _look(self, now: float) -> None:
        """Whether there are more public members than were asked last, and whether there is something to prove."""
        if len(public_of(self._peers)) > len(self._servers) < 2:
            self._probe_at = now
        self._proving.looked(now)
        self._look_s = min(2 * self._look_s, LOOK_MAX_S)
        self._look_at = now + self._look_s

    def _probe(self, now: float) -> list[Effect]:
        if now >= self._again_at:
            self._again_at = NEVER
        public = public_of(self._peers)
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
        self._proving.candidates = self._candidates()
        self._proving.try_new(now)
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

    def _proved(self, effects: list[Call | Note]) -> list[Effect]:
        """Whatever was found out; a call to the next prover is ours, and we are told of its end."""
        self.news = True
        self._rearm()
        return [*effects]

    # -- within --------------------------------------------------------------------------------------

    def _period_s(self) -> float:
        return PERIOD_S * self._dice.uniform(1 - JITTER, 1 + JITTER)

    def _rearm(self) -> None:
        soonest = min(self._look_at, self._probe_at, self._again_at, self._proving.at)
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
