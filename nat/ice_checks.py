"""The checks of ICE by aioice, over sockets of ours: `nat/ice.py` says what for. No other file imports aioice.

What is ours: QUIC's datagrams pass by aioice's parser and queue; all STUN servers are asked at once, over IPv6 too, and
none is waited for longer than 300 ms; when a check comes in while ours is under way, ours is sent again at once, where
aioice waits for its timer; strangers get no answer of any kind; whom a peer has named gets as many packets as the
budget says; and once a way is nominated, nothing is sent but what `nat/path_keeper.py` asks for.
"""

import asyncio
import struct
from collections.abc import Iterable, Sequence
from typing import cast

import aioice
from aioice import stun
from aioice.candidate import Candidate as IceCandidate
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol

from nat.candidates import HOST, MAPPED, Budget
from nat.datagrams import Address, Datagrams, bind
from nat.punched import FIRST_OF_QUIC, OnAnswer, PunchedPath, Way
from protocol.paths import Candidate

GATHER_S = 0.3
FIRST_RETRY_S = 0.05
"""Doubled each time: six checks to one address in the time that there is (RFC 8445 wants 0.5 s, and pays it)."""
UNANSWERED_MAX = 8
"""Checks remembered for their answer once the path is there."""
REQUEST_PADDING = "sedma" + "." * 35
"""Public nodes answer only to requests that are nearly as long as their answers."""
PAIRS_MAX = 32
"""Of addresses in one attempt. A peer that asks us from ever more is not followed."""
EARLY_MAX = 16
"""Buffers kept that came before the way was nominated."""
COMPONENT = 1
"""Of ICE's media streams, we have one (RFC 8445, section 13)."""
REQUEST = b"\x00\x01"
LAST_OF_STUN = 3

# Of the whole process, in which nobody else uses aioice.
stun.RETRY_RTO = FIRST_RETRY_S


class _Socket:
    """One socket, as aioice wants its transports; what is not STUN goes another way."""

    def __init__(self, host: str, checks: "Checks") -> None:
        self.protocol = StunProtocol(checks)
        self.datagrams = Datagrams(bind(host), self._came)
        self.asked: dict[Address, bytes] = {}
        """The last question to each address."""
        self._checks = checks
        self._open = True
        # A transport has more methods; these are the ones that are called.
        self.protocol.connection_made(cast(asyncio.DatagramTransport, self))

    def get_extra_info(self, name: str) -> object:
        return self.datagrams.local if name == "sockname" else None

    def sendto(self, data: bytes, to: Address) -> None:
        if self._open and self._checks.may_send(data, to):
            if data[:2] == REQUEST:
                self.asked[to] = data
            self.datagrams.send([data], to)

    def close(self) -> None:
        if self._open:
            self._open = False
            self.datagrams.close()
            self.protocol.connection_lost(None)

    def _came(self, buffer: bytes, segment: int, sender: Address) -> None:
        way = Way(self.datagrams, sender)
        # The first bytes of all datagrams in it, at once.
        if min(buffer[::segment]) >= FIRST_OF_QUIC:
            self._checks.came(way, buffer, segment)
            return
        for start in range(0, len(buffer), segment):
            datagram = buffer[start : start + segment]
            if datagram[0] >= FIRST_OF_QUIC:
                self._checks.came(way, datagram, segment)
            elif datagram[0] > LAST_OF_STUN:
                self._checks.packet_came(way, datagram)
            elif self._open:
                self._hear_stun(datagram, sender)

    def _hear_stun(self, datagram: bytes, sender: Address) -> None:
        try:
            self.protocol.datagram_received(datagram, sender)
        except (struct.error, LookupError):
            # Attributes cut short, which aioice's parser does not look for.
            self._checks.garbled += 1


class _Answer:
    """Waits for the answer to one check of ours, in the place of a transaction of aioice."""

    def __init__(self, way: Way, key: bytes, on_answer: OnAnswer) -> None:
        self._way, self._key, self._on_answer = way, key, on_answer
        self._done = False

    def response_received(self, message: stun.Message, addr: Address) -> None:
        if (
            not self._done
            and message.message_class == stun.Class.RESPONSE
            and addr == self._way.remote
            and message.check_message_integrity(self._key)
        ):
            self._done = True
            self._on_answer()


