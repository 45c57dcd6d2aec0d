"""One process of a service, which can be started several times."""

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
"""The time from SIGTERM to SIGKILL; at most what a pod's grace period leaves after `pre_stop_seconds`."""
READY_SECONDS = 120.0

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Member:
    """A process: how it is started, and the probe that says when it is ready."""

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
    """Whether it is about to stop, so that the DNS no longer names it."""

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with self.log.open("a") as log:
            self.started = time.monotonic()
            # Each process gets a session of its own, so that Ctrl-C reaches only the service, which stops them in order.
            self.process = subprocess.Popen(
                self.command.arguments, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def ready(self) -> bool:
        return _get(self.host, self.probe_port, self.probe_path) == 200

    def wait_until_ready(self, say: Say) -> None:
        """Waits for the probe. Raises ServeError if the process ends or is not ready within `READY_SECONDS`."""
        reported = self.started
        while not self.ready():
            if not self.running:
                raise ServeError(f"{self.name}, {self.doing}, ended with {self.status}: {self.complaint}; log: {self.log}")
            now = time.monotonic()
            if now - self.started > READY_SECONDS:
                raise ServeError(f"{self.name} was not ready within {READY_SECONDS:.0f} s; log: {self.log}")
            if now - reported >= 5:
                reported = now
                say(f"  {self.name}: not ready after {now - self.started:.0f} s")
            time.sleep(0.05)
        say(f"  {self.name}: ready after {time.monotonic() - self.started:.1f} s")

    def ask_to_stop(self) -> None:
        if self.process is not None and self.running:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stops the process with SIGTERM, and with SIGKILL after `STOPPING_SECONDS`."""
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
        """How the process ended: `status 1` or `signal SIGKILL`."""
        code = None if self.process is None else self.process.poll()
        return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"status {code}"

    @property
    def complaint(self) -> str:
        """The first error in the program's log, or its last line if no line is an error."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        error = next(filter(None, map(_COMPLAINT.search, lines)), None)
        if error:
            return " ".join(next(filter(None, error.groups())).split())
        return lines[-1] if lines else "its log is empty"


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
