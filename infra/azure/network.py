"""The virtual network: where nodes and private endpoints live, and the one way out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import network

from infra.azure.context import AzureContext, answered
from infra.naming import Names
from planner.catalogue import redis_skus
from settings.account import Effect, Resource
from settings.platform import Network as Addresses

_ALL_ZONES = ["1", "2", "3"]


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    context: AzureContext
    address_space: str
    nodes_cidr: str
    private_endpoints_cidr: str
    builders_cidr: str | None
    """From where, beside the nodes, the endpoints are reached; in the address space it becomes a subnet."""
    zones: tuple[str, ...]
    """Zones the cluster uses; empty in a region without."""


class Network(pulumi.ComponentResource):
    """VNet, a subnet for nodes, one for private endpoints and perhaps one for builders, NAT gateway with a public address.

    Not here: pods and Services, whose overlay addresses never appear in the VNet; the network security group of the
    nodes, which AKS keeps in its own resource group and opens for each load balancer Service (a second one on the
    subnet would silently close those); private endpoints (private_link.py).
    """

    nodes_subnet_id: pulumi.Output[str]
    private_endpoints_subnet_id: pulumi.Output[str]
    vnet_id: pulumi.Output[str]
    outbound_ip: pulumi.Output[str]
    """The address that the cluster's traffic to the internet comes from."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("zig-ai-aks:azure:Network", name, None, opts)
        self._name, self._args, self._child = name, args, pulumi.ResourceOptions(parent=self)
        address, nat = self._way_out()
        vnet = self._vnet()
        nodes = self._nodes_subnet(vnet, nat)
        endpoints = self._private_endpoints_subnet(vnet, nodes)
        self._builders_subnet(vnet, nat, endpoints)

        self.vnet_id = vnet.id
        self.nodes_subnet_id = nodes.id
        self.private_endpoints_subnet_id = endpoints.id
        # Asked for by name as the identities are (identity.py), since the preview of an update forgets it.
        known = network.get_public_ip_address_output(
            resource_group_name=args.context.resource_group_name, public_ip_address_name=address.name
        )
        self.outbound_ip = known.ip_address.apply(lambda ip: answered(ip, "outbound address"))
        self.register_outputs({"vnet_id": self.vnet_id, "outbound_ip": self.outbound_ip})

    def _way_out(self) -> tuple[network.PublicIPAddress, network.NatGateway]:
        """The NAT gateway and its address."""
        args, context, names = self._args, self._args.context, self._args.context.names
        address = network.PublicIPAddress(
            f"{self._name}-outbound",
            resource_group_name=context.resource_group_name,
            location=context.location,
            public_ip_address_name=names.of("pip-nat"),
            sku=network.PublicIPAddressSkuArgs(name="Standard", tier="Regional"),
            public_ip_allocation_method="Static",
            public_ip_address_version="IPv4",
            # The address names all zones and so outlives the loss of one.
            zones=_ALL_ZONES if args.zones else None,
            tags=context.tags,
            opts=self._child,
        )
        nat = network.NatGateway(
            f"{self._name}-nat",
            resource_group_name=context.resource_group_name,
            location=context.location,
            nat_gateway_name=names.of("ng"),
            sku=network.NatGatewaySkuArgs(name="Standard"),
            # No zone: Azure picks one. While it is lost there is no way out (finding REACH-004). StandardV2 is in all zones, but Azure has
            # it from version 2024-07-01 on and azure-native sends 2024-05-01; tests/azure_reference says when that has changed.
            # Source: MicrosoftDocs/azure-docs articles/nat-gateway/nat-availability-zones.md
            idle_timeout_in_minutes=4,
            public_ip_addresses=[network.SubResourceArgs(id=address.id)],
            tags=context.tags,
            opts=self._child,
        )
        return address, nat

    def _vnet(self) -> network.VirtualNetwork:
        args, context, names = self._args, self._args.context, self._args.context.names
        return network.VirtualNetwork(
            f"{self._name}-vnet",
            resource_group_name=context.resource_group_name,
            location=context.location,
            virtual_network_name=names.of("vnet"),
            address_space=network.AddressSpaceArgs(address_prefixes=[args.address_space]),
            # Subnets are resources of their own, so that each can be depended on. The provider leaves subnets that it does not
            # find in `subnets` alone, so `ignore_changes` is not needed for them.
            tags=context.tags,
            opts=self._child,
        )

    def _nodes_subnet(self, vnet: network.VirtualNetwork, nat: network.NatGateway) -> network.Subnet:
        args, context = self._args, self._args.context
        return network.Subnet(
            f"{self._name}-nodes",
            resource_group_name=context.resource_group_name,
            virtual_network_name=vnet.name,
            subnet_name="nodes",
            address_prefix=args.nodes_cidr,
            nat_gateway=network.SubResourceArgs(id=nat.id),
            default_outbound_access=False,
            opts=self._child,
        )

    def _private_endpoints_subnet(self, vnet: network.VirtualNetwork, nodes: network.Subnet) -> network.Subnet:
        args, context, names = self._args, self._args.context, self._args.context.names
        guard = network.NetworkSecurityGroup(
            f"{self._name}-private-endpoints-nsg",
            resource_group_name=context.resource_group_name,
            location=context.location,
            network_security_group_name=names.of("nsg-pe"),
            security_rules=_who_may_enter(args.nodes_cidr, args.builders_cidr),
            tags=context.tags,
            opts=self._child,
        )
        return network.Subnet(
            f"{self._name}-private-endpoints",
            resource_group_name=context.resource_group_name,
            virtual_network_name=vnet.name,
            subnet_name="private-endpoints",
            address_prefix=args.private_endpoints_cidr,
            network_security_group=network.NetworkSecurityGroupArgs(id=guard.id),
            # Without this, private endpoints ignore the security group.
            private_endpoint_network_policies="NetworkSecurityGroupEnabled",
            default_outbound_access=False,
            # One change of a VNet at a time: Azure answers a second one with AnotherOperationInProgress.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[nodes]),
        )

    def _builders_subnet(self, vnet: network.VirtualNetwork, nat: network.NatGateway, endpoints: network.Subnet) -> None:
        """Only where the builders are in this network."""
        args = self._args
        if args.builders_cidr is None or not within(args.builders_cidr, args.address_space):
            return
        network.Subnet(
            f"{self._name}-builders",
            resource_group_name=args.context.resource_group_name,
            virtual_network_name=vnet.name,
            subnet_name="builders",
            address_prefix=args.builders_cidr,
            nat_gateway=network.SubResourceArgs(id=nat.id),
            default_outbound_access=False,
            # One change of a VNet at a time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[endpoints]),
        )


