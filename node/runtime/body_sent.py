"""The future of a body on its way: done when its memory is free again."""

from asyncio import Future

from node.runtime.links import Link
from protocol.errors import SedmaError


class BodySent(Future[None]):
    """Cancelling it cancels the stream. Who makes it sets both fields: a constructor of our own would cost more than
    all the rest."""

    link: Link
    stream: int

    def cancel(self, msg: str | None = None) -> bool:
        if self.done():
            return False
        super().cancel(msg)
        self.link.cancel(self.stream)
        return True


def settle(future: "Future[None]", error: SedmaError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        # Who does not ask hears of it by link_lost, or cancelled the stream: no complaint is due.
        future.exception()
