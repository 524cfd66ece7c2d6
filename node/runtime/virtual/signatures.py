"""Signatures for simulations, where nobody forges: a checksum that costs a microsecond instead of a hundred."""

from zlib import crc32

SIGNATURE_BYTES = 64
CHECKSUM_BYTES = 4


class PaperSignatures:
    """`Signatures` without a secret: they show what was changed by accident, and who meant to sign."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @property
    def key(self) -> bytes:
        return self._key

    def sign(self, data: bytes) -> bytes:
        return _mark(self._key, data)

    def verifies(self, key: bytes, data: bytes, signature: bytes) -> bool:
        return signature == _mark(key, data)


def _mark(key: bytes, data: bytes) -> bytes:
    checksum = crc32(data, crc32(key))
    return checksum.to_bytes(CHECKSUM_BYTES, "big") * (SIGNATURE_BYTES // CHECKSUM_BYTES)
