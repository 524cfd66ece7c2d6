"""Makes and checks the certificates of a mesh.

    mesh CA ──> leaf                      a node that the founder let in
       └──────> intermediate ──> leaf     a node that an inviter let in

All keys are Ed25519. A leaf is for the holder of one key, and whoever signs it derives the id in it
from that key. An inviter's intermediate is for the same key as its leaf, under a subject of its own
(with equal names and keys OpenSSL takes the inviter's own leaf for self-signed), and its path
length of 0 keeps it from making further inviters.

Import this module inside functions: with it comes `cryptography`, 11 MB that an idle node spares.
"""

import datetime as dt
import itertools
import secrets
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocol.errors import PeerError
from protocol.ids import MeshId, node_id
from protocol.ticket import mesh_id

BACKDATED = dt.timedelta(hours=24)
"""Certificates hold from a day ago: machines whose clock lags by hours can join all the same."""
CA_VALID = dt.timedelta(days=20 * 365)
"""Longer than a fleet lives: a mesh cannot change its CA, which is its identity."""
INVITE_VALID = dt.timedelta(days=5 * 365)
"""Longer than any leaf below it, so that an inviter is not itself the first to run out."""
LEAF_VALID = dt.timedelta(days=365)
"""A machine that was given away is out of the mesh after a year at the latest."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: the mesh CA, or an inviter by its intermediate."""

    certificate: x509.Certificate
    key: Ed25519PrivateKey
    is_ca: bool

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What must stand behind a leaf for others, who know the CA alone."""
        return () if self.is_ca else (self.certificate,)


def make_ca(now_wall: float) -> Issuer:
    """A new mesh: a key and its own word for it."""
    key = Ed25519PrivateKey.generate()
    # A name of its own: of two CAs with one name OpenSSL might try the wrong one.
    name = _name("sedma mesh", secrets.token_hex(8))
    certificate = _sign_authority(name, key.public_key(), None, key, 1, now_wall, CA_VALID)
    return Issuer(certificate, key, is_ca=True)


def make_invite(issuer: Issuer, public_key: bytes, now_wall: float) -> x509.Certificate:
    """An intermediate with which the holder of this key lets others in."""
    assert issuer.is_ca
    key = Ed25519PublicKey.from_public_bytes(public_key)
    name = _name("sedma inviter", node_id(public_key))
    return _sign_authority(name, key, issuer.certificate, issuer.key, 0, now_wall, INVITE_VALID)


def make_leaf(issuer: Issuer, public_key: bytes, now_wall: float) -> x509.Certificate:
    """What a node shows in every handshake, for both roles: peers dial each other."""
    node = node_id(public_key)
    key = Ed25519PublicKey.from_public_bytes(public_key)
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names = x509.SubjectAlternativeName([x509.DNSName(f"{node}.sedma")])
    return (
        _begin(_name("sedma node", node), key, issuer.certificate, now_wall, LEAF_VALID)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(names, critical=False)
        .sign(issuer.key, None)
    )


def check_joined(
    ca: str, chain: str, invite: str | None, mesh: MeshId, public_key: bytes, now_wall: float
) -> None:
    """That what came back from a JOIN is of this mesh, for our key and valid now; else PeerError.

    Purposes and path lengths are not looked at here: OpenSSL does so in every handshake.
    """
    authority = _read(ca, "CA certificate", count_max=1)[0]
    if mesh_id(to_der(authority)) != mesh:
        raise PeerError("the CA certificate in the answer is not the one that the ticket names")
    path = _read(chain, "certificate", count_max=2)
    _check_path([*path, authority], public_key, now_wall)
    if invite is not None:
        right = _read(invite, "right to invite", count_max=1)
        _check_path([*right, authority], public_key, now_wall)


def to_pem(*certificates: x509.Certificate) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def to_der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def key_to_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _check_path(path: list[x509.Certificate], public_key: bytes, now_wall: float) -> None:
    ours = path[0].public_key()
    if not isinstance(ours, Ed25519PublicKey) or ours.public_bytes_raw() != public_key:
        raise PeerError("the certificate in the answer is not for this node's key")
    now = dt.datetime.fromtimestamp(now_wall, dt.UTC)
    for certificate, issuer in itertools.pairwise(path):
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as wrong:
            raise PeerError("the certificate in the answer is not signed by the mesh") from wrong
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise PeerError(
                "the certificate in the answer is not valid at this time "
                f"({now:%Y-%m-%d %H:%M} UTC here): set the clocks of both machines"
            )


def _read(pem: str, what: str, count_max: int) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as wrong:
        raise PeerError(f"the {what} in the answer cannot be read") from wrong
    if len(certificates) > count_max:
        raise PeerError(f"{len(certificates)} certificates in the answer where {count_max} can be")
    return certificates


def _sign_authority(
    name: x509.Name,
    key: Ed25519PublicKey,
    issuer: x509.Certificate | None,
    issuer_key: Ed25519PrivateKey,
    path_length: int,
    now_wall: float,
    valid: dt.timedelta,
) -> x509.Certificate:
    return (
        _begin(name, key, issuer, now_wall, valid)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(issuer_key, None)
    )


def _begin(
    name: x509.Name,
    key: Ed25519PublicKey,
    issuer: x509.Certificate | None,
    now_wall: float,
    valid: dt.timedelta,
) -> x509.CertificateBuilder:
    """Name, key, issuer (None: itself) and time; nothing outlives its issuer."""
    now = dt.datetime.fromtimestamp(now_wall, dt.UTC).replace(microsecond=0)
    until = now + valid if issuer is None else min(now + valid, issuer.not_valid_after_utc)
    issuer_key = key if issuer is None else issuer.public_key()
    assert isinstance(issuer_key, Ed25519PublicKey)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
    )


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
