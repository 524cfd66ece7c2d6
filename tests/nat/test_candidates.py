"""What a peer may make us knock at."""

from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.candidates import (
    CHECKS_PER_S,
    HOSTS_MAX,
    PROVEN_S,
    UNVERIFIED_PACKETS_MAX,
    Budget,
    CheckRate,
    Network,
    OfferJudge,
    usable,
)
from nat.endpoint import Endpoint, Scope, scope
from node.runtime.signatures import Ed25519
from protocol.errors import PeerError
from protocol.ids import NodeId, node_id
from protocol.limits import CANDIDATES_MAX
from protocol.paths import Candidate, Offer, signed_offer_bytes

ALICE, BOB, EVE = (Ed25519(bytes([number]) * 32) for number in (1, 2, 3))
LINK = bytes(16)


def at(host: str, port: int = 4000, kind: str = "srflx", priority: int = 1) -> Candidate:
    return Candidate(foundation="f", host=host, port=port, kind=kind, priority=priority)


def offer(
    number: int = 1,
    *,
    candidates: tuple[Candidate, ...] = (),
    answers: bool = False,
    link: bytes = LINK,
    signer: Ed25519 = BOB,
    receiver: NodeId | None = None,
) -> Offer:
    plain = Offer(link, number, answers, "user", "p" * 22, candidates)
    to = receiver or node_id(ALICE.key)
    signature = signer.sign(signed_offer_bytes(plain, node_id(BOB.key), to))
    return Offer(link, number, answers, "user", "p" * 22, candidates, signature)


def judge() -> OfferJudge:
    return OfferJudge(
        node_id(ALICE.key),
        node_id(BOB.key),
        LINK,
        lambda data, signature: ALICE.verifies(BOB.key, data, signature),
    )


def judged(one: OfferJudge, what: Offer) -> tuple[Candidate, ...]:
    return one.judge(what, (), ())


PRIVATE = [
    ip_network(one)
    for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fd00::/8")
]


def hosts(*given: str, own: tuple[Endpoint, ...] = (), nearby: Sequence[Network] = ()) -> list[str]:
    found = usable([at(host) for host in given], own, nearby)
    return [one.host for one in found]


def test_an_offer_that_the_peer_has_signed_for_us_is_taken() -> None:
    there = at("203.0.113.7")

    assert judged(judge(), offer(candidates=(there,))) == (there,)


def test_an_offer_is_taken_once() -> None:
    one = judge()
    judged(one, offer(5))

    for number in (5, 4, 0):
        with pytest.raises(PeerError, match="repeats an offer"):
            judged(one, offer(number))
    judged(one, offer(6))


def test_a_refused_offer_does_not_stand_in_the_way_of_the_true_one() -> None:
    one = judge()
    with pytest.raises(PeerError):
        judged(one, offer(9, signer=EVE))

    assert judged(one, offer(1)) == ()


def test_an_offer_that_somebody_else_has_signed_is_refused() -> None:
    with pytest.raises(PeerError, match="not signed by it"):
        judged(judge(), offer(signer=EVE))


def test_an_offer_to_somebody_else_is_refused() -> None:
    with pytest.raises(PeerError, match="not signed by it"):
        judged(judge(), offer(receiver=node_id(EVE.key)))


def test_an_offer_for_another_link_is_refused() -> None:
    with pytest.raises(PeerError, match="another link"):
        judged(judge(), offer(link=bytes(15) + b"\1"))


def test_an_answer_counts_once_and_only_to_what_was_asked() -> None:
    one = judge()
    with pytest.raises(PeerError, match="that we have not made"):
        judged(one, offer(3, answers=True))

    one.asking(3)
    with pytest.raises(PeerError, match="that we have not made"):
        judged(one, offer(2, answers=True))
    judged(one, offer(3, answers=True))
    with pytest.raises(PeerError, match="that we have not made"):
        judged(one, offer(3, answers=True))


def test_a_thousand_addresses_are_refused() -> None:
    many = tuple(at("203.0.113.7", port) for port in range(1, 1001))

    with pytest.raises(PeerError, match="offers 1000 addresses"):
        judged(judge(), offer(candidates=many))
    judged(judge(), offer(candidates=many[:CANDIDATES_MAX]))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "2001:db8::1%eth0",
        "224.0.0.251",
        "ff02::fb",
        "255.255.255.255",
        "240.0.0.1",
        "localhost",
        "victim.example",
        "1.2.3",
        "",
    ],
)
def test_addresses_that_no_peer_elsewhere_can_have_are_dropped(host: str) -> None:
    assert hosts(host) == hosts(host, nearby=PRIVATE) == []


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "192.168.1.20", "172.31.0.9", "100.64.3.4", "fd00::5", "::ffff:10.0.0.1"]
)
def test_private_addresses_count_only_among_neighbours(host: str) -> None:
    assert hosts(host) == []
    assert hosts(host, nearby=PRIVATE) == [host.removeprefix("::ffff:")]


def test_private_addresses_count_only_in_our_own_networks() -> None:
    """A member that says it is seen at our address would else have us knock at any host behind our router."""
    nearby = [ip_network("192.168.1.0/24"), ip_network("fd00:1::/64")]
    given = ("192.168.1.20", "192.168.2.20", "10.0.0.1", "fd00:1::5", "fd00:2::5")

    assert hosts(*given, nearby=nearby) == ["192.168.1.20", "fd00:1::5"]


