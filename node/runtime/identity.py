"""Who this node is: an Ed25519 key that is drawn once and never leaves its data directory.

The id is a hash of the public key and stands in `node.id` beside the key, so that a plain start
needs no cryptography: the TLS library reads the key file by itself. Only founding, joining and
inviting sign something: `registry.py` does that, in a process that loads the `cryptography` package.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from node.runtime import der
from node.runtime.datadir import Paths
from node.runtime.durable import atomic_write
from protocol.errors import ConfigError
from protocol.ids import NODE_ID_LENGTH, NodeId, node_id, short

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Identity:
    id: NodeId
    key: Path
    """The private key, PKCS #8 PEM."""

    def seed(self) -> bytes:
        """The private key itself, 32 bytes; ConfigError where its file is damaged."""
        return _read_seed(self.key)

    def private_key(self) -> "Ed25519PrivateKey":
        """Loads the `cryptography` package: not on the way of a plain start."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self.seed())
        if node_id(key.public_key().public_bytes_raw()) != self.id:
            raise ConfigError(
                f"{self.key} is not the key of node {short(self.id)}, which node.id beside it "
                "names: restore the key, or remove both files to become a new node"
            )
        return key

    def public_key(self) -> bytes:
        """Raw, 32 bytes."""
        return self.private_key().public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Ed25519, 64 bytes."""
        return self.private_key().sign(data)


def load(paths: Paths) -> Identity | None:
    """The identity kept in the data directory; None if the key or the id is still to be made."""
    if not paths.key.exists():
        if paths.id.exists():
            raise ConfigError(
                f"{paths.key} is gone although {paths.id.name} beside it names a node: "
                "restore the key, or remove node.id and mesh to become a new node"
            )
        return None
    _read_seed(paths.key)
    kept = _read_id(paths)
    return None if kept is None else Identity(id=kept, key=paths.key)


def load_or_create(paths: Paths) -> Identity:
    """The identity kept in the data directory, drawn now if there is none yet."""
    if (kept := load(paths)) is not None:
        return kept
    # A key without its id: the node died between writing the two.
    if not paths.key.exists():
        _create_key(paths.key)
    return Identity(id=_write_id(paths), key=paths.key)


def _create_key(file: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    atomic_write(file, pem)


def _read_seed(file: Path) -> bytes:
    try:
        return der.read_private_seed(file.read_text(errors="replace"))
    except ValueError as wrong:
        raise ConfigError(
            f"{file} is damaged ({wrong}): restore it from a backup, or remove it together with "
            "node.id and mesh beside it to become a new node that joins again"
        ) from wrong
    except OSError as wrong:
        raise ConfigError(f"{file} cannot be read: {wrong.strerror}") from wrong


def _read_id(paths: Paths) -> NodeId | None:
    try:
        text = paths.id.read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    if len(text) != NODE_ID_LENGTH:
        raise ConfigError(
            f"{paths.id} is damaged: remove it, it is made again from {paths.key.name}"
        )
    return NodeId(text)


def _write_id(paths: Paths) -> NodeId:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(_read_seed(paths.key))
    identity = node_id(key.public_key().public_bytes_raw())
    atomic_write(paths.id, f"{identity}\n".encode())
    return identity
