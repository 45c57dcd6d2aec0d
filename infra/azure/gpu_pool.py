"""GPU node pools: how one is configured, and how it is replaced without a gap.

An AKS node pool takes its machine size, disk, kubelet and kernel configuration, zones and priority at creation only. The
pool's Azure name carries a hash of all of these, so a change of any of them asks for a pool of another name, which can
exist beside the old one. Labels, taints, node counts and upgrade settings change in place and are not in the hash.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_azure_native import containerservice as aks
from pydantic.alias_generators import to_camel

from infra import naming
from infra.azure import sysctls
from infra.azure.context import AzureContext
from infra.kubernetes import names
from planner.catalogue.aks_reservations import MAX_PODS_PER_NODE
from planner.catalogue.local_disk import os_disk_type
from planner.fit.plan import GpuPoolPlan, Plan
from settings.account import Effect, Resource, not_read, path_text
from settings.error_messages import key_text
from settings.operations import NodeTuning
from settings.platform import GpuPool as GpuPoolSettings
from settings.platform import Rollout

GPU_MODEL_LABEL = "zig-ai.io/gpu-model"
GPU_TAINT = f"{names.GPU_TAINT}=true:NoSchedule"
# AKS adds these to spot pools by itself. Written out they are part of the inputs, and a refresh shows no difference.
# Source: MicrosoftDocs/azure-aks-docs articles/aks/spot-node-pool.md
SPOT_LABEL = {names.SPOT_TAINT: "spot"}
SPOT_TAINT = f"{names.SPOT_TAINT}=spot:NoSchedule"


@dataclass(frozen=True, kw_only=True)
class MachineArgs:
    """What a pool's machines are, which is for the pool's life."""

    plan: GpuPoolPlan
    settings: GpuPoolSettings
    tuning: NodeTuning
    weights_on_node: bool
    """Whether a local disk is for weights."""
    encryption_at_host: bool
    base_name: str = "gpu"
    """First letters of the pool's Azure name, different for each pool of a cluster."""

    @property
    def azure_name(self) -> str:
        """The pool's name in Azure, another one for other machines."""
        return naming.pool_name(self.base_name, fixed_at_creation(self))


@dataclass(frozen=True, kw_only=True)
class GpuPoolArgs(MachineArgs):
    context: AzureContext
    cluster_name: pulumi.Input[str]
    subnet_id: pulumi.Input[str]
    kubernetes_version: str
    rollout: Rollout
    node_counts: Mapping[str, int] = field(default_factory=dict)
    """How many nodes each pool that runs has now, by name."""


def machines(plan: Plan) -> tuple[MachineArgs, ...]:
    """Returns the machines of each pool of a plan.

    The first is named as an only pool is and the others after their zone, so that a further pipeline brings a pool and replaces none.
    """
    settings, on_node = plan.settings, plan.weights.on_node
    return tuple(
        MachineArgs(
            plan=pool,
            settings=settings.gpu_pool,
            tuning=settings.node_tuning,
            weights_on_node=on_node,
            encryption_at_host=settings.cluster.encryption_at_host,
            base_name=f"gpuz{pool.zones[0]}" if place else "gpu",
        )
        for place, pool in enumerate(plan.gpu_pools)
    )


