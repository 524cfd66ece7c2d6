"""Signatures of simulated nodes: among machines that do not lie as good as real ones, at a hundredth of the price."""

import hashlib


class VirtualSignatures:
    """Signs by a hash with the public key: what was changed on the way is found, what was forged is not."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def sign(self, data: bytes) -> bytes:
        return _signed(self.key, data)

    def verifies(self, key: bytes, data: bytes, signature: bytes) -> bool:
        return _signed(key, data) == signature


def _signed(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=key).digest()
