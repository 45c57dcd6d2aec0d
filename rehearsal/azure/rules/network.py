# ruff: noqa: E501 - Azure's messages are one line each
"""Azure's rules for networks.

Texts: NetcfgSubnetRangeOutsideVnet and NetcfgSubnetRangesOverlap from MicrosoftDocs/azure-docs pull request 123869;
InUseSubnetCannotBeDeleted from microsoft/nav-arm-templates issue 161; PublicIPAddressCannotBeDeleted from
ernestio/ernest issue 514.
"""

from __future__ import annotations

from typing import Any

from rehearsal.azure.rules.base import Refused, Request, network, overlap

RESERVED_ADDRESSES = 5  # the first four and the last of each subnet (Azure virtual network FAQ)


def prefixes(subnet: dict[str, Any]) -> list[str]:
    """A subnet's address blocks; the API takes one or several."""
    if subnet.get("addressPrefixes"):
        return list(subnet["addressPrefixes"])
    return [subnet["addressPrefix"]] if subnet.get("addressPrefix") else []


def virtual_network(request: Request) -> None:
    """Blocks are well-formed and do not overlap; subnets written inline obey the same rules as separate ones."""
    blocks = [network(text, request.id) for text in (request.inputs.get("addressSpace") or {}).get("addressPrefixes", [])]
    if not blocks:
        raise Refused("InvalidRequestFormat", f"Virtual network {request.name} has no address space.")
    for index, block in enumerate(blocks):
        for other in blocks[:index]:
            if overlap(block, other):
                raise Refused(
                    "NetcfgInvalidVirtualNetworkSite", f"Address prefixes {other} and {block} of virtual network {request.name} overlap."
                )
    taken: list[tuple[str, Any]] = []
    for subnet in request.inputs.get("subnets") or []:
        taken += fits(subnet.get("name", "?"), prefixes(subnet), blocks, taken, request.name, request.id)


def subnet(request: Request) -> None:
    """A subnet lies in its network, overlaps no sibling, and what it names exists."""
    parent = request.must_exist(request.id.rsplit("/subnets/", 1)[0])
    blocks = [network(text, parent["id"]) for text in parent["inputs"]["addressSpace"]["addressPrefixes"]]
    taken = [
        (other["id"].rsplit("/", 1)[1], network(text, other["id"]))
        for other in request.cloud.of_type("Subnet")
        if other["id"].lower().rsplit("/", 1)[0] == request.id.lower().rsplit("/", 1)[0] and other["id"].lower() != request.id.lower()
        for text in prefixes(other["inputs"])
    ]
    fits(request.name, prefixes(request.inputs), blocks, taken, parent["id"].rsplit("/", 1)[1], request.id)
    for key in ("natGateway", "networkSecurityGroup", "routeTable"):
        reference = (request.inputs.get(key) or {}).get("id")
        if reference:
            request.must_exist(reference)


def fits(name: str, texts: list[str], blocks: list[Any], taken: list[tuple[str, Any]], parent: str, where: str) -> list[tuple[str, Any]]:
    """Refuses a subnet outside its network's `blocks` or over one that is `taken`; returns the subnet's own blocks."""
    if not texts:
        raise Refused("InvalidRequestFormat", f"Subnet '{name}' of virtual network '{parent}' has no address prefix.")
    mine = [network(text, where) for text in texts]
    for block in mine:
        if not any(block.version == space.version and block.subnet_of(space) for space in blocks):
            raise Refused(
                "NetcfgSubnetRangeOutsideVnet",
                f"Subnet '{name}' is not valid because its IP address range is outside the IP address range of virtual network '{parent}'.",
            )
        if any(overlap(block, other) for _, other in taken):
            raise Refused(
                "NetcfgSubnetRangesOverlap",
                f"Subnet '{name}' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '{parent}'.",
            )
    return [(name, block) for block in mine]


def nat_gateway(request: Request) -> None:
    """A NAT gateway is Standard, in at most one zone, and its addresses exist, are Standard and static.

    Source: MicrosoftDocs/azure-docs articles/nat-gateway/nat-overview.md and faq.yml.
    """
    if len(request.inputs.get("zones") or []) > 1:
        raise Refused(
            "NatGatewayWithMultipleZonesNotSupported",
            f"NAT gateway {request.id} can be in one zone or in none, not in {request.inputs['zones']}.",
        )
    for reference in request.inputs.get("publicIpAddresses") or []:
        address = request.must_exist(reference.get("id"))
        if ((address["inputs"].get("sku") or {}).get("name") or "Basic") not in ("Standard", "StandardV2"):
            raise Refused(
                "NatGatewayAndBasicSkuPublicIPNotSupported",
                f"Public IP address {address['id']} of NAT gateway {request.id} is not of the Standard SKU.",
            )


def public_ip(request: Request) -> None:
    """Standard addresses are static. Text: hashicorp/terraform-provider-azurerm issues on StandardSkuPublicIPAddressesMustBeStatic."""
    sku = (request.inputs.get("sku") or {}).get("name", "Basic")
    if sku == "Basic":
        # Basic addresses retired on 2025-09-30 (MicrosoftDocs/azure-docs, public-ip-basic-upgrade-guidance)
        raise Refused(
            "BasicSkuPublicIPAddressesRetired",
            f"Public IP address {request.id} is of the Basic SKU, which was retired on 2025-09-30. Use Standard.",
        )
    if request.inputs.get("publicIPAllocationMethod", "Dynamic") != "Static":
        raise Refused(
            "StandardSkuPublicIPAddressesMustBeStatic", f"Standard sku publicIp {request.id} must have AllocationMethod set to Static."
        )
    _zones(request)


