"""The measured vLLM: an installed release, checkpoints with random weights, and the servers that differ by their flags.

The release is newer than the one that `engines/vllm/` renders for, because it must run with the PyTorch of the measured machine.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from bench.gpu import checkpoint
from bench.gpu.arms import Arm, Options
from bench.gpu.deployed import SIZE, Deployed, deployed
from planner.catalogue.model_shapes import ModelShape
from serve.substitutions import pairs

VERSION = "0.20.2"
_PLACED = ("--served-model-name", "--host", "--port")
"""The flags of a rendered command line that contain the address and the name of a process."""
_OURS = ("HOME", "USER")
"""Variables of a pod that a local process has anyway."""
_DEFAULT_SLOTS = 1024
"""The default of an API server on a GPU with at least 70 GiB (vllm/engine/arg_utils.py, get_batch_defaults)."""
_GIB = 1 << 30

_SAME_CACHE = {"--kv-cache-memory-bytes": str(16 * _GIB), "--max-model-len": "8192"}
"""The cache of the guide's tuning here, so that the measured memory is meaningful: vLLM would use 92 % of the GPU."""
UNTUNED = Arm(
    name="untuned",
    because="FP16, one request at a time, no flash attention, no compiled graphs, nothing reused or overlapped",
    precision="F16",
    options={
        "--dtype": "half", "--max-num-seqs": "1", "--attention-backend": "TRITON_ATTN", "--enforce-eager": None,
        "--no-enable-prefix-caching": None, "--no-enable-chunked-prefill": None, "--max-num-batched-tokens": "8192",
        "--no-async-scheduling": None, **_SAME_CACHE,
    },
)  # fmt: skip
DEFAULTS = Arm(name="defaults", because="vLLM's own: FP16, 1024 sequences, 92 % of the GPU's memory", precision="F16", options={})


def guide(pod: Deployed) -> Arm:
    _, _, *rest = pod.server.args  # serve, and the model's path
    options = {flag: value for flag, value in pairs(rest) if flag not in _PLACED}
    environment = tuple((name, value) for name, value in pod.environment.items() if name not in _OURS)
    return Arm(name="guide", because="the guide's tuning as rendered", precision="INT8", options=options, environment=environment)


_ON_HOST = ("--kv-offloading-size", "--kv-offloading-backend", "--disable-hybrid-kv-cache-manager")
_16_BIT_CACHE = {"--kv-cache-dtype": "auto"}
_FP16: dict[str, Any] = {"precision": "F16", "without": ("--quantization",)}


def _sequences(count: int, gib: float) -> dict[str, str | None]:
    """Returns the options for this number of sequences at once and a cache of this size in GiB."""
    return {"--max-num-seqs": str(count), "--kv-cache-memory-bytes": str(int(gib * _GIB))}


_SECOND_RUNNER = ("VLLM_USE_V2_MODEL_RUNNER", "1")
"""The second model runner, off by default in this release; it takes less work of one thread per step (vllm/v1/worker/gpu)."""


def candidates(tuned: Arm) -> tuple[Arm, ...]:
    second = (*tuned.environment, _SECOND_RUNNER)
    fast = tuned.but("FP8, 1024 sequences", "no queue, and FP8 products", precision="FP8", options=_sequences(1024, 9))
    unhashed = {"without": ("--enable-prefix-caching",)}
    plain = {"--no-enable-prefix-caching": None, "--scheduling-policy": "fcfs"}
    lean = fast.but("FP8, lean", "no prompt hashed, first come first served", options=plain, **unhashed)
    return (
        fast,
        fast.but("FP8, 1024 sequences, 4 API servers", "four processes that turn tokens into text", options={"--api-server-count": "4"}),
        lean,
        lean.but("FP8, lean, second model runner", "less work between steps", environment=second),
        lean.but("INT4, lean", "half the bytes", precision="INT4", options=_sequences(384, 2.5)),
        lean.but("2 servers with MPS, FP8, lean", "two threads that plan steps", servers=2, mps=True,
                 options=_sequences(512, 4.5) | {"--gpu-memory-utilization": "0.3"}),
        fast.but("FP8, 1024 sequences, second model runner", "less work between steps", environment=second),
        tuned.but("INT4, 128 sequences, second model runner", "what 60 % of the untuned memory has room for", precision="INT4",
                  options=_sequences(128, 1), environment=second),
    )  # fmt: skip


