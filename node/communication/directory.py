"""The records of all nodes, how new each is, and what another node lacks or has that we lack.

Two things are known of a node: its membership, which is somebody else's to judge, and its record. A newer stamp wins
part by part, so whatever order and however often things are told, all come to know the same. A record is kept for as
long as its node is a member or lies in a grave; records of strangers are refused.
"""

from node.communication.knowledge import NOTHING, Knowledge, same_nodes
from node.communication.loads import Loads
from node.communication.own_record import OwnRecord
from node.communication.parcel import Lack, Members, after_move
from node.effects import Effect
from protocol.digests import LoadDigest, Moved, NodeRecord
from protocol.gossip import BucketStamps, BucketVersions, Compared, Stamp, Tell, Told
from protocol.ids import NodeId
from protocol.limits import BUCKETS
from protocol.members import Alive, Dead, MemberRecord, News

STAMPS_MAX = 320
VERSIONS_MAX = 1600
"""In one `Compared`, but always one bucket: 24 KiB and 8 KiB."""


class Directory:
    """Our own record and those of others, with the stamps by which they are compared."""

    def __init__(self, own: OwnRecord, members: Members) -> None:
        self.records: dict[NodeId, NodeRecord] = {}
        """Of others."""
        self.knowledge = Knowledge()
        self.loads = Loads()
        self.refused = 0
        """Records told of nodes that are no members."""
        self._own = own
        self._members = members
        self._restored_at = 0.0
        self.refresh(own.told.id)

    def restore(self, records: dict[NodeId, NodeRecord], knowledge: Knowledge, now: float) -> None:
        """Begin with what others know already."""
        self._restored_at = now
        self.records = records.copy()
        self.records.pop(self._own.told.id, None)
        self.knowledge = knowledge.copy()
        self.refresh(self._own.told.id)

    def record(self, node: NodeId) -> NodeRecord:
        """Of a node that we have a record of, ourselves included, as others may know it."""
        return self._own.told if node == self._own.told.id else self.records[node]

    def load(self, node: NodeId) -> LoadDigest:
        """The last that was heard of its load; nothing of a node that we never heard of."""
        if (load := self.loads.load(node)) is not None:
            return load
        record = self.records.get(node)
        return LoadDigest() if record is None else record.load

    def load_age_s(self, node: NodeId, now: float) -> float:
        """How long ago that was heard."""
        age_s = self.loads.age_s(node, now)
        if age_s is not None:
            return age_s
        return now - self._restored_at if node in self.records else 0.0

    def stamp(self, node: NodeId) -> Stamp:
        """What we know of a node, there or gone; NOTHING of a stranger."""
        if (stamp := self.knowledge.stamps.get(node)) is not None:
            return stamp
        if (grave := self._members.graves.get(node)) is not None:
            return (grave.incarnation, 1, 0, 0)
        return NOTHING

    # -- what is learnt ------------------------------------------------------------------------------

    def refresh(self, node: NodeId) -> bool:
        """Membership or record of a node may have changed: whether more than a version changed by that."""
        if node == self._own.told.id:
            member, record = self._members.own, self._own.told
            gone = member.gone is not None
            return self.knowledge.take(node, None if gone else _stamp(member, record))
        there = self._members.members.get(node)
        if there is None:
            if node not in self._members.graves:
                self._forget(node)
            return self.knowledge.take(node, None)
        return self.knowledge.take(node, _stamp(there, self.records.get(node)))

    def learn(
        self,
        message: Tell | Told,
        teller: NodeId,
        now: float,
    ) -> tuple[list[Effect], int]:
        """Take what is newer; how many nodes came, went or started anew by that."""
        effects = self._members.told(message.members, teller, now) if message.members else []
        touched = dict.fromkeys(subject(news) for news in message.members)
        for record in message.records:
            effects += self._take(record, teller, now)
            touched[record.id] = None
        for moved in message.moved:
            effects += self._move(moved, teller, now)
            touched[moved.id] = None
        return effects, sum(self.refresh(node) for node in touched)

    # -- what is compared ----------------------------------------------------------------------------

    def differing(self, theirs: tuple[int, ...], first: int) -> Compared:
        """Stamps or versions of the buckets that differ, from a given one on, as many as a message takes.

        Different beginnings make different peers tell a newcomer different parts of what it lacks.
        """
        stamps: list[BucketStamps] = []
        versions: list[BucketVersions] = []
        stamps_left, versions_left, more = STAMPS_MAX, VERSIONS_MAX, False
        for bucket in ((first + step) % BUCKETS for step in range(BUCKETS)):
            ours = self.knowledge.hashes[bucket]
            nodes = self.knowledge.nodes(bucket)
            if ours == theirs[bucket]:
                continue
            if same_nodes(ours, theirs[bucket]):
                if versions_left >= len(nodes) or not versions:
                    versions.append(BucketVersions(bucket, self._versions(nodes)))
                    versions_left -= len(nodes)
            elif stamps_left >= len(nodes) or not stamps:
                stamps.append(BucketStamps(bucket, self._stamps(nodes)))
                stamps_left -= len(nodes)
            else:
                more = True
        return Compared(stamps=tuple(stamps), versions=tuple(versions), more=more)

    def weigh(
        self, told: Compared, compared: tuple[int, ...]
    ) -> tuple[list[Lack], dict[NodeId, Stamp]]:
        """What the teller lacks, and what we want: who came or went before what only moved."""
        lacks: list[Lack] = []
        wants: dict[NodeId, Stamp] = {}
        for part in told.stamps:
            for node in dict.fromkeys((*self.knowledge.nodes(part.bucket), *part.stamps)):
                self._weigh(node, part.stamps.get(node, NOTHING), lacks, wants)
        for listed in told.versions:
            nodes = self.knowledge.nodes(listed.bucket)
            now = self.knowledge.hashes[listed.bucket]
            if len(nodes) != len(listed.versions) or not same_nodes(now, compared[listed.bucket]):
                continue
            for node, version in zip(nodes, listed.versions, strict=True):
                ours = self.knowledge.stamps[node]
                if ours[3] != version:
                    self._weigh(node, (*ours[:3], version), lacks, wants)
        return lacks, wants

    def answer(self, told: Tell) -> list[Lack]:
        """What its teller asks for and we have, and whom it believes alive and we know to be gone."""
        lacks: list[Lack] = []
        dead = {news.node: None for news in told.members if isinstance(news, Dead)}
        for news in told.members:
            if isinstance(news, Alive) and news.record.gone is None and news.record.id not in dead:
                theirs = (news.record.incarnation, 0, 0, 0)
                if (ours := self.stamp(news.record.id))[1]:
                    lacks.append((news.record.id, ours, theirs))
        return lacks + [(node, self.stamp(node), theirs) for node, theirs in told.want.items()]

    # -- within --------------------------------------------------------------------------------------

    def _weigh(
        self, node: NodeId, theirs: Stamp, lacks: list[Lack], wants: dict[NodeId, Stamp]
    ) -> None:
        ours = self.stamp(node)
        if ours[1] and theirs == NOTHING:
            return
        if ours[:2] > theirs[:2] or ours[2:] > theirs[2:]:
            lacks.append((node, ours, theirs))
        if theirs[:2] > ours[:2] or (theirs[2:] > ours[2:] and not ours[1]):
            wants[node] = ours

    def _take(self, record: NodeRecord, teller: NodeId, now: float) -> list[Effect]:
        if record.id == self._own.told.id:
            return self._hear_of_ourselves(record.stamp, teller)
        if record.id not in self._members.members and record.id not in self._members.graves:
            self.refused += 1
            return []
        known = self.records.get(record.id)
        if known is None or record.stamp > known.stamp:
            self._keep(record, now)
        return []

    def _move(self, moved: Moved, teller: NodeId, now: float) -> list[Effect]:
        if moved.id == self._own.told.id:
            return self._hear_of_ourselves((moved.incarnation, moved.version), teller)
        known = self.records.get(moved.id)
        if known is not None and (record := after_move(known, moved)) is not None:
            self._keep(record, now)
        return []

    def _keep(self, record: NodeRecord, now: float) -> None:
        self.records[record.id] = record
        self.loads.told(record, now)

    def _forget(self, node: NodeId) -> None:
        self.records.pop(node, None)
        self.loads.forget(node)

    def _hear_of_ourselves(self, stamp: tuple[int, int], teller: NodeId) -> list[Effect]:
        """Only we raise our stamp, so a higher one means that another process runs under our key."""
        if stamp <= self._own.told.stamp:
            return []
        return self._members.twin_seen(teller)

    def _stamps(self, nodes: tuple[NodeId, ...]) -> dict[NodeId, Stamp]:
        return {node: self.knowledge.stamps[node] for node in nodes}

    def _versions(self, nodes: tuple[NodeId, ...]) -> tuple[int, ...]:
        stamps = self.knowledge.stamps
        return tuple([stamps[node][3] for node in nodes])


def subject(news: News) -> NodeId:
    """Whom it is about."""
    return news.record.id if isinstance(news, Alive) else news.node


def _stamp(member: MemberRecord, record: NodeRecord | None) -> Stamp:
    incarnation, version = (0, 0) if record is None else record.stamp
    return (member.incarnation, 0, incarnation, version)
