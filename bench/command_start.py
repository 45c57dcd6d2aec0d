"""How long each command takes from its start to its end, compared with another commit of this repository.

    python -m bench.command_start --against COMMIT [--rounds 7]

Each command runs for prod in a fresh interpreter, in this checkout and in a temporary worktree of the other commit, in turns and with the
same Python environment. The figures are medians of user and system time in seconds, and their ratio, which is what a noisy machine
can be trusted with.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rehearsal.layout import REPOSITORY

RESULT = REPOSITORY / "bench" / "results" / "command_start.json"
COMMANDS = {
    "check": ("stacks", "check", "--stack", "prod"),
    "plan": ("planner", "plan", "--stack", "prod"),
    "recommend": ("planner", "recommend", "--stack", "prod"),
    "explain": ("stacks", "explain", "--stack", "prod"),
}


@contextmanager
def checkout(commit: str) -> Generator[Path]:
    """A worktree of the commit, which is removed at the end. Raises CalledProcessError where git does not know the commit."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "other"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(folder), commit], cwd=REPOSITORY, check=True)
        try:
            yield folder
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(folder)], cwd=REPOSITORY, check=True)


def cpu_s(arguments: tuple[str, ...], folder: Path) -> float:
    """User and system time in seconds of one run of the command in a checkout."""
    before = os.times()
    subprocess.run([sys.executable, "-m", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def measured(other: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Returns the median seconds of each command in both checkouts, and their ratio. A first round that fills the caches is not counted."""
    results = {}
    for name, arguments in COMMANDS.items():
        pairs = [(cpu_s(arguments, REPOSITORY), cpu_s(arguments, other)) for _ in range(rounds + 1)][1:]
        here, there = (statistics.median(column) for column in zip(*pairs, strict=True))
        results[name] = {"here_cpu_s": round(here, 3), "other_cpu_s": round(there, 3), "ratio": round(here / there, 2)}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.command_start", description="How long the commands take, beside another commit.")
    parser.add_argument("--against", required=True, metavar="COMMIT", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with checkout(options.against) as other:
        results = measured(other, options.rounds)
    table = Table("command", "here, CPU s", f"{options.against}, CPU s", "ratio")
    for name, row in results.items():
        table.add_row(name, f"{row['here_cpu_s']:.2f}", f"{row['other_cpu_s']:.2f}", f"{row['ratio']:.2f}")
    Console().print(table)
    RESULT.write_text(json.dumps({"against": options.against, "rounds": options.rounds, "commands": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
