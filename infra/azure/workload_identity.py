"""An Azure identity for the pods of one Kubernetes service account, without any secret."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import managedidentity

from infra.azure.context import AzureContext
from infra.azure.identity import identity


@dataclass(frozen=True, kw_only=True)
class WorkloadIdentityArgs:
    context: AzureContext
    oidc_issuer_url: pulumi.Input[str]
    namespace: str
    service_account: str


class WorkloadIdentity(pulumi.ComponentResource):
    """A managed identity and the trust in one service account's tokens.

    Not here: the service account with its `azure.workload.identity/client-id` annotation (infra/kubernetes), and what the
    identity may do, which whoever owns the resource grants (weights.py, redis.py). Without a grant it may do nothing.
    """

    client_id: pulumi.Output[str]
    """What pods log in as."""
    principal_id: pulumi.Output[str]
    """What roles are given to, and the user name in Redis."""

    def __init__(self, name: str, args: WorkloadIdentityArgs, opts: pulumi.ResourceOptions | None = None):
        super().__init__("zig-ai-aks:azure:WorkloadIdentity", name, None, opts)
        own = identity(f"{name}-identity", args.context.names.of(f"id-{args.service_account}", 128), args.context, parent=self)
        managedidentity.FederatedIdentityCredential(
            f"{name}-trust",
            resource_group_name=args.context.resource_group_name,
            resource_name_=own.name,
            federated_identity_credential_resource_name=args.service_account,
            issuer=args.oidc_issuer_url,
            subject=f"system:serviceaccount:{args.namespace}:{args.service_account}",
            audiences=["api://AzureADTokenExchange"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.client_id = own.client_id
        self.principal_id = own.principal_id
        self.register_outputs({"client_id": self.client_id})
