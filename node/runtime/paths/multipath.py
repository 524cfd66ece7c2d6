"""The transport of a link over several paths: one stream, whichever of them carries it at the moment.

To the link it looks like any transport of asyncio, but for two things: it keeps what was written until the other side
has it (`Stream`), and it may be without any path for a while. Which path to use is decided in `nat/path.py`; what has
come and what must be sent again, in `nat/stream.py`.
"""

import asyncio
import random
from typing import assert_never, cast

from nat.path import Choice, Drop, PathChoice, Ping, Use
from nat.pathfinder import DIRECT
from nat.records import RecordKind
from nat.stream import Piece
from node.runtime.alarm import Alarm
from node.runtime.frame_link import FrameLink
from node.runtime.paths.end import PathEnd
from node.runtime.paths.owner import MultipathOwner
from node.runtime.paths.sending import Sending
from node.runtime.whereabouts import Detour
from protocol import codec
from protocol.errors import PeerError
from protocol.ids import NodeId
from protocol.limits import TEXT_BYTES_MAX
from protocol.paths import Ending, PathKind

PATHS_MAX = 8
"""Of one link; for a further one the quietest makes room, which most often is dead."""

ACK_BYTES = 128 * 1024
"""So much is acknowledged at once."""

BODY_BYTES = 4 * 1024
"""And so much, where it ends a record: a body's memory is not free before."""

ACK_S = 0.1
"""Less than that waits so long for something to ride on."""


