"""The products that a node led last: what each took stays known for a while after its end."""

from collections import OrderedDict

from protocol.errors import ErrorCode, TaskError
from protocol.tasks import TaskView

TASKS_KEPT = 512
"""Of 2 KiB or so each, with all that explains it."""


class Recent:
    """A bounded memory; the oldest goes first."""

    def __init__(self) -> None:
        self._views: OrderedDict[str, TaskView] = OrderedDict()

    def keep(self, view: TaskView) -> None:
        self._views[view.id] = view
        if len(self._views) > TASKS_KEPT:
            self._views.popitem(last=False)

    def find(self, task: str) -> TaskView:
        """Raises NOT_FOUND."""
        view = self._views.get(task)
        if view is None:
            reason = (
                f"no product {task} is among the last {TASKS_KEPT} that this node led; ask the node"
                " that was asked for it"
            )
            raise TaskError(ErrorCode.NOT_FOUND, reason)
        return view
