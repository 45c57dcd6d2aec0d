# ruff: noqa: E501 - Azure's messages are one line each
"""AKS's rules for node pools: names, modes, sizes, zones, quota, disks, pods, subnets.

Rules: MicrosoftDocs/azure-aks-docs articles/aks/{use-system-pools,create-node-pools,spot-node-pool,concepts-network-ip-address-planning,
quotas-skus-regions}.md. Texts: of an unavailable size hashicorp-education/learn-terraform-provision-aks-cluster issue 15 (2023)
and dotnet/core issue 8181 (2023, without the list); of quota 1ChristianAlex/motordesk issue 14 (2026); of zones
jenkins-infra/azure pull request 1458 (2026-05) and cloud-barista/cb-spider issue 1246 (2024).
"""

from __future__ import annotations

import re
from typing import Any

from rehearsal.azure.pools import node_count, pool_id, pools_of, vcpus_in_use
from rehearsal.azure.rules import pool_changes
from rehearsal.azure.rules.base import Refused, Request, network
from rehearsal.azure.rules.network import RESERVED_ADDRESSES, prefixes
from rehearsal.azure.rules.node_config import node_configuration
from rehearsal.azure.subscription import Size, sizes

ENCRYPTION_AT_HOST = "Microsoft.Compute/EncryptionAtHost"
_QUOTA_HINT = "If you want to increase the quota, please follow this instruction: https://learn.microsoft.com/azure/quotas/view-quotas."


def agent_pool(request: Request) -> None:
    """A pool that is a separate resource obeys the rules of pools."""
    cluster = request.must_exist(request.id.rsplit("/agentPools/", 1)[0])
    old = request.cloud.pools.get(request.id.lower())
    if request.old is None and old is not None:
        raise Refused("AgentPoolAlreadyExists", f"Agent pool {request.name} exists already in cluster {cluster['id']}.")
    pool_rules(request, request.name, request.inputs, request.id, old)


def inline_pools(request: Request) -> None:
    """The pools written inside a ManagedCluster: names differ, one is a system pool, each obeys the pool's rules, and none is added later.

    A pool that is left out of an update stays as it is. Text of the added pool: pulumi/pulumi-azure-nextgen issue 168.
    """
    pools = request.inputs.get("agentPoolProfiles") or []
    names = [pool.get("name", "") for pool in pools]
    for name in names:
        if names.count(name) > 1:
            raise Refused(
                "InvalidParameter",
                f"The value of parameter agentPoolProfiles is invalid. Error details: agent pool name {name} is used more than once.",
                "agentPoolProfiles",
            )
    if not any(pool.get("mode", "User") == "System" for pool in pools):
        raise Refused("InvalidParameter", "There has to be at least one system agent pool.", "agentPoolProfiles")
    for pool in pools:
        name = pool.get("name", "")
        identifier = pool_id(request.id, name)
        old = request.cloud.pools.get(identifier)
        if request.old is not None and old is None:
            raise Refused(
                "BadRequest",
                "A new agent pool was introduced. Adding agent pools to an existing cluster is not allowed through managed cluster operations. For agent pool specific change, please use per agent pool operations: https://aka.ms/agent-pool-rest-api",
                "agentPoolProfiles",
            )
        pool_rules(request, name, pool, identifier, old)


def pool_rules(request: Request, name: str, pool: dict[str, Any], pool_id: str, old: dict[str, Any] | None) -> None:
    """Everything AKS checks of one pool, in the order it complains; `old` is the pool as it is, for an update."""
    _name(name, pool)
    if old is not None:
        pool_changes.unchangeable(name, old, pool)
    size = _size(request, name, pool, running=old is not None)
    _mode(name, pool, size)
    _scaling(name, pool, created=old is None)
    pool_changes.scaled_by_hand(name, pool, old or {})
    _spot(name, pool)
    _zones(request, name, pool)
    _disk(name, pool, size)
    _gpu(name, pool, size)
    _encryption(request, pool)
    max_pods = pool.get("maxPods", 250)
    if not 10 <= max_pods <= 250:
        raise _invalid("maxPods", f"Invalid value '{max_pods}' for maxPods of agent pool {name}: it must be between 10 and 250.")
    _labels(name, pool)
    _upgrades(name, pool)
    node_configuration(pool, size.local_disk_gib)
    _subnet(request, name, pool, pool_id)
    _quota(request, pool, pool_id, size, old)


