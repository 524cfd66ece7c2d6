"""Judges where a peer asks us to send packets to, and how many we send there.

An offer is attack input: whoever writes one chooses addresses that we shall knock at. So it counts only when the peer
has signed it for us and for this link, and only once; addresses that no peer on another machine can have are dropped;
and an address from which nothing has come back gets a handful of packets, and no more because a peer asks again.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from nat.buckets import Bucket, Buckets
from nat.endpoint import Endpoint, Scope, customer, plain, scope
from protocol.errors import PeerError
from protocol.ids import NodeId, short
from protocol.limits import CANDIDATES_MAX
from protocol.paths import Candidate, Offer, signed_offer_bytes

UNVERIFIED_PACKETS_MAX = 20
"""To one host that has not answered, whatever ports of it a peer names: in one attempt, and for that peer a minute."""
CHECKS_PER_S = 50.0
"""To all hosts that have not answered, from the whole node."""
REMEMBERED_MAX = 1024
"""Hosts for which a limit is counted; for a further one the one that was quiet for longest begins anew."""
PROVEN_S = 300.0
"""So long a host that has answered is taken for the peer's in further attempts, too: a way that is cut for a while is
looked for every few seconds, by more packets than strangers may be sent.
"""
HOSTS_MAX = 64
"""The same within one attempt, and as long as its path lives."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

HOST, MAPPED = "host", "srflx"
"""Kinds of candidates (RFC 8445, section 4): where a node sits, and where it is seen from outside."""


class CheckRate:
    """Limits the packets to hosts that have not answered, for the whole node and for each host that a peer has named.

    All attempts of a node share one. Each peer has a limit of its own at a host, for many may sit behind one router,
    and one of them that asks too often shall keep out nobody else.
    """

    def __init__(self, now: float) -> None:
        self._all = Bucket(CHECKS_PER_S, 1.0, now)
        self._hosts = Buckets(UNVERIFIED_PACKETS_MAX, 60.0, REMEMBERED_MAX)
        self._proven_until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def take(self, peer: str, whose: str, now: float) -> bool:
        """Whether a packet may go to a host of this customer (`nat.endpoint`); if so, it is counted."""
        if now < self._proven_until.get((peer, whose), now):
            return self._all.take(now)
        if not self._hosts.take((peer, whose), now):
            return False
        if self._all.take(now):
            return True
        self._hosts.give_back((peer, whose))
        return False

    def answered(self, peer: str, whose: str, now: float) -> None:
        """The peer is there."""
        self._proven_until[peer, whose] = now + PROVEN_S
        self._proven_until.move_to_end((peer, whose))
        if len(self._proven_until) > REMEMBERED_MAX:
            self._proven_until.popitem(last=False)


class OfferJudge:
    """Decides for one peer and one link which offers count, and which of the addresses in them may be used."""

    def __init__(
        self, own: NodeId, peer: NodeId, link: bytes, verifies: Callable[[bytes, bytes], bool]
    ) -> None:
        """`verifies` tells whether the peer has signed this data."""
        self._own = own
        self._peer = peer
        self._link = link
        self._verifies = verifies
        self._last = -1
        """The newest number that was taken."""
        self._asked: int | None = None
        """The number of our own offer, while no answer to it was taken."""

    def asking(self, number: int) -> None:
        """We have sent an offer of this number: one answer to it may be taken."""
        self._asked = number

    def judge(
        self, offer: Offer, own: Iterable[Endpoint], nearby: Sequence[Network]
    ) -> tuple[Candidate, ...]:
        """The addresses at which we may knock, best first; PeerError for an offer that does not count.

        `own` is where we can be reached ourselves. `nearby` are our own networks where both sides are seen from
        outside at one address, so that a private one in there means the same host to both; else nothing.
        """
        who = f"node {short(self._peer)}"
        if offer.link != self._link:
            raise PeerError(f"{who} offers addresses for another link")
        if len(offer.candidates) > CANDIDATES_MAX:
            raise PeerError(f"{who} offers {len(offer.candidates)} addresses")
        if offer.answers and offer.number != self._asked:
            raise PeerError(f"{who} answers an offer that we have not made")
        if not offer.answers and offer.number <= self._last:
            raise PeerError(f"{who} repeats an offer that was taken before")
        if not self._verifies(signed_offer_bytes(offer, self._peer, self._own), offer.signature):
            raise PeerError(f"the offer that came in the name of {who} is not signed by it")
        if offer.answers:
            self._asked = None
        else:
            self._last = offer.number
        return usable(offer.candidates, own, nearby)


def usable(
    candidates: Iterable[Candidate], own: Iterable[Endpoint], nearby: Sequence[Network] = ()
) -> tuple[Candidate, ...]:
    """Those at which a peer on another machine may be, each once, the best first."""
    seen = {Endpoint(plain(host), port) for host, port in own}
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: -one.priority):
        endpoint = Endpoint(plain(candidate.host), candidate.port)
        if candidate.kind not in (HOST, MAPPED) or "%" in candidate.host or endpoint in seen:
            continue
        if tellable(endpoint.host, same_site=_is_in(endpoint.host, nearby)):
            seen.add(endpoint)
            kept.append(msgspec.structs.replace(candidate, host=endpoint.host))
    return tuple(kept)


def _is_in(host: str, networks: Sequence[Network]) -> bool:
    if not networks or scope(host) is not Scope.PRIVATE:
        return False
    address = ipaddress.ip_address(host)
    return any(address in network for network in networks)


def tellable(host: str, *, same_site: bool) -> bool:
    """Whether this address means one host to both sides."""
    found = scope(host)
    return found is Scope.GLOBAL or (found is Scope.PRIVATE and same_site)


class Budget:
    """Packets that one attempt may send to hosts that have not answered."""

    def __init__(self, rate: CheckRate, peer: str) -> None:
        """`peer` has named the hosts."""
        self._rate = rate
        self._peer = peer
        self._hosts = Buckets(UNVERIFIED_PACKETS_MAX, math.inf, HOSTS_MAX)
        self._verified: set[str] = set()

    def may_send(self, host: str, now: float) -> bool:
        """Whether a packet may go to this host; if so, it is counted."""
        if host in self._verified:
            return True
        whose = customer(host)
        if not self._hosts.take(whose, now):
            return False
        if self._rate.take(self._peer, whose, now):
            return True
        self._hosts.give_back(whose)
        return False

    def verified(self, host: str, now: float) -> None:
        """It has answered as only the peer can, so it wants our packets: from now on they are not counted."""
        self._verified.add(host)
        self._rate.answered(self._peer, customer(host), now)
