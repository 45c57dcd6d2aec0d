"""Envoy's cluster `pipelines`: where a request may go, how one is chosen, and when a pipeline is left out.

Its members are the addresses behind one name of the cluster's DNS, that of the pipelines' leaders which are ready and stay. A pod that
is being deleted leaves that name at once: it gets no new request, and finishes those that it has.
Field names: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/cluster/v3/cluster.proto
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engines.envoy.fields import EXTENSIONS, address, seconds
from engines.flags import field, in_force, translated

NAME = "pipelines"

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# Least request is the better of two at random. Not FULL_SCAN: a pipeline that just died has the fewest requests, and every retry of
# a full scan would go to it again.
_STRATEGIES = {
    "least_connections": ("least_request", "LeastRequest"),
    "round_robin": ("round_robin", "RoundRobin"),
    "random": ("random", "Random"),
}
_STRATEGY = "coordinator.config.loadBalancingStrategy"
_INTERVAL = "coordinator.config.healthCheckInterval"
_POOL_SIZE = "coordinator.config.connectionPoolSize"
_QUEUED = "coordinator.limits.queuedRequests"
_PIPELINES = "sharding.pipelines"

_AT_ONCE = ("coordinator.config.dynamicBatching.maxBatchSize", "coordinator.config.dynamicBatching.enabled")
_WAITING = (
    "these and as many as the pipelines run at once: Envoy counts a request whose connection to a free pipeline is still being opened as "
    "one that waits. So as many have room who come all at once, and while every pipeline is busy as many wait"
)
_ROUTING = translated(
    "coordinator.config.requestRouting",
    "the proxy chooses once, by coordinator.config.loadBalancingStrategy; pipelines have the same GPUs and one DNS name, whose addresses "
    "all weigh the same",
    "envoyproxy.io intro/arch_overview/upstream/service_discovery, DNS",
    given="the same weight for each pipeline",
)

REFRESH_SECONDS = 2
"""The time between two questions to the DNS."""

_KEEPALIVE = {"keepalive_time": 15, "keepalive_interval": 5, "keepalive_probes": 3}
"""In seconds: a request whose node vanished is answered with 502 after half a minute, however long an answer may be silent."""


@dataclass(frozen=True, kw_only=True)
class Pipelines:
    """The pipelines of a service, as one coordinator sees them. Times are in seconds, sizes in bytes."""

    host: str
    """The DNS name whose addresses are the leaders."""
    port: int
    health_path: str
    health_interval_s: float
    strategy: str
    """`least_connections`, `round_robin` or `random`."""
    pool_size: int
    """Connections to all of them together, each with one request on its way; further requests wait."""
    at_once: int
    """Requests that one pipeline runs; further ones wait here, where who leaves frees his place and who is one too many is refused."""
    waiting: int
    """Requests that may wait, those included whose connection is being opened; further ones are refused."""
    write_buffer_bytes: int


def cluster(pipelines: Pipelines) -> dict[str, Any]:
    policy, message = _STRATEGIES[pipelines.strategy]
    chosen = {
        "name": field(f"envoy.load_balancing_policies.{policy}", _STRATEGY),
        "typed_config": field({"@type": f"{EXTENSIONS}.load_balancing_policies.{policy}.v3.{message}"}, _STRATEGY),
    }
    return {
        "name": NAME,
        **_discovery(pipelines),
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {_HTTP_OPTIONS: _one_request_a_connection()},
        "load_balancing_policy": {"policies": [{"typed_extension_config": chosen}]},
        "per_connection_buffer_limit_bytes": field(pipelines.write_buffer_bytes, "coordinator.config.writeBufferSize"),
        "upstream_connection_options": {"tcp_keepalive": _KEEPALIVE},
        "circuit_breakers": {
            "thresholds": [_threshold(pipelines)],
            # A connection is a request. Each worker of Envoy has one to each pipeline in any case, so that with two it is one more.
            "per_host_thresholds": [{"max_connections": field(pipelines.at_once, *_AT_ONCE)}],
        },
        "health_checks": [_health_check(pipelines)],
        "outlier_detection": _outlier_detection(pipelines.health_interval_s),
        # With no healthy pipeline left there is nothing to send to: 503, rather than all of them at once.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }


def _one_request_a_connection() -> dict[str, Any]:
    """A connection that is used again may be one whose server just ended, and then nobody knows whether it began the request. Opening one
    takes less than a millisecond of the seconds that an answer takes; llama-server also keeps a thread for each that is open."""
    return {
        "@type": f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "common_http_protocol_options": {"max_requests_per_connection": 1},
        "explicit_http_config": {"http_protocol_options": {}},
    }


def _discovery(pipelines: Pipelines) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address(pipelines.host, pipelines.port)}}
    return {
        "cluster_type": {
            "name": field("envoy.clusters.dns", _ROUTING),
            "typed_config": {
                "@type": f"{EXTENSIONS}.clusters.dns.v3.DnsCluster",
                # Pods come and go: the name is asked for again in seconds, not when its record expires.
                "dns_refresh_rate": seconds(REFRESH_SECONDS),
                "respect_dns_ttl": False,
                "dns_lookup_family": "V4_ONLY",
                "typed_dns_resolver_config": {
                    "name": "envoy.network.dns_resolver.cares",
                    "typed_config": {
                        "@type": f"{EXTENSIONS}.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                        # The name is whole: a pod's search list would make five questions of one.
                        "dns_resolver_options": {"no_default_search_domain": True},
                    },
                },
            },
        },
        # Else a pod that ends, and still answers its health checks, would get new requests until it answers nothing.
        "ignore_health_on_host_removal": True,
        "load_assignment": {"cluster_name": NAME, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _threshold(pipelines: Pipelines) -> dict[str, Any]:
    at_once = field(pipelines.pool_size + pipelines.waiting, _POOL_SIZE, _QUEUED, _PIPELINES, *_AT_ONCE)
    return {
        "max_connections": field(pipelines.pool_size, _POOL_SIZE),
        "max_pending_requests": field(pipelines.waiting, in_force(_QUEUED, _WAITING), _PIPELINES, *_AT_ONCE),
        "max_requests": at_once,
        "max_retries": at_once,
    }


def _health_check(pipelines: Pipelines) -> dict[str, Any]:
    interval = field(seconds(pipelines.health_interval_s), _INTERVAL)
    return {
        "timeout": field(seconds(min(pipelines.health_interval_s, 3)), _INTERVAL),
        "interval": interval,
        "no_traffic_interval": interval,
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": pipelines.health_path},
    }


def _outlier_detection(interval_s: float) -> dict[str, Any]:
    """A pipeline that loses or ignores one request after another is left out for a while, the last never, and no health check brings it
    back sooner: one that only answers those is what this is for. A single slow answer says nothing about the others."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 5,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        "enforcing_success_rate": 0,
        "enforcing_consecutive_5xx": 0,
        "consecutive_gateway_failure": 3,
        "enforcing_consecutive_gateway_failure": 100,
        "interval": field(seconds(interval_s), _INTERVAL),
        # Longer each time.
        "base_ejection_time": field(seconds(2 * interval_s), _INTERVAL),
        "max_ejection_percent": 50,
        "successful_active_health_check_uneject_host": False,
    }
