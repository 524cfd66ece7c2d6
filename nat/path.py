"""Which of its paths a link uses, and when one counts as silent.

Every path that works is kept; the best by kind carries the stream. A path is doubted when something sent on it has had
no echo for some round trips; then all paths are asked at once, and the stream goes over to another one only if that one
answers and the doubted one still does not: so a peer that is busy or frozen moves nothing. The silent path is asked
on, and used again as soon as it answers.

A path over TCP on which nothing happens is asked now and then whether it is there. A punched one is not: its own keeper
asks (`nat/path_keeper.py`), by fewer packets and by what was measured of the NATs on its way.
"""

import random
from dataclasses import dataclass

from protocol.paths import PathKind

KEEPALIVE_S = 45.0
"""Between two pings on the path in use while it is idle."""

RESTING_KEEPALIVE_S = 300.0
"""And on one beside it: a NAT keeps a TCP connection for two hours (RFC 5382, section 5), a relay tells of its end."""

JITTER = 0.1

PATIENCE_S_MIN = 0.4
PATIENCE_S_MAX = 2.0
PATIENCE_RTTS = 4.0
"""What was sent is doubted after so many round trips without an echo, and some time for a busy loop."""

LATE_S = 0.25
"""A tick that comes so late shows that we were not running: what we have not heard meanwhile is no evidence."""

PROBE_S = 1.0
"""Between two pings on a silent path."""

DEAD_S = 30.0
"""A path that was silent for so long is given up."""

SILENT_S = 10.0
"""The same where another path of the link is well."""

