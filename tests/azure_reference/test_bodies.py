"""What the program sends to Azure is held against models that Microsoft publishes, for every variation of the stacks.

The stand-in of a rehearsal is written here, and so could share a mistake with the program; these models could not.
"""

import copy
import functools
import inspect
import re
import sys
from importlib import import_module

import pytest

from rehearsal.azure.resources import RESOURCE_TYPES
from tests.azure_reference.judge import problems, published, sources
from tests.azure_reference.sources import SOURCES, requirements
from tests.infra.registered import STACKS, registered


def resources(stack):
    """Type, Pulumi's name and body of each Azure resource of a stack."""
    return [(one.type, one.name, body(one.type, one.inputs)) for one in registered(stack) if one.type.startswith("azure-native:")]


def body(type_, inputs):
    """The inputs but for those that are in the address, where the names of a resource and of what it is in belong."""
    in_address = set(re.findall(r"{(\w+)}", RESOURCE_TYPES[type_].id_template))
    return {name: value for name, value in inputs.items() if name not in in_address | {"resourceGroupName"}}


ALLOWED = {
    ".dataFlows[0].streams[0]: 'Microsoft-PrometheusMetrics' is none of": (
        "the list can be extended, and this is the stream of Prometheus: "
        "https://learn.microsoft.com/azure/azure-monitor/data-collection/data-collection-rule-structure"
    ),
}
"""How problems begin, each with the reason why Azure takes the body all the same."""


@pytest.mark.parametrize("stack", STACKS)
def test_every_body_is_one_that_the_published_models_allow(stack):
    found = [(f"{type_} {name}", problem) for type_, name, sent in resources(stack) for problem in problems(type_, sent)]
    assert [wrong for wrong in found if not wrong[1].startswith(tuple(ALLOWED))] == []


def test_every_type_that_has_a_model_is_sent_by_some_stack():
    assert {type_ for stack in STACKS for type_, _, _ in resources(stack)} == set(sources())


CLUSTER, POOL = "azure-native:containerservice:ManagedCluster", "azure-native:containerservice:AgentPool"
BROKEN = {
    "a property is misspelt": (POOL, ("vmsize",), "Standard_D2s_v5", ".vmsize: AgentPool has no such property"),
    "one in the middle": (
        CLUSTER,
        ("networkProfile", "podCIDR"),
        "10.0.0.0/8",
        ".networkProfile.podCIDR: ",
    ),
    "a value that is not listed": (CLUSTER, ("sku", "tier"), "Paid", ".sku.tier: 'Paid' is none of Premium, Standard, Free"),
    "a listed value in other letters": (
        CLUSTER,
        ("networkProfile", "networkPlugin"),
        "Azure",
        ".networkProfile.networkPlugin: 'Azure' is",
    ),
    "what Azure alone may say": (CLUSTER, ("fqdn",), "a.example", ".fqdn is read-only in ManagedCluster"),
    "required, and left out": (CLUSTER, ("location",), None, ".location is required by ManagedCluster"),
    "a name with a capital": (CLUSTER, ("agentPoolProfiles", 0, "name"), "System", ".agentPoolProfiles[0].name: 'System' does not match"),
    "an address that is none": (
        CLUSTER,
        ("networkProfile", "dnsServiceIP"),
        "10.65.0",
        ".networkProfile.dnsServiceIP: '10.65.0' does",
    ),
    "a disk that is too large": (POOL, ("osDiskSizeGB",), 2049, ".osDiskSizeGB: 2049 is out of the published bounds"),
    "a number as text": (POOL, ("minCount",), "2", ".minCount: '2' is no int"),
    "one for a list": (POOL, ("nodeTaints",), "gpu=true:NoSchedule", ".nodeTaints: 'gpu=true:NoSchedule' is no list"),
    "an account that keeps what was deleted too long": (
        "azure-native:storage:BlobServiceProperties",
        ("deleteRetentionPolicy", "days"),
        366,
        ".deleteRetentionPolicy.days: 366 is out of the published bounds",
    ),
    "a budget for a period that there is not": (
        "azure-native:consumption:Budget",
        ("timeGrain",),
        "Weekly",
        ".timeGrain: 'Weekly' is none of Monthly",
    ),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_mistake_is_seen(mistake):
    type_, path, value, expected = BROKEN[mistake]
    sent = copy.deepcopy(next(sent for kind, _, sent in resources("prod") if kind == type_))
    inner = functools.reduce(lambda part, key: part[key], path[:-1], sent)
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    [problem] = problems(type_, sent)
    assert problem.startswith(expected)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: f"{source.package} {source.api_version}")
def test_the_models_are_of_the_version_that_the_provider_sends(source):
    """The SDK names that version in each resource's documentation. Where no package has that version, the nearest later one judges."""
    for name in source.bodies:
        module, kind = name.split(":")
        documented = inspect.getsource(sys.modules[getattr(import_module(f"pulumi_azure_native.{module}"), kind).__module__])
        assert f"Uses Azure REST API version {source.instead_of or source.api_version}" in documented, name
        assert not source.instead_of or source.instead_of < source.api_version


def test_no_gateway_can_be_in_all_zones_yet():
    """Its SKU is StandardV2, which the provider's version of the API does not have; once it does, infra/azure/network.py asks for it."""
    network = published()["azure-mgmt-network==28.1.0 azure/mgmt/network/models"]
    assert network["NatGatewaySku"]["name"]["values"] == ["Standard"]


def test_the_models_were_read_from_the_pinned_wheels():
    assert published()["wheels"] == requirements(), "python -m tests.azure_reference writes models.json from the wheels"
    assert {source.package for source in SOURCES} == {line.split()[0] for line in requirements()}
