# ruff: noqa: E501 - Azure's messages are one line each
"""Rules of identities, role assignments, budgets and monitoring."""

from __future__ import annotations

import re
import uuid
from datetime import datetime

from rehearsal.azure.rules.base import Refused, Request
from rehearsal.azure.state import strings_in
from rehearsal.azure.subscription import built_in_roles


def role_assignment(request: Request) -> None:
    """Scope, role and principal exist, and the same assignment is not there under another name.

    Texts: learn.microsoft.com/azure/role-based-access-control/troubleshooting.
    """
    scope, role = request.inputs["scope"].rstrip("/"), request.inputs["roleDefinitionId"]
    _scope_exists(request, scope)
    guid = role.rsplit("/", 1)[-1].lower()
    if guid not in built_in_roles():
        raise Refused(
            "RoleDefinitionDoesNotExist",
            f"The specified role definition with ID '{guid}' does not exist. (The rehearsal knows the built-in roles of rehearsal/azure/data/roles.yaml.)",
        )
    if "/roledefinitions/" not in role.lower():
        raise Refused(
            "InvalidRoleDefinitionId",
            f"The role definition ID '{role}' is not valid: /subscriptions/.../providers/Microsoft.Authorization/roleDefinitions/GUID is expected.",
        )
    principal = request.inputs["principalId"]
    _guid(principal, "InvalidPrincipalId", f"A valid principal ID must be provided for role assignment, not '{principal}'.")
    if request.inputs.get("principalType") == "ServicePrincipal" and principal not in _principals(request):
        raise Refused(
            "PrincipalNotFound",
            f"Principal {principal} does not exist in the directory {request.subscription.tenant_id}. Check that you have the correct principal ID.",
        )
    for other in request.cloud.of_type("RoleAssignment"):
        same = all(
            str(other["inputs"].get(key)).lower().rstrip("/") == str(request.inputs.get(key)).lower().rstrip("/")
            for key in ("scope", "principalId", "roleDefinitionId")
        )
        if same and other["id"].lower() != request.id.lower():
            raise Refused(
                "RoleAssignmentExists",
                f"The role assignment already exists. The ID of the conflicting role assignment is {other['id'].rsplit('/', 1)[1].replace('-', '')}.",
            )


def _guid(text: str, code: str, message: str) -> None:
    try:
        uuid.UUID(str(text))
    except ValueError:
        raise Refused(code, message) from None


def _scope_exists(request: Request, scope: str) -> None:
    if scope.lower() == f"/subscriptions/{request.subscription.subscription_id}":
        return
    match = re.match(r"/subscriptions/([^/]+)", scope, re.I)
    if not match or match.group(1).lower() != request.subscription.subscription_id:
        raise Refused("SubscriptionNotFound", f"The subscription of scope '{scope}' could not be found.")
    node_groups = [str(cluster["outputs"].get("nodeResourceGroup")).lower() for cluster in request.cloud.of_type("ManagedCluster")]
    in_node_group = any(f"/resourcegroups/{group}/" in scope.lower() + "/" for group in node_groups)  # what AKS made itself
    if request.cloud.get(scope) is None and not in_node_group:
        raise Refused(
            "ResourceNotFound",
            f"The Resource '{scope.split('/providers/')[-1]}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
        )


def _principals(request: Request) -> set[str]:
    """Returns every object id in the stand-in, and that of the signed-in user."""
    object_ids = {request.subscription.object_id}
    for record in request.cloud.resources.values():
        object_ids |= {text for text in strings_in(record["outputs"]) if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)}
    return object_ids


