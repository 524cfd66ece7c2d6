"""Who may ask for what over HTTP.

On a loopback address whoever has an account on this machine may read and multiply; all that changes something,
and everything on any other address, takes the node's token. Browsers are the weak spot: a web page can send
requests to 127.0.0.1, under its own name (a foreign Origin) or after pointing its name there (a foreign Host, DNS
rebinding). Both are refused before anything else is looked at.
"""

import hmac
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from protocol.errors import ErrorCode, TaskError


class Guard:
    def __init__(self, bound: str, token: str, names: tuple[str, ...] = ()) -> None:
        """`bound` is the IP address we listen on; `names` are further host names that mean this node."""
        self._bound = ip_address(bound)
        self._token = token.encode()
        self._names = {"localhost", *(_plain(name) for name in names)}

    def check(
        self,
        *,
        open_on_loopback: bool,
        host: str | None,
        origin: str | None,
        authorization: str | None,
    ) -> None:
        """TaskError (FORBIDDEN, UNAUTHORIZED) if a request with these headers may not pass."""
        self._check_host(host)
        if origin is not None:
            self._check_origin(origin)
        if not (open_on_loopback and self._bound.is_loopback):
            self._check_token(authorization)

    def _check_host(self, host: str | None) -> None:
        if host is None or not self._ours(_host_name(f"//{host}")):
            raise TaskError(
                ErrorCode.FORBIDDEN,
                f"the request is addressed to the host {host!r}, which is not this node:"
                " use its address, or add the name to api.hosts in the settings",
            )

    def _check_origin(self, origin: str) -> None:
        if not self._ours(_host_name(origin)):
            raise TaskError(
                ErrorCode.FORBIDDEN,
                f"the web page {origin!r} may not use this node:"
                " add its host to api.hosts in the settings if it shall",
            )

    def _check_token(self, authorization: str | None) -> None:
        if authorization is None:
            raise TaskError(
                ErrorCode.UNAUTHORIZED,
                "this request takes the node's token: send `Authorization: Bearer TOKEN`;"
                " the token stands in the file api.token in the node's data directory",
            )
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            token.strip().encode(), self._token
        ):
            raise TaskError(
                ErrorCode.UNAUTHORIZED,
                "this is not the node's token: it stands in the file api.token in the node's data"
                " directory, and is sent as `Authorization: Bearer TOKEN`",
            )

    def _ours(self, name: str | None) -> bool:
        if name is None:
            return False
        address = _address(name)
        if address is None:
            return _plain(name) in self._names
        if address.is_loopback or address == self._bound or name in self._names:
            return True
        # No page can point a literal elsewhere, and behind a port mapping ours is not the one we listen on.
        return not self._bound.is_loopback


def _plain(name: str) -> str:
    return name.lower().rstrip(".")


def _host_name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None
