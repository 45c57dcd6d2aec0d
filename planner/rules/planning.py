"""Turns settings into a plan: what fits, what is adjusted, which pod goes where, and the findings about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from planner.catalogue import hardware, mig, model_names, model_shapes
from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.catalogue.redis_skus import smallest_sku
from planner.fit import own_shape, stack_memory
from planner.fit.concurrency import concurrency, waiting_requests
from planner.fit.demand import demand_of
from planner.fit.layers import split_layers
from planner.fit.layout import PodLayout, layout
from planner.fit.plan import Finding, Plan
from planner.fit.weights import source_problems, weights_plan
from planner.rules import RULES, drivers
from planner.rules import scaling as autoscaling
from planner.rules.refusals import refused
from planner.rules.rule import RuleContext, completed, fitted
from settings import Problem, SettingsError, StackSettings
from settings.error_messages import closest
from settings.flatten import leaves


@dataclass(frozen=True, kw_only=True)
class _CatalogueEntries:
    """What the catalogue has for a stack's model, size and cache."""

    size: GpuSize
    gpu: Gpu
    shape: ModelShape
    redis_sku: str | None


def plan(settings: StackSettings) -> Plan:
    """Plans a stack: the layout that its settings ask for, fitted to the hardware unless `sizing.mode` says otherwise.

    Raises SettingsError with every problem: an unknown model or size, a model that does not fit its GPUs, layers that do not divide
    as asked, a pool too small for its shards, and with `sizing.mode: strict` everything that would be adjusted.
    """
    known = _catalogue_entries(settings)
    context = RuleContext(settings=settings, size=known.size, gpu=known.gpu, shape=known.shape)
    by_rules = fitted(context, RULES)
    deployed = by_rules.settings if settings.sizing.mode == "fitted" else settings
    problems = refused(replace(context, settings=deployed)) + source_problems(deployed)
    if settings.sizing.mode == "strict":
        problems += _contradictions(settings, by_rules.findings)
    if too_large := stack_memory.too_large(deployed, known.size, known.gpu, known.shape):
        problems.append(too_large)
    pods = layout(deployed, known.size)
    if isinstance(pods, list) or problems:
        raise SettingsError(problems + (pods if isinstance(pods, list) else []))
    at_once = concurrency(deployed, known.gpu, known.shape, demand_of(deployed).request_tokens)
    scaling = autoscaling.scaling(deployed, known.size, known.gpu, known.shape, at_once)
    findings = [*by_rules.findings, *_pending(pods)]
    if scaling:
        findings += autoscaling.findings(settings, deployed, known.size, pods, scaling)
    return Plan(
        settings=deployed,
        size=known.size,
        gpu=known.gpu,
        shape=known.shape,
        shards=split_layers(known.shape.layers, deployed.sharding.shards_count),
        pipelines=deployed.sharding.pipelines,
        pod=pods.pod,
        gpu_pools=pods.gpu_pools,
        pipeline_in_one_zone=pods.pipeline_in_one_zone,
        pods=pods.pods,
        memory=stack_memory.tightest(deployed, known.gpu, known.shape),
        requests_at_once=at_once.requests,
        request_tokens=at_once.request_tokens,
        waiting_requests=waiting_requests(deployed, at_once.requests),
        redis_sku=known.redis_sku if deployed.caching.l3_cache.enabled else None,
        weights=weights_plan(deployed, known.size, known.shape),
        scaling=scaling,
        findings=completed(findings, settings, deployed),
    )


def _catalogue_entries(settings: StackSettings) -> _CatalogueEntries:
    """Looks the stack up. Raises SettingsError with everything that the catalogue does not have, or that cannot be."""
    problems: list[Problem] = []
    _region(settings, problems)
    shape = _shape(settings, problems)
    size_and_gpu = _size_and_gpu(settings, problems)
    sku = _redis_sku(settings, problems)
    if shape is not None and settings.sharding.shards_count > shape.layers:
        problems.append(_more_shards_than_layers(settings, shape))
    if problems or shape is None or size_and_gpu is None:
        raise SettingsError(problems)
    return _CatalogueEntries(size=size_and_gpu[0], gpu=size_and_gpu[1], shape=shape, redis_sku=sku)


