"""What of a stack runs already: what cannot change any more, and how many nodes each pool has now.

A resource of Azure takes some of its properties when it is created and never again. Pulumi does not know which: its preview shows an
update, or the deletion of a whole cluster, and Azure refuses the one half-way through `up`. So the running stack is compared with what
is asked before anything is registered.

Sources: MicrosoftDocs/azure-aks-docs articles/aks/create-node-pools.md (VM size, zones), enable-host-encryption.md (encryption),
private-clusters.md (private mode), cost-analysis.md (tier); pulumi/pulumi-azure-native provider/pkg/gen/replacement.go (address ranges of
pods and Services); the properties that hashicorp/terraform-provider-azurerm replaces a storage account, an address and a Redis for;
MicrosoftDocs/azure-docs articles/redis/how-to-scale.md (its size).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra import naming
from infra.azure.cluster import SYSTEM_POOL
from planner.catalogue import redis_skus
from settings import Problem, StackSettings
from stacks.arm import AKS, Arm, Missing

_NETWORK = {"api-version": "2024-05-01"}
_REDIS = {"api-version": "2025-07-01"}
_RESOURCES = {"api-version": "2021-04-01"}
# The versions are those that azure-native 3.29 uses for the same resources.


@dataclass(frozen=True, kw_only=True)
class Running:
    """What Azure has of a stack. Everything is empty before the first `up`."""

    cluster: Mapping[str, Any] = field(default_factory=dict)
    """The cluster's properties."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """The virtual network's properties."""
    redis: Mapping[str, Any] = field(default_factory=dict)
    """The Redis's properties."""
    redis_sku: str = ""
    storage_accounts: Mapping[str, str] = field(default_factory=dict)
    """The region of each storage account in the stack's resource group, by name."""

    @property
    def minor_version(self) -> str:
        """The cluster's Kubernetes version without its patch, such as `1.36`; empty if there is no cluster."""
        version = self.cluster.get("currentKubernetesVersion") or self.cluster.get("kubernetesVersion") or ""
        return ".".join(version.split(".")[:2])

    @property
    def pools(self) -> dict[str, dict[str, Any]]:
        """The properties of every node pool, by name."""
        return {pool["name"]: pool for pool in self.cluster.get("agentPoolProfiles") or []}

    @property
    def subnets(self) -> dict[str, str | None]:
        """The range of each subnet, by name."""
        return {subnet["name"]: (subnet.get("properties") or {}).get("addressPrefix") for subnet in self.network.get("subnets") or []}

    @property
    def node_counts(self) -> dict[str, int]:
        """How many nodes each pool has now, by name, wherever the autoscaler has brought it."""
        return {name: pool["count"] for name, pool in self.pools.items() if pool.get("count") is not None}


def look(settings: StackSettings, stack: str, arm: Arm) -> Running:
    """Asks Azure for what runs. Raises Unanswered."""
    names = naming.names_of(settings.azure, stack)
    group = f"resourceGroups/{names.resource_group}"

    def find(kind: str, name: str, version: dict[str, str]) -> dict[str, Any]:
        return arm.find(f"{group}/providers/{kind}/{name}", version) or {}

    storage = _RESOURCES | {"$filter": "resourceType eq 'Microsoft.Storage/storageAccounts'"}
    try:
        accounts = {account["name"]: account["location"] for account in arm.pages(f"{group}/resources", storage)}
    except Missing:
        return Running()
    redis = find("Microsoft.Cache/redisEnterprise", names.redis, _REDIS)
    return Running(
        cluster=find("Microsoft.ContainerService/managedClusters", names.cluster, AKS).get("properties") or {},
        network=find("Microsoft.Network/virtualNetworks", names.of("vnet"), _NETWORK).get("properties") or {},
        redis=redis.get("properties") or {},
        redis_sku=(redis.get("sku") or {}).get("name") or "",
        storage_accounts=accounts,
    )