def federated_credential(request: Request) -> None:
    """Issuer is https, the audience one string, subject a service account; issuer and subject are unique for an identity.

    Source: learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations.
    """
    issuer, subject = request.inputs.get("issuer", ""), request.inputs.get("subject", "")
    if not issuer.startswith("https://"):
        raise Refused("BadRequest", f"The issuer '{issuer}' of federated identity credential {request.name} must be a https URL.")
    if len(request.inputs.get("audiences") or []) != 1:
        raise Refused("BadRequest", f"Federated identity credential {request.name} must have exactly one audience.")
    clusters = [cluster["outputs"].get("oidcIssuerProfile", {}).get("issuerURL") for cluster in request.cloud.of_type("ManagedCluster")]
    if issuer in clusters and not re.fullmatch(r"system:serviceaccount:[a-z0-9-]+:[a-z0-9.-]+", subject):
        raise Refused(
            "BadRequest",
            f"The subject '{subject}' of federated identity credential {request.name} must be system:serviceaccount:NAMESPACE:NAME.",
        )
    siblings = [
        other
        for other in request.cloud.of_type("FederatedIdentityCredential")
        if other["id"].lower().rsplit("/", 1)[0] == request.id.lower().rsplit("/", 1)[0] and other["id"].lower() != request.id.lower()
    ]
    if len(siblings) >= 20:
        raise Refused("FederatedIdentityCredentialLimit", "At most 20 federated identity credentials can be added to an identity.")
    for other in siblings:
        if other["inputs"].get("issuer") == issuer and other["inputs"].get("subject") == subject:
            raise Refused(
                "Conflict", f"Issuer and subject combination already exists for this Managed Identity ({other['id'].rsplit('/', 1)[1]})."
            )


def budget(request: Request) -> None:
    """Starts on the first of a month, positive, at most five notifications with thresholds of 0-1000 %.

    Source: Microsoft.Consumption budgets reference; text of the date rule from Azure CLI issues on budget creation.
    """
    period, grain = request.inputs.get("timePeriod") or {}, request.inputs.get("timeGrain", "Monthly")
    try:
        start = datetime.fromisoformat(str(period.get("startDate")).replace("Z", "+00:00"))
    except ValueError:
        raise Refused("400", f"Start date '{period.get('startDate')}' is not a date.") from None
    if start.day != 1:
        raise Refused(
            "400", "Budget start date must be on or after the first of the month: the start date must be the first day of a month."
        )
    if request.old is None and period.get("endDate") and str(period["endDate"]) <= str(period["startDate"]):
        raise Refused("400", "Budget end date must be after its start date.")
    if (request.inputs.get("amount") or 0) <= 0 and grain:
        raise Refused("400", "Budget amount must be greater than 0.")
    notifications = request.inputs.get("notifications") or {}
    if len(notifications) > 5:
        raise Refused("400", "A budget can have at most five notifications.")
    for name, notification in notifications.items():
        if not 0 < (notification.get("threshold") or 0) <= 1000:
            raise Refused("400", f"Threshold of notification {name} must be between 0 and 1000 percent.")
        if not (notification.get("contactEmails") or notification.get("contactGroups") or notification.get("contactRoles")):
            raise Refused("400", f"Notification {name} needs contactEmails, contactGroups or contactRoles.")
        for group in notification.get("contactGroups") or []:
            request.must_exist(group)
    _scope_exists(request, request.inputs["scope"].rstrip("/"))


def action_group(request: Request) -> None:
    """A short name of 1-12 characters. Source: Microsoft.Insights actionGroups reference."""
    if not 1 <= len(request.inputs.get("groupShortName", "")) <= 12:
        raise Refused("BadRequest", f"The groupShortName '{request.inputs.get('groupShortName')}' must have 1 to 12 characters.")


def references(request: Request) -> None:
    """Every id in a monitoring resource whose type the stand-in knows exists."""
    own = f"/subscriptions/{request.subscription.subscription_id}/resourcegroups/"
    for text in strings_in({key: value for key, value in request.inputs.items() if key not in ("tags",)}):
        if text.lower().startswith(own) and "/providers/" in text:
            request.must_exist(text)


def prometheus_rules(request: Request) -> None:
    """Rule groups name a workspace, and each rule is an alert or a record. Source: prometheus-rule-groups reference."""
    references(request)
    if len(request.inputs.get("rules") or []) > 20:
        raise Refused("BadRequest", f"Rule group {request.name} has {len(request.inputs['rules'])} rules; at most 20 are allowed.")
    for rule in request.inputs.get("rules") or []:
        if bool(rule.get("alert")) == bool(rule.get("record")):
            raise Refused("BadRequest", f"Each rule of {request.name} has either 'alert' or 'record'.")
