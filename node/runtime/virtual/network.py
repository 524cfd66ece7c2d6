"""The network of a simulation: how long everything takes from one machine to another, and what becomes of it.

Packets may be lost, doubled and overtaken. Segments of links are never lost for good: each loss costs a retransmission,
after 0.2 s, then 0.4 s and so on, as TCP does it. Machines with a bandwidth send and receive one thing after another;
what is small (packets, headers) goes before what is large, as classes of traffic do on a real node, and takes its bytes
from the large.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, log

Delays = Callable[[int, int], float]
"""(sender, receiver), as the machines are numbered -> seconds one way."""

SEGMENT_BYTES = 1400
RETRANSMIT_S = 0.2
RETRIES_MAX = 15
"""After so many a real TCP gives the connection up."""
RETRANSMIT_S_MAX = 120.0
GIVE_UP_S = 924.6
"""How long those retries take altogether (Linux, tcp_retries2)."""
MASK = (1 << 64) - 1
"""Hashes are kept to 64 bits, as `spread` mixes them."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the network is like; may be replaced while the world runs."""

    delay_s: float | Delays = 0.005
    """One way, between any two machines or for each pair."""
    jitter: float = 0.5
    """Each message takes its pair's delay times something even in 1 - jitter to 1 + jitter."""
    loss: float = 0.0
    """Share of packets, and of segments of links, that are lost."""
    doubled: float = 0.0
    """Share of packets that arrive twice."""
    held: float = 0.0
    """Share of packets that are held back, by up to `held_s`: others overtake them."""
    held_s: float = 0.1

    def __post_init__(self) -> None:
        for share in (self.loss, self.doubled, self.held):
            assert 0.0 <= share < 1.0, "a share of packets is at least 0 and below 1"
        assert 0.0 <= self.jitter <= 1.0
        assert self.held_s >= 0.0


def spread(low_s: float, high_s: float, seed: int) -> Delays:
    """Each pair has its own delay between these, the same in both directions, drawn from the seed."""

    def between(one: int, other: int) -> float:
        if one > other:
            one, other = other, one
        # One round of a hash: a pair's delay needs no table, however many machines there are.
        z = (one * 0x9E3779B97F4A7C15 + other * 0xBF58476D1CE4E5B9 + offset) & MASK
        z = ((z ^ (z >> 32)) * 0xD6E8FEB86659FD93) & MASK
        return low_s + width * (z >> 11)

    offset = seed * 0x94D049BB133111EB
    width = (high_s - low_s) * 2.0**-53
    return between


def by_distance(places: list[tuple[float, float]], access_s: list[float], speed: float) -> Delays:
    """Each machine has a place on a plane and a last mile: distance / speed and both last miles add up."""

    def between(one: int, other: int) -> float:
        (x, y), (u, v) = places[one], places[other]
        far: float = ((x - u) ** 2 + (y - v) ** 2) ** 0.5
        return float(access_s[one] + access_s[other] + far / speed)

    return between


class Port:
    """Where one machine touches the network: when it is free again to send and to receive."""

    __slots__ = ("down_bytes_s", "down_free_at", "index", "side", "up_bytes_s", "up_free_at")

    def __init__(self, index: int, up_bytes_s: float, down_bytes_s: float) -> None:
        self.index = index
        self.up_bytes_s = up_bytes_s
        self.down_bytes_s = down_bytes_s
        self.up_free_at = 0.0
        self.down_free_at = 0.0
        self.side = 0
        """Of a partition: no way leads from one side to another."""

    def send(self, nbytes: int, now: float) -> float:
        """When the last byte has left."""
        if self.up_bytes_s == inf:
            return now
        takes_s = nbytes / self.up_bytes_s
        start = max(now, self.up_free_at)
        self.up_free_at = start + takes_s
        return (now if nbytes < SEGMENT_BYTES else start) + takes_s

    def receive(self, nbytes: int, now: float) -> float:
        """When the last byte is in, of something that begins to arrive now."""
        if self.down_bytes_s == inf:
            return now
        takes_s = nbytes / self.down_bytes_s
        start = max(now, self.down_free_at)
        self.down_free_at = start + takes_s
        return (now if nbytes < SEGMENT_BYTES else start) + takes_s


class Network:
    """Says how long a way takes, and whether there is one."""

    def __init__(self, conditions: Conditions, dice: random.Random) -> None:
        self._random = dice.random
        self._cuts: set[tuple[int, int]] = set()
        self.parted = False
        """Some way may be cut."""
        self.conditions = conditions

    @property
    def conditions(self) -> Conditions:
        return self._conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        self._conditions = conditions
        given = conditions.delay_s
        self._fixed_s = None if callable(given) else given
        self._between: Delays = given if callable(given) else lambda one, other: given
        self._least = 1.0 - conditions.jitter
        self._width = 2.0 * conditions.jitter

    # -- ways ----------------------------------------------------------------------------------------

    def is_cut(self, sender: Port, receiver: Port) -> bool:
        if not self.parted:
            return False
        return sender.side != receiver.side or (sender.index, receiver.index) in self._cuts

    def cut(self, ways: Iterable[tuple[int, int]]) -> None:
        """From now on nothing comes from the first of each two to the second."""
        self._cuts.update(ways)
        self.parted = True

    def mend(self, ways: Iterable[tuple[int, int]]) -> None:
        self._cuts.difference_update(ways)

    def part(self) -> None:
        """The ports' sides count from now on."""
        self.parted = True

    def mend_all(self) -> None:
        self._cuts.clear()
        self.parted = False

    # -- time ----------------------------------------------------------------------------------------

    def delay_s(self, sender: Port, receiver: Port) -> float:
        """One way, this time."""
        between = self._fixed_s
        if between is None:
            between = self._between(sender.index, receiver.index)
        return between * (self._least + self._width * self._random())

    def packet_delays(self, sender: Port, receiver: Port) -> tuple[float, ...]:
        """After how long one packet arrives: never, once, or twice."""
        random, conditions = self._random, self._conditions
        if conditions.loss and random() < conditions.loss:
            return ()
        between = self._fixed_s
        if between is None:
            between = self._between(sender.index, receiver.index)
        delay_s = between * (self._least + self._width * random())
        if conditions.held and random() < conditions.held:
            delay_s += conditions.held_s * random()
        if conditions.doubled and random() < conditions.doubled:
            return (delay_s, self.delay_s(sender, receiver))
        return (delay_s,)

    def segments_s(self, nbytes: int) -> float:
        """What retransmissions add until all segments of so many bytes are through."""
        loss = self._conditions.loss
        if not loss:
            return 0.0
        # A segment takes more than k tries with probability loss^k, so all of n take at most k with
        # (1 - loss^k)^n: the inverse of that at an even draw.
        segments = max(1, -(-nbytes // SEGMENT_BYTES))
        through = self._random() ** (1.0 / segments)
        if through <= 1.0 - loss:
            return 0.0
        retries = min(int(log(1.0 - through) / log(loss)), RETRIES_MAX)
        return retried_s(retries)


def retried_s(retries: int) -> float:
    """When the last of so many retransmissions leaves, after the first try."""
    passed, pause = 0.0, RETRANSMIT_S
    for _ in range(retries):
        passed += pause
        pause = min(2.0 * pause, RETRANSMIT_S_MAX)
    return passed


def next_retry_at(first_at: float, now: float) -> float:
    """When a segment that was first sent then, and never got through, is tried next."""
    at, pause = first_at, RETRANSMIT_S
    while at < now:
        at += pause
        pause = min(2.0 * pause, RETRANSMIT_S_MAX)
    return at
