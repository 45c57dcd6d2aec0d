"""The section `sharding`: how the model's layers are split over shards, as the guide has it."""

from typing import Annotated, Literal

from pydantic import Field

from settings.base import Otherwise, Section
from settings.formats import LabelKey, LabelValue

MOST_PIPELINES = 256
"""The most pipelines that a stack can have."""

Pipelines = Annotated[int, Field(ge=1, le=MOST_PIPELINES), Otherwise("each pipeline is a whole copy of the model on its own GPUs")]


class AffinityRule(Section):
    """A requirement on a label; the guide gives each shard's range of layers this way."""

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[LabelValue, ...] = ()


class Sharding(Section):
    """How the model's layers are split over shards."""

    strategy: Literal["layer_wise"] = "layer_wise"
    shards_count: Annotated[int, Field(ge=1, le=4096), Otherwise("no model has that many layers to split")] = 8
    layers_per_shard: Annotated[int, Field(ge=1, le=4096), Otherwise("no model has that many layers")] | None = None
    """Layers of one shard. By default the model's layers are split evenly."""
    overlap_layers: Annotated[int, Field(ge=0, le=4096), Otherwise("no model has that many layers")] = 0
    """Layers that neighbouring shards both have."""
    load_balancing: Literal["dynamic", "static"] = "dynamic"
    affinity_rules: tuple[AffinityRule, ...] = ()
    pipelines: Pipelines = 1
    """Number of complete copies of the model that serve side by side."""
