"""What holds data, weights and cache: no keys, no public door, private addresses, protected on request."""

import pytest

from infra.azure import roles
from infra.azure.redis import RedisCache, RedisCacheArgs
from infra.azure.weights import WeightStorage, WeightStorageArgs, ip_rules
from tests.mocks import run

ACCOUNT = "azure-native:storage:StorageAccount"
CONTAINER = "azure-native:storage:BlobContainer"
REDIS = "azure-native:redisenterprise:RedisEnterprise"
DATABASE = "azure-native:redisenterprise:Database"
USER = "azure-native:redisenterprise:AccessPolicyAssignment"
GRANT = "azure-native:authorization:RoleAssignment"
ENDPOINT = "azure-native:network:PrivateEndpoint"
RECORDS = "azure-native:network:PrivateDnsZoneGroup"


@pytest.fixture
def weights(recorder, context, network):
    def deployed(**changes):
        arguments = {"writers": {}, "uploaders": (), "upload_from": (), "zone_redundant": True, "protect": False} | changes
        args = WeightStorageArgs(context=context, network=network, readers={"shard": "shard"}, **arguments)
        return run(lambda: WeightStorage("weights", args).account_id)

    return deployed


@pytest.fixture
def redis(recorder, context, network):
    def deployed(**changes):
        arguments = {"high_availability": True, "protect": False} | changes
        args = RedisCacheArgs(
            context=context, network=network, sku="MemoryOptimized_M150", users={"shard": "s", "coordinator": "c"}, **arguments
        )
        return run(lambda: RedisCache("redis", args).host)

    return deployed


def test_weights_are_closed(recorder, weights):
    weights()
    account = recorder.one(ACCOUNT).inputs
    assert account["allowSharedKeyAccess"] is account["allowBlobPublicAccess"] is account["allowCrossTenantReplication"] is False
    assert account["enableHttpsTrafficOnly"] is account["defaultToOAuthAuthentication"] is True
    assert account["minimumTlsVersion"] == "TLS1_2"
    assert account["publicNetworkAccess"] == "Disabled"
    assert account["networkRuleSet"] == {"defaultAction": "Deny", "bypass": "None", "ipRules": []}
    assert recorder.one(CONTAINER).inputs["publicAccess"] == "None"


def test_only_who_fetches_may_write_weights(recorder, weights):
    """In the container, not in the account."""
    weights(writers={"fetch": "fetch"})
    grants = {grant.inputs["principalId"]: grant.inputs for grant in recorder.all(GRANT)}
    written = {who: grant["roleDefinitionId"].rsplit("/", 1)[1] for who, grant in grants.items()}
    assert written == {"shard": roles.BLOB_DATA_READER.id, "fetch": roles.BLOB_DATA_CONTRIBUTOR.id}
    assert all(grant["scope"].endswith("/weights-container") for grant in grants.values())


def test_weights_can_be_uploaded_from_named_ranges_only(recorder, weights):
    weights(upload_from=("20.30.0.0/24", "20.40.0.1/32"))
    account = recorder.one(ACCOUNT).inputs
    assert account["publicNetworkAccess"] == "Enabled"
    assert account["networkRuleSet"]["defaultAction"] == "Deny"
    assert account["networkRuleSet"]["ipRules"] == [
        {"iPAddressOrRange": "20.30.0.0/24", "action": "Allow"},
        {"iPAddressOrRange": "20.40.0.1", "action": "Allow"},
    ]


def test_storage_firewall_takes_no_tiny_ranges():
    """`/32` in a rule is refused with 'IP range is invalid'."""
    assert ip_rules(["20.0.0.0/30", "20.0.1.4/31", "20.0.2.9/32"]) == ["20.0.0.0/30", "20.0.1.4", "20.0.1.5", "20.0.2.9"]


@pytest.mark.parametrize(("zone_redundant", "sku"), [(True, "Standard_ZRS"), (False, "Standard_LRS")])
def test_weights_are_zone_redundant_where_the_region_has_zones(recorder, weights, zone_redundant, sku):
    weights(zone_redundant=zone_redundant)
    assert recorder.one(ACCOUNT).inputs["sku"] == {"name": sku}


def test_deleted_weights_come_back(recorder, weights):
    weights()
    service = recorder.one("azure-native:storage:BlobServiceProperties").inputs
    assert service["deleteRetentionPolicy"] == service["containerDeleteRetentionPolicy"] == {"enabled": True, "days": 14}
    assert "weights-service" in recorder.options_of(CONTAINER).depends_on
    assert "weights-container" in recorder.options_of(ENDPOINT).depends_on


