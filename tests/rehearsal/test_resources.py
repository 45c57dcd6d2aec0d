# ruff: noqa: E501 - a case is a line
"""Create, read, update, delete, preview and diff, as the engine does them."""

import json

import pytest

from rehearsal.azure.protocol import UNKNOWN
from rehearsal.azure.replacements import named, read_provider, replacing
from rehearsal.azure.resources import RESOURCE_TYPES
from tests.rehearsal.azure_client import AzureError


def test_a_created_resource_has_its_arm_id_and_is_read_back(azure):
    made = azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus", tags={"a": "b"})
    assert made.id.endswith("/resourceGroups/rg")
    assert made.outputs["name"] == "rg"
    identifier, outputs, inputs = azure.read("resources:ResourceGroup", made.id)
    assert (identifier, outputs) == (made.id, made.outputs)
    assert inputs["tags"] == {"a": "b"}


def test_a_preview_changes_nothing_and_leaves_open_what_azure_decides(azure):
    made = azure.create(
        "managedidentity:UserAssignedIdentity", preview=True, resourceGroupName=UNKNOWN, resourceName="identity", location="eastus"
    )
    assert made.id == ""
    assert made.outputs["principalId"] is UNKNOWN
    assert made.outputs["location"] == "eastus"
    assert not azure.provider.state.read().resources


def test_what_exists_cannot_be_created_again(azure):
    azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus")
    with pytest.raises(AzureError, match=r"cannot create already existing resource '/subscriptions/.*/resourceGroups/RG'"):
        azure.create("resources:ResourceGroup", resourceGroupName="RG", location="eastus")


def test_an_update_is_in_the_state_file_and_keeps_the_ids(azure):
    made = azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus")
    outputs = azure.update("resources:ResourceGroup", made, resourceGroupName="rg", location="eastus", tags={"owner": "me"})
    assert outputs["tags"] == {"owner": "me"}
    assert azure.read("resources:ResourceGroup", made.id)[1] == outputs


def test_a_refresh_sees_what_somebody_changed(azure):
    made = azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus", tags={"a": "b"})
    path = azure.provider.layout.azure
    path.write_text(path.read_text().replace('"a": "b"', '"a": "changed"'))
    assert azure.read("resources:ResourceGroup", made.id)[2]["tags"] == {"a": "changed"}


def test_what_is_gone_is_read_as_gone_and_deleted_without_complaint(azure):
    made = azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus")
    azure.delete("resources:ResourceGroup", made.id)
    assert azure.read("resources:ResourceGroup", made.id)[0] == ""
    azure.delete("resources:ResourceGroup", made.id)


def test_a_group_takes_everything_in_it_along(landscape):
    landscape.azure.delete("resources:ResourceGroup", landscape.group.id)
    assert not landscape.azure.provider.state.read().resources


def test_secrets_are_unwrapped_for_the_cloud(azure):
    from rehearsal.azure.protocol import Secret

    made = azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus", tags={"a": Secret("s")})
    assert made.outputs["tags"] == {"a": "s"}


@pytest.mark.parametrize(
    ("change", "path", "kind"),
    [
        ({"vmSize": "Standard_NC6s_v3"}, "vmSize", "UPDATE_REPLACE"),
        ({"agentPoolName": "other"}, "agentPoolName", "UPDATE_REPLACE"),
        ({"resourceGroupName": "rg2"}, "resourceGroupName", "UPDATE_REPLACE"),
        ({"count": 2}, "count", "UPDATE"),
        ({"kubeletConfig": {"cpuManagerPolicy": "none"}}, "kubeletConfig.cpuManagerPolicy", "UPDATE"),
        ({"kubeletConfig": None}, "kubeletConfig", "DELETE"),
        ({"nodeTaints": ["a=b:NoSchedule", "c=d:NoSchedule"]}, "nodeTaints[1]", "ADD"),
        ({"count": UNKNOWN}, "count", "UPDATE"),
    ],
)
def test_a_diff_has_the_property_path_and_replaces_as_the_real_provider(azure, change, path, kind):
    """The real provider replaces a pool for vmSize and a few more, not for kubelet or Linux configuration."""
    from pulumi.runtime.proto import provider_pb2

    old = {
        "resourceGroupName": "rg",
        "resourceName": "aks",
        "agentPoolName": "gpu",
        "vmSize": "Standard_NC24s_v3",
        "count": 1,
        "kubeletConfig": {"cpuManagerPolicy": "static"},
        "nodeTaints": ["a=b:NoSchedule"],
    }
    answer = azure.diff("containerservice:AgentPool", old, {**old, **change})
    assert {key: provider_pb2.PropertyDiff.Kind.Name(value.kind) for key, value in answer.detailedDiff.items()} == {path: kind}
    assert list(answer.replaces) == ([path] if kind.endswith("REPLACE") else [])


