"""All shards of all pipelines, as one LeaderWorkerSet: a group is one pipeline, a pod of the group is one shard.

A group is scheduled, restarted, rolled out and scaled as a whole, which is what a pipeline is: without one of its shards it answers
nothing. Shard 0 leads; an engine may tell the others something else (`ShardsArgs.worker`), or a label tells each its place.
https://github.com/kubernetes-sigs/lws. Not here: the controller (`leader_worker_set.py`), the node label the pods wait for
(`node_tuning.py`), which zone they may be in (`zones.py`), the autoscaler (`autoscaling.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from engines.workload import Cache, Port, Server
from infra.kubernetes import config_maps, names, pods, service_accounts, zones
from infra.kubernetes.quantities import with_canonical_quantities
from infra.kubernetes.weights import volume
from settings import StackSettings
from settings.account import Effect, Resource, below
from settings.error_messages import key_text
from settings.platform import Rollout
from settings.shard import TopologySpreadConstraint

_API_VERSION = "leaderworkerset.x-k8s.io/v1"
_CACHE_STORAGE_CLASS = "managed-csi-premium"
"""AKS brings it; it binds once the pod has a node, so the disk is in the node's zone."""


@dataclass(frozen=True, kw_only=True)
class ShardsArgs:
    server: Server
    worker: Server | None
    """The server of the shards that do not lead their pipeline; None where all shards are alike."""
    stages: int
    """Shards of one pipeline."""
    pipelines: int | None
    """None when an autoscaler owns the count: a stated one would undo its work at every update."""
    node_selector: dict[str, str]
    spread: tuple[TopologySpreadConstraint, ...]
    pipeline_zones: tuple[str, ...]
    """Zones as nodes are labelled, in the order in which pipelines take them; empty when shards may be in any zone."""
    spot: bool
    rollout: Rollout
    client_id: pulumi.Input[str]
    leaders_port: Port | None
    """None when nothing looks for pipelines by one name."""
    node_weights_claim: str
    """The claim of the node's copy of the weights, for a server that reads it."""
    profiling: str
    """Content of the profiling file, whose ConfigMap has the guide's fixed name."""


class Shards(pulumi.ComponentResource):
    """The LeaderWorkerSet, its service account, config and disruption budget."""

    def __init__(self, name: str, args: ShardsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:Shards", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = names.labels(names.SHARD, "shard")
        metadata: Any = {"name": names.SHARD, "namespace": names.SERVICE_NAMESPACE, "labels": labels}
        account = service_accounts.of_identity(name, metadata, args.client_id, child)
        config = [config_maps.server_config(names.SHARD, args.server, "shard", child)] if args.server.config_files else []
        timeout = f"{math.ceil(args.rollout.model_load_timeout.seconds / 60) + 10}m"
        self.set = k8s.apiextensions.CustomResource(
            name,
            api_version=_API_VERSION,
            kind="LeaderWorkerSet",
            metadata={
                **metadata,
                # The provider knows no readiness of its own for this type; without it, a deployment is over before a shard runs.
                "annotations": {"pulumi.com/waitFor": "condition=Available"},
            },
            spec=with_canonical_quantities(leader_worker_set_spec(args)),
            opts=pulumi.ResourceOptions(
                parent=self,
                # The pods name both as text, which is no dependency that the engine could see.
                depends_on=[account, *config],
                # A whole model load, and ten minutes for nodes, images and disks.
                custom_timeouts=pulumi.CustomTimeouts(create=timeout, update=timeout),
                # The controller cannot change the claims of existing StatefulSets, and two sets cannot share the name.
                replace_on_changes=["spec.leaderWorkerTemplate.volumeClaimTemplates"],
                delete_before_replace=True,
            ),
        )
        if args.leaders_port:
            _leaders_service(f"{name}-leaders", args.leaders_port, child)
        k8s.policy.v1.PodDisruptionBudget(
            f"{name}-budget",
            metadata=metadata,
            spec=pods.manifest(
                {
                    # One shard down is its whole pipeline down, since the group is recreated: with a budget of one pod the first eviction
                    # spends it, and no other pipeline is touched until that one is back. A budget of `stages` pods would let a drain
                    # take one shard each of several pipelines.
                    "maxUnavailable": 1,
                    "selector": {"matchLabels": names.selector(names.SHARD)},
                    # A shard that cannot start must not keep its node from being drained.
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                }
            ),
            opts=child,
        )
        self.register_outputs({})


def leader_worker_set_spec(args: ShardsArgs) -> Any:
    """The whole `spec`."""
    group: pods.Manifest = {
        "size": args.stages,
        # The leader's too: a set without a `leaderTemplate` makes its leaders from this one.
        "workerTemplate": pod_template(args, args.worker or args.server),
        **({"leaderTemplate": pod_template(args, args.server)} if args.worker else {}),
        "restartPolicy": "RecreateGroupOnPodRestart",
    }
    cache = args.server.cache
    if cache and cache.persistent:
        group["volumeClaimTemplates"] = [
            {
                "metadata": {"name": _cache_name(cache)},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": _CACHE_STORAGE_CLASS,
                    "resources": {"requests": {"storage": cache.size}},
                },
            }
        ]
        # Recreating a group deletes its workers' StatefulSet: anything but Retain would throw the cache away with it.
        group["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    spec: pods.Manifest = {
        "leaderWorkerTemplate": group,
        # All shards load at once; with LeaderReady a pipeline would take two model loads to start.
        "startupPolicy": "LeaderCreated",
        "networkConfig": {"subdomainPolicy": "Shared"},
        "rolloutStrategy": {
            "type": "RollingUpdate",
            "rollingUpdateConfiguration": {
                "maxUnavailable": args.rollout.max_unavailable_pipelines,
                "maxSurge": args.rollout.max_surge_pipelines,
            },
        },
    }
    if args.pipelines is not None:
        spec["replicas"] = args.pipelines
    return spec