def test_shards_read_and_administrators_write_one_container(recorder, weights):
    weights(uploaders=(roles.Administrator(label="team", principal_id="group", type="Group"),))
    grants = {r.name: r.inputs for r in recorder.all(GRANT)}
    assert {g["scope"].rsplit("/", 1)[1] for g in grants.values()} == {"weights-container"}
    read, write = grants["weights-read"], grants["weights-upload-team"]
    assert (read["principalId"], read["roleDefinitionId"][-36:]) == ("shard", roles.BLOB_DATA_READER.id)
    assert (write["principalId"], write["principalType"], write["roleDefinitionId"][-36:]) == (
        "group",
        "Group",
        roles.BLOB_DATA_CONTRIBUTOR.id,
    )


@pytest.mark.parametrize("protect", [True, False])
def test_weights_and_redis_are_protected_only_when_asked_for(recorder, weights, redis, protect):
    weights(protect=protect)
    redis(protect=protect)
    assert {recorder.options_of(kind).protect for kind in (ACCOUNT, CONTAINER, REDIS, DATABASE)} == {protect}


def test_redis_takes_entra_identities_over_tls_only(recorder, redis):
    redis()
    instance, database = recorder.one(REDIS).inputs, recorder.one(DATABASE).inputs
    assert (instance["publicNetworkAccess"], instance["minimumTlsVersion"]) == ("Disabled", "1.2")
    assert (database["accessKeysAuthentication"], database["clientProtocol"], database["port"]) == ("Disabled", "Encrypted", 10000)
    assert {r.inputs["user"]["objectId"] for r in recorder.all(USER)} == {"s", "c"}


def test_redis_size_and_eviction(recorder, redis):
    redis()
    assert recorder.one(REDIS).inputs["sku"] == {"name": "MemoryOptimized_M150"}
    database = recorder.one(DATABASE).inputs
    assert (database["databaseName"], database["evictionPolicy"], database["clusteringPolicy"]) == (
        "default",
        "AllKeysLRU",
        "EnterpriseCluster",
    )


@pytest.mark.parametrize(("wanted", "expected"), [(True, "Enabled"), (False, "Disabled")])
def test_redis_high_availability(recorder, redis, wanted, expected):
    redis(high_availability=wanted)
    assert recorder.one(REDIS).inputs["highAvailability"] == expected


def test_redis_address_is_the_one_that_config_files_name(recorder, redis, context):
    assert redis() == f"{recorder.one(REDIS).inputs['clusterName']}.eastus.redis.azure.net" == context.names.redis_host


def test_redis_changes_come_one_after_the_other(recorder, redis):
    """The service answers a second change of one database with a conflict."""
    redis()
    assert "redis-database" in recorder.options_of(USER, "redis-user-coordinator").depends_on
    assert "redis-user-coordinator" in recorder.options_of(USER, "redis-user-shard").depends_on
    assert "redis-user-shard" in recorder.options_of(ENDPOINT, "redis-link-endpoint").depends_on


@pytest.mark.parametrize(
    ("which", "group", "zone"),
    [("weights", "blob", "privatelink.blob.core.windows.net"), ("redis", "redisEnterprise", "privatelink.redis.azure.net")],
)
def test_weights_and_redis_get_a_private_endpoint_with_its_dns_zone(recorder, request, which, group, zone):
    request.getfixturevalue(which)()
    endpoint = recorder.one(ENDPOINT).inputs
    (connection,) = endpoint["privateLinkServiceConnections"]
    assert connection["groupIds"] == [group]
    assert connection["privateLinkServiceId"].endswith(f"/mock/{which}")
    assert endpoint["subnet"]["id"].endswith("network-private-endpoints")
    assert recorder.one("azure-native:privatedns:PrivateZone").inputs["privateZoneName"] == zone
    link = recorder.one("azure-native:privatedns:VirtualNetworkLink").inputs
    assert link["virtualNetwork"]["id"].endswith("network-vnet") and link["registrationEnabled"] is False
    # Other accounts that have a private endpoint anywhere, such as a company's store of models, are found by their public address.
    assert link["resolutionPolicy"] == "NxDomainRedirect"
    (config,) = recorder.one(RECORDS).inputs["privateDnsZoneConfigs"]
    assert config["privateDnsZoneId"].endswith(f"{which}-link-zone")
    assert f"{which}-link-zone-link" in recorder.options_of(RECORDS).depends_on
