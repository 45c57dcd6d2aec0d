"""Stacks that are refused whatever `sizing.mode` says: their servers would crash at start, or answer clients they should not."""

from __future__ import annotations

from collections.abc import Iterator

from planner.engine_facts import NAMES, traits
from planner.fit import stack_memory
from planner.fit.layers import most_sharing_heads, shares_heads
from planner.rules.engine_arguments import OWN_CODE, refused_arguments
from planner.rules.rule import RuleContext
from settings import Problem


def refused(context: RuleContext) -> list[Problem]:
    """Returns every reason why the stack could not run; none where it can. Whether it fits its GPUs and nodes is checked elsewhere."""
    shaped = (*_uneven_layers(context), *_unguarded(context), *_first_cache(context), *_divided(context))
    return [*shaped, *_not_served(context), *_method(context), *refused_arguments(context.settings)]


def _uneven_layers(context: RuleContext) -> Iterator[Problem]:
    sharding, shape = context.settings.sharding, context.shape
    if sharding.layers_per_shard not in (None, shape.layers / sharding.shards_count):
        yield Problem(
            key="sharding.layersPerShard",
            value=str(sharding.layers_per_shard),
            consequence=f"{sharding.shards_count} shards would hold {sharding.shards_count * (sharding.layers_per_shard or 0)} layers "
            f"but {shape.name} has {shape.layers}",
            fix="leave it out to split the layers evenly, or change sharding.shardsCount",
        )


def _not_served(context: RuleContext) -> Iterator[Problem]:
    """Models and checkpoints with which the engine would crash at start."""
    engine_traits, quantization = context.traits, context.settings.model.quantization
    why = dict(engine_traits.not_served).get(context.shape.name)
    if why and context.settings.model.shape is None and not (OWN_CODE in why and OWN_CODE in context.settings.engine_arguments):
        engines = ", ".join(name for name in NAMES if context.shape.name not in dict(traits(name).not_served))
        yield Problem(
            key="model.name",
            value=context.shape.name,
            consequence=f"{context.settings.engine} {engine_traits.release} crashes at start with it: {why}",
            fix=(f"engineArguments: {{{OWN_CODE}: true}}, once you have read that code; " if OWN_CODE in why else "")
            + f"another model, or another engine: {engines}",
        )
    served, precision = engine_traits.precisions_of(context.shape), quantization.precision if quantization.enabled else "fp16"
    if served < engine_traits.weight_precisions and precision not in served:
        yield Problem(
            key="model.quantization.precision",
            value=precision,
            consequence=f"{context.settings.engine} {engine_traits.release} crashes at start with {context.shape.name} in {precision} on a "
            f"{context.gpu.name}",
            fix=f"{' or '.join(sorted(served))}, on GPUs that have it" if served else "a GPU of compute capability 8.0 or higher",
        )


def _method(context: RuleContext) -> Iterator[Problem]:
    """Checkpoints of a method that the engine's release does not read on this GPU."""
    method, engine_traits, gpu = stack_memory.checkpoint_method(context.settings, context.shape), context.traits, context.gpu
    if method is None or engine_traits.methods is None or gpu.compute_capability is None:
        return
    needs = dict(engine_traits.methods).get(method)
    if needs is None or needs > float(gpu.compute_capability):
        name = f"{context.settings.engine} {engine_traits.release}"
        on_gpus = "on no GPU" if needs is None else f"on GPUs of compute capability {needs} or higher"
        read = [known for known, least in engine_traits.methods if least <= float(gpu.compute_capability)]
        yield Problem(
            key="model.quantization.method",
            value=method,
            consequence=f"{name} reads such checkpoints {on_gpus}, and a {gpu.name} has {gpu.compute_capability}: it would crash at start",
            fix=f"a newer GPU, or a checkpoint of another method: {', '.join(read)}",
        )


def _unguarded(context: RuleContext) -> Iterator[Problem]:
    """Locks that the coordinator of an own image cannot provide: whoever asked for one would rely on it."""
    if context.traits.proxied:
        return
    exposure = context.settings.exposure
    if exposure.allowed_origins:
        yield Problem(
            key="exposure.allowedOrigins",
            value=", ".join(exposure.allowed_origins),
            consequence=f"the coordinator of {context.settings.engine} is an image of your own, whose configuration has no such key",
            fix="leave it out, and let your coordinator decide which web pages may call it",
        )
    for key, lock in (("exposure.tls", exposure.tls), ("exposure.apiKeys", exposure.api_keys)):
        if lock:
            yield Problem(
                key=f"{key}.secretName",
                value=lock.secret_name,
                consequence=f"the coordinator of {context.settings.engine} is an image of your own, whose configuration has no "
                "such key: it would answer everybody, in plain text",
                fix=f"leave {key} out and put a gateway in front, or an engine whose coordinator is the proxy of this project: "
                f"{', '.join(name for name in NAMES if traits(name).proxied)}",
            )


def _first_cache(context: RuleContext) -> Iterator[Problem]:
    """A coordinator that keeps answers needs memory for them; the proxy of the other engines keeps none."""
    cache, memory = context.settings.caching.l1_cache, context.settings.coordinator.resources.limits.memory
    if not context.traits.proxied and cache.enabled and memory is not None and cache.size.bytes >= memory.bytes:
        yield Problem(
            key="caching.l1Cache.size",
            value=cache.size,
            consequence=f"the coordinator keeps this cache in its own memory, which coordinator.resources.limits.memory limits to "
            f"{memory}, so it would be killed before the cache is full",
            fix="a smaller cache, or a higher limit",
        )


def _divided(context: RuleContext) -> Iterator[Problem]:
    """Ways to divide a pipeline over pods and GPUs with which the engine cannot work."""
    # With `strict`, a rule's finding is refused already.
    if context.settings.sizing.mode == "strict":
        return
    shards, engine_traits = context.settings.sharding.shards_count, context.traits
    gpus, group = stack_memory.gpus_of_shard(context.settings), engine_traits.group(stack_memory.precisions(context.settings)[0])
    if engine_traits.whole_pipeline_in_a_pod and shards > 1:
        yield Problem(
            key="sharding.shardsCount",
            value=str(shards),
            consequence=f"{context.settings.engine} keeps all layers of a pipeline in one process: each of the {shards} pods would "
            "hold the whole model, and only the first would answer requests",
            fix="1 with more GPUs in shard.resources, or sizing: {mode: fitted} to have it adjusted",
        )
    if engine_traits.tensor_parallel and not shares_heads(context.shape, gpus, group):
        shape, in_groups = context.shape, f" in groups of {group}" if group > 1 else ""
        yield Problem(
            key="shard.resources.limits.nvidia.com/gpu",
            value=str(gpus),
            consequence=f"{context.settings.engine} divides the {shape.heads} attention heads and {shape.kv_heads} KV heads of "
            f"{shape.name} over the GPUs of a pod, and the {shape.intermediate} rows of its feed-forward{in_groups}; with this number of "
            "GPUs it would crash at start",
            fix=f"{most_sharing_heads(shape, gpus, group)}, or sizing: {{mode: fitted}} to have it adjusted",
        )
