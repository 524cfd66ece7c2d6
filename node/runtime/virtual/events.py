"""What can be seen of a simulation from outside: one small fact for everything that happens.

Traces, reports and invariants are built on it. A fact is made only if somebody listens, and facts about single packets
only if somebody asked for them, for there are a hundred times more of these than of all others.

    machine.started .killed .vanished .frozen .thawed .paced     what befell a machine
    machine.stopping                                             its process was asked to end, by whoever drives
    network.cut .healed .changed                                 what befell the network; the node is ""
    link.up .down                                                as this node was told
    task.began .ended                                            a client of this node
    packet.sent .lost .heard                                     at the sender, at the sender, at the receiver
    anything else                                                a `Note` of the node's own, under its own name
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Something has happened."""

    at: float
    """Seconds since the beginning of the world, whatever the node's own clock says."""
    node: str
    """Name of the machine."""
    kind: str
    fields: dict[str, object]


Watcher = Callable[[Event], None]


class Watchers:
    """Who listens."""

    def __init__(self) -> None:
        self.packets = False
        """Somebody wants to know of every single packet."""
        self._all: list[Watcher] = []
        self._packets: list[Watcher] = []

    def add(self, watcher: Watcher, *, packets: bool) -> None:
        self._all.append(watcher)
        if packets:
            self._packets.append(watcher)
            self.packets = True

    def tell(self, at: float, node: str, kind: str, /, **fields: object) -> None:
        if self._all:
            event = Event(at, node, kind, fields)
            for watcher in self._all:
                watcher(event)

    def tell_packet(self, at: float, node: str, kind: str, /, **fields: object) -> None:
        """Ask `packets` before, and spare the call."""
        event = Event(at, node, kind, fields)
        for watcher in self._packets:
            watcher(event)