class Multipath:
    """One link's end. `link_id` names it on both sides; `dialed`: this side opened it."""

    def __init__(
        self,
        link_id: bytes,
        peer: NodeId,
        link: FrameLink,
        owner: MultipathOwner,
        dice: random.Random,
        *,
        dialed: bool,
    ) -> None:
        self.link_id = link_id
        self.peer = peer
        self.dialed = dialed
        self.link = link
        self.received = 0
        self.last_address = ""
        """Where the last path that we dialled led; empty if we have dialled none."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._sending = Sending(self._tell)
        self._choice = PathChoice(dice, dialed=dialed)
        self._ends: dict[int, PathEnd] = {}
        self._numbers = 0
        self._acked = 0
        """Offset of what came in, as the other side was last told."""
        self._ack_timer: asyncio.TimerHandle | None = None
        self._alarm = Alarm(self._ring)
        self._was_used = False
        self._paused = False
        self._closing = False
        self._over = False

    # -- what the link calls, as of any transport ------------------------------------------------------

    def write(self, data: Piece) -> None:
        self.writelines([data])

    def writelines(self, pieces: list[Piece]) -> None:
        if self._over or self._closing:
            return
        now = self._loop.time()
        self._sending.write(pieces, now)
        self._choice.sent(now)
        self._rearm()
        self._weigh()

    def get_write_buffer_size(self) -> int:
        return self._sending.out.kept_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """A window takes their place."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        end = self._active or next(iter(self._ends.values()), None)
        match name:
            case "stream":
                return self._sending.out
            case "sockname":
                return default if end is None else end.local
            case "peername":
                return default if end is None else end.remote
            case "ssl_object":
                # Every path is encrypted; the link sizes its slices by that.
                return self
            case _:
                return default

    def is_closing(self) -> bool:
        return self._closing or self._over

    def close(self) -> None:
        """Say that the link is over, behind all that was written, and close every path."""
        self.end("the link is closed")

    def abort(self) -> None:
        self._closing = True
        for end in list(self._ends.values()):
            end.abort()
        if not self._ends:
            self._loop.call_soon(self.fail, None)

    # -- what its owner calls --------------------------------------------------------------------------

    @property
    def _active(self) -> PathEnd | None:
        """The path in use."""
        return self._sending.end

    @property
    def kind(self) -> PathKind | None:
        """Of the path in use."""
        return None if self._active is None else self._active.kind

    @property
    def kinds(self) -> list[PathKind]:
        """Of all paths that work, the best first."""
        return self._choice.kinds

    @property
    def is_straight(self) -> bool:
        """The path in use is TCP from one end to the other."""
        return self.kind in DIRECT

    @property
    def address(self) -> str:
        """Where the path in use was dialled by us; else empty."""
        return "" if self._active is None else self._active.address

    @property
    def rtt_s(self) -> float | None:
        """Of the path in use, as its pings took."""
        return None if self._active is None else self._choice.rtt_s(self._active.number)

    @property
    def remote(self) -> str:
        return "" if self._active is None else self._active.remote

    @property
    def via(self) -> NodeId | None:
        """The relay that the path in use runs by way of, if it does."""
        return None if self._active is None else self._active.via

    @property
    def is_over(self) -> bool:
        return self._over or self._closing

    @property
    def is_stranded(self) -> bool:
        """It lives, and has no path."""
        return not (self._over or self._closing or self._ends)

    @property
    def transport(self) -> asyncio.Transport:
        """This, as the link takes it: what it needs of a transport is here."""
        return cast(asyncio.Transport, self)

    def add(self, end: PathEnd, received: int) -> None:
        """One more path, on which both sides have said that it is to carry this link. PeerError if that cannot be."""
        if self._over or self._closing:
            end.abort()
            return
        self._acknowledged(received)
        if len(self._ends) >= PATHS_MAX and (quietest := self._choice.quietest) is not None:
            self._drop(self._ends[quietest], f"it was the quietest of {PATHS_MAX}")
        self._numbers += 1
        end.number, end.owner = self._numbers, self
        self.last_address = end.address or self.last_address
        self._ends[end.number] = end
        self._carry_out(self._choice.opened(end.number, end.kind, self._loop.time()))

    def network_changed(self, hosts: frozenset[str]) -> None:
        """Paths from an address that this machine has no longer are gone, though nobody says so; ask on the others."""
        for end in list(self._ends.values()):
            if end.local_host and end.local_host not in hosts:
                self._drop(end, "this machine has lost the address that it ran from")
        self._carry_out(self._choice.ask_all(self._loop.time()))

    def send_offer(self, payload: bytes) -> None:
        self._send_aside(RecordKind.OFFER, payload)

    def answer_offer(self, payload: bytes, by: PathEnd) -> None:
        """On the path that it came by, while that is there: the one in use may have died, and nobody knows yet."""
        if by.number in self._ends:
            by.send(RecordKind.OFFER, 0, self._tell(), payload)
        else:
            self.send_offer(payload)

    def send_packet(self, payload: bytes, *, in_doubt: bool) -> Detour | None:
        """How it went: by itself if the path in use is punched, if in doubt over another one, too; None: not at all."""
        if self._active is not None and not self._over and self._active.send_datagram(payload):
            others = (one for one in self._ends.values() if one.kind is not PathKind.PUNCHED)
            if in_doubt and (other := next(others, None)) is not None:
                other.send(RecordKind.PACKET, 0, self._tell(), payload)
                # The stream may have nothing to say for long, and would not find out.
                self._carry_out(self._choice.ask_all(self._loop.time()))
            return Detour.PUNCHED
        return Detour.LINK if self._send_aside(RecordKind.PACKET, payload) else None

    def end(self, reason: str) -> None:
        """Close the link and tell the other side, if there is a way to."""
        if self._closing or self._over:
            return
        if self._active is not None:
            self._sending.go_on(everything=True)
            ending = codec.encode(Ending(reason=reason[:TEXT_BYTES_MAX]))
            self._active.send(RecordKind.ENDING, 0, self.received, ending)
        self._closing = True
        for one in list(self._ends.values()):
            one.close()
        if not self._ends:
            self._loop.call_soon(self.fail, None)

    def fail(self, wrong: Exception | None) -> None:
        """The link is lost, for this reason; None: somebody closed it."""
        if self._over:
            return
        self._over = self._closing = True
        self._alarm.set(None)
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        for end in list(self._ends.values()):
            end.abort()
        self._ends.clear()
        self._sending.end = None
        self._sending.out.drop()
        self.link.connection_lost(wrong)
        self._owner.over(self)

    # -- what paths tell -------------------------------------------------------------------------------

    def heard(self, end: PathEnd, received: int) -> None:
        if received > self._sending.out.acked:
            self._acknowledged(received)
        if effects := self._choice.heard(end.number, self._loop.time()):
            self._carry_out(effects)

    def record(self, end: PathEnd, kind: RecordKind, number: int, payload: bytes) -> None:
        match kind:
            case RecordKind.PING:
                end.send(RecordKind.PONG, number, self._tell())
            case RecordKind.PONG:
                self._choice.ponged(end.number, number, self._loop.time())
            case RecordKind.OFFER:
                self._owner.offered(self, end, payload)
            case RecordKind.PACKET:
                self._owner.packet_came(self, payload)
            case RecordKind.ENDING:
                # Its last words came before that, in the stream.
                reason = codec.decode(Ending, payload).reason
                self._closing = True
                self._loop.call_soon(self.fail, ConnectionResetError(reason))
            case RecordKind.ATTACHED | RecordKind.ACK:
                # Their heads have said all.
                pass
            case _:
                raise PeerError(f"{kind.name} came on a path that is attached already")

    def get_buffer(self, hint: int) -> memoryview:
        return self.link.get_buffer(hint)

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self.link.buffer_updated(nbytes)

    def data_ended(self, end: PathEnd) -> None:
        untold = self.received - self._acked
        if untold >= (ACK_BYTES if end.in_record else BODY_BYTES):
            (self._active or end).send(RecordKind.ACK, 0, self._tell())
        elif untold and self._ack_timer is None and not self._over:
            self._ack_timer = self._loop.call_later(ACK_S, self._ack_late)

    def paused(self, end: PathEnd) -> None:
        if end is self._active:
            self._weigh()

    def resumed(self, end: PathEnd) -> None:
        if end is self._active:
            self._sending.go_on()
            self._weigh()

    def broke(self, end: PathEnd, wrong: PeerError) -> None:
        """On another path the peer would be the same: the link is over, and it is told why."""
        if self._closing:
            end.abort()
            return
        self.link.fault = wrong
        self.link.close(str(wrong))

    def path_lost(self, end: PathEnd, reason: str, *, refused: bool) -> None:
        if self._ends.pop(end.number, None) is None:
            return
        if self._active is end:
            self._sending.end = None
        effects = self._choice.closed(end.number, self._loop.time())
        if self._closing:
            if not self._ends:
                self.fail(None)
            return
        self._owner.path_closed(self, end.kind, reason)
        self._carry_out(effects)
        self._weigh()
        if not self._ends:
            self._owner.stranded(self, reason, refused=refused)

    # -- within ----------------------------------------------------------------------------------------

    def _drop(self, end: PathEnd, reason: str) -> None:
        end.abort()
        self.path_lost(end, reason, refused=False)

    def _carry_out(self, effects: list[Choice]) -> None:
        for effect in effects:
            match effect:
                case Ping():
                    if (end := self._ends.get(effect.path)) is not None:
                        end.send(RecordKind.PING, effect.token, self._tell())
                case Use():
                    self._use(self._ends[effect.path], effect.why)
                case Drop():
                    if (end := self._ends.get(effect.path)) is not None:
                        self._drop(end, effect.reason)
                case _:
                    assert_never(effect)
        self._rearm()

    def _use(self, end: PathEnd, why: str) -> None:
        is_first, self._was_used = not self._was_used, True
        self._sending.use(end)
        self.link.local, self.link.remote = end.local, end.remote
        self._weigh()
        if not is_first:
            self._owner.switched(self, end.kind, why)

    def _send_aside(self, kind: RecordKind, payload: bytes) -> bool:
        if self._active is None or self._over:
            return False
        self._active.send(kind, 0, self._tell(), payload)
        return True

    def _tell(self) -> int:
        """What came in, as it rides on every record."""
        self._acked = self.received
        return self.received

    def _ack_late(self) -> None:
        self._ack_timer = None
        if self._acked < self.received and self._active is not None:
            self._active.send(RecordKind.ACK, 0, self._tell())

    def _acknowledged(self, received: int) -> None:
        now = self._loop.time()
        if not self._sending.acknowledged(received, now):
            return
        self._choice.acknowledged(self._sending.out.kept_bytes == 0, now)
        self.link.acknowledged(received)
        self._weigh()

    def _weigh(self) -> None:
        """Whether the link may hand over more."""
        if not self._over and (holds := self._sending.holds()) is not self._paused:
            self._paused = holds
            if holds:
                self.link.pause_writing()
            else:
                self.link.resume_writing()

    def _rearm(self) -> None:
        self._alarm.set(None if self._over else self._choice.deadline)

    def _ring(self, now: float) -> None:
        self._carry_out(self._choice.tick(now))
