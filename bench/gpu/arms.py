"""What is measured: servers that differ by their flags, and why each is here.

The guide's tuning is the command line that the adapter renders for `Pulumi.h100.yaml`; all that is tried against it is a change to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from local.rendering import render
from local.substitutions import pairs

STACK_FILE = Path(__file__).with_name("Pulumi.h100.yaml")
MODEL = "llama-3-8b"
PLACED = ("--model", "--host", "--port")
"""Flags of a rendered command line that say where a process is, and which serving.py gives."""
USERS = 100
"""The guide's load test."""
MEMORY_SHARE = 0.6
"""Of the untuned server's GPU memory, which the best one must stay below."""
PRECISIONS = {"F16": "fp16", "Q8_0": "int8", "Q4_0": "int4"}
"""The planner's words for the weights' types."""
_DEFAULT_SLOTS = 4

Options = Mapping[str, str | None]
"""Flag -> value, None for a switch."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    name: str
    because: str
    """What is looked for."""
    precision: str
    """Of the weights: a type of llama-quantize."""
    options: Options
    servers: int = 1
    environment: tuple[tuple[str, str], ...] = ()
    mps: bool = False
    """The servers share the GPU through NVIDIA's Multi-Process Service."""

    @property
    def slots(self) -> int:
        """Requests that all servers work on at once."""
        return self.servers * int(self.options.get("--parallel") or _DEFAULT_SLOTS)

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(part for flag, value in self.options.items() for part in ((flag,) if value is None else (flag, value)))

    def but(self, name: str, because: str, *, without: tuple[str, ...] = (), options: Options = MappingProxyType({}), **rest) -> Arm:
        """This one with some options set anew and others left out."""
        kept = {flag: value for flag, value in self.options.items() if flag not in without} | dict(options)
        return dataclasses.replace(self, name=name, because=because, options=kept, **rest)


UNTUNED = Arm(
    name="untuned",
    because="FP16, one slot, one request at a time, no flash attention",
    precision="F16",
    # Without a prompt cache in the host's memory, which costs this arm 0.36 s a request for nothing: no prompt comes twice.
    options={"--parallel": "1", "--flash-attn": "off", "--no-cont-batching": None, "--cache-ram": "0", "--fit": "off", "--metrics": None},
)
DEFAULTS = Arm(name="defaults", because="llama-server's own: FP16, 4 slots, flash attention", precision="F16", options={"--metrics": None})


def guide() -> Arm:
    """The adapter's command line, but for the model's path and the address."""
    workload = render(STACK_FILE, "h100", 1).workload
    options = {flag: value for flag, value in pairs(workload.shard.args) if flag not in PLACED}
    environment = tuple((one.name, one.value) for one in workload.shard.env if one.value is not None and one.name != "HOME")
    return Arm(name="guide", because="the guide's tuning as rendered", precision="Q8_0", options=options, environment=environment)


_F16_CACHE = {"--cache-type-k": "f16", "--cache-type-v": "f16"}
_ON_GPU = {"--backend-sampling": None}
_AS_OPENAI = {"--top-p": "1", "--min-p": "0"}
"""What a request of OpenAI's API that names neither gets; llama-server's own are 0.95 and 0.05, two more steps for each token."""
_THREADS = {"--threads-http": "132"}
"""No measured difference: a request holds a thread until it is answered, and beyond these threads the server starts others for a request
each (tools/server/server-http.cpp)."""


