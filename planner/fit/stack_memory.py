"""One stack's GPU memory: the stage with the least room, and the smallest change that makes a model fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.catalogue.weight_bytes import COUNTED_AS
from planner.engine_facts import EngineTraits, traits
from planner.fit import layers, memory_model
from planner.fit.memory_model import MemoryFit
from settings import Problem, StackSettings
from settings.error_messages import SettingPath
from settings.flatten import with_values

BATCH_TOKENS = 2048
"""Tokens computed at once while a prompt is read: vLLM's default for online serving (`max_num_batched_tokens`)."""

SMALLER = {"fp32": "fp16", "fp16": "int8", "bf16": "int8", "fp8": "int4", "int8": "int4"}


def tightest(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> MemoryFit:
    """Returns the memory of the stage with the least room for its KV cache: the first holds the embedding, the last the output head.

    Where one process holds a whole pipeline, each of its GPUs holds some layers and their cache, so each GPU counts as a stage.
    """
    model, compiled = settings.model, settings.model.compilation.tensorrt
    weight_precision, kv_precision = precisions(settings)
    split = _layer_split(settings, gpu, shape)
    stages = settings.sharding.shards_count * split
    # The stages between the ends are equal, except that the first of them may have one layer more.
    candidates = [layers.stage(shape.layers, stages, index) for index in sorted({0, min(1, stages - 1), stages - 1})]
    fit_of = partial(
        memory_model.fit,
        gpu,
        shape,
        weight_precision=weight_precision,
        kv_precision=kv_precision,
        memory_fraction=settings.shard.config.gpu_memory_fraction,
        workspace_gib=compiled.max_workspace_size.gib if compiled.enabled else 0.0,
        batch_tokens=batch_tokens(settings, gpu, shape),
        kv_asked_gib=model.kv_cache.max_cache_size.gib / split if has_cache(settings, gpu) else 0.0,
        gpus=gpus_of_shard(settings) if split == 1 else 1,
        batch_sequences=settings.coordinator.config.dynamic_batching.max_batch_size,
        windows=_windows_save_cache(settings, gpu),
    )
    fits = [fit_of(first_layer=stage.first_layer, last_layer=stage.last_layer) for stage in candidates]
    # A token is in the cache of every stage, so the stage that holds the fewest decides.
    return replace(min(fits, key=lambda fit: (-fit.short_gib, fit.kv_room_gib)), tokens=min(fit.tokens for fit in fits))


def _windows_save_cache(settings: StackSettings, gpu: Gpu) -> bool:
    """Whether layers with a window keep no more of a request than that. With a cache on the host, they keep all of it."""
    engine_traits = traits(settings.engine, gpu)
    return engine_traits.windows_save_cache and not (engine_traits.keeps_prompts_on_host and settings.caching.l1_cache.enabled)


def has_cache(settings: StackSettings, gpu: Gpu) -> bool:
    """Returns whether the engine has a KV cache. One that always has a cache has it too where `sizing.mode: verbatim` keeps
    `model.kvCache.enabled: false`: a cache of no bytes would let no server start.
    """
    fixed = traits(settings.engine, gpu).fixed_settings
    return settings.model.kv_cache.enabled or any(setting.path == ("model", "kvCache", "enabled") for setting in fixed)


def gpus_of_shard(settings: StackSettings) -> int:
    """Returns the GPUs of one shard: at least 1, so that memory and floors have a meaning where the stack asks for none."""
    return max(1, settings.shard.resources.limits.nvidia_gpu or 1)


def batch_tokens(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> int:
    """Returns the tokens that the engine computes at once while it reads prompts."""
    return BATCH_TOKENS if traits(settings.engine, gpu).splits_prompts else max(BATCH_TOKENS, shape.context)


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How the GPUs of one pipeline share its work."""

    tensor: int
    """GPUs that compute each layer together."""
    pipeline: int
    """Groups of layers that take turns at each token."""


def parallel(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> Parallel:
    """Returns how the GPUs of one of the stack's pipelines share its work."""
    return parallel_of(gpus_of_shard(settings), settings.sharding.shards_count, traits(settings.engine, gpu), shape)


def parallel_of(gpus: int, shards: int, engine_traits: EngineTraits, shape: ModelShape) -> Parallel:
    """Returns the same for a pipeline of `shards` shards with `gpus` GPUs each."""
    split = _parts(gpus, engine_traits, shape)
    return Parallel(tensor=gpus // split, pipeline=shards * split)


def precisions(settings: StackSettings) -> tuple[str, str]:
    """Returns the precision of the weights and of the KV cache."""
    quantization = settings.model.quantization
    weights = quantization.precision if quantization.enabled else "fp16"
    return COUNTED_AS.get(weights, weights), "int8" if settings.model.kv_cache.compression else "fp16"


def checkpoint_method(settings: StackSettings, shape: ModelShape) -> str | None:
    """Returns the method by which the checkpoint was quantised, as its `config.json` names it, where that is stated: by
    `model.quantization.method`, or by the model as it was published in this precision."""
    published = memory_model.published_in(shape, precisions(settings)[0])
    return settings.model.quantization.method or (published.method if published else None)


def token_floor_s(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> float:
    """Returns the least seconds a token: the weights it uses, read once at the full bandwidth of the GPUs that work at the same time."""
    return weights_read_gb(settings, shape) / (gpu.bandwidth_gb_s * parallel(settings, gpu, shape).tensor)


def weights_read_gb(settings: StackSettings, shape: ModelShape) -> float:
    """Returns the weights that one token uses, in GB (10^9 bytes): all of them except the experts that it does not choose."""
    return memory_model.weights_read_gb(shape, precisions(settings)[0])


def _layer_split(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> int:
    """Returns over how many GPUs the layers of one shard are split; 1 where each GPU holds a part of every layer."""
    return _parts(gpus_of_shard(settings), traits(settings.engine, gpu), shape)


def _parts(gpus: int, engine_traits: EngineTraits, shape: ModelShape) -> int:
    return min(gpus, shape.layers) if engine_traits.whole_pipeline_in_a_pod else 1


def missing_gib(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> float:
    """Returns what the tightest stage lacks for its weights, its activations and the cache of one batch of tokens; 0 when all fit."""
    fit = tightest(settings, gpu, shape)
    if not has_cache(settings, gpu):
        return fit.short_gib
    most = math.ceil(shape.layers / (settings.sharding.shards_count * _layer_split(settings, gpu, shape)))
    kv_precision = precisions(settings)[1]
    least = batch_tokens(settings, gpu, shape) * memory_model.kv_bytes_per_token(shape, most, kv_precision)
    least_gib = (least + memory_model.kv_bytes_per_request(shape, most, kv_precision)) / 2**30
    return max(0.0, least_gib - fit.kv_room_gib)


def too_large(settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape) -> Problem | None:
    """Returns the problem of a model that does not fit its GPUs, with what is missing and the smallest change that makes it fit; else
    None."""
    missing = missing_gib(settings, gpu, shape)
    if missing <= 0:
        return None
    parts = tightest(settings, gpu, shape).memory
    changes = list(_smallest_changes(settings, size, gpu, shape))
    return Problem(
        key="model.name",
        value=settings.model.name,
        consequence=f"each GPU would hold {parts.weights_gib:.1f} GiB of weights, {parts.activations_gib:.1f} GiB of activations "
        f"and the cache, but a {gpu.name} has {max(parts.total_gib - parts.reserve_gib, 0):.1f} GiB for them: {missing:.1f} GiB too few",
        fix=" or ".join(changes) if changes else "a gpuPool.vmSize whose GPUs have more memory",
    )


def _smallest_changes(settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape) -> Iterator[str]:
    def fits(changed: StackSettings) -> bool:
        return missing_gib(changed, gpu, shape) <= 0

    engine_traits = traits(settings.engine, gpu)
    if engine_traits.whole_pipeline_in_a_pod:
        yield from _more_gpus(settings, range(1, size.gpus + 1), fits)
    elif engine_traits.tensor_parallel:
        yield from _more_sharing(settings, size, gpu, shape, fits)
    else:
        yield from _more_shards(settings, shape, fits)
    precision, _ = precisions(settings)
    while smaller := SMALLER.get(precision):
        precision = smaller
        changed = with_values(settings, {("model", "quantization", "precision"): precision, ("model", "quantization", "enabled"): True})
        if precision in engine_traits.precisions_of(shape) and fits(changed):
            yield f"model.quantization.precision: {precision}"
            return


_GPUS: SettingPath = ("shard", "resources", "limits", "nvidia.com/gpu")


def _more_gpus(settings: StackSettings, counts: Iterable[int], fits: Callable[[StackSettings], bool]) -> Iterator[str]:
    for count in counts:
        if count > gpus_of_shard(settings) and fits(with_values(settings, {_GPUS: count})):
            yield f"{'.'.join(map(str, _GPUS))}: {count}"
            return


def _more_sharing(
    settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape, fits: Callable[[StackSettings], bool]
) -> Iterator[str]:
    """Yields a greater number of GPUs that share each layer or, where a node has too few, more shards with all GPUs of a node."""
    group = traits(settings.engine, gpu).group(precisions(settings)[0])
    counts = [count for count in range(1, size.gpus + 1) if layers.shares_heads(shape, count, group)]
    on_one_node = list(_more_gpus(settings, counts, fits))
    whole = with_values(settings, {_GPUS: counts[-1]})
    yield from on_one_node or (f"{shards} with {'.'.join(map(str, _GPUS))}: {counts[-1]}" for shards in _more_shards(whole, shape, fits))


def _more_shards(settings: StackSettings, shape: ModelShape, fits: Callable[[StackSettings], bool]) -> Iterator[str]:
    for count in range(settings.sharding.shards_count + 1, shape.layers + 1):
        if shape.layers % count == 0 and fits(with_values(settings, {("sharding", "shardsCount"): count})):
            yield f"sharding.shardsCount: {count}"
            return
