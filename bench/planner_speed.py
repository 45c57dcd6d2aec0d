"""How long the planner takes to start and to plan, against what it is built on.

    python -m bench.planner_speed [--rounds 9]

Start: a fresh interpreter that plans prod, against one that imports pydantic and against one that builds one pydantic model, in turns;
medians of user and system time. Plan: 8 and 4,096 shards in one interpreter, the best of several.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from planner import plan
from rehearsal.layout import REPOSITORY
from settings import StackSettings, files
from settings.leaves import document

RESULT = REPOSITORY / "bench" / "results" / "planner_speed.json"
STARTS = {
    "import pydantic": "import pydantic",
    "one pydantic model": "from pydantic import BaseModel\nclass One(BaseModel):\n    field: int = 1\nOne.model_validate_json('{}')",
    "plan of prod": "from planner import plan\nfrom settings import files\n"
    "plan(files.from_file(files.stack_file_path('prod'), 'prod').settings)",
}
SHARDS = {8: (8, 1), 4096: (16, 256)}
"""Shards in all, as stages of a pipeline and pipelines."""


def cpu_seconds(code: str) -> float:
    """User and system time of a fresh interpreter that runs the code."""
    before = os.times()
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def starts(rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, code in STARTS.items():
            taken[name].append(cpu_seconds(code))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def plan_ms(stages: int, pipelines: int, rounds: int) -> float:
    asked = document(files.from_file(files.stack_file_path("prod"), "prod").settings or StackSettings())
    asked["sharding"] = {"shardsCount": stages, "pipelines": pipelines}
    settings = StackSettings.model_validate_json(json.dumps(asked))
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        made = plan(settings)
        taken.append(1000 * (time.perf_counter() - start))
        assert len(made.pods) == stages * pipelines
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.planner_speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    seconds = starts(rounds)
    plans = {shards: plan_ms(*how, rounds) for shards, how in SHARDS.items()}
    floor = seconds["import pydantic"]
    table = Table("start", "CPU s", "above import pydantic", box=None)
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.2f}", f"{taken - floor:+.2f}")
    growth = Table("plan", "ms", "us a shard", box=None)
    for shards, ms in plans.items():
        growth.add_row(f"{shards:,} shards", f"{ms:.1f}", f"{1000 * ms / shards:.0f}")
    Console().print(table, growth)
    RESULT.write_text(json.dumps({"rounds": rounds, "start_cpu_s": seconds, "plan_ms": plans}, indent=2) + "\n")


if __name__ == "__main__":
    main()
