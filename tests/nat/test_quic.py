"""Two ends of a QUIC path over real UDP sockets on loopback."""

import asyncio
import hashlib
import random
from dataclasses import replace
from typing import cast

import pytest

from nat.engine import Engine, Over, Secured
from nat.proof import Credentials, certificates_of, signed_bytes
from nat.quic import FLUSH_BYTES, QuicTransport, open_quic
from protocol.errors import PeerError
from tests.nat.members import founder, member
from tests.nat.wires import Wire, wired

MIB = 1 << 20
CA = founder()
ALICE = member(CA)
BOB = member(CA, by_inviter=True)
STRANGER = member(founder())


class Stream(asyncio.BufferedProtocol):
    """Keeps what comes in, and who is told what."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.received = 0
        self.pauses = 0
        self.resumed = asyncio.Event()
        self.resumed.set()
        self.ended = False
        self.transport: QuicTransport
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._memory = bytearray(50_000)
        self._arrived = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(QuicTransport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._memory)

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes
        self.digest.update(self._memory[:nbytes])
        self._arrived.set()

    def eof_received(self) -> None:
        self.ended = True

    def pause_writing(self) -> None:
        self.pauses += 1
        self.resumed.clear()

    def resume_writing(self) -> None:
        self.resumed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.resumed.set()
        self.lost.set_result(exc)

    async def has(self, nbytes: int) -> None:
        while self.received < nbytes:
            self._arrived.clear()
            await self._arrived.wait()


Ends = tuple[Stream, Stream]


async def opened(
    wires: tuple[Wire, Wire],
    dialler: Credentials | None = None,
    listener: Credentials | None = None,
) -> Ends:
    one, other = wires
    async with asyncio.TaskGroup() as group:
        near = group.create_task(
            open_quic(one, dialler or ALICE.towards(BOB), Stream, dialled=True)
        )
        far = group.create_task(
            open_quic(other, listener or BOB.towards(ALICE), Stream, dialled=False)
        )
    return near.result()[1], far.result()[1]


async def send_all(stream: Stream, data: bytes, piece: int = 256 * 1024) -> None:
    """As a link does: a slice at a time, while nothing waits."""
    for start in range(0, len(data), piece):
        stream.transport.write(memoryview(data)[start : start + piece])
        await stream.resumed.wait()


async def closed(*streams: Stream) -> list[Exception | None]:
    for stream in streams:
        stream.transport.close()
    return [await stream.lost for stream in streams]


def noise(nbytes: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(nbytes)


async def test_ten_mebibytes_travel_both_ways_at_once_and_arrive_whole() -> None:
    near, far = await opened(wired())
    there, back = noise(10 * MIB, 1), noise(10 * MIB, 2)

    await asyncio.gather(send_all(near, there), send_all(far, back))
    await asyncio.gather(far.has(10 * MIB), near.has(10 * MIB))

    assert far.digest.digest() == hashlib.sha256(there).digest()
    assert near.digest.digest() == hashlib.sha256(back).digest()
    assert await closed(near, far) == [None, None]


class Echo(Stream):
    """Says again what it hears, while it is being told it."""

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.transport.write(bytes(self._memory[:nbytes]))


async def test_who_answers_while_it_is_being_told_keeps_everything_in_order() -> None:
    one, other = wired()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(open_quic(one, ALICE.towards(BOB), Stream, dialled=True))
        saying = group.create_task(open_quic(other, BOB.towards(ALICE), Echo, dialled=False))
    near, echo = asking.result()[1], saying.result()[1]
    data = noise(8 * MIB, 9)

    await send_all(near, data)
    await near.has(len(data))

    assert echo.digest.digest() == near.digest.digest() == hashlib.sha256(data).digest()
    await closed(near, echo)


class Talkative(Stream):
    """Answers the first that it is told by so much that it leaves at once."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.data += self._memory[:nbytes]
        if self.data == b"one":
            self.transport.write(bytes(FLUSH_BYTES))


async def test_what_came_before_anybody_listened_is_told_before_what_came_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = wired()
    listener = QuicTransport(other, BOB.towards(ALICE), dialled=False)
    near, stream = await open_quic(one, ALICE.towards(BOB), Stream, dialled=True)
    await listener.proven
    for piece, early in ((b"one", [b"one"]), (b"two", [b"one", b"two"])):
        near.write(piece)
        async with asyncio.timeout(5.0):
            while listener._early != early:  # noqa: ASYNC110 (nobody tells of it)
                await asyncio.sleep(0.001)
    # What comes next is read, and nobody has looked at it yet when the listener's protocol is there.
    monkeypatch.setattr(listener, "_flush", lambda: None)
    near.write(b"three")
    await asyncio.sleep(0.05)
    monkeypatch.undo()

    talkative = listener.begin(Talkative())
    await talkative.has(len(b"onetwothree"))

    assert talkative.data == b"onetwothree"
    await closed(stream, talkative)


