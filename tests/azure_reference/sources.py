"""Which published model judges the body of each Azure resource, and at which version of the API.

The packages are Microsoft's own clients for Python, generated from the specifications that Azure publishes; `wheels.txt` pins their hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
WHEELS = HERE / "wheels.txt"
MODELS = HERE / "models.json"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One module with models, and those of its models that are bodies of resources."""

    package: str
    """The version that `wheels.txt` pins."""
    module: str
    """Where in the package the models are."""
    api_version: str
    """The version of the API that the module describes."""
    bodies: dict[str, str]
    """azure-native's type, without the package: the model."""
    instead_of: str = ""
    """The version that azure-native sends, where no package describes it."""


SOURCES = (
    Source(
        package="azure-mgmt-containerservice==40.1.0",
        module="azure/mgmt/containerservice/models",
        api_version="2025-09-01",
        bodies={
            "containerservice:ManagedCluster": "ManagedCluster",
            "containerservice:AgentPool": "AgentPool",
            "containerservice:MaintenanceConfiguration": "MaintenanceConfiguration",
        },
    ),
    Source(
        package="azure-mgmt-network==28.1.0",
        module="azure/mgmt/network/models",
        api_version="2024-05-01",
        bodies={
            "network:VirtualNetwork": "VirtualNetwork",
            "network:Subnet": "Subnet",
            "network:NatGateway": "NatGateway",
            "network:PublicIPAddress": "PublicIPAddress",
            "network:NetworkSecurityGroup": "NetworkSecurityGroup",
            "network:PrivateEndpoint": "PrivateEndpoint",
            "network:PrivateDnsZoneGroup": "PrivateDnsZoneGroup",
        },
    ),
    Source(
        package="azure-mgmt-privatedns==2.0.0",
        module="azure/mgmt/privatedns/models",
        api_version="2024-06-01",
        bodies={"privatedns:PrivateZone": "PrivateZone", "privatedns:VirtualNetworkLink": "VirtualNetworkLink"},
    ),
    Source(
        package="azure-mgmt-redisenterprise==3.1.0",
        module="azure/mgmt/redisenterprise/models",
        api_version="2025-07-01",
        bodies={
            "redisenterprise:RedisEnterprise": "Cluster",
            "redisenterprise:Database": "Database",
            "redisenterprise:AccessPolicyAssignment": "AccessPolicyAssignment",
        },
    ),
    Source(
        package="azure-mgmt-storage==22.1.0",
        module="azure/mgmt/storage/v2024_01_01/models",
        api_version="2024-01-01",
        bodies={
            "storage:StorageAccount": "StorageAccountCreateParameters",
            "storage:BlobContainer": "BlobContainer",
            "storage:BlobServiceProperties": "BlobServiceProperties",
        },
    ),
    Source(
        package="azure-mgmt-containerregistry==14.0.0",
        module="azure/mgmt/containerregistry/v2023_01_01_preview/models",
        api_version="2023-01-01-preview",
        bodies={"containerregistry:Registry": "Registry"},
    ),
    Source(
        package="azure-mgmt-msi==7.0.0",
        module="azure/mgmt/msi/v2023_01_31/models",
        api_version="2023-01-31",
        bodies={
            "managedidentity:UserAssignedIdentity": "Identity",
            "managedidentity:FederatedIdentityCredential": "FederatedIdentityCredential",
        },
    ),
    Source(
        package="azure-mgmt-authorization==4.0.0",
        module="azure/mgmt/authorization/v2022_04_01/models",
        api_version="2022-04-01",
        bodies={"authorization:RoleAssignment": "RoleAssignmentCreateParameters"},
    ),
    Source(
        package="azure-mgmt-consumption==11.0.0",
        module="azure/mgmt/consumption/models",
        api_version="2024-08-01",
        bodies={"consumption:Budget": "Budget"},
    ),
    Source(
        package="azure-mgmt-monitor==6.0.2",
        module="azure/mgmt/monitor/v2022_06_01/models",
        api_version="2022-06-01",
        bodies={
            "monitor:DataCollectionEndpoint": "DataCollectionEndpointResource",
            "monitor:DataCollectionRule": "DataCollectionRuleResource",
            "monitor:DataCollectionRuleAssociation": "DataCollectionRuleAssociationProxyOnlyResource",
        },
    ),
    Source(
        package="azure-mgmt-monitor==6.0.2",
        module="azure/mgmt/monitor/v2021_05_01_preview/models",
        api_version="2021-05-01-preview",
        bodies={"monitor:DiagnosticSetting": "DiagnosticSettingsResource"},
    ),
    Source(
        package="azure-mgmt-monitor==7.0.0",
        module="azure/mgmt/monitor/models",
        api_version="2023-04-03",
        bodies={"monitor:AzureMonitorWorkspace": "AzureMonitorWorkspaceResource"},
    ),
    Source(
        package="azure-mgmt-loganalytics==13.1.1",
        module="azure/mgmt/loganalytics/models",
        api_version="2025-07-01",
        instead_of="2023-09-01",
        bodies={"operationalinsights:Workspace": "Workspace"},
    ),
    Source(
        package="azure-mgmt-resource==23.4.0",
        module="azure/mgmt/resource/resources/v2024_07_01/models",
        api_version="2024-07-01",
        instead_of="2024-03-01",
        bodies={"resources:ResourceGroup": "ResourceGroup"},
    ),
)


def requirements() -> list[str]:
    """The lines of `wheels.txt`."""
    return [line for line in WHEELS.read_text().splitlines() if not line.startswith("#")]
