"""The checks of ICE by aioice, over sockets of ours (`nat/ice_socket.py`); `nat/ice.py` says what for.

What is ours: QUIC's datagrams pass by aioice's parser and queue; all STUN servers are asked at once, over IPv6 too, and
none is waited for longer than 300 ms; when a check comes in while ours is under way, ours is sent again at once, where
aioice waits for its timer; strangers get no answer of any kind; whom a peer has named gets as many packets as the
budget says; and once a way is nominated, nothing is sent but what `nat/path_keeper.py` asks for.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

import aioice
from aioice import stun
from aioice.candidate import Candidate as IceCandidate
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, StunProtocol

from nat.candidates import HOST, MAPPED, Budget
from nat.datagrams import Address, Datagrams
from nat.ice_socket import IceSocket
from nat.punched import OnAnswer, PunchedPath, Way
from protocol.paths import Candidate

FIRST_RETRY_S = 0.05
"""Doubled each time: six checks to one address in the time that there is (RFC 8445 wants 0.5 s, and pays it)."""
LEARNT_MAX = 16
"""Pairs with addresses that the peer has not told, but asked us from (peer-reflexive, RFC 8445, section 7.3.1.3).

From further ones it gets answers, and we do not knock there.
"""
EARLY_MAX = 16
"""Buffers kept that came before the way was nominated."""
COMPONENT = 1
"""Of ICE's media streams, we have one (RFC 8445, section 13)."""

# Of the whole process, in which nobody else uses aioice.
stun.RETRY_RTO = FIRST_RETRY_S


class Checks(aioice.Connection):
    """aioice's checks, over our sockets."""

    def __init__(
        self, budget: Budget, *, ice_controlling: bool, local_username: str, local_password: str
    ) -> None:
        super().__init__(
            ice_controlling, local_username=local_username, local_password=local_password
        )
        self.troubles: Counter[str] = Counter()
        """What went wrong on this side, in words for people, and how often."""
        self._budget = budget
        self._sockets: dict[StunProtocol, IceSocket] = {}
        self._hosts: Sequence[str] = ()
        self._servers: tuple[Address, ...] = ()
        self._asked_by: dict[tuple[StunProtocol, Address], bytes] = {}
        """The peer's last transaction on each pair: a check that it repeats is no further reason to ask again."""
        self._early: list[tuple[Way, bytes, int]] = []
        self._path: PunchedPath | None = None
        self._pair: CandidatePair | None = None

    @property
    def has_sockets(self) -> bool:
        return bool(self._sockets)

    @property
    def has_path(self) -> bool:
        return self._path is not None

    def plan(self, hosts: Sequence[str], servers: tuple[Address, ...]) -> None:
        """What `gather_candidates` shall use."""
        self._hosts, self._servers = hosts, servers

    def may_send(self, data: bytes, to: Address) -> bool:
        """Answers go to whoever has authenticated its question; questions as far as the budget goes."""
        is_answer = data[0] != 0
        # Before the peer has told anything our own servers are asked, and once there is a path, it counts by itself.
        uncounted = self.remote_username is None or self._path is not None
        return is_answer or uncounted or self._budget.may_send(to[0], _now())

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
                one = IceSocket(host, self)
            except OSError as wrong:
                # As an IPv6 address that is still being tried, or when all file descriptors are taken.
                self.troubles[f"{host}: {wrong.strerror}"] += 1
                continue
            one.datagrams.troubles = self.troubles
            one.protocol.local_candidate = _candidate(component, HOST, one.local, one.local)
            self._sockets[one.protocol] = one
        # aioice forms its pairs from these.
        self._protocols += self._sockets
        found = [protocol.local_candidate for protocol in self._sockets]
        seen = await asyncio.gather(*(one.mapped(self._servers) for one in self._sockets.values()))
        for one, mapped in zip(self._sockets.values(), seen, strict=True):
            if mapped is not None:
                found.append(_candidate(component, MAPPED, mapped, one.local))
        return found

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

    async def check_start(self, pair: CandidatePair) -> None:
        if pair.state is not CandidatePair.State.IN_PROGRESS:
            await super().check_start(pair)
            return
        # aioice begins anew when the peer answers that it has our role (RFC 8445, section 7.2.5.1), as often as it says
        # so. Who chooses the way is settled by who has asked for the attempt.
        self.check_state(pair, CandidatePair.State.FAILED)
        self.check_complete(pair)

    def check_state(self, pair: CandidatePair, state: CandidatePair.State) -> None:
        super().check_state(pair, state)
        if state is CandidatePair.State.SUCCEEDED:
            self._budget.verified(pair.remote_addr[0], _now())

    def check_incoming(
        self, message: stun.Message, addr: tuple[str, int], protocol: StunProtocol
    ) -> None:
        if self._path is not None:
            self._path.asked(Way(self._sockets[protocol].datagrams, addr))
        elif "PRIORITY" in message.attributes and self._may_follow(protocol, addr):
            super().check_incoming(message, addr, protocol)
            self._ask_again(message.transaction_id, protocol, addr)

    def data_received(self, data: bytes, component: int) -> None:
        """What aioice's parser takes for something else than STUN."""
        self.came_garbled()

    def came_garbled(self) -> None:
        """What looked like STUN and is none."""
        self.troubles["nonsense came in"] += 1

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
        for one in self._sockets.values():
            one.forget_questions()
        return path

    def _way(self, pair: CandidatePair) -> Way:
        return Way(self._sockets[pair.protocol].datagrams, pair.remote_addr)

    def _ask(self, way: Way, on_answer: OnAnswer) -> None:
        """One check, sent once."""
        assert self._pair is not None
        assert self.remote_password is not None
        one = next(one for one in self._sockets.values() if one.datagrams is way.socket)
        request = self.build_request(self._pair, nominate=False)
        one.ask(request, self.remote_password.encode(), way.remote, on_answer)

    def _release(self, but: Datagrams | None = None) -> None:
        """Close the sockets, but this one."""
        for one in self._sockets.values():
            if one.datagrams is not but:
                one.close()

    # -- within --------------------------------------------------------------------------------------

    def _may_follow(self, protocol: StunProtocol, to: Address) -> bool:
        """Whether a check from there counts: the pair is known, or not too many have been learnt so far."""
        if self._pair_of(protocol, to) is not None:
            return True
        learnt = sum(one.remote_candidate.type == "prflx" for one in self._check_list)
        return learnt < LEARNT_MAX

    def _ask_again(self, transaction: bytes, protocol: StunProtocol, to: Address) -> None:
        """Our check has most likely died at the peer's NAT, which by now lets us in (RFC 8445, section 7.3.1.4)."""
        pair = self._pair_of(protocol, to)
        if pair is None or self._asked_by.get((protocol, to)) == transaction:
            return
        self._asked_by[protocol, to] = transaction
        if pair.state is CandidatePair.State.IN_PROGRESS:
            self._sockets[protocol].ask_again(to)

    def _pair_of(self, protocol: StunProtocol, to: Address) -> CandidatePair | None:
        pairs = (one for one in self._check_list if one.protocol is protocol)
        return next((one for one in pairs if one.remote_addr == to), None)


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
