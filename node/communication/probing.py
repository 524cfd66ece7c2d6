"""Probes one member after another: several pings, then by way of others, then over the link.

    0        t        2t                              3t                              5t, or the end of the period
    ping     ping     ping, one over the link,        ping,                           no answer by any way: silent
                      one by way of three others      one by way of three more

t is the time that an answer from there may take (`paths.py`). One lost packet must not make a suspect: with a single
ping a tenth of all packets lost makes one of five probes fail, and healthy members die of it. Time and period are
stretched by our doubts about ourselves (`awareness.py`).
"""

import random

from node.communication.awareness import Awareness
from node.communication.paths import Paths
from node.communication.post import Post
from node.communication.roster import Roster
from node.communication.rota import Rota
from node.effects import Effect
from protocol.ids import NodeId

PERIOD_S = 1.0
JITTER = 0.1
"""Of the period to either side, so that nodes do not fall in step."""
TRIES = 4
ASKING_FROM = 3
"""From this try on others are asked, and the link is tried."""
HELPERS = 3
"""Asked beside each of these tries."""
BY_LINK_S = 2.0
"""A link may have to be dialled first, and what is lost on it is sent again: that takes longer than UDP."""
SEQUENCES = 1 << 31
"""Those of our own probes; whoever helps others counts in the upper half."""
PRODDED_MAX = 1_024
"""Members waiting to be probed before their turn; a further one waits for its turn."""


