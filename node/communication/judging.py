"""Suspects whoever answered nobody, and counts it as dead when it has not denied that in time.

The one who is concerned is told first, of the suspicion and of its death alike: nobody else can deny it.
"""

from node.communication.learning import Learning
from node.communication.own_member import OwnMember
from node.communication.paths import Paths
from node.communication.post import Post
from node.communication.probing import Prober
from node.communication.roster import Roster
from node.effects import Effect
from protocol.ids import NodeId
from protocol.members import Suspect


class Judging:
    """`at` says when the next suspicion asks for something."""

    def __init__(
        self,
        own: OwnMember,
        roster: Roster,
        paths: Paths,
        learning: Learning,
        prober: Prober,
        post: Post,
    ) -> None:
        self._own = own
        self._roster = roster
        self._paths = paths
        self._learning = learning
        self._prober = prober
        self._post = post

    @property
    def at(self) -> float:
        return self._learning.judge_at

    def accuse(self, peer: NodeId, now: float, out: list[Effect]) -> None:
        """It has answered nobody: suspect it, and tell it so."""
        standing = self._roster.standing(peer)
        if standing is None or peer not in self._roster.members:
            return
        own = self._own.id
        self._learning.learn(Suspect(peer, standing[0], own), own, now, out)
        if self._paths.rtt_s(peer) is None:
            # UDP may never have passed: that is no reason to be suspected unheard.
            self._post.introduce(peer, out)
        else:
            self._post.gossip(peer, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        for dead in self._roster.overdue(now):
            self._learning.learn(dead, self._own.id, now, out)
            # If it is there after all, it hears of its death from those who believe it.
            self._post.gossip(dead.node, out)
        for node in self._roster.unsettled(now):
            self._prober.prod(node, now)
        left = self._roster.suspicions.values()
        self._learning.judge_at = min((one.at for one in left), default=float("inf"))

    def stalled(self, lost_s: float) -> None:
        """We did not run for so long: the suspects get that time back."""
        self._roster.postpone(lost_s)
        self._learning.judge_at += lost_s
