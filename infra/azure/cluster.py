"""The AKS cluster with its system pool and maintenance windows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pulumi
from pulumi_azure_native import containerservice as aks

from infra.azure import kubeconfig, roles
from infra.azure.context import AzureContext, answered
from infra.azure.identity import Identity, identity
from infra.azure.network import Network
from infra.naming import Names
from settings.account import Effect, Resource
from settings.platform import Cluster as ClusterSettings
from settings.platform import Network as NetworkSettings

SYSTEM_POOL = "system"
SYSTEM_SURGE = "33%"
"""Nodes that an upgrade of the system pool adds for a while."""
SYSTEM_MAX_PODS = 110
"""Every pod a node may hold costs it 20 MB of reserved memory, a quarter of a small node at the overlay's default of 250."""


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    context: AzureContext
    network: Network
    settings: ClusterSettings
    addresses: NetworkSettings
    kubelet: Identity
    """What the nodes are to Azure: they pull images as it."""
    termination_grace_seconds: int
    """How long the autoscaler lets the pods of a node finish before it removes the node."""
    managed_prometheus: bool
    protect: bool
    node_counts: Mapping[str, int] = field(default_factory=dict)
    """How many nodes each pool that runs has now, by name."""
    after: tuple[pulumi.Resource, ...] = ()
    """What the cluster must find done: grants that take minutes to be known everywhere."""


