"""What the planner must know about an engine on one kind of GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from planner.catalogue.model_shapes import ModelShape
from settings.error_messages import SettingPath


@dataclass(frozen=True, kw_only=True)
class FixedSetting:
    """A setting that an engine does not let anyone choose, with the one value of it that says what the engine does."""

    path: SettingPath
    value: Any
    because: str
    """The reason, and what to use instead: a clause without a capital or a full stop."""
    source: str


@dataclass(frozen=True, kw_only=True)
class UnderLoad:
    """What one server did under the guide's load test."""

    at_once: int
    """Requests that the server ran at once."""
    requests_s: float
    latency_p95_s: float


@dataclass(frozen=True, kw_only=True)
class MeasuredBatch:
    """What a larger batch brought, measured on one GPU with nothing else changed."""

    few: UnderLoad
    many: UnderLoad
    how: str
    source: str


@dataclass(frozen=True, kw_only=True)
class EngineTraits:
    """What an engine can and cannot do, as far as the plan depends on it."""

    proxied: bool
    """Whether a proxy is the coordinator, as the engine has none: it caches no answers, speaks TLS and asks for API keys."""
    whole_pipeline_in_a_pod: bool
    """Whether one process holds all layers, split over the GPUs of its pod, so that no stages run in other pods."""
    tensor_parallel: bool = False
    """Whether the GPUs of a pod share each layer by its attention heads, so that their number must divide the heads."""
    splits_prompts: bool = True
    """Whether a prompt longer than a batch of tokens is read in several batches; otherwise a batch holds the longest possible prompt."""
    slot_tokens: int | None = None
    """The step in which cache is set aside for each request, at the longest possible length; None where requests share the cache and take
    more of it as they grow."""
    block_tokens: int = 1
    """Tokens of one block, the unit in which the cache is allocated."""
    stages_divide_cache: bool = False
    """Whether a request stays in one pipeline stage's part of the cache; otherwise it may use all of it."""
    beyond_the_cache: str = "further ones must wait"
    """What happens to requests for which the cache has no room: a clause without a capital or a full stop."""
    windows_save_cache: bool = False
    """Whether a layer that looks at a window of the text keeps no more of it; otherwise its cache is counted for the whole text."""
    keeps_prompts_on_host: bool = False
    """Whether `caching.l1Cache` is memory of the host, in which a pipeline's pods keep the KV cache of prompts."""
    release: str = ""
    """The engine's release that these traits describe; empty where one release serves all GPUs."""
    before_turing: EngineTraits | None = None
    """The traits of the older release that runs on GPUs below compute capability 7.5; None where one release serves all GPUs."""
    flash_attention_2: bool
    """Whether flash attention is the FlashAttention-2 library, which needs compute capability 8.0."""
    int8_needs_tensor_cores: bool
    """Whether INT8 weights are multiplied in FP16 on GPUs without INT8 tensor cores."""
    rocm_image: str | None = None
    """The engine's image for AMD GPUs, which nothing here deploys; None where it has none."""
    weights_file: str | None
    """The name of the single file that holds the weights; None when the engine reads the folder as it was published."""
    own_weight_cache: bool
    """Whether it keeps its own copy of the weights on the disk of `caching.l2Cache`; otherwise the node's copy is that cache level."""
    weight_precisions: frozenset[str]
    """The values of `model.quantization.precision` that it supports."""
    latent_cache_precisions: frozenset[str] | None = None
    """The weight precisions in which it serves models with one latent vector for all heads; None for all of them."""
    methods: tuple[tuple[str, float], ...] | None = None
    """The methods of quantised checkpoints that it reads, each with the least compute capability; None where files have no method."""
    expert_precisions: frozenset[str] | None = None
    """The weight precisions in which it serves mixtures of experts; None for all of them."""
    grouped_precisions: frozenset[str] = frozenset()
    """The weight precisions in which groups of 128 weights share a scale by default. A group cannot be split between two GPUs."""
    not_served: tuple[tuple[str, str], ...] = ()
    """Models of the catalogue with which it crashes at start, each with the reason: a clause without a capital or a full stop."""
    compressed_cache_needs_flash_attention: bool
    """Whether only its flash attention kernels can read a cache in 8 bits."""
    timeout_covers_answers: bool
    """Whether `shard.config.networkTimeout` limits how long a pipeline may be silent, and so how long an unstreamed answer may take."""
    most_sequences: int | None
    """The most requests that one pipeline runs at once; None where the engine has no limit of its own."""
    more_at_once: MeasuredBatch | None = None
    """What a larger `dynamicBatching.maxBatchSize` brought; None where it means more than requests at once, or was not found to help."""
    performs_like: str
    """The engine whose measurements stand for it: a key of `planner.fit.estimate_question.ENGINES`."""
    measured: bool = True
    """Whether those measurements are the engine's own."""
    busy_measured: bool = False
    """Whether the estimate of the time in which a kernel runs was compared with measurements of the engine."""
    fixed_settings: tuple[FixedSetting, ...] = ()
    """Settings of which the engine can follow one value only."""

    def precisions_of(self, shape: ModelShape) -> frozenset[str]:
        """Returns the values of `model.quantization.precision` in which it serves this kind of model."""
        if shape.published and shape.published.precision in self.weight_precisions:
            own = frozenset({shape.published.precision})
            # gpt-oss was trained in MXFP4, and there are no checkpoints of it in other formats of few bits.
            return own | (frozenset({"fp16", "bf16"}) if own == {"mxfp4"} else self._by_kind(shape))
        return self._by_kind(shape)

    def _by_kind(self, shape: ModelShape) -> frozenset[str]:
        precisions = self.latent_cache_precisions if shape.kv == "mla" else self.expert_precisions if shape.experts else None
        return (self.weight_precisions if precisions is None else precisions) - {"mxfp4"}

    def serves(self, shape: ModelShape, precision: str) -> bool:
        """Whether it serves a model of the catalogue in this precision."""
        return precision in self.precisions_of(shape) and shape.name not in dict(self.not_served)

    def group(self, precision: str) -> int:
        """Returns how many consecutive weights of a column must stay on one GPU."""
        return 128 if precision in self.grouped_precisions else 1

    def contradicted(self, document: dict[str, Any]) -> Iterator[FixedSetting]:
        """The fixed settings to which a stack gives another value. `document` comes from `settings.flatten.document`."""
        for setting in self.fixed_settings:
            value: Any = document
            for part in setting.path:
                value = value[part]
            if value != setting.value:
                yield setting
