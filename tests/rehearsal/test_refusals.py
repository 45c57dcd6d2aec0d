# ruff: noqa: E501 - a case is a line
"""What Azure refuses, each with the words a user would see."""

import pytest

from tests.rehearsal.azure_client import AzureError
from tests.rehearsal.conftest import Landscape

GUID = "7f951dda-4ed3-4680-a7ca-43fe172d538d"


def refused(words, call, *args, **kwargs):
    with pytest.raises(AzureError) as caught:
        call(*args, **kwargs)
    assert words in str(caught.value)


# node pools


@pytest.mark.parametrize("name", ["GPU", "gpu-1", "1gpu", "averylongname1"])
def test_pool_names(landscape, name):
    landscape.make_cluster()
    refused("must start with a lowercase letter, have max length of 12, and only have characters a-z0-9", landscape.make_pool, name)


def test_a_retired_size_in_azures_words(subscribe):
    landscape = Landscape(subscribe("today"))
    landscape.make_cluster()
    refused(
        "The VM size of Standard_NC24s_v3 is not allowed in your subscription in location 'eastus'. The available VM sizes are '",
        landscape.make_pool,
    )
    landscape.make_pool(vmSize="Standard_NC24ads_A100_v4")


def test_quota_by_family_counts_what_runs(subscribe):
    landscape = Landscape(subscribe("tight-quota"))
    landscape.make_cluster()
    landscape.make_pool("one", count=1)
    refused(
        "Insufficient vcpu quota requested 48, remaining 24 for family standardNCSv3Family for region eastus.",
        landscape.make_pool,
        "two",
        count=2,
    )


def test_a_pool_can_grow_to_its_quota_and_no_further(subscribe):
    landscape = Landscape(subscribe("tight-quota"))
    landscape.make_cluster()
    pool = landscape.make_pool(count=1)
    landscape.azure.update("containerservice:AgentPool", pool, **landscape.pool(count=2))
    refused(
        "Insufficient vcpu quota requested 72, remaining 48",
        landscape.azure.update,
        "containerservice:AgentPool",
        pool,
        **landscape.pool(count=3),
    )


def test_regional_quota(subscribe):
    landscape = Landscape(subscribe("tight-quota"))
    landscape.make_cluster(landscape.system_pool(count=4))
    landscape.make_pool("one", count=2)
    landscape.make_pool("two", count=1, vmSize="Standard_D16s_v5")
    refused(
        "Insufficient regional vcpu quota left for location eastus. left regional vcpu quota 12, requested quota 16.",
        landscape.make_pool, "three", count=1, vmSize="Standard_F16s_v2",
    )  # fmt: skip


def test_spot_has_a_quota_of_its_own(subscribe):
    landscape = Landscape(subscribe("tight-quota"))
    landscape.make_cluster()
    refused("remaining 24 for family lowPriorityCores", landscape.make_pool, count=2, scaleSetPriority="Spot")


def test_zones_where_there_are_none(subscribe):
    landscape = Landscape(subscribe("no-zones"))
    landscape.make_cluster()
    refused("Availability zone is not supported in region eastus.", landscape.make_pool, availabilityZones=["1", "2", "3"])


