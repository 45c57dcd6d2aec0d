"""What a running stack cannot become is said before anything is registered, and its pools keep the nodes that they have."""

import dataclasses
import json

import pytest

from infra import naming
from settings import StackSettings, load
from settings.files import ROOT
from stacks import running
from stacks.running import Running

ACCOUNT = naming.names_of(StackSettings().azure, "prod").storage_account
CLUSTER = {
    "currentKubernetesVersion": "1.36.3",
    "apiServerAccessProfile": {"enablePrivateCluster": False},
    "networkProfile": {"podCidr": "10.244.0.0/16", "serviceCidr": "10.65.0.0/16"},
    "agentPoolProfiles": [
        {"name": "gpuacb0207b", "vmSize": "Standard_NC24s_v3", "availabilityZones": ["1"], "count": 7},
        {"name": "system", "vmSize": "standard_d8ds_v5", "availabilityZones": ["3", "1", "2"], "count": 3},
    ],
}
BUILDERS = {"azure": {"network": {"buildersCidr": "10.64.9.0/27"}}}
NETWORK = {
    "addressSpace": {"addressPrefixes": ["10.64.0.0/16"]},
    "subnets": [
        {"name": "nodes", "properties": {"addressPrefix": "10.64.0.0/22"}},
        {"name": "private-endpoints", "properties": {"addressPrefix": "10.64.8.0/24"}},
    ],
}
SAME = Running(cluster=CLUSTER, network=NETWORK, redis={"highAvailability": "Enabled"}, storage_accounts={ACCOUNT: "eastus"})


def found(sections, there=SAME, redis_sku="MemoryOptimized_M150"):
    settings = load({name: json.dumps(section) for name, section in sections.items()})
    return {problem.key: problem for problem in running.problems(settings, "prod", there, redis_sku)}


def test_nothing_to_say_before_the_first_up_and_while_nothing_for_life_changes():
    assert found({"cluster": {"private": True, "zones": ["1"]}} | BUILDERS, Running()) == {}
    assert found({"cluster": {"tier": "Free", "kubernetesVersion": "1.37"}, "azure": {"tags": {"a": "b"}}}) == {}


def test_a_cluster_that_somebody_deleted_is_named_with_the_way_out():
    """What followed was thirty lines of a traceback around `listManagedClusterUserCredentials`, which said neither."""

    def said(there):
        return list(running.warnings(StackSettings(), "prod", there))

    (text,) = said(dataclasses.replace(SAME, cluster={}))
    assert "the cluster aks-zig-ai-prod does not exist" in text
    section = text.split('under "')[1].split('"')[0]
    assert f"## {section}\n" in (ROOT / "docs" / "operations.md").read_text()
    assert said(SAME) == said(Running()) == said(Running(network=NETWORK)) == [], "nor before the first `up`, nor between its two steps"


def test_nodes_that_get_another_identity_are_replaced_and_a_person_is_told():
    """Before, AKS made the identity; `az aks update --assign-kubelet-identity` asks first, since it upgrades every pool."""

    def said(identity):
        return list(running.warnings(StackSettings(), "prod", Running(cluster=CLUSTER | {"identityProfile": identity})))

    path = "/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
    (text,) = said({"kubeletidentity": {"resourceId": path + "aks-agentpool"}})
    assert "id-kubelet-zig-ai-prod in place of aks-agentpool" in text and "the nodes of every pool" in text
    assert said({"kubeletidentity": {"resourceId": path + "id-kubelet-zig-ai-prod"}}) == said(None) == []


@pytest.mark.parametrize(
    ("sku", "ok"),
    [
        ("MemoryOptimized_M150", True),
        ("MemoryOptimized_M250", True),
        ("Balanced_B150", True),
        ("ComputeOptimized_X150", True),
        ("MemoryOptimized_M100", False),
        ("Balanced_B100", False),
        ("Balanced_B250", False),
        ("FlashOptimized_A250", False),
        (None, True),
    ],
)
def test_a_redis_that_runs_grows_and_a_smaller_one_is_refused_with_the_way_out(sku, ok):
    """Azure refused it half-way, after other changes."""
    there = dataclasses.replace(SAME, redis_sku="MemoryOptimized_M150")
    problems = found({"redis": {"sku": sku}} if sku else {}, there, sku)
    assert list(problems) == ([] if ok else ["redis.sku"])
    assert ok or problems["redis.sku"].fix.startswith("redis: {sku: MemoryOptimized_M150}, or scale it first as docs/operations.md says")


def test_a_smaller_cache_level_is_a_smaller_redis():
    there = dataclasses.replace(SAME, redis_sku="MemoryOptimized_M150")
    (problem,) = found({"caching": {"l3Cache": {"size": "8Gi"}}}, there, "MemoryOptimized_M10").values()
    assert problem.key == "caching.l3Cache.size" and "needs MemoryOptimized_M10 only" in problem.consequence


def test_cost_analysis_is_turned_off_before_the_tier_that_lacks_it():
    def there(enabled):
        return Running(cluster=CLUSTER | {"metricsProfile": {"costAnalysis": {"enabled": enabled}}})

    free = {"cluster": {"tier": "Free"}}
    assert "az aks update --disable-cost-analysis" in found(free, there(True))["cluster.tier"].fix
    assert found(free, there(False)) == found({"cluster": {"tier": "Premium"}}, there(True)) == {}


@pytest.mark.parametrize(
    ("sections", "key", "fix"),
    [
        ({"cluster": {"systemPool": {"vmSize": "Standard_D16ds_v5"}}}, "cluster.systemPool.vmSize", "docs/operations.md"),
        ({"cluster": {"encryptionAtHost": True}}, "cluster.encryptionAtHost", "false, or exchange the pool"),
        ({"cluster": {"zones": []}}, "cluster.zones", "1, 2, 3, or another stack"),
        ({"cluster": {"private": True}} | BUILDERS, "cluster.private", "private: false, or another stack"),
        ({"azure": {"network": {"podCidr": "10.200.0.0/16"}}}, "azure.network.podCidr", "10.244.0.0/16"),
        ({"azure": {"network": {"serviceCidr": "10.66.0.0/16"}}}, "azure.network.serviceCidr", "10.65.0.0/16"),
        ({"azure": {"network": {"nodesCidr": "10.64.0.0/21"}}}, "azure.network.nodesCidr", "10.64.0.0/22"),
        ({"azure": {"network": {"privateEndpointsCidr": "10.64.9.0/24"}}}, "azure.network.privateEndpointsCidr", "10.64.8.0/24"),
        ({"azure": {"network": {"addressSpace": "10.64.0.0/17"}}}, "azure.network.addressSpace", "10.64.0.0/16"),
        ({"redis": {"highAvailability": False}}, "redis.highAvailability", "enabled"),
        ({"azure": {"nameSuffix": "abc123"}}, "azure.nameSuffix", "the value with which"),
        ({"azure": {"location": "westeurope"}}, "azure.location", "eastus, as it was"),
        ({"cluster": {"kubernetesVersion": "1.35"}}, "cluster.kubernetesVersion", '"1.36"'),
        ({"cluster": {"kubernetesVersion": "1.38"}}, "cluster.kubernetesVersion", '"1.37" first'),
    ],
)
def test_what_is_for_life_is_refused_with_the_way_out(sections, key, fix):
    """The preview said `update`, and `up` failed half-way; a new range for pods deleted the whole cluster."""
    problems = found(sections)
    assert list(problems) == [key] and fix in problems[key].fix
