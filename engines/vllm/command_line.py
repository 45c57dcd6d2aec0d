"""vLLM's command line, each flag with the settings that it answers.

The two releases differ in some flags and in where their sources are; tests/engines/vllm_flags/ lists all that each release knows.
"""

from __future__ import annotations

from engines.envoy.pipeline_server import HTTP
from engines.flags import Flag, own_arguments, translated
from engines.pods import GRAPHS_VARIABLE, env_key, weights_folder, without_cuda_graphs
from planner.engine_facts import traits
from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA, cited
from planner.fit import stack_memory
from planner.fit.concurrency import batch_size
from planner.fit.plan import Plan
from settings import StackSettings

_BLOCK_TOKENS = 16
"""Tokens in a block of the cache; the default of both releases on CUDA."""

GPUS = "shard.resources.limits.nvidia.com/gpu"
_BATCHING = "coordinator.config.dynamicBatching"
_KV_CACHE = "model.kvCache"
_ATTENTION = ("model.attention.flashAttention", "model.attention.fusedAttention")
_L1_CACHE = "caching.l1Cache"
_FRACTION = "shard.config.gpuMemoryFraction"


def release(plan: Plan) -> str:
    """The release of vLLM that runs on the plan's GPUs."""
    return traits(plan.settings.engine, plan.gpu).release


def model_path(plan: Plan) -> str:
    """The model's folder in the container."""
    return weights_folder(plan)


def flags(settings: StackSettings, plan: Plan) -> tuple[Flag, ...]:
    """The whole command line after `vllm`."""
    model = settings.model
    return (
        Flag("serve", None, why="the subcommand that serves HTTP"),
        Flag(model_path(plan), None, "model.name"),
        Flag("--served-model-name", model.name, "model.name"),
        Flag("--host", "0.0.0.0", why="Envoy and the kubelet reach the server by the pod's address"),
        Flag("--port", str(HTTP.number), why="the port that Envoy sends requests to"),
        *_split(plan),
        *_precision(settings, plan),
        Flag("--load-format", "safetensors", why="a folder without such files is an error at start, and no code runs that a pickle brings"),
        Flag(
            "--gpu-memory-utilization",
            f"{settings.shard.config.gpu_memory_fraction:g}",
            _FRACTION,
            translated(
                "shard.config.allowGpuMemoryGrowth",
                "weights and cache are allocated at start, whatever is asked",
                cited(release(plan), "vllm/config/cache.py"),
                given="false",
            ),
        ),
        Flag("--kv-cache-dtype", "fp8" if model.kv_cache.compression else "auto", f"{_KV_CACHE}.compression"),
        *_batch(settings, plan),
        *((Flag("--enforce-eager", None, env_key(GRAPHS_VARIABLE)),) if without_cuda_graphs(settings) else ()),
        Flag("--disable-uvicorn-access-log", None, why="a line for each health check would bury the rest"),
        *(_on_volta(plan) if release(plan) == RELEASE_ON_VOLTA else _on_others(settings, plan)),
        *own_arguments(settings),
    )


def _split(plan: Plan) -> tuple[Flag, ...]:
    """How the model is split over GPUs and pods."""
    stages = ("sharding.strategy", "sharding.shardsCount")
    # In a group the layers of each stage have a variable of their own.
    layers = () if len(plan.shards) > 1 else ("sharding.layersPerShard",)
    return (
        Flag("--tensor-parallel-size", str(plan.pod.gpus), GPUS),
        Flag("--pipeline-parallel-size", str(len(plan.shards)), *stages, *layers),
        Flag("--distributed-executor-backend", _executor(plan), "sharding.shardsCount", GPUS),
    )


def _executor(plan: Plan) -> str:
    if len(plan.shards) > 1:
        return "ray"
    return "mp" if plan.pod.gpus > 1 else "uni"


