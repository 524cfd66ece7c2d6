"""How a link between two simulated machines comes about.

    SYN ->, <- SYN ACK, client's TLS hello ->, <- server's, client's last word and its greeting ->, <- the greeting

The target is told after five ways, the dialer after six. Where a process has died its kernel refuses at once; where
there is no power, or no way, the dialer waits for `DIAL_S`. Where both dial at the same time two links stand for a
moment, and both sides keep the one that the node with the smaller id dialed.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node.runtime.reaching import DIAL_S
from node.runtime.virtual.links import CONTROL, End, Links, pair
from protocol.ids import NodeId, short

if TYPE_CHECKING:
    from node.runtime.virtual.machine import Machine
    from node.runtime.virtual.world import World

WAYS_OF_HANDSHAKE = 4
"""After the first."""
NEXT_S = 0.001
ANOTHER = "the peer closed the connection, and opened another"


@dataclass(slots=True, eq=False)
class _Dialing:
    """One order to dial, and the address that is tried."""

    machine: "Machine"
    life: int
    addresses: tuple[str, ...]
    peer: NodeId | None
    failures: list[str] = field(default_factory=list)
    end: End | None = None
    """Ours, once the target has opened its own."""
    turn: int = 0
    """Grows with each address tried and with the end: what belongs to an older turn counts no more."""


class Dialing:
    """Carries out orders to dial."""

    def __init__(self, world: "World", links: Links) -> None:
        self._world = world
        self._links = links

    def dial(self, machine: "Machine", addresses: tuple[str, ...], peer: NodeId | None) -> None:
        """Try the addresses in order; the machine is told of a link, or that none came about."""
        self._try(_Dialing(machine, machine.life, addresses, peer))

    # -- the dialer's side ---------------------------------------------------------------------------

    def _try(self, dialing: _Dialing) -> None:
        world, machine = self._world, dialing.machine
        if len(dialing.failures) == len(dialing.addresses):
            reason = "; ".join(dialing.failures) or "no address is known"
            machine.hear(machine.node.dial_failed, dialing.addresses, dialing.peer, reason)
            return
        address = dialing.addresses[len(dialing.failures)]
        target = world.at(address)
        turn = dialing.turn
        if target is None:
            world.after(NEXT_S, self._failed, dialing, turn, f"{address}: there is no such machine")
        elif target is machine:
            world.after(NEXT_S, self._failed, dialing, turn, f"{address} is this node itself")
        else:
            reason = f"{address}: no answer within {DIAL_S:g} s"
            world.after(DIAL_S, self._failed, dialing, turn, reason)
            world.after(self._ways_s(machine, target, 1), self._knock, dialing, turn, target)

    def _failed(self, dialing: _Dialing, turn: int, reason: str) -> None:
        if dialing.turn != turn or dialing.machine.life != dialing.life:
            return
        if dialing.machine.frozen:
            dialing.machine.inbox(self._failed, (dialing, turn, reason))
            return
        if dialing.end is not None:
            dialing.end.awaited = False
            dialing.end = None
        dialing.turn += 1
        dialing.failures.append(reason)
        self._try(dialing)

    def _answered(self, dialing: _Dialing, turn: int, mine: End) -> None:
        """The target's greeting arrives on a new link."""
        machine, target = dialing.machine, mine.other.machine
        if self._world.network.is_cut(target.port, machine.port):
            return
        if machine.frozen:
            machine.inbox(self._answered, (dialing, turn, mine))
            return
        mine.awaited = False
        if dialing.turn != turn or machine.life != dialing.life:
            self._links.tell_closed(mine, "the dialer gave up")
            return
        if mine.other.open:
            self._open(machine, mine)
        self._settle(dialing, target)

    def _already(self, dialing: _Dialing, turn: int, target: "Machine") -> None:
        """There was a link when the greeting came to the target."""
        machine = dialing.machine
        if machine.frozen:
            machine.inbox(self._already, (dialing, turn, target))
        elif dialing.turn == turn and machine.life == dialing.life:
            self._settle(dialing, target)

    def _settle(self, dialing: _Dialing, target: "Machine") -> None:
        machine = dialing.machine
        if target.id not in machine.links:
            self._failed(dialing, dialing.turn, f"{target.address} closed the connection")
        elif dialing.peer is None:
            dialing.turn += 1
            machine.reached(dialing.addresses)
        elif target.id != dialing.peer:
            other, sought = short(target.id), short(dialing.peer)
            reason = f"{target.address} is now node {other}, not {sought}"
            self._failed(dialing, dialing.turn, reason)
        else:
            dialing.turn += 1

    # -- the target's side ---------------------------------------------------------------------------

    def _knock(self, dialing: _Dialing, turn: int, target: "Machine") -> None:
        """The first packet comes to the target's kernel."""
        world, machine = self._world, dialing.machine
        if dialing.turn != turn or self._apart(machine, target) or not target.powered:
            return
        if not target.alive:
            reason = f"{target.address}: connection refused"
            back_s = self._ways_s(target, machine, 1)
            world.after(back_s, self._failed, dialing, turn, reason)
            return
        ways_s = self._ways_s(machine, target, WAYS_OF_HANDSHAKE)
        world.after(ways_s, self._greeted, dialing, turn, target, target.life)

    def _greeted(self, dialing: _Dialing, turn: int, target: "Machine", life: int) -> None:
        """The dialer's greeting comes to the target's process."""
        machine = dialing.machine
        if dialing.turn != turn or self._apart(machine, target):
            return
        if target.life != life or not target.alive:
            if target.powered:
                reason = f"{target.address}: connection reset by peer"
                back_s = self._ways_s(target, machine, 1)
                self._world.after(back_s, self._failed, dialing, turn, reason)
            return
        if target.frozen:
            target.inbox(self._greeted, (dialing, turn, target, life))
            return
        self._accept(dialing, turn, target)

    def _accept(self, dialing: _Dialing, turn: int, target: "Machine") -> None:
        machine, world = dialing.machine, self._world
        back_s = self._ways_s(target, machine, 1)
        old = target.links.get(machine.id)
        if old is not None and old.open and old.other.there:
            # Not before the greeting on that link, if it is on its way.
            at = max(world.now + back_s, old.floor[CONTROL])
            world.schedule(at, self._already, (dialing, turn, target))
            return
        if old is not None:
            old.open = False
            target.lose(old, ANOTHER)
        mine, theirs = pair(machine, target)
        mine.awaited = True
        dialing.end = mine
        # What the target says at once comes after its greeting.
        theirs.floor = [world.now + back_s] * 2
        world.after(back_s, self._answered, dialing, turn, mine)
        self._open(target, theirs)

    # -- both ----------------------------------------------------------------------------------------

    def _open(self, machine: "Machine", end: End) -> None:
        """This side has the link now. Of two, the one that the smaller id dialed is used for what comes."""
        end.open = True
        peer = end.other.machine.id
        old = machine.links.get(peer)
        if old is None:
            machine.links[peer] = end
            machine.link_up(peer, end.dialed)
        elif (machine.id < peer) == end.dialed:
            machine.links[peer] = end
            machine.spare.append(old)
        else:
            machine.spare.append(end)

    def _ways_s(self, one: "Machine", other: "Machine", ways: int) -> float:
        network = self._world.network
        late_s = sum(network.segments_s(1) for _ in range(ways)) if network.conditions.loss else 0.0
        return ways * network.delay_s(one.port, other.port) + late_s

    def _apart(self, one: "Machine", other: "Machine") -> bool:
        network = self._world.network
        return network.is_cut(one.port, other.port) or network.is_cut(other.port, one.port)
