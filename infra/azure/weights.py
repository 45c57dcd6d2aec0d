"""Where model weights are kept: a blob container that shards mount read-only."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import storage

from infra.azure import private_link, roles
from infra.azure.context import AzureContext
from infra.azure.network import Network
from infra.naming import Names
from settings.account import Effect, Resource

CONTAINER = "weights"
RETENTION_DAYS = 14
"""How long deleted or overwritten weights can be brought back."""


@dataclass(frozen=True, kw_only=True)
class WeightStorageArgs:
    context: AzureContext
    network: Network
    readers: dict[str, pulumi.Input[str]]
    """Who reads weights, by a name for the grant: principal ids."""
    writers: dict[str, pulumi.Input[str]]
    """Who fetches them."""
    uploaders: tuple[roles.Administrator, ...]
    upload_from: tuple[str, ...]
    """CIDRs outside the network that weights may be uploaded from; empty closes the public door."""
    zone_redundant: bool
    protect: bool


class WeightStorage(pulumi.ComponentResource):
    """Storage account without keys, one private container, a private endpoint, soft delete, and who may read and write.

    Pods mount the container with the blob CSI driver and their own token (`mountWithWorkloadIdentityToken: "true"`, `clientID`,
    `storageAccount`, `containerName`, `resourceGroup`): shared keys, its default, are off. Not here: that volume
    (infra/kubernetes), and the upload of weights.
    Source: MicrosoftDocs/azure-aks-docs articles/aks/create-volume-azure-blob-storage.md
    """

    account_name: str
    container_name: str
    account_id: pulumi.Output[str]

    def __init__(self, name: str, args: WeightStorageArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("zig-ai-aks:azure:WeightStorage", name, None, opts)
        self._name, self._args = name, args
        account = self._account()
        container = self._container(account)
        self._grants(container)
        private_link.PrivateLink(
            f"{name}-link",
            # One change of an account at a time; a second one is answered with StorageAccountOperationInProgress.
            private_link.PrivateLinkArgs(
                context=args.context, network=args.network, service=private_link.BLOB, target_id=account.id, after=container
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.account_name = args.context.names.storage_account
        self.container_name = CONTAINER
        self.account_id = account.id
        self.register_outputs({"account_name": self.account_name, "container_name": self.container_name})

    def _account(self) -> storage.StorageAccount:
        args, context = self._args, self._args.context
        return storage.StorageAccount(
            self._name,
            resource_group_name=context.resource_group_name,
            location=context.location,
            account_name=context.names.storage_account,
            kind="StorageV2",
            sku=storage.SkuArgs(name="Standard_ZRS" if args.zone_redundant else "Standard_LRS"),
            access_tier=storage.AccessTier.HOT,
            allow_shared_key_access=False,
            default_to_o_auth_authentication=True,
            allow_blob_public_access=False,
            allow_cross_tenant_replication=False,
            enable_https_traffic_only=True,
            minimum_tls_version="TLS1_2",
            public_network_access="Enabled" if args.upload_from else "Disabled",
            network_rule_set=storage.NetworkRuleSetArgs(
                default_action=storage.DefaultAction.DENY,
                bypass="None",
                ip_rules=[
                    storage.IPRuleArgs(i_p_address_or_range=rule, action=storage.Action.ALLOW) for rule in ip_rules(args.upload_from)
                ],
            ),
            tags=context.tags,
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )

    def _container(self, account: storage.StorageAccount) -> storage.BlobContainer:
        args, context = self._args, self._args.context
        keep = storage.DeleteRetentionPolicyArgs(enabled=True, days=RETENTION_DAYS)
        service = storage.BlobServiceProperties(
            f"{self._name}-service",
            resource_group_name=context.resource_group_name,
            account_name=account.name,
            blob_services_name="default",
            delete_retention_policy=keep,
            container_delete_retention_policy=keep,
            # Soft delete also keeps what is overwritten; versions would keep it for ever, at hundreds of gigabytes each.
            is_versioning_enabled=False,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return storage.BlobContainer(
            f"{self._name}-container",
            resource_group_name=context.resource_group_name,
            account_name=account.name,
            container_name=CONTAINER,
            public_access=storage.PublicAccess.NONE,
            # Soft delete must be on before there is anything to delete.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect, depends_on=[service]),
        )

    def _grants(self, container: storage.BlobContainer) -> None:
        """On the container, not the account: nothing else may ever be put there with the same grant."""
        args = self._args
        for role, principals in ((roles.BLOB_DATA_READER, args.readers), (roles.BLOB_DATA_CONTRIBUTOR, args.writers)):
            for who, principal_id in principals.items():
                # The shards' is the oldest, and keeps its name: another one would be another grant.
                name = f"{self._name}-{'read' if who == 'shard' else who}"
                roles.grant(name, role, args.context, scope=container.id, principal_id=principal_id, parent=self)
        for uploader in args.uploaders:
            roles.grant(
                f"{self._name}-upload-{uploader.label}",
                roles.BLOB_DATA_CONTRIBUTOR,
                args.context,
                scope=container.id,
                principal_id=uploader.principal_id,
                principal_type=uploader.type,
                parent=self,
            )


def ip_rules(cidrs: Sequence[str]) -> list[str]:
    """CIDRs as a storage firewall takes them: /31 and /32 are written as single addresses.

    Source: https://learn.microsoft.com/azure/storage/common/storage-network-security (grant access from an internet IP range)
    """
    rules = []
    for cidr in cidrs:
        block = ipaddress.ip_network(cidr, strict=False)
        rules += [str(address) for address in block] if block.prefixlen >= 31 else [str(block)]
    return rules


def effects(names: Names) -> Iterator[Effect]:
    """Whoever may reach the API server may upload; with a private cluster nobody may from outside."""
    account = Resource("StorageAccount", names.storage_account)
    for key in ("cluster.private", "cluster.authorizedIpRanges"):
        yield account.effect(key, "publicNetworkAccess")
        yield account.effect(key, "networkRuleSet.ipRules[*].iPAddressOrRange")
        yield account.effect(key, "networkRuleSet.ipRules[*].action")
    yield account.effect("cluster.zones", "sku.name")
    for resource in ("weights", "weights-container"):
        yield Resource("Pulumi resource", resource).effect("azure.protect", "protect")
    yield Resource("Pulumi resource", "weights-upload-*").effect("cluster.adminGroupObjectIds")
