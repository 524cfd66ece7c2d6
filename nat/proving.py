"""How both ends of a punched path prove their keys: the listener in TLS, the dialler by the first record on the stream.

What is signed, and what the record looks like, stands in `nat/proof.py`; here it is judged. PeerError says what is
wrong with the other end.
"""

from nat.engine import proven_key
from nat.proof import (
    Credentials,
    Proof,
    ProofReader,
    certificates_of,
    encode_proof,
    signed_bytes,
)
from protocol.errors import PeerError
from protocol.ids import short


class Proving:
    """Of one end."""

    def __init__(self, credentials: Credentials, *, dialled: bool) -> None:
        self._credentials = credentials
        self._dialled = dialled
        self._reader = ProofReader()

    def secured(self, chain: tuple[bytes, ...]) -> bytes | None:
        """TLS is through. With what a dialler begins, which has seen these certificates; None: we are the listener."""
        if not self._dialled:
            return None
        mine = self._credentials
        proven_key(chain, mine.ca_pem, mine.peer)
        signature = mine.sign(signed_bytes(mine.peer, mine.own, mine.agreement, chain[0]))
        return encode_proof(Proof(certificates_of(mine.chain_pem), signature))

    def heard(self, data: bytes) -> bytes | None:
        """What the dialler says first: what comes behind its proof, once that is whole and true; None until then."""
        mine = self._credentials
        if self._dialled:
            raise PeerError(f"node {short(mine.peer)} has spoken before the handshake was through")
        found = self._reader.feed(data)
        if found is None:
            return None
        proof, rest = found
        key = proven_key(proof.chain, mine.ca_pem, mine.peer)
        leaf = certificates_of(mine.chain_pem)[0]
        said = signed_bytes(mine.own, mine.peer, mine.agreement, leaf)
        if not mine.verifies(key, said, proof.signature):
            raise PeerError(f"node {short(mine.peer)} has not signed for this connection")
        return rest
