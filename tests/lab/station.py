"""A daemon without its Node, on one host of the laboratory: it does what it is ordered, where a Node would decide.

    python -m tests.lab.station FOLDER [--public]

Daemons link to everybody at once; stations let single pairs be tried alone. A station has all of a daemon that reaches
others and is reached by them: it listens, asks and answers STUN, is a relay or keeps some, and punches. It reads orders
from standard input and writes what happens to standard output, a line each (words.py).
"""

import asyncio
import itertools
import random
import sys
import time
from pathlib import Path
from typing import assert_never

import structlog
import uvloop

from node.communication.reach import DialedOut, Fact, HomesAre, Knocked, NatKnown, Relocated
from node.config import MeshConfig, NatConfig, RelayConfig
from node.effects import KeepRelays, ProbeNat, RelayAt
from node.log import Log
from node.runtime import identity, library_log
from node.runtime.datadir import DataDir
from node.runtime.entry import Entry
from node.runtime.outlook import Outlook
from node.runtime.registrar import Registrar
from node.runtime.relaying.forwarding import Forwarding
from node.runtime.signatures import Ed25519
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId
from protocol.members import Packet
from protocol.messages import Join, Joined, Probe, RequestHeader, Response, StoreSketch
from protocol.paths import PathKind, by_way_of
from tests.lab.answers import Answers
from tests.lab.company import Company
from tests.lab.words import (
    Answered,
    Dial,
    Down,
    Enter,
    Entered,
    Failed,
    Hang,
    Hopeless,
    Know,
    Open,
    Order,
    Send,
    Sent,
    Used,
    Whereabouts,
    Word,
    line,
    read,
)

LISTEN = "[::]:7879"
HTTPS = "[::]:443"
CALL_S = 10.0
SEND_S = 60.0
REDIAL_S = 0.25
"""A public member that was not reached is tried again after so long."""


def log_to_standard_error() -> Log:
    """For whoever looks after something went wrong, and for whoever started us: a traceback is a failure."""
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
    )
    library_log.listen(log)
    return log


