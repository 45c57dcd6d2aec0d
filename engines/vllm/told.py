"""What vLLM is told of each setting, read back from its command line and variables; and why not, with what to use instead.

Of the two releases, each has rows in its own words where they differ. A setting that no flag follows from is held by nothing but the
engine's name, as in `engines/llama_cpp/told.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from engines import ablations, read_back
from engines.envoy import told as envoy_told
from engines.pods import effects, nowhere, switches
from engines.workload import Role, Server, Told, Workload
from planner.engine_facts import traits
from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA, cited
from planner.fit.plan import Plan
from settings import StackSettings
from settings.flatten import leaves

_ENGINE = "vllm"

_FLAGS: tuple[tuple[str, str], ...] = (
    ("model.name", "--served-model-name"),
    ("shard.config.gpuMemoryFraction", "--gpu-memory-utilization"),
    ("model.kvCache.compression", "--kv-cache-dtype"),
    ("coordinator.config.dynamicBatching.maxBatchSize", "--max-num-seqs"),
    ("shard.resources.limits.nvidia.com/gpu", "--tensor-parallel-size"),
    ("coordinator.limits.requestTokens", "--max-model-len"),
    ("sharding.strategy", "--pipeline-parallel-size"),
    ("sharding.shardsCount", "--pipeline-parallel-size"),
)
"""Settings that a flag has the value of."""

_ANY_PIPELINE = "every pipeline holds all layers, so a request may go to any of them"
_NCCL = "GPUs send one another tensors by NCCL, as they are in memory: nothing is serialised or compressed"
_NCCL_SOURCE = "vllm/distributed/device_communicators/pynccl.py"

_NO_FLAG: tuple[tuple[str, str, str], ...] = (
    ("shard.config.serializationFormat", _NCCL, _NCCL_SOURCE),
    ("shard.config.compressionEnabled", _NCCL, _NCCL_SOURCE),
    ("shard.config.compressionAlgorithm", _NCCL, _NCCL_SOURCE),
    (
        "shard.config.ioThreads",
        "one event loop serves HTTP, and processes of their own compute",
        "vllm/entrypoints/openai/api_server.py",
    ),
    (
        "model.quantization.dynamic",
        "whether the scales of activations are chosen at run time is written in the checkpoint, by whoever quantised it",
        "docs/features/quantization",
    ),
    (
        "model.quantization.calibrationDataset",
        "read when the checkpoint is quantised, not when it is served: llm-compressor's oneshot(dataset=...)",
        "docs/features/quantization",
    ),
    ("sharding.overlapLayers", "each layer is in one stage", "vllm/distributed/utils.py"),
    (
        "sharding.loadBalancing",
        "nothing is balanced within a pipeline; between pipelines coordinator.config.loadBalancingStrategy decides",
        "vllm/distributed/utils.py",
    ),
    (
        "coordinator.config.dynamicBatching.batchTimeout",
        "nothing waits for company: a request joins the batch at its next token",
        "docs/configuration/optimization.md",
    ),
)
"""Settings without a flag: key, why, and the file of vLLM that shows it, or another source."""

_READ_BY = {
    "CUDA_VISIBLE_DEVICES": "NVIDIA CUDA programming guide: environment variables",
    "CUDA_DEVICE_ORDER": "NVIDIA CUDA programming guide: environment variables",
    "CUDA_CACHE_PATH": "NVIDIA CUDA programming guide: environment variables",
    "OPENBLAS_NUM_THREADS": "OpenBLAS README, environment variables: NumPy's wheels bring it",
    "MKL_NUM_THREADS": "pytorch.org/docs/stable/notes/cpu_threading_torchscript_inference: PyTorch's wheels are built with MKL",
}
"""Variables that the image's libraries read, with the source of that."""
_NO_HEAP = "Python's collector has no heap of a size of its own, and no threads"
_NOT_READ = {
    "CUDA_MEMORY_POOL_SIZE": "weights and cache are allocated once, at start; --gpu-memory-utilization bounds them",
    "GC_INITIAL_HEAP_SIZE": _NO_HEAP,
    "GC_MAXIMUM_HEAP_SIZE": _NO_HEAP,
    "GC_THREADS": _NO_HEAP,
    "ENABLE_AVX512": "nothing reads it: PyTorch takes the best instructions of the CPU by itself",
}


