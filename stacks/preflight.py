"""Asks Azure before anything is registered whether it would refuse what the stack asks for.

All calls only read, and use Pulumi's own credentials: Resource SKUs (`Microsoft.Compute/skus`), compute usages
(`Microsoft.Compute/locations/{location}/usages`), the Kubernetes versions of AKS in the region, what encryption needs
(`encryption.py`), and what runs already (`running.py`).
It checks neither prices nor capacity, which Azure does not promise before a machine starts. A size that is not sold is refused for pools
that are to be made; existing ones go on (Azure/azure-rest-api-specs pull request 3039).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_azure_native import authorization

from infra import naming
from infra.azure.gpu_pool import machines
from planner.fit.plan import Plan
from planner.rules.service import CURRENT_SIZE
from settings import Problem, SettingsError, StackSettings
from settings.rules.nodes import SYSTEM_POOL_VCPUS, too_small_for_a_system_pool
from stacks import encryption, running
from stacks.arm import AKS, Arm, Missing, Unanswered
from stacks.running import Running

_COMPUTE = {"api-version": "2021-07-01"}
_SYSTEM_SIZE = "cluster.systemPool.vmSize"
_ALL, _SPOT = "cores", "lowprioritycores"
"""The quotas of a whole region, in the spelling of `_family`: of all regular nodes, and of all spot nodes."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Nodes of one VM size that the stack asks for."""

    key: str
    """The setting of the size in the stack file."""
    zones_key: str
    """The setting of the zones in the stack file."""
    size: str
    nodes: int
    most_nodes: int
    """The most nodes that the autoscaler may bring them to."""
    surge_nodes: int
    """The fewest nodes that an upgrade must add for a while. AKS goes on with one where there is no quota for
    all of `gpuPool.maxSurge` (upgrade-aks-node-pools-rolling.md, from Kubernetes 1.35)."""
    zones: tuple[str, ...]
    """The zones of the pools that are to be made."""
    new: bool
    """Whether any pool is to be made. One that runs keeps its nodes, whatever Azure sells today."""
    spot: bool = False


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a subscription can get of a VM size in a region."""

    available: bool
    reason: str
    """Azure's reason code if the size is not available."""
    zones: frozenset[str]
    vcpus: int
    family: str
    """The quota family as Azure spells it; compare it by `_family`."""
    encryption_at_host: bool


def needs(settings: StackSettings, plan: Plan, there: Running) -> tuple[Need, ...]:
    """Returns what the stack needs for its GPU pools and its system pool."""
    gpu, system = settings.gpu_pool, settings.cluster.system_pool
    pools = plan.gpu_pools
    new = [machine.plan for machine in machines(plan) if machine.azure_name not in there.pools]
    return (
        Need(
            key="gpuPool.vmSize",
            zones_key="gpuPool.zones",
            size=plan.size.name,
            nodes=sum(max(pool.nodes, pool.min_nodes) for pool in pools),
            most_nodes=sum(max(pool.nodes, pool.max_nodes) for pool in pools),
            # Pools are upgraded one after the other. Spot nodes have no surge.
            surge_nodes=0 if gpu.spot or gpu.max_surge == "0" else 1,
            zones=tuple(zone for pool in new for zone in pool.zones),
            new=bool(new),
            spot=gpu.spot,
        ),
        Need(
            key=_SYSTEM_SIZE,
            zones_key="cluster.zones",
            size=system.vm_size,
            nodes=system.min_nodes,
            most_nodes=system.max_nodes,
            surge_nodes=1,
            zones=() if there.cluster else settings.cluster.zones,
            new=not there.cluster,
        ),
    )


def offers(arm: Arm, location: str) -> dict[str, Offer]:
    """Returns every VM size of a region by name. Raises Unanswered."""
    found = arm.pages("providers/Microsoft.Compute/skus", _COMPUTE | {"$filter": f"location eq '{location}'"})
    return {sku["name"]: _offer(sku) for sku in found if sku["resourceType"] == "virtualMachines"}


