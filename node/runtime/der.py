"""Reads the few facts of a certificate that a running node needs: whose key, and until when.

A node sees a peer's certificate only after OpenSSL has verified it, so all that is left is to walk
to two fields. That is done here in a page, for the `cryptography` package takes 11 MB of memory,
a fifth of what an idle node may have, and is needed only where something is signed.

    Certificate ::= SEQUENCE { tbsCertificate SEQUENCE {
        [0] version, serial, signature, issuer, validity { notBefore, notAfter }, subject,
        subjectPublicKeyInfo, ... }, ... }                              RFC 5280, section 4.1
"""

import base64
import binascii
import datetime as dt
from dataclasses import dataclass

UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
ED25519_KEY_INFO = bytes.fromhex("302a300506032b6570032100")
"""An Ed25519 subjectPublicKeyInfo up to its 32 bytes of key (RFC 8410, section 4)."""
ED25519_PRIVATE = bytes.fromhex("302e020100300506032b657004220420")
"""A PKCS #8 Ed25519 private key up to its 32 bytes of seed (RFC 8410, section 7)."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    public_key: bytes
    """Raw Ed25519, 32 bytes."""
    not_before: float
    """Unix time."""
    not_after: float


def read_certificate(der: bytes) -> CertificateFacts:
    """The facts of an X.509 certificate with an Ed25519 key; ValueError for anything else."""
    _, start, end = _element(der, 0, len(der))
    _, start, end = _element(der, start, end)
    fields = _children(der, start, end)
    if len(fields) < 7:
        raise ValueError("a certificate with too few fields")
    validity = _children(der, fields[4][1], fields[4][2])
    if len(validity) != 2:
        raise ValueError("a certificate without validity")
    return CertificateFacts(
        public_key=_ed25519_key(der[fields[5][2] : fields[6][2]]),
        not_before=_unix_time(validity[0][0], der[validity[0][1] : validity[0][2]]),
        not_after=_unix_time(validity[1][0], der[validity[1][1] : validity[1][2]]),
    )


def read_private_seed(pem: str) -> bytes:
    """The 32-byte seed in an Ed25519 private key file; ValueError for anything else."""
    blocks = pem_blocks(pem, "PRIVATE KEY")
    if len(blocks) != 1:
        raise ValueError(f"{len(blocks)} private keys, not one")
    if not blocks[0].startswith(ED25519_PRIVATE) or len(blocks[0]) != len(ED25519_PRIVATE) + 32:
        raise ValueError("a private key that is not Ed25519")
    return blocks[0][len(ED25519_PRIVATE) :]


def pem_blocks(pem: str, label: str) -> list[bytes]:
    """DER of every block of this label, in order; ValueError when one is cut short or garbled."""
    blocks = []
    for part in pem.split(f"-----BEGIN {label}-----")[1:]:
        body, mark, _ = part.partition(f"-----END {label}-----")
        if not mark:
            raise ValueError(f"a {label} without its end")
        try:
            blocks.append(base64.b64decode("".join(body.split()), validate=True))
        except (binascii.Error, ValueError) as wrong:
            raise ValueError(f"a {label} that is not base64") from wrong
    return blocks


def _element(der: bytes, at: int, end: int) -> tuple[int, int, int]:
    """(tag, start, end) of the content of the element at `at`, which must lie before `end`."""
    if at + 2 > end:
        raise ValueError("a certificate cut short")
    tag, length, start = der[at], der[at + 1], at + 2
    if length >= 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or start + count > end:
            raise ValueError("a certificate with a strange length")
        length = int.from_bytes(der[start : start + count], "big")
        start += count
    if start + length > end:
        raise ValueError("a certificate cut short")
    return tag, start, start + length


def _children(der: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    children = []
    while start < end:
        child = _element(der, start, end)
        children.append(child)
        start = child[2]
    return children


def _ed25519_key(info: bytes) -> bytes:
    if not info.startswith(ED25519_KEY_INFO) or len(info) != len(ED25519_KEY_INFO) + 32:
        raise ValueError("a certificate whose key is not Ed25519")
    return info[len(ED25519_KEY_INFO) :]


def _unix_time(tag: int, text: bytes) -> float:
    """Two digits of a year mean 1950 to 2049 (RFC 5280, section 4.1.2.5.1)."""
    digits = text.decode("ascii")
    if tag == UTC_TIME:
        digits = ("19" if digits >= "50" else "20") + digits
    elif tag != GENERALIZED_TIME:
        raise ValueError("a certificate with a time of an unknown kind")
    if len(digits) != 15 or not digits.endswith("Z"):
        raise ValueError("a certificate with a time of an unknown form")
    # Not strptime: it loads a module of its own for this one line.
    month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(4, 14, 2))
    moment = dt.datetime(int(digits[:4]), month, day, hour, minute, second, tzinfo=dt.UTC)
    return moment.timestamp()
