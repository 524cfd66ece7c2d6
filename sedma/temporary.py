"""A daemon for one program: started as its child, gone when the program is, even if that is killed.

The child's standard input is a pipe that only this process holds open. However the process ends, the kernel
closes the pipe, and SEDMA_EXIT_WITH_STDIN tells the daemon to stop at that.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

from sedma.errors import NotRunning
from sedma.locate import is_ready
from sedma.places import URL_FILE

START_S = 20.0
"""A daemon is ready in less than one second; a loaded machine may take longer."""
STOP_S = 5.0
POLL_S = 0.02
COMMAND = (sys.executable, "-P", "-m", "node.cli.main", "up")
"""-P: a folder called `node` where the program runs must not be taken for ours."""
LOG_LINES = 12
"""Of the log, told when a daemon does not start."""


class TemporaryDaemon:
    """Serves from a directory of its own, on free ports of the loopback interface."""

    def __init__(self) -> None:
        """NotRunning if it does not come up; its last words are in the reason."""
        self.data_dir = Path(tempfile.mkdtemp(prefix="sedma-"))
        self._log = self.data_dir / "daemon.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*COMMAND, *self._flags()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | {"SEDMA_EXIT_WITH_STDIN": "1", "SEDMA_CONFIG": ""},
            )
        self._end = weakref.finalize(self, _stop, self._process, self.data_dir)
        try:
            self._wait_ready()
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """Stop it and remove its directory; closing twice is fine."""
        self._end()

    def _flags(self) -> list[str]:
        local = ["--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"]
        return ["--data-dir", str(self.data_dir), *local]

    def _wait_ready(self) -> None:
        """It writes its address when it can be asked, and takes requests a moment later."""
        file = self.data_dir / URL_FILE
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up and self._process.poll() is None:
            with contextlib.suppress(FileNotFoundError):
                url = file.read_text(encoding="utf-8").strip()
                if url and is_ready(url):
                    return
            time.sleep(POLL_S)
        code = self._process.poll()
        how = f"was not ready after {START_S:g} s" if code is None else f"ended with code {code}"
        words = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        raise NotRunning("not_running", "\n".join([f"a temporary daemon {how}", *words]))


def _stop(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    assert process.stdin is not None
    process.stdin.close()
    for harder in (process.terminate, process.kill):
        try:
            process.wait(STOP_S)
            break
        except subprocess.TimeoutExpired:
            harder()
    process.wait()
    shutil.rmtree(data_dir, ignore_errors=True)
