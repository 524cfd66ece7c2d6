"""Whom to have a link to, and when to dial.

In a mesh of some dozens a node keeps a link to every other: a warm connection spares a task two round trips. In a
larger one it keeps links to a few random neighbours, over which knowledge spreads, and dials others when something is
to be asked of them: such calls wait here for their link. Who is not reached is dialled again for ever, with growing
pauses: at once by the node with the smaller id, after a moment by the other, so that two nodes rarely dial each other
at the same time.
"""

import random
from dataclasses import dataclass, field

from node.effects import Call, Dial, Effect, Hang, note
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import NodeId, short

LINKS_KEPT_MAX = 64
"""Up to so many others, all are linked."""
NEIGHBOURS = 12
"""That each node chooses in a larger mesh; it is chosen by as many."""
IDLE_S = 60.0
"""A link that was dialled for a task in a larger mesh is closed when it was not used for so long."""
POLITE_S = 1.0
"""How long the node with the larger id waits for the other to dial first."""
REDIAL_FIRST_S = 0.1
HELD_MAX = 256
"""Calls that wait for one link; a further one fails."""
HELD_S = 5.0
"""The longest that a call waits for its link."""


@dataclass(slots=True)
class _Pursuit:
    """A node, or an address, that we want a link to."""

    addresses: tuple[str, ...]
    peer: NodeId | None
    dial_at: float
    pause_s: float = REDIAL_FIRST_S
    dialling: bool = False
    reached: bool = False
    """It is an address and has answered: it is needed again once all links are lost."""
    why: str = ""
    held: list[tuple[float, Call]] = field(default_factory=list)
    """Calls that wait for the link, each with the moment at which it waits no longer."""


