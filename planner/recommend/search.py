"""Every layout of the catalogue that an engine can deploy, against a stack's targets: those that meet them, and why the rest do not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from planner.catalogue import hardware, mig
from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.fit import stack_memory
from planner.fit.concurrency import longest_request
from planner.fit.demand import Load, load_of, too_long
from planner.fit.layers import shares_heads
from planner.fit.serving import Pipeline, pipeline
from planner.fit.stack_memory import Parallel
from planner.performance.published_rows import Impossible
from planner.recommend.choice import BITS, BestEffort, Choice, Found, Wish
from planner.recommend.layouts import Form, Stack, forms, with_batch
from planner.recommend.nodes import nodes, surviving
from planner.rules import drivers, engine
from planner.rules import hardware as hardware_rules
from planner.rules import memory as memory_rules
from planner.rules.node import share
from planner.rules.rule import Situation, advised
from settings import StackSettings
from settings.sharding import MOST_PIPELINES

_MOST_BATCH = 1024
"""Where the engine has no bound of its own: vLLM's largest default (`max_num_seqs`)."""
_TOO_LARGE = "the model does not fit the GPUs' memory"
_SIZE_RULES = (*engine.RULES, *hardware_rules.RULES, memory_rules.memory_fraction)
"""What a size and its GPU change whatever the layout: the search starts from a stack that has it done."""


def search(asked: StackSettings, shape: ModelShape, wish: Wish) -> Found:
    """`asked` need not fit anything: its targets, load and engine are read, and what does not depend on the layout.

    A layout that meets the targets has the fewest pipelines that do, as more only cost more. Bounds decide most layouts: memory,
    the physical floor, and that more stages cost more where one pipeline serves the load. The rest is estimated.
    """
    return _Search(asked=asked, shape=shape, wish=wish, load=load_of(asked)).run()


class _Rejected(Exception):
    """A layout that is no choice; its text is the reason, alike for all that fail alike."""

    def __init__(self, reason: str, *, deeper: bool = False) -> None:
        self.deeper = deeper
        """Whether more pipeline stages might mend it."""
        super().__init__(reason)


