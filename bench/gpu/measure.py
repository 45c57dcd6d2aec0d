# /// script
# requires-python = ">=3.11"
# dependencies = ["aiohttp==3.14.5", "gguf==0.19.0", "numpy", "nvidia-ml-py", "pip", "psutil", "pydantic==2.14.4",
#   "PyYAML==6.0.4"]
# ///
"""Measures an engine on this machine's GPU: untuned, with its defaults, with the guide's tuning, and the best servers of a search.

    uv run --script bench/gpu/measure.py 25 minutes on an H100 with 16 CPUs; needs CUDA's compiler, CMake, ninja
    uv venv -p 3.12 vllm && uv pip install -p vllm vllm==0.20.2
    uv run --script bench/gpu/measure.py --engine vllm --programs vllm/bin
    uv run --script bench/gpu/plot.py bench/results/gpu_...json                     # the picture of it

It installs the engine, creates a model with llama-3-8b's shape and random weights, runs the servers one after another under a closed loop
of users, and writes `bench/results/gpu_<card>_<engine>.json` after each server. `--stage` selects stages that it lists as `planned`.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import platform
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from bench.gpu import arms, deployed, load  # noqa: E402
from bench.gpu.arms import Arm, Engine  # noqa: E402
from bench.gpu.card import Card, Watch  # noqa: E402
from bench.gpu.deployed import as_rows, differences  # noqa: E402
from bench.gpu.llama_cpp import LlamaCpp  # noqa: E402
from bench.gpu.serving import HOST, NotServing, Servers, serving  # noqa: E402
from bench.gpu.vllm import Vllm  # noqa: E402
from planner.catalogue import hardware, model_shapes  # noqa: E402
from toolchain.cache import Cache  # noqa: E402

Loading = tuple[int, float, float]
"""The number of users, the seconds of warm-up, and the seconds of the window."""
STAGES = ("step", "arms", "search", "best", "ablation", "errors")
PRICED_AS = ("Standard_NC40ads_H100_v5", "eastus")
"""The VM size whose price is used for the cost of tokens: Azure's price for its own H100, not this machine's."""
LATENCY_S = 2.0
"""The guide's latency target in seconds, for which the largest number of users is searched."""
CATALOGUE_GPU = {"NVIDIA H100 80GB HBM3": "H100-80GB-SXM", "NVIDIA H200": "H200-141GB-SXM"}
"""Maps NVML's names of GPUs to the planner's."""
SIZES = {"NVIDIA H200": "Standard_ND96isr_H200_v5"}
"""Maps NVML's names of GPUs to the VM size whose pods are measured, if it is not `deployed.SIZE`."""


