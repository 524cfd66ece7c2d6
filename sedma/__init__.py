"""The public face: connect to a mesh, put matrices into it, multiply by them.

import sedma

s = sedma.connect()
w = s.put("w", W)
Y = X @ w
print(Y.certificate)
"""

from typing import TYPE_CHECKING, Any

from sedma.errors import DeadlineExceeded, NoRoom, NotRunning, SedmaError, Unreachable

if TYPE_CHECKING:
    from sedma.client import Answer, Certificate, Client, Weights
    from sedma.session import connect

__all__ = [
    "Answer",
    "Certificate",
    "Client",
    "DeadlineExceeded",
    "NoRoom",
    "NotRunning",
    "SedmaError",
    "Unreachable",
    "Weights",
    "connect",
]


def __getattr__(name: str) -> Any:
    """What needs numpy is loaded when it is first used: the commands that need none start faster."""
    if name not in __all__:
        raise AttributeError(f"module 'sedma' has no attribute {name!r}")
    from sedma import client, session

    value = session.connect if name == "connect" else getattr(client, name)
    globals()[name] = value
    return value
