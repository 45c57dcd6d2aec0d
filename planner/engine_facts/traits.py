"""What the planner must know of an engine on one kind of GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from planner.catalogue.model_shapes import ModelShape
from settings.error_messages import SettingPath


@dataclass(frozen=True, kw_only=True)
class Without:
    """A setting that an engine cannot follow, and the one value of it that says what the engine does."""

    path: SettingPath
    value: Any
    because: str
    """Why, and what to use instead; a clause without a capital or a full stop."""
    source: str


@dataclass(frozen=True, kw_only=True)
class UnderLoad:
    """One server under the guide's load test."""

    at_once: int
    """Requests that it works on at a time."""
    requests_s: float
    latency_p95_s: float


@dataclass(frozen=True, kw_only=True)
class MeasuredBatch:
    """What more requests at once brought, measured on one GPU with nothing else changed."""

    few: UnderLoad
    many: UnderLoad
    how: str
    source: str


@dataclass(frozen=True, kw_only=True)
class EngineTraits:
    proxied: bool
    """It has no coordinator of its own: a proxy is one, which keeps no answers, speaks TLS and asks for API keys."""
    whole_pipeline_in_a_pod: bool
    """One process holds all layers, split over the GPUs of its pod; there are no stages in other pods."""
    tensor_parallel: bool = False
    """The GPUs of a pod share each layer by its attention heads, so their number must divide those."""
    splits_prompts: bool = True
    """A prompt longer than a batch of tokens is read in several; without it a batch holds the longest prompt there may be."""
    slot_tokens: int | None = None
    """Each request has cache of its own set aside for the longest there may be, a multiple of so many tokens; None where requests share
    the cache and take of it as they grow."""
    block_tokens: int = 1
    """The cache is given out in blocks of so many tokens."""
    stages_divide_cache: bool = False
    """A request stays in the part of the cache that is one stage's of the pipeline; otherwise it may take all."""
    beyond_the_cache: str = "more must wait"
    """What becomes of requests for which the cache has no room; a clause without a capital or a full stop."""
    keeps_prompts_on_host: bool = False
    """`caching.l1Cache.size` is of the host's memory, for what a pipeline's pods have computed of prompts."""
    release: str = ""
    """Of the engine, whose facts these are; empty where there is one for all GPUs."""
    flash_attention_2: bool
    """Flash attention is the FlashAttention-2 library, which needs compute capability 8.0."""
    int8_needs_tensor_cores: bool
    """Without INT8 tensor cores, INT8 weights are multiplied in FP16."""
    rocm_image: str | None = None
    """The engine's for AMD GPUs, which nothing here deploys; None where it has none of its own."""
    weights_file: str | None
    """Name of the one file that the weights are, in their folder; None when the engine reads the folder as it was published."""
    own_weight_cache: bool
    """It keeps its own copy of the weights on the disk of `caching.l2Cache`; without one, a node's copy is that level."""
    weight_precisions: frozenset[str]
    """Of `model.quantization.precision`."""
    latent_cache_precisions: frozenset[str] | None = None
    """Those of `weight_precisions` that a model with one latent vector for all heads may have; None for all of them."""
    expert_precisions: frozenset[str] | None = None
    """Likewise of a mixture of experts."""
    grouped_precisions: frozenset[str] = frozenset()
    """Those whose weights share a scale in groups of 128, as they are quantised by default, none of which two GPUs may share."""
    not_served: tuple[tuple[str, str], ...] = ()
    """Models of the catalogue that it does not start with, and why; a clause without a capital or a full stop."""
    compressed_cache_needs_flash_attention: bool
    timeout_covers_answers: bool
    """`shard.config.networkTimeout` is how long a pipeline may be silent, and so ends an answer that is not streamed."""
    most_sequences: int | None
    """That run at once in one pipeline; None where the engine has no bound of its own."""
    more_at_once: MeasuredBatch | None = None
    """Where `dynamicBatching.maxBatchSize` is nothing but the number of requests at once; None where more was not measured to help."""
    performs_like: str
    """Whose measurements stand for it: an engine of `planner.performance.asking.ENGINES`."""
    measured: bool = True
    """Whether those are of the engine itself."""
    busy_measured: bool = False
    """Whether the share of the time in which a kernel runs was held against measurements of the engine."""
    without: tuple[Without, ...] = ()

    def precisions_of(self, shape: ModelShape) -> frozenset[str]:
        """Those of `model.quantization.precision` with which it starts a model."""
        of_kind = self.latent_cache_precisions if shape.kv == "mla" else self.expert_precisions if shape.experts else None
        return self.weight_precisions if of_kind is None else of_kind

    def serves(self, shape: ModelShape, precision: str) -> bool:
        """Whether it starts with such a checkpoint of a model of the catalogue."""
        return precision in self.precisions_of(shape) and shape.name not in dict(self.not_served)

    def group(self, precision: str) -> int:
        """Weights of a column that must stay on one GPU."""
        return 128 if precision in self.grouped_precisions else 1

    def lacks(self, document: dict[str, Any]) -> Iterator[Without]:
        """What a stack asks that the engine is without; `document` as `settings.leaves.document` makes it."""
        for one in self.without:
            value: Any = document
            for part in one.path:
                value = value[part]
            if value != one.value:
                yield one
