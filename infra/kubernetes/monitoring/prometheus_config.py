"""What Prometheus scrapes, and how often. Plain text in, plain text out; no Pulumi. What it makes of that: `prometheus_rules.py`.

The guide gives each *metric* an interval, Prometheus gives one to each *scrape job*. So each of the guide's metrics is a job of its
own name, which keeps that metric's series and drops the rest of what its endpoint says; what no job keeps comes in a job for the
rest of that endpoint, so that no series is stored twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from engines.metrics import one_of, table
from engines.workload import Workload
from infra.kubernetes import names
from settings.account import Effect, Resource, path_text
from settings.operations import Monitoring
from settings.quantities import Duration

REST_INTERVAL = "30s"
_COUNTED_BY_KUBELETS = ("node", "pod", "container")
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True, kw_only=True)
class Source:
    """An endpoint that answers with more than one of the guide's metrics."""

    name: str
    discovery: dict[str, Any]
    """The part of a scrape job that says where and how."""
    often: dict[str, Any]
    """The same, of those that answer with the guide's metrics: who has none of them need not be read every second."""
    series: dict[str, str]
    """For each of the guide's metrics that comes from here: a regular expression of its series' names."""
    has_rest: bool = True
    """Whether the endpoint says more that is worth keeping."""


def _pods(namespace: str, ports: dict[str, str], metrics_path: str, relabel: list[dict[str, Any]]) -> dict[str, Any]:
    """A job that scrapes the pods of these applications; `ports` names the container port of each."""
    return {
        "metrics_path": metrics_path,
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [namespace]}}],
        "relabel_configs": [
            {
                "source_labels": ["__meta_kubernetes_pod_label_app_kubernetes_io_name", "__meta_kubernetes_pod_container_port_name"],
                "regex": "|".join(f"{application};{port}" for application, port in ports.items()),
                "action": "keep",
            },
            {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"},
            *relabel,
        ],
    }


def sources(workload: Workload) -> tuple[Source, ...]:
    copied = {"pod_name": "pod", "pod_label_app_kubernetes_io_name": "app"} | {
        # Which pipeline and which shard, as the LeaderWorkerSet controller labels its pods.
        "pod_label_leaderworkerset_sigs_k8s_io_group_index": "pipeline",
        "pod_label_leaderworkerset_sigs_k8s_io_worker_index": "shard",
    }
    identity = [{"source_labels": [f"__meta_kubernetes_{label}"], "target_label": target} for label, target in copied.items()]
    ports = {names.COORDINATOR: workload.coordinator.metrics_port, names.SHARD: workload.shard.metrics_port}
    servers = _pods(names.SERVICE_NAMESPACE, ports, workload.metrics_path, identity)
    measuring = ports if workload.shards_measure else {names.COORDINATOR: ports[names.COORDINATOR]}
    dcgm, kubelet = table("dcgm"), table("kubelet")
    # The exporter itself says which pod uses a GPU, in labels that would otherwise be overwritten.
    gpus = _pods(names.NODE_AGENTS_NAMESPACE, {names.GPU_METRICS: "metrics"}, "/metrics", []) | {"honor_labels": True}
    kubelets = {
        "scheme": "https",
        # Use by node, pod and container; a fraction of the size of /metrics/cadvisor.
        "metrics_path": "/metrics/resource",
        "authorization": {"credentials_file": f"{_SERVICE_ACCOUNT}/token"},
        # AKS has kubelets' serving certificates signed by the cluster's CA. articles/aks/rotate-certificates.md of azure-aks-docs.
        "tls_config": {"ca_file": f"{_SERVICE_ACCOUNT}/ca.crt"},
        "kubernetes_sd_configs": [{"role": "node"}],
        "relabel_configs": [{"source_labels": ["__meta_kubernetes_node_name"], "target_label": "node"}],
    }
    return (
        Source(
            name="gpu",
            discovery=gpus,
            often=gpus,
            series={"gpu_utilization": dcgm["busy"].name, "gpu_memory_usage": one_of(dcgm["used"], dcgm["free"], dcgm["reserved"])},
        ),
        Source(
            name="inference",
            discovery=servers,
            often=_pods(names.SERVICE_NAMESPACE, measuring, workload.metrics_path, identity),
            series={"inference_latency": f"{workload.latency.name}_.*", "throughput_rps": workload.requests.name},
        ),
        Source(
            name="node",
            discovery=kubelets,
            often=kubelets,
            series={
                "cpu_utilization": one_of(*(kubelet[f"{of}_cpu"] for of in _COUNTED_BY_KUBELETS)),
                "memory_usage": one_of(*(kubelet[f"{of}_{what}"] for what in ("memory", "swap") for of in _COUNTED_BY_KUBELETS)),
            },
            has_rest=False,
        ),
    )


