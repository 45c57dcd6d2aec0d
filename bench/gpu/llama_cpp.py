"""The measured llama.cpp: its programs and models, and the servers that differ by their flags."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from bench.gpu import llama_cpp_build, load
from bench.gpu.arms import Arm, Options
from bench.gpu.deployed import SIZE, Deployed, deployed
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts.llama_cpp import TRAITS
from serve.substitutions import pairs

_PLACED = ("--model", "--host", "--port")
"""The flags of a rendered command line that contain the address of a process."""
_ONE_CACHE: dict[str, Any] = {"without": ("--no-kv-unified",), "options": {"--kv-unified": None}}
"""One cache that all slots share. The results of 2026-11-25 were measured with it. Their arms `--kv-unified left out` and `100 slots on the
GPU, cache for each` have a cache per slot, as pods have had since then, and are as fast."""
_DEFAULT_SLOTS = 4
_PROGRAM = "llama-server"

UNTUNED = Arm(
    name="untuned",
    because="FP16, one slot, one request at a time, no flash attention",
    precision="F16",
    # Without a prompt cache in the host's memory, which costs this arm 0.36 s a request for nothing: no prompt comes twice.
    options={"--parallel": "1", "--flash-attn": "off", "--no-cont-batching": None, "--cache-ram": "0", "--fit": "off", "--metrics": None},
)
DEFAULTS = Arm(name="defaults", because="llama-server's own: FP16, 4 slots, flash attention", precision="F16", options={"--metrics": None})


def guide(pod: Deployed) -> Arm:
    options = {flag: value for flag, value in pairs(pod.server.args) if flag not in _PLACED}
    environment = tuple((name, value) for name, value in pod.environment.items() if name != "HOME")
    return Arm(name="guide", because="the guide's tuning as rendered", precision="Q8_0", options=options, environment=environment)


_F16_CACHE = {"--cache-type-k": "f16", "--cache-type-v": "f16"}
_ON_GPU = {"--backend-sampling": None}
_AS_OPENAI = {"--top-p": "1", "--min-p": "0"}
"""The values for requests of OpenAI's API that set neither; llama-server's own are 0.95 and 0.05, which take two more steps per token."""
_THREADS = {"--threads-http": "132"}
"""This makes no measurable difference: a request holds a thread until it is answered, and the server starts another thread for each request
beyond these (tools/server/server-http.cpp)."""


def _slots(count: int) -> dict[str, str | None]:
    """Returns the options for this number of slots, each with the smallest possible part of the cache; a request has 132 tokens."""
    return {"--parallel": str(count), "--ctx-size": str(count * (TRAITS.slot_tokens or 1))} | _THREADS


def candidates(tuned: Arm) -> tuple[Arm, ...]:
    best = tuned.but(
        "100 slots on the GPU, OpenAI's sampling",
        "one slot a user, tokens chosen on the GPU in as few steps as the request needs",
        options=_slots(100) | _F16_CACHE | _ON_GPU | _AS_OPENAI,
    )
    one_of_two: dict[str, Any] = {"precision": "Q4_0", "servers": 2}
    return (
        tuned.but("64 slots on the GPU", "llama-server's own sampling, on the GPU", options=_slots(64) | _F16_CACHE | _ON_GPU),
        best,
        best.but("64 slots on the GPU, OpenAI's sampling", "fewer slots than users", options=_slots(64)),
        best.but("100 slots, OpenAI's sampling", "tokens chosen on the CPU", without=tuple(_ON_GPU)),
        best.but("100 slots on the GPU, one cache", "a cache that all slots share", **_ONE_CACHE),
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


def ablation(tuned: Arm) -> tuple[Arm, ...]:
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
        tuned.but("--kv-unified", "a cache that all slots share", **_ONE_CACHE),
        tuned.but("as rendered, again", "the noise of a repeat"),
    )  # fmt: skip


def too_large(tuned: Arm) -> Arm:
    return tuned.but("too large a cache", "what the server says when memory does not suffice", options={"--ctx-size": "4194304"})


@dataclass(kw_only=True)
class LlamaCpp:
    """Implements `arms.Engine`."""

    name: ClassVar[str] = "llama.cpp"
    package: ClassVar[str] = llama_cpp_build.PACKAGE
    precisions: ClassVar[Mapping[str, str]] = {"F16": "fp16", "Q8_0": "int8", "Q4_0": "int4"}
    """The types of llama-quantize."""
    untuned: ClassVar[Arm] = UNTUNED
    defaults: ClassVar[Arm] = DEFAULTS
    warm_up_s: ClassVar[float] = 32
    search_users: ClassVar[int] = 100
    ablation_users: ClassVar[int] = 32
    """The number of users of the ablations: as many as slots, so that a change shows in both latency and throughput."""
    most_users: ClassVar[int] = 100
    together: ClassVar[Options] = MappingProxyType({})
    complaint: ClassVar[re.Pattern[str]] = re.compile(r"[\d.]+ E (.+)")
    start_seconds: ClassVar[float] = 120

    programs: Path | None
    """The folder of the programs; None builds them."""
    work: Path
    """The folder for sources and models."""
    sdist: Path | None = None
    """The archive of the sources; None downloads it."""
    size: str = SIZE
    """The VM size whose pods are measured; it has this machine's GPU."""
    cmake: tuple[str, ...] = ()
    """CMake options for this machine only."""

    candidates = staticmethod(candidates)
    ablation = staticmethod(ablation)
    too_large = staticmethod(too_large)

    def pod(self) -> Deployed:
        return deployed("llama_cpp", self.size)

    def guide(self) -> Arm:
        return guide(self.pod())

    def rank(self, row: dict) -> float:
        return row["latency_p95_s"]

    def steps(self, arm: Arm) -> str | None:
        return "llamacpp:n_decode_total"

    def slots(self, arm: Arm) -> int:
        return arm.servers * int(arm.options.get("--parallel") or _DEFAULT_SLOTS)

    def about(self, arm: Arm) -> dict[str, str]:
        return {}

    def made(self, shape: ModelShape) -> dict[str, object]:
        from bench.gpu import gguf_weights  # what it imports is not needed to know the arms

        built: dict[str, object] = {}
        if self.programs is None:
            sdist = self.sdist or llama_cpp_build.fetch(self.work)
            self.programs, built = llama_cpp_build.build(sdist, self.work / "source", self.cmake)
        for precision in self.precisions:
            file = self._model(precision)
            if not file.exists() and precision == "F16":
                gguf_weights.write(shape, file)
            elif not file.exists():
                gguf_weights.quantize(self.programs, self._model("F16"), file, precision)
        return built | {"version": llama_cpp_build.version(self.programs)}

    def step_times(self) -> list[dict[str, object]]:
        """Measures with llama-batched-bench, whose sequences have separate parts of the cache anyway."""
        assert self.programs is not None, "made() comes first"
        found: list[dict[str, object]] = []
        for precision, name in self.precisions.items():
            batches, tokens = "1,4,16,32,64,100", str(100 * (TRAITS.slot_tokens or 1))
            command = [self.programs / "llama-batched-bench", "-m", self._model(precision), "-ngl", "99", "-fa", "on", "-c", tokens]
            command += ["-npp", str(load.PROMPT_TOKENS), "-ntg", "50", "-npl", batches, "--output-format", "jsonl"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            found += [{"precision": name, "sequences": line["pl"], "step_ms": round(line["t_tg"] / line["tg"] * 1e3, 2)} for line in lines]
        return found

    def command(self, arm: Arm, host: str, port: int) -> list[str]:
        assert self.programs is not None, "made() comes first"
        return [str(self.programs / _PROGRAM), "--model", str(self._model(arm.precision)), "--host", host, "--port", str(port), *arm.flags]

    def _model(self, precision: str) -> Path:
        return self.work / "models" / f"{precision}.gguf"
