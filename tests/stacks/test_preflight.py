"""What Azure would refuse is known before anything is registered."""

import pytest

from planner import plan
from settings import StackSettings
from stacks import preflight


def sku(name, *, zones=("1", "2", "3"), vcpus=24, family="standardNCSv3Family", restrictions=()):
    return {
        "name": name,
        "resourceType": "virtualMachines",
        "family": family,
        "locationInfo": [{"location": "eastus", "zones": list(zones)}],
        "capabilities": [{"name": "vCPUs", "value": str(vcpus)}],
        "restrictions": list(restrictions),
    }


NOT_FOR_YOU = {"type": "Location", "reasonCode": "NotAvailableForSubscription", "restrictionInfo": {"locations": ["eastus"]}}
CURRENT = sku("Standard_NC24ads_A100_v4", family="StandardNCADSA100v4Family")
SYSTEM = sku("Standard_D8ds_v5", vcpus=8, family="standardDDSv5Family")


@pytest.fixture
def ask(monkeypatch):
    """`ask(skus, limit)` gives the preflight's problems for a subscription that offers these."""

    def ask(skus, limit=400):
        def pages(self, path, query):
            if path == "skus":
                return iter(skus)
            usage = {"name": {"value": "Standard NCSv3 Family"}, "currentValue": 0, "limit": limit}
            general = {"name": {"value": "standardDDSv5Family"}, "currentValue": 0, "limit": 100}
            return iter([usage, general])

        monkeypatch.setattr(preflight.Arm, "_pages", pages)
        settings = StackSettings.model_validate_json('{"shard": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}')
        return preflight.problems(settings, plan(settings), preflight.Arm(subscription_id="s", token="t"))

    return ask


def test_what_is_offered_may_go_ahead(ask):
    assert ask([sku("Standard_NC24s_v3"), SYSTEM]) == []


@pytest.mark.parametrize("offer", [[], [sku("Standard_NC24s_v3", restrictions=[NOT_FOR_YOU])]])
def test_a_size_no_longer_sold_is_refused_with_the_line_that_switches(ask, offer):
    (problem,) = ask([*offer, CURRENT, SYSTEM])
    assert problem.key == "gpuPool.vmSize"
    assert problem.fix == "gpuPool: {vmSize: Standard_NC24ads_A100_v4}"


def test_a_closed_zone_is_refused_with_the_open_ones(ask):
    closed = {"type": "Zone", "reasonCode": "NotAvailableForSubscription", "restrictionInfo": {"zones": ["2"]}}
    (problem,) = ask([sku("Standard_NC24s_v3", restrictions=[closed]), SYSTEM])
    assert (problem.key, problem.fix) == ("gpuPool.zones", 'zones: ["1", "3"]')


def test_too_little_quota_is_refused_with_the_figures(ask):
    """Quota families are spelt in several ways: with spaces, and in other case."""
    (problem,) = ask([sku("Standard_NC24s_v3"), SYSTEM], limit=12)
    assert "need 48 vCPUs" in problem.consequence and "has 12" in problem.consequence
