"""What Azure would refuse is known before anything is registered."""

import dataclasses
import email.message
import io
import json
import urllib.error
import urllib.request
from types import SimpleNamespace

import pulumi
import pytest
from pulumi_azure_native import authorization

from infra.azure.gpu_pool import machines
from planner import plan
from settings import SettingsError, StackSettings
from stacks import preflight
from stacks.arm import Arm
from stacks.running import Running


def sku(name, *, zones=("1", "2", "3"), vcpus=24, family="standardNCSv3Family", restrictions=(), **facts):
    return {
        "name": name,
        "resourceType": "virtualMachines",
        "family": family,
        "locationInfo": [{"location": "eastus", "zones": list(zones)}],
        "capabilities": [{"name": key, "value": str(value)} for key, value in {"vCPUs": vcpus, **facts}.items()],
        "restrictions": list(restrictions),
    }


NOT_FOR_YOU = {"type": "Location", "reasonCode": "NotAvailableForSubscription", "restrictionInfo": {"locations": ["eastus"]}}
TWO_PIPELINES = {"shardsCount": 8, "pipelines": 2}
CURRENT = sku("Standard_NC24ads_A100_v4", family="StandardNCADSA100v4Family")
SYSTEM = sku("Standard_D8ds_v5", vcpus=8, family="standardDDSv5Family")


ONE_GPU = {"shard": {"resources": {"limits": {"nvidia.com/gpu": 1}}}, "sharding": TWO_PIPELINES}
GPU_QUOTA, SYSTEM_QUOTA = "Standard NCSv3 Family", "standardDDSv5Family"
AMPLE = {GPU_QUOTA: 400, SYSTEM_QUOTA: 100, "cores": 1000, "lowPriorityCores": 0}


NOTHING = Running()


def running_as_planned(made):
    """A cluster with the pools of this plan."""
    pools = [{"name": name} for name in ("system", *(machine.azure_name for machine in machines(made)))]
    return Running(cluster={"agentPoolProfiles": pools})


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    return said


@pytest.fixture
def ask(monkeypatch, warnings):
    """`ask(skus, limits)` gives the preflight's problems for a subscription that offers these, with two pipelines of eight shards."""

    def ask(skus, limits=AMPLE, versions=("1.35", "1.36"), there=NOTHING, **sections):
        rows = [{"name": {"value": name}, "currentValue": 0, "limit": limit} for name, limit in limits.items()]

        def get(self, path, query):
            if path.endswith("/kubernetesVersions"):
                return {"values": [{"version": one, "capabilities": {"supportPlan": ["KubernetesOfficial"]}} for one in versions]}
            return {"value": skus if path.endswith("/skus") else rows}

        monkeypatch.setattr(Arm, "get", get)
        made = plan(StackSettings.model_validate(ONE_GPU | sections))
        return preflight.problems(made.settings, made, Arm(subscription_id="s", token="t"), there(made) if callable(there) else there)

    return ask


def test_what_is_offered_may_go_ahead(ask):
    assert ask([sku("Standard_NC24s_v3"), SYSTEM]) == []


@pytest.mark.parametrize("offer", [[], [sku("Standard_NC24s_v3", restrictions=[NOT_FOR_YOU])]])
def test_a_size_no_longer_sold_is_refused_with_the_line_that_switches(ask, offer):
    (problem,) = ask([*offer, CURRENT, SYSTEM])
    assert problem.key == "gpuPool.vmSize"
    assert problem.fix == "gpuPool: {vmSize: Standard_NC24ads_A100_v4}"


@pytest.mark.parametrize("offer", [[], [sku("Standard_NC24s_v3", restrictions=[NOT_FOR_YOU])]])
def test_a_pool_that_runs_goes_on_with_a_size_no_longer_sold(ask, warnings, offer):
    """Every update of the guide's own stack was refused, a tag as well, from the day that Azure retired its VM size."""
    assert ask([*offer, SYSTEM], there=running_as_planned) == []
    (warning,) = warnings
    assert "gpuPool.vmSize: Standard_NC24s_v3" in warning and "The nodes that run go on" in warning
    warnings.clear()
    assert ask([sku("Standard_NC24s_v3")], there=running_as_planned) == []
    assert "cluster.systemPool.vmSize" in warnings[0]


