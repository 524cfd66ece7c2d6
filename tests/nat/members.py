"""Two members of one mesh, as the punched path wants them."""

import time
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nat.proof import Credentials
from node.runtime import certificates
from node.runtime.certificates import Issuer
from node.runtime.signatures import Ed25519
from protocol.ids import NodeId, node_id

AGREEMENT = b"drawn by both of them"


@dataclass(frozen=True, slots=True)
class Member:
    id: NodeId
    key: Ed25519
    chain_pem: bytes
    key_pem: bytes
    ca_pem: bytes

    def towards(self, peer: "Member", agreement: bytes = AGREEMENT) -> Credentials:
        return Credentials(
            own=self.id,
            peer=peer.id,
            chain_pem=self.chain_pem,
            key_pem=self.key_pem,
            ca_pem=self.ca_pem,
            agreement=agreement,
            sign=self.key.sign,
            verifies=self.key.verifies,
        )

    def with_key_of(self, other: "Member") -> "Member":
        """An impostor: shows these certificates, but has another key."""
        return replace(self, key=other.key, key_pem=other.key_pem)


def founder() -> Issuer:
    return certificates.make_ca(time.time())


def member(ca: Issuer, *, by_inviter: bool = False, skew_s: float = 0.0) -> Member:
    """A node that the founder, or an inviter, has let in; by so much the issuer's clock was ahead."""
    now = time.time() + skew_s
    issuer = _inviter(ca, now) if by_inviter else ca
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    leaf = certificates.make_leaf(issuer, public, now)
    return Member(
        id=node_id(public),
        key=Ed25519(key.private_bytes_raw()),
        chain_pem=certificates.to_pem(leaf, *issuer.chain).encode(),
        key_pem=certificates.key_to_pem(key),
        ca_pem=certificates.to_pem(ca.certificate).encode(),
    )


def _inviter(ca: Issuer, now: float) -> Issuer:
    key = Ed25519PrivateKey.generate()
    right = certificates.make_invite(ca, key.public_key().public_bytes_raw(), now)
    return Issuer(right, key, is_ca=False)
