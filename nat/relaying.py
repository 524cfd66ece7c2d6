"""Decides for a relay: who may use it, to whom each message goes, and when a sender has to wait.

A node that holds a reservation is a *guest*; it may open channels to other guests (`nat/relay_channels.py`). A guest
above its quota (`nat/quotas.py`) is answered with `Pause`: its next messages are not read until `Resume`.
"""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from nat.endpoint import plain
from nat.quotas import Quotas
from nat.relay_channels import Channels, Deliver, End
from nat.relay_wire import HEADER_BYTES, Close, Data, Message, Open, Ping, Pong, Unknown, Window

SILENT_S = 90.0
"""A guest speaks every 30 s at the latest: who is silent for so long has gone without a word."""

RESERVATION_S = 3600.0
"""For so long a reservation is signed; it is renewed when half of it is over."""

MESSAGE_COST_BYTES = 512
"""The least that a message counts against the quota: a short one is as much work for the relay as this many bytes."""

OPEN_COST_BYTES = 16 * 1024
"""What an opening counts: the other end begins a TLS handshake for it, on nothing but somebody's word."""

IPV6_SITE_BITS = 64
"""All addresses with the same so many bits are one source: a host has as many of them as it likes."""

OWN = ""
"""The source of the relay's own node, which is its guest without a reservation or a quota."""

TWICE = "this is the id of the relay's own node: two machines have one id"


@dataclass(frozen=True, slots=True)
class RelayLimits:
    reservations: int = 128
    per_address: int = 8
    rate: float = 250e3
    """Bytes a second, of each guest; a short message counts `MESSAGE_COST_BYTES`."""
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
class Pause:
    """Read nothing of this guest's until `Resume`."""

    guest: int


@dataclass(frozen=True, slots=True)
class Resume:
    guest: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop this connection: it is no guest any more."""

    guest: int
    reason: str


Effect = Reserve | Refuse | Deliver | Pause | Resume | Cut


@dataclass(slots=True, eq=False)
class _Guest(End):
    """One connection; the same node may come back over another one."""

    source: str
    until: float
    """Of its reservation."""
    held: Message | None = None
    """What it has said above its quota."""


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
        self._channels = Channels(self.counters)

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
            if earlier.source == OWN:
                self.counters["refused"] += 1
                return [Refuse(number, TWICE)]
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
        cost_bytes = _cost_bytes(message)
        if guest.source == OWN or self._quotas.asked(guest.node, guest.source, cost_bytes, now):
            return self._pass_on(guest, message, now)
        guest.held = message
        self.counters["paused"] += 1
        return [Pause(number)]

    def broke(self, number: int, reason: str) -> list[Effect]:
        """This guest breaks the rules, as `reason` says: it is cut off."""
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
        return [Cut(guest.number, reason), *self._channels.left(guest)]

    # -- messages --------------------------------------------------------------------------------------

    def _pass_on(self, guest: _Guest, message: Message, now: float) -> list[Effect]:
        match message:
            case Data() | Window() | Close():
                return [*self._channels.heard(guest, message)]
            case Open(peer):
                return [*self._channels.open(guest, self._by_node.get(peer), message)]
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


def _cost_bytes(message: Message) -> int:
    match message:
        case Data(_, _, payload):
            return max(MESSAGE_COST_BYTES, HEADER_BYTES + len(payload))
        case Unknown(_, nbytes):
            return max(MESSAGE_COST_BYTES, nbytes)
        case Open():
            return OPEN_COST_BYTES
        case _:
            return MESSAGE_COST_BYTES


def _source(address: str) -> str:
    """What counts as one address: the kernel has told it, so it is one."""
    if address == OWN:
        return OWN
    parsed = ipaddress.ip_address(plain(address))
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_SITE_BITS), strict=False))
    return str(parsed)
