"""What one layout does under a load: the estimate of `planner.performance`, plus the waiting that the settings themselves cause."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts import traits
from planner.fit import estimate_question, stack_memory
from planner.fit.concurrency import concurrency
from planner.fit.demand import Demand
from planner.performance import gpu_cards
from planner.performance.estimate import ClosedLoop, Range, TokenTimes
from planner.performance.questions import GpuFigures
from settings import StackSettings

_GIGA = 1e9
_PCIE_GB_S = {"pcie3": 16.0, "pcie4": 32.0, "pcie5": 64.0}
"""Bandwidth of 16 lanes in one direction: PCI-SIG's 8, 16 and 32 GT/s."""
_PAIR = "nvlink_pair"
_BRIDGE_GB_S = 300.0
"""Bandwidth of the bridge between two A100 PCIe or H100 NVL in one direction: NVIDIA's data sheets state 600 GB/s for both."""
_BEYOND_A_PAIR_GB_S = 32.0
"""Bandwidth between two pairs of GPUs: an 8 MB all-reduce over the four GPUs of an NC96ads takes 576 us, 21 GB/s, so it is PCIe 4."""


@dataclass(frozen=True, kw_only=True)
class Times:
    """The times of a request in seconds, with their ranges."""

    first_token: Range
    per_token: Range
    latency: Range
    """The time until the tokens of the latency target are there."""
    request: Range
    """The time until all tokens of the request are there."""
    floor_per_token_s: float
    """The least seconds per token: weights and cache at the data sheet's full bandwidth, or the products at its full arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One copy of the model on its GPUs, and how many requests it runs at once."""

    loop: ClosedLoop
    load: Demand
    most: int
    """Requests in the batch; further ones wait until one of them ends."""
    measured: bool = True
    """Whether the fitted measurements include the engine itself."""
    takes_turns: bool = False
    """Whether its stages work on the same batch one after another, however many requests there are."""
    _cache: dict[float, TokenTimes] = field(default_factory=dict, compare=False, repr=False)
    """Times by the number of running requests. A copy with another `most` shares them."""

    @property
    def extrapolated(self) -> bool:
        """Whether the fitted measurements include no such GPU, shape or engine."""
        return not self.measured or self.loop.extrapolated

    def at(self, in_flight: float) -> Times:
        """Returns the times with this many requests always in flight. Beyond `most` each waits its turn, so by Little's law all times
        grow."""
        by_bound = {bound: self._seconds(in_flight, bound) for bound in ("value", "low", "high")}
        ranges = (Range(**dict(zip(by_bound, bounds, strict=True))) for bounds in zip(*by_bound.values(), strict=True))
        first, further, latency, request = ranges
        floor_s = self._alone(self._running(in_flight)).floor_per_token
        return Times(first_token=first, per_token=further, latency=latency, request=request, floor_per_token_s=floor_s)

    def _alone(self, running: float) -> TokenTimes:
        """The times of a request that does not wait for its turn."""
        times = self._cache.get(running)
        if times is None:
            times = self._cache[running] = self.loop.at(running)
        return times

    def _running(self, in_flight: float) -> float:
        return max(1.0, min(in_flight, self.most))

    def _seconds(self, in_flight: float, bound: str) -> tuple[float, float, float, float]:
        """Returns the seconds of the first token, each further token, the latency and the whole request.

        Each is computed from the same bound of its parts, so the range is as wide as the parts can be together.
        """
        running = self._running(in_flight)
        times = self._alone(running)
        first, further = getattr(times.first_token, bound), getattr(times.per_token, bound)
        request = first + further * (self.load.output_tokens - 1)
        waited = request * max(in_flight / running - 1, 0.0)
        return first + waited, further, first + waited + further * (self.load.judged_tokens - 1), request + waited

    def most_within(self, latency_s: float, bound: str, limit: int = 8192) -> int:
        """Returns the most requests in flight, up to `limit`, whose latency's `bound` (value, low, high) is within `latency_s`; 0 for
        none."""

        def latency(in_flight: int) -> float:
            return self._seconds(in_flight, bound)[2]

        low, high = 1, limit
        low_s = latency(low)
        if low_s > latency_s:
            return 0
        high_s = latency(high)
        if high_s <= latency_s:
            return limit
        # More requests never make one faster, so the guess is where the line through the last two points crosses the target. If that takes
        # long, it is the middle.
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
        """Returns the share of the time in which a GPU can have work: with fewer batches than pipeline stages, the other stages wait."""
        batches = 1.0 if self.takes_turns else self._running(in_flight)
        return min(1.0, batches / self.loop.question.pipeline_parallel)

    def busy(self, in_flight: float) -> Range:
        """Returns the share of the time in which some kernel runs on a GPU."""
        alone, most = self.loop.busy(self._running(in_flight)), self.busy_at_most(in_flight)
        return Range(value=most * alone.value, low=most * alone.low, high=most * alone.high)

    def requests_s(self, in_flight: float, bound: str = "value") -> float:
        """Returns the requests a second with this many in flight."""
        return in_flight / self.request_s(in_flight, bound)

    def request_s(self, in_flight: float, bound: str) -> float:
        """Returns the seconds of a whole request with this many in flight."""
        return self._seconds(in_flight, bound)[3]


def pipeline(settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape, load: Demand, *, most: int | None = None) -> Pipeline:
    """Estimates one pipeline of the stack with `most` requests at once, or with as many as its batch and its cache allow.

    Raises Impossible where no machine could run it.
    """
    engine_traits, split = traits(settings.engine, gpu), stack_memory.parallel(settings, gpu, shape)
    weights, cache = stack_memory.precisions(settings)
    question = estimate_question.served(
        shape,
        _linked(gpu_cards.gpu_of(gpu), size.gpu_link, split.tensor),
        engine=engine_traits.performs_like,
        version=engine_traits.release or estimate_question.ENGINES[engine_traits.performs_like][1],
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
        measured=engine_traits.measured,
        # llama.cpp splits prompts over its GPUs, but not the tokens of a step (ggml-org/llama.cpp#6017).
        takes_turns=engine_traits.whole_pipeline_in_a_pod,
    )


def _linked(figures: GpuFigures, link: str, tensor: int) -> GpuFigures:
    """The GPU with the link to its neighbours that this VM size has."""
    if link in _PCIE_GB_S:
        return replace(figures, link=_PCIE_GB_S[link] * _GIGA, link_kind="PCIe")
    if link != _PAIR:
        return figures
    if tensor <= 2:
        return replace(figures, link=_BRIDGE_GB_S * _GIGA, link_kind="NVLink")
    return replace(figures, link=_BEYOND_A_PAIR_GB_S * _GIGA, link_kind="PCIe")
