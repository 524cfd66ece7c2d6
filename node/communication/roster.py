"""What we believe of every other member, and how news changes it.

Of one member, the later belief in this order is the truth, whoever brought it and in whatever order it came:

    incarnation i alive  <  i suspect  <  i dead  <  i gone by its own word  <  incarnation i + 1 alive  < ...

Only a member raises its own incarnation, so it alone can deny what others believe of it. Beliefs are merged by taking
the later one: nodes that have heard the same news, in any order and any number of times, believe the same. The record
is that of the highest incarnation of which one was seen, and it is verified once: before it is believed.
"""

import random
from collections import Counter
from collections.abc import Mapping
from enum import IntEnum, StrEnum

from node.communication.graveyard import Graveyard
from node.communication.own_member import OwnMember
from node.communication.rumours import ALIVE_BYTES_MAX, news_bytes
from node.communication.signatures import Signatures
from node.communication.suspicion import Suspicion
from protocol.ids import NodeId
from protocol.limits import PEERS_MAX
from protocol.members import Alive, Cause, Dead, MemberRecord, News, Suspect, signed_bytes

INCARNATION_MAX = (1 << 36) - 1
"""An incarnation begins at the second of the start, so one beyond this is a mistake; seals have room for no more."""
WITNESSES = 3
"""About so many others see after a suspect as soon as they hear of it: to confirm it, or to have it denied."""


class Change(StrEnum):
    """What has become of a member in our eyes."""

    JOINED = "joined"
    MOVED = "moved"
    """Its record is a newer one: other addresses, or another incarnation."""
    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    """One more has suspected it."""
    TRUSTED = "trusted"
    """It was suspected and has denied it."""
    DIED = "died"
    """`graves` tells the cause; it did not say goodbye."""
    FORGOTTEN = "forgotten"
    """Dead for so long that nothing is known of it any more."""
    LEFT = "left"
    """By its own word; `graves` tells the cause."""
    ANSWERED = "answered"
    """We and this node had buried each other: views are to be compared at once."""
    RAISED = "raised"
    """Our own record is a new one."""


