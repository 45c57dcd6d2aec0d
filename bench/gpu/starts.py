# /// script
# requires-python = ">=3.11"
# dependencies = ["aiohttp==3.14.5", "nvidia-ml-py", "psutil", "pydantic==2.14.4", "PyYAML==6.0.4"]
# ///
"""Starts vLLM's servers with the command lines of prod's pods on this machine's GPU, and tests each with a chat, a completion and a stream.

    uv venv -p 3.12 vllm && uv pip install -p vllm vllm==0.17.1
    uv run --script bench/gpu/starts.py --programs vllm/bin

Servers of a group start together and share a GPU. After each group it writes `bench/results/starts_<card>_vllm.json`: each rendered command
line, how the process differed from the pod, whether it started or what its log says, and its answers.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from bench.gpu import asking, checkpoint, load  # noqa: E402
from bench.gpu.arms import Arm  # noqa: E402
from bench.gpu.card import Card  # noqa: E402
from bench.gpu.deployed import Deployed, as_rows, deployed, differences  # noqa: E402
from bench.gpu.lines import GROUPS, Group, Line  # noqa: E402
from bench.gpu.serving import HOST, NotServing, Servers, serving  # noqa: E402
from bench.gpu.vllm import Vllm  # noqa: E402
from planner.catalogue import model_shapes  # noqa: E402
from toolchain.cache import Cache  # noqa: E402

A_FREE_PORT = "one that is free"
WARM_UP_S = 5
WINDOW_S = 15
_TOLD = re.compile(
    r"(GPU KV cache size: [\d,]+ tokens|Using \S+ attention backend|Using FlashAttention version \d|Selected \S+ for \S+"
    r"|Model loading took [\d.]+ GiB)"
)
"""Patterns of log lines about the cache and the chosen kernels."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Provides commands for `serving`, made from those of the pods."""

    line: Line
    pod: Deployed
    programs: Path
    checkpoints: Path
    shared: bool

    name = "vllm"
    complaint = Vllm.complaint
    start_seconds: float

    def steps(self, arm: Arm) -> None:
        return None

    @property
    def model(self) -> Path:
        return self.checkpoints / f"{self.line.model}-{self.line.checkpoint}"

    def command(self, arm: Arm, host: str, port: int | str) -> list[str]:
        instead = {"serve": str(self.model), "--host": host, "--port": str(port)}
        if self.shared:
            instead |= {flag: value for flag, value in Vllm.together.items() if value is not None}
        if not self.line.from_disk:
            instead["--load-format"] = "dummy"
        made = [str(self.programs / "vllm")]
        for before, one in zip(("", *self.pod.server.args), self.pod.server.args, strict=False):
            made.append(instead.get(before, one))
        return made

    @property
    def arm(self) -> Arm:
        return Arm(
            name=self.line.name, because="", precision=self.line.checkpoint, options={}, environment=tuple(self.pod.environment.items())
        )


