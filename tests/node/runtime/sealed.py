"""Nodes that can seal packets for each other, without a network between them."""

from dataclasses import dataclass

from node.runtime.sealing import Sealing
from node.runtime.signatures import Ed25519
from protocol.ids import MeshId, NodeId, node_id

MESH = MeshId("3d" * 32)


@dataclass(frozen=True, slots=True)
class Sealer:
    """One run of one node, and whom it knows; `known` may change."""

    id: NodeId
    key: bytes
    known: dict[NodeId, bytes]
    sealing: Sealing


def sealer(
    name: str, *friends: str, incarnation: int = 1_800_000_000, mesh: MeshId = MESH
) -> Sealer:
    """Its key is drawn from its name, as are those of the friends it knows."""
    own = key_pair(name)
    known = {node_id(one.key): one.key for one in map(key_pair, friends)}
    sealing = Sealing(own, mesh, incarnation, b"run1", known.get)
    return Sealer(node_id(own.key), own.key, known, sealing)


def key_pair(name: str) -> Ed25519:
    return Ed25519(name.encode().rjust(32, b"\0"))
