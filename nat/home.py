"""Chooses the public nodes that a node behind a NAT keeps as its home relays, by which others reach it.

Two of them, the nearest, so that losing one loses nothing. A home is kept while it works: everybody would have to be
told of another one. It gives way only to one that is nearer by far, and not before that one has said yes. One that has
worked and is lost is asked once more; one that fails rests for a while, longer each time, and another one takes its
place at once.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from protocol.ids import NodeId

HOMES = 2

REVIEW_S = 60.0
"""So often it is asked whether another one is nearer."""

NEARER = 0.7
NEARER_S = 0.010
"""A home gives way only to one whose round trip is at most this part of its own, and shorter by this much too."""

REST_FIRST_S = 0.5
REST_MAX_S = 60.0
"""One that fails rests from half to all of this; twice as long each time."""

AGAIN_S = 5.0
"""One that is lost after so long is asked again at once: most often a router has forgotten the connection."""

STEADY_S = 60.0
"""One that has worked for so long begins anew with the first rest."""


@dataclass(frozen=True, slots=True)
class Public:
    """A member that others can dial."""

    node: NodeId
    serves: bool
    rtt_s: float | None


@dataclass(frozen=True, slots=True)
class Reserve:
    """Keep a connection to this relay; `reserved` or `failed` tells how it went."""

    relay: NodeId


@dataclass(frozen=True, slots=True)
class Release:
    relay: NodeId


Effect = Reserve | Release


@dataclass(slots=True)
class _Candidate:
    chance: float
    """Those of whom nothing is known are taken in an order of our own, lest all nodes take the same."""
    serves: bool = True
    rtt_s: float | None = None
    pause_s: float = REST_FIRST_S
    rests_until: float = -math.inf
    up_since: float | None = None

    @property
    def distance(self) -> tuple[bool, float, float]:
        return self.rtt_s is None, self.rtt_s or 0.0, self.chance


class HomeRelays:
    """Told of all relays there are, and of what became of those that were to be kept."""

    def __init__(self, dice: random.Random) -> None:
        self.deadline: float | None = None
        self._dice = dice
        self._wanted = False
        self._review_at = -math.inf
        self._known: dict[NodeId, _Candidate] = {}
        self._homes: dict[NodeId, None] = {}
        self._coming: NodeId | None = None
        """Nearer than one of the homes, and asked."""

    @property
    def homes(self) -> tuple[NodeId, ...]:
        """Those that have said yes, the longest kept first: an order that changes for nothing would be told to all."""
        return tuple(relay for relay in self._homes if self._known[relay].up_since is not None)

    def wanted(self, wanted: bool, now: float) -> list[Effect]:
        """Whether this node needs any: it does while others cannot dial it."""
        self._wanted = wanted
        return self._settle(now)

    def known(self, publics: Iterable[Public], now: float) -> list[Effect]:
        """All public members that we know at present."""
        told = {public.node: public for public in publics}
        for node in sorted(told.keys() - self._known.keys()):
            self._known[node] = _Candidate(self._dice.random())
        for node, candidate in tuple(self._known.items()):
            public = told.get(node)
            if public is not None:
                candidate.serves = public.serves
                if public.rtt_s is not None and candidate.up_since is None:
                    candidate.rtt_s = public.rtt_s
            elif not self._is_asked(node):
                # Of those that we use we know better than others whether they are gone.
                del self._known[node]
        return self._settle(now)

    def reserved(self, relay: NodeId, now: float) -> list[Effect]:
        """It forwards for us."""
        if not self._is_asked(relay):
            return []
        self._known[relay].up_since = now
        effects: list[Effect] = []
        if relay == self._coming:
            self._coming = None
            effects.append(self._release(max(self._homes, key=self._distance)))
            self._homes[relay] = None
        return [*effects, *self._settle(now)]

    def measured(self, relay: NodeId, rtt_s: float, now: float) -> list[Effect]:
        """By our own connection to it."""
        if self._is_asked(relay):
            self._known[relay].rtt_s = rtt_s
        return self._settle(now)

    def failed(self, relay: NodeId, now: float) -> list[Effect]:
        """It refuses us, cannot be reached, or is lost."""
        if not self._is_asked(relay):
            return []
        candidate = self._known[relay]
        up_s = 0.0 if candidate.up_since is None else now - candidate.up_since
        candidate.up_since = None
        if up_s >= STEADY_S:
            candidate.pause_s = REST_FIRST_S
        if up_s < AGAIN_S:
            candidate.rests_until = now + candidate.pause_s * self._dice.uniform(0.5, 1.0)
            candidate.pause_s = min(2 * candidate.pause_s, REST_MAX_S)
        self._homes.pop(relay, None)
        if relay == self._coming:
            self._coming = None
        return self._settle(now)

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        return self._settle(now)

    # -- within --------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> list[Effect]:
        effects = self._let_go()
        if self._wanted:
            effects += self._fill(now)
            effects += self._review(now)
        self.deadline = self._next(now)
        return effects

    def _let_go(self) -> list[Effect]:
        asked = [relay for relay in self._known if self._is_asked(relay)]
        return [
            self._release(relay)
            for relay in asked
            if not (self._wanted and self._known[relay].serves)
        ]

    def _fill(self, now: float) -> list[Effect]:
        if self._coming is not None and len(self._homes) < HOMES:
            # One of those that it was to replace is gone.
            self._homes[self._coming] = None
            self._coming = None
        chosen = self._free(now)[: HOMES - len(self._homes)]
        self._homes.update(dict.fromkeys(chosen))
        return [Reserve(relay) for relay in chosen]

    def _review(self, now: float) -> list[Effect]:
        if now < self._review_at or len(self._homes) < HOMES:
            return []
        self._review_at = now + REVIEW_S
        nearest = next(iter(self._free(now)), None)
        farthest = self._known[max(self._homes, key=self._distance)]
        if nearest is None or self._coming is not None or farthest.up_since is None:
            return []
        rtt_s = self._known[nearest].rtt_s
        if rtt_s is None or farthest.rtt_s is None:
            return []
        if rtt_s > min(NEARER * farthest.rtt_s, farthest.rtt_s - NEARER_S):
            return []
        self._coming = nearest
        return [Reserve(nearest)]

    def _free(self, now: float) -> list[NodeId]:
        """Those that could become homes now, the nearest first."""
        free = [
            node
            for node, candidate in self._known.items()
            if candidate.serves and candidate.rests_until <= now and not self._is_asked(node)
        ]
        return sorted(free, key=self._distance)

    def _next(self, now: float) -> float | None:
        if not self._wanted:
            return None
        if len(self._homes) == HOMES:
            return self._review_at
        resting = [one.rests_until for one in self._known.values() if one.serves]
        return min((until for until in resting if until > now), default=None)

    def _is_asked(self, node: NodeId) -> bool:
        return node in self._homes or node == self._coming

    def _distance(self, node: NodeId) -> tuple[bool, float, float]:
        return self._known[node].distance

    def _release(self, relay: NodeId) -> Release:
        self._homes.pop(relay, None)
        if relay == self._coming:
            self._coming = None
        self._known[relay].up_since = None
        return Release(relay)
