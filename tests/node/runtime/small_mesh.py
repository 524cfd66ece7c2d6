"""Two or three nodes with real keys and certificates, and a handshake between two of them."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from node.runtime import credentials, identity, tickets
from node.runtime.credentials import Membership
from node.runtime.datadir import DataDir
from node.runtime.identity import Identity
from node.runtime.tickets import TicketOffice
from protocol.ticket import Ticket

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Member:
    data_dir: DataDir
    identity: Identity
    membership: Membership

    @property
    def office(self) -> TicketOffice:
        return TicketOffice(self.data_dir, self.identity, self.membership)

    def ticket(
        self, *, now: float, ttl_s: float = DAY_S, uses: int = 16, may_invite: bool = False
    ) -> Ticket:
        ticket, _ = self.office.mint(
            ("127.0.0.1:7879",), ttl_s=ttl_s, uses=uses, may_invite=may_invite, now_wall=now
        )
        return ticket


def stranger(path: Path) -> tuple[DataDir, Identity]:
    data_dir = DataDir(path)
    return data_dir, identity.load_or_create(data_dir)


def founder(path: Path, now: float) -> Member:
    data_dir, who = stranger(path)
    return Member(data_dir, who, credentials.found(data_dir, who, now))


def joiner(path: Path, host: Member, now: float, may_invite: bool = False) -> Member:
    data_dir, who = stranger(path)
    ticket = host.ticket(now=now, may_invite=may_invite)
    joined = host.office.redeem(tickets.join_request(who, ticket), now)
    return Member(data_dir, who, credentials.adopt(data_dir, who, ticket.mesh, joined, now))


@dataclass(frozen=True, slots=True)
class Handshake:
    """What became of each side; an error counts from the handshake and the first read after it."""

    dialler: ssl.SSLObject
    listener: ssl.SSLObject
    dialler_error: ssl.SSLError | None
    listener_error: ssl.SSLError | None


def shake_hands(dialling: ssl.SSLContext, listening: ssl.SSLContext) -> Handshake:
    """A whole TLS handshake in memory, then a read on each side, which brings late alerts."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    dialler = dialling.wrap_bio(down, up)
    listener = listening.wrap_bio(up, down, server_side=True)
    errors: dict[ssl.SSLObject, ssl.SSLError] = {}
    for step in ("do_handshake", "do_handshake", "do_handshake", "read"):
        for side in (dialler, listener):
            try:
                if side not in errors:
                    getattr(side, step)()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as wrong:
                errors[side] = wrong
    return Handshake(dialler, listener, errors.get(dialler), errors.get(listener))
