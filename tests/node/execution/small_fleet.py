"""One node that has heard of others, with what it measured and holds."""

import random

import msgspec

from node.communication.desk import Desk
from node.communication.mesh import Mesh
from node.communication.outstanding import Outstanding
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding
from node.deployment.ledger import MIB, Ledger
from node.deployment.stores import stores_of
from node.execution.fleet import Fleet
from node.memory.short_term import ShortTerm
from node.runtime.virtual.signatures import PaperSignatures
from node.runtime.virtual.spec import key_of
from protocol.digests import LoadDigest, MemoryDigest, NodeRecord, WeightsVersion
from protocol.gossip import Tell
from protocol.ids import ContentId, MeshId, NodeId, node_id
from protocol.members import Alive, Cause, MemberRecord, signed_bytes
from protocol.messages import BlockEntry, Manifest, ManifestHead

MESH = MeshId("m" * 64)
KEYS = {node_id(key_of(name)): key_of(name) for name in "abc"}
A, B, C = sorted(KEYS)
ADDRESSES = {A: ("a:1",), B: ("b:1",), C: ("c:1",)}
VERSION = WeightsVersion(1, 0, A)


def record(node: NodeId, version: int = 1, **fields: object) -> NodeRecord:
    known = NodeRecord(
        id=node,
        incarnation=1,
        version=version,
        name=ADDRESSES[node][0][:1],
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
        self.mesh = Mesh(
            record(A, version=0),
            PaperSignatures(KEYS[A]),
            self.desk,
            self.memory,
            random.Random(1),
            interval_s=0.5,
            redial_s=10.0,
        )
        self.mesh.introduce(MESH, ADDRESSES[A], 0.0)
        self.outstanding = Outstanding()
        self.holding = Holding(A, self.ledger)
        self.catalogue = Catalogue(self.desk)
        self.fleet = Fleet(
            self.mesh,
            self.memory,
            self.outstanding,
            self.ledger,
            self.holding,
            self.catalogue,
        )

    def stand(self, *manifests: Manifest) -> None:
        """These are the weights that the mesh holds."""
        self.catalogue.restore(list(manifests))

    def link(self, peer: NodeId, now: float = 0.0) -> None:
        self.fleet.link_up(peer, now)
        self.mesh.pass_on(self.mesh.link_up(peer, True, now), now)

    def unlink(self, peer: NodeId, now: float = 0.0) -> None:
        self.fleet.link_down(peer)
        self.mesh.pass_on(self.mesh.link_down(peer, "connection lost", now), now)

    def hear(self, told: NodeRecord, now: float = 0.0) -> None:
        """Its record has come, and it is a member."""
        self.meet(told.id, now=now)
        self.mesh.gossip.asked(told.id, Tell(records=(told,)), now)

    def meet(
        self, node: NodeId, incarnation: int = 1, gone: Cause | None = None, now: float = 0.0
    ) -> None:
        """It tells of itself."""
        said = MemberRecord(KEYS[node], incarnation, 0, ADDRESSES[node], gone)
        signature = PaperSignatures(KEYS[node]).sign(signed_bytes(said, MESH))
        news = (Alive(msgspec.structs.replace(said, signature=signature)),)
        self.mesh.pass_on(self.mesh.membership.told(news, node, now), now)

    def load(self, peer: NodeId, load: LoadDigest, now: float = 0.0) -> None:
        self.mesh.gossip.load_seen(peer, load, now)

    def hold(self, held: Manifest) -> None:
        """All blocks of it that are ours."""
        for store in self.holding.expect(held, 0.0):
            self.holding.adopted(store, 0.0)
        assert stores_of(held, A, "")