def _leaders_service(name: str, port: Port, opts: pulumi.ResourceOptions) -> None:
    k8s.core.v1.Service(
        name,
        metadata={
            "name": names.LEADERS,
            "namespace": names.SERVICE_NAMESPACE,
            "labels": names.labels(names.SHARD, "shard"),
            # Its pods come with the set, which waits for them.
            "annotations": {"pulumi.com/skipAwait": "true"},
        },
        spec=leaders_service_spec(port),
        opts=opts,
    )


def leaders_service_spec(port: Port) -> Any:
    """One DNS name for the first shards of all pipelines that are ready.

    The controller's own Service, by which shards find one another, publishes pods that are not ready, and pods that are about to end.
    """
    return {
        "clusterIP": "None",
        "selector": names.selector(names.SHARD) | names.LEADER_LABEL,
        "publishNotReadyAddresses": False,
        "ports": [{"name": port.name, "port": port.number, "targetPort": port.name, "protocol": "TCP"}],
    }


def _cache_name(cache: Cache) -> str:
    """The size is in the name: existing claims cannot be changed, so another size is another claim."""
    return "cache-" + cache.size.lower().replace(".", "-")


def pod_template(args: ShardsArgs, server: Server) -> Any:
    """One shard's pod."""
    volumes = pods.volumes(server, config_maps.config_map_name(names.SHARD, server))
    mounts: list[pods.Manifest] = []
    if server.weights_dir:
        volumes.append({"name": "weights", "persistentVolumeClaim": {"claimName": volume.CLAIM, "readOnly": True}})
        mounts.append({"name": "weights", "mountPath": server.weights_dir, "readOnly": True})
    if server.node_weights_dir:
        volumes.append({"name": "node-weights", "persistentVolumeClaim": {"claimName": args.node_weights_claim, "readOnly": True}})
        mounts.append({"name": "node-weights", "mountPath": server.node_weights_dir, "readOnly": True})
    if server.cache:
        if not server.cache.persistent:
            volumes.append({"name": _cache_name(server.cache), "emptyDir": {"sizeLimit": server.cache.size}})
        mounts.append({"name": _cache_name(server.cache), "mountPath": server.cache.path})
    annotations = {"kubectl.kubernetes.io/default-container": "shard"}
    if server.profiling_dir:
        annotations["zig-ai.io/profiling-hash"] = pods.content_hash(args.profiling)
    affinity = zones.affinity(args.stages, args.pipeline_zones)
    return {
        "metadata": {
            "labels": names.labels(names.SHARD, "shard") | {"azure.workload.identity/use": "true"},
            "annotations": annotations,
        },
        "spec": {
            "serviceAccountName": names.SHARD,
            "automountServiceAccountToken": False,
            # A pod's environment would otherwise carry every Service of the namespace.
            "enableServiceLinks": False,
            "priorityClassName": names.SERVING_PRIORITY,
            "terminationGracePeriodSeconds": math.ceil(args.rollout.termination_grace.seconds),
            "nodeSelector": args.node_selector,
            "tolerations": pods.gpu_tolerations(args.spot),
            "topologySpreadConstraints": zones.spread_constraints(args.spread, args.pipeline_zones),
            **({"affinity": affinity} if affinity else {}),
            "securityContext": pods.restricted_pod_security(server.run_as_user),
            "containers": [pods.container("shard", server, config_maps.config_map_name(names.SHARD, server), tuple(mounts))],
            "volumes": volumes,
        },
    }


def effects(settings: StackSettings, pods_at: Sequence[str]) -> Iterator[Effect]:
    """The settings that the set answers, apart from the servers' own. `pods_at`: where it describes the pods of each role."""
    shards = Resource("LeaderWorkerSet", f"{names.SERVICE_NAMESPACE}/{names.SHARD}")
    yield shards.effect("sharding.shardsCount", "spec.leaderWorkerTemplate.size")
    for key in ("sharding.pipelines", "autoscaling.enabled"):
        yield shards.effect(key, "spec.replicas")
    rollout = "spec.rolloutStrategy.rollingUpdateConfiguration"
    yield shards.effect("rollout.maxUnavailablePipelines", f"{rollout}.maxUnavailable")
    yield shards.effect("rollout.maxSurgePipelines", f"{rollout}.maxSurge")
    for key in ("caching.l2Cache.enabled", "caching.l2Cache.persistent"):
        yield shards.effect(key, "spec.leaderWorkerTemplate.volumeClaimTemplates")
        yield shards.effect(key, "spec.leaderWorkerTemplate.persistentVolumeClaimRetentionPolicy")
    for pod in pods_at:
        for side in ("requests", "limits"):
            # A node's pages are shared out among its shards.
            yield shards.effect("gpuPool.vmSize", f"{pod}.containers[0].resources.{side}.hugepages-2Mi")
        yield shards.effect("caching.l2Cache.persistent", f"{pod}.volumes[cache-*]")
        yield shards.effect("shard.env", f"{pod}.containers[0].env")
        yield shards.effect("shard.nodeSelector", f"{pod}.nodeSelector")
        for label in settings.shard.node_selector:
            yield shards.effect(key_text(("shard", "nodeSelector", label)), below(f"{pod}.nodeSelector", label))
        yield shards.effect("nodeTuning.hugePages2Mi", below(f"{pod}.nodeSelector", names.HUGE_PAGES_NODE_LABEL))
        yield shards.effect("rollout.terminationGrace", f"{pod}.terminationGracePeriodSeconds")
        yield from pods.spot_effects(shards, pod)
