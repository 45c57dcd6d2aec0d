# ruff: noqa: E501 - a case is a line
"""Updates that Azure refuses, in the words that a user sees."""

import dataclasses

import pytest

from tests.rehearsal.azure_client import refused

GUID = "7f951dda-4ed3-4680-a7ca-43fe172d538d"


@pytest.fixture
def changed(landscape):
    """Returns a function that makes a resource and then asks for `change`."""

    def change(token, inputs, change):
        made = landscape.azure.create(token, **inputs)
        return landscape.azure.update(token, made, **{**inputs, **change})

    return change


PUBLIC, PRIVATE = ({"apiServerAccessProfile": {"enablePrivateCluster": private}} for private in (False, True))
REDIS = {"resourceGroupName": "rg", "clusterName": "redis", "publicNetworkAccess": "Disabled", "sku": {"name": "Balanced_B50"}}
STORAGE = {"resourceGroupName": "rg", "accountName": "weights", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
ADDRESS = {"resourceGroupName": "rg", "publicIpAddressName": "other", "sku": {"name": "Standard"}, "publicIPAllocationMethod": "Static"}


@pytest.mark.parametrize(
    ("token", "inputs", "change", "words"),
    [
        ("redisenterprise:RedisEnterprise", REDIS, {"highAvailability": "Disabled"}, "highAvailability of redis cannot be changed from Enabled to Disabled"),
        ("redisenterprise:RedisEnterprise", REDIS, {"sku": {"name": "Balanced_B20"}}, "from SKU Balanced_B50 to Balanced_B20 is not supported"),
        ("redisenterprise:RedisEnterprise", REDIS, {"sku": {"name": "MemoryOptimized_M50"}}, "to MemoryOptimized_M50 is not supported"),
        ("storage:StorageAccount", STORAGE, {"sku": {"name": "Standard_ZRS"}}, 'Code="StorageAccountTypeConversionNotAllowed"'),
        ("network:PublicIPAddress", ADDRESS, {"zones": ["1"]}, "Zones cannot be added/updated/removed once the resource is created."),
        ("network:NatGateway", {"resourceGroupName": "rg", "natGatewayName": "other", "sku": {"name": "Standard"}}, {"zones": ["1"]}, 'Code="ResourceAvailabilityZonesCannotBeModified"'),
    ],
)  # fmt: skip
def test_what_is_for_life(changed, token, inputs, change, words):
    refused(words, changed, token, inputs, change)


@pytest.mark.parametrize(
    ("token", "inputs", "change"),
    [
        ("redisenterprise:RedisEnterprise", REDIS, {"sku": {"name": "Balanced_B100"}}),
        ("redisenterprise:RedisEnterprise", REDIS, {"sku": {"name": "ComputeOptimized_X50"}}),
        ("redisenterprise:RedisEnterprise", REDIS, {"highAvailability": "Enabled", "tags": {"a": "b"}}),
        ("storage:StorageAccount", STORAGE, {"sku": {"name": "Standard_GRS"}}),
        ("network:PublicIPAddress", ADDRESS, {"tags": {"a": "b"}}),
    ],
)
def test_ordinary_changes_are_taken(changed, token, inputs, change):
    changed(token, inputs, change)


@pytest.mark.parametrize(("old", "new"), [(PUBLIC, PRIVATE), (PRIVATE, PUBLIC), ({}, PRIVATE)])
def test_a_cluster_is_private_for_life(landscape, old, new):
    cluster = landscape.make_cluster(**old)
    words = "Changing property 'properties.apiServerAccessProfile.enablePrivateCluster' is not allowed."
    refused(words, landscape.azure.update, "containerservice:ManagedCluster", cluster, **landscape.cluster(**new))


def test_the_free_tier_comes_after_cost_analysis_has_gone(landscape):
    paid, free = ({"sku": {"name": "Base", "tier": tier}} for tier in ("Standard", "Free"))
    on, off = ({"metricsProfile": {"costAnalysis": {"enabled": enabled}}} for enabled in (True, False))
    cluster, kind = landscape.make_cluster(**paid, **on), "containerservice:ManagedCluster"
    refused("before cost analysis is disabled", landscape.azure.update, kind, cluster, **landscape.cluster(**free, **off))
    landscape.azure.update(kind, cluster, **landscape.cluster(**paid, **off))
    landscape.azure.update(kind, cluster, **landscape.cluster(**free, **off))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("1.36.5", "1.36.2", "Downgrading the cluster from 1.36.5 to 1.36.2 is not allowed."),
        ("1.36", "1.36.2", "Downgrading the cluster from 1.36.3 to 1.36.2 is not allowed."),
        ("1.36", "1.35", "Downgrading the cluster from 1.36.3 to 1.35 is not allowed."),
        ("1.35.1", "1.37", "one minor version at a time"),
    ],
)
def test_a_version_only_rises(landscape, old, new, words):
    """`1.36` runs its latest patch, 1.36.3 in these tests."""
    cluster = landscape.make_cluster(kubernetesVersion=old)
    refused(words, landscape.azure.update, "containerservice:ManagedCluster", cluster, **landscape.cluster(kubernetesVersion=new))