class Prober:
    """One probe at a time. `at` says when it wants to go on."""

    def __init__(
        self,
        roster: Roster,
        rota: Rota,
        paths: Paths,
        awareness: Awareness,
        post: Post,
        dice: random.Random,
    ) -> None:
        self.at = float("inf")
        self._roster = roster
        self._rota = rota
        self._paths = paths
        self._awareness = awareness
        self._post = post
        self._dice = dice
        self._prodded: dict[NodeId, None] = {}
        self._target: NodeId | None = None
        """Of the probe under way; None once it is answered."""
        self._timeout_s = 0.0
        self._ends_at = 0.0
        self._next_at = 0.0
        self._steps = 0
        """Tries made in this probe."""
        self._asked: list[NodeId] = []
        self._nacks = 0
        self._tried_link = False
        self._first = dice.getrandbits(31)
        """The sequence of the first ping of this probe; a new process does not count as its last one did."""
        self._sent: list[tuple[NodeId | None, float]] = []
        """By place after `_first`: whom the ping has gone to, and when. None: others may answer, nothing is timed."""
        self._before: tuple[int, list[tuple[NodeId | None, float]]] = (0, [])
        """The same of the probe before."""
        self._silent: NodeId | None = None
        """Whose probe was the last to end in silence."""

    def begin(self, now: float) -> None:
        """Nodes that start together spread over a period."""
        self.at = now + PERIOD_S * self._dice.random()

    def stop(self) -> None:
        self._target, self.at = None, float("inf")
        self._prodded.clear()

    def prod(self, peer: NodeId, now: float) -> None:
        """Probe this one next, as soon as no other probe is under way."""
        if len(self._prodded) < PRODDED_MAX:
            self._prodded[peer] = None
        if self._target is None and self.at > now:
            self.at = now

    def tick(self, now: float, out: list[Effect]) -> NodeId | None:
        """Go on; the member whose probe has ended in silence, if one has."""
        target = self._target
        if target is None:
            self._probe_next(now, out)
        elif now < self._ends_at:
            self._step(target, now, out)
        else:
            self._doubt_ourselves()
            self._target, self._silent = None, target
            self.at = now
            return target
        return None

    def acked(self, peer: NodeId, sequence: int, now: float) -> None:
        place = (sequence - self._first) % SEQUENCES
        if place >= len(self._sent):
            self._acked_late(peer, sequence, now)
            return
        to, at = self._sent[place]
        if to == peer:
            self._paths.measured(peer, now - at)
        if to in (peer, None):
            self._succeed()

    def linked(self, peer: NodeId, sequence: int, now: float) -> None:
        """The ping over the link is answered."""
        place = (sequence - self._first) % SEQUENCES
        if place < len(self._sent) and self._target is not None:
            self._paths.saved_by_link(peer, now)
            self._succeed()
        elif peer == self._silent:
            # Too late, but the next probe takes the link at once.
            self._paths.saved_by_link(peer, now)

    def nacked(self, sequence: int) -> None:
        """A helper is there; the fault is less likely ours."""
        if (sequence - self._first) % SEQUENCES < len(self._sent):
            self._nacks += 1

    def stalled(self, now: float) -> None:
        """We were not there to hear an answer: the probe begins anew, and nothing sent so far is timed."""
        self._sent = [(None, at) for _, at in self._sent]
        self._before = (0, [])
        if self._target is None:
            self.at = max(self.at, now)
        else:
            self._schedule(self._target, now)
            self.at = now

    # -- within --------------------------------------------------------------------------------------

    def _probe_next(self, now: float, out: list[Effect]) -> None:
        if now < self._next_at and not self._prodded:
            self.at = self._next_at
            return
        target = self._choose()
        if target is None:
            self.at = self._next_at = now + PERIOD_S
            return
        self._before = (self._first, self._sent)
        self._first = (self._first + len(self._sent)) % SEQUENCES
        self._sent = []
        self._target = target
        self._schedule(target, now)
        self._step(target, now, out)

    def _choose(self) -> NodeId | None:
        while self._prodded:
            # When many links break at once, those who saw it shall not all begin with the same peer.
            peer = self._dice.choice(list(self._prodded))
            del self._prodded[peer]
            if peer in self._roster.members:
                return peer
        return self._rota.next()

    def _schedule(self, target: NodeId, now: float) -> None:
        factor = self._awareness.factor
        self._timeout_s = timeout_s = factor * self._paths.timeout_s(target)
        period_s = factor * PERIOD_S * (1.0 - JITTER + 2.0 * JITTER * self._dice.random())
        self._next_at = now + period_s
        # A far peer is given the time for all tries, even if that is longer than a period.
        self._ends_at = now + max(period_s, (TRIES + 1) * timeout_s)
        if self._paths.takes_link(target):
            self._ends_at = max(self._ends_at, now + factor * BY_LINK_S)
        self._steps = self._nacks = 0
        self._asked = []
        self._tried_link = False

    def _step(self, target: NodeId, now: float, out: list[Effect]) -> None:
        self._steps = step = self._steps + 1
        self._ping(target, step, now, out)
        if step >= ASKING_FROM:
            self._ask_others(target, now, out)
        self.at = min(now + self._timeout_s, self._ends_at) if step < TRIES else self._ends_at

    def _ping(self, target: NodeId, step: int, now: float, out: list[Effect]) -> None:
        by_link = self._paths.takes_link(target)
        if (by_link or step >= ASKING_FROM) and not self._tried_link:
            self._tried_link = True
            self._post.ping_by_link(target, self._sequence(None, now), self._ends_at - now, out)
        if not by_link or (step == 1 and self._paths.tries_udp(target, now)):
            self._post.ping(target, self._sequence(target, now), out)

    def _ask_others(self, target: NodeId, now: float, out: list[Effect]) -> None:
        for helper in self._helpers(target):
            self._asked.append(helper)
            self._post.ping_for(helper, self._sequence(None, now), target, out)

    def _helpers(self, target: NodeId) -> list[NodeId]:
        """Near, far and between: what is broken on our way to the target is likely broken for our neighbours too."""
        members, suspicions = self._roster.members, self._roster.suspicions
        drawn = [
            node
            for node in self._rota.sample(2 * HELPERS, avoid=target)
            if node in members and node not in suspicions and node not in self._asked
        ]
        if len(drawn) <= HELPERS:
            return drawn
        drawn.sort(key=self._paths.timeout_s)
        return [drawn[place * len(drawn) // HELPERS] for place in range(HELPERS)]

    def _sequence(self, to: NodeId | None, now: float) -> int:
        sequence = (self._first + len(self._sent)) % SEQUENCES
        self._sent.append((to, now))
        return sequence

    def _succeed(self) -> None:
        if self._target is not None:
            self._target = None
            self._awareness.better()
            self.at = self._next_at

    def _acked_late(self, peer: NodeId, sequence: int, now: float) -> None:
        """The probe is over, but so we learn how long the way really takes."""
        first, sent = self._before
        place = (sequence - first) % SEQUENCES
        if place < len(sent) and sent[place][0] == peer:
            self._paths.measured(peer, now - sent[place][1])

    def _doubt_ourselves(self) -> None:
        """Helpers that have not even said that they had no answer may have been cut off by our own fault.

        But if one of them has, we are heard, and the others are more likely dead: when half a mesh dies, most are.
        """
        if not self._nacks:
            self._awareness.worse(min(len(self._asked), HELPERS) if self._asked else 1)
