"""Lets nodes of one mesh find each other within one network, by multicast: "here I am", and who may be believed.

A beacon is 40 bytes:

     0  magic "SdmB"
     4  version, 1
     5  flags; 1: whoever hears this may say once that it is here too
     6  TCP port of the node, 2 bytes, big endian
     8  salt, 8 bytes by chance
    16  BLAKE2b of the salt, keyed with the id of the mesh, 8 bytes
    24  BLAKE2b of bytes 0 to 16 and the id of the node, keyed likewise, 16 bytes

So a stranger in the network learns that somebody speaks, not who, and cannot follow him from one network to the next;
and nobody is found but members that are known already. A beacon proves nothing: it can be said again by anybody. That
is enough to dial an address in our own network, where TLS proves who is there.
"""

import random
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

from nat.buckets import Bucket
from nat.endpoint import Scope, plain, scope
from protocol.ids import MeshId, NodeId

MAGIC = b"SdmB"
VERSION = 1
ASKS = 1
HEAD = struct.Struct("!4sBBH8s")
SALT_BYTES, MESH_BYTES, NODE_BYTES = 8, 8, 16
BEACON_BYTES = HEAD.size + MESH_BYTES + NODE_BYTES

EVERY_S = 60.0
JITTER = 0.2
REPEATS_S = (1.0, 4.0)
"""After the first word in a network it is said twice again: over Wi-Fi multicast is not repeated, and often lost."""
ANSWER_S = 0.5
"""Within this time by chance a newcomer is answered, lest all speak at once."""
REST_S = 1.0
"""Between two beacons of ours, however many ask."""

NEAR = frozenset({Scope.PRIVATE, Scope.LINK, Scope.LOOPBACK})
"""Where a beacon may come from. Loopback no other machine can pretend."""
HEARD_MAX = 256
"""Beacons of our mesh that are looked at in a minute; further ones are not."""
FOUND_MAX = 64
"""Addresses told in a minute: so many hosts can somebody make us dial who says again, as another, what he has heard."""
NEVER = float("inf")
PEERS_MAX = 256
"""Remembered; for a further one the one that was silent for longest is forgotten."""
ADDRESSES_MAX = 4
"""Of one peer, the latest."""
FORGET_S = 3.5 * EVERY_S
AGAIN_S = 10.0
"""A peer that is heard again at the same address within this time is no news."""


@dataclass(frozen=True, slots=True)
class Announce:
    """To be sent once to the group, on every interface."""

    datagram: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """It says that it can be dialled here."""

    peer: NodeId
    address: str


BeaconEffect = Announce | Found


@dataclass(frozen=True, slots=True)
class Heard:
    """A beacon of some mesh."""

    head: bytes
    asks: bool
    port: int
    salt: bytes
    mesh_tag: bytes
    node_tag: bytes

    def is_of(self, mesh: MeshId) -> bool:
        return compare_digest(self.mesh_tag, _mesh_tag(mesh, self.salt))

    def is_by(self, mesh: MeshId, node: NodeId) -> bool:
        return compare_digest(self.node_tag, _node_tag(mesh, self.head, node))


