"""How a model's layers are split over the stages of a pipeline."""

from __future__ import annotations

from planner.plan import ShardPlan


def split_layers(layers: int, shards: int) -> tuple[ShardPlan, ...]:
    """Contiguous, even ranges; when they do not divide, the first stages take one layer more."""
    base, extra = divmod(layers, shards)
    stages = []
    first = 0
    for index in range(shards):
        last = first + base + (index < extra) - 1
        stages.append(ShardPlan(index=index, first_layer=first, last_layer=last))
        first = last + 1
    return tuple(stages)
