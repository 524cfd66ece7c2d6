"""What a simulation costs in seconds of one core: one packet, an idle mesh, a product. JSON lines.

    python bench/virtual.py [--nodes 1000] [--seconds 60] [--seed 1]

`pings`: nodes that do nothing but ping another one each second, so all that is measured is the driver: encode, carry,
decode, hear, tick. `products`: whole nodes that multiply by stocked matrices; nearly all of that is the nodes' own.
"""

import argparse
import json
import os
import resource
import time
from typing import cast

from node.core import Node
from node.effects import Effect, SendPacket
from node.policy import Policy
from node.runtime.virtual.disk import stocked
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.network import Conditions, spread
from node.runtime.virtual.spec import MachineSpec, dice
from node.runtime.virtual.world import World
from protocol.ids import NodeId
from protocol.members import Ack, Packet, Ping
from protocol.messages import Manifest

PERIOD_S = 1.0
FLOOR_US = 25.0
"""For a packet, with an idle node at both ends."""
HOLDERS = 32
MATRICES = 300
SETTLE_S = 10.0
TASKS = 1000
TASKS_A_SECOND = 250.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000, help="that ping")
    parser.add_argument("--seconds", type=float, default=60.0, help="of virtual time")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    _tell("machine", cores=len(os.sched_getaffinity(0)), load=os.getloadavg())
    pings(options.nodes, options.seconds, options.seed)
    products(options.seed)


# -- figures ---------------------------------------------------------------------------------------


def pings(nodes: int, seconds: float, seed: int) -> None:
    peers: list[NodeId] = []

    def make(machine: Machine, policy: Policy, seed: int) -> Node:
        return cast(Node, Pinging(peers, seed))

    world = World(seed, Conditions(spread(0.01, 0.1, seed)), make_node=make)
    for number in range(nodes):
        world.add(MachineSpec(f"n{number}"), started=False)
    peers += world.by_id
    world.start()
    began = time.process_time()
    world.run(seconds)
    took_s = time.process_time() - began
    packets = sum(machine.traffic.packets for machine in world.machines.values())
    _tell(
        "pings",
        nodes=nodes,
        virtual_s=seconds,
        core_s=round(took_s, 2),
        us_a_packet=round(1e6 * took_s / packets, 1),
        floor_us=FLOOR_US,
        steps_s=round(world.steps / took_s),
        peak_mib=_peak_mib(),
    )


def products(seed: int) -> None:
    draw = dice(seed, "products")
    world = World(seed, Conditions(spread(0.005, 0.05, seed)))
    machines = [
        world.add(MachineSpec(f"n{number}", memory_bytes=1 << 32, macs_s=4e9), started=False)
        for number in range(HOLDERS)
    ]
    world.stock(_matrix(number, draw.sample(machines, 2)) for number in range(MATRICES))
    for machine in machines:
        machine.start([machines[0].address])
    world.run(SETTLE_S)
    steps, began = world.steps, time.process_time()
    tasks = []
    for _ in range(TASKS):
        tasks.append(draw.choice(machines).matmul(f"w{draw.randrange(MATRICES)}", 16))
        world.run(1.0 / TASKS_A_SECOND)
    world.run_until(lambda: all(task.over for task in tasks), 60.0)
    took_s = time.process_time() - began
    _tell(
        "products",
        nodes=HOLDERS,
        tasks=TASKS,
        well=sum(task.code is None for task in tasks),
        ms_a_task=round(1e3 * took_s / TASKS, 2),
        steps_a_task=round((world.steps - steps) / TASKS, 1),
    )


# -- within ----------------------------------------------------------------------------------------


class Pinging:
    """As little as a node can be: it pings somebody each second and answers."""

    tasks = 0

    def __init__(self, peers: list[NodeId], seed: int) -> None:
        self._peers = peers
        self._dice = dice(seed)
        self._sequence = 0
        self.deadline = self._dice.random() * PERIOD_S

    def restore(self, manifests: list[Manifest], now: float) -> list[Effect]:
        return []

    def introduce(self, *_: object) -> list[Effect]:
        return []

    def restore_members(self, *_: object) -> list[Effect]:
        return []

    def tick(self, now: float) -> list[Effect]:
        self.deadline = now + PERIOD_S
        self._sequence += 1
        return [SendPacket(self._dice.choice(self._peers), (), Ping(self._sequence))]

    def packet(self, peer: NodeId, packet: Packet, now: float) -> list[Effect]:
        return [SendPacket(peer, (), Ack(packet.sequence))] if isinstance(packet, Ping) else []


def _matrix(number: int, holders: list[Machine]) -> Manifest:
    return stocked(f"w{number}", 1024, 1024, [[machine.id for machine in holders]])


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _tell(figure: str, **values: object) -> None:
    print(json.dumps({"figure": figure, **values}), flush=True)


if __name__ == "__main__":
    main()
