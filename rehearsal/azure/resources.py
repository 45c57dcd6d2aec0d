"""Which Azure resources the stand-in knows, and how an id is made.

The id templates are ARM's resource ids with the wire names of the azure-native inputs in braces. Everything in a template
forces a replacement when it changes, as in the real provider; what else does is in `replacements.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_GROUP = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}"


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """One Azure resource type: `token` in Pulumi, `arm` in Azure."""

    token: str
    arm: str
    id_template: str
    name: str  # input property that holds the name
    fixed_name: str | None = None  # resources that have one name only, e.g. blob service "default"

    @property
    def short(self) -> str:
        """The last part of the token: `AgentPool` of `azure-native:containerservice:AgentPool`."""
        return self.token.rsplit(":", 1)[1]

    @property
    def id_parts(self) -> list[str]:
        """The inputs that the id contains, without the subscription."""
        return [part for part in re.findall(r"{(\w+)}", self.id_template) if part != "subscriptionId"]

    @property
    def closed(self) -> bool:
        """Whether the service refuses a value that the SDK's lists do not name. AKS does (InvalidParameter); others take more."""
        return self.arm.startswith("Microsoft.ContainerService/")


def _in_group(token: str, arm: str, *names: str, fixed_name: str | None = None) -> ResourceType:
    """Returns a type in a resource group; `names` are the name properties from the outermost parent to the resource."""
    provider, *kinds = arm.split("/")
    path = "".join(f"/{kind}/{{{name}}}" for kind, name in zip(kinds, names, strict=True))
    return ResourceType(
        token=f"azure-native:{token}",
        arm=arm,
        id_template=f"{_GROUP}/providers/{provider}{path}",
        name=names[-1],
        fixed_name=fixed_name,
    )


def _on_scope(token: str, arm: str, scope: str, name: str) -> ResourceType:
    """Returns a type that extends another resource; `scope` is the property with that resource's id."""
    return ResourceType(
        token=f"azure-native:{token}",
        arm=arm,
        id_template=f"{{{scope}}}/providers/{arm}/{{{name}}}",
        name=name,
    )


