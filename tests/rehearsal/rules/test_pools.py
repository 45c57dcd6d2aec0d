# ruff: noqa: E501 - a case is a line
"""Refused node pools, in the words that a user sees."""

import pytest

from rehearsal.azure import effects, subscription
from rehearsal.azure.pools import autoscale
from tests.rehearsal.azure_client import refused
from tests.rehearsal.conftest import Landscape


@pytest.mark.parametrize("name", ["GPU", "gpu-1", "1gpu", "averylongname1"])
def test_refused_pool_names(landscape, name):
    landscape.make_cluster()
    refused("must start with a lowercase letter, have max length of 12, and only have characters a-z0-9", landscape.make_pool, name)


def test_a_retired_size_in_azures_words(subscribe):
    landscape = Landscape(subscribe("today"))
    landscape.make_cluster()
    refused(
        "The VM size of Standard_NC24s_v3 is not allowed in your subscription in location 'eastus'. The available VM sizes are '",
        landscape.make_pool,
    )
    landscape.make_pool(vmSize="Standard_NC24ads_A100_v4")


def test_a_pool_goes_on_with_a_size_that_is_retired_meanwhile(landscape):
    landscape.make_cluster()
    pool = landscape.make_pool()
    landscape.azure.provider.subscription = subscription.load("today")
    landscape.azure.update("containerservice:AgentPool", pool, **landscape.pool(tags={"a": "b"}))
    refused("is not allowed in your subscription", landscape.make_pool, "gpu2")


def test_quota_by_family_counts_what_runs(subscribe):
    landscape = Landscape(subscribe("tight-quota"))
    landscape.make_cluster()
    landscape.make_pool("one", count=1)
    refused(
        "Insufficient vcpu quota requested 48, remaining 24 for family standardNCSv3Family for region eastus.",
        landscape.make_pool,
        "two",
        count=2,
    )


def test_a_pool_can_grow_to_its_quota_and_no_further(subscribe):
    landscape = Landscape(subscribe("tight-quota"))
    landscape.make_cluster()
    pool = landscape.make_pool(count=1)
    landscape.azure.update("containerservice:AgentPool", pool, **landscape.pool(count=2))
    refused(
        "Insufficient vcpu quota requested 72, remaining 48",
        landscape.azure.update,
        "containerservice:AgentPool",
        pool,
        **landscape.pool(count=3),
    )


def test_the_regional_quota_counts_all_families(subscribe):
    landscape = Landscape(subscribe("tight-quota"))
    landscape.make_cluster(landscape.system_pool(count=4))
    landscape.make_pool("one", count=2)
    landscape.make_pool("two", count=1, vmSize="Standard_D16s_v5")
    refused(
        "Insufficient regional vcpu quota left for location eastus. left regional vcpu quota 12, requested quota 16.",
        landscape.make_pool, "three", count=1, vmSize="Standard_F16s_v2",
    )  # fmt: skip


@pytest.mark.parametrize("inline", [True, False])
def test_a_raised_minimum_is_taken_and_the_autoscaler_follows(landscape, inline):
    """AKS gave up the check of the count against the bounds for updates (Azure/AKS issue 1758)."""
    scaled = {"enableAutoScaling": True, "minCount": 1, "maxCount": 2, "count": 1}
    raised = {**scaled, "minCount": 3, "maxCount": 4}
    azure = landscape.azure
    if inline:
        cluster = landscape.make_cluster(landscape.system_pool(**scaled))
        azure.update("containerservice:ManagedCluster", cluster, **landscape.cluster(landscape.system_pool(**raised)))
    else:
        landscape.make_cluster()
        pool = landscape.make_pool(**scaled)
        azure.update("containerservice:AgentPool", pool, **landscape.pool(**raised))
    assert landscape.live()["system" if inline else "gpu"] == 3


@pytest.fixture
def scaled(landscape):
    """A pool of 1 to 4 nodes, started with 1 and brought to 3 by the autoscaler, and the request that made it."""
    landscape.make_cluster()
    wanted = landscape.pool(enableAutoScaling=True, minCount=1, maxCount=4, count=1)
    made = landscape.azure.create("containerservice:AgentPool", **wanted)
    with landscape.azure.provider.state.change() as cloud:
        autoscale(cloud, made.id, 3)
    return made, wanted