@dataclass(kw_only=True)
class _Search:
    asked: StackSettings
    shape: ModelShape
    wish: Wish
    load: Load
    rejected: Counter[str] = field(default_factory=Counter)
    quickest: tuple[float, Situation] | None = None
    requests_s: float = 0.0
    busy: float = 0.0
    pipelines: dict[tuple, Pipeline] = field(default_factory=dict)
    """By all that decides what one does: sizes with the same GPU share them."""

    def run(self) -> Found:
        choices: list[Choice] = []
        unpriced: list[str] = []
        priced = 0
        for region in self.wish.regions or (self.asked.azure.location,):
            for name in hardware.gpu_size_names():
                size = self._size(name, region)
                every = tuple(forms(self.asked, self.shape, size))
                try:
                    at = self._on(size, region)
                except _Rejected as reason:
                    self.rejected[str(reason)] += len(every)
                    unpriced += [name] * (self._price(size) is None)
                    continue
                priced += 1
                choices += self._of_size(at, region, every)
        choices.sort(key=lambda choice: (choice.usd_per_hour, -BITS[choice.precision], choice.gpus))
        return Found(
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
        return size.spot_usd_per_hour if self.wish.spot else size.usd_per_hour

    def _on(self, size: GpuSize, region: str) -> Situation:
        """The stack on this size, with everything done that the size changes whatever the layout."""
        if too_long(self.load, self.shape, longest_request(self.asked, self.shape)):
            raise _Rejected("the longest request that is allowed is too short for such requests")
        gpu = hardware.gpu(size.gpu)
        assert gpu, "every size's GPU is in the catalogue"
        if size.retired_on and not self.wish.retired:
            raise _Rejected("Azure no longer sells the size")
        if instead := drivers.lacking(size, gpu):
            raise _Rejected(f"the size has {instead}")
        if size.arm64:
            raise _Rejected("the size has Arm64 CPUs, on which no image was tried")
        if self._price(size) is None:
            raise _Rejected(f"no {'spot ' * self.wish.spot}price in {region}")
        size, gpu = self._cut(size, gpu)
        pool = self.asked.gpu_pool.model_copy(update={"vm_size": size.name})
        sizing = self.asked.sizing.model_copy(update={"mode": "fitted"})
        moved = self.asked.model_copy(update={"gpu_pool": pool, "sizing": sizing})
        at = Situation(settings=moved, size=size, gpu=gpu, shape=self.shape)
        return replace(at, settings=advised(at, _SIZE_RULES).settings)

    def _cut(self, size: GpuSize, gpu: Gpu) -> tuple[GpuSize, Gpu]:
        profile = self.asked.gpu_pool.mig
        if profile is None:
            return size, gpu
        try:
            return mig.cut(size, gpu, profile)
        except ValueError:
            raise _Rejected("the GPU cannot be cut into instances") from None

    def _of_size(self, at: Situation, region: str, every: tuple[Form, ...]) -> Iterator[Choice]:
        enough: dict[tuple[str, int], tuple[int, str]] = {}
        stack = Stack(at.settings, self.shape)
        for form in every:
            split = stack_memory.parallel_of(form.gpus, form.stages, at.traits, self.shape)
            kind = (form.precision, split.tensor)
            stages, reason = enough.get(kind, (split.pipeline, ""))
            if stages < split.pipeline:
                self.rejected[reason] += 1
                continue
            try:
                self._check_form(form, split, at)
                here = replace(at, settings=stack.formed(form))
                self._check(here)
                choice, least = self._choice(here, split, region)
                yield choice
                deeper, reason = least > 1, "more stages where one pipeline serves the load with fewer"
            except _Rejected as error:
                self.rejected[str(error)] += 1
                deeper, reason = error.deeper, str(error)
            if not deeper:
                enough[kind] = split.pipeline, reason

    def _check_form(self, form: Form, split: Parallel, at: Situation) -> None:
        """What no stack is needed for. Raises _Rejected."""
        if form.precision == "fp8" and not at.gpu.fp8:
            raise _Rejected("the GPU has no fp8")
        if not at.traits.serves(self.shape, form.precision):
            raise _Rejected("the engine would end at start with such a checkpoint of the model")
        if split.tensor > 1 and not shares_heads(self.shape, split.tensor, at.traits.group(form.precision)):
            raise _Rejected("the attention heads do not divide by the GPUs that would share a layer")

    def _check(self, at: Situation) -> None:
        """The bounds. Raises _Rejected."""
        if stack_memory.missing_gib(at.settings, at.gpu, self.shape) > 0:
            raise _Rejected(_TOO_LARGE, deeper=True)
        floor_s = stack_memory.token_floor_s(at.settings, at.gpu, self.shape) * self.load.judged_tokens
        if self.quickest is None or floor_s < self.quickest[0]:
            self.quickest = floor_s, at
        if floor_s > self.load.latency_s:
            raise _Rejected("below the physical floor: the weights cannot be read that fast")

    def _choice(self, at: Situation, split: Parallel, region: str) -> tuple[Choice, int]:
        """The layout with the fewest pipelines that meet the targets, and how many of them serve the load. Raises _Rejected."""
        node = share(at)
        if node is None:
            raise _Rejected("a node's CPUs or memory do not do for one shard", deeper=True)
        one = self._pipeline(at, split)
        longest_s = self.load.latency_s * max(1.0, self.load.output_tokens / self.load.judged_tokens)
        each = one.most_within(self.load.latency_s, self.wish.bound, min(one.most, self._in_flight(longest_s)))
        if not each:
            # Ranges of one request and of several differ, and more stages take a little less: they may do at the slow end.
            raise _Rejected("too slow for the latency target, even with one request alone", deeper=True)
        request_s = one.request_s(each, self.wish.bound)
        self.requests_s = max(self.requests_s, MOST_PIPELINES * each / request_s)
        least = self._busy_enough(one, math.ceil(self._in_flight(request_s) / each))
        carried = math.ceil(self._in_flight(request_s) / least)
        pipelines = surviving(at.settings, node.pods, least, self.wish.survive, MOST_PIPELINES)
        self._stages_busy_enough(one, pipelines)
        if pipelines > MOST_PIPELINES:
            raise _Rejected(f"more than {MOST_PIPELINES} pipelines", deeper=True)
        batched = with_batch(at.settings, max(carried, at.settings.coordinator.config.dynamic_batching.max_batch_size))
        if batched is not at.settings and stack_memory.missing_gib(batched, at.gpu, self.shape) > 0:
            raise _Rejected(_TOO_LARGE, deeper=True)
        settings = batched.model_copy(update={"sharding": batched.sharding.model_copy(update={"pipelines": pipelines})})
        if advised(replace(at, settings=settings), (engine.tensor_parallel,)).advice:
            raise _Rejected("the engine would rather have the GPUs of a pod share each layer")
        count = max(sum(nodes(at.settings, node.pods, pipelines)), at.settings.gpu_pool.min_nodes or 0)
        price = self._price(at.size)
        assert price is not None, "sizes without one are left out"
        made = Choice(
            settings=settings, size=at.size, gpu=at.gpu, shape=self.shape, region=region, spot=self.wish.spot, nodes=count,
            usd_per_hour=count * price, load=self.load, one=one,
        )  # fmt: skip
        return made, least

    def _busy_enough(self, one: Pipeline, pipelines: int) -> int:
        """The fewest from there on that have so few requests each that their GPUs seldom wait for the host. Raises _Rejected."""
        wanted = self.asked.targets.gpu_utilization.fraction

        def busy(count: int) -> float:
            return getattr(one.loop.busy(max(self.load.users / count, 1.0)), self.wish.least)

        if busy(pipelines) >= wanted:
            return pipelines
        alone = busy(self.load.users)
        if alone < wanted:
            self.busy = max(self.busy, alone)
            raise _Rejected("the GPUs would wait too long for the host, even with one request alone")
        return next(count for count in range(pipelines + 1, self.load.users + 1) if busy(count) >= wanted)

    def _stages_busy_enough(self, one: Pipeline, pipelines: int) -> None:
        each, reached = self.load.users / pipelines, 1.0
        if one.busy_at_most(each) < 1:
            reached = getattr(one.busy(each), self.wish.least)
        self.busy = max(self.busy, reached)
        if reached < self.asked.targets.gpu_utilization.fraction:
            raise _Rejected("pipeline stages would wait for each other, or for more users", deeper=True)

    def _pipeline(self, at: Situation, split: Parallel) -> Pipeline:
        """With a batch as large as the engine takes and the cache holds."""
        key = (at.size.gpu, at.size.gpu_link, stack_memory.precisions(at.settings), split)
        if key not in self.pipelines:
            widest = with_batch(at.settings, at.traits.most_sequences or _MOST_BATCH)
            try:
                self.pipelines[key] = pipeline(widest, at.size, at.gpu, self.shape, self.load)
            except Impossible:
                raise _Rejected(_TOO_LARGE, deeper=True) from None
        return self.pipelines[key]

    def _in_flight(self, request_s: float) -> int:
        """Requests in flight in all: the users, or what the rate keeps there while each takes so long (Little's law)."""
        return max(self.load.users, math.ceil(self.load.requests_s * request_s))

    def _best_effort(self) -> BestEffort | None:
        if self.quickest is None:
            return None
        floor_s, at = self.quickest
        split = stack_memory.parallel(at.settings, at.gpu, self.shape)
        return BestEffort(
            gpu=at.gpu.name,
            precision=stack_memory.precisions(at.settings)[0],
            tensor=split.tensor,
            floor_s=floor_s,
            alone_s=self._pipeline(at, split).at(1).latency,
            requests_s=self.requests_s,
            busy=self.busy,
        )
