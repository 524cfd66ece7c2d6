"""What proves that this node belongs to a mesh, on disk in `mesh/`.

    ca.crt      the mesh's CA: its SHA-256 is the mesh's id
    leaf.crt    our certificate, and behind it the intermediate that signed it, if any
    invite.crt  our own intermediate, where we may let others in
    ca.key      the CA's key, on the founder's disk alone: whoever has it is the mesh

`leaf.crt` is written last, so a node belongs to a mesh once it is there. Reading takes no
`cryptography`; whatever signs or checks a signature imports it on its way and runs in the process
of `registry.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from node.runtime import der
from node.runtime.datadir import Paths
from node.runtime.durable import atomic_write
from node.runtime.identity import Identity
from protocol.errors import ConfigError, ErrorCode, TaskError
from protocol.ids import MeshId, node_id, short
from protocol.messages import Joined
from protocol.ticket import mesh_id

if TYPE_CHECKING:
    from node.runtime.certificates import Issuer

RENEW_BEFORE_S = 90 * 86_400.0
"""A node that may sign renews its own leaf at the first start in this last quarter of its year."""


@dataclass(frozen=True, slots=True)
class Membership:
    """This node in its mesh; the paths are what the TLS library reads."""

    mesh: MeshId
    ca: bytes
    """The CA's certificate, DER: what a ticket carries."""
    folder: Path
    key: Path
    """The node's private key."""
    expires_at: float
    """Of our leaf, Unix time. After it peers hang up; a fresh ticket joins again."""

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def chain_file(self) -> Path:
        return self.folder / "leaf.crt"

    @property
    def invite_file(self) -> Path:
        return self.folder / "invite.crt"

    @property
    def ca_key(self) -> Path:
        return self.folder / "ca.key"

    @property
    def is_founder(self) -> bool:
        return self.ca_key.exists()

    @property
    def can_invite(self) -> bool:
        return self.is_founder or self.invite_file.exists()


def load(paths: Paths, identity: Identity) -> Membership | None:
    """The mesh this node belongs to, or None; ConfigError when its files are damaged."""
    folder = paths.mesh
    if not (folder / "leaf.crt").exists():
        return None
    ca = _read_certificates(folder / "ca.crt")[0]
    leaf_file = folder / "leaf.crt"
    leaf = _facts(leaf_file, _read_certificates(leaf_file)[0])
    if node_id(leaf.public_key) != identity.id:
        raise ConfigError(
            f"{leaf_file} belongs to node {short(node_id(leaf.public_key))}, but the key here is "
            f"that of {short(identity.id)}: restore the files of one node, or remove {folder} and "
            "join with a ticket"
        )
    return Membership(
        mesh=mesh_id(ca), ca=ca, folder=folder, key=identity.key, expires_at=leaf.not_after
    )


def found(paths: Paths, identity: Identity, now_wall: float) -> Membership:
    """Begin a mesh of which this node holds the CA."""
    from node.runtime import certificates

    assert load(paths, identity) is None
    ca = certificates.make_ca(now_wall)
    leaf = certificates.make_leaf(ca, identity.public_key(), now_wall)
    atomic_write(paths.mesh / "ca.key", certificates.key_to_pem(ca.key))
    _write(paths.mesh / "ca.crt", certificates.to_pem(ca.certificate))
    _write(paths.mesh / "leaf.crt", certificates.to_pem(leaf))
    return _loaded(paths, identity)


def adopt(
    paths: Paths, identity: Identity, mesh: MeshId, joined: Joined, now_wall: float
) -> Membership:
    """Keep what a JOIN brought, once it is proven to be of the ticket's mesh and for our key.

    PeerError when it is not. Joining the same mesh again renews; another mesh is refused.
    """
    from node.runtime import certificates

    check_free_for(paths, identity, mesh)
    certificates.check_joined(
        joined.ca, joined.chain, joined.invite, mesh, identity.public_key(), now_wall
    )
    _write(paths.mesh / "ca.crt", joined.ca)
    if joined.invite is not None:
        _write(paths.mesh / "invite.crt", joined.invite)
    _write(paths.mesh / "leaf.crt", joined.chain)
    return _loaded(paths, identity)


