"""A service of Azure reached by a private address under its public name."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import network, privatedns

from infra.azure.context import AzureContext
from infra.azure.network import Network


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a private endpoint connects to.

    Source: https://learn.microsoft.com/azure/private-link/private-endpoint-dns#azure-services-dns-zone-configuration
    """

    group_id: str
    zone: str


BLOB = Service(group_id="blob", zone="privatelink.blob.core.windows.net")
REDIS = Service(group_id="redisEnterprise", zone="privatelink.redis.azure.net")
REGISTRY = Service(group_id="registry", zone="privatelink.azurecr.io")


@dataclass(frozen=True, kw_only=True)
class PrivateLinkArgs:
    context: AzureContext
    network: Network
    service: Service
    target_id: pulumi.Input[str]
    """The resource that is reached."""
    after: pulumi.Resource
    """What must be finished first: a service that is still changing refuses connections to be set up."""


class PrivateLink(pulumi.ComponentResource):
    """DNS zone, its link to the VNet, the private endpoint, and the record of the one in the other.

    One zone for each service: each service of the stack has one resource. Not here: closing the service's public door,
    which is the service's own setting.
    """

    endpoint_id: pulumi.Output[str]

    def __init__(self, name: str, args: PrivateLinkArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("zig-ai-aks:azure:PrivateLink", name, None, opts)
        context, child = args.context, pulumi.ResourceOptions(parent=self)
        kind = args.service.group_id.lower()

        zone = privatedns.PrivateZone(
            f"{name}-zone",
            resource_group_name=context.resource_group_name,
            location="Global",
            private_zone_name=args.service.zone,
            tags=context.tags,
            opts=child,
        )
        link = privatedns.VirtualNetworkLink(
            f"{name}-zone-link",
            resource_group_name=context.resource_group_name,
            location="Global",
            private_zone_name=zone.name,
            virtual_network_link_name=context.names.of("link"),
            virtual_network=privatedns.SubResourceArgs(id=args.network.vnet_id),
            registration_enabled=False,
            # Somebody else's account that has a private endpoint anywhere is an alias in this zone, which knows only the stack's own:
            # without it, its name would not resolve here at all.
            # Source: MicrosoftDocs/azure-docs articles/dns/private-dns-fallback.md
            resolution_policy="NxDomainRedirect",
            tags=context.tags,
            opts=child,
        )
        endpoint = network.PrivateEndpoint(
            f"{name}-endpoint",
            resource_group_name=context.resource_group_name,
            location=context.location,
            private_endpoint_name=context.names.of(f"pep-{kind}"),
            custom_network_interface_name=context.names.of(f"nic-{kind}"),
            subnet=network.SubnetArgs(id=args.network.private_endpoints_subnet_id),
            private_link_service_connections=[
                network.PrivateLinkServiceConnectionArgs(
                    name=kind, private_link_service_id=args.target_id, group_ids=[args.service.group_id]
                )
            ],
            tags=context.tags,
            # On the endpoint itself: an option of the component would not reach it, and would be forgotten when things are deleted.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.after]),
        )
        network.PrivateDnsZoneGroup(
            f"{name}-records",
            resource_group_name=context.resource_group_name,
            private_endpoint_name=endpoint.name,
            private_dns_zone_group_name="default",
            private_dns_zone_configs=[network.PrivateDnsZoneConfigArgs(name=kind, private_dns_zone_id=zone.id)],
            # Records in a zone that the VNet does not ask yet would let the first look-up cache the public address.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[link]),
        )

        self.endpoint_id = endpoint.id
        self.register_outputs({"endpoint_id": self.endpoint_id})
