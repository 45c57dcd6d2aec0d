"""Refused Redis instances, storage accounts, vaults and registries, in the words that a user sees."""

from tests.rehearsal.azure_client import refused

GUID = "7f951dda-4ed3-4680-a7ca-43fe172d538d"


def test_managed_redis_takes_current_skus_and_port_10000_alone(landscape):
    make = landscape.azure.create
    cluster = {"resourceGroupName": "rg", "clusterName": "redis", "publicNetworkAccess": "Disabled"}
    refused(
        "of the retiring Enterprise tiers",
        make,
        "redisenterprise:RedisEnterprise",
        **cluster,
        sku={"name": "Enterprise_E100", "capacity": 2},
    )
    refused("has no capacity", make, "redisenterprise:RedisEnterprise", **cluster, sku={"name": "Balanced_B150", "capacity": 2})
    made = make("redisenterprise:RedisEnterprise", **cluster, sku={"name": "Balanced_B150"})
    assert made.outputs["hostName"] == "redis.eastus.redis.azure.net"
    database = {"resourceGroupName": "rg", "clusterName": "redis", "databaseName": "default"}
    refused("only 10000 is supported", make, "redisenterprise:Database", **database, port=6379)
    make("redisenterprise:Database", **database, port=10000, evictionPolicy="AllKeysLRU", clientProtocol="Encrypted")


def test_storage_and_vaults(landscape):
    make, tenant = landscape.azure.create, landscape.azure.provider.subscription.tenant_id
    storage = {"resourceGroupName": "rg", "accountName": "weights", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
    rules = {"defaultAction": "Deny", "virtualNetworkRules": [{"virtualNetworkResourceId": landscape.subnet.id}]}
    refused("do not have ServiceEndpoints for Microsoft.Storage", make, "storage:StorageAccount", **storage, networkRuleSet=rules)
    refused("NFSv3 account must have default action 'Deny'", make, "storage:StorageAccount", **storage, enableNfsV3=True, isHnsEnabled=True)
    vault = {"resourceGroupName": "rg", "vaultName": "vault"}
    properties = {"tenantId": tenant, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    refused("must be between 7 and 90", make, "keyvault:Vault", **vault, properties={**properties, "softDeleteRetentionInDays": 5})
    refused("is not the subscription's tenant", make, "keyvault:Vault", **vault, properties={**properties, "tenantId": GUID})
    assert make("keyvault:Vault", **vault, properties=properties).outputs["properties"]["vaultUri"] == "https://vault.vault.azure.net/"


def test_premium_features_of_a_registry(landscape):
    base = {"resourceGroupName": "rg", "registryName": "registry", "sku": {"name": "Basic"}}
    refused(
        "Zone redundancy is only supported for the Premium SKU",
        landscape.azure.create,
        "containerregistry:Registry",
        **base,
        zoneRedundancy="Enabled",
    )
