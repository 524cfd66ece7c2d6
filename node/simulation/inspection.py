"""Looks into nodes for what must hold: here alone, and only to read, is private state looked at.

Who owns what is spread over the parts of a node, and no part needs to tell others of it. A check from outside has to
see all of it at once.
"""

from collections import Counter
from collections.abc import KeysView, Sequence

from node.core import Node
from node.deployment.ledger import Lease, Purpose
from node.runtime.virtual.machine import Machine
from node.simulation.drawing import dice_for
from protocol.ids import NodeId, short

PAIRS_MAX = 40_000
"""Of observers and machines that they see."""


def names_of(machines: Sequence[Machine]) -> dict[str, str]:
    """Names of machines by the ids of their nodes, whole and as people read them."""
    names = {short(machine.id): machine.name for machine in machines}
    return names | {machine.id: machine.name for machine in machines}


def seen(node: Node) -> KeysView[NodeId]:
    """Whom this node takes for being there, itself left out."""
    return node.mesh.membership.members.keys()


def observers(machines: Sequence[Machine], seed: int) -> list[Machine]:
    """In a small mesh all; in a large one some, drawn once, whose views stand for those of all."""
    count = max(PAIRS_MAX // len(machines), 1)
    if count >= len(machines):
        return list(machines)
    return dice_for(seed, "observers").sample(list(machines), count)


def rumours(node: Node) -> int:
    """Pieces of news that wait to be passed on."""
    return len(node.mesh.membership._post.rumours)


def leases(node: Node) -> dict[int, Lease]:
    return node.ledger._leases


def claims(node: Node) -> Counter[int]:
    """How often each lease is claimed by something that holds memory under it, other than a client's task."""
    found = Counter(promise.lease.id for promise in node.holding._promises.values())
    found.update(one.lease.id for one in node.serving._open.values() if one.lease is not None)
    found.update(kept.lease.id for kept in node.sketches._kept.values())
    return found


def owned_by_task(node: Node, lease: Lease) -> bool:
    return lease.purpose is Purpose.ACTIVATIONS and lease.owner in node.tasks._running


def unanswered(machine: Machine) -> list[int]:
    """Requests of peers that came to the node, of which none of its parts knows any more."""
    node = machine.node
    return [
        number
        for number in machine.talk.numbers
        if number not in node.serving._open and number not in node.catalogue._untold
    ]