def told(workload: Workload, plan: Plan) -> tuple[Told, ...]:
    """Of all servers of the workload."""
    settings, of_engine = plan.settings, traits(_ENGINE, plan.gpu)
    given, shard, release = leaves(settings), workload.shard, of_engine.release
    servers: dict[Role, Server] = {"coordinator": workload.coordinator, "shard": shard}
    if workload.worker:
        servers["worker"] = workload.worker
    rows = tuple(_by_engine(workload, settings, given, servers, release))
    return (
        *effects(given, servers),
        *envoy_told.told(given, workload.coordinator, shard),
        # The older release was not measured.
        *(rows if release == RELEASE_ON_VOLTA else ablations.added(_ENGINE, rows, release)),
        *(nowhere(_ENGINE, key, given[key], because, cited(release, path)) for key, because, path in _NO_FLAG if key in given),
        *(
            nowhere(_ENGINE, key, given[key], _ANY_PIPELINE, cited(release, "vllm/distributed/utils.py"))
            for key in given
            if key.startswith("sharding.affinityRules")
        ),
        *switches(_ENGINE, of_engine.fixed_settings, given),
    )


def _by_engine(
    workload: Workload, settings: StackSettings, given: Mapping[str, str], servers: Mapping[Role, Server], release: str
) -> Iterator[Told]:
    shard = workload.shard
    yield from (read_back.in_args(key, "shard", shard, flag) for key, flag in _FLAGS if key in given)
    yield from _translated(settings, shard, release)
    yield from _stages(workload, given, release)
    yield from _of_volta(shard) if release == RELEASE_ON_VOLTA else _of_others(settings, shard)
    for role, server in servers.items():
        if role != "coordinator":
            yield from _environment(given, role, server, shard, release)


def _by(shard: Server, key: str, flag: str, because: str, source: str, given: str = "") -> Told:
    """A setting that a flag follows from without having its value."""
    said = read_back.in_args(key, "shard", shard, flag)
    does = f"{flag} {said.holds}" if said.holds != flag else flag
    return replace(said, outcome="translated", given=given or does, because=because, source=source)


def _translated(settings: StackSettings, shard: Server, release: str) -> Iterator[Told]:
    quantization, batching = settings.model.quantization, settings.coordinator.config.dynamic_batching
    sixteen_bits = not quantization.enabled or quantization.precision in ("fp16", "bf16")
    flag = "--dtype" if sixteen_bits else "--quantization"
    method = read_back.in_args("", "shard", shard, flag).holds
    checkpoint = f"{flag} {method}" if sixteen_bits else f"{flag} {method}: the checkpoint, which should be {quantization.precision}"
    why = "quantised weights have the precision of the checkpoint; one of another method is an error at start"
    documentation = cited(release, "docs/features/quantization")
    for name in ("enabled", "precision"):
        yield _by(shard, f"model.quantization.{name}", flag, why, documentation, checkpoint)
    yield _by(
        shard,
        "shard.config.enableMixedPrecision",
        "--dtype",
        "what is not quantised is computed in 16 bits, and summed up in 32 in the kernels; there is no switch",
        cited(release, "vllm/config/model.py"),
    )
    growth = "weights and cache are allocated at start, whatever is asked"
    yield _by(
        shard, "shard.config.allowGpuMemoryGrowth", "--gpu-memory-utilization", growth, cited(release, "vllm/config/cache.py"), "false"
    )
    continuous = "continuous batching takes requests of any length in at each token, up to --max-num-seqs of them"
    optimization = cited(release, "docs/configuration/optimization.md")
    yield _by(
        shard, "coordinator.config.dynamicBatching.enabled", "--max-num-seqs", continuous, optimization, str(batching.enabled).lower()
    )
    yield _by(shard, "coordinator.config.dynamicBatching.adaptiveBatching", "--max-num-batched-tokens", continuous, optimization)
    yield replace(
        read_back.in_variable("shard.config.workerThreads", "shard", shard, "OMP_NUM_THREADS"),
        outcome="translated",
        given=f"OMP_NUM_THREADS={read_back.in_variable('', 'shard', shard, 'OMP_NUM_THREADS').holds} in each GPU's process",
        because="each GPU of a pod has a process, and the threads are shared out among them",
        source=cited(release, "vllm/v1/executor/multiproc_executor.py"),
    )
    yield replace(
        read_back.in_field("shard.config.threadPinning", "shard", shard, ("limits", "cpu")),
        outcome="translated",
        given="CPUs of the pod's own, by the kubelet's static policy" if settings.shard.config.thread_pinning else "false",
        because="vLLM pins no threads on GPU nodes, and which CPUs a pod gets is not known before it runs",
        source="kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies",
    )
    yield nowhere(
        _ENGINE,
        "shard.config.threadScheduler",
        settings.shard.config.thread_scheduler,
        "vLLM leaves the scheduler's class as it is",
        "man 7 sched",
        "other",
    )


