"""A managed identity whose ids are known in every preview."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_azure_native import managedidentity

from infra.azure.context import AzureContext


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A managed identity in Azure, and the two ids that others know it by."""

    id: pulumi.Output[str]
    """The identity's id in Azure Resource Manager."""
    name: pulumi.Output[str]
    client_id: pulumi.Output[str]
    """What a program logs in as."""
    principal_id: pulumi.Output[str]
    """What roles are given to."""


def identity(name: str, azure_name: str, context: AzureContext, *, parent: pulumi.Resource | None) -> Identity:
    """Makes an identity. It may do nothing until somebody grants it a role."""
    made = managedidentity.UserAssignedIdentity(
        name,
        resource_group_name=context.resource_group_name,
        location=context.location,
        resource_name_=azure_name,
        tags=context.tags,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    # The ids never change, but the preview of an update forgets everything that Azure has answered except the name, so that a changed tag
    # would show every role of this identity as replaced. Asked for by name, they are known.
    # Source: pulumi/pulumi-azure-native provider/pkg/provider/provider.go, Update
    known = managedidentity.get_user_assigned_identity_output(resource_group_name=context.resource_group_name, resource_name=made.name)
    return Identity(id=made.id, name=made.name, client_id=known.client_id, principal_id=known.principal_id)
