"""Who may do what: identities without secrets, grants as small as they can be."""

import uuid

import pulumi
import pytest

from infra.azure import roles
from infra.azure.registry import Registry, RegistryArgs
from infra.azure.workload_identity import WorkloadIdentity, WorkloadIdentityArgs
from tests.mocks import run

GRANT = "azure-native:authorization:RoleAssignment"
REGISTRY = "azure-native:containerregistry:Registry"


def grant(context, name="x", role=roles.ACR_PULL, **changes):
    arguments = {"scope": "/scope", "principal_id": "someone"} | changes
    parent = pulumi.ComponentResource("test:test:Parent", f"parent-of-{name}")
    return run(lambda: roles.grant(name, role, context, parent=parent, **arguments).id)


def test_grant_is_named_by_what_it_grants(recorder, context):
    for name, role in (("a", roles.ACR_PULL), ("b", roles.ACR_PULL), ("c", roles.BLOB_DATA_READER)):
        grant(context, name, role)
    names = [r.inputs["roleAssignmentName"] for r in recorder.all(GRANT)]
    assert len({uuid.UUID(name) for name in names}) == 3


def test_a_grant_names_the_role_and_a_service_principal(recorder, context):
    grant(context, role=roles.BLOB_DATA_READER)
    inputs = recorder.one(GRANT).inputs
    assert inputs["principalType"] == "ServicePrincipal"
    assert inputs["roleDefinitionId"] == (
        "/subscriptions/00000000-0000-0000-0000-000000000000/providers/Microsoft.Authorization/roleDefinitions/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
    )
    assert recorder.options_of(GRANT).ignore_changes == []


def test_the_deployers_grant_is_not_taken_by_the_next_deployer(recorder, context):
    grant(context, principal_type=None)
    assert "principalType" not in recorder.one(GRANT).inputs
    assert recorder.options_of(GRANT).ignore_changes == ["principalId"]


def test_roles_are_distinct_guids():
    table = [value for value in vars(roles).values() if isinstance(value, roles.Role)]
    assert len({uuid.UUID(role.id) for role in table}) == len({role.title for role in table}) == len(table) == 6


def test_workload_identity_trusts_one_service_account(recorder, context):
    client_id = run(
        lambda: (
            WorkloadIdentity(
                "shard-access",
                WorkloadIdentityArgs(
                    context=context, oidc_issuer_url="https://issuer/", namespace="zig-ai", service_account="zig-ai-shard"
                ),
            ).client_id
        )
    )
    trust = recorder.one("azure-native:managedidentity:FederatedIdentityCredential").inputs
    assert trust["subject"] == "system:serviceaccount:zig-ai:zig-ai-shard"
    assert trust["issuer"] == "https://issuer/"
    assert trust["audiences"] == ["api://AzureADTokenExchange"]
    assert client_id == "client of id-zig-ai-shard-zig-ai-test"
    assert not recorder.all(GRANT)


@pytest.fixture
def registry(recorder, context, network):
    def deployed(private):
        args = RegistryArgs(context=context, network=network, kubelet_principal_id="kubelet", private=private)
        return run(lambda: Registry("registry", args).login_server)

    return deployed


def test_registry_knows_no_passwords(recorder, registry):
    assert registry(private=False) == "registry.example"
    inputs = recorder.one(REGISTRY).inputs
    assert (inputs["adminUserEnabled"], inputs["anonymousPullEnabled"]) == (False, False)
    assert (inputs["sku"], inputs["publicNetworkAccess"]) == ({"name": "Standard"}, "Enabled")
    assert not recorder.all("azure-native:network:PrivateEndpoint")


def test_private_registry_is_premium_and_has_an_endpoint(recorder, registry):
    registry(private=True)
    inputs = recorder.one(REGISTRY).inputs
    assert (inputs["sku"], inputs["publicNetworkAccess"]) == ({"name": "Premium"}, "Disabled")
    assert recorder.one("azure-native:privatedns:PrivateZone").inputs["privateZoneName"] == "privatelink.azurecr.io"


def test_nodes_may_pull_and_not_push(recorder, registry):
    registry(private=False)
    inputs = recorder.one(GRANT, "registry-kubelet-pull").inputs
    assert inputs["principalId"] == "kubelet"
    assert inputs["roleDefinitionId"].endswith(roles.ACR_PULL.id)
    assert inputs["scope"].endswith("/mock/registry")
