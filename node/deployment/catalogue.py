"""Which weights the mesh holds: manifests by name, kept the same on every node.

Of two manifests of one name the higher version wins; a deletion is a tombstone with a version of its own. Nodes
compare one digest of all names and versions whenever they talk, and fetch what they lack when it differs. Who tells a
manifest is answered once it is on disk.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from compute.partition import BlockGrid
from node.communication.desk import Desk
from node.effects import Call, Effect, Refuse, Reply, Work, note
from node.work import KeepManifest, Outcome
from protocol.digests import LoadDigest, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import ContentId, NodeId, short
from protocol.limits import MANIFEST_BLOCKS_PER_MESSAGE, MATRIX_SIDE_MAX, WEIGHTS_MAX
from protocol.messages import (
    BlockEntry,
    FetchCatalogue,
    FetchManifest,
    Manifest,
    ManifestHead,
    ManifestPart,
    Response,
    Taken,
)
from protocol.messages import (
    Catalogue as CatalogueResponse,
)

NAMES_PER_MESSAGE = 256
"""Of at most 64 bytes each, with their versions: some 40 KiB."""
ENTRY_BYTES = 128
"""A block's part of a message is longer, by its holders."""
FETCH_S = 10.0
NAMES_SHOWN_MAX = 10
"""In the answer to who asks for weights that are not there."""

Kept = Callable[[ErrorInfo | None, float], list[Effect]]
"""Told that a manifest is on disk, or why it is not."""


def parts(manifest: Manifest) -> list[ManifestPart]:
    """A manifest as messages that each fit in a header."""
    size = _blocks_per_message(manifest.head)
    starts = range(0, max(len(manifest.entries), 1), size)
    return [
        ManifestPart(
            head=manifest.head, first=first, entries=manifest.entries[first : first + size]
        )
        for first in starts
    ]


def _blocks_per_message(head: ManifestHead) -> int:
    """A long description of a device takes the room of some blocks."""
    return MANIFEST_BLOCKS_PER_MESSAGE - math.ceil(len(head.device.encode()) / ENTRY_BYTES)


def is_sound(manifest: Manifest) -> bool:
    """Whether its blocks are those of a matrix of its shape, each held by nodes that it names."""
    head = manifest.head
    if head.deleted:
        return head.blocks == 0
    if not 1 <= min(head.rows, head.columns) <= max(head.rows, head.columns) <= MATRIX_SIDE_MAX:
        return False
    named = len(head.holders)
    held = all(holder < named for entry in manifest.entries for holder in entry.holders)
    return head.blocks == BlockGrid(head.rows, head.columns).count and held


@dataclass(slots=True)
class _Gathering:
    """A manifest of which some parts have come."""

    head: ManifestHead
    entries: dict[int, tuple[BlockEntry, ...]] = field(default_factory=dict)

    def whole(self) -> Manifest | None:
        ordered = [entry for first in sorted(self.entries) for entry in self.entries[first]]
        covered = sum(len(run) for run in self.entries.values())
        if covered != self.head.blocks or len(ordered) != self.head.blocks:
            return None
        return Manifest(self.head, tuple(ordered))


