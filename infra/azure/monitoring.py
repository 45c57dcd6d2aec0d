"""Managed Prometheus: metrics of the cluster in an Azure Monitor workspace, beside the Prometheus inside the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import monitor

from infra.azure.context import AzureContext
from settings.account import Effect, Resource

STREAM = "Microsoft-PrometheusMetrics"


@dataclass(frozen=True, kw_only=True)
class ManagedPrometheusArgs:
    context: AzureContext
    cluster_id: pulumi.Input[str]


class ManagedPrometheus(pulumi.ComponentResource):
    """Workspace, endpoint, rule, and the rule's link to the cluster.

    The agent in the cluster is the cluster's own setting (`azure_monitor_profile`, cluster.py). Not here: dashboards and alert
    rules, which live with the Prometheus in the cluster.
    Source: https://learn.microsoft.com/azure/azure-monitor/containers/kubernetes-monitoring-enable (its ARM template)
    """

    workspace_id: pulumi.Output[str]

    def __init__(self, name: str, args: ManagedPrometheusArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("zig-ai-aks:azure:ManagedPrometheus", name, None, opts)
        context, child = args.context, pulumi.ResourceOptions(parent=self)
        workspace = monitor.AzureMonitorWorkspace(
            f"{name}-workspace",
            resource_group_name=context.resource_group_name,
            location=context.location,
            azure_monitor_workspace_name=context.names.of("amw", 44),
            tags=context.tags,
            opts=child,
        )
        endpoint = monitor.DataCollectionEndpoint(
            f"{name}-endpoint",
            resource_group_name=context.resource_group_name,
            location=context.location,
            data_collection_endpoint_name=context.names.of("dce", 44),
            kind="Linux",
            tags=context.tags,
            opts=child,
        )
        rule = monitor.DataCollectionRule(
            f"{name}-rule",
            resource_group_name=context.resource_group_name,
            location=context.location,
            data_collection_rule_name=context.names.of("dcr", 44),
            kind="Linux",
            data_collection_endpoint_id=endpoint.id,
            data_sources=monitor.DataCollectionRuleDataSourcesArgs(
                prometheus_forwarder=[monitor.PrometheusForwarderDataSourceArgs(name="prometheus", streams=[STREAM])]
            ),
            destinations=monitor.DataCollectionRuleDestinationsArgs(
                monitoring_accounts=[monitor.MonitoringAccountDestinationArgs(name="workspace", account_resource_id=workspace.id)]
            ),
            data_flows=[monitor.DataFlowArgs(streams=[STREAM], destinations=["workspace"])],
            tags=context.tags,
            opts=child,
        )
        monitor.DataCollectionRuleAssociation(
            f"{name}-association",
            association_name=context.names.of("dcra", 44),
            resource_uri=args.cluster_id,
            data_collection_rule_id=rule.id,
            opts=child,
        )
        self.workspace_id = workspace.id
        self.register_outputs({"workspace_id": self.workspace_id})


def effects() -> Iterator[Effect]:
    """The whole component is the setting, and a field of the cluster (`cluster.py`)."""
    yield Resource("Pulumi resource", "managed-prometheus").effect("monitoring.managedPrometheus")
