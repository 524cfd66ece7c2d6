"""What whoever punches asks about the node and its place in the network."""

from typing import Protocol

from nat.endpoint import Endpoint
from protocol.ids import NodeId


class Surroundings(Protocol):
    """What is known of where this node is."""

    def key_of(self, peer: NodeId) -> bytes | None:
        """The public key of a member."""

    def stun_servers(self) -> tuple[Endpoint, ...]:
        """Public members that tell from where we are seen: IP addresses and UDP ports."""

    def keepalive_s(self) -> float | None:
        """How often a way has to be used lest the NATs on our side forget it; None: that was not measured."""

    def seen_at(self) -> tuple[Endpoint, ...]:
        """Where others see us, as far as that was found out."""
