"""Names, labels and priorities that more than one object must agree on. Plain values; no Pulumi."""

from __future__ import annotations

SERVICE_NAMESPACE = "zig-ai"
MONITORING_NAMESPACE = "monitoring"
NODE_AGENTS_NAMESPACE = "zig-ai-node-agents"
LWS_NAMESPACE = "lws-system"

COORDINATOR = "zig-ai-coordinator"
COORDINATOR_SERVICE = "zig-ai-coordinator-service"
SHARD = "zig-ai-shard"
LEADERS = "zig-ai-shard-leaders"
PROMETHEUS = "prometheus"
ALERTMANAGER = "alertmanager"
LOAD_TEST = "load-test"
WEIGHTS_FETCH = "zig-ai-weights-fetch"
WEIGHTS_RETENTION = "zig-ai-weights-retention"
WEIGHTS_COPY = "zig-ai-weights-copy"
DEVICE_PLUGIN = "nvidia-device-plugin"
GPU_METRICS = "dcgm-exporter"
GPU_METRICS_PORT = 9400
NODE_TUNING = "node-tuning"

HUGE_PAGES_CONFIG = "hugepages-config"
PROFILING_CONFIG = "profiling-config"
"""Both as the guide names them."""

NODE_WEIGHTS_DIR = "/var/lib/zig-ai/weights"
"""On each GPU node: where its copy of the weights is, on a disk of its own."""

NODE_CRITICAL = "system-node-critical"
"""Kubernetes' own class for what a node cannot do without."""
SERVING_PRIORITY = "zig-ai-serving"
BATCH_PRIORITY = "zig-ai-batch"

PIPELINE_LABEL = "leaderworkerset.sigs.k8s.io/group-index"
"""Set by the controller on each shard, with the number of its pipeline."""
LEADER_LABEL = {"leaderworkerset.sigs.k8s.io/worker-index": "0"}
"""Set by the controller on a pipeline's first shard."""
GPU_NODE_LABEL = {"zig-ai.io/gpu": "true"}
"""On every node of a GPU pool, set by the pool."""
HUGE_PAGES_NODE_LABEL = "zig-ai.io/huge-pages-2mi"
"""Set by node tuning, with the number of pages read back, once a node is as settings ask."""

GPU_TAINT = "nvidia.com/gpu"
SPOT_TAINT = "kubernetes.azure.com/scalesetpriority"
"""AKS sets it on the nodes of a spot pool. articles/aks/spot-node-pool.md of MicrosoftDocs/azure-aks-docs."""


def labels(name: str, component: str) -> dict[str, str]:
    """Kubernetes' recommended labels. https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/"""
    return selector(name) | {"app.kubernetes.io/component": component, "app.kubernetes.io/part-of": "zig-ai"}


def selector(name: str) -> dict[str, str]:
    """What workloads, Services, budgets and network policies select an application's pods by; never changes."""
    return {"app.kubernetes.io/name": name}


def node_weights_claim(folder: str) -> str:
    """Other weights are another claim: a volume's path cannot be changed, and pods of both versions run side by side."""
    return f"zig-ai-weights-{folder.rpartition('-')[2]}"


def huge_pages_node_label(pages: int) -> dict[str, str]:
    """The label that a node with that many 2 MiB pages carries."""
    return {HUGE_PAGES_NODE_LABEL: str(pages)}