class Abrupt(Stream):
    """Wants no more of what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = 0

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.losses += 1


@pytest.mark.parametrize("gone_before", [True, False])
async def test_who_is_rid_of_a_path_while_it_is_handed_over_is_told_once(gone_before: bool) -> None:
    one, other = wired()
    listener = QuicTransport(other, BOB.towards(ALICE), dialled=False)
    near, stream = await open_quic(one, ALICE.towards(BOB), Stream, dialled=True)
    await listener.proven
    near.write(b"something")
    async with asyncio.timeout(5.0):
        while not listener._early:  # noqa: ASYNC110 (nobody tells of it)
            await asyncio.sleep(0.001)
    if gone_before:
        listener.abort()

    abrupt = listener.begin(Abrupt())
    await stream.lost

    assert abrupt.losses == 1


async def test_of_a_way_that_loses_every_twentieth_datagram_nothing_is_lost() -> None:
    near, far = await opened(wired(loss=0.05))
    data = noise(2 * MIB, 3)

    await asyncio.gather(send_all(near, data), send_all(far, data))
    await asyncio.gather(far.has(len(data)), near.has(len(data)))

    assert far.digest.digest() == near.digest.digest() == hashlib.sha256(data).digest()
    await closed(near, far)


async def test_a_way_that_takes_no_large_datagrams_carries_all_the_same() -> None:
    near, far = await opened(wired(mtu=1280))
    data = noise(MIB, 4)

    await asyncio.gather(send_all(near, data), send_all(far, data))
    await asyncio.gather(far.has(len(data)), near.has(len(data)))

    assert far.digest.digest() == near.digest.digest() == hashlib.sha256(data).digest()
    await closed(near, far)


async def test_what_is_written_in_one_turn_of_the_loop_leaves_together() -> None:
    wires = wired()
    near, far = await opened(wires)
    await asyncio.sleep(0.3)
    before = len(wires[0].sent)

    for _ in range(100):
        near.transport.write(b"word ")
    near.transport.writelines([b"and ", memoryview(b"end")])
    await far.has(507)

    assert len(wires[0].sent) - before <= 2
    await closed(near, far)


async def test_a_transport_names_its_ends_and_its_peer() -> None:
    wires = wired()
    near, far = await opened(wires)

    assert near.transport.get_extra_info("node") == BOB.id
    assert far.transport.get_extra_info("node") == ALICE.id
    assert near.transport.get_extra_info("peername") == wires[1].local
    assert near.transport.get_extra_info("sockname") == wires[0].local
    assert near.transport.get_extra_info("ssl_object") is None
    await closed(near, far)


async def test_who_writes_faster_than_the_other_end_takes_is_paused_and_goes_on() -> None:
    wires = wired()
    near, far = await opened(wires)
    wires[1].cut = True
    data = noise(8 * MIB, 5)

    near.transport.set_write_buffer_limits(high=0, low=0)
    near.transport.write(data)
    assert near.pauses == 1
    waiting = near.transport.get_write_buffer_size()
    await asyncio.sleep(0.05)
    assert len(data) - MIB < near.transport.get_write_buffer_size() <= waiting

    wires[1].cut = False
    await near.resumed.wait()
    assert near.transport.get_write_buffer_size() == 0
    await far.has(len(data))
    assert far.digest.digest() == hashlib.sha256(data).digest()
    await closed(near, far)


async def test_closing_sends_what_was_written_and_tells_the_other_end() -> None:
    near, far = await opened(wired())
    data = noise(MIB, 6)

    near.transport.write(data)
    near.transport.close()

    assert near.transport.is_closing()
    assert await far.lost is None
    assert await near.lost is None
    assert far.ended
    assert far.digest.digest() == hashlib.sha256(data).digest()


async def test_an_aborted_path_ends_at_both_ends_at_once() -> None:
    near, far = await opened(wired())

    far.transport.abort()

    assert await near.lost is None
    assert await far.lost is None


async def test_both_may_close_at_the_same_time() -> None:
    near, far = await opened(wired())

    assert await closed(near, far) == [None, None]


async def test_a_way_that_was_cut_for_long_is_used_as_soon_as_it_answers() -> None:
    loop = asyncio.get_running_loop()
    wires = wired()
    near, far = await opened(wires)
    data = noise(16 * MIB, 10)
    sending = asyncio.ensure_future(send_all(near, data))
    await far.has(MIB)
    wires[0].cut = True
    await asyncio.sleep(5.0)
    assert 3 <= wires[0].probes <= 5

    wires[0].cut = False
    before, began = far.received, loop.time()
    near.transport.answered()
    await far.has(before + 1)

    # QUIC's own timer has backed off to seconds by then.
    assert loop.time() - began < 1.0
    await sending
    await far.has(len(data))
    assert far.digest.digest() == hashlib.sha256(data).digest()
    await closed(near, far)


async def test_an_idle_path_sends_nothing_and_works_afterwards() -> None:
    wires = wired()
    near, far = await opened(wires)
    await asyncio.sleep(0.5)
    before = len(wires[0].sent) + len(wires[1].sent)
    await asyncio.sleep(1.5)

    assert len(wires[0].sent) + len(wires[1].sent) == before
    near.transport.write(b"still there")
    await far.has(11)
    await closed(near, far)


async def test_a_dialler_does_not_talk_to_a_listener_of_another_mesh() -> None:
    with pytest.raises(ExceptionGroup) as failed:
        await opened(wired(), dialler=ALICE.towards(STRANGER), listener=STRANGER.towards(ALICE))

    assert "is not of this mesh" in sentences(failed.value)


async def test_a_dialler_does_not_take_another_member_for_the_one_it_means() -> None:
    carol = member(CA)

    with pytest.raises(ExceptionGroup) as failed:
        await opened(wired(), listener=carol.towards(ALICE))

    assert "the certificate shown is not that of node" in sentences(failed.value)


async def test_a_listener_refuses_a_dialler_of_another_mesh_and_says_so() -> None:
    trusting = replace(STRANGER.towards(BOB), ca_pem=BOB.ca_pem)

    said = await refusal(trusting, BOB.towards(STRANGER))

    assert "is not of this mesh" in said


async def test_a_listener_refuses_who_shows_the_certificate_of_a_member_but_has_another_key() -> (
    None
):
    said = await refusal(ALICE.with_key_of(STRANGER).towards(BOB), BOB.towards(ALICE))

    assert "has not signed for this connection" in said


async def test_a_signature_of_an_earlier_attempt_is_worth_nothing() -> None:
    said = await refusal(
        ALICE.towards(BOB, agreement=b"what was agreed before"), BOB.towards(ALICE)
    )

    assert "has not signed for this connection" in said


async def test_a_signature_for_one_listener_is_worth_nothing_with_another() -> None:
    carol = member(CA)
    mine = ALICE.towards(carol)
    leaf = certificates_of(BOB.chain_pem)[0]
    for_bob = ALICE.key.sign(signed_bytes(BOB.id, ALICE.id, mine.agreement, leaf))

    said = await refusal(replace(mine, sign=lambda _: for_bob), carol.towards(ALICE))

    assert "has not signed for this connection" in said


async def test_who_gives_up_while_the_handshake_ends_hears_no_complaint() -> None:
    one, other = wired()
    listener = QuicTransport(other, BOB.towards(ALICE), dialled=False)
    dialler = QuicTransport(one, ALICE.towards(BOB), dialled=True)
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))

    # As when the task that waits for it is cancelled: it comes to abort the transport only afterwards.
    dialler.proven.cancel()
    await asyncio.sleep(0.2)

    dialler.abort()
    listener.abort()
    assert complaints == []
    assert isinstance(listener.proven.exception(), PeerError)


async def test_without_a_proof_nothing_is_served() -> None:
    assert "no proof of a node's key" in await said_to(b"\x00\x05hello and more")


async def test_a_proof_that_claims_to_be_huge_is_not_waited_for() -> None:
    assert "a proof of 65535 bytes" in await said_to(b"\xff\xff")


async def refusal(dialler: Credentials, listener: Credentials) -> str:
    """What a dialler is told by a listener that does not take it; the listener says the same to itself."""
    one, other = wired()
    near = asyncio.ensure_future(open_quic(one, dialler, Stream, dialled=True))
    with pytest.raises(PeerError) as refused:
        await open_quic(other, listener, Stream, dialled=False)
    _, stream = await near
    said = str(await stream.lost)
    assert said == str(refused.value)
    return said


async def said_to(first: bytes) -> str:
    """What a listener says when just this comes first on the stream."""
    one, other = wired()
    engine = RawDialler(one, ALICE.towards(BOB), first)
    with pytest.raises(PeerError) as refused:
        await open_quic(other, BOB.towards(ALICE), Stream, dialled=False)
    assert await engine.over == str(refused.value)
    one.close()
    return str(refused.value)


class RawDialler:
    """Shakes hands, and then writes what it likes."""

    def __init__(self, wire: Wire, credentials: Credentials, first: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[str] = loop.create_future()
        self._now = loop.time
        self._wire = wire
        self._first = first
        self._engine = Engine(credentials, dialled=True)
        wire.listen(self)
        self._engine.start(self._now())
        wire.send(self._engine.datagrams(self._now()))

    def owns(self, datagram: bytes) -> bool:
        return True

    def heard(self, buffer: bytes, segment: int) -> None:
        self._engine.receive(buffer, segment, self._now())
        for event in self._engine.events():
            if isinstance(event, Secured):
                self._engine.write(self._first)
            elif isinstance(event, Over):
                self.over.set_result(event.error)
        self._wire.send(self._engine.datagrams(self._now()))

    def writable(self) -> None: ...

    def answered(self) -> None: ...

    def lost(self, reason: str) -> None: ...


def sentences(group: BaseException) -> str:
    if isinstance(group, BaseExceptionGroup):
        return " | ".join(map(sentences, group.exceptions))
    return str(group)
