"""The Zig AI coordinator and shard servers, which read the guide's own keys from `/app/config/*.yaml`.

Every key of the guide's `shard.config`, `model`, `sharding`, `caching` and `coordinator.config` blocks is rendered verbatim:
same name, same nesting, same unit. What the guide leaves to the deployment is added beside them: who listens where, which layers
each shard holds, where the shards and Redis are. The images are the user's own, in their registry.

Not here: the pods around the containers (`infra/kubernetes/`), and whether a setting makes sense (`planner/`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import yaml

from engines.flags import Variable, environment, field, field_effects, of_stack, passed_through, plain, variable_effects, verbatim
from engines.images import image_reference
from engines.pods import (
    DATA_DIR,
    at,
    container_effects,
    env_key,
    resource_list,
    section,
    shard_effects,
    shard_fields,
    variable,
    weights_folder,
)
from engines.workload import (
    GUIDES_LATENCY,
    GUIDES_REQUESTS,
    Cache,
    ConfigFile,
    Endpoints,
    Env,
    Port,
    Probe,
    Server,
    Workload,
)
from planner.fit.plan import Plan
from settings import StackSettings
from settings.account import Effect, Place
from settings.flatten import leaves

COORDINATOR_IMAGE = "zig-ai/coordinator:1.0.0"
SHARD_IMAGE = "zig-ai/shard:1.0.0"

HTTP = Port(name="http", number=8080)
METRICS = Port(name="metrics", number=9090)
SHARD = Port(name="shard", number=50051)
"""Tensors between the stages of a pipeline."""

COORDINATOR_FILE, SHARD_FILE = "coordinator.yaml", "shard.yaml"
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
    return verbatim(section(settings.sharding), "sharding") | {
        "layerRanges": field([shard.layer_range for shard in plan.shards], passed_through("sharding.shardsCount"))
    }


def _model(settings: StackSettings) -> dict[str, Any]:
    """The section without what is for those who fetch the weights."""
    return verbatim(section(settings.model.model_copy(update={"source": None, "token_secret": None})), "model")


def _caching(settings: StackSettings, endpoints: Endpoints) -> dict[str, Any]:
    caching = verbatim(section(settings.caching), "caching")
    if endpoints.redis_host:
        # Entra authentication: the token comes from the pod's workload identity, so there is no password to keep.
        redis = {"host": endpoints.redis_host, "port": endpoints.redis_port, "tls": True, "authentication": "entra"}
        enabled = passed_through("caching.l3Cache.enabled")
        caching["l3Cache"] |= {name: field(value, enabled) for name, value in redis.items()}
    return caching


_COUNTS = ("sharding.pipelines", "sharding.shardsCount", "autoscaling.enabled", "autoscaling.maxPipelines")


def _pipelines(plan: Plan, endpoints: Endpoints) -> list[dict[str, Any]]:
    """Lists which shard of which pipeline answers where: one entry a pipeline, one address a stage."""
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


def shard_config(settings: StackSettings, plan: Plan, endpoints: Endpoints) -> dict[str, Any]:
    """`/app/config/shard.yaml`: the same for all shards; `SHARD_INDEX` and `PIPELINE_INDEX` say which one a process is."""
    return {
        "shard": {"config": verbatim(section(settings.shard.config), "shard", "config")},
        "model": _model(settings),
        "sharding": _sharding(settings, plan),
        "caching": _caching(settings, endpoints),
        "server": {"httpPort": HTTP.number, "metricsPort": METRICS.number, "shardPort": SHARD.number, "healthPath": HEALTH_PATH},
        "storage": {"weights": field(weights_folder(plan), passed_through("model.name")), "weightCache": CACHE_DIR},
        "peers": field(_pipelines(plan, endpoints), *map(passed_through, _COUNTS)),
    }


def coordinator_config(settings: StackSettings, plan: Plan, endpoints: Endpoints) -> dict[str, Any]:
    """`/app/config/coordinator.yaml`."""
    coordinator = settings.coordinator
    return {
        "coordinator": {
            "config": verbatim(section(coordinator.config), "coordinator", "config"),
            "limits": verbatim(section(coordinator.limits), "coordinator", "limits"),
        },
        "model": _model(settings),
        "sharding": _sharding(settings, plan),
        "caching": _caching(settings, endpoints),
        "server": {
            "httpPort": HTTP.number,
            "metricsPort": METRICS.number,
            "healthPath": HEALTH_PATH,
            "inferencePath": INFERENCE_PATH,
        },
        "pipelines": field(_pipelines(plan, endpoints), *map(passed_through, _COUNTS)),
    }


def _config_file(name: str, document: dict[str, Any]) -> ConfigFile:
    return ConfigFile(name=name, content=_dump(plain(document)))


def _coordinator(settings: StackSettings, endpoints: Endpoints, config: dict[str, Any]) -> Server:
    # Two failed balancer probes take a pod out of rotation; it keeps serving that long, and one interval more.
    draining_seconds = 3 * max(5, math.ceil(settings.coordinator.config.health_check_interval.seconds))
    health = Probe(port=HTTP.name, path=HEALTH_PATH, period_seconds=5, timeout_seconds=3)
    return Server(
        image=image_reference(settings.images.coordinator or COORDINATOR_IMAGE, endpoints.registry),
        env=(Env(name="POD_NAME", field_path="metadata.name"), Env(name="POD_IP", field_path="status.podIP")),
        config_files=(_config_file(COORDINATOR_FILE, config),),
        ports=(HTTP, METRICS),
        startup=Probe(port=HTTP.name, path=HEALTH_PATH, period_seconds=5, failure_threshold=60),
        liveness=Probe(port=HTTP.name, path=HEALTH_PATH, failure_threshold=6),
        readiness=health,
        requests=resource_list(settings.coordinator.resources.requests),
        limits=resource_list(settings.coordinator.resources.limits),
        run_as_user=ZIGAI_UID,
        pre_stop_seconds=draining_seconds,
    )


def _variables(settings: StackSettings) -> tuple[Variable, ...]:
    """The stack's own variables, and which shard and pod a process is."""
    which = "the file is the same for all shards: which one a process is"
    return (
        *(Variable(variable(entry), passed_through(env_key(entry.name))) for entry in settings.shard.env),
        Variable(Env(name="SHARD_INDEX", field_path=_SHARD_INDEX), why=which),
        Variable(Env(name="PIPELINE_INDEX", field_path=_PIPELINE_INDEX), why=which),
        Variable(Env(name="POD_NAME", field_path="metadata.name"), why="the name in logs and metrics"),
        Variable(Env(name="POD_IP", field_path="status.podIP"), why="the address that a shard gives to others"),
    )


