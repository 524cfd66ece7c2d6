"""Every limit of what nodes say to each other, with its name.

A limit is checked before anything is allocated. Past it the sender is refused with a reason that states the
limit and the size, so that whoever reads the error knows what to change.
"""

PROTOCOL_MIN = 2
PROTOCOL_MAX = 2
"""The range of protocol versions this build speaks; two nodes use the highest version both know."""

HEADER_BYTES_MAX = 64 * 1024
"""MessagePack header of one frame."""

BODY_BYTES_MAX = 1024 * 1024
"""Body of one frame. A tensor of any size is a run of DATA frames."""

SLICE_BYTES = 256 * 1024
"""Body of one DATA frame as we send it: small enough that another stream waits less than 5 ms of link time."""

STREAMS_MAX = 1024
"""Calls open on one link. Past it a call waits at the caller, and a peer that opens more is cut off."""

HANDSHAKES_MAX = 64
"""TLS handshakes half done at once; for a further one the oldest is given up."""

PEERS_MAX = 16_384
"""Nodes one node keeps in mind; records of further ones are not taken."""

PACKET_BYTES_MAX = 1200
"""One UDP datagram: below what any path on the internet splits (RFC 8200, section 5 guarantees 1,280 with headers)."""

PACKET_SEAL_BYTES = 64
"""Of these, what proves who sent it takes at most so many."""

NEWS_PER_PACKET_MAX = 64
"""More than a packet has room for, since each piece names a node."""

BUCKETS = 64
"""Into so many parts a node's knowledge of the others is hashed, to find quickly what two nodes see differently."""

WANTED_MAX = 400
"""Nodes asked about in one message."""

ADDRESSES_MAX = 16
"""Addresses one node announces."""

CANDIDATES_MAX = 8
"""Addresses in one offer to punch: each is one that we may be made to send packets to."""

DIAL_BACK_MAX = 4
"""Addresses that a node asks another to try, and packets that it asks it to send, in one message."""

NAT_CHARS_MAX = 64
"""What a node tells of its NAT."""

LABELS_MAX = 32
TEXT_BYTES_MAX = 256
"""A name, a label, an address or a reason in a message."""

DEVICE_CHARS_MAX = 4096
"""A device's name, or what a device of one's own has that a known one has not, as JSON."""

WEIGHTS_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
"""Names of weights: they stand in URLs and on command lines. At its end `$` would let a new line pass."""

MATRIX_SIDE_MAX = 1 << 20
"""Rows or columns of a matrix."""

BLOCKS_MAX = 1 << 16
"""Blocks of one matrix: 256 GiB of float32."""

MANIFEST_BLOCKS_PER_MESSAGE = 400
"""Blocks described in one message, so that its header stays below HEADER_BYTES_MAX."""

WEIGHTS_MAX = 4096
"""Names of weights in one mesh, tombstones included."""

HELD_MAX = 400
"""Weights of which one node holds blocks: it tells all their versions in its record. Further ones are refused."""

REPLICAS_MAX = 16

DEADLINE_S_MAX = 3600.0
"""The longest a task may take; the default is in the settings."""

CALL_MS_MAX = 86_400_000
"""The most that a call may say is left of its task's time: any longer one is a mistake."""

TOKEN_CHARS_MAX = 4_096
"""The signed token within a ticket, as text."""

PEM_CHARS_MAX = 16_384
"""Certificates in one answer to a joiner."""
