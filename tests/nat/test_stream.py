"""A stream outlives its paths: whatever they do, each byte comes once and in order."""

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.stream import COPIED_BYTES, Outflow
from protocol.errors import PeerError


def rest(out: Outflow, offset: int) -> bytes:
    return b"".join(bytes(piece) for piece in out.since(offset))


def test_what_was_written_is_kept_until_it_has_come() -> None:
    out = Outflow()
    out.write(b"one")
    out.write(b"two")

    assert rest(out, 0) == b"onetwo"
    assert out.acknowledged(4)
    assert rest(out, 4) == b"wo"
    assert out.kept_bytes == 2
    assert out.acknowledged(6)
    assert rest(out, 6) == b""
    assert out.kept_bytes == 0


def test_what_is_told_late_is_no_news() -> None:
    out = Outflow()
    out.write(b"onetwo")
    out.acknowledged(6)

    assert not out.acknowledged(3)
    assert not out.acknowledged(6)
    assert out.acked == 6


def test_who_says_that_more_has_come_than_was_sent_lies() -> None:
    out = Outflow()
    out.write(b"one")

    for received in (4, (1 << 64) - 1):
        with pytest.raises(PeerError, match="are said to have come, of 3 sent"):
            out.acknowledged(received)
    assert rest(out, 0) == b"one"


def test_large_memory_is_borrowed_until_it_has_come_and_small_memory_is_copied() -> None:
    out = Outflow()
    small, large = bytearray(b"s" * COPIED_BYTES), bytearray(b"l" * (COPIED_BYTES + 1))
    out.write(memoryview(small))

    assert out.borrowed == 0
    small[:] = b"x" * len(small)
    assert rest(out, 0) == b"s" * COPIED_BYTES
    out.write(memoryview(large))
    assert out.borrowed == out.written
    out.acknowledged(out.written - 1)
    assert out.acked < out.borrowed
    out.acknowledged(out.written)
    assert out.acked == out.borrowed


def test_bytes_that_cannot_change_are_never_borrowed() -> None:
    out = Outflow()
    out.write(bytes(10 * COPIED_BYTES))

    assert out.borrowed == 0


def test_a_link_that_is_over_keeps_nothing() -> None:
    out = Outflow()
    out.write(b"one")
    out.drop()

    assert out.kept_bytes == 0
    assert rest(out, 3) == b""


@given(
    pieces=st.lists(st.binary(max_size=9), max_size=20),
    data=st.data(),
)
def test_from_wherever_it_is_read_all_that_follows_is_there(
    pieces: list[bytes], data: st.DataObject
) -> None:
    out, whole = Outflow(), b"".join(pieces)
    for piece in pieces:
        out.write(piece)
    acked = data.draw(st.integers(0, len(whole)))
    out.acknowledged(acked)
    offset = data.draw(st.integers(acked, len(whole)))

    assert rest(out, offset) == whole[offset:]


class Pipe:
    """One path of a simulated pair: brings records in order, or stalls, or is gone with all that is on it."""

    def __init__(self) -> None:
        self.records: deque[tuple[int, bytes]] = deque()
        self.given = 0


class Receiver:
    """Takes what is new, as the offset of a record says."""

    def __init__(self) -> None:
        self.came = bytearray()

    def take(self, offset: int, payload: bytes) -> None:
        assert offset <= len(self.came), "a gap on a path that has none"
        self.came += payload[len(self.came) - offset :]


class Changing:
    """A stream whose paths stall, die and come back; told by dice what happens next."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.out, self.receiver, self.sent = Outflow(), Receiver(), bytearray()
        self.pipes: list[Pipe] = []
        self.active: Pipe | None = None

    def step(self) -> None:
        self.dice.choice(
            [
                self._write,
                self._write,
                self._hand,
                self._bring,
                self._bring,
                self._tell,
                self._switch,
            ]
        )()

    def _write(self) -> None:
        piece = self.dice.randbytes(self.dice.randint(0, 40))
        self.sent += piece
        self.out.write(piece)

    def _hand(self) -> None:
        if (pipe := self.active) is not None:
            pipe.given = max(pipe.given, self.out.acked)
            for piece in self.out.since(pipe.given):
                pipe.records.append((pipe.given, bytes(piece)))
                pipe.given += len(piece)

    def _bring(self) -> None:
        """On any path that lives, also one that is not used any more."""
        if self.pipes and (pipe := self.dice.choice(self.pipes)).records:
            self.receiver.take(*pipe.records.popleft())

    def _tell(self) -> None:
        # Some of what is told is late.
        self.out.acknowledged(max(0, len(self.receiver.came) - self.dice.choice((0, 0, 9))))

    def _switch(self) -> None:
        if self.pipes and self.dice.random() < 0.5:
            self.pipes.remove(self.dice.choice(self.pipes))
        if len(self.pipes) < 3:
            pipe = Pipe()
            pipe.given = self.out.acked
            self.pipes.append(pipe)
        self.active = self.dice.choice(self.pipes)
        # All since the last word is sent once more.
        self.active.given = self.out.acked

    def settle(self) -> None:
        self._switch()
        self._hand()
        assert self.active is not None
        while self.active.records:
            self.receiver.take(*self.active.records.popleft())
        self.out.acknowledged(len(self.receiver.came))


@settings(max_examples=200)
@given(st.integers(0, 1 << 32))
def test_paths_that_stall_die_and_return_lose_no_byte_and_double_none(seed: int) -> None:
    stream = Changing(seed)
    for _ in range(120):
        stream.step()
        assert stream.sent.startswith(stream.receiver.came)
    stream.settle()

    assert stream.receiver.came == stream.sent
    assert stream.out.kept_bytes == 0
