"""Where the settings are in Azure: key, resource, property. Pure; the names are those of `infra/naming.py`."""

from __future__ import annotations

from pydantic.alias_generators import to_camel

from infra.azure import sysctls
from infra.naming import Names
from infra.place import Lines, Resource
from planner.catalogue import redis_skus
from planner.fit.plan import Plan
from settings.account import path_text
from settings.error_messages import key_text

_POOLS = Resource("AgentPool", "gpu*")


def lines(plan: Plan, names: Names) -> Lines:
    """All that Azure is asked for because of a setting."""
    yield from _group_and_network(plan, names)
    yield from _cluster(plan, names)
    yield from _gpu_pools(plan)
    yield from _redis(plan, names)
    yield from _watch(plan, names)


def _group_and_network(plan: Plan, names: Names) -> Lines:
    azure = plan.settings.azure
    group = Resource("ResourceGroup", names.resource_group)
    cluster = Resource("ManagedCluster", names.cluster)
    yield "azure.location", group("location")
    yield "azure.namePrefix", group("resourceGroupName", names.resource_group)
    yield "azure.nameSuffix", Resource("Registry", names.registry)("registryName", names.registry)
    yield "azure.tags", group("tags")
    for tag in azure.tags:
        yield key_text(("azure", "tags", tag)), group(path_text("tags", tag))
    yield "azure.protect", Resource("Pulumi resource", "cluster")("protect")
    yield "azure.network.addressSpace", Resource("VirtualNetwork", names.of("vnet"))("addressSpace.addressPrefixes[0]")
    yield "azure.network.nodesCidr", Resource("Subnet", "nodes")("addressPrefix")
    yield "azure.network.privateEndpointsCidr", Resource("Subnet", "private-endpoints")("addressPrefix")
    yield "azure.network.podCidr", cluster("networkProfile.podCidr")
    yield "azure.network.serviceCidr", cluster("networkProfile.serviceCidr")


def _cluster(plan: Plan, names: Names) -> Lines:
    cluster = Resource("ManagedCluster", names.cluster)
    window = Resource("MaintenanceConfiguration", "aksManagedAutoUpgradeSchedule")
    logs = Resource("Workspace", names.of("log"))
    kept = plan.settings.cluster.control_plane_logs
    yield "cluster.kubernetesVersion", cluster("kubernetesVersion")
    yield "cluster.tier", cluster("sku.tier")
    yield "cluster.private", cluster("apiServerAccessProfile.enablePrivateCluster")
    yield "cluster.authorizedIpRanges", cluster("apiServerAccessProfile.authorizedIPRanges")
    yield "cluster.adminGroupObjectIds", cluster("aadProfile.adminGroupObjectIDs")
    yield "cluster.systemPool.vmSize", cluster("agentPoolProfiles[system].vmSize")
    yield "cluster.systemPool.minNodes", cluster("agentPoolProfiles[system].minCount")
    yield "cluster.systemPool.maxNodes", cluster("agentPoolProfiles[system].maxCount")
    yield "cluster.zones", cluster("agentPoolProfiles[system].availabilityZones")
    yield "cluster.maintenance.day", window("maintenanceWindow.schedule.weekly.dayOfWeek")
    yield "cluster.maintenance.start", window("maintenanceWindow.startTime")
    yield "cluster.maintenance.hours", window("maintenanceWindow.durationHours")
    yield "cluster.controlPlaneLogs", logs("workspaceName", names.of("log")) if kept else logs("", None)
    yield "monitoring.managedPrometheus", cluster("azureMonitorProfile.metrics.enabled")
    # What the guide's annotation asks for, where AKS has it.
    sku = "coordinator.service.annotations.service.beta.kubernetes.io/azure-load-balancer-sku"
    yield sku, cluster("networkProfile.loadBalancerSku", "standard")


def _gpu_pools(plan: Plan) -> Lines:
    pool = plan.settings.gpu_pool
    yield "gpuPool.vmSize", _POOLS("vmSize")
    yield "gpuPool.minNodes", _POOLS("minCount", sum(part.min_nodes for part in plan.gpu_pools))
    yield "gpuPool.maxNodes", _POOLS("maxCount", sum(part.max_nodes for part in plan.gpu_pools))
    used = sorted({zone for part in plan.gpu_pools for zone in part.zones})
    if used == sorted(pool.zones):
        yield "gpuPool.zones", _POOLS("availabilityZones")
    else:
        yield (
            "gpuPool.zones",
            _POOLS(
                "availabilityZones",
                used,
                outcome="translated",
                given=f"zone {', '.join(used)}",
                because="each pipeline stays in one zone, and there are fewer of them than zones",
                source="planner/fit/layout.py",
            ),
        )
    yield "gpuPool.mig", _POOLS("gpuInstanceProfile")
    yield "gpuPool.spot", _POOLS("scaleSetPriority", "Spot" if pool.spot else "Regular")
    yield "gpuPool.osDiskGib", _POOLS("osDiskSizeGB")
    if not pool.spot:
        yield "gpuPool.maxSurge", _POOLS("upgradeSettings.maxSurge")
    yield "gpuPool.cpuManagerPolicy", _POOLS("kubeletConfig.cpuManagerPolicy")
    yield "gpuPool.topologyManagerPolicy", _POOLS("kubeletConfig.topologyManagerPolicy")
    yield "gpuPool.sysctls", _POOLS("linuxOSConfig.sysctls")
    for name, value in pool.sysctls.items():
        [(argument, sent)] = sysctls.to_azure({name: value}).items()
        yield key_text(("gpuPool", "sysctls", name)), _POOLS(f"linuxOSConfig.sysctls.{to_camel(argument)}", sent)
    yield "nodeTuning.transparentHugePages", _POOLS("linuxOSConfig.transparentHugePageEnabled")


def _redis(plan: Plan, names: Names) -> Lines:
    settings, sku = plan.settings, plan.redis_sku
    cache = Resource("RedisEnterprise", names.redis)
    if sku is None:
        yield "caching.l3Cache.enabled", cache("", None)
        return
    yield "caching.l3Cache.enabled", cache("clusterName", names.redis)
    yield "caching.l3Cache.backend", cache("clusterName", names.redis)
    yield "redis.sku", cache("sku.name")
    yield "redis.highAvailability", cache("highAvailability", "Enabled" if settings.redis.high_availability else "Disabled")
    if settings.redis.sku is None:
        because = f"the smallest Azure Managed Redis with that much usable memory: {redis_skus.usable_gib(sku):.0f} GiB"
        yield (
            "caching.l3Cache.size",
            cache("sku.name", sku, outcome="translated", given=sku, because=because, source="planner/catalogue/redis_skus.py"),
        )


def _watch(plan: Plan, names: Names) -> Lines:
    if plan.settings.budget.monthly_usd is None:
        return
    budget = Resource("Budget", names.of("budget"))
    yield "budget.monthlyUsd", budget("amount")
    yield "budget.alertEmails", budget("notifications.actual-50.contactEmails")
    yield "budget.alertRoles", budget("notifications.actual-50.contactRoles")
