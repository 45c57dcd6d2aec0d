"""The coordinator of engines that have none: Envoy, one front door over the leaders of all pipelines.

The guide's `coordinator.config` becomes Envoy's own configuration, key by key; docs/adr/0006-envoy-is-the-coordinator.md says why
Envoy. Not here: the shape of that configuration (`envoy.py`); API keys, TLS and a limit per client, which nothing asks for yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from engines import read_back
from engines.common import resource_list
from engines.envoy import READY_PATH, ProxyArgs, Route, bootstrap
from engines.envoy_pipelines import Pipelines
from engines.images import image_reference
from engines.workload import ConfigFile, Endpoints, Port, Probe, Series, Server, Told
from settings import StackSettings
from settings.explaining import Path

IMAGE = "docker.io/envoyproxy/envoy:distroless-v1.40.0"
"""The release whose binary the tests run. Its entry point and user: envoyproxy/envoy distribution/docker/Dockerfile-envoy."""
USER = 65532
"""`nonroot` of that image."""

HTTP = Port(name="http", number=8080)
METRICS = Port(name="metrics", number=9090)
HEALTH_PATH = "/api/v1/health"
INFERENCE_PATH = "/v1/inference"
COMPLETIONS_PATH = "/v1/completions"

CONFIG_FILE = "envoy.yaml"
_CONFIG_DIR = "/app/config"

_SERVICE = '{envoy_http_conn_manager_prefix="coordinator"}'
LATENCY = Series(name="envoy_http_downstream_rq_time", where=_SERVICE, unit=0.001)
REQUESTS = Series(name="envoy_http_downstream_rq_completed", where=_SERVICE)
LOAD_QUERY = f"sum(envoy_http_downstream_rq_active{_SERVICE})"
"""All that is in the system: Envoy answers none of these by itself while a pipeline is healthy."""

_SHUTDOWN_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """What a pipeline's leader offers."""

    port: int
    health_path: str


def serving_on_seconds(settings: StackSettings) -> int:
    """How long a pod that is told to end serves on: no new request finds it, and those that it has are finished.

    Neither server finishes what it has once its process is told to end: Envoy stops at once, llama-server answers nothing more and
    keeps its connections. So the process is told last, whatever `rollout.terminationGrace` leaves for that.
    """
    return max(0, math.ceil(settings.rollout.termination_grace.seconds) - _SHUTDOWN_SECONDS)


def proxy_args(settings: StackSettings, endpoints: Endpoints, upstream: Upstream) -> ProxyArgs:
    """What the settings make of Envoy."""
    config, shard, limits = settings.coordinator.config, settings.shard.config, settings.coordinator.limits
    return ProxyArgs(
        port=HTTP.number,
        metrics_port=METRICS.number,
        health_path=HEALTH_PATH,
        pipelines=Pipelines(
            host=endpoints.leaders_dns,
            port=upstream.port,
            health_path=upstream.health_path,
            health_interval_s=config.health_check_interval.seconds,
            strategy=config.load_balancing_strategy,
            pool_size=config.connection_pool_size,
            queued=limits.queued_requests,
            write_buffer_bytes=round(config.write_buffer_size.bytes),
        ),
        rewrites=(Route(path=INFERENCE_PATH, upstream=COMPLETIONS_PATH),),
        prefix="/v1/",
        max_connections=config.max_connections,
        keep_alive_s=config.keep_alive_timeout.seconds,
        # A coordinator that is told to end keeps its clients for half of the time that it serves on; the other half is for their
        # last answers.
        connection_s=serving_on_seconds(settings) / 2 or None,
        read_buffer_bytes=round(config.read_buffer_size.bytes),
        silence_s=shard.network_timeout.seconds,
        retries=shard.retry_attempts,
        max_request_bytes=round(limits.request_size.bytes),
    )


