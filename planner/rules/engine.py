"""What the chosen engine cannot do, and how it divides the work: a whole pipeline in one pod, or the GPUs of a pod sharing each layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from planner.fit.layers import most_sharing_heads, shares_heads
from planner.fit.layout import keeps_pipelines_together, nodes_by_zone
from planner.fit.plan import Finding
from planner.fit.stack_memory import gpus_of_shard, missing_gib, precisions
from planner.rules.rule import RuleContext, Rules
from settings.error_messages import SettingPath
from settings.flatten import document, with_values
from settings.wording import count

RULES = Rules()


@RULES.rule
def fixed_settings(context: RuleContext) -> Iterator[Finding]:
    """A setting that the engine does not let anyone choose gets the one value that says what the engine does."""
    for setting in context.traits.contradicted(document(context.settings)):
        yield Finding(
            code="ENGINE-001",
            outcome="not supported",
            path=setting.path,
            value=setting.value,
            because=setting.because,
            source=setting.source,
        )


@RULES.rule
def whole_pipelines(context: RuleContext) -> Iterator[Finding]:
    """An engine that keeps a pipeline in one process gets one pod with the GPUs of all shards, at most those of a node."""
    settings, node_gpus = context.settings, context.size.gpus
    shards, shard_gpus = settings.sharding.shards_count, gpus_of_shard(settings)
    if not context.traits.whole_pipeline_in_a_pod or shards == 1:
        return
    most = min(shards * shard_gpus, node_gpus)
    possible = (gpus for gpus in range(most, 0, -1) if _costs_no_more(context, 1, gpus) and (gpus == most or _fits(context, 1, gpus)))
    gpus = next(possible, most)
    change = f"{_shards(shards)} of {_gpus(shard_gpus)} become one of {_gpus(gpus)}"
    because = f"{settings.engine} keeps all layers of a pipeline in one process: {change}"
    if gpus < most:
        because += f", as {_gpus(most)} each would take {_nodes(context, 1, most)} nodes instead of {_nodes(context, 1, gpus)}"
    elif gpus < shards * shard_gpus:
        because += f", which is all that a {context.size.name} has"
    yield from _pods(context, "ENGINE-002", 1, gpus, because)


def _nodes(context: RuleContext, pods: int, gpus: int) -> int:
    """Nodes that the stack needs with this many pods a pipeline, each of this many GPUs, as far as GPUs decide."""
    pipelines, zones = context.settings.sharding.pipelines, context.settings.gpu_pool.zones
    apart = min(len(zones), pipelines) if keeps_pipelines_together(context.settings) else 1
    return sum(nodes_by_zone(pipelines, pods, context.size.gpus // gpus, apart))


def _costs_no_more(context: RuleContext, pods: int, gpus: int) -> bool:
    """Whether such pods need no more nodes than the shards as asked for: larger pods may leave GPUs of a node idle."""
    asked_gpus = min(gpus_of_shard(context.settings), context.size.gpus)
    return _nodes(context, pods, gpus) <= _nodes(context, context.settings.sharding.shards_count, asked_gpus)


def _pods(context: RuleContext, code: str, pods: int, gpus: int, because: str) -> Iterator[Finding]:
    """The findings that give each pipeline this many pods of this many GPUs."""
    source = "planner/engine_facts"
    if pods != context.settings.sharding.shards_count:
        yield Finding(code=code, outcome="adjusted", path=("sharding", "shardsCount"), value=pods, because=because, source=source)
    for side in ("requests", "limits"):
        if getattr(context.settings.shard.resources, side).nvidia_gpu not in (None, gpus):
            path = ("shard", "resources", side, "nvidia.com/gpu")
            yield Finding(code=code, outcome="adjusted", path=path, value=gpus, because=because, source=source)


@RULES.rule
def tensor_parallel(context: RuleContext) -> Iterator[Finding]:
    """Prefers fewer and larger pods: GPUs that share each layer work on a token together, while pipeline stages take turns."""
    settings, node_gpus = context.settings, context.size.gpus
    if not context.traits.tensor_parallel:
        return
    shards, shard_gpus = settings.sharding.shards_count, gpus_of_shard(settings)
    if settings.gpu_pool.mig:
        pods, gpus, why = 1, 1, "as NCCL does not connect the instances of a partitioned GPU"
    elif most_sharing_heads(context.shape, min(shards * shard_gpus, node_gpus), _group(context)) == shard_gpus:
        return
    else:
        pods, gpus, why = _sharing(context, shards * shard_gpus)
    because = (
        f"the GPUs of a shard share each layer and work on a token together, while shards take turns: {_shards(shards)} of "
        f"{_gpus(shard_gpus)} become {_shards(pods)} of {_gpus(gpus)}, {why}"
    )
    yield from _pods(context, "ENGINE-006", pods, gpus, because)


def _group(context: RuleContext) -> int:
    """Weights that must stay together on one GPU, for the stack's precision."""
    return context.traits.group(precisions(context.settings)[0])


