"""How many requests one pipeline runs at once, and how long each may be: decided here and nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass

from planner.catalogue.hardware import Gpu
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts import traits
from planner.fit import stack_memory
from settings import StackSettings


@dataclass(frozen=True, kw_only=True)
class Concurrency:
    """What one pipeline takes in."""

    requests: int
    """That run at once; further ones wait for one of them to end."""
    request_tokens: int
    """Prompt and answer together, of the longest request. A longer prompt is refused, a longer answer ends there."""


def concurrency(settings: StackSettings, gpu: Gpu, shape: ModelShape, load_tokens: int) -> Concurrency:
    """`load_tokens`: prompt and answer of the requests that are expected, which decide where requests share the cache as they grow.

    An engine that sets cache aside for each request runs as many as its cache holds of the longest, however short they are; with
    `sizing.mode: verbatim` as many as were asked for, each the shorter for it.
    """
    batch, step = batch_size(settings), traits(settings.engine, gpu).slot_tokens
    held, longest = stack_memory.tightest(settings, gpu, shape).tokens, longest_request(settings, shape)
    if step is None:
        kept = min(longest, _whole_blocks(settings, gpu, held)) if settings.model.kv_cache.enabled else longest
        return Concurrency(requests=max(1, min(batch, held // load_tokens)), request_tokens=max(1, kept))
    slot = slot_tokens(settings, gpu, shape)
    requests = batch if settings.sizing.mode == "verbatim" else max(1, min(batch, held // slot))
    return Concurrency(requests=requests, request_tokens=min(slot, max(step, held // requests // step * step)))


def waiting_requests(settings: StackSettings, pipeline_requests: int) -> int:
    """Requests that may wait in one coordinator which is a proxy; `pipeline_requests`: what one pipeline runs at once.

    `coordinator.limits.queuedRequests`, and as many as the pipelines run: to Envoy a request whose connection to a free pipeline is still
    being opened waits too, so without those a burst would be refused while the pipelines are idle. Source: envoyproxy.io
    intro/arch_overview/upstream/circuit_breaking, cluster maximum pending requests.
    """
    running = settings.sharding.pipelines * pipeline_requests
    return settings.coordinator.limits.queued_requests + min(settings.coordinator.config.connection_pool_size, running)


def batch_size(settings: StackSettings) -> int:
    """Requests that the stack asks one pipeline to run at once, whatever its cache holds: one where nothing is batched."""
    batching = settings.coordinator.config.dynamic_batching
    return batching.max_batch_size if batching.enabled else 1


def _whole_blocks(settings: StackSettings, gpu: Gpu, held: int) -> int:
    """Tokens of the cache that one request may take."""
    of_engine = traits(settings.engine, gpu)
    parts = settings.sharding.shards_count if of_engine.stages_divide_cache else 1
    return max(of_engine.block_tokens, held // parts // of_engine.block_tokens * of_engine.block_tokens)


def longest_request(settings: StackSettings, shape: ModelShape) -> int:
    """Tokens of the longest request that the stack means to take, whatever its cache holds: the model's context, or less if it says so."""
    return min(settings.coordinator.limits.request_tokens or shape.context, shape.context)


def slot_tokens(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> int:
    """Tokens of cache that one such request takes of an engine that sets them aside for each: a multiple of the engine's step."""
    step = traits(settings.engine, gpu).slot_tokens or 1
    return math.ceil(longest_request(settings, shape) / step) * step
