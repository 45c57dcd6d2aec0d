"""Refused networks, in the words that a user sees."""

from tests.rehearsal.azure_client import refused


def test_a_subnet_lies_inside_the_network_and_overlaps_no_other(landscape):
    refused('Code="NetcfgSubnetRangeOutsideVnet"', landscape.make_subnet, "far", "10.11.0.0/24")
    refused('Code="NetcfgSubnetRangesOverlap"', landscape.make_subnet, "twice", "10.10.2.0/24")
    refused("is not formatted correctly", landscape.make_subnet, "odd", "10.10.4.1/24")


def test_what_is_in_use_cannot_be_deleted(landscape):
    landscape.make_cluster()
    azure = landscape.azure
    refused('Code="InUseSubnetCannotBeDeleted"', azure.delete, "network:Subnet", landscape.subnet.id)
    refused('Code="InUseSubnetCannotBeDeleted"', azure.delete, "network:VirtualNetwork", landscape.vnet.id)
    refused('Code="InUseNatGatewayCannotBeDeleted"', azure.delete, "network:NatGateway", landscape.nat.id)
    refused('Code="PublicIPAddressCannotBeDeleted"', azure.delete, "network:PublicIPAddress", landscape.address.id)


def test_a_public_address_is_standard_and_static(landscape):
    make = landscape.azure.create
    address = {"resourceGroupName": "rg", "publicIpAddressName": "other"}
    refused("retired on 2025-09-30", make, "network:PublicIPAddress", **address)
    refused("must have AllocationMethod set to Static", make, "network:PublicIPAddress", **address, sku={"name": "Standard"})


def test_a_private_endpoint_reaches_something_that_exists_by_a_group_it_has(landscape):
    make = landscape.azure.create
    redis = make(
        "redisenterprise:RedisEnterprise",
        resourceGroupName="rg",
        clusterName="redis",
        publicNetworkAccess="Disabled",
        sku={"name": "MemoryOptimized_M150"},
    )
    endpoint = {"resourceGroupName": "rg", "privateEndpointName": "pe-redis", "subnet": {"id": landscape.subnet.id}}
    wrong = [{"name": "c", "privateLinkServiceId": redis.id, "groupIds": ["redisCache"]}]
    missing = [{"name": "c", "privateLinkServiceId": redis.id + "x", "groupIds": ["redisEnterprise"]}]
    right = [{"name": "c", "privateLinkServiceId": redis.id, "groupIds": ["redisEnterprise"]}]
    refused(
        "groupId 'redisCache' is not valid. Valid groupIds: redisEnterprise.",
        make,
        "network:PrivateEndpoint",
        **endpoint,
        privateLinkServiceConnections=wrong,
    )
    refused("was not found", make, "network:PrivateEndpoint", **endpoint, privateLinkServiceConnections=missing)
    make("network:PrivateEndpoint", **endpoint, privateLinkServiceConnections=right)


def test_a_private_zone_has_two_labels_and_is_kept_while_links_exist(landscape):
    make = landscape.azure.create
    refused(
        "A private DNS zone has 2 to 34 labels",
        make,
        "privatedns:PrivateZone",
        resourceGroupName="rg",
        privateZoneName="redis",
        location="global",
    )
    zone = make("privatedns:PrivateZone", resourceGroupName="rg", privateZoneName="privatelink.redis.azure.net", location="global")
    link = {
        "resourceGroupName": "rg",
        "privateZoneName": "privatelink.redis.azure.net",
        "virtualNetworkLinkName": "link",
        "location": "global",
    }
    make("privatedns:VirtualNetworkLink", **link, virtualNetwork={"id": landscape.vnet.id}, registrationEnabled=False)
    refused("Cannot delete resource while nested resources exist", landscape.azure.delete, "privatedns:PrivateZone", zone.id)
