# ruff: noqa: E501 - Azure's messages are one line each
"""Rules of storage, registries, vaults and Azure Managed Redis."""

from __future__ import annotations

import ipaddress
import re

from rehearsal.azure.rules.base import Refused, Request

# Sizes in GB by tier. Source: MicrosoftDocs/azure-docs articles/redis/overview.md (2026); the SKU enum holds the same names.
_OLD_REDIS = ("Enterprise_", "EnterpriseFlash_")


def storage_account(request: Request) -> None:
    """Kinds, SKUs and network rules. Source: learn.microsoft.com/azure/storage/common/storage-account-overview, nfs 3.0 support docs."""
    sku, kind = (request.inputs.get("sku") or {}).get("name", ""), request.inputs.get("kind")
    if kind in ("BlockBlobStorage", "FileStorage") and not sku.startswith("Premium"):
        raise Refused(
            "InvalidValuesForRequestParameters", f"Values for request parameters are invalid: kind {kind} needs a Premium SKU, not {sku}."
        )
    if kind == "StorageV2" and sku in ("Premium_ZRS",):
        raise Refused(
            "InvalidValuesForRequestParameters", f"Values for request parameters are invalid: sku {sku} is not available for kind {kind}."
        )
    if sku.endswith(("_ZRS", "_GZRS", "_RAGZRS")) and not request.subscription.zones(request.location):
        raise Refused(
            "RedundancyConfigurationNotAvailableInRegion",
            f"The redundancy configuration '{sku}' is not available in region '{request.location}'.",
        )
    rules = request.inputs.get("networkRuleSet") or {}
    if request.inputs.get("enableNfsV3"):
        if not request.inputs.get("isHnsEnabled"):
            raise Refused("NfsV3WithoutHns", "The property 'enableNfsV3' needs 'isHnsEnabled' (hierarchical namespace).")
        if rules.get("defaultAction", "Allow") != "Deny":
            raise Refused("FeatureNotSupportedForAccount", "NFSv3 account must have default action 'Deny' for NetworkRuleSet.")
    for rule in rules.get("virtualNetworkRules") or []:
        subnet = request.must_exist(rule.get("virtualNetworkResourceId"))
        endpoints = [endpoint.get("service", "") for endpoint in subnet["inputs"].get("serviceEndpoints") or []]
        if not any(service.startswith("Microsoft.Storage") for service in endpoints):
            raise Refused(
                "SubnetsHaveNoServiceEndpointsConfigured",
                f"Subnets {subnet['id'].rsplit('/', 1)[1]} of virtual network {subnet['id'].split('/')[-3]} do not have ServiceEndpoints for Microsoft.Storage resources configured. Add Microsoft.Storage to subnet's ServiceEndpoints collection before trying to ACL Microsoft.Storage resources to these subnets.",
            )
    for rule in rules.get("ipRules") or []:
        text = rule.get("iPAddressOrRange", "")
        try:
            block = ipaddress.ip_network(text, strict=False)
        except ValueError:
            block = None
        if block is None or block.is_private or block.prefixlen == 31 or ("/" in text and block.prefixlen == 32):
            raise Refused(
                "InvalidValuesForRequestParameters",
                f"Values for request parameters are invalid: networkAcls.ipRule[*].value(s):[{text}] (a public address, or a range of /30 or larger).",
            )


def registry(request: Request) -> None:
    """What only Premium has. Source: learn.microsoft.com/azure/container-registry/container-registry-skus."""
    sku = (request.inputs.get("sku") or {}).get("name")
    if sku == "Premium":
        return
    for key, text in (
        ("zoneRedundancy", "Zone redundancy"),
        ("networkRuleSet", "Network rules"),
        ("encryption", "Customer-managed keys"),
        ("dataEndpointEnabled", "Dedicated data endpoint"),
    ):
        if request.inputs.get(key) not in (None, "Disabled", False):
            raise Refused("InvalidRequest", f"{text} is only supported for the Premium SKU; registry {request.name} is {sku}.")
    if request.inputs.get("publicNetworkAccess") == "Disabled":
        raise Refused("InvalidRequest", f"Private registries are only supported for the Premium SKU; registry {request.name} is {sku}.")
    if (request.inputs.get("policies") or {}).get("retentionPolicy", {}).get("status") == "enabled":
        raise Refused("InvalidRequest", f"Retention policy is only supported for the Premium SKU; registry {request.name} is {sku}.")


