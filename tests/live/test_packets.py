"""Members tell each other by UDP that they are there, on the number of the port of their links."""

import random
import socket
import time

from tests.live.daemons import Daemons, connected, eventually, ticket
from tests.node.ports import taken


def test_members_keep_each_other_alive_by_packets(daemon: Daemons) -> None:
    a = daemon("a")
    b = daemon("b", join=ticket(a.client()))
    eventually(lambda: connected(b.client()), "they know each other")

    def answered() -> bool:
        counted = [one.client().status()["packets"] for one in (a, b)]
        return all(min(packets["sent"], packets["received"]) >= 4 for packets in counted)

    eventually(answered, "they ping each other and are answered")


def test_links_and_packets_have_ports_of_one_number_and_noise_is_counted(
    daemon: Daemons,
) -> None:
    one = daemon("a")
    client = one.client()
    host, _, port = client.status()["listen"][0].rpartition(":")
    dice = random.Random(7)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for number in range(2_000):
            stranger.sendto(dice.randbytes(dice.randrange(1_400)), (host, int(port)))
            if number % 50 == 0:
                time.sleep(0.001)

    def counted() -> int:
        packets: dict[str, int] = client.status()["packets"]
        return sum(n for kind, n in packets.items() if kind.startswith("dropped."))

    eventually(lambda: counted() > 1_000, "it has counted them")
    assert client.status()["packets"]["sent"] == 0
    assert one.stop() == 0
    (line,) = one.noted("packets.dropped")
    assert line["foreign"] + line["short"] > 900


def test_where_udp_is_taken_a_node_says_so_and_does_without(daemon: Daemons) -> None:
    with taken(socket.SOCK_DGRAM) as port:
        one = daemon("a", listen=f"127.0.0.1:{port}")

        assert one.client().status()["packets"] == {}
    (line,) = one.noted("packets.not_bound")
    assert "links" in line["reason"]
