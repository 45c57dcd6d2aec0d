"""What one layout does under a load: the estimate of `planner.performance`, with the waiting that the settings themselves cause."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts import traits
from planner.fit import estimate_question, stack_memory
from planner.fit.concurrency import concurrency
from planner.fit.demand import Load
from planner.performance import published_rows
from planner.performance.estimate import ClosedLoop, Range
from planner.performance.estimate import Times as LoopTimes
from planner.performance.questions import Gpu as Card
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

    loop: ClosedLoop
    load: Load
    most: int
    """Requests in the batch; more wait for one to end."""
    measured: bool = True
    """Whether the estimates are of the engine itself."""
    takes_turns: bool = False
    """Whether its stages work on the same batch one after another, however many requests there are."""
    _found: dict[float, LoopTimes] = field(default_factory=dict, compare=False, repr=False)
    """By the requests that run; a copy with another `most` shares them."""

    @property
    def extrapolated(self) -> bool:
        """Whether the measurements that were fitted leave out such a GPU, shape or engine."""
        return not self.measured or self.loop.extrapolated

    def at(self, in_flight: float) -> Times:
        """With so many requests always there. Beyond `most` each waits its turn: by Little's law, all times grow alike."""
        by_bound = {bound: self._seconds(in_flight, bound) for bound in ("value", "low", "high")}
        first, each, latency, request = (Range(**dict(zip(by_bound, one, strict=True))) for one in zip(*by_bound.values(), strict=True))
        floor_s = self._alone(self._running(in_flight)).floor_per_token
        return Times(first_token=first, per_token=each, latency=latency, request=request, floor_per_token_s=floor_s)

    def _alone(self, running: float) -> LoopTimes:
        """Of a request that does not wait for its turn."""
        found = self._found.get(running)
        if found is None:
            found = self._found[running] = self.loop.at(running)
        return found

    def _running(self, in_flight: float) -> float:
        return max(1.0, min(in_flight, self.most))

    def _seconds(self, in_flight: float, bound: str) -> tuple[float, float, float, float]:
        """First token, each further one, latency, whole request: bounds with bounds, so as wide as the parts can be together."""
        running = self._running(in_flight)
        found = self._alone(running)
        first, each = getattr(found.first_token, bound), getattr(found.per_token, bound)
        request = first + each * (self.load.output_tokens - 1)
        waited = request * max(in_flight / running - 1, 0.0)
        return first + waited, each, first + waited + each * (self.load.judged_tokens - 1), request + waited

    def most_within(self, latency_s: float, bound: str, limit: int = 8192) -> int:
        """The most requests in flight, up to `limit`, whose latency's `bound` (value, low, high) is within `latency_s`; 0 for none."""

        def latency(in_flight: int) -> float:
            return self._seconds(in_flight, bound)[2]

        low, high = 1, limit
        low_s = latency(low)
        if low_s > latency_s:
            return 0
        high_s = latency(high)
        if high_s <= latency_s:
            return limit
        # More requests never make one quicker. Where the line through the last two points crosses; the middle, should that take long.
        last, last_s, slope, tries = low, low_s, (high_s - low_s) / (high - low), 0
        while high - low > 1:
            tries += 1
            guess = last + int((latency_s - last_s) / slope) if slope > 0 and tries < 8 else (low + high) // 2
            middle = min(max(guess, low + 1), high - 1)
            middle_s = latency(middle)
            slope = (middle_s - last_s) / (middle - last)
            last, last_s = middle, middle_s
            low, high = (middle, high) if middle_s <= latency_s else (low, middle)
        return low

    def busy_at_most(self, in_flight: float) -> float:
        """Share of the time in which a GPU can have work: with fewer batches under way than pipeline stages, the other stages wait."""
        batches = 1.0 if self.takes_turns else self._running(in_flight)
        return min(1.0, batches / self.loop.question.pipeline_parallel)

    def busy(self, in_flight: float) -> Range:
        """Share of the time in which some kernel runs on a GPU."""
        alone, most = self.loop.busy(self._running(in_flight)), self.busy_at_most(in_flight)
        return Range(value=most * alone.value, low=most * alone.low, high=most * alone.high)

    def requests_s(self, in_flight: float, bound: str = "value") -> float:
        return in_flight / self.request_s(in_flight, bound)

    def request_s(self, in_flight: float, bound: str) -> float:
        return self._seconds(in_flight, bound)[3]


def pipeline(settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape, load: Load, *, most: int | None = None) -> Pipeline:
    """One pipeline of the stack; `most` requests at once, or as its batch and its cache allow.

    Raises Impossible where no machine could run it.
    """
    of_engine, split = traits(settings.engine, gpu), stack_memory.parallel(settings, gpu, shape)
    weights, cache = stack_memory.precisions(settings)
    question = estimate_question.served(
        shape,
        _linked(published_rows.gpu_of(gpu), size.gpu_link, split.tensor),
        engine=of_engine.performs_like,
        version=of_engine.release or estimate_question.ENGINES[of_engine.performs_like][1],
        tensor_parallel=split.tensor,
        pipeline_parallel=split.pipeline,
        weight_precision=weights,
        kv_precision="fp8" if cache == "int8" else cache,
        input_tokens=load.input_tokens,
        output_tokens=load.output_tokens,
        concurrency=1.0,
    )
    return Pipeline(
        loop=ClosedLoop(question),
        load=load,
        most=concurrency(settings, gpu, shape, load.request_tokens).requests if most is None else most,
        measured=of_engine.measured,
        # llama.cpp splits prompts over its GPUs, not the tokens of a step (ggml-org/llama.cpp#6017).
        takes_turns=of_engine.whole_pipeline_in_a_pod,
    )


def _linked(card: Card, link: str, tensor: int) -> Card:
    """The GPU with the way to its neighbours that this VM size has."""
    if link in _PCIE_GB_S:
        return replace(card, link=_PCIE_GB_S[link] * _GIGA, link_kind="PCIe")
    if link != _PAIR:
        return card
    if tensor <= 2:
        return replace(card, link=_BRIDGE_GB_S * _GIGA, link_kind="NVLink")
    return replace(card, link=_BEYOND_A_PAIR_GB_S * _GIGA, link_kind="PCIe")
