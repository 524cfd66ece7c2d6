"""Which further paths to look for while a link lives.

A link that runs over a relay wants a direct path; one that runs directly, to a peer that nobody can simply dial, wants
a relay kept warm beside it. Both are tried at once, and after each failure with a longer pause; at once again when the
network has changed, for then all that was found out is of another place. A path that dies soon after it has come up is
a failure too, but for the first time: else whoever cuts it would have us open another one without end.
"""

from dataclasses import dataclass

from protocol.paths import PathKind

PAUSES_S = {
    PathKind.RELAY: (0.5, 2.0, 10.0, 30.0),
    PathKind.PUNCHED: (3.0, 15.0, 60.0, 300.0),
    PathKind.IPV4: (15.0, 60.0, 300.0),
}
"""After the first failure, the second and so on. IPV4 stands for whatever is dialled by TCP."""

STEADY_S = 3.0
"""A path that lived for so long was worth its search, and shows that there can be one."""

PROVEN_PAUSES_S = (0.5, 1.0, *(3.0,) * 9)
"""Before those, where such a path has lived: what stands in its way, a firewall or a bad minute, may go as it came."""

DIRECT = frozenset({PathKind.LAN, PathKind.IPV6, PathKind.IPV4})


@dataclass(frozen=True, slots=True)
class Seek:
    """Try to bring up a path of this kind; `tried` tells how it ended. IPV4: dial all addresses."""

    kind: PathKind


@dataclass(slots=True)
class _Search:
    kind: PathKind
    failures: int = 0
    due_at: float = 0.0
    trying: bool = False
    shaky: bool = False
    """The last path that was found has died at once."""
    why: str = ""
    up_at: float | None = None
    """Since when there is such a path, while it lives."""
    proven: bool = False
    """One has lived, in this network."""

    def failed(self, now: float) -> None:
        pauses = PAUSES_S[self.kind]
        if self.proven and self.kind is PathKind.PUNCHED:
            pauses = PROVEN_PAUSES_S + pauses
        self.due_at = now + pauses[min(self.failures, len(pauses) - 1)]
        self.failures += 1

    def lost(self, lived_s: float, now: float) -> None:
        """The path that was found is gone."""
        self.up_at = None
        if lived_s >= STEADY_S:
            self.failures, self.shaky, self.proven, self.due_at = 0, False, True, now
        elif self.shaky:
            self.failed(now)
        else:
            self.shaky, self.due_at = True, now


@dataclass(frozen=True, slots=True)
class Means:
    """What may be tried at all."""

    relay: bool
    """The peer is reached by way of relays."""
    punch: bool
    """Both sides are able to punch, as far as they know."""
    dial: bool
    """It tells addresses that can be dialled."""


class Pathfinder:
    """Of one link, on the side that looks after it."""

    def __init__(self, means: Means, now: float) -> None:
        self.deadline: float | None = None
        self._means = means
        self._kinds: frozenset[PathKind] = frozenset()
        self._searches = {kind: _Search(kind, due_at=now) for kind in PAUSES_S}

    def why_not(self, kind: PathKind) -> str:
        """What the last failure said; empty if none was."""
        return self._searches[kind].why

    def has(self, kinds: list[PathKind], now: float) -> list[Seek]:
        """These paths are up now; any other is not."""
        self._kinds = frozenset(kinds)
        for search in self._searches.values():
            is_there = self._is_there(search.kind)
            if search.up_at is not None and not is_there:
                search.lost(now - search.up_at, now)
            elif search.up_at is None and is_there and not search.trying:
                # The other side has found it, or it has come to answer again by itself.
                search.up_at = now
        return self._look(now)

    def means_are(self, means: Means, now: float) -> list[Seek]:
        if means == self._means:
            return self.tick(now)
        self._means = means
        return self._look(now)

    def tried(self, kind: PathKind, failure: str, now: float) -> list[Seek]:
        """A search has ended; `failure` is empty if the path is up."""
        search = self._searches[kind]
        search.trying, search.why = False, failure
        if failure:
            search.failed(now)
        elif self._is_there(kind):
            search.up_at = now
        else:
            search.lost(0.0, now)
        return self._look(now)

    def network_changed(self, now: float) -> list[Seek]:
        for search in self._searches.values():
            search.failures, search.shaky, search.proven = 0, False, False
            search.due_at = now
        return self._look(now)

    def tick(self, now: float) -> list[Seek]:
        if self.deadline is None or now < self.deadline:
            return []
        return self._look(now)

    # -- within ----------------------------------------------------------------------------------------

    def _look(self, now: float) -> list[Seek]:
        effects = []
        moments = []
        for search in self._searches.values():
            if search.trying or not self._wanted(search.kind):
                continue
            if search.due_at <= now:
                search.trying = True
                effects.append(Seek(search.kind))
            else:
                moments.append(search.due_at)
        self.deadline = min(moments, default=None)
        return effects

    def _is_there(self, kind: PathKind) -> bool:
        return bool(self._kinds & DIRECT) if kind is PathKind.IPV4 else kind in self._kinds

    def _wanted(self, kind: PathKind) -> bool:
        if self._is_there(kind):
            return False
        match kind:
            case PathKind.RELAY:
                return self._means.relay
            case PathKind.PUNCHED:
                return self._means.punch and not self._kinds & DIRECT
            case _:
                return self._means.dial