def _slots(count: int) -> dict[str, str | None]:
    """And a cache for so many requests of 132 tokens."""
    return {"--parallel": str(count), "--ctx-size": str((count * 136 + 255) // 256 * 256)} | _THREADS


def candidates(tuned: Arm) -> tuple[Arm, ...]:
    """For the best found: the one with the lowest p95 at 100 users that saves enough memory, and the fastest at any price."""
    best = tuned.but(
        "100 slots on the GPU, OpenAI's sampling",
        "one slot a user, tokens chosen on the GPU in as few steps as the request needs",
        options=_slots(100) | _F16_CACHE | _ON_GPU | _AS_OPENAI,
    )
    one_of_two = {"precision": "Q4_0", "servers": 2}
    return (
        tuned.but("64 slots on the GPU", "llama-server's own sampling, on the GPU", options=_slots(64) | _F16_CACHE | _ON_GPU),
        best,
        best.but("64 slots on the GPU, OpenAI's sampling", "fewer slots than users", options=_slots(64)),
        best.but("100 slots, OpenAI's sampling", "tokens chosen on the CPU", without=tuple(_ON_GPU)),
        best.but("100 slots on the GPU, cache for each", "a cache a slot: no attention to others' tokens", without=("--kv-unified",)),
        best.but("2 servers with MPS", "two threads that choose tokens", options=_slots(50), mps=True, **one_of_two),
        best.but(
            "4 servers with MPS, on the CPU", "four threads that choose tokens", options=_slots(25), without=tuple(_ON_GPU),
            precision="Q4_0", servers=4, mps=True,
        ),
        best.but(
            "8 servers with MPS, on the CPU", "eight threads that choose tokens", options=_slots(13), without=tuple(_ON_GPU),
            precision="Q4_0", servers=8, mps=True,
        ),
        best.but(
            "8 servers with MPS", "eight threads, tokens chosen on the GPU", options=_slots(13), precision="Q4_0", servers=8, mps=True,
        ),
        best.but("2 servers", "two threads that choose tokens, taking turns on the GPU", options=_slots(50), **one_of_two),
        best.but("100 slots on the GPU, FP16", "cuBLAS instead of llama.cpp's own INT8 products", precision="F16"),
        best.but("100 slots on the GPU, INT4", "half the bytes", precision="Q4_0"),
    )  # fmt: skip


def found(kept: dict) -> tuple[Arm, Arm]:
    """Of a results file's search: the lowest p95 in less than 60 % of the untuned server's memory, and the lowest at any price."""
    known = {arm.name: arm for arm in candidates(guide())}
    rows = sorted((row for row in kept["search"] if "error" not in row), key=lambda row: row["latency_p95_s"])
    untuned = max(row["memory_mib"] for row in kept["rows"] if row["arm"] == UNTUNED.name)
    small = [row for row in rows if row["memory_mib"] < MEMORY_SHARE * untuned]
    return known[(small or rows)[0]["arm"]], known[rows[0]["arm"]]


def ablation(tuned: Arm) -> tuple[Arm, ...]:
    """The guide's tuning with one setting at a time taken back or changed, named by it; the first and the last are the tuning itself.

    Where a name is `setting: value`, `engines/llama_cpp_measured.py` tells of it.
    """
    return (
        tuned.but("as rendered", "the noise of a repeat"),
        tuned.but("coordinator.config.dynamicBatching.enabled: false", "one request at a time", options={"--parallel": "1"}),
        tuned.but("coordinator.config.dynamicBatching.maxBatchSize: 64", "twice the slots", options={"--parallel": "64"}),
        tuned.but("model.kvCache.compression: false", "a cache in f16", options=_F16_CACHE),
        tuned.but("model.attention.flashAttention: false", "which takes compression with it", options=_F16_CACHE | {"--flash-attn": "off"}),
        tuned.but(
            "shard.env.CUDA_ENABLE_GRAPHS: false", "no CUDA graphs",
            environment=(*tuned.environment, ("GGML_CUDA_DISABLE_GRAPHS", "1")),
        ),
        tuned.but("model.quantization.enabled: false", "FP16 weights", precision="F16"),
        tuned.but("model.quantization.precision: int4", "half the bytes", precision="Q4_0"),
        tuned.but("shard.config.memoryMapping: false", "the file read instead of mapped", options={"--load-mode": "none"}),
        tuned.but("shard.config.workerThreads: 1", "one thread a pool", options={"--threads": "1", "--threads-batch": "1"}),
        tuned.but("shard.config.ioThreads: 40", "an HTTP thread a request", options={"--threads-http": "40"}),
        tuned.but("--cache-ram left out", "llama-server's prompt cache in the host's memory", without=("--cache-ram",)),
        tuned.but(
            "coordinator.config.dynamicBatching.adaptiveBatching: false", "requests join only when all have ended",
            without=("--cont-batching",), options={"--no-cont-batching": None},
        ),
        tuned.but("--kv-unified left out", "a cache a slot", without=("--kv-unified",)),
        tuned.but("as rendered, again", "the noise of a repeat"),
    )  # fmt: skip


def too_large(tuned: Arm) -> Arm:
    return tuned.but("too large a cache", "what the server says when memory does not suffice", options={"--ctx-size": "4194304"})
