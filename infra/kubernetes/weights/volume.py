"""The model's weights, mounted read-only from blob storage into every shard.

Statically bound: the container exists before the cluster and outlives it. The blob CSI driver mounts it on the node with the shard's
own workload identity, so there is no account key, and the pods themselves need no way to the storage.
https://github.com/kubernetes-sigs/blob-csi-driver/blob/master/docs/workload-identity-static-pv-mount.md

Not here: the storage account, its role assignments (`infra/azure/`), and its content (`weights_fetch.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names, pods

CLAIM = "zig-ai-weights"
SIZE = "512Gi"
"""A volume must name a size, to which nothing holds blob storage."""
_ASKED = "1Mi"
"""What every claim asks for. It gets its volume by name, and all of it; a bound claim of a volume that no class has provisioned could not
ask for another size later."""
_DRIVER = "blob.csi.azure.com"


@dataclass(frozen=True, kw_only=True)
class WeightsArgs:
    account: pulumi.Input[str]
    container: pulumi.Input[str]
    resource_group: pulumi.Input[str]
    client_id: pulumi.Input[str]
    """The identity that reads: `Storage Blob Data` rights on the container, federated with the shards' service account."""


class Weights(pulumi.ComponentResource):
    """One volume and the claim that all shards share."""

    def __init__(self, name: str, args: WeightsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:Weights", name, None, opts)
        read_only_volume(
            name,
            CLAIM,
            SIZE,
            {
                "mountOptions": [
                    "-o allow_other",
                    "-o ro",
                    "--use-attr-cache=true",
                    "--file-cache-timeout-in-seconds=120",
                    "--cancel-list-on-mount-seconds=10",
                ],
                "csi": {
                    "driver": _DRIVER,
                    "readOnly": True,
                    "volumeHandle": pulumi.Output.concat(args.account, "_", args.container),
                    "volumeAttributes": {
                        "storageAccount": args.account,
                        "containerName": args.container,
                        "resourceGroup": args.resource_group,
                        "protocol": "fuse2",
                        "clientID": args.client_id,
                        # Without it the driver uses the identity to fetch the account's key, which opens everything in the account.
                        "mountWithWorkloadIdentityToken": "true",
                    },
                },
            },
            parent=self,
        )
        self.register_outputs({})


def read_only_volume(name: str, claim: str, size: str, source: dict[str, Any], *, parent: pulumi.Resource) -> None:
    """A volume of weights and the claim in the service's namespace, bound to each other by name. `source`: of the volume's spec."""
    labels = names.labels(claim, "weights")
    volume = k8s.core.v1.PersistentVolume(
        f"{name}-volume",
        metadata={"name": claim, "labels": labels},
        spec=pods.manifest(
            {
                "capacity": {"storage": size},
                "accessModes": ["ReadOnlyMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                # No class at all, so that no provisioner takes the claim for its own.
                "storageClassName": "",
                "claimRef": {"namespace": names.SERVICE_NAMESPACE, "name": claim},
                **source,
            }
        ),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    k8s.core.v1.PersistentVolumeClaim(
        f"{name}-claim",
        metadata={"name": claim, "namespace": names.SERVICE_NAMESPACE, "labels": labels},
        spec=pods.manifest(
            {
                "accessModes": ["ReadOnlyMany"],
                "storageClassName": "",
                "volumeName": claim,
                "resources": {"requests": {"storage": _ASKED}},
            }
        ),
        # The claim names the volume as text, which is no dependency that the engine could see.
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[volume]),
    )
