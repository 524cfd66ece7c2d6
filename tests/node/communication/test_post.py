import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node.communication.membership import Membership
from node.effects import Effect
from protocol.codec import encode_packet
from protocol.ids import NodeId
from protocol.limits import ADDRESSES_MAX, PACKET_BYTES_MAX, PACKET_SEAL_BYTES
from protocol.members import Cause, Dead, News, Packet, Ping, PingFor, Suspect
from tests.node.communication.memberships import (
    alive,
    carried,
    membership,
    node,
    packets,
    run,
    sends,
    signed,
)
from tests.node.communication.swarm import MESH

INCARNATION = 1 << 35
"""About as long as incarnations get."""


def fits(packet: Packet) -> bool:
    return len(encode_packet(packet)) + PACKET_SEAL_BYTES <= PACKET_BYTES_MAX


def long_addresses(count: int, length: int) -> tuple[str, ...]:
    return tuple(f"{number:02}{'x' * length}:7879" for number in range(count))


def told_by(number: int, what: int, length: int) -> News:
    other = node(number)
    match what:
        case 0:
            return alive(number, INCARNATION)
        case 1:
            return Suspect(other, INCARNATION, node(number + 1))
        case 2:
            return Dead(other, INCARNATION)
        case _:
            return msgspec.structs.replace(
                alive(number),
                record=signed(number, INCARNATION, addresses=long_addresses(8, length)),
            )


pieces = st.builds(told_by, st.integers(0, 40), st.integers(0, 3), st.integers(0, 120))
inputs = st.lists(
    st.tuples(st.integers(1, 25), st.sampled_from("pfhcx"), st.lists(pieces, max_size=12)),
    max_size=25,
)


@given(inputs, st.integers(0, ADDRESSES_MAX), st.integers(0, 230), st.integers(0, 99))
def test_no_packet_is_ever_larger_than_a_datagram_may_be(
    steps: list[tuple[int, str, list[News]]], addresses: int, length: int, seed: int
) -> None:
    made = membership(20, seed=seed)
    made.version_is(1 << 62)
    now = 0.0
    said = packets(made.introduce(MESH, long_addresses(addresses, length), now))
    for peer, what, news in steps:
        effects = _step(made, node(peer), what, tuple(news), now)
        said += packets(effects) + [packet for _, packet in carried(effects)]
        now += 0.1
        said += [packet for _, _, packet in sends(run(made, now))]
    said += packets(made.leave(Cause.LEFT, now))

    assert all(fits(packet) for packet in said)


def _step(
    made: Membership, peer: NodeId, what: str, news: tuple[News, ...], now: float
) -> list[Effect]:
    match what:
        case "p":
            return made.heard(peer, Ping((1 << 32) - 1, news), now)
        case "f":
            return made.heard(peer, PingFor((1 << 32) - 1, node(2), news), now)
        case "h":
            return made.told(news, peer, now)
        case "c":
            return made.met(peer, now)
        case _:
            return made.prod(peer, now)


def test_news_of_the_receiver_comes_before_all_other() -> None:
    made = membership(20)
    made.told([alive(number, 2) for number in range(2, 20)], node(2), 0.0)
    made.told([Suspect(node(1), 1, node(7))], node(2), 0.0)

    (ack,) = packets(made.heard(node(1), Ping(1), 0.0))

    assert ack.news[0] == Suspect(node(1), 1, node(7))
    assert len(ack.news) > 3
