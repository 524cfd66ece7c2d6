"""Links between simulated machines, and the messages on them.

A link is reliable and keeps its order, but it may be late: a loss costs a retransmission, a body its time on the wire.
Where there is no way any more nothing arrives and nobody is told; what was sent waits, and goes on its way at the next
retry after there is a way again. So either end may believe in a link on which nothing comes through. A process that
dies takes its links with it at once, for its kernel says so; a machine without power says nothing.

Each side has its own `End`. Who speaks to an end that is not open any more is told so by the other kernel.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from node.runtime.virtual.network import GIVE_UP_S, next_retry_at

if TYPE_CHECKING:
    from node.runtime.virtual.calls import Calling
    from node.runtime.virtual.machine import Machine
    from node.runtime.virtual.world import World

CONTROL, BULK = 0, 1
"""The two connections of a pair; each keeps its own order."""
FRAME_BYTES = 24
"""What stands before each header on the wire, and all of a frame that has none."""
LEAST_S = 1e-9
RESET = "connection reset by peer"

Act = Callable[..., None]
_Waiting = tuple[float, Act, tuple[object, ...]]


@dataclass(slots=True, eq=False)
class End:
    """One side of a link."""

    machine: "Machine"
    life: int
    """Of the machine's process: an end does not outlive it."""
    dialed: bool
    open: bool = False
    heard_at: float = -inf
    """When something from the other side was delivered here last."""
    awaited: bool = False
    """The other side's greeting is still on its way here."""
    floor: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """On each connection nothing that is sent from here arrives before this."""
    calls: dict["Calling", None] = field(default_factory=dict)
    """That were made from here and are not over."""
    stalled: list[_Waiting] = field(default_factory=list)
    """Sent from here and not arrived, for there is no way: when, and what it would do."""
    other: "End" = field(init=False)

    @property
    def there(self) -> bool:
        """Somebody is at this end, or will be in a moment."""
        return (self.open or self.awaited) and self.machine.life == self.life


def pair(dialer: "Machine", target: "Machine") -> tuple[End, End]:
    """Both ends of a new link, not open yet."""
    mine, theirs = End(dialer, dialer.life, dialed=True), End(target, target.life, dialed=False)
    mine.other, theirs.other = theirs, mine
    return mine, theirs


