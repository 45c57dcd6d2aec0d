"""The container registry that nodes pull the stack's own images from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import containerregistry

from infra.azure import private_link, roles
from infra.azure.context import AzureContext
from infra.azure.network import Network
from infra.naming import Names
from settings.account import Effect, Resource


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    context: AzureContext
    network: Network
    kubelet_principal_id: pulumi.Input[str]
    """The identity that nodes pull images with."""
    private: bool
    """No public door; then images must be pushed from inside the network."""


class Registry(pulumi.ComponentResource):
    """A registry that only Entra identities can use, and the nodes' right to pull.

    Standard; Premium when private, as only that has private endpoints. Not here: the images, which a build pushes; public
    images, which engines take from their makers' registries.
    """

    login_server: pulumi.Output[str]
    nodes_may_pull: pulumi.Resource
    """The nodes' right, which a cluster should find there: its first pods would wait until it is known everywhere."""

    def __init__(self, name: str, args: RegistryArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("zig-ai-aks:azure:Registry", name, None, opts)
        context = args.context
        registry = containerregistry.Registry(
            name,
            resource_group_name=context.resource_group_name,
            location=context.location,
            registry_name=context.names.registry,
            sku=containerregistry.SkuArgs(name="Premium" if args.private else "Standard"),
            admin_user_enabled=False,
            anonymous_pull_enabled=False,
            public_network_access="Disabled" if args.private else "Enabled",
            tags=context.tags,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.nodes_may_pull = roles.grant(
            f"{name}-kubelet-pull",
            roles.ACR_PULL,
            context,
            scope=registry.id,
            principal_id=args.kubelet_principal_id,
            parent=self,
        )
        if args.private:
            private_link.PrivateLink(
                f"{name}-link",
                private_link.PrivateLinkArgs(
                    context=context, network=args.network, service=private_link.REGISTRY, target_id=registry.id, after=registry
                ),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.login_server = registry.login_server
        self.register_outputs({"login_server": self.login_server})


def effects(names: Names) -> Iterator[Effect]:
    """A private cluster's registry has no public door."""
    registry = Resource("Registry", names.registry)
    yield registry.effect("azure.nameSuffix", "registryName")
    yield registry.effect("cluster.private", "sku.name")
    yield registry.effect("cluster.private", "publicNetworkAccess")
    yield Resource("Pulumi resource", "registry-link").effect("cluster.private")
