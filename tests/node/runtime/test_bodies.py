"""Whose turn it is, and who may send how much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.runtime.bodies import IncomingBodies, OutgoingBodies
from protocol.errors import PeerError
from protocol.frames import BodyPart


def test_bodies_with_credit_take_turns() -> None:
    outgoing = OutgoingBodies()
    for stream in (1, 2, 3):
        outgoing.add(stream, memoryview(bytes(250)))
    outgoing.grant(1, 250)
    outgoing.grant(3, 120)

    turns = [outgoing.next_slice(100) for _ in range(6)]

    assert [(turn.stream, turn.body.nbytes, turn.end) for turn in turns if turn] == [
        (1, 100, False),
        (3, 100, False),
        (1, 100, False),
        (3, 20, False),
        (1, 50, True),
    ]
    assert turns[5] is None
    assert 1 not in outgoing
    assert 2 in outgoing


def test_a_removed_body_loses_its_turn() -> None:
    outgoing = OutgoingBodies()
    outgoing.add(1, memoryview(bytes(10)))
    outgoing.grant(1, 10)

    outgoing.remove(1)

    assert outgoing.next_slice(100) is None
    assert not outgoing.ready
    outgoing.grant(1, 5)


def test_credit_beyond_the_body_is_a_fault() -> None:
    outgoing = OutgoingBodies()
    outgoing.add(1, memoryview(bytes(10)))

    with pytest.raises(PeerError, match="more than the 10 bytes to come"):
        outgoing.grant(1, 11)


def test_what_was_granted_before_it_was_given_up_may_still_come() -> None:
    incoming = IncomingBodies()
    incoming.expect(1, memoryview(bytearray(100)))
    assert incoming.target(1, 30) is not None

    assert incoming.give_up(1, may_come=True)

    assert incoming.target(1, 70) is None
    with pytest.raises(PeerError, match="nobody granted"):
        incoming.target(1, 1)


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 200)), max_size=60),
    st.integers(1, 90),
)
def test_never_more_than_granted_and_in_the_end_every_byte_once(
    sizes: list[int], grants: list[tuple[int, int]], slice_bytes: int
) -> None:
    outgoing, incoming = OutgoingBodies(), IncomingBodies()
    bodies = [bytes((stream + place) % 256 for place in range(n)) for stream, n in enumerate(sizes)]
    places = [bytearray(size) for size in sizes]
    left = dict(enumerate(sizes))
    for stream, body in enumerate(bodies):
        outgoing.add(stream, memoryview(body))
        incoming.expect(stream, memoryview(places[stream]))

    for stream, nbytes in [*grants, *((stream, 500) for stream in range(len(sizes)))]:
        granted = min(nbytes, left.get(stream, 0))
        if granted:
            left[stream] -= granted
            outgoing.grant(stream, granted)
        while (piece := outgoing.next_slice(slice_bytes)) is not None:
            target = incoming.target(piece.stream, piece.body.nbytes)
            assert target is not None
            target[:] = piece.body
            missing = incoming.arrived(BodyPart(piece.stream, piece.body.nbytes, piece.end))
            assert missing == (0 if piece.end else None)

    assert places == bodies
    assert not incoming
