"""A small internet on virtual time: two public nodes that answer STUN, and a NAT that is told how to behave."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass

from nat import stun
from nat.answering import Answering
from nat.behaviour import Behaviour
from nat.endpoint import Endpoint
from nat.knocks import AskKnock
from nat.probe import Effect, Learnt, Probe, Server
from nat.questions import Transmit
from protocol.paths import Filtering, Mapping

OUTSIDE = "203.0.113.77"
INSIDE = "192.168.1.5"
MAIN_PORT = 7879
A, B = Endpoint("198.51.100.1", 7879), Endpoint("198.51.101.1", 7879)
ALTERNATE_PORT = 40_000
WAY_S = 0.02
NAMES = {"anna": A, "bert": B}


@dataclass(frozen=True, slots=True)
class Kind:
    """How the box between us and the world behaves."""

    mapping: Mapping = Mapping.INDEPENDENT
    filtering: Filtering = Filtering.PORT
    hairpin: bool = False
    kept: bool = True
    lives_s: float = 1e9
    knocks: tuple[str, ...] = ("anna", "bert")
    """Members that send packets when they are asked to."""
    loss: float = 0.0
    down: tuple[str, ...] = ()
    """Public nodes that do not answer."""
    alternate: bool = True
    """Public nodes have a second port."""


class Box:
    """The NAT. Each mapping remembers to whom it has sent, and when anything passed last."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._ports = itertools.count(50_000)
        self._mapped: dict[tuple[int, Endpoint | None], Endpoint] = {}
        self._inside: dict[Endpoint, int] = {}
        self._used: dict[Endpoint, float] = {}
        self._sent: dict[Endpoint, set[Endpoint]] = {}

    def out(self, socket: int, to: Endpoint, now: float) -> Endpoint | None:
        """As whom the world sees this packet; None: it does not pass."""
        if self._kind.mapping is Mapping.BLOCKED:
            return None
        key = (socket, to if self._kind.mapping is Mapping.DEPENDENT else None)
        outside = self._mapped.get(key)
        if outside is None or now > self._used[outside] + self._kind.lives_s:
            outside = self._mapped[key] = self._fresh(socket)
            self._inside[outside] = socket
            self._sent[outside] = set()
        self._used[outside] = now
        self._sent[outside].add(to)
        return outside

    def let_in(self, to: Endpoint, source: Endpoint, now: float) -> int | None:
        """The socket that a packet comes to."""
        if to not in self._inside or now > self._used[to] + self._kind.lives_s:
            return None
        known = self._sent[to]
        if self._kind.filtering is Filtering.PORT and source not in known:
            return None
        if self._kind.filtering is Filtering.ADDRESS and source.host not in {h for h, _ in known}:
            return None
        self._used[to] = now
        return self._inside[to]

    def _fresh(self, socket: int) -> Endpoint:
        if self._kind.mapping is Mapping.NONE:
            return Endpoint(INSIDE, MAIN_PORT + socket)
        return Endpoint(OUTSIDE, MAIN_PORT + socket if self._kind.kept else next(self._ports))


class World:
    """Runs one probe until it is over. `told` has what it learnt, each with the moment."""

    def __init__(
        self, kind: Kind, names: tuple[str, ...] = ("anna", "bert"), seed: int = 1
    ) -> None:
        self.told: list[tuple[float, Behaviour]] = []
        self.sent = 0
        """Packets."""
        self.now = 0.0
        self._kind = kind
        self._box = Box(kind)
        self._dice = random.Random(seed)
        self._count = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._answering = {name: Answering(0.0) for name in NAMES}
        servers = tuple(Server(name, NAMES[name], INSIDE) for name in names)
        self.probe = Probe(servers, MAIN_PORT, random.Random(seed))

    def run(self) -> Behaviour:
        self._feed(self.probe.begin(self.now))
        while self._events or self.probe.deadline is not None:
            at = self._events[0][0] if self._events else float("inf")
            if self.probe.deadline is not None and self.probe.deadline <= at:
                self.now = max(self.now, self.probe.deadline)
                self._feed(self.probe.tick(self.now))
                continue
            self.now, _, act = heapq.heappop(self._events)
            act()
            assert self.now < 100.0, "a probe ends"
        return self.probe.found

    def when(self, known: Callable[[Behaviour], bool]) -> float:
        """The moment at which it first knew."""
        return next(at for at, behaviour in self.told if known(behaviour))

    # -- within --------------------------------------------------------------------------------------

    def _feed(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Transmit():
                    self._transmit(effect)
                case AskKnock():
                    self._later(lambda effect=effect: self._knock(effect))  # type: ignore[misc]
                case Learnt():
                    self.told.append((self.now, effect.behaviour))

    def _later(self, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + WAY_S, next(self._count), act))

    def _transmit(self, transmit: Transmit) -> None:
        self.sent += 1
        source = self._box.out(transmit.socket, transmit.to, self.now)
        if source is None or self._dice.random() < self._kind.loss:
            return
        if transmit.to.host == OUTSIDE:
            if self._kind.hairpin:
                self._later(lambda: self._arrive(transmit.to, source, transmit.datagram))
            return
        self._later(lambda: self._serve(transmit.to, source, transmit.datagram))

    def _serve(self, at: Endpoint, source: Endpoint, datagram: bytes) -> None:
        name = next(name for name, one in NAMES.items() if one.host == at.host)
        if name in self._kind.down or at.port not in (A.port, ALTERNATE_PORT):
            return
        other = ALTERNATE_PORT if self._kind.alternate else None
        message = stun.parse(datagram)
        answer = self._answering[name].asked(datagram, message, source, other, self.now)
        if answer is not None and self._dice.random() >= self._kind.loss:
            self._later(lambda: self._arrive(source, at, answer))

    def _arrive(self, to: Endpoint, source: Endpoint, datagram: bytes) -> None:
        socket = self._box.let_in(to, source, self.now)
        if socket is not None:
            self._feed(self.probe.heard(socket, stun.parse(datagram), self.now))

    def _knock(self, ask: AskKnock) -> None:
        if ask.member not in self._kind.knocks or (ask.alternate and not self._kind.alternate):
            self._later(lambda: self._feed(self.probe.knock_failed(ask.token, self.now)))
            return
        at = NAMES[ask.member]
        source = Endpoint(at.host, ALTERNATE_PORT) if ask.alternate else at
        if self._dice.random() >= self._kind.loss:
            self._later(lambda: self._arrive(ask.to, source, stun.indication(ask.token)))
        self._later(lambda: self._feed(self.probe.knock_sent(ask.token, self.now)))
