"""HTTP as this client needs it: connections that are kept, bodies that are streamed, refusals that are heard.

A daemon may refuse a matrix of many gigabytes as soon as it has read its header. So between two chunks we look
whether an answer is there already, and a broken pipe while sending is no error yet: the answer may lie behind it.
"""

import contextlib
import http.client
import json
import select
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedma.bodies import Body, BytesBody
from sedma.errors import NotRunning, SedmaError, Unreachable, error_of

DOCUMENT_BYTES_MAX = 64 << 20
"""Of a JSON answer."""
IDLE_MAX = 16
"""Connections kept for the next requests; further ones are closed when their answer has been read."""

Query = Mapping[str, str | int | float | bool | Iterable[str] | None]
Progress = Callable[[int, int], None]
"""Told (bytes sent, bytes in all)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a daemon is, and what lets us in."""

    url: str
    token: str | None = None
    data_dir: Path | None = None
    """Where its address was found; None if a person gave it."""


class Reply:
    """An answer whose body has not been read yet; read it to its end or close it."""

    def __init__(
        self, transport: "Transport", connection: http.client.HTTPConnection, reusable: bool
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._response = connection.getresponse()
        self._reusable = reusable and not self._response.will_close
        self.status = self._response.status
        self.headers = self._response.headers

    def read(self, nbytes: int = -1) -> bytes:
        with self._transport.troubles():
            return self._response.read(None if nbytes < 0 else nbytes)

    def readinto(self, buffer: memoryview) -> int:
        """Bytes read, 0 at the end of the body."""
        with self._transport.troubles():
            return self._response.readinto(buffer)

    def json(self) -> Any:
        """The whole body as a document."""
        content = self.read(DOCUMENT_BYTES_MAX)
        try:
            return json.loads(content) if content else None
        except ValueError as error:
            raise self._transport.stranger("it answered with what is no JSON") from error

    def close(self) -> None:
        """Keep the connection for the next request if the answer was read to its end."""
        finished = self._response.isclosed() or self._response.length == 0
        self._response.close()
        self._transport.give_back(self._connection, self._reusable and finished)

    def __enter__(self) -> "Reply":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Transport:
    """Sends requests to one daemon; any number of threads may use it."""

    def __init__(self, endpoint: Endpoint, timeout: float = 30.0) -> None:
        """`timeout`: seconds of silence after which a daemon counts as unreachable."""
        self.endpoint = endpoint
        self.timeout = timeout
        parts = urllib.parse.urlsplit(_with_scheme(endpoint.url))
        no_url = SedmaError("bad_request", f'"{endpoint.url}" is no URL: write http://host:port')
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise no_url from error
        if parts.scheme not in ("http", "https") or not host:
            raise no_url
        self._kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._address = (host, port)
        self._prefix = parts.path.rstrip("/")
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def document(self, method: str, path: str, query: Query | None = None, send: Any = None) -> Any:
        """A request with a JSON answer, and with a JSON body if there is something to send."""
        body = None if send is None else BytesBody("application/json", json.dumps(send).encode())
        with self.request(method, path, query, body) as reply:
            return reply.json()

    def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Body | None = None,
        *,
        patience_s: float = 0.0,
        progress: Progress | None = None,
    ) -> Reply:
        """The answer of a request that went well; SedmaError otherwise.

        `patience_s` is how long the daemon may take by the request's own terms.
        """
        target = self._prefix + path + encoded(query or {})
        timeout = self.timeout + patience_s
        with self.troubles(timeout):
            connection = self._idle_connection()
            if connection is not None:
                # The daemon may have closed it meanwhile; then nothing of the request was answered.
                try:
                    return self._exchange(connection, method, target, body, timeout, progress)
                except (ConnectionError, http.client.BadStatusLine):
                    connection.close()
            connection = self._kind(*self._address, timeout=timeout)
            return self._exchange(connection, method, target, body, timeout, progress)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def give_back(self, connection: http.client.HTTPConnection, reusable: bool) -> None:
        with self._lock:
            if reusable and len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    @contextlib.contextmanager
    def troubles(self, timeout: float | None = None) -> Iterator[None]:
        """Turns what the sockets raise into errors that say what to do."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise self._told(error, self.timeout if timeout is None else timeout) from error

    def stranger(self, why: str) -> Unreachable:
        return Unreachable("unreachable", f"no sedma daemon at {self.endpoint.url}: {why}")

    def _idle_connection(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Body | None,
        timeout: float,
        progress: Progress | None,
    ) -> Reply:
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(timeout)
            connection.putrequest(method, target, skip_accept_encoding=True)
            if self.endpoint.token is not None:
                connection.putheader("Authorization", f"Bearer {self.endpoint.token}")
            if body is not None:
                connection.putheader("Content-Type", body.kind)
                connection.putheader("Content-Length", str(body.nbytes))
            connection.endheaders()
            whole = body is None or _send(connection, body, progress)
            reply = Reply(self, connection, reusable=whole)
        except BaseException:
            connection.close()
            raise
        if reply.status >= 400:
            raise self._refusal(reply)
        return reply

    def _refusal(self, reply: Reply) -> SedmaError:
        with reply:
            content = reply.read(DOCUMENT_BYTES_MAX)
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict) or "code" not in document:
            return self.stranger(f"it answered HTTP {reply.status}")
        if (wait := reply.headers.get("Retry-After", "")).isdigit():
            document.setdefault("retry_after_s", float(wait))
        return error_of(document)

    def _told(self, error: OSError | http.client.HTTPException, timeout: float) -> SedmaError:
        endpoint = self.endpoint
        if isinstance(error, ConnectionRefusedError) and endpoint.data_dir is not None:
            return not_running(endpoint.data_dir)
        if isinstance(error, TimeoutError):
            why = f"{endpoint.url} has been silent for {timeout:g} s"
        elif isinstance(error, socket.gaierror):
            why = f"{endpoint.url}: there is no such host"
        elif isinstance(error, http.client.IncompleteRead | ConnectionError):
            broken = "refuses connections" if isinstance(error, ConnectionRefusedError) else None
            why = f"{endpoint.url} {broken or 'broke off the connection'}"
        elif isinstance(error, OSError):
            why = f"{endpoint.url}: {error.strerror or error}"
        else:
            return self.stranger(f"it does not speak HTTP ({type(error).__name__})")
        return Unreachable("unreachable", why)


def _send(connection: http.client.HTTPConnection, body: Body, progress: Progress | None) -> bool:
    """Whether all of the body went out; if not, there is an answer to be read."""
    # TLS has messages of its own, so there readable bytes need not be an answer.
    early = select.poll() if type(connection) is http.client.HTTPConnection else None
    if early:
        early.register(connection.sock, select.POLLIN)
    sent = 0
    try:
        for chunk in body.chunks():
            if early and early.poll(0):
                return False
            connection.send(chunk)
            sent += len(chunk)
            if progress:
                progress(sent, body.nbytes)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def not_running(data_dir: Path) -> NotRunning:
    return NotRunning(
        "not_running",
        f"no daemon runs on {data_dir}: start one with `sedma-node up`, or name another with"
        " --data-dir or --api",
    )


def encoded(query: Query) -> str:
    """`?a=1&b=true`; None is left out, what holds several words is joined by commas."""
    pairs = [(key, _text(value)) for key, value in query.items() if value is not None]
    return "?" + urllib.parse.urlencode(pairs) if pairs else ""


def quoted(name: str) -> str:
    """A name as one segment of a path."""
    return urllib.parse.quote(name, safe="")


def _text(value: str | float | bool | Iterable[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    # Numbers of numpy too, which are neither int nor float.
    return ",".join(value) if isinstance(value, Iterable) else str(value)


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"http://{url}"
