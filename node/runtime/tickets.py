"""Mints tickets, redeems them for certificates, and keeps count of who used which.

Only the minter redeems a token, for only it can count. A node that has used a token already may use
it again (its first answer may have been lost) and is not counted twice. The count is on disk before
the certificate leaves. Everything here blocks, and signs: it runs in the process of `registry.py`,
one request after the other, so that two joiners are never counted at once.
"""

import math
import secrets
from typing import TYPE_CHECKING

import msgspec

from node.runtime import credentials
from node.runtime.credentials import Membership
from node.runtime.datadir import Paths
from node.runtime.durable import atomic_write
from node.runtime.identity import Identity
from protocol.errors import ConfigError, ErrorCode, TaskError
from protocol.ids import NodeId, node_id, short
from protocol.messages import Join, Joined
from protocol.ticket import (
    SIGNATURE_BYTES,
    Ticket,
    Token,
    TokenClaims,
    make_token,
    read_token,
    to_be_signed,
)

if TYPE_CHECKING:
    from node.runtime.certificates import Issuer


class Uses(msgspec.Struct, frozen=True):
    """Who used a token; forgotten once it has expired."""

    expires_at: float
    nodes: tuple[NodeId, ...]


def join_request(identity: Identity, ticket: Ticket) -> Join:
    """What the joiner sends: the token, its key, and the proof that it owns the key."""
    return Join(
        token=ticket.token,
        public_key=identity.public_key(),
        proof=identity.sign(ticket.token.encode()),
    )


class TicketOffice:
    """Of one node."""

    def __init__(self, paths: Paths, identity: Identity, membership: Membership) -> None:
        self._identity = identity
        self._membership = membership
        self._file = paths.tickets

    def mint(
        self,
        addresses: tuple[str, ...],
        *,
        ttl_s: float,
        uses: int,
        may_invite: bool,
        now_wall: float,
    ) -> tuple[Ticket, TokenClaims]:
        """A ticket to this node at these addresses; TaskError FORBIDDEN without the right to."""
        credentials.issuer(self._membership, self._identity, now_wall)
        if may_invite and not self._membership.is_founder:
            raise TaskError(
                ErrorCode.FORBIDDEN,
                "only the node that founded the mesh can pass on the right to invite: mint this "
                "ticket there, or leave out --may-invite",
            )
        claims = TokenClaims(
            mesh=self._membership.mesh,
            id=secrets.token_hex(8),
            # Whole seconds: shorter on the line, and what people are told.
            expires_at=math.ceil(now_wall + ttl_s),
            uses=uses,
            may_invite=may_invite,
            minter=self._identity.id,
        )
        token = make_token(claims, self._identity.sign(to_be_signed(claims)))
        return Ticket(ca=self._membership.ca, addresses=addresses, token=token), claims

    def redeem(self, join: Join, now_wall: float) -> Joined:
        """Certificates for the joiner's key, or a TaskError whose reason says what to do."""
        token = read_token(join.token)
        claims = token.claims
        self._check_ours(token)
        _check_signature(
            join.public_key, join.proof, join.token.encode(), "the joiner does not own its key"
        )
        if now_wall >= claims.expires_at:
            raise TaskError(
                ErrorCode.TICKET_EXPIRED,
                f"the ticket expired {_ago(now_wall - claims.expires_at)} ago: mint a new one with "
                "`sedma-node ticket` (--ttl 24h makes it last longer)",
            )
        signer = credentials.issuer(self._membership, self._identity, now_wall)
        self._count(claims, node_id(join.public_key), now_wall)
        return self._certify(signer, join.public_key, claims.may_invite, now_wall)

    def _check_ours(self, token: Token) -> None:
        claims = token.claims
        if claims.mesh != self._membership.mesh:
            raise TaskError(
                ErrorCode.WRONG_MESH,
                f"the ticket is for mesh {short(claims.mesh)}, this node belongs to mesh "
                f"{short(self._membership.mesh)}: mint a ticket here with `sedma-node ticket`",
            )
        if claims.minter != self._identity.id:
            raise TaskError(
                ErrorCode.TICKET_INVALID,
                f"the ticket was minted by node {short(claims.minter)}, which alone redeems it; "
                f"this is node {short(self._identity.id)}: reach that node, or mint a ticket here",
            )
        _check_signature(
            self._identity.public_key(),
            token.signature,
            token.signed,
            "the ticket's signature does not hold: mint a new one with `sedma-node ticket`",
        )

    def _count(self, claims: TokenClaims, node: NodeId, now_wall: float) -> None:
        counted = self._read()
        nodes = counted[claims.id].nodes if claims.id in counted else ()
        if node in nodes:
            return
        if len(nodes) >= claims.uses:
            raise TaskError(
                ErrorCode.TICKET_USED_UP,
                f"the ticket was for {claims.uses} node{'' if claims.uses == 1 else 's'}, and as many have joined with"
                " it: mint a new one with `sedma-node ticket --uses N`",
            )
        live = {name: uses for name, uses in counted.items() if uses.expires_at > now_wall}
        live[claims.id] = Uses(claims.expires_at, (*nodes, node))
        atomic_write(self._file, msgspec.json.encode(live))

    def _read(self) -> dict[str, Uses]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, Uses])
        except FileNotFoundError:
            return {}
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise ConfigError(
                f"{self._file} is damaged ({wrong}): remove it, and know that tickets which were "
                "used up can then be used again until they expire"
            ) from wrong

    def _certify(
        self, signer: "Issuer", public_key: bytes, may_invite: bool, now_wall: float
    ) -> Joined:
        from node.runtime import certificates

        leaf = certificates.make_leaf(signer, public_key, now_wall)
        invite = (
            certificates.to_pem(certificates.make_invite(signer, public_key, now_wall))
            if may_invite and signer.is_ca
            else None
        )
        return Joined(
            ca=self._membership.ca_file.read_text(),
            chain=certificates.to_pem(leaf, *signer.chain),
            invite=invite,
        )


def _check_signature(public_key: bytes, signature: bytes, signed: bytes, reason: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    assert len(signature) == SIGNATURE_BYTES
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
    except InvalidSignature as wrong:
        raise TaskError(ErrorCode.TICKET_INVALID, reason) from wrong


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
