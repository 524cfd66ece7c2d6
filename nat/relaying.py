"""Decides for a relay: who may use it, to whom each message goes, and when a sender has to wait.

A node that holds a reservation is a *guest*; it may open channels to other guests. The relay knows of each channel how
much is on its way in each direction, so it never keeps more than a window for a channel: whoever sends beyond that
loses the channel. A guest that does not read thus holds up only what is sent to it.

    opener                     relay                      other end
      | open(to: other)  ------> |                             |
      | <------ opened(of: other)| ------> open(of: opener)    |
      | data, window, close <----+----> data, window, close    |

A guest above its quota is answered with `Pause`: its next messages are not read until `Resume`.
"""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from nat.endpoint import plain
from nat.quotas import Quotas
from nat.relay_wire import (
    HEADER_BYTES,
    OPENER,
    WINDOW_BYTES,
    Absent,
    Close,
    Data,
    Message,
    Open,
    Opened,
    Ping,
    Pong,
    Told,
    Unknown,
    Window,
)

CHANNELS_MAX = 512
"""Of one guest. A further one is refused."""

OWED_BYTES_MAX = 8 << 20
"""On their way to one guest over all its channels. The channel that would exceed it is closed."""

SILENT_S = 90.0
"""A guest speaks every 30 s at the latest: who is silent for so long has gone without a word."""

RESERVATION_S = 3600.0
"""For so long a reservation is signed; it is renewed when half of it is over."""

IPV6_SITE_BITS = 64
"""All addresses with the same so many bits are one source: a host has as many of them as it likes."""

OWN = ""
"""The source of the relay's own node, which is its guest without a reservation or a quota."""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    reservations: int = 128
    per_address: int = 8
    rate: float = 250e3
    """Bytes a second, of each guest."""
    burst: float = 4 << 20
    """Bytes that a guest may send at full speed after a rest."""
    total: float = 10e6
    """Bytes a second, of all together."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """The guest has a reservation, until then."""

    guest: int
    until: float


@dataclass(frozen=True, slots=True)
class Refuse:
    """No reservation; this connection is to be closed with the reason."""

    guest: int
    reason: str


@dataclass(frozen=True, slots=True)
class Deliver:
    guest: int
    message: Message


@dataclass(frozen=True, slots=True)
class Pause:
    """Read nothing of this guest's until `Resume`."""

    guest: int


@dataclass(frozen=True, slots=True)
class Resume:
    guest: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop this connection. The guest has gone already."""

    guest: int
    reason: str


Effect = Reserve | Refuse | Deliver | Pause | Resume | Cut


@dataclass(slots=True)
class _Guest:
    """One connection; the same node may come back over another one."""

    number: int
    node: bytes
    source: str
    until: float
    held: Message | None = None
    owed: int = 0
    channels: dict["_Channel", None] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Channel:
    number: int
    opener: _Guest
    other: _Guest
    to_other: int = 0
    """Bytes sent to it that it has not taken."""
    to_opener: int = 0

    def across(self, guest: _Guest) -> _Guest:
        return self.other if guest is self.opener else self.opener

    def seen_by(self, guest: _Guest) -> int:
        """The channel as a message to this guest names it: by the other one's side."""
        return self.number if guest is self.opener else self.number | OPENER


