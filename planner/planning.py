"""From settings to a plan: what fits, what is adjusted, which pod goes where, and what is to be said about it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from planner import catalogue, drivers, gpu_memory, mig, model_names
from planner import scaling as autoscaling
from planner.catalogue import Gpu, ModelShape
from planner.choices.load import load_of
from planner.concurrency import concurrency
from planner.engine_traits import NAMES, traits
from planner.layers import most_sharing_heads, shares_heads, split_layers
from planner.layout import Layout, layout
from planner.plan import Finding, GpuSize, Plan
from planner.redis import smallest_sku
from planner.rules import RULES
from planner.rules.rule import Advice, Situation, advised, findings
from planner.weights import source_problems, weights_plan
from settings import Problem, SettingsError, StackSettings
from settings.explaining import closest
from settings.leaves import leaves


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the catalogue knows of a stack's model, size and cache."""

    size: GpuSize
    gpu: Gpu
    shape: ModelShape
    redis_sku: str | None


def plan(settings: StackSettings) -> Plan:
    """The layout these settings ask for, fitted to the hardware unless `sizing.mode` says otherwise.

    Raises SettingsError with every problem found: an unknown model or size, a model that does not fit its GPUs, layers that do
    not divide as asked, a pool too small for its shards, and with `sizing.mode: strict` everything that would be adjusted.
    """
    known = _known(settings)
    rules = advised(Situation(settings=settings, size=known.size, gpu=known.gpu, shape=known.shape), RULES)
    deployed = rules.settings if settings.sizing.mode == "fitted" else settings
    problems = _layer_problems(deployed, known.shape) + _engine_problems(deployed, known) + source_problems(deployed)
    if settings.sizing.mode == "strict":
        problems += _contradictions(settings, rules.advice)
    if too_large := gpu_memory.too_large(deployed, known.size, known.gpu, known.shape):
        problems.append(too_large)
    made = layout(deployed, known.size)
    if isinstance(made, list) or problems:
        raise SettingsError(problems + (made if isinstance(made, list) else []))
    at_once = concurrency(deployed, known.gpu, known.shape, load_of(deployed).request_tokens)
    scaling = autoscaling.scaling(deployed, known.size, known.gpu, known.shape, at_once)
    of_scaling = autoscaling.findings(settings, deployed, known.size, made, scaling) if scaling else ()
    return Plan(
        settings=deployed,
        size=known.size,
        gpu=known.gpu,
        shape=known.shape,
        shards=split_layers(known.shape.layers, deployed.sharding.shards_count),
        pipelines=deployed.sharding.pipelines,
        pod=made.pod,
        gpu_pools=made.gpu_pools,
        pipeline_in_one_zone=made.pipeline_in_one_zone,
        pods=made.pods,
        memory=gpu_memory.tightest(deployed, known.gpu, known.shape),
        requests_at_once=at_once.requests,
        request_tokens=at_once.request_tokens,
        redis_sku=known.redis_sku if deployed.caching.l3_cache.enabled else None,
        weights=weights_plan(deployed, known.size, known.shape),
        scaling=scaling,
        findings=(*findings(settings, deployed, rules.advice), *_pending(deployed, made), *of_scaling),
    )


def _known(settings: StackSettings) -> _Known:
    """Raises SettingsError with everything that the catalogue does not know, or knows to be impossible."""
    problems: list[Problem] = []
    _region(settings, problems)
    shape = _shape(settings, problems)
    hardware = _hardware(settings, problems)
    sku = _redis_sku(settings, problems)
    if shape is not None and settings.sharding.shards_count > shape.layers:
        problems.append(_more_shards_than_layers(settings, shape))
    if problems or shape is None or hardware is None:
        raise SettingsError(problems)
    return _Known(size=hardware[0], gpu=hardware[1], shape=shape, redis_sku=sku)


def unknown_names(settings: StackSettings, unusable: Collection[str]) -> tuple[Problem, ...]:
    """What of the sections that could be read, all but `unusable`, the catalogue does not know: regions, models, sizes."""
    problems: list[Problem] = []
    if "azure" not in unusable:
        _region(settings, problems)
    if "model" not in unusable:
        _shape(settings, problems)
    if not {"gpuPool", "azure", "engine"} & set(unusable):
        _hardware(settings, problems)
    return tuple(problems)


def shape_of(settings: StackSettings) -> ModelShape:
    """The stack's model. Raises SettingsError where the catalogue does not know it."""
    problems: list[Problem] = []
    shape = _shape(settings, problems)
    if shape is None:
        raise SettingsError(problems)
    return shape


