"""Who this node is: an Ed25519 key that is drawn once and never leaves its data directory.

The id is a hash of the public key and stands in `node.id` beside the key, so that a plain start
needs no cryptography: the TLS library reads the key file by itself. Only founding, joining and
inviting sign something, and only then is the `cryptography` package loaded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from node.runtime import der
from node.runtime.datadir import DataDir
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

    def private_key(self) -> "Ed25519PrivateKey":
        """Loads the `cryptography` package: not on the way of a plain start."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(_read_seed(self.key))
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


def load_or_create(data_dir: DataDir) -> Identity:
    """The identity kept in the data directory, drawn now if there is none yet."""
    if not data_dir.key.exists():
        if data_dir.id.exists():
            raise ConfigError(
                f"{data_dir.key} is gone although {data_dir.id.name} beside it names a node: "
                "restore the key, or remove node.id and mesh to become a new node"
            )
        _create_key(data_dir.key)
    _read_seed(data_dir.key)
    return Identity(id=_read_id(data_dir), key=data_dir.key)


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


def _read_id(data_dir: DataDir) -> NodeId:
    """From node.id; from the key itself if the daemon died between writing the two."""
    try:
        text = data_dir.id.read_text(errors="replace").strip()
    except FileNotFoundError:
        return _write_id(data_dir)
    if len(text) != NODE_ID_LENGTH:
        raise ConfigError(
            f"{data_dir.id} is damaged: remove it, it is made again from {data_dir.key.name}"
        )
    return NodeId(text)


def _write_id(data_dir: DataDir) -> NodeId:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(_read_seed(data_dir.key))
    identity = node_id(key.public_key().public_bytes_raw())
    atomic_write(data_dir.id, f"{identity}\n".encode())
    return identity
