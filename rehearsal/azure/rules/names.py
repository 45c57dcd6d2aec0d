"""Azure's naming rules.

Source: MicrosoftDocs/azure-docs articles/azure-resource-manager/management/resource-name-rules.md; storage accounts,
registries and vaults are named once in the world, which a rehearsal can check only within its own cloud.
"""

from __future__ import annotations

import re
import uuid

from rehearsal.azure.rules.base import Refused, Request

# type -> (pattern of the whole name, what Azure calls the rule)
_PATTERNS: dict[str, tuple[str, str]] = {
    "ResourceGroup": (r"[\w.()-]{0,89}[\w()-]", "1-90 alphanumerics, underscores, parentheses, hyphens and periods, no period at the end"),
    "VirtualNetwork": (r"[A-Za-z0-9][\w.-]{0,62}\w", "2-64 alphanumerics, underscores, periods and hyphens"),
    "Subnet": (r"[A-Za-z0-9]([\w.-]{0,78}\w)?", "1-80 alphanumerics, underscores, periods and hyphens"),
    "NatGateway": (r"[A-Za-z0-9]([\w.-]{0,78}\w)?", "1-80 alphanumerics, underscores, periods and hyphens"),
    "PublicIPAddress": (r"[A-Za-z0-9]([\w.-]{0,78}\w)?", "1-80 alphanumerics, underscores, periods and hyphens"),
    "NetworkSecurityGroup": (r"[A-Za-z0-9]([\w.-]{0,78}\w)?", "1-80 alphanumerics, underscores, periods and hyphens"),
    "PrivateEndpoint": (r"[A-Za-z0-9][\w.-]{0,62}\w", "2-64 alphanumerics, underscores, periods and hyphens"),
    "ManagedCluster": (
        r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?",
        "1-63 alphanumerics, underscores and hyphens, starting and ending with an alphanumeric",
    ),
    "UserAssignedIdentity": (r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}", "3-128 alphanumerics, underscores and hyphens"),
    "FederatedIdentityCredential": (r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}", "3-120 alphanumerics, underscores and hyphens"),
    "Registry": (r"[A-Za-z0-9]{5,50}", "5-50 alphanumerics"),
    "StorageAccount": (r"[a-z0-9]{3,24}", "between 3 and 24 characters in length, numbers and lower-case letters only"),
    "BlobContainer": (r"[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]", "3-63 lower-case letters, numbers and single hyphens"),
    "Vault": (
        r"[A-Za-z](?!.*--)[A-Za-z0-9-]{1,22}[A-Za-z0-9]",
        "3-24 alphanumerics and hyphens, starting with a letter, no consecutive hyphens",
    ),
    "RedisEnterprise": (r"[A-Za-z0-9](?!.*--)[A-Za-z0-9-]{0,58}[A-Za-z0-9]?", "1-60 alphanumerics and hyphens, no consecutive hyphens"),
    "AzureMonitorWorkspace": (r"[A-Za-z0-9][A-Za-z0-9-]{2,42}[A-Za-z0-9]", "4-44 alphanumerics and hyphens"),
    "DataCollectionEndpoint": (r"[A-Za-z][A-Za-z0-9-]{1,42}[A-Za-z0-9]", "3-44 alphanumerics and hyphens"),
    "Workspace": (r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]", "4-63 alphanumerics and hyphens"),
    "Grafana": (r"[A-Za-z][A-Za-z0-9-]{0,21}[A-Za-z0-9]", "2-23 alphanumerics and hyphens, starting with a letter"),
    "Budget": (r"[A-Za-z0-9_-]{1,63}", "1-63 alphanumerics, underscores and hyphens"),
}
_WORLD_WIDE = {
    "StorageAccount": ("StorageAccountAlreadyTaken", "The storage account named {name} is already taken."),
    "Registry": ("AlreadyInUse", "The registry DNS name {name}.azurecr.io is already in use."),
    "Vault": ("VaultAlreadyExists", "The vault name '{name}' is already in use. Vault names are globally unique."),
}


def name_is_valid(request: Request) -> None:
    """Names that Azure refuses, in the words of the service where they are known."""
    short, name = request.kind.short, request.name
    if short == "RoleAssignment":
        return _role_assignment_guid(name)
    if short not in _PATTERNS:
        return None
    pattern, rule = _PATTERNS[short]
    if re.fullmatch(pattern, name):
        return None
    if short == "StorageAccount":
        # text: learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-storage-account-name
        raise Refused(
            "AccountNameInvalid",
            f"{name} is not a valid storage account name. Storage account name must be {rule}.",
        )
    raise Refused(
        "InvalidResourceName",
        f"Resource name {name} is invalid. The name of a resource of type {request.kind.arm} can be {rule}.",
    )


def _role_assignment_guid(name: str) -> None:
    """Text: learn.microsoft.com/azure/role-based-access-control/troubleshooting, InvalidRoleAssignmentId."""
    try:
        uuid.UUID(name)
    except ValueError:
        raise Refused(
            "InvalidRoleAssignmentId", f"The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID."
        ) from None


def name_is_free(request: Request) -> None:
    """World-wide names must be taken by nobody else."""
    if request.kind.short not in _WORLD_WIDE or request.old is not None:
        return
    for other in request.cloud.of_type(request.kind.short):
        if other["id"].lower() != request.id.lower() and other["id"].rsplit("/", 1)[1].lower() == request.name.lower():
            code, text = _WORLD_WIDE[request.kind.short]
            raise Refused(code, text.format(name=request.name))
