"""What the chosen engine cannot do, and how it is laid out when it keeps a whole pipeline in one pod."""

from __future__ import annotations

from collections.abc import Iterator

from planner import engine_traits
from planner.gpu_memory import gpus_of_shard
from planner.rules.rule import Advice, Situation
from settings.leaves import document


def without(at: Situation) -> Iterator[Advice]:
    for one in engine_traits.differing(at.traits, document(at.settings)):
        yield Advice(code="ENGINE-001", outcome="not supported", path=one.path, value=one.value, because=one.because, source=one.source)


def whole_pipelines(at: Situation) -> Iterator[Advice]:
    shards, resources = at.settings.sharding.shards_count, at.settings.shard.resources
    if not at.traits.whole_pipeline_in_a_pod or shards == 1:
        return
    each = gpus_of_shard(at.settings)
    gpus = min(shards * each, at.size.gpus)
    because = (
        f"{at.settings.engine} keeps all layers of a pipeline in one process: {shards} shards of {_gpus(each)} become one of "
        f"{_gpus(gpus)}" + (f", which is all that a {at.size.name} has" if gpus < shards * each else "")
    )
    source = "planner/engine_traits.py"
    yield Advice(code="ENGINE-002", outcome="adjusted", path=("sharding", "shardsCount"), value=1, because=because, source=source)
    for side in ("requests", "limits"):
        written = getattr(resources, side).nvidia_gpu
        if written not in (None, gpus):
            path = ("shard", "resources", side, "nvidia.com/gpu")
            yield Advice(code="ENGINE-002", outcome="adjusted", path=path, value=gpus, because=because, source=source)


def _gpus(count: int) -> str:
    return f"{count} GPU{'s'[: count > 1]}"


def weight_types(at: Situation) -> Iterator[Advice]:
    quantization = at.settings.model.quantization
    if quantization.enabled and quantization.precision not in at.traits.weight_precisions:
        yield Advice(
            code="ENGINE-003",
            outcome="adjusted",
            path=("model", "quantization", "precision"),
            value="int8",
            because=f"{at.settings.engine} has no weights in {quantization.precision}; int8 takes about the same memory",
            source="planner/engine_traits.py",
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
            source="planner/engine_traits.py",
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
            source="planner/engine_traits.py",
        )


RULES = (without, whole_pipelines, weight_types, cache_compression, sequences)
