"""The LeaderWorkerSet controller, by its official Helm chart.

https://github.com/kubernetes-sigs/lws, charts/lws. Not here: the one LeaderWorkerSet it works on (`shards.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names, pods
from settings.account import Effect, Resource
from settings.platform import Cluster

PODS = {"control-plane": "controller-manager"}
"""The chart's own label of the controller's pods, which are alone in their namespace."""


def leader_worker_set_controller(cluster: Cluster, opts: pulumi.ResourceOptions) -> k8s.helm.v4.Chart:
    """The chart, its CRD included, and a disruption budget, which the chart lacks.

    Set `leaderWorkerSetChart` to a folder to install without reaching a registry.
    """
    k8s.policy.v1.PodDisruptionBudget(
        "lws-budget",
        metadata={"name": "lws", "namespace": names.LWS_NAMESPACE},
        spec=pods.manifest(
            {"maxUnavailable": 1, "selector": {"matchLabels": PODS}, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
        ),
        opts=opts,
    )
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
            "affinity": affinity(cluster.system_pool.min_nodes),
            # The chart in the source tree says `main`, which is another program each day.
            "image": {"manager": {"tag": f"v{cluster.leader_worker_set_version}", "pullPolicy": "IfNotPresent"}},
            # What the restricted level asks for and the chart leaves out.
            "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            # The chart's 1 CPU and 1 GiB a replica are a quarter of a small system node.
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        },
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(transforms=[_before_what_serves])),
    )


def affinity(system_nodes: int) -> pods.Manifest:
    """Apart from each other: for certain where there are always two system nodes, since nothing moves a pod back later."""
    # Pods of the version that is being replaced do not count, or an update would need a third node.
    apart = {"labelSelector": {"matchLabels": PODS}, "topologyKey": "kubernetes.io/hostname", "matchLabelKeys": ["pod-template-hash"]}
    if system_nodes > 1:
        return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}}
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]}}


def _before_what_serves(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    """Gives the controller's pods a priority, for which the chart has no value: with none, coordinators would push them off a full node,
    and without them no shard is admitted.
    """
    if args.type_ != "kubernetes:apps/v1:Deployment":
        return None
    spec: Any = args.props["spec"]
    pod = spec["template"]["spec"] | {"priorityClassName": "system-cluster-critical"}
    template = spec["template"] | {"spec": pod}
    return pulumi.ResourceTransformResult(props={**args.props, "spec": spec | {"template": template}}, opts=args.opts)


def effects() -> Iterator[Effect]:
    """The settings of the chart."""
    chart = Resource("Pulumi resource", "lws")
    yield chart.effect("cluster.leaderWorkerSetChart", "chart")
    yield chart.effect("cluster.leaderWorkerSetVersion", "version")
    yield chart.effect("cluster.leaderWorkerSetVersion", "values.image.manager.tag")
    yield chart.effect("cluster.systemPool.minNodes", "values.affinity")
