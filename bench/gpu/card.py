"""Records what the GPU and the host do during a window: memory, utilisation, energy, and the busiest thread."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pynvml

PERIOD_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Use:
    """What was recorded in a window."""

    memory_mib: int
    """The most memory of the servers at once. With MPS, whose processes cannot be distinguished, it is all memory in use."""
    utilisation: float
    """The mean share of time in which some kernel ran; it does not say how much of the GPU the kernel used."""
    watts: float
    joules: float
    busiest_thread: float
    """The CPU time of the servers' busiest thread divided by the window's time."""
    cpus: float
    """The CPU time of all their threads divided by the window's time."""


class Card:
    """The first GPU of the machine; its settings are not changed."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)

    def described(self) -> dict[str, Any]:
        memory = pynvml.nvmlDeviceGetMemoryInfo(self._handle)
        return {
            "gpu": pynvml.nvmlDeviceGetName(self._handle),
            "memory_mib": memory.total >> 20,
            "driver": pynvml.nvmlSystemGetDriverVersion(),
            "cuda": pynvml.nvmlSystemGetCudaDriverVersion() / 1000,
            "power_limit_w": pynvml.nvmlDeviceGetEnforcedPowerLimit(self._handle) / 1e3,
            "cpu": _cpu(),
            "cpus": os.cpu_count(),
            "system": platform.platform(),
        }

    def memory_mib(self, processes: set[int] | None) -> int:
        """Returns the memory of these processes, or of all if None, without the part that the driver reserves."""
        if processes is None:
            return pynvml.nvmlDeviceGetMemoryInfo(self._handle, version=pynvml.nvmlMemory_v2).used >> 20
        running = pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        return sum(one.usedGpuMemory or 0 for one in running if one.pid in processes) >> 20

    def joules(self) -> float:
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3

    def busy(self) -> int:
        return pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


class Watch:
    """A recording that starts at once; `close` ends it and returns the result."""

    def __init__(self, card: Card, servers: list[int], *, mps: bool) -> None:
        self._card, self._processes = card, list(_with_children(servers))
        self._own = None if mps else {process.pid for process in self._processes}
        self._memory, self._busy, self._ended = [card.memory_mib(self._own)], [], threading.Event()
        self._joules, self._threads, self._start = card.joules(), self._thread_seconds(), time.monotonic()
        self._sampling = threading.Thread(target=self._sample, daemon=True)
        self._sampling.start()

    def close(self) -> Use:
        seconds = time.monotonic() - self._start
        joules, now = self._card.joules() - self._joules, self._thread_seconds()
        self._ended.set()
        self._sampling.join()
        shares = [(after - self._threads.get(thread, 0.0)) / seconds for thread, after in now.items()]
        return Use(
            memory_mib=max(self._memory),
            utilisation=round(sum(self._busy) / max(len(self._busy), 1) / 100, 3),
            watts=round(joules / seconds, 1),
            joules=round(joules, 1),
            busiest_thread=round(max(shares, default=0.0), 2),
            cpus=round(sum(shares), 2),
        )

    def _sample(self) -> None:
        while not self._ended.wait(PERIOD_S):
            self._memory.append(self._card.memory_mib(self._own))
            self._busy.append(self._card.busy())

    def _thread_seconds(self) -> dict[int, float]:
        found = {}
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                found |= {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
        return found


def _with_children(servers: list[int]) -> Iterator[psutil.Process]:
    for server in servers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(server)
            yield from (process, *process.children(recursive=True))
