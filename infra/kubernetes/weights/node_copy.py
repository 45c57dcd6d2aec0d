"""A copy of the model's weights on each GPU node's own disk: made once a node, checked against the manifest, read by all of its pods.

A DaemonSet: on the node, `node_disk.sh` finds the disk; then the same program that fetched the weights copies them. The folder gets its
name when it is complete, and shards mount that folder: until it is there the kubelet does not start them, so no pod ever sees a part of
it, and none asks whether it may start. Their volume is a PersistentVolume, since their namespace forbids paths of the node in a pod.
https://kubernetes.io/docs/concepts/storage/volumes/#hostpath-volume-types (Directory)

Not here: whether there is room for it (planner/catalogue/local_disk.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names, pods, service_accounts
from infra.kubernetes.weights import fetch_job
from infra.kubernetes.weights.volume import read_only_volume
from planner.catalogue import node_agents
from planner.fit import weights
from planner.fit.plan import WeightsPlan
from settings.account import Effect, Resource
from settings.quantities import Duration

SCRIPT = Path(__file__).parent / "node_disk.sh"
_SCRIPT_DIR = "/opt/node-disk"


@dataclass(frozen=True, kw_only=True)
class WeightsCopyArgs:
    image: str
    node_image: str
    """With a shell and `nsenter`."""
    plan: WeightsPlan
    size: str
    """A Kubernetes quantity that the weights fit into: what their claim asks for."""
    storage: pulumi.Input[str]
    """Address of the weight storage's container."""
    client_id: pulumi.Input[str]
    """The identity that reads: `Storage Blob Data Reader` on the container, federated with this DaemonSet's service account."""
    retention: Duration | None
    """How long the copies of earlier sources are kept; None means as long as the node."""
    spot: bool
    """Whether the GPU pools are spot pools, which carry one more taint."""


