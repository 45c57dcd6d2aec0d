"""GPU memory: what the targets, the cache and the batch ask for against what a shard's GPUs have left beside its weights."""

from __future__ import annotations

from collections.abc import Iterator

from planner import gpu_memory
from planner.rules.rule import Advice, Situation

_STEP_GIB = 0.25


def memory_fraction(at: Situation) -> Iterator[Advice]:
    asked, most = at.settings.shard.config.gpu_memory_fraction, at.settings.targets.gpu_memory.fraction
    if asked > most:
        yield Advice(
            code="FIT-002",
            outcome="adjusted",
            path=("shard", "config", "gpuMemoryFraction"),
            value=most,
            because=f"the server may fill {asked:.0%} of each GPU, targets.gpuMemory allows {most:.0%}",
            source="targets.gpuMemory of the same stack",
        )


def cache_size(at: Situation) -> Iterator[Advice]:
    cache = at.settings.model.kv_cache
    fit = gpu_memory.tightest(at.settings, at.gpu, at.shape)
    if not cache.enabled or fit.kv_room_gib >= cache.max_cache_size.gib or gpu_memory.missing_gib(at.settings, at.gpu, at.shape) > 0:
        return
    memory = fit.memory
    steps = int(fit.kv_room_gib / _STEP_GIB)
    yield Advice(
        code="FIT-001",
        outcome="adjusted",
        path=("model", "kvCache", "maxCacheSize"),
        value=f"{steps * _STEP_GIB:g}Gi" if steps else f"{int(fit.kv_room_gib * 1024)}Mi",
        because=f"of {memory.total_gib:.2f} GiB on a {at.gpu.name}, {memory.weights_gib:.2f} hold weights, {memory.activations_gib:.2f} "
        f"activations and {memory.reserve_gib:.2f} are kept free, which leaves {fit.kv_room_gib:.2f} GiB",
        source="planner/gpu_memory.py",
    )


def growth(at: Situation) -> Iterator[Advice]:
    if at.settings.shard.config.allow_gpu_memory_growth and at.settings.model.kv_cache.enabled and at.settings.model.kv_cache.pre_allocate:
        yield Advice(
            code="FIT-003",
            outcome="adjusted",
            path=("shard", "config", "allowGpuMemoryGrowth"),
            value=False,
            because="model.kvCache.preAllocate takes all of the cache at start, so there is nothing left to grow; a server that grew all "
            "the same would run out of memory under load instead of at start",
            source="model.kvCache.preAllocate of the same stack",
        )


def batch(at: Situation) -> Iterator[Advice]:
    batching, cache = at.settings.coordinator.config.dynamic_batching, at.settings.model.kv_cache
    if not (batching.enabled and cache.enabled):
        return
    fit = gpu_memory.tightest(at.settings, at.gpu, at.shape)
    whole = fit.concurrency(at.shape.context)
    if whole < batching.max_batch_size:
        yield Advice(
            code="FIT-004",
            outcome="noted",
            severity="info",
            path=("coordinator", "config", "dynamicBatching", "maxBatchSize"),
            because=f"the cache holds {fit.tokens:,} tokens: {whole} requests of the full {at.shape.context:,}, or "
            f"{batching.max_batch_size} of {fit.tokens // batching.max_batch_size:,} each; more must wait",
            source="planner/gpu_memory.py",
        )


RULES = (memory_fraction, cache_size, growth, batch)
