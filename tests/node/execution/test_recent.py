import pytest

from node.execution.recent import TASKS_KEPT, Recent
from protocol.errors import ErrorCode, TaskError
from protocol.tasks import AccountView, TaskView


def view(task: str) -> TaskView:
    account = AccountView(energy_j=0.0, latency_s=0.0, bytes=0, seconds=1.0, work=())
    return TaskView(id=task, name="w", state="done", certificate=None, account=account)


def test_the_oldest_product_is_forgotten_first() -> None:
    recent = Recent()
    for number in range(TASKS_KEPT + 1):
        recent.keep(view(f"t{number}"))

    assert recent.find("t1") == view("t1")
    assert recent.find(f"t{TASKS_KEPT}").id == f"t{TASKS_KEPT}"
    with pytest.raises(TaskError) as unknown:
        recent.find("t0")
    assert unknown.value.code is ErrorCode.NOT_FOUND