def _shard(settings: StackSettings, plan: Plan, endpoints: Endpoints, config: dict[str, Any]) -> Server:
    l2_cache = settings.caching.l2_cache
    return Server(
        image=image_reference(settings.images.shard or SHARD_IMAGE, endpoints.registry),
        env=environment(_variables(settings)),
        config_files=(_config_file(SHARD_FILE, config),),
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


def _effects(settings: StackSettings, plan: Plan) -> Iterator[Effect]:
    """The settings that Kubernetes gives an effect, in addition to those that stand in variables and files."""
    yield from container_effects("coordinator", "coordinator")
    yield from shard_effects(plan, "shard")
    for role in ("shard", "coordinator"):
        yield at(role, "coordinator.config.healthCheckInterval", "lifecycle.preStop.sleep.seconds")
    yield at("shard", "profiling.enabled", "volumeMounts[profiling].mountPath")
    if plan.pod.huge_pages_mib:
        yield at("shard", "shard.config.useHugePages", "volumeMounts[huge-pages].mountPath")
    else:
        yield at("shard", "shard.config.useHugePages", "resources.limits.hugepages-2Mi")
    yield at("shard", "caching.l2Cache.enabled", "volumeMounts[cache-*].mountPath")
    yield at("shard", "caching.l2Cache.size", "cache.size")
    yield at("shard", "caching.l2Cache.persistent", "cache.persistent")
    yield Effect(
        key="engine",
        place=Place(kind="shard", path="image"),
        because="its images are not public, so nothing of it was measured: predictions are vLLM's, and no setting's effect has figures",
        source="engines/ablations.py",
    )


class ZigAi:
    """The default engine."""

    name = "zig_ai"

    def render(self, settings: StackSettings, plan: Plan, endpoints: Endpoints) -> Workload:
        """`endpoints.shard_dns` must hold a whole number of pipelines."""
        coordinator_document, shard_document = (config(settings, plan, endpoints) for config in (coordinator_config, shard_config))
        effects = (
            *_effects(settings, plan),
            *variable_effects("shard", _variables(settings)),
            *field_effects("shard", SHARD_FILE, shard_document),
            *field_effects("coordinator", COORDINATOR_FILE, coordinator_document),
        )
        return Workload(
            coordinator=_coordinator(settings, endpoints, coordinator_document),
            shard=_shard(settings, plan, endpoints, shard_document),
            serving_ports=(HTTP,),
            inference_path=INFERENCE_PATH,
            # Little's law: seconds spent on requests, per second, are the requests waiting or being served on average.
            load_query=f"sum(rate({GUIDES_LATENCY.name}_sum[1m]))",
            latency=GUIDES_LATENCY,
            requests=GUIDES_REQUESTS,
            effects=of_stack(effects, leaves(settings)),
        )


ENGINE = ZigAi()