def vault(request: Request) -> None:
    """Tenant, purge protection, retention. Source: learn.microsoft.com/azure/key-vault/general/soft-delete-overview."""
    properties = request.inputs.get("properties") or {}
    if properties.get("tenantId") != request.subscription.tenant_id:
        raise Refused(
            "BadRequest",
            f"The provided tenant ID '{properties.get('tenantId')}' is not the subscription's tenant '{request.subscription.tenant_id}'.",
        )
    days = properties.get("softDeleteRetentionInDays", 90)
    if not 7 <= days <= 90:
        raise Refused("BadRequest", f'The property "softDeleteRetentionInDays" must be between 7 and 90, not {days}.')
    if properties.get("enablePurgeProtection") is False:
        raise Refused(
            "BadRequest",
            'The property "enablePurgeProtection" cannot be set to false. Enabling the purge protection for a vault is an irreversible action.',
        )
    if not properties.get("enableRbacAuthorization") and properties.get("accessPolicies") is None:
        raise Refused(
            "BadRequest", "The parameter accessPolicies is not specified: a vault needs enableRbacAuthorization or accessPolicies."
        )


def redis(request: Request) -> None:
    """Azure Managed Redis is chosen by SKU name; the Enterprise tiers take no new caches.

    Source: MicrosoftDocs/azure-docs articles/redis/migrate/migrate-redis-enterprise-overview.md (Enterprise retires 2027-03-31).
    """
    sku = request.inputs.get("sku") or {}
    if sku.get("name", "").startswith(_OLD_REDIS):
        raise Refused(
            "BadRequest",
            f"SKU {sku['name']} is of the retiring Enterprise tiers: new caches use Azure Managed Redis (Balanced_, MemoryOptimized_, ComputeOptimized_, FlashOptimized_).",
        )
    if sku.get("capacity") is not None:
        raise Refused("BadRequest", f"SKU {sku.get('name')} has no capacity: the size is part of the name.", "properties.sku.capacity")
    zones = request.inputs.get("zones") or []
    if zones:
        raise Refused(
            "BadRequest",
            "Zones of Azure Managed Redis cannot be chosen: a cache with high availability is spread over the region's zones by itself.",
            "zones",
        )
    tls = request.inputs.get("minimumTlsVersion")
    if tls in ("1.0", "1.1"):
        raise Refused("BadRequest", f"minimumTlsVersion {tls} is no longer supported. Use 1.2.")


def redis_database(request: Request) -> None:
    """One database, named default, on port 10000. Source: Microsoft.Cache redisEnterprise/databases reference."""
    if request.name != "default":
        raise Refused("BadRequest", f"The database name '{request.name}' is not valid: the name must be 'default'.")
    port = request.inputs.get("port", 10000)
    if port != 10000:
        raise Refused("BadRequest", f"The TCP port of the database endpoint is {port}; only 10000 is supported.", "properties.port")
    cluster = request.must_exist(request.id.rsplit("/databases/", 1)[0])
    flash = cluster["inputs"]["sku"]["name"].startswith("FlashOptimized")
    if flash and request.inputs.get("evictionPolicy") not in (None, "NoEviction", "AllKeysLRU", "VolatileLRU"):
        raise Refused("BadRequest", f"Eviction policy {request.inputs['evictionPolicy']} is not supported on the Flash Optimized tier.")
    persistence = request.inputs.get("persistence") or {}
    if persistence.get("aofEnabled") and persistence.get("rdbEnabled"):
        raise Refused("BadRequest", "AOF and RDB persistence cannot both be enabled.")


def redis_access(request: Request) -> None:
    """Entra access: the user is a directory object. Source: redisEnterprise/databases/accessPolicyAssignments reference."""
    user = (request.inputs.get("user") or {}).get("objectId", "")
    if not re.fullmatch(r"[0-9a-fA-F-]{36}", str(user)):
        raise Refused("BadRequest", f"The user objectId '{user}' is not a GUID.")
    if request.inputs.get("accessPolicyName") != "default":
        raise Refused("BadRequest", f"The access policy '{request.inputs.get('accessPolicyName')}' does not exist. Use 'default'.")
    if not re.fullmatch(r"[A-Za-z0-9]{1,60}", request.name):
        raise Refused("InvalidResourceName", f"The access policy assignment name '{request.name}' is not valid: 1-60 alphanumerics.")
