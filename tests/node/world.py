"""A mesh in memory: real nodes, virtual time, and messages that take a moment and keep their order on each link.

What one node orders becomes what another one hears. Every header passes through the codec, so a message that would
not pass the wire does not pass here. The seed decides everything that is left to chance.
"""

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from math import inf

from protocol import codec
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import ContentId, NodeId
from protocol.limits import HEADER_BYTES_MAX
from protocol.messages import ErrorHeader, Request, RequestHeader, Response, ResponseHeader
from tests.node.member import Member

LATENCY_S = 0.005
DIAL_S = 3.0
"""A dial to a machine that does not answer at all."""
STEPS_MAX = 300_000

Answered = Callable[[Response, LoadDigest, ContentId | None], None]


@dataclass(eq=False)
class Link:
    """Between two members; calls that are under way on it."""

    ends: tuple[Member, Member]
    up: bool = True
    calls: list["Calling"] = field(default_factory=list)

    def other(self, member: Member) -> Member:
        return self.ends[1] if member is self.ends[0] else self.ends[0]


@dataclass(eq=False)
class Calling:
    """One call, seen from both ends."""

    caller: Member
    link: Link | None
    answered: Answered
    failed: Callable[[ErrorInfo], None]
    body: ContentId | None
    body_s: float
    """How long the body takes once it is granted."""
    request: int | None = None
    """Its number at the peer."""
    over: bool = False


