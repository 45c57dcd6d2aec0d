"""What the GPU and the host do while a window is open: memory, utilisation, energy, the busiest thread."""

from __future__ import annotations

import os
import platform
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pynvml

PERIOD_S = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Use:
    """Of one window."""

    memory_mib: int
    """The most that was in use at once, without what the driver keeps for itself."""
    utilisation: float
    """Mean share of the time in which some kernel ran, which is not how much of the GPU it used."""
    watts: float
    joules: float
    busiest_thread: float
    """Of the servers: the CPU time of their busiest thread over the window's time."""
    cpus: float
    """CPU time of all their threads over the window's time."""


class Card:
    """The first GPU. None of its settings is touched."""

    def __init__(self) -> None:
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)

    def described(self) -> dict[str, object]:
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

    def memory_mib(self) -> int:
        return pynvml.nvmlDeviceGetMemoryInfo(self._handle, version=pynvml.nvmlMemory_v2).used >> 20

    def joules(self) -> float:
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3

    def busy(self) -> int:
        return pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


class Watch:
    """Opens when made; `close` returns what was seen."""

    def __init__(self, card: Card, processes: list[int]) -> None:
        self._card, self._processes = card, processes
        self._memory, self._busy, self._ended = [card.memory_mib()], [], threading.Event()
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
            self._memory.append(self._card.memory_mib())
            self._busy.append(self._card.busy())

    def _thread_seconds(self) -> dict[str, float]:
        found = {}
        for process in self._processes:
            for thread in Path(f"/proc/{process}/task").glob("*"):
                try:
                    # After the name, which may have blanks: state, then numbers; user and system time are the 12th and 13th.
                    fields = (thread / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it ended
                found[thread.name] = (int(fields[11]) + int(fields[12])) / _TICKS
        return found
