"""What a search may choose, the layouts that meet the targets, and the result."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.fit import stack_memory
from planner.fit.demand import Demand
from planner.fit.serving import Pipeline
from planner.fit.stack_memory import Parallel
from planner.fit.verdicts import Prediction, predict
from planner.performance.estimate import Range
from settings import StackSettings

BITS = {"fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "int4": 4, "mxfp4": 4, "nvfp4": 4, "fp4": 4}
"""Bits of one weight by precision."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """What a search may choose."""

    regions: tuple[str, ...] = ()
    """The regions to search; empty for the stack's own."""
    spot: bool = False
    """Whether spot prices count."""
    survive: int = 0
    """Nodes that may be lost without missing a target."""
    retired: bool = False
    """Whether sizes that Azure no longer sells count too."""
    expected: bool = False
    """Whether it is enough if the estimate itself meets the targets; otherwise the slow end of its range must."""

    @property
    def bound(self) -> str:
        """The bound of a range that decides a time, which has to be short."""
        return "value" if self.expected else "high"

    @property
    def least(self) -> str:
        """The bound of a range that decides a figure that has to be large."""
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
    """Whether the price is the spot price."""
    nodes: int
    usd_per_hour: float
    """The price of all GPU nodes together, spot or pay as you go as the search was asked."""
    load: Demand
    pipeline: Pipeline
    """One of its pipelines, whose batch may be larger than the layout's."""

    @property
    def precision(self) -> str:
        """The precision of the weights."""
        return stack_memory.precisions(self.settings)[0]

    @property
    def parallel(self) -> Parallel:
        """How the GPUs of one pipeline share its work."""
        return stack_memory.parallel(self.settings, self.gpu, self.shape)

    @property
    def pipelines(self) -> int:
        """The number of pipelines."""
        return self.settings.sharding.pipelines

    @property
    def gpus(self) -> int:
        """The GPUs of all pipelines together."""
        return self.pipelines * self.parallel.tensor * self.parallel.pipeline

    @property
    def quota_vcpus(self) -> int:
        """The vCPUs of `quota_family` that the subscription needs as a quota in the region."""
        return self.nodes * self.size.vcpus

    @property
    def quota_family(self) -> str:
        """The quota's name in `az vm list-usage`; all spot nodes share one."""
        return "lowPriorityCores" if self.settings.gpu_pool.spot or self.spot else self.size.quota_family

    def predict(self) -> Prediction:
        """What all pipelines of the layout do under the stack's load."""
        return predict(self.settings, self.size, self.gpu, self.shape, self.load, self.pipeline)


@dataclass(frozen=True, kw_only=True)
class BestEffort:
    """The best figures of the layouts that fit some size, for a stack whose targets no layout meets."""

    gpu: str
    precision: str
    tensor: int
    floor_s: float
    """Seconds that the latency target's tokens take at full memory bandwidth, with the fastest layout."""
    alone_s: Range
    """The latency of a single request with that layout, in seconds."""
    requests_s: float
    """The most requests a second within the latency target, of any layout with the most pipelines; 0 where no layout keeps the target."""
    busy: float
    """The greatest share of the time in which kernels run, among layouts that keep the latency target; 1 where one is busy enough."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The layouts that meet the targets, and why the others do not."""

    load: Demand
    choices: tuple[Choice, ...]
    """Cheapest first."""
    rejected: Counter[str]
    """The number of layouts that do not meet the targets, by reason."""
    without_price: tuple[str, ...]
    """Sizes for which the catalogue has no price in the region."""
    priced: int
    """The number of sizes that could be used and have a price."""
    best_effort: BestEffort | None
    """None where no layout fits any size."""

    @property
    def looked_at(self) -> int:
        """The number of layouts that were judged."""
        return len(self.choices) + self.rejected.total()

    def best(self, count: int, bits: int) -> tuple[Choice, ...]:
        """Returns the `count` cheapest layouts of different sizes whose weights have at least `bits` bits: fewer would change the
        answers."""
        by_size: dict[str, Choice] = {}
        for choice in self.choices:
            if BITS[choice.precision] >= bits:
                by_size.setdefault(choice.size.name, choice)
        return tuple(by_size.values())[:count]


def bits(settings: StackSettings) -> int:
    """Bits of one weight in the precision that the stack asks for."""
    return BITS[stack_memory.precisions(settings)[0]]
