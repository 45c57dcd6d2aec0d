"""Envoy as the coordinator: one HTTP front door over whole pipelines of shards.

The file is Envoy's own bootstrap (v3 API), so what is written here is what the proxy does; nothing is generated inside the pod.
Field names: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api

Not here: the pods around it (`infra/kubernetes/`), and which settings become which of these fields (`engines/envoy/coordinator.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.envoy import access, pipeline_cluster, readiness, refusals, stats
from engines.envoy.access import Guard
from engines.envoy.fields import COORDINATOR, EXTENSIONS, HCM, address, http_filter, lua, seconds
from engines.envoy.pipeline_cluster import Pipelines
from engines.flags import field, in_force

ADMIN_PORT = 9901
"""Envoy's admin interface, inside the pod only; the metrics listener passes on its `/stats/prometheus`."""
LIVE_PATH, READY_PATH = "/live", "/ready"
"""On the metrics listener: whether the process runs, and whether clients can get in too."""

_HEAP = 0.95
"""The heap's share of the process' memory; the rest is code and stacks."""
_MEMORY = "coordinator.resources.limits.memory"
_FRONT = {
    # A path is what the routes below compare, not what a server makes of it.
    "normalize_path": True,
    "merge_slashes": True,
    "path_with_escaped_slashes_action": "REJECT_REQUEST",
}
"""Envoy's documentation advises these for a proxy with unknown clients: configuration/best_practices/edge."""