def test_a_zone_that_the_region_lacks(landscape):
    landscape.make_cluster()
    refused(
        "The zone(s) '4' for resource 'gpu' is not supported. The supported zones for location 'eastus' are '1,2,3'",
        landscape.make_pool,
        availabilityZones=["1", "4"],
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"vmSize": "Standard_B4ms"}, "B series VMs are not supported for system node pools"),
        ({"osType": "Windows"}, "must be Linux"),
        ({"count": 0}, "must have at least one node"),
        ({"scaleSetPriority": "Spot"}, "cannot be a system node pool"),
        ({"nodeTaints": ["a=b:NoSchedule"]}, "hard taints of system node pool"),
        ({"mode": "User"}, "There has to be at least one system agent pool."),
    ],
)
def test_system_pools(landscape, more, words):
    name = "sys" if more.get("osType") == "Windows" else "system"
    refused(words, landscape.make_cluster, landscape.system_pool(name=name, **more))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"osDiskType": "Ephemeral", "vmSize": "Standard_D4s_v5"}, "does not support ephemeral OS disk"),
        ({"osDiskType": "Ephemeral", "osDiskSizeGB": 256, "vmSize": "Standard_NC4as_T4_v3"}, "has a max cache size/temp disk size of 176 GB, but the OS disk requires 256 GB"),
        ({"maxPods": 9}, "must be between 10 and 250"),
        ({"minCount": 1}, "can only be set when enableAutoScaling is true"),
        ({"enableAutoScaling": True, "minCount": 3, "maxCount": 2}, "must not exceed maxCount"),
        ({"scaleSetEvictionPolicy": "Delete"}, "can only be set when scaleSetPriority is Spot"),
        ({"scaleSetPriority": "Spot", "spotMaxPrice": 0}, "must be -1 or greater than 0"),
        ({"nodeLabels": {"kubernetes.azure.com/x": "y"}}, "the prefix kubernetes.azure.com is reserved"),
        ({"nodeTaints": ["nope"]}, "is not key=value:effect"),
        ({"gpuInstanceProfile": "MIG1g"}, "does not support MIG"),
        ({"kubeletConfig": {"cpuManagerPolicy": "dynamic"}}, "Invalid value 'dynamic' for cpuManagerPolicy. Allowed: none, static."),
        ({"kubeletConfig": {"imageGcLowThreshold": 90}}, "at most imageGcHighThreshold"),
        ({"linuxOSConfig": {"sysctls": {"netCoreSomaxconn": 100}}}, "Invalid value '100' for sysctls.netCoreSomaxconn. Allowed: 4096 to 3240000."),
        ({"linuxOSConfig": {"sysctls": {"netIpv4IpLocalPortRange": "10 20"}}}, "'first last'"),
        ({"linuxOSConfig": {"transparentHugePageEnabled": "sometimes"}}, "Allowed: always, madvise, never."),
    ],
)  # fmt: skip
def test_pool_settings(landscape, more, words):
    landscape.make_cluster()
    refused(words, landscape.make_pool, **more)


def test_what_a_pool_cannot_change_in_place(landscape):
    landscape.make_cluster()
    pool = landscape.make_pool()
    refused(
        "Changing property 'properties.kubeletConfig' is not allowed.",
        landscape.azure.update, "containerservice:AgentPool", pool, **landscape.pool(kubeletConfig={"cpuManagerPolicy": "static"}),
    )  # fmt: skip


def test_a_subnet_needs_room_for_the_nodes(landscape):
    small = landscape.make_subnet("small", "10.10.8.0/29")
    landscape.make_cluster()
    refused("Pre-allocated IPs 5 exceeds IPs available 3 in Subnet Cidr 10.10.8.0/29", landscape.make_pool, count=4, vnetSubnetID=small.id)


def test_the_last_system_pool_stays(landscape):
    cluster = landscape.make_cluster()
    assert cluster.id
    pool = landscape.make_pool("sys2", mode="System", vmSize="Standard_D4ds_v5")
    landscape.azure.delete("containerservice:AgentPool", pool.id)  # another one is left


