"""What AKS refuses of a node pool that is there already."""

from __future__ import annotations

from typing import Any

from rehearsal.azure.pools import CHOSEN, pools_of
from rehearsal.azure.rules.base import Refused, Request


def unchangeable(name: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """A pool's machines are for life. Text: AKS's PropertyChangeNotAllowed.

    Source: MicrosoftDocs/azure-aks-docs articles/aks/create-node-pools.md and enable-host-encryption.md;
    hashicorp/terraform-provider-azurerm replaces a pool for the same properties (kubernetes_cluster_resource.go, cycleNodePoolProperties).
    """
    for key in (
        "vmSize",
        "osDiskType",
        "osDiskSizeGB",
        "maxPods",
        "vnetSubnetID",
        "scaleSetPriority",
        "kubeletConfig",
        "linuxOSConfig",
        "availabilityZones",
        "osType",
        "enableEncryptionAtHost",
        "gpuProfile",
        "gpuInstanceProfile",
    ):
        if (old.get(key) or None) != (new.get(key) or None) and not (key in CHOSEN and new.get(key) is None):
            raise Refused(
                "PropertyChangeNotAllowed",
                f"Changing property 'properties.{key}' is not allowed. Agent pool {name}.",
                f"properties.{key}",
            )


def scaled_by_hand(name: str, pool: dict[str, Any], old: dict[str, Any]) -> None:
    """A pool that scales itself is not scaled by a request: its count is left out, or that of now.

    Whether AKS refuses another count today or scales to it is not published (Azure/AKS issues 1248 and 1627 have refusals). Either stops a
    change of something else, or takes nodes from under running pods; terraform-provider-azurerm (pull request 4543) and
    cluster-api-provider-azure (2444) send the count of now. The stand-in refuses, so that a program that sends another one is seen.
    """
    count = pool.get("count")
    if old.get("enableAutoScaling") and pool.get("enableAutoScaling") and count not in (None, old["count"]):
        raise Refused(
            "OperationNotAllowed",
            f"Agent pool {name} has {old['count']} nodes and the cluster autoscaler is enabled: it cannot be scaled manually to {count}.",
            "agentPoolProfile.count",
        )


def deletable_pool(request: Request) -> None:
    """A cluster keeps a system pool. Text: MicrosoftDocs/azure-aks-docs use-system-pools.md."""
    cluster = request.cloud.get(request.id.rsplit("/agentPools/", 1)[0])
    rest = [pool for pool_id, pool in pools_of(request.cloud, cluster["id"] if cluster else "") if pool_id != request.id.lower()]
    if cluster and request.inputs.get("mode") == "System" and not any(pool.get("mode") == "System" for pool in rest):
        raise Refused(
            "InvalidOperation",
            f"There has to be at least one system agent pool. Agent pool {request.name} is the last one of {cluster['id']}.",
        )
