# ruff: noqa: E501 - a case is a line
"""Refused clusters and maintenance windows, in the words that a user sees."""

import base64
import uuid

import pytest

from rehearsal.cluster import control_plane
from tests.rehearsal.azure_client import refused


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"kubernetesVersion": "1.20"}, 'Code="K8sVersionNotSupported"'),
        ({"metricsProfile": {"costAnalysis": {"enabled": True}}}, "only available for clusters of the Standard or Premium tier"),
        ({"dnsPrefix": "-x"}, "must contain between 1 and 54 alphanumerics and hyphens"),
        ({"disableLocalAccounts": True}, "Disabling local accounts is only allowed for AAD enabled clusters"),
        ({"networkProfile": {"networkPlugin": "azure", "networkDataplane": "cilium", "networkPolicy": "calico"}}, "not supported with the Cilium data plane"),
        ({"networkProfile": {"networkPlugin": "azure", "networkPolicy": "cilium"}}, "only supported when networkDataplane is cilium"),
        ({"networkProfile": {"serviceCidr": "10.10.0.0/20", "dnsServiceIP": "10.10.0.10"}}, "The specified service CIDR 10.10.0.0/20 is conflicted with an existing subnet CIDR 10.10.0.0/16"),
        ({"networkProfile": {"podCidr": "10.10.0.0/16"}}, "The specified pod CIDR 10.10.0.0/16 is conflicted"),
        ({"networkProfile": {"podCidr": "10.0.0.0/12"}}, "is conflicted with the pod CIDR"),
        ({"networkProfile": {"podCidr": "172.16.0.0/12"}}, "172.16.0.0/12 of podCidr overlaps 172.30.0.0/16, which AKS uses itself"),
        ({"networkProfile": {"podCidr": "192.0.2.0/24"}}, "which AKS uses itself"),
        ({"networkProfile": {"serviceCidr": "172.31.0.0/16"}}, "172.31.0.0/16 of serviceCidr overlaps"),
        ({"networkProfile": {"dnsServiceIP": "10.1.0.10"}}, "must be within serviceCidr"),
        ({"networkProfile": {"loadBalancerSku": "basic"}}, "retired on 2025-09-30"),
        ({"networkProfile": {"loadBalancerProfile": {"allocatedOutboundPorts": 1001}}}, "must be a multiple of 8"),
        ({"securityProfile": {"workloadIdentity": {"enabled": True}}}, "requires enabling the OIDC issuer"),
        ({"identity": {"type": "UserAssigned", "userAssignedIdentities": ["/subscriptions/x/y"]}}, "was not found. Please make sure that the referenced resource exists"),
        ({"apiServerAccessProfile": {"authorizedIPRanges": ["10.0.0.0/8"]}}, "is not a public range"),
        ({"apiServerAccessProfile": {"authorizedIPRanges": ["1.2.3.4/32"], "enablePrivateCluster": True}}, "not supported for a private cluster"),
    ],
)  # fmt: skip
def test_refused_cluster_properties(landscape, more, words):
    refused(words, landscape.make_cluster, **more)


def test_nat_outbound_needs_a_subnet_with_a_gateway(landscape):
    plain = landscape.make_subnet("plain", "10.10.4.0/24")
    outbound = {"networkProfile": {"outboundType": "userAssignedNATGateway"}}
    refused("is not associated with a NAT gateway", landscape.make_cluster, landscape.system_pool(vnetSubnetID=plain.id), **outbound)
    landscape.make_cluster(**outbound)


def test_the_clusters_own_way_out_may_be_an_authorised_range(landscape):
    """Nodes reach the API server through the NAT gateway, so the program adds its address to the ranges."""
    address = landscape.azure.invoke("network:getPublicIPAddress", resourceGroupName="rg", publicIpAddressName="pip")
    ranges = ["20.30.0.0/24", f"{address['ipAddress']}/32"]
    landscape.make_cluster(apiServerAccessProfile={"authorizedIPRanges": ranges})


