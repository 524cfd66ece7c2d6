"""Signs with the node's own key, checks what others have signed, and agrees with each of them on a secret.

By libsodium (package PyNaCl), for this goes on for as long as a node lives: its bindings take 1.7 MiB where the
`cryptography` package takes 7.7, and a daemon has neither loaded otherwise.
"""

from nacl.bindings import (
    crypto_scalarmult,
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_ed25519_pk_to_curve25519,
    crypto_sign_ed25519_sk_to_curve25519,
    crypto_sign_open,
    crypto_sign_PUBLICKEYBYTES,
    crypto_sign_seed_keypair,
    crypto_sign_SEEDBYTES,
)
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as SodiumError

from protocol.errors import PeerError


class Ed25519:
    """One node's key (RFC 8032), and what can be done with it."""

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == crypto_sign_SEEDBYTES
        self.key, self._secret = crypto_sign_seed_keypair(seed)
        self._agreeing = crypto_sign_ed25519_sk_to_curve25519(self._secret)

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return crypto_sign(data, self._secret)[:crypto_sign_BYTES]

    def verifies(self, key: bytes, data: bytes, signature: bytes) -> bool:
        """Whether the owner of this raw public key has signed just this."""
        # libsodium is told no lengths: it would read beyond what is shorter.
        if len(key) != crypto_sign_PUBLICKEYBYTES or len(signature) != crypto_sign_BYTES:
            return False
        try:
            crypto_sign_open(signature + data, key)
        except BadSignatureError:
            return False
        return True

    def secret_with(self, key: bytes) -> bytes:
        """32 bytes that nobody knows but us and the owner of this key (X25519, RFC 7748); PeerError if it is none.

        The same keys sign and agree, which harms neither (Thormarker, "On using the same key pair for Ed25519 and
        an X25519 based KEM", 2021).
        """
        if len(key) != crypto_sign_PUBLICKEYBYTES:
            raise PeerError(f"a key of {len(key)} bytes, not {crypto_sign_PUBLICKEYBYTES}")
        try:
            # Refuses points of low order, from which the secret would be known to everybody.
            return crypto_scalarmult(self._agreeing, crypto_sign_ed25519_pk_to_curve25519(key))
        except SodiumError as wrong:
            raise PeerError(f"a key that is no point to agree with: {wrong}") from wrong
