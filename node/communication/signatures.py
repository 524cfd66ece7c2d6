"""How membership signs its own record and checks those of others, whatever does the arithmetic."""

from typing import Protocol


class Signatures(Protocol):
    """Ed25519 in a daemon (`runtime/signatures.py`); a simulation of thousands may do without."""

    @property
    def key(self) -> bytes:
        """Our raw public key, 32 bytes."""
        ...

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        ...

    def verifies(self, key: bytes, data: bytes, signature: bytes) -> bool:
        """Whether the owner of this raw public key has signed just this."""
        ...
