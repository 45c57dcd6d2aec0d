"""Judges every layout of the catalogue by a stack's targets: which meet them, and why the others do not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from planner.catalogue import hardware, mig
from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.fit import serving, stack_memory
from planner.fit.concurrency import longest_request
from planner.fit.demand import Demand, demand_of, too_long
from planner.fit.layers import shares_heads
from planner.fit.serving import Pipeline
from planner.fit.stack_memory import Parallel
from planner.performance.published_rows import Impossible
from planner.recommend.choice import BITS, BestEffort, Choice, SearchOptions, SearchResult
from planner.recommend.layouts import EngineLayout, LayoutVariants, engine_layouts, with_batch
from planner.recommend.nodes import nodes, surviving
from planner.rules import drivers, engine
from planner.rules import hardware as hardware_rules
from planner.rules import memory as memory_rules
from planner.rules.node import share
from planner.rules.rule import RuleContext, fitted
from settings import StackSettings
from settings.sharding import MOST_PIPELINES

_MOST_BATCH = 1024
"""The largest batch for an engine without a limit of its own: vLLM's largest default (`max_num_seqs`)."""
_TOO_LARGE = "the model does not fit the GPUs' memory"
_SIZE_RULES = (*engine.RULES, *hardware_rules.RULES, memory_rules.memory_fraction)
"""Rules whose changes depend on the size and its GPU alone: the search starts from a stack with these changes made."""


def search(asked: StackSettings, shape: ModelShape, options: SearchOptions) -> SearchResult:
    """Returns the layouts that meet the targets of `asked`, each with the fewest pipelines that do.

    `asked` need not fit any hardware: only its targets, load, engine and what does not depend on the layout are read. Most layouts are
    decided by bounds: memory, the physical floor, and that more stages cost more where one pipeline serves the load. The others are
    estimated."""
    return _Search(asked=asked, shape=shape, options=options, load=demand_of(asked)).run()


class _Rejected(Exception):
    """A layout that does not meet the targets. Its text is the reason, the same for all layouts that fail in the same way."""

    def __init__(self, reason: str, *, deeper: bool = False) -> None:
        self.deeper = deeper
        """Whether more pipeline stages might help."""
        super().__init__(reason)