class Catalogue:
    """Manifests by name; `adopt` says whether one was news."""

    def __init__(self, desk: Desk) -> None:
        self.manifests: dict[str, Manifest] = {}
        self.news: list[tuple[Manifest | None, Manifest]] = []
        """(what stood there before, what stands there now), for the node to act upon and clear."""
        self.overtaken: list[WeightsVersion] = []
        """Told of when a newer version stood already, for the node to act upon and clear."""
        self.former: dict[WeightsVersion, Manifest] = {}
        """What was replaced and can still be multiplied by, until the node lets it go."""
        self._desk = desk
        self._gathering: dict[tuple[str, WeightsVersion], _Gathering] = {}
        self._asked: dict[int, NodeId] = {}
        self._asking: set[NodeId] = set()
        self._keeping: dict[int, Kept] = {}
        """By the number of the work."""
        self._untold: set[int] = set()
        """Requests that are answered when a manifest is on disk."""
        self._names: dict[WeightsVersion, str] = {}
        """Of what stands now."""
        self._digest: str | None = None
        self._given = WeightsVersion(0, 0, "")
        """The last version that was given out; its put may still be under way."""

    @property
    def gathering(self) -> int:
        """Manifests of which some parts have come."""
        return len(self._gathering)

    def restore(self, manifests: list[Manifest]) -> None:
        """After a start: what the disk remembers is no news."""
        for manifest in sorted(manifests, key=lambda one: one.head.version):
            self._stand(manifest)

    def get(self, name: str) -> Manifest | None:
        """Weights under this name; None if there are none or they were deleted."""
        manifest = self.manifests.get(name)
        return None if manifest is None or manifest.head.deleted else manifest

    def find(self, name: str) -> Manifest:
        """The weights under this name; TaskError NOT_FOUND names what there is."""
        manifest = self.get(name)
        if manifest is None:
            raise _unknown(name, [one.head.name for one in self.living()])
        return manifest

    def at(self, name: str, version: WeightsVersion) -> Manifest | None:
        """These weights at this version, though it may have been replaced a moment ago; None if it is not known."""
        current = self.get(name)
        if current is not None and current.head.version == version:
            return current
        former = self.former.get(version)
        return former if former is not None and former.head.name == name else None

    def holders(self, version: WeightsVersion) -> tuple[NodeId, ...]:
        """Who holds blocks of these weights by their manifest; nobody once they are let go."""
        if (former := self.former.get(version)) is not None:
            return former.head.holders
        name = self._names.get(version)
        current = None if name is None else self.get(name)
        if current is None or current.head.version != version:
            return ()
        return current.head.holders

    def match(self, name: str, if_match: str | None) -> None:
        """If-Match: the version that the client saw must still stand, or it is a CONFLICT."""
        if if_match is None:
            return
        standing = self.get(name)
        found = "nothing" if standing is None else str(standing.head.version)
        if found != if_match:
            reason = (
                f"{name} is at {found}, not at {if_match}: someone changed it; look, then try again"
            )
            raise TaskError(ErrorCode.CONFLICT, reason)

    def admit(self, name: str, version: WeightsVersion) -> None:
        """Raise unless weights under this name and version would be taken now."""
        known = self.manifests.get(name)
        if known is None and len(self.manifests) >= WEIGHTS_MAX:
            reason = (
                f"the mesh knows {WEIGHTS_MAX} names of weights already, the removed ones included,"
                " and takes no further one; put under a name that was used before"
            )
            raise TaskError(ErrorCode.NO_ROOM, reason)
        if known is not None and known.head.version >= version:
            reason = f"{name} was changed meanwhile, to {known.head.version}; look, then try again"
            raise TaskError(ErrorCode.CONFLICT, reason)

    def living(self) -> list[Manifest]:
        return [m for _, m in sorted(self.manifests.items()) if not m.head.deleted]

    def contents(self) -> set[ContentId]:
        """All content that living weights, and those replaced a moment ago, are made of."""
        return {
            content
            for manifest in (*self.living(), *self.former.values())
            for entry in manifest.entries
            for content in (entry.content, entry.sketch)
        }

    def next_version(self, wall_ms: int, writer: NodeId) -> WeightsVersion:
        """Hybrid clock: later than any version seen or given out, though clocks may differ."""
        seen = [manifest.head.version for manifest in self.manifests.values()]
        latest = max([*seen, self._given])
        if latest.wall_ms < wall_ms:
            self._given = WeightsVersion(wall_ms, 0, writer)
        else:
            self._given = WeightsVersion(latest.wall_ms, latest.counter + 1, writer)
        return self._given

    @property
    def digest(self) -> str:
        """Equal on two nodes exactly when they know the same names in the same versions."""
        if self._digest is None:
            lines = [f"{name} {m.head.version!r}" for name, m in sorted(self.manifests.items())]
            self._digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
        return self._digest

    def adopt(self, manifest: Manifest, kept: Kept | None = None) -> list[Effect]:
        """Take a whole manifest if it is newer than what stands there; then `kept` hears of the disk."""
        name = manifest.head.name
        known = self.manifests.get(name)
        if known is not None and known.head.version >= manifest.head.version:
            return []
        if known is None and len(self.manifests) >= WEIGHTS_MAX:
            return [note("weights.too_many", name=name, limit=WEIGHTS_MAX)]
        if known is not None and not known.head.deleted and not manifest.head.deleted:
            self.former[known.head.version] = known
        self._stand(manifest)
        self.news.append((known, manifest))
        for key in [key for key in self._gathering if key[0] == name]:
            if key[1] <= manifest.head.version:
                del self._gathering[key]
        job = self._desk.number(self)
        if kept is not None:
            self._keeping[job] = kept
        return [Work(job, KeepManifest(manifest))]

    def asked(self, request: int, part: ManifestPart) -> list[Effect]:
        """A peer tells a part: the one that makes a manifest whole is answered when that is on disk, so that whoever
        has published weights may count on this node's next start; any other part at once."""

        def kept(error: ErrorInfo | None, now: float) -> list[Effect]:
            if request not in self._untold:
                return []
            self._untold.remove(request)
            return [Reply(request, Taken()) if error is None else Refuse(request, error)]

        effects = self.take_part(part, kept)
        if any(isinstance(effect, Work) for effect in effects):
            self._untold.add(request)
            return effects
        return [Reply(request, Taken()), *effects]

    def request_gone(self, request: int) -> None:
        """Nobody waits for the answer any more."""
        self._untold.discard(request)

    def take_part(self, part: ManifestPart, kept: Kept | None = None) -> list[Effect]:
        """One message's worth of a manifest; adopts it with its last part."""
        key = (part.head.name, part.head.version)
        known = self.manifests.get(part.head.name)
        if known is not None and known.head.version >= part.head.version:
            if known.head.version != part.head.version:
                self.overtaken.append(part.head.version)
            return []
        gathering = self._gathering.setdefault(key, _Gathering(part.head))
        gathering.entries[part.first] = part.entries
        manifest = gathering.whole()
        if manifest is None:
            return []
        del self._gathering[key]
        if not is_sound(manifest):
            return [note("weights.unsound", name=part.head.name, version=str(part.head.version))]
        return self.adopt(manifest, kept)

    def compare(self, peer: NodeId, digest: str) -> list[Effect]:
        """A neighbour's digest has come: fetch what it has when it differs from ours."""
        if digest == self.digest or peer in self._asking or not digest:
            return []
        return [self._ask(peer, FetchCatalogue())]

    def tell_names(self, after: str) -> CatalogueResponse:
        names = [name for name in sorted(self.manifests) if name > after]
        told = names[:NAMES_PER_MESSAGE]
        versions = {name: self.manifests[name].head.version for name in told}
        return CatalogueResponse(versions=versions, more=len(names) > len(told))

    def tell_part(self, name: str, first: int) -> ManifestPart:
        """A run of a manifest's blocks, tombstones included; TaskError NOT_FOUND."""
        manifest = self.manifests.get(name)
        if manifest is None:
            raise _unknown(name, list(self.manifests))
        run = manifest.entries[first : first + _blocks_per_message(manifest.head)]
        return ManifestPart(head=manifest.head, first=first, entries=run)

    def answer_part(self, request: int, name: str, first: int) -> Reply | Refuse:
        """The same, to a peer that asks."""
        try:
            return Reply(request, self.tell_part(name, first))
        except TaskError as unknown:
            return Refuse(request, unknown.info)

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        self._settle(call)
        if isinstance(response, ManifestPart):
            effects = self.take_part(response)
            reached = response.first + len(response.entries)
            if response.entries and reached < response.head.blocks:
                request = FetchManifest(name=response.head.name, first=reached)
                effects.append(self._ask(peer, request))
            return effects
        assert isinstance(response, CatalogueResponse)
        return self._fetch_newer(peer, response)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        peer = self._settle(call)
        return [note("weights.not_fetched", peer=short(peer), reason=error.reason)]

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        kept = self._keeping.pop(job, None)
        return [] if kept is None else kept(None, now)

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        kept = self._keeping.pop(job, None)
        told = [] if kept is None else kept(error, now)
        return [note("weights.not_kept", reason=error.reason), *told]

    def _stand(self, manifest: Manifest) -> None:
        before = self.manifests.get(manifest.head.name)
        if before is not None:
            del self._names[before.head.version]
        self.manifests[manifest.head.name] = manifest
        self._names[manifest.head.version] = manifest.head.name
        self._digest = None

    def _fetch_newer(self, peer: NodeId, told: CatalogueResponse) -> list[Effect]:
        effects: list[Effect] = []
        for name, version in sorted(told.versions.items()):
            known = self.manifests.get(name)
            if known is None or known.head.version < version:
                effects.append(self._ask(peer, FetchManifest(name=name)))
        if told.more and told.versions:
            effects.append(self._ask(peer, FetchCatalogue(after=max(told.versions))))
        return effects

    def _ask(self, peer: NodeId, request: FetchCatalogue | FetchManifest) -> Call:
        call = self._desk.number(self)
        self._asked[call] = peer
        self._asking.add(peer)
        return Call(call, peer, request, deadline_s=FETCH_S)

    def _settle(self, call: int) -> NodeId:
        peer = self._asked.pop(call)
        if peer not in self._asked.values():
            self._asking.discard(peer)
        return peer


def _unknown(name: str, known: list[str]) -> TaskError:
    names = ", ".join(sorted(known)[:NAMES_SHOWN_MAX]) or "none yet"
    return TaskError(ErrorCode.NOT_FOUND, f"there are no weights named {name}; there are: {names}")
