"""Prometheus as `deployment/prometheus` in `monitoring`, so that the guide's `kubectl exec` commands find it.

`promtool query instant` needs the server's URL, which the guide leaves out:

    kubectl exec -n monitoring deployment/prometheus -- promtool query instant http://localhost:9090 \\
      'rate(zig_ai_inference_requests_total[5m])'

Not here: what is scraped and alerted on (`prometheus_config.py`, `prometheus_rules.py`), who may reach it (`network_policies.py`),
who hears of alerts (`alertmanager.py`). Azure's managed Prometheus is another setting (`infra/azure/`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from engines.workload import Workload
from infra.kubernetes import names, pods
from infra.kubernetes.monitoring import prometheus_config, prometheus_rules
from planner.fit.plan import Plan
from settings.account import Effect, Resource
from settings.operations import Monitoring

PORT = 9090
_NOBODY = 65534
"""User of the image. https://github.com/prometheus/prometheus/blob/main/Dockerfile"""
_CONFIG_DIR = "/etc/prometheus"
_DATA_DIR = "/prometheus"
_STORAGE_CLASS = "managed-csi-premium"
_CLUSTER_ROLE = "zig-ai-prometheus"


@dataclass(frozen=True, kw_only=True)
class PrometheusArgs:
    plan: Plan
    workload: Workload


class Prometheus(pulumi.ComponentResource):
    """Deployment, config, disk, Service, and the rights to find what it scrapes."""

    def __init__(self, name: str, args: PrometheusArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:Prometheus", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        metadata: Any = {
            "name": names.PROMETHEUS,
            "namespace": names.MONITORING_NAMESPACE,
            "labels": names.labels(names.PROMETHEUS, "monitoring"),
        }
        account = k8s.core.v1.ServiceAccount(f"{name}-account", metadata=metadata, automount_service_account_token=False, opts=child)
        rights = _rights(name, child)
        config = k8s.core.v1.ConfigMap(
            f"{name}-config",
            metadata=metadata,
            data={
                "prometheus.yml": prometheus_config.prometheus_yaml(args.plan.settings.monitoring, args.workload),
                "rules.yml": prometheus_rules.rules_yaml(args.plan, args.workload),
            },
            opts=child,
        )
        disk = k8s.core.v1.PersistentVolumeClaim(
            f"{name}-data",
            # For a class that waits for a pod, Pulumi's provider waits until the claim is Pending, on updates too: a larger disk would be
            # there at once and the update would fail after five minutes (pulumi/pulumi-kubernetes provider/pkg/await/awaiters.go).
            metadata=metadata | {"annotations": {"pulumi.com/skipAwait": "true"}},
            spec=pods.manifest(
                {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": _STORAGE_CLASS,
                    "resources": {"requests": {"storage": str(args.plan.settings.monitoring.storage)}},
                }
            ),
            opts=child,
        )
        k8s.apps.v1.Deployment(
            name,
            metadata=metadata,
            spec=pods.manifest(
                {
                    "replicas": 1,
                    # Two of them cannot hold the one disk.
                    "strategy": {"type": "Recreate"},
                    "selector": {"matchLabels": names.selector(names.PROMETHEUS)},
                    "template": {"metadata": {"labels": names.labels(names.PROMETHEUS, "monitoring")}, "spec": _pod_spec(args)},
                }
            ),
            # The pod names the first, third and fourth as text, and without its rights it finds nothing to scrape.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[account, *rights, config, disk]),
        )
        k8s.core.v1.Service(
            f"{name}-service",
            metadata=metadata,
            spec=pods.manifest(
                {
                    "selector": names.selector(names.PROMETHEUS),
                    "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
                }
            ),
            opts=child,
        )
        self.register_outputs({})


