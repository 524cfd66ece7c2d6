"""How much each user of a relay may send, and who is next when all together want more than there is.

Each user and each address has a token bucket of its own. What the relay gives in all is shared by start-time fair
queueing (Goyal, Vin, Cheng 1996): whoever has sent least of late goes first, so everybody who wants more than his
share gets the same, and what the others leave of theirs is his too.

Nobody is cut off for sending much. He waits, with one message each, and is not read from meanwhile.
"""

import math
from dataclasses import dataclass

ADDRESS_SHARES = 4
"""Whoever come from one address send together no more than so many users."""

TOTAL_BURST_S = 0.25
"""For so long all together may exceed the total: long enough to be level, too short to be unfair."""


class Bucket:
    """A token bucket, kept as the time at which all that was taken is paid for (the GCRA of ITU-T I.371, annex A).

    Whoever has not used up his burst may take any number of bytes: he is in debt then, and waits.
    """

    __slots__ = ("_burst_s", "_paid_at", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        assert rate > 0
        self._rate = rate
        self._burst_s = burst / rate
        self._paid_at = -math.inf

    @property
    def ready_at(self) -> float:
        return self._paid_at - self._burst_s

    def take(self, nbytes: int, now: float) -> None:
        self._paid_at = max(self._paid_at, now) + nbytes / self._rate

    def is_full(self, now: float) -> bool:
        return self._paid_at <= now


@dataclass(slots=True)
class _User:
    address: str
    own: Bucket
    finish: float = 0.0
    """Finish tag of its last message, in virtual time (below)."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message that waits. Its start tag is when it would begin in virtual time, if its user had sent no faster than
    its share."""

    nbytes: int
    start: float


class Quotas:
    """`rate` and `burst` of one user, `total` of all; bytes, and bytes a second."""

    def __init__(self, rate: float, burst: float, total: float) -> None:
        self._rate = rate
        self._burst = burst
        self._total = Bucket(total, total * TOTAL_BURST_S)
        self._users: dict[bytes, _User] = {}
        self._addresses: dict[str, Bucket] = {}
        self._waiting: dict[bytes, _Waiting] = {}
        self._virtual = 0.0
        """Virtual time: the start tag of the message served last, in bytes."""

    @property
    def deadline(self) -> float | None:
        return min(map(self._ready_at, self._waiting), default=None)

    def asked(self, user: bytes, address: str, nbytes: int, now: float) -> bool:
        """Whether a message of so many bytes may pass at once; else `tick` names the user when it may.

        A user has at most one message waiting.
        """
        assert user not in self._waiting
        self._admit(user, address, now)
        start = max(self._virtual, self._users[user].finish)
        self._waiting[user] = _Waiting(nbytes, start)
        # Whoever is due and has had less goes first, even if nobody has looked since he became due.
        if self._next(now) != user:
            return False
        self._serve(user, now)
        return True

    def tick(self, now: float) -> list[bytes]:
        """Whose message may pass now, in this order."""
        passing = []
        while (user := self._next(now)) is not None:
            self._serve(user, now)
            passing.append(user)
        return passing

    def forget(self, user: bytes) -> None:
        """It has hung up and waits no more. What it owes is kept: by coming back nobody is the richer."""
        self._waiting.pop(user, None)

    # -- within --------------------------------------------------------------------------------------

    def _admit(self, user: bytes, address: str, now: float) -> None:
        known = self._users.get(user)
        if known is not None and known.address == address:
            return
        self._clear(now)
        if user not in self._users:
            self._users[user] = _User(address, Bucket(self._rate, self._burst))
        self._users[user].address = address
        if address not in self._addresses:
            rate, burst = self._rate * ADDRESS_SHARES, self._burst * ADDRESS_SHARES
            self._addresses[address] = Bucket(rate, burst)

    def _clear(self, now: float) -> None:
        """Whose bucket is full again is as good as new."""
        for user in [user for user, known in self._users.items() if known.own.is_full(now)]:
            if user not in self._waiting:
                del self._users[user]
        kept = {known.address for known in self._users.values()}
        for address in [one for one, bucket in self._addresses.items() if bucket.is_full(now)]:
            if address not in kept:
                del self._addresses[address]

    def _ready_at(self, user: bytes) -> float:
        known = self._users[user]
        at = self._addresses[known.address].ready_at
        return max(known.own.ready_at, at, self._total.ready_at)

    def _next(self, now: float) -> bytes | None:
        if now < self._total.ready_at:
            return None
        due = [user for user in self._waiting if self._ready_at(user) <= now]
        return min(due, key=self._order, default=None)

    def _order(self, user: bytes) -> tuple[float, int]:
        waiting = self._waiting[user]
        return waiting.start, waiting.nbytes

    def _serve(self, user: bytes, now: float) -> None:
        waiting = self._waiting.pop(user)
        known = self._users[user]
        self._virtual = max(self._virtual, waiting.start)
        known.finish = waiting.start + waiting.nbytes
        for bucket in (known.own, self._addresses[known.address], self._total):
            bucket.take(waiting.nbytes, now)