def vcpu_limits(arm: Arm, location: str) -> dict[str, int]:
    """Returns the limit of vCPUs of each quota, by family and for the whole region. Raises Unanswered.

    The families are in lower case without spaces, because Azure spells them in several ways. The limit does not say how many are free:
    at a second update, the stack's own nodes are among those in use.
    """
    usages = arm.pages(f"providers/Microsoft.Compute/locations/{location}/usages", _COMPUTE)
    return {_family(usage["name"]["value"]): usage["limit"] for usage in usages}


def kubernetes_versions(arm: Arm, location: str, *, long_term: bool) -> list[str]:
    """Returns the minor versions that AKS offers in a region for the support plan, oldest first. Raises Unanswered."""
    path = f"providers/Microsoft.ContainerService/locations/{location}/kubernetesVersions"
    wanted = "AKSLongTermSupport" if long_term else "KubernetesOfficial"
    found = [
        row["version"] for row in arm.get(path, AKS)["values"] if wanted in (row.get("capabilities") or {}).get("supportPlan", [wanted])
    ]
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


def _family(name: str) -> str:
    return name.lower().replace(" ", "")


def _offer(sku: dict[str, Any]) -> Offer:
    whole_region = [r for r in sku.get("restrictions", []) if r["type"] == "Location"]
    closed_zones = {zone for r in sku.get("restrictions", []) if r["type"] == "Zone" for zone in r["restrictionInfo"].get("zones", [])}
    zones = {zone for info in sku.get("locationInfo", []) for zone in info.get("zones", [])}
    capabilities = {c["name"]: c["value"] for c in sku.get("capabilities", [])}
    return Offer(
        available=not whole_region,
        reason=whole_region[0].get("reasonCode", "") if whole_region else "",
        zones=frozenset(zones - closed_zones),
        vcpus=int(capabilities.get("vCPUs", 0)),
        family=sku.get("family", ""),
        encryption_at_host=capabilities.get(encryption.OF_A_SIZE, "True").lower() == "true",
    )


def problems(settings: StackSettings, plan: Plan, arm: Arm, there: Running) -> list[Problem]:
    """Returns what Azure would refuse of this plan; empty if it can proceed. Raises Unanswered."""
    location = settings.azure.location
    found: list[Problem] = [*_version_problem(settings, arm, there), *encryption.feature_problem(settings, arm)]
    sold, limits = offers(arm, location), vcpu_limits(arm, location)
    wanted, cores = needs(settings, plan, there), 0
    for need in wanted:
        offer = sold.get(need.size)
        if offer is None or not offer.available:
            _refuse(found, need.new, _not_sold(need, offer, location, sold))
            continue
        missing = [zone for zone in need.zones if zone not in offer.zones]
        if missing:
            found.append(
                Problem(
                    key=need.zones_key,
                    value=", ".join(need.zones),
                    consequence=f"{need.size} is not offered in zone {', '.join(missing)} of {location}, so the pool would be refused",
                    fix=f"zones: {json.dumps(sorted(offer.zones))}",
                )
            )
        if settings.cluster.encryption_at_host and not offer.encryption_at_host:
            found.append(encryption.size_problem(need.key, need.size))
        if need.key == _SYSTEM_SIZE and offer.vcpus < SYSTEM_POOL_VCPUS:
            found.append(too_small_for_a_system_pool(need.size, offer.vcpus))
        cores += 0 if need.spot else need.nodes * offer.vcpus
        _compare_quota(found, need, offer, limits, location)
    if cores > limits.get(_ALL, cores):
        consequence = f"the nodes of all pools need {cores} vCPUs of quota Total Regional vCPUs; the subscription has {limits[_ALL]}"
        fix = "request more quota, or plan fewer nodes"
        _refuse(found, any(need.new for need in wanted), Problem(key="azure.location", value=location, consequence=consequence, fix=fix))
    return found


def _refuse(found: list[Problem], new: bool, problem: Problem) -> None:
    """Adds a problem of pools that are to be made; of pools that run it only warns, as they go on."""
    if new:
        found.append(problem)
    else:
        pulumi.log.warn(
            f"{problem.key}: {problem.value}\n    {problem.consequence}. The nodes that run go on, but one that is lost may not come back, "
            "and a pool that must be made again will be refused"
        )


