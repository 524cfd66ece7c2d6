"""What one simulated machine has sent: bytes as they stand on the wire, before the network's own headers."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Traffic:
    """Counted where it is sent, whether it arrives or not; retransmissions do not count."""

    packets: int = 0
    packet_bytes: int = 0
    """Datagrams with the seal that proves their sender."""
    messages: int = 0
    message_bytes: int = 0
    """Frames of calls: requests, answers, refusals, grants, cancellations."""
    body_bytes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """Bytes of packets and messages by the name of what they say."""

    @property
    def nbytes(self) -> int:
        return self.packet_bytes + self.message_bytes + self.body_bytes

    def count_packet(self, kind: str, nbytes: int) -> None:
        self.packets += 1
        self.packet_bytes += nbytes
        self.kinds[kind] = self.kinds.get(kind, 0) + nbytes

    def count_message(self, kind: str, nbytes: int) -> None:
        self.messages += 1
        self.message_bytes += nbytes
        self.kinds[kind] = self.kinds.get(kind, 0) + nbytes

    def count_body(self, nbytes: int) -> None:
        self.body_bytes += nbytes
