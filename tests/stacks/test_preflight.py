"""What Azure would refuse is known before anything is registered."""

import email.message
import io
import json
import urllib.error
import urllib.request
from types import SimpleNamespace

import pulumi
import pytest
from pulumi_azure_native import authorization

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
TWO_PIPELINES = {"shardsCount": 8, "pipelines": 2}
CURRENT = sku("Standard_NC24ads_A100_v4", family="StandardNCADSA100v4Family")
SYSTEM = sku("Standard_D8ds_v5", vcpus=8, family="standardDDSv5Family")


@pytest.fixture
def ask(monkeypatch):
    """`ask(skus, limit)` gives the preflight's problems for a subscription that offers these, with two pipelines of eight shards."""

    def ask(skus, limit=400, sharding=TWO_PIPELINES):
        def pages(self, path, query):
            if path == "skus":
                return iter(skus)
            usage = {"name": {"value": "Standard NCSv3 Family"}, "currentValue": 0, "limit": limit}
            general = {"name": {"value": "standardDDSv5Family"}, "currentValue": 0, "limit": 100}
            return iter([usage, general])

        monkeypatch.setattr(preflight.Arm, "_pages", pages)
        made = plan(StackSettings.model_validate({"shard": {"resources": {"limits": {"nvidia.com/gpu": 1}}}, "sharding": sharding}))
        return preflight.problems(made.settings, made, preflight.Arm(subscription_id="s", token="t"))

    return ask


def test_what_is_offered_may_go_ahead(ask):
    assert ask([sku("Standard_NC24s_v3"), SYSTEM]) == []


@pytest.mark.parametrize("offer", [[], [sku("Standard_NC24s_v3", restrictions=[NOT_FOR_YOU])]])
def test_a_size_no_longer_sold_is_refused_with_the_line_that_switches(ask, offer):
    (problem,) = ask([*offer, CURRENT, SYSTEM])
    assert problem.key == "gpuPool.vmSize"
    assert problem.fix == "gpuPool: {vmSize: Standard_NC24ads_A100_v4}"


def closed(zone):
    return {"type": "Zone", "reasonCode": "NotAvailableForSubscription", "restrictionInfo": {"zones": [zone]}}


def test_a_closed_zone_is_refused_with_the_open_ones(ask):
    (problem,) = ask([sku("Standard_NC24s_v3", restrictions=[closed("2")]), SYSTEM])
    assert (problem.key, problem.fix) == ("gpuPool.zones", 'zones: ["1", "3"]')


def test_a_closed_zone_that_no_pool_is_in_does_not_matter(ask):
    """Two pipelines take the first two of the three zones."""
    assert ask([sku("Standard_NC24s_v3", restrictions=[closed("3")]), SYSTEM]) == []


@pytest.mark.parametrize(("pipelines", "vcpus"), [(1, 48), (2, 96), (3, 144)])
def test_too_little_quota_is_refused_with_the_figures(ask, pipelines, vcpus):
    """One quota for the pools of all zones. Quota families are spelt in several ways: with spaces, and in other case."""
    sharding = TWO_PIPELINES | {"pipelines": pipelines}
    (problem,) = ask([sku("Standard_NC24s_v3"), SYSTEM], limit=vcpus - 1, sharding=sharding)
    assert f"need {vcpus} vCPUs" in problem.consequence and f"has {vcpus - 1}" in problem.consequence
    assert ask([sku("Standard_NC24s_v3"), SYSTEM], limit=vcpus, sharding=sharding) == []


REGISTER = "az provider register --namespace Microsoft.Compute --wait"


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (409, "MissingSubscriptionRegistration", REGISTER),
        (403, "AuthorizationFailed", "the role Reader on the subscription"),
        (429, "TooManyRequests", "answered 429"),
        (503, "ServiceUnavailable", "answered 503"),
    ],
)
def test_without_an_answer_the_run_goes_on_and_says_why(monkeypatch, status, code, says):
    """A fresh subscription, whose Microsoft.Compute nobody has registered, ended in a traceback."""
    body = io.BytesIO(json.dumps({"error": {"code": code}}).encode())
    error = urllib.error.HTTPError("https://management.azure.com", status, code, email.message.Message(), body)
    assert says in warned(monkeypatch, error)


def test_a_network_that_does_not_answer_is_no_traceback(monkeypatch):
    assert "could not be reached" in warned(monkeypatch, urllib.error.URLError("no route"))


def warned(monkeypatch, error):
    """The warning of a preflight whose first question ends in this error."""

    def refuse(*_args, **_kwargs):
        raise error

    said = []
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    monkeypatch.setattr(authorization, "get_client_config", lambda: SimpleNamespace(subscription_id="s"))
    monkeypatch.setattr(authorization, "get_client_token", lambda: SimpleNamespace(token="t"))
    made = plan(StackSettings.model_validate({"shard": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}))
    assert preflight.live_problems(made.settings, made) == []
    return said[0]