@pytest.mark.parametrize("inside", [True, False])
def test_the_api_server_of_a_private_cluster_is_reached_from_inside_alone(landscape, monkeypatch, inside):
    """Outside of the network nothing resolves its name, which ends in azmk8s.io."""
    layout = landscape.azure.provider.layout
    layout.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    layout.kubeconfig.write_text("server: https://127.0.0.1:6443\n")
    monkeypatch.setattr(control_plane, "alive", lambda _: True)
    landscape.make_cluster(apiServerAccessProfile={"enablePrivateCluster": True})
    if inside:
        layout.inside.touch()
    answer = landscape.azure.invoke("containerservice:listManagedClusterUserCredentials", resourceGroupName="rg", resourceName="aks")
    value = base64.b64decode(answer["kubeconfigs"][0]["value"]).decode()
    assert ("privatelink.eastus.azmk8s.io" in value) == (not inside)
    assert ("127.0.0.1" in value) == inside


def test_an_identity_of_ones_own_for_the_nodes_needs_the_right_to_hand_it_on(landscape):
    """A cluster is refused without, also by an update; a right on the whole resource group will do."""
    own, kubelet = (
        landscape.azure.create("managedidentity:UserAssignedIdentity", resourceGroupName="rg", resourceName=name)
        for name in ("own", "kubelet")
    )
    wanted = {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": [own.id]},
        "identityProfile": {"kubeletidentity": {"resourceId": kubelet.id}},
    }
    missing = "must be granted 'Managed Identity Operator' role to assign kubelet identity"
    refused(
        "CustomKubeletIdentityOnlySupportedOnUserAssignedMSICluster",
        landscape.make_cluster,
        **wanted | {"identity": {"type": "SystemAssigned"}},
    )
    refused(missing, landscape.make_cluster, **wanted)
    grant(landscape, READER, own.outputs["principalId"], landscape.group.id)
    grant(landscape, OPERATOR, own.outputs["principalId"], own.id)
    refused(missing, landscape.make_cluster, **wanted)
    may = grant(landscape, OPERATOR, own.outputs["principalId"], landscape.group.id)
    made = landscape.make_cluster(**wanted)
    assert made.outputs["identityProfile"]["kubeletidentity"]["objectId"] == kubelet.outputs["principalId"]
    landscape.azure.delete("authorization:RoleAssignment", may.id)
    refused(missing, landscape.azure.update, "containerservice:ManagedCluster", made, **landscape.cluster(**wanted))


OPERATOR, READER = "f1a07417-d97a-45cb-824c-7a7467783830", "acdd72a7-3385-48ef-bd42-f606fba81ae7"


def grant(landscape, role, principal, scope):
    subscription = landscape.azure.provider.subscription.subscription_id
    return landscape.azure.create(
        "authorization:RoleAssignment",
        principalId=principal, principalType="ServicePrincipal", scope=scope,
        roleAssignmentName=str(uuid.uuid5(uuid.NAMESPACE_URL, role + scope)),
        roleDefinitionId=f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}",
    )  # fmt: skip


def test_static_credentials_of_a_cluster_without_local_accounts(landscape):
    landscape.make_cluster(disableLocalAccounts=True, aadProfile={"managed": True})
    refused(
        "Getting static credential is not allowed because this cluster is set to disable local accounts.",
        landscape.azure.invoke, "containerservice:listManagedClusterAdminCredentials", resourceGroupName="rg", resourceName="aks",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "window", "words"),
    [
        ("nightly", {"durationHours": 4, "startTime": "02:00", "schedule": {"daily": {"intervalDays": 1}}}, "The maintenance configuration name 'nightly' is not valid"),
        ("aksManagedNodeOSUpgradeSchedule", {"durationHours": 3, "startTime": "02:00", "schedule": {"daily": {"intervalDays": 1}}}, "must be between 4 and 24"),
        ("aksManagedNodeOSUpgradeSchedule", {"durationHours": 4, "startTime": "02:00", "schedule": {}}, "exactly one of daily"),
        ("aksManagedNodeOSUpgradeSchedule", {"durationHours": 4, "startTime": "2 am", "schedule": {"daily": {"intervalDays": 1}}}, "is not HH:MM"),
    ],
)  # fmt: skip
def test_refused_maintenance_windows(landscape, name, window, words):
    landscape.make_cluster()
    refused(
        words, landscape.azure.create, "containerservice:MaintenanceConfiguration",
        resourceGroupName="rg", resourceName="aks", configName=name, maintenanceWindow=window,
    )  # fmt: skip