class Checks(aioice.Connection):
    """aioice's checks, over our sockets."""

    def __init__(
        self, budget: Budget, *, ice_controlling: bool, local_username: str, local_password: str
    ) -> None:
        super().__init__(
            ice_controlling, local_username=local_username, local_password=local_password
        )
        self.garbled = 0
        """What looked like STUN and was none."""
        self._budget = budget
        self._sockets: dict[StunProtocol, _Socket] = {}
        self._hosts: Sequence[str] = ()
        self._servers: tuple[Address, ...] = ()
        self._answered: set[bytes] = set()
        """Transactions of the peer that we have taken for a reason to ask again."""
        self._early: list[tuple[Way, bytes, int]] = []
        self._path: PunchedPath | None = None
        self._pair: CandidatePair | None = None

    def plan(self, hosts: Sequence[str], servers: tuple[Address, ...]) -> None:
        """What `gather_candidates` shall use."""
        self._hosts, self._servers = hosts, servers

    def may_send(self, data: bytes, to: Address) -> bool:
        """Answers go to whoever has authenticated its question; questions as far as the budget goes."""
        if data[0] != 0 or (self._path is None and to in self._servers):
            return True
        # Once there is a path, it counts by itself.
        return self._path is not None or self._budget.may_send(to[0], _now())

    async def gathered(self) -> tuple[Candidate, ...]:
        """Where we can be reached, the best first."""
        await self.gather_candidates()
        found = sorted(self.local_candidates, key=lambda one: -one.priority)
        return tuple(
            Candidate(
                foundation=one.foundation,
                host=one.host,
                port=one.port,
                kind=one.type,
                priority=one.priority,
            )
            for one in found
        )

    async def offered(self, username: str, password: str, candidates: Iterable[Candidate]) -> None:
        """What the peer has told; more addresses of it may show themselves."""
        self.remote_username, self.remote_password = username, password
        for one in candidates:
            await self.add_remote_candidate(
                IceCandidate(
                    foundation=one.foundation,
                    component=COMPONENT,
                    transport="udp",
                    priority=one.priority,
                    host=one.host,
                    port=one.port,
                    type=one.kind,
                )
            )

    # -- in place of aioice's own --------------------------------------------------------------------

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109
    ) -> list[IceCandidate]:
        for host in self._hosts:
            try:
                one = _Socket(host, self)
            except OSError:
                # An address that is there and cannot be used, as an IPv6 one that is still being tried.
                continue
            local = one.datagrams.local
            one.protocol.local_candidate = _candidate(component, HOST, local, local)
            self._sockets[one.protocol] = one
        # aioice forms its pairs from these.
        self._protocols += self._sockets
        found = [protocol.local_candidate for protocol in self._sockets]
        mapped = await asyncio.gather(*map(self._mapped, self._sockets.values()))
        return found + [one for one in mapped if one is not None]

    async def query_consent(self) -> None:
        """Whether the path lives is asked by its keeper, and far less often."""

    def respond_error(
        self,
        request: stun.Message,
        addr: tuple[str, int],
        protocol: StunProtocol,
        error_code: tuple[int, str],
    ) -> None:
        """Strangers get no answer, for they may have forged where they ask from."""
        if error_code[0] not in (400, 401):
            super().respond_error(request, addr, protocol, error_code)

    def check_state(self, pair: CandidatePair, state: CandidatePair.State) -> None:
        super().check_state(pair, state)
        if state is CandidatePair.State.SUCCEEDED:
            self._budget.verified(pair.remote_addr[0])

    def check_incoming(
        self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol
    ) -> None:
        if self._path is not None:
            self._path.asked(Way(self._sockets[protocol].datagrams, addr))
        elif "PRIORITY" in message.attributes and len(self._check_list) < PAIRS_MAX:
            super().check_incoming(message, addr, protocol)
            if message.transaction_id not in self._answered:
                self._answered.add(message.transaction_id)
                self._send_again(protocol, addr)

    def data_received(self, data: bytes, component: int) -> None:
        """What looked like STUN and is none."""
        self.garbled += 1

    # -- once there is a way -------------------------------------------------------------------------

    def came(self, way: Way, buffer: bytes, segment: int) -> None:
        if self._path is not None:
            self._path.came(way, buffer, segment)
        elif len(self._early) < EARLY_MAX:
            self._early.append((way, buffer, segment))

    def packet_came(self, way: Way, datagram: bytes) -> None:
        """Neither QUIC nor STUN. The peer sends such only once there is a path."""
        if self._path is not None:
            self._path.packet_came(way, datagram)

    def path(self, *, dialled: bool) -> PunchedPath:
        self._pair = self._nominated[COMPONENT]
        known = {
            self._way(pair)
            for pair in self._check_list
            if pair.state is CandidatePair.State.SUCCEEDED
        }
        self._path = path = PunchedPath(
            self._way(self._pair), known, self._budget, self._ask, dialled=dialled
        )
        path.on_closed, path.on_settled = self._release, self._release
        for early in self._early:
            path.came(*early)
        self._early.clear()
        return path

    def _way(self, pair: CandidatePair) -> Way:
        return Way(self._sockets[pair.protocol].datagrams, pair.remote_addr)

    def _ask(self, way: Way, on_answer: OnAnswer) -> None:
        """One check, sent once."""
        assert self._pair is not None
        assert self.remote_password is not None
        protocol = next(one for one, its in self._sockets.items() if its.datagrams is way.socket)
        key = self.remote_password.encode()
        request = self.build_request(self._pair, nominate=False)
        request.add_message_integrity(key)
        waiting = protocol.transactions
        while len(waiting) >= UNANSWERED_MAX:
            del waiting[next(iter(waiting))]
        answer = _Answer(way, key, on_answer)
        waiting[request.transaction_id] = cast(stun.Transaction, answer)
        protocol.send_stun(request, way.remote)

    def _release(self, but: Datagrams | None = None) -> None:
        """Close the sockets, but this one."""
        for one in self._sockets.values():
            if one.datagrams is not but:
                one.close()

    # -- within --------------------------------------------------------------------------------------

    async def _mapped(self, one: _Socket) -> IceCandidate | None:
        """From where this socket is seen, by the server that answers first."""
        local = one.datagrams.local
        servers = [server for server in self._servers if (":" in server[0]) == (":" in local[0])]
        if not servers:
            return None
        questions = [asyncio.ensure_future(self._seen_by(one, server)) for server in servers]
        try:
            async with asyncio.timeout(GATHER_S):
                for answer in asyncio.as_completed(questions):
                    if (seen := await answer) is not None:
                        return _candidate(COMPONENT, MAPPED, seen, local)
        except TimeoutError:
            return None
        finally:
            for question in questions:
                question.cancel()
            await asyncio.wait(questions)
        return None

    async def _seen_by(self, one: _Socket, server: Address) -> Address | None:
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["SOFTWARE"] = REQUEST_PADDING
        try:
            response, _ = await one.protocol.request(request, server)
        except stun.TransactionError:
            return None
        seen = response.attributes.get("XOR-MAPPED-ADDRESS")
        return None if seen is None else (seen[0], seen[1])

    def _send_again(self, protocol: StunProtocol, to: Address) -> None:
        """Our check has most likely died at the peer's NAT, which by now lets us in (RFC 8445, section 7.3.1.4)."""
        pair = next(
            (one for one in self._check_list if one.protocol is protocol and one.remote_addr == to),
            None,
        )
        if pair is None or pair.state is not CandidatePair.State.IN_PROGRESS:
            return
        one = self._sockets[protocol]
        if (question := one.asked.get(to)) is not None:
            one.sendto(question, to)


def _candidate(component: int, kind: str, address: Address, base: Address) -> IceCandidate:
    return IceCandidate(
        foundation=candidate_foundation(kind, "udp", base[0]),
        component=component,
        transport="udp",
        priority=candidate_priority(component, kind),
        host=address[0],
        port=address[1],
        type=kind,
        related_address=None if kind == HOST else base[0],
        related_port=None if kind == HOST else base[1],
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
