"""What a peer, a STUN server or this machine can do to an attempt, over real UDP sockets on loopback."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Callable, Iterator

import pytest
from aioice import stun as ice_stun

from nat import stun
from nat.candidates import UNVERIFIED_PACKETS_MAX
from nat.datagrams import Address, Datagrams, bind
from nat.endpoint import Endpoint
from nat.ice import CONNECT_S, IceAttempt, NoWay
from nat.ice_checks import LEARNT_MAX
from protocol.limits import CANDIDATES_MAX
from protocol.paths import Candidate
from tests.nat.attempts import attempt, met

FOUR = [f"127.0.0.{number}" for number in range(1, 5)]


@contextlib.contextmanager
def silent(count: int) -> Iterator[tuple[Candidate, ...]]:
    """Addresses at which nobody answers."""
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for _ in range(count)
        ]
        for one in made:
            one.bind(("127.0.0.9", 0))
        yield tuple(
            Candidate(foundation="1", host=host, port=port, kind="host", priority=1 << 31)
            for host, port in (one.getsockname() for one in made)
        )


async def test_two_nodes_meet_that_have_told_each_other_as_many_addresses_as_an_offer_holds() -> (
    None
):
    near, far = attempt(dialled=True, hosts=FOUR), attempt(dialled=False, hosts=FOUR)
    ours, theirs = await near.gather(), await far.gather()
    with silent(CANDIDATES_MAX - len(FOUR)) as nobody:
        one, other = await met(near, theirs + nobody, far, ours + nobody)

    assert one.remote == other.local and other.remote == one.local
    one.close()
    other.close()


async def test_checks_that_are_under_way_when_a_path_is_found_end_without_a_word() -> None:
    wrong: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
    near, far = attempt(dialled=True), attempt(dialled=False)
    ours, theirs = await near.gather(), await far.gather()
    with silent(12) as nobody:
        paths = await met(near, nobody + theirs, far, ours, late_s=0.3)
        await asyncio.sleep(0)
    for path in paths:
        path.close()
    await asyncio.sleep(0)
    gc.collect()

    assert wrong == []


async def test_a_server_that_sees_us_at_no_port_is_not_believed() -> None:
    def answer(buffer: bytes, segment: int, sender: Address) -> None:
        transaction = buffer[8:20]
        server.send([stun.response(transaction, Endpoint("203.0.113.7", 0))], sender)

    server = Datagrams(bind("127.0.0.1"), answer)
    node = attempt(dialled=True, servers=(server.local,))

    assert [one.kind for one in await node.gather()] == ["host"]
    await node.close()
    server.close()


async def test_what_this_machine_has_against_it_is_told_with_the_failure() -> None:
    node = attempt(dialled=True, hosts=["127.0.0.1", "192.0.2.77"])
    (candidate,) = await node.gather()
    # From loopback nothing leads there.
    elsewhere = Candidate(foundation="1", host="203.0.113.7", port=9, kind="host", priority=1)

    with pytest.raises(NoWay) as failure:
        await node.connect("somebody", "x" * 32, (elsewhere,))

    assert candidate.host == "127.0.0.1"
    assert "here: 192.0.2.77: Cannot assign requested address, not sent: Invalid" in str(
        failure.value
    )


async def test_who_can_use_no_address_does_not_wait_for_the_peer() -> None:
    loop = asyncio.get_running_loop()
    node = attempt(dialled=True, hosts=["192.0.2.77"])
    began = loop.time()

    with pytest.raises(NoWay, match=r"192\.0\.2\.77: Cannot assign requested address"):
        await node.gather()

    assert loop.time() - began < CONNECT_S / 2
    await node.close()


async def test_a_peer_that_asks_from_ever_more_addresses_is_followed_to_few_of_them() -> None:
    node = attempt(dialled=True)
    (there,) = await node.gather()
    knocked: set[Address] = set()
    answered: set[Address] = set()

    def ear(host: str) -> Datagrams:
        def came(buffer: bytes, segment: int, sender: Address) -> None:
            (answered if buffer[0] else knocked).add(one.local)

        one = Datagrams(bind(host), came)
        return one

    ears = [ear(f"127.0.1.{number}") for number in range(1, 2 * LEARNT_MAX)]
    connecting = asyncio.ensure_future(node.connect("somebody", "x" * 32, ()))
    await asyncio.sleep(0.05)
    for one in ears:
        one.send([check_by("somebody", node)], (there.host, there.port))
    await until(lambda: len(answered) == len(ears) and len(knocked) >= LEARNT_MAX)
    await asyncio.sleep(0.1)
    connecting.cancel()
    await asyncio.wait([connecting])

    assert len(knocked) == LEARNT_MAX
    for one in ears:
        one.close()


async def test_a_peer_that_asks_in_the_name_of_a_server_gets_it_no_more_packets_than_others() -> (
    None
):
    knocks = 0

    def came(buffer: bytes, segment: int, sender: Address) -> None:
        nonlocal knocks
        if buffer[0] == 0:
            knocks += len(buffer) // segment

    server = Datagrams(bind("127.0.0.1"), lambda buffer, segment, sender: None)
    node = attempt(dialled=True, servers=(server.local,))
    (there,) = await node.gather()
    server.on_datagrams = came
    connecting = asyncio.ensure_future(node.connect("somebody", "x" * 32, ()))
    await asyncio.sleep(0.05)
    for _ in range(3 * UNVERIFIED_PACKETS_MAX):
        server.send([check_by("somebody", node)], (there.host, there.port))
        await asyncio.sleep(0)
    await until(lambda: knocks > 0)
    await asyncio.sleep(0.2)
    connecting.cancel()
    await asyncio.wait([connecting])

    assert knocks <= UNVERIFIED_PACKETS_MAX
    server.close()


async def test_a_peer_that_disputes_who_chooses_the_way_is_not_asked_again() -> None:
    questions: set[bytes] = set()

    def came(buffer: bytes, segment: int, sender: Address) -> None:
        if buffer[0] == 0:
            questions.add(buffer[8:20])
            conflict = ice_stun.Message(ice_stun.Method.BINDING, ice_stun.Class.ERROR, buffer[8:20])
            conflict.attributes["ERROR-CODE"] = (487, "Role Conflict")
            conflict.add_message_integrity(b"x" * 32)
            peer.send([bytes(conflict)], sender)

    peer = Datagrams(bind("127.0.0.1"), came)
    node = attempt(dialled=True)
    await node.gather()
    there = Candidate(
        foundation="1", host=peer.local[0], port=peer.local[1], kind="host", priority=1
    )
    connecting = asyncio.ensure_future(node.connect("somebody", "x" * 32, (there,)))
    await until(lambda: bool(questions))
    await asyncio.sleep(0.2)
    connecting.cancel()
    await asyncio.wait([connecting])

    assert len(questions) == 1
    peer.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.01)


def check_by(username: str, node: IceAttempt) -> bytes:
    """A question that only the peer can write."""
    message = ice_stun.Message(ice_stun.Method.BINDING, ice_stun.Class.REQUEST)
    message.attributes["USERNAME"] = f"{node.username}:{username}"
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLED"] = 1
    message.add_message_integrity(node.password.encode())
    return bytes(message)
