from dataclasses import dataclass, field

from node.communication.desk import Desk
from node.deployment.catalogue import Catalogue, parts
from node.effects import Call, CancelCall, Done, Effect, Failed, Note, Work, note
from node.execution.announce import Announcement, Removal
from node.work import KeepManifest
from protocol.digests import LoadDigest, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import ContentId, NodeId, TaskId
from protocol.messages import BlockEntry, Manifest, ManifestHead, Taken

B, C = NodeId("b" * 52), NodeId("c" * 52)
TASK = TaskId("7" * 32)
SILENT = ErrorInfo(code=ErrorCode.DEADLINE, reason="no answer in time")
FULL = ErrorInfo(code=ErrorCode.NO_ROOM, reason="the disk is full")


def manifest(blocks: int = 1) -> Manifest:
    head = ManifestHead(
        name="w",
        version=WeightsVersion(1, 0, B),
        rows=1024 * blocks,
        columns=1,
        holders=(B,),
        blocks=blocks,
    )
    return Manifest(head, (BlockEntry(ContentId("c"), ContentId("s"), (0,)),) * blocks)


def tombstone() -> Manifest:
    return Manifest(ManifestHead(name="w", version=WeightsVersion(2, 0, B), deleted=True))


def calls(effects: list[Effect]) -> list[Call]:
    return [effect for effect in effects if isinstance(effect, Call)]


def events(effects: list[Effect]) -> list[str]:
    return [effect.event for effect in effects if isinstance(effect, Note)]


@dataclass
class Around:
    """A node with two peers; its disk is done with a manifest when a test says so."""

    desk: Desk = field(default_factory=Desk)
    peers: tuple[NodeId, ...] = (B, C)
    catalogue: Catalogue = field(init=False)

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(self.desk)

    def linked(self) -> list[NodeId]:
        return list(self.peers)

    def announce(self, blocks: int = 1) -> tuple[Announcement, int, list[Call]]:
        """An announcement on its way, the work that it ordered, and its calls."""

        def told(wrong: ErrorInfo | None, now: float) -> list[Effect]:
            return [note("told", at=now, wrong=wrong)]

        one = Announcement(manifest(blocks), TASK, self, told)
        kept, *sent = one.start(0.0)
        assert isinstance(kept, Work) and kept.what == KeepManifest(manifest(blocks))
        return one, kept.job, calls(sent)

    def keep(self, job: int, now: float, wrong: ErrorInfo | None = None) -> list[Effect]:
        if wrong is None:
            return self.catalogue.job_done(job, None, now)
        return self.catalogue.job_failed(job, wrong, now)


def told(at: float, wrong: ErrorInfo | None = None) -> Note:
    return note("told", at=at, wrong=wrong)


def test_every_peer_gets_every_part_and_all_are_waited_for() -> None:
    around = Around()

    one, job, sent = around.announce(blocks=1000)

    assert around.keep(job, 0.5) == []
    assert [(call.peer, call.request) for call in sent] == [
        (peer, part) for peer in (B, C) for part in parts(manifest(1000))
    ]
    for call in sent[:-1]:
        assert one.answered(call.call, call.peer, Taken(), LoadDigest(), 1.0) == []
    last = sent[-1]
    assert one.answered(last.call, C, Taken(), LoadDigest(), 2.0) == [told(2.0)]


def test_the_disk_is_waited_for_when_nobody_is_linked_or_all_have_answered() -> None:
    alone, around = Around(peers=()), Around()

    _, job, sent = alone.announce()
    assert sent == []
    assert alone.keep(job, 5.0) == [told(5.0)]

    one, job, sent = around.announce()
    for call in sent:
        assert one.answered(call.call, call.peer, Taken(), LoadDigest(), 1.0) == []
    assert around.keep(job, 2.0) == [told(2.0)]


def test_what_is_wrong_with_the_disk_is_told_when_nobody_is_waited_for_any_more() -> None:
    around = Around()
    one, job, (first, second) = around.announce()

    assert events(around.keep(job, 1.0, FULL)) == ["weights.not_kept"]
    assert one.answered(first.call, B, Taken(), LoadDigest(), 1.0) == []
    assert one.answered(second.call, C, Taken(), LoadDigest(), 2.0) == [told(2.0, FULL)]


def test_who_does_not_answer_is_named_and_waited_for_no_longer() -> None:
    around = Around()
    one, job, (first, second) = around.announce()
    around.keep(job, 0.5)

    assert events(one.call_failed(first.call, SILENT, 1.0)) == ["weights.not_announced"]
    assert events(one.call_failed(second.call, SILENT, 2.0)) == ["weights.not_announced", "told"]


def test_an_announcement_in_a_hurry_waits_for_its_disk_alone() -> None:
    around = Around()
    one, job, sent = around.announce()

    assert one.hurry(1.0) == [CancelCall(call.call) for call in sent]
    assert [around.desk.settle(call.call) for call in sent] == [None, None]
    assert one.hurry(2.0) == []
    assert around.keep(job, 3.0) == [told(3.0)]


def removing() -> Around:
    """A node that knows of the weights."""
    around = Around()
    around.catalogue.adopt(manifest())
    return around


def test_a_removal_takes_effect_here_at_once_and_is_done_when_all_have_been_told() -> None:
    around = removing()
    removal = Removal(TASK, tombstone(), around)

    kept, *sent = removal.start(0.0)

    assert isinstance(kept, Work) and kept.what == KeepManifest(tombstone())
    assert around.catalogue.get("w") is None
    first, second = calls(sent)
    removal_waits = around.desk.settle(first.call)
    assert removal_waits is not None and not removal.over
    assert removal_waits.answered(first.call, B, Taken(), LoadDigest(), 1.0) == []
    assert events(removal_waits.call_failed(second.call, SILENT, 5.0)) == ["weights.not_announced"]
    assert not removal.over
    assert around.keep(kept.job, 6.0) == [Done(TASK)] and removal.over


def test_a_removal_that_is_not_on_disk_says_that_it_stands_all_the_same() -> None:
    around = removing()
    around.peers = ()
    (kept,) = Removal(TASK, tombstone(), around).start(0.0)
    assert isinstance(kept, Work)

    *_, failed = around.keep(kept.job, 1.0, FULL)

    assert isinstance(failed, Failed)
    assert (failed.task, failed.error.code, failed.error.trace) == (TASK, FULL.code, TASK)
    assert failed.error.reason.startswith("w is removed, but that is not on the disk of this node")
    assert FULL.reason in failed.error.reason


def test_a_removal_whose_client_has_gone_still_stands() -> None:
    around = removing()
    removal = Removal(TASK, tombstone(), around)
    kept, *sent = removal.start(0.0)
    assert isinstance(kept, Work)

    effects = removal.cancel("gone", 1.0)

    assert effects[1:] == [CancelCall(call.call) for call in calls(sent)]
    (failed,) = [effect for effect in effects if isinstance(effect, Failed)]
    assert failed.error.code is ErrorCode.CANCELLED
    assert around.catalogue.get("w") is None
    assert removal.cancel("gone", 2.0) == []
    assert around.keep(kept.job, 3.0) == []