def test_a_running_stack_goes_on_with_less_quota_and_an_older_version(ask, warnings):
    """Azure lowers the quota of a size that it retires, and AKS ends a version a year after its release."""
    there = dataclasses.replace(
        NOTHING, cluster=running_as_planned(plan(StackSettings.model_validate(ONE_GPU))).cluster | {"currentKubernetesVersion": "1.36.3"}
    )
    quota = AMPLE | {GPU_QUOTA: 0, "cores": 8}
    assert ask([sku("Standard_NC24s_v3"), SYSTEM], quota, versions=("1.37", "1.38"), there=there) == []
    assert ["need 96 vCPUs of quota standardNCSv3Family" in warnings[0], "Total Regional vCPUs" in warnings[1]] == [True, True]
    keys = [problem.key for problem in ask([sku("Standard_NC24s_v3"), SYSTEM], quota, versions=("1.37", "1.38"))]
    assert keys == ["cluster.kubernetesVersion", "gpuPool.vmSize", "azure.location"]


def test_a_pool_that_must_be_made_again_needs_a_size_that_is_sold(ask):
    """Another disk is another pool, and one more pipeline may be one."""
    smaller = plan(StackSettings.model_validate(ONE_GPU | {"sharding": TWO_PIPELINES | {"pipelines": 1}}))
    for more, there in (({"gpuPool": {"osDiskGib": 200}}, running_as_planned(plan(StackSettings.model_validate(ONE_GPU)))),
                        ({}, running_as_planned(smaller))):  # fmt: skip
        assert [problem.key for problem in ask([SYSTEM], there=there, **more)] == ["gpuPool.vmSize"]


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
    (problem,) = ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {GPU_QUOTA: vcpus - 1}, sharding=sharding)
    assert f"need {vcpus} vCPUs" in problem.consequence and f"has {vcpus - 1}" in problem.consequence
    assert ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {GPU_QUOTA: vcpus}, sharding=sharding) == []


def test_spot_nodes_need_the_quota_of_spot(ask):
    """Azure counts them there and not in their family."""
    spot = {"gpuPool": {"spot": True}}
    assert ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {GPU_QUOTA: 0, "lowPriorityCores": 96}, **spot) == []
    (problem,) = ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {"lowPriorityCores": 95}, **spot)
    assert "need 96 vCPUs of quota Total Regional Low-priority vCPUs" in problem.consequence


def test_the_quota_of_the_region_holds_all_pools(ask):
    assert ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {"cores": 104}) == []
    (problem,) = ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {"cores": 103})
    assert problem.key == "azure.location" and "need 104 vCPUs of quota Total Regional vCPUs" in problem.consequence


def test_quota_for_the_nodes_alone_is_said_to_stop_every_later_upgrade(ask, warnings):
    """The weekly upgrade of node images failed each week, and a change of the pool in `up`."""
    assert ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {GPU_QUOTA: 96}) == []
    (warning,) = warnings
    assert "not for the weekly upgrade of the node image" in warning and "(120 vCPUs)" in warning and "a second pool (192 vCPUs)" in warning
    assert 'unless gpuPool.maxSurge is "0"' in warning
    warnings.clear()
    assert ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {GPU_QUOTA: 96}, gpuPool={"maxSurge": "0"}) == []
    assert "upgrade" not in warnings[0] and "a second pool (192 vCPUs)" in warnings[0]
    warnings.clear()
    assert ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {GPU_QUOTA: 120}, gpuPool={"maxSurge": "100%"}) == []
    assert "upgrade" not in warnings[0]
    warnings.clear()
    assert ask([sku("Standard_NC24s_v3"), SYSTEM], AMPLE | {GPU_QUOTA: 192}) == [] and warnings == []


