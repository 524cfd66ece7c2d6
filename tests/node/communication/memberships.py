"""One membership and what others say to it: conveniences for tests."""

import random
from collections.abc import Iterable

import msgspec

from node.communication.desk import Desk
from node.communication.membership import Membership
from node.effects import Call, Effect, Note, SendPacket
from protocol.ids import NodeId, node_id
from protocol.members import Alive, Cause, MemberRecord, News, Packet, Ping, Suspect, signed_bytes
from protocol.messages import Carry
from tests.node.communication.swarm import MESH, Hashed, key, record

ADDRESSES = ("192.0.2.1:7879",)


def node(number: int) -> NodeId:
    return node_id(key(number))


def signed(
    number: int,
    incarnation: int = 1,
    *,
    gone: Cause | None = None,
    addresses: tuple[str, ...] | None = None,
) -> MemberRecord:
    """As node `number` itself would sign it."""
    there = record(number, incarnation)
    plain = msgspec.structs.replace(
        there, gone=gone, addresses=there.addresses if addresses is None else addresses
    )
    signature = Hashed(number).sign(signed_bytes(plain, MESH))
    return msgspec.structs.replace(plain, signature=signature)


def alive(number: int, incarnation: int = 1, gone: Cause | None = None) -> Alive:
    return Alive(signed(number, incarnation, gone=gone))


def suspect(number: int, incarnation: int = 1, accuser: int = 9) -> Suspect:
    return Suspect(node(number), incarnation, node(accuser))


def membership(others: int = 0, *, number: int = 0, seed: int = 1) -> Membership:
    """Node 0, which knows as many others, from 1 on, and is introduced at time 0."""
    made = Membership(record(number), Hashed(number), Desk(), random.Random(seed))
    made.introduce(MESH, ADDRESSES, now=0.0)
    made.restore({node(one): signed(one) for one in range(1, others + 1)}, (), now=0.0)
    made.drain()
    return made


def packets(effects: Iterable[Effect], to: int | None = None) -> list[Packet]:
    """The datagrams among them, of those to one node."""
    return [
        effect.packet
        for effect in effects
        if isinstance(effect, SendPacket) and (to is None or effect.peer == node(to))
    ]


def carried(effects: Iterable[Effect]) -> list[tuple[NodeId, Packet]]:
    """What takes a link."""
    return [
        (effect.peer, effect.request.packet)
        for effect in effects
        if isinstance(effect, Call) and isinstance(effect.request, Carry)
    ]


def sends(
    done: Iterable[tuple[float, Effect]],
) -> list[tuple[float, NodeId, Packet]]:
    """When which datagram went to whom."""
    return [(now, one.peer, one.packet) for now, one in done if isinstance(one, SendPacket)]


def pings(
    done: Iterable[tuple[float, Effect]], to: NodeId | None = None
) -> list[tuple[float, Ping]]:
    """Those by UDP."""
    return [
        (now, packet)
        for now, peer, packet in sends(done)
        if isinstance(packet, Ping) and to in (None, peer)
    ]


def calls(done: Iterable[tuple[float, Effect]]) -> list[Call]:
    return [one for _, one in done if isinstance(one, Call)]


def told(effects: Iterable[Effect], to: int) -> list[News]:
    """All news in packets to one node."""
    return [news for packet in packets(effects, to) for news in packet.news]


def notes(effects: Iterable[Effect]) -> list[str]:
    return [effect.event for effect in effects if isinstance(effect, Note)]


def run(made: Membership, until: float) -> list[tuple[float, Effect]]:
    """Let it have all its ticks."""
    done: list[tuple[float, Effect]] = []
    while made.deadline is not None and made.deadline <= until:
        now = made.deadline
        done += [(now, effect) for effect in made.tick(now)]
    return done