def _one_of(name: str, known: tuple[str, ...]) -> str:
    near = closest(name, known)
    return f"did you mean {near}?" if near else f"one of {', '.join(known)}"


def _region(settings: StackSettings, problems: list[Problem]) -> None:
    name, known = settings.azure.location, catalogue.region_names()
    if name not in known:
        near = closest(name, known)
        fix = f"did you mean {near}?" if near else "a name from `az account list-locations`."
        problems.append(
            Problem(
                key="azure.location",
                value=name,
                consequence="is no region of Azure's public cloud: Azure would refuse everything in it",
                fix=f"{fix} For a new region: a row in planner/data/regions.csv",
            )
        )


def _shape(settings: StackSettings, problems: list[Problem]) -> ModelShape | None:
    name, given = settings.model.name, settings.model.shape
    if given is not None:
        return ModelShape(
            name=name,
            params_b=given.params_b,
            layers=given.layers,
            hidden=given.hidden,
            heads=given.heads,
            kv_heads=given.kv_heads,
            head_dim=given.head_dim or given.hidden // given.heads,
            intermediate=given.intermediate,
            vocab=given.vocab,
            context=given.context,
            attention=given.attention,
        )
    shape = catalogue.models().get(name)
    if shape is None:
        problems.append(
            Problem(
                key="model.name",
                value=name,
                consequence="its shape is not in the catalogue, so its layers cannot be split and its memory is unknown",
                fix=f"{model_names.suggestion(name, catalogue.models())}; for another model, its config.json's figures in model.shape",
            )
        )
    return shape


def _hardware(settings: StackSettings, problems: list[Problem]) -> tuple[GpuSize, Gpu] | None:
    pool = settings.gpu_pool
    size = catalogue.gpu_size(pool.vm_size, settings.azure.location)
    if size is None:
        problems.append(
            Problem(
                key="gpuPool.vmSize",
                value=pool.vm_size,
                consequence="its GPUs, CPUs and memory are unknown, so no shard can be placed on it",
                fix=_one_of(pool.vm_size, catalogue.gpu_size_names()),
            )
        )
        return None
    if pool.usd_per_hour is not None:
        size = replace(size, usd_per_hour=pool.usd_per_hour)
    gpu = catalogue.gpu(size.gpu)
    if undriven := drivers.problem(settings, size, gpu):
        problems.append(undriven)
        return None
    if pool.mig is None:
        return size, gpu
    try:
        return mig.cut(size, gpu, pool.mig)
    except ValueError as error:
        fix = "no gpuPool.mig, or a size with A100 or later GPUs"
        problems.append(Problem(key="gpuPool.mig", value=pool.mig, consequence=str(error), fix=fix))
        return None


def _redis_sku(settings: StackSettings, problems: list[Problem]) -> str | None:
    cache = settings.caching.l3_cache
    if not cache.enabled:
        return None
    if settings.redis.sku:
        return settings.redis.sku
    try:
        return smallest_sku(cache.size.gib)
    except ValueError as error:
        problems.append(
            Problem(key="caching.l3Cache.size", value=cache.size, consequence=str(error), fix="ask for less, or name a redis.sku")
        )
        return None


def _more_shards_than_layers(settings: StackSettings, shape: ModelShape) -> Problem:
    return Problem(
        key="sharding.shardsCount",
        value=str(settings.sharding.shards_count),
        consequence=f"{shape.name} has {shape.layers} layers, so some shards would hold none",
        fix=f"at most {shape.layers}",
    )


def _layer_problems(settings: StackSettings, shape: ModelShape) -> list[Problem]:
    sharding = settings.sharding
    if sharding.layers_per_shard not in (None, shape.layers / sharding.shards_count):
        return [
            Problem(
                key="sharding.layersPerShard",
                value=str(sharding.layers_per_shard),
                consequence=f"{sharding.shards_count} shards would hold {sharding.shards_count * (sharding.layers_per_shard or 0)} layers "
                f"but {shape.name} has {shape.layers}",
                fix="leave it out to split the layers evenly, or change sharding.shardsCount",
            )
        ]
    return []


def _engine_problems(settings: StackSettings, known: _Known) -> list[Problem]:
    """What no deployment of the engine could be, whatever `sizing.mode` says."""
    return [*_unguarded(settings, known), *_divided(settings, known), *_not_served(settings, known)]