def _compare_quota(found: list[Problem], need: Need, offer: Offer, limits: Mapping[str, int], location: str) -> None:
    quota, name = (_SPOT, "Total Regional Low-priority vCPUs") if need.spot else (_family(offer.family), offer.family)
    limit, vcpus = limits.get(quota, 0), need.nodes * offer.vcpus
    if vcpus > limit:
        consequence = f"{need.nodes} nodes need {vcpus} vCPUs of quota {name} in {location}; the subscription has {limit}"
        fix = "request more quota, or plan fewer nodes"
        _refuse(found, need.new, Problem(key=need.key, value=need.size, consequence=consequence, fix=fix))
    elif later := _later(need, offer.vcpus, limit):
        pulumi.log.warn(f"{need.key}: {need.size}\n    the quota {name} in {location} has {limit} vCPUs: {later}")


def _later(need: Need, vcpus: int, limit: int) -> str:
    """Says what the quota has no room for once the nodes are there; empty if there is room for all of it."""
    weekly = "the weekly upgrade of the node image, which starts a new node before it stops an old one"
    weekly += "" if need.key == _SYSTEM_SIZE else ', unless gpuPool.maxSurge is "0"'
    short = [
        f"{what} ({nodes * vcpus} vCPUs)"
        for what, nodes in (
            (weekly, need.nodes + need.surge_nodes),
            ("as many nodes as the autoscaler may start", need.most_nodes),
            ("a change of VM size, disk or kernel settings, which starts a second pool", 2 * need.nodes if need.key != _SYSTEM_SIZE else 0),
        )
        if nodes * vcpus > limit
    ]
    return f"enough for the {need.nodes} nodes of the plan, but not for " + ", nor for ".join(short) if short else ""


def _version_problem(settings: StackSettings, arm: Arm, there: Running) -> Iterator[Problem]:
    """A cluster that runs a version goes on with it when AKS no longer offers it (articles/aks/supported-kubernetes-versions.md, FAQ)."""
    asked, location = settings.cluster.kubernetes_version, settings.azure.location
    try:
        versions = kubernetes_versions(arm, location, long_term=settings.cluster.tier == "Premium")
    except Missing:
        return
    if versions and asked not in versions and asked != there.minor_version:
        yield Problem(
            key="cluster.kubernetesVersion",
            value=asked,
            consequence=f"AKS does not offer it in {location} with cluster.tier: {settings.cluster.tier}, so the cluster would be refused",
            fix=f"one of {', '.join(versions)}",
        )


def _not_sold(need: Need, offer: Offer | None, location: str, offers: dict[str, Offer]) -> Problem:
    why = f" ({offer.reason})" if offer and offer.reason else ""
    current = offers.get(CURRENT_SIZE)
    switch = need.key == "gpuPool.vmSize" and current is not None and current.available
    return Problem(
        key=need.key,
        value=need.size,
        # These are the words with which AKS would refuse the pool after the cluster is created.
        consequence=f"the VM size of {need.size} is not allowed in your subscription in location '{location}'{why}",
        fix=f"gpuPool: {{vmSize: {CURRENT_SIZE}}}" if switch else "a size that `az vm list-skus --location` lists without restrictions",
    )


def ask(settings: StackSettings, plan: Plan, stack: str) -> Running:
    """Returns what of the stack runs already. Raises SettingsError with everything that Azure would refuse.

    Where Azure does not say what it sells, a warning is logged instead.
    """
    client = authorization.get_client_config()
    arm = Arm(subscription_id=client.subscription_id, token=authorization.get_client_token().token)
    try:
        there = running.look(settings, stack, arm)
    except Unanswered as why:
        raise SettingsError([_unknown_cluster(settings, stack, why)]) from why
    for text in running.warnings(settings, stack, there):
        pulumi.log.warn(text)
    found = list(running.problems(settings, stack, there, plan.redis_sku))
    try:
        found += problems(settings, plan, arm, there)
    except Unanswered as why:
        pulumi.log.warn(f"VM sizes, zones and quota were not checked before the deployment, because {why}")
    if found:
        raise SettingsError(found)
    return there


def _unknown_cluster(settings: StackSettings, stack: str, why: Unanswered) -> Problem:
    return Problem(
        key="azure",
        value=naming.names_of(settings.azure, stack).resource_group,
        consequence=f"{why}, so it is not known what of this stack runs and how many nodes its pools have now: an update could take nodes "
        "from running pipelines",
        fix="run it again when Azure answers",
    )
