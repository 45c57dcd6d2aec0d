"""What the coordinator of engines that have none is told of each setting, read back from its files and its pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import yaml

from engines import read_back
from engines.envoy.access import CORS
from engines.envoy.coordinator import API_KEYS, CLIENT_CA, CONFIG_FILE, TLS
from engines.workload import FieldPath, Server, Told
from settings.yaml_tree import YamlPath

_LISTENER: YamlPath = ("static_resources", "listeners", 0)
_CONNECTIONS: YamlPath = (*_LISTENER, "filter_chains", 0, "filters", 0, "typed_config")
_ROUTE: YamlPath = (*_CONNECTIONS, "route_config", "virtual_hosts", 0, "routes", 0)
_CLUSTER: YamlPath = ("static_resources", "clusters", 0)
_THRESHOLD: YamlPath = (*_CLUSTER, "circuit_breakers", "thresholds", 0)
_MONITOR: YamlPath = ("overload_manager", "resource_monitors", 0, "typed_config")

_FIELDS: tuple[tuple[str, YamlPath], ...] = (
    ("coordinator.config.maxConnections", (*_MONITOR, "max_active_downstream_connections")),
    ("coordinator.config.connectionPoolSize", (*_THRESHOLD, "max_connections")),
    ("coordinator.config.keepAliveTimeout", (*_CONNECTIONS, "common_http_protocol_options", "idle_timeout")),
    ("coordinator.config.readBufferSize", (*_LISTENER, "per_connection_buffer_limit_bytes")),
    ("coordinator.config.writeBufferSize", (*_CLUSTER, "per_connection_buffer_limit_bytes")),
    ("coordinator.config.loadBalancingStrategy", (*_CLUSTER, "load_balancing_policy", "policies", 0, "typed_extension_config", "name")),
    ("coordinator.config.healthCheckInterval", (*_CLUSTER, "health_checks", 0, "interval")),
    ("coordinator.limits.queuedRequests", (*_THRESHOLD, "max_pending_requests")),
    ("shard.config.networkTimeout", (*_ROUTE, "route", "retry_policy", "per_try_idle_timeout")),
    ("shard.config.retryAttempts", (*_ROUTE, "route", "retry_policy", "num_retries")),
    ("targets.latency", ("stats_config", "histogram_bucket_settings", 0, "buckets")),
)
"""Settings and the fields of Envoy that they are."""

_BECAUSE = {
    "shard.config.retryAttempts": "further pipelines that a request is tried on which none has begun: the connection failed, or the server "
    "answered 503 because it still reads its weights. A request that was sent is never sent to a second pipeline, since it may end that "
    "one too",
    "coordinator.limits.queuedRequests": "these and as many as the pipelines run at once: Envoy counts a request whose connection to "
    "a free pipeline is still being opened as one that waits. So as many have room who come all at once, and while every pipeline is busy "
    "as many wait",
    "shard.config.networkTimeout": "how long a pipeline may send nothing of an answer before the request is given up with 504. The time in "
    "the coordinator's line does not count, and a pipeline that died is found sooner, by its connections, checks and probes",
}
"""What a setting means here, where its name alone would promise something else."""

_FILTERS: tuple[tuple[str, str, YamlPath], ...] = (
    ("coordinator.limits.requestSize", "buffer", ("max_request_bytes",)),
    ("coordinator.limits.requestsPerMinutePerClient", "local_ratelimit", ("descriptors", 0, "token_bucket", "max_tokens")),
)
"""Settings, the HTTP filter that does them, and the field of it."""

_SECRETS = (
    ("exposure.tls.secretName", TLS),
    ("exposure.tls.clientCaSecretName", CLIENT_CA),
    ("exposure.apiKeys.secretName", API_KEYS),
)
"""Settings, and the volume of the Secret that they name."""

_ORIGINS = "exposure.allowedOrigins"
_CORS: YamlPath = (
    *_CONNECTIONS,
    "route_config",
    "virtual_hosts",
    0,
    "typed_per_filter_config",
    CORS,
    "allow_origin_string_match",
    0,
    "safe_regex",
    "regex",
)

_ENDING: FieldPath = ("pre_stop_seconds",)


def told(given: Mapping[str, str], coordinator: Server, shard: Server) -> Iterator[Told]:
    """Of the settings that the stack has; `shard` because its pods end as the coordinator's do."""
    filters = _filters(coordinator)
    fields = (*_FIELDS, *((key, (*filters[name], "typed_config", *path)) for key, name, path in _FILTERS if key in given))
    for key, path in fields:
        found = read_back.in_file(key, "coordinator", coordinator, CONFIG_FILE, path)
        yield replace(found, outcome="in force", because=_BECAUSE.get(key, ""))
    if _ORIGINS in given:
        yield replace(read_back.in_file(_ORIGINS, "coordinator", coordinator, CONFIG_FILE, _CORS), outcome="in force")
    for key, volume in _SECRETS:
        if key in given:
            yield read_back.in_field(key, "coordinator", coordinator, ("secrets", volume, "secret"))
    yield replace(
        read_back.in_file(
            "coordinator.config.requestRouting", "coordinator", coordinator, CONFIG_FILE, (*_CLUSTER, "cluster_type", "name")
        ),
        outcome="translated",
        given="the same weight for each pipeline",
        because="the proxy chooses once, by coordinator.config.loadBalancingStrategy; pipelines have the same GPUs and one DNS name, whose "
        "addresses all weigh the same",
        source="envoyproxy.io intro/arch_overview/upstream/service_discovery, DNS",
    )
    yield read_back.in_field("rollout.terminationGrace", "coordinator", coordinator, _ENDING)
    yield read_back.in_field("rollout.terminationGrace", "shard", shard, _ENDING)


def _filters(coordinator: Server) -> dict[str, YamlPath]:
    """The HTTP filters by name; which there are depends on the settings."""
    [content] = [file.content for file in coordinator.config_files if file.name == CONFIG_FILE]
    found = yaml.load(content, Loader=yaml.CSafeLoader)
    for part in (*_CONNECTIONS, "http_filters"):
        found = found[part]
    return {one["name"].rpartition(".")[2]: (*_CONNECTIONS, "http_filters", index) for index, one in enumerate(found)}
