"""How long `pulumi preview` of prod takes, and an `up` that changes nothing, beside a program that only imports the same SDK modules.

    python -m bench.preview_speed [--rounds 5]

Both programs run in a rehearsal, on the real engine, and take turns within a round. Figures are medians, and the ratio is that of the two
programs in one run. CPU seconds are those of the engine, the language host and the Kubernetes provider together, without those of the
stand-in for Azure, which only a rehearsal has; wall seconds include everything.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.engine_overhead import VARIANTS, checked, imported_modules, keep_compiled, rehearsing, repository
from rehearsal import processes
from rehearsal.engine import Engine, Outcome
from rehearsal.layout import REPOSITORY

RESULT = REPOSITORY / "bench" / "results" / "preview_speed.json"
_TICKS_S = os.sysconf("SC_CLK_TCK")
_SAMPLE_S = 0.05


@dataclass(frozen=True)
class Seconds:
    """What one operation of the engine took."""

    wall_s: float
    cpu_s: float
    """Without the stand-in for Azure."""


class _StandIn(threading.Thread):
    """Watches the CPU time of the stand-in for Azure, one process for each operation of the engine."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self._root, self._ended = root, threading.Event()
        self._seen: dict[int, float] = {}

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            for pid, command in processes.marked(self._root).items():
                if "rehearsal.azure" in command:
                    self._seen[pid] = _cpu_s(pid) or self._seen.get(pid, 0.0)

    def cpu_s(self) -> float:
        """Ends the watch and returns the CPU seconds, at most one sample's too few."""
        self._ended.set()
        self.join()
        return sum(self._seen.values())


def _cpu_s(pid: int) -> float:
    """User and system time of a process in seconds; 0 for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


@dataclass(frozen=True)
class Program:
    """One of the two programs, with its engine."""

    engine: Engine
    root: Path

    def time(self, operation: Callable[[], Outcome]) -> Seconds:
        """Runs an operation of the engine. Ends this process if it fails."""
        watch, before, started = _StandIn(self.root), os.times(), time.monotonic()
        watch.start()
        checked(operation())
        wall_s, after = time.monotonic() - started, os.times()
        cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
        return Seconds(wall_s, cpu_s - watch.cpu_s())


@contextmanager
def program(path: Path) -> Generator[Program]:
    """A rehearsal of the program in this folder, which is removed at the end."""
    with rehearsing(path) as (engine, layout):
        yield Program(engine, layout.root)


def measured(rounds: int) -> dict[str, dict[str, float]]:
    """Returns the medians of each operation. The first round, which fills caches, is not counted."""
    modules = imported_modules()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zig-ai-bench-")))
        keep_compiled(folder / "compiled")
        floor, prod = (stack.enter_context(program(repository(VARIANTS[i], folder / str(i), modules))) for i in (0, 1))
        taken = {"preview": [(floor.time(floor.engine.preview), prod.time(prod.engine.preview)) for _ in range(rounds + 1)][1:]}
        checked(prod.engine.up())
        taken["up that changes nothing"] = [(floor.time(floor.engine.up), prod.time(prod.engine.up)) for _ in range(rounds)]
    return {name: _medians(pairs) for name, pairs in taken.items()}


def _medians(pairs: list[tuple[Seconds, Seconds]]) -> dict[str, float]:
    row: dict[str, float] = {}
    for kind in ("cpu_s", "wall_s"):
        floor, prod = (statistics.median(getattr(one, kind) for one in column) for column in zip(*pairs, strict=True))
        row |= {
            f"imports_{kind}": round(floor, 2),
            f"prod_{kind}": round(prod, 2),
            f"{kind.removesuffix('_s')}_ratio": round(prod / floor, 2),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.preview_speed", description="Times previews of prod beside their imports.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results = measured(options.rounds)
    table = Table("operation", "imports, CPU s", "prod, CPU s", "ratio", "imports, s", "prod, s", "ratio")
    for name, row in results.items():
        table.add_row(name, *(f"{value:.2f}" for value in row.values()))
    Console(width=120).print(table)
    RESULT.write_text(json.dumps({"rounds": options.rounds, "cores": os.cpu_count(), "operations": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
