"""Decides how many requests one pipeline runs at once, and how long each may be. Nothing else decides that."""

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
    """The requests that one pipeline admits."""

    requests: int
    """Requests that run at once; further ones wait for one of them to end."""
    request_tokens: int
    """Tokens of the longest request, prompt and answer together. A longer prompt is refused, and a longer answer stops there."""


def concurrency(settings: StackSettings, gpu: Gpu, shape: ModelShape, load_tokens: int) -> Concurrency:
    """Returns what one pipeline of the stack admits.

    `load_tokens` is the length of the expected requests, prompt and answer together. It decides for engines whose requests share the cache
    and grow in it. An engine that sets cache aside for each request runs as many as its cache holds at their greatest length, however short
    they are; with `sizing.mode: verbatim` it runs as many as the stack asks for, and each may be shorter.
    """
    batch, step = batch_size(settings), traits(settings.engine, gpu).slot_tokens
    held, longest = stack_memory.tightest(settings, gpu, shape).tokens, longest_request(settings, shape)
    if step is None:
        kept = min(longest, _whole_blocks(settings, gpu, held)) if stack_memory.has_cache(settings, gpu) else longest
        return Concurrency(requests=max(1, min(batch, held // load_tokens)), request_tokens=max(1, kept))
    slot = slot_tokens(settings, gpu, shape)
    requests = batch if settings.sizing.mode == "verbatim" else max(1, min(batch, held // slot))
    return Concurrency(requests=requests, request_tokens=min(slot, max(step, held // requests // step * step)))


def waiting_requests(settings: StackSettings, pipeline_requests: int) -> int:
    """Returns the requests that may wait in one coordinator that is a proxy. `pipeline_requests` is what one pipeline runs at once.

    They are `coordinator.limits.queuedRequests` and as many as the pipelines run: to Envoy a request whose connection to a free pipeline is
    still being opened waits too, so otherwise a burst would be refused while the pipelines are idle. Source: envoyproxy.io
    intro/arch_overview/upstream/circuit_breaking, cluster maximum pending requests.
    """
    running = settings.sharding.pipelines * pipeline_requests
    return settings.coordinator.limits.queued_requests + min(settings.coordinator.config.connection_pool_size, running)


def batch_size(settings: StackSettings) -> int:
    """Returns the requests that the stack asks one pipeline to run at once, whatever its cache holds: 1 where nothing is batched."""
    batching = settings.coordinator.config.dynamic_batching
    return batching.max_batch_size if batching.enabled else 1


def _whole_blocks(settings: StackSettings, gpu: Gpu, held: int) -> int:
    """Tokens of the cache that one request may use, of `held` tokens in all."""
    engine_traits = traits(settings.engine, gpu)
    parts = settings.sharding.shards_count if engine_traits.stages_divide_cache else 1
    return max(engine_traits.block_tokens, held // parts // engine_traits.block_tokens * engine_traits.block_tokens)


def longest_request(settings: StackSettings, shape: ModelShape) -> int:
    """Returns the tokens of the longest request that the stack allows, whatever its cache holds: the model's context or less."""
    return min(settings.coordinator.limits.request_tokens or shape.context, shape.context)


def slot_tokens(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> int:
    """Returns the tokens of cache that are set aside for one request, with an engine that does so: a multiple of the engine's step."""
    step = traits(settings.engine, gpu).slot_tokens or 1
    return math.ceil(longest_request(settings, shape) / step) * step
