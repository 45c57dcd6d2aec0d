"""All of Azure for one stack, joined."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import authorization, resources

from infra import naming
from infra.azure import roles
from infra.azure.budget import BudgetArgs, budget
from infra.azure.cluster import Cluster, ClusterArgs
from infra.azure.context import AzureContext
from infra.azure.gpu_pool import GpuPoolArgs, gpu_pool, machines
from infra.azure.identity import Identity, identity
from infra.azure.logs import ControlPlaneLogs, ControlPlaneLogsArgs
from infra.azure.monitoring import ManagedPrometheus, ManagedPrometheusArgs
from infra.azure.network import Network, NetworkArgs
from infra.azure.redis import RedisCache, RedisCacheArgs
from infra.azure.registry import Registry, RegistryArgs
from infra.azure.weights import WeightStorage, WeightStorageArgs
from infra.azure.workload_identity import WorkloadIdentity, WorkloadIdentityArgs
from infra.kubernetes import names
from infra.kubernetes.azure_inputs import AzureInputs
from planner.fit.plan import Plan
from settings import StackSettings
from settings.files import PROJECT

_SERVERS = ("coordinator", "shard")
_ACCOUNTS = {
    "coordinator": (names.SERVICE_NAMESPACE, names.COORDINATOR),
    "shard": (names.SERVICE_NAMESPACE, names.SHARD),
    "fetch": (names.SERVICE_NAMESPACE, names.WEIGHTS_FETCH),
    "copy": (names.NODE_AGENTS_NAMESPACE, names.WEIGHTS_COPY),
}
"""Who in the cluster may have an Azure identity: namespace and service account."""


@dataclass(frozen=True, kw_only=True)
class AzurePlatform:
    """What the rest of a stack needs of Azure. Plain text is known before anything is created."""

    resource_group: str
    cluster_name: pulumi.Output[str]
    cluster_id: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    """Secret."""
    registry: str
    """Login server."""
    redis_host: str | None
    """None without the third cache level."""
    for_kubernetes: AzureInputs


def deploy(
    settings: StackSettings, plan: Plan, stack: str, *, today: datetime.date | None = None, node_counts: Mapping[str, int] | None = None
) -> AzurePlatform:
    """Everything in Azure. How many of what comes from the plan, and from `node_counts` for pools that run already (nodes by the pool's
    name); `today` only starts a new budget.

    Nothing has the resource group as its Pulumi parent: children inherit `protect`, and a protected pool or grant could never
    be replaced.
    """
    context, group = _context(settings, stack)
    administrators = _administrators(settings)

    network = _network(settings, context)
    nodes = node_counts or {}
    kubelet = identity("kubelet-identity", context.names.kubelet_identity, context, parent=None)
    registry = Registry(
        "registry",
        RegistryArgs(context=context, network=network, kubelet_principal_id=kubelet.principal_id, private=settings.cluster.private),
    )
    known_first = (registry.nodes_may_pull, *_may_use_cluster(context, administrators, group))
    cluster = _cluster(settings, context, network, kubelet, known_first, nodes)
    pools = _gpu_pools(settings, plan, context, network, cluster, nodes)
    identities = _identities(plan, context, cluster)
    weights = _weights(settings, context, network, identities, administrators)
    redis = _redis(settings, plan, context, network, identities)
    _watch(settings, context, cluster, today or datetime.datetime.now(datetime.UTC).date())

    return AzurePlatform(
        resource_group=context.names.resource_group,
        cluster_name=cluster.cluster_name,
        cluster_id=cluster.cluster_id,
        kubeconfig=cluster.kubeconfig,
        registry=context.names.registry_host,
        redis_host=redis.host if redis else None,
        for_kubernetes=AzureInputs(
            coordinator_client_id=identities["coordinator"].client_id,
            shard_client_id=identities["shard"].client_id,
            fetch_client_id=identities["fetch"].client_id if "fetch" in identities else None,
            copy_client_id=identities["copy"].client_id if "copy" in identities else None,
            weights_account=weights.account_name,
            weights_container=weights.container_name,
            weights_resource_group=context.names.resource_group,
            gpu_nodes=pools,
            needed_to_serve=(registry, weights, *([redis] if redis else []), *identities.values()),
        ),
    )


def deploy_network(settings: StackSettings, stack: str) -> str:
    """The resource group and the network alone, from which a machine can deploy the rest of a private cluster. Returns the group's name."""
    context, _ = _context(settings, stack)
    _network(settings, context)
    return context.names.resource_group


def _context(settings: StackSettings, stack: str) -> tuple[AzureContext, resources.ResourceGroup]:
    azure_names = naming.names_of(settings.azure, stack)
    tags = naming.tags(project=PROJECT, stack=stack, extra=settings.azure.tags)
    group = resources.ResourceGroup(
        "resource-group",
        resource_group_name=azure_names.resource_group,
        location=settings.azure.location,
        tags=tags,
        # Its deletion deletes everything in it, protected or not.
        opts=pulumi.ResourceOptions(protect=settings.azure.protect),
    )
    context = AzureContext(
        names=azure_names,
        location=settings.azure.location,
        resource_group_name=group.name,
        subscription_id=authorization.get_client_config_output().subscription_id,
        tags=tags,
    )
    return context, group


def _administrators(settings: StackSettings) -> tuple[roles.Administrator, ...]:
    """Who may do everything in the cluster and upload weights: the groups in the settings, or else whoever deploys."""
    groups = settings.cluster.admin_group_object_ids
    if groups:
        return tuple(roles.Administrator(label=group, principal_id=group, type="Group") for group in groups)
    return (roles.Administrator(label="deployer", principal_id=authorization.get_client_config_output().object_id, type=None),)


