"""How well holders are chosen, in a light model: queues and ways, no protocol. Seeds and figures as JSON lines.

64 unequal nodes (speeds 1 to 16, ways of 1 to 200 ms, 2.5 to 125 MB/s), whose other work takes a part of their speed
that changes every 10 s or so, hold 1,500 blocks, 1.8 copies of each, asked for by Zipf's law (0.8). The real choosers,
estimates, accounts of what was sent, statistics and admission decide; a whole mesh of nodes on virtual time stands
in `choice.py`. Load is the work asked for over all the speed that other work leaves.

    python bench/choice_model.py [--loads 0.35 0.7] [--seeds 2] [--policies ours nearest ...] [--mixed] [--fifo]

`--mixed` gives requests 0.5 to 8 s each in place of 2 s; `--fifo` lets holders work in the order of arrival.
"""

import argparse
import heapq
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, count
from math import exp, log

from compute.partition import Block
from node.communication.admission import in_vain, shed
from node.communication.choosing import query
from node.communication.outstanding import Outstanding, Sent
from node.communication.policies import CHOOSERS, Chooser, chooser
from node.communication.scoring import Candidate, Cost
from node.memory.short_term import ShardServed, ShortTerm
from protocol.digests import LoadDigest

SLO_S = 2.0
MIXED_S = (0.5, 1.0, 2.0, 4.0, 8.0)
WARM_S = 30.0
FOR_S = 40.0
GOSSIP_S = 10.0
WORK = 0.45e9
"""MACs of a request, on average; a node of speed 1 does 1e9 a second."""
MEAN_SHARE = 0.5 + 0.5 * 0.55
"""Of a node's speed, left by other work."""
BLOCK = Block(0, 0)


@dataclass(eq=False)
class Request:
    block: int
    macs: int
    nbytes: int
    at: float
    by: "Node"
    ends_at: float
    part: int = 0
    arrived_at: float = 0.0
    began_at: float = 0.0
    tried: set[str] = field(default_factory=set)
    sent_at: float = 0.0


@dataclass(eq=False)
class Node:
    name: str
    full_speed: float
    way_s: float
    bandwidth: float
    memory_gb: float
    chooser: Chooser
    share: float = 1.0
    """Of its speed, left by other work."""
    queue: list[Request] = field(default_factory=list)
    running: Request | None = None
    coming: dict[int, Request] = field(default_factory=dict)
    memory: ShortTerm = field(default_factory=ShortTerm)
    outstanding: Outstanding = field(default_factory=Outstanding)
    loads: dict[str, tuple[LoadDigest, float]] = field(default_factory=dict)
    asking: set[str] = field(default_factory=set)

    def load(self, now: float) -> LoadDigest:
        measured = self.memory.forecast_speed_macs_s(self.name, now)
        speed = measured or 2e9
        macs = sum(one.macs for one in self.coming.values())
        running = self.running
        left = 0.0 if running is None else max(running.macs / speed - (now - running.began_at), 0.0)
        busy = len(self.coming) + (running is not None)
        return LoadDigest(macs / speed + left, busy, measured or 0.0)


