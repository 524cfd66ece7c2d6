"""Our own record: what we say of ourselves, signed.

Each new one has a higher incarnation than all before it, across restarts too: so others know which is the latest, and
what is said of us can be denied.
"""

import msgspec

from node.communication.rumours import ALIVE_BYTES_MAX, news_bytes
from node.communication.signatures import Signatures
from protocol.ids import MeshId
from protocol.members import Alive, Cause, MemberRecord, signed_bytes


class OwnMember:
    """The record as others see it. `version`: of our digest, as it rides on our acks."""

    __slots__ = ("_signatures", "id", "mesh", "record", "version")

    def __init__(self, record: MemberRecord, signatures: Signatures) -> None:
        self.record = record
        self.id = record.id
        self.mesh: MeshId | None = None
        self.version = record.version
        self._signatures = signatures

    @property
    def gone(self) -> bool:
        """We have said goodbye."""
        return self.record.gone is not None

    @property
    def news(self) -> Alive:
        return Alive(self.record)

    def sign(self, incarnation: int, addresses: tuple[str, ...], gone: Cause | None = None) -> None:
        """Become this from now on; of the addresses only as many as travel in a packet, the likeliest first."""
        assert self.mesh is not None, "a record belongs to a mesh"
        record = MemberRecord(self.record.key, incarnation, self.version, addresses, gone)
        while news_bytes(Alive(record)) > ALIVE_BYTES_MAX:
            record = msgspec.structs.replace(record, addresses=record.addresses[:-1])
        signature = self._signatures.sign(signed_bytes(record, self.mesh))
        self.record = msgspec.structs.replace(record, signature=signature)
