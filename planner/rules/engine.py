"""What the chosen engine cannot do, and how it is laid out: a whole pipeline in one pod, or the GPUs of a pod sharing each layer."""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner.fit.layers import most_sharing_heads, shares_heads
from planner.fit.layout import keeps_pipelines_together, nodes_by_zone
from planner.fit.stack_memory import gpus_of_shard, missing_gib, precisions
from planner.rules.rule import Advice, Situation
from settings.flatten import document, with_values


def without(at: Situation) -> Iterator[Advice]:
    for one in at.traits.lacks(document(at.settings)):
        yield Advice(code="ENGINE-001", outcome="not supported", path=one.path, value=one.value, because=one.because, source=one.source)


def whole_pipelines(at: Situation) -> Iterator[Advice]:
    shards = at.settings.sharding.shards_count
    if not at.traits.whole_pipeline_in_a_pod or shards == 1:
        return
    each = gpus_of_shard(at.settings)
    most = min(shards * each, at.size.gpus)
    gpus = next((count for count in range(most, 0, -1) if _costs_no_more(at, 1, count) and (count == most or _fits(at, 1, count))), most)
    because = (
        f"{at.settings.engine} keeps all layers of a pipeline in one process: {shards} shards of {_gpus(each)} become one of {_gpus(gpus)}"
    )
    if gpus < most:
        because += f", as {_gpus(most)} each would take {_nodes(at, 1, most)} nodes instead of {_nodes(at, 1, gpus)}"
    elif gpus < shards * each:
        because += f", which is all that a {at.size.name} has"
    yield from _pods_of(at, "ENGINE-002", 1, gpus, because)


