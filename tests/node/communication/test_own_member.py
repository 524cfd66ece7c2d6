from node.communication.own_member import OwnMember
from node.communication.rumours import ALIVE_BYTES_MAX, news_bytes
from protocol.members import Cause, signed_bytes
from tests.node.communication.swarm import MESH, Hashed, record


def own() -> OwnMember:
    made = OwnMember(record(1), Hashed(1))
    made.mesh = MESH
    return made


def test_our_record_is_signed_for_this_mesh() -> None:
    member = own()
    member.version = 7
    member.sign(3, ("192.0.2.1:7879",))

    assert (member.record.incarnation, member.record.version) == (3, 7)
    data = signed_bytes(member.record, MESH)
    assert Hashed(1).verifies(member.record.key, data, member.record.signature)
    assert not member.gone


def test_a_goodbye_is_a_record_with_its_cause() -> None:
    member = own()
    member.sign(4, ("192.0.2.1:7879",), Cause.LEFT)

    assert member.gone
    assert member.record.gone is Cause.LEFT


def test_of_too_many_addresses_the_likeliest_are_told() -> None:
    member = own()
    addresses = tuple(f"{number}.{'x' * 120}.example:7879" for number in range(16))
    member.sign(1, addresses)

    told = member.record.addresses
    assert 0 < len(told) < 16
    assert told == addresses[: len(told)]
    assert news_bytes(member.news) <= ALIVE_BYTES_MAX
