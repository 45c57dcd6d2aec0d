"""What a search is free to choose, and what it found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.fit import stack_memory
from planner.fit.demand import Load
from planner.fit.serving import Pipeline
from planner.fit.stack_memory import Parallel
from planner.fit.verdicts import Prediction, predict
from planner.performance.estimate import Range
from settings import StackSettings

BITS = {"fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "int4": 4}
"""Of a weight."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a search is free to choose."""

    regions: tuple[str, ...] = ()
    """Empty: the stack's own."""
    spot: bool = False
    survive: int = 0
    """Nodes that may be lost without missing a target."""
    retired: bool = False
    """Also sizes that Azure no longer sells."""
    expected: bool = False
    """Enough if the estimate itself meets the targets; else the slow end of its range has to."""

    @property
    def bound(self) -> str:
        """Of a time that has to be short."""
        return "value" if self.expected else "high"

    @property
    def least(self) -> str:
        """Of a figure that has to be large."""
        return "value" if self.expected else "low"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A layout that meets every target that can be predicted."""

    settings: StackSettings
    """The stack with this layout, before the planner fits the rest."""
    size: GpuSize
    gpu: Gpu
    shape: ModelShape
    region: str
    spot: bool
    """Whether the price is spot's."""
    nodes: int
    usd_per_hour: float
    """Of all GPU nodes, at the price that the search was asked for."""
    load: Load
    one: Pipeline
    """One of its pipelines, with any batch."""

    @property
    def precision(self) -> str:
        return stack_memory.precisions(self.settings)[0]

    @property
    def parallel(self) -> Parallel:
        return stack_memory.parallel(self.settings, self.gpu, self.shape)

    @property
    def pipelines(self) -> int:
        return self.settings.sharding.pipelines

    @property
    def gpus(self) -> int:
        return self.pipelines * self.parallel.tensor * self.parallel.pipeline

    @property
    def quota_vcpus(self) -> int:
        """That the subscription must be allowed in the region, of `quota_family`."""
        return self.nodes * self.size.vcpus

    @property
    def quota_family(self) -> str:
        """As `az vm list-usage` names it; all spot nodes share one."""
        return "lowPriorityCores" if self.settings.gpu_pool.spot or self.spot else self.size.quota_family

    def predict(self) -> Prediction:
        return predict(self.settings, self.size, self.gpu, self.shape, self.load, self.one)


@dataclass(frozen=True, kw_only=True)
class BestEffort:
    """What the layouts reach that fit some size, for a target that none meets."""

    gpu: str
    precision: str
    tensor: int
    floor_s: float
    """Of the layout with the least: the latency's tokens at full bandwidth."""
    alone_s: Range
    """The latency that it gives one request alone."""
    requests_s: float
    """Of any layout with the most pipelines, within the latency target; 0 where none keeps it."""
    busy: float
    """Greatest share of the time in which kernels run, of the layouts that keep the latency target; 1 where one is busy enough."""


@dataclass(frozen=True, kw_only=True)
class Found:
    load: Load
    choices: tuple[Choice, ...]
    """Cheapest first."""
    rejected: Counter[str]
    """Layouts that do not meet the targets, by reason."""
    without_price: tuple[str, ...]
    """Sizes that the price list does not have in the region."""
    priced: int
    """Sizes that could be used, and have a price."""
    best_effort: BestEffort | None
    """None where no layout fits at all."""

    @property
    def looked_at(self) -> int:
        return len(self.choices) + self.rejected.total()

    def best(self, count: int, bits: int) -> tuple[Choice, ...]:
        """The cheapest of different sizes that hold the weights in at least so many bits: fewer would change the answers."""
        by_size: dict[str, Choice] = {}
        for choice in self.choices:
            if BITS[choice.precision] >= bits:
                by_size.setdefault(choice.size.name, choice)
        return tuple(by_size.values())[:count]


def bits(settings: StackSettings) -> int:
    """Of a weight, as the stack asks for it."""
    return BITS[stack_memory.precisions(settings)[0]]
