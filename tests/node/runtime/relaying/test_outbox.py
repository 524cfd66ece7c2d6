"""In which order what waits for one WebSocket leaves."""

import asyncio

from nat.relay_wire import OPENER, Close, Data, Message, Ping, Window, decode
from node.runtime.relaying.outbox import HIGH_BYTES, Outbox

ANNA, BERT, CARL = (bytes([number]) * 32 for number in (1, 2, 3))


async def sent(outbox: Outbox) -> list[Message]:
    """All that waits, as it leaves."""
    left: list[Message] = []

    async def send(data: bytes) -> None:
        left.append(decode(data))

    outbox.end()
    await outbox.send_all(send)
    return left


def data(peer: bytes, payload: bytes, channel: int = 1) -> Data:
    return Data(peer, channel, payload)


async def test_what_is_short_and_holds_somebody_up_overtakes_data() -> None:
    outbox = Outbox()
    said: list[Message] = [data(ANNA, b"one"), Ping(b"12345678"), Window(BERT, OPENER | 1, 7)]
    for message in said:
        outbox.put(message)

    assert await sent(outbox) == [*said[1:], said[0]]


async def test_what_is_said_to_one_peer_stays_in_order() -> None:
    outbox = Outbox()
    said: list[Message] = [
        data(ANNA, b"one"),
        data(ANNA, b"two", 2),
        data(ANNA, b"three"),
        Close(ANNA, 1, "over"),
    ]
    for message in said:
        outbox.put(message)

    assert await sent(outbox) == said


async def test_who_is_sent_little_does_not_wait_for_all_that_others_are_sent() -> None:
    outbox = Outbox()
    for number in range(100):
        outbox.put(data(ANNA, bytes([number])))
        outbox.put(data(BERT, bytes([number])))
    outbox.put(data(CARL, b"quick"))

    left = await sent(outbox)

    assert left.index(data(CARL, b"quick")) == 2
    assert len(left) == 201


async def test_it_is_full_until_half_of_that_has_left() -> None:
    told: list[tuple[bool, int]] = []
    outbox = Outbox(lambda full: told.append((full, outbox.nbytes)))
    while not told:
        outbox.put(data(ANNA, bytes(10_000)))
    await sent(outbox)

    (full, at), (not_full, later) = told
    assert (full, not_full) == (True, False)
    assert HIGH_BYTES < at <= HIGH_BYTES + 11_000
    assert HIGH_BYTES // 2 - 11_000 <= later <= HIGH_BYTES // 2
    assert outbox.nbytes == 0


async def test_what_comes_after_the_end_is_not_sent() -> None:
    outbox = Outbox()
    outbox.put(data(ANNA, b"last"))
    outbox.end()
    outbox.put(data(ANNA, b"late"))

    assert await sent(outbox) == [data(ANNA, b"last")]


async def test_sending_waits_for_something_to_send() -> None:
    outbox, left = Outbox(), asyncio.Queue[bytes]()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.send_all(left.put))
        await asyncio.sleep(0)
        outbox.put(data(ANNA, b"first"))
        assert decode(await left.get()) == data(ANNA, b"first")
        outbox.end()