class Cluster(pulumi.ComponentResource):
    """Control plane, its identity, the system pool, and when Azure may upgrade them.

    Not here: GPU pools (gpu_pool.py), what runs inside (infra/kubernetes), who may pull images (registry.py), the
    collection of metrics and logs (monitoring.py, logs.py).
    """

    cluster_name: pulumi.Output[str]
    cluster_id: pulumi.Output[str]
    oidc_issuer_url: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    """Secret; asks Entra ID through `kubelogin` for whoever ran `az login`."""

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("zig-ai-aks:azure:Cluster", name, None, opts)
        self._name, self._args = name, args

        own = identity(f"{name}-identity", args.context.names.of("id-aks"), args.context, parent=self)
        cluster = self._managed_cluster(own, self._grants(own))
        self._maintenance_windows(cluster)

        self.cluster_name = cluster.name
        self.cluster_id = cluster.id
        # Asked for by name as the identities are (identity.py), since the preview of an update forgets it.
        known = aks.get_managed_cluster_output(resource_group_name=args.context.resource_group_name, resource_name=cluster.name)
        self.oidc_issuer_url = known.oidc_issuer_profile.apply(
            lambda profile: answered(profile.issuer_url if profile else None, "OIDC issuer")
        )
        self.kubeconfig = self._kubeconfig(cluster)
        self.register_outputs({"cluster_name": self.cluster_name, "cluster_id": self.cluster_id})

    def _grants(self, own: Identity) -> list[pulumi.Resource]:
        """What the control plane needs before there is a cluster: AKS refuses to make one, or stops half-way, without."""
        args = self._args
        return [
            roles.grant(
                f"{self._name}-subnet",
                roles.NETWORK_CONTRIBUTOR,
                args.context,
                # The subnet and not the VNet: nodes and internal load balancers take addresses there, nothing else is AKS's business.
                scope=args.network.nodes_subnet_id,
                principal_id=own.principal_id,
                parent=self,
            ),
            roles.grant(
                f"{self._name}-kubelet",
                # Source: MicrosoftDocs/azure-aks-docs articles/aks/use-managed-identity.md, pre-created kubelet identity
                roles.MANAGED_IDENTITY_OPERATOR,
                args.context,
                scope=args.kubelet.id,
                principal_id=own.principal_id,
                parent=self,
            ),
        ]

    def _managed_cluster(self, own: Identity, grants: list[pulumi.Resource]) -> aks.ManagedCluster:
        args, settings, context = self._args, self._args.settings, self._args.context
        return aks.ManagedCluster(
            self._name,
            resource_group_name=context.resource_group_name,
            location=context.location,
            resource_name_=context.names.cluster,
            dns_prefix=context.names.dns_prefix,
            node_resource_group=context.names.node_resource_group,
            # A change made by hand in the node resource group breaks the next upgrade: AKS denies it.
            node_resource_group_profile=aks.ManagedClusterNodeResourceGroupProfileArgs(restriction_level="ReadOnly"),
            sku=aks.ManagedClusterSKUArgs(name="Base", tier=settings.tier),
            support_plan="AKSLongTermSupport" if settings.tier == "Premium" else "KubernetesOfficial",
            kubernetes_version=settings.kubernetes_version,
            identity=aks.ManagedClusterIdentityArgs(type=aks.ResourceIdentityType.USER_ASSIGNED, user_assigned_identities=[own.id]),
            identity_profile={"kubeletidentity": aks.UserAssignedIdentityArgs(resource_id=args.kubelet.id)},
            enable_rbac=True,
            disable_local_accounts=True,
            aad_profile=aks.ManagedClusterAADProfileArgs(
                managed=True, enable_azure_rbac=True, admin_group_object_ids=list(settings.admin_group_object_ids)
            ),
            api_server_access_profile=_api_server_access(settings, args.network.outbound_ip),
            network_profile=_network_profile(args.addresses),
            agent_pool_profiles=[_system_pool(args)],
            auto_scaler_profile=_autoscaler(args.termination_grace_seconds),
            auto_upgrade_profile=aks.ManagedClusterAutoUpgradeProfileArgs(upgrade_channel="patch", node_os_upgrade_channel="NodeImage"),
            oidc_issuer_profile=aks.ManagedClusterOIDCIssuerProfileArgs(enabled=True),
            security_profile=aks.ManagedClusterSecurityProfileArgs(
                workload_identity=aks.ManagedClusterSecurityProfileWorkloadIdentityArgs(enabled=True),
                image_cleaner=aks.ManagedClusterSecurityProfileImageCleanerArgs(enabled=True, interval_hours=168),
            ),
            storage_profile=_storage_drivers(),
            # Nothing here reads a key vault, and the add-on would be two more pods on every node. Written out, because AKS keeps an
            # add-on that an update does not name (Azure/AKS#2904).
            addon_profiles={"azureKeyvaultSecretsProvider": aks.ManagedClusterAddonProfileArgs(enabled=False)},
            workload_auto_scaler_profile=aks.ManagedClusterWorkloadAutoScalerProfileArgs(
                keda=aks.ManagedClusterWorkloadAutoScalerProfileKedaArgs(enabled=True)
            ),
            # Cost by namespace; refused on the Free tier.
            metrics_profile=aks.ManagedClusterMetricsProfileArgs(
                cost_analysis=aks.ManagedClusterCostAnalysisArgs(enabled=settings.tier != "Free")
            ),
            azure_monitor_profile=aks.ManagedClusterAzureMonitorProfileArgs(
                metrics=aks.ManagedClusterAzureMonitorProfileMetricsArgs(enabled=args.managed_prometheus)
            ),
            tags=context.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=args.protect,
                depends_on=[*grants, *args.after],
            ),
        )

    def _maintenance_windows(self, cluster: aks.ManagedCluster) -> None:
        """One window for Kubernetes patches, one for node images. The names are AKS's own; each acts on its own kind of upgrade."""
        window = self._args.settings.maintenance
        windows = {"kubernetes": "aksManagedAutoUpgradeSchedule", "node-os": "aksManagedNodeOSUpgradeSchedule"}
        for label, config_name in windows.items():
            aks.MaintenanceConfiguration(
                f"{self._name}-{label}-upgrades",
                resource_group_name=self._args.context.resource_group_name,
                resource_name_=cluster.name,
                config_name=config_name,
                maintenance_window=aks.MaintenanceWindowArgs(
                    schedule=aks.ScheduleArgs(weekly=aks.WeeklyScheduleArgs(day_of_week=window.day, interval_weeks=1)),
                    start_time=window.start,
                    duration_hours=window.hours,
                    utc_offset="+00:00",
                ),
                # Azure fills in the day of creation, which would show as a change for ever after.
                opts=pulumi.ResourceOptions(parent=self, ignore_changes=["maintenanceWindow.startDate"]),
            )

    def _kubeconfig(self, cluster: aks.ManagedCluster) -> pulumi.Output[str]:
        credentials = aks.list_managed_cluster_user_credentials_output(
            resource_group_name=self._args.context.resource_group_name,
            resource_name=cluster.name,
            # "exec" runs kubelogin; "azure" is a login plugin that kubectl no longer has.
            format="exec",
        )
        return pulumi.Output.secret(
            credentials.apply(lambda found: kubeconfig.with_azure_cli_login(kubeconfig.decode(found.kubeconfigs[0].value)))
        )