def _sharing(context: RuleContext, asked_gpus: int) -> tuple[int, int, str]:
    """Returns the pods of a pipeline, the GPUs of each, and why.

    That is one pod if the model fits it; otherwise the largest possible pods, as many as make up the GPUs asked for. Where those cost more
    nodes than what was asked for, it is fewer or smaller pods that do not, if the model fits them.
    """
    group, shape, node_gpus = _group(context), context.shape, context.size.gpus
    single = 1, most_sharing_heads(shape, min(asked_gpus, node_gpus), group)
    largest = most_sharing_heads(shape, node_gpus, group)
    several = _stages(context, math.ceil(asked_gpus / largest)), largest
    smaller = [(_stages(context, max(1, asked_gpus // gpus)), gpus) for gpus in range(largest, 0, -1) if shares_heads(shape, gpus, group)]
    fits_one = _fits(context, *single)
    best, why = (single, "on which the model fits") if fits_one else (several, "as the model needs")
    if not _costs_no_more(context, *best):
        for pods, gpus in smaller:
            if _costs_no_more(context, pods, gpus) and _fits(context, pods, gpus):
                nodes = f"{_nodes(context, *best)} nodes instead of {_nodes(context, pods, gpus)}"
                return pods, gpus, f"as {_shards(best[0])} of {_gpus(best[1])} would take {nodes}"
    if best[1] < min(asked_gpus, node_gpus):
        why += f"; {shape.name} has {shape.heads} attention heads and {shape.kv_heads} KV heads to divide"
    return *best, why


def _fits(context: RuleContext, pods: int, gpus: int) -> bool:
    """Whether such pods hold the model, within the share of their memory that later rules leave."""
    settings = context.settings
    fraction = min(settings.shard.config.gpu_memory_fraction, settings.targets.gpu_memory.fraction)
    changed: dict[SettingPath, Any] = {
        ("sharding", "shardsCount"): pods,
        ("shard", "resources", "limits", "nvidia.com/gpu"): gpus,
        ("shard", "config", "gpuMemoryFraction"): fraction,
        ("model", "compilation", "tensorrt", "enabled"): False,
    }
    return missing_gib(with_values(settings, changed), context.gpu, context.shape) <= 0


def _stages(context: RuleContext, least: int) -> int:
    """Pipeline stages: at least `least`, and more where the stack asks for stages with equal numbers of layers."""
    layers, equal = context.shape.layers, context.settings.sharding.layers_per_shard is not None
    return next((stages for stages in range(least, layers) if not equal or layers % stages == 0), layers)


def _shards(number: int) -> str:
    return count(number, "shard")


def _gpus(number: int) -> str:
    return count(number, "GPU")


@RULES.rule
def weight_types(context: RuleContext) -> Iterator[Finding]:
    """A precision in which the engine cannot serve the model gives way to one in which it can."""
    settings, traits, shape = context.settings, context.traits, context.shape
    quantization, served = settings.model.quantization, traits.precisions_of(shape)
    if not quantization.enabled or quantization.precision in served:
        return
    if shape.published and shape.published.precision in served:
        yield Finding(
            code="ENGINE-003",
            outcome="adjusted",
            path=("model", "quantization", "precision"),
            value=shape.published.precision,
            because=f"{shape.name} is published in {shape.published.precision} ({shape.published.method}), and {settings.engine} serves no "
            f"{quantization.precision} of it",
            source="planner/catalogue/data/configs",
        )
    elif shape.kv == "mla" and "fp8" in served and context.gpu.fp8:
        yield Finding(
            code="ENGINE-003",
            outcome="adjusted",
            path=("model", "quantization", "precision"),
            value="fp8",
            because=f"{settings.engine} {traits.release} starts {shape.name} only in the format in which it was published, and crashes at "
            f"start with llm-compressor's {quantization.precision}",
            source="vllm-project/vllm#36247",
        )
    elif quantization.precision not in traits.weight_precisions:
        yield Finding(
            code="ENGINE-003",
            outcome="adjusted",
            path=("model", "quantization", "precision"),
            value="int8",
            because=f"{settings.engine} does not support weights in {quantization.precision}; int8 takes about the same memory",
            source="planner/engine_facts",
        )


@RULES.rule
def cache_compression(context: RuleContext) -> Iterator[Finding]:
    """A compressed cache needs flash attention with engines whose other kernels cannot read it."""
    model = context.settings.model
    if context.traits.compressed_cache_needs_flash_attention and model.kv_cache.compression and not model.attention.flash_attention:
        yield Finding(
            code="ENGINE-004",
            outcome="adjusted",
            path=("model", "attention", "flashAttention"),
            value=True,
            because="model.kvCache.compression stores the cache in 8 bits, which only this engine's flash attention kernels can read",
            source="planner/engine_facts",
        )


@RULES.rule
def prompts_on_host(context: RuleContext) -> Iterator[Finding]:
    """vLLM's cache on the host works for models in which every layer looks at the whole text."""
    engine = context.settings.engine
    if not (context.traits.keeps_prompts_on_host and context.settings.caching.l1_cache.enabled):
        return
    if context.shape.attention == "hybrid":
        yield Finding(
            code="ENGINE-008",
            outcome="not supported",
            path=("caching", "l1Cache", "enabled"),
            value=False,
            because=f"{engine} cannot keep prompts on the host for a model in which some layers hold a state instead of keys and values; "
            "it would crash at start",
            source="vllm-project/vllm#36463",
        )
    if context.shape.attention == "windowed":
        yield Finding(
            code="ENGINE-008",
            outcome="noted",
            path=("caching", "l1Cache", "enabled"),
            because=f"with it {engine} keeps the whole text in the cache even for layers that look only at a window of it, and the plan "
            "counts them so; without it the same memory holds more requests",
            source="vllm-project/vllm v0.17.1 vllm/config/vllm.py",
            severity="info",
        )


@RULES.rule
def sequences(context: RuleContext) -> Iterator[Finding]:
    """The batch may not exceed the engine's own limit."""
    batching, most = context.settings.coordinator.config.dynamic_batching, context.traits.most_sequences
    if most is not None and batching.enabled and batching.max_batch_size > most:
        yield Finding(
            code="ENGINE-005",
            outcome="adjusted",
            path=("coordinator", "config", "dynamicBatching", "maxBatchSize"),
            value=most,
            because=f"{context.settings.engine} runs at most {most} requests at once in one process",
            source="planner/engine_facts",
        )
