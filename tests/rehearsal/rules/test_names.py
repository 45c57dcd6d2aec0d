"""Azure's naming rules, in the words a user would see."""

from tests.rehearsal.azure_client import refused


def test_names_that_azure_refuses_or_that_are_taken(azure):
    azure.create("resources:ResourceGroup", resourceGroupName="rg", location="eastus")
    refused(
        "Resource name my-registry is invalid.",
        azure.create,
        "containerregistry:Registry",
        resourceGroupName="rg",
        registryName="my-registry",
        sku={"name": "Basic"},
    )
    storage = {"resourceGroupName": "rg", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
    refused(
        "Storage account name must be between 3 and 24 characters in length, numbers and lower-case letters only.",
        azure.create,
        "storage:StorageAccount",
        accountName="My-Storage",
        **storage,
    )
    azure.create("storage:StorageAccount", accountName="weights", **storage)
    azure.create("resources:ResourceGroup", resourceGroupName="rg2", location="eastus")
    refused(
        "The storage account named weights is already taken.",
        azure.create,
        "storage:StorageAccount",
        accountName="weights",
        **{**storage, "resourceGroupName": "rg2"},
    )