class WeightsCopy(pulumi.ComponentResource):
    """Service account, program, DaemonSet, and the volume that shards read."""

    def __init__(self, name: str, args: WeightsCopyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:WeightsCopy", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = names.labels(names.WEIGHTS_COPY, "node-agent")
        metadata: Any = {"name": names.WEIGHTS_COPY, "namespace": names.NODE_AGENTS_NAMESPACE, "labels": labels}
        account = service_accounts.of_identity(name, metadata, args.client_id, child)
        files = fetch_job.program_files() | {SCRIPT.name: SCRIPT.read_text()}
        program = k8s.core.v1.ConfigMap(f"{name}-program", metadata=metadata, data=files, opts=child)
        timeout = f"{math.ceil((weights.GRANT_S + weights.MARGIN * args.plan.copy_s) / 60)}m"
        k8s.apps.v1.DaemonSet(
            name,
            metadata=metadata,
            spec=pods.manifest(
                {
                    "selector": {"matchLabels": names.selector(names.WEIGHTS_COPY)},
                    # Other weights are copied beside those that are being read: all nodes may do so at once.
                    "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
                    "template": _pod_template(args, files),
                }
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[account, program],
                custom_timeouts=pulumi.CustomTimeouts(create=timeout, update=timeout),
            ),
        )
        read_only_volume(
            name,
            names.node_weights_claim(args.plan.folder),
            args.size,
            # On each node its own. `Directory`: there must be one, and only a complete copy is one.
            {"hostPath": {"path": f"{names.NODE_WEIGHTS_DIR}/{args.plan.folder}", "type": "Directory"}},
            parent=self,
        )
        self.register_outputs({})


def _pod_template(args: WeightsCopyArgs, files: dict[str, str]) -> Any:
    told = {"STORAGE": args.storage, "FOLDER": args.plan.folder, "NODE_DISK": names.NODE_WEIGHTS_DIR}
    if args.retention:
        told["RETENTION_SECONDS"] = str(round(args.retention.seconds))
    return {
        "metadata": {
            "labels": names.labels(names.WEIGHTS_COPY, "node-agent") | {"azure.workload.identity/use": "true"},
            "annotations": {"zig-ai.io/config-hash": pods.content_hash(*files.values())},
        },
        "spec": {
            "serviceAccountName": names.WEIGHTS_COPY,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "nodeSelector": names.GPU_NODE_LABEL,
            "tolerations": pods.gpu_tolerations(args.spot),
            "priorityClassName": names.NODE_CRITICAL,
            "hostPID": True,
            "initContainers": [
                {
                    "name": "node-disk",
                    "image": args.node_image,
                    "command": pods.on_the_node(f"{_SCRIPT_DIR}/{SCRIPT.name}"),
                    "env": [{"name": "WEIGHTS_DIR", "value": names.NODE_WEIGHTS_DIR}, {"name": "OWNER", "value": str(fetch_job.USER)}],
                    "securityContext": {"privileged": True, "readOnlyRootFilesystem": True},
                    "resources": {"requests": node_agents.WEIGHTS_COPY.as_kubernetes, "limits": {"memory": "256Mi"}},
                    "volumeMounts": [{"name": "program", "mountPath": _SCRIPT_DIR, "readOnly": True}],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }
            ],
            "containers": [
                {
                    "name": "copy",
                    "image": args.image,
                    "command": ["python", fetch_job.PROGRAM_DIR, "keep"],
                    "env": [{"name": name, "value": value} for name, value in told.items()],
                    "readinessProbe": {
                        "exec": {"command": ["test", "-d", f"{names.NODE_WEIGHTS_DIR}/{args.plan.folder}"]},
                        "periodSeconds": 5,
                    },
                    # The process namespace is the pod's, so this container sees the node's processes too: as nobody who could end one.
                    "securityContext": {
                        "runAsUser": fetch_job.USER,
                        "runAsGroup": fetch_job.USER,
                        "runAsNonRoot": True,
                        "seccompProfile": {"type": "RuntimeDefault"},
                        **pods.restricted_container_security(),
                    },
                    "resources": {"requests": node_agents.WEIGHTS_COPY.as_kubernetes, "limits": {"memory": "1Gi"}},
                    "volumeMounts": [
                        {"name": "program", "mountPath": fetch_job.PROGRAM_DIR, "readOnly": True},
                        {"name": "disk", "mountPath": names.NODE_WEIGHTS_DIR},
                    ],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                }
            ],
            "volumes": [
                {"name": "program", "configMap": {"name": names.WEIGHTS_COPY}},
                {"name": "disk", "hostPath": {"path": names.NODE_WEIGHTS_DIR, "type": "DirectoryOrCreate"}},
            ],
        },
    }


def effects(plan: WeightsPlan, *, persistent: bool) -> Iterator[Effect]:
    """The settings that the nodes' copies answer. `persistent`: `caching.l2Cache.persistent`."""
    claim = names.node_weights_claim(plan.folder)
    volume, copy = Resource("PersistentVolume", claim), Resource("DaemonSet", f"{names.NODE_AGENTS_NAMESPACE}/{names.WEIGHTS_COPY}")
    yield volume.effect("caching.l2Cache.size", "spec.capacity.storage")
    goes = {
        "outcome": "translated",
        "given": "true",
        "because": "the node's copy is shared by all of its pods, those of the next version too, and goes with the node",
        "source": "docs/adr/0008-weights-arrive-once.md",
    }
    yield volume.effect("caching.l2Cache.persistent", "spec.hostPath.path", **({} if persistent else goes))
    container = "spec.template.spec.containers[0]"
    for key in ("model.name", "model.source"):
        yield copy.effect(key, f"{container}.env[FOLDER].value")
    yield copy.effect("rollout.weightsRetention", f"{container}.env[RETENTION_SECONDS].value")
    yield copy.effect("images.weights", f"{container}.image")
    yield copy.effect("images.nodeTuning", "spec.template.spec.initContainers[0].image")
    yield from pods.spot_effects(copy)


def switch(pods_at: Sequence[str]) -> Iterator[Effect]:
    """What `caching.l2Cache.enabled` brings and takes away: the agent with its identity and rights, and which volume the shards read.

    `pods_at`: where their set describes the pods of each role.
    """
    for resource in (names.WEIGHTS_COPY, "copy-access", "weights-copy"):
        yield Resource("Pulumi resource", resource).effect("caching.l2Cache.enabled")
    yield Resource("NetworkPolicy", f"{names.NODE_AGENTS_NAMESPACE}/{names.WEIGHTS_COPY}").effect("caching.l2Cache.enabled")
    shards = Resource("LeaderWorkerSet", f"{names.SERVICE_NAMESPACE}/{names.SHARD}")
    for pod in pods_at:
        for volume in ("node-weights", "weights"):
            yield shards.effect("caching.l2Cache.enabled", f"{pod}.containers[0].volumeMounts[{volume}].mountPath")


def without_source(*, asked: bool) -> Iterator[Effect]:
    """Where there is nothing to copy. `asked`: `caching.l2Cache.enabled`."""
    reason = {"outcome": "not supported", "because": "without model.source there is nothing to copy"} if asked else {}
    copy = Resource("DaemonSet", f"{names.NODE_AGENTS_NAMESPACE}/{names.WEIGHTS_COPY}")
    for name in ("enabled", "size", "persistent"):
        yield copy.effect(f"caching.l2Cache.{name}", **reason)
