"""What becomes of a piece of news: believed or not, passed on, denied, put right.

News of others is merged by the roster. News of ourselves is for us alone to judge: who suspects us, or has buried us,
is proven wrong by a higher incarnation of ours. Whoever tells what was denied long since has missed the denial, and is
told the truth in our answer, for nobody else would repeat it.
"""

from collections.abc import Iterable

from node.communication.awareness import Awareness
from node.communication.own_member import OwnMember
from node.communication.paths import Paths
from node.communication.post import Post
from node.communication.roster import INCARNATION_MAX, Change, Roster
from node.communication.rota import Rota
from node.effects import Effect, KeepIncarnation, note
from protocol.ids import NodeId, short
from protocol.members import Alive, Cause, Dead, MemberRecord, News, Suspect

PASSED_ON_MAX = 256
"""With so much news waiting, what a merge of views brings is not passed on as gossip: further merges spread it."""

TWIN = "another process runs with a copy of this data directory; give each its own"


class Learning:
    """Told of news; changes the roster, our own record and what waits to be passed on."""

    def __init__(
        self,
        own: OwnMember,
        roster: Roster,
        rota: Rota,
        paths: Paths,
        awareness: Awareness,
        post: Post,
    ) -> None:
        self.changes: list[tuple[NodeId, Change]] = []
        self.worth_keeping = False
        """Something has changed that the disk should know."""
        self.judge_at = float("inf")
        """No suspicion asks for anything before."""
        self._own = own
        self._roster = roster
        self._rota = rota
        self._paths = paths
        self._awareness = awareness
        self._post = post
        self.twin = ""
        """Why we believe that another process runs with our key; empty while nothing says so."""
        self._owed: dict[NodeId, News] = {}

    def learn(self, news: News, teller: NodeId, now: float, out: list[Effect]) -> None:
        if isinstance(news, Alive):
            node = news.record.id
            if node == self._own.id:
                self._learn_of_twin(news.record, teller, out)
                return
        else:
            node = news.node
            if node == self._own.id:
                self._deny(news, teller, out)
                return
        change = self._roster.learn(news, now)
        if change is not None:
            self._took(node, news, change, out)
        elif not isinstance(news, Alive):
            self._correct(news)

    def learn_all(
        self, pieces: tuple[News, ...], teller: NodeId, now: float, out: list[Effect]
    ) -> None:
        """A merge of views. Of whom we never heard and who is dead, we do not hear first that it is there."""
        dead = {one.node: one for one in pieces if isinstance(one, Dead)}
        for one in pieces:
            if isinstance(one, Alive):
                grave = dead.get(one.record.id)
                if grave is not None and self._learn_of_grave(one.record, grave, now):
                    continue
            self.learn(one, teller, now, out)

    def owed(self) -> tuple[News, ...]:
        """What whoever spoke now must hear in return."""
        if not self._owed:
            return ()
        owed = tuple(self._owed.values())
        self._owed.clear()
        return owed

    def become(
        self,
        incarnation: int,
        addresses: tuple[str, ...],
        gone: Cause | None,
        out: list[Effect],
    ) -> None:
        """Sign a new record of ourselves and tell it."""
        raised = incarnation > self._own.record.incarnation
        self._own.sign(incarnation, addresses, gone)
        if self._roster.members:
            self._post.rumours.add(self._own.id, self._own.news)
        self.changes.append((self._own.id, Change.RAISED))
        if raised:
            out.append(KeepIncarnation(incarnation))

    def tell_of_twin(self, teller: NodeId, addresses: tuple[str, ...], out: list[Effect]) -> None:
        """Once. `addresses`: where the other process is reached, if its record said so."""
        if self.twin:
            return
        by = short(teller)
        at = f", at {' or '.join(addresses)}" if addresses else ""
        self.twin = f"{TWIN} (node {by} knows of it{at})"
        out.append(note("identity.duplicated", teller=by, addresses=addresses, reason=TWIN))

    def forget(self, nodes: Iterable[NodeId]) -> None:
        """They are dead for so long that nothing of them is known any more."""
        for node in nodes:
            self._post.rumours.drop(node)
            self._paths.forget(node)
            self.changes.append((node, Change.FORGOTTEN))
            self.worth_keeping = True

    # -- news of others ------------------------------------------------------------------------------

    def _took(self, node: NodeId, news: News, change: Change, out: list[Effect]) -> None:
        """We believe something new of this node: act on it, pass it on, and say so."""
        if len(self._post.rumours) < PASSED_ON_MAX or not isinstance(news, Alive):
            self._post.rumours.add(node, news)
        suspicion = self._roster.suspicions.get(node)
        if suspicion is not None:
            self.judge_at = min(self.judge_at, suspicion.at)
        if change is Change.CONFIRMED:
            return
        if change is Change.JOINED:
            self._rota.add(node)
        elif change in (Change.DIED, Change.LEFT):
            self._rota.remove(node)
            self._paths.lost(node)
        self.changes.append((node, change))
        self.worth_keeping = True
        self._say(node, news, change, out)

    def _say(self, node: NodeId, news: News, change: Change, out: list[Effect]) -> None:
        match change:
            case Change.JOINED:
                addresses = self._roster.members[node].addresses
                out.append(note("peer.joined", peer=short(node), addresses=addresses))
            case Change.SUSPECTED if isinstance(news, Suspect):
                accuser = short(news.accuser)
                out.append(note("peer.suspected", peer=short(node), accuser=accuser))
            case Change.TRUSTED:
                out.append(note("peer.trusted", peer=short(node)))
            case Change.DIED | Change.LEFT:
                cause = self._roster.graves[node].cause.value
                out.append(note("peer.died", peer=short(node), cause=cause))

    def _correct(self, news: Suspect | Dead) -> None:
        record = self._roster.record(news.node)
        if record is not None and record.incarnation > news.incarnation:
            self._owed[news.node] = Alive(record)

    def _learn_of_grave(self, record: MemberRecord, dead: Dead, now: float) -> bool:
        """Whether it is one that we never heard of: then there is nothing else to be learnt."""
        if record.id == self._own.id or dead.incarnation < record.incarnation:
            return False
        if self._roster.standing(record.id) is not None:
            return False
        change = self._roster.learn_of_grave(record, dead, now)
        if change is not None:
            self.changes.append((record.id, change))
            self.worth_keeping = True
        return True

    # -- news of ourselves ---------------------------------------------------------------------------

    def _deny(self, news: Suspect | Dead, teller: NodeId, out: list[Effect]) -> None:
        if self._own.gone:
            return
        if news.incarnation >= INCARNATION_MAX:
            self._roster.counters["absurd"] += 1
            return
        if news.incarnation >= self._own.record.incarnation:
            self._refute(news, teller, out)
        self._owed[self._own.id] = self._own.news

    def _refute(self, news: Suspect | Dead, teller: NodeId, out: list[Effect]) -> None:
        self.become(news.incarnation + 1, self._own.record.addresses, None, out)
        self._awareness.worse()
        if isinstance(news, Dead):
            self.changes.append((teller, Change.ANSWERED))
        elif news.accuser != teller and news.accuser in self._roster.members:
            self._post.gossip(news.accuser, out, (self._own.news,))
        what = "dead" if isinstance(news, Dead) else "suspect"
        incarnation = self._own.record.incarnation
        out.append(note("self.refuted", what=what, by=short(teller), incarnation=incarnation))

    def _learn_of_twin(self, record: MemberRecord, teller: NodeId, out: list[Effect]) -> None:
        """A later record of ours than ours: another process has our key, or had it before.

        A goodbye that is as late as our record counts as later, for all others believe it.
        """
        own = self._own.record
        least = own.incarnation + (0 if record.gone and not self._own.gone else 1)
        if record.incarnation < least or not self._roster.is_acceptable(record, own):
            return
        self.tell_of_twin(teller, record.addresses, out)
        if not self._own.gone:
            self.become(record.incarnation + 1, own.addresses, None, out)
