"""A socket that was handed to the loop for a connection, and the connection has failed: who closes it.

asyncio closes the very object, or leaves it to us. uvloop closes the number behind it and has the object forget that,
but for one case: a connection that is lost at once, as by a reset. Then the object keeps a number that soon is somebody
else's, and closes that when it is forgotten itself (uvloop 0.23; its issues 645 and 738 are of the same kind).
"""

import asyncio
import socket


def let_go(one: socket.socket) -> None:
    """Of a socket that the loop was told to connect over, once that has failed."""
    if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        one.close()
    else:
        one.detach()


def keep_no_number(one: socket.socket) -> None:
    """Of a socket that others have handed over, whatever came of it: the loop closes it, or it is closed already."""
    if not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        one.detach()