# clusters


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"kubernetesVersion": "1.20"}, 'Code="K8sVersionNotSupported"'),
        ({"metricsProfile": {"costAnalysis": {"enabled": True}}}, "only available for clusters of the Standard or Premium tier"),
        ({"dnsPrefix": "-x"}, "must contain between 1 and 54 alphanumerics and hyphens"),
        ({"disableLocalAccounts": True}, "Disabling local accounts is only allowed for AAD enabled clusters"),
        ({"networkProfile": {"networkPlugin": "azure", "networkDataplane": "cilium", "networkPolicy": "calico"}}, "not supported with the Cilium data plane"),
        ({"networkProfile": {"networkPlugin": "azure", "networkPolicy": "cilium"}}, "only supported when networkDataplane is cilium"),
        ({"networkProfile": {"serviceCidr": "10.10.0.0/20", "dnsServiceIP": "10.10.0.10"}}, "The specified service CIDR 10.10.0.0/20 is conflicted with an existing subnet CIDR 10.10.0.0/16"),
        ({"networkProfile": {"podCidr": "10.10.0.0/16"}}, "The specified pod CIDR 10.10.0.0/16 is conflicted"),
        ({"networkProfile": {"podCidr": "10.0.0.0/12"}}, "is conflicted with the pod CIDR"),
        ({"networkProfile": {"dnsServiceIP": "10.1.0.10"}}, "must be within serviceCidr"),
        ({"networkProfile": {"loadBalancerSku": "basic"}}, "retired on 2025-09-30"),
        ({"networkProfile": {"loadBalancerProfile": {"allocatedOutboundPorts": 1001}}}, "must be a multiple of 8"),
        ({"securityProfile": {"workloadIdentity": {"enabled": True}}}, "requires enabling the OIDC issuer"),
        ({"identity": {"type": "UserAssigned", "userAssignedIdentities": ["/subscriptions/x/y"]}}, "was not found. Please make sure that the referenced resource exists"),
        ({"apiServerAccessProfile": {"authorizedIPRanges": ["10.0.0.0/8"]}}, "is not a public range"),
        ({"apiServerAccessProfile": {"authorizedIPRanges": ["1.2.3.4/32"], "enablePrivateCluster": True}}, "not supported for a private cluster"),
    ],
)  # fmt: skip
def test_clusters(landscape, more, words):
    refused(words, landscape.make_cluster, **more)


def test_nat_outbound_needs_a_subnet_with_a_gateway(landscape):
    plain = landscape.make_subnet("plain", "10.10.4.0/24")
    outbound = {"networkProfile": {"outboundType": "userAssignedNATGateway"}}
    refused("is not associated with a NAT gateway", landscape.make_cluster, landscape.system_pool(vnetSubnetID=plain.id), **outbound)
    landscape.make_cluster(**outbound)


def test_static_credentials_of_a_cluster_without_local_accounts(landscape):
    landscape.make_cluster(disableLocalAccounts=True, aadProfile={"managed": True})
    refused(
        "Getting static credential is not allowed because this cluster is set to disable local accounts.",
        landscape.azure.invoke, "containerservice:listManagedClusterAdminCredentials", resourceGroupName="rg", resourceName="aks",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "window", "words"),
    [
        ("nightly", {"durationHours": 4, "startTime": "02:00", "schedule": {"daily": {"intervalDays": 1}}}, "The maintenance configuration name 'nightly' is not valid"),
        ("aksManagedNodeOSUpgradeSchedule", {"durationHours": 3, "startTime": "02:00", "schedule": {"daily": {"intervalDays": 1}}}, "must be between 4 and 24"),
        ("aksManagedNodeOSUpgradeSchedule", {"durationHours": 4, "startTime": "02:00", "schedule": {}}, "exactly one of daily"),
        ("aksManagedNodeOSUpgradeSchedule", {"durationHours": 4, "startTime": "2 am", "schedule": {"daily": {"intervalDays": 1}}}, "is not HH:MM"),
    ],
)  # fmt: skip
def test_maintenance_windows(landscape, name, window, words):
    landscape.make_cluster()
    refused(
        words, landscape.azure.create, "containerservice:MaintenanceConfiguration",
        resourceGroupName="rg", resourceName="aks", configName=name, maintenanceWindow=window,
    )  # fmt: skip


# network