@dataclass(kw_only=True)
class Run:
    """A run of this program; `kept` is the file that it writes."""

    engine: Engine
    logs: Path
    out: Path
    card: Card
    shape: model_shapes.ModelShape
    window_s: float
    deadline: float
    at_once: int = 1
    kept: dict = field(default_factory=dict)

    def save(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.kept, indent=1) + "\n")

    def time_for(self, seconds: float) -> bool:
        return time.monotonic() + seconds < self.deadline

    def measured(self, stage: str, arm: Arm, loads: list[Loading], then: Callable[[Servers], None] | None = None) -> None:
        """Returns a row for each load of an arm, or one with `error` if the arm does not run."""
        try:
            with serving(arm, self.engine, self.logs) as servers:
                self.loaded(stage, arm, servers, loads)
                if then:
                    then(servers)
        except (NotServing, load.TooShort, RuntimeError) as error:
            self.failed(stage, arm, error)

    def together(self, stage: str, group: list[Arm], loads: list[Loading]) -> None:
        """Starts arms at the same time, and measures one after the other while the rest are idle."""
        group = [arm.but(arm.name, arm.because, options=self.engine.together) for arm in group]
        group_servers: list[tuple[Arm, Servers]] = []
        with ExitStack() as stack, ThreadPoolExecutor(len(group)) as pool:
            starting = [serving(arm, self.engine, self.logs) for arm in group]
            for arm, starts, started in zip(group, starting, [pool.submit(one.__enter__) for one in starting], strict=True):
                try:
                    servers = started.result()
                except NotServing as error:
                    self.failed(stage, arm, error)
                    continue
                stack.push(starts)
                group_servers.append((arm, servers))
            for arm, servers in group_servers:
                self.loaded(stage, arm, servers, loads)

    def loaded(self, stage: str, arm: Arm, servers: Servers, loads: list[Loading]) -> None:
        pod = self.engine.pod()
        command = self.engine.command(arm, HOST, 0)[1:]
        self.kept.setdefault("arms", {})[arm.name] = {
            "because": arm.because,
            "commands": servers.commands,
            "differs": as_rows(differences(pod.server, command, dict(arm.environment), self.kept["engine"]["version"])),
            "load_s": servers.load_s,
        }
        for one in loads:
            try:
                self.kept.setdefault(stage, []).append(self.under(arm, servers, *one))
            except (load.TooShort, RuntimeError) as error:
                self.failed(stage, arm, error)
            self.save()

    def failed(self, stage: str, arm: Arm, error: Exception) -> None:
        row = {"arm": arm.name, "error": str(error)}
        self.kept.setdefault(stage, []).append(row)
        say(told(row))
        self.save()

    def under(self, arm: Arm, servers: Servers, users: int, warm_up_s: float, window_s: float) -> dict:
        seen: dict = {}

        def opened() -> Callable[[], None]:
            steps, watch = servers.steps(), Watch(self.card, servers.processes, mps=arm.mps)

            def closed() -> None:
                seen["use"] = watch.close()
                now = servers.steps()
                seen["steps"] = None if steps is None or now is None else now - steps

            return closed

        slots = self.engine.slots(arm)
        shown = load.run(servers.urls, users, slots, self.shape.vocab, warm_up_s, window_s, opened)
        use, steps = seen["use"], seen["steps"]
        price = _price()
        made = shown.throughput_tok_s * shown.window_s
        row = {
            "arm": arm.name,
            "model": self.shape.name,
            "gpu": self.kept["machine"]["planner_gpu"],
            "gpus": 1,
            "precision": self.engine.precisions[arm.precision],
            "engine": self.engine.name,
            **self.engine.about(arm),
            "isl": load.PROMPT_TOKENS,
            "osl": load.ANSWER_TOKENS,
            "concurrency": users,
            "slots": slots,
            **{key: value for key, value in dataclasses.asdict(shown).items() if key != "users"},
            **dataclasses.asdict(use),
            "joules_per_token": round(use.joules / made, 4),
            "usd_per_million_tokens": round(price / 3600 / shown.throughput_tok_s * 1e6, 3),
            "step_ms": round(shown.window_s * len(servers.urls) / steps * 1e3, 2) if steps else None,
            "tokens_a_step": round(made / steps, 1) if steps else None,
        }
        say(told(row))
        return row


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def told(row: dict) -> str:
    if "error" in row:
        return f"{row['arm']:42s} {row['error'].splitlines()[-1][:150]}"
    columns = (
        f"{row['arm']:42s} {row['concurrency']:4d} users",
        f"{row['requests_s']:6.2f} req/s",
        f"p50 {row['latency_s']:6.2f} p95 {row['latency_p95_s']:6.2f} s",
        f"ttft {row['ttft_ms'] or 0:5.0f} ms",
        f"{row['memory_mib']:6d} MiB",
        f"busy {row['utilisation']:4.0%}",
        f"{row['joules_per_token']:.3f} J/token",
        f"step {row['step_ms']} ms of {row['tokens_a_step']}",
        f"thread {row['busiest_thread']:.2f} of {row['cpus']:.1f}, client {row['busiest_client']:.2f}",
        f"in flight {row['in_flight']:.1f}",
    )
    return "  ".join(columns)


def step(run: Run) -> None:
    """Measures a step on the GPU without a server and without choosing tokens, if the engine has a program for it."""
    run.kept["step"] = run.engine.step_times()
    run.save()


def main_arms(run: Run) -> None:
    """Measures with one user and with a hundred; the warm-up is longer than an answer takes."""
    window, engine = run.window_s, run.engine
    # A hundred users of one slot wait two minutes each: its throughput is there at once, its latency follows by Little's law.
    run.measured("rows", engine.untuned, [(1, 3, window), (arms.USERS, 5, window * 1.5)])
    run.measured("rows", engine.defaults, [(1, 3, window / 2), (arms.USERS, engine.warm_up_s, window * 1.5)])
    run.measured("rows", engine.guide(), [(1, 3, window / 2), (arms.USERS, engine.warm_up_s / 2, window)])


def search(run: Run) -> None:
    """Measures every candidate for a short time."""
    done = {row["arm"] for row in run.kept.get("search", [])}
    for arm in run.engine.candidates(run.engine.guide()):
        if arm.name not in done and run.time_for(25 + run.window_s / 3):
            run.measured("search", arm, [(run.engine.search_users, 7, run.window_s / 3)])


def best(run: Run) -> None:
    """Measures the best servers with one user, with a hundred, and with the most users whose 95th percentile meets the guide's target."""
    arm, fastest = arms.found(run.engine, run.kept)
    run.kept["best"], run.kept["fastest"] = arm.name, fastest.name
    for one in (arm,) if fastest == arm else (arm, fastest):
        loads: list[Loading] = [(1, 3, run.window_s / 2), (arms.USERS, 8, run.window_s)]
        run.measured("rows", one, loads, lambda servers, one=one: most_users(run, one, servers))


