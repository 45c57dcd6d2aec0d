"""GPU memory: what the targets, the cache and the batch ask for against what a shard's GPUs have left beside its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner.fit import concurrency, stack_memory
from planner.rules.rule import Advice, Situation
from settings.wording import count

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
    fit = stack_memory.tightest(at.settings, at.gpu, at.shape)
    if not cache.enabled or fit.kv_room_gib >= cache.max_cache_size.gib or stack_memory.missing_gib(at.settings, at.gpu, at.shape) > 0:
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
        source="planner/fit/stack_memory.py",
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


_BATCH = ("coordinator", "config", "dynamicBatching", "maxBatchSize")
_REQUEST = ("coordinator", "limits", "requestTokens")


def request_tokens(at: Situation) -> Iterator[Advice]:
    cache, asked = at.settings.model.kv_cache, at.settings.coordinator.limits.request_tokens
    if not cache.enabled:
        return
    step = at.traits.slot_tokens or 1
    held = stack_memory.tightest(at.settings, at.gpu, at.shape).tokens // step * step
    too_few = f"the cache holds {held:,} tokens, so that is the longest request, prompt and answer together"
    if asked is not None and asked > min(at.shape.context, held):
        yield Advice(
            code="FIT-005",
            outcome="adjusted",
            path=_REQUEST,
            value=max(step, min(at.shape.context, held)),
            because=too_few if held < at.shape.context else f"{at.shape.name} reads no more than {at.shape.context:,} tokens",
            source="planner/fit/stack_memory.py" if held < at.shape.context else "planner/catalogue/data/models.csv",
        )
    elif asked is None and held < at.shape.context:
        yield Advice(
            code="FIT-005",
            outcome="noted",
            path=("model", "kvCache", "maxCacheSize"),
            because=f"{too_few}, and not the {at.shape.context:,} that {at.shape.name} reads; a longer prompt is refused",
            source="planner/fit/stack_memory.py",
        )


def batch(at: Situation) -> Iterator[Advice]:
    batching, cache = at.settings.coordinator.config.dynamic_batching, at.settings.model.kv_cache
    if not (batching.enabled and cache.enabled):
        return
    asked = batching.max_batch_size
    held, longest = stack_memory.tightest(at.settings, at.gpu, at.shape).tokens, concurrency.longest_request(at.settings, at.shape)
    if at.traits.slot_tokens is not None:
        yield from _slots(at, asked, held)
    elif held // longest < asked:
        yield Advice(
            code="FIT-004",
            outcome="noted",
            severity="info",
            path=_BATCH,
            because=f"the cache holds {held:,} tokens: {held // longest} requests of the full {longest:,}, or {asked} of {held // asked:,} "
            f"each; {at.traits.beyond_the_cache}",
            source="planner/fit/stack_memory.py",
        )


def _slots(at: Situation, asked: int, held: int) -> Iterator[Advice]:
    """No more requests than the cache holds of the longest."""
    slot, step = concurrency.slot_tokens(at.settings, at.gpu, at.shape), at.traits.slot_tokens or 1
    whole = max(1, held // slot)
    if asked <= whole:
        return
    because = f"the cache holds {held:,} tokens: {count(whole, 'request')} of the {slot:,} that one may have; {at.traits.beyond_the_cache}"
    ways = [f"coordinator.limits.requestTokens: {shorter}"] if (shorter := held // asked // step * step) else []
    if larger := _cache_of(at, asked * slot):
        ways.append(f"model.kvCache.maxCacheSize: {larger}")
    because += f". {' or '.join(ways)} would let {asked} run at once" if ways else ""
    yield Advice(code="FIT-004", outcome="adjusted", path=_BATCH, value=whole, because=because, source="planner/fit/stack_memory.py")


def _cache_of(at: Situation, tokens: int) -> str | None:
    """The cache that holds so many tokens; None where the GPUs have no room for it."""
    fit = stack_memory.tightest(at.settings, at.gpu, at.shape)
    if not fit.tokens or fit.memory.kv_gib * (grown := tokens / fit.tokens) > fit.memory.kv_gib + fit.memory.free_gib:
        return None
    return f"{math.ceil(at.settings.model.kv_cache.max_cache_size.gib * grown / _STEP_GIB) * _STEP_GIB:g}Gi"


SHARE = (memory_fraction,)
"""Of a GPU: what decides how many requests its cache holds."""
RULES = (cache_size, growth, request_tokens, batch)
