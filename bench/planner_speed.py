"""Measures how long the planner takes to start and to plan, compared with the libraries that it uses.

    python -m bench.planner_speed [--rounds 9]

- Start: a fresh interpreter that plans prod, and one that recommends layouts for it, compared with one that imports pydantic and one that
  builds a pydantic model, in turns. The figures are medians of user and system time, and of wall time.
- Plan: 8 and 4,096 shards in one interpreter, the best of several runs.
- Recommend: the search alone, the best of several runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from planner import plan
from planner.recommend.choice import SearchOptions
from planner.recommend.search import search
from planner.rules.planning import shape_of
from rehearsal.layout import REPOSITORY
from settings import StackSettings, files
from settings.flatten import document

RESULT = REPOSITORY / "bench" / "results" / "planner_speed.json"
STARTS = {
    "import pydantic": "import pydantic",
    "one pydantic model": "from pydantic import BaseModel\nclass One(BaseModel):\n    field: int = 1\nOne.model_validate_json('{}')",
    "plan of prod": "from planner import plan\nfrom settings import files\n"
    "plan(files.from_file(files.stack_file_path('prod'), 'prod').settings)",
    "recommend for prod": "from planner.__main__ import main\nmain(['recommend', '--stack', 'prod', '--json'])",
}
SHARDS = {8: (8, 1), 4096: (16, 256)}
"""The total number of shards, as stages of a pipeline and pipelines."""


@dataclass(frozen=True)
class Taken:
    cpu_s: float
    """Returns the user and system time in seconds."""
    clock_s: float


def taken_by(code: str) -> Taken:
    """Returns the time of a fresh interpreter that runs the code."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
    return Taken(cpu_s, time.perf_counter() - began)


def starts(rounds: int) -> dict[str, Taken]:
    taken: dict[str, list[Taken]] = {name: [] for name in STARTS}
    for _ in range(rounds):
        for name, code in STARTS.items():
            taken[name].append(taken_by(code))
    return {
        name: Taken(statistics.median(one.cpu_s for one in all_of_it), statistics.median(one.clock_s for one in all_of_it))
        for name, all_of_it in taken.items()
    }


def search_ms(rounds: int) -> tuple[float, int]:
    """Returns the milliseconds, and the number of layouts that were considered."""
    asked = files.from_file(files.stack_file_path("prod"), "prod").require()
    taken, looked_at = [], 0
    for _ in range(rounds):
        start = time.perf_counter()
        looked_at = search(asked, shape_of(asked), SearchOptions()).looked_at
        taken.append(1000 * (time.perf_counter() - start))
    return min(taken), looked_at


def plan_ms(stages: int, pipelines: int, rounds: int) -> float:
    asked = document(files.from_file(files.stack_file_path("prod"), "prod").settings or StackSettings())
    asked["sharding"] = {"shardsCount": stages, "pipelines": pipelines}
    settings = StackSettings.model_validate_json(json.dumps(asked))
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        planned = plan(settings)
        taken.append(1000 * (time.perf_counter() - start))
        assert len(planned.pods) == stages * pipelines
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.planner_speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    seconds = starts(rounds)
    plans = {shards: plan_ms(*how, rounds) for shards, how in SHARDS.items()}
    ms, layouts = search_ms(rounds)
    floor = seconds["import pydantic"].cpu_s
    table = Table("start", "CPU s", "above import pydantic", "clock s", box=None)
    for name, taken in seconds.items():
        table.add_row(name, f"{taken.cpu_s:.2f}", f"{taken.cpu_s - floor:+.2f}", f"{taken.clock_s:.2f}")
    growth = Table("plan", "ms", "us a shard", box=None)
    for shards, taken_ms in plans.items():
        growth.add_row(f"{shards:,} shards", f"{taken_ms:.1f}", f"{1000 * taken_ms / shards:.0f}")
    Console().print(table, growth, f"search of {layouts:,} layouts: {ms:.0f} ms")
    result = {
        "rounds": rounds,
        "start_cpu_s": {name: taken.cpu_s for name, taken in seconds.items()},
        "start_clock_s": {name: taken.clock_s for name, taken in seconds.items()},
        "plan_ms": plans,
        "search": {"ms": ms, "layouts": layouts},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
