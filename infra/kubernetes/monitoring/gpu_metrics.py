"""NVIDIA's DCGM exporter: GPU utilisation, memory and errors of every GPU, by pod.

After dcgm-exporter.yaml of https://github.com/NVIDIA/dcgm-exporter, without the capability that only profiling fields need.
Not here: the scrape job (`prometheus_config.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from engines.metrics import table
from infra.kubernetes import names, pods
from planner.catalogue import node_agents
from settings.account import Effect, Resource
from settings.operations import Monitoring

COUNTERS = "".join(f"{metric}, {metric.type}, {metric.meaning}\n" for metric in table("dcgm").values())
"""Field, Prometheus type, help. There is no FB_TOTAL: it is used + free + reserved. XIDs are not those of DCGM_FI_DEV_XID_ERRORS, which
keeps the last one until the exporter or the driver starts anew (NVIDIA/dcgm-exporter issue 500)."""
_COUNTERS_DIR = "/etc/zig-ai"


@dataclass(frozen=True, kw_only=True)
class GpuMetricsArgs:
    image: str
    spot: bool
    interval_seconds: float
    """The shortest scrape interval of a GPU metric: the exporter must look at least as often (its own default is 30 s)."""


class GpuMetrics(pulumi.ComponentResource):
    """The exporter on every GPU node, and its list of fields."""

    def __init__(self, name: str, args: GpuMetricsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:GpuMetrics", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = names.labels(names.GPU_METRICS, "node-agent")
        config = f"{names.GPU_METRICS}-counters"
        k8s.core.v1.ConfigMap(
            f"{name}-counters",
            metadata={"name": config, "namespace": names.NODE_AGENTS_NAMESPACE, "labels": labels},
            data={"counters.csv": COUNTERS},
            opts=child,
        )
        k8s.apps.v1.DaemonSet(
            name,
            metadata={"name": names.GPU_METRICS, "namespace": names.NODE_AGENTS_NAMESPACE, "labels": labels},
            spec=pods.manifest(
                {
                    "selector": {"matchLabels": names.selector(names.GPU_METRICS)},
                    "updateStrategy": {"type": "RollingUpdate"},
                    "template": {
                        "metadata": {"labels": labels, "annotations": {"zig-ai.io/config-hash": pods.content_hash(COUNTERS)}},
                        "spec": _pod_spec(args, config),
                    },
                }
            ),
            opts=child,
        )
        self.register_outputs({})


def _pod_spec(args: GpuMetricsArgs, config: str) -> Any:
    health = {"httpGet": {"path": "/health", "port": "metrics"}, "initialDelaySeconds": 45, "periodSeconds": 5}
    return {
        "nodeSelector": names.GPU_NODE_LABEL,
        "tolerations": pods.gpu_tolerations(args.spot),
        "priorityClassName": names.NODE_CRITICAL,
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "dcgm-exporter",
                "image": args.image,
                "args": ["-f", f"{_COUNTERS_DIR}/counters.csv"],
                "env": [
                    {"name": "DCGM_EXPORTER_LISTEN", "value": f":{names.GPU_METRICS_PORT}"},
                    {"name": "DCGM_EXPORTER_KUBERNETES", "value": "true"},
                    {"name": "DCGM_EXPORTER_INTERVAL", "value": str(max(1000, math.floor(args.interval_seconds * 1000)))},
                    # Otherwise as many threads as the node has CPUs, 96 on the 8-GPU sizes, allocate at once: 48 % of exporters on such
                    # nodes passed a limit of 512 MiB, and none on nodes of 1 to 4 GPUs (pytorch/ci-infra issue 1011, pull request 1018).
                    {"name": "GOMAXPROCS", "value": "2"},
                    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
                ],
                "ports": [{"name": "metrics", "containerPort": names.GPU_METRICS_PORT, "protocol": "TCP"}],
                "livenessProbe": health,
                "readinessProbe": health,
                "resources": {"requests": node_agents.GPU_METRICS.as_kubernetes, "limits": {"memory": "512Mi"}},
                # Root reads the kubelet's pod-resources socket. SYS_ADMIN would only add DCGM_FI_PROF_* fields, which are not listed.
                "securityContext": {
                    "runAsUser": 0,
                    "runAsNonRoot": False,
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": [
                    {"name": "pod-gpu-resources", "mountPath": "/var/lib/kubelet/pod-resources", "readOnly": True},
                    {"name": "counters", "mountPath": _COUNTERS_DIR, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "pod-gpu-resources", "hostPath": {"path": "/var/lib/kubelet/pod-resources"}},
            {"name": "counters", "configMap": {"name": config}},
        ],
    }


def effects(monitoring: Monitoring) -> Iterator[Effect]:
    """The settings that the exporter answers."""
    exporter = Resource("DaemonSet", f"{names.NODE_AGENTS_NAMESPACE}/{names.GPU_METRICS}")
    yield exporter.effect("images.gpuMetrics", f"{_CONTAINER}.image")
    for metric in monitoring.metrics:
        if metric.name.startswith("gpu_"):
            yield exporter.effect(f"monitoring.metrics.{metric.name}", f"{_CONTAINER}.env[DCGM_EXPORTER_INTERVAL].value")
    yield from pods.spot_effects(exporter)


_CONTAINER = "spec.template.spec.containers[0]"
