import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node.communication.rumours import (
    ROOM_BYTES,
    WAITING_MAX,
    Rumours,
    news_bytes,
    repeats,
)
from protocol.ids import NodeId, node_id
from protocol.members import Alive, Dead, MemberRecord, News, Suspect
from tests.node.communication.swarm import key, record


def dead(number: int, incarnation: int = 1) -> tuple[NodeId, News]:
    node = node_id(key(number))
    return node, Dead(node, incarnation)


def test_a_piece_of_news_is_sent_a_limited_number_of_times() -> None:
    rumours = Rumours()
    rumours.add(*dead(1))

    sent = 0
    while rumours:
        sent += len(rumours.take(ROOM_BYTES, 64, nodes=128))

    assert sent == repeats(128) == 13
    assert (rumours.take(ROOM_BYTES, 64, nodes=128), rumours.nbytes) == ([], 0)


def test_what_was_sent_least_goes_first() -> None:
    rumours = Rumours()
    rumours.add(*dead(1))
    assert rumours.take(ROOM_BYTES, 1, nodes=128) == [dead(1)[1]]
    rumours.add(*dead(2))

    assert rumours.take(ROOM_BYTES, 2, nodes=128) == [dead(2)[1], dead(1)[1]]


def test_newer_news_of_a_node_takes_the_place_of_older() -> None:
    rumours = Rumours()
    rumours.add(*dead(1, incarnation=1))
    rumours.take(ROOM_BYTES, 64, nodes=128)
    rumours.add(*dead(1, incarnation=2))

    assert len(rumours) == 1
    assert rumours.take(ROOM_BYTES, 64, nodes=128) == [dead(1, incarnation=2)[1]]


def test_past_its_limit_the_queue_gives_up_what_was_sent_most() -> None:
    rumours = Rumours()
    rumours.add(*dead(0))
    rumours.take(ROOM_BYTES, 64, nodes=128)
    for number in range(1, WAITING_MAX + 1):
        rumours.add(*dead(number))

    assert len(rumours) == WAITING_MAX
    waiting: list[News] = []
    while (taken := rumours.take(ROOM_BYTES, 64, nodes=1)) and len(waiting) < 2 * WAITING_MAX:
        waiting += taken
    assert dead(0)[1] not in waiting


def test_what_no_packet_takes_is_not_passed_on() -> None:
    rumours = Rumours()
    huge = msgspec.structs.replace(record(1), addresses=("a" * 250,) * 5)
    rumours.add(huge.id, Alive(huge))

    assert not rumours


records = st.builds(
    MemberRecord,
    key=st.binary(min_size=32, max_size=32),
    incarnation=st.integers(0, 1 << 40),
    version=st.integers(0, 1 << 62),
    addresses=st.lists(st.text(max_size=40), max_size=16).map(tuple),
)
ids = st.binary(min_size=32, max_size=32).map(node_id)
news = st.one_of(
    st.builds(Alive, records),
    st.builds(Dead, ids, st.integers(0, 1 << 40)),
    st.builds(Suspect, ids, st.integers(0, 1 << 40), ids),
)


@given(st.lists(news, max_size=60), st.integers(0, ROOM_BYTES), st.integers(1, 64))
def test_no_more_is_taken_than_there_is_room_for(
    pieces: list[News], room: int, count_max: int
) -> None:
    rumours = Rumours()
    for one in pieces:
        rumours.add(one.record.id if isinstance(one, Alive) else one.node, one)

    for _ in range(30):
        taken = rumours.take(room, count_max, nodes=128)
        assert len(taken) <= count_max
        assert sum(news_bytes(one) for one in taken) <= room
