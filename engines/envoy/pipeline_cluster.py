"""Envoy's cluster `pipelines`: where a request may go, how one is chosen, and when a pipeline is left out.

Its members are the addresses behind one name of the cluster's DNS, that of the pipelines' leaders which are ready and stay. A pod that
is told to end leaves that name at once: it gets no new request, and finishes those that it has.
Field names: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/cluster/v3/cluster.proto
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engines.envoy.fields import EXTENSIONS, address, seconds

NAME = "pipelines"

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_POLICIES = f"{EXTENSIONS}.load_balancing_policies"
# Least request is the better of two at random. Not FULL_SCAN: a pipeline that just died has the fewest requests, and every retry of
# a full scan would go to it again.
_STRATEGIES = {
    "least_connections": ("least_request", {"@type": f"{_POLICIES}.least_request.v3.LeastRequest"}),
    "round_robin": ("round_robin", {"@type": f"{_POLICIES}.round_robin.v3.RoundRobin"}),
    "random": ("random", {"@type": f"{_POLICIES}.random.v3.Random"}),
}

REFRESH_SECONDS = 2
"""Between two questions to the DNS."""


_KEEPALIVE = {"keepalive_time": 15, "keepalive_interval": 5, "keepalive_probes": 3}
"""In seconds: a request whose node vanished is answered with 502 after half a minute, however long an answer may be silent."""


@dataclass(frozen=True, kw_only=True)
class Pipelines:
    """The pipelines of a service, as one coordinator sees them. Times in seconds, sizes in bytes."""

    host: str
    """DNS name whose addresses are the leaders."""
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
    policy, how = _STRATEGIES[pipelines.strategy]
    return {
        "name": NAME,
        **_discovery(pipelines),
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {_HTTP_OPTIONS: _one_request_a_connection()},
        "load_balancing_policy": {
            "policies": [{"typed_extension_config": {"name": f"envoy.load_balancing_policies.{policy}", "typed_config": how}}]
        },
        "per_connection_buffer_limit_bytes": pipelines.write_buffer_bytes,
        "upstream_connection_options": {"tcp_keepalive": _KEEPALIVE},
        "circuit_breakers": {
            "thresholds": [_threshold(pipelines)],
            # A connection is a request. Each worker of Envoy has one to each pipeline in any case, so that with two it is one more.
            "per_host_thresholds": [{"max_connections": pipelines.at_once}],
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
            "name": "envoy.clusters.dns",
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
    at_once = pipelines.pool_size + pipelines.waiting
    return {
        "max_connections": pipelines.pool_size,
        "max_pending_requests": pipelines.waiting,
        "max_requests": at_once,
        "max_retries": at_once,
    }


def _health_check(pipelines: Pipelines) -> dict[str, Any]:
    interval = seconds(pipelines.health_interval_s)
    return {
        "timeout": seconds(min(pipelines.health_interval_s, 3)),
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
        "interval": seconds(interval_s),
        # Longer each time.
        "base_ejection_time": seconds(2 * interval_s),
        "max_ejection_percent": 50,
        "successful_active_health_check_uneject_host": False,
    }