class Standing(IntEnum):
    """Within one incarnation; the later one is the truth."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    GONE = 3


class Roster:
    """All others: the living, of them the suspects, and the dead."""

    def __init__(
        self,
        own: OwnMember,
        signatures: Signatures,
        graveyard: Graveyard,
        period_s: float,
        dice: random.Random,
    ) -> None:
        self.members: dict[NodeId, MemberRecord] = {}
        """Alive or suspect."""
        self.suspicions: dict[NodeId, Suspicion] = {}
        self.counters: Counter[str] = Counter()
        """News that was dropped, by the reason."""
        self._own = own
        self._signatures = signatures
        self._graveyard = graveyard
        self.graves = graveyard.graves
        self._period_s = period_s
        self._dice = dice

    def restore(self, members: Mapping[NodeId, MemberRecord]) -> None:
        self.members = dict(members)
        self.members.pop(self._own.id, None)

    # -- what is believed ----------------------------------------------------------------------------

    def record(self, node: NodeId) -> MemberRecord | None:
        """The newest record of a member, alive or not."""
        member = self.members.get(node)
        if member is None and node in self.graves:
            return self.graves[node].record
        return member

    def standing(self, node: NodeId) -> tuple[int, Standing] | None:
        """Incarnation and standing: the later is the truth; None of a node never heard of."""
        suspicion = self.suspicions.get(node)
        if suspicion is not None:
            return suspicion.incarnation, Standing.SUSPECT
        member = self.members.get(node)
        if member is not None:
            return member.incarnation, Standing.ALIVE
        grave = self.graves.get(node)
        if grave is None:
            return None
        silent = grave.cause is Cause.SILENT
        return grave.incarnation, Standing.DEAD if silent else Standing.GONE

    def about(self, node: NodeId) -> tuple[News, ...]:
        """All that we believe of a node, for one that may know nothing of it."""
        record = self.record(node)
        if record is None:
            return ()
        bad = self.bad_news(node)
        return (Alive(record),) if bad is None else (Alive(record), bad)

    def bad_news(self, node: NodeId) -> News | None:
        """What a member must be told first, for it alone can deny it (Lifeguard, section IV.C)."""
        suspicion = self.suspicions.get(node)
        if suspicion is not None:
            return Suspect(node, suspicion.incarnation, suspicion.accusers[0])
        grave = self.graves.get(node)
        if grave is not None and grave.cause is Cause.SILENT:
            return Dead(node, grave.incarnation)
        return None

    # -- what is told --------------------------------------------------------------------------------

    def learn(self, news: News, now: float) -> Change | None:
        """Merge a piece of news about another node; None if it tells nothing new."""
        if isinstance(news, Alive):
            return self._alive(news.record, now)
        node = news.node
        held = self.standing(node)
        if held is None:
            self.counters["unknown"] += 1
            return None
        rank = Standing.SUSPECT if isinstance(news, Suspect) else Standing.DEAD
        told = (news.incarnation, rank)
        if told > held:
            if news.incarnation > INCARNATION_MAX:
                self.counters["absurd"] += 1
                return None
            record = self.record(node)
            assert record is not None, "it has a standing"
            if isinstance(news, Suspect):
                return self._suspect(record, news, now)
            # Of another nobody can say more than that it was silent; it alone says goodbye.
            return self._bury(node, record, news.incarnation, Cause.SILENT, now)
        if told == held and isinstance(news, Suspect):
            confirmed = self.suspicions[node].confirm(news.accuser)
            return Change.CONFIRMED if confirmed else None
        return None

    def overdue(self, now: float) -> list[Dead]:
        """The suspects whose time is up."""
        return [
            Dead(node, suspicion.incarnation)
            for node, suspicion in self.suspicions.items()
            if suspicion.deadline <= now
        ]

    def unsettled(self, now: float) -> list[NodeId]:
        """The suspects that we should see after ourselves now."""
        nodes = []
        for node, suspicion in self.suspicions.items():
            if suspicion.check_at <= now:
                suspicion.check_again(now)
                nodes.append(node)
        return nodes

    def postpone(self, by_s: float) -> None:
        for suspicion in self.suspicions.values():
            suspicion.postpone(by_s)

    def learn_of_grave(self, record: MemberRecord, dead: Dead, now: float) -> Change | None:
        """Of one never heard of, that it has died: a newcomer is not told that it came first."""
        if not self.is_acceptable(record, None):
            return None
        return self._bury(record.id, record, dead.incarnation, Cause.SILENT, now)

    def is_acceptable(self, record: MemberRecord, held: MemberRecord | None) -> bool:
        """Whether a record that is news may be believed; if not, why is counted."""
        if held is None and len(self.members) >= PEERS_MAX:
            reason = "full"
        elif record.incarnation > INCARNATION_MAX:
            reason = "absurd"
        elif news_bytes(Alive(record)) > ALIVE_BYTES_MAX:
            reason = "oversized"
        elif not self._is_genuine(record):
            reason = "forged"
        else:
            return True
        self.counters[reason] += 1
        return False

    # -- within --------------------------------------------------------------------------------------

    def _alive(self, record: MemberRecord, now: float) -> Change | None:
        node = record.id
        held = self.record(node)
        if held is not None and record.incarnation <= held.incarnation:
            return None
        if not self.is_acceptable(record, held):
            return None
        standing = self.standing(node)
        if record.gone is not None:
            told = (record.incarnation, Standing.GONE)
            if standing is None or told > standing:
                return self._bury(node, record, record.incarnation, record.gone, now)
        elif standing is None or (record.incarnation, Standing.ALIVE) > standing:
            return self._trust(node, record)
        # What is believed of a later incarnation stands, but this is the newest record of it.
        if node in self.members:
            self.members[node] = record
            return Change.MOVED
        self.graves[node].record = record
        return None

    def _is_genuine(self, record: MemberRecord) -> bool:
        assert self._own.mesh is not None, "news is of a mesh"
        data = signed_bytes(record, self._own.mesh)
        return self._signatures.verifies(record.key, data, record.signature)

    def _trust(self, node: NodeId, record: MemberRecord) -> Change:
        known = node in self.members
        self.members[node] = record
        if self.suspicions.pop(node, None) is not None:
            return Change.TRUSTED
        self.graves.pop(node, None)
        return Change.MOVED if known else Change.JOINED

    def _suspect(self, record: MemberRecord, news: Suspect, now: float) -> Change:
        """One that was buried may come back as a suspect: somebody knows a later life of it."""
        joined = self.graves.pop(news.node, None) is not None
        self.members[news.node] = record
        nodes = len(self.members) + 1
        self.suspicions[news.node] = Suspicion(
            news.incarnation, news.accuser, nodes, self._period_s, now, self._dice.random()
        )
        if news.accuser != self._own.id and self._dice.random() * nodes < WITNESSES:
            self.suspicions[news.node].check_at = now
        return Change.JOINED if joined else Change.SUSPECTED

    def _bury(
        self, node: NodeId, record: MemberRecord, incarnation: int, cause: Cause, now: float
    ) -> Change | None:
        known = self.members.pop(node, None) is not None
        self.suspicions.pop(node, None)
        self.graves.pop(node, None)
        self._graveyard.bury(node, record, incarnation, cause, now)
        # Of one that we have never seen alive, or buried long ago, there is nothing to report.
        if not known:
            return Change.MOVED
        return Change.DIED if cause is Cause.SILENT else Change.LEFT