CLUSTER = {"resourceGroupName": "rg", "resourceName": "aks", "networkProfile": {"podCidr": "10.244.0.0/16", "loadBalancerSku": "standard"}}


@pytest.mark.parametrize(
    ("token", "old", "change", "replaces"),
    [
        ("containerservice:ManagedCluster", CLUSTER, {"networkProfile": {"podCidr": "10.200.0.0/16", "loadBalancerSku": "standard"}}, ["networkProfile.podCidr"]),
        ("containerservice:ManagedCluster", CLUSTER, {"networkProfile": {"podCidr": "10.244.0.0/16"}}, []),
        ("containerservice:ManagedCluster", CLUSTER, {"windowsProfile": {"adminUsername": "azureuser"}}, ["windowsProfile"]),
        ("network:PublicIPAddress", {"sku": {"name": "Standard"}, "zones": ["1"]}, {"zones": ["1", "2"]}, []),
        ("network:PublicIPAddress", {"sku": {"name": "Standard"}, "zones": ["1"]}, {"sku": {"name": "StandardV2"}}, ["sku.name"]),
        ("authorization:RoleAssignment", {"scope": "/s", "roleDefinitionId": "a"}, {"roleDefinitionId": "b"}, []),
        ("redisenterprise:Database", {"port": 10000, "clusteringPolicy": "NoCluster"}, {"port": 10001}, ["port"]),
        ("redisenterprise:Database", {"port": 10000, "clusteringPolicy": "NoCluster"}, {"clusteringPolicy": "OSSCluster"}, []),
    ],
)  # fmt: skip
def test_a_change_replaces_what_the_providers_own_list_names(azure, token, old, change, replaces):
    assert list(azure.diff(token, old, {**old, **change}).replaces) == replaces


def test_the_providers_list_is_read_as_the_go_file_has_it():
    source = """
var forceNewMap = map[openapi.ModuleName]map[string]codegen.StringSet{
\t"ContainerService": {
\t\t"AgentPool": codegen.NewStringSet(
\t\t\t"vmSize",
\t\t\t// the "size" of its disks changes in place
\t\t\t"gpuInstanceProfile",
\t\t),
\t},
\t"Network": {
\t\t"Subnet":         codegen.NewStringSet(), // no force-news
\t\t"VirtualNetwork": codegen.NewStringSet("location"),
\t},
}
"""
    assert read_provider(source) == {
        "containerservice:AgentPool": ["gpuInstanceProfile", "vmSize"],
        "network:VirtualNetwork": ["location"],
    }


@pytest.mark.parametrize("token", sorted(set(named()) & {token.removeprefix("azure-native:") for token in RESOURCE_TYPES}))
def test_every_property_of_the_providers_list_is_one_of_the_sdks(token):
    """A name that the SDK gave up would silently force nothing."""
    assert set(named()[token]) <= {path.rsplit(".", 1)[-1] for path in replacing(f"azure-native:{token}")}


def test_a_cluster_lists_all_of_its_pools_by_name_with_their_nodes_of_now(landscape):
    cluster = landscape.make_cluster()
    landscape.make_pool("gpu", count=2)
    _, outputs, _ = landscape.azure.read("containerservice:ManagedCluster", cluster.id)
    pools = outputs["agentPoolProfiles"]
    assert [(pool["name"], pool["count"]) for pool in pools] == [("gpu", 2), ("system", 1)]
    assert pools[1]["osDiskType"] == "Ephemeral"
    assert pools[1]["currentOrchestratorVersion"] == "1.36.3"
    answer = landscape.azure.invoke("containerservice:getManagedCluster", resourceGroupName="rg", resourceName="aks")
    assert answer["agentPoolProfiles"] == pools


def test_a_refresh_applies_to_the_inputs_what_azure_says_by_place(landscape):
    """So a list that Azure orders by itself moves under what the program wrote (pulumi/pulumi-azure-native issue 1298)."""
    cluster = landscape.make_cluster()
    inputs = landscape.cluster()
    landscape.make_pool("gpu", count=2)
    after = landscape.azure.refresh("containerservice:ManagedCluster", cluster, inputs)
    assert [pool["name"] for pool in after.inputs["agentPoolProfiles"]] == ["gpu", "system"]
    assert landscape.azure.refresh("containerservice:ManagedCluster", after, after.inputs).inputs == after.inputs
    assert {key: value for key, value in after.inputs.items() if key != "agentPoolProfiles"} == {
        key: value for key, value in inputs.items() if key != "agentPoolProfiles"
    }