class Model:
    def __init__(
        self,
        policy: str,
        load: float,
        seed: int,
        *,
        nodes: int,
        clients: int,
        fifo: bool,
        mixed: bool,
    ) -> None:
        self.now = 0.0
        # What is asked for and what other programs take must not depend on what is chosen.
        self.dice, self.others = random.Random(seed), random.Random(seed + 1000)
        self.fifo, self.mixed = fifo, mixed
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        self.nodes = [self._node(i, policy) for i in range(nodes)]
        self.by_name = {node.name: node for node in self.nodes}
        self.sheds = self.nodes[0].chooser.sheds
        self._place()
        self.clients = self.nodes[:clients]
        left = sum(node.full_speed for node in self.nodes) * MEAN_SHARE
        self.gap_s = WORK / (load * left)
        self.offered = self.good = self.shed = self.refused = self.probes = self.infeasible = 0
        self.times: list[float] = []
        self.numbers = count(1)

    def _node(self, index: int, policy: str) -> Node:
        dice = self.dice
        return Node(
            f"n{index:02}",
            1e9 * exp(dice.uniform(0, log(16))),
            exp(dice.uniform(log(0.0005), log(0.1))),
            exp(dice.uniform(log(2.5e6), log(125e6))),
            exp(dice.uniform(0, log(64))),
            chooser(policy, random.Random(index)),
        )

    def _place(self) -> None:
        weights = [node.memory_gb**0.5 * node.full_speed for node in self.nodes]
        self.holders = []
        for _ in range(1500):
            copies = 2 if self.dice.random() < 0.8 else 1
            chosen: list[Node] = []
            while len(chosen) < copies:
                (one,) = self.dice.choices(self.nodes, weights)
                if one not in chosen:
                    chosen.append(one)
            self.holders.append(chosen)
        self.popularity = list(accumulate((rank + 1) ** -0.8 for rank in range(1500)))

    # -- time ----------------------------------------------------------------------------------------

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay_s, next(self.order), act))

    def run(self) -> None:
        for node in self.nodes:
            self._antagonist(node)
            self.after(self.dice.uniform(0, GOSSIP_S), partial(self._gossip, node))
        self._arrive()
        while self.events and self.now < WARM_S + FOR_S + 2 * SLO_S:
            self.now, _, act = heapq.heappop(self.events)
            act()

    def _antagonist(self, node: Node) -> None:
        node.share = 1.0 if self.others.random() < 0.5 else self.others.uniform(0.2, 0.9)
        self.after(self.others.expovariate(1 / 10.0), lambda: self._antagonist(node))

    def _gossip(self, node: Node) -> None:
        load = node.load(self.now)
        for other in self.clients:
            if other is not node:
                told = other.loads.get(node.name)
                if told is None or told[1] < self.now - GOSSIP_S / 2:
                    self.after(1.5, partial(self._hear, other, node, load))
        self.after(GOSSIP_S, lambda: self._gossip(node))

    def _hear(self, client: Node, node: Node, load: LoadDigest) -> None:
        client.loads[node.name] = (load, self.now)

    def rtt_s(self, one: Node, other: Node) -> float:
        return 0.0 if one is other else one.way_s + other.way_s

    def bandwidth(self, one: Node, other: Node) -> float:
        return float("inf") if one is other else min(one.bandwidth, other.bandwidth)

    # -- a request -----------------------------------------------------------------------------------

    def _arrive(self) -> None:
        self.after(self.dice.expovariate(1 / self.gap_s), self._arrive)
        if self.now > WARM_S + FOR_S:
            return
        (block,) = self.dice.choices(range(1500), cum_weights=self.popularity)
        macs = int(WORK * min(self.dice.lognormvariate(-0.32, 0.8), 8.0))
        nbytes = int(self.dice.uniform(50e3, 400e3))
        client = self.dice.choice(self.clients)
        slo_s = self.dice.choice(MIXED_S) if self.mixed else SLO_S
        request = Request(block, macs, nbytes, self.now, client, self.now + slo_s)
        if self.now > WARM_S:
            self.offered += 1
            self.infeasible += self._alone_s(request) > slo_s
        self._send(request)

    def _alone_s(self, request: Request) -> float:
        """At its best holder, with nothing else to do."""
        return min(
            self.rtt_s(request.by, node)
            + 2 * request.nbytes / self.bandwidth(request.by, node)
            + request.macs / (node.full_speed * node.share)
            for node in self.holders[request.block]
        )

    def candidates(self, client: Node, holders: list[Node]) -> list[Candidate]:
        found, now = [], self.now
        for node in holders:
            rtt_s = self.rtt_s(client, node)
            if node is client:
                load, at = node.load(now), now
                queue_s = load.queue_s
            else:
                load, at = client.loads.get(node.name, (LoadDigest(), 0.0))
                queue_s = client.outstanding.queue_s(
                    node.name, now, told_s=load.queue_s, told_at=at, rtt_s=rtt_s
                )
            own = client.memory.forecast_speed_macs_s(node.name, now)
            found.append(
                Candidate(
                    node.name,
                    rtt_s,
                    self.bandwidth(client, node),
                    queue_s,
                    own or load.speed_macs_s,
                    1.0,
                    told_s=load.queue_s,
                    told_in_flight=load.in_flight,
                    age_s=now - at,
                    ours=client.outstanding.count(node.name),
                )
            )
        return found

    def _send(self, request: Request) -> None:
        client = request.by
        holders = [node for node in self.holders[request.block] if node.name not in request.tried]
        if not holders:
            self._refused(request)
            return
        seen = self.candidates(client, holders)
        cost = Cost(request.nbytes, request.nbytes, request.macs)
        asked = query({BLOCK: [one.node for one in seen]}, seen, {BLOCK: cost})
        deal = client.chooser.choose(asked, self.now)
        if not request.tried:
            for name in client.chooser.probes(asked, deal):
                self._probe(client, self.by_name[name])
        if self.sheds and shed(asked, deal, request.ends_at - self.now) is not None:
            self.shed += self.now > WARM_S
            return
        (name,) = deal.hands
        node, estimate = self.by_name[name], deal.estimates[name]
        request.part, request.sent_at = next(self.numbers), self.now
        client.outstanding.started(
            name,
            request.part,
            Sent(self.now, request.macs, estimate.service_s, self.now + estimate.total_s),
        )
        self.after(self.rtt_s(client, node) / 2, lambda: self._header(request, node))

    def _probe(self, client: Node, node: Node) -> None:
        if node.name in client.asking or node is client:
            return
        client.asking.add(node.name)
        self.probes += self.now > WARM_S
        way_s = self.rtt_s(client, node) / 2

        def there() -> None:
            load = node.load(self.now)
            self.after(way_s, lambda: back(load))

        def back(load: LoadDigest) -> None:
            client.asking.discard(node.name)
            self._hear(client, node, load)
            client.chooser.probed(node.name, load, self.now)

        self.after(way_s, there)

    def _header(self, request: Request, node: Node) -> None:
        speed = node.memory.forecast_speed_macs_s(node.name, self.now)
        if self.sheds and speed:
            queue_s = node.load(self.now).queue_s
            left_s = request.ends_at - self.now
            if in_vain(queue_s, request.macs / speed, left_s) is not None:
                self._give_back(request, node)
                return
        node.coming[request.part] = request
        body_s = request.nbytes / self.bandwidth(request.by, node)
        self.after(body_s, lambda: self._queue(request, node))

    def _give_back(self, request: Request, node: Node) -> None:
        load = node.load(self.now)
        self.after(self.rtt_s(request.by, node) / 2, lambda: self._back(request, node, load))

    def _back(self, request: Request, node: Node, load: LoadDigest) -> None:
        """Refused."""
        request.by.outstanding.ended(node.name, request.part)
        self._hear(request.by, node, load)
        request.tried.add(node.name)
        self._send(request)

    def _refused(self, request: Request) -> None:
        self.refused += self.now > WARM_S

    def _queue(self, request: Request, node: Node) -> None:
        request.arrived_at = self.now
        node.queue.append(request)
        self._next(node)

    def _next(self, node: Node) -> None:
        while node.running is None and node.queue:
            if not self.fifo:
                node.queue.sort(key=lambda one: one.ends_at)
            request = node.queue.pop(0)
            del node.coming[request.part]
            speed = node.memory.forecast_speed_macs_s(node.name, self.now)
            late = speed and self.now + request.macs / speed > request.ends_at
            if self.sheds and late and self.now > request.arrived_at:
                self._give_back(request, node)
                continue
            node.running, request.began_at = request, self.now
            service_s = request.macs / (node.full_speed * node.share)
            self.after(service_s, partial(self._served, request, node, service_s))

    def _served(self, request: Request, node: Node, service_s: float) -> None:
        node.running = None
        served = ShardServed(node.name, request.macs, service_s, 0, self.now - request.arrived_at)
        node.memory.record(served, self.now)
        load = node.load(self.now)
        back_s = (
            request.nbytes / self.bandwidth(request.by, node) + self.rtt_s(request.by, node) / 2
        )
        self.after(back_s, lambda: self._answered(request, node, service_s, load))
        self._next(node)

    def _answered(self, request: Request, node: Node, service_s: float, load: LoadDigest) -> None:
        client = request.by
        client.outstanding.ended(node.name, request.part)
        self._hear(client, node, load)
        elapsed_s = self.now - request.sent_at
        if client is not node:
            client.memory.record(
                ShardServed(node.name, request.macs, service_s, 0, elapsed_s), self.now
            )
        client.chooser.served(node.name, elapsed_s, self.now)
        took_s = self.now - request.at
        if request.at > WARM_S:
            self.times.append(took_s)
            self.good += self.now <= request.ends_at


