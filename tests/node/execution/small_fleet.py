"""One node that has heard of others, with what it measured and holds."""

import random

import msgspec

from node.communication.desk import Desk
from node.communication.exchange import Exchange
from node.communication.outstanding import Outstanding
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding, stores_of
from node.deployment.ledger import MIB, Ledger
from node.execution.fleet import Fleet
from node.memory.short_term import ShortTerm
from protocol.digests import LoadDigest, MemoryDigest, NodeRecord, WeightsVersion
from protocol.ids import ContentId, MeshId, NodeId
from protocol.messages import BlockEntry, Manifest, ManifestHead
from protocol.messages import Exchange as Telling

MESH = MeshId("m" * 64)
A, B, C = (NodeId(name * 52) for name in "abc")
VERSION = WeightsVersion(1, 0, A)


def record(node: NodeId, version: int = 1, **fields: object) -> NodeRecord:
    known = NodeRecord(
        id=node,
        mesh=MESH,
        incarnation=1,
        version=version,
        name=node[:1],
        addresses=(f"{node[:1]}:1",),
        memory=MemoryDigest(budget=200 * MIB, free=100 * MIB),
    )
    return msgspec.structs.replace(known, **fields)


def manifest(*holders: tuple[NodeId, ...], name: str = "w") -> Manifest:
    """One block of 1024 x 8 for each tuple of nodes, which hold it."""
    nodes = sorted({node for held in holders for node in held})
    head = ManifestHead(
        name=name,
        version=VERSION,
        rows=1024 * len(holders),
        columns=8,
        backend="digital",
        holders=tuple(nodes),
        blocks=len(holders),
    )
    entries = tuple(
        BlockEntry(ContentId("c"), ContentId("s"), tuple(nodes.index(node) for node in held))
        for held in holders
    )
    return Manifest(head, entries)


class SmallFleet:
    """Node a, and what it knows."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.ledger = Ledger(200 * MIB)
        self.memory = ShortTerm()
        self.exchange = Exchange(
            record(A), self.desk, self.memory, random.Random(1), interval_s=0.5, redial_s=10.0
        )
        self.outstanding = Outstanding()
        self.holding = Holding(A, self.ledger)
        self.catalogue = Catalogue(self.desk)
        self.fleet = Fleet(
            self.exchange,
            self.memory,
            self.outstanding,
            self.ledger,
            self.holding,
            self.catalogue,
        )

    def link(self, peer: NodeId, now: float = 0.0) -> None:
        self.fleet.link_up(peer, now)
        self.exchange.link_up(peer, now)

    def unlink(self, peer: NodeId, now: float = 0.0) -> None:
        self.fleet.link_down(peer)
        self.exchange.link_down(peer, "connection lost", now)

    def hear(self, told: NodeRecord, now: float = 0.0) -> None:
        self.exchange.asked(told.id, Telling(records=(told,)), now)

    def load(self, peer: NodeId, load: LoadDigest, now: float = 0.0) -> None:
        self.exchange.load_seen(peer, load, now)

    def hold(self, held: Manifest) -> None:
        """All blocks of it that are ours."""
        for store in self.holding.expect(held, 0.0):
            self.holding.adopted(store, 0.0)
        assert stores_of(held, A, "")
