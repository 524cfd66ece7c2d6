"""Founds, joins, mints and redeems, in a process that ends when there is no more to sign.

The daemon starts it with `python -P -m node.runtime.registry DATA_DIR` when something is to be
signed (`registrar.py` is its side of the pipe). With the process goes the `cryptography` package:
11 MiB that the daemon would otherwise keep for good. It answers one JSON line for each on its
standard input and ends with the input. It remembers nothing: what it knows stands in the data
directory, whose lock the daemon holds for both.
"""

import sys
from pathlib import Path
from typing import Literal, assert_never

import msgspec

from node.runtime import credentials
from node.runtime.credentials import Membership
from node.runtime.datadir import Paths
from node.runtime.identity import Identity, load_or_create
from node.runtime.tickets import TicketOffice, join_request
from protocol.errors import ConfigError, ErrorInfo, PeerError, TaskError
from protocol.ids import MeshId
from protocol.messages import Join, Joined
from protocol.ticket import Ticket, encode

# -- requests ----------------------------------------------------------------------------------------


class Prepare(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Make the node's key and id where they are missing."""


class Found(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Begin a mesh."""

    now_wall: float


class AskJoin(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Answered with what to send to the ticket's minter."""

    ticket: Ticket


class Adopt(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Check what the minter answered, and keep it."""

    mesh: MeshId
    joined: Joined
    now_wall: float


class Renew(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Sign this node's own leaf anew if it is due."""

    now_wall: float


class Mint(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    addresses: tuple[str, ...]
    ttl_s: float
    uses: int
    may_invite: bool
    now_wall: float


class Redeem(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    join: Join
    now_wall: float


Work = Prepare | Found | AskJoin | Adopt | Renew | Mint | Redeem


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line to the registry."""

    number: int
    """Stands in the answer too: an answer that nobody waits for any more is told by it."""
    work: Work


# -- answers -----------------------------------------------------------------------------------------


class Done(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """What came of it is on disk."""


class JoinRequest(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    join: Join


class Minted(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    ticket: str
    expires_at: float
    """Unix time."""


class Redeemed(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    joined: Joined


class Refused(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A ConfigError or a PeerError."""

    whose: Literal["config", "peer"]
    reason: str


class Failed(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A TaskError."""

    info: ErrorInfo


Outcome = Done | JoinRequest | Minted | Redeemed | Refused | Failed


class Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line from the registry."""

    number: int
    outcome: Outcome


# -- the process -------------------------------------------------------------------------------------


def main() -> None:
    """Answer until the daemon closes the pipe, or is gone."""
    paths = Paths(Path(sys.argv[1]))
    asked_line = msgspec.json.Decoder(Asked)
    for line in sys.stdin.buffer:
        asked = asked_line.decode(line)
        answered = Answered(asked.number, outcome_of(paths, asked.work))
        sys.stdout.buffer.write(msgspec.json.encode(answered) + b"\n")
        sys.stdout.buffer.flush()


def outcome_of(paths: Paths, work: Work) -> Outcome:
    """Do it; what a person or a peer can be told becomes an answer, our own mistakes end us."""
    try:
        return _carry_out(paths, load_or_create(paths), work)
    except TaskError as error:
        return Failed(error.info)
    except PeerError as error:
        return Refused("peer", str(error))
    except ConfigError as error:
        return Refused("config", str(error))
    except OSError as error:
        return Refused("config", f"data directory {paths.path}: {error}")


def _carry_out(paths: Paths, identity: Identity, work: Work) -> Outcome:
    match work:
        case Prepare():
            pass
        case Found():
            credentials.found(paths, identity, work.now_wall)
        case AskJoin():
            return JoinRequest(join_request(identity, work.ticket))
        case Adopt():
            credentials.adopt(paths, identity, work.mesh, work.joined, work.now_wall)
        case Renew():
            credentials.renew(paths, identity, _membership(paths, identity), work.now_wall)
        case Mint():
            return _mint(_office(paths, identity), work)
        case Redeem():
            return Redeemed(_office(paths, identity).redeem(work.join, work.now_wall))
        case _:
            assert_never(work)
    return Done()


def _mint(office: TicketOffice, work: Mint) -> Minted:
    ticket, claims = office.mint(
        work.addresses,
        ttl_s=work.ttl_s,
        uses=work.uses,
        may_invite=work.may_invite,
        now_wall=work.now_wall,
    )
    return Minted(encode(ticket), claims.expires_at)


def _office(paths: Paths, identity: Identity) -> TicketOffice:
    return TicketOffice(paths, identity, _membership(paths, identity))


def _membership(paths: Paths, identity: Identity) -> Membership:
    membership = credentials.load(paths, identity)
    assert membership is not None, "only a member signs for a mesh"
    return membership


if __name__ == "__main__":
    main()