def _may_use_cluster(
    context: AzureContext, administrators: tuple[roles.Administrator, ...], group: resources.ResourceGroup
) -> tuple[pulumi.Resource, ...]:
    """With local accounts off, even a subscription's owner may do nothing in Kubernetes without a role.

    Groups get in through the cluster's own list. Whoever deploys without one is granted the role on the resource group,
    before the cluster: a grant takes minutes to be known everywhere, and a cluster takes longer than that to be made.
    """
    return tuple(
        roles.grant(
            f"cluster-admin-{someone.label}",
            roles.AKS_CLUSTER_ADMIN,
            context,
            scope=group.id,
            principal_id=someone.principal_id,
            principal_type=None,
            parent=None,
        )
        for someone in administrators
        if someone.type is None
    )


def _network(settings: StackSettings, context: AzureContext) -> Network:
    plan = settings.azure.network
    return Network(
        "network",
        NetworkArgs(
            context=context,
            address_space=plan.address_space,
            nodes_cidr=plan.nodes_cidr,
            private_endpoints_cidr=plan.private_endpoints_cidr,
            builders_cidr=plan.builders_cidr,
            zones=settings.cluster.zones,
        ),
    )


def _cluster(
    settings: StackSettings,
    context: AzureContext,
    network: Network,
    kubelet: Identity,
    after: tuple[pulumi.Resource, ...],
    node_counts: Mapping[str, int],
) -> Cluster:
    return Cluster(
        "cluster",
        ClusterArgs(
            context=context,
            network=network,
            settings=settings.cluster,
            addresses=settings.azure.network,
            kubelet=kubelet,
            termination_grace_seconds=round(settings.rollout.termination_grace.seconds),
            managed_prometheus=settings.monitoring.managed_prometheus,
            protect=settings.azure.protect,
            node_counts=node_counts,
            after=after,
        ),
    )


def _gpu_pools(
    settings: StackSettings, plan: Plan, context: AzureContext, network: Network, cluster: Cluster, node_counts: Mapping[str, int]
) -> tuple[pulumi.Resource, ...]:
    """One pool for each of the plan's."""
    pools: list[pulumi.Resource] = []
    for machine in machines(plan):
        args = GpuPoolArgs(
            **vars(machine),
            context=context,
            cluster_name=cluster.cluster_name,
            subnet_id=network.nodes_subnet_id,
            kubernetes_version=settings.cluster.kubernetes_version,
            rollout=settings.rollout,
            node_counts=node_counts,
        )
        name = f"gpu-pool-z{machine.plan.zones[0]}" if pools else "gpu-pool"
        pools.append(gpu_pool(name, args, parent=cluster, after=pools[-1] if pools else None))
    return tuple(pools)


def _identities(plan: Plan, context: AzureContext, cluster: Cluster) -> dict[str, WorkloadIdentity]:
    weights = plan.weights
    needed = (*_SERVERS, *(["fetch"] if weights.source else []), *(["copy"] if weights.on_node else []))
    made = {}
    for who in needed:
        namespace, account = _ACCOUNTS[who]
        args = WorkloadIdentityArgs(context=context, oidc_issuer_url=cluster.oidc_issuer_url, namespace=namespace, service_account=account)
        made[who] = WorkloadIdentity(f"{who}-access", args)
    return made


def _weights(
    settings: StackSettings,
    context: AzureContext,
    network: Network,
    identities: dict[str, WorkloadIdentity],
    administrators: tuple[roles.Administrator, ...],
) -> WeightStorage:
    return WeightStorage(
        "weights",
        WeightStorageArgs(
            context=context,
            network=network,
            readers={who: identities[who].principal_id for who in ("shard", "copy") if who in identities},
            writers={who: identities[who].principal_id for who in ("fetch",) if who in identities},
            uploaders=administrators,
            # Whoever may reach the API server may upload; with a private cluster nobody may from outside.
            upload_from=() if settings.cluster.private else settings.cluster.authorized_ip_ranges,
            zone_redundant=bool(settings.cluster.zones),
            protect=settings.azure.protect,
        ),
    )


def _redis(
    settings: StackSettings,
    plan: Plan,
    context: AzureContext,
    network: Network,
    identities: dict[str, WorkloadIdentity],
) -> RedisCache | None:
    if plan.redis_sku is None:
        return None
    return RedisCache(
        "redis",
        RedisCacheArgs(
            context=context,
            network=network,
            sku=plan.redis_sku,
            high_availability=settings.redis.high_availability,
            users={who: identities[who].principal_id for who in _SERVERS},
            protect=settings.azure.protect,
        ),
    )


def _watch(settings: StackSettings, context: AzureContext, cluster: Cluster, today: datetime.date) -> None:
    """What is only there when asked for: metrics, logs, budget."""
    if settings.monitoring.managed_prometheus:
        ManagedPrometheus("managed-prometheus", ManagedPrometheusArgs(context=context, cluster_id=cluster.cluster_id))
    if settings.cluster.control_plane_logs:
        ControlPlaneLogs("control-plane-logs", ControlPlaneLogsArgs(context=context, cluster_id=cluster.cluster_id))
    if settings.budget.monthly_usd is not None:
        budget("budget", BudgetArgs(context=context, settings=settings.budget, monthly=settings.budget.monthly_usd, month=today))
