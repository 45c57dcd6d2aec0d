"""The node pools of the stand-in as they are now, and the quota that their nodes use.

What a program asks for and what runs differ: an autoscaler moves `count`, and a pool that a cluster was created with stays when a
later request leaves it out. So all pools of all clusters are kept beside the resources, with the count of this moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rehearsal.azure.state import Cloud
from rehearsal.azure.subscription import same_family, sizes

CHOSEN = ("osDiskType", "osDiskSizeGB", "kubeletDiskType", "maxPods", "type", "osType", "osSKU")
"""What AKS chooses for a pool when it is made, where the request leaves it open."""
_NOT_OF_A_POOL = ("resourceGroupName", "resourceName", "agentPoolName")


def node_count(pool: dict[str, Any]) -> int:
    """Returns the number of nodes with which a pool starts: `count`, or else the autoscaler's minimum, or else one."""
    if pool.get("count") is not None:
        return int(pool["count"])
    return int(pool.get("minCount") or 0) if pool.get("enableAutoScaling") else 1


def pool_id(cluster_id: str, name: str) -> str:
    """Returns the ARM id of a pool in lower case."""
    return f"{cluster_id}/agentPools/{name}".lower()


def put_pools(cloud: Cloud, identifier: str, inputs: dict[str, Any]) -> None:
    """Records the pools of a cluster or an agent pool as they were asked for. For other resources nothing happens.

    The count of a pool that scales itself stays as it is, and rises to a new minimum (MicrosoftDocs/azure-aks-docs
    articles/aks/cluster-autoscaler.md, 2026-07-30). What a later request leaves out keeps the value that AKS chose.
    """
    for pool in inputs.get("agentPoolProfiles") or []:
        _put(cloud, pool_id(identifier, pool["name"]), pool)
    if "/agentpools/" in identifier.lower():
        _put(cloud, identifier, inputs)


def _put(cloud: Cloud, identifier: str, pool: dict[str, Any]) -> None:
    old, count = cloud.pools.get(identifier.lower()), node_count(pool)
    if old and old.get("enableAutoScaling") and pool.get("enableAutoScaling"):
        count = max(old["count"], int(pool.get("minCount") or 0))
    name = identifier.rsplit("/", 1)[1].lower()
    asked = {key: value for key, value in pool.items() if value is not None and key not in _NOT_OF_A_POOL}
    cloud.pools[identifier.lower()] = {**_chosen_by_aks(pool), **_kept(old or {}), **asked, "name": name, "count": count}


def _chosen_by_aks(pool: dict[str, Any]) -> dict[str, Any]:
    """What AKS decides where a request says nothing. Source: the AgentPool's model, Microsoft.ContainerService 2025-09-01."""
    size = sizes()[pool["vmSize"].lower()]
    disk = pool.get("osDiskSizeGB") or 128
    return {
        "mode": "User",
        "type": "VirtualMachineScaleSets",
        "osType": "Linux",
        "osSKU": "Ubuntu",
        "osDiskSizeGB": disk,
        "osDiskType": "Ephemeral" if disk <= size.local_disk_gib else "Managed",
        "kubeletDiskType": "OS",
        "maxPods": 250,
        "scaleDownMode": "Delete",
    }


def _kept(old: dict[str, Any]) -> dict[str, Any]:
    return {key: old[key] for key in CHOSEN if key in old}


def begin(cloud: Cloud, identifier: str, doing: str) -> None:
    """Notes that a pool is created, updated or deleted. Raises InProgress while another one of its cluster is."""
    cluster, _, name = identifier.lower().partition("/agentpools/")
    busy = cloud.content["operations"]
    if cluster in busy:
        raise InProgress(
            f"Operation is not allowed: Another agentpool operation ({busy[cluster]}) is in progress, please wait for it to finish before "
            "starting a new operation. See https://aka.ms/aks-pending-operation for more details"
        )
    busy[cluster] = f"{name} - {doing}"


def end(cloud: Cloud, identifier: str) -> None:
    """Notes that the operation on a pool is over."""
    cloud.content["operations"].pop(identifier.lower().partition("/agentpools/")[0], None)


class InProgress(Exception):
    """AKS changes the pools of a cluster one after the other.

    It may answer 409 OperationNotAllowed to the second, which azure-native does not try again (client_azcore.go knows another code). Text:
    cilium/cilium issue 25944; Azure/terraform-azurerm-avm-ptn-aks-production pull request 25.
    """

    code = "OperationNotAllowed"

    def __str__(self) -> str:
        return f'Code="{self.code}" Message="{self.args[0]}"'


def autoscale(cloud: Cloud, identifier: str, count: int) -> None:
    """Does what the cluster autoscaler does with a pool: it changes the count, within the pool's bounds.

    Raises KeyError for a pool that does not exist, and ValueError for a count that its autoscaler would not choose.
    """
    pool = cloud.pools[identifier.lower()]
    if not pool.get("enableAutoScaling") or not pool["minCount"] <= count <= pool["maxCount"]:
        raise ValueError(f"the autoscaler does not bring {identifier.rsplit('/', 1)[1]} to {count} nodes")
    pool["count"] = count


def pools_of(cloud: Cloud, cluster_id: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the id in lower case and the properties of all pools, of one cluster or of all, by name as AKS lists them."""
    for identifier, pool in sorted(cloud.pools.items()):
        if cluster_id is None or identifier.startswith(cluster_id.lower() + "/"):
            yield identifier, pool


def vcpus_in_use(cloud: Cloud, family: str | None, except_for: str = "", spot: bool = False) -> int:
    """Returns the vCPUs of all nodes of a family, or of all families if None. Spot nodes count separately, as in Azure."""
    total = 0
    for identifier, pool in pools_of(cloud):
        size = sizes().get(str(pool.get("vmSize", "")).lower())
        skipped = identifier == except_for.lower()
        if (
            size
            and not skipped
            and (pool.get("scaleSetPriority") == "Spot") == spot
            and (family is None or same_family(size.family, family))
        ):
            total += size.vcpus * node_count(pool)
    return total