def _invalid(parameter: str, details: str) -> Refused:
    return Refused(
        "InvalidParameter",
        f"The value of parameter agentPoolProfile.{parameter} is invalid. Error details: {details}",
        f"agentPoolProfile.{parameter}",
    )


def _name(name: str, pool: dict[str, Any]) -> None:
    longest = 6 if pool.get("osType") == "Windows" else 12
    if not re.fullmatch(rf"[a-z][a-z0-9]{{0,{longest - 1}}}", name):
        raise Refused(
            "InvalidParameter",
            f"The value of parameter agentPoolProfile.name is invalid. Error details: Invalid agent pool name '{name}': it must start with a lowercase letter, have max length of {longest}, and only have characters a-z0-9. Please see https://aka.ms/aks-naming-rules for more details.",
            "agentPoolProfile.name",
        )


def _size(request: Request, name: str, pool: dict[str, Any], *, running: bool) -> Size:
    """A size that is no longer sold is refused for new pools; existing ones go on (Azure/azure-rest-api-specs pull request 3039)."""
    wanted = pool.get("vmSize")
    if not wanted:
        raise _invalid("vmSize", f"vmSize of agent pool {name} is missing.")
    size = request.subscription.size(wanted, request.location)
    if size is None and running:
        return sizes()[wanted.lower()]
    if size is None:
        offered = sorted(key for key, other in sizes().items() if request.subscription.offers(other, request.location))
        raise Refused(
            "BadRequest",
            f"The VM size of {wanted} is not allowed in your subscription in location '{request.location}'. The available VM "
            f"sizes are '{','.join(offered)}'. For more details, please visit https://aka.ms/aks/quotas-skus-regions",
        )
    return size


def _mode(name: str, pool: dict[str, Any], size: Size) -> None:
    if pool.get("mode", "User") != "System":
        return
    if size.vcpus < 4 or size.memory_gib < 4:
        raise _invalid(
            "vmSize",
            f"System node pool {name} needs a VM SKU of at least 4 vCPUs and 4 GB memory; {size.name} has {size.vcpus} and {size.memory_gib:g}.",
        )
    if size.name.lower().startswith("standard_b"):
        raise _invalid("vmSize", f"B series VMs are not supported for system node pools ({name} uses {size.name}).")
    if pool.get("osType", "Linux") != "Linux":
        raise _invalid("osType", f"System node pool {name} must be Linux.")
    if node_count(pool) < 1 or (pool.get("enableAutoScaling") and (pool.get("minCount") or 0) < 1):
        raise _invalid("count", f"System node pool {name} must have at least one node.")


def _scaling(name: str, pool: dict[str, Any], *, created: bool) -> None:
    """An autoscaled pool starts between its bounds. They may move away from its count later: the autoscaler then follows.

    Source: Azure/AKS issue 1758 (AKS gave up the check for updates).
    """
    low, high, count = pool.get("minCount"), pool.get("maxCount"), pool.get("count")
    if not pool.get("enableAutoScaling"):
        if low is not None or high is not None:
            raise _invalid(
                "enableAutoScaling", f"minCount and maxCount of agent pool {name} can only be set when enableAutoScaling is true."
            )
    elif low is None or high is None:
        raise _invalid("minCount", f"enableAutoScaling of agent pool {name} needs minCount and maxCount.")
    elif low > high or high > 1000:
        raise _invalid("maxCount", f"minCount ({low}) of agent pool {name} must not exceed maxCount ({high}), which is at most 1000.")
    elif created and count is not None and not low <= count <= high:
        raise _invalid("count", f"count ({count}) of agent pool {name} must lie between minCount ({low}) and maxCount ({high}).")
    if count is not None and not 0 <= count <= 1000:
        raise _invalid("count", f"count ({count}) of agent pool {name} must be between 0 and 1000.")


def _spot(name: str, pool: dict[str, Any]) -> None:
    spot = pool.get("scaleSetPriority") == "Spot"
    if spot and pool.get("mode", "User") == "System":
        raise _invalid("scaleSetPriority", f"Spot node pool {name} cannot be a system node pool.")
    if not spot and pool.get("scaleSetEvictionPolicy"):
        raise _invalid("scaleSetEvictionPolicy", f"scaleSetEvictionPolicy of {name} can only be set when scaleSetPriority is Spot.")
    price = pool.get("spotMaxPrice")
    if price is not None and (not spot or not (price == -1 or price > 0)):
        raise _invalid("spotMaxPrice", f"spotMaxPrice {price} of {name} must be -1 or greater than 0, and only a Spot pool may have one.")
    surge = (pool.get("upgradeSettings") or {}).get("maxSurge")
    if spot and surge:
        raise _invalid("upgradeSettings.maxSurge", f"Spot node pool {name} does not support maxSurge.")