def test_a_version_that_aks_no_longer_offers_is_refused_with_those_it_does(ask):
    (problem,) = ask([sku("Standard_NC24s_v3"), SYSTEM], versions=("1.37", "1.38"))
    assert (problem.key, problem.fix) == ("cluster.kubernetesVersion", "one of 1.37, 1.38")


@pytest.mark.parametrize(("answer", "state"), [("NotRegistered", "NotRegistered"), ("Registering", "Registering"), (None, "NotRegistered")])
def test_encryption_needs_a_feature_that_is_registered_first(monkeypatch, ask, answer, state):
    """AKS refused the nodes after the network was made."""
    encrypted, sold = {"cluster": {"encryptionAtHost": True}}, [sku("Standard_NC24s_v3"), SYSTEM]
    monkeypatch.setattr(Arm, "find", lambda self, path, query: answer and {"properties": {"state": answer}})
    (problem,) = ask(sold, **encrypted)
    assert problem.key == "cluster.encryptionAtHost" and f"EncryptionAtHost is {state}" in problem.consequence
    assert "az feature register --namespace Microsoft.Compute --name EncryptionAtHost" in problem.fix
    monkeypatch.setattr(Arm, "find", lambda self, path, query: {"properties": {"state": "Registered"}})
    assert ask(sold, **encrypted) == []
    (problem,) = ask([sku("Standard_NC24s_v3", EncryptionAtHostSupported=False), SYSTEM], **encrypted)
    assert problem.key == "cluster.encryptionAtHost" and "Standard_NC24s_v3 (gpuPool.vmSize) cannot encrypt" in problem.consequence


def test_a_size_whose_name_hides_its_vcpus_is_still_too_small_for_a_system_pool(ask):
    (problem,) = ask([sku("Standard_NC24s_v3"), sku("Standard_D8ds_v5", vcpus=2, family="standardDDSv5Family")])
    assert problem.key == "cluster.systemPool.vmSize" and "has 2 vCPUs" in problem.consequence


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (409, "MissingSubscriptionRegistration", "az provider register --namespace Microsoft.Compute --wait"),
        (403, "AuthorizationFailed", "the role Reader on the subscription"),
        (429, "TooManyRequests", "answered 429"),
        (503, "ServiceUnavailable", "answered 503"),
    ],
)
def test_without_prices_and_sizes_the_run_goes_on_and_says_why(monkeypatch, warnings, status, code, says):
    """A fresh subscription, whose Microsoft.Compute nobody has registered, ended in a traceback."""
    answers(monkeypatch, lambda url: refused(url, status, code) if "Microsoft.Compute" in url else refused(url, 404, "NotFound"))
    assert asked() == Running()
    assert says in warnings[0]


def test_without_a_word_about_the_cluster_nothing_is_registered(monkeypatch):
    """The pools' present sizes are not known, so an update could take nodes from running pipelines."""
    answers(monkeypatch, lambda url: refused(url, 503, "ServiceUnavailable"))
    with pytest.raises(SettingsError, match=r"answered 503, so it is not known what of this stack runs"):
        asked()


def test_a_network_that_does_not_answer_is_no_traceback(monkeypatch):
    answers(monkeypatch, lambda url: urllib.error.URLError("no route"))
    with pytest.raises(SettingsError, match="could not be reached"):
        asked()


def refused(url, status, code):
    said = {"error": {"code": code, "message": "The subscription is not registered to use namespace 'Microsoft.Compute'."}}
    return urllib.error.HTTPError(url, status, code, email.message.Message(), io.BytesIO(json.dumps(said).encode()))


def answers(monkeypatch, error):
    def refuse(request, **_):
        raise error(request.full_url)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(authorization, "get_client_config", lambda: SimpleNamespace(subscription_id="s"))
    monkeypatch.setattr(authorization, "get_client_token", lambda: SimpleNamespace(token="t"))


def asked():
    made = plan(StackSettings.model_validate(ONE_GPU))
    return preflight.ask(made.settings, made, "prod")