@dataclass(kw_only=True)
class Run:
    programs: Path
    work: Path
    out: Path
    package: str
    """Returns the name and release of the program, and the rest of its environment."""
    start_seconds: float
    deadline: float
    kept: dict

    def save(self) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.kept, indent=1) + "\n")

    def group(self, group: Group) -> None:
        rendered = [self.rendered(line, shared=len(group.lines) > 1) for line in group.lines]
        self.checkpoints(rendered)
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(rendered)) as pool:
            up = list(pool.map(lambda one: self.start(one, stack), rendered))
            # One after the other: each has the GPU to itself while it is asked.
            for one, (row, servers) in zip(rendered, up, strict=True):
                if servers is not None:
                    self.ask(one, row, servers)
                others = [kept for kept in self.kept["lines"] if (kept["rendered"], kept["ran"]) != (row["rendered"], row["ran"])]
                self.kept["lines"] = [*others, row]
                self.save()
            # All at once: each takes seconds to end.
            for process in (process for _, servers in up if servers for process in servers.processes):
                os.kill(process, signal.SIGTERM)

    def rendered(self, line: Line, *, shared: bool) -> Rendered:
        pod = deployed("vllm", line.size, line.model, line.changes)
        return Rendered(
            line=line,
            pod=pod,
            programs=self.programs,
            checkpoints=self.work / "checkpoints",
            shared=shared,
            start_seconds=self.start_seconds,
        )

    def checkpoints(self, rendered: list[Rendered]) -> None:
        """Creates missing checkpoints, in parallel."""
        made = {one.model: one for one in rendered}
        for folder, one in made.items():
            checkpoint.describe(folder, model_shapes.models()[one.line.model], one.line.checkpoint)
        fills = [
            subprocess.Popen([self.programs / "python3", checkpoint.__file__, folder, one.line.checkpoint])
            for folder, one in made.items()
            if one.line.from_disk and not (folder / checkpoint.DONE).exists()
        ]
        if any([fill.wait() for fill in fills]):
            raise SystemExit("a checkpoint could not be made")

    def start(self, one: Rendered, stack: contextlib.ExitStack) -> tuple[dict, Servers | None]:
        line, pod = one.line, one.pod
        command = [one.model.name if part == str(one.model) else part for part in one.command(one.arm, HOST, A_FREE_PORT)]
        row = {
            "name": line.name,
            "ran": self.package,
            "stack": "Pulumi.prod.yaml",
            "changed": {"engine": "vllm", "gpuPool.vmSize": line.size, "model.name": line.model, "sharding.shardsCount": 1, **line.changed},
            "rendered": shlex.join(("vllm", *pod.server.args)),
            "environment": pod.environment,
            "differs": as_rows(differences(pod.server, command[1:], pod.environment, self.package)),
            "cache_tokens_planned": pod.plan.memory.tokens,
        }
        started = time.monotonic()
        try:
            servers = stack.enter_context(serving(one.arm, one, self.work / "logs"))
        except NotServing as error:
            say(f"{line.name}: {error}")
            return row | {"started": False, "error": str(error)}, None
        seconds = round(time.monotonic() - started, 1)
        say(f"{line.name}: ready after {seconds} s")
        return row | {"started": True, "start_s": seconds}, servers

    def ask(self, one: Rendered, row: dict, servers: Servers) -> None:
        [url], model = servers.urls, one.line.model
        row["log"] = self.log(one)
        row["answered"] = {}
        for kind, ask in asking.KINDS.items():
            try:
                row["answered"][kind] = ask(url, model)
            except (OSError, ValueError, KeyError) as error:
                row["answered"][kind] = {"error": str(error)[:500]}
        say(f"{one.line.name}: {row['answered']}")
        if one.line.load and time.monotonic() + WARM_UP_S + WINDOW_S + 5 < self.deadline:
            row["load"] = self.load(url, one)
            say(f"{one.line.name}: {row['load']}")
        if one.line.read_back and time.monotonic() + 30 < self.deadline:
            row["read_back"] = asking.read_back(url, model, one.pod.plan.shape.context, one.pod.plan.memory.tokens)
            say(f"{one.line.name}: {row['read_back']}")

    def load(self, url: str, one: Rendered) -> dict:
        plan = one.pod.plan
        slots = plan.settings.coordinator.config.dynamic_batching.max_batch_size
        users = plan.settings.load_test.concurrent_users
        try:
            # The server has the model's name where the users send none.
            return asdict(load.run([url], users, slots, plan.shape.vocab, WARM_UP_S, WINDOW_S))
        except (load.TooShort, RuntimeError) as error:
            return {"error": str(error)[:500]}

    def log(self, one: Rendered) -> list[str]:
        name = re.sub(r"[^A-Za-z0-9_.]+", "-", one.line.name)
        text = (self.work / "logs" / f"{name}-0.log").read_text(errors="replace")
        return list(dict.fromkeys(_TOLD.findall(text)))


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _package(programs: Path) -> str:
    ask = "import vllm, torch; print(f'vllm {vllm.__version__} with PyTorch {torch.__version__}')"
    done = subprocess.run([programs / "python3", "-c", ask], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def _chosen(names: list[str] | None) -> Iterator[Group]:
    known = {group.name: group for group in GROUPS}
    for name in names or known:
        yield known[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=Path, required=True, help="a folder with `vllm` and `python3` of an environment with vLLM")
    parser.add_argument("--group", action="append", choices=[group.name for group in GROUPS], help="only this one (default: all)")
    parser.add_argument("--work", type=Path, default=Cache.of_user().root / "gpu", help="for checkpoints and logs")
    parser.add_argument("--seconds", type=float, default=3600, metavar="S", help="measure nothing that would end later (default: 3600)")
    parser.add_argument("--out", type=Path, help="the file (default: bench/results/starts_<card>_vllm.json)")
    parser.add_argument("--start-seconds", type=float, default=Vllm.start_seconds, metavar="S", help="longest start of a server")
    parser.add_argument("--note", help="what else is to be known of the environment that vLLM is in, kept with each line")
    parser.add_argument("--add", action="store_true", help="keep what the file has of other lines")
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    machine = Card().described()
    name = re.sub(r"[^a-z0-9]+", "_", machine["gpu"].lower()).strip("_")
    out = options.out or ROOT / "bench" / "results" / f"starts_{name}_vllm.json"
    kept: dict[str, Any] = json.loads(out.read_text()) if options.add and out.exists() else {"lines": []}
    kept |= {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "machine": machine}
    run = Run(
        programs=options.programs.absolute(), work=options.work.absolute(), out=out, deadline=deadline, kept=kept,
        package="; ".join(filter(None, (_package(options.programs.absolute()), options.note))), start_seconds=options.start_seconds,
    )  # fmt: skip
    for group in _chosen(options.group):
        if time.monotonic() < deadline:
            run.group(group)
    say(f"kept in {out}")


if __name__ == "__main__":
    main()
