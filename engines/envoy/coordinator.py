"""The coordinator of engines that have none: Envoy, one front door over the leaders of all pipelines.

The guide's `coordinator.config` becomes Envoy's own configuration, key by key; docs/adr/0006-envoy-is-the-coordinator.md says why
Envoy. Not here: the shape of that configuration (`config.py`, `pipeline_cluster.py`, `access.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from engines.envoy import access
from engines.envoy.access import Guard, Tls
from engines.envoy.config import LIVE_PATH, READY_PATH, ProxyArgs, Route, bootstrap
from engines.envoy.fields import COORDINATOR
from engines.envoy.pipeline_cluster import NAME as PIPELINES
from engines.envoy.pipeline_cluster import Pipelines
from engines.envoy.stats import target_bound_ms
from engines.flags import Flag, command_line, field_effects, flag_effects, plain
from engines.images import image_reference
from engines.metrics import BUDGET_WINDOWS, Metric, table
from engines.pods import at, container_effects, resource_list
from engines.workload import ConfigFile, Endpoints, MountedSecret, Port, Probe, Series, Server
from planner.rules.waiting import SHUTDOWN_SECONDS
from settings import StackSettings
from settings.account import Effect
from settings.platform import Exposure

IMAGE = "docker.io/envoyproxy/envoy:distroless-v1.40.0"
"""The release whose binary the tests run. Its entry point and user: envoyproxy/envoy distribution/docker/Dockerfile-envoy."""
USER = 65532
"""`nonroot` of that image."""

HTTP = Port(name="http", number=8080)
HTTPS = Port(name="https", number=8443, on_service=443)
"""A process that is not root may not listen on 443."""
METRICS = Port(name="metrics", number=9090)
HEALTH_PATH = "/api/v1/health"
SHORT_HEALTH_PATH = "/health"
"""The health path of vLLM's, llama.cpp's and SGLang's servers, which their clients ask for: guidellm does not run without it."""
INFERENCE_PATH = "/v1/inference"
COMPLETIONS_PATH = "/v1/completions"

CONFIG_FILE = "envoy.yaml"
_CONFIG_DIR = "/app/config"
TLS, CLIENT_CA, API_KEYS = "tls", "client-ca", "api-keys"
"""Secrets that are mounted, by the name of their volume."""

_ENVOY = table("envoy")
_SERVICE = f'{{envoy_http_conn_manager_prefix="{COORDINATOR}"}}'
_BY_CLASS = '{}{{envoy_http_conn_manager_prefix="{}",envoy_response_code_class="{}"}}'
_OF_PIPELINES = f'{{envoy_cluster_name="{PIPELINES}"}}'
_AT_ONCE = (
    _BY_CLASS.format(_ENVOY["by_class"], COORDINATOR, 4),
    f"{_ENVOY['overflow']}{_OF_PIPELINES}",
    f"{_ENVOY['none_healthy']}{_OF_PIPELINES}",
)
"""Counters of requests that are refused within milliseconds: what is wrong with them, a full line, no pipeline. Not of those that a
pipeline lost or that clients left, whose time somebody waited."""
LATENCY = Series(
    name=_ENVOY["duration"].name,
    where=_SERVICE,
    unit=0.001,
    refused=" + ".join(f"(sum(rate({counter}[5m])) or vector(0))" for counter in _AT_ONCE),
)
REQUESTS = Series(name=_ENVOY["by_class"].name, where=_BY_CLASS.format("", COORDINATOR, 2))
"""Those that were answered: a service that refuses more does no more."""
_REFUSED = f"rate({_ENVOY['overflow']}{_OF_PIPELINES}[1m])"
LOAD_QUERY = f"sum({_ENVOY['active']}{_SERVICE}) + (sum({_REFUSED}) or vector(0))"
"""All requests in the system, and those that a full line has just refused: they come back after a second, so as many are away as are
refused in one second. Without them a full line would look like one that is about to be full."""