def _stages(workload: Workload, given: Mapping[str, str], release: str) -> Iterator[Told]:
    """How the layers are split, and how long the engine waits for its parts."""
    if "sharding.layersPerShard" in given and workload.worker is None:
        yield read_back.in_args("sharding.layersPerShard", "shard", workload.shard, "--pipeline-parallel-size")
    elif "sharding.layersPerShard" in given:
        for role in ("shard", "worker"):
            said = read_back.in_variable("sharding.layersPerShard", role, workload.server(role), "VLLM_PP_LAYER_PARTITION")
            yield replace(
                said,
                outcome="translated",
                given=said.holds or "",
                because="vLLM takes the layers of each stage; by itself it would give what does not divide to others than the plan does",
                source=cited(release, "vllm/distributed/utils.py"),
            )
    if any(one.name == "VLLM_ENGINE_READY_TIMEOUT_S" for one in workload.shard.env):
        yield read_back.in_variable("rollout.modelLoadTimeout", "shard", workload.shard, "VLLM_ENGINE_READY_TIMEOUT_S")


def _of_volta(shard: Server) -> Iterator[Told]:
    blocks = "the plan counts weights, buffers and cache, and the server is given so many blocks of 16 tokens"
    where = cited(RELEASE_ON_VOLTA, "vllm/config/cache.py")
    yield _by(shard, "model.kvCache.maxCacheSize", "--num-gpu-blocks-override", blocks, where)
    kernels = "XFormers' kernels, fused too, and vLLM's own for the cache: FlashAttention 2 has none for this GPU"
    for key in ("flashAttention", "fusedAttention"):
        said = read_back.in_variable(f"model.attention.{key}", "shard", shard, "VLLM_ATTENTION_BACKEND")
        source = cited(RELEASE_ON_VOLTA, "vllm/platforms/cuda.py")
        yield replace(said, outcome="translated", given="XFORMERS", because=kernels, source=source)


def _of_others(settings: StackSettings, shard: Server) -> Iterator[Told]:
    counted = "the plan counts weights, buffers and cache, and each GPU is given so many bytes of cache"
    where = cited(RELEASE, "vllm/config/cache.py")
    yield _by(shard, "model.kvCache.maxCacheSize", "--kv-cache-memory-bytes", counted, where)
    yield read_back.in_args("shard.config.memoryMapping", "shard", shard, "--safetensors-load-strategy")
    yield from _attention(settings, shard)
    if settings.caching.l1_cache.enabled:
        kept = (
            "vLLM keeps no answers, but what it computed of prompts: those that begin alike are not computed again. It then holds the "
            "whole text for every layer, also for those with a sliding window (--disable-hybrid-kv-cache-manager)"
        )
        yield _by(shard, "caching.l1Cache.enabled", "--kv-offloading-backend", kept, where)
        yield read_back.in_args("caching.l1Cache.size", "shard", shard, "--kv-offloading-size")
        age = "nothing is dropped for its age, but when room is needed: the least recently used first"
        source = cited(RELEASE, "vllm/v1/kv_offload/lru_manager.py")
        yield nowhere(_ENGINE, "caching.l1Cache.ttl", str(settings.caching.l1_cache.ttl), age, source)
    else:
        yield nowhere(_ENGINE, "caching.l1Cache.enabled", "false", "nothing is kept on the host", where)


def _attention(settings: StackSettings, shard: Server) -> Iterator[Told]:
    asked, table = settings.model.attention, cited(RELEASE, "docs/design/attention_backends.md")
    keys = ("model.attention.flashAttention", "model.attention.fusedAttention")
    if "--attention-backend" in shard.args:
        other = "the kernels that are named are not FlashAttention's"
        yield _by(shard, keys[0], "--attention-backend", other, table)
        yield _by(shard, keys[1], "--attention-backend", "vLLM computes attention in one kernel, whichever it is", table)
        return
    because = (
        "vLLM takes the best kernels that it has for the GPU, the model and the type of the cache: FlashAttention where it can; for an "
        "8-bit cache before compute capability 9 FlashInfer's, which work by the same method; others for models with latent vectors"
    )
    for key, value in zip(keys, (asked.flash_attention, asked.fused_attention), strict=True):
        yield nowhere(_ENGINE, key, str(value).lower(), because, table, "true")


def _environment(given: Mapping[str, str], role: Role, server: Server, leader: Server, release: str) -> Iterator[Told]:
    eager = "--enforce-eager" in leader.args
    for said in read_back.in_environment(given, "shard.env", role, server):
        name = str(said.field[1])
        if name in _READ_BY:
            yield replace(said, outcome="in force", source=_READ_BY[name])
        elif name == "CUDA_ENABLE_GRAPHS":
            how = "--enforce-eager" if eager else "CUDA graphs, which are the default"
            because = "vLLM has a flag for it and reads no variable"
            yield replace(said, outcome="translated", given=how, because=because, source=cited(release, "vllm/config/model.py"))
        elif name in _NOT_READ:
            yield replace(said, outcome="not supported", because=_NOT_READ[name], source=cited(release, "vllm/envs.py"))
        else:
            yield said
