"""Names that are never mistaken for each other: who, which block, which task.

A node's id is the SHA-256 of its Ed25519 public key in lower-case base32 without padding (52 characters), so
an id can be checked against the key that a certificate proves. People see its first eight characters.
"""

import base64
import functools
import hashlib
from typing import NewType

NodeId = NewType("NodeId", str)
TaskId = NewType("TaskId", str)
"""32 hexadecimal digits, drawn by the node that takes the task; it is also the task's trace."""
ContentId = NewType("ContentId", str)
"""BLAKE3-256 of the bytes, 64 hexadecimal digits: equal content, equal id, on every node."""
MeshId = NewType("MeshId", str)
"""SHA-256 of the mesh CA's certificate, 64 hexadecimal digits: the fingerprint that a ticket pins."""

NODE_ID_LENGTH = 52
SHORT_ID_LENGTH = 8


@functools.lru_cache(maxsize=1024)
def node_id(public_key: bytes) -> NodeId:
    """The id that belongs to a raw Ed25519 public key (32 bytes)."""
    assert len(public_key) == 32
    return id_of_digest(key_digest(public_key))


def key_digest(public_key: bytes) -> bytes:
    """An id as 32 bytes, as packets carry it."""
    return hashlib.sha256(public_key).digest()


def id_of_digest(digest: bytes) -> NodeId:
    assert len(digest) == 32
    return NodeId(base64.b32encode(digest).decode().rstrip("=").lower())


def digest_of_id(node: NodeId) -> bytes:
    """The 32 bytes again; ValueError if this is no id."""
    digest = base64.b32decode(node.upper() + "=" * (-len(node) % 8))
    if len(digest) != 32 or id_of_digest(digest) != node:
        raise ValueError(f"{node!r} is no node id")
    return digest


def is_node_id(text: str) -> bool:
    try:
        digest_of_id(NodeId(text))
    except ValueError:
        return False
    return True


def short(node: str) -> str:
    """An id as people read it."""
    return node[:SHORT_ID_LENGTH]
