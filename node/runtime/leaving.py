"""A node leaves its mesh for good: what proves its membership is put aside, and nobody of the mesh is sought any more.

left           the mesh that was left: a plain start says so instead of founding another one
mesh-left-*/   certificates, and the CA's key where this node had it: nothing secret that is unique is deleted
"""

import itertools

from node.runtime.credentials import Membership
from node.runtime.datadir import DataDir
from node.runtime.durable import atomic_write, sync_directory
from protocol.errors import ConfigError
from protocol.ids import short


def leave(data: DataDir, membership: Membership) -> None:
    """Belong to no mesh; a daemon that dies in the midst of it has not left. OSError when the disk refuses."""
    atomic_write(data.left, f"{membership.mesh}\n".encode())
    # First what may fail: with its certificates the node is a member still.
    data.members.forget()
    aside = (data.path / f"mesh-left-{short(membership.mesh)}-{n}" for n in itertools.count(1))
    data.mesh.rename(next(path for path in aside if not path.exists()))
    data.mesh.mkdir(mode=0o700)
    sync_directory(data.path)


def check_not_left(data: DataDir) -> None:
    """ConfigError for a node without a mesh that has left one: it must be told where to go."""
    if data.left.exists():
        mesh = data.left.read_text(errors="replace").strip()
        raise ConfigError(
            f"this node has left mesh {short(mesh)}: join it or another one with a ticket"
            " (`sedma-node up --join TICKET`), or begin a mesh with another --data-dir, or in this one"
            f" after removing {data.left}"
        )


def has_joined(data: DataDir) -> None:
    """Whatever was left before: this node belongs to a mesh again."""
    data.left.unlink(missing_ok=True)
