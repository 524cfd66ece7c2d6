"""A node that decides nothing: it writes down what it hears and orders what a test tells it to."""

from collections.abc import Callable
from typing import cast

from node.core import Node
from node.effects import Effect, Reply
from node.policy import Policy
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.network import Conditions
from node.runtime.virtual.spec import MachineSpec
from node.runtime.virtual.world import World
from protocol.digests import LoadDigest
from protocol.ids import NodeId
from protocol.members import Packet
from protocol.messages import Manifest, Probed, RequestHeader

Heard = tuple[str, tuple[object, ...], float]
"""(input, arguments, now)"""


class Scripted:
    """What a machine needs of its node."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.deadline: float | None = None
        self.on_tick: Callable[[float], list[Effect]] = self._quiet
        self.answers = True
        """A request is answered at once."""
        self.called: list[object] = []
        """Numbers of the calls that a test has let it make."""
        self.tasks = 0

    def named(self, name: str) -> list[tuple[object, ...]]:
        return [args for heard, args, _ in self.heard if heard == name]

    def when(self, name: str) -> list[float]:
        return [now for heard, _, now in self.heard if heard == name]

    def load(self, now: float) -> LoadDigest:
        return LoadDigest(queue_s=now)

    def tick(self, now: float) -> list[Effect]:
        self.heard.append(("tick", (), now))
        return self.on_tick(now)

    def asked(self, request: int, peer: NodeId, header: RequestHeader, now: float) -> list[Effect]:
        self.heard.append(("asked", (request, peer, header), now))
        return [Reply(request, Probed())] if self.answers else []

    def restore(self, manifests: list[Manifest], now: float) -> list[Effect]:
        return []

    def reached(self, addresses: tuple[str, ...]) -> list[Effect]:
        self.heard.append(("reached", (addresses,), 0.0))
        return []

    def packet(self, peer: NodeId, packet: Packet, now: float) -> list[Effect]:
        self.heard.append(("packet", (peer, packet), now))
        return []

    def __getattr__(self, name: str) -> Callable[..., list[Effect]]:
        """Any other input is written down."""
        if name.startswith("_"):
            raise AttributeError(name)

        def hear(*args: object) -> list[Effect]:
            *rest, now = args
            assert isinstance(now, float)
            self.heard.append((name, tuple(rest), now))
            return []

        return hear

    def _quiet(self, now: float) -> list[Effect]:
        self.deadline = None
        return []


def scripted(
    *specs: MachineSpec | str, seed: int = 1, conditions: Conditions | None = None
) -> tuple[World, list[Machine]]:
    """A world of such nodes, on a network without jitter unless it is said otherwise."""

    def make(machine: Machine, policy: Policy, seed: int) -> Node:
        return cast(Node, Scripted())

    world = World(seed, conditions or Conditions(0.01, jitter=0.0), make_node=make)
    for spec in specs:
        world.add(MachineSpec(spec) if isinstance(spec, str) else spec)
    return world, list(world.machines.values())


def script(machine: Machine) -> Scripted:
    return cast(Scripted, machine.node)