def test_a_request_with_the_count_of_long_ago_is_refused(landscape, scaled):
    made, wanted = scaled
    words = "Agent pool gpu has 3 nodes and the cluster autoscaler is enabled: it cannot be scaled manually to 1."
    refused(words, landscape.azure.update, "containerservice:AgentPool", made, **wanted, tags={"a": "b"})
    assert landscape.live()["gpu"] == 3


@pytest.mark.parametrize("count", [3, None])
def test_a_request_with_the_count_of_now_or_none_takes_no_node(landscape, scaled, count):
    made, wanted = scaled
    landscape.azure.update("containerservice:AgentPool", made, **{**wanted, "count": count, "tags": {"a": "b"}})
    assert landscape.live()["gpu"] == 3


def test_a_pool_without_the_autoscaler_is_scaled_by_a_request(landscape):
    landscape.make_cluster()
    made = landscape.make_pool(count=1)
    landscape.azure.update("containerservice:AgentPool", made, **landscape.pool(count=2))
    assert landscape.live()["gpu"] == 2


def test_the_autoscaler_stays_within_the_bounds(landscape, scaled):
    with landscape.azure.provider.state.change() as cloud, pytest.raises(ValueError, match="does not bring gpu to 5 nodes"):
        autoscale(cloud, scaled[0].id, 5)


def test_the_pools_of_a_cluster_change_one_after_the_other(landscape, monkeypatch):
    """azure-native does not try again what AKS answers to the second."""
    landscape.make_cluster()
    words = "Another agentpool operation (one - Creating) is in progress, please wait for it to finish"
    monkeypatch.setattr(effects, "written", lambda *_: refused(words, landscape.make_pool, "two"))
    landscape.make_pool("one")
    monkeypatch.setattr(effects, "written", lambda *_: None)
    landscape.make_pool("two")


def test_a_new_autoscaled_pool_starts_between_its_bounds(landscape):
    landscape.make_cluster()
    refused("must lie between minCount (2) and maxCount (4)", landscape.make_pool, enableAutoScaling=True, minCount=2, maxCount=4, count=1)


@pytest.mark.parametrize(
    "change",
    [
        {"vmSize": "Standard_D8ds_v5"},
        {"availabilityZones": ["1"]},
        {"maxPods": 60},
        {"osDiskSizeGB": 256},
        {"osDiskType": "Managed"},
        {"enableEncryptionAtHost": True},
    ],
)
def test_a_system_pools_machines_are_for_life(landscape, change):
    cluster = landscape.make_cluster()
    words = f"Changing property 'properties.{next(iter(change))}' is not allowed."
    update, wanted = landscape.azure.update, landscape.cluster(landscape.system_pool(**change))
    refused(words, update, "containerservice:ManagedCluster", cluster, **wanted)


def test_a_cluster_takes_no_further_pool_and_keeps_the_one_that_is_left_out(landscape):
    system, other = landscape.system_pool(), landscape.system_pool(name="other")
    cluster = landscape.make_cluster(system, other)
    update = landscape.azure.update
    third = landscape.cluster(system, other, landscape.system_pool(name="third"))
    refused("A new agent pool was introduced.", update, "containerservice:ManagedCluster", cluster, **third)
    update("containerservice:ManagedCluster", cluster, **landscape.cluster(system))
    assert set(landscape.live()) == {"system", "other"}


def test_spot_has_a_quota_of_its_own(subscribe):
    landscape = Landscape(subscribe("tight-quota"))
    landscape.make_cluster()
    refused("remaining 24 for family lowPriorityCores", landscape.make_pool, count=2, scaleSetPriority="Spot")


def test_zones_where_there_are_none(subscribe):
    landscape = Landscape(subscribe("no-zones"))
    landscape.make_cluster()
    refused("Availability zone is not supported in region eastus.", landscape.make_pool, availabilityZones=["1", "2", "3"])


