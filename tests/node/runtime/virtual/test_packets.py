"""What becomes of packets, on the network and in the kernel of who does not read."""

import pytest

from node.effects import Effect, SendPacket
from node.runtime.virtual.network import Conditions
from protocol.limits import PACKET_SEAL_BYTES
from protocol.members import Ack, Ping
from tests.node.runtime.scripted import script, scripted

DELAY_S = 0.01
"""One way, in these worlds."""


def test_a_packet_takes_one_way_and_its_bytes_are_counted_with_the_seal() -> None:
    world, (a, b) = scripted("a", "b")

    a.feed([SendPacket(b.id, (b.address,), Ping(7))])
    world.run(1.0)

    assert script(b).named("packet") == [(a.id, Ping(7))]
    assert script(b).when("packet") == [pytest.approx(DELAY_S)]
    assert a.traffic.packets == 1
    assert PACKET_SEAL_BYTES < a.traffic.packet_bytes == a.traffic.kinds["Ping"] < 80


def test_packets_are_lost_doubled_and_overtaken() -> None:
    conditions = Conditions(DELAY_S, loss=0.2, doubled=0.2, held=0.2)
    world, (a, b) = scripted("a", "b", conditions=conditions)

    pings: list[Effect] = [SendPacket(b.id, (), Ping(number)) for number in range(500)]
    for ping in pings:
        a.feed([ping])
        world.run(0.001)
    world.run(1.0)

    came = [packet.sequence for _, packet in script(b).named("packet") if isinstance(packet, Ping)]
    assert 300 < len(set(came)) < 450
    assert len(came) > len(set(came)) + 40
    assert came != sorted(came)


def test_a_frozen_machine_hears_what_its_kernel_could_keep() -> None:
    world, (a, b) = scripted("a", "b")
    b.freeze()
    for number in range(300):
        a.feed([SendPacket(b.id, (), Ack(number))])
    world.run(1.0)
    assert not script(b).named("packet")

    b.thaw()

    assert [packet for _, packet in script(b).named("packet")] == [Ack(n) for n in range(256)]
    assert set(script(b).when("packet")) == {1.0}


def test_a_packet_to_a_process_that_has_been_started_again_is_heard() -> None:
    world, (a, b) = scripted("a", "b")
    a.feed([SendPacket(b.id, (), Ping(1))])
    b.kill()
    b.start()

    world.run(1.0)

    assert len(script(b).named("packet")) == 1
