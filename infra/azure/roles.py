"""Azure roles this project grants, and how a grant is made. A role that is not in the table is not granted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pulumi
from pulumi_azure_native import authorization

from infra import naming
from infra.azure.context import AzureContext


@dataclass(frozen=True, kw_only=True)
class Role:
    """A built-in role. Ids: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles"""

    title: str
    id: str


NETWORK_CONTRIBUTOR = Role(title="Network Contributor", id="4d97b98b-1d4f-4787-a291-c67834d212e7")
MANAGED_IDENTITY_OPERATOR = Role(title="Managed Identity Operator", id="f1a07417-d97a-45cb-824c-7a7467783830")
ACR_PULL = Role(title="AcrPull", id="7f951dda-4ed3-4680-a7ca-43fe172d538d")
BLOB_DATA_READER = Role(title="Storage Blob Data Reader", id="2a2b9908-6ea1-4ae2-8e65-a410df84e7d1")
BLOB_DATA_CONTRIBUTOR = Role(title="Storage Blob Data Contributor", id="ba92f5b4-2d11-453d-a403-e96b0029c9fe")
AKS_CLUSTER_ADMIN = Role(title="Azure Kubernetes Service RBAC Cluster Admin", id="b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b")


@dataclass(frozen=True, kw_only=True)
class Administrator:
    """Someone who runs the stack. `type` is None when it may be a person or a pipeline."""

    label: str
    principal_id: pulumi.Input[str]
    type: Literal["Group"] | None


def grant(
    name: str,
    role: Role,
    context: AzureContext,
    *,
    scope: pulumi.Input[str],
    principal_id: pulumi.Input[str],
    principal_type: Literal["ServicePrincipal", "Group"] | None = "ServicePrincipal",
    parent: pulumi.Resource | None,
) -> authorization.RoleAssignment:
    """One role for one principal at one scope.

    `name` is the logical name and must be unique in the stack: the assignment's GUID is derived from it. Saying the
    principal's type spares Azure a directory look-up that fails for a managed identity made seconds ago. None is for
    whoever runs the program, and leaves the type to Azure.
    """
    subscription = pulumi.Output.from_input(context.subscription_id)
    names = context.names
    return authorization.RoleAssignment(
        name,
        role_assignment_name=subscription.apply(lambda s: naming.role_assignment_name(s, names.base, names.location, name, role.id)),
        # The long form with the subscription is what Azure answers with; the short one would show as a change on refresh.
        role_definition_id=subscription.apply(lambda s: f"/subscriptions/{s}/providers/Microsoft.Authorization/roleDefinitions/{role.id}"),
        scope=scope,
        principal_id=principal_id,
        # Nothing at all, the SDK would turn into "User", which Azure refuses for a pipeline's service principal.
        principal_type=principal_type or pulumi.Output.from_input(None),
        description=f"{role.title} for {name} of {names.base}",
        opts=pulumi.ResourceOptions(
            parent=parent,
            # What the first deployer was given stays theirs; the next one must not take it away by deploying.
            ignore_changes=None if principal_type else ["principalId"],
        ),
    )
