"""A log that cannot be written takes nothing else with it."""

import io

from node.runtime.log_stream import LogStream


class Disk(io.StringIO):
    """Full while told so."""

    is_full = False

    def write(self, text: str, /) -> int:
        if self.is_full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_lines_come_out_as_they_went_in() -> None:
    disk = Disk()
    print("one", file=LogStream(disk), flush=True)

    assert disk.getvalue() == "one\n"


def test_lines_that_a_full_disk_does_not_take_are_counted_and_told_once_there_is_room() -> None:
    disk = Disk()
    log = LogStream(disk)
    disk.is_full = True
    print("one", file=log, flush=True)
    print("two", file=log, flush=True)
    disk.is_full = False
    print("three", file=log, flush=True)
    print("four", file=log, flush=True)

    told = "sedma: 2 lines of the log could not be written\n"
    assert disk.getvalue() == told + "three\nfour\n"
