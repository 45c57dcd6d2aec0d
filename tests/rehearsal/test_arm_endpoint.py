"""What a program's preflight reads has Azure's own shape and the subscription's facts."""

import json
import urllib.error
import urllib.request
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from infra import naming
from planner import plan
from rehearsal.arm_endpoint import ArmEndpoint
from rehearsal.azure import subscription as subscriptions
from rehearsal.azure.pools import autoscale
from settings import StackSettings, load
from stacks import preflight, running
from stacks.arm import Arm
from stacks.running import Running


@pytest.fixture
def ask(landscape):
    endpoints = []

    def ask(path, subscription="default", query="api-version=2021-07-01"):
        endpoint = ArmEndpoint(subscriptions.load(subscription), landscape.azure.provider.state)
        endpoints.append(endpoint)
        identifier = endpoint_subscription(subscription)
        url = f"{endpoint.url}/subscriptions/{identifier}/providers/Microsoft.Compute/{path}?{query}"
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["value"]

    yield ask
    for endpoint in endpoints:
        endpoint.stop()


def endpoint_subscription(name):
    return subscriptions.load(name).subscription_id


FILTER = "api-version=2021-07-01&$filter=" + quote("location eq 'eastus'")


def test_sizes_of_a_region(ask):
    sizes = {row["name"]: row for row in ask("skus", query=FILTER)}
    row = sizes["Standard_NC24s_v3"]
    assert (row["resourceType"], row["family"], row["locations"]) == ("virtualMachines", "standardNCSv3Family", ["eastus"])
    assert row["locationInfo"][0]["zones"] == ["1", "2", "3"]
    capabilities = {item["name"]: item["value"] for item in row["capabilities"]}
    assert (capabilities["vCPUs"], capabilities["MemoryGB"], capabilities["GPUs"]) == ("24", "448", "4")
    assert row["restrictions"] == []


def test_the_retired_size_is_gone_today(ask):
    names = {row["name"] for row in ask("skus", "today", FILTER)}
    assert "Standard_NC24s_v3" not in names and "Standard_NC24ads_A100_v4" in names


def test_usage_counts_what_runs(ask, landscape):
    landscape.make_cluster()
    landscape.make_pool(count=2)
    rows = {row["name"]["value"]: row for row in ask("locations/eastus/usages")}
    assert (rows["standardNCSv3Family"]["currentValue"], rows["standardNCSv3Family"]["limit"]) == (48, 400)
    assert rows["cores"]["currentValue"] == 48 + 4


def test_a_call_without_api_version_is_refused_as_azure_does(ask):
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask("skus", query="")
    assert json.load(caught.value)["error"]["code"] == "MissingApiVersionParameter"


@pytest.fixture
def look(landscape, monkeypatch):
    """What the program's preflight finds of a stack whose names are the landscape's."""
    endpoint = ArmEndpoint(subscriptions.load("default"), landscape.azure.provider.state)
    arm = Arm(subscription_id=endpoint_subscription("default"), token="t", endpoint=endpoint.url)
    names = SimpleNamespace(resource_group="rg", cluster="aks", redis="redis", of=lambda kind: kind)
    monkeypatch.setattr(naming, "names_of", lambda azure, stack: names)
    yield lambda: running.look(StackSettings(), "prod", arm)
    endpoint.stop()


def test_the_program_finds_the_nodes_that_the_autoscaler_has_left(landscape, look):
    """What it creates a pool with is no longer what an update must say."""
    landscape.make_cluster(landscape.system_pool(enableAutoScaling=True, minCount=1, maxCount=3))
    gpu = landscape.make_pool(enableAutoScaling=True, minCount=1, maxCount=4)
    with landscape.azure.provider.state.change() as cloud:
        autoscale(cloud, gpu.id, 3)
    assert look().node_counts == {"gpu": 3, "system": 1}


def test_the_program_finds_what_is_for_life(landscape, look):
    landscape.make_cluster(networkProfile={"networkPlugin": "azure", "podCidr": "10.244.0.0/16"})
    found = look()
    assert found.pools["system"]["vmSize"] == "Standard_D4ds_v5"
    assert found.cluster["networkProfile"]["podCidr"] == "10.244.0.0/16"
    assert found.network["addressSpace"] == {"addressPrefixes": ["10.10.0.0/16"]}
    assert {subnet["name"]: subnet["properties"]["addressPrefix"] for subnet in found.network["subnets"]} == {"nodes": "10.10.0.0/22"}


def test_before_the_first_up_the_program_finds_nothing(look, monkeypatch):
    elsewhere = SimpleNamespace(resource_group="other")
    monkeypatch.setattr(naming, "names_of", lambda azure, stack: elsewhere)
    assert look() == Running()


def test_the_versions_of_a_region(landscape):
    endpoint = ArmEndpoint(subscriptions.load("default"), landscape.azure.provider.state)
    arm = Arm(subscription_id=endpoint_subscription("default"), token="t", endpoint=endpoint.url)
    assert StackSettings().cluster.kubernetes_version in preflight.kubernetes_versions(arm, "eastus", long_term=False)
    endpoint.stop()


@pytest.mark.parametrize(("subscription", "refused"), [("default", ["cluster.encryptionAtHost"]), ("encrypted", [])])
def test_the_program_finds_a_feature_that_the_subscription_lacks(landscape, subscription, refused):
    settings = load({"cluster": json.dumps({"encryptionAtHost": True})})
    endpoint = ArmEndpoint(subscriptions.load(subscription), landscape.azure.provider.state)
    try:
        arm = Arm(subscription_id=endpoint_subscription(subscription), token="t", endpoint=endpoint.url)
        assert [problem.key for problem in preflight.problems(settings, plan(settings), arm, Running())] == refused
    finally:
        endpoint.stop()