def coordinator(settings: StackSettings, endpoints: Endpoints, upstream: Upstream) -> Server:
    """Ready as soon as it proxies: while no pipeline is, it answers 503 rather than refuse connections."""
    resources = settings.coordinator.resources
    cpu = resources.limits.cpu or resources.requests.cpu
    document = bootstrap(proxy_args(settings, endpoints, upstream))
    return Server(
        image=image_reference(settings.images.coordinator or IMAGE, endpoints.registry),
        command=("/usr/local/bin/envoy",),
        args=(
            "--config-path",
            f"{_CONFIG_DIR}/{CONFIG_FILE}",
            # A worker for each CPU of its own; without it one for each of the node's.
            "--concurrency",
            str(max(1, int(cpu.cores)) if cpu else 1),
            "--disable-hot-restart",
        ),
        config_files=(ConfigFile(name=CONFIG_FILE, content=_dump(document)),),
        config_dir=_CONFIG_DIR,
        ports=(HTTP, METRICS),
        startup=Probe(port=METRICS.name, path=READY_PATH, period_seconds=5, failure_threshold=60),
        liveness=Probe(port=METRICS.name, path=READY_PATH, failure_threshold=6),
        readiness=Probe(port=METRICS.name, path=READY_PATH, period_seconds=5, timeout_seconds=3),
        requests=resource_list(resources.requests),
        limits=resource_list(resources.limits),
        run_as_user=USER,
        pre_stop_seconds=serving_on_seconds(settings),
    )


def _dump(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, width=140)


_LISTENER: Path = ("static_resources", "listeners", 0)
_CONNECTIONS: Path = (*_LISTENER, "filter_chains", 0, "filters", 0, "typed_config")
_ROUTE: Path = (*_CONNECTIONS, "route_config", "virtual_hosts", 0, "routes", 0)
_CLUSTER: Path = ("static_resources", "clusters", 0)
_THRESHOLD: Path = (*_CLUSTER, "circuit_breakers", "thresholds", 0)

_MONITOR: Path = ("overload_manager", "resource_monitors", 0, "typed_config")

_FIELDS: tuple[tuple[str, Path], ...] = (
    ("coordinator.config.maxConnections", (*_MONITOR, "max_active_downstream_connections")),
    ("coordinator.config.connectionPoolSize", (*_THRESHOLD, "max_connections")),
    ("coordinator.config.keepAliveTimeout", (*_CONNECTIONS, "common_http_protocol_options", "idle_timeout")),
    ("coordinator.config.readBufferSize", (*_LISTENER, "per_connection_buffer_limit_bytes")),
    ("coordinator.config.writeBufferSize", (*_CLUSTER, "per_connection_buffer_limit_bytes")),
    ("coordinator.config.loadBalancingStrategy", (*_CLUSTER, "load_balancing_policy", "policies", 0, "typed_extension_config", "name")),
    ("coordinator.config.healthCheckInterval", (*_CLUSTER, "health_checks", 0, "interval")),
    ("coordinator.limits.requestSize", (*_CONNECTIONS, "http_filters", 1, "typed_config", "max_request_bytes")),
    ("coordinator.limits.queuedRequests", (*_THRESHOLD, "max_pending_requests")),
    ("shard.config.networkTimeout", (*_ROUTE, "route", "retry_policy", "per_try_idle_timeout")),
    ("shard.config.retryAttempts", (*_ROUTE, "route", "retry_policy", "num_retries")),
)
"""Settings and the fields of Envoy that they are."""


def told(server: Server, shard: Server) -> Iterator[Told]:
    """What the coordinator is told, read back from its file; and what of the settings here is in the shards' pods."""
    for key, path in _FIELDS:
        yield replace(read_back.in_file(key, "coordinator", server, CONFIG_FILE, path), outcome="in force")
    yield replace(
        read_back.in_file("coordinator.config.requestRouting", "coordinator", server, CONFIG_FILE, (*_CLUSTER, "type")),
        outcome="translated",
        given="the same weight for each pipeline",
        because="the proxy chooses once, by coordinator.config.loadBalancingStrategy; pipelines have the same GPUs and one DNS name, whose "
        "addresses all weigh the same",
        source="envoyproxy.io intro/arch_overview/upstream/service_discovery, strict DNS",
    )
    yield read_back.in_field("rollout.terminationGrace", "coordinator", server, ("pre_stop_seconds",))
    yield read_back.in_field("rollout.terminationGrace", "shard", shard, ("pre_stop_seconds",))