_TYPES = [
    ResourceType(
        token="azure-native:resources:ResourceGroup",
        arm="Microsoft.Resources/resourceGroups",
        id_template=_GROUP,
        name="resourceGroupName",
    ),
    # network
    _in_group("network:VirtualNetwork", "Microsoft.Network/virtualNetworks", "virtualNetworkName"),
    _in_group("network:Subnet", "Microsoft.Network/virtualNetworks/subnets", "virtualNetworkName", "subnetName"),
    _in_group("network:NatGateway", "Microsoft.Network/natGateways", "natGatewayName"),
    _in_group(
        "network:PublicIPAddress",
        "Microsoft.Network/publicIPAddresses",
        "publicIpAddressName",
    ),
    _in_group("network:NetworkSecurityGroup", "Microsoft.Network/networkSecurityGroups", "networkSecurityGroupName"),
    _in_group(
        "network:SecurityRule",
        "Microsoft.Network/networkSecurityGroups/securityRules",
        "networkSecurityGroupName",
        "securityRuleName",
    ),
    _in_group(
        "network:PrivateEndpoint",
        "Microsoft.Network/privateEndpoints",
        "privateEndpointName",
    ),
    _in_group(
        "network:PrivateDnsZoneGroup",
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
        "privateEndpointName",
        "privateDnsZoneGroupName",
    ),
    _in_group("privatedns:PrivateZone", "Microsoft.Network/privateDnsZones", "privateZoneName"),
    _in_group(
        "privatedns:VirtualNetworkLink",
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
        "privateZoneName",
        "virtualNetworkLinkName",
    ),
    # Kubernetes
    _in_group(
        "containerservice:ManagedCluster",
        "Microsoft.ContainerService/managedClusters",
        "resourceName",
    ),
    _in_group(
        "containerservice:AgentPool",
        "Microsoft.ContainerService/managedClusters/agentPools",
        "resourceName",
        "agentPoolName",
    ),
    _in_group(
        "containerservice:MaintenanceConfiguration",
        "Microsoft.ContainerService/managedClusters/maintenanceConfigurations",
        "resourceName",
        "configName",
    ),
    # identity and access
    _in_group("managedidentity:UserAssignedIdentity", "Microsoft.ManagedIdentity/userAssignedIdentities", "resourceName"),
    _in_group(
        "managedidentity:FederatedIdentityCredential",
        "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
        "resourceName",
        "federatedIdentityCredentialResourceName",
    ),
    _on_scope(
        "authorization:RoleAssignment",
        "Microsoft.Authorization/roleAssignments",
        "scope",
        "roleAssignmentName",
    ),
    _on_scope("authorization:ManagementLockByScope", "Microsoft.Authorization/locks", "scope", "lockName"),
    # data
    _in_group("containerregistry:Registry", "Microsoft.ContainerRegistry/registries", "registryName"),
    _in_group(
        "storage:StorageAccount",
        "Microsoft.Storage/storageAccounts",
        "accountName",
    ),
    _in_group(
        "storage:BlobContainer",
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        "accountName",
        "blobServicesName",
        "containerName",
    ),
    _in_group(
        "storage:BlobServiceProperties",
        "Microsoft.Storage/storageAccounts/blobServices",
        "accountName",
        "blobServicesName",
        fixed_name="default",
    ),
    _in_group(
        "storage:ManagementPolicy",
        "Microsoft.Storage/storageAccounts/managementPolicies",
        "accountName",
        "managementPolicyName",
        fixed_name="default",
    ),
    _in_group("keyvault:Vault", "Microsoft.KeyVault/vaults", "vaultName"),
    _in_group("keyvault:Secret", "Microsoft.KeyVault/vaults/secrets", "vaultName", "secretName"),
    _in_group("redisenterprise:RedisEnterprise", "Microsoft.Cache/redisEnterprise", "clusterName"),
    _in_group(
        "redisenterprise:Database",
        "Microsoft.Cache/redisEnterprise/databases",
        "clusterName",
        "databaseName",
    ),
    _in_group(
        "redisenterprise:AccessPolicyAssignment",
        "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments",
        "clusterName",
        "databaseName",
        "accessPolicyAssignmentName",
    ),
    # monitoring and cost
    _in_group("monitor:AzureMonitorWorkspace", "Microsoft.Monitor/accounts", "azureMonitorWorkspaceName"),
    _in_group("monitor:DataCollectionEndpoint", "Microsoft.Insights/dataCollectionEndpoints", "dataCollectionEndpointName"),
    _in_group("monitor:DataCollectionRule", "Microsoft.Insights/dataCollectionRules", "dataCollectionRuleName"),
    _on_scope(
        "monitor:DataCollectionRuleAssociation",
        "Microsoft.Insights/dataCollectionRuleAssociations",
        "resourceUri",
        "associationName",
    ),
    _in_group("monitor:ActionGroup", "Microsoft.Insights/actionGroups", "actionGroupName"),
    _on_scope("monitor:DiagnosticSetting", "Microsoft.Insights/diagnosticSettings", "resourceUri", "name"),
    _in_group("monitor:MetricAlert", "Microsoft.Insights/metricAlerts", "ruleName"),
    _in_group("alertsmanagement:PrometheusRuleGroup", "Microsoft.AlertsManagement/prometheusRuleGroups", "ruleGroupName"),
    _in_group("operationalinsights:Workspace", "Microsoft.OperationalInsights/workspaces", "workspaceName"),
    _in_group("applicationinsights:Component", "Microsoft.Insights/components", "resourceName"),
    _in_group("dashboard:Grafana", "Microsoft.Dashboard/grafana", "workspaceName"),
    _on_scope("consumption:Budget", "Microsoft.Consumption/budgets", "scope", "budgetName"),
    _on_scope("costmanagement:Budget", "Microsoft.CostManagement/budgets", "scope", "budgetName"),
]

RESOURCE_TYPES: dict[str, ResourceType] = {kind.token: kind for kind in _TYPES}

# What is not an input of the SDK's type but a part of its id.
FIXED_ID_PARTS = {"blobServicesName": "default", "managementPolicyName": "default", "databaseName": "default"}


def resource_id(kind: ResourceType, inputs: dict, subscription_id: str) -> str:
    """Returns the ARM id of a resource with these inputs."""
    values = {**FIXED_ID_PARTS, **inputs, "subscriptionId": subscription_id}
    if "scope" in values and isinstance(values["scope"], str):
        values["scope"] = values["scope"].rstrip("/")
    if "resourceUri" in values and isinstance(values["resourceUri"], str):
        values["resourceUri"] = "/" + values["resourceUri"].strip("/")
    return kind.id_template.format(**values)


def group_of(resource: str) -> str | None:
    """Returns the id of the resource group in an ARM id, in lower case, or None outside a group."""
    match = re.match(r"(/subscriptions/[^/]+/resourcegroups/[^/]+)", resource.lower())
    return match.group(1) if match else None


def parent_of(resource: str) -> str | None:
    """Returns the id of the resource that `resource` is a part of, in lower case, or None if it is not a part of one."""
    if "/providers/" not in resource.lower():
        return None  # a resource group
    head, _, tail = resource.lower().rpartition("/providers/")
    parts = tail.split("/")
    if len(parts) > 3:
        return f"{head}/providers/" + "/".join(parts[:-2])
    return head if "/providers/" in head else None  # an extension's scope
