"""How long a mapping lives: each silence has a socket of its own, which nothing disturbs."""

import random

import pytest

from nat import stun
from nat.endpoint import Endpoint
from nat.knocks import AskKnock
from nat.lifetime import SILENCES_S, Lifetime
from nat.questions import Transmit
from nat.stun import Kind, Message

SERVER = Endpoint("198.51.100.1", 7879)
FIRST = 2
LATER_S = 100.0


def silent(lifetime: Lifetime) -> list[tuple[float, AskKnock]]:
    """Each socket has its answer; what is asked for afterwards, and when."""
    for transmit in lifetime.begin(0.0):
        transaction = stun.parse(transmit.datagram).transaction
        outside = Endpoint("203.0.113.77", 5000 + transmit.socket)
        lifetime.heard(transmit.socket, Message(Kind.RESPONSE, transaction, outside), 0.0)
    asks: list[tuple[float, AskKnock]] = []
    while lifetime.deadline is not None and lifetime.deadline < LATER_S:
        at = lifetime.deadline
        effects = lifetime.tick(at)
        assert not any(isinstance(one, Transmit) for one in effects), "it keeps silent"
        for one in effects:
            if isinstance(one, AskKnock):
                asks.append((at, one))
                lifetime.knocks.sent(one.token)
    return asks


def test_each_socket_asks_once_and_is_then_silent_for_its_time() -> None:
    asks = silent(Lifetime("anna", SERVER, FIRST, random.Random(1)))

    first = {ask.to.port: at for at, ask in reversed(asks)}
    assert first == {5002: 10.0, 5003: 25.0, 5004: 60.0}
    assert all(ask.member == "anna" and not ask.alternate for _, ask in asks)


@pytest.mark.parametrize(
    ("came", "bounds"),
    [
        ((None, None, None), (None, None)),
        ((True, None, None), (10.0, None)),
        ((True, None, True), (60.0, None)),
        ((True, False, None), (10.0, 25.0)),
        ((False, None, None), (None, 10.0)),
        # A life that outlasts a longer silence but not a shorter one: a packet was lost, the shorter counts.
        ((True, False, True), (10.0, 25.0)),
    ],
)
def test_bounds_are_the_longest_life_and_the_shortest_death(
    came: tuple[bool | None, ...], bounds: tuple[float | None, float | None]
) -> None:
    lifetime = Lifetime("anna", SERVER, FIRST, random.Random(1))

    lifetime.knocks.came = dict(zip(map(str, SILENCES_S), came, strict=True))

    assert lifetime.bounds == bounds
