"""What gives way to what when nodes are full."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names


def priority_classes(opts: pulumi.ResourceOptions) -> list[k8s.scheduling.v1.PriorityClass]:
    """Serving pods push out batch work; batch work pushes out nobody. Node agents use Kubernetes' own `system-node-critical`."""
    return [
        k8s.scheduling.v1.PriorityClass(
            names.SERVING_PRIORITY,
            metadata={"name": names.SERVING_PRIORITY, "labels": {"app.kubernetes.io/part-of": "zig-ai"}},
            value=1_000_000,
            description="The coordinator and the shards: what answers users.",
            opts=opts,
        ),
        k8s.scheduling.v1.PriorityClass(
            names.BATCH_PRIORITY,
            metadata={"name": names.BATCH_PRIORITY, "labels": {"app.kubernetes.io/part-of": "zig-ai"}},
            value=-10,
            preemption_policy="Never",
            description="Load tests and other work that may wait.",
            opts=opts,
        ),
    ]
