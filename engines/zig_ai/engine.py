"""The Zig AI coordinator and shard servers, which read the guide's own keys from `/app/config/*.yaml`.

Every key of the guide's `shard.config`, `model`, `sharding`, `caching` and `coordinator.config` blocks is rendered verbatim:
same name, same nesting, same unit. What the guide leaves to the deployment is added beside them: who listens where, which layers
each shard holds, where the shards and Redis are. The images are the user's own, in their registry.

Not here: the pods around the containers (`infra/kubernetes/`), and whether a setting makes sense (`planner/`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import yaml

from engines import read_back
from engines.images import image_reference
from engines.pods import DATA_DIR, effects, plain, resource_list, shard_fields, variable, weights_folder
from engines.workload import (
    GUIDES_LATENCY,
    GUIDES_REQUESTS,
    Cache,
    ConfigFile,
    Endpoints,
    Env,
    FieldPath,
    Port,
    Probe,
    Role,
    Server,
    Told,
    Workload,
)
from planner.fit.plan import Plan
from settings import StackSettings
from settings.flatten import leaves

COORDINATOR_IMAGE = "zig-ai/coordinator:1.0.0"
SHARD_IMAGE = "zig-ai/shard:1.0.0"

HTTP = Port(name="http", number=8080)
METRICS = Port(name="metrics", number=9090)
SHARD = Port(name="shard", number=50051)
"""Tensors between the stages of a pipeline."""

HEALTH_PATH = "/api/v1/health"
INFERENCE_PATH = "/v1/inference"

ZIGAI_UID = 10001
"""User `zigai` of both images."""

CACHE_DIR = "/var/cache/zig-ai"
HUGE_PAGES_DIR = "/dev/hugepages"
PROFILING_DIR = "/app/profiling"

# Labels that the LeaderWorkerSet controller puts on each pod.
# https://github.com/kubernetes-sigs/lws/blob/v0.9.0/api/leaderworkerset/v1/leaderworkerset_types.go
_SHARD_INDEX = "metadata.labels['leaderworkerset.sigs.k8s.io/worker-index']"
_PIPELINE_INDEX = "metadata.labels['leaderworkerset.sigs.k8s.io/group-index']"


def _sharding(settings: StackSettings, plan: Plan) -> dict[str, Any]:
    # `affinityRules` name ranges of layers, which no node has as a label: as node affinity they would leave every shard Pending.
    # They are the coordinator's rules for which shard a request's layers go to, so they are passed through.
    return plain(settings.sharding) | {"layerRanges": [shard.layer_range for shard in plan.shards]}


def _model(settings: StackSettings) -> dict[str, Any]:
    """Without what is for those who fetch the weights."""
    return plain(settings.model.model_copy(update={"source": None, "token_secret": None}))


def _caching(settings: StackSettings, endpoints: Endpoints) -> dict[str, Any]:
    caching = plain(settings.caching)
    if endpoints.redis_host:
        # Entra authentication: the token comes from the pod's workload identity, so there is no password to keep.
        caching["l3Cache"] |= {"host": endpoints.redis_host, "port": endpoints.redis_port, "tls": True, "authentication": "entra"}
    return caching


def _pipelines(plan: Plan, endpoints: Endpoints) -> list[dict[str, Any]]:
    """Which shard of which pipeline answers where. One entry a pipeline, one address a stage."""
    stages = len(plan.shards)
    return [
        {
            "pipeline": first // stages,
            "shards": [
                {"index": shard.index, "layerRange": shard.layer_range, "address": f"{name}:{SHARD.number}"}
                for shard, name in zip(plan.shards, endpoints.shard_dns[first : first + stages], strict=True)
            ],
        }
        for first in range(0, len(endpoints.shard_dns), stages)
    ]


def _dump(document: dict[str, Any]) -> str:
    # The C library's writer: thousands of shards have long lists of peers.
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, width=120)


def shard_config(settings: StackSettings, plan: Plan, endpoints: Endpoints) -> str:
    """`/app/config/shard.yaml`: the same for all shards; `SHARD_INDEX` and `PIPELINE_INDEX` say which one a process is."""
    return _dump(
        {
            "shard": {"config": plain(settings.shard.config)},
            "model": _model(settings),
            "sharding": _sharding(settings, plan),
            "caching": _caching(settings, endpoints),
            "server": {"httpPort": HTTP.number, "metricsPort": METRICS.number, "shardPort": SHARD.number, "healthPath": HEALTH_PATH},
            "storage": {"weights": weights_folder(plan), "weightCache": CACHE_DIR},
            "peers": _pipelines(plan, endpoints),
        }
    )


def coordinator_config(settings: StackSettings, plan: Plan, endpoints: Endpoints) -> str:
    """`/app/config/coordinator.yaml`."""
    return _dump(
        {
            "coordinator": {"config": plain(settings.coordinator.config), "limits": plain(settings.coordinator.limits)},
            "model": _model(settings),
            "sharding": _sharding(settings, plan),
            "caching": _caching(settings, endpoints),
            "server": {
                "httpPort": HTTP.number,
                "metricsPort": METRICS.number,
                "healthPath": HEALTH_PATH,
                "inferencePath": INFERENCE_PATH,
            },
            "pipelines": _pipelines(plan, endpoints),
        }
    )


def _coordinator(settings: StackSettings, plan: Plan, endpoints: Endpoints) -> Server:
    # Two failed balancer probes take a pod out of rotation; it keeps serving that long, and one interval more.
    draining_seconds = 3 * max(5, math.ceil(settings.coordinator.config.health_check_interval.seconds))
    health = Probe(port=HTTP.name, path=HEALTH_PATH, period_seconds=5, timeout_seconds=3)
    return Server(
        image=image_reference(settings.images.coordinator or COORDINATOR_IMAGE, endpoints.registry),
        env=(Env(name="POD_NAME", field_path="metadata.name"), Env(name="POD_IP", field_path="status.podIP")),
        config_files=(ConfigFile(name="coordinator.yaml", content=coordinator_config(settings, plan, endpoints)),),
        ports=(HTTP, METRICS),
        startup=Probe(port=HTTP.name, path=HEALTH_PATH, period_seconds=5, failure_threshold=60),
        liveness=Probe(port=HTTP.name, path=HEALTH_PATH, failure_threshold=6),
        readiness=health,
        requests=resource_list(settings.coordinator.resources.requests),
        limits=resource_list(settings.coordinator.resources.limits),
        run_as_user=ZIGAI_UID,
        pre_stop_seconds=draining_seconds,
    )


def _shard(settings: StackSettings, plan: Plan, endpoints: Endpoints) -> Server:
    l2_cache = settings.caching.l2_cache
    asked = tuple(map(variable, settings.shard.env))
    return Server(
        image=image_reference(settings.images.shard or SHARD_IMAGE, endpoints.registry),
        env=(
            *asked,
            Env(name="SHARD_INDEX", field_path=_SHARD_INDEX),
            Env(name="PIPELINE_INDEX", field_path=_PIPELINE_INDEX),
            Env(name="POD_NAME", field_path="metadata.name"),
            Env(name="POD_IP", field_path="status.podIP"),
        ),
        config_files=(ConfigFile(name="shard.yaml", content=shard_config(settings, plan, endpoints)),),
        ports=(HTTP, METRICS, SHARD),
        run_as_user=ZIGAI_UID,
        # The coordinator looks every `healthCheckInterval`; it must have stopped sending before the shard stops taking.
        pre_stop_seconds=math.ceil(settings.coordinator.config.health_check_interval.seconds),
        profiling_dir=PROFILING_DIR if settings.profiling.enabled else None,
        weights_dir=DATA_DIR,
        huge_pages_dir=HUGE_PAGES_DIR if plan.pod.huge_pages_mib else None,
        shared_memory="8Gi",
        cache=Cache(path=CACHE_DIR, size=str(l2_cache.size), persistent=l2_cache.persistent) if l2_cache.enabled else None,
        **shard_fields(settings, plan, HTTP.name, HEALTH_PATH),
    )


_EFFECTS: tuple[tuple[str, Role, FieldPath], ...] = (
    ("coordinator.config.healthCheckInterval", "shard", ("pre_stop_seconds",)),
    ("coordinator.config.healthCheckInterval", "coordinator", ("pre_stop_seconds",)),
    ("profiling.enabled", "shard", ("profiling_dir",)),
    ("shard.config.useHugePages", "shard", ("limits", "hugepages-2Mi")),
    ("caching.l2Cache.enabled", "shard", ("cache", "path")),
    ("caching.l2Cache.size", "shard", ("cache", "size")),
    ("caching.l2Cache.persistent", "shard", ("cache", "persistent")),
)


def _told(settings: StackSettings, coordinator: Server, shard: Server) -> tuple[Told, ...]:
    given = leaves(settings)
    return (
        *effects(given, {"coordinator": coordinator, "shard": shard}, _EFFECTS),
        replace(
            read_back.in_field("engine", "shard", shard, ("image",)),
            because="its images are not public, so nothing of it was measured: predictions are vLLM's, and no setting's effect has figures",
            source="engines/ablations.py",
        ),
        read_back.in_file("model.name", "shard", shard, "shard.yaml", ("storage", "weights")),
        *read_back.in_environment(given, "shard.env", "shard", shard),
        *read_back.in_files(given, "shard", shard),
        *read_back.in_files(given, "coordinator", coordinator),
    )


class ZigAi:
    """The default engine."""

    name = "zig_ai"

    def render(self, settings: StackSettings, plan: Plan, endpoints: Endpoints) -> Workload:
        """`endpoints.shard_dns` must hold a whole number of pipelines."""
        coordinator, shard = _coordinator(settings, plan, endpoints), _shard(settings, plan, endpoints)
        return Workload(
            coordinator=coordinator,
            shard=shard,
            serving_ports=(HTTP,),
            inference_path=INFERENCE_PATH,
            # Little's law: seconds spent on requests, per second, are the requests waiting or being served on average.
            load_query="sum(rate(zig_ai_inference_duration_seconds_sum[1m]))",
            latency=GUIDES_LATENCY,
            requests=GUIDES_REQUESTS,
            told=_told(settings, coordinator, shard),
        )


ZIG_AI = ZigAi()
