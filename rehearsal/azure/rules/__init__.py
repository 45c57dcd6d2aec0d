"""The rules by which Azure refuses requests: plain functions with their sources, in the order in which Azure would report them."""

from __future__ import annotations

from collections.abc import Callable

from rehearsal.azure.rules import access, changes, cluster, data, names, network, pool_changes, pools
from rehearsal.azure.rules.base import Refused, Request, group_exists, parent_exists, region_exists

__all__ = ["Refused", "Request", "check_delete", "check_write"]

Rule = Callable[[Request], None]

_ALL: list[Rule] = [names.name_is_valid, group_exists, parent_exists, region_exists, names.name_is_free]
_WRITE: dict[str, list[Rule]] = {
    "VirtualNetwork": [network.virtual_network],
    "Subnet": [network.subnet],
    "NatGateway": [network.nat_gateway],
    "PublicIPAddress": [network.public_ip],
    "PrivateEndpoint": [network.private_endpoint],
    "PrivateDnsZoneGroup": [network.zone_group],
    "PrivateZone": [network.private_zone],
    "VirtualNetworkLink": [network.zone_link],
    "NetworkSecurityGroup": [network.security_rules],
    "ManagedCluster": [cluster.managed_cluster],
    "AgentPool": [pools.agent_pool],
    "MaintenanceConfiguration": [cluster.maintenance],
    "FederatedIdentityCredential": [access.federated_credential],
    "RoleAssignment": [access.role_assignment],
    "Registry": [data.registry],
    "StorageAccount": [data.storage_account],
    "Vault": [data.vault],
    "RedisEnterprise": [data.redis],
    "Database": [data.redis_database],
    "AccessPolicyAssignment": [data.redis_access],
    "Budget": [access.budget],
    "ActionGroup": [access.action_group],
    "DataCollectionRule": [access.references],
    "DataCollectionRuleAssociation": [access.references],
    "DiagnosticSetting": [access.references],
    "MetricAlert": [access.references],
    "PrometheusRuleGroup": [access.prometheus_rules],
}
_UPDATE: dict[str, Rule] = {
    "ManagedCluster": changes.managed_cluster,
    "VirtualNetwork": changes.virtual_network,
    "Subnet": changes.subnet,
    "PublicIPAddress": changes.zones,
    "NatGateway": changes.zones,
    "PrivateEndpoint": changes.private_endpoint,
    "VirtualNetworkLink": changes.zone_link,
    "RoleAssignment": changes.role_assignment,
    "StorageAccount": changes.storage_account,
    "RedisEnterprise": changes.redis,
    "Database": changes.redis_database,
}
_DELETE: list[Rule] = [network.deletable]


def check_write(request: Request) -> None:
    """Raises Refused if Azure would not create or update this."""
    for rule in [*_ALL, *_WRITE.get(request.kind.short, [])]:
        rule(request)
    if request.old is not None and request.kind.short in _UPDATE:
        _UPDATE[request.kind.short](request)


def check_delete(request: Request) -> None:
    """Raises Refused if Azure would not delete this now."""
    for rule in _DELETE + ([pool_changes.deletable_pool] if request.kind.short == "AgentPool" else []):
        rule(request)
