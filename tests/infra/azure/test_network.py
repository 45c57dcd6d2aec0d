"""The network: one way out, endpoints that answer nodes only."""

import pytest

from infra.azure.network import Network, NetworkArgs
from tests.mocks import run

SUBNET = "azure-native:network:Subnet"


def deploy(context, zones=("1", "2", "3"), builders=None):
    return run(
        lambda: (
            Network(
                "network",
                NetworkArgs(
                    context=context,
                    address_space="10.64.0.0/16",
                    nodes_cidr="10.64.0.0/22",
                    private_endpoints_cidr="10.64.8.0/24",
                    builders_cidr=builders,
                    zones=zones,
                ),
            ).outbound_ip
        )
    )


def test_nodes_leave_through_nat_and_endpoints_not_at_all(recorder, context):
    deploy(context)
    nodes, endpoints = (recorder.one(SUBNET, f"network-{which}").inputs for which in ("nodes", "private-endpoints"))
    assert nodes["addressPrefix"] == "10.64.0.0/22"
    assert nodes["natGateway"] == {"id": "/subscriptions/00000000-0000-0000-0000-000000000000/mock/network-nat"}
    # AKS keeps the nodes' security group; one of ours would close every load balancer.
    assert "networkSecurityGroup" not in nodes
    assert endpoints["addressPrefix"] == "10.64.8.0/24"
    assert endpoints["privateEndpointNetworkPolicies"] == "NetworkSecurityGroupEnabled"
    assert "natGateway" not in endpoints
    assert nodes["defaultOutboundAccess"] is endpoints["defaultOutboundAccess"] is False


def test_vnet_has_no_subnets_of_its_own(recorder, context):
    """Inline subnets and separate ones undo each other on every update."""
    deploy(context)
    assert "subnets" not in recorder.one("azure-native:network:VirtualNetwork").inputs


def test_subnets_are_made_one_after_the_other(recorder, context):
    """Two changes of one VNet at a time end in AnotherOperationInProgress."""
    deploy(context)
    assert "network-nodes" in recorder.options_of(SUBNET, "network-private-endpoints").depends_on


@pytest.mark.parametrize(("zones", "expected"), [(("1", "2", "3"), ["1", "2", "3"]), (("1",), ["1", "2", "3"]), ((), None)])
def test_the_outbound_address_outlives_a_zone(recorder, context, zones, expected):
    deploy(context, zones)
    address = recorder.one("azure-native:network:PublicIPAddress").inputs
    assert address.get("zones") == expected
    assert (address["sku"]["name"], address["publicIPAllocationMethod"]) == ("Standard", "Static")
    assert "zones" not in recorder.one("azure-native:network:NatGateway").inputs


def test_endpoints_answer_nodes_only(recorder, context):
    deploy(context)
    allow, deny = recorder.one("azure-native:network:NetworkSecurityGroup").inputs["securityRules"]
    assert (allow["access"], allow["sourceAddressPrefix"], allow["destinationPortRanges"]) == ("Allow", "10.64.0.0/22", ["443", "10000"])
    assert (deny["access"], deny["sourceAddressPrefix"], deny["direction"]) == ("Deny", "*", "Inbound")
    assert allow["priority"] < deny["priority"] <= 4096


def test_builders_have_a_subnet_and_reach_registry_and_weights(recorder, context):
    """A private cluster could not be installed: no machine but the nodes reached the registry or the weights."""
    deploy(context, builders="10.64.9.0/27")
    subnet = recorder.one(SUBNET, "network-builders").inputs
    assert (subnet["addressPrefix"], subnet["defaultOutboundAccess"]) == ("10.64.9.0/27", False)
    assert subnet["natGateway"]["id"].endswith("network-nat")
    assert "network-private-endpoints" in recorder.options_of(SUBNET, "network-builders").depends_on
    _, builders, deny = recorder.one("azure-native:network:NetworkSecurityGroup").inputs["securityRules"]
    assert (builders["access"], builders["sourceAddressPrefix"], builders["destinationPortRanges"]) == ("Allow", "10.64.9.0/27", ["443"])
    assert builders["priority"] < deny["priority"]


def test_builders_of_a_peered_network_bring_their_own_subnet(recorder, context):
    deploy(context, builders="10.99.0.0/24")
    assert {subnet.name for subnet in recorder.all(SUBNET)} == {"network-nodes", "network-private-endpoints"}
    assert len(recorder.one("azure-native:network:NetworkSecurityGroup").inputs["securityRules"]) == 3


def test_outbound_address_is_an_output(recorder, context):
    assert deploy(context) == "203.0.113.7"