class Linking:
    """Told of members, links and calls; answers with whom to dial and which calls may go out."""

    def __init__(self, own: NodeId, dice: random.Random, redial_s: float) -> None:
        self.deadline: float | None = None
        self.failed: list[tuple[int, ErrorInfo]] = []
        """Held calls that came to nothing, for the core to tell who waits for them."""
        self.wanted: dict[NodeId, None] = {}
        """Links to these are kept up."""
        self._own = own
        self._dice = dice
        self._redial_s = redial_s
        self._links: dict[NodeId, float] = {}
        """Linked peers, and when each link was last used by a call of ours."""
        self._on_demand: dict[NodeId, None] = {}
        """Of these, the ones that we dialled for a call alone."""
        self._pursuits: dict[str, _Pursuit] = {}
        """By `_key`."""

    # -- what others ask of it -----------------------------------------------------------------------

    @property
    def linked(self) -> list[NodeId]:
        return sorted(self._links)

    def is_linked(self, peer: NodeId) -> bool:
        return peer in self._links

    def why_apart(self, peer: NodeId) -> str:
        """Why there is no link to this peer, in words; empty while there is one or none was tried."""
        pursuit = self._pursuits.get(peer)
        return "" if pursuit is None or peer in self._links else pursuit.why

    def obstacles(self) -> list[str]:
        """What stands between us and the others, for as long as none of them is reached."""
        if self._links:
            return []
        reasons = [self._pursuits[key].why for key in sorted(self._pursuits)]
        return list(dict.fromkeys(why for why in reasons if why))

    # -- whom to reach -------------------------------------------------------------------------------

    def seek(self, addresses: tuple[str, ...], peer: NodeId | None, now: float) -> None:
        """Want a link to whoever answers at these addresses; tried for ever."""
        key = _key(addresses, peer)
        if key not in self._pursuits and addresses and peer != self._own:
            if peer is not None:
                self.wanted[peer] = None
            self._pursuits[key] = _Pursuit(addresses, peer, dial_at=now)
            self._wake(now)

    def nearby(self, peer: NodeId, now: float) -> None:
        """It says that it is within our own network: one that is wanted is dialled now, in whatever pause we were."""
        pursuit = self._pursuits.get(peer)
        if pursuit is not None and peer not in self._links:
            pursuit.dial_at = now + self._patience_s(peer)
            pursuit.pause_s, pursuit.dialling = REDIAL_FIRST_S, False
            self._wake(pursuit.dial_at)

    def want(self, peer: NodeId, addresses: tuple[str, ...], now: float) -> None:
        """Keep a link to this member, at these addresses from now on."""
        self.wanted[peer] = None
        if not addresses or peer == self._own:
            return
        pursuit = self._pursuits.get(peer)
        dial_at = now + self._patience_s(peer)
        if pursuit is None:
            self._pursuits[peer] = _Pursuit(addresses, peer, dial_at)
        elif pursuit.addresses != addresses:
            pursuit.addresses, pursuit.dial_at = addresses, dial_at
            pursuit.pause_s = REDIAL_FIRST_S
            # A dial to where the peer was may take seconds to fail.
            pursuit.dialling = False
        else:
            return
        self._wake(dial_at)

    def unwant(self, peer: NodeId) -> None:
        """No link to this one need be kept; calls that wait for one still do."""
        self.wanted.pop(peer, None)
        pursuit = self._pursuits.get(peer)
        if pursuit is not None and not pursuit.held:
            del self._pursuits[peer]

    # -- what happens --------------------------------------------------------------------------------

    def link_up(self, peer: NodeId, now: float) -> list[Effect]:
        self._links[peer] = now
        effects: list[Effect] = [note("peer.linked", peer=short(peer))]
        pursuit = self._pursuits.get(peer)
        if pursuit is None:
            return effects
        pursuit.dialling, pursuit.pause_s, pursuit.why = False, REDIAL_FIRST_S, ""
        effects += [call for _, call in pursuit.held]
        pursuit.held.clear()
        if peer not in self.wanted:
            self._on_demand[peer] = None
            del self._pursuits[peer]
            self._wake(now + IDLE_S)
        return effects

    def reached(self, addresses: tuple[str, ...]) -> None:
        """An address that was dialled without knowing who is there has answered."""
        if (pursuit := self._pursuits.get(_key(addresses, None))) is not None:
            pursuit.dialling, pursuit.pause_s, pursuit.why = False, REDIAL_FIRST_S, ""
            pursuit.reached = True

    def link_down(self, peer: NodeId, reason: str, now: float) -> list[Effect]:
        if self._links.pop(peer, None) is None:
            return []
        self._on_demand.pop(peer, None)
        if (pursuit := self._pursuits.get(peer)) is not None:
            pursuit.why, pursuit.dial_at = reason, now + self._patience_s(peer)
        # Whoever was reached at a bare address may be needed again.
        self._wake(now)
        return [note("peer.unlinked", peer=short(peer), reason=reason)]

    def dial_failed(
        self, addresses: tuple[str, ...], peer: NodeId | None, reason: str, now: float
    ) -> list[Effect]:
        pursuit = self._pursuits.get(_key(addresses, peer))
        if pursuit is None or pursuit.addresses != addresses:
            # It has moved meanwhile, and is dialled where it is now.
            return []
        news = [] if pursuit.why == reason else [note("dial.failed", to=addresses, reason=reason)]
        pursuit.dialling, pursuit.why = False, reason
        if peer is not None:
            self._fail(pursuit, reason)
            if peer not in self.wanted:
                del self._pursuits[peer]
        # Full jitter: nodes that lost the same peer at the same moment do not return in step.
        pursuit.dial_at = now + pursuit.pause_s * self._dice.uniform(0.5, 1.0)
        pursuit.pause_s = min(pursuit.pause_s * 2, self._redial_s)
        self._wake(pursuit.dial_at)
        return list(news)

    # -- calls ---------------------------------------------------------------------------------------

    def call(self, call: Call, addresses: tuple[str, ...], now: float) -> list[Effect]:
        """Let the call out if its peer is linked; else it waits for the link, which is dialled now."""
        peer = call.peer
        if peer in self._links:
            self._links[peer] = now
            return [call]
        pursuit = self._pursuits.get(peer)
        if pursuit is None:
            if not addresses:
                self.failed.append((call.call, _unavailable(peer, "no address of it is known")))
                return []
            pursuit = self._pursuits[peer] = _Pursuit(addresses, peer, dial_at=now)
        if len(pursuit.held) >= HELD_MAX:
            reason = f"{HELD_MAX} calls wait for it already"
            self.failed.append((call.call, _unavailable(peer, reason)))
            return []
        until = now + min(call.deadline_s, HELD_S)
        pursuit.held.append((until, call))
        self._wake(until)
        if pursuit.dialling:
            return []
        pursuit.dialling = True
        return [Dial(pursuit.addresses, peer)]

    def cancel(self, call: int) -> bool:
        """Whether this call was still waiting for its link; then nobody else needs to hear of it."""
        for pursuit in self._pursuits.values():
            for entry in pursuit.held:
                if entry[1].call == call:
                    pursuit.held.remove(entry)
                    return True
        return False

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        effects: list[Effect] = []
        for key in sorted(self._pursuits):
            effects += self._see_to(self._pursuits[key], now)
        for peer in [one for one in self._on_demand if now >= self._links[one] + IDLE_S]:
            effects.append(Hang(peer, "it was not used for a while"))
            # Until the driver tells that it is down it shall not be hung up again.
            del self._on_demand[peer]
        self._rearm()
        return effects

    # -- within --------------------------------------------------------------------------------------

    def _see_to(self, pursuit: _Pursuit, now: float) -> list[Effect]:
        late = [entry for entry in pursuit.held if entry[0] <= now]
        for entry in late:
            pursuit.held.remove(entry)
            assert pursuit.peer is not None, "a call is to somebody"
            self.failed.append((entry[1].call, _unavailable(pursuit.peer, "it does not answer")))
        if pursuit.dial_at > now or not self._is_apart(pursuit):
            return []
        pursuit.dialling = True
        return [Dial(pursuit.addresses, pursuit.peer)]

    def _fail(self, pursuit: _Pursuit, reason: str) -> None:
        assert pursuit.peer is not None
        for _, call in pursuit.held:
            self.failed.append((call.call, _unavailable(pursuit.peer, reason)))
        pursuit.held.clear()

    def _patience_s(self, peer: NodeId) -> float:
        return 0.0 if self._own < peer else POLITE_S

    def _is_apart(self, pursuit: _Pursuit) -> bool:
        """Whether a dial is called for, and none is under way."""
        if pursuit.dialling:
            return False
        if pursuit.peer is None:
            return not (pursuit.reached and self._links)
        return pursuit.peer not in self._links

    def _wake(self, moment: float) -> None:
        if self.deadline is None or moment < self.deadline:
            self.deadline = moment

    def _rearm(self) -> None:
        moments = [self._links[peer] + IDLE_S for peer in self._on_demand]
        for pursuit in self._pursuits.values():
            moments += [until for until, _ in pursuit.held]
            if self._is_apart(pursuit):
                moments.append(pursuit.dial_at)
        self.deadline = min(moments, default=None)


def _key(addresses: tuple[str, ...], peer: NodeId | None) -> str:
    """Who is wanted, where that is known; else where."""
    return peer or "|".join(addresses)


def _unavailable(peer: NodeId, reason: str) -> ErrorInfo:
    text = f"node {short(peer)} cannot be reached: {reason}"
    return ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=text, node=peer)