def problems(settings: StackSettings, stack: str, running: Running, redis_sku: str | None) -> Iterator[Problem]:
    """Yields what the running stack cannot become any more. `redis_sku` is the planned one, None for a stack without Redis."""
    yield from _names(settings, stack, running)
    if running.cluster:
        yield from _cluster(settings, running)
        yield from _version(settings, running)
    yield from _ranges(settings, running)
    if redis_sku is not None:
        yield from _redis(settings, running, redis_sku)


def warnings(settings: StackSettings, stack: str, running: Running) -> Iterator[str]:
    """Yields what the next `up` does to the running stack that its preview does not show, and why it may end with a traceback."""
    if running.storage_accounts and not running.cluster:
        yield (
            f"the cluster {naming.names_of(settings.azure, stack).cluster} does not exist, although the stack's storage does. If somebody "
            "deleted it outside Pulumi, asking for its credentials fails: docs/operations.md has the way out under "
            '"A cluster that was deleted". If the first `up` has not yet come to the cluster, go on'
        )
    identity = ((running.cluster.get("identityProfile") or {}).get("kubeletidentity") or {}).get("resourceId") or ""
    now, ours = identity.rsplit("/", 1)[-1], naming.names_of(settings.azure, stack).kubelet_identity
    if now and now.lower() != ours.lower():
        yield (
            f"the nodes get the identity {ours} in place of {now}, for which AKS replaces the nodes of every pool, one after the other as "
            "in an upgrade. Run `pulumi up` when pipelines may stop for a while; it happens once"
        )


def _fixed(key: str, asked: str, now: str, what: str, fix: str | None = None) -> Problem:
    return Problem(
        key=key,
        value=asked,
        consequence=f"the running {what} has {now or 'none'}, which Azure takes when it is created and never again: `up` would fail "
        "half-way",
        fix=fix or f"{now or 'nothing'}, or another stack with a {what} of its own",
    )


def _redis(settings: StackSettings, running: Running, sku: str) -> Iterator[Problem]:
    high = running.redis.get("highAvailability")
    asked = "Enabled" if settings.redis.high_availability else "Disabled"
    if high not in (None, asked):
        yield _fixed("redis.highAvailability", str(settings.redis.high_availability).lower(), high.lower(), "Redis")
    if running.redis_sku and not redis_skus.can_become(running.redis_sku, sku):
        named = settings.redis.sku is not None
        yield Problem(
            key="redis.sku" if named else "caching.l3Cache.size",
            value=sku if named else str(settings.caching.l3_cache.size),
            consequence=("" if named else f"needs {sku} only, and ")
            + f"the running Redis is {running.redis_sku}: Azure takes more memory at any time, but a smaller one or another kind only in "
            "some cases, and `up` would fail half-way",
            fix=f'redis: {{sku: {running.redis_sku}}}, or scale it first as docs/operations.md says under "A smaller Redis"',
        )


def _names(settings: StackSettings, stack: str, running: Running) -> Iterator[Problem]:
    """The stack's group has the weights under another name: its suffix or its region was another one."""
    ours = naming.names_of(settings.azure, stack)
    if not running.storage_accounts or ours.storage_account in running.storage_accounts:
        return
    name, location = next(iter(running.storage_accounts.items()))
    moved = location.replace(" ", "").lower() != settings.azure.location
    key, asked, now = (
        ("azure.location", settings.azure.location, location) if moved else ("azure.nameSuffix", settings.azure.name_suffix or "", name)
    )
    yield Problem(
        key=key,
        value=asked,
        consequence=f"the running stack keeps its weights in {name} in {location}: another {'region' if moved else 'name'} means another "
        "account and registry, and the weights would be deleted with the old account while pods still read them",
        fix=f"{now}, as it was" if moved else f"the value with which {name} was made, or none if there was none",
    )