def most_users(run: Run, arm: Arm, servers: Servers) -> None:
    """Finds the most users for whom the guide's target is met, to within a twentieth."""
    low, high = 1, run.engine.most_users
    while high - low > max(2, low // 20) and run.time_for(25):
        middle = (low + high) // 2
        row = run.under(arm, servers, middle, 4, run.window_s / 3)
        run.kept.setdefault("users", []).append(row)
        low, high = (middle, high) if row["latency_p95_s"] < LATENCY_S else (low, middle)
    # A short window is kind to a p95: the answer is what a whole one shows.
    for count in range(low, 1, -max(2, low // 20)):
        row = run.under(arm, servers, count, 4, run.window_s)
        if row["latency_p95_s"] < LATENCY_S:
            run.kept["rows"].append(row)
            break


def ablation(run: Run) -> None:
    done = {row["arm"] for row in run.kept.get("ablation", [])}
    arms_left = [arm for arm in run.engine.ablation(run.engine.guide()) if arm.name not in done]
    one = (run.engine.ablation_users, 6, run.window_s / 2)
    for start in range(0, len(arms_left), run.at_once):
        group = arms_left[start : start + run.at_once]
        if not run.time_for(len(group) * (20 + run.window_s / 2)):
            return
        if len(group) == 1:
            run.measured("ablation", group[0], [one])
        else:
            run.together("ablation", group, [one])


def errors(run: Run) -> None:
    run.measured("errors", run.engine.too_large(run.engine.guide()), [])


def _price() -> float:
    """Returns Azure's price of a virtual machine with this GPU, in USD per hour."""
    size = hardware.gpu_size(*PRICED_AS)
    assert size is not None and size.usd_per_hour is not None, f"the catalogue has no price of {PRICED_AS}"
    return size.usd_per_hour


def prepare(options: argparse.Namespace) -> Run:
    card = Card()
    machine = card.described()
    engine = ENGINES[options.engine](options)
    engine.size = SIZES.get(str(machine["gpu"]), deployed.SIZE)
    machine["planner_gpu"] = CATALOGUE_GPU.get(machine["gpu"], machine["gpu"])
    name = f"gpu_{re.sub(r'[^a-z0-9]+', '_', machine['gpu'].lower()).strip('_')}_{options.engine}.json"
    out = options.out or ROOT / "bench" / "results" / name
    kept = json.loads(out.read_text()) if options.add and out.exists() else {}
    shape, started = model_shapes.models()[deployed.MODEL], time.monotonic()
    made = engine.made(shape)
    say(f"{engine.package} and its models: {time.monotonic() - started:.0f} s")
    kept |= {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine,
        "engine": kept.get("engine", {}) | made | {"package": engine.package},
        "load": {"prompt_tokens": load.PROMPT_TOKENS, "answer_tokens": load.ANSWER_TOKENS, "temperature": load.TEMPERATURE,
                 "streamed": f"every {load.STREAMED}th user", "python": platform.python_version()},
        "price": {"size": PRICED_AS[0], "region": PRICED_AS[1], "usd_per_hour": _price()},
        "model": {"shape": deployed.MODEL, "weights": "random"},
        # What `--add` has put together; a row's own window is `window_s`.
        "calls": [*kept.get("calls", []), {"stages": options.stage or list(STAGES), "window_s": options.window}],
    }  # fmt: skip
    return Run(
        engine=engine, logs=options.work / "logs", out=out, card=card, shape=shape, window_s=options.window,
        deadline=time.monotonic() + options.seconds, at_once=options.at_once, kept=kept,
    )  # fmt: skip


def _vllm(options: argparse.Namespace) -> Engine:
    if options.programs is None:
        raise SystemExit(f"--programs: the folder with `vllm` and `python3` of an environment with {Vllm.package}")
    return Vllm(programs=options.programs.absolute(), work=options.work.absolute())


def _llama_cpp(options: argparse.Namespace) -> Engine:
    programs = options.programs and options.programs.absolute()
    return LlamaCpp(programs=programs, work=options.work.absolute(), sdist=options.sdist, cmake=tuple(options.cmake))


ENGINES: dict[str, Callable[[argparse.Namespace], Engine]] = {"llama_cpp": _llama_cpp, "vllm": _vllm}
"""How each engine is created, by its name in the stack file."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, default="llama_cpp", help="(default: llama_cpp)")
    parser.add_argument("--stage", action="append", choices=STAGES, help="only this one; may be given again (default: all, in order)")
    parser.add_argument("--window", type=float, default=30, metavar="S", help="how long a load is measured (default: 30)")
    parser.add_argument("--seconds", type=float, default=3600, metavar="S", help="start nothing that would end later (default: 3600)")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="start N servers of the ablation together (default: 1)")
    parser.add_argument("--work", type=Path, default=Cache.of_user().root / "gpu", help="for sources, 30 to 40 GB of models, logs")
    parser.add_argument("--out", type=Path, help="the file (default: bench/results/gpu_<card>_<engine>.json)")
    parser.add_argument("--add", action="store_true", help="keep what the file has of other stages")
    parser.add_argument("--programs", type=Path, help="a folder with the engine's programs; without it llama.cpp is built")
    parser.add_argument("--sdist", type=Path, help="llama.cpp's sources, where there is no package index")
    parser.add_argument("--cmake", action="append", default=[], metavar="OPTION", help="of this machine, such as -DCMAKE_CUDA_FLAGS=-I...")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    run = prepare(options)
    run.save()
    does = {"step": step, "arms": main_arms, "search": search, "best": best, "ablation": ablation, "errors": errors}
    for stage in options.stage or STAGES:
        does[stage](run)
    say(f"kept in {run.out}")


if __name__ == "__main__":
    main()