def _zones(request: Request, name: str, pool: dict[str, Any]) -> None:
    wanted, offered = pool.get("availabilityZones") or [], request.subscription.zones(request.location)
    if wanted and not offered:
        raise Refused(
            "AvailabilityZoneNotSupported",
            f"Availability zone is not supported in region {request.location}.",
            "agentPoolProfile.availabilityZone",
        )
    wrong = [zone for zone in wanted if str(zone) not in offered]
    if wrong:
        raise Refused(
            "AvailabilityZoneNotSupported",
            f"The zone(s) '{','.join(wrong)}' for resource '{name}' is not supported. The supported zones for location '{request.location}' are '{','.join(offered)}'",
            "agentPoolProfile.availabilityZone",
        )


def _disk(name: str, pool: dict[str, Any], size: Size) -> None:
    disk = pool.get("osDiskSizeGB")
    if disk is not None and disk != 0 and not 30 <= disk <= 2048:
        raise _invalid("osDiskSizeGB", f"osDiskSizeGB {disk} of agent pool {name} must be 0 or between 30 and 2048.")
    wanted = disk or 128
    if pool.get("osDiskType") == "Ephemeral" and wanted > size.local_disk_gib:
        if size.local_disk_gib == 0:
            raise Refused(
                "VMSizeDoesntSupportEphemeralOS",
                f"The virtual machine size {size.name} does not support ephemeral OS disk. Agent pool {name}.",
                "agentPoolProfile.osDiskType",
            )
        raise Refused(
            "VMCacheSizeNotEnoughForEphemeralOS",
            f"The virtual machine size {size.name} has a max cache size/temp disk size of {size.local_disk_gib} GB, but the OS disk requires {wanted} GB. Use a VM size with larger cache/temp disk or disable ephemeral OS. Agent pool {name}.",
            "agentPoolProfile.osDiskType",
        )
    if pool.get("kubeletDiskType") == "Temporary" and size.local_disk_gib == 0:
        raise _invalid("kubeletDiskType", f"{size.name} has no temporary disk.")


def _gpu(name: str, pool: dict[str, Any], size: Size) -> None:
    if pool.get("gpuInstanceProfile") and not re.match("A100|H100|H200", size.gpu):
        raise _invalid("gpuInstanceProfile", f"{size.name} of agent pool {name} does not support MIG.")
    if (pool.get("gpuProfile") or {}).get("driver") and not size.gpus:
        raise _invalid("gpuProfile.driver", f"{size.name} of agent pool {name} has no GPU.")


def _encryption(request: Request, pool: dict[str, Any]) -> None:
    """The subscription must have the feature. Text: Azure/azure-cli issue 16788, where AKS hands on what Compute says."""
    if pool.get("enableEncryptionAtHost") and ENCRYPTION_AT_HOST not in request.subscription.features:
        raise Refused(
            "InvalidParameter",
            f"The property 'securityProfile.encryptionAtHost' is not valid because the '{ENCRYPTION_AT_HOST}' feature is not enabled for this subscription.",
            "securityProfile.encryptionAtHost",
        )


def _labels(name: str, pool: dict[str, Any]) -> None:
    part = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
    for key, value in (pool.get("nodeLabels") or {}).items():
        prefix, _, bare = key.rpartition("/")
        if not re.fullmatch(part, bare) or (value and not re.fullmatch(part, value)):
            raise _invalid("nodeLabels", f"label {key}={value} of agent pool {name} is not a Kubernetes label.")
        reserved = prefix in ("kubernetes.azure.com", "kubernetes.io", "k8s.io", "node.kubernetes.io")
        if reserved and f"{key}={value}" != "kubernetes.azure.com/scalesetpriority=spot":  # what AKS would add itself
            raise _invalid("nodeLabels", f"label {key} of agent pool {name}: the prefix {prefix} is reserved.")
    for taint in pool.get("nodeTaints") or []:
        if not re.fullmatch(rf"([a-z0-9.-]+/)?{part}(=({part})?)?:(NoSchedule|PreferNoSchedule|NoExecute)", taint):
            raise _invalid("nodeTaints", f"taint '{taint}' of agent pool {name} is not key=value:effect.")
    if pool.get("mode") == "System" and any(
        taint.endswith((":NoSchedule", ":NoExecute")) and not taint.startswith("CriticalAddonsOnly=")
        for taint in pool.get("nodeTaints") or []
    ):
        raise _invalid("nodeTaints", f"hard taints of system node pool {name} are not allowed, except CriticalAddonsOnly.")


