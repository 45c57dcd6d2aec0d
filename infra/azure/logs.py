"""What the control plane did and who asked it to, kept for a month."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import monitor, operationalinsights

from infra.azure.context import AzureContext
from settings.account import Effect, Resource

# Changes but not reads (kube-audit has those too, at many times the volume), sign-ins, why nodes came or did not come, and why a disk or a
# load balancer did not.
# Source: https://learn.microsoft.com/azure/aks/monitor-aks-reference#resource-logs
CATEGORIES = ("kube-audit-admin", "guard", "cluster-autoscaler", "kube-controller-manager", "cloud-controller-manager")
RETENTION_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class ControlPlaneLogsArgs:
    context: AzureContext
    cluster_id: pulumi.Input[str]


class ControlPlaneLogs(pulumi.ComponentResource):
    """A Log Analytics workspace and what the cluster sends there. Not here: logs of pods, which stay on the nodes."""

    workspace_id: pulumi.Output[str]

    def __init__(self, name: str, args: ControlPlaneLogsArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("zig-ai-aks:azure:ControlPlaneLogs", name, None, opts)
        context, child = args.context, pulumi.ResourceOptions(parent=self)
        workspace = operationalinsights.Workspace(
            f"{name}-workspace",
            resource_group_name=context.resource_group_name,
            location=context.location,
            workspace_name=context.names.of("log"),
            sku=operationalinsights.WorkspaceSkuArgs(name="PerGB2018"),
            retention_in_days=RETENTION_DAYS,
            # Diagnostic settings need no keys, so nobody gets in with one.
            features=operationalinsights.WorkspaceFeaturesArgs(disable_local_auth=True),
            tags=context.tags,
            opts=child,
        )
        monitor.DiagnosticSetting(
            f"{name}-control-plane",
            name="control-plane",
            resource_uri=args.cluster_id,
            workspace_id=workspace.id,
            # Own tables by category instead of one for all of Azure: cheaper to keep and to query.
            log_analytics_destination_type="Dedicated",
            logs=[monitor.DiagnosticsLogSettingsArgs(category=category, enabled=True) for category in CATEGORIES],
            opts=child,
        )
        self.workspace_id = workspace.id
        self.register_outputs({"workspace_id": self.workspace_id})


def effects() -> Iterator[Effect]:
    """The whole component is the setting."""
    yield Resource("Pulumi resource", "control-plane-logs").effect("cluster.controlPlaneLogs")
