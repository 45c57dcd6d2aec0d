"""Whether a layout meets each of the targets, and what stops it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts import traits
from planner.fit import memory_model, stack_memory
from planner.fit.concurrency import concurrency
from planner.fit.demand import Load
from planner.fit.serving import Pipeline, Times, pipeline
from planner.performance.estimate import Range
from settings import StackSettings
from settings.wording import figure

Outcome = Literal["met", "in doubt", "missed"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """On one of the `targets`."""

    key: str
    asked: str
    predicted: str
    outcome: Outcome
    """In doubt: the target lies inside the range of the estimate."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What all pipelines of a layout do together."""

    load: Load
    pipelines: int
    times: Times
    """With as many requests in flight as there are users."""
    requests_s: Range
    """The most requests a second while the latency target is kept: if everything takes as long as the slow end of the estimate's
    range (low), as estimated (value), as the quick end (high). 0 where one request alone takes longer."""
    requests_s_of_users: float
    """With as many in flight as there are users, however long each waits."""
    floor_s: float
    """What the latency's tokens take at best: weights read once a token at full bandwidth."""
    weights_gb: float
    """10^9 bytes of them that a token reads."""
    bandwidth_gb_s: float
    """Full, of the GPUs that share a layer."""
    memory_share: float
    """Of each GPU's memory: weights, cache, activations and libraries."""
    bandwidth_share: float
    """Of each GPU's memory bandwidth (or arithmetic, if that is the limit) that useful work takes while a token is made."""
    busy: Range
    """Share of the time in which some kernel runs on a GPU, which is what gpu_utilization measures."""
    busy_at_most: float
    """Share of the time in which a GPU can have work."""
    busy_measured: bool
    """Whether that was held against measurements of the engine."""
    extrapolated: bool

    def usd_per_million_tokens(self, usd_per_hour: float) -> float | None:
        """At the rate that keeps the latency target, as the slow end of the estimate has it; None where none does."""
        if not self.requests_s.low:
            return None
        return usd_per_hour / (self.requests_s.low * self.load.output_tokens * 3600) * 1e6


def predict(settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape, load: Load, known: Pipeline | None = None) -> Prediction:
    """For a stack as it is deployed; `known` is a pipeline of it, whatever its batch. Raises Impossible where no machine could run it."""
    most_running = concurrency(settings, gpu, shape, load.request_tokens).requests
    one = replace(known, most=most_running) if known else pipeline(settings, size, gpu, shape, load, most=most_running)
    pipelines = settings.sharding.pipelines
    each = load.users / pipelines
    times = one.at(each)

    def most(bound: str) -> float:
        within = one.most_within(load.latency_s, bound)
        return pipelines * one.requests_s(within, bound) if within else 0.0

    return Prediction(
        load=load,
        pipelines=pipelines,
        times=times,
        requests_s=Range(value=most("value"), low=most("high"), high=most("low")),
        requests_s_of_users=load.users / times.request.value,
        floor_s=stack_memory.token_floor_s(settings, gpu, shape) * load.judged_tokens,
        weights_gb=stack_memory.weights_read_gb(settings, shape),
        bandwidth_gb_s=gpu.bandwidth_gb_s * one.loop.question.tensor_parallel,
        memory_share=_memory_share(settings, gpu, shape),
        bandwidth_share=times.floor_per_token_s / times.per_token.value,
        busy=one.busy(each),
        busy_at_most=one.busy_at_most(each),
        busy_measured=traits(settings.engine, gpu).busy_measured,
        extrapolated=one.extrapolated,
    )


def _memory_share(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> float:
    parts = stack_memory.tightest(settings, gpu, shape).memory
    outside = max((1 - settings.shard.config.gpu_memory_fraction) * parts.total_gib, memory_model.CUDA_CONTEXT_GIB)
    return 1 - (parts.free_gib + outside) / parts.total_gib


def verdicts(settings: StackSettings, found: Prediction) -> tuple[Verdict, ...]:
    targets = settings.targets
    return (
        Verdict(
            key="targets.latency",
            asked=f"{targets.latency} for {targets.tokens} tokens",
            predicted=_latency(found),
            outcome=_judged(found.times.latency, at_most=found.load.latency_s),
        ),
        Verdict(
            key="targets.throughputRps",
            asked=f"{figure(targets.throughput_rps)} requests/s",
            predicted=_throughput(found),
            outcome=_judged(found.requests_s, at_least=targets.throughput_rps),
        ),
        Verdict(
            key="targets.gpuUtilization",
            asked=f"at least {targets.gpu_utilization}",
            predicted=_utilization(found),
            outcome=_judged(found.busy, at_least=targets.gpu_utilization.fraction),
        ),
        Verdict(
            key="targets.gpuMemory",
            asked=f"at most {targets.gpu_memory}",
            predicted=f"{found.memory_share:.0%} of each GPU",
            outcome="met" if round(found.memory_share, 3) <= targets.gpu_memory.fraction else "missed",
        ),
    )


def _judged(predicted: Range, *, at_most: float = float("inf"), at_least: float = 0.0) -> Outcome:
    if predicted.high <= at_most and predicted.low >= at_least:
        return "met"
    return "missed" if predicted.low > at_most or predicted.high < at_least else "in doubt"


def seconds(found: Range) -> str:
    return f"{figure(found.value)} s ({figure(found.low)} to {figure(found.high)})"


def _latency(found: Prediction) -> str:
    return f"{seconds(found.times.latency)} with {found.load.users:,} in flight; {figure(found.floor_s)} s at best, {why_no_less(found)}"


def why_no_less(found: Prediction) -> str:
    """What the floor is made of."""
    return f"as each token reads {found.weights_gb:.1f} GB of weights at {found.bandwidth_gb_s:,g} GB/s"


def _throughput(found: Prediction) -> str:
    most = found.requests_s
    if most.value:
        return f"{figure(most.value)} requests/s ({figure(most.low)} to {figure(most.high)}) within {found.load.latency_s:g} s"
    return f"none within {found.load.latency_s:g} s; {figure(found.requests_s_of_users)} requests/s with {found.load.users:,} in flight"


def _utilization(found: Prediction) -> str:
    if found.busy_at_most < 1:
        return f"at most {found.busy_at_most:.0%}: stages of a pipeline wait for each other"
    most = f"a kernel runs {found.busy.low:.0%} to {found.busy.high:.0%} of the time"
    return f"{'~' * (not found.busy_measured)}{most}; {found.bandwidth_share:.0%} of the memory bandwidth in use"