def _rights(name: str, child: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """Pods of the two namespaces it scrapes, nodes, and kubelets' metrics; nothing else, and nothing to write."""
    made: list[pulumi.Resource] = []
    subjects: Any = [{"kind": "ServiceAccount", "name": names.PROMETHEUS, "namespace": names.MONITORING_NAMESPACE}]
    for namespace in (names.SERVICE_NAMESPACE, names.NODE_AGENTS_NAMESPACE):
        metadata: Any = {"name": names.PROMETHEUS, "namespace": namespace, "labels": names.labels(names.PROMETHEUS, "monitoring")}
        rules: Any = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
        made.append(k8s.rbac.v1.Role(f"{name}-{namespace}", metadata=metadata, rules=rules, opts=child))
        role: Any = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": names.PROMETHEUS}
        made.append(k8s.rbac.v1.RoleBinding(f"{name}-{namespace}", metadata=metadata, role_ref=role, subjects=subjects, opts=child))
    metadata = pods.manifest({"name": _CLUSTER_ROLE, "labels": names.labels(names.PROMETHEUS, "monitoring")})
    cluster_rules: Any = [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
    ]
    made.append(k8s.rbac.v1.ClusterRole(name, metadata=metadata, rules=cluster_rules, opts=child))
    role = pods.manifest({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _CLUSTER_ROLE})
    made.append(k8s.rbac.v1.ClusterRoleBinding(name, metadata=metadata, role_ref=role, subjects=subjects, opts=child))
    return made


def arguments(monitoring: Monitoring) -> list[str]:
    # The oldest samples go when either bound is reached; the second keeps a busy week from filling the disk.
    megabytes = int(monitoring.storage.bytes * 0.85 / 2**20)
    return [
        f"--config.file={_CONFIG_DIR}/prometheus.yml",
        f"--storage.tsdb.path={_DATA_DIR}",
        f"--storage.tsdb.retention.time={prometheus_config.interval(monitoring.retention)}",
        f"--storage.tsdb.retention.size={megabytes}MB",
        # A changed ConfigMap reaches the mounted files within a minute; a restart would replay the whole write-ahead log.
        "--enable-feature=auto-reload-config",
        "--config.auto-reload-interval=30s",
    ]


def _pod_spec(args: PrometheusArgs) -> Any:
    def http(path: str, **more: int) -> Any:
        return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 5} | more

    return {
        "serviceAccountName": names.PROMETHEUS,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 300,
        "securityContext": pods.restricted_pod_security(_NOBODY),
        "containers": [
            {
                "name": "prometheus",
                "image": args.plan.settings.images.prometheus,
                "args": arguments(args.plan.settings.monitoring),
                "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
                # Replaying the write-ahead log of a busy day takes minutes.
                "startupProbe": http("/-/ready", periodSeconds=10, failureThreshold=90),
                "livenessProbe": http("/-/healthy", periodSeconds=10, failureThreshold=6),
                "readinessProbe": http("/-/ready", periodSeconds=5, failureThreshold=3),
                "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}},
                "securityContext": pods.restricted_container_security(),
                "volumeMounts": [
                    {"name": "config", "mountPath": _CONFIG_DIR, "readOnly": True},
                    {"name": "data", "mountPath": _DATA_DIR},
                ],
            }
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": names.PROMETHEUS}},
            {"name": "data", "persistentVolumeClaim": {"claimName": names.PROMETHEUS}},
        ],
    }


def effects() -> Iterator[Effect]:
    """The settings that Prometheus itself answers; its two files have their own (`prometheus_config.py`, `prometheus_rules.py`)."""
    deployment = Resource("Deployment", f"{names.MONITORING_NAMESPACE}/{names.PROMETHEUS}")
    container = "spec.template.spec.containers[0]"
    disk = Resource("PersistentVolumeClaim", f"{names.MONITORING_NAMESPACE}/{names.PROMETHEUS}")
    yield deployment.effect("monitoring.retention", f"{container}.args[--storage.tsdb.retention.time]")
    yield disk.effect("monitoring.storage", "spec.resources.requests.storage")
    yield deployment.effect("monitoring.storage", f"{container}.args[--storage.tsdb.retention.size]")
    yield deployment.effect("images.prometheus", f"{container}.image")


def switch() -> Iterator[Effect]:
    """What `monitoring.enabled` brings and takes away here."""
    for component in (names.PROMETHEUS, names.GPU_METRICS):
        yield Resource("Pulumi resource", component).effect("monitoring.enabled")
