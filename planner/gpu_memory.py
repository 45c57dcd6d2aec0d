"""One stack's GPU memory: the stage that has least room, and the least change that makes a model fit."""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner import memory
from planner.catalogue import Gpu, ModelShape
from planner.layers import split_layers
from planner.memory import MemoryFit
from settings import Problem, StackSettings
from settings.leaves import with_values

BATCH_TOKENS = 2048
"""Tokens computed at once while a prompt is read: vLLM's default for online serving (`max_num_batched_tokens`)."""

SMALLER = {"fp32": "fp16", "fp16": "int8", "bf16": "int8", "fp8": "int4", "int8": "int4"}


def tightest(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> MemoryFit:
    """Of all stages the one with least room for its KV cache: the first holds the embedding, the last the output head."""
    model, compiled = settings.model, settings.model.compilation.tensorrt
    stages = split_layers(shape.layers, settings.sharding.shards_count)
    # Those between the ends differ in nothing but a layer more in the first of them.
    ends = {stage.index: stage for stage in (stages[0], stages[min(1, len(stages) - 1)], stages[-1])}
    fits = [
        memory.fit(
            gpu,
            shape,
            first_layer=stage.first_layer,
            last_layer=stage.last_layer,
            weight_precision=model.quantization.precision if model.quantization.enabled else "fp16",
            kv_precision=_kv_precision(settings),
            memory_fraction=settings.shard.config.gpu_memory_fraction,
            workspace_gib=compiled.max_workspace_size.gib if compiled.enabled else 0.0,
            batch_tokens=BATCH_TOKENS,
            kv_asked_gib=model.kv_cache.max_cache_size.gib if model.kv_cache.enabled else 0.0,
            gpus=max(1, settings.shard.resources.limits.nvidia_gpu or 1),
            batch_sequences=settings.coordinator.config.dynamic_batching.max_batch_size,
        )
        for stage in ends.values()
    ]
    return min(fits, key=lambda fit: (-fit.short_gib, fit.kv_room_gib))


def missing_gib(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> float:
    """What the tightest stage lacks for its weights, its activations and the cache of one batch of tokens; 0 when all of it fits."""
    fit = tightest(settings, gpu, shape)
    if not settings.model.kv_cache.enabled:
        return fit.short_gib
    layers = math.ceil(shape.layers / settings.sharding.shards_count)
    least_gib = BATCH_TOKENS * memory.kv_bytes_per_token(shape, layers, _kv_precision(settings)) / 2**30
    return max(0.0, least_gib - fit.kv_room_gib)


def _kv_precision(settings: StackSettings) -> str:
    return "int8" if settings.model.kv_cache.compression else "fp16"


def too_large(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> Problem | None:
    """Says by how much a model misses its GPUs, and the smallest change that makes it fit."""
    missing = missing_gib(settings, gpu, shape)
    if missing <= 0:
        return None
    parts = tightest(settings, gpu, shape).memory
    changes = list(_smallest_changes(settings, gpu, shape))
    return Problem(
        key="model.name",
        value=settings.model.name,
        consequence=f"each GPU would hold {parts.weights_gib:.1f} GiB of weights, {parts.activations_gib:.1f} GiB of activations "
        f"and the cache, and a {gpu.name} has {parts.total_gib - parts.reserve_gib:.1f} GiB for them: {missing:.1f} GiB too few",
        fix=" or ".join(changes) if changes else "a gpuPool.vmSize whose GPUs have more memory",
    )


def _smallest_changes(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> Iterator[str]:
    def fits(changed: StackSettings) -> bool:
        return missing_gib(changed, gpu, shape) <= 0

    shards = settings.sharding.shards_count
    counts = (count for count in range(shards + 1, shape.layers + 1) if shape.layers % count == 0)
    more = next((count for count in counts if fits(_with(settings, "sharding", "shardsCount", count))), None)
    if more:
        yield f"sharding.shardsCount: {more}"
    quantization = settings.model.quantization
    precision = quantization.precision if quantization.enabled else "fp16"
    while smaller := SMALLER.get(precision):
        precision = smaller
        changed = with_values(settings, {("model", "quantization", "precision"): precision, ("model", "quantization", "enabled"): True})
        if fits(changed):
            yield f"model.quantization.precision: {precision}"
            return


def _with(settings: StackSettings, section: str, key: str, value: object) -> StackSettings:
    return with_values(settings, {(section, key): value})
