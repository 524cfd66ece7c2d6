"""After a connection that failed at once nobody closes a number that is somebody else's by then."""

import asyncio
import gc
import os
import socket
import ssl

import pytest

from node.runtime.handed_over import let_go


async def test_a_socket_whose_other_end_is_gone_closes_no_other_when_it_is_forgotten() -> None:
    loop, context = asyncio.get_running_loop(), ssl.create_default_context()
    near, far = socket.socketpair()
    near.setblocking(False)
    far.close()
    with pytest.raises(OSError, match="Broken pipe"):
        await loop.create_unix_connection(
            asyncio.Protocol, sock=near, ssl=context, server_hostname="sedma"
        )
    await asyncio.sleep(0)

    let_go(near)
    others = socket.socketpair()
    del near
    gc.collect()

    for one in others:
        os.fstat(one.fileno())
        one.close()


async def test_a_socket_that_is_given_up_half_way_is_closed() -> None:
    loop, context = asyncio.get_running_loop(), ssl.create_default_context()
    near, far = socket.socketpair()
    far.setblocking(False)
    connecting = asyncio.create_task(
        loop.create_unix_connection(
            asyncio.Protocol, sock=near, ssl=context, server_hostname="sedma"
        )
    )
    assert await loop.sock_recv(far, 9999)

    connecting.cancel()
    await asyncio.wait([connecting])
    let_go(near)

    assert await asyncio.wait_for(loop.sock_recv(far, 9999), 5.0) == b""
    far.close()