class Relaying:
    """Guests are known by the number of their connection, which is never used again."""

    def __init__(self, limits: RelayLimits) -> None:
        self.counters: Counter[str] = Counter()
        self._limits = limits
        self._quotas = Quotas(limits.rate, limits.burst, limits.total)
        self._guests: OrderedDict[int, _Guest] = OrderedDict()
        """By when they were heard last, the most silent first."""
        self._heard_at: dict[int, float] = {}
        self._by_node: dict[bytes, _Guest] = {}
        self._channels: dict[tuple[bytes, bytes, int], _Channel] = {}

    @property
    def deadline(self) -> float | None:
        waits = self._quotas.deadline
        if not self._guests:
            return waits
        silent = self._heard_at[next(iter(self._guests))] + SILENT_S
        return silent if waits is None else min(waits, silent)

    @property
    def guests(self) -> tuple[bytes, ...]:
        return tuple(self._by_node)

    @property
    def channels(self) -> int:
        return len(self._channels)

    # -- what happens ----------------------------------------------------------------------------------

    def arrived(self, number: int, node: bytes, address: str, now: float) -> list[Effect]:
        """A member asks for a reservation, from this IP address (`OWN`: it is the relay itself)."""
        effects: list[Effect] = []
        if (earlier := self._by_node.get(node)) is not None:
            # It has lost that connection, and we have not noticed.
            effects += self._leave(earlier, "the node has come back over another connection")
        source = _source(address)
        if source != OWN and (reason := self._full(source)) is not None:
            self.counters["refused"] += 1
            return [*effects, Refuse(number, reason)]
        guest = _Guest(number, node, source, now + RESERVATION_S)
        self._guests[number] = self._by_node[node] = guest
        self._heard_at[number] = now
        self.counters["reserved"] += 1
        return [*effects, Reserve(number, guest.until)]

    def heard(self, number: int, message: Message, now: float) -> list[Effect]:
        guest = self._guests.get(number)
        if guest is None:
            return []
        assert guest.held is None, "a guest that is paused is not read from"
        self._alive(guest, now)
        nbytes = HEADER_BYTES + (len(message.payload) if isinstance(message, Data) else 0)
        if guest.source == OWN or self._quotas.asked(guest.node, guest.source, nbytes, now):
            return self._pass_on(guest, message, now)
        guest.held = message
        self.counters["paused"] += 1
        return [Pause(number)]

    def broke(self, number: int, reason: str) -> list[Effect]:
        """What it says makes no sense, or it does not take what is sent to it."""
        guest = self._guests.get(number)
        return [] if guest is None else self._leave(guest, reason)

    def gone(self, number: int) -> list[Effect]:
        """Its connection is lost."""
        # Nobody is left to be cut.
        return [effect for effect in self.broke(number, "") if not isinstance(effect, Cut)]

    def tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for node in self._quotas.tick(now):
            guest = self._by_node[node]
            assert guest.held is not None
            message, guest.held = guest.held, None
            self._alive(guest, now)
            effects += [Resume(guest.number), *self._pass_on(guest, message, now)]
        while self._guests:
            number, guest = next(iter(self._guests.items()))
            if now < self._heard_at[number] + SILENT_S:
                break
            if guest.held is not None or guest.source == OWN:
                # We do not read from it: its silence is ours.
                self._alive(guest, now)
            else:
                effects += self._leave(guest, f"nothing was heard for {SILENT_S:.0f} s")
        return effects

    # -- coming and going ------------------------------------------------------------------------------

    def _full(self, source: str) -> str | None:
        sources = Counter(guest.source for guest in self._guests.values())
        if sources[source] >= self._limits.per_address:
            return f"{sources[source]} nodes come from this address: no more may"
        if sources.total() - sources[OWN] >= self._limits.reservations:
            return f"all {self._limits.reservations} places are taken"
        return None

    def _alive(self, guest: _Guest, now: float) -> None:
        self._heard_at[guest.number] = now
        self._guests.move_to_end(guest.number)

    def _leave(self, guest: _Guest, reason: str) -> list[Effect]:
        del self._guests[guest.number], self._heard_at[guest.number], self._by_node[guest.node]
        self._quotas.forget(guest.node)
        self.counters["left"] += 1
        effects: list[Effect] = [Cut(guest.number, reason)]
        for channel in tuple(guest.channels):
            self._end(channel)
            there = channel.across(guest)
            effects.append(Deliver(there.number, Absent(guest.node, channel.seen_by(there))))
        return effects

    # -- messages --------------------------------------------------------------------------------------

    def _pass_on(self, guest: _Guest, message: Message, now: float) -> list[Effect]:
        match message:
            case Data() | Window() | Close():
                return self._pass_told(guest, message)
            case Open():
                return self._open(guest, message)
            case Ping(token):
                return [Deliver(guest.number, Pong(token)), *self._renew(guest, now)]
            case Unknown():
                self.counters["unknown_kind"] += 1
                return []
            case _:
                return self._leave(guest, f"a node says no {type(message).__name__}")

    def _renew(self, guest: _Guest, now: float) -> Iterator[Effect]:
        if guest.until - now <= RESERVATION_S / 2:
            guest.until = now + RESERVATION_S
            yield Reserve(guest.number, guest.until)

    def _open(self, guest: _Guest, message: Open) -> list[Effect]:
        back = message.channel & ~OPENER
        there = self._by_node.get(message.peer)
        if there is None:
            self.counters["absent"] += 1
            return [Deliver(guest.number, Absent(message.peer, back))]
        if (reason := self._not_opened(guest, there, back)) is not None:
            self.counters["not_opened"] += 1
            return [Deliver(guest.number, Close(message.peer, back, reason))]
        channel = _Channel(back, guest, there)
        self._channels[guest.node, there.node, back] = channel
        guest.channels[channel] = there.channels[channel] = None
        self.counters["opened"] += 1
        return [
            Deliver(there.number, Open(guest.node, message.channel)),
            Deliver(guest.number, Opened(there.node, back)),
        ]

    def _not_opened(self, guest: _Guest, there: _Guest, number: int) -> str | None:
        if guest is there:
            return "that is the node itself"
        if (guest.node, there.node, number) in self._channels:
            return "there is such a channel already"
        if max(len(guest.channels), len(there.channels)) >= CHANNELS_MAX:
            return f"one of the two has {CHANNELS_MAX} channels: no more may be"
        return None

    def _pass_told(self, guest: _Guest, message: Data | Window | Close) -> list[Effect]:
        channel = self._channel(guest, message)
        if channel is None:
            # Closed meanwhile, most often; the guest has been told, or is about to be.
            self.counters["without_channel"] += 1
            return []
        there = channel.across(guest)
        match message:
            case Data(_, name, payload):
                return self._pass_data(guest, channel, Data(guest.node, name, payload))
            case Window(_, name, nbytes):
                return self._pass_window(guest, channel, Window(guest.node, name, nbytes))
            case Close(_, name, reason):
                self._end(channel)
                return [Deliver(there.number, Close(guest.node, name, reason))]

    def _channel(self, guest: _Guest, message: Told) -> _Channel | None:
        number = message.channel & ~OPENER
        ends = (
            (guest.node, message.peer) if message.channel & OPENER else (message.peer, guest.node)
        )
        return self._channels.get((*ends, number))

    def _pass_data(self, guest: _Guest, channel: _Channel, message: Data) -> list[Effect]:
        nbytes = len(message.payload)
        there = channel.across(guest)
        if _on_its_way(channel, there) + nbytes > WINDOW_BYTES:
            return self._close(channel, "more was sent than there was room for")
        if there.owed + nbytes > OWED_BYTES_MAX:
            return self._close(channel, "the other end has too much to read from others")
        self._owe(channel, there, nbytes)
        self.counters["forwarded"] += 1
        self.counters["forwarded_bytes"] += nbytes
        return [Deliver(there.number, message)]

    def _pass_window(self, guest: _Guest, channel: _Channel, message: Window) -> list[Effect]:
        if message.nbytes > _on_its_way(channel, guest):
            return self._close(channel, "more was taken than had been sent")
        self._owe(channel, guest, -message.nbytes)
        return [Deliver(channel.across(guest).number, message)]

    def _owe(self, channel: _Channel, guest: _Guest, nbytes: int) -> None:
        guest.owed += nbytes
        if guest is channel.opener:
            channel.to_opener += nbytes
        else:
            channel.to_other += nbytes

    def _close(self, channel: _Channel, reason: str) -> list[Effect]:
        """By the relay: both ends are told, each as if by the other."""
        self.counters["closed"] += 1
        self._end(channel)
        ends = (channel.opener, channel.other)
        return [
            Deliver(end.number, Close(channel.across(end).node, channel.seen_by(end), reason))
            for end in ends
        ]

    def _end(self, channel: _Channel) -> None:
        opener, other = channel.opener, channel.other
        del self._channels[opener.node, other.node, channel.number]
        del opener.channels[channel], other.channels[channel]
        opener.owed -= channel.to_opener
        other.owed -= channel.to_other


def _on_its_way(channel: _Channel, to: _Guest) -> int:
    return channel.to_opener if to is channel.opener else channel.to_other


def _source(address: str) -> str:
    """What counts as one address: the kernel has told it, so it is one."""
    if address == OWN:
        return OWN
    parsed = ipaddress.ip_address(plain(address))
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_SITE_BITS), strict=False))
    return str(parsed)
