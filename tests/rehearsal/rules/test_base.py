"""Refusals that apply to any resource, in the words that a user sees."""

from tests.rehearsal.azure_client import refused


def test_what_does_not_exist(azure):
    refused(
        "Resource group 'rg' could not be found.",
        azure.create,
        "containerregistry:Registry",
        resourceGroupName="rg",
        registryName="registry",
        sku={"name": "Basic"},
        location="eastus",
    )
    refused(
        "The provided location 'atlantis' is not available",
        azure.create,
        "resources:ResourceGroup",
        resourceGroupName="rg",
        location="atlantis",
    )
    azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus")
    refused(
        "because the parent resource",
        azure.create,
        "redisenterprise:Database",
        resourceGroupName="rg",
        clusterName="none",
        databaseName="default",
    )


def test_refusals_are_kept_for_the_report(landscape):
    landscape.make_cluster()
    refused("maxPods", landscape.make_pool, maxPods=1)
    (refusal,) = landscape.azure.provider.state.read().content["refusals"]
    assert (refusal["type"], refusal["resource"], refusal["code"]) == ("azure-native:containerservice:AgentPool", "it", "InvalidParameter")
