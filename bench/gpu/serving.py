"""Starts, watches and stops the servers of an arm."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from bench.gpu.arms import Arm, Startable
from rehearsal.ports import free_port

HOST = "127.0.0.1"
METRICS_SECONDS = 3
MPS = "nvidia-cuda-mps-control"
END_SECONDS = 60


class NotServing(Exception):
    """A server ended or never became ready; the text contains the errors in its log."""


@dataclass(frozen=True, kw_only=True)
class Servers:
    urls: list[str]
    steps_metric: str | None
    processes: list[int]
    commands: list[str]
    load_s: float

    def steps(self) -> int | None:
        """Returns the model runs of all servers since their start, or None if they are not reported."""
        if self.steps_metric is None:
            return None
        found = 0.0
        for url in self.urls:
            try:
                with urllib.request.urlopen(f"{url}/metrics", timeout=METRICS_SECONDS) as response:
                    lines = response.read().decode().splitlines()
            except TimeoutError:
                return None
            found += sum(float(line.split()[-1]) for line in lines if line.startswith(self.steps_metric))
        return int(found)


@contextlib.contextmanager
def serving(arm: Arm, engine: Startable, logs: Path) -> Generator[Servers]:
    """Runs servers, which are ready when the context begins. Raises NotServing."""
    logs.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        environment = os.environ | dict(arm.environment) | (stack.enter_context(_mps(logs)) if arm.mps else {})
        processes, urls, commands = [], [], []
        for number in range(arm.servers):
            port = free_port()
            command = engine.command(arm, HOST, port)
            log = logs / f"{re.sub(r'[^A-Za-z0-9_.]+', '-', arm.name)}-{number}.log"
            output = stack.enter_context(log.open("w"))
            # A session of its own: what the server has started ends with it.
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
            stack.callback(_end, process)
            processes.append((process, log))
            urls.append(f"http://{HOST}:{port}")
            variables = [f"{name}={value}" for name, value in arm.environment]
            # Programs and models by their names: where they lie is this machine's own.
            commands.append(shlex.join((*variables, *(Path(part).name if part.startswith("/") else part for part in command))))
        for (process, log), url in zip(processes, urls, strict=True):
            _wait(process, url, log, engine)
        yield Servers(
            urls=urls, steps_metric=engine.steps(arm), processes=[process.pid for process, _ in processes], commands=commands,
            load_s=round(time.monotonic() - started, 1),
        )  # fmt: skip


def _wait(process: subprocess.Popen, url: str, log: Path, engine: Startable) -> None:
    deadline = time.monotonic() + engine.start_seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(f"{url}/health", timeout=2):
            return
        time.sleep(0.2)
    ended = "is not ready" if process.poll() is None else f"ended with {process.returncode}"
    found = complaints(log.read_text(errors="replace"), engine.complaint)
    raise NotServing("\n".join((f"{engine.name} {ended}; of {log.name}:", *found)))


def complaints(log: str, complaint: re.Pattern[str]) -> list[str]:
    """Returns each error once, without its time and folders, or the end of a log that marks no errors."""
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [re.sub(r"'\S*/", "'", found[1]) for line in lines if (found := complaint.match(line))]
    return list(dict.fromkeys(errors)) or lines[-10:]


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _mps(folder: Path) -> Generator[dict[str, str]]:
    """Runs NVIDIA's Multi-Process Service, which runs kernels of several processes at once. Raises NotServing if it cannot be started."""
    own = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "mps"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "mps-log")}
    for path in own.values():
        Path(path).mkdir(exist_ok=True)
    environment = os.environ | own
    try:
        subprocess.run([MPS, "-d"], env=environment, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotServing(f"{MPS}: {error}") from None
    try:
        yield own
    finally:
        subprocess.run([MPS], input="quit\n", env=environment, check=False, capture_output=True, text=True, timeout=30)