def _zones(request: Request) -> None:
    """Zones must be the region's. Text: ARM's LocationNotSupportAvailabilityZones."""
    wanted, offered = request.inputs.get("zones") or [], request.subscription.zones(request.location)
    if wanted and not set(wanted) <= set(offered):
        raise Refused(
            "LocationNotSupportAvailabilityZones" if not offered else "InvalidAvailabilityZone",
            f"The zone(s) '{','.join(wanted)}' for resource '{request.id}' is not supported. The supported zones for location '{request.location}' are '{','.join(offered)}'",
        )


def private_endpoint(request: Request) -> None:
    """Subnet and target exist; the group (sub-resource) is one that the target has.

    Source of the group names: MicrosoftDocs/azure-docs articles/private-link/private-endpoint-overview.md.
    """
    groups = {
        "redisenterprise": {"redisEnterprise"},
        "storageaccounts": {"blob", "blob_secondary", "file", "queue", "table", "web", "dfs", "dfs_secondary"},
        "vaults": {"vault"},
        "registries": {"registry"},
        "accounts": {"prometheusMetrics"},
    }
    request.must_exist((request.inputs.get("subnet") or {}).get("id"))
    connections = (request.inputs.get("privateLinkServiceConnections") or []) + (
        request.inputs.get("manualPrivateLinkServiceConnections") or []
    )
    if not connections:
        raise Refused("PrivateEndpointNoConnection", f"Private endpoint {request.id} has no private link service connection.")
    for connection in connections:
        target = request.must_exist(connection.get("privateLinkServiceId"))
        allowed = groups.get(target["id"].split("/")[-2].lower())
        for group in connection.get("groupIds") or []:
            if allowed and group not in allowed:
                raise Refused(
                    "PrivateEndpointInvalidGroupId",
                    f"Call to {target['id'].split('/providers/')[1]} failed. Error message: groupId '{group}' is not valid. Valid groupIds: {', '.join(sorted(allowed))}.",
                )


def private_zone(request: Request) -> None:
    """A private zone is a domain of two or more labels and lives in `global`. Source: Azure private DNS docs, private-dns-privatednszone.md."""
    labels = request.name.split(".")
    if len(labels) < 2 or any(not label or len(label) > 63 for label in labels):
        raise Refused("BadRequest", f"The zone name '{request.name}' is not valid. A private DNS zone has 2 to 34 labels.")
    _global_only(request)


def zone_link(request: Request) -> None:
    """The linked network exists."""
    _global_only(request)
    request.must_exist((request.inputs.get("virtualNetwork") or {}).get("id"))


def _global_only(request: Request) -> None:
    if str(request.inputs.get("location", "global")).lower() != "global":
        raise Refused(
            "LocationNotAvailableForResourceType",
            f"The provided location '{request.inputs['location']}' is not available for resource type '{request.kind.arm}'. List of available regions for the resource type is 'global'.",
        )


def zone_group(request: Request) -> None:
    """The zones of a private endpoint's zone group exist."""
    for zone in request.inputs.get("privateDnsZoneConfigs") or []:
        request.must_exist(zone.get("privateDnsZoneId"))


def security_rules(request: Request) -> None:
    """Priorities are 100-4096 and unique in a direction. Source: network-security-groups-overview.md."""
    seen: dict[tuple[str, int], str] = {}
    for rule in request.inputs.get("securityRules") or []:
        priority, key = rule.get("priority", 0), (rule.get("direction", ""), rule.get("priority", 0))
        if not 100 <= priority <= 4096:
            raise Refused(
                "SecurityRuleInvalidPriority", f"Security rule has invalid Priority. Value provided: {priority} Allowed range 100-4096."
            )
        if key in seen:
            raise Refused(
                "SecurityRuleConflict",
                f"Security rule {rule.get('name')} conflicts with rule {seen[key]}. Rules cannot have the same Priority and Direction.",
            )
        seen[key] = rule.get("name", "?")


def deletable(request: Request) -> None:
    """What something still uses cannot be deleted; a group takes all with it."""
    if request.kind.short in ("VirtualNetwork", "Subnet"):
        parts = [request.id] + [part["id"] for part in request.cloud.parts_of(request.id)]
        for part in parts:
            users = [
                user
                for user in request.cloud.users_of(part)
                if user["token"].endswith((":AgentPool", ":ManagedCluster", ":PrivateEndpoint"))
            ]
            if users:
                raise Refused(
                    "InUseSubnetCannotBeDeleted",
                    f"Subnet {part.rsplit('/', 1)[1]} is in use by {users[0]['id']} and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.",
                )
    codes = {
        "NatGateway": ("InUseNatGatewayCannotBeDeleted", "Nat Gateway {id} cannot be deleted as it is in use by {user}."),
        "PublicIPAddress": (
            "PublicIPAddressCannotBeDeleted",
            "Public IP address {id} can not be deleted since it is still allocated to resource {user}.",
        ),
        "NetworkSecurityGroup": (
            "InUseNetworkSecurityGroupCannotBeDeleted",
            "Network security group {id} cannot be deleted because it is in use by the following resources: {user}.",
        ),
    }
    if request.kind.short in codes:
        users = request.cloud.users_of(request.id)
        if users:
            code, text = codes[request.kind.short]
            raise Refused(code, text.format(id=request.id, user=users[0]["id"]))
    if request.kind.short == "PrivateZone" and request.cloud.parts_of(request.id):
        raise Refused(
            "CannotDeleteResource",
            f"Cannot delete resource while nested resources exist. Some existing nested resource IDs include: '{request.cloud.parts_of(request.id)[0]['id']}'. Please delete all nested resources before deleting this resource.",
        )