def _api_server_access(settings: ClusterSettings, outbound_ip: pulumi.Output[str]) -> aks.ManagedClusterAPIServerAccessProfileArgs:
    # Nodes reach the API server through the NAT gateway, whose address AKS does not add by itself.
    nodes = outbound_ip.apply(lambda ip: f"{ip}/32")
    ranged = settings.authorized_ip_ranges and not settings.private
    return aks.ManagedClusterAPIServerAccessProfileArgs(
        enable_private_cluster=settings.private,
        private_dns_zone="system" if settings.private else None,
        authorized_ip_ranges=[*settings.authorized_ip_ranges, nodes] if ranged else None,
        # `az aks command invoke` is a way past the ranges, and only a private cluster has a use for it.
        # Source: https://learn.microsoft.com/rest/api/aks/managed-clusters/run-command
        disable_run_command=not settings.private,
    )


def _network_profile(addresses: NetworkSettings) -> aks.ContainerServiceNetworkProfileArgs:
    return aks.ContainerServiceNetworkProfileArgs(
        network_plugin="azure",
        network_plugin_mode="overlay",
        network_dataplane="cilium",
        network_policy="cilium",
        load_balancer_sku="standard",
        outbound_type="userAssignedNATGateway",
        pod_cidr=addresses.pod_cidr,
        service_cidr=addresses.service_cidr,
        # Any address of the range but the first, which is the API server's; .10 is what AKS takes for its own default range.
        dns_service_ip=str(ipaddress.ip_network(addresses.service_cidr)[10]),
    )


def _system_pool(args: ClusterArgs) -> aks.ManagedClusterAgentPoolProfileArgs:
    """The only nodes without GPUs: AKS's own pods, the coordinator, Prometheus and the controllers share them.

    So no CriticalAddonsOnly taint: it would take a third pool, that is at least one more machine, to keep a few small pods
    apart. Nor an OS disk size: left out, AKS takes the machine's local disk when that has 128 GiB and a managed one
    otherwise, so any size works.
    """
    settings = args.settings
    return aks.ManagedClusterAgentPoolProfileArgs(
        name=SYSTEM_POOL,
        mode="System",
        type="VirtualMachineScaleSets",
        vm_size=settings.system_pool.vm_size,
        # An update must name the nodes of now: AKS refuses another number for a pool that scales itself, or scales to it (docs/adr/0018).
        count=args.node_counts.get(SYSTEM_POOL, settings.system_pool.min_nodes),
        enable_auto_scaling=True,
        min_count=settings.system_pool.min_nodes,
        max_count=settings.system_pool.max_nodes,
        availability_zones=list(settings.zones) or None,
        os_type="Linux",
        os_sku="Ubuntu",
        max_pods=SYSTEM_MAX_PODS,
        vnet_subnet_id=args.network.nodes_subnet_id,
        orchestrator_version=settings.kubernetes_version,
        enable_node_public_ip=False,
        enable_fips=False,
        # Left out where it is off, which is AKS's default, so that nothing changes in a cluster that runs.
        enable_encryption_at_host=settings.encryption_at_host or None,
        upgrade_settings=aks.AgentPoolUpgradeSettingsArgs(max_surge=SYSTEM_SURGE, drain_timeout_in_minutes=30),
        # As in the GPU pools: pods may ask the cluster's own resolvers only.
        local_dns_profile=aks.LocalDNSProfileArgs(mode="Disabled"),
        tags=args.context.tags,
    )


