"""Envoy as the coordinator: one HTTP front door over whole pipelines of shards.

The file is Envoy's own bootstrap (v3 API), so what is written here is what the proxy does; nothing is generated inside the pod.
Field names: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api

Not here: the pods around it (`infra/kubernetes/`), and which settings become which of these fields (`engines/proxied.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ADMIN_PORT = 9901
"""Envoy's admin interface, inside the pod only; the metrics listener passes on its `/stats/prometheus`."""
READY_PATH = "/ready"

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_HCM = f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_POLICIES = f"{_EXTENSIONS}.load_balancing_policies"
# Least request is the better of two at random. Not FULL_SCAN: a pipeline that just died has the fewest requests, and every retry of
# a full scan would go to it again.
_STRATEGIES = {
    "least_connections": ("least_request", {"@type": f"{_POLICIES}.least_request.v3.LeastRequest"}),
    "round_robin": ("round_robin", {"@type": f"{_POLICIES}.round_robin.v3.RoundRobin"}),
    "random": ("random", {"@type": f"{_POLICIES}.random.v3.Random"}),
}


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One pipeline: where its leader answers, and its share of the requests."""

    host: str
    port: int
    weight: int = 1


@dataclass(frozen=True, kw_only=True)
class Route:
    """A path of clients and the path of the server behind it; the body passes unchanged."""

    path: str
    upstream: str


@dataclass(frozen=True, kw_only=True)
class ProxyArgs:
    """What one coordinator does. Times in seconds, sizes in bytes."""

    port: int
    metrics_port: int
    health_path: str
    """Answers 200 while any pipeline is healthy, else 503; never passed on."""
    backends: tuple[Backend, ...]
    backend_health_path: str
    rewrites: tuple[Route, ...]
    prefix: str
    """What passes through as it is, such as `/v1/`."""
    strategy: str
    """`least_connections`, `round_robin` or `random`."""
    max_connections: int
    """Of clients, to one coordinator."""
    pool_size: int
    """Connections to all pipelines together, each with one request on its way; further requests wait."""
    queued: int
    """Requests that may wait; further ones are refused with 503 and Retry-After."""
    keep_alive_s: float
    read_buffer_bytes: int
    write_buffer_bytes: int
    health_interval_s: float
    silence_s: float
    """How long a pipeline may send nothing of an answer before the request is taken to another."""
    retries: int
    max_request_bytes: int


def bootstrap(args: ProxyArgs) -> dict[str, Any]:
    """The whole configuration, for one YAML file."""
    return {
        "admin": {"address": _address("127.0.0.1", ADMIN_PORT)},
        "static_resources": {
            "listeners": [_listener(args), _metrics_listener(args.metrics_port)],
            "clusters": [_pipelines(args), _admin_cluster()],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_EXTENSIONS}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": args.max_connections,
                    },
                }
            ]
        },
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _seconds(seconds: float) -> str:
    return f"{seconds:g}s"


def _listener(args: ProxyArgs) -> dict[str, Any]:
    return {
        "name": "http",
        "address": _address("0.0.0.0", args.port),
        "per_connection_buffer_limit_bytes": args.read_buffer_bytes,
        "filter_chains": [{"filters": [{"name": "http_connection_manager", "typed_config": _connection_manager(args)}]}],
    }


def _connection_manager(args: ProxyArgs) -> dict[str, Any]:
    return {
        "@type": _HCM,
        "stat_prefix": "coordinator",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "common_http_protocol_options": {"idle_timeout": _seconds(args.keep_alive_s)},
        # A client that sends its request a byte at a time holds nothing for long; an answer may stream for as long as it takes.
        "request_headers_timeout": "10s",
        "request_timeout": "60s",
        "stream_idle_timeout": "0s",
        "route_config": {"name": "service", "virtual_hosts": [{"name": "service", "domains": ["*"], "routes": _routes(args)}]},
        "http_filters": [_health_filter(args), _size_filter(args), _filter("router", "router.v3.Router", {})],
        "local_reply_config": {"mappers": [_busy()]},
    }


def _busy() -> dict[str, Any]:
    """More requests than may wait (response flag UO): 503 with the time after which to try again."""
    return {
        "filter": {"response_flag_filter": {"flags": ["UO"]}},
        "status_code": 503,
        "headers_to_add": [{"header": {"key": "Retry-After", "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }


def _filter(name: str, message: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.{message}", **fields}}


def _health_filter(args: ProxyArgs) -> dict[str, Any]:
    path = {"name": ":path", "string_match": {"exact": args.health_path}}
    least = {"pipelines": {"value": 1}}
    fields = {"pass_through_mode": False, "headers": [path], "cluster_min_healthy_percentages": least}
    return _filter("health_check", "health_check.v3.HealthCheck", fields)


def _size_filter(args: ProxyArgs) -> dict[str, Any]:
    """Reads the whole request before any of it is sent on (a prompt, not an answer); larger ones get 413."""
    return _filter("buffer", "buffer.v3.Buffer", {"max_request_bytes": args.max_request_bytes})


def _routes(args: ProxyArgs) -> list[dict[str, Any]]:
    rewrites = [
        {"match": {"path": rewrite.path}, "route": _to_pipelines(args) | {"prefix_rewrite": rewrite.upstream}} for rewrite in args.rewrites
    ]
    return [*rewrites, {"match": {"prefix": args.prefix}, "route": _to_pipelines(args)}]


def _to_pipelines(args: ProxyArgs) -> dict[str, Any]:
    return {
        "cluster": "pipelines",
        # An answer may take as long as it needs, if some of it comes.
        "timeout": "0s",
        "retry_policy": {
            # Only while nothing was sent to the client: a completion changes nothing, so asking another pipeline is safe.
            # 503 is what a server says that still reads its weights.
            "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
            "retriable_status_codes": [503],
            "num_retries": args.retries,
            "per_try_idle_timeout": _seconds(args.silence_s),
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{_EXTENSIONS}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 10,
            "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"},
        },
    }


def _pipelines(args: ProxyArgs) -> dict[str, Any]:
    policy, how = _STRATEGIES[args.strategy]
    return {
        "name": "pipelines",
        "type": "STRICT_DNS",
        "connect_timeout": "2s",
        "load_balancing_policy": {
            "policies": [{"typed_extension_config": {"name": f"envoy.load_balancing_policies.{policy}", "typed_config": how}}]
        },
        "per_connection_buffer_limit_bytes": args.write_buffer_bytes,
        # Pods come back with other addresses: a name is asked for again in seconds, not when its record expires.
        "dns_refresh_rate": "2s",
        "respect_dns_ttl": False,
        "load_assignment": {
            "cluster_name": "pipelines",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {"address": _address(backend.host, backend.port)},
                            "load_balancing_weight": backend.weight,
                        }
                        for backend in args.backends
                    ]
                }
            ],
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": args.pool_size,
                    "max_pending_requests": args.queued,
                    "max_requests": args.pool_size + args.queued,
                    "max_retries": args.pool_size + args.queued,
                }
            ]
        },
        "health_checks": [
            {
                "timeout": _seconds(min(args.health_interval_s, 3)),
                "interval": _seconds(args.health_interval_s),
                "no_traffic_interval": _seconds(args.health_interval_s),
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": args.backend_health_path},
            }
        ],
        # Between two health checks: one refused or reset connection takes a pipeline out, the last never.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 1,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "consecutive_gateway_failure": 3,
            "enforcing_consecutive_gateway_failure": 100,
            "interval": _seconds(args.health_interval_s),
            "base_ejection_time": _seconds(2 * args.health_interval_s),
            "max_ejection_percent": 50,
        },
        # With no healthy pipeline left there is nothing to send to: 503, rather than all of them at once.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }


def _metrics_listener(port: int) -> dict[str, Any]:
    route = {"match": {"path": "/metrics"}, "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"}}
    ready = {"match": {"path": READY_PATH}, "route": {"cluster": "admin"}}
    manager = {
        "@type": _HCM,
        "stat_prefix": "metrics",
        "route_config": {"name": "metrics", "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [route, ready]}]},
        "http_filters": [_filter("router", "router.v3.Router", {})],
    }
    return {
        "name": "metrics",
        "address": _address("0.0.0.0", port),
        "filter_chains": [{"filters": [{"name": "http_connection_manager", "typed_config": manager}]}],
    }


def _admin_cluster() -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address("127.0.0.1", ADMIN_PORT)}}
    return {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
