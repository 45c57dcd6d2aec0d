"""One long command: its output in a log, a sign of life now and then, and nothing of it left when the run is stopped."""

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

HEARTBEAT_SECONDS = 30
STOPPING_SECONDS = 10


def run_logged(command: list[str], *, folder: Path, environment: Mapping[str, str], log: Path, heartbeat: Callable[[], None]) -> int:
    """Run until done and return the exit status; a stop (Ctrl-C, SIGTERM) reaches all that the command started."""
    with log.open("w") as output:
        # A group of its own: installers do not pass a signal on to the compilers they started.
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while True:
                try:
                    return process.wait(timeout=HEARTBEAT_SECONDS)
                except subprocess.TimeoutExpired:
                    heartbeat()
        except BaseException:
            _stop(process)
            raise


def _stop(process: subprocess.Popen) -> None:
    """Ask first: what Go's compilers finished stays in its build cache."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOPPING_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_of(log: Path) -> str:
    """Its last lines."""
    with log.open(errors="replace") as lines:
        return "".join(deque(lines, maxlen=15)).strip()
