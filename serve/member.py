"""One process of a service, which may be started several times."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serve.errors import ServeError
from serve.substitutions import HOST, Command

STOPPING_SECONDS = 2.0
"""From SIGTERM to SIGKILL: what a pod's grace leaves after `pre_stop_seconds`, or less."""
READY_SECONDS = 120.0

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Member:
    """How it is started, and where it says that it is ready."""

    name: str
    command: Command
    doing: str = "starting"
    log: Path
    environment: dict[str, str]
    host: str = HOST
    probe_port: int
    probe_path: str
    pre_stop_seconds: int = 0
    process: subprocess.Popen | None = None
    started: float = 0.0
    leaving: bool = False
    """About to end, and so in no DNS any more."""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with self.log.open("a") as log:
            self.started = time.monotonic()
            # A session of its own: Ctrl-C in a terminal must reach the service first, which ends them in order.
            self.process = subprocess.Popen(
                self.command.arguments, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def ready(self) -> bool:
        return _get(self.host, self.probe_port, self.probe_path) == 200

    def wait_until_ready(self, say: Say) -> None:
        """Raises ServeError when the process ends, or is not ready in time."""
        told = self.started
        while not self.ready():
            if not self.running:
                raise ServeError(f"{self.name}, {self.doing}, ended with {self.status}: {self.complaint}; log: {self.log}")
            now = time.monotonic()
            if now - self.started > READY_SECONDS:
                raise ServeError(f"{self.name} was not ready within {READY_SECONDS:.0f} s; log: {self.log}")
            if now - told >= 5:
                told = now
                say(f"  {self.name}: not ready yet, {now - self.started:.0f} s")
            time.sleep(0.05)
        say(f"  {self.name}: ready after {time.monotonic() - self.started:.1f} s")

    def ask_to_stop(self) -> None:
        if self.running:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        if self.process is None:
            return
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=STOPPING_SECONDS)
        if self.running:
            self.process.kill()
        self.process.wait()

    @property
    def status(self) -> str:
        """How it ended."""
        code = None if self.process is None else self.process.poll()
        return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"status {code}"

    @property
    def complaint(self) -> str:
        """What the program itself said first, or last when nothing in its log is an error."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        found = next(filter(None, map(_COMPLAINT.search, lines)), None)
        if found:
            return " ".join(next(filter(None, found.groups())).split())
        return lines[-1] if lines else "it said nothing"


_COMPLAINT = re.compile(r"^\S+ E (?P<llama>.+)|\[(?:error|critical)\]\[?[^ ]* *(?P<envoy>.+)|error: (?P<argument>.+)")


def _get(host: str, port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection(host, port, timeout=3)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
