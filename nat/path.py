"""Which of its paths a link uses, and when one counts as silent.

Every path that works is kept; the best by kind carries the stream. A path is doubted when something sent on it has had
no echo for some round trips; then all paths are asked at once, and the stream goes over to another one only if that one
answers and the doubted one still does not: so a peer that is busy or frozen moves nothing. The silent path is asked
on, and used again as soon as it answers.

A path on which nothing happens is asked now and then, to keep the routers on its way from forgetting it.
"""

import random
from dataclasses import dataclass

from protocol.paths import PathKind

KEEPALIVE_S = 45.0
"""Between two pings on an idle path over TCP: a NAT keeps such a connection for two hours (RFC 5382, section 5)."""

PUNCHED_KEEPALIVE_S = 18.0
"""The same over UDP, where many routers forget a mapping after 30 s; less where a shorter life was measured."""

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
        "keepalive_s",
        "kind",
        "number",
        "rtt_s",
        "silent",
        "token",
    )

    def __init__(self, number: int, kind: PathKind, keepalive_s: float, now: float) -> None:
        self.number = number
        self.kind = kind
        self.keepalive_s = keepalive_s
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
        self.punched_keepalive_s = PUNCHED_KEEPALIVE_S
        self._dice = dice
        self._dialed = dialed
        self._paths: dict[int, _Path] = {}
        self._tokens = 0

    # -- what others ask of it -----------------------------------------------------------------------

    def kind(self, path: int) -> PathKind:
        return self._paths[path].kind

    def rtt_s(self, path: int) -> float | None:
        return self._paths[path].rtt_s

    def is_silent(self, path: int) -> bool:
        return self._paths[path].silent

    @property
    def numbers(self) -> list[int]:
        return list(self._paths)

    @property
    def kinds(self) -> list[PathKind]:
        """Of the paths that work, the best first."""
        alive = [path.kind for path in self._paths.values() if not path.silent]
        return sorted(alive, key=RANK.__getitem__)

    # -- what happens --------------------------------------------------------------------------------

    def opened(self, path: int, kind: PathKind, now: float) -> list[Choice]:
        """One more, over which the two have spoken already."""
        spread = self._dice.uniform(1.0 - JITTER, 1.0 + JITTER)
        every_s = self.punched_keepalive_s if kind is PathKind.PUNCHED else KEEPALIVE_S
        # Who opened the path asks; the other side does only where that one does not.
        every_s *= spread if self._dialed else 1.5 * spread
        self._paths[path] = _Path(path, kind, every_s, now)
        return [*self._choose(f"{kind} is up"), self._ask(self._paths[path], now)]

    def closed(self, path: int, now: float) -> list[Choice]:
        gone = self._paths.pop(path, None)
        if gone is None or self.active != path:
            return []
        self.active = None
        return self._choose(f"{gone.kind} is gone")

    def sent(self, now: float) -> None:
        """Bytes of the stream are under way."""
        if self.unanswered_since is None:
            self.unanswered_since = now
            self._wake(now + self._patience_s())

    def acknowledged(self, everything: bool, now: float) -> None:
        """More of what we sent has come."""
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
        return self._choose(f"{one.kind} answers again")

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
        quiet_s = now - path.heard_at
        if path.silent:
            limit_s = SILENT_S if self._another_lives(path, path.heard_at) else DEAD_S
            if quiet_s >= limit_s:
                return self._give_up(path, quiet_s)
            return [self._ask(path, now)] if now - path.asked_at >= PROBE_S else []
        if path.doubted_at is not None:
            return self._judge(path, path.doubted_at, now)
        if self._is_overdue(path, now):
            path.doubted_at = now
            return [self._ask(one, now) for one in self._paths.values()]
        if now - max(path.heard_at, path.asked_at) >= path.keepalive_s:
            return [self._ask(path, now)]
        return []

    def _judge(self, path: _Path, doubted_at: float, now: float) -> list[Choice]:
        """It was asked and has not answered; what do the others say?"""
        if now - doubted_at < path.patience_s:
            return []
        if self._another_lives(path, doubted_at):
            path.silent = True
            return self._choose(f"{path.kind} is silent")
        if now - path.heard_at >= DEAD_S:
            return self._give_up(path, now - path.heard_at)
        if now - path.asked_at >= PROBE_S:
            return [self._ask(one, now) for one in self._paths.values()]
        return []

    def _is_overdue(self, path: _Path, now: float) -> bool:
        if path.asked_at > path.heard_at and now - path.asked_at >= path.patience_s:
            return True
        since = self.unanswered_since
        if path.number != self.active or since is None:
            return False
        return now - max(since, path.heard_at) >= path.patience_s

    def _another_lives(self, path: _Path, since: float) -> bool:
        return any(
            other.heard_at > since and not other.silent
            for other in self._paths.values()
            if other is not path
        )

    def _give_up(self, path: _Path, quiet_s: float) -> list[Choice]:
        return [
            Drop(path.number, f"nothing came over the {path.kind} path for {quiet_s:.0f} s"),
            *self.closed(path.number, 0.0),
        ]

    def _choose(self, why: str) -> list[Choice]:
        usable = [path for path in self._paths.values() if not path.silent]
        if not usable:
            return []
        # Of two alike the newer one: the older was opened in other circumstances.
        best = min(usable, key=lambda path: (RANK[path.kind], -path.number))
        if best.number == self.active:
            return []
        self.active = best.number
        return [Use(best.number, why)]

    def _ask(self, path: _Path, now: float) -> Ping:
        self._tokens += 1
        path.token, path.asked_at = self._tokens, now
        self._wake(now + path.patience_s)
        return Ping(path.number, self._tokens)

    def _forgive(self, now: float) -> None:
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
                moments.append(max(path.heard_at, path.asked_at) + path.keepalive_s)
                if path.asked_at > path.heard_at:
                    moments.append(path.asked_at + path.patience_s)
                if path.number == self.active and self.unanswered_since is not None:
                    moments.append(max(self.unanswered_since, path.heard_at) + path.patience_s)
        self.deadline = min(moments, default=None)
