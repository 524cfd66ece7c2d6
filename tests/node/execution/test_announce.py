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


def announcement(desk: Desk, blocks: int = 1) -> Announcement:
    return Announcement(manifest(blocks), TASK, desk, lambda now: [note("told", at=now)])


def calls(effects: list[Effect]) -> list[Call]:
    return [effect for effect in effects if isinstance(effect, Call)]


def events(effects: list[Effect]) -> list[str]:
    return [effect.event for effect in effects if isinstance(effect, Note)]


def test_every_peer_gets_every_part_and_all_are_waited_for() -> None:
    one = announcement(Desk(), blocks=1000)

    sent = calls(one.start([B, C], 0.0))

    assert [(call.peer, call.request) for call in sent] == [
        (peer, part) for peer in (B, C) for part in parts(manifest(1000))
    ]
    for call in sent[:-1]:
        assert one.answered(call.call, call.peer, Taken(), LoadDigest(), 1.0) == []
    last = sent[-1]
    assert one.answered(last.call, C, Taken(), LoadDigest(), 2.0) == [note("told", at=2.0)]


def test_with_nobody_linked_all_are_told_at_once() -> None:
    assert announcement(Desk()).start([], 5.0) == [note("told", at=5.0)]


def test_who_does_not_answer_is_named_and_waited_for_no_longer() -> None:
    one = announcement(Desk())
    first, second = calls(one.start([B, C], 0.0))

    assert events(one.call_failed(first.call, SILENT, 1.0)) == ["weights.not_announced"]
    assert events(one.call_failed(second.call, SILENT, 2.0)) == ["weights.not_announced", "told"]


def test_a_cancelled_announcement_waits_for_nobody() -> None:
    desk = Desk()
    one = announcement(desk)
    sent = calls(one.start([B, C], 0.0))

    assert one.cancel() == [CancelCall(call.call) for call in sent]
    assert [desk.settle(call.call) for call in sent] == [None, None]


@dataclass
class Around:
    desk: Desk = field(default_factory=Desk)
    peers: tuple[NodeId, ...] = (B, C)

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(self.desk)
        self.catalogue.adopt(manifest())

    def linked(self) -> list[NodeId]:
        return list(self.peers)


def test_a_removal_takes_effect_here_at_once_and_is_done_when_all_have_been_told() -> None:
    around = Around()
    removal = Removal(TASK, tombstone(), around)

    kept, *sent = removal.start(0.0)

    assert isinstance(kept, Work) and kept.what == KeepManifest(tombstone())
    assert around.catalogue.get("w") is None
    first, second = calls(sent)
    removal_waits = around.desk.settle(first.call)
    assert removal_waits is not None and not removal.over
    assert removal_waits.answered(first.call, B, Taken(), LoadDigest(), 1.0) == []
    effects = removal_waits.call_failed(second.call, SILENT, 5.0)
    assert effects[-1] == Done(TASK) and removal.over


def test_a_removal_whose_client_has_gone_still_stands() -> None:
    around = Around()
    removal = Removal(TASK, tombstone(), around)
    sent = calls(removal.start(0.0))

    effects = removal.cancel("gone", 1.0)

    assert effects[:2] == [CancelCall(call.call) for call in sent]
    (failed,) = [effect for effect in effects if isinstance(effect, Failed)]
    assert failed.error.code is ErrorCode.CANCELLED
    assert around.catalogue.get("w") is None
    assert removal.cancel("gone", 2.0) == []
