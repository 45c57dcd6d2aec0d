# ruff: noqa: E501 - a case is a line
"""Refused identities, role assignments and budgets, in the words that a user sees."""

import pytest

from tests.rehearsal.azure_client import refused

GUID = "7f951dda-4ed3-4680-a7ca-43fe172d538d"


def test_a_role_assignment_needs_a_guid_a_principal_a_role_a_scope_and_no_twin(landscape):
    make, subscription = landscape.azure.create, landscape.azure.provider.subscription
    identity = make("managedidentity:UserAssignedIdentity", resourceGroupName="rg", resourceName="identity").outputs
    role = f"/subscriptions/{subscription.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/{GUID}"
    good = {
        "scope": landscape.vnet.id,
        "roleDefinitionId": role,
        "principalId": identity["principalId"],
        "principalType": "ServicePrincipal",
    }
    name = "11111111-1111-4111-8111-111111111111"
    refused(
        "The role assignment ID 'pull' is not valid. The role assignment ID must be a GUID.",
        make,
        "authorization:RoleAssignment",
        **good,
        roleAssignmentName="pull",
    )
    refused(
        "does not exist in the directory", make, "authorization:RoleAssignment", **{**good, "principalId": name}, roleAssignmentName=name
    )
    refused(
        "The specified role definition with ID",
        make,
        "authorization:RoleAssignment",
        **{**good, "roleDefinitionId": role.replace(GUID, name)},
        roleAssignmentName=name,
    )
    refused("was not found", make, "authorization:RoleAssignment", **{**good, "scope": landscape.vnet.id + "x"}, roleAssignmentName=name)
    make("authorization:RoleAssignment", **good, roleAssignmentName=name)
    refused("The role assignment already exists.", make, "authorization:RoleAssignment", **good, roleAssignmentName=name.replace("1", "2"))


def test_a_federated_credential_needs_an_https_issuer_and_a_service_account(landscape):
    landscape.azure.create("managedidentity:UserAssignedIdentity", resourceGroupName="rg", resourceName="identity")
    issuer = landscape.make_cluster(oidcIssuerProfile={"enabled": True}).outputs["oidcIssuerProfile"]["issuerURL"]
    base = {
        "resourceGroupName": "rg",
        "resourceName": "identity",
        "federatedIdentityCredentialResourceName": "shard",
        "audiences": ["api://AzureADTokenExchange"],
    }
    make = landscape.azure.create
    refused(
        "must be a https URL",
        make,
        "managedidentity:FederatedIdentityCredential",
        **base,
        issuer="http://x",
        subject="system:serviceaccount:a:b",
    )
    refused(
        "must be system:serviceaccount:NAMESPACE:NAME",
        make,
        "managedidentity:FederatedIdentityCredential",
        **base,
        issuer=issuer,
        subject="a:b",
    )
    make("managedidentity:FederatedIdentityCredential", **base, issuer=issuer, subject="system:serviceaccount:zig-ai:shard")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"timePeriod": {"startDate": "2026-12-15T00:00:00Z"}}, "the start date must be the first day of a month"),
        ({"amount": 0}, "must be greater than 0"),
        ({"notifications": {"n": {"enabled": True, "operator": "GreaterThan", "threshold": 2000, "contactEmails": ["a@b.c"]}}}, "between 0 and 1000 percent"),
        ({"notifications": {"n": {"enabled": True, "operator": "GreaterThan", "threshold": 90, "contactEmails": []}}}, "needs contactEmails"),
    ],
)  # fmt: skip
def test_refused_budgets(landscape, more, words):
    base = {
        "scope": landscape.group.id,
        "budgetName": "budget",
        "amount": 100,
        "category": "Cost",
        "timeGrain": "Monthly",
        "timePeriod": {"startDate": "2026-12-01T00:00:00Z"},
    }
    landscape.azure.create("consumption:Budget", **base)
    refused(words, landscape.azure.create, "consumption:Budget", **{**base, "budgetName": "other", **more})