def _precision(settings: StackSettings, plan: Plan) -> tuple[Flag, ...]:
    """What is not quantised is computed in 16 bits.

    The method is named so that another kind of checkpoint is an error at start: vLLM would otherwise load it as it is, which takes up to
    four times the memory that was planned.
    """
    quantization = settings.model.quantization
    precision = quantization.precision if quantization.enabled else "fp16"
    why = "quantised weights have the precision of the checkpoint; one of another method is an error at start"
    source = cited(release(plan), "docs/features/quantization")
    names = ("enabled", "precision", *(("method",) if quantization.method else ()))
    keys = [f"model.quantization.{name}" for name in names]
    mixed = translated(
        "shard.config.enableMixedPrecision",
        "what is not quantised is computed in 16 bits, and summed up in 32 in the kernels; there is no switch",
        cited(release(plan), "vllm/config/model.py"),
    )
    # FlashAttention's kernels for an 8-bit cache, which vLLM takes on compute capability 9, answer in bfloat16 only: with another type it
    # ends at start (seen with 0.20.2).
    hopper = (plan.gpu.compute_capability or "").startswith("9.")
    bfloat16 = settings.model.kv_cache.compression and hopper and attention_backend(settings, plan) is None
    by_cache = (f"{_KV_CACHE}.compression", _ATTENTION[0]) if hopper else ()
    if precision in ("fp16", "bf16"):
        dtype = "bfloat16" if bfloat16 or precision == "bf16" else "half"
        return (Flag("--dtype", dtype, *(translated(key, why, source) for key in keys), mixed, *by_cache),)
    dtype = "bfloat16" if bfloat16 else "auto" if plan.gpu.bf16 else "half"
    method = quantization_method(plan)
    checkpoint = f"--quantization {method}: the checkpoint, which should be {quantization.precision}"
    return (
        Flag("--dtype", dtype, mixed, *by_cache),
        Flag("--quantization", method, *(translated(key, why, source, given=checkpoint) for key in keys)),
    )


_KERNELS = {"awq": "awq_marlin", "gptq": "gptq_marlin"}
"""Methods that vLLM has faster kernels for, which it takes only where none or these are named (quantization/awq_marlin.py)."""


def quantization_method(plan: Plan) -> str:
    """What `--quantization` calls a quantised checkpoint.

    It is what the stack or the published checkpoint states; otherwise what llm-compressor writes, or GPTQ, which alone runs on Volta
    (docs/features/quantization); and FP8 as the models with a latent cache are published.
    """
    stated = stack_memory.checkpoint_method(plan.settings, plan.shape)
    if stated is not None:
        return stated if release(plan) == RELEASE_ON_VOLTA else _KERNELS.get(stated, stated)
    if plan.shape.kv == "mla" and plan.settings.model.quantization.precision == "fp8":
        return "fp8"
    return "gptq" if release(plan) == RELEASE_ON_VOLTA else "compressed-tensors"


def _batch(settings: StackSettings, plan: Plan) -> tuple[Flag, ...]:
    """How many requests, and how many of their tokens, are computed at once."""
    size, batching = batch_size(settings), settings.coordinator.config.dynamic_batching
    tokens = max(size, stack_memory.batch_tokens(settings, plan.gpu, plan.shape))
    continuous = "continuous batching takes requests of any length in at each token, up to --max-num-seqs of them"
    source = cited(release(plan), "docs/configuration/optimization.md")
    enabled = translated(f"{_BATCHING}.enabled", continuous, source, given=str(batching.enabled).lower())
    # The cache must hold one request of that length, or the server stops at start.
    length = ("coordinator.limits.requestTokens", f"{_KV_CACHE}.maxCacheSize", f"{_KV_CACHE}.compression", "model.name")
    return (
        Flag("--max-model-len", str(max(_BLOCK_TOKENS, plan.request_tokens)), *length),
        Flag("--max-num-seqs", str(size), f"{_BATCHING}.maxBatchSize", enabled),
        Flag("--max-num-batched-tokens", str(tokens), translated(f"{_BATCHING}.adaptiveBatching", continuous, source), "model.name"),
    )