@dataclass(kw_only=True)
class _Search:
    asked: StackSettings
    shape: ModelShape
    options: SearchOptions
    load: Demand
    rejected: Counter[str] = field(default_factory=Counter)
    quickest: tuple[float, RuleContext] | None = None
    requests_s: float = 0.0
    busy: float = 0.0
    pipelines: dict[tuple, Pipeline] = field(default_factory=dict)
    """Cache of estimated pipelines by GPU, link, precisions and split; VM sizes with the same GPU share an entry."""

    def run(self) -> SearchResult:
        choices: list[Choice] = []
        unpriced: list[str] = []
        priced = 0
        for region in self.options.regions or (self.asked.azure.location,):
            for name in hardware.gpu_size_names():
                size = self._size(name, region)
                layouts = tuple(engine_layouts(self.asked, self.shape, size))
                try:
                    context = self._on(size, region)
                except _Rejected as reason:
                    self.rejected[str(reason)] += len(layouts)
                    if self._price(size) is None:
                        unpriced.append(name)
                    continue
                priced += 1
                choices += self._choices(context, region, layouts)
        choices.sort(key=lambda choice: (choice.usd_per_hour, -BITS[choice.precision], choice.gpus))
        return SearchResult(
            load=self.load,
            choices=tuple(choices),
            rejected=self.rejected,
            without_price=tuple(dict.fromkeys(unpriced)),
            priced=priced,
            best_effort=self._best_effort(),
        )

    def _size(self, name: str, region: str) -> GpuSize:
        size = hardware.gpu_size(name, region)
        assert size, "a name of the catalogue"
        own = self.asked.gpu_pool.usd_per_hour
        if own is None or name != self.asked.gpu_pool.vm_size:
            return size
        return replace(size, usd_per_hour=own, spot_usd_per_hour=own)

    def _price(self, size: GpuSize) -> float | None:
        return size.spot_usd_per_hour if self.options.spot else size.usd_per_hour

    def _on(self, size: GpuSize, region: str) -> RuleContext:
        """Returns the stack on this size, with every change made that does not depend on the layout. Raises _Rejected."""
        if too_long(self.load, self.shape, longest_request(self.asked, self.shape)):
            raise _Rejected("the longest request that is allowed is too short for such requests")
        gpu = hardware.gpu_of(size)
        if size.retired_on and not self.options.retired:
            raise _Rejected("Azure no longer sells the size")
        if instead := drivers.lacking(size, gpu):
            raise _Rejected(f"the size has {instead}")
        if size.arm64:
            raise _Rejected("the size has Arm64 CPUs, on which no image was tried")
        if self._price(size) is None:
            raise _Rejected(f"no {'spot price' if self.options.spot else 'price'} in {region}")
        size, gpu = self._cut(size, gpu)
        pool = self.asked.gpu_pool.model_copy(update={"vm_size": size.name})
        sizing = self.asked.sizing.model_copy(update={"mode": "fitted"})
        moved = self.asked.model_copy(update={"gpu_pool": pool, "sizing": sizing})
        context = RuleContext(settings=moved, size=size, gpu=gpu, shape=self.shape)
        return replace(context, settings=fitted(context, _SIZE_RULES).settings)

    def _cut(self, size: GpuSize, gpu: Gpu) -> tuple[GpuSize, Gpu]:
        profile = self.asked.gpu_pool.mig
        if profile is None:
            return size, gpu
        try:
            return mig.cut(size, gpu, profile)
        except ValueError:
            raise _Rejected("the GPU cannot be cut into instances") from None

    def _choices(self, context: RuleContext, region: str, layouts: tuple[EngineLayout, ...]) -> Iterator[Choice]:
        """Yields the layouts on one size that meet the targets."""
        enough: dict[tuple[str, int], tuple[int, str]] = {}
        variants = LayoutVariants(context.settings, self.shape)
        for layout in layouts:
            split = stack_memory.parallel_of(layout.gpus, layout.stages, context.traits, self.shape)
            kind = (layout.precision, split.tensor)
            stages, reason = enough.get(kind, (split.pipeline, ""))
            if stages < split.pipeline:
                self.rejected[reason] += 1
                continue
            try:
                self._check_layout(layout, split, context)
                variant = replace(context, settings=variants.with_layout(layout))
                self._check_bounds(variant)
                choice, least = self._choice(variant, split, region)
                yield choice
                deeper, reason = least > 1, "more stages where one pipeline serves the load with fewer"
            except _Rejected as error:
                self.rejected[str(error)] += 1
                deeper, reason = error.deeper, str(error)
            if not deeper:
                enough[kind] = split.pipeline, reason

    def _check_layout(self, layout: EngineLayout, split: Parallel, context: RuleContext) -> None:
        """Raises _Rejected where the layout alone shows that it cannot run."""
        if layout.precision == "fp8" and not context.gpu.fp8:
            raise _Rejected("the GPU has no fp8")
        if not context.traits.serves(self.shape, layout.precision):
            raise _Rejected("the engine would crash at start with such a checkpoint of the model")
        if split.tensor > 1 and not shares_heads(self.shape, split.tensor, context.traits.group(layout.precision)):
            raise _Rejected("the attention heads do not divide by the GPUs that would share a layer")

    def _check_bounds(self, context: RuleContext) -> None:
        """Raises _Rejected where the model does not fit, or the physical floor is above the latency target."""
        if stack_memory.missing_gib(context.settings, context.gpu, self.shape) > 0:
            raise _Rejected(_TOO_LARGE, deeper=True)
        floor_s = stack_memory.token_floor_s(context.settings, context.gpu, self.shape) * self.load.judged_tokens
        if self.quickest is None or floor_s < self.quickest[0]:
            self.quickest = floor_s, context
        if floor_s > self.load.latency_s:
            raise _Rejected("below the physical floor: the weights cannot be read that fast")

    def _choice(self, context: RuleContext, split: Parallel, region: str) -> tuple[Choice, int]:
        """Returns the layout with the fewest pipelines that meet the targets, and how many of those serve the load. Raises _Rejected."""
        node = share(context)
        if node is None:
            raise _Rejected("a node has too few CPUs or too little memory for one shard", deeper=True)
        pipeline = self._pipeline(context, split)
        longest_s = self.load.latency_s * max(1.0, self.load.output_tokens / self.load.judged_tokens)
        in_flight = pipeline.most_within(self.load.latency_s, self.options.bound, min(pipeline.most, self._in_flight(longest_s)))
        if not in_flight:
            # The ranges of one request and of several differ, and more stages take a little less, so they may be enough at the slow end.
            raise _Rejected("too slow for the latency target, even with one request alone", deeper=True)
        request_s = pipeline.request_s(in_flight, self.options.bound)
        self.requests_s = max(self.requests_s, MOST_PIPELINES * in_flight / request_s)
        least = self._busy_enough(pipeline, math.ceil(self._in_flight(request_s) / in_flight))
        carried = math.ceil(self._in_flight(request_s) / least)
        pipelines = surviving(context.settings, node.pods, least, self.options.survive, MOST_PIPELINES)
        self._stages_busy_enough(pipeline, pipelines)
        if pipelines > MOST_PIPELINES:
            raise _Rejected(f"more than {MOST_PIPELINES} pipelines", deeper=True)
        batched = with_batch(context.settings, max(carried, context.settings.coordinator.config.dynamic_batching.max_batch_size))
        if batched is not context.settings and stack_memory.missing_gib(batched, context.gpu, self.shape) > 0:
            raise _Rejected(_TOO_LARGE, deeper=True)
        settings = batched.model_copy(update={"sharding": batched.sharding.model_copy(update={"pipelines": pipelines})})
        if fitted(replace(context, settings=settings), (engine.tensor_parallel,)).findings:
            raise _Rejected("the engine would rather have the GPUs of a pod share each layer")
        count = max(sum(nodes(context.settings, node.pods, pipelines)), context.settings.gpu_pool.min_nodes or 0)
        price = self._price(context.size)
        assert price is not None, "sizes without one are left out"
        choice = Choice(
            settings=settings, size=context.size, gpu=context.gpu, shape=self.shape, region=region, spot=self.options.spot, nodes=count,
            usd_per_hour=count * price, load=self.load, pipeline=pipeline,
        )  # fmt: skip
        return choice, least

    def _busy_enough(self, pipeline: Pipeline, pipelines: int) -> int:
        """Returns the fewest pipelines, `pipelines` or more, at whose load GPUs seldom wait for the host. Raises _Rejected."""
        target = self.asked.targets.gpu_utilization.fraction

        def busy(count: int) -> float:
            return getattr(pipeline.loop.busy(max(self.load.users / count, 1.0)), self.options.least)

        if busy(pipelines) >= target:
            return pipelines
        alone = busy(self.load.users)
        if alone < target:
            self.busy = max(self.busy, alone)
            raise _Rejected("the GPUs would wait too long for the host, even with one request alone")
        return next(count for count in range(pipelines + 1, self.load.users + 1) if busy(count) >= target)

    def _stages_busy_enough(self, pipeline: Pipeline, pipelines: int) -> None:
        """Raises _Rejected where pipeline stages wait for each other more than the target allows."""
        in_flight, reached = self.load.users / pipelines, 1.0
        if pipeline.busy_at_most(in_flight) < 1:
            reached = getattr(pipeline.busy(in_flight), self.options.least)
        self.busy = max(self.busy, reached)
        if reached < self.asked.targets.gpu_utilization.fraction:
            raise _Rejected("pipeline stages would wait for each other, or for more users", deeper=True)

    def _pipeline(self, context: RuleContext, split: Parallel) -> Pipeline:
        """Returns the estimated pipeline, with a batch as large as the engine takes and the cache holds. Raises _Rejected."""
        key = (context.size.gpu, context.size.gpu_link, stack_memory.precisions(context.settings), split)
        if key not in self.pipelines:
            widest = with_batch(context.settings, context.traits.most_sequences or _MOST_BATCH)
            try:
                self.pipelines[key] = serving.pipeline(widest, context.size, context.gpu, self.shape, self.load)
            except Impossible:
                raise _Rejected(_TOO_LARGE, deeper=True) from None
        return self.pipelines[key]

    def _in_flight(self, request_s: float) -> int:
        """All requests in flight: the users, or as many as arrive at the target rate while one takes `request_s` seconds (Little's law)."""
        return max(self.load.users, math.ceil(self.load.requests_s * request_s))

    def _best_effort(self) -> BestEffort | None:
        if self.quickest is None:
            return None
        floor_s, context = self.quickest
        split = stack_memory.parallel(context.settings, context.gpu, self.shape)
        return BestEffort(
            gpu=context.gpu.name,
            precision=stack_memory.precisions(context.settings)[0],
            tensor=split.tensor,
            floor_s=floor_s,
            alone_s=self._pipeline(context, split).at(1).latency,
            requests_s=self.requests_s,
            busy=self.busy,
        )
