"""The operations that nodes ask of each other: one struct a request, one a response, both closed unions.

They travel as MessagePack headers of REQ, RES and ERR frames. Tensors never stand in a header: a request or a
response that has one says its size here and its bytes follow as DATA frames on the same stream. The integer
tags are the versioned enumeration of operations: never reused, only added to. Unknown keys are ignored.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.digests import Count, LoadDigest, Seconds, Text, WeightsVersion
from protocol.errors import ErrorInfo
from protocol.gossip import Compare, Compared, Tell, Told
from protocol.ids import ContentId, MeshId, NodeId
from protocol.limits import (
    BLOCKS_MAX,
    CALL_MS_MAX,
    DEVICE_CHARS_MAX,
    DIAL_BACK_MAX,
    MANIFEST_BLOCKS_PER_MESSAGE,
    MATRIX_SIDE_MAX,
    PEERS_MAX,
    PEM_CHARS_MAX,
    REPLICAS_MAX,
    TOKEN_CHARS_MAX,
    WEIGHTS_NAME_PATTERN,
)
from protocol.members import Packet

Side = Annotated[int, Meta(ge=1, le=MATRIX_SIDE_MAX)]
Index = Annotated[int, Meta(ge=0, lt=MATRIX_SIDE_MAX)]
WeightsName = Annotated[str, Meta(pattern=WEIGHTS_NAME_PATTERN)]
Pem = Annotated[str, Meta(max_length=PEM_CHARS_MAX)]
DeviceText = Annotated[str, Meta(max_length=DEVICE_CHARS_MAX)]
"""A device's name, or JSON that describes one (`compute/presets.py`); empty where there is none."""
Content = Annotated[ContentId, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""It names a file, so nothing else may pass for it."""
Joules = Annotated[float, Meta(ge=0.0, le=1e12)]
BlockIndex = tuple[Index, Index]
"""(row, column) in the block grid."""


# -- the handshake -----------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame of each side on each connection."""

    protocol_min: Count
    protocol_max: Count
    software: Text
    mesh: MeshId | None
    """None: a stranger that comes to redeem a ticket."""
    node: NodeId
    bulk: bool = False
    """This connection carries tensors; control stays on the other one."""


# -- joining -----------------------------------------------------------------------------------------


class Join(msgspec.Struct, frozen=True, kw_only=True, tag=1, tag_field="op"):
    """A stranger redeems a ticket's token for a leaf certificate, over server-authenticated TLS."""

    token: Annotated[str, Meta(max_length=TOKEN_CHARS_MAX)]
    public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    proof: Annotated[bytes, Meta(min_length=64, max_length=64)]
    """Ed25519 signature of the token by that key: the joiner owns it."""


class Joined(msgspec.Struct, frozen=True, kw_only=True, tag=1, tag_field="op"):
    ca: Pem
    chain: Pem
    """The leaf first, then the intermediate that signed it, if any."""
    invite: Pem | None = None
    """An intermediate certificate for the same key: this node may mint tickets too."""


# -- who is there ------------------------------------------------------------------------------------


class Carry(msgspec.Struct, frozen=True, kw_only=True, tag=16, tag_field="op"):
    """A packet that takes the link: UDP does not pass, or it must not be lost."""

    packet: Packet


class Probe(msgspec.Struct, frozen=True, tag=3, tag_field="op"):
    """Asks for nothing but the load digest that rides on every answer."""


class Probed(msgspec.Struct, frozen=True, tag=3, tag_field="op"):
    pass


class Knock(msgspec.Struct, frozen=True, array_like=True):
    """One packet that shows by its coming what is let in: a bare STUN indication (`nat/stun.py`)."""

    to: Text
    """host:port, an IP address: where the sender of this is seen."""
    token: Annotated[bytes, Meta(min_length=12, max_length=12)]
    alternate: bool
    """Not from the port on which the asked node listens, but from another one."""


class DialBack(msgspec.Struct, frozen=True, kw_only=True, tag=17, tag_field="op"):
    """Asks a member to try from its side whether these addresses lead to the sender."""

    addresses: Annotated[tuple[Text, ...], Meta(max_length=DIAL_BACK_MAX)] = ()
    """To be dialled anew by TCP."""
    knocks: Annotated[tuple[Knock, ...], Meta(max_length=DIAL_BACK_MAX)] = ()


class DialedBack(msgspec.Struct, frozen=True, kw_only=True, tag=17, tag_field="op"):
    """What was not tried (too many asked, or not an address to try) stands nowhere here."""

    reached: Annotated[tuple[Text, ...], Meta(max_length=DIAL_BACK_MAX)] = ()
    """Of the addresses; the node that asked has answered there, by its certificate."""
    missed: Annotated[tuple[Text, ...], Meta(max_length=DIAL_BACK_MAX)] = ()
    sent: Annotated[tuple[bytes, ...], Meta(max_length=DIAL_BACK_MAX)] = ()
    """Tokens of the packets that have left."""


# -- what the mesh holds -----------------------------------------------------------------------------


class BlockEntry(msgspec.Struct, frozen=True, array_like=True):
    """One block of a matrix: its content, its sketch's content, and who holds it (indices into `holders`)."""

    content: Content
    sketch: Content
    holders: Annotated[tuple[Count, ...], Meta(max_length=REPLICAS_MAX)]


class ManifestHead(msgspec.Struct, frozen=True, kw_only=True):
    """Weights under a name, without the list of blocks. A tombstone has no shape."""

    name: WeightsName
    version: WeightsVersion
    deleted: bool = False
    rows: Count = 0
    columns: Count = 0
    backend: Text = ""
    device: DeviceText = ""
    seed: Count = 0
    """Of the devices: the same seed and block give the same array."""
    sketch_seed: Count = 0
    replicas: Count = 1
    holders: Annotated[tuple[NodeId, ...], Meta(max_length=PEERS_MAX)] = ()
    blocks: Annotated[int, Meta(ge=0, le=BLOCKS_MAX)] = 0


class Manifest(msgspec.Struct, frozen=True):
    """All that a node must know to multiply by weights: blocks stand in the grid's column-major order."""

    head: ManifestHead
    entries: tuple[BlockEntry, ...] = ()

    def holders(self, entry: BlockEntry) -> tuple[NodeId, ...]:
        """Of one of these blocks."""
        return tuple([self.head.holders[index] for index in entry.holders])


class ManifestPart(msgspec.Struct, frozen=True, kw_only=True, tag=4, tag_field="op"):
    """A run of a manifest's blocks, from `first` on; a node keeps the manifest once it has all of them."""

    head: ManifestHead
    first: Count
    entries: Annotated[tuple[BlockEntry, ...], Meta(max_length=MANIFEST_BLOCKS_PER_MESSAGE)]


class Taken(msgspec.Struct, frozen=True, tag=13, tag_field="op"):
    """Heard: a part of a manifest, a packet, a release."""


class FetchCatalogue(msgspec.Struct, frozen=True, kw_only=True, tag=5, tag_field="op"):
    after: Text = ""
    """Names up to this one have been told already."""


class Catalogue(msgspec.Struct, frozen=True, kw_only=True, tag=5, tag_field="op"):
    versions: dict[Text, WeightsVersion]
    more: bool


class FetchManifest(msgspec.Struct, frozen=True, kw_only=True, tag=6, tag_field="op"):
    name: WeightsName
    first: Count = 0


# -- holding blocks ----------------------------------------------------------------------------------


class Reserve(msgspec.Struct, frozen=True, kw_only=True, tag=7, tag_field="op"):
    """Asks for memory before a byte moves. Granted for a time, renewed by each block that comes."""

    put: Text
    """Names the put; the blocks that follow name it too."""
    nbytes: Count


class Reserved(msgspec.Struct, frozen=True, tag=7, tag_field="op"):
    pass


class Release(msgspec.Struct, frozen=True, kw_only=True, tag=8, tag_field="op"):
    put: Text


class StoreBlock(msgspec.Struct, frozen=True, kw_only=True, tag=9, tag_field="op"):
    """Body: the block, float32, row by row. The answer says what the holder's own hash of it is."""

    put: Text
    name: WeightsName
    version: WeightsVersion
    block: BlockIndex
    rows: Side
    columns: Side
    backend: Text
    device: DeviceText
    seed: Count


class Stored(msgspec.Struct, frozen=True, tag=9, tag_field="op"):
    content: Content


class StoreSketch(msgspec.Struct, frozen=True, kw_only=True, tag=10, tag_field="op"):
    """Body: S (rows, 16) then T (columns, 16), float64."""

    put: Text
    nbytes: Count


class FetchBlock(msgspec.Struct, frozen=True, kw_only=True, tag=11, tag_field="op"):
    """Asks for content by its id; the body of the answer is the content."""

    content: Content
    nbytes: Count


class Fetched(msgspec.Struct, frozen=True, kw_only=True, tag=11, tag_field="op"):
    nbytes: Count


# -- multiplying -------------------------------------------------------------------------------------


class Multiply(msgspec.Struct, frozen=True, kw_only=True, tag=12, tag_field="op"):
    """One holder's part of a product. Body: the columns of X that its blocks need, packed, float32.

    The input spans stand in ascending order of their block index, each (m, width), together (m, sum of widths).
    The answer's body is the partial outputs: one (m, width) matrix per output index in ascending order, summed
    over the blocks, or one per block in the order given when `separate` is set.
    """

    name: WeightsName
    version: WeightsVersion
    blocks: Annotated[tuple[BlockIndex, ...], Meta(min_length=1, max_length=BLOCKS_MAX)]
    transpose: bool
    m: Annotated[int, Meta(ge=1, le=MATRIX_SIDE_MAX)]
    share: Annotated[float, Meta(ge=0.0)] | None
    """Absolute error this part may have in the Frobenius norm; None: the raw analog product."""
    x_key: Count
    """Hash of X, which keys the device noise: the same request draws the same noise."""
    separate: bool = False
    exact: bool = False
    """Do it digitally: on arrays it did not keep the tolerance."""
    back_ms: Annotated[int, Meta(ge=0, le=CALL_MS_MAX)] = 0
    """What of the task's time goes by on the way: so much earlier the answer has to leave."""


class Multiplied(msgspec.Struct, frozen=True, kw_only=True, tag=12, tag_field="op"):
    nbytes: Count
    analog_macs: Count = 0
    digital_macs: Count = 0
    busy_s: Seconds = 0.0
    """Seconds a worker spent on it."""
    queued_s: Seconds = 0.0
    energy_j: Joules = 0.0
    latency_s: Seconds = 0.0
    """Of the simulated arrays, not of the simulation."""
    reads: Count = 0
    regime: Text = "digital"


Request = (
    Join
    | Compare
    | Tell
    | Carry
    | Probe
    | DialBack
    | ManifestPart
    | FetchCatalogue
    | FetchManifest
    | Reserve
    | Release
    | StoreBlock
    | StoreSketch
    | FetchBlock
    | Multiply
)
Response = (
    Joined
    | Compared
    | Told
    | Probed
    | DialedBack
    | Taken
    | Catalogue
    | ManifestPart
    | Reserved
    | Stored
    | Fetched
    | Multiplied
)

ANSWERS: dict[type[Request], type[Response]] = {
    Join: Joined,
    Compare: Compared,
    Tell: Told,
    Carry: Taken,
    Probe: Probed,
    DialBack: DialedBack,
    ManifestPart: Taken,
    FetchCatalogue: Catalogue,
    FetchManifest: ManifestPart,
    Reserve: Reserved,
    Release: Taken,
    StoreBlock: Stored,
    StoreSketch: Stored,
    FetchBlock: Fetched,
    Multiply: Multiplied,
}
"""Which kind of answer each kind of request has."""


class RequestHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Header of a REQ frame."""

    request: Request
    deadline_ms: Annotated[int, Meta(ge=0, le=CALL_MS_MAX)]
    """What remains of the task's time: clocks need not agree."""
    trace: Text = ""
    body_bytes: Count = 0


class ResponseHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Header of a RES frame."""

    response: Response
    load: LoadDigest = LoadDigest()
    body_bytes: Count = 0


class ErrorHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Header of an ERR frame."""

    error: ErrorInfo
    load: LoadDigest = LoadDigest()


class Goodbye(msgspec.Struct, frozen=True, kw_only=True):
    """Header of a GOAWAY frame: why the sender closes this connection."""

    reason: Text
