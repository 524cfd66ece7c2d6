"""To whom a node keeps links, and whom it can ask: all others of a small mesh, a few of a large one.

In a large mesh each node draws some neighbours at random and stays with them; one that is gone is replaced by another
draw. Everybody else is dialled when there is something to ask. `linking.py` brings the links up.
"""

import random

from node.communication.linking import LINKS_KEPT_MAX, NEIGHBOURS, Linking
from node.communication.membership import Membership
from protocol.ids import NodeId
from protocol.members import Cause


class Neighbours:
    """Told whose record or state has changed; keeps what `linking` wants in step with that."""

    def __init__(self, membership: Membership, linking: Linking, dice: random.Random) -> None:
        self._membership = membership
        self._linking = linking
        self._dice = dice
        self._all_linked = True
        """The mesh is so small that every node keeps a link to every other."""

    def within_reach(self, peer: NodeId) -> bool:
        """Whether it can be asked now: it is linked, or it is alive and would be dialled for the question."""
        if self._linking.is_linked(peer):
            return True
        if self._all_linked or self._linking.why_apart(peer):
            return False
        return peer in self._membership.members and not self._membership.is_suspect(peer)

    def reachable(self) -> list[NodeId]:
        """All that can be asked now, in the order of their ids."""
        if self._all_linked:
            return self._linking.linked
        return [peer for peer in sorted(self._membership.members) if self.within_reach(peer)]

    def consider(self, peer: NodeId, now: float) -> None:
        """Its record or its state has changed: keep the wish for a link in step."""
        wanted = self._linking.wanted
        known = len(self._membership.members) + len(self._membership.graves)
        if self._all_linked is not (known <= LINKS_KEPT_MAX):
            # It has grown, or shrunk, past the limit.
            self.choose(now)
        elif not self._all_linked:
            if len(wanted) < NEIGHBOURS or peer in wanted:
                self.choose(now)
        elif self._is_sought(peer):
            self._want(peer, now)
        else:
            self._linking.unwant(peer)

    def choose(self, now: float) -> None:
        """All of a small mesh; of a large one the neighbours that we have, and new ones for those that are gone."""
        members, wanted = self._membership.members, self._linking.wanted
        known = [*members, *self._membership.graves]
        self._all_linked = len(known) <= LINKS_KEPT_MAX
        if self._all_linked:
            chosen = [peer for peer in known if self._is_sought(peer)]
        else:
            chosen = [peer for peer in wanted if peer in members][:NEIGHBOURS]
            others = [peer for peer in members if peer not in wanted]
            lacking = min(NEIGHBOURS - len(chosen), len(others))
            chosen += self._dice.sample(others, lacking)
        for peer in [peer for peer in wanted if peer not in chosen]:
            self._linking.unwant(peer)
        for peer in chosen:
            self._want(peer, now)

    def _is_sought(self, peer: NodeId) -> bool:
        """Whether a link to it would be kept in a small mesh: also to who may come back."""
        grave = self._membership.graves.get(peer)
        return peer in self._membership.members if grave is None else grave.cause is not Cause.LEFT

    def _want(self, peer: NodeId, now: float) -> None:
        record = self._membership.record(peer)
        self._linking.want(peer, () if record is None else record.addresses, now)
