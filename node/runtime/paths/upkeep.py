"""Looks after one link: finds it a path again when it has none, and better ones while it has.

Both sides look for a path when none is left, and dial each other while there is no direct one. Relays and holes in NATs
are looked for by the side that has opened the link. When, `nat/pathfinder.py` decides.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING

from nat.pathfinder import DIRECT, Means, Pathfinder, Seek
from node.runtime.paths.by_relays import by_relays
from node.runtime.paths.multipath import Multipath
from node.runtime.tls import explain
from protocol.errors import PeerError, SedmaError
from protocol.ids import short
from protocol.paths import PathKind, by_way_of, relay_in

if TYPE_CHECKING:
    from node.runtime.paths.ways import Ways

RESUME_S = 5.0
"""So long a link lives without any path."""

RETRY_S = 0.25

LOOK_S = 15.0
"""So often it is looked whether the peer tells other addresses by now, while there is no direct path."""

Search = Callable[[], Coroutine[object, object, dict[str, Exception]]]
"""Tries to bring up a path; what stood in the way, by address."""

POLITE_S = 1.0
"""So long the side that did not open the link lets the other one go first."""


class Upkeep:
    """Of one link, from its first path to its end."""

    def __init__(self, multipath: Multipath, ways: "Ways") -> None:
        self._multipath = multipath
        self._ways = ways
        self._loop = asyncio.get_running_loop()
        self._finder = Pathfinder(self._means(), self._loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._searching: set[Search] = set()
        """What is under way while there is no path."""
        self._lost = ""
        """Why the last path is gone; and until when another one may come."""
        self._until = 0.0
        self._tried: dict[Search, dict[str, Exception]] = {}
        """What went wrong since then."""
        self._over = False

    @property
    def why_not_direct(self) -> str:
        """What the last tries said, as far as there were any on this side."""
        tries = (("punching", PathKind.PUNCHED), ("dialling", PathKind.IPV4))
        said = [(what, self._finder.why_not(kind)) for what, kind in tries]
        return "; ".join(f"{what}: {why}" for what, why in said if why)

    def paths_changed(self) -> None:
        """One more, or one less."""
        if not self._over and not self._multipath.is_stranded:
            now = self._loop.time()
            effects = self._finder.means_are(self._means(), now)
            self._carry_out(effects + self._finder.has(self._multipath.kinds, now))

    def network_changed(self) -> None:
        if not self._over:
            self._carry_out(self._finder.network_changed(self._loop.time()))
            self.paths_changed()

    def nearby(self, address: str) -> None:
        """The peer says within our own network that it is here."""
        if not self._over and PathKind.LAN not in self._multipath.kinds:
            self._ways.own_task(self._visit(address))

    def stranded(self, reason: str) -> None:
        """No path is left."""
        self._lost, self._until = reason, self._loop.time() + RESUME_S
        self._tried.clear()
        for search in (self._dial_all, self._by_relay):
            # One may hang on since the last time.
            if search not in self._searching:
                self._searching.add(search)
                self._ways.own_task(self._repair(search))

    def end(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- while there is a path -------------------------------------------------------------------------

    def _means(self) -> Means:
        addresses = self._ways.addresses_of(self._multipath.peer)
        relays = any(relay_in(address) is not None for address in addresses)
        opened = self._multipath.dialed
        return Means(
            relay=opened and relays and self._ways.can_relay,
            punch=opened and relays and self._ways.can_punch,
            # Whoever could not dial us may be there to be dialled.
            dial=any(relay_in(address) is None for address in addresses),
        )

    def _carry_out(self, effects: list[Seek]) -> None:
        for effect in effects:
            self._ways.own_task(self._seek(effect.kind))
        self._rearm()

    async def _seek(self, kind: PathKind) -> None:
        match kind:
            case PathKind.RELAY:
                failures = await self._by_relay()
            case PathKind.PUNCHED:
                failures = await self._ways.punch(self._multipath)
            case _:
                failures = await self._dial_all()
        if self._over:
            return
        kinds = self._multipath.kinds
        found = kind in kinds if kind is not PathKind.IPV4 else not DIRECT.isdisjoint(kinds)
        why = "" if found else in_words(failures) or "not found"
        self._carry_out(self._finder.tried(kind, why, self._loop.time()))
        self.paths_changed()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._over:
            return
        deadline = self._finder.deadline
        if DIRECT.isdisjoint(self._multipath.kinds):
            look_at = self._loop.time() + LOOK_S
            deadline = look_at if deadline is None else min(deadline, look_at)
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.paths_changed()

    # -- without any -----------------------------------------------------------------------------------

    async def _repair(self, search: Search) -> None:
        """One way of searching, again and again, whatever becomes of the other: an address may hang for long."""
        while self._multipath.is_stranded:
            self._tried[search] = await search()
            if not self._multipath.is_stranded:
                break
            if len(self._tried) == len(self._searching) and self._is_final():
                self._multipath.fail(ConnectionResetError(self._lost))
            elif self._loop.time() >= self._until:
                late = f"{self._lost}; and no other path within {RESUME_S:g} s"
                self._multipath.fail(TimeoutError(late))
            else:
                await asyncio.sleep(RETRY_S)
        self._searching.discard(search)
        self.paths_changed()

    def _is_final(self) -> bool:
        """Whether the peer's process has ended, as its machine says: nothing listens where it was."""
        failures = {
            address: wrong for tried in self._tried.values() for address, wrong in tried.items()
        }
        last = self._multipath.last_address
        if last in failures:
            return isinstance(failures[last], ConnectionRefusedError)
        # Behind a router the same address is somebody else's in our own network.
        known = self._ways.addresses_of(self._multipath.peer)
        if any(relay_in(address) is not None for address in known):
            return False
        return any(isinstance(wrong, ConnectionRefusedError) for wrong in failures.values())

    async def _dial_all(self) -> dict[str, Exception]:
        """Every address at once; the first path that comes is attached. What went wrong with each."""
        last = self._multipath.last_address
        known = self._ways.addresses_of(self._multipath.peer)
        addresses = dict.fromkeys([last, *known] if last else known)
        failures: dict[str, Exception] = {}
        async with asyncio.TaskGroup() as attempts:
            for address in addresses:
                if relay_in(address) is None:
                    attempts.create_task(self._dial(address, failures))
        return failures

    async def _visit(self, address: str) -> None:
        if not self._multipath.dialed:
            # Most often both have heard of each other, and one path is enough.
            await asyncio.sleep(POLITE_S)
        if not self._over and PathKind.LAN not in self._multipath.kinds:
            await self._dial(address, {})

    async def _dial(self, address: str, failures: dict[str, Exception]) -> None:
        try:
            opened = await self._ways.dialer.path(address)
        except (OSError, SedmaError) as wrong:
            failures[address] = wrong
            return
        multipath = self._multipath
        if opened.peer != multipath.peer:
            failures[address] = PeerError(f"{address} is now node {short(opened.peer)}")
            opened.end.abort()
        elif multipath.is_over or opened.end.kind in multipath.kinds:
            opened.end.abort()
        else:
            self._ways.attach(multipath, opened.end)

    async def _by_relay(self) -> dict[str, Exception]:
        """By way of one of the peer's relays. What went wrong with others."""
        multipath, ways = self._multipath, self._ways
        known = ways.addresses_of(multipath.peer) if ways.can_relay else ()
        relays = [relay for address in known if (relay := relay_in(address)) is not None]
        opened, failures = await by_relays(
            lambda relay: ways.relayed(relay, multipath.peer), relays
        )
        if opened is not None:
            if multipath.is_over or PathKind.RELAY in multipath.kinds:
                opened.end.abort()
            else:
                ways.attach(multipath, opened.end)
        return {by_way_of(relay): wrong for relay, wrong in failures.items()}


def in_words(failures: Mapping[str, Exception]) -> str:
    """What stood in the way, by address; of a hole to punch there is none."""
    return "; ".join(
        explain(wrong, where)
        if isinstance(wrong, OSError) and where != PathKind.PUNCHED
        else str(wrong)
        for where, wrong in failures.items()
    )