def check_free_for(paths: Paths, identity: Identity, mesh: MeshId) -> None:
    """ConfigError if this node already belongs to another mesh than this one."""
    membership = load(paths, identity)
    if membership is None or membership.mesh == mesh:
        return
    lost = (
        " (with it goes the CA of that mesh, which nobody else has)"
        if membership.is_founder
        else ""
    )
    raise ConfigError(
        f"this node belongs to mesh {short(membership.mesh)}, the ticket is for mesh "
        f"{short(mesh)}: join with another --data-dir, or remove {membership.folder}{lost}; the weights"
        " that this node holds stay behind with its old mesh"
    )


def renewal_due(membership: Membership, now_wall: float) -> bool:
    """Whether this node may sign its own leaf, and the leaf is in its last quarter."""
    return membership.can_invite and membership.expires_at - now_wall <= RENEW_BEFORE_S


def renew(paths: Paths, identity: Identity, membership: Membership, now_wall: float) -> Membership:
    """Sign our own leaf anew when it is due, where we can; the same membership otherwise."""
    if not renewal_due(membership, now_wall):
        return membership
    from node.runtime import certificates

    signer = issuer(membership, identity, now_wall)
    leaf = certificates.make_leaf(signer, identity.public_key(), now_wall)
    _write(membership.chain_file, certificates.to_pem(leaf, *signer.chain))
    return _loaded(paths, identity)


def check_may_invite(membership: Membership) -> None:
    """TaskError FORBIDDEN for a node that was merely let in."""
    if not membership.can_invite:
        raise TaskError(
            ErrorCode.FORBIDDEN,
            "this node may not invite others: ask at the node that founded the mesh, or join with "
            "a ticket minted there with --may-invite",
        )


def issuer(membership: Membership, identity: Identity, now_wall: float) -> "Issuer":
    """With what this node signs for others; TaskError FORBIDDEN if it may not."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from node.runtime.certificates import Issuer

    if membership.is_founder:
        certificate = x509.load_der_x509_certificate(membership.ca)
        seed = _read_seed(membership.ca_key)
        return Issuer(certificate, Ed25519PrivateKey.from_private_bytes(seed), is_ca=True)
    check_may_invite(membership)
    data = _read_certificates(membership.invite_file)[0]
    if _facts(membership.invite_file, data).not_after <= now_wall:
        raise TaskError(
            ErrorCode.FORBIDDEN,
            "this node's right to invite has run out: join again with a ticket that the founder's "
            "node mints with --may-invite",
        )
    return Issuer(x509.load_der_x509_certificate(data), identity.private_key(), is_ca=False)


def _loaded(paths: Paths, identity: Identity) -> Membership:
    membership = load(paths, identity)
    assert membership is not None
    return membership


def _write(file: Path, pem: str) -> None:
    atomic_write(file, pem.encode())


def _read_certificates(file: Path) -> list[bytes]:
    try:
        blocks = der.pem_blocks(file.read_text(errors="replace"), "CERTIFICATE")
    except FileNotFoundError:
        blocks = []
    except ValueError as wrong:
        raise _damaged(file, str(wrong)) from wrong
    if not blocks:
        raise _damaged(file, "no certificate in it")
    return blocks


def _facts(file: Path, certificate: bytes) -> der.CertificateFacts:
    try:
        return der.read_certificate(certificate)
    except ValueError as wrong:
        raise _damaged(file, str(wrong)) from wrong


def _read_seed(file: Path) -> bytes:
    try:
        return der.read_private_seed(file.read_text(errors="replace"))
    except ValueError as wrong:
        raise ConfigError(
            f"{file} is damaged ({wrong}): restore it from a backup; without it this node stays in "
            "the mesh but cannot invite"
        ) from wrong


def _damaged(file: Path, how: str) -> ConfigError:
    return ConfigError(
        f"{file} is damaged ({how}): restore it from a backup, or remove {file.parent} and join "
        "again with a ticket"
    )
