"""What no deployment could be, whatever `sizing.mode` says: the servers would end at start, or answer whom they should not."""

from __future__ import annotations

from collections.abc import Iterator

from planner.engine_facts import NAMES, traits
from planner.fit import stack_memory
from planner.fit.layers import most_sharing_heads, shares_heads
from planner.rules.rule import Situation
from settings import Problem


def refused(at: Situation) -> list[Problem]:
    """Every reason why the stack could not run; empty where it can. Whether it fits the GPUs and nodes is asked elsewhere."""
    return [*_uneven_layers(at), *_unguarded(at), *_divided(at), *_not_served(at)]


def _uneven_layers(at: Situation) -> Iterator[Problem]:
    sharding, shape = at.settings.sharding, at.shape
    if sharding.layers_per_shard not in (None, shape.layers / sharding.shards_count):
        yield Problem(
            key="sharding.layersPerShard",
            value=str(sharding.layers_per_shard),
            consequence=f"{sharding.shards_count} shards would hold {sharding.shards_count * (sharding.layers_per_shard or 0)} layers "
            f"but {shape.name} has {shape.layers}",
            fix="leave it out to split the layers evenly, or change sharding.shardsCount",
        )


def _not_served(at: Situation) -> Iterator[Problem]:
    """Models and checkpoints with which the engine would end at start."""
    of_engine, quantization = at.traits, at.settings.model.quantization
    why = dict(of_engine.not_served).get(at.shape.name)
    if why and at.settings.model.shape is None:
        engines = ", ".join(name for name in NAMES if at.shape.name not in dict(traits(name).not_served))
        yield Problem(
            key="model.name",
            value=at.shape.name,
            consequence=f"{at.settings.engine} {of_engine.release} ends at start with it: {why}",
            fix=f"another model, or another engine: {engines}",
        )
    takes, precision = of_engine.precisions_of(at.shape), quantization.precision if quantization.enabled else "fp16"
    if takes < of_engine.weight_precisions and precision not in takes:
        yield Problem(
            key="model.quantization.precision",
            value=precision,
            consequence=f"{at.settings.engine} {of_engine.release} ends at start with a checkpoint of {at.shape.name} in {precision} on a "
            f"{at.gpu.name}",
            fix=f"{' or '.join(sorted(takes))}, on GPUs that have it" if takes else "a GPU of compute capability 8.0 or higher",
        )


def _unguarded(at: Situation) -> Iterator[Problem]:
    """A lock that is not there is worse than none: who asked for it would rely on it."""
    if at.traits.proxied:
        return
    exposure = at.settings.exposure
    if exposure.allowed_origins:
        yield Problem(
            key="exposure.allowedOrigins",
            value=", ".join(exposure.allowed_origins),
            consequence=f"the coordinator of {at.settings.engine} is an image of your own, whose configuration has no such key",
            fix="leave it out, and let your coordinator say which pages may ask it",
        )
    for key, asked in (("exposure.tls", exposure.tls), ("exposure.apiKeys", exposure.api_keys)):
        if asked:
            yield Problem(
                key=f"{key}.secretName",
                value=asked.secret_name,
                consequence=f"the coordinator of {at.settings.engine} is an image of your own, whose configuration has no such key: it "
                "would answer everybody, in plain text",
                fix=f"leave {key} out and put a gateway in front, or an engine whose coordinator is the proxy of this project: "
                f"{', '.join(name for name in NAMES if traits(name).proxied)}",
            )


def _divided(at: Situation) -> Iterator[Problem]:
    """How a pipeline is divided over pods and GPUs."""
    # With `strict`, a rule says it already.
    if at.settings.sizing.mode == "strict":
        return
    shards, of_engine = at.settings.sharding.shards_count, at.traits
    gpus, group = stack_memory.gpus_of_shard(at.settings), of_engine.group(stack_memory.precisions(at.settings)[0])
    if of_engine.whole_pipeline_in_a_pod and shards > 1:
        yield Problem(
            key="sharding.shardsCount",
            value=str(shards),
            consequence=f"{at.settings.engine} keeps all layers of a pipeline in one process: each of the {shards} pods would hold the "
            "whole model, and all but the first would answer nothing",
            fix="1 with more GPUs in shard.resources, or sizing: {mode: fitted} to have it adjusted",
        )
    if of_engine.tensor_parallel and not shares_heads(at.shape, gpus, group):
        yield Problem(
            key="shard.resources.limits.nvidia.com/gpu",
            value=str(gpus),
            consequence=f"{at.settings.engine} divides the {at.shape.heads} attention heads of {at.shape.name} over the GPUs of a "
            f"pod, {at.shape.kv_heads} of them with keys and values, and the {at.shape.intermediate} rows of its feed-forward"
            f"{f' in groups of {group}' if group > 1 else ''}, and would stop at start",
            fix=f"{most_sharing_heads(at.shape, gpus, group)}, or sizing: {{mode: fitted}} to have it adjusted",
        )
