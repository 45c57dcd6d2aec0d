"""What Azure's managed Prometheus reads beside its own targets: the service's and the GPUs' metrics, by the jobs of the one in the cluster.

The add-on's agent runs the scrape jobs of a ConfigMap of this name.
https://learn.microsoft.com/azure/azure-monitor/containers/prometheus-metrics-scrape-configmap
Not here: the workspace that it writes to (`infra/azure/monitoring.py`), what lets the agent in (`network_policies.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pulumi
import pulumi_kubernetes as k8s

from engines.workload import Workload
from infra.kubernetes.monitoring.prometheus_config import managed_yaml
from settings.account import Effect, Resource, path_text
from settings.operations import Monitoring

NAMESPACE = "kube-system"
NAME = "ama-metrics-prometheus-config"
_KEY = "prometheus-config"


def managed_scrape_jobs(monitoring: Monitoring, workload: Workload, opts: pulumi.ResourceOptions) -> k8s.core.v1.ConfigMap:
    """The ConfigMap."""
    return k8s.core.v1.ConfigMap(
        "managed-prometheus-jobs",
        metadata={"name": NAME, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "zig-ai"}},
        data={_KEY: managed_yaml(monitoring, workload)},
        opts=opts,
    )


def effects(monitoring: Monitoring) -> Iterator[Effect]:
    """The settings that the jobs answer."""
    config = Resource("ConfigMap", f"{NAMESPACE}/{NAME}")
    yield config.effect("monitoring.managedPrometheus")
    if monitoring.managed_prometheus and monitoring.enabled:
        jobs = path_text("data", _KEY, "scrape_configs")
        yield config.effect("monitoring.enabled")
        yield config.effect("monitoring.metrics", jobs)
        for metric in monitoring.metrics:
            if metric.name not in ("cpu_utilization", "memory_usage"):
                yield config.effect(f"monitoring.metrics.{metric.name}", f"{jobs}[{metric.name}].scrape_interval")