_BODY_CHECK = Path(__file__).with_name("body.lua").read_text()
"""Reads the request once, as a whole; the filter before it, which bounds the size, has buffered it in any case."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """A path of clients and the path of the server behind it; the body passes unchanged."""

    path: str
    upstream: str


@dataclass(frozen=True, kw_only=True)
class ProxyArgs:
    """The behaviour of one coordinator. Times are in seconds, sizes in bytes."""

    port: int
    metrics_port: int
    health_paths: tuple[str, ...]
    """Paths that answer 200 while any pipeline is healthy, else 503, and that are never passed on."""
    pipelines: Pipelines
    rewrites: tuple[Route, ...]
    prefix: str
    """The beginning of paths that pass through unchanged, such as `/v1/`."""
    max_connections: int
    """The connections that clients may have to one coordinator."""
    keep_alive_s: float
    """How long a connection may be idle."""
    connection_s: float | None
    """How long a connection may last: the answer after that closes it, so that its client finds another coordinator. None for ever."""
    read_buffer_bytes: int
    silence_s: float
    """How long a pipeline may send nothing of an answer before the request is given up."""
    retries: int
    """Further pipelines that a request is tried on which no pipeline has begun."""
    max_request_bytes: int
    request_s: float
    """How long a client may take to send its request."""
    memory_bytes: int | None
    """The memory that the process may take; near it, requests are refused with 503. None for as much as there is."""
    guard: Guard
    target_s: float
    """How long a request should take; the histogram of times is finest near it."""


def bootstrap(args: ProxyArgs) -> dict[str, Any]:
    """The whole configuration, for one YAML file; its values are marked with the settings that they answer (`engines.flags.plain`)."""
    return {
        # Configuration from a file of its own is not taken without.
        "node": {"id": "coordinator", "cluster": "zig-ai"},
        "admin": {"address": address("127.0.0.1", ADMIN_PORT)},
        "static_resources": {
            "listeners": [_listener(args), _metrics_listener(args.metrics_port), readiness.listener(args.guard)],
            "clusters": [pipeline_cluster.cluster(args.pipelines), _admin_cluster(), readiness.cluster(args.guard)],
        },
        "bootstrap_extensions": [readiness.EXTENSION],
        "overload_manager": _overload(args),
        "stats_config": stats.stats_config(args.target_s),
    }


def _overload(args: ProxyArgs) -> dict[str, Any]:
    """Connections beyond the limit are turned away; requests are, rather than have the kernel end the process for its memory."""
    connections = {
        "@type": f"{EXTENSIONS}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": field(args.max_connections, "coordinator.config.maxConnections"),
    }
    monitors = [{"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections}]
    if args.memory_bytes is None:
        return {"resource_monitors": monitors}
    heap = "envoy.resource_monitors.fixed_heap"
    size = {
        "@type": f"{EXTENSIONS}.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        "max_heap_size_bytes": field(round(args.memory_bytes * _HEAP), _MEMORY),
    }
    return {
        "refresh_interval": field("0.25s", _MEMORY),
        "resource_monitors": [*monitors, field({"name": heap, "typed_config": size}, _MEMORY)],
        "actions": field(
            [
                {"name": f"envoy.overload_actions.{action}", "triggers": [{"name": heap, "threshold": {"value": full}}]}
                for action, full in (("shrink_heap", 0.95), ("stop_accepting_requests", 0.98))
            ],
            _MEMORY,
        ),
    }


def _listener(args: ProxyArgs) -> dict[str, Any]:
    chain: dict[str, Any] = {"filters": [{"name": "http_connection_manager", "typed_config": _connection_manager(args)}]}
    if args.guard.tls:
        chain["transport_socket"] = access.transport_socket(args.guard.tls)
    return {
        "name": "http",
        "address": field(address("0.0.0.0", args.port), *((access.CERTIFICATE,) if args.guard.tls else ())),
        "per_connection_buffer_limit_bytes": field(args.read_buffer_bytes, "coordinator.config.readBufferSize"),
        "filter_chains": [chain],
    }


def _connection_manager(args: ProxyArgs) -> dict[str, Any]:
    return {
        "@type": HCM,
        "stat_prefix": COORDINATOR,
        # One request a connection at a time: `max_connections` then bounds the requests too. And a refusal before the request has
        # come whole is one that curl 7.88 (Debian 12) cannot read by HTTP/2.
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "common_http_protocol_options": _connection_limits(args),
        # The answer that closes a connection says so: no request is on its way to a closed one.
        "http1_safe_max_connection_duration": True,
        # A client that sends its request a byte at a time holds nothing for long; an answer may stream for as long as it takes.
        "request_headers_timeout": seconds(_headers_s(args)),
        "request_timeout": seconds(args.request_s),
        "stream_idle_timeout": "0s",
        **_FRONT,
        "route_config": {"name": "service", "virtual_hosts": [_service(args)]},
        "http_filters": [
            *access.cors_filters(args.guard),
            _health_filter(args),
            *access.filters(args.guard),
            _size_filter(args),
            lua(_BODY_CHECK),
            http_filter("router", "router.v3.Router", {}),
        ],
        "local_reply_config": refusals.local_replies(
            headers_s=_headers_s(args), request_s=args.request_s, request_bytes=args.max_request_bytes
        ),
    }


def _headers_s(args: ProxyArgs) -> float:
    return min(10, args.request_s)


def _service(args: ProxyArgs) -> dict[str, Any]:
    return {"name": "service", "domains": ["*"], "routes": _routes(args), **access.cors_fields(args.guard)}


def _connection_limits(args: ProxyArgs) -> dict[str, Any]:
    limits = {"idle_timeout": field(seconds(args.keep_alive_s), "coordinator.config.keepAliveTimeout")}
    if args.connection_s is None:
        return limits
    return limits | {"max_connection_duration": field(seconds(args.connection_s), "rollout.terminationGrace")}


def _health_filter(args: ProxyArgs) -> dict[str, Any]:
    path = {"name": ":path", "string_match": {"safe_regex": {"regex": "|".join(map(re.escape, args.health_paths))}}}
    least = {pipeline_cluster.NAME: {"value": 1}}
    fields = {"pass_through_mode": False, "headers": [path], "cluster_min_healthy_percentages": least}
    return http_filter("health_check", "health_check.v3.HealthCheck", fields)


def _size_filter(args: ProxyArgs) -> dict[str, Any]:
    """Reads the whole request before any of it is sent on (a prompt, not an answer); larger ones get 413."""
    return http_filter("buffer", "buffer.v3.Buffer", {"max_request_bytes": field(args.max_request_bytes, "coordinator.limits.requestSize")})


def _routes(args: ProxyArgs) -> list[dict[str, Any]]:
    rewrites = [
        {"match": {"path": rewrite.path}, "route": _to_pipelines(args) | {"prefix_rewrite": rewrite.upstream}} for rewrite in args.rewrites
    ]
    return [*rewrites, {"match": {"prefix": args.prefix}, "route": _to_pipelines(args)}]


_RETRIES = (
    "further pipelines that a request is tried on which none has begun: the connection failed, or the server answered 503 because it still "
    "reads its weights. A request that was sent is never sent to a second pipeline, since it may end that one too"
)
_SILENCE = (
    "how long a pipeline may send nothing of an answer before the request is given up with 504. The time in the coordinator's line does "
    "not count, and a pipeline that died is found sooner, by its connections, checks and probes"
)


def _to_pipelines(args: ProxyArgs) -> dict[str, Any]:
    return {
        "cluster": pipeline_cluster.NAME,
        # An answer may take as long as it needs, if some of it comes.
        "timeout": "0s",
        "retry_policy": {
            # Only what no server has worked on: a request that ends one server would end the next one too, and the one after it. Each
            # request has a connection of its own (`pipeline_cluster.cluster`), so what a dead server was never sent is a connection that
            # failed. 503 is what a server says that still reads its weights.
            "retry_on": "connect-failure,retriable-status-codes",
            "retriable_status_codes": [503],
            "num_retries": field(args.retries, in_force("shard.config.retryAttempts", _RETRIES)),
            "per_try_idle_timeout": field(seconds(args.silence_s), in_force("shard.config.networkTimeout", _SILENCE)),
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{EXTENSIONS}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 10,
            "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"},
        },
    }


def _metrics_listener(port: int) -> dict[str, Any]:
    metrics = {"match": {"path": "/metrics"}, "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"}}
    live = {"match": {"path": LIVE_PATH}, "route": {"cluster": "admin", "prefix_rewrite": "/ready"}}
    ready = {"match": {"path": READY_PATH}, "route": {"cluster": readiness.NAME}}
    manager = {
        "@type": HCM,
        "stat_prefix": "metrics",
        "route_config": {"name": "metrics", "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [metrics, live, ready]}]},
        "http_filters": [http_filter("router", "router.v3.Router", {})],
    }
    return {
        "name": "metrics",
        "address": address("0.0.0.0", port),
        # Probes come here: a coordinator that turns clients away is alive, and to restart it would lose those that it has.
        "bypass_overload_manager": True,
        "filter_chains": [{"filters": [{"name": "http_connection_manager", "typed_config": manager}]}],
    }


def _admin_cluster() -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address("127.0.0.1", ADMIN_PORT)}}
    return {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