class World:
    """Members by name, and what happens next."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 0.0
        self.dice = random.Random(seed)
        self.members: dict[str, Member] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._links: dict[frozenset[NodeId], Link] = {}
        self._last: dict[tuple[NodeId, NodeId], float] = {}
        self._cut: set[frozenset[str]] = set()
        self.sent = 0
        """Messages."""

    # -- what tests do -------------------------------------------------------------------------------

    def add(self, name: str, *seeds: str, budget_mib: int = 256) -> Member:
        """A new node that knows at most these addresses."""
        member = self.members[name] = Member(name, self, budget_mib * 1024 * 1024)
        member.start(tuple((f"{seed}:1",) for seed in seeds))
        return member

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds, must=False)

    def run_until(
        self, happened: Callable[[], bool], within_s: float, *, must: bool = True
    ) -> None:
        ends_at = self.now + within_s
        for _ in range(STEPS_MAX):
            if happened():
                return
            at = min(self._next_event_at, self._next_tick()[0])
            if at > ends_at:
                assert not must, f"it has not happened within {within_s} s"
                self.now = ends_at
                return
            self.now = max(self.now, at)
            self._step()
        raise AssertionError(f"{STEPS_MAX} steps and no end")

    def cut(self, some: Iterable[str], others: Iterable[str]) -> None:
        """No way between these two groups, from now on."""
        self._cut |= {frozenset((one, other)) for one in some for other in others}
        for link in list(self._links.values()):
            if frozenset(end.name for end in link.ends) in self._cut:
                self.drop(link, "connection reset")

    def mend(self, one: str, other: str) -> None:
        self._cut.discard(frozenset((one, other)))

    def kill(self, name: str) -> None:
        member = self.members[name]
        member.alive = False
        for link in list(self._links.values()):
            if member in link.ends:
                self.drop(link, "connection lost")

    def restart(self, name: str) -> Member:
        """The same machine with what lies on its disk."""
        member = self.members[name] = self.members[name].reborn()
        member.start(())
        return member

    def linked(self, one: Member, other: Member) -> bool:
        return frozenset((one.id, other.id)) in self._links

    # -- what members order --------------------------------------------------------------------------

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), act))

    def dial(self, caller: Member, addresses: tuple[str, ...], peer: NodeId | None) -> None:
        names = [address.split(":")[0] for address in addresses]
        found = next((self.members[n] for n in names if self._answers(caller, n)), None)
        frozen = any(name in self.members and self.members[name].frozen for name in names)

        def failed(reason: str) -> None:
            caller.hear(lambda: caller.node.dial_failed(addresses, peer, reason, self.now))

        def arrived() -> None:
            if found is None or not self._answers(caller, found.name):
                failed("refused")
                return
            self._connect(caller, found)
            if peer is None:
                caller.hear(lambda: caller.node.reached(addresses))
            elif found.id != peer:
                failed(f"there is {found.name} now")

        self.after(DIAL_S if frozen else 2 * self._latency_s(), arrived)

    def hang(self, member: Member, peer: NodeId, reason: str) -> None:
        if (link := self._links.get(frozenset((member.id, peer)))) is not None:
            self.drop(link, reason)

    def call(
        self,
        caller: Member,
        peer: NodeId,
        request: Request,
        deadline_s: float,
        answered: Answered,
        failed: Callable[[ErrorInfo], None],
        *,
        body_bytes: int = 0,
        body: ContentId | None = None,
        body_s: float = LATENCY_S,
        trace: str = "",
    ) -> Calling:
        link = self._links.get(frozenset((caller.id, peer)))
        calling = Calling(caller, link, answered, failed, body, body_s)
        if link is None:
            self.after(0.0, lambda: self._fail(calling, ErrorCode.UNAVAILABLE, "no connection"))
            return calling
        link.calls.append(calling)
        sent = RequestHeader(
            request=request,
            deadline_ms=int(deadline_s * 1000),
            trace=trace,
            body_bytes=body_bytes,
        )
        wire = codec.encode(sent)
        assert len(wire) <= HEADER_BYTES_MAX

        def arrived() -> None:
            if not calling.over:
                calling.request = link.other(caller).take(
                    calling, codec.decode(RequestHeader, wire)
                )

        self._send(caller, link, arrived)
        self.after(deadline_s, lambda: self._fail(calling, ErrorCode.DEADLINE, "no answer in time"))
        return calling

    def cancel(self, calling: Calling) -> None:
        """Nobody waits any more: the peer hears of it."""
        if calling.over:
            return
        self._end(calling)
        self._tell_gone(calling)

    def grant(self, calling: Calling, take: Callable[[], None]) -> None:
        link = calling.link
        assert link is not None

        def arrived() -> None:
            if not calling.over:
                take()

        self.after(calling.body_s, lambda: self._send(calling.caller, link, arrived))

    def answer(self, calling: Calling, header: ResponseHeader, body: ContentId | None) -> None:
        wire = codec.encode(header)

        def arrived() -> None:
            if self._end(calling):
                told = codec.decode(ResponseHeader, wire)
                calling.answered(told.response, told.load, body)

        self._reply(calling, arrived)

    def refuse(self, calling: Calling, header: ErrorHeader) -> None:
        wire = codec.encode(header)

        def arrived() -> None:
            if self._end(calling):
                calling.failed(codec.decode(ErrorHeader, wire).error)

        self._reply(calling, arrived)

    def drop(self, link: Link, reason: str) -> None:
        """The link is lost at both ends: its calls fail, its requests are gone."""
        if not link.up:
            return
        link.up = False
        first, second = link.ends
        del self._links[frozenset((first.id, second.id))]
        for calling in list(link.calls):
            self._fail(calling, ErrorCode.UNAVAILABLE, reason)
        for end, other in ((first, second), (second, first)):
            end.lose_all(link)
            self._part(end, other, reason)

    # -- within --------------------------------------------------------------------------------------

    @property
    def _next_event_at(self) -> float:
        return self._events[0][0] if self._events else inf

    def _next_tick(self) -> tuple[float, Member | None]:
        """The first of the nodes that wish for a tick."""
        ticks = [
            (member.node.deadline, member)
            for member in self.members.values()
            if member.up and member.node.deadline is not None
        ]
        return min(ticks, key=lambda one: one[0], default=(inf, None))

    def _step(self) -> None:
        tick_at, member = self._next_tick()
        if self._next_event_at <= tick_at:
            heapq.heappop(self._events)[2]()
        else:
            assert member is not None, "nothing will ever happen again"
            member.hear(lambda: member.node.tick(self.now))

    def _latency_s(self) -> float:
        return LATENCY_S * self.dice.uniform(0.5, 1.5)

    def _send(self, sender: Member, link: Link, arrived: Callable[[], None]) -> None:
        """A moment later and in order, unless the link is lost or the other end has stopped."""
        receiver = link.other(sender)
        self.sent += 1
        way = (sender.id, receiver.id)
        at = max(self.now + self._latency_s(), self._last.get(way, 0.0) + 1e-9)
        self._last[way] = at

        def deliver() -> None:
            if link.up and receiver.up:
                arrived()

        self.after(at - self.now, deliver)

    def _reply(self, calling: Calling, arrived: Callable[[], None]) -> None:
        link = calling.link
        assert link is not None
        self._send(link.other(calling.caller), link, arrived)

    def _answers(self, caller: Member, name: str) -> bool:
        there = self.members.get(name)
        cut = frozenset((caller.name, name)) in self._cut
        return there is not None and there.up and caller.alive and not cut and there is not caller

    def _connect(self, one: Member, other: Member) -> None:
        pair = frozenset((one.id, other.id))
        if pair in self._links:
            return
        self._links[pair] = Link((one, other))
        one.hear(lambda: one.node.link_up(other.id, self.now))
        other.hear(lambda: other.node.link_up(one.id, self.now))

    def _part(self, member: Member, other: Member, reason: str) -> None:
        member.hear(lambda: member.node.link_down(other.id, reason, self.now))

    def _end(self, calling: Calling) -> bool:
        """False if it has ended before."""
        if calling.over:
            return False
        calling.over = True
        if calling.link is not None:
            calling.link.calls.remove(calling)
        return True

    def _fail(self, calling: Calling, code: ErrorCode, reason: str) -> None:
        if self._end(calling):
            self._tell_gone(calling)
            if calling.caller.up:
                calling.failed(ErrorInfo(code=code, reason=reason))

    def _tell_gone(self, calling: Calling) -> None:
        if calling.link is None:
            return
        peer = calling.link.other(calling.caller)
        if calling.link.up:
            self._send(calling.caller, calling.link, lambda: peer.lose(calling))
        else:
            peer.lose(calling)