def ablation(tuned: Arm) -> tuple[Arm, ...]:
    return (
        tuned.but("as rendered", "the noise of a repeat"),
        tuned.but("coordinator.config.dynamicBatching.enabled: false", "one request at a time", options={"--max-num-seqs": "1"}),
        tuned.but("coordinator.config.dynamicBatching.maxBatchSize: 32", "as the guide has it", options={"--max-num-seqs": "32"}),
        tuned.but("coordinator.config.dynamicBatching.maxBatchSize: 128", "a sequence a user", options={"--max-num-seqs": "128"}),
        tuned.but("caching.l1Cache.enabled: false", "nothing of prompts kept on the host", without=_ON_HOST),
        tuned.but("model.quantization.enabled: false", "FP16 weights", options={"--dtype": "bfloat16"}, **_FP16),
        tuned.but("model.quantization.precision: fp8", "FP8 products instead of INT8", precision="FP8"),
        tuned.but("shard.env.CUDA_ENABLE_GRAPHS: false", "no CUDA graphs and no compiled kernels", options={"--enforce-eager": None}),
        tuned.but("model.kvCache.compression: false", "a cache of 16 bits", options=_16_BIT_CACHE),
        tuned.but("model.attention.flashAttention: false", "which takes compression with it",
                  options=_16_BIT_CACHE | {"--attention-backend": "TRITON_ATTN"}),
        tuned.but("--no-async-scheduling", "the next step planned after the last", options={"--no-async-scheduling": None}),
        tuned.but("--no-enable-prefix-caching", "nothing hashed: no prompt comes twice",
                  without=("--enable-prefix-caching",), options={"--no-enable-prefix-caching": None}),
        tuned.but("as rendered, again", "the noise of a repeat"),
    )  # fmt: skip


def too_large(tuned: Arm) -> Arm:
    cache = {"--kv-cache-memory-bytes": str(200 * _GIB)}
    return tuned.but("too large a cache", "what the server says when memory does not suffice", options=cache)


@dataclass(kw_only=True)
class Vllm:
    """Implements `arms.Engine`."""

    name: ClassVar[str] = "vllm"
    package: ClassVar[str] = f"vllm {VERSION}"
    precisions: ClassVar[Mapping[str, str]] = {"F16": "fp16", "FP8": "fp8", "INT8": "int8", "INT4": "int4"}
    untuned: ClassVar[Arm] = UNTUNED
    defaults: ClassVar[Arm] = DEFAULTS
    warm_up_s: ClassVar[float] = 10
    search_users: ClassVar[int] = 400
    ablation_users: ClassVar[int] = 100
    most_users: ClassVar[int] = 1024
    together: ClassVar[Options] = MappingProxyType({"--gpu-memory-utilization": "0.2"})
    """The share of memory that must be free at start; the cache has its own size in all arms but the defaults."""
    complaint: ClassVar[re.Pattern[str]] = re.compile(r"(?:\(\w+ pid=\d+\) )?((?:\w+\.)*\w*(?:Error|Exception): .+)")
    """A pattern for the last line of a traceback, of any process."""
    start_seconds: ClassVar[float] = 400
    """The longest time that a server may take to start; the first one of a kind compiles its kernels."""

    programs: Path
    """The folder with `vllm` and `python3` of the environment that has vLLM."""
    work: Path
    """The folder for checkpoints."""
    size: str = SIZE
    """The VM size whose pods are measured; it has this machine's GPU."""

    candidates = staticmethod(candidates)
    ablation = staticmethod(ablation)
    too_large = staticmethod(too_large)

    def pod(self) -> Deployed:
        return deployed("vllm", self.size)

    def guide(self) -> Arm:
        return guide(self.pod())

    def rank(self, row: dict) -> float:
        return -row["requests_s"]

    def steps(self, arm: Arm) -> str | None:
        """Returns the steps; each of several API servers counts all of them or none."""
        return None if "--api-server-count" in arm.options else "vllm:iteration_tokens_total_count"

    def slots(self, arm: Arm) -> int:
        return arm.servers * int(arm.options.get("--max-num-seqs") or _DEFAULT_SLOTS)

    def about(self, arm: Arm) -> dict[str, str]:
        kept = {"kv_precision": "fp8"} if arm.options.get("--kv-cache-dtype") == "fp8" else {}
        return {"engine_version": VERSION} | kept

    def made(self, shape: ModelShape) -> dict[str, object]:
        for precision in self.precisions:
            folder = self._model(precision)
            if not (folder / checkpoint.DONE).exists():
                checkpoint.describe(folder, shape, precision)
                self._run(str(Path(checkpoint.__file__)), str(folder), precision)
        version = self._run("-c", "import vllm, torch; print(vllm.__version__, torch.__version__)").split()[-2:]
        return {"version": f"vLLM {version[0]} with PyTorch {version[1]}"}

    def step_times(self) -> list[dict[str, object]]:
        return []

    def command(self, arm: Arm, host: str, port: int) -> list[str]:
        return [str(self.programs / "vllm"), "serve", str(self._model(arm.precision)), "--host", host, "--port", str(port), *arm.flags]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([self.programs / "python3", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{self.programs / 'python3'} {arguments[0]}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout

    def _model(self, precision: str) -> Path:
        return self.work / "checkpoints" / precision
