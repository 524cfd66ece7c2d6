"""Manifests on disk, one file for each name of weights; tombstones stay, or a name would come back.

A file is the BLAKE3 hash of what follows it, then the manifest as MessagePack. One that does not
fit its hash is set aside under another name: other nodes tell the manifest again, and whoever looks
into the damage finds the file.
"""

import threading
from pathlib import Path

import msgspec
from blake3 import blake3

from node.runtime.durable import atomic_write, remove_leftovers
from protocol.messages import Manifest

SUFFIX = ".manifest"
DAMAGED_SUFFIX = ".damaged"
LEFT_SUFFIX = ".left"
HASH_BYTES = 32
_DECODER = msgspec.msgpack.Decoder(Manifest)


class ManifestShelf:
    """The manifests below one folder; blocks, and is safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_leftovers(folder)
        self._lock = threading.Lock()

    def keep(self, manifest: Manifest) -> None:
        """Write the manifest, unless a newer one of its name stands there.

        Orders to keep two versions may be carried out by two threads in either order.
        """
        file = self._folder / f"{manifest.head.name}{SUFFIX}"
        payload = msgspec.msgpack.encode(manifest)
        with self._lock:
            stands = _read(file)
            if stands is not None and stands.head.version > manifest.head.version:
                return
            atomic_write(file, blake3(payload).digest() + payload)

    def leave_behind(self) -> list[str]:
        """Set all manifests aside: they are of a mesh that this node has left. Their file names."""
        with self._lock:
            files = sorted(self._folder.glob(f"*{SUFFIX}"))
            return [file.replace(file.with_name(file.name + LEFT_SUFFIX)).name for file in files]

    def read(self) -> tuple[list[Manifest], list[str]]:
        """All manifests by name, and the files that are damaged, now set aside."""
        read, damaged = [], []
        with self._lock:
            for file in sorted(self._folder.glob(f"*{SUFFIX}")):
                if (manifest := _read(file)) is not None:
                    read.append(manifest)
                    continue
                aside = file.replace(file.with_name(file.name + DAMAGED_SUFFIX))
                damaged.append(str(aside))
        return read, damaged


def _read(file: Path) -> Manifest | None:
    """None if the file is missing or damaged."""
    try:
        data = file.read_bytes()
        if blake3(data[HASH_BYTES:]).digest() != data[:HASH_BYTES]:
            return None
        return _DECODER.decode(data[HASH_BYTES:])
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