class Links:
    """Carries messages from end to end."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._stalled: list[End] = []

    def send(self, end: End, lane: int, nbytes: int, act: Act, *args: object) -> float:
        """Let `act(*args)` happen at the other side in a while; when the last byte has left."""
        world = self._world
        now = world.now
        if not end.open:
            return now
        mine, theirs = end.machine.port, end.other.machine.port
        left_at = mine.send(nbytes, now)
        network = world.network
        at = left_at + network.delay_s(mine, theirs) + network.segments_s(nbytes)
        if at <= end.floor[lane]:
            at = end.floor[lane] + LEAST_S
        end.floor[lane] = at
        world.schedule(at, self._arrive, (end, now, nbytes, act, args))
        return left_at

    def send_body(
        self,
        end: End,
        lane: int,
        nbytes: int,
        act: Act,
        args: tuple[object, ...],
        left: tuple[Act, tuple[object, ...]] | None,
        slice_bytes: int,
    ) -> None:
        """The same for a body, slice by slice; `left` is told when the last slice has gone, or never will."""
        machine = end.machine
        if machine.life != end.life:
            return
        if machine.frozen:
            machine.inbox(self.send_body, (end, lane, nbytes, act, args, left, slice_bytes))
            return
        whole = machine.port.up_bytes_s == inf or not end.open
        now_bytes = nbytes if whole else min(nbytes, slice_bytes)
        rest = nbytes - now_bytes
        if rest:
            left_at = self.send(end, lane, now_bytes, _passed)
            more = (end, lane, rest, act, args, left, slice_bytes)
            self._world.schedule(left_at, self.send_body, more)
            return
        left_at = self.send(end, lane, now_bytes, act, *args)
        if left is not None:
            self._world.schedule(left_at, machine.inbox, left)

    def close(self, end: End, reason: str) -> None:
        """This side is closed at once and told in a moment; the other hears of it if there is a way."""
        if not end.open:
            return
        self.tell_closed(end, reason)
        end.open = False
        end.stalled.clear()
        self._world.schedule(self._world.now, end.machine.inbox, (end.machine.lose, (end, reason)))

    def tell_closed(self, end: End, reason: str) -> None:
        """Let the other side know, unless its word is lost: nobody repeats it."""
        network = self._world.network
        mine, theirs = end.machine.port, end.other.machine.port
        at = self._world.now + network.delay_s(mine, theirs) + network.segments_s(FRAME_BYTES)
        at = max(at, max(end.floor) + LEAST_S)
        self._world.schedule(at, self._closed, (end.other, reason))

    def mended(self) -> None:
        """There are ways again: what waits on them is tried again at its next retry."""
        waiting, self._stalled = self._stalled, []
        for end in waiting:
            if not end.stalled:
                continue
            if self._world.network.is_cut(end.machine.port, end.other.machine.port):
                self._stalled.append(end)
            else:
                at = next_retry_at(end.stalled[0][0], self._world.now)
                self._world.schedule(at, self._resume, (end,))

    # -- within --------------------------------------------------------------------------------------

    def _arrive(
        self, end: End, sent_at: float, nbytes: int, act: Act, args: tuple[object, ...]
    ) -> None:
        world = self._world
        mine, theirs = end.machine.port, end.other.machine.port
        if end.stalled or world.network.is_cut(mine, theirs):
            self._stall(end, (sent_at, act, args))
            return
        in_at = theirs.receive(nbytes, world.now)
        if in_at > world.now:
            world.schedule(in_at, self._deliver, (end.other, act, args))
        else:
            self._deliver(end.other, act, args)

    def _deliver(self, end: End, act: Act, args: tuple[object, ...]) -> None:
        if not end.open:
            self._refuse(end)
        elif end.machine.frozen:
            end.machine.inbox(self._deliver, (end, act, args))
        else:
            end.heard_at = self._world.now
            act(*args)

    def _refuse(self, end: End) -> None:
        """Somebody spoke to an end that is closed: the kernel says so, if the machine runs at all."""
        if end.machine.powered and end.other.open:
            network = self._world.network
            back_s = network.delay_s(end.machine.port, end.other.machine.port)
            self._world.after(back_s, self._closed, end.other, RESET)

    def _closed(self, end: End, reason: str) -> None:
        """Word comes to this end that the other one is closed."""
        cut = self._world.network.is_cut(end.other.machine.port, end.machine.port)
        if not end.open or cut:
            return
        if end.machine.frozen:
            end.machine.inbox(self._closed, (end, reason))
            return
        end.open = False
        end.stalled.clear()
        end.machine.lose(end, reason)

    def _stall(self, end: End, waiting: _Waiting) -> None:
        if not end.open:
            return
        if not end.stalled:
            self._stalled.append(end)
            left_s = GIVE_UP_S - (self._world.now - waiting[0])
            self._world.after(max(left_s, 0.0), self._give_up, end, waiting)
        end.stalled.append(waiting)

    def _resume(self, end: End) -> None:
        if self._world.network.is_cut(end.machine.port, end.other.machine.port):
            self._stalled.append(end)
            return
        waiting, end.stalled = end.stalled, []
        for _, act, args in waiting:
            self._deliver(end.other, act, args)

    def _give_up(self, end: End, first: _Waiting) -> None:
        """Nothing has got through since; TCP itself ends the connection."""
        if not end.open or not end.stalled or end.stalled[0] is not first:
            return
        if end.machine.frozen:
            end.machine.inbox(self._give_up, (end, first))
            return
        end.open = False
        end.stalled.clear()
        end.machine.lose(end, "connection timed out")


def _passed() -> None:
    """A slice that is not the last has arrived: nothing is told."""
