"""The LeaderWorkerSet controller, by its official Helm chart.

https://github.com/kubernetes-sigs/lws, charts/lws. Not here: the one LeaderWorkerSet it works on (`shards.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names
from settings.account import Effect, Resource
from settings.platform import Cluster


def leader_worker_set_controller(cluster: Cluster, opts: pulumi.ResourceOptions) -> k8s.helm.v4.Chart:
    """The chart, its CRD included. Set `leaderWorkerSetChart` to a folder to install without reaching a registry."""
    is_remote = cluster.leader_worker_set_chart.startswith("oci://")
    return k8s.helm.v4.Chart(
        "lws",
        # The controller looks for `lws-webhook-service` and `lws-webhook-server-cert` in its own namespace by these names, and the
        # chart's other names come from the release's.
        name="lws",
        namespace=names.LWS_NAMESPACE,
        chart=cluster.leader_worker_set_chart,
        # A folder is its version; asking it for another is an error.
        version=cluster.leader_worker_set_version if is_remote else None,
        values={
            # Pods of a group are admitted by its webhook, which fails closed: a second replica keeps restarts possible meanwhile.
            "replicaCount": 2,
            # The chart in the source tree says `main`, which is another program each day.
            "image": {"manager": {"tag": f"v{cluster.leader_worker_set_version}", "pullPolicy": "IfNotPresent"}},
            # What the restricted level asks for and the chart leaves out.
            "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            # The chart's 1 CPU and 1 GiB a replica are a quarter of a small system node.
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        },
        opts=opts,
    )


def effects() -> Iterator[Effect]:
    """The settings of the chart."""
    chart = Resource("Pulumi resource", "lws")
    yield chart.effect("cluster.leaderWorkerSetChart", "chart")
    yield chart.effect("cluster.leaderWorkerSetVersion", "version")
    yield chart.effect("cluster.leaderWorkerSetVersion", "values.image.manager.tag")