def test_subnets(landscape):
    refused('Code="NetcfgSubnetRangeOutsideVnet"', landscape.make_subnet, "far", "10.11.0.0/24")
    refused('Code="NetcfgSubnetRangesOverlap"', landscape.make_subnet, "twice", "10.10.2.0/24")
    refused("is not formatted correctly", landscape.make_subnet, "odd", "10.10.4.1/24")


def test_what_is_in_use_cannot_be_deleted(landscape):
    landscape.make_cluster()
    azure = landscape.azure
    refused('Code="InUseSubnetCannotBeDeleted"', azure.delete, "network:Subnet", landscape.subnet.id)
    refused('Code="InUseSubnetCannotBeDeleted"', azure.delete, "network:VirtualNetwork", landscape.vnet.id)
    refused('Code="InUseNatGatewayCannotBeDeleted"', azure.delete, "network:NatGateway", landscape.nat.id)
    refused('Code="PublicIPAddressCannotBeDeleted"', azure.delete, "network:PublicIPAddress", landscape.address.id)


def test_addresses(landscape):
    make = landscape.azure.create
    address = {"resourceGroupName": "rg", "publicIpAddressName": "other"}
    refused("retired on 2025-09-30", make, "network:PublicIPAddress", **address)
    refused("must have AllocationMethod set to Static", make, "network:PublicIPAddress", **address, sku={"name": "Standard"})


def test_a_private_endpoint_reaches_something_that_exists_by_a_group_it_has(landscape):
    make = landscape.azure.create
    redis = make(
        "redisenterprise:RedisEnterprise",
        resourceGroupName="rg",
        clusterName="redis",
        publicNetworkAccess="Disabled",
        sku={"name": "MemoryOptimized_M150"},
    )
    endpoint = {"resourceGroupName": "rg", "privateEndpointName": "pe-redis", "subnet": {"id": landscape.subnet.id}}
    wrong = [{"name": "c", "privateLinkServiceId": redis.id, "groupIds": ["redisCache"]}]
    missing = [{"name": "c", "privateLinkServiceId": redis.id + "x", "groupIds": ["redisEnterprise"]}]
    right = [{"name": "c", "privateLinkServiceId": redis.id, "groupIds": ["redisEnterprise"]}]
    refused(
        "groupId 'redisCache' is not valid. Valid groupIds: redisEnterprise.",
        make,
        "network:PrivateEndpoint",
        **endpoint,
        privateLinkServiceConnections=wrong,
    )
    refused("was not found", make, "network:PrivateEndpoint", **endpoint, privateLinkServiceConnections=missing)
    make("network:PrivateEndpoint", **endpoint, privateLinkServiceConnections=right)


def test_private_zones(landscape):
    make = landscape.azure.create
    refused(
        "A private DNS zone has 2 to 34 labels",
        make,
        "privatedns:PrivateZone",
        resourceGroupName="rg",
        privateZoneName="redis",
        location="global",
    )
    zone = make("privatedns:PrivateZone", resourceGroupName="rg", privateZoneName="privatelink.redis.azure.net", location="global")
    link = {
        "resourceGroupName": "rg",
        "privateZoneName": "privatelink.redis.azure.net",
        "virtualNetworkLinkName": "link",
        "location": "global",
    }
    make("privatedns:VirtualNetworkLink", **link, virtualNetwork={"id": landscape.vnet.id}, registrationEnabled=False)
    refused("Cannot delete resource while nested resources exist", landscape.azure.delete, "privatedns:PrivateZone", zone.id)


# identity, data, cost


