"""Whether a layout meets each of the targets, and what prevents it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.engine_facts import traits
from planner.fit import memory_model, stack_memory
from planner.fit.concurrency import concurrency
from planner.fit.demand import Demand
from planner.fit.serving import Pipeline, Times, pipeline
from planner.performance.estimate import Range
from settings import StackSettings
from settings.wording import figure

TargetOutcome = Literal["met", "in doubt", "missed"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on one of the `targets`."""

    key: str
    asked: str
    predicted: str
    outcome: TargetOutcome
    """`in doubt` where the target lies inside the range of the estimate."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What all pipelines of a layout are estimated to do together."""

    load: Demand
    pipelines: int
    times: Times
    """The times with as many requests in flight as there are users."""
    requests_s: Range
    """The most requests a second within the latency target, at the slow end of the estimate (low), at the estimate itself (value) and at
    the fast end (high). 0 where one request alone takes longer."""
    requests_s_of_users: float
    """Requests a second with as many in flight as there are users, however long each of them waits."""
    floor_s: float
    """The least seconds for the tokens of the latency target: the weights are read once per token at full bandwidth."""
    weights_gb: float
    """Weights read per generated token, in GB (10^9 bytes)."""
    bandwidth_gb_s: float
    """The full memory bandwidth of the GPUs that share a layer, together."""
    memory_share: float
    """The share of each GPU's memory that weights, cache, activations and libraries take."""
    bandwidth_share: float
    """The share of each GPU's memory bandwidth (or arithmetic, if that is the limit) that useful work takes while a token is generated."""
    busy: Range
    """The share of the time in which some kernel runs on a GPU, which is what gpu_utilization measures."""
    busy_at_most: float
    """The share of the time in which a GPU can have work."""
    busy_measured: bool
    """Whether `busy` was compared with measurements of the engine."""
    extrapolated: bool
    """Whether the fitted measurements include no such GPU, shape or engine."""

    def usd_per_million_tokens(self, usd_per_hour: float) -> float | None:
        """Returns the cost at the rate that keeps the latency target at the slow end of the estimate; None where no rate does."""
        if not self.requests_s.low:
            return None
        return usd_per_hour / (self.requests_s.low * self.load.output_tokens * 3600) * 1e6


def predict(settings: StackSettings, size: GpuSize, gpu: Gpu, shape: ModelShape, load: Demand, known: Pipeline | None = None) -> Prediction:
    """Predicts what a stack does as it is deployed.

    `known` is one of its pipelines with any batch, if the caller has estimated it already. Raises Impossible where no machine could run it.
    """
    most_running = concurrency(settings, gpu, shape, load.request_tokens).requests
    estimated = replace(known, most=most_running) if known else pipeline(settings, size, gpu, shape, load, most=most_running)
    pipelines = settings.sharding.pipelines
    in_flight = load.users / pipelines
    times = estimated.at(in_flight)

    def most(bound: str) -> float:
        within = estimated.most_within(load.latency_s, bound)
        return pipelines * estimated.requests_s(within, bound) if within else 0.0

    return Prediction(
        load=load,
        pipelines=pipelines,
        times=times,
        requests_s=Range(value=most("value"), low=most("high"), high=most("low")),
        requests_s_of_users=load.users / times.request.value,
        floor_s=stack_memory.token_floor_s(settings, gpu, shape) * load.judged_tokens,
        weights_gb=stack_memory.weights_read_gb(settings, shape),
        bandwidth_gb_s=gpu.bandwidth_gb_s * estimated.loop.question.tensor_parallel,
        memory_share=_memory_share(settings, gpu, shape),
        bandwidth_share=times.floor_per_token_s / times.per_token.value,
        busy=estimated.busy(in_flight),
        busy_at_most=estimated.busy_at_most(in_flight),
        busy_measured=traits(settings.engine, gpu).busy_measured,
        extrapolated=estimated.extrapolated,
    )


def _memory_share(settings: StackSettings, gpu: Gpu, shape: ModelShape) -> float:
    parts = stack_memory.tightest(settings, gpu, shape).memory
    outside = max((1 - settings.shard.config.gpu_memory_fraction) * parts.total_gib, memory_model.CUDA_CONTEXT_GIB)
    return 1 - (parts.free_gib + outside) / parts.total_gib


def verdicts(settings: StackSettings, prediction: Prediction) -> tuple[Verdict, ...]:
    """Judges a prediction by each of the stack's targets."""
    targets = settings.targets
    return (
        Verdict(
            key="targets.latency",
            asked=f"{targets.latency} for {targets.tokens} tokens",
            predicted=_latency(prediction),
            outcome=_judged(prediction.times.latency, at_most=prediction.load.latency_s),
        ),
        Verdict(
            key="targets.throughputRps",
            asked=f"{figure(targets.throughput_rps)} requests/s",
            predicted=_throughput(prediction),
            outcome=_judged(prediction.requests_s, at_least=targets.throughput_rps),
        ),
        Verdict(
            key="targets.gpuUtilization",
            asked=f"at least {targets.gpu_utilization}",
            predicted=_utilization(prediction),
            outcome=_judged(prediction.busy, at_least=targets.gpu_utilization.fraction),
        ),
        Verdict(
            key="targets.gpuMemory",
            asked=f"at most {targets.gpu_memory}",
            predicted=f"{prediction.memory_share:.0%} of each GPU",
            outcome="met" if round(prediction.memory_share, 3) <= targets.gpu_memory.fraction else "missed",
        ),
    )


def _judged(predicted: Range, *, at_most: float = float("inf"), at_least: float = 0.0) -> TargetOutcome:
    if predicted.high <= at_most and predicted.low >= at_least:
        return "met"
    return "missed" if predicted.low > at_most or predicted.high < at_least else "in doubt"


def seconds(estimate: Range) -> str:
    """Writes an estimate in seconds with its range: `1.2 s (0.9 to 1.4)`."""
    return f"{figure(estimate.value)} s ({figure(estimate.low)} to {figure(estimate.high)})"


def _latency(prediction: Prediction) -> str:
    least = f"{figure(prediction.floor_s)} s at best, {why_no_less(prediction)}"
    return f"{seconds(prediction.times.latency)} with {prediction.load.users:,} in flight; {least}"


def why_no_less(prediction: Prediction) -> str:
    """Says what sets the floor of the latency."""
    return f"as each token reads {prediction.weights_gb:.1f} GB of weights at {prediction.bandwidth_gb_s:,g} GB/s"


def _throughput(prediction: Prediction) -> str:
    most, load = prediction.requests_s, prediction.load
    if most.value:
        return f"{figure(most.value)} requests/s ({figure(most.low)} to {figure(most.high)}) within {load.latency_s:g} s"
    return f"none within {load.latency_s:g} s; {figure(prediction.requests_s_of_users)} requests/s with {load.users:,} in flight"


def _utilization(prediction: Prediction) -> str:
    if prediction.busy_at_most < 1:
        return f"at most {prediction.busy_at_most:.0%}: stages of a pipeline wait for each other"
    about = "" if prediction.busy_measured else "~"
    share = f"{about}a kernel runs {prediction.busy.low:.0%} to {prediction.busy.high:.0%} of the time"
    return f"{share}; {prediction.bandwidth_share:.0%} of the memory bandwidth in use"
