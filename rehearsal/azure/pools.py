"""The node pools of the stand-in, and the quota that their nodes use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rehearsal.azure.state import Cloud
from rehearsal.azure.subscription import same_family, sizes


def node_count(pool: dict[str, Any]) -> int:
    """Returns the number of nodes with which a pool starts: `count`, or else the autoscaler's minimum, or else one."""
    if pool.get("count") is not None:
        return int(pool["count"])
    return int(pool.get("minCount") or 0) if pool.get("enableAutoScaling") else 1


def pools_of(cloud: Cloud, cluster_id: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the id and properties of all pools, inside a ManagedCluster or separate, of one cluster or of all."""
    for cluster in cloud.of_type("ManagedCluster"):
        if cluster_id is None or cluster["id"].lower() == cluster_id.lower():
            for profile in cluster["inputs"].get("agentPoolProfiles") or []:
                yield f"{cluster['id']}/agentPools/{profile['name']}", profile
    for pool in cloud.of_type("AgentPool"):
        if cluster_id is None or pool["id"].lower().startswith(cluster_id.lower() + "/"):
            yield pool["id"], pool["inputs"]


def vcpus_in_use(cloud: Cloud, family: str | None, except_for: str = "", spot: bool = False) -> int:
    """Returns the vCPUs of all nodes of a family, or of all families if None. Spot nodes count separately, as in Azure."""
    total = 0
    for pool_id, pool in pools_of(cloud):
        size = sizes().get(str(pool.get("vmSize", "")).lower())
        skipped = pool_id.lower() == except_for.lower()
        if (
            size
            and not skipped
            and (pool.get("scaleSetPriority") == "Spot") == spot
            and (family is None or same_family(size.family, family))
        ):
            total += size.vcpus * node_count(pool)
    return total
