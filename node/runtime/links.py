"""A link: one connection to one peer, on which frames and bodies travel both ways.

Small frames are sent at once and never wait; those of one turn of the loop leave in one write. A body
is a run of DATA frames on a stream and moves only against credit: the receiver names the memory it
shall come into (`expect_body`), and that is the permission for exactly so many bytes. Bodies of
several streams share the link slice by slice, in turn, and small frames go before the next slice.

A stream is a number that the layer above chooses; it is used for one request and its answer, and in
each direction for one body at most. What requests and answers mean is not known here.
"""

from asyncio import Future
from typing import Protocol

from protocol.errors import PeerError, SedmaError
from protocol.frames import Frame

CLOSE_S = 2.0
"""How long a closed link may take to send what is still in its buffer, the reason included."""

HANDSHAKE_S = 10.0

QUEUE_BYTES_MAX = 8 * 1024 * 1024
"""Small frames that wait because the peer does not read. Past it the link is closed: they cannot be
dropped one by one, and memory is not theirs to take."""


CANCELLED = "cancelled by the peer"
"""Why a body fails whose stream the peer gave up; its CANCEL is told next."""


class LinkClosed(SedmaError):
    """The link went away before the body was sent."""


class StreamCancelled(SedmaError):
    """One of the two sides gave the stream up before the body was sent."""


class LinkListener(Protocol):
    """Who is told what comes in. Called on the loop, in the order of arrival.

    A method that finds nonsense in a frame may raise PeerError: the link then closes with its text.
    """

    def frame_received(self, link: "Link", frame: Frame) -> None:
        """Any frame but DATA, CREDIT and GOAWAY, with which the link deals itself."""

    def body_received(self, link: "Link", stream: int) -> None:
        """The expected body lies in its memory, whole."""

    def body_failed(self, link: "Link", stream: int, reason: str) -> None:
        """The expected body will not come; its memory is not written any more."""

    def link_lost(self, link: "Link", reason: str) -> None:
        """Told once, last: when the connection has gone, or as soon as either side has closed it.

        Its last words, why it closed among them, may take until `closed` to leave. Bodies that were expected are
        lost with it, without a word for each, and their memory is free; bodies that were being sent end when the
        transport has let go of theirs.
        """


class Link(Protocol):
    """One connection, as `dial`, `serve` and `memory_link_pair` hand it out."""

    @property
    def peer(self) -> str | None:
        """Node id that the peer's certificate proves; None for a stranger without one."""

    @property
    def dialed(self) -> bool:
        """We opened it."""

    @property
    def local(self) -> str:
        """Our end, "host:port"."""

    @property
    def remote(self) -> str: ...

    @property
    def bytes_in(self) -> int:
        """Frames and bodies, before encryption."""

    @property
    def bytes_out(self) -> int: ...

    @property
    def heard_at(self) -> float:
        """When something has come from the peer last, on the loop's clock: be it word that it has what we sent."""

    @property
    def closing(self) -> bool:
        """Nothing more comes in; what is sent now is dropped."""

    @property
    def fault(self) -> PeerError | None:
        """How the peer broke the protocol, if that is why the link closed."""

    @property
    def error(self) -> Exception | None:
        """What the connection failed with, if it did: a reset, a TLS alert."""

    def send(self, frame: Frame) -> None:
        """Send a frame without a body. On a closing link it is dropped: link_lost tells of the loss."""

    def send_body(self, stream: int, body: memoryview, total: int | None = None) -> "Future[None]":
        """Send these bytes (C-contiguous, at least one) as credit for them comes.

        With `total` they are the first of so many bytes, and may be none yet: call again for the
        next piece once the former one's future is done, as long as `is_sending` says so.

        Call it in the same turn of the loop as the `send` that announces the body, or its credit
        finds nobody. The memory must neither change nor be used again until the future is done:
        the transport holds it until then, also after `cancel`. It ends with LinkClosed or
        StreamCancelled if not all was sent. Cancelling the future cancels the stream at once, and
        then nothing says when the memory is free: prefer `cancel(stream)`.
        """

    def is_sending(self, stream: int) -> bool:
        """A body was announced by `send_body` and has neither left whole nor been given up."""

    def expect_body(self, stream: int, into: memoryview) -> None:
        """Grant the peer as many bytes on this stream as `into` has (at least one), to lie there."""

    def cancel(self, stream: int) -> None:
        """Give up both bodies of a stream, and tell the peer. Told nothing more of it; `into` is free."""

    def close(self, reason: str) -> None:
        """Tell the peer why, then close. Bodies that are not sent yet are given up; `link_lost` is told soon."""

    def abort(self) -> None:
        """Cut the connection without a word; what waits to be sent is lost."""

    async def closed(self) -> None:
        """Return when the transport is gone, and holds no memory any more: at most CLOSE_S after `close`."""
