"""How long the way to each peer takes, and whether UDP passes on it.

The time that an answer may take comes from the times that answers took: smoothed mean plus four mean deviations
(RFC 6298, section 2). Where UDP never passes but a link does, as behind some firewalls, packets take the link, and
UDP is tried again from time to time.
"""

from protocol.ids import NodeId

TIMEOUT_UNKNOWN_S = 0.25
TIMEOUT_MIN_S = 0.1
"""Below this an event loop that is busy for a moment would look like a lost packet."""
TIMEOUT_MAX_S = 2.0
"""An honest peer on a satellite link takes half of this."""
UDP_RETRY_S = 60.0
SAVED_MAX = 3
"""So many probes in a row that only the link has saved: UDP does not pass any more."""
BLOCKED_MIN = 3
"""To so many peers UDP does not pass, and to no other: something near us lets none through."""

GAIN = 0.125
GAIN_DEVIATION = 0.25
"""RFC 6298: alpha and beta."""


class Paths:
    """What was measured on the way to each peer."""

    __slots__ = ("_by_link", "_saved", "_times")

    def __init__(self) -> None:
        self._times: dict[NodeId, tuple[float, float]] = {}
        """Smoothed round trip and its deviation, by UDP, in seconds."""
        self._saved: dict[NodeId, int] = {}
        self._by_link: dict[NodeId, float] = {}
        """To whom packets take the link, and when UDP is to be tried again."""

    def rtt_s(self, peer: NodeId) -> float | None:
        times = self._times.get(peer)
        return None if times is None else times[0]

    def timeout_s(self, peer: NodeId) -> float:
        """How long an answer from there may take."""
        times = self._times.get(peer)
        if times is None:
            return TIMEOUT_UNKNOWN_S
        timeout_s = times[0] + 4.0 * times[1]
        if timeout_s < TIMEOUT_MIN_S:
            return TIMEOUT_MIN_S
        return timeout_s if timeout_s < TIMEOUT_MAX_S else TIMEOUT_MAX_S

    def measured(self, peer: NodeId, rtt_s: float) -> None:
        """UDP has passed there and back in this time."""
        times = self._times.get(peer)
        if times is None:
            self._times[peer] = (rtt_s, rtt_s / 2)
        else:
            mean, deviation = times
            deviation += GAIN_DEVIATION * (abs(rtt_s - mean) - deviation)
            self._times[peer] = (mean + GAIN * (rtt_s - mean), deviation)
        if self._saved:
            self._saved.pop(peer, None)
        if self._by_link:
            self._by_link.pop(peer, None)

    def saved_by_link(self, peer: NodeId, now: float) -> None:
        """The link has brought an answer after UDP had brought none."""
        if peer in self._by_link:
            return
        saved = self._saved.get(peer, 0) + 1
        if peer not in self._times or saved >= SAVED_MAX:
            self._by_link[peer] = now + UDP_RETRY_S
        self._saved[peer] = saved

    def takes_link(self, peer: NodeId) -> bool:
        """Whether packets to this peer go over the link: so too for all while UDP has not passed to anybody."""
        by_link = self._by_link
        if not by_link:
            return False
        return peer in by_link or (len(by_link) >= BLOCKED_MIN and not self._times)

    def tries_udp(self, peer: NodeId, now: float) -> bool:
        """Whether a probe may go by UDP: where it is not known to fail, else once in a while."""
        if not self.takes_link(peer):
            return True
        again_at = self._by_link.get(peer)
        if again_at is not None and now < again_at:
            return False
        self._by_link[peer] = now + UDP_RETRY_S
        return True

    def lost(self, peer: NodeId) -> None:
        """It is dead, and may come back by another way; where UDP has not passed it is looked for by the link."""
        self._times.pop(peer, None)
        self._saved.pop(peer, None)

    def forget(self, peer: NodeId) -> None:
        self.lost(peer)
        self._by_link.pop(peer, None)
