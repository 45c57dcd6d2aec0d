# ruff: noqa: E501 - Azure's messages are one line each
"""What Azure refuses of an update: what is for life, and what something still uses.

Sources: hashicorp/terraform-provider-azurerm (which replaces where Azure refuses, and is tested on Azure); MicrosoftDocs/azure-aks-docs
articles/aks/private-clusters.md for a private cluster. Texts: zones Azure/AzOps issue 701; subnets terraform-provider-azurerm issue 11211;
storage terraform-provider-azurerm issue 6526; PropertyChangeNotAllowed is AKS's.
"""

from __future__ import annotations

from typing import Any

from rehearsal.azure.rules.base import Refused, Request, network
from rehearsal.azure.rules.network import fits, prefixes


def _at(inputs: dict[str, Any], path: str) -> Any:
    value: Any = inputs
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _was_and_is(request: Request, path: str) -> tuple[Any, Any]:
    assert request.old is not None
    return _at(request.old["inputs"], path), _at(request.inputs, path)


def managed_cluster(request: Request) -> None:
    """Whether the API server is private, and its zone, are for life (without API Server VNet Integration)."""
    for path in ("apiServerAccessProfile.enablePrivateCluster", "apiServerAccessProfile.privateDNSZone"):
        was, now = _was_and_is(request, path)
        if (was or False) != (now or False):
            raise Refused("PropertyChangeNotAllowed", f"Changing property 'properties.{path}' is not allowed.", f"properties.{path}")
    analysed, _ = _was_and_is(request, "metricsProfile.costAnalysis.enabled")
    if analysed and (_at(request.inputs, "sku.tier") or "Free") == "Free":
        # Rule: MicrosoftDocs/azure-aks-docs articles/aks/cost-analysis.md. The words are the stand-in's own.
        raise Refused(
            "BadRequest", f"Cluster {request.name} cannot be downgraded to the Free tier before cost analysis is disabled.", "sku.tier"
        )


def zones(request: Request) -> None:
    """The zones of an address or a NAT gateway are for life."""
    was, now = (sorted(value or []) for value in _was_and_is(request, "zones"))
    if was != now:
        raise Refused(
            "ResourceAvailabilityZonesCannotBeModified",
            f"Resource {request.id} has an existing availability zone constraint {', '.join(was) or 'NoZone'} and the request has availability zone constraint {', '.join(now) or 'NoZone'}, which do not match. Zones cannot be added/updated/removed once the resource is created. The resource cannot be updated from regional to zonal or vice-versa.",
        )


def subnet(request: Request) -> None:
    """A range stays while something has an address in it."""
    was, now = (set(prefixes(item)) for item in (request.old["inputs"] if request.old else {}, request.inputs))
    users = [
        user for user in request.cloud.users_of(request.id) if user["token"].endswith((":AgentPool", ":ManagedCluster", ":PrivateEndpoint"))
    ]
    if was - now and users:
        raise Refused(
            "InUsePrefixCannotBeDeleted",
            f"IpPrefix {min(was - now)} on Subnet {request.name} has active allocations and cannot be deleted.",
        )


def zone_link(request: Request) -> None:
    """A link belongs to one network."""
    was, now = _was_and_is(request, "virtualNetwork.id")
    if str(was).lower() != str(now).lower():
        raise Refused("BadRequest", f"The virtual network of link {request.name} cannot be changed from {was} to {now}.")


def role_assignment(request: Request) -> None:
    """Who may do what where is for life. Text: learn.microsoft.com/azure/role-based-access-control/troubleshooting."""
    for path in ("principalId", "scope", "roleDefinitionId"):
        was, now = _was_and_is(request, path)
        if str(was).lower() != str(now).lower():
            raise Refused(
                "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
            )


def storage_account(request: Request) -> None:
    """Between one zone and several an account is converted on request, and not by an update; the file systems that it has are for life."""
    was, now = (str(value) for value in _was_and_is(request, "sku.name"))
    if was != now and _zonal(was) != _zonal(now):
        raise Refused("StorageAccountTypeConversionNotAllowed", f"The account type conversion from {was} to {now} is not allowed.")
    old, new = _was_and_is(request, "enableNfsV3")
    if bool(old) != bool(new):
        raise Refused("AccountPropertyCannotBeUpdated", "The property 'enableNfsV3' was specified in the input, but it cannot be updated.")


def _zonal(sku: str) -> bool:
    return sku.endswith(("_ZRS", "_GZRS", "_RAGZRS"))


def redis(request: Request) -> None:
    """A cache keeps its high availability, and grows: in its line, or at its size to a line of more vCPUs.

    Source: MicrosoftDocs/azure-docs articles/redis/how-to-scale.md. A smaller one Azure allows case by case (listSkusForScaling), here never.
    azurerm makes a new cache when high availability changes (managed_redis_resource.go); NVIDIA/OSMO issue 1167. The words are the stand-in's own.
    """
    was, now = (str(value or "Enabled") for value in _was_and_is(request, "highAvailability"))
    if was != now:
        raise Refused(
            "BadRequest", f"highAvailability of {request.name} cannot be changed from {was} to {now}.", "properties.highAvailability"
        )
    old, new = (str(value) for value in _was_and_is(request, "sku.name"))
    (line, before), (other, after) = _line(old), _line(new)
    if not ((line == other and before <= after) or (_VCPUS.get(line, 9) < _VCPUS.get(other, 0) and before == after)):
        raise Refused("BadRequest", f"Scaling {request.name} from SKU {old} to {new} is not supported.", "sku.name")


_VCPUS = {"MemoryOptimized": 1, "Balanced": 2, "ComputeOptimized": 4}
"""The vCPUs of each line's SKU of one size, compared with Memory Optimized."""


def _line(sku: str) -> tuple[str, int]:
    name, _, size = sku.partition("_")
    return name, int(size[1:] or 0)


def redis_database(request: Request) -> None:
    """Only a database without clustering may still choose. Source: the description of clusteringPolicy in the 2025-07-01 specification."""
    was, now = (str(value or "OSSCluster") for value in _was_and_is(request, "clusteringPolicy"))
    if was not in (now, "NoCluster"):
        raise Refused("BadRequest", f"clusteringPolicy {was} of {request.id} cannot be updated without deleting the database.")


def virtual_network(request: Request) -> None:
    """An address space holds all subnets that are there."""
    blocks = [network(text, request.id) for text in _at(request.inputs, "addressSpace.addressPrefixes") or []]
    for part in request.cloud.parts_of(request.id):
        fits(part["id"].rsplit("/", 1)[1], prefixes(part["inputs"]), blocks, [], request.name, request.id)


def private_endpoint(request: Request) -> None:
    """The name of its network interface is for life."""
    was, now = _was_and_is(request, "customNetworkInterfaceName")
    if was != now:
        raise Refused("BadRequest", f"customNetworkInterfaceName of {request.id} cannot be changed from {was} to {now}.")
