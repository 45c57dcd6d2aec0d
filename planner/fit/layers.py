"""How a model's layers are split over the stages of a pipeline, and each layer over the GPUs of a stage."""

from __future__ import annotations

from planner.catalogue.model_shapes import ModelShape
from planner.fit.plan import ShardPlan


def split_layers(layers: int, shards: int) -> tuple[ShardPlan, ...]:
    """Splits the layers into contiguous, even ranges. Where they do not divide evenly, the first stages take one layer more."""
    return tuple(stage(layers, shards, index) for index in range(shards))


def stage(layers: int, shards: int, index: int) -> ShardPlan:
    """Returns one stage of such a split."""
    base, extra = divmod(layers, shards)
    first = index * base + min(index, extra)
    return ShardPlan(index=index, first_layer=first, last_layer=first + base + (index < extra) - 1)


def shares_heads(shape: ModelShape, gpus: int, group: int = 1) -> bool:
    """Whether tensor parallelism over this many GPUs is possible.

    Each GPU needs the same number of heads, whole KV heads or a copy of one, and whole groups of the weights that share a scale
    (`EngineTraits.group`).

    Source: vllm-project/vllm v0.17.1 vllm/config/model.py, verify_with_parallel_config and get_num_kv_heads; v0.8.5.post1
    vllm/model_executor/layers/quantization/gptq.py, create_weights.
    """
    if group > 1 and gpus > 1:
        rows = [shape.heads * shape.head_dim] if shape.kv == "gqa" else []
        rows += [shape.intermediate] if not shape.experts else []
        if any(count % (gpus * group) for count in rows):
            return False
    return shape.heads % gpus == 0 and (shape.kv == "mla" or shape.kv_heads % gpus == 0 or gpus % shape.kv_heads == 0)


def most_sharing_heads(shape: ModelShape, gpus: int, group: int = 1) -> int:
    """Returns the greatest number of GPUs, up to `gpus`, for which `shares_heads` holds."""
    return max(count for count in range(1, gpus + 1) if shares_heads(shape, count, group))