def interval(duration: Duration) -> str:
    """Spells a duration for Prometheus, which takes whole numbers only: 1.5 s becomes `1500ms`."""
    return str(duration) if duration.seconds * 1000 % 1 == 0 and "." not in duration else f"{round(duration.seconds * 1000)}ms"


def scrape_jobs(monitoring: Monitoring, workload: Workload) -> list[dict[str, Any]]:
    """One job for each metric that settings name, one for the rest of each endpoint, and Prometheus itself."""
    asked = {metric.name: interval(metric.interval) for metric in monitoring.metrics}
    jobs: list[dict[str, Any]] = [{"job_name": "prometheus", "static_configs": [{"targets": ["localhost:9090"]}]}]
    for source in sources(workload):
        kept = {metric: regex for metric, regex in source.series.items() if metric in asked}
        for metric, regex in kept.items():
            jobs.append({"job_name": metric, "scrape_interval": asked[metric], **source.often, **_series(regex, "keep")})
        if source.has_rest:
            jobs.append({"job_name": source.name, **source.discovery, **(_series("|".join(kept.values()), "drop") if kept else {})})
    return jobs


def _series(regex: str, action: str) -> dict[str, Any]:
    return {"metric_relabel_configs": [{"source_labels": ["__name__"], "regex": regex, "action": action}]}


def _alerting(monitoring: Monitoring) -> dict[str, Any]:
    if not monitoring.receivers:
        return {}
    host = f"{names.ALERTMANAGER}.{names.MONITORING_NAMESPACE}.svc.cluster.local"
    return {"alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"{host}:9093"]}]}]}}


def prometheus_yaml(monitoring: Monitoring, workload: Workload) -> str:
    """`prometheus.yml`."""
    document = {
        "global": {"scrape_interval": REST_INTERVAL, "evaluation_interval": REST_INTERVAL},
        "rule_files": ["/etc/prometheus/rules.yml"],
        **_alerting(monitoring),
        "scrape_configs": scrape_jobs(monitoring, workload),
    }
    return yaml.dump(document, Dumper=_NoAliases, sort_keys=False, width=140)


def managed_yaml(monitoring: Monitoring, workload: Workload) -> str:
    """The same jobs for Azure's agent, which reads kubelets, and itself, by jobs of its own."""
    own = ("prometheus", *(name for source in sources(workload) if source.name == "node" for name in source.series))
    jobs = [job for job in scrape_jobs(monitoring, workload) if job["job_name"] not in own]
    document = {"global": {"scrape_interval": REST_INTERVAL}, "scrape_configs": jobs}
    return yaml.dump(document, Dumper=_NoAliases, sort_keys=False, width=140)


class _NoAliases(yaml.CSafeDumper):
    """Jobs of one endpoint share their discovery; written out, a reader need not follow anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def effects(monitoring: Monitoring) -> Iterator[Effect]:
    """The scrape interval of each of the guide's metrics."""
    config = Resource("ConfigMap", f"{names.MONITORING_NAMESPACE}/{names.PROMETHEUS}")
    jobs = path_text("data", "prometheus.yml", "scrape_configs")
    yield config.effect("monitoring.metrics", jobs)
    for metric in monitoring.metrics:
        yield config.effect(f"monitoring.metrics.{metric.name}", f"{jobs}[{metric.name}].scrape_interval")
