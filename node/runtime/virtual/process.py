"""How a simulated machine's process begins: a Node made from what lies on the disk, and told what a daemon tells it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from node.communication.knowledge import Knowledge
from node.core import Node
from node.deployment.ledger import Ledger
from node.policy import Policy
from node.runtime.virtual.signatures import PaperSignatures
from node.runtime.virtual.spec import dice, key_of
from protocol.digests import DeviceProfile, NodeRecord, Reachability
from protocol.ids import MeshId

if TYPE_CHECKING:
    from node.runtime.virtual.machine import Machine

MESH = MeshId("0" * 64)

MakeNode = Callable[["Machine", Policy, int], Node]
"""(machine, policy, seed of its dice) -> its node, which has heard nothing yet."""


def make_node(machine: "Machine", policy: Policy, seed: int) -> Node:
    """As a daemon would make it."""
    record = NodeRecord(
        id=machine.id,
        incarnation=machine.disk.incarnation,
        version=0,
        name=machine.name,
        labels=machine.spec.labels,
        device=DeviceProfile(policy.backend, policy.device, machine.spec.workers),
    )
    full = replace(policy, workers=machine.spec.workers)
    signatures = PaperSignatures(key_of(machine.name))
    return Node(record, Ledger(machine.spec.memory_bytes), full, signatures, dice(seed))


def acquaint(machines: list["Machine"]) -> None:
    """These have known each other for long: all know all, as they are now. What they know is shared."""
    nodes = [machine.node for machine in machines]
    for machine, node in zip(machines, nodes, strict=True):
        # Others have dialled it before.
        reached = msgspec.structs.replace(node.mesh.own, reach=Reachability.DIRECT)
        machine.hear(node.mesh.describe, reached)
    members = {node.own: node.mesh.membership.own for node in nodes}
    records = {node.own: node.mesh.gossip.told for node in nodes}
    knowledge = Knowledge.of(members.values(), records)
    for machine in machines:
        machine.hear(machine.node.begin_among, members, records, knowledge)


def begin(machine: "Machine", seeds: Iterable[str]) -> None:
    """Tell the node what the disk remembers, where it is reached, and whom its owner names."""
    node = machine.node
    machine.hear(node.restore, machine.shop.manifests())
    machine.hear(node.introduce, MESH, (machine.address,))
    members = {record.id: record for record in machine.disk.members}
    machine.hear(node.restore_members, members, machine.disk.aged_graves(machine.world_s))
    for address in seeds:
        machine.hear(node.seek, (address,), None)