def test_a_minor_version_alone_goes_on_with_the_patch_that_runs(landscape):
    cluster = landscape.make_cluster(kubernetesVersion="1.36")
    wanted = landscape.cluster(kubernetesVersion="1.36", tags={"a": "b"})
    assert landscape.azure.update("containerservice:ManagedCluster", cluster, **wanted)["currentKubernetesVersion"] == "1.36.3"


def test_a_version_that_is_no_longer_offered_goes_on(landscape):
    cluster, provider = landscape.make_cluster(kubernetesVersion="1.36"), landscape.azure.provider
    provider.subscription = dataclasses.replace(provider.subscription, kubernetes_versions=["1.38", "1.39"])
    wanted = landscape.cluster(kubernetesVersion="1.36", tags={"a": "b"})
    assert landscape.azure.update("containerservice:ManagedCluster", cluster, **wanted)["tags"] == {"a": "b"}
    upgraded = landscape.cluster(kubernetesVersion="1.37")
    refused("K8sVersionNotSupported", landscape.azure.update, "containerservice:ManagedCluster", cluster, **upgraded)


def test_a_range_stays_while_nodes_are_in_it(landscape):
    azure, subnet = landscape.azure, {"resourceGroupName": "rg", "virtualNetworkName": "vnet", "subnetName": "nodes"}
    move = {**subnet, "addressPrefix": "10.10.16.0/22", "natGateway": {"id": landscape.nat.id}}
    azure.update("network:Subnet", landscape.subnet, **move)  # nobody is there yet
    landscape.make_cluster()
    words = "IpPrefix 10.10.16.0/22 on Subnet nodes has active allocations and cannot be deleted."
    refused(words, azure.update, "network:Subnet", landscape.subnet, **{**move, "addressPrefix": "10.10.0.0/22"})


def test_a_networks_space_holds_its_subnets(landscape):
    wanted = {"resourceGroupName": "rg", "virtualNetworkName": "vnet", "addressSpace": {"addressPrefixes": ["10.20.0.0/16"]}}
    refused('Code="NetcfgSubnetRangeOutsideVnet"', landscape.azure.update, "network:VirtualNetwork", landscape.vnet, **wanted)


def test_clustering_can_be_chosen_once(landscape):
    landscape.azure.create("redisenterprise:RedisEnterprise", **REDIS)
    database = {"resourceGroupName": "rg", "clusterName": "redis", "databaseName": "default", "clusteringPolicy": "OSSCluster"}
    made = landscape.azure.create("redisenterprise:Database", **database)
    wanted = {**database, "clusteringPolicy": "EnterpriseCluster"}
    refused("cannot be updated without deleting the database", landscape.azure.update, "redisenterprise:Database", made, **wanted)


def test_a_role_assignment_is_not_changed(landscape):
    azure, subscription = landscape.azure, landscape.azure.provider.subscription
    roles = f"/subscriptions/{subscription.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
    grant = {
        "scope": landscape.vnet.id,
        "roleAssignmentName": GUID,
        "roleDefinitionId": f"{roles}/{GUID}",
        "principalId": subscription.object_id,
    }
    made = azure.create("authorization:RoleAssignment", **grant)
    reader = f"{roles}/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
    refused(
        'Code="RoleAssignmentUpdateNotPermitted"',
        azure.update,
        "authorization:RoleAssignment",
        made,
        **{**grant, "roleDefinitionId": reader},
    )