def unknown_names(settings: StackSettings, unusable: Collection[str]) -> tuple[Problem, ...]:
    """Returns the names that the catalogue does not have: regions, models, sizes. Sections in `unusable` could not be read."""
    problems: list[Problem] = []
    if "azure" not in unusable:
        _region(settings, problems)
    if "model" not in unusable:
        _shape(settings, problems)
    if not {"gpuPool", "azure", "engine"} & set(unusable):
        _size_and_gpu(settings, problems)
    return tuple(problems)


def shape_of(settings: StackSettings) -> ModelShape:
    """Returns the shape of the stack's model. Raises SettingsError where the catalogue does not have the model."""
    problems: list[Problem] = []
    shape = _shape(settings, problems)
    if shape is None:
        raise SettingsError(problems)
    return shape


def _one_of(name: str, known: tuple[str, ...]) -> str:
    near = closest(name, known)
    return f"did you mean {near}?" if near else f"one of {', '.join(known)}"


def _region(settings: StackSettings, problems: list[Problem]) -> None:
    name, known = settings.azure.location, hardware.region_names()
    if name not in known:
        near = closest(name, known)
        fix = f"did you mean {near}?" if near else "choose a name from `az account list-locations`."
        problems.append(
            Problem(
                key="azure.location",
                value=name,
                consequence="is no region of Azure's public cloud: Azure would refuse everything in it",
                fix=f"{fix} A new region needs a row in planner/catalogue/data/regions.csv",
            )
        )


def _shape(settings: StackSettings, problems: list[Problem]) -> ModelShape | None:
    name, own = settings.model.name, settings.model.shape
    if own is not None:
        return own_shape.described(name, own)
    shape = model_shapes.models().get(name)
    if shape is None:
        problems.append(
            Problem(
                key="model.name",
                value=name,
                consequence="its shape is not in the catalogue, so its layers cannot be split and its memory is unknown",
                fix=f"{model_names.suggestion(name, model_shapes.models())}; for another model, `python -m planner model CONFIG_JSON` "
                "prints the model.shape to paste",
            )
        )
    return shape


def _size_and_gpu(settings: StackSettings, problems: list[Problem]) -> tuple[GpuSize, Gpu] | None:
    pool = settings.gpu_pool
    size = hardware.gpu_size(pool.vm_size, settings.azure.location)
    if size is None:
        problems.append(
            Problem(
                key="gpuPool.vmSize",
                value=pool.vm_size,
                consequence="its GPUs, CPUs and memory are unknown, so no shard can be placed on it",
                fix=_one_of(pool.vm_size, hardware.gpu_size_names()),
            )
        )
        return None
    if pool.usd_per_hour is not None:
        size = replace(size, usd_per_hour=pool.usd_per_hour)
    gpu = hardware.gpu_of(size)
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
        problems.append(Problem(key="caching.l3Cache.size", value=cache.size, consequence=str(error), fix="ask for less, or set redis.sku"))
        return None


def _more_shards_than_layers(settings: StackSettings, shape: ModelShape) -> Problem:
    return Problem(
        key="sharding.shardsCount",
        value=str(settings.sharding.shards_count),
        consequence=f"{shape.name} has {shape.layers} layers, so some shards would hold none",
        fix=f"at most {shape.layers}",
    )


def _contradictions(settings: StackSettings, findings: Iterable[Finding]) -> list[Problem]:
    """With `sizing.mode: strict`, everything that `fitted` would change is a problem."""
    values = leaves(settings)
    return [
        Problem(
            key=finding.key,
            value=values.get(finding.key, ""),
            consequence=finding.because,
            fix=f"{finding.value}, or sizing: {{mode: fitted}} to have it adjusted",
        )
        for finding in findings
        if finding.value is not None
    ]


def _pending(pods: PodLayout) -> Iterator[Finding]:
    if pods.pending:
        reasons = sorted({reason for pod in pods.pending for reason in pod.pending_because})
        yield Finding(
            code="PLACE-008",
            outcome="noted",
            path=("gpuPool", "maxNodes"),
            because=f"{len(pods.pending)} of {len(pods.pods)} shards stay Pending: {', '.join(reasons)}",
            source="planner/fit/placement.py",
        )
