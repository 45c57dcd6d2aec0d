"""Bad inputs are refused by the SDK's own types, at the property that is wrong."""

import pytest

from rehearsal.azure.protocol import UNKNOWN
from rehearsal.azure.resources import RESOURCE_TYPES
from rehearsal.azure.schema import schema

POOL = {"resourceGroupName": "rg", "resourceName": "aks", "agentPoolName": "gpu"}


@pytest.mark.parametrize(
    ("inputs", "path", "words"),
    [
        ({"vmSiz": "x"}, "vmSiz", "Could not find member 'vmSiz' on object of type 'request'. Did you mean 'vmSize'?"),
        ({"kubeletConfig": {"cpuManager": "static"}}, "kubeletConfig.cpuManager", "Could not find member 'cpuManager'"),
        ({"osDiskType": "Ephemral"}, "osDiskType", "'Ephemral' is not one of: Managed, Ephemeral."),
        ({"count": "three"}, "count", "an integer is expected"),
        ({"count": 1.5}, "count", "an integer is expected"),
        ({"enableAutoScaling": "true"}, "enableAutoScaling", "a boolean is expected"),
        ({"nodeTaints": "a=b:NoSchedule"}, "nodeTaints", "an array is expected"),
        ({"nodeTaints": [1]}, "nodeTaints[0]", "a string is expected"),
        ({"nodeLabels": {"a": 1}}, "nodeLabels.a", "a string is expected"),
        ({"linuxOSConfig": "x"}, "linuxOSConfig", "an object is expected"),
        ({"linuxOSConfig": {"sysctls": {"vmNrHugepages": 1}}}, "linuxOSConfig.sysctls.vmNrHugepages", "Could not find member"),
    ],
)
def test_a_wrong_property_is_named_with_its_path(azure, inputs, path, words):
    _, failures = azure.check("containerservice:AgentPool", {**POOL, **inputs})
    assert words in failures[path]


def test_a_missing_property_is_named(azure):
    _, failures = azure.check("containerservice:AgentPool", {"agentPoolName": "gpu"})
    assert failures == {
        "resourceGroupName": "missing required property 'resourceGroupName'",
        "resourceName": "missing required property 'resourceName'",
    }


def test_a_service_may_take_more_values_than_the_sdk_names(azure):
    """A data collection rule's streams are free text; AKS onboards managed Prometheus with one that the SDK does not list."""
    flow = [{"streams": ["Microsoft-PrometheusMetrics"], "destinations": ["workspace"]}]
    rule = {"resourceGroupName": "rg", "dataCollectionRuleName": "rule", "dataFlows": flow}
    assert azure.check("monitor:DataCollectionRule", rule)[1] == {}


def test_all_problems_are_told_at_once(azure):
    _, failures = azure.check("containerservice:AgentPool", {**POOL, "count": "a", "osSKU": "Ubuntoo", "nope": 1})
    assert set(failures) == {"count", "osSKU", "nope"}


def test_what_is_not_known_yet_is_accepted_anywhere(azure):
    inputs, failures = azure.check("containerservice:AgentPool", {**POOL, "count": UNKNOWN, "kubeletConfig": {"cpuManagerPolicy": UNKNOWN}})
    assert not failures
    assert inputs["count"] is UNKNOWN


def test_a_type_that_the_sdk_has_and_the_stand_in_lacks_says_where_to_add_it(azure):
    with pytest.raises(Exception, match=r"add it to rehearsal/azure/resources\.py"):
        azure.check("storage:Queue", {})


def test_a_type_that_the_sdk_lacks_is_refused(azure):
    with pytest.raises(Exception, match="has no resource type azure-native:storage:Bucket"):
        azure.check("storage:Bucket", {})


@pytest.mark.parametrize("token", sorted(RESOURCE_TYPES))
def test_every_type_of_the_table_is_the_sdks(token):
    """An id template that names a property the SDK does not have would fail only when such a resource is made."""
    shape = schema(token)
    from rehearsal.azure.resources import FIXED_ID_PARTS

    assert [part for part in RESOURCE_TYPES[token].id_parts if part not in shape["properties"] and part not in FIXED_ID_PARTS] == []


def test_a_name_that_is_left_out_gets_the_pulumi_name_and_digits(azure):
    inputs, _ = azure.check("resources:ResourceGroup", {"location": "eastus"})
    assert inputs["resourceGroupName"] == "it01010101"
    again, _ = azure.check("resources:ResourceGroup", {"location": "eastus"}, olds={"resourceGroupName": "earlier"})
    assert again["resourceGroupName"] == "earlier"


def test_the_region_comes_from_the_group(azure):
    azure.create("resources:ResourceGroup", resourceGroupName="rg", location="westeurope")
    inputs, _ = azure.check("managedidentity:UserAssignedIdentity", {"resourceGroupName": "rg", "resourceName": "identity"})
    assert inputs["location"] == "westeurope"
