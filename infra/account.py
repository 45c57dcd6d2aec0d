"""The account of a stack's settings: what each component says of the settings that it answers, with the values that are really there.

Every component's file ends with its statements; this one lists them, and says which are idle because a setting leaves their part out. A
setting without any statement is rendered nowhere, which a test refuses; and a test changes every setting and looks whether all that
changes is named (tests/infra/test_account.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from infra import naming
from infra.azure import budget, cluster, gpu_pool, logs, monitoring, network, redis, registry, weights
from infra.kubernetes import (
    autoscaling,
    coordinator,
    engine_places,
    k6,
    leader_worker_set,
    namespaces,
    network_policies,
    profiling,
    shards,
    zones,
)
from infra.kubernetes.monitoring import alertmanager, gpu_metrics, managed, prometheus, prometheus_config, prometheus_rules
from infra.kubernetes.nodes import device_plugin, node_tuning
from infra.kubernetes.weights import fetch_job, node_copy
from infra.naming import Names
from infra.reading import read, same
from infra.registration import Registration
from planner.engine_facts import traits
from planner.fit import own_shape
from planner.fit.plan import Plan
from settings import StackSettings
from settings.account import PLAN, Effect, Resource, not_read, path_text
from settings.error_messages import key_text
from settings.flatten import leaves

_ORDER = ("not supported", "translated", "in force", "passed through", "unused")
"""Those first that most is known of."""


def account(registration: Registration) -> dict[str, tuple[Effect, ...]]:
    """Key to effects, each with the value at its place. Keys that the stack does not have are left out, but for those that the plan
    speaks of: what it put there where nothing was set.
    """
    plan = registration.plan
    known = dict.fromkeys((finding.key for finding in plan.findings), "") | leaves(plan.settings)
    found: dict[str, list[Effect]] = {}
    for effect in dict.fromkeys(statements(registration)):
        if effect.key in known:
            found.setdefault(effect.key, []).append(replace(effect, place=read(effect.place, registration.find)))
    return {key: _distinct(there, known.get(key, "")) for key, there in found.items()}


def _distinct(effects: list[Effect], given: str) -> tuple[Effect, ...]:
    """The places that have the setting's own value come first; parts that are left out, and fields that are not there, say nothing beside
    others.
    """
    ordered = sorted(effects, key=lambda effect: (_ORDER.index(effect.outcome), not same(effect.place.holds, given)))
    read = [effect for effect in ordered if effect.outcome != "unused"] or ordered
    held = [effect for effect in read if effect.place.holds is not None or effect.because or not effect.place.path]
    return tuple(held or read)


def statements(registration: Registration) -> Iterator[Effect]:
    """All that is said of any setting, before the places are read."""
    plan, workload = registration.plan, registration.workload
    pods_at = [engine_places.pod(workload, role) for role in ("shard", *(("worker",) if workload.worker else ()))]
    names = naming.names_of(plan.settings.azure, registration.stack)
    yield from engine_places.effects(workload)
    for switch in (autoscaling.switch(), prometheus.switch(), alertmanager.switch(), redis.switch()):
        yield from switch
    yield from _everywhere(plan.settings, names)
    yield from _azure(plan, names)
    yield from _kubernetes(plan, pods_at)
    yield from _while(plan.settings.monitoring.enabled, "monitoring.enabled", prometheus_rules.effects(workload))
    yield from network_policies.effects(workload, plan.settings.monitoring.receivers)
    yield from _plan()


def _kubernetes(plan: Plan, pods_at: list[str]) -> Iterator[Effect]:
    settings = plan.settings
    yield from coordinator.effects(settings.coordinator.service.annotations)
    yield from shards.effects(settings, pods_at)
    yield from zones.effects(plan, pods_at)
    yield from namespaces.effects()
    yield from leader_worker_set.effects()
    yield from device_plugin.effects()
    yield from node_tuning.effects(settings.node_tuning)
    yield from profiling.effects(settings.profiling)
    yield from k6.effects()
    yield from _while(settings.autoscaling.enabled, "autoscaling.enabled", autoscaling.effects())
    for watching in (
        prometheus.effects(),
        prometheus_config.effects(settings.monitoring),
        gpu_metrics.effects(settings.monitoring),
        alertmanager.effects(settings.monitoring),
        managed.effects(settings.monitoring),
    ):
        yield from _while(settings.monitoring.enabled, "monitoring.enabled", watching)
    yield from _weights(plan, pods_at)


def _weights(plan: Plan, pods_at: list[str]) -> Iterator[Effect]:
    settings = plan.settings
    yield from fetch_job.switch()
    yield from _while(settings.model.source is not None, "model.source", fetch_job.effects(), "not set")
    if plan.weights.on_node:
        yield from node_copy.effects(plan.weights, persistent=settings.caching.l2_cache.persistent)
    if not traits(settings.engine).own_weight_cache:
        copied = plan.weights.on_node or settings.model.source is not None
        yield from node_copy.switch(pods_at) if copied else node_copy.without_source(asked=settings.caching.l2_cache.enabled)


def _azure(plan: Plan, names: Names) -> Iterator[Effect]:
    settings, sku = plan.settings, plan.redis_sku
    yield from network.effects(names, settings.azure.network)
    yield from cluster.effects(names)
    yield from gpu_pool.effects(plan)
    yield from registry.effects(names)
    yield from weights.effects(names)
    yield from logs.effects()
    yield from monitoring.effects()
    cache = redis.effects(names, sku, by_size=settings.redis.sku is None)
    yield from _while(sku is not None, "caching.l3Cache.enabled", cache)
    yield from _while(settings.budget.monthly_usd is not None, "budget.monthlyUsd", budget.effects(names), "not set")


def _while(on: bool, switch: str, effects: Iterable[Effect], off: str = "false") -> Iterator[Effect]:
    """The effects of a part that is there while a switch is on."""
    yield from effects if on else not_read(effects, switch, off)


def _everywhere(settings: StackSettings, names: Names) -> Iterator[Effect]:
    """Settings that nearly every Azure resource has; the resource group stands for all."""
    group = Resource("ResourceGroup", names.resource_group)
    yield group.effect("azure.location", "location")
    yield group.effect("azure.namePrefix", "resourceGroupName")
    yield group.effect("azure.tags", "tags")
    for tag in settings.azure.tags:
        yield group.effect(key_text(("azure", "tags", tag)), path_text("tags", tag))
    yield Resource("Pulumi resource", "resource-group").effect("azure.protect", "protect")


def _plan() -> Iterator[Effect]:
    """Settings that decide by themselves what is planned."""
    yield PLAN.effect("model.name", "shape.name")
    for key, field in own_shape.FIELDS.items():
        yield PLAN.effect(f"model.shape.{key}", f"shape.{field}")
    yield PLAN.effect("engine", "settings.engine")
    yield PLAN.effect("engineArguments", "settings.engine_arguments")
    yield PLAN.effect("sizing.mode", "settings.sizing.mode")
    yield PLAN.effect("targets.tokens", "settings.targets.tokens")
    # What `shard.config.gpuMemoryFraction` may not be above.
    yield PLAN.effect("targets.gpuMemory", "settings.targets.gpu_memory")
    yield PLAN.effect("gpuPool.usdPerHour", "size.usd_per_hour")