def _who_may_enter(nodes_cidr: str, builders_cidr: str | None) -> list[network.SecurityRuleArgs]:
    """Private endpoints answer the nodes and the builders only: pods reach them with their node's address, as the overlay translates it."""
    rules = [_rule("nodes", 100, "Allow", nodes_cidr, ["443", str(redis_skus.PORT)], "HTTPS and Redis")]
    if builders_cidr:
        rules.append(_rule("builders", 110, "Allow", builders_cidr, ["443"], "Registry and weights"))
    return [*rules, _rule("nothing-else", 4096, "Deny", "*", None, "Default rules would let in all of the VNet")]


def _rule(name: str, priority: int, access: str, source: str, ports: list[str] | None, description: str) -> network.SecurityRuleArgs:
    """One inbound rule; without ports it is about all of them, and about every protocol."""
    return network.SecurityRuleArgs(
        name=name,
        priority=priority,
        direction="Inbound",
        access=access,
        protocol="Tcp" if ports else "*",
        source_address_prefix=source,
        source_port_range="*",
        destination_address_prefix="*",
        destination_port_ranges=ports,
        destination_port_range=None if ports else "*",
        description=description,
    )


def within(cidr: str, space: str) -> bool:
    """Whether a range is a part of an address space."""
    return ipaddress.IPv4Network(cidr).subnet_of(ipaddress.IPv4Network(space))


def effects(names: Names, addresses: Addresses) -> Iterator[Effect]:
    """The settings that the network answers."""
    vnet, nodes = Resource("VirtualNetwork", names.of("vnet")), Resource("Subnet", "nodes")
    yield vnet.effect("azure.network.addressSpace", "addressSpace.addressPrefixes[0]")
    yield nodes.effect("azure.network.nodesCidr", "addressPrefix")
    guard = Resource("NetworkSecurityGroup", names.of("nsg-pe"))
    yield guard.effect("azure.network.nodesCidr", "securityRules[nodes].sourceAddressPrefix")
    yield Resource("Subnet", "private-endpoints").effect("azure.network.privateEndpointsCidr", "addressPrefix")
    if addresses.builders_cidr is not None:
        yield guard.effect("azure.network.buildersCidr", "securityRules[builders].sourceAddressPrefix")
        if within(addresses.builders_cidr, addresses.address_space):
            yield Resource("Subnet", "builders").effect("azure.network.buildersCidr", "addressPrefix")
    yield Resource("PublicIPAddress", names.of("pip-nat")).effect("cluster.zones", "zones")