def test_names_and_parents(azure):
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
        "Resource name my-registry is invalid.",
        azure.create,
        "containerregistry:Registry",
        resourceGroupName="rg",
        registryName="my-registry",
        sku={"name": "Basic"},
    )
    refused(
        "because the parent resource",
        azure.create,
        "redisenterprise:Database",
        resourceGroupName="rg",
        clusterName="none",
        databaseName="default",
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


def test_role_assignments(landscape):
    make, subscription = landscape.azure.create, landscape.azure.provider.subscription
    identity = make("managedidentity:UserAssignedIdentity", resourceGroupName="rg", resourceName="identity").outputs
    role = f"/subscriptions/{subscription.subscription_id}/providers/Microsoft.Authorization/roleDefinitions/{GUID}"
    good = {
        "scope": landscape.vnet.id,
        "roleDefinitionId": role,
        "principalId": identity["principalId"],
        "principalType": "ServicePrincipal",
    }
    name = "11111111-1111-4111-8111-111111111111"
    refused(
        "The role assignment ID 'pull' is not valid. The role assignment ID must be a GUID.",
        make,
        "authorization:RoleAssignment",
        **good,
        roleAssignmentName="pull",
    )
    refused(
        "does not exist in the directory", make, "authorization:RoleAssignment", **{**good, "principalId": name}, roleAssignmentName=name
    )
    refused(
        "The specified role definition with ID",
        make,
        "authorization:RoleAssignment",
        **{**good, "roleDefinitionId": role.replace(GUID, name)},
        roleAssignmentName=name,
    )
    refused("was not found", make, "authorization:RoleAssignment", **{**good, "scope": landscape.vnet.id + "x"}, roleAssignmentName=name)
    make("authorization:RoleAssignment", **good, roleAssignmentName=name)
    refused("The role assignment already exists.", make, "authorization:RoleAssignment", **good, roleAssignmentName=name.replace("1", "2"))


def test_federated_credentials(landscape):
    landscape.azure.create("managedidentity:UserAssignedIdentity", resourceGroupName="rg", resourceName="identity")
    issuer = landscape.make_cluster(oidcIssuerProfile={"enabled": True}).outputs["oidcIssuerProfile"]["issuerURL"]
    base = {
        "resourceGroupName": "rg",
        "resourceName": "identity",
        "federatedIdentityCredentialResourceName": "shard",
        "audiences": ["api://AzureADTokenExchange"],
    }
    make = landscape.azure.create
    refused(
        "must be a https URL",
        make,
        "managedidentity:FederatedIdentityCredential",
        **base,
        issuer="http://x",
        subject="system:serviceaccount:a:b",
    )
    refused(
        "must be system:serviceaccount:NAMESPACE:NAME",
        make,
        "managedidentity:FederatedIdentityCredential",
        **base,
        issuer=issuer,
        subject="a:b",
    )
    make("managedidentity:FederatedIdentityCredential", **base, issuer=issuer, subject="system:serviceaccount:zig-ai:shard")


def test_redis(landscape):
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


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"timePeriod": {"startDate": "2026-12-15T00:00:00Z"}}, "the start date must be the first day of a month"),
        ({"amount": 0}, "must be greater than 0"),
        ({"notifications": {"n": {"enabled": True, "operator": "GreaterThan", "threshold": 2000, "contactEmails": ["a@b.c"]}}}, "between 0 and 1000 percent"),
        ({"notifications": {"n": {"enabled": True, "operator": "GreaterThan", "threshold": 90, "contactEmails": []}}}, "needs contactEmails"),
    ],
)  # fmt: skip
def test_budgets(landscape, more, words):
    base = {
        "scope": landscape.group.id,
        "budgetName": "budget",
        "amount": 100,
        "category": "Cost",
        "timeGrain": "Monthly",
        "timePeriod": {"startDate": "2026-12-01T00:00:00Z"},
    }
    landscape.azure.create("consumption:Budget", **base)
    refused(words, landscape.azure.create, "consumption:Budget", **{**base, "budgetName": "other", **more})


def test_refusals_are_kept_for_the_report(landscape):
    landscape.make_cluster()
    refused("maxPods", landscape.make_pool, maxPods=1)
    (refusal,) = landscape.azure.provider.state.read().content["refusals"]
    assert (refusal["type"], refusal["resource"], refusal["code"]) == ("azure-native:containerservice:AgentPool", "it", "InvalidParameter")