KEYS = ("in_time", "p50_ms", "p99_ms", "shed", "refused", "infeasible", "probes", "offered")


def figures(model: Model) -> dict[str, float]:
    model.run()
    times = sorted(model.times)
    return {
        "in_time": model.good / model.offered,
        "p50_ms": round(1e3 * times[len(times) // 2]),
        "p99_ms": round(1e3 * times[int(0.99 * len(times))]),
        "shed": model.shed / model.offered,
        "refused": model.refused / model.offered,
        "infeasible": model.infeasible / model.offered,
        "probes": round(model.probes / model.offered, 2),
        "offered": model.offered,
    }


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--loads", type=float, nargs="+", default=[0.35, 0.7])
    words.add_argument("--seeds", type=int, default=2)
    words.add_argument("--policies", nargs="+", default=list(CHOOSERS))
    words.add_argument("--nodes", type=int, default=64)
    words.add_argument("--clients", type=int, default=8)
    words.add_argument("--fifo", action="store_true")
    words.add_argument("--mixed", action="store_true")
    asked = words.parse_args()
    for load in asked.loads:
        for policy in asked.policies:
            runs = [
                figures(
                    Model(
                        policy,
                        load,
                        seed,
                        nodes=asked.nodes,
                        clients=asked.clients,
                        fifo=asked.fifo,
                        mixed=asked.mixed,
                    )
                )
                for seed in range(1, asked.seeds + 1)
            ]
            means = {key: round(sum(run[key] for run in runs) / len(runs), 4) for key in KEYS}
            print(json.dumps({"policy": policy, "load": load, **means}), flush=True)


if __name__ == "__main__":
    main()
