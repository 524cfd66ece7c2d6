from collections import deque

import msgspec
import pytest

from node.communication.desk import Desk
from node.deployment.catalogue import Catalogue, parts
from node.effects import Call, Effect, Note, Refuse, Reply, Work, note
from node.work import KeepManifest
from protocol import codec
from protocol.digests import LoadDigest, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import ContentId, NodeId
from protocol.limits import DEVICE_CHARS_MAX, HEADER_BYTES_MAX
from protocol.messages import (
    BlockEntry,
    FetchCatalogue,
    FetchManifest,
    Manifest,
    ManifestHead,
    RequestHeader,
    Response,
    Taken,
)

A, B = NodeId("a" * 52), NodeId("b" * 52)
FULL = ErrorInfo(code=ErrorCode.NO_ROOM, reason="the disk is full")


def manifest(name: str, wall_ms: int, blocks: int = 1) -> Manifest:
    entry = BlockEntry(ContentId("c"), ContentId("s"), (0,))
    head = ManifestHead(
        name=name,
        version=WeightsVersion(wall_ms, 0, A),
        rows=1024 * blocks,
        columns=1,
        holders=(A,),
        blocks=blocks,
    )
    return Manifest(head, (entry,) * blocks)


def tombstone(name: str, wall_ms: int) -> Manifest:
    return Manifest(ManifestHead(name=name, version=WeightsVersion(wall_ms, 0, A), deleted=True))


def test_of_two_manifests_the_newer_stands_whatever_the_order() -> None:
    one, other = Catalogue(Desk()), Catalogue(Desk())
    old, new = manifest("w", 1), tombstone("w", 2)

    for each, order in ((one, (old, new)), (other, (new, old))):
        for put in order:
            each.adopt(put)

    assert one.digest == other.digest
    assert one.get("w") is None and other.get("w") is None


def test_a_manifest_in_parts_is_taken_with_its_last_part_in_any_order() -> None:
    catalogue = Catalogue(Desk())
    messages = parts(manifest("w", 1, blocks=1000))

    assert len(messages) == 3
    for part in reversed(messages):
        assert catalogue.get("w") is None
        catalogue.take_part(part)

    assert catalogue.get("w") == manifest("w", 1, blocks=1000)


def test_parts_of_what_is_old_news_are_not_gathered() -> None:
    catalogue = Catalogue(Desk())
    first, *others = parts(manifest("w", 1, blocks=1000))
    catalogue.take_part(first)
    catalogue.adopt(manifest("w", 2))

    for part in others:
        catalogue.take_part(part)

    assert catalogue.find("w") == manifest("w", 2)
    assert catalogue.gathering == 0


@pytest.mark.parametrize(
    "wrong",
    [{"rows": 0}, {"rows": 2048}, {"columns": 1 << 40}, {"holders": ()}],
    ids=["no rows", "more blocks than told", "beyond all limits", "held by nobody"],
)
def test_a_manifest_that_contradicts_itself_is_not_taken(wrong: dict[str, object]) -> None:
    catalogue = Catalogue(Desk())
    (part,) = parts(manifest("w", 1))
    head = msgspec.structs.replace(part.head, **wrong)

    effects = catalogue.take_part(msgspec.structs.replace(part, head=head))

    assert [effect.event for effect in effects if isinstance(effect, Note)] == ["weights.unsound"]
    assert catalogue.manifests == {}


# -- what was replaced -------------------------------------------------------------------------------


def test_what_was_replaced_is_found_by_its_version_until_it_is_let_go() -> None:
    catalogue = Catalogue(Desk())
    old, new = manifest("w", 1), manifest("w", 2)
    catalogue.adopt(old)
    catalogue.adopt(new)

    assert catalogue.find("w") == new
    assert catalogue.at("w", new.head.version) == new
    assert catalogue.at("w", old.head.version) == old
    assert catalogue.at("v", old.head.version) is None
    assert catalogue.at("w", WeightsVersion(3, 0, A)) is None
    del catalogue.former[old.head.version]
    assert catalogue.at("w", old.head.version) is None


def test_what_was_removed_is_not_found_any_more() -> None:
    catalogue = Catalogue(Desk())
    catalogue.adopt(manifest("w", 1))
    catalogue.adopt(tombstone("w", 2))

    assert catalogue.at("w", WeightsVersion(1, 0, A)) is None
    assert catalogue.at("w", WeightsVersion(2, 0, A)) is None
    assert catalogue.former == {} and catalogue.contents() == set()


def test_after_a_start_nothing_was_replaced() -> None:
    catalogue = Catalogue(Desk())
    catalogue.restore([manifest("w", 2), manifest("w", 1)])

    assert catalogue.former == {} and catalogue.find("w") == manifest("w", 2)


# -- what peers tell ---------------------------------------------------------------------------------


def kept_by(effects: list[Effect]) -> int:
    """The work that keeps a manifest on disk, which is all that is ordered."""
    (work,) = effects
    assert isinstance(work, Work) and isinstance(work.what, KeepManifest)
    return work.job


def test_the_part_that_makes_a_manifest_whole_is_answered_when_it_is_on_disk() -> None:
    catalogue = Catalogue(Desk())
    first, second, third = parts(manifest("w", 1, blocks=1000))

    assert catalogue.asked(1, third) == [Reply(1, Taken())]
    assert catalogue.asked(2, first) == [Reply(2, Taken())]
    job = kept_by(catalogue.asked(3, second))
    assert catalogue.find("w") == manifest("w", 1, blocks=1000)
    assert catalogue.asked(4, second) == [Reply(4, Taken())]

    assert catalogue.job_done(job, None, 1.0) == [Reply(3, Taken())]