def _upgrades(name: str, pool: dict[str, Any]) -> None:
    """An upgrade needs a node more or a node less. Source: MicrosoftDocs/azure-aks-docs articles/aks/upgrade-aks-node-pools-rolling.md."""
    settings = pool.get("upgradeSettings") or {}
    surge, unavailable = (str(settings.get(key) or "0").rstrip("%") for key in ("maxSurge", "maxUnavailable"))
    if "maxSurge" in settings and int(surge) == int(unavailable) == 0:
        raise _invalid("upgradeSettings.maxSurge", f"Agent pool {name} requires maxSurge to be greater than 0 when maxUnavailable is 0.")
    if int(unavailable) and pool.get("mode") == "System":
        raise _invalid("upgradeSettings.maxUnavailable", f"Agent pool {name} is a system pool, for which maxUnavailable cannot be set.")


def _subnet(request: Request, name: str, pool: dict[str, Any], pool_id: str) -> None:
    """The subnet exists, all pools of a cluster are in one network, and there is an address for each node and one surge node."""
    reference = pool.get("vnetSubnetID")
    if not reference:
        return
    subnet = request.must_exist(reference)
    cluster_id = pool_id.rsplit("/agentPools/", 1)[0]
    taken = 0
    for other_id, other in pools_of(request.cloud):
        if other_id.lower() == pool_id.lower() or not other.get("vnetSubnetID"):
            continue
        if other["vnetSubnetID"].lower() == reference.lower():
            taken += max(node_count(other), int(other.get("maxCount") or 0))
        same_cluster = other_id.lower().startswith(cluster_id.lower() + "/")
        if same_cluster and other["vnetSubnetID"].lower().rsplit("/subnets/", 1)[0] != reference.lower().rsplit("/subnets/", 1)[0]:
            raise _invalid("vnetSubnetID", "All agent pools of a cluster must be in the same virtual network.")
    room = sum(network(text, reference).num_addresses - RESERVED_ADDRESSES for text in prefixes(subnet["inputs"]))
    need = max(node_count(pool), int(pool.get("maxCount") or 0)) + 1
    if need > room - taken:
        raise Refused(
            "InsufficientSubnetSize",
            f"Pre-allocated IPs {need} exceeds IPs available {room - taken} in Subnet Cidr {', '.join(prefixes(subnet['inputs']))}, Subnet Name {subnet['id'].rsplit('/', 1)[1]}. Agent pool {name}. If Autoscaler is enabled, the max-count from each nodepool is counted towards this total.",
            "agentPoolProfile.vnetSubnetID",
        )


def _quota(request: Request, pool: dict[str, Any], pool_id: str, size: Size, old: dict[str, Any] | None) -> None:
    if old is not None and node_count(pool) <= old["count"]:
        return  # no node is started
    need, spot = size.vcpus * node_count(pool), pool.get("scaleSetPriority") == "Spot"
    quota, cloud = request.subscription.quota, request.cloud
    others = request.subscription.used_by_others
    if spot:
        left, family = quota["spot"] - others("spot") - vcpus_in_use(cloud, None, pool_id, spot=True), "lowPriorityCores"
    else:
        left = request.subscription.family_limit(size.family) - others(size.family) - vcpus_in_use(cloud, size.family, pool_id)
        family = size.family
    tail = f"{_QUOTA_HINT} Surge nodes would also consume vcpu quota, please consider use smaller maxSurge or use maxUnavailable to proceed upgrade without surge nodes, details: aka.ms/aks/maxUnavailable."
    if need > left:
        raise Refused(
            "ErrCode_InsufficientVCPUQuota",
            f"Insufficient vcpu quota requested {need}, remaining {max(left, 0)} for family {family} for region {request.location}. {tail}",
        )
    total = quota["total"] - others("total") - vcpus_in_use(cloud, None, pool_id)
    if not spot and need > total:
        raise Refused(
            "ErrCode_InsufficientVCPUQuota",
            f"Insufficient regional vcpu quota left for location {request.location}. left regional vcpu quota {max(total, 0)}, requested quota {need}. {tail}",
        )