def gpu_pool(name: str, args: GpuPoolArgs, *, parent: pulumi.Resource, after: pulumi.Resource | None = None) -> aks.AgentPool:
    """One GPU node pool.

    A replacement starts the new pool first and deletes the old one at the end of the update, so it needs quota for both; AKS
    evicts the old one's pods within their disruption budgets (MicrosoftDocs/azure-aks-docs articles/aks/delete-node-pool.md).
    `after` is a pool of the same cluster whose changes come first.
    Not here: the device plugin and huge pages, which DaemonSets bring (infra/kubernetes).
    """
    pool_name = args.azure_name
    return aks.AgentPool(
        name,
        resource_group_name=args.context.resource_group_name,
        resource_name_=args.cluster_name,
        agent_pool_name=pool_name,
        vnet_subnet_id=args.subnet_id,
        orchestrator_version=args.kubernetes_version,
        node_labels=_labels(args),
        node_taints=[GPU_TAINT, *([SPOT_TAINT] if args.settings.spot else [])],
        # An update must name the nodes of now: AKS refuses another number for a pool that scales itself, or takes nodes from under running
        # pipelines to reach it (docs/adr/0018). A pool that is made gets what the plan needs.
        count=args.node_counts.get(pool_name, args.plan.nodes),
        enable_auto_scaling=True,
        min_count=args.plan.min_nodes,
        max_count=args.plan.max_nodes,
        upgrade_settings=None if args.settings.spot else _upgrade_settings(args),
        scale_down_mode="Delete",
        # From 1.37 on AKS may turn it on in pools that do not say this. Pods would then ask a resolver on the node, which the
        # deny-by-default policies do not let them reach. Source: https://learn.microsoft.com/azure/aks/localdns-custom
        local_dns_profile=aks.LocalDNSProfileArgs(mode="Disabled"),
        tags=args.context.tags,
        **_as_arguments(fixed_at_creation(args)),
        opts=pulumi.ResourceOptions(
            parent=parent,
            # AKS may answer 409 OperationNotAllowed while another pool of the cluster changes, which azure-native does not try again.
            # Source: pulumi/pulumi-azure-native provider/pkg/azure/client_azcore.go, Azure/AKS issue 2720
            depends_on=[after] if after else [],
            # azure-native asks for delete-before-replace whenever a resource is not randomly named. The new pool has a new name,
            # so both can exist, and the service keeps its GPUs until the new ones are there.
            # Source: pulumi/pulumi-azure-native provider/pkg/provider/provider.go, Diff
            delete_before_replace=False,
        ),
    )


def fixed_at_creation(args: MachineArgs) -> dict[str, Any]:
    """Everything AKS takes at a pool's creation only, by SDK argument; its hash names the pool.

    The provider itself replaces a pool for `vmSize` and little else and would send the rest as an update, which AKS refuses; the
    changed name makes it replace for all of them, so no `replace_on_changes` is needed. The subnet is left out: its name
    follows from prefix and stack, which make a new cluster when they change.
    """
    settings = args.settings
    fixed: dict[str, Any] = {
        "vm_size": args.plan.size.name,
        "mode": "User",
        "type": "VirtualMachineScaleSets",
        "os_type": "Linux",
        "os_sku": "Ubuntu",
        "os_disk_type": os_disk_type(args.plan.size, settings.os_disk_gib, for_weights=args.weights_on_node),
        "os_disk_size_gb": settings.os_disk_gib,
        "availability_zones": sorted(args.plan.zones) or None,
        # The planner subtracts what AKS reserves for as many pods.
        "max_pods": MAX_PODS_PER_NODE,
        "enable_fips": False,
        "enable_node_public_ip": False,
        "gpu_profile": {"driver": "Install"},
        "kubelet_config": {
            "cpu_manager_policy": settings.cpu_manager_policy,
            "topology_manager_policy": settings.topology_manager_policy,
        },
        "linux_os_config": {
            "transparent_huge_page_enabled": args.tuning.transparent_huge_pages,
            "sysctls": sysctls.to_azure(settings.sysctls) or None,
        },
        "scale_set_priority": "Regular",
    }
    if args.encryption_at_host:
        fixed |= {"enable_encryption_at_host": True}
    if settings.mig:
        fixed |= {"gpu_instance_profile": settings.mig}
    if settings.spot:
        # -1: never evicted for price, at most the price of a regular machine.
        fixed |= {"scale_set_priority": "Spot", "scale_set_eviction_policy": "Delete", "spot_max_price": -1.0}
    return fixed


def _as_arguments(fixed: dict[str, Any]) -> dict[str, Any]:
    """The same, with the SDK's argument classes where it has them."""
    kernel = fixed["linux_os_config"]
    return fixed | {
        "gpu_profile": aks.GPUProfileArgs(**fixed["gpu_profile"]),
        "kubelet_config": aks.KubeletConfigArgs(**fixed["kubelet_config"]),
        "linux_os_config": aks.LinuxOSConfigArgs(
            transparent_huge_page_enabled=kernel["transparent_huge_page_enabled"],
            sysctls=aks.SysctlConfigArgs(**kernel["sysctls"]) if kernel["sysctls"] else None,
        ),
    }


