"""llama-server's command line, each flag with the settings that it answers.

Flags: tools/server/README.md of the release that planner/engine_facts/llama_cpp.py names; tests/engines/llama_server_flags.txt lists all
that the real binary knows.
"""

from __future__ import annotations

from engines.envoy.pipeline_server import HTTP
from engines.flags import Flag, own_arguments, translated
from engines.pods import weights_folder
from planner.engine_facts.llama_cpp import RELEASE
from planner.fit.plan import Plan
from settings import StackSettings

SOURCE = f"ggml-org/llama.cpp {RELEASE}"
README = f"{SOURCE} tools/server/README.md"

GGUF_TYPES = {"fp16": "F16", "bf16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}
"""File types of as many bits as the planner counts: planner/catalogue/weight_bytes.py, planned."""

_BATCHING = "coordinator.config.dynamicBatching"


def model_path(plan: Plan) -> str:
    """The GGUF file's path in the container."""
    return f"{weights_folder(plan)}/{plan.weights.file}"


def flags(settings: StackSettings, plan: Plan) -> tuple[Flag, ...]:
    """The whole command line of llama-server."""
    return (
        *_model(settings, plan),
        Flag("--host", "0.0.0.0", why="Envoy and the kubelet reach the server by the pod's address"),
        Flag("--port", str(HTTP.number), why="the port that Envoy sends requests to"),
        *_gpu(settings),
        *_slots(settings, plan),
        *_threads(settings),
        Flag("--metrics", None, why="Prometheus and the liveness probe read /metrics"),
        Flag("--no-slots", None, why="other requests' prompts are nobody's business"),
        Flag("--no-ui", None, why="clients are programs, and Envoy has no path that leads to pages"),
        Flag("--offline", None, why="the model is a file that is there, and nothing is to be fetched"),
        *own_arguments(settings),
    )


def _model(settings: StackSettings, plan: Plan) -> tuple[Flag, ...]:
    quantization = settings.model.quantization
    gguf_type = GGUF_TYPES.get(quantization.precision if quantization.enabled else "fp16", "F16")
    from_file = {
        "given": f"the file's type, which should be {gguf_type}",
        "because": "weights have the precision of the GGUF file, which llama-quantize makes",
        "source": f"{SOURCE} tools/quantize/README.md",
    }
    precision = (translated(f"model.quantization.{name}", **from_file) for name in ("enabled", "precision"))
    return (
        Flag("--model", model_path(plan), "model.name", *precision),
        Flag("--alias", settings.model.name, "model.name"),
    )


def _gpu(settings: StackSettings) -> tuple[Flag, ...]:
    model = settings.model
    cache_type = "q8_0" if model.kv_cache.compression else "f16"
    fused = translated("model.attention.fusedAttention", "the fused kernels are those of flash attention", f"{SOURCE} ggml/src/ggml-cuda")
    return (
        Flag("--fit", "off", why="the planner has counted the memory, so what does not fit is an error at start and no smaller cache"),
        Flag("--n-gpu-layers", "all", "sharding.layersPerShard"),
        Flag("--split-mode", "layer", "sharding.strategy"),
        Flag("--load-mode", "mmap" if settings.shard.config.memory_mapping else "none", "shard.config.memoryMapping"),
        Flag("--flash-attn", "on" if model.attention.flash_attention else "off", "model.attention.flashAttention", fused),
        Flag("--cache-type-k", cache_type, "model.kvCache.compression"),
        Flag("--cache-type-v", cache_type, "model.kvCache.compression"),
    )


def _slots(settings: StackSettings, plan: Plan) -> tuple[Flag, ...]:
    """Each request has a part of the cache to itself, a slot, as long as the longest request that is let in.

    In a cache that all requests share, a token without room ends every one of them. Measured: separate slots are as fast.
    """
    slots, tokens = plan.requests_at_once, plan.request_tokens
    counted = "the plan counts weights, buffers and cache, and the server is given a cache of so many tokens for all its slots"
    batching = "--cont-batching" if settings.coordinator.config.dynamic_batching.enabled else "--no-cont-batching"
    continuous = "continuous batching takes requests of any length in at each token"
    return (
        Flag(
            "--ctx-size",
            str(slots * tokens),
            translated("model.kvCache.maxCacheSize", counted, README),
            translated("shard.config.gpuMemoryFraction", counted, README),
            translated(
                "shard.config.allowGpuMemoryGrowth", "weights and cache are allocated at start, whatever is asked", README, given="false"
            ),
            translated(
                "coordinator.limits.requestTokens",
                "--ctx-size is divided by --parallel into slots of a multiple of 256 tokens, one for each request: a prompt that is no "
                "shorter than its slot is refused with 400, and an answer ends where the slot is full, with finish_reason length",
                f"{SOURCE} src/llama-context.cpp",
                given=f"{tokens} in each of {slots} slots",
            ),
            "model.kvCache.compression",
            f"{_BATCHING}.maxBatchSize",
            f"{_BATCHING}.enabled",
        ),
        Flag("--no-kv-unified", None, why="each request has its own part of the cache"),
        Flag("--parallel", str(slots), f"{_BATCHING}.maxBatchSize", f"{_BATCHING}.enabled"),
        Flag(
            "--no-context-shift",
            None,
            why="a request ends where its slot is full: an answer may go on for ever if its beginning is forgotten",
        ),
        Flag(
            batching,
            None,
            f"{_BATCHING}.enabled",
            translated(f"{_BATCHING}.adaptiveBatching", continuous, README),
        ),
        Flag(
            "--cache-ram",
            "0",
            why="it would copy a request's cache to the host's memory when the next one comes, while all requests wait: measured, 40% "
            "fewer are answered",
        ),
    )


def _threads(settings: StackSettings) -> tuple[Flag, ...]:
    """With all layers on the GPU one thread is best; the number is the stack's to say, and `explain` has the figures."""
    config = settings.shard.config
    scheduler = "the server sets a priority, and leaves the scheduler's class as it is"
    return (
        Flag("--threads", str(config.worker_threads), "shard.config.workerThreads"),
        Flag("--threads-batch", str(config.worker_threads), "shard.config.workerThreads"),
        # The threads that are always there; for each request beyond them the server starts another (tools/server/server-http.cpp).
        Flag("--threads-http", str(config.io_threads), "shard.config.ioThreads"),
        Flag("--prio", "0", translated("shard.config.threadScheduler", scheduler, README)),
    )
