"""Packets between simulated machines: encoded, perhaps lost, doubled or overtaken, and decoded where they arrive.

With ten thousand machines encoding is most of the time; there a share of the packets may do: every n-th goes through
the codec, the others are handed over as they are, and count as many bytes as the last of their kind that was encoded.
"""

from math import inf
from typing import TYPE_CHECKING

from protocol import codec
from protocol.ids import NodeId
from protocol.limits import PACKET_BYTES_MAX, PACKET_SEAL_BYTES
from protocol.members import Packet

if TYPE_CHECKING:
    from node.runtime.virtual.machine import Machine
    from node.runtime.virtual.world import World

WAITING_MAX = 256
"""Packets that the kernel keeps for a process that does not read; further ones are lost (Linux: 212,992 bytes, of which
a packet of a few hundred takes about 800)."""


class Packets:
    """Carries them; `codec_each` n: every n-th packet goes through the codec, 1 all of them."""

    def __init__(self, world: "World", codec_each: int) -> None:
        assert codec_each >= 1
        self._world = world
        self._each = codec_each
        self._sent = 0
        self._last: Packet | None = None
        self._last_wire = b""
        """What is sent to several, one after another, is encoded once."""
        self._sizes: dict[type[Packet], int] = {}

    def send(self, machine: "Machine", peer: NodeId, packet: Packet) -> None:
        """One datagram; nobody is told what becomes of it."""
        world = self._world
        self._sent += 1
        kind = type(packet)
        if self._sent % self._each == 0 or kind not in self._sizes:
            wire = self._encode(packet)
            nbytes = self._sizes[kind] = len(wire) + PACKET_SEAL_BYTES
        else:
            wire, nbytes = None, self._sizes[kind]
        machine.traffic.count_packet(kind.__name__, nbytes)
        target = world.by_id.get(peer)
        if target is None:
            return
        port = machine.port
        left_at = world.now if port.up_bytes_s == inf else port.send(nbytes, world.now)
        delays = world.network.packet_delays(port, target.port)
        if world.watchers.packets:
            self._tell("packet.sent" if delays else "packet.lost", machine, target, packet, nbytes)
        for delay_s in delays:
            world.schedule(left_at + delay_s, self._arrive, (machine, target, packet, wire, nbytes))

    # -- within --------------------------------------------------------------------------------------

    def _encode(self, packet: Packet) -> bytes:
        if packet is not self._last:
            self._last, self._last_wire = packet, codec.encode_packet(packet)
            room = PACKET_BYTES_MAX - PACKET_SEAL_BYTES
            assert len(self._last_wire) <= room, f"a packet of {len(self._last_wire)} bytes"
        return self._last_wire

    def _arrive(
        self,
        sender: "Machine",
        target: "Machine",
        packet: Packet,
        wire: bytes | None,
        nbytes: int,
    ) -> None:
        world = self._world
        port = target.port
        if world.network.parted and world.network.is_cut(sender.port, port):
            return
        if port.down_bytes_s < inf:
            in_at = port.receive(nbytes, world.now)
            if in_at > world.now:
                world.schedule(in_at, self._hear, (sender, target, packet, wire))
                return
        self._hear(sender, target, packet, wire)

    def _hear(
        self, sender: "Machine", target: "Machine", packet: Packet, wire: bytes | None
    ) -> None:
        if not target.alive:
            return
        if target.frozen:
            if target.packets_waiting < WAITING_MAX:
                target.packets_waiting += 1
                target.inbox(self._hear, (sender, target, packet, wire))
            return
        if wire is not None:
            packet = codec.decode_packet(wire)
        world = self._world
        if world.watchers.packets:
            self._tell("packet.heard", target, sender, packet, 0)
        target.feed(target.node.packet(sender.id, packet, target.now))

    def _tell(
        self, kind: str, machine: "Machine", other: "Machine", packet: Packet, nbytes: int
    ) -> None:
        self._world.watchers.tell_packet(
            self._world.now, machine.name, kind, other=other.name, packet=packet, nbytes=nbytes
        )
