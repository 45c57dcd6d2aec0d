"""How much processor time each program of the toolchain takes to build from nothing, compared with what it took before.

    python -m bench.toolchain_build [GROUP ...]       engine, cluster, serving and checks; all of them if none is named
    python -m bench.toolchain_build --built CACHE     of a cache in which everything was built

Every program is built from its source in a cache of its own, with nothing downloaded or compiled before, one after the other in the order
of the table; a program that shares packages with an earlier one takes less. Processor time (user and system)
changes little with the load of the machine; the time of a clock does. `before` is what the same programs took on the same kind of machine
with a module graph for each, with inlining, and with kwok 0.7.0.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rehearsal.layout import REPOSITORY
from toolchain.cache import Cache
from toolchain.programs import folder_of
from toolchain.recipes import GROUPS, PROGRAMS

RESULT = REPOSITORY / "bench" / "results" / "toolchain_build.json"
BEFORE_CPU_SECONDS = {
    "pulumi-language-python": 100,
    "pulumi": 480,
    "pulumi-resource-kubernetes": 750,
    "etcd": 50,
    "kube-apiserver": 500,
    "kube-scheduler": 45,
    "kube-controller-manager": 90,
    "kubectl": 50,
    "kwok": 200,
    "kwokctl": 22,
    "lws-controller": 320,
    "actionlint": 15,
    "promtool": 150,
    "prometheus": 40,
    "llama-server": 850,
}


def build(groups: list[str], cache: Path) -> None:
    """Builds the groups from source into `cache`."""
    environment = os.environ | {"ZIG_AI_CACHE": str(cache), "ZIG_AI_BUILD": "1"}
    subprocess.run([sys.executable, "-m", "toolchain", "get", *groups], cwd=REPOSITORY, env=environment, check=True)


def figures_of(cache: Cache) -> dict[str, dict[str, float]]:
    """Returns the CPU seconds and the size in MB of each program that was built in this cache, in the order in which they are built."""
    programs: dict[str, dict[str, float]] = {}
    for folder in (folder_of(cache, recipe) for recipe in PROGRAMS):
        if (folder / "made.json").exists():
            for name, seconds in json.loads((folder / "made.json").read_text()).get("cpu_seconds", {}).items():
                file = folder / "bin" / name
                programs[name] = {"cpu_s": seconds, "mb": round(file.stat().st_size / 1e6) if file.exists() else 0}
    return programs


def show(programs: dict[str, dict[str, float]]) -> None:
    table = Table("program", "CPU s before", "CPU s", "MB", title="Built from an empty cache")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, figures in programs.items():
        table.add_row(name, str(BEFORE_CPU_SECONDS.get(name, "")), f"{figures['cpu_s']:.0f}", f"{figures['mb']:.0f}")
    before = sum(BEFORE_CPU_SECONDS.get(name, 0) for name in programs)
    table.add_row("all", str(before), f"{sum(figures['cpu_s'] for figures in programs.values()):.0f}", "")
    Console().print(table)


def write(programs: dict[str, dict[str, float]], result: Path = RESULT) -> None:
    """Writes the figures, and keeps those of programs that were not built this time, in the order of the table."""
    figures = json.loads(result.read_text())["programs"] | programs
    names = [output.name for recipe in PROGRAMS for output in recipe.outputs] + list(figures)
    ordered = {name: figures[name] for name in dict.fromkeys(names) if name in figures}
    result.write_text(json.dumps({"cores": os.cpu_count(), "programs": ordered}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"what to build: {', '.join(GROUPS)}")
    parser.add_argument("--built", type=Path, metavar="CACHE", help="a cache in which the programs were built")
    options = parser.parse_args()
    if options.built:
        programs = figures_of(Cache(root=options.built))
    else:
        with tempfile.TemporaryDirectory() as cache:
            build(options.groups or list(GROUPS), Path(cache))
            programs = figures_of(Cache(root=Path(cache)))
    show(programs)
    write(programs)
    print(f"written to {RESULT.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