def _cluster(settings: StackSettings, running: Running) -> Iterator[Problem]:
    asked, cluster = settings.cluster, running.cluster
    system = running.pools.get(SYSTEM_POOL)
    if system and system["vmSize"].lower() != asked.system_pool.vm_size.lower():
        yield _fixed(
            "cluster.systemPool.vmSize",
            asked.system_pool.vm_size,
            system["vmSize"],
            "system pool",
            f'{system["vmSize"]}, or exchange the pool first as docs/operations.md says under "Another system pool"',
        )
    if system and sorted(system.get("availabilityZones") or []) != sorted(asked.zones):
        zones = ", ".join(sorted(system.get("availabilityZones") or []))
        yield _fixed("cluster.zones", ", ".join(asked.zones) or "[]", zones, "cluster with its storage and address")
    encrypted = bool(system and system.get("enableEncryptionAtHost"))
    if system and encrypted != asked.encryption_at_host:
        yield _fixed(
            "cluster.encryptionAtHost",
            str(asked.encryption_at_host).lower(),
            f"encryptionAtHost: {str(encrypted).lower()}",
            "system pool",
            f'{str(encrypted).lower()}, or exchange the pool first as docs/operations.md says under "Another system pool"',
        )
    private = bool((cluster.get("apiServerAccessProfile") or {}).get("enablePrivateCluster"))
    if private != asked.private:
        yield _fixed("cluster.private", str(asked.private).lower(), f"private: {str(private).lower()}", "cluster")
    if asked.tier == "Free" and ((cluster.get("metricsProfile") or {}).get("costAnalysis") or {}).get("enabled"):
        yield Problem(
            key="cluster.tier",
            value=asked.tier,
            consequence="the running cluster has cost analysis, which the Free tier lacks, and AKS wants it turned off before",
            fix="run `az aks update --disable-cost-analysis` for it first",
        )
    profile, network = cluster.get("networkProfile") or {}, settings.azure.network
    for name, wanted in (("podCidr", network.pod_cidr), ("serviceCidr", network.service_cidr)):
        if profile.get(name) not in (None, wanted):
            yield Problem(
                key=f"azure.network.{name}",
                value=wanted,
                consequence=f"the running cluster has {profile[name]} for life: Pulumi would delete the cluster with everything in "
                "it, and only then make another",
                fix=f"{profile[name]}, or `pulumi destroy` first if nothing in the cluster is needed any more",
            )


def _version(settings: StackSettings, running: Running) -> Iterator[Problem]:
    """AKS goes up by one minor version at a time, and never down (articles/aks/upgrade-aks-cluster.md)."""
    now = running.minor_version
    if not now:
        return
    asked = settings.cluster.kubernetes_version
    minor, wanted = (int(version.split(".")[1]) for version in (now, asked))
    if wanted < minor:
        consequence, fix = f"the cluster runs {now}, and AKS refuses to go back", f'"1.{minor}"'
    elif wanted > minor + 1:
        consequence, fix = f"the cluster runs {now}, and AKS upgrades by one minor version at a time", f'"1.{minor + 1}" first'
    else:
        return
    yield Problem(key="cluster.kubernetesVersion", value=asked, consequence=consequence, fix=fix)


def _ranges(settings: StackSettings, running: Running) -> Iterator[Problem]:
    """A subnet with nodes or endpoints in it keeps its range, and a network keeps the space that its subnets are in."""
    asked = settings.azure.network
    subnets = running.subnets
    space = ((running.network.get("addressSpace") or {}).get("addressPrefixes") or [None])[0]
    for key, wanted, now in (
        ("nodesCidr", asked.nodes_cidr, subnets.get("nodes")),
        ("privateEndpointsCidr", asked.private_endpoints_cidr, subnets.get("private-endpoints")),
        ("buildersCidr", asked.builders_cidr, subnets.get("builders") if asked.builders_cidr else None),
        ("addressSpace", asked.address_space, space),
    ):
        if now not in (None, wanted):
            yield _fixed(f"azure.network.{key}", wanted or "", now, "network")