def test_a_disk_that_does_not_take_the_manifest_is_told_of_to_who_sent_it() -> None:
    catalogue = Catalogue(Desk())
    job = kept_by(catalogue.asked(1, *parts(manifest("w", 1))))

    noted, refused = catalogue.job_failed(job, FULL, 1.0)

    assert noted == note("weights.not_kept", reason=FULL.reason)
    assert refused == Refuse(1, FULL)


@pytest.mark.parametrize("wrong", [None, FULL])
def test_who_has_gone_meanwhile_is_not_answered(wrong: ErrorInfo | None) -> None:
    catalogue = Catalogue(Desk())
    job = kept_by(catalogue.asked(1, *parts(manifest("w", 1))))

    catalogue.request_gone(1)

    if wrong is None:
        assert catalogue.job_done(job, None, 1.0) == []
    else:
        assert catalogue.job_failed(job, wrong, 1.0) == [
            note("weights.not_kept", reason=wrong.reason)
        ]


def test_what_is_old_or_unsound_is_answered_at_once() -> None:
    catalogue = Catalogue(Desk())
    catalogue.adopt(manifest("w", 2))
    (old,), (new,) = parts(manifest("w", 1)), parts(manifest("w", 3))
    unsound = msgspec.structs.replace(new, head=msgspec.structs.replace(new.head, rows=0))

    assert catalogue.asked(1, old) == [Reply(1, Taken())]
    reply, *_ = catalogue.asked(2, unsound)
    assert reply == Reply(2, Taken())


def test_who_asks_for_what_is_not_there_is_told_what_is() -> None:
    catalogue = Catalogue(Desk())
    catalogue.adopt(manifest("left", 1))
    catalogue.adopt(tombstone("gone", 2))

    with pytest.raises(TaskError, match="no weights named gone; there are: left") as refused:
        catalogue.find("gone")

    assert refused.value.code is ErrorCode.NOT_FOUND


def test_who_names_the_version_he_saw_is_told_when_it_has_changed() -> None:
    catalogue = Catalogue(Desk())
    catalogue.adopt(manifest("w", 1))
    seen = str(catalogue.find("w").head.version)

    catalogue.match("w", seen)
    catalogue.adopt(manifest("w", 2))

    with pytest.raises(TaskError, match=f"not at {seen}"):
        catalogue.match("w", seen)
    with pytest.raises(TaskError, match="is at nothing"):
        catalogue.match("other", seen)


def test_what_would_not_be_taken_is_refused_before_it_is_published() -> None:
    catalogue = Catalogue(Desk())
    catalogue.adopt(manifest("w", 2))

    catalogue.admit("w", WeightsVersion(3, 0, B))
    with pytest.raises(TaskError, match="changed meanwhile"):
        catalogue.admit("w", WeightsVersion(1, 0, B))


def test_a_version_is_later_than_all_that_were_seen_though_the_clock_went_back() -> None:
    catalogue = Catalogue(Desk())
    catalogue.adopt(manifest("w", 5000))

    assert catalogue.next_version(4000, B) > WeightsVersion(5000, 0, A)


def test_no_version_is_given_out_twice_though_none_has_been_published() -> None:
    catalogue = Catalogue(Desk())

    versions = [catalogue.next_version(wall_ms, A) for wall_ms in (5, 5, 4, 6, 6)]

    assert versions == sorted(set(versions))


def test_two_catalogues_that_differ_end_up_equal() -> None:
    here, there = Catalogue(Desk()), Catalogue(Desk())
    for index in range(300):
        here.adopt(manifest(f"w{index}", index, blocks=500 if index == 7 else 1))
    there.adopt(manifest("w3", 999))

    waiting = deque(there.compare(A, here.digest))
    for _ in range(2000):
        if not waiting:
            break
        effect = waiting.popleft()
        if isinstance(effect, Call):
            waiting += there.answered(effect.call, A, _answer(here, effect), LoadDigest(), 0.0)

    assert there.get("w7") == here.get("w7")
    newer = there.manifests["w3"].head.version
    assert newer == WeightsVersion(999, 0, A)
    assert len(there.manifests) == 300


def _answer(catalogue: Catalogue, call: Call) -> Response:
    request = call.request
    if isinstance(request, FetchCatalogue):
        return catalogue.tell_names(request.after)
    assert isinstance(request, FetchManifest)
    return catalogue.tell_part(request.name, request.first)


def test_each_part_of_a_manifest_fits_in_a_header_however_long_its_device() -> None:
    content = ContentId("c" * 64)
    head = msgspec.structs.replace(
        manifest("w" * 64, 1, blocks=1000).head,
        backend="rram",
        device="d" * DEVICE_CHARS_MAX,
        holders=tuple(NodeId(f"{number:052}") for number in range(64)),
        replicas=4,
    )
    whole = Manifest(head, (BlockEntry(content, content, (60, 61, 62, 63)),) * 1000)
    holder, other = Catalogue(Desk()), Catalogue(Desk())
    holder.adopt(whole)

    messages = parts(whole)

    for part in messages:
        assert len(codec.encode(RequestHeader(request=part, deadline_ms=1))) <= HEADER_BYTES_MAX
        assert holder.tell_part(head.name, part.first) == part
        other.take_part(part)
    assert other.get(head.name) == whole
