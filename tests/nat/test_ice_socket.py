"""One socket of an attempt: what it asks, what it hears, and what it forgets."""

import asyncio

from aioice import stun as ice_stun

from nat import stun
from nat.candidates import Budget, CheckRate
from nat.datagrams import Address, Datagrams, bind
from nat.endpoint import Endpoint
from nat.ice_checks import Checks
from nat.ice_socket import SERVERS_MAX, UNANSWERED_MAX, IceSocket

KEY = b"x" * 32
SEEN = Endpoint("203.0.113.7", 4000)


def made() -> tuple[IceSocket, Checks]:
    budget = Budget(CheckRate(asyncio.get_running_loop().time()), "peer")
    checks = Checks(budget, ice_controlling=True, local_username="user", local_password="x" * 32)
    return IceSocket("127.0.0.1", checks), checks


class Server:
    """Answers as a public node does, or not at all."""

    def __init__(self, *, answers: bool = True) -> None:
        self.asked = 0
        self._answers = answers
        self._datagrams = Datagrams(bind("127.0.0.1"), self._came)

    @property
    def local(self) -> Address:
        return self._datagrams.local

    def close(self) -> None:
        self._datagrams.close()

    def _came(self, buffer: bytes, segment: int, sender: Address) -> None:
        self.asked += 1
        if self._answers:
            self._datagrams.send([stun.response(buffer[8:20], SEEN)], sender)


async def test_the_server_that_answers_tells_from_where_we_are_seen() -> None:
    one, _ = made()
    servers = [Server(answers=False), Server()]

    assert await one.mapped(tuple(server.local for server in servers)) == SEEN

    assert [server.asked for server in servers] == [1, 1]
    one.close()
    for server in servers:
        server.close()


async def test_of_many_servers_some_are_asked_and_none_of_another_family() -> None:
    one, _ = made()
    servers = [Server() for _ in range(SERVERS_MAX + 3)]

    assert await one.mapped((("::1", 9), *(server.local for server in servers))) == SEEN
    await asyncio.sleep(0.05)

    assert [server.asked for server in servers] == [1] * SERVERS_MAX + [0] * 3
    one.close()
    for server in servers:
        server.close()


async def test_of_the_checks_of_a_path_the_latest_are_remembered_for_their_answers() -> None:
    one, _ = made()
    requests: list[ice_stun.Message] = []
    answered: list[int] = []
    done = asyncio.Event()
    peer = Datagrams(bind("127.0.0.1"), lambda buffer, segment, sender: None)
    for number in range(UNANSWERED_MAX + 2):
        request = ice_stun.Message(ice_stun.Method.BINDING, ice_stun.Class.REQUEST)
        requests.append(request)

        def on_answer(number: int = number) -> None:
            answered.append(number)
            if number == UNANSWERED_MAX + 1:
                done.set()

        one.ask(request, KEY, peer.local, on_answer)

    for request in requests:
        for key in (b"y" * 32, KEY, KEY):
            peer.send([answer(request, key)], one.local)
    await asyncio.wait_for(done.wait(), 5)

    assert answered == [*range(2, UNANSWERED_MAX + 2)]
    one.close()
    peer.close()


async def test_an_attribute_that_is_cut_short_is_counted() -> None:
    one, checks = made()
    peer = Datagrams(bind("127.0.0.1"), lambda buffer, segment, sender: None)
    priority_of_two_bytes = b"\x00\x24\x00\x02\0\0\0\0"
    head = b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12)

    peer.send([head + priority_of_two_bytes], one.local)
    await asyncio.sleep(0.05)

    assert checks.troubles == {"nonsense came in": 1}
    one.close()
    peer.close()


def answer(request: ice_stun.Message, key: bytes) -> bytes:
    message = ice_stun.Message(
        ice_stun.Method.BINDING, ice_stun.Class.RESPONSE, request.transaction_id
    )
    message.add_message_integrity(key)
    return bytes(message)