def _labels(args: GpuPoolArgs) -> dict[str, str]:
    return {**names.GPU_NODE_LABEL, GPU_MODEL_LABEL: naming.slug(args.plan.size.gpu), **(SPOT_LABEL if args.settings.spot else {})}


def _upgrade_settings(args: GpuPoolArgs) -> aks.AgentPoolUpgradeSettingsArgs:
    """How nodes are replaced in an upgrade. Spot pools have none: AKS neither surges nor drains them (spot-node-pool.md)."""
    # A disruption budget lets one pipeline go at a time: a drain waits until requests have ended and the same pipeline's
    # weights are loaded elsewhere. The API takes 1 to 1440 minutes.
    seconds = args.rollout.termination_grace.seconds + args.rollout.model_load_timeout.seconds
    return aks.AgentPoolUpgradeSettingsArgs(
        max_surge=args.settings.max_surge,
        # Written out in both cases, since AKS may keep what an update does not name. More than one node at a time would win nothing: the
        # disruption budget lets one pipeline go at a time.
        max_unavailable="1" if args.settings.max_surge == "0" else "0",
        drain_timeout_in_minutes=min(1440, math.ceil(seconds / 60) + 5),
        # A node that will not drain is set aside, and the upgrade goes on with the others.
        undrainable_node_behavior="Cordon",
    )


_FIELDS = {
    "gpuPool.vmSize": ("vmSize", "count", path_text("nodeLabels", GPU_MODEL_LABEL)),
    "gpuPool.minNodes": ("minCount", "count"),
    "gpuPool.maxNodes": ("maxCount",),
    "gpuPool.mig": ("gpuInstanceProfile",),
    "gpuPool.osDiskGib": ("osDiskSizeGB", "osDiskType"),
    "gpuPool.cpuManagerPolicy": ("kubeletConfig.cpuManagerPolicy",),
    "gpuPool.topologyManagerPolicy": ("kubeletConfig.topologyManagerPolicy",),
    "gpuPool.sysctls": ("linuxOSConfig.sysctls",),
    "nodeTuning.transparentHugePages": ("linuxOSConfig.transparentHugePageEnabled",),
    "cluster.kubernetesVersion": ("orchestratorVersion",),
    "cluster.encryptionAtHost": ("enableEncryptionAtHost",),
    "rollout.modelLoadTimeout": ("upgradeSettings.drainTimeoutInMinutes",),
    "rollout.terminationGrace": ("upgradeSettings.drainTimeoutInMinutes",),
    "caching.l2Cache.enabled": ("osDiskType",),
    "gpuPool.spot": (
        "scaleSetPriority",
        "scaleSetEvictionPolicy",
        "spotMaxPrice",
        path_text("nodeLabels", names.SPOT_TAINT),
        "nodeTaints",
        "upgradeSettings",
    ),
}
"""Settings, and the fields of every GPU pool that they are."""


def effects(plan: Plan) -> Iterator[Effect]:
    """The settings that the GPU pools answer."""
    pools, settings = Resource("AgentPool", "gpu*"), plan.settings.gpu_pool
    for key, paths in _FIELDS.items():
        yield from (pools.effect(key, path) for path in paths)
    surge = [pools.effect("gpuPool.maxSurge", f"upgradeSettings.{field}") for field in ("maxSurge", "maxUnavailable")]
    yield from not_read(surge, "gpuPool.spot", "true") if settings.spot else surge
    # Each pool has its pipelines' share of the nodes, and one more pipeline may be one more pool.
    for key in ("sharding.pipelines", "sharding.shardsCount", "autoscaling.enabled", "autoscaling.maxPipelines"):
        yield pools.effect(key)
    used = sorted({zone for part in plan.gpu_pools for zone in part.zones})
    fewer = {
        "outcome": "translated",
        "given": f"zone {', '.join(used)}",
        "because": "each pipeline stays in one zone, and there are fewer of them than zones",
        "source": "planner/fit/layout.py",
    }
    yield pools.effect("gpuPool.zones", "availabilityZones", **({} if used == sorted(settings.zones) else fewer))
    for name in settings.sysctls:
        field = to_camel(sysctls.ARGUMENTS[name])
        yield pools.effect(key_text(("gpuPool", "sysctls", name)), f"linuxOSConfig.sysctls.{field}")
