"""The channels between the guests of a relay, and how many bytes are on their way in each.

A relay never keeps more than a window for a channel in each direction: whoever sends beyond that loses the channel. A
guest that does not read thus holds up only what is sent to it.

    opener                     relay                      other end
      | open(to: other)  ------> |                             |
      | <------ opened(of: other)| ------> open(of: opener)    |
      | data, window, close <----+----> data, window, close    |
"""

from collections import Counter
from dataclasses import dataclass, field

from nat.relay_wire import (
    OPENER,
    WINDOW_BYTES,
    Absent,
    Close,
    Data,
    Message,
    Open,
    Opened,
    Window,
)

CHANNELS_MAX = 512
"""Of one guest. A further one is refused."""

PAIR_CHANNELS_MAX = 16
"""Between the same two guests: no one alone can take all that another may have."""

OWED_BYTES_MAX = 8 << 20
"""On their way to one guest over all its channels. Beyond it the channel with most of them is closed."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send this message to this guest."""

    guest: int
    message: Message


@dataclass(slots=True, eq=False)
class End:
    """A guest, as far as its channels are concerned."""

    number: int
    """Of its connection."""
    node: bytes
    owed: int = field(default=0, init=False)
    """Bytes on their way to it, over all its channels."""
    channels: dict["_Channel", None] = field(default_factory=dict, init=False)


@dataclass(slots=True, eq=False)
class _Channel:
    number: int
    opener: End
    other: End
    to_other: int = 0
    """Bytes sent to it that it has not taken."""
    to_opener: int = 0

    def across(self, end: End) -> End:
        return self.other if end is self.opener else self.opener

    def on_its_way(self, to: End) -> int:
        return self.to_opener if to is self.opener else self.to_other

    def seen_by(self, end: End) -> int:
        """The channel as a message to this guest names it: by the other one's side."""
        return self.number if end is self.opener else self.number | OPENER


class Channels:
    """Each input answers with what is to be delivered; `counters` counts what happens."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._channels: dict[tuple[bytes, bytes, int], _Channel] = {}
        """By the opener's id, the other's, and the number that the opener has chosen."""

    def __len__(self) -> int:
        return len(self._channels)

    def open(self, opener: End, there: End | None, message: Open) -> list[Deliver]:
        """`there`: the guest that is meant; None if there is no such guest."""
        number = message.channel & ~OPENER
        if there is None:
            self._counters["absent"] += 1
            return [Deliver(opener.number, Absent(message.peer, number))]
        if (reason := self._not_opened(opener, there, number)) is not None:
            self._counters["not_opened"] += 1
            return [Deliver(opener.number, Close(message.peer, number, reason))]
        channel = _Channel(number, opener, there)
        self._channels[opener.node, there.node, number] = channel
        opener.channels[channel] = there.channels[channel] = None
        self._counters["opened"] += 1
        return [
            Deliver(there.number, Open(opener.node, message.channel)),
            Deliver(opener.number, Opened(there.node, number)),
        ]

    def heard(self, end: End, message: Data | Window | Close) -> list[Deliver]:
        channel = self._named(end, message)
        if channel is None:
            # Closed meanwhile, most often; the guest has been told, or is about to be.
            self._counters["without_channel"] += 1
            return []
        match message:
            case Data(_, name, payload):
                return self._pass_data(end, channel, Data(end.node, name, payload))
            case Window(_, name, nbytes):
                return self._pass_window(end, channel, Window(end.node, name, nbytes))
            case Close(_, name, reason):
                self._end(channel)
                return [Deliver(channel.across(end).number, Close(end.node, name, reason))]

    def left(self, end: End) -> list[Deliver]:
        """This guest is gone: the other ends of its channels are told."""
        told = []
        for channel in tuple(end.channels):
            self._end(channel)
            there = channel.across(end)
            told.append(Deliver(there.number, Absent(end.node, channel.seen_by(there))))
        return told

    # -- within ----------------------------------------------------------------------------------------

    def _not_opened(self, opener: End, there: End, number: int) -> str | None:
        if opener is there:
            return "that is the node itself"
        if (opener.node, there.node, number) in self._channels:
            return "there is such a channel already"
        pair = sum(channel.across(opener) is there for channel in opener.channels)
        if pair >= PAIR_CHANNELS_MAX:
            return f"the two have {PAIR_CHANNELS_MAX} channels: no more may be"
        if max(len(opener.channels), len(there.channels)) >= CHANNELS_MAX:
            return f"one of the two has {CHANNELS_MAX} channels: no more may be"
        return None

    def _named(self, end: End, message: Data | Window | Close) -> _Channel | None:
        number = message.channel & ~OPENER
        ends = (end.node, message.peer) if message.channel & OPENER else (message.peer, end.node)
        return self._channels.get((*ends, number))

    def _pass_data(self, end: End, channel: _Channel, message: Data) -> list[Deliver]:
        nbytes, there = len(message.payload), channel.across(end)
        if channel.on_its_way(there) + nbytes > WINDOW_BYTES:
            return self._close(channel, "more was sent than there was room for")
        told = []
        if there.owed + nbytes > OWED_BYTES_MAX:
            # Whoever floods it loses a channel, not whoever happens to speak when it is too much.
            fullest = max(there.channels, key=lambda one: one.on_its_way(there))
            reason = f"more than {OWED_BYTES_MAX} bytes are on their way to one of the two"
            told = self._close(fullest, reason)
            if fullest is channel:
                return told
        self._owe(channel, there, nbytes)
        self._counters["forwarded"] += 1
        self._counters["forwarded_bytes"] += nbytes
        return [*told, Deliver(there.number, message)]

    def _pass_window(self, end: End, channel: _Channel, message: Window) -> list[Deliver]:
        if message.nbytes > channel.on_its_way(end):
            return self._close(channel, "more was taken than had been sent")
        self._owe(channel, end, -message.nbytes)
        return [Deliver(channel.across(end).number, message)]

    def _owe(self, channel: _Channel, end: End, nbytes: int) -> None:
        end.owed += nbytes
        if end is channel.opener:
            channel.to_opener += nbytes
        else:
            channel.to_other += nbytes

    def _close(self, channel: _Channel, reason: str) -> list[Deliver]:
        """By the relay: both ends are told, each as if by the other."""
        self._counters["closed"] += 1
        self._end(channel)
        return [
            Deliver(end.number, Close(channel.across(end).node, channel.seen_by(end), reason))
            for end in (channel.opener, channel.other)
        ]

    def _end(self, channel: _Channel) -> None:
        opener, other = channel.opener, channel.other
        del self._channels[opener.node, other.node, channel.number]
        del opener.channels[channel], other.channels[channel]
        opener.owed -= channel.to_opener
        other.owed -= channel.to_other
