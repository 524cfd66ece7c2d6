import asyncio

from node.runtime.owned_tasks import OwnedTasks


async def test_at_the_end_no_task_is_left_nor_one_that_its_end_has_started() -> None:
    tasks = OwnedTasks()
    started: list[asyncio.Task[None]] = []

    async def wait() -> None:
        await asyncio.Event().wait()

    async def wait_and_start() -> None:
        try:
            await wait()
        finally:
            started.append(tasks.start(wait()))

    tasks.start(wait_and_start())
    await asyncio.sleep(0)
    await tasks.close()

    assert len(tasks) == 0
    assert [one.cancelled() for one in started] == [True]


async def test_one_that_has_ended_is_forgotten() -> None:
    tasks = OwnedTasks()

    await tasks.start(asyncio.sleep(0))
    await asyncio.sleep(0)

    assert len(tasks) == 0


async def test_what_nobody_has_foreseen_is_loud() -> None:
    tasks, heard = OwnedTasks(), []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: heard.append(context.get("exception"))
    )
    wrong = ValueError("our own mistake")

    async def fail() -> None:
        raise wrong

    await asyncio.wait([tasks.start(fail())])
    await asyncio.sleep(0)

    assert heard == [wrong]