def _autoscaler(termination_grace_seconds: int) -> aks.ManagedClusterPropertiesAutoScalerProfileArgs:
    """Applies to every pool that scales. Strings, as the API has them."""
    return aks.ManagedClusterPropertiesAutoScalerProfileArgs(
        # Shards keep scratch space and shared memory in emptyDir volumes; by default that alone keeps a GPU node for ever.
        skip_nodes_with_local_storage="false",
        max_graceful_termination_sec=str(termination_grace_seconds),
        # A GPU node needs its driver and the shard's image before it counts; the default is 15 minutes.
        max_node_provision_time="30m",
        scale_down_unneeded_time="10m",
        scale_down_delay_after_add="10m",
    )


def _storage_drivers() -> aks.ManagedClusterStorageProfileArgs:
    return aks.ManagedClusterStorageProfileArgs(
        blob_csi_driver=aks.ManagedClusterStorageProfileBlobCSIDriverArgs(enabled=True),
        disk_csi_driver=aks.ManagedClusterStorageProfileDiskCSIDriverArgs(enabled=True),
        file_csi_driver=aks.ManagedClusterStorageProfileFileCSIDriverArgs(enabled=True),
        snapshot_controller=aks.ManagedClusterStorageProfileSnapshotControllerArgs(enabled=True),
    )


_FIELDS = {
    "azure.network.podCidr": ("networkProfile.podCidr",),
    "azure.network.serviceCidr": ("networkProfile.serviceCidr", "networkProfile.dnsServiceIP"),
    "cluster.kubernetesVersion": ("kubernetesVersion", "agentPoolProfiles[system].orchestratorVersion"),
    "cluster.tier": ("sku.tier", "supportPlan", "metricsProfile.costAnalysis.enabled"),
    "cluster.private": (
        "apiServerAccessProfile.enablePrivateCluster",
        "apiServerAccessProfile.privateDNSZone",
        "apiServerAccessProfile.disableRunCommand",
    ),
    "cluster.authorizedIpRanges": ("apiServerAccessProfile.authorizedIPRanges",),
    "cluster.adminGroupObjectIds": ("aadProfile.adminGroupObjectIDs",),
    "cluster.systemPool.vmSize": ("agentPoolProfiles[system].vmSize",),
    "cluster.systemPool.minNodes": ("agentPoolProfiles[system].minCount", "agentPoolProfiles[system].count"),
    "cluster.systemPool.maxNodes": ("agentPoolProfiles[system].maxCount",),
    "cluster.encryptionAtHost": ("agentPoolProfiles[system].enableEncryptionAtHost",),
    "cluster.zones": ("agentPoolProfiles[system].availabilityZones",),
    "monitoring.managedPrometheus": ("azureMonitorProfile.metrics.enabled",),
    "rollout.terminationGrace": ("autoScalerProfile.maxGracefulTerminationSec",),
    # What the guide's annotation asks for, where AKS has it.
    "coordinator.service.annotations.service.beta.kubernetes.io/azure-load-balancer-sku": ("networkProfile.loadBalancerSku",),
}
"""Settings, and the fields of the managed cluster that they are."""
_WINDOW = {"day": "schedule.weekly.dayOfWeek", "start": "startTime", "hours": "durationHours"}


def effects(names: Names) -> Iterator[Effect]:
    """The settings that the cluster and its maintenance windows answer."""
    cluster = Resource("ManagedCluster", names.cluster)
    for key, paths in _FIELDS.items():
        yield from (cluster.effect(key, path) for path in paths)
    # A private cluster has no ranges: nothing outside reaches it.
    yield cluster.effect("cluster.private", "apiServerAccessProfile.authorizedIPRanges")
    for window in ("aksManagedAutoUpgradeSchedule", "aksManagedNodeOSUpgradeSchedule"):
        for name, path in _WINDOW.items():
            yield Resource("MaintenanceConfiguration", window).effect(f"cluster.maintenance.{name}", f"maintenanceWindow.{path}")
    # Whoever deploys needs a role of their own where no group is named.
    yield Resource("Pulumi resource", "cluster-admin-deployer").effect("cluster.adminGroupObjectIds")
    yield Resource("Pulumi resource", "cluster").effect("azure.protect", "protect")
