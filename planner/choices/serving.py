"""What one layout does under a load: the estimate of `planner.performance`, with the waiting that the settings themselves cause."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from planner import gpu_memory
from planner.catalogue import Gpu, ModelShape
from planner.choices.load import Load
from planner.engine_traits import traits
from planner.performance import asking
from planner.performance.estimate import Answer, Range, estimate
from planner.performance.workload import Gpu as Card
from planner.performance.workload import Question
from planner.plan import GpuSize
from settings import StackSettings

_GIGA = 1e9
_PCIE_GB_S = {"pcie3": 16.0, "pcie4": 32.0, "pcie5": 64.0}
"""One direction of 16 lanes: PCI-SIG's 8, 16 and 32 GT/s."""
_PAIR = "nvlink_pair"
_BRIDGE_GB_S = 300.0
"""One direction of the bridge between two A100 PCIe or H100 NVL: NVIDIA's data sheets, 600 GB/s both ways."""
_BEYOND_A_PAIR_GB_S = 32.0
"""An 8 MB all-reduce over NC96ads's four GPUs, two pairs, takes 576 us: 21 GB/s, which is PCIe 4."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """What a request meets, in seconds, with its range."""

    first_token: Range
    per_token: Range
    latency: Range
    """For the tokens that the target is for."""
    request: Range
    """For all tokens of a request."""
    floor_per_token_s: float
    """Weights and cache at the full bandwidth, or the products at the full arithmetic, of the data sheet."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One copy of the model on its GPUs, and how many requests it runs at once."""

    question: Question
    load: Load
    most: int
    """Requests in the batch; more wait for one to end."""
    extrapolated: bool
    """Whether the measurements that were fitted leave out such a GPU, shape or engine."""
    _answers: dict[float, Answer] = field(default_factory=dict, compare=False, repr=False)
    """By the requests that run; a copy with another `most` shares them."""

    @classmethod
    def of(cls, question: Question, load: Load, most: int, *, measured: bool = True) -> Pipeline:
        """`measured`: whether the estimates are of the engine itself."""
        beyond = estimate(replace(question, concurrency=2.0)).extrapolated
        return cls(question=question, load=load, most=most, extrapolated=not measured or beyond)

    def at(self, in_flight: float) -> Times:
        """With so many requests always there. Beyond `most` each waits its turn: by Little's law, all times grow alike."""
        running = max(1.0, min(in_flight, self.most))
        found = self._answers.get(running)
        if found is None:
            found = self._answers[running] = estimate(replace(self.question, concurrency=running))
        assert found.ttft_s and found.tpot_s, "a closed loop has both"
        waits = max(in_flight / running - 1, 0.0)
        request = _sum(found.ttft_s, found.tpot_s, self.load.output_tokens - 1)
        first = _sum(found.ttft_s, request, waits)
        return Times(
            first_token=first,
            per_token=found.tpot_s,
            latency=_sum(first, found.tpot_s, self.load.judged_tokens - 1),
            request=_sum(request, request, waits),
            floor_per_token_s=found.floor_tpot_s,
        )

    def most_within(self, latency_s: float, bound: str, limit: int = 8192) -> int:
        """The most requests in flight, up to `limit`, whose latency's `bound` (value, low, high) is within `latency_s`; 0 for none."""

        def latency(in_flight: int) -> float:
            return getattr(self.at(in_flight).latency, bound)

        low, high, halve = 1, limit, False
        low_s, high_s = latency(low), latency(high)
        if high_s <= latency_s or low_s > latency_s:
            return limit if high_s <= latency_s else 0
        # More requests never make one quicker, and the latency is nearly a line: where that crosses, and the middle, in turns.
        while high - low > 1:
            share = 0.5 if halve else (latency_s - low_s) / (high_s - low_s)
            middle = min(max(low + int((high - low) * share), low + 1), high - 1)
            middle_s = latency(middle)
            if middle_s <= latency_s:
                low, low_s = middle, middle_s
            else:
                high, high_s = middle, middle_s
            halve = not halve
        return low

    def busy_at_most(self, in_flight: float) -> float:
        """Share of the time in which a GPU can have work: with fewer requests than pipeline stages, the other stages wait."""
        return min(1.0, max(1.0, min(in_flight, self.most)) / self.question.pipeline_parallel)

    def requests_s(self, in_flight: float, bound: str = "value") -> float:
        return in_flight / getattr(self.at(in_flight).request, bound)


def _sum(one: Range, other: Range, times: float) -> Range:
    """Bounds with bounds: as wide as the two can be together."""
    return Range(**{name: getattr(one, name) + times * getattr(other, name) for name in ("value", "low", "high")})


def pipeline(settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape, load: Load, *, most: int | None = None) -> Pipeline:
    """One pipeline of the stack; `most` requests at once, or as its batch and its cache allow.

    Raises Impossible where no machine could run it.
    """
    of_engine, split = traits(settings.engine, gpu), gpu_memory.parallel(settings, gpu, shape)
    weights, cache = gpu_memory.precisions(settings)
    question = asking.served(
        shape,
        _linked(asking.gpu(gpu), size.gpu_link, split.tensor),
        engine=of_engine.performs_like,
        version=of_engine.release or asking.ENGINES[of_engine.performs_like][1],
        tensor_parallel=split.tensor,
        pipeline_parallel=split.pipeline,
        weight_precision=weights,
        kv_precision="fp8" if cache == "int8" else cache,
        input_tokens=load.input_tokens,
        output_tokens=load.output_tokens,
        concurrency=1.0,
    )
    return Pipeline.of(question, load, most_at_once(settings, gpu, shape, load) if most is None else most, measured=of_engine.measured)


def most_at_once(settings: StackSettings, gpu: Gpu, shape: ModelShape, load: Load) -> int:
    """Requests that run at once in a pipeline: no more than its batch takes, nor than its cache holds."""
    batching = settings.coordinator.config.dynamic_batching
    held = gpu_memory.tightest(settings, gpu, shape).tokens // (load.input_tokens + load.output_tokens)
    return max(1, min(batching.max_batch_size if batching.enabled else 1, held))


def _linked(card: Card, link: str, tensor: int) -> Card:
    """The GPU with the way to its neighbours that this VM size has."""
    if link in _PCIE_GB_S:
        return replace(card, link=_PCIE_GB_S[link] * _GIGA, link_kind="PCIe")
    if link != _PAIR:
        return card
    if tensor <= 2:
        return replace(card, link=_BRIDGE_GB_S * _GIGA, link_kind="NVLink")
    return replace(card, link=_BEYOND_A_PAIR_GB_S * _GIGA, link_kind="PCIe")
