# /// script
# requires-python = ">=3.11"
# dependencies = ["aiohttp==3.14.5", "gguf==0.19.0", "numpy", "nvidia-ml-py", "pip", "pydantic==2.14.4", "PyYAML==6.0.4"]
# ///
"""Measures llama.cpp on this machine's GPU: untuned, with its own defaults, with the guide's tuning, and the best found.

    uv run --script bench/gpu/measure.py            # about 25 minutes on an H100 with 16 CPUs; needs CUDA's compiler, CMake, ninja
    uv run --script bench/gpu/plot.py               # the picture of it

Builds the engine, makes a model of llama-3-8b's shape with random weights, runs the servers one after another under a closed loop of
users, and writes `bench/results/gpu_<card>.json`, after each server anew. What it lists as `planned` can be named with `--stage`.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import datetime
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from bench.gpu import arms, engine, load, weights  # noqa: E402
from bench.gpu.arms import Arm  # noqa: E402
from bench.gpu.card import Card, Watch  # noqa: E402
from bench.gpu.serving import NotServing, Servers, serving  # noqa: E402
from planner import catalogue  # noqa: E402
from toolchain.cache import Cache  # noqa: E402

STAGES = ("step", "arms", "search", "best", "users", "ablation", "errors")
PRICED_AS = ("Standard_NC40ads_H100_v5", "eastus")
"""Whose price a token's cost is of: Azure's for its own H100, not this machine's."""
LATENCY_S = 2.0
"""The guide's target, for the largest number of users that keep it."""
CATALOGUE_GPU = {"NVIDIA H100 80GB HBM3": "H100-80GB-SXM"}
"""NVML's name -> the planner's."""


@dataclass(kw_only=True)
class Run:
    """One run of this program; `kept` is the file it writes."""

    programs: Path
    models: Path
    logs: Path
    out: Path
    card: Card
    shape: catalogue.ModelShape
    window_s: float
    deadline: float
    kept: dict = field(default_factory=dict)

    def save(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.kept, indent=1) + "\n")

    def time_for(self, seconds: float) -> bool:
        return time.monotonic() + seconds < self.deadline

    def measured(self, stage: str, arm: Arm, loads: list[tuple[int, float, float]]) -> None:
        """A row for each load (users, warm-up, window) of one arm; one with `error` where it does not run."""
        rows = []
        try:
            with serving(arm, self.programs, self.models, self.logs) as servers:
                about = {"because": arm.because, "commands": servers.commands, "load_s": servers.load_s}
                self.kept.setdefault("arms", {})[arm.name] = about
                for one in loads:
                    rows.append(self.under(arm, servers, *one))
                    say(told(rows[-1]))
        except (NotServing, load.TooShort, RuntimeError, aiohttp.ClientError) as error:
            rows.append({"arm": arm.name, "error": str(error)})
            say(told(rows[-1]))
        self.kept.setdefault(stage, []).extend(rows)
        self.save()

    def under(self, arm: Arm, servers: Servers, users: int, warm_up_s: float, window_s: float) -> dict:
        seen: dict = {}

        async def opened() -> Callable[[], Awaitable[None]]:
            steps = await asyncio.to_thread(servers.steps)
            watch = Watch(self.card, servers.processes)

            async def closed() -> None:
                seen["use"] = watch.close()
                now = await asyncio.to_thread(servers.steps)
                seen["steps"] = None if steps is None or now is None else now - steps

            return closed

        shown = asyncio.run(load.run(servers.urls, users, arm.slots, self.shape.vocab, warm_up_s, window_s, opened))
        use, steps = seen["use"], seen["steps"]
        price = catalogue.gpu_size(*PRICED_AS).usd_per_hour
        made = shown.throughput_tok_s * shown.window_s
        return {
            "arm": arm.name,
            "model": self.shape.name,
            "gpu": self.kept["machine"]["planner_gpu"],
            "gpus": 1,
            "precision": arms.PRECISIONS[arm.precision],
            "engine": "llama.cpp",
            "isl": load.PROMPT_TOKENS,
            "osl": load.ANSWER_TOKENS,
            "concurrency": users,
            "slots": arm.slots,
            **{key: value for key, value in dataclasses.asdict(shown).items() if key != "users"},
            **dataclasses.asdict(use),
            "joules_per_token": round(use.joules / made, 4),
            "usd_per_million_tokens": round(price / 3600 / shown.throughput_tok_s * 1e6, 3),
            "step_ms": round(shown.window_s * len(servers.urls) / steps * 1e3, 2) if steps else None,
            "tokens_a_step": round(made / steps, 1) if steps else None,
        }


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def told(row: dict) -> str:
    if "error" in row:
        return f"{row['arm']:42s} {row['error'].splitlines()[-1][:150]}"
    columns = (
        f"{row['arm']:42s} {row['concurrency']:4d} users",
        f"{row['requests_s']:6.2f} req/s",
        f"p50 {row['latency_s']:6.2f} p95 {row['latency_p95_s']:6.2f} s",
        f"ttft {row['ttft_ms']:5.0f} ms",
        f"{row['memory_mib']:6d} MiB",
        f"busy {row['utilisation']:4.0%}",
        f"{row['joules_per_token']:.3f} J/token",
        f"step {row['step_ms']} ms of {row['tokens_a_step']}",
        f"thread {row['busiest_thread']:.2f}",
        f"in flight {row['in_flight']:.1f}",
    )
    return "  ".join(columns)


