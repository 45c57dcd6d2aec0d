"""GPU memory: what the targets, the cache and the batch ask for, compared with what a shard's GPUs have left beside its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

from planner.fit import concurrency, stack_memory
from planner.fit.plan import Finding
from planner.rules.rule import RuleContext, Rules
from settings.coordinator import SHORTEST_REQUEST_TOKENS
from settings.wording import count

GPU_SHARE = Rules()
"""The share of a GPU that the server may fill: it decides how many requests the cache holds, so it comes before the batch's size."""
RULES = Rules()

_STEP_GIB = 0.25
_MAX_BATCH_SIZE = ("coordinator", "config", "dynamicBatching", "maxBatchSize")
_REQUEST_TOKENS = ("coordinator", "limits", "requestTokens")


@GPU_SHARE.rule
def memory_fraction(context: RuleContext) -> Iterator[Finding]:
    """The server may not fill more of a GPU than the target allows."""
    asked, most = context.settings.shard.config.gpu_memory_fraction, context.settings.targets.gpu_memory.fraction
    if asked > most:
        yield Finding(
            code="FIT-002",
            outcome="adjusted",
            path=("shard", "config", "gpuMemoryFraction"),
            value=most,
            because=f"the server could fill {asked:.0%} of each GPU, while targets.gpuMemory allows {most:.0%}",
            source="targets.gpuMemory of the same stack",
        )


@RULES.rule
def cache_size(context: RuleContext) -> Iterator[Finding]:
    """The KV cache shrinks to what the tightest stage has left."""
    settings, cache = context.settings, context.settings.model.kv_cache
    fit = stack_memory.tightest(settings, context.gpu, context.shape)
    if not cache.enabled or fit.kv_room_gib >= cache.max_cache_size.gib:
        return
    if stack_memory.missing_gib(settings, context.gpu, context.shape) > 0:
        return
    memory = fit.memory
    steps = int(fit.kv_room_gib / _STEP_GIB)
    yield Finding(
        code="FIT-001",
        outcome="adjusted",
        path=("model", "kvCache", "maxCacheSize"),
        value=f"{steps * _STEP_GIB:g}Gi" if steps else f"{int(fit.kv_room_gib * 1024)}Mi",
        because=f"of the {memory.total_gib:.2f} GiB of a {context.gpu.name}, {memory.weights_gib:.2f} hold weights, "
        f"{memory.activations_gib:.2f} hold activations and {memory.reserve_gib:.2f} are kept free, which leaves {fit.kv_room_gib:.2f} GiB",
        source="planner/fit/stack_memory.py",
    )


@RULES.rule
def growth(context: RuleContext) -> Iterator[Finding]:
    """Memory that is allocated in advance cannot grow later."""
    settings = context.settings
    if settings.shard.config.allow_gpu_memory_growth and settings.model.kv_cache.enabled and settings.model.kv_cache.pre_allocate:
        yield Finding(
            code="FIT-003",
            outcome="adjusted",
            path=("shard", "config", "allowGpuMemoryGrowth"),
            value=False,
            because="model.kvCache.preAllocate allocates the whole cache at start, so nothing is left to grow; a server that grew anyway "
            "would run out of memory under load and not at start",
            source="model.kvCache.preAllocate of the same stack",
        )


@RULES.rule
def request_tokens(context: RuleContext) -> Iterator[Finding]:
    """A request may be no longer than what the model reads and the cache holds."""
    cache, asked, shape = context.settings.model.kv_cache, context.settings.coordinator.limits.request_tokens, context.shape
    if not cache.enabled:
        return
    step = context.traits.slot_tokens or 1
    held = stack_memory.tightest(context.settings, context.gpu, shape).tokens // step * step
    by_cache = f"the cache holds {held:,} tokens, which bounds the longest request, prompt and answer together"
    if asked is not None and asked > min(shape.context, held):
        yield Finding(
            code="FIT-005",
            outcome="adjusted",
            path=_REQUEST_TOKENS,
            # Where the weights leave no room for a cache, the stack is refused; the bound must be a valid one until then.
            value=max(step, SHORTEST_REQUEST_TOKENS, min(shape.context, held)),
            because=by_cache if held < shape.context else f"{shape.name} reads no more than {shape.context:,} tokens",
            source="planner/fit/stack_memory.py" if held < shape.context else "planner/catalogue/data/models.csv",
        )
    elif asked is None and held < shape.context:
        yield Finding(
            code="FIT-005",
            outcome="noted",
            path=("model", "kvCache", "maxCacheSize"),
            because=f"{by_cache}; {shape.name} could read {shape.context:,}, and a longer prompt than the cache holds is refused",
            source="planner/fit/stack_memory.py",
        )


@RULES.rule
def batch(context: RuleContext) -> Iterator[Finding]:
    """Compares the batch with the requests that the cache holds at their greatest length."""
    settings = context.settings
    batching, cache = settings.coordinator.config.dynamic_batching, settings.model.kv_cache
    if not (batching.enabled and cache.enabled):
        return
    asked = batching.max_batch_size
    held = stack_memory.tightest(settings, context.gpu, context.shape).tokens
    longest = concurrency.longest_request(settings, context.shape)
    if context.traits.slot_tokens is not None:
        yield from _slots(context, asked, held)
    elif held // longest < asked:
        yield Finding(
            code="FIT-004",
            outcome="noted",
            severity="info",
            path=_MAX_BATCH_SIZE,
            because=f"the cache holds {held:,} tokens: {held // longest} requests of the full {longest:,}, or {asked} of {held // asked:,} "
            f"each; {context.traits.beyond_the_cache}",
            source="planner/fit/stack_memory.py",
        )


def _slots(context: RuleContext, asked: int, held: int) -> Iterator[Finding]:
    """Lowers the batch to the requests of the greatest length that the cache holds, and says what would allow the batch asked for."""
    slot, step = concurrency.slot_tokens(context.settings, context.gpu, context.shape), context.traits.slot_tokens or 1
    whole = max(1, held // slot)
    if asked <= whole:
        return
    because = f"the cache holds {held:,} tokens: {count(whole, 'request')} of up to {slot:,} each; {context.traits.beyond_the_cache}"
    ways = [f"coordinator.limits.requestTokens: {shorter}"] if (shorter := held // asked // step * step) else []
    if larger := _cache_for(context, asked * slot):
        ways.append(f"model.kvCache.maxCacheSize: {larger}")
    if ways:
        because += f". {' or '.join(ways)} would let {asked} run at once"
    yield Finding(
        code="FIT-004", outcome="adjusted", path=_MAX_BATCH_SIZE, value=whole, because=because, source="planner/fit/stack_memory.py"
    )


def _cache_for(context: RuleContext, tokens: int) -> str | None:
    """The cache size that holds this many tokens; None where the GPUs have no room for it."""
    fit = stack_memory.tightest(context.settings, context.gpu, context.shape)
    if not fit.tokens:
        return None
    growth_factor = tokens / fit.tokens
    if fit.memory.kv_gib * growth_factor > fit.memory.kv_gib + fit.memory.free_gib:
        return None
    asked_gib = context.settings.model.kv_cache.max_cache_size.gib
    return f"{math.ceil(asked_gib * growth_factor / _STEP_GIB) * _STEP_GIB:g}Gi"
