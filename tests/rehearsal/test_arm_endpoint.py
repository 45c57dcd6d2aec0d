"""What a program's preflight reads has Azure's own shape and the subscription's facts."""

import json
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest

from rehearsal.arm_endpoint import ArmEndpoint
from rehearsal.azure import subscription as subscriptions


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
