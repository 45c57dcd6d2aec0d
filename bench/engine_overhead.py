"""Times a rehearsed preview and up of prod, and compares them with a program that only imports the same SDK modules.

    make bench          # or: python -m bench.engine_overhead [--rounds 3]

It also measures how both grow from 8 to 64 shards and from 1 to 16 GPU pools. Programs take turns within a round, and the table shows
medians. The programs with more shards request 5 CPUs per shard, so that four shards share a node and 64 fit the rehearsed quota.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from rehearsal.azure import subscription as subscriptions
from rehearsal.engine import Engine, Outcome
from rehearsal.layout import REPOSITORY, Layout
from rehearsal.run import rehearsed, take_away

RESULT = REPOSITORY / "bench" / "results" / "engine_overhead.json"
FLOOR = REPOSITORY / "bench" / "programs" / "floor"

POOLS_MAIN = '''"""prod with more GPU pools of one small node each."""

import atexit
import dataclasses
import gc

import pulumi

from infra import debug_messages
from infra.azure import platform
from infra.azure.gpu_pool import gpu_pool
from planner.catalogue import gpu_size
from stacks.program import main

_made = platform.gpu_pool


def with_more(name, args, *, parent):
    small = dataclasses.replace(args.plan, size=gpu_size("Standard_NC4as_T4_v3", "eastus"), nodes=1, min_nodes=1, max_nodes=1)
    for index in range(1, {pools}):
        more = dataclasses.replace(args, plan=small, base_name=f"g{{index:x}}")
        gpu_pool(f"{{name}}-{{index}}", more, parent=parent)
    return _made(name, args, parent=parent)


platform.gpu_pool = with_more
gc.disable()
atexit.register(gc.freeze)
debug_messages.send_together()
main()
'''


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A program to time."""

    name: str
    shards: int = 8
    pools: int = 1
    floor: bool = False


VARIANTS = (
    Variant(name="floor: imports only", floor=True),
    Variant(name="prod: 8 shards, 1 pool"),
    Variant(name="64 shards", shards=64),
    Variant(name="16 pools", pools=16),
)


def imported_modules() -> list[str]:
    """Returns the SDK modules that the program has executed by the end of a run under mocks.

    The SDKs also keep a placeholder for each module that nobody has used yet: importing those would make the floor look slow.
    """
    code = (
        "import json, sys\n"
        "from planner import plan\nfrom settings import files\nfrom stacks import program\nfrom tests.mocks import recording, run\n"
        "settings = files.from_file(files.stack_file_path('prod'), 'prod').settings\n"
        "recording('prod')\n"
        "run(lambda: program.deploy(settings, plan(settings), 'prod'))\n"
        "ours = ('pulumi', 'pulumi_azure_native', 'pulumi_kubernetes')\n"
        "loaded = [n for n, m in sys.modules.items() if n.split('.')[0] in ours and type(m).__name__ != '_LazyModule']\n"
        "print(json.dumps(sorted(loaded)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def repository(variant: Variant, at: Path, modules: list[str]) -> Path:
    """Creates a folder with the variant's program, which consists mostly of links to this repository."""
    source = FLOOR if variant.floor else REPOSITORY
    at.mkdir()
    for entry in source.iterdir():
        if entry.name not in (".git", ".rehearsal", "__main__.py", "Pulumi.prod.yaml"):
            (at / entry.name).symlink_to(entry)
    (at / "__main__.py").write_text(POOLS_MAIN.format(pools=variant.pools) if variant.pools > 1 else (source / "__main__.py").read_text())
    settings = yaml.safe_load((source / "Pulumi.prod.yaml").read_text())
    if variant.floor:
        (at / "modules.json").write_text(json.dumps(modules))
    else:
        config = settings["config"]
        config["zig-ai-aks:sharding"]["shardsCount"] = variant.shards
        config["zig-ai-aks:sharding"].pop("layersPerShard")  # 80 layers over 64 shards do not divide
        config["zig-ai-aks:shard"]["resources"]["requests"]["cpu"] = "5"
    (at / "Pulumi.prod.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return at


def keep_compiled(folder: Path) -> None:
    """Makes the Python processes from now on keep what they compile in this folder, as they do on a machine that forbids it nowhere.

    The SDKs are compiled when they are installed; without this the program alone would be compiled in each run.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


@contextmanager
def rehearsing(repository: Path) -> Generator[tuple[Engine, Layout]]:
    """Rehearses the prod of this folder, and removes the rehearsal at the end."""
    layout = Layout.of_stack("prod", repository)
    try:
        with rehearsed(layout, repository, "prod", subscriptions.load("default")) as engine:
            yield engine, layout
    finally:
        take_away(layout)


def seconds(repository: Path) -> dict[str, float | int]:
    """Returns the wall time of a preview and an up in seconds, and the number of resources that the up created."""
    with rehearsing(repository) as (engine, _):
        preview = checked(engine.preview())
        up = checked(engine.up())
        return {"preview_s": preview.seconds, "up_s": up.seconds, "resources": sum(up.types.values())}


def checked(outcome: Outcome) -> Outcome:
    """Returns the outcome; ends this process with the errors of one that failed."""
    if outcome.failed:
        raise SystemExit(f"{outcome.name} failed: " + "\n".join(outcome.errors))
    return outcome


def measure(rounds: int, console: Console) -> dict[str, dict[str, float]]:
    """Returns the medians of each variant."""
    samples: dict[str, list[dict[str, float | int]]] = {variant.name: [] for variant in VARIANTS}
    modules = imported_modules()
    with tempfile.TemporaryDirectory(prefix="zig-ai-bench-") as folder:
        keep_compiled(Path(folder) / "compiled")
        repositories = {v.name: repository(v, Path(folder) / str(i), modules) for i, v in enumerate(VARIANTS)}
        for number in range(rounds):
            for name, path in repositories.items():
                started = time.monotonic()
                samples[name].append(seconds(path))
                console.print(f"  round {number + 1} of {rounds}, {name}: {time.monotonic() - started:.0f} s", highlight=False)
    return {
        name: {key: round(statistics.median(sample[key] for sample in taken), 2) for key in taken[0]} for name, taken in samples.items()
    }


def table(medians: dict[str, dict[str, float]]) -> Table:
    """Prints the seconds, the ratio to the floor, and the milliseconds per resource more than prod has."""
    floor, prod = (medians[variant.name] for variant in VARIANTS[:2])
    shown = Table(title="Rehearsed prod against a program that only imports the same SDK modules (medians)")
    for column in ("program", "resources", "preview s", "to floor", "up s", "to floor", "preview ms a further resource"):
        shown.add_column(column, justify="left" if column == "program" else "right")
    for name, row in medians.items():
        further = row["resources"] - prod["resources"]
        each = f"{(row['preview_s'] - prod['preview_s']) * 1000 / further:.1f}" if further > 0 else "-"
        ratios = (f"{row['preview_s'] / floor['preview_s']:.2f}", f"{row['up_s'] / floor['up_s']:.2f}")
        shown.add_row(name, f"{row['resources']:.0f}", f"{row['preview_s']:.1f}", ratios[0], f"{row['up_s']:.1f}", ratios[1], each)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.engine_overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    console = Console(width=140)
    medians = measure(options.rounds, console)
    console.print(table(medians))
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    RESULT.write_text(json.dumps({"rounds": options.rounds, "machine": machine, "medians": medians}, indent=2) + "\n")
    console.print(f"kept in {RESULT.relative_to(REPOSITORY)}", highlight=False)


if __name__ == "__main__":
    main()
