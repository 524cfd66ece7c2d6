"""Measures a run while it goes: who agreed with whom, who was wronged, what was sent, how long clients waited."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, nan

from node.core import Node
from node.runtime.virtual.events import Event
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.world import World
from node.simulation.inspection import names_of, observers, seen
from node.simulation.outcome import Membership, Memory, Sample, Traffic
from node.simulation.truth import Truth
from protocol.ids import short

SAMPLE_S_MIN = 0.5
SAMPLES_MAX = 240

KINDS = ("membership", "digests", "calls", "bodies")
KIND_OF = {
    **dict.fromkeys(("Ping", "Ack", "Nack", "PingFor", "Gossip", "Carry"), "membership"),
    **dict.fromkeys(("Compare", "Compared", "Tell", "Told", "Probe", "Probed"), "digests"),
}
"""What a message is counted under, by its name; what does not stand here serves clients."""


@dataclass(slots=True)
class _Stop:
    """A machine that is there no more, and who knows of it."""

    machine: str
    at: float
    knowers: dict[str, float] = field(default_factory=dict)
    """Observer to when it took the machine for dead."""


@dataclass(slots=True)
class _Interval:
    """What happened since the last sample."""

    false_suspicions: int = 0
    false_deaths: int = 0


class Measures:
    """Told of events; looks at all machines now and then."""

    def __init__(
        self, world: World, machines: Sequence[Machine], truth: Truth, run_s: float
    ) -> None:
        self.samples: list[Sample] = []
        self.events: Counter[str] = Counter()
        self.probes = 0
        """Questions for a node's load, after decisions; told in the end."""
        self._former_probes = 0
        """Those of processes that have ended."""
        self.sample_s = max(SAMPLE_S_MIN, run_s / SAMPLES_MAX)
        self._world = world
        self._machines = machines
        self._truth = truth
        self._run_s = run_s
        self._names = names_of(machines)
        self._short_ids = {machine.name: short(machine.id) for machine in machines}
        self._observers = observers(machines, world.seed)
        self._now = _Interval()
        self._suspicions = 0
        self._false_suspicions = 0
        self._wronged: set[tuple[str, float]] = set()
        """Healthy machines, by when they started, that somebody took for dead."""
        self._stops: dict[str, _Stop] = {}
        self._sent: Counter[str] = Counter()
        self._lived_s = 0.0

    # -- what happens --------------------------------------------------------------------------------

    def plan(self) -> None:
        self._world.schedule(self.sample_s, self._sample, ())

    def hear(self, event: Event) -> None:
        self.events[event.kind] += 1
        match event.kind:
            case "peer.suspected":
                self._suspected(event)
            case "peer.died":
                self._died(event)
            case "machine.stopping":
                self._stops[event.node] = _Stop(event.node, event.at)
            case "machine.killed" | "machine.vanished":
                self._stops.setdefault(event.node, _Stop(event.node, event.at))
                self._former_probes += _probes(self._world.machines[event.node])
            case "machine.started":
                self._stops.pop(event.node, None)
            case _:
                pass

    def _suspected(self, event: Event) -> None:
        if event.fields["accuser"] != self._short_ids[event.node]:
            # It has heard of it from another one, who is counted.
            return
        self._suspicions += 1
        if self._truth.wronged(event.node, self._peer(event), event.at):
            self._false_suspicions += 1
            self._now.false_suspicions += 1

    def _died(self, event: Event) -> None:
        peer = self._peer(event)
        if (stop := self._stops.get(peer)) is not None:
            stop.knowers.setdefault(event.node, event.at)
        elif self._truth.wronged(event.node, peer, event.at):
            life = (peer, self._truth.started_at[peer])
            self._now.false_deaths += life not in self._wronged
            self._wronged.add(life)

    def _peer(self, event: Event) -> str:
        """The name of whom the event is about."""
        peer = event.fields["peer"]
        assert isinstance(peer, str)
        return self._names[peer]

    # -- now and then --------------------------------------------------------------------------------

    def _sample(self) -> None:
        now, living = self._world.now, [machine for machine in self._machines if machine.alive]
        found, self._now = self._now, _Interval()
        fills = [_fill(machine.node) for machine in living] or [nan]
        self.samples.append(
            Sample(
                at_s=now,
                living=len(living),
                agreement=self.agreement(),
                false_suspicions=found.false_suspicions,
                false_deaths=found.false_deaths,
                bytes_s=self._sent_since(len(living)),
                fill_mean=sum(fills) / len(fills),
                fill_max=max(fills),
            )
        )
        if now + self.sample_s <= self._run_s:
            self._world.after(self.sample_s, self._sample)

    def agreement(self) -> float:
        """Share of (observer, machine) pairs seen rightly now."""
        truth = self._truth
        there: tuple[set[str], set[str]] = (set(), set())
        for machine in self._machines:
            if truth.up[machine.name]:
                there[truth.side_of(machine.name)].add(machine.id)
        others = len(self._machines) - 1
        right, pairs = 0, 0
        for observer in self._observers:
            if truth.up[observer.name] and observer.alive:
                real, view = there[truth.side_of(observer.name)], seen(observer.node)
                both = len(view & real)
                # The observer is among those that are there, but not in its own view.
                right += others - (len(real) - 1 - both) - (len(view) - both)
                pairs += others
        return right / pairs if pairs else nan

    def _sent_since(self, living: int) -> dict[str, float]:
        """Bytes of a node in a second, by kind, since the last sample."""
        before, self._sent = self._sent, _sent(self._machines)
        seconds = self.sample_s * max(living, 1)
        self._lived_s += self.sample_s * living
        return {kind: (self._sent[kind] - before[kind]) / seconds for kind in KINDS}

    # -- in the end ----------------------------------------------------------------------------------

    def end(self) -> None:
        """The run is over; what comes now is its aftermath."""
        living = [machine for machine in self._machines if machine.alive]
        self.probes = self._former_probes + sum(map(_probes, living))
        self.membership = self._membership()
        self.traffic = self._traffic()
        self.memory = self._memory()

    def _membership(self) -> Membership:
        """At the end of the run."""
        stops = list(self._stops.values())
        known = [stop for stop in stops if stop.knowers]
        return Membership(
            agreement=self.agreement(),
            agreed_again_s=tuple(map(self._agreed_again_s, self._truth.heals)),
            suspicions=self._suspicions,
            false_suspicions=self._false_suspicions,
            false_deaths=len(self._wronged),
            stops=len(stops),
            detected_s=tuple(min(stop.knowers.values()) - stop.at for stop in known),
            spread_s=tuple(map(self._spread_s, known)),
        )

    def _traffic(self) -> Traffic:
        packets = sum(machine.traffic.packets for machine in self._machines)
        lived_s = self._lived_s or nan
        return Traffic(
            bytes_s={kind: self._sent[kind] / lived_s for kind in KINDS},
            packets_s=packets / lived_s,
        )

    def _memory(self) -> Memory:
        if not self.samples:
            return Memory(fill_mean=nan, fill_max=nan)
        fills = [sample.fill_mean for sample in self.samples]
        return Memory(
            fill_mean=sum(fills) / len(fills),
            fill_max=max(sample.fill_max for sample in self.samples),
        )

    def _agreed_again_s(self, healed_at: float) -> float:
        """Until all saw all rightly: infinite where that never came."""
        for sample in self.samples:
            if sample.at_s >= healed_at and sample.agreement == 1.0:
                return sample.at_s - healed_at
        return inf

    def _spread_s(self, stop: _Stop) -> float:
        """From the first that took it for dead to the last of those that live now and were there then."""
        living = [
            name
            for name in self._truth.living
            if name != stop.machine and self._truth.started_at[name] <= stop.at
        ]
        last = max((stop.knowers.get(name, inf) for name in living), default=inf)
        return last - min(stop.knowers.values())


def _probes(machine: Machine) -> int:
    return machine.node.asking.after_decisions


def _fill(node: Node) -> float:
    return node.ledger.accounted_bytes / node.ledger.budget_bytes


def _sent(machines: Sequence[Machine]) -> Counter[str]:
    """Bytes since the world began, by kind."""
    sent: Counter[str] = Counter()
    for machine in machines:
        for name, nbytes in machine.traffic.kinds.items():
            sent[KIND_OF.get(name, "calls")] += nbytes
        sent["bodies"] += machine.traffic.body_bytes
    return sent