RANK = {kind: rank for rank, kind in enumerate(PathKind)}


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask on this path; the answer brings the token back."""

    path: int
    token: int


@dataclass(frozen=True, slots=True)
class Use:
    """From now on the stream goes out here, from the first byte on that is not known to have come."""

    path: int
    why: str


@dataclass(frozen=True, slots=True)
class Drop:
    path: int
    reason: str


Choice = Ping | Use | Drop


class _Path:
    """One path, as it has shown itself."""

    __slots__ = (
        "asked_at",
        "doubted_at",
        "heard_at",
        "kind",
        "number",
        "rtt_s",
        "silent",
        "spread",
        "token",
    )

    def __init__(self, number: int, kind: PathKind, spread: float, now: float) -> None:
        self.number = number
        self.kind = kind
        self.spread = spread
        """By which its keepalive is longer than that of others, lest all speak at once."""
        self.heard_at = now
        self.asked_at = now
        self.token = 0
        self.doubted_at: float | None = None
        self.silent = False
        self.rtt_s: float | None = None

    @property
    def patience_s(self) -> float:
        rtts = PATIENCE_RTTS * (self.rtt_s or 0.0)
        return min(PATIENCE_S_MIN + rtts, PATIENCE_S_MAX)


class PathChoice:
    """Told what happens on the paths of one link and when; answers with what to do."""

    def __init__(self, dice: random.Random, *, dialed: bool) -> None:
        self.deadline: float | None = None
        self.active: int | None = None
        self.unanswered_since: float | None = None
        """Since when something is under way, without a sign that it has come."""
        self._echo_of: float | None = None
        """When that was sent of which the next sign tells, if we know it."""
        self._dice = dice
        self._dialed = dialed
        self._chosen_at = 0.0
        """Since when the active path is that."""
        self._paths: dict[int, _Path] = {}
        self._tokens = 0

    # -- what others ask of it -----------------------------------------------------------------------

    def rtt_s(self, path: int) -> float | None:
        return self._paths[path].rtt_s

    @property
    def quietest(self) -> int | None:
        """Of those that are not in use, the one that was heard of the longest ago."""
        resting = [path for path in self._paths.values() if path.number != self.active]
        oldest = min(resting, key=lambda path: path.heard_at, default=None)
        return None if oldest is None else oldest.number

    @property
    def kinds(self) -> list[PathKind]:
        """Of the paths that work, the best first."""
        alive = [path.kind for path in self._paths.values() if not path.silent]
        return sorted(alive, key=RANK.__getitem__)

    # -- what happens --------------------------------------------------------------------------------

    def opened(self, path: int, kind: PathKind, now: float) -> list[Choice]:
        """One more, over which the two have spoken already."""
        spread = self._dice.uniform(1.0 - JITTER, 1.0 + JITTER)
        # Who opened the link asks; the other side does only where that one does not.
        self._paths[path] = _Path(path, kind, spread if self._dialed else 1.5 * spread, now)
        effects = self._choose(f"{kind} is up", now)
        for one in list(self._paths.values()):
            if one.doubted_at is not None and not one.silent:
                # It may be that it was not left for want of another.
                effects += self._judge(one, one.doubted_at, now)
        # Most often an older one of its kind has died unseen: a router has forgotten it, or the peer has moved.
        alike = [one for one in self._paths.values() if one.kind is kind and not one.silent]
        return [*effects, *(self._ask(one, now) for one in alike)]

    def closed(self, path: int, now: float) -> list[Choice]:
        gone = self._paths.pop(path, None)
        if gone is None:
            return []
        if self.active == path:
            self.active = None
            return self._choose(f"{gone.kind} is gone", now)
        # What has ended one may have ended the other, too, and nobody says so.
        active = None if self.active is None else self._paths[self.active]
        return [] if active is None or active.doubted_at is not None else self._doubt(active, now)

    def sent(self, now: float) -> None:
        """Bytes of the stream are under way."""
        if self.unanswered_since is None:
            self.unanswered_since = self._echo_of = now
            self._wake(now + self._patience_s())

    def acknowledged(self, everything: bool, now: float) -> None:
        """More of what we sent has come."""
        since, self._echo_of = self._echo_of, None
        active = None if self.active is None else self._paths[self.active]
        if since is not None and active is not None and active.rtt_s is not None:
            # A ping may have waited behind other things; an echo that was sooner knows better.
            active.rtt_s = min(active.rtt_s, now - since)
        self.unanswered_since = None if everything else now

    def heard(self, path: int, now: float) -> list[Choice]:
        """Anything came in on this path."""
        one = self._paths.get(path)
        if one is None:
            return []
        one.heard_at = now
        one.doubted_at = None
        if not one.silent:
            return []
        one.silent = False
        return self._choose(f"{one.kind} answers again", now)

    def ponged(self, path: int, token: int, now: float) -> None:
        one = self._paths.get(path)
        if one is not None and token == one.token:
            took_s = now - one.asked_at
            one.rtt_s = took_s if one.rtt_s is None else 0.75 * one.rtt_s + 0.25 * took_s

    def ask_all(self, now: float) -> list[Choice]:
        """Something has happened that paths may not have outlived."""
        effects: list[Choice] = [self._ask(path, now) for path in self._paths.values()]
        return effects

    def tick(self, now: float) -> list[Choice]:
        if self.deadline is None or now < self.deadline:
            return []
        was_away = now - self.deadline > LATE_S
        effects: list[Choice] = []
        if was_away:
            self._forgive(now)
        for path in list(self._paths.values()):
            effects += self._see_to(path, now)
        self._rearm(now)
        return effects

    # -- within --------------------------------------------------------------------------------------

    def _see_to(self, path: _Path, now: float) -> list[Choice]:
        if path.number not in self._paths:
            return []
        if path.silent:
            # From the first question on: before it nothing was asked, and nothing had to come.
            since = path.heard_at if path.doubted_at is None else path.doubted_at
            if now >= since + (SILENT_S if self._another_lives(path, since) else DEAD_S):
                return self._give_up(path, now)
            return [self._ask(path, now)] if now >= path.asked_at + PROBE_S else []
        if path.doubted_at is not None:
            return self._judge(path, path.doubted_at, now)
        if self._is_overdue(path, now):
            return self._doubt(path, now)
        idle_until = self._idle_until(path)
        return [self._ask(path, now)] if idle_until is not None and now >= idle_until else []

    def _idle_until(self, path: _Path) -> float | None:
        """When it is asked though nothing happens."""
        if path.kind is PathKind.PUNCHED:
            return None
        last_at = max(path.heard_at, path.asked_at)
        if path.number == self.active:
            return max(last_at, self._chosen_at) + KEEPALIVE_S * path.spread
        return last_at + RESTING_KEEPALIVE_S * path.spread

    def _doubt(self, path: _Path, now: float) -> list[Choice]:
        path.doubted_at = now
        return self._ask_each(now)

    def _judge(self, path: _Path, doubted_at: float, now: float) -> list[Choice]:
        """It was asked and has not answered; what do the others say?"""
        if now < doubted_at + path.patience_s:
            return []
        if self._another_lives(path, doubted_at):
            path.silent = True
            return [*self._choose(f"{path.kind} is silent", now), self._ask(path, now)]
        if now >= doubted_at + DEAD_S:
            return self._give_up(path, now)
        return self._ask_each(now) if now >= path.asked_at + PROBE_S else []

    def _ask_each(self, now: float) -> list[Choice]:
        """A silent one no more often than it is asked by itself."""
        return [
            self._ask(path, now)
            for path in self._paths.values()
            if not path.silent or now >= path.asked_at + PROBE_S
        ]

    def _is_overdue(self, path: _Path, now: float) -> bool:
        # As sums, like the deadlines: a difference may fall short of the patience by a rounding, for ever.
        if path.asked_at > path.heard_at and now >= path.asked_at + path.patience_s:
            return True
        since = self.unanswered_since
        if path.number != self.active or since is None:
            return False
        return now >= max(since, path.heard_at, self._chosen_at) + path.patience_s

    def _another_lives(self, path: _Path, since: float) -> bool:
        return any(
            other.heard_at > since and not other.silent
            for other in self._paths.values()
            if other is not path
        )

    def _give_up(self, path: _Path, now: float) -> list[Choice]:
        quiet_s = now - path.heard_at
        return [
            Drop(path.number, f"nothing came over the {path.kind} path for {quiet_s:.0f} s"),
            *self.closed(path.number, now),
        ]

    def _choose(self, why: str, now: float) -> list[Choice]:
        usable = [path for path in self._paths.values() if not path.silent]
        if not usable:
            return []
        # Of two alike the newer one: the older was opened in other circumstances.
        best = min(usable, key=lambda path: (RANK[path.kind], -path.number))
        if best.number == self.active:
            return []
        self.active, self._chosen_at, self._echo_of = best.number, now, None
        if (idle_until := self._idle_until(best)) is not None:
            self._wake(idle_until)
        return [Use(best.number, why)]

    def _ask(self, path: _Path, now: float) -> Ping:
        self._tokens += 1
        path.token, path.asked_at = self._tokens, now
        self._wake(now + path.patience_s)
        return Ping(path.number, self._tokens)

    def _forgive(self, now: float) -> None:
        self._echo_of = None
        for path in self._paths.values():
            path.doubted_at = None
            path.heard_at = max(path.heard_at, now)
        if self.unanswered_since is not None:
            self.unanswered_since = now

    def _patience_s(self) -> float:
        active = None if self.active is None else self._paths.get(self.active)
        return PATIENCE_S_MIN if active is None else active.patience_s

    def _wake(self, moment: float) -> None:
        if self.deadline is None or moment < self.deadline:
            self.deadline = moment

    def _rearm(self, now: float) -> None:
        moments = []
        for path in self._paths.values():
            if path.silent:
                moments.append(path.asked_at + PROBE_S)
            elif path.doubted_at is not None:
                judged_at = path.doubted_at + path.patience_s
                moments.append(judged_at if judged_at > now else path.asked_at + PROBE_S)
            else:
                if (idle_until := self._idle_until(path)) is not None:
                    moments.append(idle_until)
                if path.asked_at > path.heard_at:
                    moments.append(path.asked_at + path.patience_s)
                if path.number == self.active and self.unanswered_since is not None:
                    since = max(self.unanswered_since, path.heard_at, self._chosen_at)
                    moments.append(since + path.patience_s)
        self.deadline = min(moments, default=None)