class Station:
    """Hears the switchboard, the packets and the orders."""

    def __init__(self, folder: Path, *, public: bool) -> None:
        data = DataDir(folder)
        kept = identity.load(data)
        assert kept is not None, f"nobody has put the files of a member into {folder}"
        self._log = log_to_standard_error()
        self._public = public
        self._identity = kept
        self._signatures = Ed25519(kept.seed())
        self._loop = asyncio.get_running_loop()
        self._entry = Entry(
            data,
            Registrar(folder),
            kept,
            self._signatures,
            1,
            MeshConfig(listen=LISTEN, also_listen=HTTPS if public else None),
            RelayConfig(),
            REDIAL_S,
            "a station of the laboratory",
            self._log,
            random.Random(kept.id),
            NatConfig(),
        )
        self._company = Company()
        self._dialled_at: dict[NodeId, float] = {}
        self._linked: set[NodeId] = set()
        self._entering: set[NodeId] = set()
        """Public members to which we have no link yet."""
        self._entered_at = 0.0
        self._homes: tuple[NodeId, ...] = ()
        self._kinds: dict[NodeId, PathKind] = {}
        """Of the path that carries the link, or carried it last."""
        self._puts = itertools.count()

    async def run(self) -> None:
        """Until standard input ends."""
        membership = await self._entry.enter(None)
        switchboard, packets = await self._entry.open(membership, self)
        self._switchboard = switchboard
        self._outlook: Outlook = await self._entry.outlook(switchboard, packets, self._learn)
        self._answers = Answers(switchboard, self._outlook, lambda: self._entry.listens)
        self._forwarding: Forwarding = await self._entry.forwarding(
            switchboard, self._company, self._learn
        )
        self._tell(Open(Whereabouts(self._identity.id, self._signatures.key, self._entry.listens)))
        orders = asyncio.StreamReader()
        await self._loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(orders), sys.stdin.buffer
        )
        async for order in orders:
            # A union is no class, and this is the decoder's word for that.
            self._obey(read(order, Order))  # type: ignore[arg-type]
        await self._outlook.close()
        await self._forwarding.close()
        await self._switchboard.close("the station closes")
        if packets is not None:
            await packets.close()

    # -- orders ----------------------------------------------------------------------------------------

    def _obey(self, order: Order) -> None:
        match order:
            case Enter(publics=publics):
                self._enter(publics)
            case Know(peer=peer):
                self._company.know(peer)
            case Dial(peer=peer):
                self._company.know(peer)
                self._dialled_at[peer.node] = time.monotonic()
                self._switchboard.dial(peer.addresses, peer.node)
            case Send(node=node, nbytes=nbytes):
                self._send(node, nbytes)
            case Hang(node=node):
                self._switchboard.hang(node, "the laboratory is done with this pair")
            case _:
                assert_never(order)

    def _enter(self, publics: tuple[Whereabouts, ...]) -> None:
        self._entered_at = time.monotonic()
        self._company.servers = tuple(one for one in publics if one.node != self._identity.id)
        for one in self._company.servers:
            self._company.know(one)
            if one.node not in self._linked:
                self._entering.add(one.node)
                self._switchboard.dial(one.addresses, one.node)
        if not self._entering:
            self._look_around()

    def _look_around(self) -> None:
        """All public members are there: we choose relays and look at our NAT, as the Node does."""
        servers = self._company.servers
        relays = tuple(RelayAt(one.node, one.addresses, None) for one in servers)
        self._forwarding.carry_out(KeepRelays(not self._public, relays))
        self._outlook.carry_out(ProbeNat(tuple((one.node, one.addresses) for one in servers)))
        if self._public:
            self._tell_where()

    def _learn(self, fact: Fact | HomesAre) -> None:
        match fact:
            case HomesAre(homes=homes):
                self._homes = homes
                self._tell_where()
            case Relocated():
                self._tell_where()
            case NatKnown(knowledge=knowledge):
                self._company.own = knowledge
            case DialedOut():
                self._answers.dialled_out(fact)
            case Knocked():
                # For whoever wants to prove that he is public: here it is known who is.
                pass
            case _:
                assert_never(fact)

    def _tell_where(self) -> None:
        addresses = (*map(by_way_of, self._homes), *self._entry.listens)
        self._tell(Entered(addresses, time.monotonic() - self._entered_at))

    def _ask(self, peer: NodeId) -> None:
        dialled_at = self._dialled_at.pop(peer)

        def answered(response: Response, load: LoadDigest) -> None:
            self._tell(Answered(peer, dialled_at, time.monotonic(), self._kinds.get(peer)))

        self._switchboard.call(
            peer, Probe(), CALL_S, answered=answered, failed=lambda why: self._failed(peer, why)
        )

    def _send(self, peer: NodeId, nbytes: int) -> None:
        began_at = time.monotonic()

        def answered(response: Response, load: LoadDigest) -> None:
            self._tell(Sent(peer, time.monotonic() - began_at, self._kinds.get(peer)))

        self._switchboard.call(
            peer,
            StoreSketch(put=f"{next(self._puts)}", nbytes=nbytes),
            SEND_S,
            answered=answered,
            failed=lambda why: self._failed(peer, why),
            body=memoryview(bytes(nbytes)),
        )

    def _failed(self, peer: NodeId, why: ErrorInfo) -> None:
        self._tell(Failed(peer, why.reason))

    def _tell(self, word: Word) -> None:
        sys.stdout.buffer.write(line(word))
        sys.stdout.buffer.flush()

    # -- what the switchboard tells --------------------------------------------------------------------

    def link_up(self, peer: NodeId, dialled: bool) -> None:
        if peer in self._dialled_at:
            self._ask(peer)
        self._linked.add(peer)
        if peer in self._entering:
            self._entering.remove(peer)
            if not self._entering:
                self._look_around()

    def path_is(self, peer: NodeId, kind: PathKind) -> None:
        self._kinds[peer] = kind
        self._tell(Used(peer, time.monotonic(), kind))

    def reached(self, addresses: tuple[str, ...]) -> None:
        """We always know whom we dial."""

    def link_down(self, peer: NodeId, reason: str) -> None:
        self._linked.discard(peer)
        self._tell(Down(peer, reason))

    def dial_failed(self, addresses: tuple[str, ...], peer: NodeId | None, reason: str) -> None:
        assert peer is not None
        if peer in self._entering:
            self._loop.call_later(REDIAL_S, self._switchboard.dial, addresses, peer)
        elif self._dialled_at.pop(peer, None) is not None:
            self._tell(Failed(peer, reason))

    def asked(self, request: int, peer: NodeId, header: RequestHeader) -> None:
        self._answers.asked(request, peer, header)

    def body_received(self, request: int) -> None:
        self._answers.body_received(request)

    def request_gone(self, request: int, reason: str) -> None:
        self._answers.gone(request)

    def replied(self, request: int) -> None:
        """None of our answers has a body."""

    def note(self, event: str, **fields: object) -> None:
        self._log.info(event, **fields)
        peer = self._company.called(fields.get("peer"))
        if event == "path.not_punched" and peer is not None:
            self._tell(Hopeless(peer, time.monotonic(), str(fields["reason"])))

    turned_away = note

    def load(self) -> LoadDigest:
        return LoadDigest()

    def load_told(self, peer: NodeId, load: LoadDigest) -> None:
        """A station chooses nobody."""

    async def redeem(self, join: Join) -> Joined:
        raise TaskError(ErrorCode.FORBIDDEN, "a station lets nobody in")

    def key_of(self, peer: NodeId) -> bytes | None:
        return self._company.key_of(peer)

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        return self._company.addresses_of(peer)

    # -- what packets tell -----------------------------------------------------------------------------

    def packet(self, peer: NodeId, packet: Packet) -> None:
        """Nobody sends any here: who is alive is no question."""

    def packet_dropped(self, why: str) -> None:
        self._log.info("packet.dropped", why=why)


async def _serve(folder: Path, *, public: bool) -> None:
    await Station(folder, public=public).run()


def main() -> None:
    folder, *flags = sys.argv[1:]
    uvloop.run(_serve(Path(folder), public=flags == ["--public"]))


if __name__ == "__main__":
    main()