def signals(server: Mapping[str, Metric], target_s: float) -> dict[str, str]:
    """Returns what Envoy and a pipeline's server say about the service, by its key in `engines.metrics.RECORDED`.

    `server`: the server's table. What it has no metric for is left out. `target_s`: the time that a request should take, in seconds.
    """
    found = {
        "in_flight": LOAD_QUERY,
        "waiting": f"sum({_ENVOY['pending']}{_OF_PIPELINES}) + sum({server['waiting']})",
        "healthy": f"max({_ENVOY['healthy']}{_OF_PIPELINES})",
        "ejected": f"max({_ENVOY['ejected']}{_OF_PIPELINES})",
        "left": _share(f"{_ENVOY['left']}{_SERVICE}", f"{_ENVOY['by_class']}{_SERVICE}", "5m"),
        "retried": _share(f"{_ENVOY['retried']}{_OF_PIPELINES}", f"{_ENVOY['sent']}{_OF_PIPELINES}", "5m"),
        "certificate_days": f"min({_ENVOY['certificate_days']})",
        "prompt_tokens": f"sum(rate({server['prompt_tokens']}[5m]))",
        "answer_tokens": f"sum(rate({server['answer_tokens']}[5m]))",
    }
    if "first_token" in server:
        found["first_token_p95"] = f"histogram_quantile(0.95, sum by (le) (rate({server['first_token']}_bucket[5m])))"
    if "cache" in server:
        found["cache"] = f"max({server['cache']})"
    if "preemptions" in server:
        found["preemptions"] = f"sum(rate({server['preemptions']}[5m]))"
    failed = _BY_CLASS.format(_ENVOY["by_class"], COORDINATOR, 5)
    within = f'{LATENCY.name}_bucket{{envoy_http_conn_manager_prefix="{COORDINATOR}",le="{target_bound_ms(target_s)}"}}'
    for window in BUDGET_WINDOWS:
        found[f"errors_{window}"] = _share(failed, f"{_ENVOY['by_class']}{_SERVICE}", window)
        found[f"slow_{window}"] = f"1 - {_share(within, f'{LATENCY.name}_count{LATENCY.where}', window, of_none='1')}"
    return found


def _share(part: str, whole: str, window: str, of_none: str = "0") -> str:
    """PromQL: how many of the events that one counter counts another counts too. Where there were none, `of_none`."""
    return f"(sum(rate({part}[{window}])) / (sum(rate({whole}[{window}])) > 0) or vector({of_none}))"


_REQUEST_SECONDS = 60
"""Enough for a request of the largest size from a client with 140 kbit/s."""


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """The server of a pipeline's leader, as the coordinator sees it."""

    port: int
    health_path: str
    at_once: int
    """Requests that it runs at once."""
    waiting: int
    """Requests that may wait in one coordinator, those included whose connection is being opened."""


def serving_on_seconds(settings: StackSettings) -> int:
    """The seconds for which a pod that is being deleted goes on serving: no new request finds it, and those that it has are finished.

    Neither server finishes its requests once its process gets SIGTERM: Envoy stops at once, llama-server answers nothing more and keeps
    its connections. So the signal comes last, and the process has what is then left of `rollout.terminationGrace`.
    """
    return max(0, math.ceil(settings.rollout.termination_grace.seconds) - SHUTDOWN_SECONDS)


def serving_port(settings: StackSettings) -> Port:
    """The port to which clients send requests; nothing listens for plain HTTP beside TLS."""
    return HTTPS if settings.exposure.tls else HTTP


def _secrets(exposure: Exposure) -> dict[str, MountedSecret]:
    """The Secrets that the settings name, by the names of their volumes."""
    mounts: list[tuple[str, str | None, tuple[str, ...]]] = []
    if exposure.tls:
        mounts.append((TLS, exposure.tls.secret_name, (access.CERTIFICATE_FILE, access.KEY_FILE)))
        mounts.append((CLIENT_CA, exposure.tls.client_ca_secret_name, (access.CA_FILE,)))
    if exposure.api_keys:
        mounts.append((API_KEYS, exposure.api_keys.secret_name, (access.API_KEYS_FILE,)))
    return {name: MountedSecret(secret=secret, folder=f"/app/secrets/{name}", keys=keys) for name, secret, keys in mounts if secret}


def _guard(settings: StackSettings, secrets: Mapping[str, MountedSecret]) -> Guard:
    folders = {name: mounted.folder for name, mounted in secrets.items()}
    tls = None
    if TLS in folders:
        tls = Tls(config_dir=_CONFIG_DIR, certificate_dir=folders[TLS], client_ca_dir=folders.get(CLIENT_CA))
    limit = settings.coordinator.limits.requests_per_minute_per_client
    origins = settings.exposure.allowed_origins or ()
    return Guard(tls=tls, api_keys_dir=folders.get(API_KEYS), requests_per_minute=limit, allowed_origins=origins)


def _memory_bytes(settings: StackSettings) -> int | None:
    limit = settings.coordinator.resources.limits.memory
    return round(limit.bytes) if limit else None


