"""What libraries complain of stands in the daemon's own log, and only there."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import pytest
import structlog
import uvloop

from node.runtime.library_log import LibraryLog


@pytest.fixture
def log() -> structlog.testing.CapturingLogger:
    return structlog.testing.CapturingLogger()


@pytest.fixture
def asyncio_logger(log: structlog.testing.CapturingLogger) -> Iterator[logging.Logger]:
    """Of asyncio and uvloop, for as long as the test runs."""
    logger, handler = logging.getLogger("asyncio"), LibraryLog(log)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_an_exception_that_nobody_catches_is_told_with_its_traceback(
    log: structlog.testing.CapturingLogger, asyncio_logger: logging.Logger
) -> None:
    async def forgotten() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(0.01)

    uvloop.run(forgotten())
    (call,) = log.calls

    assert (call.method_name, call.args) == ("warning", ("library.complained",))
    assert call.kwargs["library"] == "asyncio"
    assert call.kwargs["exc_info"][0] is ZeroDivisionError


def test_what_a_library_says_in_passing_is_not_told(
    log: structlog.testing.CapturingLogger, asyncio_logger: logging.Logger
) -> None:
    asyncio_logger.info("Using selector: EpollSelector")

    assert log.calls == []


def test_a_late_answer_of_uvloops_tls_is_no_matter_for_people(
    log: structlog.testing.CapturingLogger, asyncio_logger: logging.Logger
) -> None:
    wrong = RuntimeError(
        "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
    )
    with contextlib.closing(uvloop.new_event_loop()) as loop:
        for one in (wrong, RuntimeError("something else")):
            loop.call_exception_handler(
                {"message": "Fatal error on SSL protocol", "exception": one}
            )

    assert [call.method_name for call in log.calls] == ["debug", "warning"]


def test_the_end_of_a_dial_that_was_given_up_is_no_matter_for_people(
    log: structlog.testing.CapturingLogger, asyncio_logger: logging.Logger
) -> None:
    async def fail_unheard(wrong: Exception) -> None:
        asyncio.get_running_loop().create_future().set_exception(wrong)

    for wrong in (ConnectionResetError("reset"), ValueError("a mistake of ours")):
        uvloop.run(fail_unheard(wrong))

    assert [call.method_name for call in log.calls] == ["debug", "warning"]
