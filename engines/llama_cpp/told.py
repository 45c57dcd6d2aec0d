"""What llama-server is told of each setting, read back from its command line; and why not, with what to use instead.

A setting that no flag follows from is held by nothing but the engine's name (`Told.field` is empty). Those that have one value with
which the engine can live are in `planner/engine_facts/llama_cpp.py`: the planner gives them that value, and here it is in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from engines import ablations, read_back
from engines.envoy import told as envoy_told
from engines.pods import effects, nowhere, switches
from engines.workload import Role, Server, Told
from planner.engine_facts import traits
from planner.engine_facts.llama_cpp import RELEASE
from settings import StackSettings
from settings.flatten import leaves

_ENGINE = "llama_cpp"
_SOURCE = f"ggml-org/llama.cpp {RELEASE}"
_README = f"{_SOURCE} tools/server/README.md"

_FLAGS: tuple[tuple[str, str], ...] = (
    ("model.name", "--model"),
    ("shard.config.memoryMapping", "--load-mode"),
    ("shard.config.workerThreads", "--threads"),
    ("shard.config.workerThreads", "--threads-batch"),
    ("shard.config.ioThreads", "--threads-http"),
    ("model.attention.flashAttention", "--flash-attn"),
    ("model.kvCache.compression", "--cache-type-k"),
    ("model.kvCache.compression", "--cache-type-v"),
    ("coordinator.config.dynamicBatching.maxBatchSize", "--parallel"),
    ("sharding.strategy", "--split-mode"),
    ("sharding.layersPerShard", "--n-gpu-layers"),
)
"""Settings that a flag has the value of."""

_SLOT = (
    "--ctx-size is divided by --parallel into slots of a multiple of 256 tokens, one for each request: a prompt that is no shorter than "
    "its slot is refused with 400, and an answer ends where the slot is full, with finish_reason length"
)
_CONTEXT = f"{_SOURCE} src/llama-context.cpp"
_ANY_PIPELINE = "every pipeline holds all layers, so a request may go to any of them"
_ONE_PROCESS = "a pipeline is one process: no tensors cross the network"
_NO_FLAG: tuple[tuple[str, str, str], ...] = (
    (
        "shard.config.enableMixedPrecision",
        "there is no such switch: the kernel of each tensor follows from its type in the GGUF file",
        f"{_SOURCE} ggml/src/ggml-cuda/ggml-cuda.cu",
    ),
    ("shard.config.serializationFormat", _ONE_PROCESS, _README),
    ("shard.config.compressionEnabled", _ONE_PROCESS, _README),
    ("shard.config.compressionAlgorithm", _ONE_PROCESS, _README),
    (
        "model.quantization.dynamic",
        "scales are in the GGUF file, one for 32 weights, as llama-quantize wrote them",
        f"{_SOURCE} ggml/src/ggml-common.h, block_q8_0",
    ),
    (
        "model.quantization.calibrationDataset",
        "read when the GGUF file is made, not when it is served: llama-imatrix, then llama-quantize --imatrix",
        f"{_SOURCE} tools/imatrix/README.md",
    ),
    ("sharding.overlapLayers", "one process holds every layer once", _README),
    (
        "sharding.loadBalancing",
        "nothing is balanced within a pipeline; between pipelines coordinator.config.loadBalancingStrategy decides",
        _README,
    ),
    (
        "coordinator.config.dynamicBatching.batchTimeout",
        "nothing waits for company: a request joins the batch at its next token",
        f"{_SOURCE} tools/server/server-context.cpp",
    ),
    (
        "coordinator.config.dynamicBatching.priorityBatching",
        "requests are taken in the order in which they come",
        f"{_SOURCE} tools/server/server-queue.cpp",
    ),
)
"""Settings without a flag: key, why, source."""

_READ_BY_CUDA = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_CACHE_PATH")
_CUDA_GUIDE = "NVIDIA CUDA programming guide: environment variables"
_NOT_READ = {
    "CUDA_MEMORY_POOL_SIZE": ("weights and cache are allocated once, at start; --ctx-size bounds them", _README),
    "GC_INITIAL_HEAP_SIZE": ("llama-server is C++ and collects no garbage", _README),
    "GC_MAXIMUM_HEAP_SIZE": ("llama-server is C++ and collects no garbage", _README),
    "GC_THREADS": ("llama-server is C++ and collects no garbage", _README),
    "ENABLE_AVX512": ("the image has a build for each kind of CPU and takes the best at start", f"{_SOURCE} .devops/cuda.Dockerfile"),
    "OPENBLAS_NUM_THREADS": ("the image has no OpenBLAS; shard.config.workerThreads is --threads", f"{_SOURCE} .devops/cuda.Dockerfile"),
    "MKL_NUM_THREADS": ("the image has no MKL; shard.config.workerThreads is --threads", f"{_SOURCE} .devops/cuda.Dockerfile"),
}


def told(settings: StackSettings, coordinator: Server, shard: Server, gguf_type: str) -> tuple[Told, ...]:
    """`gguf_type`: of the weights that the plan has counted."""
    given = leaves(settings)
    servers: Mapping[Role, Server] = {"coordinator": coordinator, "shard": shard}
    return (
        *effects(given, servers),
        *envoy_told.told(given, coordinator, shard),
        *ablations.added(_ENGINE, _by_engine(settings, given, shard, gguf_type)),
        *(nowhere(_ENGINE, key, given[key], because, source) for key, because, source in _NO_FLAG if key in given),
        *(nowhere(_ENGINE, key, given[key], _ANY_PIPELINE, _README) for key in given if key.startswith("sharding.affinityRules")),
        *switches(_ENGINE, traits(_ENGINE).fixed_settings, given),
    )


def _by_engine(settings: StackSettings, given: Mapping[str, str], shard: Server, gguf_type: str) -> Iterator[Told]:
    of_flags = [read_back.in_args(key, "shard", shard, flag) for key, flag in _FLAGS if key in given]
    of_flags += _translated(settings, shard, gguf_type)
    yield from of_flags
    yield from _environment(given, shard, of_flags)


def _translated(settings: StackSettings, shard: Server, gguf_type: str) -> Iterator[Told]:
    """Settings that a flag follows from without having their value."""

    def by(key: str, flag: str, given: str, because: str, source: str = _README) -> Told:
        said = read_back.in_args(key, "shard", shard, flag)
        return replace(said, outcome="translated", given=given or f"{flag} {said.holds}", because=because, source=source)

    file = f"the file's type, which should be {gguf_type}"
    from_file = "weights have the precision of the GGUF file, which llama-quantize makes"
    quantize = f"{_SOURCE} tools/quantize/README.md"
    yield by("model.quantization.enabled", "--model", file, from_file, quantize)
    yield by("model.quantization.precision", "--model", file, from_file, quantize)
    counted = "the plan counts weights, buffers and cache, and the server is given a cache of so many tokens for all its slots"
    yield by("model.kvCache.maxCacheSize", "--ctx-size", "", counted)
    yield by("shard.config.gpuMemoryFraction", "--ctx-size", "", counted)
    yield by("shard.config.allowGpuMemoryGrowth", "--ctx-size", "false", "weights and cache are allocated at start, whatever is asked")
    if settings.coordinator.limits.request_tokens is not None:
        slots, cells = (int(read_back.in_args("", "shard", shard, flag).holds or 0) for flag in ("--parallel", "--ctx-size"))
        yield by("coordinator.limits.requestTokens", "--ctx-size", f"{cells // slots} in each of {slots} slots", _SLOT, _CONTEXT)
    batching = settings.coordinator.config.dynamic_batching
    flag = "--cont-batching" if batching.enabled else "--no-cont-batching"
    continuous = "continuous batching takes requests of any length in at each token"
    yield read_back.in_args("coordinator.config.dynamicBatching.enabled", "shard", shard, flag)
    yield by("coordinator.config.dynamicBatching.adaptiveBatching", flag, flag, continuous)
    fused = "the fused kernels are those of flash attention"
    yield by("model.attention.fusedAttention", "--flash-attn", "", fused, f"{_SOURCE} ggml/src/ggml-cuda")
    yield by("shard.config.threadScheduler", "--prio", "", "the server sets a priority, and leaves the scheduler's class as it is")
    yield replace(
        read_back.in_field("shard.config.threadPinning", "shard", shard, ("limits", "cpu")),
        outcome="translated",
        given="CPUs of the pod's own, by the kubelet's static policy" if settings.shard.config.thread_pinning else "false",
        because="--cpu-range counts the node's CPUs, and which of them a pod gets is not known before it runs",
        source="kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies",
    )


_PREFIX = "LLAMA_ARG_"
_VARIABLES = {
    "--parallel": "N_PARALLEL",
    "--metrics": "ENDPOINT_METRICS",
    "--no-slots": "ENDPOINT_SLOTS",
    # These two have none.
    "--threads-batch": "",
    "--prio": "",
}
"""Flags whose variable is not named as they are."""


def variable_of(flag: str) -> str | None:
    """What llama-server reads in place of a flag, such as `LLAMA_ARG_CTX_SIZE` for `--ctx-size`; None where there is no such variable."""
    name = _VARIABLES.get(flag, flag.removeprefix("--").removeprefix("no-").upper().replace("-", "_"))
    return f"{_PREFIX}{name}" if name else None


def _of_a_flag(said: Told, name: str, shard: Server, by_engine: Iterable[Told]) -> Told:
    """A variable that stands for one of llama-server's flags: the command line has the last word."""
    positive = name.replace(f"{_PREFIX}NO_", _PREFIX)
    flag = next((one for one in shard.args if one.startswith("--") and variable_of(one) == positive), None)
    if flag is None:
        reads = "llama-server reads it in place of a flag; a name that it does not know is ignored, and the plan counts with none of them"
        return replace(said, because=reads, source=_README)
    holds = read_back.in_args("", "shard", shard, flag).holds
    keys = dict.fromkeys(one.key for one in by_engine if one.field == ("args", flag))
    instead = f"; what decides it: {', '.join(keys)}" if keys else "; it is no setting"
    return replace(
        said,
        outcome="translated",
        given=flag if holds == flag else f"{flag} {holds}",
        because=f"llama-server overwrites the variable with the flag of its command line{instead}",
        source=f"{_SOURCE} common/arg.cpp",
    )


def _environment(given: Mapping[str, str], shard: Server, by_engine: Iterable[Told]) -> Iterator[Told]:
    graphs = any(one.name == "GGML_CUDA_DISABLE_GRAPHS" for one in shard.env)
    for said in read_back.in_environment(given, "shard.env", "shard", shard):
        name = str(said.field[1])
        if name in _READ_BY_CUDA:
            yield replace(said, outcome="in force", source=_CUDA_GUIDE)
        elif name == "CUDA_ENABLE_GRAPHS":
            how = "GGML_CUDA_DISABLE_GRAPHS=1" if graphs else "CUDA graphs, which are the default"
            because = "llama.cpp looks for GGML_CUDA_DISABLE_GRAPHS only"
            yield replace(said, outcome="translated", given=how, because=because, source=f"{_SOURCE} ggml/src/ggml-cuda/common.cuh")
        elif name.startswith(_PREFIX):
            yield _of_a_flag(said, name, shard, by_engine)
        elif name in _NOT_READ:
            because, source = _NOT_READ[name]
            yield replace(said, outcome="not supported", because=because, source=source)
        else:
            yield said