def step(run: Run) -> None:
    """What the GPU takes for one step without a server and without choosing a token: llama-batched-bench."""
    for precision in arms.PRECISIONS:
        batches = "1,4,16,32,64,100"
        command = [run.programs / "llama-batched-bench", "-m", run.models / f"{precision}.gguf", "-ngl", "99", "-fa", "on", "-c", "13568"]
        command += ["-npp", str(load.PROMPT_TOKENS), "-ntg", "50", "-npl", batches, "--kv-unified", "--output-format", "jsonl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for line in lines:
            row = {"precision": arms.PRECISIONS[precision], "sequences": line["pl"], "step_ms": round(line["t_tg"] / line["tg"] * 1e3, 2)}
            run.kept.setdefault("step", []).append(row)
        say(f"step, {precision}: {lines[-1]['t_tg'] / lines[-1]['tg'] * 1e3:.1f} ms" if lines else done.stderr[-500:])
    run.save()


def main_arms(run: Run) -> None:
    """One user and a hundred; the warm-up is longer than an answer takes."""
    window = run.window_s
    # A hundred users of one slot wait two minutes each: its throughput is there at once, its latency follows by Little's law.
    run.measured("rows", arms.UNTUNED, [(1, 3, window), (arms.USERS, 5, window * 1.5)])
    run.measured("rows", arms.DEFAULTS, [(1, 3, window / 2), (arms.USERS, 30, window * 1.5)])
    run.measured("rows", arms.guide(), [(1, 3, window / 2), (arms.USERS, 16, window)])


def search(run: Run) -> None:
    """Every candidate for a moment, with the guide's number of users."""
    done = {row["arm"] for row in run.kept.get("search", [])}
    for arm in arms.candidates(arms.guide()):
        if arm.name not in done and run.time_for(25 + run.window_s / 3):
            run.measured("search", arm, [(arms.USERS, 7, run.window_s / 3)])


def best(run: Run) -> None:
    """What the search found, at one user, at a hundred, and at as many as keep 95 % of the answers under the guide's target."""
    arm, fastest = arms.found(run.kept)
    run.kept["best"], run.kept["fastest"] = arm.name, fastest.name
    run.measured("rows", arm, [(1, 3, run.window_s / 2), (arms.USERS, 8, run.window_s)])
    if fastest != arm:
        run.measured("rows", fastest, [(arms.USERS, 8, run.window_s)])


def users(run: Run) -> None:
    """With how many users the best found and the fastest still give 95 % of the answers within the guide's target."""
    arm, fastest = arms.found(run.kept)
    for each in (arm,) if fastest == arm else (arm, fastest):
        with serving(each, run.programs, run.models, run.logs) as servers:
            most_users(run, each, servers)
        run.save()


def most_users(run: Run, arm: Arm, servers: Servers) -> None:
    low, high = 1, arms.USERS
    while high - low > 2 and run.time_for(25):
        middle = (low + high) // 2
        row = run.under(arm, servers, middle, 4, run.window_s / 3)
        run.kept.setdefault("users", []).append(row)
        say(told(row))
        low, high = (middle, high) if row["latency_p95_s"] < LATENCY_S else (low, middle)
    # A short window is kind to a p95: the answer is what a whole one shows.
    for count in range(low, 1, -2):
        row = run.under(arm, servers, count, 4, run.window_s)
        say(told(row))
        if row["latency_p95_s"] < LATENCY_S:
            run.kept["rows"].append(row)
            break


def ablation(run: Run) -> None:
    """As many users as slots: what a setting changes shows in latency and throughput alike."""
    done = {row["arm"] for row in run.kept.get("ablation", [])}
    for arm in arms.ablation(arms.guide()):
        if arm.name not in done and run.time_for(20 + run.window_s / 2):
            run.measured("ablation", arm, [(32, 6, run.window_s / 2)])


def errors(run: Run) -> None:
    run.measured("errors", arms.too_large(arms.guide()), [])


def prepare(options: argparse.Namespace) -> Run:
    card, work = Card(), options.work
    machine = card.described()
    machine["planner_gpu"] = CATALOGUE_GPU.get(machine["gpu"], machine["gpu"])
    out = options.out or ROOT / "bench" / "results" / f"gpu_{re.sub(r'[^a-z0-9]+', '_', machine['gpu'].lower()).strip('_')}.json"
    kept = json.loads(out.read_text()) if options.add and out.exists() else {}
    built = kept.get("engine", {})
    programs = options.programs
    if programs is None:
        programs, built = engine.build(options.sdist or engine.fetch(work), work / "source", tuple(options.cmake))
        say(f"built in {built['build_s']} s")
    kept |= {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine,
        "engine": built | {"package": engine.PACKAGE, "version": engine.version(programs)},
        "load": {"prompt_tokens": load.PROMPT_TOKENS, "answer_tokens": load.ANSWER_TOKENS, "temperature": load.TEMPERATURE,
                 "streamed": f"every {load.STREAMED}th user", "python": platform.python_version()},
        "price": {"size": PRICED_AS[0], "region": PRICED_AS[1], "usd_per_hour": catalogue.gpu_size(*PRICED_AS).usd_per_hour},
        "model": {"shape": arms.MODEL, "weights": "random"},
        # What `--add` has put together; a row's own window is `window_s`.
        "calls": [*kept.get("calls", []), {"stages": options.stage or list(STAGES), "window_s": options.window}],
    }  # fmt: skip
    shape = catalogue.models()[arms.MODEL]
    models = work / "models"
    for precision in arms.PRECISIONS:
        file = models / f"{precision}.gguf"
        if not file.exists():
            started = time.monotonic()
            if precision == "F16":
                weights.write(shape, file)
            else:
                weights.quantize(programs, models / "F16.gguf", file, precision)
            say(f"{file.name}: {file.stat().st_size / 1e9:.1f} GB in {time.monotonic() - started:.0f} s")
    deadline = time.monotonic() + options.seconds
    return Run(
        programs=programs, models=models, logs=work / "logs", out=out, card=card, shape=shape, window_s=options.window,
        deadline=deadline, kept=kept,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", action="append", choices=STAGES, help="only this one; may be given again (default: all, in order)")
    parser.add_argument("--window", type=float, default=30, metavar="S", help="how long a load is measured (default: 30)")
    parser.add_argument("--seconds", type=float, default=3600, metavar="S", help="start nothing that would end later (default: 3600)")
    parser.add_argument("--work", type=Path, default=Cache.of_user().root / "gpu", help="for sources, 30 GB of models, logs")
    parser.add_argument("--out", type=Path, help="the file (default: bench/results/gpu_<card>.json)")
    parser.add_argument("--add", action="store_true", help="keep what the file has of other stages")
    parser.add_argument("--sdist", type=Path, help="the engine's sources, where there is no package index")
    parser.add_argument("--programs", type=Path, help="a folder with the engine's programs, instead of a build")
    parser.add_argument("--cmake", action="append", default=[], metavar="OPTION", help="of this machine, such as -DCMAKE_CUDA_FLAGS=-I...")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    run = prepare(options)
    run.save()
    does = {"step": step, "arms": main_arms, "search": search, "best": best, "users": users, "ablation": ablation, "errors": errors}
    for stage in options.stage or STAGES:
        does[stage](run)
    say(f"kept in {run.out}")


if __name__ == "__main__":
    main()