def _on_volta(plan: Plan) -> tuple[Flag, ...]:
    """The flags of the older release only. Chunked prefill and prefix caching share a Triton kernel that crashes on a V100 (vllm#8024,
    vllm#13738)."""
    counted = translated(
        f"{_KV_CACHE}.maxCacheSize",
        "the plan counts weights, buffers and cache, and the server is given so many blocks of 16 tokens",
        cited(RELEASE_ON_VOLTA, "vllm/config/cache.py"),
    )
    crashes = "its Triton kernel crashes on a V100: vllm#8024, vllm#13738"
    return (
        Flag(
            "--num-gpu-blocks-override",
            str(max(1, plan.memory.tokens // _BLOCK_TOKENS)),
            counted,
            _FRACTION,
            f"{_KV_CACHE}.compression",
            "sharding.shardsCount",
        ),
        Flag("--no-enable-chunked-prefill", None, why=crashes),
        Flag("--no-enable-prefix-caching", None, why=crashes),
        Flag("--disable-log-requests", None, why="prompts would be in the log; later releases leave them out by default"),
    )


def _on_others(settings: StackSettings, plan: Plan) -> tuple[Flag, ...]:
    """The flags of the newer release only."""
    counted = translated(
        f"{_KV_CACHE}.maxCacheSize",
        "the plan counts weights, buffers and cache, and each GPU is given so many bytes of cache",
        cited(RELEASE, "vllm/config/cache.py"),
    )
    mapped = settings.shard.config.memory_mapping
    return (
        Flag("--kv-cache-memory-bytes", str(int(plan.memory.memory.kv_gib * 2**30)), counted, _FRACTION, GPUS),
        Flag("--enable-chunked-prefill", None, why="a long prompt is read in parts, between which others get their tokens"),
        Flag("--enable-prefix-caching", None, why="prompts that begin alike are computed once"),
        *_kernels(settings, plan),
        Flag("--safetensors-load-strategy", "lazy" if mapped else "eager", "shard.config.memoryMapping"),
        *(_prompts_on_host(settings.caching.l1_cache.size.gib) if settings.caching.l1_cache.enabled else ()),
    )


def _kernels(settings: StackSettings, plan: Plan) -> tuple[Flag, ...]:
    backend, table = attention_backend(settings, plan), cited(RELEASE, "docs/design/attention_backends.md")
    if backend is None:
        return ()
    return (
        Flag(
            "--attention-backend",
            backend,
            translated(_ATTENTION[0], "the kernels that are named are not FlashAttention's", table),
            translated(_ATTENTION[1], "vLLM computes attention in one kernel, whichever it is", table),
        ),
    )


def attention_backend(settings: StackSettings, plan: Plan) -> str | None:
    """The kernels that are named because FlashAttention is not wanted; None where vLLM chooses for the GPU, the model and the cache.

    Models with one latent vector for all heads or with windows have kernels of their own, and what a model of `model.shape` needs is not
    known here.
    Triton's read no 8-bit cache before compute capability 8.9: docs/design/attention_backends.md.
    """
    if (
        settings.model.attention.flash_attention
        or plan.shape.kv == "mla"
        or plan.shape.attention != "full"
        or settings.model.shape is not None
    ):
        return None
    return "FLASHINFER" if settings.model.kv_cache.compression else "TRITON_ATTN"


def _prompts_on_host(gib: float) -> tuple[Flag, ...]:
    """The connector that keeps cache on the host ends the start beside vLLM's hybrid cache manager, which is on by default:
    "Connector OffloadingConnector does not support HMA" (vllm/distributed/kv_transfer/kv_connector/factory.py)."""
    kept = translated(
        f"{_L1_CACHE}.enabled",
        "vLLM keeps no answers, but what it computed of prompts: those that begin alike are not computed again. It then holds the whole "
        "text for every layer, also for those with a sliding window (--disable-hybrid-kv-cache-manager)",
        cited(RELEASE, "vllm/config/cache.py"),
    )
    return (
        Flag("--kv-offloading-size", f"{gib:g}", f"{_L1_CACHE}.size", f"{_L1_CACHE}.enabled"),
        Flag("--kv-offloading-backend", "native", kept),
        Flag("--disable-hybrid-kv-cache-manager", None, f"{_L1_CACHE}.enabled"),
    )
