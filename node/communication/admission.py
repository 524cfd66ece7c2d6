"""What cannot be done in time is not begun: it would only delay what can.

Who is refused early learns when to come back. What is kept in time by that, at which load, is measured by
`bench/choice.py`: with it (`ours`) and without (`ours_unshed`). Nobody is refused for a guess: as long as a speed is
unknown, or nothing waits ahead, the task is let in.
"""

from node.communication.choosing import Deal, Query
from protocol.errors import ErrorCode, TaskError
from protocol.ids import short
from protocol.quantities import duration_text

HOPELESS = 1.25
"""A task is given up when it is expected to take more than so many times what is left: estimates are no promises."""
RETRY_AFTER_S_MIN = 0.1


def shed(asked: Query, deal: Deal, left_s: float) -> TaskError | None:
    """Why this product should not be begun, if so."""
    if any(not one.speed_macs_s for one in asked.candidates):
        return None
    node = max(deal.hands, key=lambda one: deal.estimates[one].known_s)
    last = deal.estimates[node]
    if last.queue_s <= 0.0 or last.known_s <= HOPELESS * left_s:
        return None
    reason = (
        f"it cannot be done in time: about {duration_text(last.known_s)} at the holder that would be"
        f" last, {short(node)}, of which {duration_text(last.queue_s)} behind others' work, and"
        f" {duration_text(max(left_s, 0.0))} are left; come back later, or allow it more"
    )
    return TaskError(
        ErrorCode.OVERLOADED, reason, retry_after_s=max(last.queue_s, RETRY_AFTER_S_MIN)
    )


def in_vain(queue_s: float, service_s: float, left_s: float) -> float | None:
    """At a holder, whose figures are its own: when to come back, if there is no sense in waiting here."""
    if queue_s <= 0.0 or queue_s + service_s <= left_s:
        return None
    return max(queue_s, RETRY_AFTER_S_MIN)
