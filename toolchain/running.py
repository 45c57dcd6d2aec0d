"""Runs a long command with its output in a log and regular progress reports, and leaves nothing behind when it is stopped."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from toolchain.console import report_seconds

STOPPING_SECONDS = 10


def run_logged(command: list[str], *, folder: Path, environment: Mapping[str, str], log: Path, heartbeat: Callable[[], None]) -> int:
    """Runs a command and returns its exit status. Ctrl-C and SIGTERM stop everything that the command started."""
    with log.open("w") as output:
        # A process group of its own is needed, because installers do not forward signals to their compilers.
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while True:
                try:
                    return process.wait(timeout=report_seconds())
                except subprocess.TimeoutExpired:
                    heartbeat()
        except BaseException:
            _stop(process)
            raise


def _stop(process: subprocess.Popen) -> None:
    """Stops a process group with SIGTERM first, so that finished parts stay in Go's build cache."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOPPING_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_of(log: Path) -> str:
    """Returns the last lines of a log."""
    with log.open(errors="replace") as lines:
        return "".join(deque(lines, maxlen=15)).strip()