def proxy_args(settings: StackSettings, endpoints: Endpoints, upstream: Upstream) -> ProxyArgs:
    """The behaviour of Envoy that the settings ask for."""
    config, shard, limits = settings.coordinator.config, settings.shard.config, settings.coordinator.limits
    return ProxyArgs(
        port=serving_port(settings).number,
        metrics_port=METRICS.number,
        health_paths=(HEALTH_PATH, SHORT_HEALTH_PATH),
        pipelines=Pipelines(
            host=endpoints.leaders_dns,
            port=upstream.port,
            health_path=upstream.health_path,
            health_interval_s=config.health_check_interval.seconds,
            strategy=config.load_balancing_strategy,
            pool_size=config.connection_pool_size,
            at_once=upstream.at_once,
            waiting=upstream.waiting,
            write_buffer_bytes=round(config.write_buffer_size.bytes),
        ),
        rewrites=(Route(path=INFERENCE_PATH, upstream=COMPLETIONS_PATH),),
        prefix="/v1/",
        max_connections=config.max_connections,
        keep_alive_s=config.keep_alive_timeout.seconds,
        # A coordinator that is being deleted keeps its clients for half of the time for which it goes on serving; the other half is for
        # their last answers.
        connection_s=serving_on_seconds(settings) / 2 or None,
        read_buffer_bytes=round(config.read_buffer_size.bytes),
        silence_s=shard.network_timeout.seconds,
        retries=shard.retry_attempts,
        max_request_bytes=round(limits.request_size.bytes),
        request_s=_REQUEST_SECONDS,
        memory_bytes=_memory_bytes(settings),
        guard=_guard(settings, _secrets(settings.exposure)),
        target_s=settings.targets.latency.seconds,
    )


def coordinator(settings: StackSettings, endpoints: Endpoints, upstream: Upstream) -> tuple[Server, tuple[Effect, ...]]:
    """Renders Envoy, and the settings that it answers.

    It is ready as soon as clients can get in: while no pipeline is ready, it answers 503 rather than refuse connections.
    """
    resources = settings.coordinator.resources
    args = proxy_args(settings, endpoints, upstream)
    documents = {CONFIG_FILE: bootstrap(args)} | (access.secret_files(args.guard.tls) if args.guard.tls else {})
    flags = _flags(settings)
    server = Server(
        image=image_reference(settings.images.coordinator or IMAGE, endpoints.registry),
        command=("/usr/local/bin/envoy",),
        args=command_line(flags),
        config_files=tuple(ConfigFile(name=name, content=_dump(plain(document))) for name, document in documents.items()),
        config_dir=_CONFIG_DIR,
        ports=(serving_port(settings), METRICS),
        secrets=_secrets(settings.exposure),
        # One that starts with a broken certificate does not read the mended one (Envoy watches what it could use): it is started again.
        startup=Probe(port=METRICS.name, path=READY_PATH, period_seconds=5, failure_threshold=12),
        liveness=Probe(port=METRICS.name, path=LIVE_PATH, failure_threshold=6),
        readiness=Probe(port=METRICS.name, path=READY_PATH, period_seconds=5, timeout_seconds=3),
        requests=resource_list(resources.requests),
        limits=resource_list(resources.limits),
        run_as_user=USER,
        pre_stop_seconds=serving_on_seconds(settings),
    )
    effects = (
        *container_effects("coordinator", "coordinator"),
        *flag_effects("coordinator", flags),
        *(effect for name, document in documents.items() for effect in field_effects("coordinator", name, document)),
        *_secret_effects(settings),
        at("coordinator", "rollout.terminationGrace", "lifecycle.preStop.sleep.seconds"),
    )
    return server, effects


_SECRET_KEYS = {TLS: access.CERTIFICATE, CLIENT_CA: access.CLIENT_CA, API_KEYS: access.KEYS}
"""The settings that name Secrets, by the Secret's volume."""


def _secret_effects(settings: StackSettings) -> Iterator[Effect]:
    for volume in _secrets(settings.exposure):
        yield at("coordinator", _SECRET_KEYS[volume], f"secrets[{volume}].secret")
        yield at("coordinator", _SECRET_KEYS[volume], f"volumeMounts[{volume}].mountPath")
    if settings.exposure.tls:
        yield at("coordinator", access.CERTIFICATE, f"ports[{HTTPS.name}].containerPort")


def _flags(settings: StackSettings) -> tuple[Flag, ...]:
    """Envoy has a worker thread for each CPU of its own; without the flag it would have one for each of the node's."""
    resources = settings.coordinator.resources
    side = "limits" if resources.limits.cpu else "requests"
    cpu = resources.limits.cpu or resources.requests.cpu
    return (
        Flag("--config-path", f"{_CONFIG_DIR}/{CONFIG_FILE}", why="where the rendered configuration is mounted"),
        Flag("--concurrency", str(max(1, int(cpu.cores)) if cpu else 1), f"coordinator.resources.{side}.cpu"),
        Flag("--disable-hot-restart", None, why="a pod is replaced as a whole, so no second Envoy shares memory with this one"),
    )


def _dump(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, width=140)