class Beacon:
    """Told of the network, of beacons and of time; answers with when to speak and whom it has found."""

    def __init__(
        self,
        mesh: MeshId,
        own: NodeId,
        port: int,
        members: Callable[[], Iterable[NodeId]],
        dice: random.Random,
        counters: Counter[str],
    ) -> None:
        """`members` are all that are known, ourselves or not.

        Into `counters`, which its host may count in too, go as `beacon.ignored` datagrams that were no beacon of our
        mesh, came from elsewhere, or were too many.
        """
        self.deadline: float | None = None
        self._mesh = mesh
        self._own = own
        self._port = port
        self._members = members
        self._dice = dice
        self._counters = counters
        self._due: list[float] = []
        """When to speak, and whoever is here already is to answer."""
        self._again_at = NEVER
        self._answer_at: float | None = None
        self._spoke_at = -REST_S
        self._looks = Bucket(HEARD_MAX, 60.0, now=0.0)
        self._finds = Bucket(FOUND_MAX, 60.0, now=0.0)
        self._found: OrderedDict[NodeId, OrderedDict[str, float]] = OrderedDict()

    def addresses_of(self, peer: NodeId, now: float) -> tuple[str, ...]:
        """Where it was heard of late, the last first."""
        heard = self._found.get(peer) or OrderedDict[str, float]()
        return tuple(address for address in reversed(heard) if now < heard[address] + FORGET_S)

    # -- what happens ----------------------------------------------------------------------------------

    def arrived(self, now: float) -> list[BeaconEffect]:
        """We have just come into this network, or its addresses are others."""
        self._due = [now + repeat_s for repeat_s in (0.0, *REPEATS_S)]
        self._again_at = self._later(now)
        self._rearm()
        return self.tick(now)

    def heard(self, datagram: bytes, host: str, now: float) -> list[BeaconEffect]:
        """`host` is where it came from; of a link-local address with its interface."""
        beacon = parse(datagram)
        if beacon is None or scope(plain(host)) not in NEAR or not beacon.is_of(self._mesh):
            self._counters["beacon.ignored"] += 1
            return []
        if beacon.is_by(self._mesh, self._own):
            return []
        if not self._looks.take(now):
            self._counters["beacon.ignored"] += 1
            return []
        if beacon.asks and self._answer_at is None:
            self._answer_at = now + self._dice.uniform(0.0, ANSWER_S)
            self._rearm()
        for peer in self._members():
            if beacon.is_by(self._mesh, peer):
                return self._is_near(peer, _address(host, beacon.port), now)
        return []

    def tick(self, now: float) -> list[BeaconEffect]:
        if self.deadline is None or now < self.deadline:
            return []
        self._spoke_at, self._answer_at = now, None
        asks = bool(self._due) and self._due[0] <= now
        self._due = [moment for moment in self._due if moment > now]
        if now >= self._again_at:
            self._again_at = self._later(now)
        self._rearm()
        salt = self._dice.randbytes(SALT_BYTES)
        return [Announce(encode(self._mesh, self._own, self._port, salt, asks=asks))]

    # -- within ----------------------------------------------------------------------------------------

    def _is_near(self, peer: NodeId, address: str, now: float) -> list[BeaconEffect]:
        heard = self._found.setdefault(peer, OrderedDict())
        self._found.move_to_end(peer)
        if len(self._found) > PEERS_MAX:
            self._found.popitem(last=False)
        if now < heard.get(address, -AGAIN_S) + AGAIN_S:
            return []
        if not self._finds.take(now):
            self._counters["beacon.ignored"] += 1
            return []
        heard[address] = now
        heard.move_to_end(address)
        if len(heard) > ADDRESSES_MAX:
            heard.popitem(last=False)
        return [Found(peer, address)]

    def _later(self, now: float) -> float:
        return now + EVERY_S * self._dice.uniform(1.0 - JITTER, 1.0 + JITTER)

    def _rearm(self) -> None:
        moments = [*self._due, self._again_at]
        if self._answer_at is not None:
            moments.append(self._answer_at)
        self.deadline = max(min(moments), self._spoke_at + REST_S)


def encode(mesh: MeshId, node: NodeId, port: int, salt: bytes, *, asks: bool) -> bytes:
    head = HEAD.pack(MAGIC, VERSION, ASKS if asks else 0, port, salt)
    return head + _mesh_tag(mesh, salt) + _node_tag(mesh, head, node)


def parse(datagram: bytes) -> Heard | None:
    """None of all that is not wholly right, and of what another version may mean by it."""
    if len(datagram) != BEACON_BYTES:
        return None
    magic, version, flags, port, salt = HEAD.unpack_from(datagram)
    if magic != MAGIC or version != VERSION or flags not in (0, ASKS) or port == 0:
        return None
    mesh_at, node_at = HEAD.size, HEAD.size + MESH_BYTES
    head, mesh_tag, node_tag = datagram[:mesh_at], datagram[mesh_at:node_at], datagram[node_at:]
    return Heard(head, flags == ASKS, port, salt, mesh_tag, node_tag)


def _mesh_tag(mesh: MeshId, salt: bytes) -> bytes:
    return blake2b(salt, digest_size=MESH_BYTES, key=mesh.encode()).digest()


def _node_tag(mesh: MeshId, head: bytes, node: NodeId) -> bytes:
    return blake2b(head + node.encode(), digest_size=NODE_BYTES, key=mesh.encode()).digest()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