@pytest.mark.parametrize("host", ["203.0.113.7", "198.51.100.2", "8.8.8.8", "2001:db8::5"])
def test_addresses_that_mean_the_same_to_everybody_are_kept(host: str) -> None:
    assert hosts(host) == [host]


def test_our_own_addresses_and_repetitions_are_dropped() -> None:
    ours = Endpoint("203.0.113.7", 4000)

    assert hosts("203.0.113.7", "::ffff:203.0.113.7", own=(ours,)) == []
    assert hosts("203.0.113.9", "203.0.113.9", own=(ours,)) == ["203.0.113.9"]
    assert hosts("2001:DB8::5", "2001:db8:0::5") == ["2001:db8::5"]
    assert hosts("::FFFF:10.0.0.1", "10.0.0.1", nearby=PRIVATE) == ["10.0.0.1"]


def test_kinds_that_are_not_ours_are_dropped_and_the_best_comes_first() -> None:
    found = usable(
        [at("8.8.8.1", kind="relay"), at("8.8.8.2", priority=1), at("8.8.8.3", priority=9)],
        (),
    )

    assert [one.host for one in found] == ["8.8.8.3", "8.8.8.2"]


@given(st.ip_addresses())
def test_whatever_is_kept_of_strangers_networks_is_global(address: object) -> None:
    for host in hosts(str(address)):
        assert scope(host) is Scope.GLOBAL


def test_a_host_that_does_not_answer_gets_twenty_packets_whatever_ports_are_named() -> None:
    budget = Budget(CheckRate(0.0), "eve")
    sent = [budget.may_send("203.0.113.7", now=float(second)) for second in range(100)]

    assert sum(sent) == UNVERIFIED_PACKETS_MAX


def test_a_peer_that_asks_again_and_again_gets_no_more_packets_sent_to_one_host() -> None:
    rate = CheckRate(0.0)
    sent = 0
    for tenth in range(600):
        budget = Budget(rate, "eve")
        sent += budget.may_send("203.0.113.7", now=tenth / 10)
        sent += budget.may_send("203.0.113.7", now=tenth / 10)

    assert sent <= 2 * UNVERIFIED_PACKETS_MAX
    assert Budget(rate, "bob").may_send("203.0.113.7", now=60.0)
    assert Budget(rate, "eve").may_send("203.0.113.8", now=60.0)


def test_all_addresses_of_one_ipv6_network_share_one_budget() -> None:
    budget = Budget(CheckRate(0.0), "eve")
    sent = [budget.may_send(f"2001:db8::{n:x}", now=float(n)) for n in range(1, 100)]

    assert sum(sent) == UNVERIFIED_PACKETS_MAX


def test_a_host_has_one_budget_whichever_of_its_addresses_is_named() -> None:
    budget = Budget(CheckRate(0.0), "eve")
    names = ["203.0.113.7", *(f"2002:cb00:7107:{n:x}::1" for n in range(8))]
    sent = [budget.may_send(host, now=float(n)) for n in range(20) for host in names]

    assert sum(sent) == UNVERIFIED_PACKETS_MAX


def test_an_attempt_that_is_led_to_ever_more_hosts_remembers_the_last_of_them() -> None:
    budget = Budget(CheckRate(0.0), "eve")
    first = "203.0.113.7"
    used_up = [budget.may_send(first, now=0.0) for _ in range(2 * UNVERIFIED_PACKETS_MAX)]
    for number in range(HOSTS_MAX - 1):
        budget.may_send(f"198.51.100.{number}", now=600.0)

    assert sum(used_up) == UNVERIFIED_PACKETS_MAX
    assert not budget.may_send(first, now=1200.0)
    for number in range(HOSTS_MAX):
        budget.may_send(f"192.0.2.{number}", now=1200.0)
    assert budget.may_send(first, now=1800.0)


def test_a_host_that_has_answered_costs_no_budget() -> None:
    budget = Budget(CheckRate(0.0), "eve")
    budget.verified("203.0.113.7", now=0.0)

    assert all(budget.may_send("203.0.113.7", now=0.0) for _ in range(1000))
    assert budget.may_send("203.0.113.8", now=0.0)


def test_a_host_that_has_answered_is_the_peers_in_further_attempts_too_for_a_while() -> None:
    """A network that loses UDP for a while would else use up what the attempts of a minute may send."""
    rate, host = CheckRate(0.0), "203.0.113.7"

    def sent(peer: str, host: str, now: float) -> int:
        attempts = [Budget(rate, peer) for _ in range(4)]
        return sum(one.may_send(host, now) for one in attempts for _ in range(10))

    Budget(rate, "bob").verified(host, now=0.0)

    assert sent("eve", host, now=1.0) == UNVERIFIED_PACKETS_MAX
    assert sent("bob", "203.0.113.8", now=2.0) == UNVERIFIED_PACKETS_MAX
    assert sent("bob", host, now=PROVEN_S - 1.0) == 40
    assert sent("bob", host, now=PROVEN_S) == UNVERIFIED_PACKETS_MAX


def test_all_attempts_together_send_fifty_packets_a_second_to_hosts_that_do_not_answer() -> None:
    rate = CheckRate(0.0)
    attempts = [Budget(rate, "eve") for _ in range(100)]
    sent = 0
    for tenth in range(101):
        for number, one in enumerate(attempts):
            sent += one.may_send(f"203.0.113.{number}", now=tenth / 10)

    assert sent == pytest.approx(CHECKS_PER_S * 11, abs=1)
