from collections import deque

from node.communication.desk import Desk
from node.deployment.catalogue import Catalogue, parts
from node.effects import Call
from protocol.digests import LoadDigest, WeightsVersion
from protocol.ids import ContentId, NodeId
from protocol.messages import (
    BlockEntry,
    FetchCatalogue,
    FetchManifest,
    Manifest,
    ManifestHead,
    Response,
)

A, B = NodeId("a" * 52), NodeId("b" * 52)


def manifest(name: str, wall_ms: int, blocks: int = 1, deleted: bool = False) -> Manifest:
    entry = BlockEntry(ContentId("c"), ContentId("s"), (0,))
    head = ManifestHead(
        name=name,
        version=WeightsVersion(wall_ms, 0, A),
        deleted=deleted,
        rows=1,
        columns=1,
        holders=(A,),
        blocks=blocks,
    )
    return Manifest(head, (entry,) * blocks)


def test_of_two_manifests_the_newer_stands_whatever_the_order() -> None:
    one, other = Catalogue(Desk()), Catalogue(Desk())
    old, new = manifest("w", 1), manifest("w", 2, deleted=True)

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


def test_a_version_is_later_than_all_that_were_seen_though_the_clock_went_back() -> None:
    catalogue = Catalogue(Desk())
    catalogue.adopt(manifest("w", 5000))

    assert catalogue.next_version(4000, B) > WeightsVersion(5000, 0, A)


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
    part = catalogue.tell_part(request.name, request.first)
    assert part is not None
    return part
