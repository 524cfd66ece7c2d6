"""How a simulated machine's process begins: a Node made from what lies on the disk, and told what a daemon tells it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from node.core import Node, Policy
from node.deployment.ledger import Ledger
from node.runtime.virtual_signatures import PaperSignatures
from node.runtime.virtual_spec import dice, key_of
from protocol.digests import DeviceProfile, NodeRecord
from protocol.ids import MeshId

if TYPE_CHECKING:
    from node.runtime.virtual_machine import Machine

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


def begin(machine: "Machine", seeds: Iterable[str]) -> None:
    """Tell the node what the disk remembers, where it is reached, and whom its owner names."""
    node = machine.node
    machine.hear(node.restore, machine.shop.manifests())
    machine.hear(node.introduce, MESH, (machine.address,))
    members = {record.id: record for record in machine.disk.members}
    machine.hear(node.restore_members, members, machine.disk.aged_graves(machine.world_s))
    for address in seeds:
        machine.hear(node.seek, (address,), None)
