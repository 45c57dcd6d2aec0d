"""Finds the processes of a rehearsal by the mark in their environment, and ends them by id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rehearsal.layout import MARK


def marked(value: Path, variable: str = MARK) -> dict[int, str]:
    """Returns the command lines, by process id, of all other processes whose environment has `variable=value`."""
    entry = f"{variable}={value}"
    running = _from_proc(entry) if sys.platform == "linux" else _from_ps(entry)
    running.pop(os.getpid(), None)
    return running


def _from_proc(wanted: str) -> dict[int, str]:
    running = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # the process has ended, or belongs to another user
            if wanted.encode() in (entry / "environ").read_bytes().split(b"\0"):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":  # a zombie, whose parent has not waited for it yet
                    running[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return running


def _from_ps(wanted: str) -> dict[int, str]:
    listing = subprocess.run(["ps", "-axEww", "-o", "pid=,command="], capture_output=True, text=True, check=False).stdout
    rows = [line.strip().partition(" ") for line in listing.splitlines() if wanted in line.split()]
    return {int(pid): command.strip() for pid, _, command in rows if pid.isdigit()}


def end(value: Path, variable: str = MARK, gently_s: float = 0.0) -> list[str]:
    """Ends all marked processes: with SIGTERM for `gently_s` seconds, if given, then with SIGKILL. Returns their command lines."""
    ended: dict[int, str] = {}
    deadline = time.monotonic() + gently_s
    gentle = gently_s > 0
    for _ in range(100):  # a process may start another one in the meantime
        running = marked(value, variable)
        if not running:
            break
        ended |= running
        if gentle:
            _signal(running, signal.SIGTERM)
            while time.monotonic() < deadline and marked(value, variable):
                time.sleep(0.05)
            gentle = False
            continue
        _signal(running, signal.SIGKILL)
        time.sleep(0.05)
    return sorted(ended.values())


def _signal(running: dict[int, str], number: int) -> None:
    for pid in running:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def interrupt_engine(value: Path) -> bool:
    """Interrupts the running `pulumi` command of this rehearsal, as Ctrl-C does. Returns whether there was one."""
    engines = {pid: line for pid, line in marked(value).items() if Path(line.split(" ")[0]).name == "pulumi"}
    _signal(engines, signal.SIGINT)
    return bool(engines)