def test_a_zone_that_the_region_lacks(landscape):
    landscape.make_cluster()
    refused(
        "The zone(s) '4' for resource 'gpu' is not supported. The supported zones for location 'eastus' are '1,2,3'",
        landscape.make_pool,
        availabilityZones=["1", "4"],
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"vmSize": "Standard_D2ds_v5"}, "at least 4 vCPUs and 4 GB memory; Standard_D2ds_v5 has 2 and 8"),
        ({"vmSize": "Standard_B4ms"}, "B series VMs are not supported for system node pools"),
        ({"osType": "Windows"}, "must be Linux"),
        ({"count": 0}, "must have at least one node"),
        ({"scaleSetPriority": "Spot"}, "cannot be a system node pool"),
        ({"nodeTaints": ["a=b:NoSchedule"]}, "hard taints of system node pool"),
        ({"mode": "User"}, "There has to be at least one system agent pool."),
    ],
)
def test_refused_system_pools(landscape, more, words):
    name = "sys" if more.get("osType") == "Windows" else "system"
    refused(words, landscape.make_cluster, landscape.system_pool(name=name, **more))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"osDiskType": "Ephemeral", "vmSize": "Standard_D4s_v5"}, "does not support ephemeral OS disk"),
        ({"osDiskType": "Ephemeral", "osDiskSizeGB": 256, "vmSize": "Standard_NC4as_T4_v3"}, "has a max cache size/temp disk size of 176 GB, but the OS disk requires 256 GB"),
        ({"osDiskType": "Ephemeral", "vmSize": "Standard_NC24ads_A100_v4"}, "has a max cache size/temp disk size of 64 GB, but the OS disk requires 128 GB"),
        ({"upgradeSettings": {"maxSurge": "0%"}}, "requires maxSurge to be greater than 0 when maxUnavailable is 0"),
        ({"upgradeSettings": {"maxSurge": "0", "maxUnavailable": "0"}}, "requires maxSurge to be greater than 0 when maxUnavailable is 0"),
        ({"mode": "System", "upgradeSettings": {"maxSurge": "0", "maxUnavailable": "1"}}, "for which maxUnavailable cannot be set"),
        ({"maxPods": 9}, "must be between 10 and 250"),
        ({"minCount": 1}, "can only be set when enableAutoScaling is true"),
        ({"enableAutoScaling": True, "minCount": 3, "maxCount": 2}, "must not exceed maxCount"),
        ({"scaleSetEvictionPolicy": "Delete"}, "can only be set when scaleSetPriority is Spot"),
        ({"scaleSetPriority": "Spot", "spotMaxPrice": 0}, "must be -1 or greater than 0"),
        ({"nodeLabels": {"kubernetes.azure.com/x": "y"}}, "the prefix kubernetes.azure.com is reserved"),
        ({"nodeTaints": ["nope"]}, "is not key=value:effect"),
        ({"gpuInstanceProfile": "MIG1g"}, "does not support MIG"),
    ],
)  # fmt: skip
def test_refused_pool_properties(landscape, more, words):
    landscape.make_cluster()
    refused(words, landscape.make_pool, **more)


def test_what_a_pool_cannot_change_in_place(landscape):
    landscape.make_cluster()
    pool = landscape.make_pool()
    refused(
        "Changing property 'properties.kubeletConfig' is not allowed.",
        landscape.azure.update, "containerservice:AgentPool", pool, **landscape.pool(kubeletConfig={"cpuManagerPolicy": "static"}),
    )  # fmt: skip


def test_a_subnet_needs_room_for_the_nodes(landscape):
    small = landscape.make_subnet("small", "10.10.8.0/29")
    landscape.make_cluster()
    refused("Pre-allocated IPs 5 exceeds IPs available 3 in Subnet Cidr 10.10.8.0/29", landscape.make_pool, count=4, vnetSubnetID=small.id)


def test_the_last_system_pool_stays(landscape):
    cluster = landscape.make_cluster()
    assert cluster.id
    pool = landscape.make_pool("sys2", mode="System", vmSize="Standard_D4ds_v5")
    landscape.azure.delete("containerservice:AgentPool", pool.id)  # another one is left


def test_encryption_at_host_is_a_feature_of_the_subscription(landscape, subscribe):
    landscape.make_cluster()
    refused(
        "'securityProfile.encryptionAtHost' is not valid because the 'Microsoft.Compute/EncryptionAtHost' feature is not enabled",
        landscape.make_pool,
        enableEncryptionAtHost=True,
    )
    landscape.make_pool(enableEncryptionAtHost=False)
    encrypted = Landscape(subscribe("encrypted"))
    encrypted.make_cluster()
    encrypted.make_pool(enableEncryptionAtHost=True)