def _nodes(at: Situation, pods: int, gpus: int) -> int:
    """That so many pods of so many GPUs for each pipeline take, by their GPUs."""
    pipelines, zones = at.settings.sharding.pipelines, at.settings.gpu_pool.zones
    apart = min(len(zones), pipelines) if keeps_pipelines_together(at.settings) else 1
    return sum(nodes_by_zone(pipelines, pods, at.size.gpus // gpus, apart))


def _costs_no_more(at: Situation, pods: int, gpus: int) -> bool:
    """Than the shards that were asked for: larger ones may leave GPUs of a node idle."""
    return _nodes(at, pods, gpus) <= _nodes(at, at.settings.sharding.shards_count, min(gpus_of_shard(at.settings), at.size.gpus))


def _pods_of(at: Situation, code: str, pods: int, gpus: int, because: str) -> Iterator[Advice]:
    """So many pods of so many GPUs for each pipeline."""
    source = "planner/engine_facts"
    if pods != at.settings.sharding.shards_count:
        yield Advice(code=code, outcome="adjusted", path=("sharding", "shardsCount"), value=pods, because=because, source=source)
    for side in ("requests", "limits"):
        written = getattr(at.settings.shard.resources, side).nvidia_gpu
        if written not in (None, gpus):
            path = ("shard", "resources", side, "nvidia.com/gpu")
            yield Advice(code=code, outcome="adjusted", path=path, value=gpus, because=because, source=source)


def tensor_parallel(at: Situation) -> Iterator[Advice]:
    """Fewer and larger pods: GPUs that share each layer work on a token at once, where stages of a pipeline take turns."""
    if not at.traits.tensor_parallel:
        return
    shards, each = at.settings.sharding.shards_count, gpus_of_shard(at.settings)
    if at.settings.gpu_pool.mig:
        pods, gpus, why = 1, 1, "as NCCL connects no instances of a cut GPU"
    elif most_sharing_heads(at.shape, min(shards * each, at.size.gpus), _group(at)) == each:
        return
    else:
        pods, gpus, why = _sharing(at, shards * each)
    because = (
        f"the GPUs of a shard share each layer and work on a token at once, while shards take turns: {_shards(shards)} of {_gpus(each)} "
        f"become {_shards(pods)} of {_gpus(gpus)}, {why}"
    )
    yield from _pods_of(at, "ENGINE-006", pods, gpus, because)


def _group(at: Situation) -> int:
    return at.traits.group(precisions(at.settings)[0])


def _sharing(at: Situation, asked_gpus: int) -> tuple[int, int, str]:
    """Pods of a pipeline, GPUs of each, and why: one pod if the model fits it, else the largest that there can be, as many as make up
    the GPUs asked for. Where those cost more nodes than what was asked for, fewer or smaller ones that do not, if the model fits them."""
    group = _group(at)
    one = 1, most_sharing_heads(at.shape, min(asked_gpus, at.size.gpus), group)
    largest = most_sharing_heads(at.shape, at.size.gpus, group)
    several = _stages(at, math.ceil(asked_gpus / largest)), largest
    smaller = [(_stages(at, max(1, asked_gpus // gpus)), gpus) for gpus in range(largest, 0, -1) if shares_heads(at.shape, gpus, group)]
    fit, why = one if _fits(at, *one) else several, "on which the model fits" if _fits(at, *one) else "as the model needs"
    if not _costs_no_more(at, *fit):
        for pods, gpus in smaller:
            if _costs_no_more(at, pods, gpus) and _fits(at, pods, gpus):
                more = f"{_shards(fit[0])} of {_gpus(fit[1])} would take {_nodes(at, *fit)} nodes instead of {_nodes(at, pods, gpus)}"
                return pods, gpus, f"as {more}"
    if fit[1] < min(asked_gpus, at.size.gpus):
        why += f"; {at.shape.name} has {at.shape.heads} attention heads and {at.shape.kv_heads} with keys and values to divide"
    return *fit, why


def _fits(at: Situation, pods: int, gpus: int) -> bool:
    """Whether so many pods of so many GPUs hold the model, within the share of their memory that rules after this one leave."""
    fraction = min(at.settings.shard.config.gpu_memory_fraction, at.settings.targets.gpu_memory.fraction)
    changed = {
        ("sharding", "shardsCount"): pods,
        ("shard", "resources", "limits", "nvidia.com/gpu"): gpus,
        ("shard", "config", "gpuMemoryFraction"): fraction,
        ("model", "compilation", "tensorrt", "enabled"): False,
    }
    return missing_gib(with_values(at.settings, changed), at.gpu, at.shape) <= 0


def _stages(at: Situation, least: int) -> int:
    """More where the layers of each are asked to be alike."""
    alike = at.settings.sharding.layers_per_shard is not None
    return next((count for count in range(least, at.shape.layers) if not alike or at.shape.layers % count == 0), at.shape.layers)


def _shards(count: int) -> str:
    return f"{count} shard{'s'[: count > 1]}"


def _gpus(count: int) -> str:
    return f"{count} GPU{'s'[: count > 1]}"


def weight_types(at: Situation) -> Iterator[Advice]:
    quantization, takes = at.settings.model.quantization, at.traits.precisions_of(at.shape)
    if not quantization.enabled or quantization.precision in takes:
        return
    if at.shape.kv == "mla" and "fp8" in takes and at.gpu.fp8:
        yield Advice(
            code="ENGINE-003",
            outcome="adjusted",
            path=("model", "quantization", "precision"),
            value="fp8",
            because=f"{at.settings.engine} {at.traits.release} starts with {at.shape.name} in the format that it is published in only, and "
            f"ends with llm-compressor's {quantization.precision}",
            source="vllm-project/vllm#36247",
        )
    elif quantization.precision not in at.traits.weight_precisions:
        yield Advice(
            code="ENGINE-003",
            outcome="adjusted",
            path=("model", "quantization", "precision"),
            value="int8",
            because=f"{at.settings.engine} has no weights in {quantization.precision}; int8 takes about the same memory",
            source="planner/engine_facts",
        )


def cache_compression(at: Situation) -> Iterator[Advice]:
    model = at.settings.model
    if at.traits.compressed_cache_needs_flash_attention and model.kv_cache.compression and not model.attention.flash_attention:
        yield Advice(
            code="ENGINE-004",
            outcome="adjusted",
            path=("model", "attention", "flashAttention"),
            value=True,
            because="model.kvCache.compression holds the values in 8 bits, which only the flash attention kernels of this engine read",
            source="planner/engine_facts",
        )


def prompts_on_host(at: Situation) -> Iterator[Advice]:
    if not (at.traits.keeps_prompts_on_host and at.settings.caching.l1_cache.enabled):
        return
    if at.shape.attention == "hybrid":
        yield Advice(
            code="ENGINE-008",
            outcome="not supported",
            path=("caching", "l1Cache", "enabled"),
            value=False,
            because=f"{at.settings.engine} keeps no prompts on the host for a model some of whose layers have a state instead of keys and "
            "values, and would end at start",
            source="vllm-project/vllm#36463",
        )
    if at.shape.attention == "windowed":
        yield Advice(
            code="ENGINE-008",
            outcome="noted",
            path=("caching", "l1Cache", "enabled"),
            because=f"with it {at.settings.engine} holds the whole text for layers that look at a window of it only, as this plan counts "
            "them; without it the same memory holds more requests",
            source="vllm-project/vllm v0.17.1 vllm/config/vllm.py",
            severity="info",
        )


def sequences(at: Situation) -> Iterator[Advice]:
    batching, most = at.settings.coordinator.config.dynamic_batching, at.traits.most_sequences
    if most is not None and batching.enabled and batching.max_batch_size > most:
        yield Advice(
            code="ENGINE-005",
            outcome="adjusted",
            path=("coordinator", "config", "dynamicBatching", "maxBatchSize"),
            value=most,
            because=f"{at.settings.engine} runs at most {most} requests at once in one process",
            source="planner/engine_facts",
        )


RULES = (without, whole_pipelines, tensor_parallel, weight_types, cache_compression, prompts_on_host, sequences)