def test_an_update_leaves_open_in_preview_what_azure_may_change(landscape):
    """The real provider keeps name and location; so whatever is made from another output shows as changed."""
    cluster = landscape.make_cluster()
    previewed = landscape.azure.update("containerservice:ManagedCluster", cluster, preview=True, **landscape.cluster(tags={"a": "b"}))
    assert previewed["fqdn"] is UNKNOWN
    assert (previewed["name"], previewed["location"]) == ("aks", "eastus")


def test_a_replacement_deletes_first_unless_the_provider_made_the_name(azure):
    """Like the real provider, the stand-in deletes first unless a program sets delete_before_replace=False."""
    old = {"resourceGroupName": "rg", "resourceName": "aks", "agentPoolName": "gpu", "vmSize": "a"}
    assert azure.diff("containerservice:AgentPool", old, {**old, "vmSize": "b"}).deleteBeforeReplace
    random = {**old, "agentPoolName": "gpu0a1b2c3d"}
    assert not azure.diff("containerservice:AgentPool", random, {**random, "vmSize": "b"}).deleteBeforeReplace
    assert not azure.diff("containerservice:AgentPool", old, {**old, "count": 2}).deleteBeforeReplace


def test_regions_are_compared_as_azure_reads_them(azure):
    old = {"resourceGroupName": "rg", "location": "eastus"}
    assert not azure.diff("resources:ResourceGroup", old, {**old, "location": "East US"}).detailedDiff


def test_a_cluster_has_what_the_program_needs_from_it(landscape):
    cluster = landscape.make_cluster(
        oidcIssuerProfile={"enabled": True}, addonProfiles={"azureKeyvaultSecretsProvider": {"enabled": True}}
    ).outputs
    assert cluster["oidcIssuerProfile"]["issuerURL"].startswith("https://eastus.oic.prod-aks.azure.com/")
    assert set(cluster["identityProfile"]["kubeletidentity"]) == {"resourceId", "clientId", "objectId"}
    assert cluster["nodeResourceGroup"] == "MC_rg_aks_eastus"
    assert cluster["currentKubernetesVersion"] == "1.36.3"
    assert cluster["fqdn"].endswith(".hcp.eastus.azmk8s.io")
    assert cluster["identity"]["principalId"]
    assert cluster["addonProfiles"]["azureKeyvaultSecretsProvider"]["identity"]["objectId"]


def test_a_killed_write_leaves_the_file_whole(azure, monkeypatch):
    """The state is written beside the file and renamed: a run killed in between must not lose the cloud."""
    azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus")
    path = azure.provider.layout.azure
    before = path.read_text()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt), azure.provider.state.change() as cloud:
        cloud.resources.clear()
    assert json.loads(path.read_text()) == json.loads(before)


def test_who_am_i_and_a_token(azure):
    config = azure.invoke("authorization:getClientConfig")
    assert config["subscriptionId"] == azure.provider.subscription.subscription_id
    assert azure.invoke("authorization:getClientToken")["token"]


def test_an_existing_resource_can_be_looked_up(landscape):
    found = landscape.azure.invoke("network:getVirtualNetwork", resourceGroupName="rg", virtualNetworkName="vnet")
    assert found["id"] == landscape.vnet.id
    with pytest.raises(AzureError, match=r'Code="ResourceNotFound" .*Microsoft.Network/virtualNetworks/nope'):
        landscape.azure.invoke("network:getVirtualNetwork", resourceGroupName="rg", virtualNetworkName="nope")


def test_identities_go_in_as_a_list_and_come_out_as_a_map(landscape):
    """The SDK fails on a list where it reads a map, in a preview too."""
    identity = landscape.azure.create("managedidentity:UserAssignedIdentity", resourceGroupName="rg", resourceName="identity")
    wanted = {"type": "UserAssigned", "userAssignedIdentities": [identity.id]}
    base = {"resourceGroupName": "rg", "resourceName": "aks", "dnsPrefix": "aks", "agentPoolProfiles": [landscape.system_pool()]}
    previewed = landscape.azure.create("containerservice:ManagedCluster", preview=True, **base, identity=wanted)
    assert previewed.outputs["identity"]["type"] == "UserAssigned"
    assert previewed.outputs["identity"]["userAssignedIdentities"] is UNKNOWN
    made = landscape.azure.create("containerservice:ManagedCluster", **base, identity=wanted)
    ids = made.outputs["identity"]["userAssignedIdentities"][identity.id]
    assert ids == {"principalId": identity.outputs["principalId"], "clientId": identity.outputs["clientId"]}


def test_a_preview_leaves_open_what_azure_adds_inside_an_object(landscape):
    """A program reads the issuer's URL from a profile of which it set only `enabled`."""
    previewed = landscape.azure.create(
        "containerservice:ManagedCluster", preview=True, resourceGroupName="rg", oidcIssuerProfile={"enabled": True}
    )
    assert previewed.outputs["oidcIssuerProfile"] == {"enabled": True, "issuerURL": UNKNOWN}