def _not_served(settings: StackSettings, known: _Known) -> Iterator[Problem]:
    """Models and checkpoints with which the engine would end at start."""
    of_engine, quantization = traits(settings.engine, known.gpu), settings.model.quantization
    why = dict(of_engine.not_served).get(known.shape.name)
    if why and settings.model.shape is None:
        engines = ", ".join(name for name in NAMES if known.shape.name not in dict(traits(name).not_served))
        yield Problem(
            key="model.name",
            value=known.shape.name,
            consequence=f"{settings.engine} {of_engine.release} ends at start with it: {why}",
            fix=f"another model, or another engine: {engines}",
        )
    takes, precision = of_engine.precisions_of(known.shape), quantization.precision if quantization.enabled else "fp16"
    if takes < of_engine.weight_precisions and precision not in takes:
        yield Problem(
            key="model.quantization.precision",
            value=precision,
            consequence=f"{settings.engine} {of_engine.release} ends at start with a checkpoint of {known.shape.name} in {precision} on a "
            f"{known.gpu.name}",
            fix=f"{' or '.join(sorted(takes))}, on GPUs that have it" if takes else "a GPU of compute capability 8.0 or higher",
        )


def _unguarded(settings: StackSettings, known: _Known) -> Iterator[Problem]:
    """A lock that is not there is worse than none: who asked for it would rely on it."""
    if traits(settings.engine, known.gpu).proxied:
        return
    exposure = settings.exposure
    if exposure.allowed_origins:
        yield Problem(
            key="exposure.allowedOrigins",
            value=", ".join(exposure.allowed_origins),
            consequence=f"the coordinator of {settings.engine} is an image of your own, whose configuration has no such key",
            fix="leave it out, and let your coordinator say which pages may ask it",
        )
    for key, asked in (("exposure.tls", exposure.tls), ("exposure.apiKeys", exposure.api_keys)):
        if asked:
            yield Problem(
                key=f"{key}.secretName",
                value=asked.secret_name,
                consequence=f"the coordinator of {settings.engine} is an image of your own, whose configuration has no such key: it would "
                "answer everybody, in plain text",
                fix=f"leave {key} out and put a gateway in front, or an engine whose coordinator is the proxy of this project: "
                f"{', '.join(name for name in NAMES if traits(name).proxied)}",
            )


def _divided(settings: StackSettings, known: _Known) -> list[Problem]:
    # With `strict`, a rule says it already.
    if settings.sizing.mode == "strict":
        return []
    shards, of_engine = settings.sharding.shards_count, traits(settings.engine, known.gpu)
    gpus, group = gpu_memory.gpus_of_shard(settings), of_engine.group(gpu_memory.precisions(settings)[0])
    problems = []
    if of_engine.whole_pipeline_in_a_pod and shards > 1:
        problems.append(
            Problem(
                key="sharding.shardsCount",
                value=str(shards),
                consequence=f"{settings.engine} keeps all layers of a pipeline in one process: each of the {shards} pods would hold the "
                "whole model, and all but the first would answer nothing",
                fix="1 with more GPUs in shard.resources, or sizing: {mode: fitted} to have it adjusted",
            )
        )
    if of_engine.tensor_parallel and not shares_heads(known.shape, gpus, group):
        problems.append(
            Problem(
                key="shard.resources.limits.nvidia.com/gpu",
                value=str(gpus),
                consequence=f"{settings.engine} divides the {known.shape.heads} attention heads of {known.shape.name} over the GPUs of a "
                f"pod, {known.shape.kv_heads} of them with keys and values, and the {known.shape.intermediate} rows of its feed-forward"
                f"{f' in groups of {group}' if group > 1 else ''}, and would stop at start",
                fix=f"{most_sharing_heads(known.shape, gpus, group)}, or sizing: {{mode: fitted}} to have it adjusted",
            )
        )
    return problems


def _contradictions(settings: StackSettings, advice: tuple[Advice, ...]) -> list[Problem]:
    """With `sizing.mode: strict`: everything that `fitted` would change."""
    written = leaves(settings)
    return [
        Problem(
            key=said.key,
            value=written.get(said.key, ""),
            consequence=said.because,
            fix=f"{said.value}, or sizing: {{mode: fitted}} to have it adjusted",
        )
        for said in advice
        if said.value is not None
    ]


def _pending(settings: StackSettings, made: Layout) -> tuple[Finding, ...]:
    if not made.pending:
        return ()
    reasons = sorted({reason for pod in made.pending for reason in pod.pending_because})
    return (
        Finding(
            code="PLACE-008",
            severity="warning",
            outcome="noted",
            key="gpuPool.maxNodes",
            asked=str(settings.gpu_pool.max_nodes),
            given=str(settings.gpu_pool.max_nodes),
            because=f"{len(made.pending)} of {len(made.pods)} shards stay Pending: {', '.join(reasons)}",
            source="planner/placement.py",
        ),
    )
